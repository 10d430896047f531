//! The agent as a service: what an idle cycle costs, how it stops, who may run beside it, and what a
//! gateway that fails does to it. The gateway is the embedded one, which counts and misbehaves.

use std::process::{Child, Command};
use std::time::Duration;

use gatepost::demo::corpus::Corpus;
use gatepost::demo::fault::{Answer, Fault, When, Which};
use gatepost::demo::server::{Gateway, GatewayOptions};

use crate::support::agent::{Agent, Config, Said, alarms, count, memory_kib};

/// An idle agent takes no more, measured with the release build (`GATEPOST_TEST_BINARY`; `.ci/run` does it).
const IDLE_KIB_MAX: u64 = 30 * 1024;
/// Of this the agent's own memory; the rest are pages of the program's file, which are more in a build for tests.
const IDLE_OWN_KIB_MAX: u64 = 14 * 1024;

/// A gateway that holds `items` generated reports, served by threads of its own.
pub struct Bench {
    runtime: tokio::runtime::Runtime,
    pub gateway: Gateway,
    pub agent: Agent,
    pub config: Config,
}

impl Bench {
    pub fn new(items: usize) -> Bench {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let gateway = runtime.block_on(Gateway::start(GatewayOptions::default())).unwrap();
        let config = Config { login: "username = \"journal@corp.example\"".into(), ..Config::at(gateway.port()) };
        let mut agent = Agent::new(&config);
        agent.password = GatewayOptions::default().password.expose().to_owned();
        let bench = Bench { runtime, gateway, agent, config };
        bench.deliver(61, items);
        bench
    }

    pub fn deliver(&self, seed: u64, items: usize) {
        for generated in Corpus::small(seed, items).iter() {
            self.gateway.append("INBOX", generated.item, Some(generated.date));
        }
    }

    pub fn configure(&self, profile: &str) {
        self.agent.configure(&self.config.clone().with_profile(profile));
    }

    pub fn wait(&self, mut until: impl FnMut(&Gateway) -> bool) {
        let _entered = self.runtime.enter();
        while !until(&self.gateway) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

pub fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

pub fn ended(child: Child) -> Said {
    Said::of(child.wait_with_output().unwrap())
}

#[test]
fn an_idle_cycle_is_one_login_and_one_select() {
    let bench = Bench::new(5);
    bench.agent.once(0);
    let counters = bench.gateway.counters();
    assert_eq!((counters.logins, counters.selects), (1, 1), "{counters:?}");
    bench.gateway.reset_counters();
    let report = bench.agent.once(0);
    assert_eq!(count(&report, "listed"), 0);
    let log = bench.gateway.log();
    let names: Vec<&str> = log.iter().map(|line| line.split(' ').next().unwrap()).collect();
    let counters = bench.gateway.counters();
    assert_eq!((counters.connections, counters.logins, counters.selects), (1, 1, 1), "{log:?}");
    let asked: Vec<&str> = names.iter().copied().filter(|name| *name != "CAPABILITY").collect();
    assert_eq!(asked, ["AUTHENTICATE", "SELECT", "LOGOUT"], "{log:?}");
    // A mailbox that keeps its mail costs no more.
    bench.configure("delete = false");
    bench.deliver(62, 5);
    bench.agent.once(0);
    bench.gateway.reset_counters();
    bench.agent.once(0);
    assert_eq!(bench.gateway.counters().command("UID FETCH"), 0, "{:?}", bench.gateway.log());
    assert_eq!(bench.gateway.counters().selects, 1);
}

#[test]
fn an_idle_agent_is_small_and_stops_when_told() {
    for name in ["-TERM", "-INT"] {
        let bench = Bench::new(0);
        bench.configure("every = \"1s\"\ndelete = true");
        let child = bench.agent.start(&["run"]);
        bench.wait(|gateway| gateway.counters().selects >= 3);
        let is_release = std::env::var_os("GATEPOST_TEST_BINARY").is_some();
        let memory = |when: &str| {
            let (all, own) = (memory_kib(child.id(), "VmRSS").unwrap(), memory_kib(child.id(), "RssAnon").unwrap());
            eprintln!("idle agent, {when}: {all} KiB, of it {own} KiB its own");
            assert!(own < IDLE_OWN_KIB_MAX, "{when}: {own} KiB");
            assert!(!is_release || all < IDLE_KIB_MAX, "{when}: {all} KiB");
        };
        memory("fresh");
        // What a busy cycle took is given back.
        for generated in Corpus::new(65, 1_000).iter() {
            bench.gateway.append("INBOX", generated.item, Some(generated.date));
        }
        bench.wait(|gateway| gateway.uids("INBOX").is_empty());
        let cycles = bench.gateway.counters().selects;
        bench.wait(|gateway| gateway.counters().selects >= cycles + 3);
        memory("after a busy cycle");
        signal(&child, name);
        let said = ended(child);
        said.is(0, &["stopping"]);
        assert!(bench.gateway.uids("INBOX").is_empty());
        assert_eq!(bench.agent.differences(), 0);
        assert!(!bench.agent.list().is_empty());
    }
}

#[test]
fn the_agent_archives_what_comes_while_it_runs() {
    let bench = Bench::new(2);
    bench.configure("every = \"1s\"\ndelete = true");
    let child = bench.agent.start(&["run"]);
    bench.wait(|gateway| gateway.uids("INBOX").is_empty());
    bench.deliver(63, 3);
    bench.wait(|gateway| gateway.uids("INBOX").is_empty());
    // Readers do not wait for it.
    let expected: usize = [(61, 2), (63, 3)].map(|(seed, n)| filings(seed, n)).iter().sum();
    assert_eq!(bench.agent.list().len(), expected);
    bench.agent.run(&["people"]).is(0, &["corp.example"]);
    bench.agent.run(&["status"]).is(0, &["journal: ok"]);
    bench.agent.run(&["reconcile"]).is(0, &["no differences"]);
    bench.agent.run(&["once", "--dry-run"]).is(0, &["nothing new"]);
    bench.agent.run(&["check"]).is(0, &["ok"]);
    // Writers are told who holds the archive.
    let holder = format!("process {}", child.id());
    bench.agent.run(&["run"]).is(5, &["`gatepost run`", &holder, "hint:"]);
    // What the agent can do itself, it does.
    bench.agent.run(&["once"]).is(0, &["journal: nothing new"]);
    signal(&child, "-TERM");
    ended(child).is(0, &[]);
    bench.agent.once(0);
}

fn filings(seed: u64, items: usize) -> usize {
    Corpus::small(seed, items).iter().map(|generated| generated.filings.len()).sum()
}

#[test]
fn a_signal_in_the_middle_of_a_cycle_loses_nothing() {
    for (command, code, name) in [("run", 0, "-TERM"), ("run", 0, "-INT"), ("once", 2, "-TERM")] {
        let bench = Bench::new(300);
        // The second download never gets its answer.
        bench.gateway.misbehave(Fault::on("UID FETCH", When::Nth(3), Answer::Hang));
        let child = bench.agent.start(&[command]);
        bench.wait(|gateway| gateway.counters().command("UID FETCH") >= 3);
        signal(&child, name);
        let said = ended(child);
        said.is(code, &[]);
        bench.gateway.behave();
        bench.agent.once(0);
        assert!(bench.gateway.uids("INBOX").is_empty());
        assert_eq!(bench.agent.list().len(), filings(61, 300));
        assert_eq!(bench.agent.differences(), 0);
    }
}

#[test]
fn a_connection_that_dies_in_a_mail_loses_nothing() {
    let bench = Bench::new(20);
    bench.gateway.misbehave(Fault::CutInBody { which: Which::Uid(11), after: 700 });
    let said = bench.agent.run(&["once"]);
    said.is(3, &["journal", "hint:"]);
    assert!(bench.gateway.uids("INBOX").contains(&11));
    let report = bench.agent.once(0);
    assert!(count(&report, "archived") > 0, "{report}");
    assert!(bench.gateway.uids("INBOX").is_empty());
    assert_eq!(bench.agent.list().len(), filings(61, 20));
}

#[test]
fn a_mail_that_is_expunged_before_its_download_is_told_as_vanished() {
    let bench = Bench::new(10);
    // The listing is a UID FETCH too; the other client comes between it and the download.
    bench.gateway.misbehave(Fault::ExpungeDuringFetch { uid: 7, bodies: true });
    bench.configure("delete = false");
    let report = bench.agent.once(2);
    let counts = ["listed", "archived", "vanished"].map(|key| count(&report, key));
    assert_eq!(counts, [10, 9, 1], "{report}");
    assert!(alarms(&report).contains("vanished"), "{report}");
    assert_eq!(bench.agent.differences(), 0);
    assert_eq!(count(&bench.agent.once(0), "listed"), 0);
}

#[test]
fn what_the_gateway_will_not_give_stays_there_and_is_told() {
    let bench = Bench::new(4);
    bench.gateway.misbehave(Fault::BodyNil { which: Which::Uid(2) });
    let report = bench.agent.once(2);
    assert_eq!((count(&report, "archived"), count(&report, "unfetchable")), (3, 1), "{report}");
    assert_eq!(bench.gateway.uids("INBOX"), [2]);
    // It is not new any more, and it is not forgotten.
    bench.agent.run(&["once"]).is(0, &["nothing new"]);
    bench.agent.run(&["status"]).is(0, &["waiting       1 item"]);
    bench.agent.run(&["reconcile"]).is(0, &["1 unfetchable"]);
}
