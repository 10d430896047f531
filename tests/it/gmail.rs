//! A gateway where folders are labels: deletion goes by way of the Trash, and frees space; whatever breaks on the way,
//! nothing is lost, nothing stays in the Trash, and nothing that a person threw away is touched.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use gatepost::base::clock::{Clock, FixedClock};
use gatepost::base::fsio::Fs;
use gatepost::demo::fault::{Answer, Fault, When};
use gatepost::demo::gmail::{ALL_MAIL, TRASH};

use super::support::bench::{Bench, Put, Setup, State, for_each_step};
use super::support::history;

fn setup() -> Setup {
    Setup { gmail: true, ..Setup::default() }
}

/// Three mails of a few lines; the first two are the same, byte for byte.
fn tiny() -> Vec<Put> {
    let mail = |n: u32| {
        let text =
            format!("From: anna@corp.example\r\nTo: bob@corp.example\r\nMessage-ID: <{n}@x>\r\n\r\nHello {n}\r\n");
        Put { bytes: text.into_bytes().into(), date: None }
    };
    [1, 1, 2].map(mail).into()
}

/// A gateway with these mails, and one in the Trash that a person threw away: of the same bytes, size and date as the
/// first of them.
fn holding(mails: &[Put]) -> Bench {
    let bench = Bench::holding(setup(), mails);
    let first = bench.gateway.message("INBOX", 1).unwrap();
    bench.gateway.append(TRASH, first.bytes.clone(), Some(first.internaldate));
    bench
}

fn notes(bench: &Bench) -> Vec<PathBuf> {
    let Ok(files) = std::fs::read_dir(bench.archive()) else { return Vec::new() };
    let files = files.map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("trash-")).collect()
}

/// Nothing takes space any more but what the person threw away, and nothing is on its way.
fn is_emptied(bench: &Bench, when: &str) {
    let folders = bench.gateway.folders();
    let counts: Vec<(&str, usize)> = folders.iter().map(|(name, mails)| (name.as_str(), mails.len())).collect();
    assert_eq!(counts, [("INBOX", 0), (ALL_MAIL, 0), (TRASH, 1)], "{when}");
    assert_eq!(folders[TRASH][0].uid, 1, "{when}");
    assert_eq!(notes(bench), Vec::<PathBuf>::new(), "{when}");
}

/// Whatever happened, this holds at any time: what the person threw away is there, and no mail is gone from the whole
/// gateway that the archive does not hold.
fn nothing_is_lost(bench: &Bench, when: &str) {
    assert_eq!(bench.gateway.uids(TRASH).first(), Some(&1), "{when}: what a person threw away is gone");
    bench.nothing_is_lost(when);
}

fn undisturbed(mails: &[Put]) -> (State, u64) {
    let bench = holding(mails);
    history::run(&bench, Fs::real()).unwrap();
    nothing_is_lost(&bench, "undisturbed");
    is_emptied(&bench, "undisturbed");
    (bench.state(), bench.gateway.counters().bytes_sent)
}

/// A run with faults, and one without an hour later.
fn with(mails: &[Put], end: &State, faults: &[Fault]) -> bool {
    let bench = holding(mails);
    let clock = Arc::new(FixedClock::at("2026-11-21T10:00:00Z".parse().unwrap()));
    let now: Arc<dyn Clock> = clock.clone();
    faults.iter().for_each(|fault| bench.gateway.misbehave(fault.clone()));
    let first = history::run_at(&bench, Fs::real(), now.clone());
    nothing_is_lost(&bench, &format!("{faults:?}"));
    bench.gateway.behave();
    clock.advance(jiff::SignedDuration::from_hours(1));
    history::run_at(&bench, Fs::real(), now).unwrap_or_else(|error| panic!("{faults:?}; then: {error}"));
    nothing_is_lost(&bench, &format!("after {faults:?}"));
    is_emptied(&bench, &format!("after {faults:?}"));
    assert_eq!(bench.state(), *end, "{faults:?}");
    first.is_err()
}

#[test]
fn deletion_goes_by_way_of_the_trash_and_frees_space() {
    let bench = holding(&tiny());
    let said = bench.once(None);
    assert_eq!(said.code, Some(0), "{said}");
    let report = said.report();
    assert_eq!(
        (&report["archived"], &report["already_archived"], &report["deleted"]),
        (&2.into(), &1.into(), &3.into())
    );
    is_emptied(&bench, "once");
    let counters = bench.gateway.counters();
    // The server says where the mails are now, so that none is searched for, and one batch is one of each.
    let counts = ["UID MOVE", "UID EXPUNGE", "UID SEARCH", "LIST"].map(|command| counters.command(command));
    assert_eq!(counts, [1, 1, 0, 1]);
    bench.is_in_order("once");
    // Nothing is left to do for the next run.
    bench.gateway.reset_counters();
    assert_eq!(bench.once(None).code, Some(0));
    assert_eq!(bench.gateway.counters().command("UID FETCH"), 0);
}

/// From the first answer to a deletion on; before it the session is that of any IMAP server.
#[test]
fn cut_off_after_every_byte() {
    let mails = tiny();
    let (end, bytes) = undisturbed(&mails);
    let bench = holding(&mails);
    bench.gateway.misbehave(Fault::on("UID MOVE", When::Always, Answer::Eof));
    history::run(&bench, Fs::real()).unwrap_err();
    let before = bench.gateway.counters().bytes_sent;
    assert!(before + 500 < bytes, "{before} {bytes}");
    let failed = AtomicU64::new(0);
    let cuts = for_each_step(|n| {
        let at = before + n - 1;
        failed.fetch_add(u64::from(with(&mails, &end, &[Fault::CutAfter { bytes: at }])), Relaxed);
        at < bytes
    });
    let failed = failed.into_inner();
    assert!(failed * 10 >= cuts * 8, "{failed} of {cuts} runs noticed");
}

#[test]
fn ended_at_every_step() {
    let mails = tiny();
    let whole = holding(&mails);
    assert_eq!(whole.once(None).code, Some(0));
    let end = whole.state();
    let hits = for_each_step(|n| {
        let bench = holding(&mails);
        let said = bench.once(Some(&format!("exit:{n}")));
        nothing_is_lost(&bench, &format!("step {n}"));
        let hit = said.is_hit();
        let said = bench.once(None);
        assert!(matches!(said.code, Some(0 | 2)), "after step {n}: {said}");
        nothing_is_lost(&bench, &format!("after step {n}"));
        is_emptied(&bench, &format!("after step {n}"));
        bench.state().is_but_for_suspects(&end, &format!("after step {n}"));
        hit
    });
    assert!(hits > 30, "{hits}");
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
    let commands = ["LIST", "SELECT", "NOOP", "UID FETCH", "UID MOVE", "UID SEARCH", "UID STORE", "UID EXPUNGE"];
    let whens = [When::Always, When::Nth(1), When::Nth(2), When::Nth(3), When::Nth(4), When::Nth(5), When::Nth(6)];
    let mut all = Vec::new();
    for command in commands {
        for answer in &answers {
            all.extend(whens.iter().map(|when| Fault::on(command, *when, answer.clone())));
        }
    }
    for_each_step(|n| {
        let fault = all.get(n as usize - 1);
        fault.inspect(|fault| _ = with(&mails, &end, std::slice::from_ref(*fault)));
        fault.is_some()
    });
    // A search is only made after something went wrong before it.
    for answer in &answers {
        let lost = Fault::on("UID MOVE", When::Nth(1), Answer::EofAtEnd);
        let bench = holding(&mails);
        bench.gateway.misbehave(lost);
        history::run(&bench, Fs::real()).unwrap_err();
        bench.gateway.behave();
        bench.gateway.misbehave(Fault::on("UID SEARCH", When::Nth(1), answer.clone()));
        history::run(&bench, Fs::real()).unwrap_err();
        nothing_is_lost(&bench, &format!("{answer:?}"));
        bench.gateway.behave();
        history::run(&bench, Fs::real()).unwrap();
        is_emptied(&bench, &format!("{answer:?}"));
    }
}

#[test]
fn a_server_that_says_ok_and_does_less() {
    let mails = tiny();
    let (end, _) = undisturbed(&mails);
    for moved in 0..3 {
        assert!(!with(&mails, &end, &[Fault::MoveOnly { mails: moved }]));
    }
    with(&mails, &end, &[Fault::PretendExpunge]);
    with(&mails, &end, &[Fault::PretendExpunge, Fault::MoveOnly { mails: 1 }]);
    // A move whose answer was lost, whatever comes after it: several runs, each with a fault of its own.
    let bench = holding(&mails);
    for fault in [
        Fault::on("UID MOVE", When::Nth(1), Answer::EofAtEnd),
        Fault::on("UID SEARCH", When::Nth(2), Answer::EofAtEnd),
        Fault::on("UID STORE", When::Nth(1), Answer::EofAtEnd),
        Fault::PretendExpunge,
        Fault::on("UID EXPUNGE", When::Nth(1), Answer::EofAtEnd),
    ] {
        bench.gateway.misbehave(fault.clone());
        let _ = history::run(&bench, Fs::real());
        nothing_is_lost(&bench, &format!("{fault:?}"));
        assert_eq!(notes(&bench).len(), 1, "{fault:?}");
        bench.gateway.behave();
    }
    history::run(&bench, Fs::real()).unwrap();
    is_emptied(&bench, "after all");
    assert_eq!(bench.state(), end);
}

/// A note leads to the Trash, and no further: another mail there, however much it is like the noted one, is left alone.
#[test]
fn what_a_note_does_not_name_exactly_stays() {
    let bench = holding(&tiny());
    bench.gateway.misbehave(Fault::on("UID MOVE", When::Nth(1), Answer::EofAtEnd));
    history::run(&bench, Fs::real()).unwrap_err();
    bench.gateway.behave();
    let [file] = notes(&bench).try_into().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let noted: serde_json::Value = serde_json::from_str(&text).unwrap();
    // The note of the first mail names the one that a person threw away; of the second, another size.
    let mut forged = noted.clone();
    let thrown = bench.gateway.message(TRASH, 1).unwrap().id;
    forged["mails"]["1"]["size"] = 1.into();
    forged["mails"]["2"]["date"] = "01-Jan-2020 00:00:00 +0000".into();
    std::fs::write(&file, forged.to_string()).unwrap();
    history::run(&bench, Fs::real()).unwrap();
    // Only the third was what its note says; the others are not deleted, and told.
    let left: Vec<u64> = bench.gateway.folders()[TRASH].iter().map(|mail| mail.id).collect();
    assert_eq!((left.len(), left[0]), (3, thrown));
    // What cannot be read stops the deletion, and nothing is made of it.
    std::fs::write(&file, &text[..text.len() / 2]).unwrap();
    let error = history::run(&bench, Fs::real()).unwrap_err();
    assert!(error.contains("on its way through the Trash"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text[..text.len() / 2]);
    std::fs::write(&file, &text).unwrap();
    history::run(&bench, Fs::real()).unwrap();
    is_emptied(&bench, "with the notes again");
}

/// An archive that was restored from before a mail came in has no receipt for it: the mail stays in the Trash, and the
/// run says so.
#[test]
fn what_the_archive_does_not_hold_stays_in_the_trash() {
    let bench = Bench::holding(setup(), &tiny()[..1]);
    let first = bench.gateway.message("INBOX", 1).unwrap();
    bench.gateway.append(TRASH, first.bytes.clone(), Some(first.internaldate));
    history::run(&bench, Fs::real()).unwrap();
    is_emptied(&bench, "one mail");
    // The note of a mail that this archive never saw.
    let other = bench.put(&tiny()[2]);
    let mail = bench.gateway.message("INBOX", other).unwrap();
    let note = serde_json::json!({
        "format": 1, "host": "", "login": "", "folder": "INBOX", "validity": bench.gateway.uidvalidity("INBOX"),
        "mails": { "77": { "id": mail.id, "size": mail.bytes.len(), "date": mail.date_text() } },
    });
    let name = gatepost::base::digest::Digest::of(
        format!("127.0.0.1:{}\0journal@corp.example\0INBOX", bench.gateway.port()).as_bytes(),
    );
    let file = bench.archive().join(format!("trash-{}.json", &name.to_string()[..16]));
    std::fs::write(&file, note.to_string()).unwrap();
    // It lies in the Trash, moved there by an agent whose archive was lost.
    bench.gateway.expunge("INBOX", other);
    bench.gateway.expunge(ALL_MAIL, *bench.gateway.uids(ALL_MAIL).last().unwrap());
    let report = history::run(&bench, Fs::real()).unwrap();
    assert!(report.alarms.iter().any(|alarm| alarm.text.contains("does not hold")), "{report:?}");
    assert!(!bench.gateway.log().iter().any(|line| line.starts_with("UID SEARCH")), "{:?}", bench.gateway.log());
    assert!(file.exists());
}

#[test]
fn without_a_trash_nothing_is_deleted_and_check_says_so() {
    let bench = holding(&tiny());
    let said = bench.run(&["check"], None);
    assert!(said.out.contains(&format!("is moved to {TRASH} and expunged there")), "{said}");
    assert!(said.out.contains("1 mails lie there now"), "{said}");
    assert_eq!(bench.gateway.folders()["INBOX"].len(), 3);
    bench.gateway.remove(TRASH);
    let said = bench.run(&["check"], None);
    assert!(said.out.contains("deleting there needs the Trash"), "{said}");
    let said = bench.once(None);
    assert_eq!(said.code, Some(2), "{said}");
    assert!(said.alarms().contains("deleting there needs the Trash"), "{said}");
    let report = said.report();
    assert_eq!((&report["archived"], &report["deleted"]), (&2.into(), &0.into()), "{said}");
    assert_eq!(bench.gateway.folders()["INBOX"].len(), 3);
}
