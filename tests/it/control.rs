//! A running agent and those who have something to say to it: orders, signals, a second agent, a person of another user.

use std::process::Child;
use std::time::Duration;

use gatepost::demo::fault::{Answer, Fault, When, Which};
use serde_json::{Value, json};

use crate::service::{Bench, ended, signal};
use crate::support::agent::Said;

const OFTEN: &str = "every = \"1s\"\ndelete = true";
const SELDOM: &str = "every = \"1h\"\ndelete = true";

fn running(bench: &Bench, profile: &str) -> Child {
    bench.configure(profile);
    let before = bench.gateway.counters().selects;
    let child = bench.agent.start(&["run"]);
    bench.wait(|gateway| gateway.counters().selects > before);
    let socket = bench.agent.archive().join("control.sock");
    until(|| socket.exists());
    child
}

fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it does not come to pass");
}

fn status(bench: &Bench) -> Value {
    bench.agent.json(&["status", "--json"], 0)
}

fn stop(child: Child) -> Said {
    signal(&child, "-TERM");
    let said = ended(child);
    said.is(0, &["stopping"]);
    said
}

#[test]
fn every_order_reaches_the_running_agent() {
    let bench = Bench::new(3);
    let child = running(&bench, SELDOM);
    until(|| status(&bench)["profiles"][0]["is_running"] == false);
    let told = status(&bench);
    assert_eq!(told["agent"]["running"], true, "{told}");
    assert_eq!(told["agent"]["pid"], child.id(), "{told}");
    assert_eq!(told["profiles"][0]["state"], "ok", "{told}");
    assert!(told["profiles"][0]["next_run"].is_string(), "{told}");

    // A cycle now, although the next is due in an hour.
    bench.deliver(63, 2);
    let report = bench.agent.json(&["once", "--json"], 0);
    assert_eq!(
        (&report["profiles"][0]["archived"], &report["profiles"][0]["deleted"]),
        (&json!(2), &json!(2)),
        "{report}"
    );
    bench.agent.run(&["once", "--profile", "journal"]).is(0, &["journal: nothing new"]);
    bench.agent.run(&["once", "--profile", "jurnal"]).is(1, &["did you mean `journal`?"]);

    // Paused: kept and not run; the chain says by whom.
    bench.agent.run(&["pause", "journal"]).is(0, &["journal is paused"]);
    let told = status(&bench);
    assert_eq!(
        (&told["profiles"][0]["state"], &told["profiles"][0]["next_run"]),
        (&json!("paused"), &Value::Null),
        "{told}"
    );
    bench.agent.run(&["once", "--profile", "journal"]).is(1, &["is paused since", "gatepost resume journal"]);
    bench.agent.run(&["once"]).is(0, &["is paused since", "was not run"]);
    bench.agent.run(&["pause", "journal"]).is(0, &["already"]);
    bench.agent.run(&["resume", "journal"]).is(0, &["journal runs again"]);
    assert_eq!(status(&bench)["profiles"][0]["state"], "ok");
    bench.agent.run(&["pause", "nobody"]).is(1, &["there is no profile `nobody`", "the profiles are: journal"]);

    // Quarantine, filing anew, people, the log.
    bench.agent.run(&["quarantine", "retry", "--all"]).is(0, &["No item is quarantined."]);
    bench.agent.run(&["quarantine", "retry", "1"]).is(1, &["item 1 is not quarantined"]);
    bench.agent.run(&["refile", "--all"]).is(0, &["looked at"]);
    bench.agent.run(&["refile", "--all", "--dry-run"]).is(0, &["a rehearsal"]);
    let people = bench.agent.json(&["people", "--json"], 0);
    let ids: Vec<&str> = people["people"].as_array().unwrap().iter().filter_map(|one| one["person"].as_str()).collect();
    let [from, into] = [ids[0], ids[1]];
    bench.agent.run(&["people", "merge", from, into]).is(0, &["is merged into"]);
    bench.agent.run(&["log-level", "debug"]).is(0, &["The agent logs at debug"]);
    bench.agent.run(&["log-level", "loud"]).is(1, &["it is one of: error, warn, info, debug, trace"]);
    bench.agent.run(&["reload"]).is(0, &["being applied"]);
    // What is for one writer alone is told who that is.
    let mbox = bench.agent.path("one.eml");
    std::fs::write(&mbox, "From: a@corp.example\r\n\r\n").unwrap();
    let holder = format!("process {}", child.id());
    bench.agent.run(&["import", mbox.to_str().unwrap()]).is(5, &["`gatepost run`", &holder]);
    let said = stop(child);
    assert!(said.err.contains("order=\"people merge\"") || said.err.contains("people merge"), "{}", said.err);
    assert!(!bench.agent.archive().join("control.sock").exists());

    // Without the agent the same orders take the lock, and the pauses of before are known.
    bench.agent.run(&["pause", "journal"]).is(0, &["journal is paused"]);
    assert_eq!(status(&bench)["profiles"][0]["state"], "paused");
    assert_eq!(status(&bench)["agent"]["running"], false);
    bench.agent.run(&["once"]).is(0, &["is paused since"]);
    bench.agent.run(&["resume", "journal"]).is(0, &["journal runs again"]);
    bench.agent.run(&["once"]).is(0, &["journal: nothing new"]);
    for command in [["reload", ""], ["log-level", "debug"]] {
        let arguments: Vec<&str> = command.into_iter().filter(|word| !word.is_empty()).collect();
        bench.agent.run(&arguments).is(1, &["no agent runs"]);
    }
    bench.agent.run(&["verify"]).is(0, &[]);
    // Past runs, and one of them.
    let runs = bench.agent.json(&["runs", "--json"], 0);
    let run = runs["runs"][0]["run"].as_u64().unwrap().to_string();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 2, "{runs}");
    bench.agent.run(&["runs", "show", &run]).is(0, &["2 archived", "2 deleted on the gateway"]);
    bench.agent.run(&["runs", "show", "999999"]).is(1, &["there is no run 999999"]);
    // After a rebuild, too: the chain knows it.
    bench.agent.run(&["pause", "journal"]).is(0, &[]);
    std::fs::remove_file(bench.agent.archive().join("catalogue.sqlite3")).unwrap();
    bench.agent.run(&["rebuild"]).is(0, &[]);
    assert_eq!(status(&bench)["profiles"][0]["state"], "paused");
}

#[test]
fn a_configuration_with_mistakes_changes_nothing_and_a_good_one_is_applied() {
    let bench = Bench::new(1);
    let child = running(&bench, OFTEN);
    let good = std::fs::read_to_string(bench.agent.path("gatepost.toml")).unwrap();
    // A typing mistake: told, and the old one goes on.
    bench.agent.configure_text(&good.replace("every", "evry"));
    signal(&child, "-HUP");
    bench.agent.run(&["reload"]).is(1, &["evry: unknown key", "did you mean `every`?"]);
    bench.deliver(64, 2);
    bench.wait(|gateway| gateway.uids("INBOX").is_empty());
    // Another name and schedule: applied while it runs, without a new process.
    bench.agent.configure_text(&good.replace("name = \"journal\"", "name = \"other\"").replace("1s", "2s"));
    signal(&child, "-HUP");
    until(|| status(&bench)["profiles"][0]["state"] == "ok" && status(&bench)["profiles"][0]["name"] == "other");
    assert_eq!(status(&bench)["agent"]["pid"], child.id());
    // What needs a new process says so.
    bench.agent.configure_text(&good.replace("path = \"archive\"", "path = \"elsewhere\""));
    signal(&child, "-HUP");
    // Before the next one is written, or that would be read half written.
    let book = bench.agent.archive().join("alarms.json");
    until(|| std::fs::read_to_string(&book).is_ok_and(|text| text.contains("another place")));
    bench.agent.configure_text(&good);
    bench.agent.run(&["reload"]).is(0, &[]);
    let said = stop(child);
    for words in ["the configuration was not applied", "evry", "configuration applied", "another place"] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
}

#[test]
fn the_agent_stops_at_once_in_the_middle_of_a_long_download() {
    let bench = Bench::new(0);
    for generated in gatepost::demo::corpus::Corpus::new(66, 2_000).iter() {
        bench.gateway.append("INBOX", generated.item, Some(generated.date));
    }
    // A second a share: it would take minutes.
    bench.configure("every = \"1s\"\ndelete = true\nbandwidth = \"256KiB\"");
    let child = bench.agent.start(&["run"]);
    bench.wait(|gateway| gateway.uids("INBOX").len() < 1_990 || gateway.counters().command("UID FETCH") > 4);
    let began = std::time::Instant::now();
    stop(child);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // What had come stands in the archive, and the rest waits.
    let report = bench.agent.json(&["status", "--json"], 0);
    assert!(report["archive"]["items"].as_u64().unwrap() > 0, "{report}");
    assert!(!bench.gateway.uids("INBOX").is_empty());
    bench.configure(OFTEN);
    bench.agent.run(&["once"]).is(0, &["archived"]);
    assert!(bench.gateway.uids("INBOX").is_empty());
    assert_eq!(bench.agent.differences(), 0);
}

#[test]
fn a_killed_agent_leaves_nothing_that_is_in_the_way() {
    let bench = Bench::new(50);
    let child = running(&bench, OFTEN);
    signal(&child, "-KILL");
    ended(child);
    // The socket lies there still, and nobody listens.
    assert!(bench.agent.archive().join("control.sock").exists());
    bench.agent.run(&["once"]).is(0, &[]);
    assert_eq!(status(&bench)["agent"]["running"], false);
    let child = running(&bench, OFTEN);
    assert_eq!(status(&bench)["agent"]["pid"], child.id());
    stop(child);
    assert!(bench.gateway.uids("INBOX").is_empty());
}

#[test]
fn an_item_that_the_gateway_never_gives_is_told_and_taken_back() {
    let bench = Bench::new(4);
    bench.gateway.misbehave(Fault::BodyNil { which: Which::Uid(2) });
    let script = bench.agent.path("told.txt");
    let text = std::fs::read_to_string(bench.agent.path("gatepost.toml")).unwrap();
    let command = format!(
        "\n[alarms.command]\nrun = [\"/bin/sh\", \"-c\", \"echo $GATEPOST_ALARM_STATE $GATEPOST_ALARM_KEY >>{}\"]\n",
        script.display()
    );
    bench.agent.configure_text(&(text.replace("delete = true", OFTEN) + &command));
    let child = bench.agent.start(&["run"]);
    let told = || std::fs::read_to_string(&script).unwrap_or_default();
    until(|| told().contains("raised journal/unfetchable"));
    bench.gateway.behave();
    // It is due again after a while only, unless a person has it tried.
    signal(&child, "-TERM");
    ended(child).is(0, &[]);
    assert_eq!(told().lines().count(), 1, "{}", told());
}

#[test]
fn a_dead_gateway_is_told_within_minutes_and_taken_back() {
    let bench = Bench::new(2);
    let told = bench.agent.path("told.txt");
    let text = std::fs::read_to_string(bench.agent.path("gatepost.toml")).unwrap();
    let command = format!("\n[alarms.command]\nrun = [\"/bin/sh\", \"-c\", \"cat >>{}\"]\n", told.display());
    bench.agent.configure_text(&(text.replace("delete = true", OFTEN) + &command));
    let child = bench.agent.start(&["run"]);
    bench.wait(|gateway| gateway.uids("INBOX").is_empty());
    bench.gateway.misbehave(Fault::on("AUTHENTICATE", When::Always, Answer::Eof));
    let said = || std::fs::read_to_string(&told).unwrap_or_default();
    until(|| said().contains("no-success"));
    assert!(said().contains("\"state\":\"raised\"") && said().contains("Nothing was deleted."), "{}", said());
    let told = status(&bench);
    assert_eq!(
        (&told["profiles"][0]["state"], &told["agent"]["alarms"][0]["kind"]),
        (&json!("error"), &json!("no-success"))
    );
    bench.agent.run(&["status"]).is(0, &["journal: error", "WARNING journal: no successful run for"]);
    bench.gateway.behave();
    until(|| said().contains("\"state\":\"cleared\""));
    stop(child);
}
