//! What a cycle found in its items, and which of it somebody is told.

use jiff::{SignedDuration, Timestamp};

use std::collections::BTreeMap;

use super::alarms::{Kind, Notice};
use super::decoders::Note;
use super::report::ProfileReport;
use super::route::is_suspect;
use super::{Expect, Profile, Role};
use crate::archive::Decoding;

/// A mailbox of reports in which so many items came without an envelope is set up wrongly somewhere.
const STEPPED_DOWN_MIN: u64 = 5;
const STEPPED_DOWN_PERCENT: u64 = 20;
/// What came last is so many items, a run's or more; runs of every few minutes see a handful each.
const LATEST: u64 = 50;
/// What is usual for the gateway is told by so many items before those, if there are enough of them.
const BEFORE: u64 = 200;
const BEFORE_MIN: u64 = 20;

/// Items, and how many of them nobody noted the envelope of.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    items: u64,
    stepped_down: u64,
}

impl Tally {
    fn add(&mut self, decodings: &[Decoding]) {
        self.items += decodings.len() as u64;
        self.stepped_down += decodings.iter().filter(|one| one.degraded && !is_suspect(&one.flags)).count() as u64;
    }

    fn is_odd(self) -> bool {
        self.stepped_down >= STEPPED_DOWN_MIN && self.stepped_down * 100 > self.items * STEPPED_DOWN_PERCENT
    }
}

/// Counts over one cycle.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    decoded: u64,
    capped: u64,
    suspect: u64,
    reports: u64,
    degraded: u64,
    content_lost: u64,
    /// Host and login, once a folder was opened.
    pub gateway: Option<(String, String)>,
    /// How many items each policy left out.
    pub excluded_by: BTreeMap<String, u64>,
    /// Quarantined items whose time on the gateway was over.
    pub quarantined_due: u64,
}

impl Findings {
    pub fn count(&mut self, note: Note) {
        let Note { capped, suspect, is_report, degraded, content_lost, excluded } = note;
        if let Some(policy) = excluded {
            *self.excluded_by.entry(policy).or_default() += 1;
        }
        self.decoded += 1;
        self.capped += u64::from(capped);
        self.suspect += u64::from(suspect);
        self.reports += u64::from(is_report && !degraded);
        self.degraded += u64::from(degraded);
        self.content_lost += u64::from(content_lost);
    }

    /// What is said of quarantined mail before it goes, and when it has gone.
    pub fn quarantined(&self, profile: &Profile, report: &ProfileReport, now: Timestamp) -> Vec<Notice> {
        let mut alarms = Vec::new();
        let mut tell = |kind, text| alarms.push(Notice::new(kind, text));
        let new = report.quarantined.saturating_sub(self.quarantined_due);
        let wait = profile.quarantine_wait().and_then(|wait| SignedDuration::try_from(wait).ok());
        if let (Some(wait), true) = (wait.filter(|wait| !wait.is_zero()), new > 0)
            && let Ok(day) = now.checked_add(wait)
        {
            tell(
                Kind::QuarantineDue,
                format!(
                    "{new} quarantined items will be deleted on the gateway after {} unless `gatepost quarantine retry` \
                 files them or `delete_quarantined` says otherwise; their bytes stay in the archive",
                    day.strftime("%Y-%m-%d %H:%M UTC")
                ),
            );
        }
        if self.quarantined_due > 0 {
            tell(
                Kind::QuarantineDue,
                format!(
                    "{} quarantined items were due for deletion on the gateway (`delete_quarantined`); their bytes stay in \
                 the archive, see `gatepost quarantine list`",
                    self.quarantined_due
                ),
            );
        }
        alarms
    }

    /// How many of the gateway's items before this run's are wanted to judge it by; none when it needs no judging.
    pub fn wants_history(&self, profile: &Profile) -> u64 {
        let asked = profile.expect == Expect::Auto && self.stepped_down() > 0;
        if asked { BEFORE + LATEST.saturating_sub(self.decoded) } else { 0 }
    }

    /// `history`: how the gateway's items before this run's were decoded, newest first.
    pub fn alarms(&self, profile: &Profile, report: &ProfileReport, history: &[Decoding]) -> Vec<Notice> {
        let mut alarms = Vec::new();
        let mut tell = |kind, text| alarms.push(Notice::new(kind, text));
        let arrived = report.archived + report.quarantined + report.unfetchable + report.excluded;
        if profile.role == Role::Alternate && arrived > 0 {
            tell(
                Kind::Alternate,
                format!(
                    "{arrived} items came to the alternate journaling mailbox: journal delivery is failing; look at why the \
                 journal mailbox refuses reports (full, or its address is wrong)"
                ),
            );
        }
        if self.content_lost > 0 {
            tell(
                Kind::ContentLost,
                format!(
                    "{} bounced journal reports came back without their mail: only its headers are archived; look for the \
                 mail in the senders' and recipients' mailboxes",
                    self.content_lost
                ),
            );
        }
        if self.capped > 0 {
            tell(
                Kind::Capped,
                format!(
                    "{} items named more unknown people than `create_max_per_item`; the rest is unassigned",
                    self.capped
                ),
            );
        }
        if self.suspect > 0 {
            tell(
                Kind::Untrusted,
                format!(
                    "{} journal reports could not be believed or read; they were filed by their headers alone",
                    self.suspect
                ),
            );
        }
        alarms.extend(self.unexpected(profile, history).map(|text| Notice::new(Kind::Unexpected, text)));
        alarms
    }

    /// What a suspect report is, is told already.
    fn stepped_down(&self) -> u64 {
        self.degraded.saturating_sub(self.suspect)
    }

    fn unexpected(&self, profile: &Profile, history: &[Decoding]) -> Option<String> {
        let plain = self.decoded - self.reports;
        let stepped_down = self.stepped_down();
        match profile.expect {
            Expect::Reports if plain > self.suspect => Some(format!(
                "{} of {} items were no journal reports, but `expect = \"reports\"`; their recipients are those of the \
                 envelope headers, or of To and Cc alone",
                plain - self.suspect,
                self.decoded
            )),
            Expect::Copies if self.reports > 0 => Some(format!(
                "{} of {} items were journal reports, but `expect = \"copies\"`",
                self.reports, self.decoded
            )),
            Expect::Copies if stepped_down > 0 => Some(format!(
                "{stepped_down} of {} copies had no envelope header of the gateway; they were filed by To and Cc alone",
                self.decoded
            )),
            Expect::Auto if stepped_down > 0 => self.unlike_others(history),
            Expect::Reports | Expect::Copies | Expect::Auto => None,
        }
    }

    /// Judged by what the gateway usually delivers, because a run can be too short to tell.
    fn unlike_others(&self, history: &[Decoding]) -> Option<String> {
        let mut latest = Tally { items: self.decoded, stepped_down: self.stepped_down() };
        let more = LATEST.saturating_sub(self.decoded).min(history.len() as u64) as usize;
        latest.add(&history[..more]);
        let mut before = Tally::default();
        before.add(&history[more..]);
        let unusual = if before.items < BEFORE_MIN {
            // Where no item has an envelope, that is how this gateway is.
            latest.stepped_down < latest.items
        } else {
            2 * before.stepped_down * latest.items < latest.stepped_down * before.items
        };
        (unusual && latest.is_odd()).then(|| {
            format!(
                "{} of the last {} items had no envelope, unlike the others; they were filed by To and Cc alone",
                latest.stepped_down, latest.items
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(enveloped: usize, stepped_down: usize) -> Vec<Decoding> {
        let one = |degraded| Decoding { degraded, flags: Vec::new() };
        [vec![one(false); enveloped], vec![one(true); stepped_down]].concat()
    }

    fn told(items: u64, stepped_down: u64, history: &[Decoding]) -> Option<String> {
        let findings = Findings { decoded: items, degraded: stepped_down, ..Findings::default() };
        findings.unlike_others(history)
    }

    #[test]
    fn a_run_alone_is_judged_by_itself() {
        assert!(told(20, 5, &[]).is_some());
        assert!(told(25, 5, &[]).is_none(), "a fifth is not more than a fifth");
        assert!(told(6, 4, &[]).is_none(), "too few");
        assert!(told(20, 20, &[]).is_none(), "this gateway has no envelopes");
    }

    #[test]
    fn short_runs_are_judged_with_those_before() {
        // Every run has three items, all of them stepped down since something broke.
        assert!(told(3, 3, &history(247, 0)).is_none(), "three may be mail of the gateway's own");
        let broken = [history(0, 12), history(235, 0)].concat();
        let said = told(3, 3, &broken).unwrap();
        assert!(said.starts_with("15 of the last 50 items"), "{said}");
    }

    #[test]
    fn what_is_usual_is_no_alarm() {
        assert!(told(60, 60, &history(0, 200)).is_none());
        assert!(told(60, 30, &history(100, 100)).is_none());
        assert!(told(60, 30, &history(190, 10)).is_some());
        assert!(told(60, 60, &history(200, 0)).is_some(), "all of a run, and none before");
    }

    #[test]
    fn suspect_reports_are_told_elsewhere() {
        let suspect = Decoding { degraded: true, flags: vec![crate::journal::flags::UNTRUSTED_REPORT.into()] };
        let mut tally = Tally::default();
        tally.add(&[suspect, history(0, 1)[0].clone()]);
        assert_eq!((tally.items, tally.stepped_down), (2, 1));
    }
}
