//! Which alarms last, and what of it was told: so that each is told once, repeated seldom, and taken back.
//!
//! Must: an alarm that began is told, also when the agent is started anew in between; one that was told and is over is
//! taken back; nothing is told twice for nothing. The book is a small file in the archive's folder. One that cannot be read
//! is begun anew: an alarm that is told twice is better than none.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Kind, Message, Severity, State};
use crate::base::fsio::Fs;

const FILE: &str = "alarms.json";
const FORMAT: u32 = 1;
/// What grows (items in quarantine) is told again so often at most.
const GROWN_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// Something that lasts, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: Kind,
    pub severity: Severity,
    pub text: String,
    pub hint: Option<String>,
    /// When it is more than what was told, it is told again.
    pub count: u64,
}

impl Condition {
    pub fn new(kind: Kind, severity: Severity, text: String) -> Condition {
        Condition { kind, severity, text, hint: None, count: 0 }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Condition {
        self.hint = Some(hint.into());
        self
    }

    pub fn count(mut self, count: u64) -> Condition {
        self.count = count;
        self
    }
}

/// Between two times that a lasting alarm is told, where nothing else is configured.
const REPEAT: SignedDuration = SignedDuration::from_hours(24);
/// The same for a critical one, unless it is configured to be less.
const REPEAT_CRITICAL: SignedDuration = SignedDuration::from_hours(6);

/// Between two times that an event of one kind is told; those between are counted.
fn quiet(severity: Severity) -> SignedDuration {
    match severity {
        Severity::Warning => SignedDuration::from_hours(1),
        Severity::Critical => SignedDuration::from_mins(15),
    }
}

/// An alarm that lasts.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Active {
    kind: Kind,
    profile: Option<String>,
    severity: Severity,
    text: String,
    hint: Option<String>,
    count: u64,
    since: Timestamp,
    told: Timestamp,
    told_count: u64,
}

/// An event that was told.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Told {
    at: Timestamp,
    /// As often since, and not told.
    since: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Content {
    format: u32,
    active: BTreeMap<String, Active>,
    events: BTreeMap<String, Told>,
}

pub struct Book {
    file: PathBuf,
    fs: Fs,
    content: Content,
    is_changed: bool,
    /// `None`: nothing is told a second time because it lasts.
    repeat: Option<SignedDuration>,
}

impl Book {
    /// `folder` is the archive's.
    pub fn open(folder: &Path, fs: &Fs) -> Book {
        let file = folder.join(FILE);
        let empty = Content { format: FORMAT, active: BTreeMap::new(), events: BTreeMap::new() };
        let content = match std::fs::read(&file) {
            Ok(bytes) => match serde_json::from_slice::<Content>(&bytes) {
                Ok(content) if content.format == FORMAT => content,
                Ok(_) | Err(_) => {
                    tracing::warn!(file = %file.display(), "the book of alarms cannot be read and is begun anew");
                    empty
                }
            },
            Err(_) => empty,
        };
        Book { file, fs: fs.clone(), content, is_changed: false, repeat: Some(REPEAT) }
    }

    /// The longest time between two times that a lasting alarm is told.
    pub fn repeat_after(&mut self, repeat: Option<Duration>) {
        self.repeat = repeat.map(|repeat| SignedDuration::try_from(repeat).unwrap_or(SignedDuration::MAX));
    }

    /// What lasts now of a profile, or of the archive: what is new or graver is told, what is missing is taken back.
    pub fn update(&mut self, profile: Option<&str>, conditions: Vec<Condition>, now: Timestamp) -> Vec<Message> {
        self.update_because(profile, conditions, None, now)
    }

    /// The same, where what is over is over for a reason of its own.
    pub fn update_because(
        &mut self,
        profile: Option<&str>,
        conditions: Vec<Condition>,
        because: Option<&str>,
        now: Timestamp,
    ) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut lasting = BTreeMap::new();
        for condition in conditions {
            lasting.insert(key(profile, condition.kind), condition);
        }
        let over: Vec<String> = self
            .content
            .active
            .iter()
            .filter(|(key, active)| active.profile.as_deref() == profile && !lasting.contains_key(*key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            if let Some(active) = self.content.active.remove(&key) {
                self.is_changed = true;
                let after = spell(now.duration_since(active.since).unsigned_abs());
                let text = format!("{} (it lasted {after})", because.unwrap_or(over_text(active.kind)));
                let cleared = Active { text, hint: None, ..active };
                messages.push(cleared.message(&key, State::Cleared, now));
            }
        }
        for (key, condition) in lasting {
            messages.extend(self.lasts(key, profile, condition, now));
        }
        messages
    }

    fn lasts(&mut self, key: String, profile: Option<&str>, condition: Condition, now: Timestamp) -> Option<Message> {
        let Condition { kind, severity, text, hint, count } = condition;
        let repeat = self.repeat.map(|repeat| match severity {
            Severity::Warning => repeat,
            Severity::Critical => repeat.min(REPEAT_CRITICAL),
        });
        let profile = profile.map(str::to_owned);
        let Some(active) = self.content.active.get_mut(&key) else {
            let active =
                Active { kind, profile, severity, text, hint, count, since: now, told: now, told_count: count };
            let message = active.message(&key, State::Raised, now);
            self.content.active.insert(key, active);
            self.is_changed = true;
            return Some(message);
        };
        let is_graver = severity > active.severity;
        let since_told = now.duration_since(active.told);
        // A clock that was set back must not silence an alarm.
        let is_due = repeat.is_some_and(|repeat| since_told >= repeat) || since_told.is_negative();
        let has_grown = count > active.told_count && since_told >= GROWN_AFTER;
        (active.text, active.hint, active.count) = (text, hint, count);
        if active.severity != severity {
            active.severity = severity;
            self.is_changed = true;
        }
        if !(is_graver || is_due || has_grown) {
            return None;
        }
        self.is_changed = true;
        (active.told, active.told_count) = (now, count);
        let state = if is_graver { State::Raised } else { State::Repeated };
        Some(active.message(&key, state, now))
    }

    /// Something happened. Told, unless the like was told a short time ago: then it is counted for the next time.
    pub fn event(
        &mut self,
        profile: Option<&str>,
        (kind, severity): (Kind, Severity),
        text: String,
        hint: Option<String>,
        now: Timestamp,
    ) -> Option<Message> {
        let key = key(profile, kind);
        self.is_changed = true;
        let told = self.content.events.entry(key.clone()).or_insert(Told { at: Timestamp::MIN, since: 0 });
        let passed = now.duration_since(told.at);
        if told.at != Timestamp::MIN && !passed.is_negative() && passed < quiet(severity) {
            told.since += 1;
            return None;
        }
        let text = match told.since {
            0 => text,
            times => format!("{text} (and {times} more times since the last message)"),
        };
        *told = Told { at: now, since: 0 };
        let profile = profile.map(str::to_owned);
        let active = Active { kind, profile, severity, text, hint, count: 0, since: now, told: now, told_count: 0 };
        Some(active.message(&key, State::Event, now))
    }

    /// What lasts.
    pub fn active(&self, now: Timestamp) -> Vec<Message> {
        self.content.active.iter().map(|(key, active)| active.message(key, State::Repeated, now)).collect()
    }

    /// Since when something lasts, if it does.
    pub fn since(&self, profile: Option<&str>, kind: Kind) -> Option<Timestamp> {
        self.content.active.get(&key(profile, kind)).map(|active| active.since)
    }

    /// Takes back in silence what profiles that are gone had; there is nobody left to be well again.
    pub fn keep_only(&mut self, profiles: &[&str]) {
        let before = self.content.active.len();
        let is_there = |active: &Active| active.profile.as_deref().is_none_or(|name| profiles.contains(&name));
        self.content.active.retain(|_, active| is_there(active));
        self.is_changed |= self.content.active.len() != before;
    }

    /// Writes what changed.
    pub fn save(&mut self) -> io::Result<()> {
        if self.is_changed {
            self.fs.write_durably(&self.file, &serde_json::to_vec_pretty(&self.content)?)?;
            self.is_changed = false;
        }
        Ok(())
    }
}

impl Active {
    fn message(&self, key: &str, state: State, at: Timestamp) -> Message {
        Message {
            key: key.to_owned(),
            kind: self.kind.as_str().to_owned(),
            state,
            severity: self.severity,
            profile: self.profile.clone(),
            text: self.text.clone(),
            hint: self.hint.clone(),
            since: self.since,
            at,
            head: None,
        }
    }
}

fn key(profile: Option<&str>, kind: Kind) -> String {
    // No profile's name holds a slash, and none is `archive` by this alone: the kinds differ.
    format!("{}/{}", profile.unwrap_or("archive"), kind.as_str())
}

/// What is said when it is over.
fn over_text(kind: Kind) -> &'static str {
    match kind {
        Kind::NoSuccess => "a run succeeded again",
        Kind::Inactive => "new mail arrives again",
        Kind::PausedLong => "it is not paused any more",
        Kind::OldestItem => "nothing waits for too long any more",
        Kind::Backlog => "the backlog shrinks again",
        Kind::Quarantine => "nothing is in quarantine any more",
        Kind::Unfetchable => "the gateway gave all items",
        Kind::Quota => "the gateway's mailbox has room again",
        Kind::Certificate => "the certificate was renewed",
        Kind::ClientSecret => "what gatepost proves itself by was renewed",
        Kind::CannotDelete => "the gateway can delete",
        Kind::Unfinished => "deletions on the gateway are finished",
        Kind::Budget => "there is a daily budget left",
        Kind::RefusedLogin => "the login was accepted",
        Kind::People => "the directory of people answered",
        Kind::Disk => "there is room on the disk again; collecting goes on",
        Kind::Unwritable => "the archive can be written again",
        Kind::Damaged => "the archive is whole",
        Kind::Configuration => "the configuration was applied",
        Kind::Canary => "the canary came through",
        _ => "it is over",
    }
}

/// A duration as people say it: `4 h 12 min`, `185 min`, `40 s`, `3 d 2 h`.
pub fn spell(duration: Duration) -> String {
    let (minutes, hours) = (duration.as_secs() / 60, duration.as_secs() / 3600);
    match minutes {
        0 => format!("{} s", duration.as_secs()),
        1..200 => format!("{minutes} min"),
        _ if hours < 48 => match minutes % 60 {
            0 => format!("{hours} h"),
            rest => format!("{hours} h {rest} min"),
        },
        _ => match hours % 24 {
            0 => format!("{} d", hours / 24),
            rest => format!("{} d {rest} h", hours / 24),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> (Book, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Book::open(folder.path(), &Fs::real()), folder)
    }

    fn at(minutes: i64) -> Timestamp {
        "2026-11-24T06:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes)
    }

    fn down(severity: Severity) -> Vec<Condition> {
        vec![Condition::new(Kind::NoSuccess, severity, "no successful run".into())]
    }

    fn told(messages: &[Message]) -> Vec<String> {
        messages.iter().map(|message| format!("{:?} {message}", message.state)).collect()
    }

    #[test]
    fn an_alarm_is_told_once_and_taken_back_once() {
        let (mut book, _folder) = book();
        assert_eq!(
            told(&book.update(Some("journal"), down(Severity::Warning), at(0))),
            ["Raised WARNING journal: no successful run"]
        );
        assert_eq!(told(&book.update(Some("journal"), down(Severity::Warning), at(5))), [""; 0]);
        // Other profiles and the archive are others.
        assert_eq!(told(&book.update(Some("other"), vec![], at(6))), [""; 0]);
        assert_eq!(told(&book.update(None, vec![], at(6))), [""; 0]);
        assert_eq!(
            told(&book.update(Some("journal"), down(Severity::Critical), at(60))),
            ["Raised CRITICAL journal: no successful run"]
        );
        // Less grave is no news.
        assert_eq!(told(&book.update(Some("journal"), down(Severity::Warning), at(70))), [""; 0]);
        assert_eq!(
            told(&book.update(Some("journal"), vec![], at(252))),
            ["Cleared ALL CLEAR journal: a run succeeded again (it lasted 4 h 12 min)"]
        );
        assert_eq!(told(&book.update(Some("journal"), vec![], at(253))), [""; 0]);
    }

    #[test]
    fn what_is_over_for_another_reason_says_so() {
        let (mut book, _folder) = book();
        book.update(Some("journal"), down(Severity::Warning), at(0));
        let over =
            book.update_because(Some("journal"), vec![], Some("paused by anna; its errors are forgotten"), at(5));
        let expected = "Cleared ALL CLEAR journal: paused by anna; its errors are forgotten (it lasted 5 min)";
        assert_eq!(told(&over), [expected]);
    }

    #[test]
    fn repeats_are_bounded() {
        let (mut book, _folder) = book();
        let mut count = 0;
        for minute in 0..3 * 24 * 60 {
            count += book.update(Some("journal"), down(Severity::Critical), at(minute)).len();
        }
        assert_eq!(count, 12);
    }

    #[test]
    fn what_grows_is_told_again_within_bounds() {
        let (mut book, _folder) = book();
        let mut quarantine = |count: u64, minute: i64| {
            let text = format!("{count} items");
            let condition = Condition::new(Kind::Quarantine, Severity::Warning, text).count(count);
            told(&book.update(Some("journal"), vec![condition], at(minute)))
        };
        assert_eq!(quarantine(1, 0).len(), 1);
        assert_eq!(quarantine(2, 5).len(), 0);
        assert_eq!(quarantine(9, 61), ["Repeated WARNING journal: 9 items"]);
        assert_eq!(quarantine(8, 200).len(), 0);
    }

    #[test]
    fn a_restart_tells_nothing_anew() {
        let (mut book, folder) = book();
        book.update(Some("journal"), down(Severity::Critical), at(0));
        book.event(Some("journal"), (Kind::Vanished, Severity::Critical), "gone".into(), None, at(0)).unwrap();
        book.save().unwrap();
        let mut book = Book::open(folder.path(), &Fs::real());
        assert_eq!(told(&book.update(Some("journal"), down(Severity::Critical), at(5))), [""; 0]);
        assert!(
            book.event(Some("journal"), (Kind::Vanished, Severity::Critical), "gone".into(), None, at(5)).is_none()
        );
        assert_eq!(book.active(at(6)).len(), 1);
        assert_eq!(told(&book.update(Some("journal"), vec![], at(10))).len(), 1);
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(Book::open(folder.path(), &Fs::real()).active(at(0)).is_empty());
    }

    #[test]
    fn events_are_counted_while_it_is_quiet() {
        let (mut book, _folder) = book();
        let mut vanished = |minute: i64| {
            let message =
                book.event(Some("journal"), (Kind::Vanished, Severity::Critical), "37 items".into(), None, at(minute));
            message.map(|message| message.text)
        };
        assert_eq!(vanished(0).unwrap(), "37 items");
        assert_eq!(vanished(1), None);
        assert_eq!(vanished(14), None);
        assert_eq!(vanished(15).unwrap(), "37 items (and 2 more times since the last message)");
        assert_eq!(vanished(60).unwrap(), "37 items");
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_silence() {
        let (mut book, _folder) = book();
        book.update(Some("journal"), down(Severity::Critical), at(0));
        assert_eq!(book.update(Some("journal"), down(Severity::Critical), at(-60)).len(), 1);
        assert_eq!(book.update(Some("journal"), down(Severity::Critical), at(-55)).len(), 0);
    }

    #[test]
    fn durations_are_spelled() {
        let of = |seconds: u64| spell(Duration::from_secs(seconds));
        assert_eq!(of(40), "40 s");
        assert_eq!(of(185 * 60), "185 min");
        assert_eq!(of(252 * 60), "4 h 12 min");
        assert_eq!(of(5 * 3600), "5 h");
        assert_eq!(of(50 * 3600), "2 d 2 h");
    }
}
