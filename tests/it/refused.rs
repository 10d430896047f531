//! Refused logins: no account is locked by them, and no mail is lost over them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gatepost::demo::corpus::Corpus;
use serde_json::Value;

use crate::support::agent::{Agent, Config, PASSWORD_VARIABLE, alarms, count};
use crate::support::dovecot::{Dovecot, PASSWORD, Setup};
use crate::support::ews::{Ews, Reply, USER as EWS_USER};

const USER: &str = "journal";

fn mails(seed: u64, count: usize) -> Vec<Vec<u8>> {
    Corpus::small(seed, count).iter().map(|generated| generated.item).collect()
}

/// How often the server refused a login.
fn refusals(dovecot: &Dovecot) -> usize {
    dovecot.log().lines().filter(|line| line.contains("auth failed")).count()
}

fn report(agent: &Agent, further: &[&str], code: i32) -> Value {
    let arguments: Vec<&str> = ["once", "--json"].iter().chain(further).copied().collect();
    agent.json(&arguments, code)["profiles"][0].clone()
}

fn is_waiting(report: &Value) -> bool {
    report["error"]["what"].as_str().unwrap().contains("it is not tried before")
}

#[test]
fn after_three_refusals_a_login_waits_and_a_changed_secret_does_not() {
    for kind in ["imap", "pop3"] {
        let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
        dovecot.deliver(USER, "INBOX", mails(101, 3));
        let port = if kind == "imap" { dovecot.imap_port } else { dovecot.pop3_port };
        let mut agent = Agent::new(&Config { kind, ..Config::at(port) });
        agent.password = "wrong horse".into();
        for run in 1..=3 {
            let report = report(&agent, &[], 3);
            assert_eq!(alarms(&report).contains("3 times in a row"), run == 3, "{report}");
        }
        assert_eq!(refusals(&dovecot), 3);
        for further in [&[][..], &["--profile", "journal"], &["--dry-run"]] {
            let report = report(&agent, further, 3);
            assert!(is_waiting(&report), "{report}");
        }
        agent.run(&["once"]).is(3, &["not tried before", "nothing was deleted", "hint: ", "--retry-refused"]);
        agent.run(&["reconcile"]).is(3, &["not tried before"]);
        assert_eq!(refusals(&dovecot), 3, "nothing went out");
        // Who says so may.
        report(&agent, &["--retry-refused"], 3);
        assert_eq!(refusals(&dovecot), 4);
        // `status` and the record show it, and no secret.
        let record = std::fs::read_to_string(agent.archive().join("logins.json")).unwrap();
        assert!(!record.contains("wrong horse"), "{record}");
        assert!(agent.json(&["status", "--json"], 0)["profiles"][0]["error"].as_str().unwrap().contains("logging in"));
        // A changed secret is tried at once, and all is well again.
        agent.password = PASSWORD.into();
        assert_eq!(count(&report(&agent, &["--profile", "journal"], 0), "archived"), 3);
        agent.password = "wrong again".into();
        assert!(!is_waiting(&report(&agent, &[], 3)));
    }
}

#[test]
fn a_damaged_record_is_no_leave_to_hammer() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let mut agent = Agent::new(&Config::plain(&dovecot));
    agent.password = "wrong horse".into();
    for _ in 0..5 {
        report(&agent, &[], 3);
    }
    std::fs::write(agent.archive().join("logins.json"), "{ half of").unwrap();
    for _ in 0..5 {
        report(&agent, &[], 3);
    }
    assert_eq!(refusals(&dovecot), 4, "one try more");
    std::fs::remove_file(agent.archive().join("logins.json")).unwrap();
    std::fs::create_dir(agent.archive().join("logins.json")).unwrap();
    agent.run(&["once"]).is(1, &["logins.json", "no login was tried", "hint: "]);
    assert_eq!(refusals(&dovecot), 4);
}

fn exchange(ews: &Ews) -> Agent {
    let agent = Agent::new(&Config::at(0));
    agent.configure_text(&format!(
        "[archive]\npath = \"archive\"\n[people]\ninternal_domains = [\"corp.example\"]\nunknown_internal = \"create\"\n\
         [[profile]]\nname = \"exchange\"\ndelete = true\n[profile.ews]\nurl = {:?}\nusername = {EWS_USER:?}\n\
         password = {{ env = \"{PASSWORD_VARIABLE}\" }}\ntimeout = \"60s\"\n",
        ews.url
    ));
    agent
}

/// Over EWS the first call is the login. What was accepted before and is refused now is the server's trouble.
#[test]
fn a_secret_that_worked_before_is_tried_on() {
    let refuse = |_: &_, _: &mut _| Some(Reply::Http(401, "WWW-Authenticate: Basic\r\n".into(), String::new()));
    let ews = Ews::plain();
    ews.deliver(mails(102, 2));
    let agent = exchange(&ews);
    assert_eq!(count(&agent.once(0), "archived"), 2);
    ews.hook(refuse);
    for _ in 0..5 {
        let report = report(&agent, &[], 3);
        assert!(!is_waiting(&report) && !alarms(&report).contains("in a row"), "{report}");
    }
    ews.hook(|_, _| None);
    ews.deliver(mails(103, 2));
    assert_eq!(count(&agent.once(0), "archived"), 2, "it goes on by itself");
    // The same server, of which nobody knows that the secret is right.
    let ews = Ews::plain();
    ews.hook(refuse);
    let agent = exchange(&ews);
    for _ in 0..3 {
        assert!(!is_waiting(&report(&agent, &[], 3)));
    }
    assert!(is_waiting(&report(&agent, &[], 3)));
}

/// Refuses the first logins with a text of Exchange's, then passes connections on to a real server.
struct Throttling {
    port: u16,
    /// When each connection came.
    came: Arc<Mutex<Vec<Instant>>>,
}

impl Throttling {
    fn before(server: u16, times: usize, text: &'static str) -> Throttling {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let came = Arc::new(Mutex::new(Vec::new()));
        let there = came.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let number = {
                    let mut came = there.lock().unwrap();
                    came.push(Instant::now());
                    came.len()
                };
                std::thread::spawn(move || match number <= times {
                    true => refuse(client, text),
                    false => pass(client, server),
                });
            }
        });
        Throttling { port, came }
    }

    fn came(&self) -> Vec<Instant> {
        self.came.lock().unwrap().clone()
    }
}

fn refuse(client: TcpStream, text: &str) {
    let mut client = BufReader::new(client);
    let _ = client.get_mut().write_all(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\r\n");
    let mut line = String::new();
    let _ = client.read_line(&mut line);
    let tag = line.split(' ').next().unwrap_or_default();
    let _ = client.get_mut().write_all(format!("{tag} NO {text}\r\n* BYE closing\r\n").as_bytes());
}

fn pass(mut client: TcpStream, server: u16) {
    let mut server = TcpStream::connect(("127.0.0.1", server)).unwrap();
    let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(std::net::Shutdown::Both);
    });
    let mut buffer = [0; 8192];
    while let Ok(count) = client.read(&mut buffer)
        && count > 0
    {
        if server.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_throttling_server_is_left_alone_as_long_as_it_asks_for() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver(USER, "INBOX", mails(104, 2));
    let short = "Request is throttled. Suggested Backoff Time: 700 milliseconds";
    let server = Throttling::before(dovecot.imap_port, 2, short);
    let agent = Agent::new(&Config::at(server.port));
    assert_eq!(count(&agent.once(0), "archived"), 2);
    let came = server.came();
    assert_eq!(came.len(), 3);
    assert!(came.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(700)), "{came:?}");

    let long = "Request is throttled. Suggested Backoff Time: 299961 milliseconds";
    let server = Throttling::before(dovecot.imap_port, 99, long);
    let agent = Agent::new(&Config::at(server.port));
    agent.run(&["once"]).is(3, &["Suggested Backoff Time", "nothing was deleted"]);
    for _ in 0..2 {
        agent.run(&["once", "--profile", "journal"]).is(3, &["asked to be left alone until", "nothing was deleted"]);
    }
    assert_eq!(server.came().len(), 1, "nothing more went out");
}

/// A server that cannot ask its directory says so, and that is no refusal.
#[test]
fn an_unavailable_directory_is_no_refusal() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver(USER, "INBOX", mails(105, 1));
    let server = Throttling::before(dovecot.imap_port, 5, "[UNAVAILABLE] Temporary authentication failure.");
    let agent = Agent::new(&Config::at(server.port));
    for _ in 0..5 {
        let report = report(&agent, &[], 3);
        assert!(!is_waiting(&report) && alarms(&report) == "[]", "{report}");
    }
    assert_eq!(count(&agent.once(0), "archived"), 1);
}

/// The agent keeps to it as well, cycle after cycle.
#[test]
fn the_agent_does_not_hammer() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let mut agent = Agent::new(&Config::plain(&dovecot).with_profile("delete = true\nevery = \"1s\""));
    agent.password = "wrong horse".into();
    let mut child = agent.start(&["run"]);
    let (mut said, mut waits) = (String::new(), 0);
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        waits += usize::from(line.contains("not tried"));
        said += &format!("{line}\n");
        if waits == 2 {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((waits, refusals(&dovecot)), (2, 3), "{said}");
    assert!(said.contains("3 times in a row") && !said.contains("wrong horse"), "{said}");
}
