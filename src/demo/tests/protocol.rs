//! What the gateway says when nothing is made to go wrong.

use super::client::{Raw, gateway};
use crate::demo::mailbox::Mail;
use crate::demo::server::{Gateway, GatewayOptions};

async fn with_mails(n: u32) -> Gateway {
    let gateway = gateway().await;
    for i in 1..=n {
        gateway.append("INBOX", format!("Subject: mail {i}\r\nX-A: b\r\n c\r\n\r\nbody {i}\r\n").into_bytes(), None);
    }
    gateway
}

#[tokio::test]
async fn login_in_all_its_forms() {
    let gateway = gateway().await;
    for command in [
        "LOGIN journal@corp.example journal",
        "LOGIN \"journal@corp.example\" \"journal\"",
        "LOGIN {20+}\r\njournal@corp.example {7+}\r\njournal",
        "AUTHENTICATE PLAIN AGpvdXJuYWxAY29ycC5leGFtcGxlAGpvdXJuYWw=",
    ] {
        let answer = Raw::connect(&gateway).await.ask(command).await;
        assert!(answer.contains("t1 OK [CAPABILITY IMAP4rev1 "), "{command}: {answer}");
    }
    let mut raw = Raw::connect(&gateway).await;
    raw.until("gateway\r\n").await;
    raw.send("a AUTHENTICATE PLAIN\r\n").await;
    assert_eq!(raw.until("\r\n").await, "+ \r\n");
    raw.send("AGpvdXJuYWxAY29ycC5leGFtcGxlAGpvdXJuYWw=\r\n").await;
    assert!(raw.until("\r\n").await.starts_with("a OK "));
    let mut raw = Raw::connect(&gateway).await;
    raw.until("gateway\r\n").await;
    raw.send("a LOGIN {20}\r\n").await;
    assert_eq!(raw.until("\r\n").await, "+ Go ahead\r\n");
    raw.send("journal@corp.example wrong\r\n").await;
    assert!(raw.until("\r\n").await.starts_with("a NO [AUTHENTICATIONFAILED]"));
    assert!(raw.ask("SELECT INBOX").await.contains("t1 BAD"));
    assert_eq!(gateway.counters().logins, 5);
    assert!(!gateway.log().join("\n").contains("AGpv") && !gateway.log().join("\n").contains("wrong"));
}

#[tokio::test]
async fn select_status_list() {
    let gateway = with_mails(3).await;
    gateway.create("Archive/2026");
    gateway.set_flag("INBOX", 1, "\\Seen");
    let mut raw = Raw::logged_in(&gateway).await;
    let answer = raw.ask("SELECT inbox").await;
    for part in ["* 3 EXISTS", "[UIDVALIDITY 1767600001]", "[UIDNEXT 4]", "[UNSEEN 2]", "OK [READ-WRITE]"] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    assert!(raw.ask("STATUS INBOX (MESSAGES UIDNEXT UNSEEN)").await.contains("(MESSAGES 3 UIDNEXT 4 UNSEEN 2)"));
    let answer = raw.ask("LIST \"\" \"*\"").await;
    assert!(answer.contains("\"INBOX\"\r\n") && answer.contains("\"Archive/2026\"\r\n"));
    let answer = raw.ask("LIST \"\" %").await;
    assert!(answer.contains("\"INBOX\"\r\n") && !answer.contains("Archive"), "{answer}");
    assert!(raw.ask("SELECT Nowhere").await.contains("NO [NONEXISTENT]"));
    assert!(raw.ask("FETCH 1 UID").await.contains("BAD"), "a failed SELECT leaves nothing open");
    assert!(raw.ask("EXAMINE INBOX").await.contains("OK [READ-ONLY]"));
    assert!(raw.ask("UID STORE 1 +FLAGS (\\Deleted)").await.contains("NO [READ-ONLY]"));
    assert_eq!(gateway.counters().selects, 2);
}

#[tokio::test]
async fn fetch_items_sections_and_partials() {
    let gateway = with_mails(3).await;
    let mut raw = Raw::logged_in(&gateway).await;
    raw.ask("SELECT INBOX").await;
    assert_eq!(
        raw.ask("UID FETCH 2 (FLAGS RFC822.SIZE INTERNALDATE)").await,
        "* 2 FETCH (UID 2 FLAGS () RFC822.SIZE 39 INTERNALDATE \"05-Jan-2026 08:02:02 +0000\")\r\nt3 OK Done\r\n"
    );
    assert_eq!(raw.ask("FETCH 3 (BODY.PEEK[]<2.9>)").await, "* 3 FETCH (BODY[]<2> {9}\r\nbject: ma)\r\nt4 OK Done\r\n");
    let answer = raw.ask("UID FETCH 3 BODY.PEEK[HEADER.FIELDS (X-A)]").await;
    assert!(
        answer.starts_with("* 3 FETCH (UID 3 BODY[HEADER.FIELDS (X-A)] {14}\r\nX-A: b\r\n c\r\n\r\n)\r\n"),
        "{answer}"
    );
    let answer = raw.ask("UID FETCH 3 (BODY[TEXT] FLAGS)").await;
    assert!(answer.contains("BODY[TEXT] {8}\r\nbody 3\r\n FLAGS (\\Seen))"), "{answer}");
    assert!(raw.ask("UID FETCH 9:* UID").await.starts_with("* 3 FETCH (UID 3)\r\n"));
    assert_eq!(raw.ask("UID FETCH 7 UID").await, "t8 OK Done\r\n");
    assert!(raw.ask("FETCH 7 UID").await.contains("BAD"));
    assert!(raw.ask("FETCH 1 NONSENSE").await.contains("BAD"));
}

#[tokio::test]
async fn store_search_and_expunge() {
    let gateway = with_mails(6).await;
    let mut raw = Raw::logged_in(&gateway).await;
    raw.ask("SELECT INBOX").await;
    assert!(raw.ask("STORE 2 FLAGS (\\Flagged)").await.starts_with("* 2 FETCH (FLAGS (\\Flagged))\r\n"));
    let answer = raw.ask("UID STORE 2:4,6 +FLAGS (\\deleted)").await;
    assert!(answer.starts_with("* 2 FETCH (UID 2 FLAGS (\\Flagged \\deleted))\r\n"), "{answer}");
    assert!(raw.ask("UID STORE 4 -FLAGS.SILENT (\\Deleted)").await.starts_with("t5 OK"));
    assert!(raw.ask("UID SEARCH DELETED").await.starts_with("* SEARCH 2 3 6\r\n"));
    assert!(raw.ask("UID SEARCH UID 3:5 UNDELETED").await.starts_with("* SEARCH 4 5\r\n"));
    assert_eq!(raw.ask("UID EXPUNGE 1:3").await, "* 2 EXPUNGE\r\n* 2 EXPUNGE\r\nt8 OK Done\r\n");
    assert_eq!(gateway.uids("INBOX"), [1, 4, 5, 6]);
    assert!(raw.ask("SEARCH DELETED").await.starts_with("* SEARCH 4\r\n"));
    assert_eq!(raw.ask("EXPUNGE").await, "* 4 EXPUNGE\r\nt10 OK Done\r\n");
    gateway.set_flag("INBOX", 1, "\\Deleted");
    assert_eq!(raw.ask("CLOSE").await, "t11 OK Done\r\n");
    assert_eq!(gateway.uids("INBOX"), [4, 5]);
}

#[tokio::test]
async fn other_clients_and_restored_folders() {
    let gateway = with_mails(3).await;
    let mut raw = Raw::logged_in(&gateway).await;
    raw.ask("SELECT INBOX").await;
    gateway.expunge("INBOX", 1);
    gateway.append("INBOX", &b"x"[..], None);
    assert_eq!(raw.ask("FETCH 2 UID").await, "* 2 FETCH (UID 2)\r\nt3 OK Done\r\n", "numbers stand until told");
    assert_eq!(raw.ask("NOOP").await, "* 1 EXPUNGE\r\n* 3 EXISTS\r\nt4 OK Done\r\n");
    gateway.restore("INBOX", vec![Mail::new(2, &b"other"[..], None)]);
    assert_eq!(raw.ask("NOOP").await, "* 2 EXPUNGE\r\n* 2 EXPUNGE\r\nt5 OK Done\r\n");
    assert!(raw.ask("SELECT INBOX").await.contains("[UIDNEXT 3]"));
    assert!(raw.ask("UID FETCH 2 RFC822").await.contains("RFC822 {5}\r\nother)"));
    gateway.set_uidvalidity("INBOX", 5);
    assert_eq!(raw.ask("NOOP").await, "* BYE The folder is another one now\r\n");
}

#[tokio::test]
async fn commands_in_a_row_are_answered_in_order() {
    let gateway = with_mails(2).await;
    let mut raw = Raw::logged_in(&gateway).await;
    raw.send("a SELECT INBOX\r\nb UID FETCH 1 UID\r\nc UID FETCH 2 UID\r\nd LOGOUT\r\n").await;
    let all = raw.rest().await;
    let at = |mark: &str| all.find(mark).unwrap_or_else(|| panic!("{mark}: {all}"));
    assert!(at("\r\na OK") < at("(UID 1)") && at("\r\nb OK") < at("(UID 2)") && at("* BYE") < at("\r\nd OK"));
}

#[tokio::test]
async fn input_is_bounded_and_nonsense_is_answered() {
    let gateway = with_mails(0).await;
    let mut raw = Raw::logged_in(&gateway).await;
    assert!(raw.ask("").await.contains("t2 BAD"));
    assert!(raw.ask("LIST \"open").await.contains("t3 BAD"));
    assert!(raw.ask("SELECT INBOX").await.contains("* 0 EXISTS"));
    assert_eq!(raw.ask("UID FETCH 1:* UID").await, "t5 OK Done\r\n");
    raw.send(vec![b'x'; 200_000]).await;
    assert!(raw.rest().await.contains("BYE Line too long"));
    let mut raw = Raw::logged_in(&gateway).await;
    assert!(raw.ask("SELECT {999999999}").await.contains("BYE Literal too long"));
}

#[tokio::test]
async fn append_and_stop() {
    let gateway = with_mails(0).await;
    let mut raw = Raw::logged_in(&gateway).await;
    let answer = raw.ask("APPEND INBOX (\\Seen) \"05-Jan-2026 08:02:02 +0000\" {5+}\r\nhello").await;
    assert!(answer.contains("OK [APPENDUID 1767600001 1]"), "{answer}");
    assert_eq!(&*gateway.message("INBOX", 1).unwrap().bytes, b"hello");
    let port = gateway.port();
    gateway.stop().await;
    assert_eq!(raw.rest().await, "");
    let options = GatewayOptions { port, ..GatewayOptions::default() };
    assert_eq!(Gateway::start(options).await.unwrap().port(), port, "the port is free again");
}
