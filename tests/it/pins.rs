//! Pinned certificates: somebody between, with a certificate of the same authority, hears no secret.

use gatepost::demo::corpus::Corpus;

use crate::support::agent::{Agent, Config, PASSWORD_VARIABLE, Said, count};
use crate::support::dovecot::{Dovecot, PASSWORD, Setup};
use crate::support::ews::{self, Ews, Reply};
use crate::support::middle::{Begins, Middle, Switch};
use crate::support::slapd::{self, Slapd};

const USER: &str = "journal";

fn mails(seed: u64, count: usize) -> Vec<Vec<u8>> {
    Corpus::small(seed, count).iter().map(|generated| generated.item).collect()
}

/// What a login over one of the sources has in it.
fn is_login(heard: &str) -> bool {
    ["AUTHENTICATE", "LOGIN", "USER", "PASS", "Authorization", PASSWORD]
        .iter()
        .any(|word| heard.to_ascii_lowercase().contains(&word.to_ascii_lowercase()))
}

fn is_wrong_pin(said: &Said, seen: &str) {
    said.is(3, &["is not the pinned one", seen, "hint: nothing was sent"]);
}

/// The fingerprint of `middle.pem`, as OpenSSL prints it.
fn shown_by_openssl(folder: &std::path::Path, file: &str) -> String {
    let output = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(folder.join(file))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    format!("sha256:{}", text.trim().rsplit_once('=').unwrap().1)
}

#[test]
fn mail_servers_are_known_by_their_pin_and_nobody_else_hears_the_login() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let folder = dovecot.certificates();
    let fingerprint = dovecot.fingerprint().to_string();
    let openssl = shown_by_openssl(folder, "server.pem");
    assert_eq!(openssl.replace(':', "").to_lowercase(), fingerprint.replace(':', ""));
    let seen = shown_by_openssl(folder, "middle.pem").replace(':', "").to_lowercase().replacen("sha256", "sha256:", 1);
    for (kind, tls, port, plain, begins) in [
        ("imap", "implicit", dovecot.imaps_port, dovecot.imap_port, Begins::Implicit),
        ("imap", "starttls", dovecot.imap_port, dovecot.imap_port, Begins::With("STARTTLS", "TAG OK begin\r\n")),
        ("pop3", "implicit", dovecot.pop3s_port, dovecot.pop3_port, Begins::Implicit),
        ("pop3", "starttls", dovecot.pop3_port, dovecot.pop3_port, Begins::With("STLS", "+OK begin\r\n")),
    ] {
        dovecot.deliver(USER, "INBOX", mails(91, 2));
        let config = |port: u16, pin: &str| Config {
            kind,
            host: "localhost".into(),
            port,
            tls,
            imap: format!("ca_file = {:?}\n{pin}", dovecot.ca_file),
            ..Config::plain(&dovecot)
        };
        let pin = format!("tls_fingerprint = \"{openssl}\"");
        let middle = Middle::before(plain, folder, begins);
        let agent = Agent::new(&config(middle.port, &pin));
        is_wrong_pin(&agent.run(&["once"]), &seen);
        let check = agent.run(&["check"]);
        assert_eq!(check.code, Some(3), "{check:#?}");
        assert_eq!(middle.heard(), "", "{kind} {tls}");
        // The pinned server.
        agent.configure(&config(port, &pin));
        let report = agent.once(0);
        assert_eq!(count(&report, "deleted"), 2, "{kind} {tls}: {report}");
        // Without a pin that somebody is believed: the test would hear a login.
        agent.configure(&config(middle.port, ""));
        agent.run(&["check"]).is(0, &["logged in"]);
        assert!(is_login(&middle.heard()), "{kind} {tls}: {:?}", middle.heard());
        // A pin is an addition: the pinned certificate of an unknown authority is refused.
        agent.configure_text(&config(port, &pin).text().replace("ca_file", "# ca_file"));
        agent.run(&["once"]).is(3, &["not trusted", "ca_file"]);
    }
}

fn exchange(port: u16, ews: &Ews, further: &str) -> String {
    format!(
        "[archive]\npath = \"archive\"\n[people]\ninternal_domains = [\"corp.example\"]\nunknown_internal = \"create\"\n\
         [[profile]]\nname = \"exchange\"\ndelete = true\n[profile.ews]\nurl = \"https://localhost:{port}/EWS/Exchange.asmx\"\n\
         username = {:?}\npassword = {{ env = \"{PASSWORD_VARIABLE}\" }}\ntimeout = \"60s\"\nca_file = {:?}\n{further}\n",
        ews::USER,
        ews.ca_file.as_ref().unwrap()
    )
}

#[test]
fn exchange_is_known_by_its_pin() {
    for auth in ["basic", "ntlm"] {
        let ews = Ews::start(ews::Setup { tls: true, ntlm: auth == "ntlm", ..ews::Setup::default() });
        ews.deliver(mails(92, 3));
        let plain = Ews::start(ews::Setup { ntlm: auth == "ntlm", ..ews::Setup::default() });
        let middle = Middle::before(plain.port, ews.certificates(), Begins::Implicit);
        let pin = format!("auth = \"{auth}\"\ntls_fingerprint = \"{}\"", ews.fingerprint());
        let agent = Agent::new(&Config::at(0));
        agent.configure_text(&exchange(middle.port, &ews, &pin));
        let seen = shown_by_openssl(ews.certificates(), "middle.pem").replace(':', "").to_lowercase();
        is_wrong_pin(&agent.run(&["once"]), &seen.replacen("sha256", "sha256:", 1));
        assert_eq!(middle.heard(), "");
        agent.configure_text(&exchange(ews.port, &ews, &pin));
        assert_eq!(count(&agent.once(0), "deleted"), 3);
        agent.configure_text(&exchange(middle.port, &ews, &format!("auth = \"{auth}\"")));
        agent.run(&["once"]);
        assert!(is_login(&middle.heard()), "{:?}", middle.heard());
    }
}

/// Not only the first connection of a session: the second one goes to somebody else.
#[test]
fn every_connection_to_exchange_is_looked_at() {
    for pinned in [true, false] {
        let ews = Ews::start(ews::Setup { tls: true, ..ews::Setup::default() });
        ews.deliver(mails(93, 3));
        let plain = Ews::plain();
        let middle = Middle::before(plain.port, ews.certificates(), Begins::Implicit);
        let switch = Switch::to(ews.port);
        let (turn, there) = (switch.turn(), middle.port);
        ews.hook(move |call, _| {
            turn(there);
            // The answer, and then the end of the connection.
            (call.operation == "SyncFolderItems").then_some(Reply::Cut(usize::MAX))
        });
        let pin = if pinned { format!("tls_fingerprint = \"{}\"", ews.fingerprint()) } else { String::new() };
        let agent = Agent::new(&Config::at(0));
        agent.configure_text(&exchange(switch.port, &ews, &pin));
        let said = agent.run(&["once"]);
        assert!(ews.calls("SyncFolderItems") >= 1, "{said:#?}");
        if pinned {
            said.is(3, &["is not the pinned one"]);
            assert_eq!(middle.heard(), "");
        } else {
            assert!(is_login(&middle.heard()), "{:?}", middle.heard());
        }
    }
}

#[test]
fn the_directory_is_known_by_its_pin() {
    let Some(slapd) = Slapd::start("") else { return };
    let pin = slapd.fingerprint();
    let middle = Middle::before(slapd.ldap_port, slapd.certificates(), Begins::Implicit);
    let config = |port: u16, further: &str| {
        format!(
            "{}\n[people.ldap]\nurl = \"ldaps://localhost:{port}\"\nca_file = {:?}\nbind_dn = {:?}\n\
             password = {{ env = \"{PASSWORD_VARIABLE}\" }}\n{further}\n",
            Config::at(1).text(),
            slapd.ca_file,
            slapd::READER
        )
    };
    let mut agent = Agent::new(&Config::at(1));
    agent.password = slapd::PASSWORD.into();
    agent.configure_text(&config(middle.port, &format!("tls_fingerprint = \"{pin}\"")));
    let said = agent.run(&["people", "refresh"]);
    assert_ne!(said.code, Some(0), "{said:#?}");
    assert!(said.err.contains("is not the pinned one") && middle.heard().is_empty(), "{said:#?}");
    agent.configure_text(&config(slapd.ldaps_port, &format!("tls_fingerprint = \"{pin}\"")));
    let said = agent.run(&["people", "refresh"]);
    assert!(!said.err.contains("pinned"), "{said:#?}");
    agent.configure_text(&config(middle.port, ""));
    agent.run(&["people", "refresh"]);
    assert!(middle.heard().contains(slapd::PASSWORD), "without a pin it is heard");
}
