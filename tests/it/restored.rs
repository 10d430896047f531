//! The gateway's folder is not what it was: UIDVALIDITY changed, UIDNEXT fell, a backup was restored, the
//! host has another name, the profile was renamed. Nothing is lost, nothing is there twice, it is told, and
//! no mail is deleted that is not archived.

use gatepost::demo::fault::{Answer, Fault, When};
use gatepost::demo::mailbox::Mail;

use super::support::bench::{Bench, Put, Setup, few};

/// Archived, and still on the gateway: with `delete` the deletion was refused, as after a crash before it.
fn archived(delete: bool, mails: &[Put]) -> Bench {
    let bench = Bench::holding(Setup { delete, ..Setup::default() }, mails);
    bench.gateway.misbehave(Fault::on("UID STORE", When::Always, Answer::No));
    let said = bench.once(None);
    assert_eq!(said.code, Some(if delete { 3 } else { 0 }), "{said}");
    bench.gateway.behave();
    assert_eq!(bench.gateway.uids("INBOX").len(), mails.len());
    bench
}

/// The next run: everything is archived once, an alarm says `word`, and a deleting profile empties the folder.
fn goes_on(bench: &Bench, delete: bool, mails: usize, word: &str) {
    let before = bench.state();
    let said = bench.once(None);
    assert_eq!(said.code, Some(if word.is_empty() { 0 } else { 2 }), "{said}");
    assert!(said.alarms().contains(word), "{word:?} is not told: {said}");
    bench.is_in_order(word);
    let state = bench.state();
    assert_eq!(state.items as usize, mails, "{word}");
    assert!(state.mails.values().all(|what| *what == "archived"), "{word}");
    assert_eq!(state.left.len(), if delete { 0 } else { before.left.len() }, "{word}");
    let mut once = state.filings.clone();
    once.dedup();
    assert_eq!(once, state.filings, "{word}: something is filed twice");
    let said = bench.once(None);
    assert_eq!(said.code, Some(0), "{word}: the run after it: {said}");
    assert_eq!(said.report()["listed"], 0, "{word}: {said}");
}

fn both(test: impl Fn(bool)) {
    test(true);
    test(false);
}

#[test]
fn uidvalidity_changed() {
    both(|delete| {
        let bench = archived(delete, &few(31, 10));
        bench.gateway.set_uidvalidity("INBOX", 77);
        bench.put(&few(32, 1)[0]);
        goes_on(&bench, delete, 11, "UIDVALIDITY changed");
    });
}

#[test]
fn uidnext_fell() {
    both(|delete| {
        let bench = archived(delete, &few(31, 10));
        // The server was restored from before the last four came in, and since then others did.
        let older: Vec<Mail> = bench.mails().into_iter().take(6).collect();
        bench.restore(older);
        few(33, 2).iter().for_each(|put| _ = bench.put(put));
        goes_on(&bench, delete, 12, "UIDNEXT fell");
    });
}

#[test]
fn restored_with_other_mails_under_the_same_uids() {
    both(|delete| {
        let bench = archived(delete, &few(31, 10));
        let other = few(34, 12);
        let mails = (1..).zip(&other).map(|(uid, put)| Mail::new(uid, put.bytes.clone(), put.date)).collect();
        bench.restore(mails);
        goes_on(&bench, delete, 22, "another size or date");
    });
}

/// Only some of the mails are others: the known ones among them must not make it pass for the same folder.
#[test]
fn restored_with_some_other_mails_under_the_same_uids() {
    both(|delete| {
        let bench = archived(delete, &few(31, 40));
        let other = few(35, 41);
        let mut mails = bench.mails();
        for (n, put) in other.iter().enumerate() {
            let uid = n as u32 + 1;
            match mails.iter_mut().find(|mail| mail.uid == uid) {
                // The newest stay as they were: a sample of the newest shows nothing.
                Some(_) if uid > 15 => {}
                Some(mail) => *mail = Mail::new(uid, put.bytes.clone(), put.date),
                None => mails.push(Mail::new(uid, put.bytes.clone(), put.date)),
            }
        }
        bench.restore(mails);
        let said = bench.once(None);
        bench.nothing_is_lost("after the restore");
        if delete {
            assert_eq!(said.code, Some(2), "{said}");
            bench.is_in_order("after the restore");
            let state = bench.state();
            assert_eq!((state.items, state.left.len()), (56, 0), "{said}");
        }
    });
}

/// All was deleted and the folder is empty; then a backup brings everything back, as it was and more.
#[test]
fn restored_after_everything_was_deleted() {
    let bench = Bench::holding(Setup::default(), &few(31, 10));
    let mails = bench.mails();
    assert_eq!(bench.once(None).code, Some(0));
    assert!(bench.mails().is_empty());
    bench.restore(mails);
    bench.put(&few(36, 1)[0]);
    goes_on(&bench, true, 11, "was deleted and is there again");
}

#[test]
fn the_host_has_another_name() {
    both(|delete| {
        let bench = archived(delete, &few(31, 10));
        bench.configure(|setup| setup.host = "localhost");
        bench.put(&few(37, 1)[0]);
        goes_on(&bench, delete, 11, "the host changed");
    });
}

#[test]
fn the_host_has_its_old_name_again() {
    let bench = archived(false, &few(31, 10));
    bench.configure(|setup| setup.host = "localhost");
    assert_eq!(bench.once(None).code, Some(2));
    bench.configure(|setup| (setup.host, setup.delete) = ("127.0.0.1", true));
    goes_on(&bench, true, 10, "");
}

/// An epoch never is the profile's name.
#[test]
fn the_profile_was_renamed() {
    both(|delete| {
        let bench = archived(delete, &few(31, 10));
        bench.configure(|setup| setup.profile = "renamed");
        bench.put(&few(38, 1)[0]);
        goes_on(&bench, delete, 11, "");
    });
}
