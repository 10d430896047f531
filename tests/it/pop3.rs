//! The POP3 source against a real Dovecot, through the program.

use gatepost::demo::corpus::Corpus;

use crate::support::agent::{Agent, Config, alarms, count};
use crate::support::dovecot::{Dovecot, Setup};

const USER: &str = "journal";

fn mails(seed: u64, count: usize) -> Vec<Vec<u8>> {
    Corpus::small(seed, count).iter().map(|generated| generated.item).collect()
}

fn left(dovecot: &Dovecot) -> Vec<u32> {
    dovecot.client(USER).uids("INBOX")
}

fn did(report: &serde_json::Value) -> [u64; 3] {
    ["archived", "already_archived", "deleted"].map(|key| count(report, key))
}

/// Message, person and folder of everything that is filed.
fn filed(agent: &Agent) -> Vec<String> {
    let mut filed: Vec<String> = agent
        .list()
        .iter()
        .map(|entry| format!("{} {} {}", entry["sha256"], entry["person"], entry["folder"]))
        .collect();
    filed.sort();
    filed
}

#[test]
fn reports_read_over_pop3_are_filed_as_those_read_over_imap() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver(USER, "INBOX", mails(51, 12));
    let imap = Agent::new(&Config::plain(&dovecot).with_profile("delete = false"));
    imap.once(0);
    let ca = format!("ca_file = {:?}", dovecot.ca_file);
    for (port, tls) in [(dovecot.pop3_port, "none"), (dovecot.pop3_port, "starttls"), (dovecot.pop3s_port, "implicit")]
    {
        for auth in ["auto", "plain", "user"] {
            let config = Config {
                host: "localhost".into(),
                tls,
                imap: format!("{ca}\nauth = \"{auth}\""),
                ..Config::pop3(port).with_profile("delete = false")
            };
            let agent = Agent::new(&config);
            assert_eq!(did(&agent.once(0)), [12, 0, 0], "{tls} {auth}");
            assert_eq!(filed(&agent), filed(&imap));
        }
    }
    let agent = Agent::new(&Config::pop3(dovecot.pop3_port));
    assert_eq!(did(&agent.once(0)), [12, 0, 12]);
    assert!(left(&dovecot).is_empty());
    assert_eq!(count(&agent.once(0), "listed"), 0);
    assert_eq!(agent.differences(), 0);
    assert_eq!(agent.run(&["verify"]).code, Some(0));
}

#[test]
fn what_an_earlier_session_archived_is_matched_and_deleted_without_another_download() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver(USER, "INBOX", mails(52, 6));
    let agent = Agent::new(&Config::pop3(dovecot.pop3_port).with_profile("delete = false"));
    assert_eq!(did(&agent.once(0)), [6, 0, 0]);
    let again = agent.once(0);
    assert_eq!((count(&again, "listed"), count(&again, "bytes")), (0, 0));
    // Another client deletes one, and one arrives: as many as before, and yet others.
    dovecot.client(USER).run("SELECT INBOX");
    let mut client = dovecot.client(USER);
    for command in ["SELECT INBOX", "UID STORE 2 +FLAGS (\\Deleted)", "EXPUNGE"] {
        client.run(command);
    }
    dovecot.deliver(USER, "INBOX", mails(53, 1));
    assert_eq!(did(&agent.once(0)), [1, 0, 0]);
    agent.configure(&Config::pop3(dovecot.pop3_port));
    let report = agent.once(0);
    assert_eq!((did(&report), count(&report, "bytes")), ([0, 6, 6], 0), "{report}");
    assert!(left(&dovecot).is_empty());
    assert_eq!(agent.differences(), 0);
}

#[test]
fn another_mail_under_a_known_id_is_not_deleted() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let mail =
        |subject: &str| format!("From: a@corp.example\r\nTo: b@corp.example\r\nSubject: {subject}\r\n\r\nText\r\n");
    // By UIDVALIDITY and UID, which the server forgets below.
    dovecot.deliver(USER, "INBOX", [mail("first"), mail("other")]);
    let agent = Agent::new(&Config::pop3(dovecot.pop3_port).with_profile("delete = false"));
    assert_eq!(did(&agent.once(0)), [2, 0, 0]);
    // Of the same size, under the same id: the server was restored.
    for entry in std::fs::read_dir(dovecot.maildir(USER).join("cur")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains("Subject: first") {
            std::fs::write(&path, text.replace("Subject: first", "Subject: later")).unwrap();
        }
    }
    for cache in ["dovecot.index.cache", "dovecot.index", "dovecot.index.log"] {
        let _ = std::fs::remove_file(dovecot.maildir(USER).join(cache));
    }
    agent.configure(&Config::pop3(dovecot.pop3_port));
    let report = agent.once(2);
    assert!(alarms(&report).contains("not the folder that was recorded"), "{report}");
    // Looked at anew: the other one is recognised, the new one archived; then both may go.
    let subjects: Vec<_> = agent.list().iter().map(|entry| entry["subject"].to_string()).collect();
    assert!(
        ["first", "other", "later"].iter().all(|subject| subjects.contains(&format!("{subject:?}"))),
        "{subjects:?}"
    );
    agent.once(0);
    assert!(left(&dovecot).is_empty());
}

#[test]
fn a_server_that_gives_all_mails_one_id_is_drained_without_loss() {
    let setup = Setup { further: "pop3_uidl_format = %08Xv\n", ..Setup::default() };
    let Some(dovecot) = Dovecot::start(&setup) else { return };
    let mut all = mails(54, 5);
    all.push(all[0].clone());
    dovecot.deliver(USER, "INBOX", &all);
    let agent = Agent::new(&Config::pop3(dovecot.pop3_port));
    let done = agent.once(0);
    assert_eq!(did(&done), [5, 1, 6], "{done}");
    assert!(left(&dovecot).is_empty());
    dovecot.deliver(USER, "INBOX", mails(55, 2));
    assert_eq!(did(&agent.once(0)), [2, 0, 2]);
}

#[test]
fn a_mail_larger_than_the_window_passes() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let mut mail = b"From: a@corp.example\r\nTo: b@corp.example\r\nSubject: large\r\n\r\n".to_vec();
    for line in 0..200_000 {
        mail.extend_from_slice(format!(".line {line} of a mail whose lines begin with dots\r\n").as_bytes());
    }
    dovecot.deliver(USER, "INBOX", [mail.clone()]);
    let agent = Agent::new(&Config::pop3(dovecot.pop3_port));
    agent.configure_text(&Config::pop3(dovecot.pop3_port).text().replace("path =", "window = \"1MiB\"\npath ="));
    let done = agent.once(0);
    assert_eq!((did(&done), count(&done, "bytes")), ([1, 0, 1], mail.len() as u64));
    let id = agent.list()[0]["id"].to_string();
    let raw = agent.run(&["show", &id, "--raw"]);
    assert!(raw.out.as_bytes() == mail, "the bytes come out as they went in");
}

#[test]
fn what_goes_wrong_is_said() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let mut agent = Agent::new(&Config::pop3(dovecot.pop3_port));
    agent.run(&["check"]).is(0, &["logged in as journal", "holds 0 items", "DELE, confirmed by QUIT"]);
    agent.password = "wrong".into();
    agent
        .run(&["once"])
        .is(3, &["logging in as journal", "nothing was deleted", "hint: check the login and the password"]);
    let strict = Setup { without_tls: true, ..Setup::default() };
    let Some(bare) = Dovecot::start(&strict) else { return };
    let agent = Agent::new(&Config { tls: "starttls", host: "localhost".into(), ..Config::pop3(bare.pop3_port) });
    agent.run(&["once"]).is(3, &["STLS", "nothing was deleted"]);
    let agent = Agent::new(&Config::pop3(dovecot.imap_port));
    agent.run(&["once"]).is(3, &["neither +OK nor -ERR", "POP3 server"]);
}

/// `[profile.gateway]` asks for nothing but host, mailbox and password.
#[test]
fn a_mailstore_gateway_needs_nothing_else_to_be_known() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver("mbx-2a20", "INBOX", mails(57, 3));
    let agent = Agent::new(&Config::pop3(0));
    agent.configure_text(&format!(
        "[archive]\npath = \"archive\"\n[people]\ninternal_domains = [\"corp.example\"]\nunknown_internal = \"create\"\n\
         [[profile]]\nname = \"gateway\"\ndelete = true\n[profile.gateway]\nhost = \"localhost\"\nport = {}\n\
         ca_file = {:?}\nmailbox_id = \"mbx-2a20@gateway.example\"\npassword = {{ env = \"GATEPOST_TEST_PASSWORD\" }}\n",
        dovecot.pop3s_port, dovecot.ca_file
    ));
    assert_eq!(did(&agent.once(0)), [3, 0, 3]);
}

/// A POP3 server with one mail, which it refuses with `refusal` as long as `refuses` says so.
fn one_mail(refusal: &'static str, refuses: std::sync::Arc<std::sync::atomic::AtomicBool>) -> u16 {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    const MAIL: &str = "From: a@corp.example\r\nTo: b@corp.example\r\nMessage-ID: <1@corp.example>\r\n\r\nText\r\n";
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
            let _ = connection.write_all(b"+OK ready\r\n");
            while let Some(Ok(line)) = lines.next() {
                let answer = match line.split(' ').next().unwrap_or_default() {
                    "CAPA" => "+OK\r\nUSER\r\nUIDL\r\nTOP\r\n.\r\n".to_owned(),
                    "STAT" => format!("+OK 1 {}\r\n", MAIL.len()),
                    "LIST" => format!("+OK\r\n1 {}\r\n.\r\n", MAIL.len()),
                    "UIDL" => "+OK\r\n1 first\r\n.\r\n".to_owned(),
                    "RETR" if refuses.load(std::sync::atomic::Ordering::SeqCst) => format!("-ERR {refusal}\r\n"),
                    "RETR" => format!("+OK\r\n{MAIL}.\r\n"),
                    "TOP" => format!("+OK\r\n{}\r\n\r\n.\r\n", MAIL.split("\r\n\r\n").next().unwrap()),
                    _ => "+OK\r\n".to_owned(),
                };
                if connection.write_all(answer.as_bytes()).is_err() || line == "QUIT" {
                    break;
                }
            }
        }
    });
    port
}

#[test]
fn a_mail_that_is_refused_for_now_is_asked_for_again_and_not_given_up() {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    let refuses = std::sync::Arc::new(AtomicBool::new(true));
    let config = |port| Config::pop3(port).with_profile("delete = false");
    let agent = Agent::new(&config(one_mail("[SYS/TEMP] the store is busy", refuses.clone())));
    let report = agent.once(3);
    assert_eq!((count(&report, "unfetchable"), count(&report, "failed")), (0, 1), "{report}");
    assert!(report["error"]["what"].to_string().contains("the store is busy"), "{report}");
    refuses.store(false, SeqCst);
    assert_eq!(did(&agent.once(0)), [1, 0, 0]);

    let agent = Agent::new(&config(one_mail("cannot be converted", std::sync::Arc::new(AtomicBool::new(true)))));
    assert_eq!(count(&agent.once(2), "unfetchable"), 1);
}
