//! A mailbox of generated journal reports on a real Dovecot is emptied into archives: every filing that
//! the reports prove, no other, and each message with the bytes that were put in.

use std::collections::BTreeMap;

use gatepost::demo::corpus::{Corpus, Generated};

use crate::support::agent::{Agent, Config, alarms, count, sha256_of, wait_with_peak};
use crate::support::dovecot::{Dovecot, Setup};
use crate::support::reports::{large, with_inner_bcc};

const USER: &str = "journal";
/// Peak memory of a run, whatever the mailbox holds.
const PEAK_KIB_MAX: u64 = 128 * 1024;

/// Person, folder, Message-ID → SHA-256 of the original.
type Filings = BTreeMap<(String, String, String), String>;

fn expected(all: impl Iterator<Item = Generated>) -> Filings {
    let mut filings = Filings::new();
    for generated in all {
        for filing in generated.filings {
            let key = (filing.person, filing.folder.to_owned(), generated.message_id.clone());
            assert!(filings.insert(key, generated.original_sha256.to_string()).is_none());
        }
    }
    filings
}

fn listed(agent: &Agent) -> Filings {
    let mut filings = Filings::new();
    for entry in agent.list() {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        let message_id = format!("<{}>", text("message_id").trim_matches(['<', '>']));
        let key = (text("person"), text("folder"), message_id);
        assert!(filings.insert(key, text("sha256")).is_none(), "twice: {entry}");
    }
    filings
}

/// Empties a mailbox that holds `corpus`, and looks at everything that came of it.
fn empty(corpus: &Corpus) {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let all = || corpus.iter().chain([with_inner_bcc(), large()]);
    dovecot.deliver(USER, "INBOX", all().map(|generated| generated.item));
    let items = corpus.len() as u64 + 2;
    let agent = Agent::new(&Config::plain(&dovecot));

    let (said, peak) = wait_with_peak(agent.start(&["once", "--json"]));
    assert_eq!(said.code, Some(0), "{said:#?}");
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let report = &report["profiles"][0];
    eprintln!("peak memory {peak} KiB; {report}");
    let counts = ["listed", "archived", "deleted", "pending", "already_archived"].map(|key| count(report, key));
    assert_eq!(counts, [items, items, items, 0, 0], "{report}");
    assert_eq!((report["outcome"].as_str(), alarms(report)), (Some("ok"), "[]".into()));
    assert!(peak < PEAK_KIB_MAX, "{peak} KiB");
    assert!(dovecot.client(USER).uids("INBOX").is_empty());

    let filings = expected(all());
    assert!(listed(&agent) == filings, "the filings are not those that the reports prove");
    exported(&agent, &filings);

    // Nothing is left to do: the archive stays as it is, byte for byte.
    let before = (agent.head(), agent.pack_bytes());
    let again = agent.once(0);
    assert_eq!((count(&again, "listed"), count(&again, "bytes")), (0, 0), "{again}");
    assert_eq!((agent.head(), agent.pack_bytes()), before);
    assert_eq!(agent.differences(), 0);
    verified(&agent, items);
}

/// Exports everything: what is not redacted has the original's SHA-256, and the sums fit the files.
fn exported(agent: &Agent, filings: &Filings) {
    let out = agent.path("exported");
    agent.run(&["export", out.to_str().unwrap()]).is(0, &[]);
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let entries = manifest["entries"].as_array().unwrap();
    assert_eq!(entries.len(), filings.len());
    let mut redacted = Vec::new();
    for entry in entries {
        let text = |key: &str| entry[key].as_str().unwrap();
        let message_id = format!("<{}>", text("message_id").trim_matches(['<', '>']));
        let key = (text("person").to_owned(), text("folder").to_owned(), message_id);
        assert_eq!(filings.get(&key).map(String::as_str), Some(text("sha256_original")), "{entry}");
        let sum = sha256_of(&out.join(text("file")));
        assert_eq!(sum, text("sha256_exported"), "{entry}");
        let is_redacted = entry["redacted"].as_bool().unwrap();
        assert_eq!(sum != text("sha256_original"), is_redacted, "{entry}");
        if is_redacted {
            redacted.push(key.0);
        }
    }
    // The recipients' copies of the one mail with an inner Bcc, not the sender's own.
    redacted.sort();
    assert_eq!(redacted, ["user02@corp.example", "user03@corp.example"]);
    let check = std::process::Command::new("sha256sum")
        .args(["--check", "--quiet", "--strict", "SHA256SUMS"])
        .current_dir(&out)
        .status();
    // Where there is no `sha256sum`, the sums were compared above.
    assert!(check.is_err() || check.is_ok_and(|status| status.success()));
}

fn verified(agent: &Agent, items: u64) {
    let report = agent.json(&["verify", "--json"], 0);
    assert_eq!((count(&report, "items"), report["damaged"].to_string()), (items, "[]".into()), "{report}");
}

#[test]
fn a_mailbox_is_emptied_into_archives() {
    empty(&Corpus::small(11, 1_500));
}

/// `cargo test --release --test it ten_thousand -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes: ten thousand reports of 45 KB"]
fn ten_thousand_reports_are_emptied_into_archives() {
    empty(&Corpus::new(12, 10_000));
}
