//! A raw client that keeps every byte, and an async-imap session on the same gateway.

use futures_util::TryStreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::demo::samples::samples;
use crate::demo::server::{Gateway, GatewayOptions};

pub struct Raw {
    stream: TcpStream,
    /// All that came in.
    pub seen: Vec<u8>,
    tag: u32,
}

impl Raw {
    pub async fn connect(gateway: &Gateway) -> Raw {
        let stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
        Raw { stream, seen: Vec::new(), tag: 0 }
    }

    pub async fn logged_in(gateway: &Gateway) -> Raw {
        let mut raw = Raw::connect(gateway).await;
        let answer = raw.ask("LOGIN journal@corp.example journal").await;
        assert!(answer.contains(" OK "), "{answer}");
        raw
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The other side may be gone already; then reading says so.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Reads until what came in since now holds `mark`, or to the end of the stream.
    pub async fn until(&mut self, mark: &str) -> String {
        let start = self.seen.len();
        let mut buffer = [0u8; 16 * 1024];
        loop {
            if String::from_utf8_lossy(&self.seen[start..]).contains(mark) {
                break;
            }
            match self.stream.read(&mut buffer).await {
                Ok(0) => break,
                Ok(n) => self.seen.extend_from_slice(&buffer[..n]),
                Err(error) => panic!("the connection must end in an orderly way: {error}"),
            }
        }
        String::from_utf8_lossy(&self.seen[start..]).into_owned()
    }

    /// Sends a command and returns all that came up to its tagged line, or to the end of the stream.
    pub async fn ask(&mut self, command: &str) -> String {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.send(format!("{tag} {command}\r\n")).await;
        let mut all = String::new();
        loop {
            let more = self.until("\r\n").await;
            all.push_str(&more);
            let tagged = all.rfind(&format!("{tag} ")).filter(|at| *at == 0 || all[..*at].ends_with("\r\n"));
            if more.is_empty() || (tagged.is_some() && all.ends_with("\r\n")) {
                return all;
            }
        }
    }

    /// All that is still to come.
    pub async fn rest(&mut self) -> String {
        self.until("\u{0}\u{0}never").await
    }
}

pub async fn gateway() -> Gateway {
    Gateway::start(GatewayOptions::default()).await.unwrap()
}

#[tokio::test]
async fn async_imap_reads_and_deletes() {
    let gateway = gateway().await;
    let all = samples();
    for sample in &all {
        gateway.append("INBOX", sample.item.clone(), Some(sample.date));
    }
    let stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
    let mut client = async_imap::Client::new(stream);
    client.read_response().await.unwrap().unwrap();
    let mut session = client.login("journal@corp.example", "journal").await.map_err(|(error, _)| error).unwrap();
    assert!(session.capabilities().await.unwrap().has_str("UIDPLUS"));
    let mailbox = session.select("INBOX").await.unwrap();
    assert_eq!((mailbox.exists, mailbox.uid_next), (36, Some(37)));
    let items = "(UID RFC822.SIZE INTERNALDATE BODY.PEEK[])";
    let fetched: Vec<_> = session.uid_fetch("1:*", items).await.unwrap().try_collect().await.unwrap();
    assert_eq!(fetched.len(), 36);
    for (mail, sample) in fetched.iter().zip(&all) {
        assert_eq!(mail.body().unwrap(), sample.item, "{}", sample.name);
        assert_eq!(mail.size.unwrap() as usize, sample.item.len());
        assert_eq!(mail.internal_date().unwrap().timestamp(), sample.date.as_second());
    }
    let marked: Vec<_> =
        session.uid_store("2:4", "+FLAGS.SILENT (\\Deleted)").await.unwrap().try_collect().await.unwrap();
    assert_eq!(marked.len(), 0);
    let gone: Vec<u32> = session.uid_expunge("3:4").await.unwrap().try_collect().await.unwrap();
    assert_eq!(gone, [3, 3]);
    assert!(gateway.message("INBOX", 2).unwrap().has_flag("\\Deleted"));
    assert_eq!(gateway.uids("INBOX").len(), 34);
    session.logout().await.unwrap();
    let counters = gateway.counters();
    assert_eq!((counters.logins, counters.selects, counters.command("UID EXPUNGE")), (1, 1, 1));
    assert!(!gateway.log().iter().any(|line| line.contains(" journal\"")), "no passwords in the log");
}

/// Ten thousand mails of ordinary size are made and served in moments, so that what a test waits for is
/// never the gateway.
#[tokio::test]
#[ignore = "450 MB of memory"]
async fn a_large_corpus_is_served_quickly() {
    let gateway = gateway().await;
    let mut left = 0;
    for generated in crate::demo::corpus::Corpus::new(1, 10_000).iter() {
        left += generated.item.len();
        gateway.append("INBOX", generated.item, Some(generated.date));
    }
    let mut raw = Raw::logged_in(&gateway).await;
    raw.ask("SELECT INBOX").await;
    let started = std::time::Instant::now();
    raw.send("f UID FETCH 1:* (UID RFC822.SIZE INTERNALDATE BODY.PEEK[])\r\n").await;
    let mut buffer = vec![0u8; 256 * 1024];
    while left > 0 {
        let n = raw.stream.read(&mut buffer).await.unwrap();
        assert!(n > 0);
        left = left.saturating_sub(n);
    }
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}
