//! `search` and `index` as a user meets them, on an archive that the program itself drained a gateway into.

use std::time::{Duration, Instant};

use gatepost::demo::samples::samples;
use gatepost::demo::server::{Gateway, GatewayOptions};
use serde_json::Value;

use crate::support::agent::{Agent, Config, count};

/// The embedded gateway with mails on it, and a configuration that indexes.
struct Bench {
    runtime: tokio::runtime::Runtime,
    gateway: Gateway,
    agent: Agent,
}

impl Bench {
    fn new(index: bool) -> Bench {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let gateway = runtime.block_on(Gateway::start(GatewayOptions::default())).unwrap();
        let config = Config { login: "username = \"journal@corp.example\"".into(), ..Config::at(gateway.port()) };
        let mut agent = Agent::new(&config);
        agent.configure_text(&config.text().replace("index = false", &format!("index = {index}")));
        agent.password = GatewayOptions::default().password.expose().to_owned();
        let bench = Bench { runtime, gateway, agent };
        for sample in samples() {
            bench.append(sample.item);
        }
        bench
    }

    fn append(&self, item: Vec<u8>) {
        self.gateway.append("INBOX", item, None);
    }

    fn once(&self) {
        let _entered = self.runtime.enter();
        // One sample cannot be decoded.
        let said = self.agent.run(&["once"]);
        assert!(matches!(said.code, Some(0 | 2)), "{said:?}");
    }

    fn behind(&self) -> u64 {
        count(&self.agent.json(&["status", "--json"], 0)["archive"]["index"], "behind")
    }

    fn index(&self) -> std::path::PathBuf {
        self.agent.archive().join("catalogue.index")
    }

    fn found(&self, query: &[&str]) -> Vec<Value> {
        let found = self.agent.json(&[&["search", "--json"], query].concat(), 0);
        assert_eq!((count(&found, "not_indexed"), &found["more"]), (0, &Value::Bool(false)), "{found}");
        found["messages"].as_array().unwrap().clone()
    }
}

/// A report of a mail that Anna sent to Bob, and secretly to Carol.
fn report(subject: &str, text: &str) -> Vec<u8> {
    format!(
        "From: journal@corp.example\r\nTo: journal@corp.example\r\nSubject: report\r\nX-MS-Journal-Report:\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=r\r\n\r\n--r\r\nContent-Type: text/plain\r\n\r\nSender: anna@corp.example\r\n\
         Message-Id: <{subject}@corp.example>\r\nTo: bob@corp.example\r\nBcc: carol@corp.example\r\n--r\r\nContent-Type: message/rfc822\r\n\r\n\
         From: Anna <anna@corp.example>\r\nTo: Bob <bob@corp.example>\r\nSubject: {subject}\r\nMessage-ID: <{subject}@corp.example>\r\n\
         Date: Mon, 2 Mar 2026 10:00:00 +0100\r\n\r\n{text}\r\n--r--\r\n"
    )
    .into_bytes()
}

#[test]
fn a_run_leaves_an_index_and_a_search_needs_no_more() {
    let bench = Bench::new(true);
    bench.append(report("quarterly", "the unmistakable zebra"));
    bench.once();
    assert_eq!(bench.behind(), 0);
    let found = bench.found(&["zebra"]);
    let places: Vec<_> =
        found.iter().map(|entry| (entry["person"].as_str().unwrap(), entry["folder"].as_str().unwrap())).collect();
    assert_eq!(places, [("anna@corp.example", "sent"), ("bob@corp.example", "inbox"), ("carol@corp.example", "inbox")]);
    let keys: Vec<&String> = found[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["date", "folder", "from", "id", "message_id", "person", "sha256", "size", "subject", "to"]);
    // The Bcc: for the sender, and for an operator.
    assert_eq!(bench.found(&["zebra to:carol"]).len(), 1);
    assert_eq!(bench.found(&["zebra to:carol", "--envelope"]).len(), 3);
    assert!(bench.found(&["zebra bcc:carol", "--person", "carol@corp.example"]).is_empty());
    assert_eq!(bench.found(&["zebra", "--person", "bob@corp.example", "--folder", "inbox"]).len(), 1);
    assert_eq!(bench.found(&["from:anna", "after:2026-03-02", "before:2026-03-03", "in:sent"]).len(), 1);
    // For people.
    let said = bench.agent.run(&["search", "from:anna", "zebra"]);
    said.is(0, &["bob@corp.example", "quarterly", "2026-03-02"]);
    bench.agent.run(&["search", "nowhere"]).is(0, &["no message fits"]);
    bench.agent.run(&["search", "corp", "--limit", "2"]).is(0, &["--page 2"]);
    bench.agent.run(&["search", "corp", "--limit", "2", "--page", "9999"]).is(0, &["no such page"]);
}

#[test]
fn what_is_not_understood_is_pointed_at() {
    let bench = Bench::new(false);
    bench.once();
    bench
        .agent
        .run(&["search", "grüße form:anna"])
        .is(1, &["no field `form:`", "\n          ^^^^^", "did you mean `from:`?"]);
    bench.agent.run(&["search", "(offer"]).is(1, &["not closed", "^"]);
    bench.agent.run(&["search", "in:sent OR offer"]).is(1, &["in:sent (invoice OR offer)"]);
    bench.agent.run(&["search", ""]).is(1, &["nothing to search for"]);
    bench.agent.run(&["search", "\u{1b}[2J\u{7}:x y:"]).is(1, &["\u{fffd}[2J"]);
    bench.agent.run(&["search", "offer person:nobody"]).is(1, &["nobody here is called so", "gatepost people"]);
    bench.agent.run(&["search", "offer", "--page", "0"]).is(1, &["--page"]);
    bench.agent.run(&["search"]).is(1, &["QUERY"]);
}

#[test]
fn a_search_catches_up_by_itself() {
    let bench = Bench::new(false);
    bench.once();
    assert!(!bench.index().exists());
    assert!(bench.behind() >= 30);
    bench.agent.run(&["status"]).is(0, &["not indexed yet"]);
    let before = bench.found(&["offer"]);
    assert!(!before.is_empty());
    assert_eq!(bench.behind(), 0);
    bench.append(report("later", "an offer that came later"));
    bench.once();
    assert_eq!(bench.behind(), 1);
    assert_eq!(bench.found(&["offer"]).len(), before.len() + 3);
    // Deleted, damaged, and asked for anew: the same is found.
    let expected = bench.found(&["offer"]);
    std::fs::remove_dir_all(bench.index()).unwrap();
    assert_eq!(bench.found(&["offer"]), expected);
    for entry in std::fs::read_dir(bench.index()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[bytes.len() / 3..]).unwrap();
    }
    let said = bench.agent.run(&["search", "offer"]);
    said.is(0, &["the index was built anew: it", "later"]);
    assert_eq!(bench.found(&["offer"]), expected);
    bench.agent.run(&["index"]).is(0, &["the index is up to date"]);
    bench.agent.run(&["index", "--rebuild"]).is(0, &["indexed in"]);
    assert_eq!(bench.found(&["offer"]), expected);
    bench.agent.run(&["verify"]).is(0, &[]);
}

/// Killed at any moment, the next one goes on; the archive is not concerned.
#[test]
fn killed_while_it_indexes() {
    let bench = Bench::new(false);
    for n in 0..300 {
        bench.append(report(&format!("mail-{n}"), &"some words that make it longer ".repeat(200)));
    }
    bench.once();
    let expected = bench.found(&["words"]).len();
    assert_eq!(expected, 900);
    for milliseconds in [0, 2, 5, 10, 20, 40, 80, 120, 160, 240] {
        let mut child = bench.agent.start(&["index", "--rebuild"]);
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        bench.agent.run(&["index", "--quiet"]).is(0, &[]);
        assert_eq!(bench.found(&["words"]).len(), expected, "killed after {milliseconds} ms");
    }
}

/// Whoever may only read the archive's folder searches with what is there.
#[cfg(unix)]
#[test]
fn an_index_that_cannot_be_written_does_not_stop_a_search() {
    let bench = Bench::new(true);
    bench.once();
    let expected = bench.found(&["offer"]).len();
    bench.append(report("later", "an offer that came later"));
    bench.agent.configure_text(
        &std::fs::read_to_string(bench.agent.path("gatepost.toml")).unwrap().replace("index = true", "index = false"),
    );
    bench.once();
    // A folder stands where the lock belongs: an obstacle for root too.
    let lock = bench.agent.archive().join("catalogue.index.lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let said = bench.agent.run(&["search", "offer"]);
    said.is(0, &["warning: the index is not up to date", "1 item is not searched yet"]);
    let found = bench.agent.json(&["search", "offer", "--json"], 0);
    assert_eq!((found["messages"].as_array().unwrap().len(), count(&found, "not_indexed")), (expected, 1));
}

/// The agent's index follows what it archives, and stops with it.
#[cfg(unix)]
#[test]
fn the_agent_indexes_beside_its_cycles() {
    let bench = Bench::new(true);
    let text = std::fs::read_to_string(bench.agent.path("gatepost.toml")).unwrap();
    bench.agent.configure_text(&text.replace("delete = true", "delete = true\nevery = \"1s\""));
    let child = bench.agent.start(&["run"]);
    let wait = |until: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !until() {
            assert!(began.elapsed() < Duration::from_secs(60), "nothing happens");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait(&|| bench.agent.archive().join("archive.json").exists() && bench.index().exists() && bench.behind() == 0);
    let before = bench.found(&["offer"]).len();
    bench.append(report("later", "an offer that came later"));
    wait(&|| bench.agent.run(&["list", "--subject", "later"]).out.contains("later") && bench.behind() == 0);
    assert_eq!(bench.found(&["offer"]).len(), before + 3);
    assert!(std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let said = crate::support::agent::Said::of(child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{said:?}");
}
