//! What one pass over a folder has handed to the decoders, and what came back.

use tokio::sync::mpsc;

use super::CycleError;
use super::decoders::Note;
use crate::archive::{ArchiveError, Committed, ErrorKind, Handle, Receipt};

/// The items of one pass that wait for the archive's answer.
pub struct Waiting {
    pub answers: mpsc::UnboundedReceiver<Committed>,
    pub failures: mpsc::UnboundedReceiver<ArchiveError>,
    pub noted: mpsc::UnboundedReceiver<Note>,
    pub reply: mpsc::UnboundedSender<Committed>,
    pub failed: mpsc::UnboundedSender<ArchiveError>,
    pub notes: mpsc::UnboundedSender<Note>,
    pub outstanding: u64,
    pub receipts: Vec<Receipt>,
    pub mismatch: bool,
}

impl Waiting {
    pub fn new() -> Waiting {
        let (reply, answers) = mpsc::unbounded_channel();
        let (failed, failures) = mpsc::unbounded_channel();
        let (notes, noted) = mpsc::unbounded_channel();
        Waiting {
            answers,
            failures,
            noted,
            reply,
            failed,
            notes,
            outstanding: 0,
            receipts: Vec::new(),
            mismatch: false,
        }
    }

    /// Waits for an answer of the archive. What cannot even be submitted gets none but its error.
    pub async fn next(&mut self, archive: &Handle) -> Result<Option<Committed>, CycleError> {
        let ended = || archive.ended().unwrap_or_else(|| ArchiveError::new(ErrorKind::Failed, "the archive has ended"));
        let mut check = tokio::time::interval(std::time::Duration::from_millis(200));
        loop {
            tokio::select! {
                answer = self.answers.recv() => return Ok(answer),
                Some(error) = self.failures.recv() => {
                    self.outstanding -= 1;
                    return Err(error.into());
                }
                _ = check.tick() => {
                    // A writer that ended answers nobody any more.
                    if archive.ended().is_some() {
                        return Err(ended().into());
                    }
                }
            }
        }
    }
}
