//! `gatepost once` against the raw limit of the gateway and against `mbsync`, in turn, in one run.
//!
//! Each round has archives and folders of its own. Mailboxes are warm on the server: each was read once before, so that
//! nobody pays for the server's first look at it. Where mail is deleted, the mailbox is filled anew for each round.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use gatepost::demo::corpus::Corpus;
use serde_json::{Value, json};

use super::USER;
use super::tools::{Cost, Series, cost, set, write_json};
use crate::support::agent::{Agent, Config, count};
use crate::support::dovecot::{Dovecot, PASSWORD, Setup};

/// Cycles without news that are measured as one, for the processor's time is counted in ticks.
const QUIET_CYCLES: usize = 20;

/// What was measured in each round.
#[derive(Default)]
struct Measured {
    seconds: Series,
    cpu_seconds: Series,
    peak_mib: Series,
}

impl Measured {
    fn add(&mut self, cost: &Cost) {
        self.seconds.push(cost.seconds);
        self.cpu_seconds.push(cost.cpu_seconds);
        self.peak_mib.push(cost.peak_mib);
    }

    fn json(&self) -> Value {
        json!({
            "seconds": self.seconds.json(),
            "cpu_seconds": self.cpu_seconds.json(),
            "peak_mib": self.peak_mib.json(),
        })
    }
}

/// A pull of the user's INBOX into an empty Maildir.
fn mbsync(dovecot: &Dovecot, folder: &Path, fsync: &str) -> Child {
    let at = folder.display();
    let config = folder.join("mbsyncrc");
    let text = format!(
        "FSync {fsync}\n\nIMAPStore far\nHost 127.0.0.1\nPort {}\nUser {USER}\nPass {PASSWORD}\nSSLType None\nAuthMechs LOGIN\n\n\
         MaildirStore near\nPath {at}/\nInbox {at}/INBOX\nSubFolders Verbatim\n\n\
         Channel all\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSync Pull\nSyncState *\n",
        dovecot.imap_port
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("mbsync");
    command.arg("-c").arg(&config).arg("all").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("mbsync (Debian: apt-get install isync)")
}

fn tls(dovecot: &Dovecot) -> Config {
    let ca_file = format!("ca_file = \"{}\"", dovecot.ca_file.display());
    let plain = Config::plain(dovecot);
    Config { host: "localhost".into(), port: dovecot.imaps_port, tls: "implicit", imap: ca_file, ..plain }
}

#[test]
#[ignore = "a measurement"]
fn once_against_the_raw_limit_and_mbsync() {
    let (items, rounds) = (set("GATEPOST_BENCH_ITEMS", 10_000), set("GATEPOST_BENCH_ROUNDS", 5));
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let corpus: Vec<Vec<u8>> = Corpus::new(71, items).iter().map(|generated| generated.item).collect();
    let raw_bytes: usize = corpus.iter().map(Vec::len).sum();
    let megabytes = raw_bytes as f64 / 1e6;
    dovecot.deliver(USER, "INBOX", &corpus);
    dovecot.client(USER).drain("INBOX");
    eprintln!("{items} journal reports, {megabytes:.0} MB, {rounds} rounds; warm-up done");

    let keep = |config: Config| config.with_profile("delete = false");
    // Name, what the configuration says of the gateway, and whether mail is deleted.
    let ways = [
        ("once, plain", keep(Config::plain(&dovecot)), false),
        ("once, TLS", keep(tls(&dovecot)), false),
        ("once, plain, delete", Config::plain(&dovecot), true),
        ("once, TLS, delete", tls(&dovecot), true),
    ];
    let (mut raw, mut theirs, mut quiet) = (Measured::default(), Measured::default(), Measured::default());
    let mut ours: Vec<Measured> = ways.iter().map(|_| Measured::default()).collect();
    let mut stored = 0;
    for round in 1..=rounds {
        let began = std::time::Instant::now();
        dovecot.client(USER).drain("INBOX");
        raw.seconds.push(began.elapsed().as_secs_f64());

        let folder = tempfile::tempdir().unwrap();
        let took = cost(|| mbsync(&dovecot, folder.path(), "yes"));
        assert_eq!(took.said.code, Some(0), "{:#?}", took.said);
        assert_eq!(std::fs::read_dir(folder.path().join("INBOX/new")).unwrap().count(), items);
        theirs.add(&took);
        drop(folder);

        for (way, (name, config, is_deleting)) in ways.iter().enumerate() {
            let user = if *is_deleting { format!("round{round}way{way}") } else { USER.to_owned() };
            if *is_deleting {
                dovecot.deliver(&user, "INBOX", &corpus);
                dovecot.client(&user).drain("INBOX");
            }
            let agent = Agent::new(&Config { login: format!("username = \"{user}\""), ..config.clone() });
            let took = cost(|| agent.start(&["once", "--json"]));
            took.said.is(0, &[]);
            let report: Value = serde_json::from_str(&took.said.out).unwrap();
            let report = &report["profiles"][0];
            let deleted = if *is_deleting { items as u64 } else { 0 };
            assert_eq!((count(report, "archived"), count(report, "deleted")), (items as u64, deleted), "{report}");
            ours[way].add(&took);
            if way == 0 {
                let (seconds, cpu) = (0..QUIET_CYCLES).fold((0.0, 0.0), |(seconds, cpu), _| {
                    let took = cost(|| agent.start(&["once"]));
                    took.said.is(0, &[]);
                    (seconds + took.seconds, cpu + took.cpu_seconds)
                });
                quiet.seconds.push(seconds / QUIET_CYCLES as f64);
                quiet.cpu_seconds.push(cpu / QUIET_CYCLES as f64);
                stored = agent.pack_bytes();
            }
            eprintln!("round {round}: {name}: {:.2} s", took.seconds);
        }
    }

    let raw_seconds = raw.seconds.median();
    let line = |name: &str, measured: &Measured| {
        let seconds = measured.seconds.median();
        eprintln!(
            "{name:22} {seconds:7.2} s ({:.2} to {:.2})  {:7.0} mails/s  {:6.1} MB/s  {:6.2} CPU s  peak {:5.1} MiB  {:5.2} × raw",
            measured.seconds.least(),
            measured.seconds.most(),
            items as f64 / seconds,
            megabytes / seconds,
            measured.cpu_seconds.median(),
            measured.peak_mib.most(),
            seconds / raw_seconds,
        );
    };
    line("raw limit", &raw);
    line("mbsync, FSync yes", &theirs);
    for ((name, ..), measured) in ways.iter().zip(&ours) {
        line(name, measured);
    }
    eprintln!(
        "no news: {:.0} ms, of which processor {:.0} ms",
        quiet.seconds.median() * 1000.0,
        quiet.cpu_seconds.median() * 1000.0
    );
    let plain = ours[0].seconds.median();
    let stored_share = stored as f64 / raw_bytes as f64;
    eprintln!(
        "once, plain: {:.2} times the raw limit; {:.1} times as fast as mbsync; stored {:.1} % of raw",
        plain / raw_seconds,
        theirs.seconds.median() / plain,
        stored_share * 100.0
    );
    let of_ways: serde_json::Map<String, Value> =
        ways.iter().zip(&ours).map(|((name, ..), measured)| ((*name).to_owned(), measured.json())).collect();
    write_json(&json!({
        "items": items,
        "bytes_raw": raw_bytes,
        "bytes_stored": stored,
        "stored_share": stored_share,
        "raw_limit": raw.json(),
        "mbsync": theirs.json(),
        "gatepost": of_ways,
        "no_news": quiet.json(),
        "times_raw": plain / raw_seconds,
        "times_as_fast_as_mbsync": theirs.seconds.median() / plain,
    }));
}
