//! Downloads within an account's daily budget.
//!
//! Must: what is held back gets no disposition, and the mark stays below it, so that it is found again; and while a
//! budget is used up, no more is listed than one window, because listings count too.

use super::{Cycle, Waiting};
use crate::agent::CycleError;
use crate::sources::{Listed, Opened, Source};

/// The first item of a window that was held back.
pub(super) struct HeldBack {
    pub order: u64,
}

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

    /// Fetches as much as the budget has left; without one, everything.
    pub(super) async fn fetch_within(
        &mut self,
        epoch: u64,
        wanted: &[Listed],
        waiting: &mut Waiting,
    ) -> Result<Option<HeldBack>, CycleError> {
        if self.budget.is_none() {
            self.fetch(epoch, wanted, waiting).await?;
            return Ok(None);
        }
        let mut rest = wanted;
        while let Some(first) = rest.first() {
            let taken = self.budget.as_mut().map(|budget| budget.take(rest)).transpose();
            let taken = taken.map_err(|error| CycleError::told("note what is downloaded", &error))?.unwrap_or(0);
            if taken == 0 {
                return Ok(Some(HeldBack { order: first.order.unwrap_or(0) }));
            }
            let (now, later) = rest.split_at(taken);
            let fetched = self.fetch(epoch, now, waiting).await;
            self.settle_budget()?;
            fetched?;
            rest = later;
        }
        Ok(None)
    }

    pub(super) fn settle_budget(&mut self) -> Result<(), CycleError> {
        let received = self.source.received();
        let settled = self.budget.as_mut().map(|budget| budget.settle(received)).transpose();
        settled.map(drop).map_err(|error| CycleError::told("note what was downloaded", &error))
    }

    /// The end of a pass that could not download everything. `from` is where it began to list, `counted` what it listed
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
        let below = self
            .agent
            .archive
            .call(move |core| {
                let below = if from > 0 { core.catalogue.present_below(epoch, from)? } else { 0 };
                core.listed(epoch, mark, None)?;
                core.close()?;
                Ok(below)
            })
            .await?;
        self.report.listed += exists.saturating_sub(below + counted);
        self.is_held_back = true;
        Ok(())
    }
}
