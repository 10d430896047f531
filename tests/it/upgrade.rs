//! Archives that earlier versions wrote are read, verified, gone on with and rebuilt. Each lies in a folder
//! of `tests/data/archives`: what that version wrote, byte for byte, and what it said of it.
//!
//! A fixture is never changed. A version that writes another format, or another kind of record, adds one:
//! `GATEPOST_WRITE_FIXTURE=NAME cargo test --test it upgrade::write -- --ignored`.

use std::path::{Path, PathBuf};

use gatepost::base::digest::Digest;
use serde_json::{Value, json};

use super::support::bench::{Bench, Setup, few, varied};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/archives")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => _ = std::fs::copy(entry.path(), &to).unwrap(),
        }
    }
}

/// All that people see: every message with its filings, and the bytes of each.
fn seen(bench: &Bench) -> Value {
    let mut messages = bench.json(&["list", "--json"], 0)["messages"].as_array().unwrap().clone();
    messages.sort_by_key(Value::to_string);
    let reader = bench.reader().unwrap();
    let mut bytes = Vec::new();
    for message in &messages {
        let mut out = Vec::new();
        reader.original_bytes(message["id"].as_u64().unwrap(), &mut out).unwrap();
        bytes.push(Digest::of(&out).to_string());
    }
    json!({ "messages": messages, "bytes": bytes })
}

#[test]
fn archives_of_earlier_versions_are_read_verified_and_gone_on_with() {
    let mut found = 0;
    for fixture in std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()) {
        found += 1;
        let when = fixture.display().to_string();
        let bench = Bench::new(Setup { delete: true, ..Setup::default() });
        copy(&fixture.join("archive"), &bench.archive());
        let said: Value = serde_json::from_slice(&std::fs::read(fixture.join("seen.json")).unwrap()).unwrap();

        let verified = bench.run(&["verify", "--json"], None);
        assert_eq!(verified.code, Some(0), "{when}: {verified}");
        assert_eq!(seen(&bench), said, "{when}");
        // The catalogue is derived: made anew it says the same.
        bench.json(&["rebuild", "--json"], 0);
        assert_eq!(seen(&bench), said, "{when}, rebuilt");
        // What that version archived is recognised, and new mail goes on where it ended.
        let old = varied().into_iter().filter(|put| put.bytes.len() < 100_000).nth(3).unwrap();
        bench.put(&old);
        few(77, 5).iter().for_each(|put| _ = bench.put(put));
        let said = bench.run(&["once", "--json"], None);
        // The gateway has another port than it had then, which is told.
        assert!(matches!(said.code, Some(0 | 2)), "{when}: {said}");
        let report = said.report();
        assert_eq!((&report["already_archived"], &report["archived"]), (&json!(1), &json!(5)), "{when}: {report}");
        bench.is_in_order(&when);
        bench.json(&["index", "--json"], 0);
        let exported = bench.folder().join("exported");
        bench.json(&["export", exported.to_str().unwrap(), "--json"], 0);
    }
    assert!(found > 0, "no fixture");
}

#[test]
#[ignore = "writes a fixture"]
fn write() {
    let name = std::env::var("GATEPOST_WRITE_FIXTURE").expect("GATEPOST_WRITE_FIXTURE=NAME");
    let fixture = fixtures().join(name);
    assert!(!fixture.exists(), "{} is there; a fixture is never changed", fixture.display());
    // Every kind of record: a pack that is sealed, a quarantined item, deletions, filing anew, a pause.
    let bench = Bench::holding(Setup::default(), &varied());
    assert_eq!(bench.once(None).code, Some(2));
    few(31, 6).iter().for_each(|put| _ = bench.put(put));
    assert!(matches!(bench.once(None).code, Some(0 | 2)));
    bench.json(&["pause", "journal", "--json"], 0);
    bench.json(&["resume", "journal", "--json"], 0);
    assert!(matches!(bench.run(&["refile", "--all", "--json"], None).code, Some(0 | 2)));
    bench.is_in_order("the fixture");
    copy(&bench.archive(), &fixture.join("archive"));
    for file in ["lock", "lock-holder", "catalogue.sqlite3-wal", "catalogue.sqlite3-shm"] {
        let _ = std::fs::remove_file(fixture.join("archive").join(file));
    }
    std::fs::write(fixture.join("seen.json"), serde_json::to_string_pretty(&seen(&bench)).unwrap()).unwrap();
}
