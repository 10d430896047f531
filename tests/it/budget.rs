//! What may be downloaded in a day: counted across runs, restarts and folders, and what is left goes on by itself.

use std::sync::Arc;

use gatepost::agent::report::{Outcome, ProfileReport};
use gatepost::base::clock::{Clock, FixedClock};
use gatepost::base::fsio::{Fail, Fs, How, Plan};
use gatepost::sources::Source as _;
use gatepost::sources::imap::ImapSource;

use super::support::bench::{Bench, Put, Setup};
use super::support::history;

const MAIL: usize = 5_000;
/// Room for four mails and what is said around them.
const BUDGET: u64 = 24_000;

fn mail(n: u32, bytes: usize) -> Put {
    let head = format!("From: anna@corp.example\r\nTo: bob@corp.example\r\nMessage-ID: <{n}@x>\r\n\r\n{n} ");
    let mut text = head.into_bytes();
    text.resize(bytes - 2, b'x');
    text.extend(b"\r\n");
    Put { bytes: text.into(), date: None }
}

fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock::at("2026-11-21T20:00:00Z".parse().unwrap()))
}

fn bench(mails: &[Put], budget: u64, gmail: bool) -> Bench {
    Bench::holding(Setup { daily_budget: Some(budget), gmail, ..Setup::default() }, mails)
}

fn run(bench: &Bench, clock: &Arc<FixedClock>) -> ProfileReport {
    let now: Arc<dyn Clock> = clock.clone();
    let report = history::run_at(bench, Fs::real(), now).unwrap();
    bench.nothing_is_lost("a run");
    assert_eq!(report.listed, report.disposed() + report.pending, "{report:?}");
    report
}

#[test]
fn what_is_left_waits_for_the_next_day() {
    for gmail in [false, true] {
        let mails: Vec<Put> = (1..=10).map(|n| mail(n, MAIL)).collect();
        let (bench, clock) = (bench(&mails, BUDGET, gmail), clock());
        let first = run(&bench, &clock);
        assert_eq!((first.archived, first.pending, first.deleted), (4, 6, 4), "{first:?}");
        assert_eq!(first.outcome, Outcome::Attention);
        assert!(first.alarms[0].text.contains("the daily budget of 24.0 kB is used up"), "{first:?}");
        // Later that day: nothing more, however often.
        for _ in 0..3 {
            clock.advance(jiff::SignedDuration::from_mins(30));
            let again = run(&bench, &clock);
            assert_eq!((again.archived, again.pending), (0, 6), "{again:?}");
        }
        // Midnight, UTC.
        clock.advance(jiff::SignedDuration::from_hours(3));
        let second = run(&bench, &clock);
        assert_eq!((second.archived, second.pending), (4, 2), "{second:?}");
        clock.advance(jiff::SignedDuration::from_hours(24));
        let third = run(&bench, &clock);
        assert_eq!((third.archived, third.pending, third.outcome), (2, 0, Outcome::Ok), "{third:?}");
        assert!(bench.state().left.is_empty());
        // Only what came in since is looked at.
        let idle = run(&bench, &clock);
        assert_eq!((idle.listed, idle.alarms.len()), (0, 0), "{idle:?}");
    }
}

#[test]
fn a_rehearsal_takes_no_more_than_a_day() {
    let mails: Vec<Put> = (1..=10).map(|n| mail(n, MAIL)).collect();
    let bench = bench(&mails, BUDGET, false);
    let said = bench.run(&["once", "--dry-run", "--json"], None);
    assert_eq!(said.code, Some(2), "{said}");
    assert!(said.alarms().contains("6 items are left out"), "{said}");
    let report = said.report();
    assert_eq!((&report["archived"], &report["pending"]), (&4.into(), &6.into()), "{said}");
}

/// A disk that fails at any operation ends a run as a crash does: the next one of the day does not begin anew.
#[test]
fn no_restart_takes_a_day_twice() {
    let mails: Vec<Put> = (1..=10).map(|n| mail(n, MAIL)).collect();
    let mut failed = 0;
    for at in (1..60).step_by(2) {
        let (bench, clock) = (bench(&mails, BUDGET, false), clock());
        for _ in 0..2 {
            let fail = Some(Fail { at, for_good: true, how: How::Error });
            let now: Arc<dyn Clock> = clock.clone();
            let said = history::run_at(&bench, Fs::with_plan(Plan { fail, ..Plan::default() }), now);
            failed += u64::from(said.is_err());
        }
        // The last of them, and what the lost ones had taken is not given back.
        run(&bench, &clock);
        bench.nothing_is_lost(&format!("{at}"));
        let bodies = bench.gateway.counters().bytes_sent;
        // Greetings, logins and listings of three sessions are within the budget, but for the last of each.
        assert!(bodies < BUDGET + 3 * 4_000, "operation {at}: {bodies} bytes");
        assert!(bench.state().mails.values().filter(|what| **what == "archived").count() <= 4, "operation {at}");
        clock.advance(jiff::SignedDuration::from_hours(3 * 24));
        for _ in 0..3 {
            run(&bench, &clock);
            clock.advance(jiff::SignedDuration::from_hours(24));
        }
        assert!(bench.state().left.is_empty(), "operation {at}");
    }
    assert!(failed >= 20, "{failed}");
}

#[test]
fn a_mail_longer_than_a_day_is_downloaded_all_the_same() {
    let mails = [mail(1, 1_000), mail(2, 90_000), mail(3, 1_000), mail(4, 90_000)];
    let (bench, clock) = (bench(&mails, BUDGET, false), clock());
    let first = run(&bench, &clock);
    // It fits into no day, so that it comes on one that has some left.
    assert_eq!((first.archived, first.pending), (2, 2), "{first:?}");
    clock.advance(jiff::SignedDuration::from_hours(24));
    let second = run(&bench, &clock);
    assert_eq!((second.archived, second.pending), (2, 0), "{second:?}");
}

#[test]
fn the_limit_is_gmails_own_where_nothing_is_said() {
    for (gmail, said, limit) in [
        (true, None, Some(2_500_000_000)),
        (true, Some(7), Some(7)),
        (true, Some(u64::MAX), Some(u64::MAX)),
        (false, None, None),
        (false, Some(7), Some(7)),
    ] {
        let bench = Bench::holding(Setup { daily_budget: said, gmail, ..Setup::default() }, &[]);
        let source = bench.runtime.block_on(ImapSource::connect(&history::imap(&bench))).unwrap();
        assert_eq!(source.abilities().daily_budget, limit, "{gmail} {said:?}");
    }
}

#[test]
fn a_count_that_cannot_be_read_is_told_and_nothing_is_downloaded() {
    let mails = [mail(1, MAIL), mail(2, MAIL)];
    let (bench, clock) = (bench(&mails[..1], BUDGET, false), clock());
    run(&bench, &clock);
    let files = std::fs::read_dir(bench.archive()).unwrap().map(|entry| entry.unwrap().path());
    let file = files.into_iter().find(|path| path.to_str().unwrap().contains("downloaded-")).unwrap();
    std::fs::write(&file, "{").unwrap();
    bench.put(&mails[1]);
    let now: Arc<dyn Clock> = clock.clone();
    let error = history::run_at(&bench, Fs::real(), now).unwrap_err();
    assert!(error.contains("without this file the day's count begins anew"), "{error}");
    assert_eq!(bench.gateway.uids("INBOX"), [2]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(run(&bench, &clock).archived, 1);
}
