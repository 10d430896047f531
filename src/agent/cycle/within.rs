//! Downloads within an account's daily budget, and within the pace of the cycle.
//!
//! Must: what is held back gets no disposition, and the mark stays below it, so that it is found again; and while
//! it is held back, no more is listed than one window, because listings count too.

use super::{Cycle, Waiting};
use crate::agent::CycleError;
use crate::agent::pace::Held;
use crate::sources::{Listed, Opened, Source};

/// The first item of a window that was held back.
pub(super) struct HeldBack {
    pub order: u64,
}

/// Where a listing says no sizes, so many items are asked for at a time.
const ITEMS_WITHOUT_SIZE: usize = 250;

impl<S: Source> Cycle<'_, S> {
    /// The account's budget, if it has one; the same for all folders of a session.
    pub(super) fn open_budget(&mut self, opened: &Opened) -> Result<(), CycleError> {
        if let (None, Some(limit)) = (&self.budget, self.source.abilities().daily_budget) {
            let key = &opened.epoch;
            let budget = self.agent.budgets.of(&key.host, &key.login, limit);
            let budget = budget.map_err(|error| CycleError::told("read what was downloaded today", &error))?;
            *self.budget = Some(budget);
        }
        Ok(())
    }

    /// Fetches as much as budget and pace allow, a share at a time.
    pub(super) async fn fetch_within(
        &mut self,
        epoch: u64,
        wanted: &[Listed],
        waiting: &mut Waiting,
    ) -> Result<Option<HeldBack>, CycleError> {
        let mut rest = wanted;
        while let Some(first) = rest.first() {
            let held = HeldBack { order: first.order.unwrap_or(0) };
            if let Some(why) = self.pace.held(self.agent) {
                self.held.get_or_insert(why);
                return Ok(Some(held));
            }
            let share = share(rest, self.pace.share());
            let taken = match self.budget.as_mut() {
                None => share,
                Some(budget) => {
                    let taken = budget.take(&rest[..share]);
                    taken.map_err(|error| CycleError::told("note what is downloaded", &error))?
                }
            };
            if taken == 0 {
                self.held = Some(Held::Budget);
                return Ok(Some(held));
            }
            let (now, later) = rest.split_at(taken);
            let before = self.report.bytes;
            let fetched = self.fetch(epoch, now, waiting).await;
            self.settle_budget()?;
            fetched?;
            self.pace.throttle(self.report.bytes - before).await;
            rest = later;
        }
        Ok(None)
    }

    pub(super) fn settle_budget(&mut self) -> Result<(), CycleError> {
        let received = self.source.received();
        let settled = self.budget.as_mut().map(|budget| budget.settle(received)).transpose();
        settled.map(drop).map_err(|error| CycleError::told("note what was downloaded", &error))
    }

    /// The end of a pass that did not download everything. `from` is where it began to list, `counted` what it listed
    /// from there on, `next` where the next window begins.
    pub(super) async fn hold_back(
        &mut self,
        opened: &Opened,
        epoch: u64,
        held: HeldBack,
        (from, counted, next): (u64, u64, Option<u64>),
    ) -> Result<(), CycleError> {
        let exists = opened.state.exists.saturating_sub(self.removed);
        let mark = held.order.min(next.unwrap_or(opened.state.next));
        // On a disk that is nearly full nothing is written that can wait.
        let is_written = self.held != Some(Held::Disk);
        let below = self
            .agent
            .archive
            .call(move |core| {
                let below = if from > 0 { core.catalogue.present_below(epoch, from)? } else { 0 };
                if is_written {
                    core.listed(epoch, mark, None)?;
                    core.close()?;
                }
                Ok(below)
            })
            .await?;
        self.report.listed += exists.saturating_sub(below + counted);
        Ok(())
    }
}

/// How many of the first of `wanted` are asked for at a time: at least one.
fn share(wanted: &[Listed], bytes: u64) -> usize {
    let mut taken = 0u64;
    let mut sizeless = 0;
    let fits = |listed: &&Listed| {
        taken = taken.saturating_add(listed.size);
        sizeless += usize::from(listed.size == 0);
        taken <= bytes && sizeless <= ITEMS_WITHOUT_SIZE
    };
    wanted.iter().take_while(fits).count().max(1)
}
