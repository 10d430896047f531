//! Deletions that an earlier session began, where deleting takes more than one step on the gateway.
//!
//! Must: each needs the archive's receipt again, and goes through `agent::delete` like any other.

use super::{Cycle, DELETE_BATCH};
use crate::agent::CycleError;
use crate::agent::alarms::Kind;
use crate::agent::delete::delete;
use crate::agent::window::seen_of;
use crate::archive::Seen;
use crate::sources::Source;

impl<S: Source> Cycle<'_, S> {
    /// Goes on with what an earlier session began to delete, and has not finished on the gateway. Like any deletion it
    /// needs the archive's receipt; what is not in this archive stays where it is.
    pub(super) async fn finish_deletions(&mut self, epoch: u64) -> Result<(), CycleError> {
        let begun: Vec<Seen> = self.source.unfinished().await?.iter().map(|listed| seen_of(epoch, listed)).collect();
        if begun.is_empty() {
            return Ok(());
        }
        let count = begun.len();
        let receipts = self.agent.archive.call(move |core| core.receipts_of_unfinished(&begun)).await?;
        let receipts: Vec<_> = receipts.into_iter().flatten().collect();
        if receipts.len() < count {
            self.report.tell(Kind::Unfinished, format!(
                "{} items lie in the gateway's Trash that gatepost moved there and this archive does not hold (a restored \
                 one?): move them back into the folder before the gateway empties its Trash",
                count - receipts.len()
            ));
        }
        for batch in receipts.chunks(DELETE_BATCH) {
            // They are not counted among what the folder holds.
            delete(self.source, &self.agent.archive, &self.agent.fs, batch, self.report).await?;
        }
        Ok(())
    }
}
