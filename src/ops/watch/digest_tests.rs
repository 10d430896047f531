use super::*;
use crate::agent::report::ReportedError;
use crate::archive::Head;
use crate::ops::watch::deliver::sample;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn settings(every: Period, at: &str, timezone: &str) -> ReportSettings {
    let at = Time::strptime("%H:%M", at).unwrap();
    ReportSettings { every, at, timezone: Some(timezone.to_owned()) }
}

#[test]
fn a_report_is_due_once_a_day_or_on_mondays() {
    let daily = settings(Period::Daily, "07:00", "Europe/Berlin");
    let due = |settings: &ReportSettings, now: &str| {
        let Due { at, from } = next(settings, time(now));
        (at.to_string(), from.to_string())
    };
    let expected = |at: &str, from: &str| (at.to_owned(), from.to_owned());
    // 2026-03-04 is a Wednesday.
    let early = due(&daily, "2026-03-04T05:59:59Z");
    assert_eq!(early, expected("2026-03-04T06:00:00Z", "2026-03-03T06:00:00Z"));
    // At the moment itself it is the next one's turn.
    let later = due(&daily, "2026-03-04T06:00:00Z");
    assert_eq!(later, expected("2026-03-05T06:00:00Z", "2026-03-04T06:00:00Z"));
    let weekly = settings(Period::Weekly, "07:00", "Europe/Berlin");
    let week = due(&weekly, "2026-03-04T06:00:00Z");
    assert_eq!(week, expected("2026-03-09T06:00:00Z", "2026-03-02T06:00:00Z"));
    let monday = due(&weekly, "2026-03-09T05:00:00Z");
    assert_eq!(monday.0, "2026-03-09T06:00:00Z");
    let after = due(&weekly, "2026-03-09T06:00:00Z");
    assert_eq!(after.0, "2026-03-16T06:00:00Z");
}

#[test]
fn changes_of_the_clocks_leave_out_no_report() {
    // On 2026-03-29 there is no 02:30 in Berlin, on 2026-10-25 there are two.
    let night = settings(Period::Daily, "02:30", "Europe/Berlin");
    let spring = next(&night, time("2026-03-28T12:00:00Z"));
    assert_eq!(spring.at.to_string(), "2026-03-29T01:30:00Z");
    assert_eq!(next(&night, spring.at).at.to_string(), "2026-03-30T00:30:00Z");
    let autumn = next(&night, time("2026-10-24T12:00:00Z"));
    assert_eq!(autumn.at.to_string(), "2026-10-25T00:30:00Z");
    assert_eq!(next(&night, autumn.at).at.to_string(), "2026-10-26T01:30:00Z");
    // Each begins where the one before it ended.
    assert_eq!(next(&night, autumn.at).from, autumn.at);
}

fn digest() -> Digest {
    let mut journal = ProfileDigest {
        name: "journal".into(),
        last_success: Some(time("2026-03-04T05:55:00Z")),
        oldest_open: Some(time("2026-03-04T01:00:00Z")),
        ..ProfileDigest::default()
    };
    let error = ReportedError { what: "timed out\r\nforged: line".into(), hint: None };
    for report in [
        ProfileReport { archived: 1200, deleted: 1100, bytes: 5 << 20, ..ProfileReport::default() },
        ProfileReport { archived: 4, quarantined: 1, vanished: 2, ..ProfileReport::default() },
        ProfileReport { error: Some(error), ..ProfileReport::default() },
    ] {
        journal.add(&report);
    }
    let idle = ProfileDigest { name: "old-gateway".into(), ..ProfileDigest::default() };
    let head: Head = "7:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap();
    Digest {
        host: "mail1".into(),
        from: time("2026-03-03T06:00:00Z"),
        to: time("2026-03-04T06:00:00Z"),
        profiles: vec![journal, idle],
        volume: Volume {
            head,
            commits: 7,
            packs: 1,
            items: 1204,
            messages: 1203,
            filings: 2000,
            chunks: 9,
            bytes_raw: 7 << 20,
            bytes_stored: 3 << 20,
        },
        free_bytes: Some(12 << 30),
        quarantined: 1,
        unfetchable: 0,
        alarms: vec![sample(time("2026-03-04T05:00:00Z"))],
        is_cut: false,
    }
}

#[test]
fn what_needs_a_person_comes_first() {
    let digest = digest();
    insta::assert_snapshot!(digest_text::text(&digest, &TimeZone::UTC), @r"
    gatepost on mail1, 2026-03-03 06:00 +00:00 to 2026-03-04 06:00 +00:00

    report: 1204 items archived, 3 matters need a person

    Needs a person
      WARNING gatepost: this is a test alarm. Somebody asked for it with `gatepost check --send-alarm`; nothing is wrong.
      1 item is in quarantine: archived, but not decoded. hint: gatepost quarantine list
      journal: 2 items vanished before they were archived; another client took them. hint: gatepost check --profile journal

    journal
      1204 archived, 1 quarantined, 2 vanished, 1100 deleted on the gateway (5.0 MiB)
      last success  2026-03-04 05:55 +00:00
      oldest item without a final disposition: 2026-03-04 01:00 +00:00
      error: timed out  forged: line

    old-gateway
      nothing came in
      last success  never

    Archive
      1204 items of 7.0 MiB, 3.0 MiB on disk
      12.0 GiB free
      head 7:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad

    Keep the head: gatepost verify --expect-head proves with it that nothing was changed since.
    ");
}

#[test]
fn a_quiet_day_says_so() {
    let quiet = ProfileDigest { name: "journal".into(), ..ProfileDigest::default() };
    let digest = Digest { profiles: vec![quiet], quarantined: 0, alarms: Vec::new(), ..digest() };
    assert_eq!(digest_text::summary(&digest), "report: 0 items archived, nothing needs a person");
    let text = digest_text::text(&digest, &TimeZone::UTC);
    assert!(!text.contains("Needs a person") && text.contains("nothing came in"), "{text}");
}
