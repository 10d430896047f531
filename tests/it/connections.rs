//! How the program connects and logs in to a real Dovecot, and what it says when it may not.

use gatepost::demo::corpus::Corpus;

use crate::support::agent::{Agent, Config, count};
use crate::support::cut::Cut;
use crate::support::dovecot::{Dovecot, OTHER_ADDRESS, Setup};

const USER: &str = "journal";

fn with_mail(setup: &Setup) -> Option<Dovecot> {
    let dovecot = Dovecot::start(setup)?;
    dovecot.deliver(USER, "INBOX", Corpus::small(21, 3).iter().map(|generated| generated.item));
    Some(dovecot)
}

/// `localhost`, for which the certificate is, with TLS and the private authority.
fn protected(dovecot: &Dovecot, tls: &'static str) -> Config {
    Config {
        host: "localhost".into(),
        port: if tls == "implicit" { dovecot.imaps_port } else { dovecot.imap_port },
        tls,
        imap: format!("ca_file = {:?}", dovecot.ca_file),
        ..Config::plain(dovecot)
    }
}

/// `once` ends with code 3 and says this, and nothing came of it: neither on the gateway nor in the archive.
fn refused(dovecot: &Dovecot, agent: &Agent, words: &[&str]) {
    let said = agent.run(&["once"]);
    said.is(3, words);
    said.is(3, &["journal", "nothing was deleted", "hint:"]);
    assert!(agent.list().is_empty());
    assert_eq!(dovecot.client(USER).uids("INBOX").len(), 3);
    // `check` finds it too.
    let check = agent.run(&["check"]);
    assert_eq!(check.code, Some(3), "{check:#?}");
    assert!(check.out.contains("failed"), "{check:#?}");
}

#[test]
fn plain_starttls_and_implicit_tls_empty_the_mailbox() {
    for tls in ["none", "starttls", "implicit"] {
        let Some(dovecot) = with_mail(&Setup::default()) else { return };
        let agent = Agent::new(&protected(&dovecot, tls));
        agent.run(&["check"]).is(0, &["INBOX"]);
        let report = agent.once(0);
        assert_eq!((count(&report, "archived"), count(&report, "deleted")), (3, 3), "{tls}: {report}");
        assert!(dovecot.client(USER).uids("INBOX").is_empty());
    }
}

#[test]
fn a_compressed_connection_brings_the_same_mail_in_fewer_bytes() {
    let setup = Setup {
        further: "mail_plugins = zlib\nprotocol imap {\n mail_plugins = zlib imap_zlib\n}\n",
        ..Setup::default()
    };
    let Some(dovecot) = Dovecot::start(&setup) else { return };
    let text = "The same words again and again, as people write them.\r\n".repeat(2_000);
    let mail =
        |n| format!("From: a@corp.example\r\nTo: b@corp.example\r\nMessage-ID: <{n}@corp.example>\r\n\r\n{n} {text}");
    let passed = ["compress = false", "compress = true"].map(|line| {
        dovecot.deliver(USER, "INBOX", (0..5).map(mail));
        let cut = Cut::before(dovecot.imap_port);
        let agent = Agent::new(&Config { imap: line.into(), ..Config::at(cut.port) });
        let report = agent.once(0);
        assert_eq!((count(&report, "archived"), count(&report, "deleted")), (5, 5), "{line}: {report}");
        agent.run(&["verify"]).is(0, &[]);
        cut.passed()
    });
    assert!(passed[1] * 5 < passed[0], "{passed:?}");
    // A server that does not offer it is no reason to fail.
    let Some(dovecot) = with_mail(&Setup::default()) else { return };
    let agent = Agent::new(&Config { imap: "compress = true".into(), ..Config::plain(&dovecot) });
    assert_eq!(count(&agent.once(0), "archived"), 3);
}

#[test]
fn an_unknown_authority_is_refused() {
    let Some(dovecot) = with_mail(&Setup::default()) else { return };
    for tls in ["starttls", "implicit"] {
        let agent = Agent::new(&Config { imap: String::new(), ..protected(&dovecot, tls) });
        refused(&dovecot, &agent, &["ca_file"]);
    }
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let Some(dovecot) = with_mail(&Setup::default()) else { return };
    for tls in ["starttls", "implicit"] {
        let config = Config { host: "127.0.0.1".into(), ..protected(&dovecot, tls) };
        refused(&dovecot, &Agent::new(&config), &["certificate", "127.0.0.1"]);
    }
}

#[test]
fn an_expired_certificate_is_refused() {
    let Some(dovecot) = with_mail(&Setup { expired_certificate: true, ..Setup::default() }) else { return };
    refused(&dovecot, &Agent::new(&protected(&dovecot, "implicit")), &["certificate", "expired"]);
}

#[test]
fn starttls_that_is_not_offered_is_never_replaced_by_plaintext() {
    let Some(dovecot) = with_mail(&Setup { without_tls: true, ..Setup::default() }) else { return };
    refused(&dovecot, &Agent::new(&protected(&dovecot, "starttls")), &["STARTTLS"]);
}

#[test]
fn a_server_that_wants_tls_is_named_as_such() {
    let Some(dovecot) = with_mail(&Setup { tls_required: true, ..Setup::default() }) else { return };
    let config = Config { host: OTHER_ADDRESS.into(), ..Config::plain(&dovecot) };
    let said = Agent::new(&config).run(&["once"]);
    said.is(3, &["starttls", "nothing was deleted", "hint:"]);
}

#[test]
fn a_wrong_password_is_refused_once() {
    let Some(dovecot) = with_mail(&Setup::default()) else { return };
    let mut agent = Agent::new(&Config::plain(&dovecot));
    agent.password = "wrong horse".into();
    refused(&dovecot, &agent, &["logging in as journal", "password"]);
}

#[test]
fn a_missing_folder_is_named_and_the_others_are_archived() {
    let Some(dovecot) = with_mail(&Setup::default()) else { return };
    let folders = |folders: &str| Config { imap: format!("folders = {folders}"), ..Config::plain(&dovecot) };
    let agent = Agent::new(&folders("[\"Journal\"]"));
    refused(&dovecot, &agent, &["Journal"]);

    // One that is mistyped does not keep the mail of the others from being archived.
    agent.configure(&folders("[\"Journal\", \"INBOX\"]"));
    let report = agent.once(3);
    assert_eq!((count(&report, "archived"), count(&report, "deleted")), (3, 3), "{report}");
    assert!(report["error"]["what"].as_str().unwrap().contains("Journal"), "{report}");
}

#[test]
fn a_mailbox_id_loses_its_domain_and_that_is_said() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let mails = || Corpus::small(22, 2).iter().map(|generated| generated.item).collect::<Vec<_>>();
    dovecot.deliver("mbx-2a20", "INBOX", mails());
    let config = Config { login: "mailbox_id = \"mbx-2a20@gateway.example\"".into(), ..Config::plain(&dovecot) };
    let agent = Agent::new(&config);
    agent.run(&["once"]).is(0, &["@gateway.example was cut off", "mbx-2a20", "2 archived"]);
    assert!(dovecot.client("mbx-2a20").uids("INBOX").is_empty());
}
