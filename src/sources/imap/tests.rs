//! The source against servers that follow a script: what real servers do rarely, or never should.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};

use super::options::ImapAuth;
use super::*;
use crate::base::bytes::{ByteSource as _, read_range};
use crate::base::secret::Secret;
use crate::net::TlsMode;
use crate::net::login::Login;
use crate::net::trust::Trust;
use crate::sources::Body;
use crate::sources::login;

/// One exchange: what the client's line must be (after its tag), and the answer, in which `TAG` stands
/// for the tag. An answer that ends in `HANGUP` closes the connection after it, one that ends in
/// `SILENCE` leaves it open.
type Exchange = (&'static str, &'static str);

const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\r\n";
const LOGIN: Exchange =
    ("AUTHENTICATE PLAIN AGFubmEAc2VjcmV0", "* CAPABILITY IMAP4rev1 X\r\nTAG OK [CAPABILITY IMAP4rev1 UIDPLUS] in\r\n");
const SELECT: Exchange = (
    "SELECT \"INBOX\"",
    "* FLAGS (odd[flag)\r\n* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 10] y\r\nTAG OK [READ-WRITE] z\r\n",
);

async fn serve(stream: DuplexStream, greeting: &'static str, script: Vec<Exchange>) {
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(greeting.as_bytes()).await.unwrap();
    for (expected, answer) in script {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            panic!("the client hung up instead of {expected}");
        }
        let line = line.trim_end();
        let (tag, command) = match line.split_once(' ') {
            Some((tag, command)) if tag.starts_with('G') => (tag, command),
            _ => ("", line),
        };
        assert_eq!(command, expected);
        let answer = answer.replace("TAG", tag);
        let text = answer.trim_end_matches("HANGUP").trim_end_matches("SILENCE");
        stream.get_mut().write_all(text.as_bytes()).await.unwrap();
        if answer.ends_with("HANGUP") {
            return;
        }
    }
    // Nothing else may be sent; the client hangs up.
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "");
}

fn options() -> ImapOptions {
    ImapOptions {
        host: "gateway.example".into(),
        port: 143,
        tls: TlsMode::None,
        trust: Trust::default(),
        username: "anna".into(),
        login: Login::Password(Secret::new("secret".into())),
        auth: ImapAuth::Auto,
        folders: vec!["INBOX".into()],
        timeout: Duration::from_millis(500),
        allow_plaintext: false,
        sole_client: false,
        daily_budget: None,
        compress: false,
    }
}

struct Session {
    source: Result<ImapSource, SourceError>,
    server: tokio::task::JoinHandle<()>,
}

async fn log_in(options: &ImapOptions, greeting: &'static str, script: Vec<Exchange>) -> Session {
    let (client, server) = tokio::io::duplex(1 << 20);
    let server = tokio::spawn(serve(server, greeting, script));
    let source = match connect::greet(Box::new(client), options).await {
        Ok(greeted) => {
            let credential = login::first(&options.login, &options.username).await.unwrap();
            let session = connect::log_in(greeted, options, &credential).await;
            session.map(|session| ImapSource::new(session, None, options))
        }
        Err(error) => Err(error),
    };
    Session { source, server }
}

/// Logged in and with INBOX open; `script` is what follows.
async fn open(script: Vec<Exchange>) -> (ImapSource, tokio::task::JoinHandle<()>) {
    let script = [vec![LOGIN, SELECT], script].concat();
    let Session { source, server } = log_in(&options(), GREETING, script).await;
    let mut source = source.unwrap();
    let opened = source.open("INBOX").await.unwrap();
    assert_eq!((opened.epoch.validity.as_str(), opened.state.next, opened.state.exists), ("7", 10, 3));
    (source, server)
}

async fn refused(options: &ImapOptions, greeting: &'static str, script: Vec<Exchange>) -> SourceError {
    let Session { source, server } = log_in(options, greeting, script).await;
    let error = source.err().unwrap();
    server.await.unwrap();
    error
}

fn listed(uid: u32) -> Listed {
    Listed { native_id: uid.to_string(), order: Some(uid.into()), size: 5, date: "d".into() }
}

/// Fetches UIDs 1 to `n`, and describes what came.
async fn fetch(source: &mut ImapSource, n: u32) -> (Vec<String>, Result<(), SourceError>) {
    let dir = tempfile::tempdir().unwrap();
    let intake = Intake::new(1 << 20, dir.path().to_owned());
    let (sender, mut receiver) = mpsc::channel(100);
    let wanted: Vec<Listed> = (1..=n).map(listed).collect();
    let result = source.fetch(&wanted, &intake, &sender).await;
    drop(sender);
    let mut came = Vec::new();
    while let Some(fetched) = receiver.recv().await {
        let body = match fetched.body {
            Body::Item(item) => String::from_utf8(read_range(&item, 0..item.len()).unwrap()).unwrap(),
            Body::Gone => "gone".into(),
            Body::Unfetchable(reason) => format!("unfetchable: {reason}"),
        };
        came.push(format!("{} {body}", fetched.listed.native_id));
    }
    came.sort();
    (came, result)
}

#[tokio::test]
async fn a_fetch_answers_for_each_item_whatever_the_server_mixes_in() {
    let (mut source, server) = open(vec![
        (
            "UID FETCH 1:7 (UID BODY.PEEK[])",
            "* 1 FETCH (UID 1 BODY[] {5}\r\none\r\n)\r\n\
             * 2 FETCH (FLAGS (\\Seen))\r\n* 4 EXISTS\r\n* ESEARCH (TAG \"x\") COUNT 3\r\n* 9 EXPUNGE\r\n\
             * 2 FETCH (body[] ~{5}\r\ntwo\r\n UID 2)\r\n\
             * 3 FETCH (UID 3 FLAGS (\\Seen))\r\n\
             * 1 FETCH (UID 1 BODY[] {5}\r\nagain)\r\n\
             * 8 FETCH (UID 88 BODY[] {5}\r\nother)\r\n\
             * 4 FETCH (UID 4 BODY[] NIL)\r\n* 5 FETCH (UID 5 BODY[] {0}\r\n)\r\n* 6 FETCH (UID 6 BODY[] \"six\\\"\")\r\n\
             TAG OK done\r\n",
        ),
        ("NOOP", "TAG OK\r\n"),
        ("UID FETCH 3:5,7 (UID)", "* 3 FETCH (UID 3)\r\n* 4 FETCH (UID 4)\r\n* 5 FETCH (UID 5)\r\nTAG OK done\r\n"),
    ])
    .await;
    let (came, result) = fetch(&mut source, 7).await;
    result.unwrap();
    assert_eq!(
        came,
        [
            "1 one\r\n",
            "2 two\r\n",
            "3 unfetchable: the server answered OK without the item",
            "4 unfetchable: the server sent NIL for its body",
            "5 unfetchable: the server sent an empty body",
            "6 six\"",
            "7 gone",
        ]
    );
    drop(source);
    server.await.unwrap();
}

#[tokio::test]
async fn a_mail_that_the_server_cannot_give_does_not_hide_the_others() {
    let (mut source, server) = open(vec![
        ("UID FETCH 1:3 (UID BODY.PEEK[])", "* 1 FETCH (UID 1 BODY[] {3}\r\none)\r\nTAG NO cannot convert\r\n"),
        ("UID FETCH 2 (UID BODY.PEEK[])", "TAG NO cannot\tconvert 2\r\n"),
        ("UID FETCH 3 (UID BODY.PEEK[])", "* 3 FETCH (UID 3 BODY[] {5}\r\nthree)\r\nTAG OK\r\n"),
        ("NOOP", "TAG OK\r\n"),
        ("UID FETCH 2 (UID)", "* 2 FETCH (UID 2)\r\nTAG OK done\r\n"),
    ])
    .await;
    let (came, result) = fetch(&mut source, 3).await;
    result.unwrap();
    assert_eq!(came, ["1 one", "2 unfetchable: cannot convert 2", "3 three"]);
    drop(source);
    server.await.unwrap();
}

#[tokio::test]
async fn a_mail_that_the_server_refuses_for_the_moment_does_not_hold_up_the_others() {
    let (mut source, server) = open(vec![
        ("UID FETCH 1:2 (UID BODY.PEEK[])", "TAG NO [UNAVAILABLE] busy\r\n"),
        ("UID FETCH 1 (UID BODY.PEEK[])", "TAG NO [UNAVAILABLE] busy with 1\r\n"),
        ("UID FETCH 2 (UID BODY.PEEK[])", "* 2 FETCH (UID 2 BODY[] {3}\r\ntwo)\r\nTAG OK\r\n"),
        ("NOOP", "TAG OK\r\n"),
        ("UID FETCH 1 (UID)", "* 1 FETCH (UID 1)\r\nTAG OK done\r\n"),
    ])
    .await;
    let (came, result) = fetch(&mut source, 2).await;
    result.unwrap();
    assert_eq!(came, ["1 unfetchable: [UNAVAILABLE] busy with 1", "2 two"]);
    drop(source);
    server.await.unwrap();
}

#[tokio::test]
async fn a_fetch_that_breaks_off_delivers_only_what_is_complete_and_ends_the_connection() {
    for (answer, words) in [
        ("* 1 FETCH (UID 1 BODY[] {3}\r\none)\r\n* 2 FETCH (UID 2 BODY[] {3}\r\ntwHANGUP", "in the middle"),
        ("* 1 FETCH (UID 1 BODY[] {3}\r\none)\r\n* 2 FETCH (UID 2 BODY[] {3}\r\ntwoHANGUP", "in the middle"),
        ("* 1 FETCH (UID 1 BODY[] {3}\r\none)\r\n* 2 FETCH (UID 2 BODY[] {3}\r\ntwSILENCE", "silent"),
        ("* 1 FETCH (UID 1 BODY[] {3}\r\none)\r\nHANGUP", "closed the connection"),
        ("* 1 FETCH (UID 1 BODY[] {3}\r\none)\r\n* BYE [UNAVAILABLE] down\r\nHANGUP", "[UNAVAILABLE] down"),
        ("* 1 FETCH (UID 1 BODY[] {3}\r\none)\r\n* 2 FETCH (UID 2 (\r\nSILENCE", "not understood"),
        ("* 1 FETCH (UID 1 BODY[] {3}\r\none)\r\nG77 OK done\r\nSILENCE", "not understood"),
    ] {
        let (mut source, _server) = open(vec![("UID FETCH 1:2 (UID BODY.PEEK[])", answer)]).await;
        let (came, result) = fetch(&mut source, 2).await;
        let error = result.unwrap_err();
        assert_eq!(came, ["1 one"], "{answer}");
        assert_eq!(error.retry, Retry::Later, "{error}");
        assert!(error.answer.contains(words) && error.answer.len() <= 420, "{error}");
        // Nothing more is sent on this connection.
        let error = source.list(0).await.unwrap_err();
        assert_eq!((error.scope, error.retry), (Scope::Profile, Retry::Later));
    }
}

#[tokio::test]
async fn a_caller_that_stops_waiting_leaves_a_connection_that_is_not_used_again() {
    let (mut source, _server) = open(vec![("UID FETCH 1:9 (UID RFC822.SIZE INTERNALDATE)", "SILENCE")]).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), source.list(0)).await.is_err());
    assert!(source.list(0).await.unwrap_err().answer.contains("given up"));
}

#[tokio::test]
async fn a_consumer_that_goes_away_ends_the_download() {
    let (mut source, _server) =
        open(vec![("UID FETCH 1:2 (UID BODY.PEEK[])", "* 1 FETCH (UID 1 BODY[] {3}\r\none)\r\nSILENCE")]).await;
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let intake = Intake::new(1 << 20, std::env::temp_dir());
    let error = source.fetch(&[listed(1), listed(2)], &intake, &sender).await.unwrap_err();
    assert!(error.answer.contains("stopped"), "{error}");
    assert!(source.list(0).await.is_err());
}

#[tokio::test]
async fn a_listing_takes_items_and_nothing_else() {
    let (mut source, server) = open(vec![(
        "UID FETCH 1:9 (UID RFC822.SIZE INTERNALDATE)",
        "* 2 FETCH (INTERNALDATE \"two\" UID 5 RFC822.SIZE 50)\r\n\
         * 1 FETCH (UID 4 RFC822.SIZE 40 INTERNALDATE \"one\")\r\n\
         * 1 FETCH (UID 4 FLAGS (\\Seen))\r\n* 1 FETCH (FLAGS ())\r\n* 1 FETCH ()\r\n\
         * 3 FETCH (UID 6 RFC822.SIZE 5000000000 INTERNALDATE \"big\")\r\n\
         * 3 FETCH (UID 7 RFC822.SIZE 7 INTERNALDATE NIL)\r\n\
         * 9 FETCH (UID 99 RFC822.SIZE 1 INTERNALDATE \"n:*\")\r\n\
         TAG OK done\r\n",
    )])
    .await;
    let (items, next) = source.list(0).await.unwrap();
    let short: Vec<_> = items.iter().map(|item| (item.native_id.as_str(), item.size, item.date.as_str())).collect();
    assert_eq!(short, [("4", 40, "one"), ("5", 50, "two"), ("6", u64::from(u32::MAX), "big"), ("7", 7, "-")]);
    assert_eq!(next, None);
    drop(source);
    server.await.unwrap();
}

#[tokio::test]
async fn a_refused_listing_is_an_error_and_no_short_list() {
    for (answer, retry) in [
        ("* 1 FETCH (UID 4 RFC822.SIZE 40 INTERNALDATE \"one\")\r\nTAG NO sorry\r\n", Retry::Later),
        ("* 1 FETCH (UID 4 RFC822.SIZE 40 INTERNALDATE \"one\")\r\nTAG BAD what\r\n", Retry::Operator),
        ("* 1 FETCH (UID 4 RFC822.SIZE 40 INTERNALDATE \"one\")\r\nHANGUP", Retry::Later),
        // A status text that the parser panics at.
        ("* OK [ALERT]é\r\nTAG OK\r\n", Retry::Later),
    ] {
        let (mut source, _server) = open(vec![("UID FETCH 1:9 (UID RFC822.SIZE INTERNALDATE)", answer)]).await;
        assert_eq!(source.list(0).await.unwrap_err().retry, retry, "{answer}");
    }
}

const MATCH: &str = "UID FETCH 1:2 (UID RFC822.SIZE INTERNALDATE)";
const MATCHED: &str = "* 1 FETCH (UID 1 RFC822.SIZE 5 INTERNALDATE \"d\")\r\n\
    * 2 FETCH (UID 2 RFC822.SIZE 5 INTERNALDATE \"d\")\r\nTAG OK\r\n";
const STORE: &str = "UID STORE 1:2 +FLAGS.SILENT (\\Deleted)";

#[tokio::test]
async fn a_deletion_is_what_the_server_confirms() {
    let (mut source, server) = open(vec![
        ("NOOP", "TAG OK\r\n"),
        (MATCH, MATCHED),
        (STORE, "TAG OK\r\n"),
        ("UID EXPUNGE 1:2", "* 1 EXPUNGE\r\nTAG OK\r\n"),
        ("UID FETCH 1:2 (UID)", "* 1 FETCH (UID 2)\r\nTAG OK\r\n"),
    ])
    .await;
    let answers = source.delete(&[listed(2), listed(1)]).await.unwrap();
    assert_eq!(answers, [Deletion::StillThere, Deletion::Deleted]);
    drop(source);
    server.await.unwrap();
}

#[tokio::test]
async fn no_step_of_a_deletion_follows_one_that_failed() {
    let steps = [("NOOP", "TAG OK\r\n"), (MATCH, MATCHED), (STORE, "TAG OK\r\n"), ("UID EXPUNGE 1:2", "")];
    for failing in 0..steps.len() {
        for refusal in ["TAG NO sorry\r\n", "TAG BAD what\r\n"] {
            let mut script = steps[..failing].to_vec();
            script.push((steps[failing].0, refusal));
            let (mut source, server) = open(script).await;
            source.delete(&[listed(1), listed(2)]).await.unwrap_err();
            drop(source);
            server.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_folder_without_lasting_uids_is_not_polled() {
    for (answer, words) in [
        ("* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK\r\n", "UIDNEXT"),
        ("* 3 EXISTS\r\n* OK [UIDNEXT 7] x\r\nTAG OK\r\n", "UIDVALIDITY"),
        ("* OK [UIDNEXT 7] x\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK\r\n", "EXISTS"),
        ("* 3 EXISTS\r\n* OK [UIDNEXT 7] x\r\n* OK [UIDVALIDITY 7] x\r\n* NO [UIDNOTSTICKY] y\r\nTAG OK\r\n", "STICKY"),
        ("TAG NO [NONEXISTENT] no such folder\r\n", "[NONEXISTENT]"),
    ] {
        let Session { source, server: _server } = log_in(&options(), GREETING, vec![LOGIN, (SELECT.0, answer)]).await;
        let error = source.unwrap().open("INBOX").await.unwrap_err();
        assert_eq!((error.scope, error.retry), (Scope::Mailbox, Retry::Operator), "{error}");
        assert!(error.answer.contains(words), "{error}");
    }
    let busy = (SELECT.0, "TAG NO [INUSE] locked\r\n");
    let mut source = log_in(&options(), GREETING, vec![LOGIN, busy]).await.source.unwrap();
    assert_eq!(source.open("INBOX").await.unwrap_err().retry, Retry::Later);
}

#[tokio::test]
async fn a_folder_that_the_server_opens_for_reading_only_is_not_deleted_from() {
    let answer = "* 3 EXISTS\r\n* OK [UIDNEXT 7] x\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK [READ-ONLY] z\r\n";
    let Session { source, server } = log_in(&options(), GREETING, vec![LOGIN, (SELECT.0, answer)]).await;
    let mut source = source.unwrap();
    source.open("INBOX").await.unwrap();
    assert_eq!(source.delete(&[listed(1)]).await.unwrap_err().retry, Retry::Operator);
    drop(source);
    server.await.unwrap();
}

#[tokio::test]
async fn logins_are_spelt_so_that_any_password_arrives() {
    let odd = ImapOptions { login: Login::Password(Secret::new("wör\"d".into())), auth: ImapAuth::Login, ..options() };
    let capability = ("CAPABILITY", "* CAPABILITY IMAP4rev1 UIDPLUS\r\nTAG OK\r\n");
    let script = vec![("LOGIN {4}", "+ go\r\n"), ("anna {6}", "+ \r\n"), ("wör\"d", "G1 OK in\r\n"), capability];
    let Session { source, server } = log_in(&odd, GREETING, script).await;
    assert!(source.unwrap().abilities().can_delete);
    server.await.unwrap();

    let quoted =
        ImapOptions { login: Login::Password(Secret::new("a\"b\\c".into())), auth: ImapAuth::Login, ..options() };
    let script = vec![("LOGIN \"anna\" \"a\\\"b\\\\c\"", "TAG OK in\r\n"), capability];
    log_in(&quoted, GREETING, script).await.source.unwrap();

    let greeting = "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] no SASL-IR\r\n";
    let script = vec![("AUTHENTICATE PLAIN", "+ \r\n"), ("AGFubmEAc2VjcmV0", "G1 OK in\r\n"), capability];
    log_in(&options(), greeting, script).await.source.unwrap();
}

#[tokio::test]
async fn refused_logins_say_who_can_mend_them() {
    for (answer, retry) in [
        ("TAG NO [AUTHENTICATIONFAILED] no\r\n", Retry::Operator),
        ("TAG NO wrong\r\n", Retry::Operator),
        ("TAG NO [UNAVAILABLE] directory down\r\n", Retry::Later),
        ("TAG BAD what\r\n", Retry::Operator),
        ("* BYE too many connections\r\nHANGUP", Retry::Later),
        ("HANGUP", Retry::Later),
    ] {
        let error = refused(&options(), GREETING, vec![(LOGIN.0, answer)]).await;
        assert_eq!((error.scope, error.retry), (Scope::Profile, retry), "{error}");
        assert!(!format!("{error:?}").contains("secret"));
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_is_not_what_was_asked_for() {
    let starttls = ImapOptions { tls: TlsMode::StartTls, ..options() };
    let error = refused(&starttls, GREETING, vec![]).await;
    assert!(error.answer.contains("does not offer") && error.retry == Retry::Operator, "{error}");

    let offering = "* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n";
    // Somebody in between adds an answer to what will be asked after the handshake.
    let injected = vec![("STARTTLS", "TAG OK go\r\n* CAPABILITY IMAP4rev1 EVIL\r\n")];
    let error = refused(&starttls, offering, injected).await;
    assert!(error.answer.contains("before the handshake"), "{error}");
    assert!(refused(&starttls, offering, vec![("STARTTLS", "TAG NO no\r\n")]).await.retry == Retry::Operator);

    for greeting in ["* PREAUTH hello root\r\n", "* BYE full\r\n", "SSH-2.0-x\r\n", "* NO\r\n", "* 1 EXISTS\r\n"] {
        refused(&options(), greeting, vec![]).await;
    }
    let disabled = "* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] ready\r\n";
    let error = refused(&options(), disabled, vec![]).await;
    assert!(error.answer.contains("LOGINDISABLED"), "{error}");
}
