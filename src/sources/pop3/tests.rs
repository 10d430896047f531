//! What real servers cannot be made to do: a server that is well in one session and not in the next.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::options::{Pop3Auth, Pop3Options};
use super::*;
use crate::base::secret::Secret;
use crate::net::TlsMode;

/// UIDLs of what the mailbox holds.
type Mailbox = Arc<Mutex<Vec<String>>>;

/// A POP3 server on loopback; `refuses` says which commands of which session it refuses.
async fn server(mailbox: Mailbox, refuses: fn(usize, &str) -> bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for number in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            session(BufReader::new(stream), &mailbox, |command| refuses(number, command)).await;
        }
    });
    port
}

async fn session(mut stream: BufReader<tokio::net::TcpStream>, mailbox: &Mailbox, refuses: impl Fn(&str) -> bool) {
    let mails = mailbox.lock().unwrap().clone();
    let mut marked = Vec::new();
    let mut say = "+OK\r\n".to_owned();
    loop {
        if stream.write_all(say.as_bytes()).await.is_err() {
            return;
        }
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split_ascii_whitespace();
        let command = words.next().unwrap_or_default().to_owned();
        let number = words.next().and_then(|word| word.parse::<usize>().ok()).unwrap_or(0);
        let rows = |row: &dyn Fn(&str) -> String| {
            let rows: String = mails.iter().enumerate().map(|(at, id)| format!("{} {}\r\n", at + 1, row(id))).collect();
            format!("+OK\r\n{rows}.\r\n")
        };
        say = match command.as_str() {
            command if refuses(command) => "-ERR [SYS/TEMP] not now\r\n".into(),
            "CAPA" => "+OK\r\nUSER\r\nUIDL\r\nTOP\r\n.\r\n".into(),
            "LIST" => rows(&|_| "100".into()),
            "UIDL" => rows(&str::to_owned),
            "TOP" => format!("+OK\r\nSubject: {}\r\n\r\n.\r\n", mails[number - 1]),
            "DELE" => {
                marked.push(mails[number - 1].clone());
                "+OK\r\n".into()
            }
            "QUIT" => {
                mailbox.lock().unwrap().retain(|id| !marked.contains(id));
                let _ = stream.write_all(b"+OK\r\n").await;
                return;
            }
            _ => "+OK\r\n".into(),
        };
    }
}

fn options(port: u16) -> Pop3Options {
    Pop3Options {
        host: "127.0.0.1".into(),
        ports: vec![(port, TlsMode::None)],
        trust: crate::net::trust::Trust::default(),
        username: "journal".into(),
        login: crate::net::login::Login::Password(Secret::new("x".into())),
        auth: Pop3Auth::User,
        timeout: Duration::from_secs(30),
        allow_plaintext: false,
    }
}

/// Message numbers hold for one session: after the first deletion the rest has moved up.
#[tokio::test]
async fn after_a_session_that_could_not_look_nothing_is_deleted_by_the_old_numbers() {
    let mailbox: Mailbox = Arc::new(Mutex::new(["a", "b", "c"].map(str::to_owned).to_vec()));
    let port = server(mailbox.clone(), |session, command| session == 2 && command == "LIST").await;
    let mut source = Pop3Source::connect(&options(port)).await.unwrap();
    source.open("INBOX").await.unwrap();
    let (listed, _) = source.list(0).await.unwrap();
    // As a download leaves them: with the digests of their headers.
    let mut items = Vec::new();
    for item in &listed {
        let date = source.date_of(&item.native_id).await.unwrap().unwrap();
        items.push(Listed { date, ..item.clone() });
    }
    assert!(matches!(source.delete(&items[..1]).await.unwrap()[..], [Deletion::Deleted]));
    assert_eq!(*mailbox.lock().unwrap(), ["b", "c"]);
    // The new session could not list; `b` is number 1 in it now, and number 2 is `c`.
    let second = source.delete(&items[1..2]).await;
    source.close().await;
    assert!(mailbox.lock().unwrap().contains(&"c".to_owned()), "another mail was deleted: {second:?}");
    assert!(second.is_err(), "{second:?}");
    // The next run does it.
    let mut source = Pop3Source::connect(&options(port)).await.unwrap();
    source.open("INBOX").await.unwrap();
    assert!(matches!(source.delete(&items[1..2]).await.unwrap()[..], [Deletion::Deleted]));
    assert_eq!(*mailbox.lock().unwrap(), ["c"]);
}
