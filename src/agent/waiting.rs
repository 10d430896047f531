//! What one pass over a folder has handed to the decoders, and what came back.

use tokio::sync::mpsc;

use super::decoders::Note;
use crate::archive::{ArchiveError, Committed, Receipt};

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
}
