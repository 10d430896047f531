//! `gatepost init`: a dialogue that ends with a configuration which was tried.
//!
//! | file | holds |
//! |---|---|
//! | [`answers`], [`args`] | the answers as values, and reading them; from the command line |
//! | [`dialogue`] | what is asked and done next; pure |
//! | [`talk`] | doing it |
//! | [`questions`] | the questions' words, defaults and flags |
//! | [`guess`], [`find`] | names to try; DNS, Autodiscover and TLS |
//! | [`render`] | the configuration's text |
//! | [`store`] | writing it, and the password |
//! | [`terminal`] | lines in and out |
//!
//! Must: nothing is written before the last question is answered; no credential goes to a server that was not
//! confirmed; a certificate that is not trusted is never passed over.

mod answers;
mod args;
mod dialogue;
mod find;
mod guess;
mod questions;
mod render;
mod store;
mod talk;
mod terminal;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

pub(super) use self::args::Args;
use self::args::Then;
use self::talk::{Ended, Talk};
use super::exit::{Exit, Failure};
use super::wiring::{self, Global};
use super::{once, output};

pub(super) fn init(global: &Global, args: &Args) -> Result<Exit, Failure> {
    let runtime = wiring::runtime()?;
    let phase = Arc::new(AtomicU8::new(ASKING));
    let watch = runtime.spawn(stop_when_told(phase.clone()));
    let dialogue = args::started(global, args)?;
    let mut talk = Talk { dialogue, args, runtime: &runtime, asked: HashSet::new(), trouble: None };
    let done = talk.run();
    let settings = match done {
        Ok(settings) => settings,
        Err(Ended::Stopped) => {
            // Whoever comes first tells it.
            if phase.swap(ENDED, Ordering::SeqCst) == ASKING {
                output::note(STOPPED);
            }
            return Ok(Exit::Usage);
        }
        Err(Ended::Failed(failure)) => return Err(failure),
    };
    phase.store(WRITTEN, Ordering::SeqCst);
    match talk.then()? {
        Then::Nothing => Ok(Exit::Ok),
        Then::Rehearse => run(&settings.file, true),
        Then::Once => {
            // A cycle ends in its own way.
            watch.abort();
            run(&settings.file, false)
        }
    }
}

const STOPPED: &str = "\nstopped; nothing was written";

/// What a signal finds.
const ASKING: u8 = 0;
const WRITTEN: u8 = 1;
const ENDED: u8 = 2;

/// A prompt cannot be called back from reading, so that the process ends here.
async fn stop_when_told(phase: Arc<AtomicU8>) {
    let terminal = terminal::Restored::later();
    wiring::told_to_stop().await;
    let found = phase.swap(ENDED, Ordering::SeqCst);
    drop(terminal);
    match found {
        ASKING => output::note(STOPPED),
        WRITTEN => output::note("\nstopped; the configuration is written, nothing was archived or deleted"),
        // Somebody else tells it, and ends the process.
        _ => return,
    }
    std::process::exit(Exit::Usage.code().into());
}

fn run(file: &std::path::Path, dry_run: bool) -> Result<Exit, Failure> {
    // The folder was named just now, so that an empty one is no volume that is missing.
    let global = Global { config: Some(file.to_owned()), archive: None, create_archive: true };
    once::once(&global, &once::Args { profile: None, dry_run, excluded: false, retry_refused: true, json: false })
}
