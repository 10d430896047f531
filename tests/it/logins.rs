//! Logins that are no password: tokens and client certificates, against a real Dovecot.

use std::sync::Arc;
use std::time::Duration;

use gatepost::base::secret::Secret;
use gatepost::net::TlsMode;
use gatepost::net::login::Login;
use gatepost::net::oauth::Tokens;
use gatepost::net::trust::{ClientIdentity, Trust};
use gatepost::sources::imap::ImapSource;
use gatepost::sources::imap::options::{ImapAuth, ImapOptions};
use gatepost::sources::pop3::Pop3Source;
use gatepost::sources::pop3::options::{Pop3Auth, Pop3Options};
use gatepost::sources::{Level, Retry, Source as _, SourceError, SourceOptions};

use crate::support::agent::{Agent, Config, PASSWORD_VARIABLE, count};
use crate::support::dovecot::{Dovecot, PASSWORD, Setup};
use crate::support::ews::{self, Ews};
use crate::support::findings;
use crate::support::introspection::Introspection;

const USER: &str = "journal";
/// As long as those of Microsoft are.
const LONG: usize = 2500;

fn token(text: &str) -> Login {
    Login::Tokens(Arc::new(Tokens::fixed(Secret::new(text.into()))))
}

fn trust(dovecot: &Dovecot) -> Trust {
    Trust { ca_file: Some(dovecot.ca_file.clone()), ..Trust::default() }
}

fn imap(dovecot: &Dovecot, login: Login) -> ImapOptions {
    ImapOptions {
        host: "localhost".into(),
        port: dovecot.imaps_port,
        tls: TlsMode::Implicit,
        trust: trust(dovecot),
        username: USER.into(),
        login,
        auth: ImapAuth::Auto,
        folders: vec!["INBOX".into()],
        timeout: Duration::from_secs(60),
        allow_plaintext: false,
        sole_client: false,
        daily_budget: None,
        compress: false,
    }
}

fn pop3(dovecot: &Dovecot, login: Login) -> Pop3Options {
    Pop3Options {
        host: "localhost".into(),
        ports: vec![(dovecot.pop3s_port, TlsMode::Implicit)],
        trust: trust(dovecot),
        username: USER.into(),
        login,
        auth: Pop3Auth::Auto,
        timeout: Duration::from_secs(60),
        allow_plaintext: false,
    }
}

/// What `check` says about the login.
fn said(findings: &[gatepost::sources::Finding]) -> (Level, String) {
    let login = findings.iter().find(|finding| finding.what == "login").unwrap_or_else(|| panic!("{findings:?}"));
    (login.level, login.said.clone())
}

#[tokio::test]
async fn tokens_log_in_over_imap_with_either_mechanism() {
    let introspection = Introspection::start();
    let long = "x".repeat(LONG);
    introspection.knows(&long, USER, "imap");
    for capabilities in [None, Some("IMAP4rev1 LITERAL+ UIDPLUS")] {
        let setup = Setup { introspection_port: Some(introspection.port), capabilities, ..Setup::default() };
        let Some(dovecot) = Dovecot::start(&setup) else { return };
        dovecot.deliver(USER, "INBOX", ["Subject: one\r\n\r\none\r\n"]);
        for (auth, way) in
            [(ImapAuth::Auto, "OAUTHBEARER"), (ImapAuth::OAuthBearer, "OAUTHBEARER"), (ImapAuth::XOAuth2, "XOAUTH2")]
        {
            let options = ImapOptions { auth, ..imap(&dovecot, token(&long)) };
            let mut source = ImapSource::connect(&options).await.unwrap();
            assert_eq!(source.open("INBOX").await.unwrap().state.exists, 1);
            source.close().await;
            let login = said(&findings(SourceOptions::Imap(options.clone())).await);
            assert_eq!(login, (Level::Ok, format!("logged in as {USER} ({way})")));
        }
    }
    assert!(introspection.asked().iter().all(|asked| *asked == long));
}

#[tokio::test]
async fn tokens_log_in_over_pop3_with_either_mechanism() {
    let introspection = Introspection::start();
    let long = "x".repeat(LONG);
    introspection.knows(&long, USER, "imap");
    let setup = Setup { introspection_port: Some(introspection.port), ..Setup::default() };
    let Some(dovecot) = Dovecot::start(&setup) else { return };
    dovecot.deliver(USER, "INBOX", ["Subject: one\r\n\r\none\r\n"]);
    for (auth, way) in
        [(Pop3Auth::Auto, "OAUTHBEARER"), (Pop3Auth::OAuthBearer, "OAUTHBEARER"), (Pop3Auth::XOAuth2, "XOAUTH2")]
    {
        let options = Pop3Options { auth, ..pop3(&dovecot, token(&long)) };
        let mut source = Pop3Source::connect(&options).await.unwrap();
        assert_eq!(source.open("INBOX").await.unwrap().state.exists, 1);
        source.close().await;
        let login = said(&findings(SourceOptions::Pop3(options.clone())).await);
        assert_eq!(login, (Level::Ok, format!("logged in as {USER} ({way})")));
    }
    assert!(introspection.asked().iter().all(|asked| *asked == long));
}

/// The server's reason is heard, the login is refused, and the same token is not said twice.
#[tokio::test]
async fn a_refused_token_is_explained_and_not_repeated() {
    let introspection = Introspection::start();
    introspection.knows("of-somebody-else", "other", "imap");
    let setup = Setup { introspection_port: Some(introspection.port), ..Setup::default() };
    let Some(dovecot) = Dovecot::start(&setup) else { return };
    let is_refused = |error: &SourceError| {
        assert!(error.refused_login && error.retry == Retry::Operator, "{error:?}");
        assert!(error.hint.as_ref().unwrap().contains("`oauth2`"), "{error:?}");
        assert!(!format!("{error:?}").contains("of-somebody-else"), "{error:?}");
    };
    for bad in ["unknown", "of-somebody-else"] {
        for auth in [ImapAuth::OAuthBearer, ImapAuth::XOAuth2] {
            let before = introspection.asked().len();
            let options = ImapOptions { auth, ..imap(&dovecot, token(bad)) };
            let error = ImapSource::connect(&options).await.err().unwrap();
            is_refused(&error);
            assert!(error.answer.contains("status"), "{error}");
            assert_eq!(introspection.asked().len(), before + 1, "{bad}");
        }
        for auth in [Pop3Auth::OAuthBearer, Pop3Auth::XOAuth2] {
            let before = introspection.asked().len();
            let options = Pop3Options { auth, ..pop3(&dovecot, token(bad)) };
            let error = Pop3Source::connect(&options).await.err().unwrap();
            is_refused(&error);
            assert!(error.answer.contains("status"), "{error}");
            assert_eq!(introspection.asked().len(), before + 1, "{bad}");
        }
    }
}

/// A password never goes where a token is configured, nor the other way round, whatever the server offers.
#[tokio::test]
async fn nothing_steps_down_from_a_token_to_a_password() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let error = ImapSource::connect(&imap(&dovecot, token(PASSWORD))).await.err().unwrap();
    assert!(error.answer.contains("neither OAUTHBEARER nor XOAUTH2") && !error.refused_login, "{error}");
    let error = Pop3Source::connect(&pop3(&dovecot, token(PASSWORD))).await.err().unwrap();
    assert!(error.answer.contains("neither OAUTHBEARER nor XOAUTH2") && !error.refused_login, "{error}");
    let password = || Login::Password(Secret::new(PASSWORD.into()));
    for (auth, login) in [(ImapAuth::Plain, token(PASSWORD)), (ImapAuth::XOAuth2, password())] {
        let error = ImapSource::connect(&ImapOptions { auth, ..imap(&dovecot, login) }).await.err().unwrap();
        assert!(error.answer.contains("another kind of login"), "{error}");
    }
    for (auth, login) in [(Pop3Auth::User, token(PASSWORD)), (Pop3Auth::OAuthBearer, password())] {
        let error = Pop3Source::connect(&Pop3Options { auth, ..pop3(&dovecot, login) }).await.err().unwrap();
        assert!(error.answer.contains("another kind of login"), "{error}");
    }
    assert!(!dovecot.log().contains("Login:"), "{}", dovecot.log());
    // To another machine no token goes without TLS either; 192.0.2.1 (RFC 5737) is never reached.
    let exposed = ImapOptions { port: dovecot.imap_port, tls: TlsMode::None, ..imap(&dovecot, token("x")) };
    assert!(!exposed.allow_plaintext);
}

#[tokio::test]
async fn a_client_certificate_is_a_login() {
    let Some(dovecot) = Dovecot::start(&Setup { client_certificates: true, ..Setup::default() }) else { return };
    dovecot.deliver(USER, "INBOX", ["Subject: one\r\n\r\none\r\n"]);
    let folder = dovecot.certificates();
    let identity = ClientIdentity { certificate: folder.join("client.pem"), key: folder.join("client.key") };
    let shown = Trust { identity: Some(identity), ..trust(&dovecot) };
    for tls in [TlsMode::Implicit, TlsMode::StartTls] {
        let port = if tls == TlsMode::Implicit { dovecot.imaps_port } else { dovecot.imap_port };
        let options = ImapOptions {
            trust: shown.clone(),
            port,
            tls,
            auth: ImapAuth::External,
            ..imap(&dovecot, Login::Certificate)
        };
        let mut source = ImapSource::connect(&options).await.unwrap();
        assert_eq!(source.open("INBOX").await.unwrap().state.exists, 1);
        assert_eq!(
            said(&findings(SourceOptions::Imap(options.clone())).await).1,
            format!("logged in as {USER} (EXTERNAL)")
        );
        // The certificate is for one mailbox, whatever the profile says.
        let other = ImapOptions { username: "other".into(), ..options.clone() };
        let error = ImapSource::connect(&other).await.err().unwrap();
        assert!(error.refused_login && error.hint.unwrap().contains("client_certificate"));
        // Without one there is no such login.
        let none = ImapOptions { trust: trust(&dovecot), ..options };
        ImapSource::connect(&none).await.err().unwrap();
    }
    let options = Pop3Options { trust: shown, auth: Pop3Auth::External, ..pop3(&dovecot, Login::Certificate) };
    let mut source = Pop3Source::connect(&options).await.unwrap();
    assert_eq!(source.open("INBOX").await.unwrap().state.exists, 1);
}

/// By the program, from its configuration.
#[test]
fn a_mailbox_is_emptied_with_a_client_certificate_and_no_password() {
    let Some(dovecot) = Dovecot::start(&Setup { client_certificates: true, ..Setup::default() }) else { return };
    dovecot.deliver(USER, "INBOX", ["From: a@corp.example\r\nTo: b@corp.example\r\nSubject: x\r\n\r\nx\r\n"]);
    let folder = dovecot.certificates();
    let config = Config {
        host: "localhost".into(),
        port: dovecot.imaps_port,
        tls: "implicit",
        imap: format!(
            "ca_file = {:?}\nauth = \"external\"\nclient_certificate = {:?}\nclient_key = {:?}",
            dovecot.ca_file,
            folder.join("client.pem"),
            folder.join("client.key")
        ),
        ..Config::plain(&dovecot)
    };
    let agent = Agent::new(&config);
    agent.configure_text(&without_password(&config.text()));
    agent.run(&["check"]).is(0, &["logged in as journal (EXTERNAL)"]);
    let report = agent.once(0);
    assert_eq!((count(&report, "archived"), count(&report, "deleted")), (1, 1), "{report}");
    // A key that others can read, and one in another form.
    std::fs::write(folder.join("client.key"), "-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n")
        .unwrap();
    agent.run(&["once"]).is(3, &["client.key", "nothing was deleted", "pkcs8"]);
}

/// The table of tokens, for one of the sources.
fn oauth2(kind: &str, server: &Introspection) -> String {
    format!(
        "[profile.{kind}.oauth2]\ntoken_url = \"http://127.0.0.1:{}/token\"\nclient_id = \"journal\"\n\
         client_secret = {{ env = \"{PASSWORD_VARIABLE}\" }}\n",
        server.port
    )
}

fn without_password(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("password")).map(|line| format!("{line}\n")).collect()
}

/// A token serves until it is refused; then one other is asked for, and no third.
#[test]
fn a_refused_token_is_replaced_once() {
    for kind in ["imap", "pop3"] {
        let server = Introspection::start();
        server.grants(USER, true);
        let setup = Setup { introspection_port: Some(server.port), ..Setup::default() };
        let Some(dovecot) = Dovecot::start(&setup) else { return };
        let port = if kind == "imap" { dovecot.imap_port } else { dovecot.pop3_port };
        let agent = Agent::new(&Config { kind, ..Config::at(port) });
        agent.configure_text(&without_password(&format!(
            "{}{}",
            Config { kind, ..Config::at(port) }.text(),
            oauth2(kind, &server)
        )));
        let mail = "From: a@corp.example\r\nTo: b@corp.example\r\nSubject: x\r\n\r\n";
        for (number, granted) in [(1, 1), (2, 1), (3, 2)] {
            if number == 3 {
                server.forget("granted-1");
            }
            dovecot.deliver(USER, "INBOX", [format!("{mail}{number}\r\n")]);
            let report = agent.once(0);
            assert_eq!((count(&report, "archived"), count(&report, "deleted")), (1, 1), "{kind} {number}: {report}");
            assert_eq!(server.granted().len(), granted, "{kind} {number}");
        }
        agent.run(&["check"]).is(0, &["(OAUTHBEARER)"]);
        // None of those that come is good: two logins, and an error.
        server.grants(USER, false);
        server.forget("granted-2");
        let before = server.asked().len();
        agent.run(&["once"]).is(3, &["logging in as journal", "status", "`oauth2`", "nothing was deleted"]);
        assert_eq!(server.asked()[before..], ["granted-2", "granted-3"]);
        for _ in 0..4 {
            agent.run(&["once"]).is(3, &["nothing was deleted"]);
        }
        let tried = server.asked().len() - before;
        assert_eq!(tried, 6, "three times two, and then it waits");
    }
}

#[test]
fn exchange_takes_a_token_and_a_refused_one_is_replaced_once() {
    let server = Introspection::start();
    server.grants(USER, true);
    let ews = Ews::start(ews::Setup { bearer: true, ..ews::Setup::default() });
    let agent = Agent::new(&Config::at(0));
    agent.configure_text(&format!(
        "[archive]\npath = \"archive\"\n[people]\ninternal_domains = [\"corp.example\"]\nunknown_internal = \"create\"\n\
         [[profile]]\nname = \"exchange\"\ndelete = true\n[profile.ews]\nurl = {:?}\nusername = {:?}\ntimeout = \"60s\"\n{}",
        ews.url,
        ews::USER,
        oauth2("ews", &server)
    ));
    ews.with(|store| store.tokens.insert("granted-1".into()));
    ews.deliver(["Subject: one\r\n\r\none\r\n"]);
    assert_eq!(count(&agent.once(0), "deleted"), 1);
    agent.run(&["check"]).is(0, &["(OAuth2)"]);
    assert_eq!(server.granted(), ["granted-1"]);
    // In the middle of a session, too.
    ews.deliver(["Subject: two\r\n\r\ntwo\r\n"]);
    ews.hook(|call, store| {
        if call.operation == "SyncFolderItems" {
            store.tokens = ["granted-2".to_owned()].into();
        }
        None
    });
    assert_eq!(count(&agent.once(0), "deleted"), 1);
    assert_eq!(server.granted(), ["granted-1", "granted-2"]);
    // No loop where none is good.
    ews.with(|store| (store.tokens.clear(), store.shown_tokens.clear()));
    let said = agent.run(&["once"]);
    said.is(3, &["logging in as", "status invalid_token", "`oauth2`", "nothing was deleted"]);
    assert_eq!(ews.with(|store| store.shown_tokens.clone()), ["granted-2", "granted-3"]);
    ews.assert_strict();
}
