//! Measurements by hand, see `tests/bench/`; nothing here fails for being slow.

use std::process::{Command, Stdio};
use std::time::Instant;

use gatepost::agent::policies::Policies;
use gatepost::agent::route::route;
use gatepost::demo::corpus::Corpus;
use gatepost::journal::{self, DecodeOptions};
use gatepost::people::{People, PeopleOptions};

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

/// Rounds of which the best counts, on both sides.
const ROUNDS: usize = 5;

#[test]
#[ignore = "a measurement"]
fn decoding_and_one_connection() {
    let items = std::env::var("GATEPOST_BENCH_ITEMS").map_or(2_000, |items| items.parse().unwrap());
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let corpus: Vec<Vec<u8>> = Corpus::new(71, items).iter().map(|generated| generated.item).collect();
    dovecot.deliver(USER, "INBOX", &corpus);
    let megabytes = corpus.iter().map(Vec::len).sum::<usize>() as f64 / 1e6;
    let options = DecodeOptions::default();
    let people =
        People::build(&PeopleOptions { internal_domains: vec!["corp.example".into()], ..Default::default() }, &[]);
    let (people, policies) = (people.unwrap(), Policies::default());
    let best = |what: &str, work: &mut dyn FnMut()| {
        let seconds = (0..ROUNDS).map(|_| {
            let started = Instant::now();
            work();
            started.elapsed().as_secs_f64()
        });
        let rate = megabytes / seconds.fold(f64::INFINITY, f64::min);
        eprintln!("{what}: {items} items, {megabytes:.0} MB: {rate:.0} MB/s");
        rate
    };
    let mut filings = 0;
    let mut all = |decode: fn(&dyn gatepost::base::bytes::ByteSource, &DecodeOptions) -> _| {
        for item in &corpus {
            let decoded: journal::Decoded = Result::unwrap(decode(item, &options));
            filings += route(&decoded, &people, &policies, jiff::Timestamp::UNIX_EPOCH).filings.len();
        }
    };
    let decoding = best("decode and route, one core", &mut || all(journal::decode_undigested));
    let hashing = best("decode with its digests and route, one core", &mut || all(journal::decode));
    let connection = best("one IMAP connection", &mut || {
        let bytes = dovecot.client(USER).drain("INBOX");
        assert!(bytes as f64 / 1e6 > megabytes, "{bytes}");
    });
    eprintln!("{filings} filings");
    eprintln!(
        "decoding is {:.2} times as fast as the connection, {:.2} times with hashing",
        decoding / connection,
        hashing / connection
    );
}
