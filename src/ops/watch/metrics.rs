//! A snapshot in Prometheus' text format 0.0.4. Names and units follow its conventions; what is not known has no sample.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;

use super::snapshot::{ProfileSnapshot, Snapshot, Totals};

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const STATES: [&str; 5] = ["awaiting-first-run", "ok", "inactive", "error", "paused"];

pub fn text(snapshot: &Snapshot) -> String {
    let Snapshot { pid: _, started, at: _, is_ready, is_damaged, profiles, archive, alarms } = snapshot;
    let mut page = Page::default();
    let mut family = page.gauge("build_info", "The version that runs; always 1.");
    family.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    page.gauge("ready", "1 when the archive is open and the people are known.").sample(&[], flag(*is_ready));
    page.gauge("start_time_seconds", "When the agent started, in seconds since 1970.").sample(&[], seconds(*started));
    self::profiles(&mut page, profiles);
    page.gauge("archive_items", "Items in the archive.").sample(&[], archive.items as f64);
    let raw = "Bytes of all archived items as they came in.";
    page.gauge("archive_raw_bytes", raw).sample(&[], archive.bytes_raw as f64);
    page.gauge("archive_stored_bytes", "Bytes of all packs.").sample(&[], archive.bytes_stored as f64);
    page.gauge("archive_free_bytes", "Free bytes on the archive's volume.").sample(&[], archive.free_bytes as f64);
    let reserve = "Free bytes below which nothing is collected.";
    page.gauge("archive_reserve_bytes", reserve).sample(&[], archive.reserve_bytes as f64);
    let head = archive.head.map(|head| head.seq as f64);
    page.gauge("archive_head_sequence", "Number of the archive's newest commit.").known(&[], head);
    let commit = "When anything was last committed, in seconds since 1970.";
    page.gauge("archive_last_commit_timestamp_seconds", commit).known(&[], archive.last_commit.map(seconds));
    let damaged = "1 when the archive is damaged: nothing is collected or deleted any more.";
    page.gauge("archive_damaged", damaged).sample(&[], flag(*is_damaged));
    let mut family = page.gauge("alarms_active", "Alarms that last, by severity.");
    for severity in ["warning", "critical"] {
        let count = alarms.iter().filter(|alarm| alarm.severity.as_str() == severity).count();
        family.sample(&[("severity", severity)], count as f64);
    }
    let mut family =
        page.gauge("alarm_active", "1 for each alarm that lasts; profile is empty for those of the archive.");
    let profile = |alarm: &'_ crate::agent::alarms::Message| alarm.profile.clone().unwrap_or_default();
    let active: BTreeSet<(&str, &str, String)> =
        alarms.iter().map(|alarm| (alarm.kind.as_str(), alarm.severity.as_str(), profile(alarm))).collect();
    for (kind, severity, profile) in &active {
        family.sample(&[("kind", kind), ("severity", severity), ("profile", profile)], 1.0);
    }
    page.text
}

type Read<T> = fn(&ProfileSnapshot) -> T;

fn profiles(page: &mut Page, profiles: &[ProfileSnapshot]) {
    let mut family = page.gauge("profile_state", "1 for the state that a profile is in, 0 for the others.");
    for profile in profiles {
        for state in STATES {
            family.sample(&[("profile", &profile.name), ("state", state)], flag(profile.state == state));
        }
    }
    let gauges: [(&str, &str, Read<Option<f64>>); 9] = [
        ("profile_running", "1 while a cycle of the profile runs.", |one| Some(flag(one.is_running))),
        ("profile_last_run_timestamp_seconds", "When the profile's last cycle ended, in seconds since 1970.", |one| {
            one.last_run.map(seconds)
        }),
        (
            "profile_last_success_timestamp_seconds",
            "When the profile's last cycle without an error ended, in seconds since 1970.",
            |one| one.last_success.map(seconds),
        ),
        (
            "profile_last_item_timestamp_seconds",
            "When the profile's last new item came, in seconds since 1970.",
            |one| one.last_item.map(seconds),
        ),
        ("profile_next_run_timestamp_seconds", "When the profile's next cycle is due, in seconds since 1970.", |one| {
            one.next_run.map(seconds)
        }),
        ("profile_backlog_items", "Items on the gateway without a final disposition.", |one| Some(one.backlog as f64)),
        ("profile_oldest_item_age_seconds", "Age of the oldest item without a final disposition.", |one| {
            one.oldest_item_age_s.map(|age| age as f64)
        }),
        ("profile_quarantined_items", "Items in the archive that could not be decoded or filed.", |one| {
            Some(one.quarantined as f64)
        }),
        ("profile_consecutive_failures", "Cycles in a row that failed.", |one| Some(f64::from(one.failures))),
    ];
    for (name, help, value) in gauges {
        let mut family = page.gauge(name, help);
        for profile in profiles {
            family.known(&[("profile", &profile.name)], value(profile));
        }
    }
    let mut family = page.counter("cycles_total", "Cycles since the agent started, by how they ended.");
    for profile in profiles {
        let Totals { cycles_ok, cycles_attention, cycles_error, .. } = profile.totals;
        for (outcome, count) in [("ok", cycles_ok), ("attention", cycles_attention), ("error", cycles_error)] {
            family.sample(&[("profile", &profile.name), ("outcome", outcome)], count as f64);
        }
    }
    let mut family = page.counter("items_total", "Items since the agent started, by what became of them.");
    for profile in profiles {
        for (disposition, count) in dispositions(&profile.totals) {
            family.sample(&[("profile", &profile.name), ("disposition", disposition)], count as f64);
        }
    }
    let counters: [(&str, &str, Read<f64>); 3] = [
        ("deleted_items_total", "Items that were deleted on the gateway since the agent started.", |one| {
            one.totals.deleted as f64
        }),
        ("downloaded_bytes_total", "Bytes that were downloaded since the agent started.", |one| {
            one.totals.bytes as f64
        }),
        ("cycle_seconds_total", "Time spent in cycles since the agent started.", |one| one.totals.seconds),
    ];
    for (name, help, value) in counters {
        let mut family = page.counter(name, help);
        for profile in profiles {
            family.sample(&[("profile", &profile.name)], value(profile));
        }
    }
}

fn dispositions(totals: &Totals) -> [(&'static str, u64); 7] {
    [
        ("archived", totals.archived),
        ("already_archived", totals.already_archived),
        ("quarantined", totals.quarantined),
        ("unfetchable", totals.unfetchable),
        ("excluded", totals.excluded),
        ("vanished", totals.vanished),
        ("failed", totals.failed),
    ]
}

fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

#[derive(Default)]
struct Page {
    text: String,
}

/// The samples of one name, which stand together. Its head is written with the first of them.
struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    has_head: bool,
}

impl Page {
    fn gauge(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        Family { page: self, name, kind: "gauge", help, has_head: false }
    }

    fn counter(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        Family { page: self, name, kind: "counter", help, has_head: false }
    }
}

impl Family<'_> {
    fn known(&mut self, labels: &[(&str, &str)], value: Option<f64>) {
        if let Some(value) = value {
            self.sample(labels, value);
        }
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        let Family { page, name, kind, help, has_head } = self;
        let out = &mut page.text;
        // Writing into a text cannot fail.
        if !std::mem::replace(has_head, true) {
            let _ = writeln!(out, "# HELP gatepost_{name} {help}\n# TYPE gatepost_{name} {kind}");
        }
        let _ = write!(out, "gatepost_{name}");
        for (at, (label, value)) in labels.iter().enumerate() {
            let _ = write!(out, "{}{label}=\"{}\"", if at == 0 { '{' } else { ',' }, escaped(value));
        }
        let _ = writeln!(out, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
pub(super) mod tests;
