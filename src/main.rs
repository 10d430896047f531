//! The `gatepost` program; everything it does lives in the library.

fn main() -> std::process::ExitCode {
    gatepost::ops::cli::main()
}
