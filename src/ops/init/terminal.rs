//! The terminal of `gatepost init`: plain lines out, a line in, a password without echo. However it ends, the terminal
//! is left as it was found.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use zeroize::Zeroizing;

use crate::ops::output;

/// What a terminal hands over in one line is far shorter.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Whether somebody can be asked.
pub fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// How the terminal was; it is that again when this is dropped.
pub struct Restored {
    #[cfg(unix)]
    state: Option<rustix::termios::Termios>,
}

impl Restored {
    pub fn later() -> Restored {
        Restored {
            #[cfg(unix)]
            state: rustix::termios::tcgetattr(io::stdin()).ok(),
        }
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(state) = &self.state {
            // A terminal that is gone needs no care.
            let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, state);
        }
    }
}

/// One line; `None` at its end (Ctrl-D).
pub fn line(prompt: &str) -> io::Result<Option<String>> {
    let mut out = io::stdout().lock();
    write!(out, "{}", output::safe(prompt))?;
    out.flush()?;
    drop(out);
    let mut text = String::new();
    if io::stdin().lock().take(LINE_BYTES_MAX).read_line(&mut text)? == 0 {
        return Ok(None);
    }
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// A line that is not shown. Ctrl-C is an error of the kind `Interrupted`; the library sets the terminal right again.
pub fn secret(prompt: &str) -> io::Result<Option<Zeroizing<String>>> {
    // The library asks before it stops the echo: who types at once, or pastes, would see it.
    let _quiet = crate::ops::secret::Quiet::from_now();
    match rpassword::prompt_password(output::safe(prompt)) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The first line of standard input, for `--password-stdin`.
pub fn piped() -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    io::stdin().lock().take(LINE_BYTES_MAX).read_line(&mut text)?;
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    Ok(text)
}
