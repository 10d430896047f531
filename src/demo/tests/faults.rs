//! Each fault does what it says, and no more.

use super::client::{Raw, gateway};
use crate::demo::fault::{Answer, Fault, When, Which};
use crate::demo::server::Gateway;

const FETCH: &str = "UID FETCH 1:* (UID RFC822.SIZE BODY.PEEK[])";

async fn opened() -> (Gateway, Raw) {
    let gateway = gateway().await;
    for body in ["one", "two", "three"] {
        gateway.append("INBOX", format!("Subject: x\r\n\r\n{body}\r\n").into_bytes(), None);
    }
    let mut raw = Raw::logged_in(&gateway).await;
    raw.ask("SELECT INBOX").await;
    (gateway, raw)
}

#[tokio::test]
async fn a_cut_is_exact_at_every_byte() {
    let gateway = gateway().await;
    gateway.append("INBOX", vec![b'x'; 300], None);
    let session =
        "a LOGIN journal@corp.example journal\r\nb SELECT INBOX\r\nc UID FETCH 1:* BODY.PEEK[]\r\nd LOGOUT\r\n";
    let mut raw = Raw::connect(&gateway).await;
    raw.send(session).await;
    raw.rest().await;
    let whole = raw.seen;
    assert_eq!(gateway.counters().bytes_sent, whole.len() as u64);
    for bytes in 0..=whole.len() {
        gateway.misbehave(Fault::CutAfter { bytes: bytes as u64 });
        let mut raw = Raw::connect(&gateway).await;
        raw.send(session).await;
        raw.rest().await;
        assert_eq!(raw.seen, whole[..bytes]);
    }
    let mut raw = Raw::connect(&gateway).await;
    raw.send(session).await;
    raw.rest().await;
    assert_eq!(raw.seen, whole, "a cut fires once");
}

#[tokio::test]
async fn a_large_body_is_cut_to_the_byte_too() {
    let (gateway, mut raw) = opened().await;
    let uid = gateway.append("INBOX", vec![b'y'; 300_000], None);
    raw.ask("NOOP").await;
    gateway.misbehave(Fault::CutInBody { which: Which::Uid(uid), after: 123_456 });
    let answer = raw.ask(FETCH).await;
    assert!(answer.contains("{300000}\r\n") && !answer.contains("OK Done"));
    assert_eq!(answer.bytes().filter(|byte| *byte == b'y').count(), 123_456);
    let mut raw = Raw::logged_in(&gateway).await;
    raw.ask("SELECT INBOX").await;
    gateway.misbehave(Fault::CutAfter { bytes: 200_000 });
    assert_eq!(raw.ask("UID FETCH 4 BODY.PEEK[]").await.len(), 200_000);
}

#[tokio::test]
async fn answers_instead_of_and_after_the_command() {
    let (gateway, mut raw) = opened().await;
    gateway.misbehave(Fault::on("uid fetch", When::Nth(2), Answer::No));
    assert!(raw.ask("UID FETCH 1 UID").await.ends_with("t3 OK Done\r\n"));
    assert_eq!(raw.ask("UID FETCH 1 UID").await, "t4 NO Refused on demand\r\n");
    assert!(raw.ask("UID FETCH 1 UID").await.ends_with("t5 OK Done\r\n"));
    gateway.misbehave(Fault::on("UID FETCH", When::Always, Answer::NoAtEnd));
    for tag in ["t6", "t7"] {
        assert_eq!(raw.ask("UID FETCH 1 UID").await, format!("* 1 FETCH (UID 1)\r\n{tag} NO Failed on demand\r\n"));
    }
    gateway.behave();
    gateway.misbehave(Fault::on("UID STORE", When::Nth(1), Answer::ByeAtEnd));
    let answer = raw.ask("UID STORE 1 +FLAGS (\\Deleted)").await;
    assert_eq!(answer, "* 1 FETCH (UID 1 FLAGS (\\Deleted))\r\n* BYE Closing on demand\r\n");
    assert!(gateway.message("INBOX", 1).unwrap().has_flag("\\Deleted"));
    for (answer, expected) in
        [(Answer::Bad, "t2 BAD Refused on demand\r\n"), (Answer::Bye, "* BYE Closing on demand\r\n"), (Answer::Eof, "")]
    {
        let mut raw = Raw::logged_in(&gateway).await;
        gateway.misbehave(Fault::on("SELECT", When::Nth(1), answer));
        assert_eq!(raw.ask("SELECT INBOX").await, expected);
    }
    gateway.misbehave(Fault::RefuseLogin);
    assert!(Raw::connect(&gateway).await.ask("LOGIN journal@corp.example journal").await.contains("t1 NO"));
}

#[tokio::test]
async fn a_hang_lasts_until_the_gateway_goes() {
    let (gateway, mut raw) = opened().await;
    gateway.misbehave(Fault::on("NOOP", When::Always, Answer::Hang));
    raw.send("a NOOP\r\nb NOOP\r\n").await;
    let waited = std::time::Duration::from_millis(50);
    assert!(tokio::time::timeout(waited, raw.rest()).await.is_err());
    gateway.stop().await;
    assert_eq!(raw.rest().await, "");
}

#[tokio::test]
async fn bodies_and_data_items() {
    let (gateway, mut raw) = opened().await;
    gateway.misbehave(Fault::BodyNil { which: Which::Uid(1) });
    gateway.misbehave(Fault::BodyEmpty { which: Which::Uid(2) });
    gateway.misbehave(Fault::WrongSize { which: Which::Uid(3), size: 7 });
    let answer = raw.ask(FETCH).await;
    assert!(answer.starts_with("* 1 FETCH (UID 1 RFC822.SIZE 19 BODY[] NIL)\r\n"), "{answer}");
    assert!(answer.contains("* 2 FETCH (UID 2 RFC822.SIZE 19 BODY[] {0}\r\n)\r\n"), "{answer}");
    assert!(answer.contains("* 3 FETCH (UID 3 RFC822.SIZE 7 BODY[] {21}\r\nSubject"), "{answer}");
    gateway.behave();
    gateway.misbehave(Fault::OmitMail { which: Which::Uid(2) });
    gateway.misbehave(Fault::OmitData { which: Which::Every, data: "body[]".into() });
    gateway.misbehave(Fault::UnsolicitedFlags);
    assert_eq!(
        raw.ask(FETCH).await,
        "* 1 FETCH (FLAGS ())\r\n* 1 FETCH (UID 1 RFC822.SIZE 19)\r\n\
         * 3 FETCH (FLAGS ())\r\n* 3 FETCH (UID 3 RFC822.SIZE 21)\r\nt4 OK Done\r\n"
    );
    gateway.behave();
    gateway.misbehave(Fault::HugeLiteral { which: Which::Uid(2), announce: 500_000_000 });
    let answer = raw.ask(FETCH).await;
    assert!(answer.contains("BODY[] {500000000}\r\nxxxx") && answer.len() < 1_500);
}

#[tokio::test]
async fn deletion_that_is_not_there_or_only_pretends() {
    let (gateway, mut raw) = opened().await;
    raw.ask("UID STORE 1:3 +FLAGS.SILENT (\\Deleted)").await;
    gateway.misbehave(Fault::PretendExpunge);
    assert_eq!(raw.ask("UID EXPUNGE 1").await, "t4 OK Done\r\n");
    gateway.behave();
    gateway.misbehave(Fault::NoUidPlus);
    assert!(raw.ask("UID EXPUNGE 1").await.contains("BAD"));
    assert!(!raw.ask("CAPABILITY").await.contains("UIDPLUS"));
    assert_eq!(gateway.uids("INBOX"), [1, 2, 3]);
}

#[tokio::test]
async fn another_client_expunges_during_a_fetch() {
    let (gateway, mut raw) = opened().await;
    gateway.misbehave(Fault::ExpungeDuringFetch { uid: 2, bodies: false });
    assert_eq!(
        raw.ask("UID FETCH 1:* UID").await,
        "* 1 FETCH (UID 1)\r\n* 2 EXPUNGE\r\n* 2 FETCH (UID 3)\r\nt3 OK Done\r\n"
    );
    assert_eq!(gateway.uids("INBOX"), [1, 3]);
}
