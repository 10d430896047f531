//! The IMAP source against a real Dovecot.

use std::time::Duration;

use gatepost::base::bytes::{ByteSource as _, read_range};
use gatepost::base::secret::Secret;
use gatepost::net::TlsMode;
use gatepost::net::login::Login;
use gatepost::net::trust::Trust;
use gatepost::sources::imap::ImapSource;
use gatepost::sources::imap::options::{ImapAuth, ImapOptions};
use gatepost::sources::{
    Body, Deletion, Fetched, Finding, Intake, Level, Listed, Retry, Scope, Source, SourceError, SourceOptions,
};

use crate::support::dovecot::{Dovecot, OTHER_ADDRESS, PASSWORD, Setup};
use crate::support::findings;

const USER: &str = "journal";

fn options(dovecot: &Dovecot, tls: TlsMode) -> ImapOptions {
    ImapOptions {
        host: "localhost".into(),
        port: if tls == TlsMode::Implicit { dovecot.imaps_port } else { dovecot.imap_port },
        tls,
        trust: Trust { ca_file: Some(dovecot.ca_file.clone()), ..Trust::default() },
        username: USER.into(),
        login: Login::Password(Secret::new(PASSWORD.into())),
        auth: ImapAuth::Auto,
        folders: vec!["INBOX".into()],
        timeout: Duration::from_secs(30),
        allow_plaintext: false,
        sole_client: false,
        daily_budget: None,
        compress: false,
    }
}

fn mail(n: usize) -> Vec<u8> {
    format!("From: a@example.com\r\nSubject: mail {n}\r\n\r\n* {n} FETCH (UID 1 BODY[] {{9}}\r\nA1 OK done\r\n").into()
}

async fn connected(dovecot: &Dovecot) -> ImapSource {
    let mut source = ImapSource::connect(&options(dovecot, TlsMode::None)).await.unwrap();
    source.open("INBOX").await.unwrap();
    source
}

async fn list_all(source: &mut ImapSource) -> Result<Vec<Listed>, SourceError> {
    let (mut all, mut from) = (Vec::new(), 0);
    loop {
        let (items, next) = source.list(from).await?;
        all.extend(items);
        match next {
            Some(next) => from = next,
            None => return Ok(all),
        }
    }
}

/// Fetches with a consumer that keeps items back while `is_tight` says nothing of it.
async fn fetch(source: &mut ImapSource, wanted: &[Listed], window: usize) -> Result<Vec<Fetched>, SourceError> {
    let spool = tempfile::tempdir().unwrap();
    let intake = Intake::new(window, spool.path().to_owned());
    let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
    let collect = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(fetched) = receiver.recv().await {
            all.push(fetched);
        }
        all
    });
    let result = source.fetch(wanted, &intake, &sender).await;
    drop(sender);
    let all = collect.await.unwrap();
    result.map(|()| all)
}

fn bytes(fetched: &Fetched) -> Vec<u8> {
    match &fetched.body {
        Body::Item(item) => read_range(item, 0..item.len()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_way_of_protecting_the_connection_works() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver(USER, "INBOX", [mail(1), mail(2)]);
    for tls in [TlsMode::None, TlsMode::StartTls, TlsMode::Implicit] {
        for auth in [ImapAuth::Auto, ImapAuth::Plain, ImapAuth::Login] {
            let mut source = ImapSource::connect(&ImapOptions { auth, ..options(&dovecot, tls) }).await.unwrap();
            assert!(source.abilities().can_delete);
            assert!(source.peer().contains("localhost") && source.peer().contains("Dovecot"), "{}", source.peer());
            let opened = source.open("inbox").await.unwrap();
            assert_eq!((opened.state.exists, opened.state.next), (2, 3));
            let listed = list_all(&mut source).await.unwrap();
            let fetched = fetch(&mut source, &listed, 1 << 20).await.unwrap();
            assert_eq!(fetched.iter().map(bytes).collect::<Vec<_>>(), [mail(1), mail(2)]);
            source.close().await;
        }
    }
}

#[tokio::test]
async fn an_epoch_names_the_mailbox() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver(USER, "INBOX", [mail(1)]);
    let mut source = ImapSource::connect(&options(&dovecot, TlsMode::None)).await.unwrap();
    let epoch = source.open("INBOX").await.unwrap().epoch;
    assert_eq!((epoch.kind.as_str(), epoch.login.as_str(), epoch.folder.as_str()), ("imap", USER, "INBOX"));
    assert_eq!(epoch.host, format!("localhost:{}", dovecot.imap_port));
    assert!(epoch.validity.parse::<u32>().unwrap() > 0);
}

#[tokio::test]
async fn certificates_are_verified() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    for tls in [TlsMode::Implicit, TlsMode::StartTls] {
        let good = options(&dovecot, tls);
        let unknown = ImapOptions { trust: Trust::default(), ..good.clone() };
        let wrong_name = ImapOptions { host: "127.0.0.1".into(), ..good };
        for (options, word, hint) in [(unknown, "not trusted", "ca_file"), (wrong_name, "another name", "host")] {
            let error = ImapSource::connect(&options).await.err().unwrap();
            assert_eq!((error.scope, error.retry), (Scope::Profile, Retry::Operator));
            assert!(error.answer.contains(word), "{error}");
            assert!(error.hint.unwrap().contains(hint));
        }
    }
    let Some(dovecot) = Dovecot::start(&Setup { expired_certificate: true, ..Setup::default() }) else { return };
    let error = ImapSource::connect(&options(&dovecot, TlsMode::Implicit)).await.err().unwrap();
    assert!(error.answer.contains("expired") && error.retry == Retry::Operator, "{error}");
}

#[tokio::test]
async fn starttls_is_never_stepped_down() {
    let Some(dovecot) = Dovecot::start(&Setup { without_tls: true, ..Setup::default() }) else { return };
    let error = ImapSource::connect(&options(&dovecot, TlsMode::StartTls)).await.err().unwrap();
    assert_eq!((error.scope, error.retry), (Scope::Profile, Retry::Operator));
    assert!(error.answer.contains("does not offer it"), "{error}");
    // Implicit TLS to a port that speaks plain IMAP.
    let plain = ImapOptions { port: dovecot.imap_port, ..options(&dovecot, TlsMode::Implicit) };
    let error = ImapSource::connect(&plain).await.err().unwrap();
    assert!(error.hint.is_some(), "{error:?}");
}

#[tokio::test]
async fn a_server_that_wants_tls_gets_no_password_without_it() {
    let Some(dovecot) = Dovecot::start(&Setup { tls_required: true, ..Setup::default() }) else { return };
    for auth in [ImapAuth::Auto, ImapAuth::Login, ImapAuth::Plain] {
        let plain = ImapOptions { auth, host: OTHER_ADDRESS.into(), ..options(&dovecot, TlsMode::None) };
        let error = ImapSource::connect(&plain).await.err().unwrap();
        assert_eq!(error.retry, Retry::Operator, "{error}");
        assert!(error.answer.contains("LOGINDISABLED") || error.answer.contains("AUTHENTICATE PLAIN"), "{error}");
    }
    ImapSource::connect(&options(&dovecot, TlsMode::StartTls)).await.unwrap();
}

#[tokio::test]
async fn refused_logins_and_missing_folders_need_a_person() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    for auth in [ImapAuth::Plain, ImapAuth::Login] {
        for password in ["wrong", "wröng \"\\", "a\r\nb"] {
            let password = Secret::new(password.into());
            let wrong = ImapOptions { login: Login::Password(password), auth, ..options(&dovecot, TlsMode::None) };
            let error = ImapSource::connect(&wrong).await.err().unwrap();
            assert_eq!((error.scope, error.retry), (Scope::Profile, Retry::Operator), "{error}");
            assert!(error.hint.unwrap().contains("password"));
        }
    }
    let mut source = ImapSource::connect(&options(&dovecot, TlsMode::None)).await.unwrap();
    for folder in ["Nowhere", "Entwürfe \"x\" & \\", "a\r\nA1 DELETE INBOX"] {
        let error = source.open(folder).await.err().unwrap();
        assert_eq!((error.scope, error.retry), (Scope::Mailbox, Retry::Operator), "{error}");
        // The session goes on.
        source.open("INBOX").await.unwrap();
    }
    source.open("Nowhere").await.unwrap_err();
    assert!(source.list(0).await.is_err(), "nothing is open");
}

#[tokio::test]
async fn folders_may_have_any_name() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let mut client = dovecot.client(USER);
    client.run("CREATE \"Entw&APw-rfe &- mehr\"");
    client.append("\"Entw&APw-rfe &- mehr\"", &mail(1));
    let mut source = ImapSource::connect(&options(&dovecot, TlsMode::None)).await.unwrap();
    assert_eq!(source.open("Entwürfe & mehr").await.unwrap().state.exists, 1);
}

#[tokio::test]
async fn two_thousand_items_arrive_through_a_small_window() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver(USER, "INBOX", (0..2500).map(mail));
    let mut source = connected(&dovecot).await;
    let listed = list_all(&mut source).await.unwrap();
    assert_eq!(listed.iter().map(|item| item.order.unwrap()).collect::<Vec<_>>(), (1..=2500).collect::<Vec<_>>());
    assert!(listed.iter().all(|item| item.date.contains("2023") || item.date.len() == 26), "{:?}", listed[0]);

    // A listing may begin anywhere, and ends where the folder ends.
    let (tail, next) = source.list(2400).await.unwrap();
    assert_eq!((tail.len(), next), (101, None));
    assert_eq!(source.list(2501).await.unwrap(), (Vec::new(), None));

    // The consumer drops each item, so a window for few of them is enough.
    let spool = tempfile::tempdir().unwrap();
    let intake = Intake::new(4096, spool.path().to_owned());
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Fetched>(1);
    let compare = tokio::spawn(async move {
        let mut seen = 0;
        while let Some(fetched) = receiver.recv().await {
            let uid: usize = fetched.listed.native_id.parse().unwrap();
            assert_eq!(bytes(&fetched), mail(uid - 1));
            seen += 1;
        }
        seen
    });
    source.fetch(&listed, &intake, &sender).await.unwrap();
    drop(sender);
    assert_eq!(compare.await.unwrap(), 2500);
    // The connection is clean after that.
    assert_eq!(source.list_only(&listed[..3]).await.unwrap(), listed[..3]);
}

#[tokio::test]
async fn a_large_item_goes_through_a_spool_file() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let mut large = mail(1);
    let line = [b'x'; 76];
    while large.len() < 60_000_000 {
        large.extend_from_slice(&line);
        large.extend_from_slice(b"\r\n");
    }
    dovecot.deliver(USER, "INBOX", [&mail(0), &large, &mail(2)]);
    let mut source = ImapSource::connect(&options(&dovecot, TlsMode::Implicit)).await.unwrap();
    source.open("INBOX").await.unwrap();
    let listed = list_all(&mut source).await.unwrap();
    let started = std::time::Instant::now();
    let fetched = fetch(&mut source, &listed, 8 << 20).await.unwrap();
    eprintln!("60 MB over TLS through a spool file: {:?}", started.elapsed());
    let Body::Item(item) = &fetched[1].body else { panic!("{fetched:?}") };
    assert!(item.as_slice().is_none(), "it is not held in memory");
    assert!(bytes(&fetched[1]) == large);
    assert_eq!(bytes(&fetched[2]), mail(2));

    // Larger than allowed: refused, and the others still come.
    let spool = tempfile::tempdir().unwrap();
    let mut intake = Intake::new(8 << 20, spool.path().to_owned());
    intake.item_bytes_max = 1 << 20;
    let (sender, mut receiver) = tokio::sync::mpsc::channel(10);
    let mut wanted = listed.clone();
    source.fetch(&wanted, &intake, &sender).await.unwrap();
    // The same when the listing lied about the size.
    wanted[1].size = 5;
    source.fetch(&wanted, &intake, &sender).await.unwrap();
    drop(sender);
    let mut refused = 0;
    while let Some(fetched) = receiver.recv().await {
        match fetched.body {
            Body::Item(_) => assert_ne!(fetched.listed.native_id, "2"),
            Body::Unfetchable(_) => refused += usize::from(fetched.listed.native_id == "2"),
            Body::Gone => panic!("{fetched:?}"),
        }
    }
    assert_eq!(refused, 2);
}

#[tokio::test]
async fn only_what_matches_is_deleted_and_other_clients_mails_survive() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver(USER, "INBOX", (1..=6).map(mail));
    let mut source = connected(&dovecot).await;
    let listed = list_all(&mut source).await.unwrap();
    let mut other = dovecot.client(USER);
    other.run("SELECT INBOX");
    other.run("UID STORE 4 +FLAGS (\\Deleted)");
    other.run("UID STORE 5 +FLAGS (\\Deleted)");
    other.run("UID EXPUNGE 5");

    let mut wanted = vec![listed[4].clone(), listed[0].clone(), listed[1].clone(), listed[2].clone()];
    wanted[2].size += 1;
    wanted[3].date = "01-Jan-1999 00:00:00 +0000".into();
    wanted.push(Listed { native_id: "4000".into(), order: Some(4000), ..listed[0].clone() });
    wanted.push(Listed { native_id: "AAMk=".into(), order: None, ..listed[0].clone() });
    let answers = source.delete(&wanted).await.unwrap();
    use Deletion::{Deleted, Gone, Mismatch};
    assert_eq!(answers, [Gone, Deleted, Mismatch, Mismatch, Gone, Mismatch]);
    assert_eq!(dovecot.client(USER).uids("INBOX"), [2, 3, 4, 6]);
    let flags = dovecot.client(USER).tap(|client| client.run("SELECT INBOX")).run("UID FETCH 2:3 (FLAGS)");
    assert!(!flags.iter().any(|line| line.contains("\\Deleted")), "a mail that did not match was flagged: {flags:?}");

    // Again: it is gone already.
    assert_eq!(source.delete(&wanted[1..2]).await.unwrap(), [Gone]);
}

#[tokio::test]
async fn thousands_are_deleted_in_batches() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver(USER, "INBOX", (0..3000).map(mail));
    let mut source = connected(&dovecot).await;
    let listed = list_all(&mut source).await.unwrap();
    // Every other one, so that the sets cannot be ranges.
    let odd: Vec<Listed> = listed.iter().step_by(2).cloned().collect();
    assert!(source.delete(&odd).await.unwrap().iter().all(|answer| *answer == Deletion::Deleted));
    let left = dovecot.client(USER).uids("INBOX");
    assert!(left.len() == 1500 && left.iter().all(|uid| uid % 2 == 0));
}

#[tokio::test]
async fn without_uidplus_nothing_is_deleted_unless_alone() {
    let setup = Setup { capabilities: Some("IMAP4rev1 SASL-IR LITERAL+"), ..Setup::default() };
    let Some(dovecot) = Dovecot::start(&setup) else { return };
    dovecot.deliver(USER, "INBOX", (1..=4).map(mail));
    let mut source = connected(&dovecot).await;
    assert!(!source.abilities().can_delete && source.abilities().cannot_delete_because.is_some());
    let listed = list_all(&mut source).await.unwrap();
    let error = source.delete(&listed).await.unwrap_err();
    assert_eq!(error.retry, Retry::Operator);
    assert_eq!(dovecot.client(USER).uids("INBOX"), [1, 2, 3, 4]);

    let alone = ImapOptions { sole_client: true, ..options(&dovecot, TlsMode::None) };
    let mut source = ImapSource::connect(&alone).await.unwrap();
    source.open("INBOX").await.unwrap();
    assert!(source.abilities().can_delete);
    assert_eq!(source.delete(&listed[..1]).await.unwrap(), [Deletion::Deleted]);
    // Somebody else is there after all: their mail stays, and so do ours.
    let mut other = dovecot.client(USER);
    other.run("SELECT INBOX");
    other.run("UID STORE 4 +FLAGS (\\Deleted)");
    let error = source.delete(&listed[1..2]).await.unwrap_err();
    assert_eq!((error.scope, error.retry), (Scope::Mailbox, Retry::Operator), "{error}");
    assert_eq!(dovecot.client(USER).uids("INBOX"), [2, 3, 4]);
    let flags = other.run("UID FETCH 2 (FLAGS)");
    assert!(!flags.iter().any(|line| line.contains("UID 2") && line.contains("\\Deleted")), "{flags:?}");
}

#[tokio::test]
async fn what_is_expunged_between_listing_and_download_is_gone() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver(USER, "INBOX", (1..=5).map(mail));
    let mut source = connected(&dovecot).await;
    let listed = list_all(&mut source).await.unwrap();
    let mut other = dovecot.client(USER);
    other.run("SELECT INBOX");
    other.run("UID STORE 2,4 +FLAGS (\\Deleted)");
    other.run("EXPUNGE");
    let fetched = fetch(&mut source, &listed, 1 << 20).await.unwrap();
    assert_eq!(fetched.len(), 5);
    for fetched in &fetched {
        match fetched.listed.native_id.as_str() {
            "2" | "4" => assert!(matches!(fetched.body, Body::Gone), "{fetched:?}"),
            uid => assert_eq!(bytes(fetched), mail(uid.parse().unwrap())),
        }
    }
    let left = source.list_only(&listed).await.unwrap();
    assert_eq!(left.iter().map(|item| item.native_id.as_str()).collect::<Vec<_>>(), ["1", "3", "5"]);
}

#[tokio::test]
async fn reading_changes_no_flag_and_a_reading_session_deletes_nothing() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver(USER, "INBOX", [mail(1)]);
    let mut source = ImapSource::connect(&options(&dovecot, TlsMode::None)).await.unwrap().read_only();
    source.open("INBOX").await.unwrap();
    let listed = list_all(&mut source).await.unwrap();
    assert_eq!(fetch(&mut source, &listed, 1 << 20).await.unwrap().len(), 1);
    assert!(source.delete(&listed).await.is_err());
    let mut client = dovecot.client(USER);
    assert_eq!(client.uids("INBOX"), [1]);
    let flags = client.run("UID FETCH 1 (FLAGS)");
    assert!(!flags.iter().any(|line| line.contains("\\Seen")), "{flags:?}");
}

#[tokio::test]
async fn a_server_that_dies_is_an_error_for_later() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver(USER, "INBOX", [mail(1)]);
    let mut source = connected(&dovecot).await;
    drop(dovecot);
    for _ in 0..2 {
        let error = source.list(0).await.unwrap_err();
        assert_eq!((error.scope, error.retry), (Scope::Profile, Retry::Later), "{error}");
    }
}

/// `cargo test --test it how_fast -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn how_fast_it_is() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    for (user, count, size) in [("small", 20_000, 1_500), ("medium", 10_000, 20_000), ("large", 20, 20_000_000)] {
        let mut mail = mail(1);
        while mail.len() < size {
            mail.extend_from_slice(b"0123456789012345678901234567890123456789012345678901234567890123456789\r\n");
        }
        dovecot.deliver(user, "INBOX", std::iter::repeat_n(&mail, count));
        for tls in [TlsMode::None, TlsMode::Implicit] {
            let options = ImapOptions { username: user.into(), ..options(&dovecot, tls) };
            let mut source = ImapSource::connect(&options).await.unwrap();
            source.open("INBOX").await.unwrap();
            let started = std::time::Instant::now();
            let listed = list_all(&mut source).await.unwrap();
            let listing = started.elapsed();
            let spool = tempfile::tempdir().unwrap();
            let intake = Intake::new(64 << 20, spool.path().to_owned());
            let (sender, mut receiver) = tokio::sync::mpsc::channel::<Fetched>(64);
            let count = tokio::spawn(async move {
                let mut bytes = 0;
                while let Some(fetched) = receiver.recv().await {
                    if let Body::Item(item) = fetched.body {
                        bytes += item.len();
                    }
                }
                bytes
            });
            let started = std::time::Instant::now();
            source.fetch(&listed, &intake, &sender).await.unwrap();
            drop(sender);
            let bytes = count.await.unwrap();
            let seconds = started.elapsed().as_secs_f64();
            eprintln!(
                "{user} {tls:?}: listed {} in {listing:?}; {:.0} items/s, {:.0} MB/s",
                listed.len(),
                listed.len() as f64 / seconds,
                bytes as f64 / 1e6 / seconds
            );
            if tls == TlsMode::Implicit {
                let started = std::time::Instant::now();
                source.delete(&listed).await.unwrap();
                eprintln!("{user}: deleted {} in {:?}", listed.len(), started.elapsed());
            }
        }
    }
}

#[tokio::test]
async fn check_finds_what_is_right_and_what_is_not() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver(USER, "INBOX", [mail(1), mail(2)]);
    dovecot.deliver(USER, "Junk", [mail(3)]);
    let good = options(&dovecot, TlsMode::StartTls);
    let found = findings(SourceOptions::Imap(good.clone())).await;
    let line = |what: &str| found.iter().find(|finding| finding.what == what).unwrap();
    for what in ["DNS", "connection", "TLS", "login", "delete support", "folder INBOX"] {
        assert_eq!(line(what).level, Level::Ok, "{:?}", line(what));
    }
    assert!(line("folder INBOX").said.contains("2 items"));
    assert_eq!(line("folder Junk").level, Level::Warning);
    assert!(line("folder Junk").said.contains("not polled, holds 1 items"));
    // The certificate of the test is valid for long; which version of TLS is spoken is what OpenSSL offers here.
    assert!(line("TLS").said.starts_with("TLS 1.3, with STARTTLS"), "{:?}", line("TLS"));
    assert!(line("certificate").said.contains("CN=localhost, issued by CN=gatepost test authority, valid until 4096"));
    assert!(line("deletion in INBOX").said.contains("\\Recent"), "{:?}", line("deletion in INBOX"));

    let wrong = ImapOptions { login: Login::Password(Secret::new("wrong".into())), ..good.clone() };
    let found = findings(SourceOptions::Imap(wrong.clone())).await;
    let last = found.last().unwrap();
    assert!(last.level == Level::Failed && last.what == "login" && last.hint.is_some(), "{last:?}");
    let missing = ImapOptions { folders: vec!["Nowhere".into(), "INBOX".into()], ..good.clone() };
    let found = findings(SourceOptions::Imap(missing.clone())).await;
    let failed = found.iter().filter(|finding| finding.level == Level::Failed);
    assert_eq!(failed.map(|finding| finding.what.as_str()).collect::<Vec<_>>(), ["folder Nowhere"], "{found:?}");
    let nowhere = ImapOptions { host: "gateway.invalid".into(), ..good };
    let found = findings(SourceOptions::Imap(nowhere.clone())).await;
    assert!(found.len() == 1 && found[0].what == "DNS" && found[0].level == Level::Failed, "{found:?}");
}

/// What a login may do, how full its mailbox is, and reports that lie where nobody looks.
#[tokio::test]
async fn check_finds_out_whether_deletion_would_work_without_deleting() {
    const FURTHER: &str = "protocol imap {\n mail_plugins = acl imap_acl quota imap_quota\n}\nmail_plugins = acl quota\n\
                           plugin {\n acl = vfile\n quota = maildir:User\n quota_rule = *:storage=1M\n}\n";
    let Some(dovecot) = Dovecot::start(&Setup { further: FURTHER, ..Setup::default() }) else { return };
    dovecot.deliver(USER, "INBOX", [mail(1)]);
    let report = gatepost::demo::samples::samples().into_iter().map(|sample| sample.item);
    let report = report.filter(|item| memchr::memmem::find(item, b"X-MS-Journal-Report").is_some());
    dovecot.deliver(USER, "Elsewhere", report.take(3));
    dovecot.deliver(USER, "Old", [mail(2)]);
    let options = options(&dovecot, TlsMode::Implicit);
    let found = findings(SourceOptions::Imap(options.clone())).await;
    let line = |found: &[Finding], what: &str| found.iter().find(|finding| finding.what == what).unwrap().clone();
    let elsewhere = line(&found, "folder Elsewhere");
    assert!(
        elsewhere.level == Level::Warning && elsewhere.said.contains("journal reports: 3 of the newest 3"),
        "{elsewhere:?}"
    );
    let old = line(&found, "folder Old");
    assert!(old.level == Level::Ok && old.said.contains("none of the newest 1"), "{old:?}");
    assert!(line(&found, "deletion in INBOX").said.contains("ACL t, e"), "{found:#?}");
    assert_eq!(line(&found, "quota").level, Level::Ok);

    std::fs::write(dovecot.maildir(USER).join("dovecot-acl"), "owner lrws\n").unwrap();
    // Larger than nine tenths of what there is; the server counts anew without what it noted.
    std::fs::remove_file(dovecot.maildir(USER).join("maildirsize")).unwrap();
    dovecot.deliver(USER, "Old", [vec![b'a'; 980 * 1024]]);
    let found = findings(SourceOptions::Imap(options.clone())).await;
    let deletion = line(&found, "deletion in INBOX");
    assert!(deletion.level == Level::Warning && deletion.said.contains("lacks the rights t, e"), "{deletion:?}");
    let quota = line(&found, "quota");
    assert!(quota.level == Level::Warning && quota.said.contains("of 1 MiB used"), "{quota:?}");

    // A server without ACL is asked as a run asks it, once nothing is marked \Recent any more.
    let Some(plain) = Dovecot::start(&Setup::default()) else { return };
    plain.deliver(USER, "INBOX", [mail(1)]);
    let mut client = plain.client(USER);
    client.run("SELECT INBOX");
    client.run("CLOSE");
    let found = findings(SourceOptions::Imap(self::options(&plain, TlsMode::Implicit))).await;
    assert!(line(&found, "deletion in INBOX").said.contains("for reading and writing"), "{found:#?}");
    let marks = client.run("EXAMINE INBOX");
    assert!(marks.iter().any(|line| line.contains("0 RECENT")), "{marks:?}");
    assert!(client.run("FETCH 1 (FLAGS)")[0].contains("FLAGS ()"), "nothing was marked as seen");
}

trait Tap {
    fn tap<T>(self, run: impl FnOnce(&mut Self) -> T) -> Self;
}

impl Tap for crate::support::dovecot::Client {
    fn tap<T>(mut self, run: impl FnOnce(&mut Self) -> T) -> Self {
        run(&mut self);
        self
    }
}
