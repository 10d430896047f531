//! What targets of alarms were not told yet.
//!
//! Each target has a line of its own, in order, so that one that is down holds up no other. What waits is in a small file
//! too, before anything is sent: a restart loses nothing, and sends at worst one message again. A line holds
//! [`WAITING_MAX`]; the oldest goes first. An alarm that was over before its beginning could be told is not told at all,
//! or, if it was a critical one, as one note.
//!
//! A file that cannot be read or written costs alarms across a restart and nothing else; both are logged.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::deliver::{self, Target, Targets};
use crate::agent::alarms::{Message, Severity, State};
use crate::base::clock::Clock;
use crate::base::fsio::Fs;
use crate::config::AlarmSettings;

/// Its name in the archive's folder.
pub const FILE: &str = "alarms-waiting.json";
/// Of one target.
pub const WAITING_MAX: usize = 100;
const FORMAT: u32 = 1;
const WAIT_FIRST: SignedDuration = SignedDuration::from_secs(10);
const WAIT_MAX: SignedDuration = SignedDuration::from_mins(15);
/// However far off the next try is: clocks jump.
const NAP_MAX: Duration = Duration::from_secs(30);

/// What takes messages, or says why it does not.
pub trait Deliver {
    fn send(&self, target: Target, message: &Message) -> impl Future<Output = Result<(), String>>;
}

pub struct Queue {
    path: PathBuf,
    fs: Fs,
    clock: Arc<dyn Clock>,
    lines: Mutex<BTreeMap<Target, Line>>,
    news: Notify,
}

/// What one target was not told yet.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Line {
    waiting: VecDeque<Message>,
    /// Of these the first is being sent, and must stay.
    #[serde(skip)]
    is_sending: bool,
    /// Tries in a row that failed.
    #[serde(skip)]
    failures: u32,
    #[serde(skip)]
    next: Option<Timestamp>,
    /// For want of room.
    #[serde(default)]
    dropped: u64,
}

#[derive(Serialize, Deserialize)]
struct Kept<L> {
    format: u32,
    targets: L,
}

impl Queue {
    /// With what waited when the agent ended.
    pub fn open(archive: &Path, fs: Fs, clock: Arc<dyn Clock>) -> Queue {
        let path = archive.join(FILE);
        let lines = match read(&path) {
            Ok(lines) => lines,
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "alarms that waited for their targets cannot be read, and are forgotten");
                BTreeMap::new()
            }
        };
        Queue { path, fs, clock, lines: Mutex::new(lines), news: Notify::new() }
    }

    /// Takes a message for every target that wants it; [`Queue::run`] sends it. Writes a small file.
    pub fn push(&self, settings: &AlarmSettings, message: &Message) {
        if settings.system_log {
            deliver::log(message);
        }
        let mut lines = self.lines();
        for target in deliver::targets(settings, message.severity) {
            lines.entry(target).or_default().push(message.clone());
        }
        self.keep(&lines);
        drop(lines);
        self.news.notify_one();
    }

    /// How many messages wait for a target.
    pub fn waiting(&self, target: Target) -> usize {
        self.lines().get(&target).map_or(0, |line| line.waiting.len())
    }

    /// Sends for ever. `settings` is asked before each round, so that a reload is followed.
    pub async fn run(&self, settings: impl Fn() -> Arc<AlarmSettings>) -> std::convert::Infallible {
        loop {
            let settings = settings();
            let next = self.work(&Targets(&settings)).await;
            let nap = match next {
                Some(next) => {
                    let nap = Duration::try_from(next.duration_since(self.clock.now())).unwrap_or_default();
                    nap.clamp(Duration::from_millis(100), NAP_MAX)
                }
                None => NAP_MAX,
            };
            tokio::select! {
                () = self.news.notified() => {}
                () = tokio::time::sleep(nap) => {}
            }
        }
    }

    /// Ends when nothing is on its way any more, and nothing waits that a target might take.
    pub async fn settle(&self, to: &impl Deliver) {
        loop {
            self.work(to).await;
            let is_settled = |line: &Line| !line.is_sending && (line.waiting.is_empty() || line.failures > 0);
            if self.lines().values().all(is_settled) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One round: every target whose time it is gets what waits for it, until it fails. When there is more to do.
    pub async fn work(&self, to: &impl Deliver) -> Option<Timestamp> {
        futures_util::future::join_all(Target::ALL.map(|target| self.serve(target, to))).await;
        self.lines().values().filter(|line| !line.waiting.is_empty()).filter_map(|line| line.next).min()
    }

    async fn serve(&self, target: Target, to: &impl Deliver) {
        while let Some(message) = self.begin(target) {
            let sent = to.send(target, &message).await;
            if !self.end(target, sent) {
                return;
            }
        }
    }

    /// What is to be sent now.
    fn begin(&self, target: Target) -> Option<Message> {
        let now = self.clock.now();
        let mut lines = self.lines();
        let line = lines.get_mut(&target).filter(|line| !line.is_sending)?;
        // A clock that was set back must not make it wait for longer than it would.
        let is_due = line.next.is_none_or(|next| next <= now || next.duration_since(now) > WAIT_MAX);
        let first = line.waiting.front().filter(|_| is_due)?.clone();
        line.is_sending = true;
        Some(first)
    }

    /// Whether the next one may follow.
    fn end(&self, target: Target, sent: Result<(), String>) -> bool {
        let now = self.clock.now();
        let mut lines = self.lines();
        let Some(line) = lines.get_mut(&target) else { return false };
        line.is_sending = false;
        match sent {
            Ok(()) => {
                line.waiting.pop_front();
                if line.failures > 0 {
                    let (waiting, dropped) = (line.waiting.len(), line.dropped);
                    tracing::info!(%target, waiting, dropped, "a target of alarms takes them again");
                }
                (line.failures, line.next, line.dropped) = (0, None, 0);
                self.keep(&lines);
                true
            }
            Err(error) => {
                let wait = WAIT_FIRST.saturating_mul(1 << line.failures.min(10)).min(WAIT_MAX);
                line.next = now.checked_add(wait).ok();
                line.failures = line.failures.saturating_add(1);
                let waiting = line.waiting.len();
                // Told once and not at each try; the alarms themselves stand in the log anyway.
                if line.failures == 1 {
                    tracing::warn!(%target, error, waiting, "a target of alarms does not take them");
                } else {
                    tracing::debug!(%target, error, waiting, failures = line.failures, "a target of alarms still does not take them");
                }
                false
            }
        }
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<Target, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, lines: &BTreeMap<Target, Line>) {
        let done = if lines.values().all(|line| line.waiting.is_empty()) {
            match std::fs::exists(&self.path) {
                Ok(true) => self.fs.remove(&self.path),
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            }
        } else {
            let kept = Kept { format: FORMAT, targets: lines };
            serde_json::to_vec(&kept).map_err(io::Error::from).and_then(|json| self.fs.write_durably(&self.path, &json))
        };
        if let Err(error) = done {
            let path = self.path.display();
            tracing::warn!(%path, %error, "alarms that wait for their targets cannot be kept for a restart");
        }
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<Target, Line>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        bytes => bytes?,
    };
    let kept: Kept<BTreeMap<Target, Line>> = serde_json::from_slice(&bytes)?;
    if kept.format != FORMAT {
        return Err(io::Error::other(format!("its format is {}, and {FORMAT} is known", kept.format)));
    }
    Ok(kept.targets)
}

impl Line {
    fn push(&mut self, message: Message) {
        // What is on its way is as good as told.
        let free = usize::from(self.is_sending);
        let mut earlier: Vec<Message> = Vec::new();
        if message.state != State::Event {
            let mut kept: VecDeque<Message> = self.waiting.drain(..free.min(self.waiting.len())).collect();
            for one in self.waiting.drain(..) {
                if one.key == message.key && one.state != State::Event {
                    earlier.push(one);
                } else {
                    kept.push_back(one);
                }
            }
            self.waiting = kept;
        }
        // Of what was not told yet, the beginning: without one the target knows of the alarm.
        let beginning = earlier.iter().rposition(|one| one.state == State::Raised);
        let is_known = earlier.first().is_none_or(|first| first.state != State::Raised) || earlier_end(&earlier);
        let next = match (message.state, beginning) {
            (State::Event | State::Raised, _) | (State::Repeated, None) => Some(message),
            (State::Repeated, Some(_)) => Some(Message { state: State::Raised, ..message }),
            (State::Cleared, _) if is_known => Some(message),
            (State::Cleared, _) => note(&earlier, &message),
        };
        // An all-clear that was not told yet goes before a new beginning.
        if next.as_ref().is_some_and(|next| next.state != State::Cleared) {
            self.waiting.extend(earlier.into_iter().filter(|one| one.state == State::Cleared));
        }
        self.waiting.extend(next);
        while self.waiting.len() > WAITING_MAX {
            self.waiting.remove(free);
            self.dropped += 1;
        }
    }
}

/// Whether an all-clear for something that was told waits among them.
fn earlier_end(earlier: &[Message]) -> bool {
    earlier.iter().any(|one| one.state == State::Cleared)
}

/// What is told of an alarm that began and ended while nobody could be told.
fn note(earlier: &[Message], end: &Message) -> Option<Message> {
    let gravest = earlier.iter().max_by_key(|one| one.severity).filter(|one| one.severity == Severity::Critical)?;
    let text = format!("was over before it could be told; since {}: {}", gravest.since, gravest.text);
    Some(Message { state: State::Event, severity: gravest.severity, text, hint: None, ..end.clone() })
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
