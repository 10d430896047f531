//! How a profile is: its state, and what of it somebody should be told.
//!
//! ```text
//! awaiting-first-run → ok ⇄ error       the last cycle decides
//!                      ok ⇄ inactive    nothing new came for `inactive_after`
//!                      any ⇄ paused     by a person; pausing forgets errors
//! ```
//!
//! Pure: it is told of cycles and of the time, and asks nobody.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Role;
use super::alarms::{Condition, Kind, Notice, Severity, spell};
use super::report::{Outcome, ProfileReport, ReportedError};
use crate::archive::Unsettled;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    AwaitingFirstRun,
    Ok,
    Inactive,
    Error,
    Paused,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::AwaitingFirstRun => "awaiting-first-run",
            State::Ok => "ok",
            State::Inactive => "inactive",
            State::Error => "error",
            State::Paused => "paused",
        }
    }
}

/// From when on something is an alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures in a row.
    pub failures: u32,
    /// Without a successful cycle.
    pub no_success_critical: Duration,
    pub oldest_warning: Duration,
    pub oldest_critical: Duration,
    /// Before the end of a certificate.
    pub certificate: Duration,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds {
            failures: 3,
            no_success_critical: Duration::from_secs(60 * 60),
            oldest_warning: Duration::from_secs(60 * 60),
            oldest_critical: Duration::from_secs(6 * 60 * 60),
            certificate: Duration::from_secs(21 * 24 * 60 * 60),
        }
    }
}

/// What a profile's settings say of it.
#[derive(Clone, Debug)]
pub struct Terms {
    pub name: String,
    pub role: Role,
    pub inactive_after: Option<Duration>,
    pub paused_max: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    pub since: Timestamp,
    pub by: String,
}

/// So often in a row must a backlog have grown.
const GROWING: usize = 3;
/// And be so long.
const BACKLOG_MIN: u64 = 100;

/// What is known of a profile.
#[derive(Clone, Debug)]
pub struct Health {
    pub paused: Option<Pause>,
    pub last_run: Option<Timestamp>,
    pub last_success: Option<Timestamp>,
    /// When something new came last.
    pub last_item: Option<Timestamp>,
    /// In a row.
    pub failures: u32,
    /// How many they were when the refused login was told, which says it all from then on.
    before_refusal: Option<u32>,
    pub error: Option<ReportedError>,
    /// Deleted by cycles since the last that succeeded.
    deleted: u64,
    /// The last cycle that was tried ended so.
    notices: Vec<Notice>,
    /// What is not settled, as the archive knows it.
    pub open: Unsettled,
    pub pending: u64,
    pending_since: Option<Timestamp>,
    /// `pending` after the last cycles, newest last.
    backlogs: Vec<u64>,
    /// Of the gateway, as far as it was seen.
    pub certificate_until: Option<Timestamp>,
    /// What gatepost proves itself by, where it ends.
    pub proof_ends: Option<(&'static str, Timestamp)>,
    /// Since when somebody looks; nothing is late before that.
    watched_since: Timestamp,
    /// Since when nothing kept gatepost from hearing of new items.
    heard_since: Timestamp,
    pub totals: Totals,
}

/// Counted since the agent started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    pub cycles_ok: u64,
    pub cycles_attention: u64,
    pub cycles_error: u64,
    pub archived: u64,
    pub already_archived: u64,
    pub quarantined: u64,
    pub unfetchable: u64,
    pub excluded: u64,
    pub vanished: u64,
    pub failed: u64,
    pub deleted: u64,
    /// Downloaded.
    pub bytes: u64,
    /// Spent in cycles.
    pub seconds: f64,
}

impl Health {
    pub fn new(now: Timestamp) -> Health {
        Health {
            paused: None,
            last_run: None,
            last_success: None,
            last_item: None,
            failures: 0,
            before_refusal: None,
            error: None,
            deleted: 0,
            notices: Vec::new(),
            open: Unsettled::default(),
            pending: 0,
            pending_since: None,
            backlogs: Vec::new(),
            certificate_until: None,
            proof_ends: None,
            watched_since: now,
            heard_since: now,
            totals: Totals::default(),
        }
    }

    /// A cycle ended, or was not tried.
    pub fn finished(&mut self, report: &ProfileReport, now: Timestamp) {
        if report.not_tried {
            // It is as it was.
            self.error = report.error.clone().or_else(|| self.error.take());
            return;
        }
        self.count(report);
        self.last_run = Some(now);
        if report.archived + report.quarantined + report.excluded > 0 {
            self.last_item = Some(now);
        }
        self.deleted += report.deleted;
        self.error = report.error.clone();
        let new = report.alarms.iter().filter(|notice| notice.kind.lasts()).cloned();
        if report.error.is_some() {
            if report.alarms.iter().any(|notice| notice.kind == Kind::RefusedLogin) {
                self.before_refusal.get_or_insert(self.failures);
            }
            self.failures = self.failures.saturating_add(1);
            // What was so before may still be so.
            let known: Vec<Kind> = self.notices.iter().map(|notice| notice.kind).collect();
            self.notices.extend(new.filter(|notice| !known.contains(&notice.kind)));
            return;
        }
        self.notices = new.collect();
        if self.failures > 0 {
            // While nobody could look, silence meant nothing.
            self.heard_since = now;
        }
        (self.failures, self.before_refusal) = (0, None);
        self.deleted = 0;
        self.last_success = Some(now);
        self.pending = report.pending;
        self.pending_since = (report.pending > 0).then(|| self.pending_since.unwrap_or(now));
        self.backlogs.push(report.pending);
        if self.backlogs.len() > GROWING + 1 {
            self.backlogs.remove(0);
        }
    }

    fn count(&mut self, report: &ProfileReport) {
        let totals = &mut self.totals;
        match report.outcome {
            Outcome::Ok => totals.cycles_ok += 1,
            Outcome::Attention => totals.cycles_attention += 1,
            Outcome::Error => totals.cycles_error += 1,
        }
        totals.archived += report.archived;
        totals.already_archived += report.already_archived;
        totals.quarantined += report.quarantined;
        totals.unfetchable += report.unfetchable;
        totals.excluded += report.excluded;
        totals.vanished += report.vanished;
        totals.failed += report.failed;
        totals.deleted += report.deleted;
        totals.bytes += report.bytes;
        totals.seconds += report.seconds;
    }

    /// It failed before the agent was started, and somebody was told at `since`.
    pub fn still_fails(&mut self, since: Timestamp, thresholds: &Thresholds) {
        if self.error.is_some() {
            self.failures = thresholds.failures;
            self.watched_since = self.watched_since.min(since);
        }
    }

    /// Whether a cycle ended since somebody looks; before, nothing that lasts can be taken back.
    pub fn is_known(&self) -> bool {
        self.paused.is_some() || self.totals.cycles_ok + self.totals.cycles_attention + self.totals.cycles_error > 0
    }

    /// Somebody paused it: what was wrong is forgotten.
    pub fn pause(&mut self, pause: Pause) {
        self.paused = Some(pause);
        (self.failures, self.before_refusal) = (0, None);
        self.error = None;
        self.notices.clear();
    }

    pub fn resume(&mut self, now: Timestamp) {
        self.paused = None;
        (self.watched_since, self.heard_since) = (now, now);
        self.backlogs.clear();
        self.pending_since = None;
    }

    pub fn state(&self, terms: &Terms, now: Timestamp) -> State {
        if self.paused.is_some() {
            State::Paused
        } else if self.error.is_some() {
            State::Error
        } else if self.last_run.is_none() {
            State::AwaitingFirstRun
        } else if self.silent_for(terms, now).is_some() {
            State::Inactive
        } else {
            State::Ok
        }
    }

    /// For how long nothing new came, when that is too long.
    fn silent_for(&self, terms: &Terms, now: Timestamp) -> Option<Duration> {
        let after = terms.inactive_after.filter(|_| terms.role == Role::Primary)?;
        // An item from before the agent was started, or the profile was resumed, is not waited for in between.
        let since = self.last_item.map_or(self.heard_since, |last| last.max(self.heard_since));
        let silent = elapsed(since, now);
        (silent >= after).then(|| self.last_item.map_or(silent, |last| elapsed(last, now)))
    }

    /// The age of the oldest item without a final disposition.
    pub fn oldest_age(&self, now: Timestamp) -> Option<Duration> {
        let oldest = [self.open.oldest, self.pending_since].into_iter().flatten().min()?;
        Some(elapsed(oldest, now))
    }

    /// Items without a final disposition.
    pub fn backlog(&self) -> u64 {
        self.pending + self.open.failed + self.open.unfetchable
    }

    /// What lasts now.
    pub fn conditions(&self, terms: &Terms, thresholds: &Thresholds, now: Timestamp) -> Vec<Condition> {
        let name = &terms.name;
        if let Some(pause) = &self.paused {
            let paused = elapsed(pause.since, now);
            if paused < terms.paused_max {
                return Vec::new();
            }
            let text = format!("paused for {} by {}; nothing is archived meanwhile", spell(paused), pause.by);
            let condition = Condition::new(Kind::PausedLong, Severity::Warning, text);
            return vec![condition.hint(format!("gatepost resume {name}"))];
        }
        let mut conditions = Vec::new();
        // The disk is everybody's: it is told once, of the archive.
        for notice in self.notices.iter().filter(|notice| notice.kind != Kind::Disk) {
            let condition = Condition::new(notice.kind, notice.kind.severity(), notice.text.clone());
            conditions.push(match notice.kind {
                Kind::RefusedLogin => condition.hint(format!("gatepost check --profile {name}")),
                _ => condition,
            });
        }
        conditions.extend(self.no_success(terms, thresholds, now));
        if self.error.is_none()
            && let Some(silent) = self.silent_for(terms, now).filter(|_| self.last_run.is_some())
        {
            let text =
                format!("the login works, but no mail arrived for {}. The journal rule may be off", spell(silent));
            let condition = Condition::new(Kind::Inactive, Severity::Warning, text);
            conditions.push(condition.hint("check the rule and the alternate mailbox"));
        }
        if let Some(age) = self.oldest_age(now).filter(|age| *age >= thresholds.oldest_warning) {
            let severity = if age >= thresholds.oldest_critical { Severity::Critical } else { Severity::Warning };
            let text = format!(
                "the oldest item that is not archived waits for {}; {} on the gateway",
                spell(age),
                waiting(self.backlog())
            );
            let condition = Condition::new(Kind::OldestItem, severity, text);
            conditions.push(condition.hint(format!("gatepost status; gatepost check --profile {name}")));
        }
        let is_growing = self.backlogs.len() > GROWING && self.backlogs.windows(2).all(|pair| pair[1] > pair[0]);
        if is_growing && self.pending >= BACKLOG_MIN {
            let text = format!("the backlog grows: {} on the gateway", waiting(self.pending));
            conditions.push(
                Condition::new(Kind::Backlog, Severity::Warning, text)
                    .hint("a shorter `every`, more bandwidth, or look at what holds it up: gatepost status"),
            );
        }
        if let Some(until) = self.certificate_until {
            let hint = format!("renew it on the server in time; gatepost check --profile {name}");
            let of_gateway = Ending { kind: Kind::Certificate, what: "the certificate of the gateway", until, hint };
            conditions.extend(of_gateway.condition(thresholds, now));
        }
        if let Some((what, until)) = self.proof_ends {
            let hint = format!(
                "make a new one, put it into the configuration, gatepost reload; gatepost check --profile {name}"
            );
            conditions.extend(Ending { kind: Kind::ClientSecret, what, until, hint }.condition(thresholds, now));
        }
        if self.open.quarantined > 0 {
            let text = format!(
                "{} in quarantine: archived, but not decoded; they need a person",
                items(self.open.quarantined)
            );
            let condition = Condition::new(Kind::Quarantine, Severity::Warning, text).count(self.open.quarantined);
            conditions.push(condition.hint("gatepost quarantine list"));
        }
        if self.open.unfetchable > 0 {
            let text = format!(
                "the gateway does not give {}; they are not archived, and stay there",
                items(self.open.unfetchable)
            );
            let condition = Condition::new(Kind::Unfetchable, Severity::Warning, text).count(self.open.unfetchable);
            conditions.push(condition.hint("gatepost quarantine list"));
        }
        conditions
    }

    fn no_success(&self, terms: &Terms, thresholds: &Thresholds, now: Timestamp) -> Option<Condition> {
        let error = self.error.as_ref()?;
        let since = self.last_success.unwrap_or(self.watched_since);
        let without = elapsed(since, now);
        // Since the agent looks: what was before it was started is no failure of a gateway.
        let is_long = elapsed(since.max(self.watched_since), now) >= thresholds.no_success_critical;
        let is_told = is_long || self.before_refusal.unwrap_or(self.failures) >= thresholds.failures;
        if !is_told {
            return None;
        }
        let ever = if self.last_success.is_some() { "" } else { " (there never was one)" };
        let nothing = match self.deleted {
            0 => "Nothing was deleted.".to_owned(),
            1 => "1 item that stands in the archive was deleted before.".to_owned(),
            deleted => format!("{deleted} items that stand in the archive were deleted before."),
        };
        let mut text =
            format!("no successful run for {}{ever}. The last one said: \"{}\". {nothing}", spell(without), error.what);
        let severity = if is_long { Severity::Critical } else { Severity::Warning };
        if is_long && terms.role == Role::Primary {
            let returned = since.checked_add(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MAX);
            text.push_str(&match returned > now {
                true => format!(" Exchange starts returning reports after 24 h, at {}", day_and_time(returned, now)),
                false => {
                    format!(" Exchange returns reports after 24 h, which were over {}", day_and_time(returned, now))
                }
            });
        }
        let condition = Condition::new(Kind::NoSuccess, severity, text);
        Some(condition.hint(format!("gatepost check --profile {}", terms.name)))
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    let passed = now.duration_since(since);
    if passed.is_negative() { Duration::ZERO } else { passed.unsigned_abs() }
}

fn items(count: u64) -> String {
    if count == 1 { "1 item".to_owned() } else { format!("{count} items") }
}

fn waiting(count: u64) -> String {
    if count == 1 { "1 item waits".to_owned() } else { format!("{count} items wait") }
}

/// `06:10 tomorrow`, in local time.
fn day_and_time(at: Timestamp, now: Timestamp) -> String {
    let (at, now) = (at.to_zoned(TimeZone::system()), now.to_zoned(TimeZone::system()));
    let days = (at.date() - now.date()).get_days();
    let time = at.strftime("%H:%M");
    match days {
        0 => format!("{time} today"),
        1 => format!("{time} tomorrow"),
        -1 => format!("{time} yesterday"),
        _ => format!("{time} on {}", at.date()),
    }
}

/// Something that ends on a day that is known.
struct Ending {
    kind: Kind,
    what: &'static str,
    until: Timestamp,
    hint: String,
}

impl Ending {
    fn condition(self, thresholds: &Thresholds, now: Timestamp) -> Option<Condition> {
        let Ending { kind, what, until, hint } = self;
        let left = until.duration_since(now);
        if !left.is_negative() && left.unsigned_abs() > thresholds.certificate {
            return None;
        }
        let at = day_and_time(until, now);
        let (severity, text) = match left.is_negative() {
            true => (Severity::Critical, format!("{what} ended {at}")),
            false => (Severity::Warning, format!("{what} ends in {}, {at}", spell(left.unsigned_abs()))),
        };
        Some(Condition::new(kind, severity, text).hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        "2026-11-24T06:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes)
    }

    fn terms() -> Terms {
        Terms {
            name: "journal".into(),
            role: Role::Primary,
            inactive_after: Some(Duration::from_secs(180 * 60)),
            paused_max: Duration::from_secs(7 * 24 * 3600),
        }
    }

    fn good(archived: u64) -> ProfileReport {
        let mut report = ProfileReport { listed: archived, archived, ..ProfileReport::default() };
        report.finish();
        report
    }

    fn bad() -> ProfileReport {
        let error = ReportedError { what: "connect to gw:993: connection refused".into(), hint: None };
        let mut report = ProfileReport { error: Some(error), ..ProfileReport::default() };
        report.finish();
        report
    }

    fn told(health: &Health, now: Timestamp) -> Vec<String> {
        health
            .conditions(&terms(), &Thresholds::default(), now)
            .iter()
            .map(|one| format!("{:?} {}: {}", one.severity, one.kind.as_str(), one.text))
            .collect()
    }

    #[test]
    fn errors_are_told_when_they_last() {
        let mut health = Health::new(at(0));
        assert_eq!(health.state(&terms(), at(0)), State::AwaitingFirstRun);
        health.finished(&good(5), at(0));
        assert_eq!(health.state(&terms(), at(1)), State::Ok);
        health.finished(&bad(), at(5));
        assert_eq!(health.state(&terms(), at(5)), State::Error);
        health.finished(&bad(), at(6));
        assert_eq!(told(&health, at(6)), [""; 0]);
        health.finished(&bad(), at(7));
        let said = told(&health, at(7));
        assert_eq!(said.len(), 1);
        assert!(
            said[0].starts_with(
                "Warning no-success: no successful run for 7 min. The last one said: \"connect to gw:993: connection \
                 refused\". Nothing was deleted."
            ),
            "{said:?}"
        );
        let said = told(&health, at(252));
        assert!(said[0].starts_with("Critical no-success: no successful run for 4 h 12 min."), "{said:?}");
        assert!(said[0].contains(" Exchange starts returning reports after 24 h, at "), "{said:?}");
        health.finished(&good(0), at(253));
        assert_eq!(told(&health, at(253)), [""; 0]);
        // Nobody knows what came meanwhile.
        assert_eq!(health.state(&terms(), at(253 + 179)), State::Ok);
        assert_eq!(health.state(&terms(), at(253 + 180)), State::Inactive);
    }

    #[test]
    fn silence_is_told_and_ends_with_an_item() {
        let mut health = Health::new(at(0));
        health.finished(&good(0), at(0));
        assert_eq!(health.state(&terms(), at(179)), State::Ok);
        assert_eq!(health.state(&terms(), at(180)), State::Inactive);
        let said = told(&health, at(185));
        let expected =
            "Warning inactive: the login works, but no mail arrived for 185 min. The journal rule may be off";
        assert_eq!(said, [expected]);
        health.finished(&good(1), at(186));
        assert_eq!(told(&health, at(186)), [""; 0]);
        // Where silence is normal.
        let alternate = Terms { role: Role::Alternate, ..terms() };
        assert_eq!(health.state(&alternate, at(10_000)), State::Ok);
    }

    #[test]
    fn pausing_forgets_errors_and_is_told_when_it_is_forgotten() {
        let mut health = Health::new(at(0));
        for minute in 0..4 {
            health.finished(&bad(), at(minute));
        }
        assert_eq!(told(&health, at(5)).len(), 1);
        health.pause(Pause { since: at(5), by: "anna".into() });
        assert_eq!((health.state(&terms(), at(6)), told(&health, at(6)).len()), (State::Paused, 0));
        let said = told(&health, at(5 + 7 * 24 * 60));
        assert_eq!(said, ["Warning paused-long: paused for 7 d by anna; nothing is archived meanwhile"]);
        health.resume(at(20_000));
        assert_eq!(health.state(&terms(), at(20_000)), State::Ok);
    }

    #[test]
    fn what_waits_for_long_becomes_graver() {
        let mut health = Health::new(at(0));
        let mut report = ProfileReport { listed: 2_000, archived: 500, ..ProfileReport::default() };
        report.finish();
        health.finished(&report, at(0));
        assert_eq!(told(&health, at(59)), [""; 0]);
        let said = told(&health, at(61));
        assert!(
            said[0]
                .starts_with("Warning oldest-item: the oldest item that is not archived waits for 61 min; 1500 items")
        );
        assert!(told(&health, at(361))[1].starts_with("Critical oldest-item"), "{:?}", told(&health, at(361)));
        for (minute, listed) in [(1, 2_001), (2, 2_002), (3, 2_003)] {
            let mut report = ProfileReport { listed, ..ProfileReport::default() };
            report.finish();
            health.finished(&report, at(minute));
        }
        let said = told(&health, at(4));
        assert_eq!(said, ["Warning backlog: the backlog grows: 2003 items wait on the gateway"]);
    }

    #[test]
    fn what_was_not_tried_changes_nothing() {
        let mut health = Health::new(at(0));
        let mut report = bad();
        report.alarms.push(Notice::new(Kind::RefusedLogin, "refused the login 3 times"));
        health.finished(&report, at(1));
        assert_eq!(told(&health, at(2)), ["Critical refused-login: refused the login 3 times"]);
        let mut waiting = bad();
        waiting.not_tried = true;
        health.finished(&waiting, at(6));
        assert_eq!((told(&health, at(7)).len(), health.failures), (1, 1));
        assert_eq!(health.last_run, Some(at(1)));
    }

    #[test]
    fn what_ends_soon_is_told_in_time() {
        const DAY: i64 = 24 * 60;
        let mut health = Health::new(at(0));
        health.finished(&good(1), at(0));
        health.certificate_until = Some(at(22 * DAY));
        health.proof_ends = Some(("the client secret", at(22 * DAY)));
        assert_eq!(told(&health, at(0)), [""; 0]);
        health.finished(&good(1), at(2 * DAY));
        let said = told(&health, at(2 * DAY));
        assert!(said[0].starts_with("Warning certificate: the certificate of the gateway ends in 20 d"), "{said:?}");
        assert!(said[1].starts_with("Warning client-secret: the client secret ends in 20 d"), "{said:?}");
        health.proof_ends = Some(("the client certificate", at(DAY)));
        let said = told(&health, at(2 * DAY));
        assert!(said[1].starts_with("Critical client-secret: the client certificate ended "), "{said:?}");
    }
}
