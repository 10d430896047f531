//! What ends a cycle before all is done, and how fast it may go.
//!
//! Must: what is held back gets no disposition and stays `pending`; nothing that was downloaded is lost by it.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Agent;
use super::disk::Room;

/// Why a cycle ended with items left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Held {
    /// The account's daily budget.
    Budget,
    /// Less room on the disk than the reserve.
    Disk,
    /// It took its share of time; the next cycle follows at once.
    Slice,
    /// The agent was told to stop, or to take another configuration.
    Stopped,
}

/// Tells cycles to come to an end. Whoever holds a clone can do it, and hears of it.
#[derive(Clone, Debug)]
pub struct Halt(watch::Sender<bool>);

impl Default for Halt {
    fn default() -> Halt {
        Halt(watch::Sender::new(false))
    }
}

impl Halt {
    pub fn halt(&self) {
        self.0.send_replace(true);
    }

    pub fn is_halted(&self) -> bool {
        *self.0.borrow()
    }

    pub async fn halted(&self) {
        // The sender is `self`, so that it cannot be gone.
        let _ = self.0.subscribe().wait_for(|halted| *halted).await;
    }
}

/// A profile's pace.
#[derive(Clone, Debug, Default)]
pub struct Pacing {
    /// A cycle lasts so long at most, if it has an end at all; deleting and recording go on after it.
    pub slice: Option<Duration>,
    /// Bytes a second, on average.
    pub bandwidth: Option<u64>,
    pub halt: Halt,
}

/// The pace of one cycle.
pub struct Pace {
    began: Instant,
    pacing: Pacing,
    /// Downloaded so far.
    bytes: u64,
}

impl Pace {
    pub fn new(pacing: &Pacing) -> Pace {
        Pace { began: Instant::now(), pacing: pacing.clone(), bytes: 0 }
    }

    /// Whether there is more to come in this cycle.
    pub fn held(&self, agent: &Agent) -> Option<Held> {
        if self.pacing.halt.is_halted() {
            return Some(Held::Stopped);
        }
        // A disk that cannot be asked will say itself that it is full.
        if agent.room().is_ok_and(Room::is_short) {
            return Some(Held::Disk);
        }
        self.pacing.slice.is_some_and(|slice| self.began.elapsed() >= slice).then_some(Held::Slice)
    }

    pub fn halt(&self) -> Halt {
        self.pacing.halt.clone()
    }

    /// So many bytes are asked for at a time: as a second brings, where seconds are counted.
    pub fn share(&self) -> u64 {
        const SHARE: u64 = 64 * 1024 * 1024;
        self.pacing.bandwidth.map_or(SHARE, |bandwidth| bandwidth.min(SHARE))
    }

    /// Waits until the bytes that came are no more than the bandwidth allows, or until the cycle is to end.
    pub async fn throttle(&mut self, bytes: u64) {
        self.bytes += bytes;
        let Some(bandwidth) = self.pacing.bandwidth else { return };
        let due = Duration::try_from_secs_f64(self.bytes as f64 / bandwidth as f64).unwrap_or(Duration::MAX);
        let ahead = due.saturating_sub(self.began.elapsed());
        tokio::select! {
            () = tokio::time::sleep(ahead) => {}
            () = self.pacing.halt.halted() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_are_spread_over_time_and_whoever_stops_does_not_wait() {
        let mut pace = Pace::new(&Pacing { bandwidth: Some(1_000_000), ..Pacing::default() });
        let began = Instant::now();
        pace.throttle(100_000).await;
        pace.throttle(100_000).await;
        assert!(began.elapsed().as_millis() >= 200, "{:?}", began.elapsed());
        pace.halt().halt();
        // A thousand years.
        pace.throttle(u64::MAX / 2).await;
    }
}
