//! `gatepost extract-pdf`: what [`crate::text::pdf`] starts for each PDF. Hidden: it is no command for people.
//!
//! It reads a PDF on standard input and writes its words to standard output. Before it looks at the first byte it gives
//! up what it does not need, so that a PDF made to do harm has little to do it with.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use crate::text::pdf::{Ended, extract};

/// Longer input is nothing that was sent here.
const INPUT_BYTES_MAX: u64 = 256 * 1024 * 1024;
const TEXT_BYTES_MAX: usize = 64 * 1024 * 1024;

pub fn extract_pdf() -> ExitCode {
    // A panic is a way in which the parser says that it does not understand; nobody is to read about it.
    std::panic::set_hook(Box::new(|_| {}));
    if limit_itself().is_err() {
        return ExitCode::FAILURE;
    }
    let mut pdf = Vec::new();
    let read = io::stdin().lock().take(INPUT_BYTES_MAX + 1).read_to_end(&mut pdf);
    if read.is_err() || pdf.len() as u64 > INPUT_BYTES_MAX {
        return ExitCode::from(Ended::Damaged.code());
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let ended = extract(&pdf, TEXT_BYTES_MAX, &mut out);
    // Who reads no further has read enough.
    let _ = out.flush();
    ExitCode::from(ended.code())
}

/// Memory, processor time, and nothing else: no files, no further processes, no image of the memory left behind.
#[cfg(unix)]
fn limit_itself() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = |resource, most| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nofile, 3)?;
    limit(Resource::Cpu, 10)?;
    #[cfg(target_os = "linux")]
    {
        limit(Resource::As, 512 * 1024 * 1024)?;
        limit(Resource::Nproc, 0)?;
    }
    Ok(())
}

/// The job object around it ends it when its time is over; of memory it has what there is.
#[cfg(not(unix))]
fn limit_itself() -> io::Result<()> {
    Ok(())
}
