//! Time comes in by parameter, so that tests never sleep.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use jiff::Timestamp;

pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;

    /// Ends when it is `at`, or later.
    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The host's clock.
pub struct SystemClock;

/// A sleep looks at the clock at least so often: it may have been set, or the machine may have been suspended, and timers
/// know nothing of either.
const SLICE: Duration = Duration::from_secs(20);

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let wanted = at.duration_since(Timestamp::now());
            if !wanted.is_positive() {
                return;
            }
            // A clock that is set back must not make this longer than it was meant to be.
            let (began, longest) = (Instant::now(), wanted.unsigned_abs());
            loop {
                let left = at.duration_since(Timestamp::now());
                let slept = began.elapsed();
                if !left.is_positive() || slept >= longest {
                    return;
                }
                tokio::time::sleep(left.unsigned_abs().min(longest - slept).min(SLICE)).await;
            }
        })
    }
}

/// A clock that stands where it was set, for tests. Whoever sleeps is woken when it is set further.
pub struct FixedClock {
    now: tokio::sync::watch::Sender<Timestamp>,
    /// Moments that somebody waits for.
    awaited: std::sync::Mutex<Vec<Timestamp>>,
}

impl FixedClock {
    pub fn at(now: Timestamp) -> FixedClock {
        FixedClock { now: tokio::sync::watch::Sender::new(now), awaited: std::sync::Mutex::default() }
    }

    pub fn advance(&self, by: jiff::SignedDuration) {
        self.now.send_modify(|now| *now += by);
    }

    pub fn set(&self, to: Timestamp) {
        self.now.send_modify(|now| *now = to);
    }

    /// The moments that sleepers wait for, sorted.
    pub fn awaited(&self) -> Vec<Timestamp> {
        let mut awaited = self.lock().clone();
        awaited.sort_unstable();
        awaited
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Timestamp>> {
        self.awaited.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Takes a moment off the list when its sleeper goes, however that comes.
struct Awaited<'c>(&'c FixedClock, Timestamp);

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        let mut awaited = self.0.lock();
        if let Some(at) = awaited.iter().position(|at| *at == self.1) {
            awaited.swap_remove(at);
        }
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let mut now = self.now.subscribe();
            if *now.borrow_and_update() >= at {
                return;
            }
            self.lock().push(at);
            let _awaited = Awaited(self, at);
            // The sender is `self`.
            let _ = now.wait_for(|now| *now >= at).await;
        })
    }
}
