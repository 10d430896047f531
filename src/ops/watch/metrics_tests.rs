use std::collections::BTreeMap;

use super::super::deliver::sample;
use super::super::snapshot::ArchiveSnapshot;
use super::*;

/// An agent with a profile that runs, and one that never did.
pub fn snapshot() -> Snapshot {
    let at: Timestamp = "2026-03-01T06:00:00Z".parse().unwrap();
    let fresh = |name: &str, state: &str| ProfileSnapshot {
        name: name.into(),
        state: state.into(),
        is_running: false,
        last_run: None,
        last_success: None,
        next_run: None,
        last_item: None,
        backlog: 0,
        oldest_item_age_s: None,
        quarantined: 0,
        failures: 0,
        totals: Totals::default(),
    };
    let journal = ProfileSnapshot {
        is_running: true,
        last_run: Some(at),
        last_success: Some(at),
        last_item: Some(at),
        next_run: Some(at),
        backlog: 12,
        oldest_item_age_s: Some(61),
        totals: Totals { cycles_ok: 7, archived: 1204, bytes: 99, seconds: 1.5, ..Totals::default() },
        ..fresh("journal", "ok")
    };
    let mut alarm = sample(at);
    alarm.kind = "ab\"c\\d\ne".into();
    Snapshot {
        pid: 1,
        started: at,
        at,
        is_ready: true,
        is_damaged: false,
        profiles: vec![journal, fresh("old-gateway", "awaiting-first-run")],
        archive: ArchiveSnapshot {
            head: Some("7:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap()),
            items: 3,
            bytes_raw: 4,
            bytes_stored: 5,
            free_bytes: 12_000_000_000,
            reserve_bytes: 10_000_000_000,
            last_commit: Some(at),
        },
        // The same twice must not be two samples.
        alarms: vec![alarm.clone(), alarm],
    }
}

#[test]
fn families_stand_together_each_with_one_head() {
    let text = text(&snapshot());
    let mut heads: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    let mut family = "";
    let mut samples = std::collections::BTreeSet::new();
    for line in text.lines() {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["#", "HELP", name, ..] => {
                family = name;
                heads.entry(name).or_default().0 += 1;
            }
            ["#", "TYPE", name, kind] => {
                assert_eq!(*name, family);
                assert_eq!(*kind == "counter", name.ends_with("_total"), "{line}");
                heads.entry(name).or_default().1 += 1;
            }
            _ => {
                let name = line.split(['{', ' ']).next().unwrap();
                assert_eq!(name, family, "{line}");
                let (labels, _) = line.rsplit_once(' ').unwrap();
                assert!(samples.insert(labels), "twice: {line}");
            }
        }
    }
    assert!(heads.values().all(|counts| *counts == (1, 1)), "{heads:?}");
    assert_eq!(heads.len(), 28, "{heads:?}");
    for line in [
        concat!("gatepost_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "gatepost_profile_state{profile=\"journal\",state=\"ok\"} 1",
        "gatepost_profile_state{profile=\"old-gateway\",state=\"ok\"} 0",
        "gatepost_profile_last_run_timestamp_seconds{profile=\"journal\"} 1772344800",
        "gatepost_items_total{profile=\"journal\",disposition=\"archived\"} 1204",
        "gatepost_cycle_seconds_total{profile=\"journal\"} 1.5",
        "gatepost_archive_free_bytes 12000000000",
        "gatepost_alarms_active{severity=\"critical\"} 0",
        "gatepost_alarm_active{kind=\"ab\\\"c\\\\d\\ne\",severity=\"warning\",profile=\"\"} 1",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} in\n{text}");
    }
    // What is not known has no sample.
    assert!(!text.contains("last_run_timestamp_seconds{profile=\"old-gateway\"}"), "{text}");
}

/// Debian's promtool has the last word on names, units and form.
#[test]
fn promtool_accepts_it() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = command.spawn() else {
        let is_required = std::env::var_os("GATEPOST_REQUIRE_SERVERS").is_some_and(|value| value == "1");
        assert!(!is_required, "promtool is missing");
        eprintln!("skipped: promtool is missing (Debian: prometheus)");
        return;
    };
    promtool.stdin.take().unwrap().write_all(text(&snapshot()).as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}
