//! The gateway misbehaves: the connection ends after any number of bytes, commands are refused, bodies are
//! missing, deletions are pretended. Whatever it does, no mail is lost; and once it behaves again, the next
//! run comes to where an undisturbed one does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use gatepost::base::clock::{Clock, FixedClock};
use gatepost::base::fsio::Fs;
use gatepost::demo::fault::{Answer, Fault, When, Which};

use super::support::bench::{Bench, Put, Setup, State, few, for_each_step, varied};
use super::support::history;
use super::support::points;

/// Three mails of a few lines, so that every byte of a session can be the last.
fn tiny() -> Vec<Put> {
    let mail = |n: u32| {
        let text =
            format!("From: anna@corp.example\r\nTo: bob@corp.example\r\nMessage-ID: <{n}@x>\r\n\r\nHello {n}\r\n");
        Put { bytes: text.into_bytes().into(), date: None }
    };
    (1..=3).map(mail).collect()
}

fn mixed() -> Vec<Put> {
    let mut mails: Vec<Put> = varied().into_iter().filter(|put| put.bytes.len() < 100_000).skip(20).collect();
    mails.extend(few(41, 30));
    mails
}

fn undisturbed(mails: &[Put]) -> (State, u64) {
    let bench = Bench::holding(Setup::default(), mails);
    history::run(&bench, Fs::real()).unwrap();
    bench.nothing_is_lost("undisturbed");
    (bench.state(), bench.gateway.counters().bytes_sent)
}

/// A run with faults, and one without an hour later (what failed is tried again only after a while).
fn with(mails: &[Put], end: &State, faults: &[Fault]) -> bool {
    let bench = Bench::holding(Setup::default(), mails);
    let clock = Arc::new(FixedClock::at("2026-11-21T10:00:00Z".parse().unwrap()));
    let now: Arc<dyn Clock> = clock.clone();
    faults.iter().for_each(|fault| bench.gateway.misbehave(fault.clone()));
    let first = history::run_at(&bench, Fs::real(), now.clone());
    bench.nothing_is_lost(&format!("{faults:?}"));
    bench.gateway.behave();
    clock.advance(jiff::SignedDuration::from_hours(1));
    history::run_at(&bench, Fs::real(), now).unwrap_or_else(|error| panic!("{faults:?}; then: {error}"));
    bench.nothing_is_lost(&format!("after {faults:?}"));
    assert_eq!(bench.state(), *end, "{faults:?}");
    first.is_err()
}

fn cut_at_every(stride: u64, mails: &[Put]) {
    let (end, bytes) = undisturbed(mails);
    let failed = AtomicU64::new(0);
    let cuts = for_each_step(|n| {
        let at = (n - 1) * stride;
        failed.fetch_add(u64::from(with(mails, &end, &[Fault::CutAfter { bytes: at }])), Relaxed);
        at < bytes
    });
    let failed = failed.into_inner();
    points("the IMAP connection ends after each byte", cuts);
    assert!(failed * 10 >= cuts * 8, "{failed} of {cuts} runs noticed");
}

#[test]
fn cut_off_after_every_byte_of_a_tiny_session() {
    cut_at_every(1, &tiny());
}

#[test]
fn cut_off_anywhere_in_a_larger_session() {
    let mails = mixed();
    let (_, bytes) = undisturbed(&mails);
    cut_at_every(bytes / 120, &mails);
}

#[test]
fn every_command_answered_in_every_wrong_way() {
    let mails = tiny();
    let (end, _) = undisturbed(&mails);
    let answers = [
        Answer::No,
        Answer::Bad,
        Answer::Bye,
        Answer::Eof,
        Answer::NoAtEnd,
        Answer::BadAtEnd,
        Answer::ByeAtEnd,
        Answer::EofAtEnd,
    ];
    let commands = ["CAPABILITY", "AUTHENTICATE", "SELECT", "NOOP", "UID FETCH", "UID STORE", "UID EXPUNGE", "LOGOUT"];
    let whens = [When::Always, When::Nth(1), When::Nth(2), When::Nth(3), When::Nth(4), When::Nth(5)];
    let mut all = Vec::new();
    for command in commands {
        for answer in &answers {
            all.extend(whens.iter().map(|when| Fault::on(command, *when, answer.clone())));
        }
    }
    points("each IMAP command is answered in each wrong way", all.len() as u64);
    let failed = AtomicU64::new(0);
    for_each_step(|n| match all.get(n as usize - 1) {
        Some(fault) => {
            failed.fetch_add(u64::from(with(&mails, &end, std::slice::from_ref(fault))), Relaxed);
            true
        }
        None => false,
    });
    assert!(failed.into_inner() > 50);
}

#[test]
fn mails_and_parts_of_answers_that_are_missing() {
    let mails = tiny();
    let (end, _) = undisturbed(&mails);
    for which in [Which::Every, Which::Uid(2), Which::Uid(3)] {
        for data in ["BODY[]", "UID", "RFC822.SIZE", "INTERNALDATE"] {
            with(&mails, &end, &[Fault::OmitData { which, data: data.into() }]);
        }
        with(&mails, &end, &[Fault::OmitMail { which }]);
        with(&mails, &end, &[Fault::BodyNil { which }]);
        with(&mails, &end, &[Fault::BodyEmpty { which }]);
        with(&mails, &end, &[Fault::WrongSize { which, size: 7 }]);
        with(&mails, &end, &[Fault::HugeLiteral { which, announce: 50_000_000 }]);
        with(&mails, &end, &[Fault::HugeLiteral { which, announce: 4_000_000_000 }]);
        for after in [0, 1, 50] {
            with(&mails, &end, &[Fault::CutInBody { which, after }]);
        }
        let stays = [Fault::PretendExpunge, Fault::UnsolicitedFlags, Fault::BodyNil { which }];
        with(&mails, &end, &stays);
    }
    with(&mails, &end, &[Fault::NoUidPlus]);
    with(&mails, &end, &[Fault::UnsolicitedFlags]);
}

/// A server that leaves a mail out of its listing and has said how many there are: what was not listed has
/// no disposition, so that the next run must look again although UIDNEXT and EXISTS are what they were.
#[test]
fn a_mail_left_out_of_the_listing_is_listed_again() {
    let bench = Bench::holding(Setup { delete: false, ..Setup::default() }, &tiny());
    bench.gateway.misbehave(Fault::OmitMail { which: Which::Uid(2) });
    bench.once(None);
    bench.gateway.behave();
    let said = bench.once(None);
    assert_eq!(said.report()["archived"], 1, "{said}");
    assert!(bench.state().mails.values().all(|what| *what == "archived"));
}

#[test]
fn another_client_expunges_during_the_fetch() {
    let mails = mixed();
    for uid in [1, 2, 20, mails.len() as u32] {
        let bench = Bench::holding(Setup::default(), &mails);
        bench.gateway.misbehave(Fault::ExpungeDuringFetch { uid, bodies: false });
        let report = history::run(&bench, Fs::real()).unwrap();
        let state = bench.state();
        let absent = state.mails.values().filter(|what| **what == "absent").count() as u64;
        // It went while the folder was listed, before it was ever seen; told it is all the same.
        assert!(absent <= 1, "{report:?}");
        assert!(absent == 0 || !report.alarms.is_empty(), "{report:?}");
        let (listed, disposed) = (report.listed, report.disposed() + report.pending);
        assert_eq!(listed, disposed, "{report:?}");
        assert_eq!(state.left.len(), 1, "{report:?}");
    }
}

#[test]
fn a_refused_login_and_a_silent_server_are_exit_code_3() {
    let faults = [
        Fault::RefuseLogin,
        Fault::on("SELECT", When::Always, Answer::Hang),
        Fault::on("UID FETCH", When::Nth(2), Answer::Hang),
        Fault::on("UID EXPUNGE", When::Always, Answer::Hang),
    ];
    for fault in faults {
        let bench = Bench::holding(Setup { timeout: "1s", ..Setup::default() }, &tiny());
        bench.gateway.misbehave(fault.clone());
        let said = bench.once(None);
        assert_eq!(said.code, Some(3), "{fault:?}: {said}");
        assert_eq!(bench.gateway.uids("INBOX").len(), 3, "{fault:?}");
        bench.gateway.behave();
        let said = bench.once(None);
        assert_eq!(said.code, Some(0), "after {fault:?}: {said}");
        bench.is_in_order(&format!("{fault:?}"));
        assert!(bench.state().left.is_empty());
    }
}

#[test]
fn a_body_that_the_server_does_not_give_is_exit_code_2_and_stays() {
    let bench = Bench::holding(Setup::default(), &tiny());
    bench.gateway.misbehave(Fault::BodyNil { which: Which::Uid(2) });
    let said = bench.once(None);
    assert_eq!(said.code, Some(2), "{said}");
    let report = said.report();
    assert_eq!((&report["archived"], &report["unfetchable"]), (&2.into(), &1.into()), "{said}");
    assert_eq!(bench.gateway.uids("INBOX"), [2]);
    bench.is_in_order("unfetchable");
}
