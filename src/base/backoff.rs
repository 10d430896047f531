//! How long to wait before something that failed is tried again: longer each time, and never quite as long as others do.

use std::time::Duration;

/// Doubling from `first` to `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub most: Duration,
}

impl Backoff {
    /// The wait after `failures` in a row (1: after the first), without jitter.
    pub fn wait(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        self.first.saturating_mul(1 << doublings).min(self.most.max(self.first))
    }
}

/// A wait made up to a tenth longer, by chance: many agents that lost one server must not come back in the same second.
pub fn jittered(wait: Duration) -> Duration {
    let mut byte = [0u8; 2];
    // Without chance there is no jitter, which is no reason to fail.
    if getrandom::fill(&mut byte).is_err() {
        return wait;
    }
    wait + wait.mul_f64(f64::from(u16::from_le_bytes(byte)) / f64::from(u16::MAX) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_have_an_end() {
        let backoff = Backoff { first: Duration::from_secs(15), most: Duration::from_secs(300) };
        let waits: Vec<u64> = (0..8).map(|failures| backoff.wait(failures).as_secs()).collect();
        assert_eq!(waits, [15, 15, 30, 60, 120, 240, 300, 300]);
        assert_eq!(backoff.wait(u32::MAX).as_secs(), 300);
    }

    #[test]
    fn jitter_only_adds() {
        let wait = Duration::from_secs(100);
        for _ in 0..100 {
            let jittered = jittered(wait);
            assert!(jittered >= wait && jittered <= wait * 11 / 10, "{jittered:?}");
        }
    }
}
