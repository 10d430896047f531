//! Measurements by hand, see `tests/bench/once-vs-mbsync`; nothing here fails for being slow.

use std::process::{Command, Stdio};
use std::time::Instant;

use gatepost::demo::corpus::Corpus;

use crate::support::agent::{Agent, Config, Said, count, wait_with_peak};
use crate::support::dovecot::{Dovecot, PASSWORD, Setup};

const USER: &str = "journal";
const MIRROR: &str = "mirror";

/// Seconds that `mbsync` takes to pull a mailbox, with or without syncing each file to the disk; `None`
/// where it is not installed.
fn mbsync(dovecot: &Dovecot, items: usize, fsync: &str) -> Option<f64> {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let config = folder.path().join("mbsyncrc");
    let text = format!(
        "FSync {fsync}\n\nIMAPStore far\nHost 127.0.0.1\nPort {}\nUser {MIRROR}\nPass {PASSWORD}\nSSLType None\nAuthMechs LOGIN\n\n\
         MaildirStore near\nPath {at}/\nInbox {at}/INBOX\nSubFolders Verbatim\n\n\
         Channel all\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSync Pull\nSyncState *\n",
        dovecot.imap_port
    );
    std::fs::write(&config, text).unwrap();
    let started = Instant::now();
    let said = Command::new("mbsync").arg("-c").arg(&config).arg("all").stdin(Stdio::null()).output().ok()?;
    let seconds = started.elapsed().as_secs_f64();
    let said = Said::of(said);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(std::fs::read_dir(folder.path().join("INBOX/new")).unwrap().count(), items);
    Some(seconds)
}

#[test]
#[ignore = "a measurement"]
fn once_and_mbsync_pull_the_same_mail() {
    let items = std::env::var("GATEPOST_BENCH_ITEMS").map_or(2_000, |items| items.parse().unwrap());
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let corpus = Corpus::new(71, items);
    let mut bytes = 0;
    for user in [USER, MIRROR] {
        dovecot.deliver(
            user,
            "INBOX",
            corpus.iter().map(|generated| generated.item).inspect(|item| bytes += item.len()),
        );
    }
    let megabytes = bytes as f64 / 2e6;
    let tell = |what: &str, seconds: f64| {
        let (rate, throughput) = (items as f64 / seconds, megabytes / seconds);
        eprintln!(
            "{what}: {items} items, {megabytes:.0} MB in {seconds:.2} s: {rate:.0} items/s, {throughput:.1} MB/s"
        );
    };
    let theirs = ["no", "yes"].map(|fsync| (fsync, mbsync(&dovecot, items, fsync)));
    for (fsync, seconds) in &theirs {
        match seconds {
            Some(seconds) => tell(&format!("mbsync (FSync {fsync})"), *seconds),
            None => eprintln!("mbsync is not installed"),
        }
    }
    let agent = Agent::new(&Config::plain(&dovecot));
    let started = Instant::now();
    let (said, peak) = wait_with_peak(agent.start(&["once", "--json"]));
    let ours = started.elapsed().as_secs_f64();
    said.is(0, &[]);
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let report = &report["profiles"][0];
    assert_eq!((count(report, "archived"), count(report, "deleted")), (items as u64, items as u64), "{report}");
    tell("gatepost once", ours);
    eprintln!("peak memory {peak} KiB; the archive takes {:.0} MB", agent.pack_bytes() as f64 / 1e6);
    for (fsync, theirs) in theirs {
        if let Some(theirs) = theirs {
            eprintln!("gatepost takes {:.2} times as long as mbsync (FSync {fsync})", ours / theirs);
        }
    }
}
