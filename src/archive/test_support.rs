//! Small archives for the tests of this room, written through the real [`Writer`].

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::base::clock::FixedClock;
use crate::base::digest::Digest;
use crate::base::fsio::Fs;
use crate::mail::envelope::{Envelope, Recipient, Role};
use crate::mail::summary::Summary;

pub const ANNA: &str = "anna@corp.example";
pub const BOB: &str = "bob@corp.example";
pub const EPOCH: &str = "INBOX";

/// An archive in a temporary folder, and what was put into it.
pub struct Fixture {
    pub folder: TempDir,
    pub layout: Layout,
    pub mails: Vec<Mail>,
}

/// What one item was made of.
pub struct Mail {
    pub native_id: String,
    pub item: Vec<u8>,
    pub original: Vec<u8>,
    pub quarantined: bool,
}

#[derive(Clone, Copy)]
pub struct Shape {
    pub items: usize,
    pub batch: usize,
    pub pack_bytes_max: u64,
    /// Attachments of this many bytes recur.
    pub attachment: usize,
}

pub const SMALL: Shape = Shape { items: 24, batch: 5, pack_bytes_max: 9_000, attachment: 20_000 };
pub const LARGER: Shape = Shape { items: 300, batch: 37, pack_bytes_max: 60_000, attachment: 40_000 };

pub fn now() -> jiff::Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

pub fn options(layout: &Layout, pack_bytes_max: u64) -> OpenOptions {
    let limits = core::Limits {
        pack_bytes_max,
        batch_age_max: std::time::Duration::from_secs(60),
        idle: std::time::Duration::from_secs(60),
        ..core::Limits::default()
    };
    OpenOptions {
        layout: layout.clone(),
        create_missing: true,
        create_in_empty: false,
        limits,
        fs: Fs::real(),
        clock: Arc::new(FixedClock::at(now())),
        holder: "a test".into(),
    }
}

pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Text that compresses badly and is the same every time.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..bytes)
        .map(|at| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if at % 77 == 76 { b'\n' } else { digits[(state >> 58) as usize] }
        })
        .collect()
}

fn address(person: &str) -> Recipient {
    Recipient { role: Role::To, address: person.into(), via: None, via_address: None }
}

/// The n-th mail: reports with a Bcc in the original, every 5th with an attachment that recurs, every 7th
/// another copy of the message before, every 9th not decodable, every 11th base64 inside of its report.
pub fn mail(n: usize, shape: Shape) -> (Mail, Outcome, Vec<std::ops::Range<u64>>) {
    let native_id = (n + 1).to_string();
    if n % 9 == 8 {
        let item = [b"garbage ".as_slice(), &noise(n as u64, 120)].concat();
        let mail = Mail { native_id, original: item.clone(), item, quarantined: true };
        return (mail, Outcome::Quarantine { because: "no parser understands it".into() }, Vec::new());
    }
    let subject_of = if n % 7 == 6 { n - 1 } else { n };
    let message_id = format!("<{subject_of}@corp.example>");
    let date: jiff::Timestamp = now() - jiff::SignedDuration::from_mins(subject_of as i64);
    let mut original = format!(
        "From: Anna <{ANNA}>\r\nTo: Bob <{BOB}>\r\nBcc: secret-{subject_of}@corp.example\r\nSubject: Grüße {subject_of}\r\n\
         Message-ID: {message_id}\r\n\r\nHello Bob, this is mail {subject_of}.\r\n"
    )
    .into_bytes();
    original.extend_from_slice(&noise(subject_of as u64, 150));
    let attachment_at = original.len();
    if n % 5 == 4 {
        original.extend_from_slice(&noise(1_000_000 + (n % 2) as u64, shape.attachment));
    }
    let report = format!("From: journal@corp.example\r\nX-Copy: {n}\r\n\r\nSender: {ANNA}\r\n\r\n").into_bytes();
    let (body, transfer) = if n % 11 == 10 {
        use base64::Engine as _;
        // Every other one lies in an encoded report.
        let (before, after) = if n % 2 == 1 { ("X-Report: yes\r\n\r\n", "\r\n--r--") } else { ("", "") };
        let whole = [before.as_bytes(), &original, after.as_bytes()].concat();
        let inside = format!("base64 {}..{}", before.len(), before.len() + original.len());
        let transfer = if before.is_empty() { "base64".to_owned() } else { inside };
        (base64::prelude::BASE64_STANDARD.encode(whole).into_bytes(), transfer)
    } else {
        (original.clone(), "identity".to_owned())
    };
    let range = report.len() as u64..(report.len() + body.len()) as u64;
    let mut leaves = Vec::new();
    if n % 5 == 4 && transfer == "identity" {
        leaves.push(range.start + attachment_at as u64..range.end);
    }
    let item = [report, body, b"\r\n--x--\r\n".to_vec()].concat();
    let message = StoredMessage {
        summary: Summary {
            message_id: Some(message_id),
            date: (n % 13 != 12).then_some(date),
            from: format!("Anna <{ANNA}>"),
            to: vec![format!("Bob <{BOB}>")],
            cc: Vec::new(),
            subject: format!("Grüße {subject_of}"),
        },
        sha256: Digest::of(&original),
        size: original.len() as u64,
        range,
        transfer,
        format: "exchange".into(),
        wrapped_in: None,
        degraded: n % 6 == 5,
        flags: Vec::new(),
        envelope: Envelope {
            sender: Some(ANNA.into()),
            on_behalf_of: None,
            recipients: vec![address(BOB), address(&format!("secret-{subject_of}@corp.example"))],
        },
        canonical_version: 1,
        canonical: Digest::of(format!("canonical {subject_of}").as_bytes()),
        parser: 1,
        reporter: Some("corp.example".into()),
        twin: None,
    };
    let filing = |person: &str, folder| Filing { person: person.into(), folder, because: "envelope".into() };
    let person = |person: &str| PersonRecord {
        person: person.into(),
        name: Some(person[..4].into()),
        addresses: vec![person.into(), format!("alias-{person}")],
        origin: "config".into(),
        key: None,
        tenures: Vec::new(),
        merged_into: None,
    };
    let outcome = Outcome::Message {
        message: Box::new(message),
        filings: vec![filing(ANNA, Folder::Sent), filing(BOB, Folder::Inbox)],
        people: vec![person(ANNA), person(BOB)],
        rules: 1,
    };
    (Mail { native_id, item, original, quarantined: false }, outcome, leaves)
}

fn seen(epoch: u64, native_id: &str, size: u64) -> Seen {
    Seen {
        epoch,
        native_id: native_id.into(),
        order: native_id.parse().ok(),
        size,
        date: "21-Nov-2026 10:00:00 +0000".into(),
    }
}

pub fn epoch_name() -> EpochName {
    EpochName {
        kind: "imap".into(),
        host: "imap.example.com".into(),
        login: "journal@corp.example".into(),
        folder: EPOCH.into(),
        validity: "77".into(),
    }
}

impl Fixture {
    pub fn new(shape: Shape) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(&folder.path().join("archive"), None);
        Fixture::at(folder, layout, shape)
    }

    pub fn at(folder: TempDir, layout: Layout, shape: Shape) -> Fixture {
        let (writer, _) = Writer::open(options(&layout, shape.pack_bytes_max)).unwrap();
        let handle = writer.handle();
        let epoch = wait(handle.call(|core| core.epoch(&epoch_name()))).unwrap().id;
        let mut encoder = Encoder::new().unwrap();
        let mut mails = Vec::new();
        let (reply, mut answers) = unbounded_channel();
        for n in 0..shape.items {
            let (mail, outcome, leaves) = mail(n, shape);
            let item =
                prepare(&mail.item, Digest::of(&mail.item), &leaves, handle.known(), &mut encoder, None).unwrap();
            let size = mail.item.len() as u64;
            handle
                .submit(Submission {
                    seen: seen(epoch, &mail.native_id, size),
                    peer: "imap.example.com".into(),
                    fetched: now(),
                    item,
                    regenerated: None,
                    outcome,
                    reply: reply.clone(),
                    hold: None,
                })
                .unwrap();
            mails.push(mail);
            if n % shape.batch == shape.batch - 1 {
                wait(handle.commit()).unwrap();
                assert!(answers.try_recv().is_ok());
                while answers.try_recv().is_ok() {}
            }
        }
        // The same bytes again, what never came, what left, what a rule keeps out, and what was deleted.
        let first = &mails[0];
        let item = prepare(&first.item, Digest::of(&first.item), &[], handle.known(), &mut encoder, None).unwrap();
        let size = first.item.len() as u64;
        let outcome = Outcome::Quarantine { because: "not asked for".into() };
        let submission = Submission {
            seen: seen(epoch, "900", size),
            peer: "p".into(),
            fetched: now(),
            item,
            regenerated: None,
            outcome,
            reply,
            hold: None,
        };
        handle.submit(submission).unwrap();
        wait(handle.call(move |core| {
            core.dispose(&seen(epoch, "901", 5), Disposition::Unfetchable, "NIL body")?;
            core.dispose(&seen(epoch, "902", 5), Disposition::Vanished, "expunged by someone else")?;
            core.dispose(&seen(epoch, "903", 5), Disposition::Failed, "connection reset")?;
            core.dispose(&seen(epoch, "903", 5), Disposition::Failed, "connection reset again")?;
            core.deleted(epoch, vec!["1".into(), "2".into()], DeletedHow::Confirmed)?;
            core.deleted(epoch, vec!["3".into()], DeletedHow::Inferred)?;
            core.listed(epoch, 900, Some((904, 800)))?;
            core.event("run", "agent", serde_json::json!({ "seconds": 0.1 + 0.2, "archived": 7 }))?;
            core.close()
        }))
        .unwrap();
        drop(handle);
        writer.finish().unwrap();
        Fixture { folder, layout, mails }
    }

    pub fn pack(&self, no: u64) -> Vec<u8> {
        std::fs::read(self.layout.pack(no)).unwrap()
    }

    /// Replaces a pack's bytes, also of one that is sealed and read-only.
    pub fn put_pack(&self, no: u64, bytes: &[u8]) {
        put(&self.layout.pack(no), bytes);
    }

    pub fn newest_pack(&self) -> u64 {
        *self.layout.list_packs().unwrap().last().unwrap()
    }
}

pub fn put(path: &Path, bytes: &[u8]) {
    // A sealed pack is read-only; the folder is not.
    let _ = std::fs::remove_file(path);
    std::fs::write(path, bytes).unwrap();
}

/// All tables but the cache columns, as text.
pub fn dump(layout: &Layout) -> Vec<String> {
    let archive = layout.identity().unwrap().archive;
    let catalogue = catalogue::Catalogue::open_to_read(&layout.catalogue, archive).unwrap();
    let tables = [
        ("meta", "*"),
        ("packs", "*"),
        ("commits", "*"),
        ("chunks", "*"),
        ("items", "*"),
        ("messages", "*"),
        ("reporters", "*"),
        ("people", "*"),
        ("addresses", "*"),
        ("filings", "*"),
        ("epochs", "id, kind, host, login, folder, validity, generation, since, because"),
        ("sightings", "*"),
        ("events", "*"),
    ];
    let mut lines = Vec::new();
    for (table, columns) in tables {
        let mut statement = catalogue.db.prepare(&format!("SELECT {columns} FROM {table}")).unwrap();
        let count = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        let mut found = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<rusqlite::types::Value> = (0..count).map(|at| row.get(at).unwrap()).collect();
            found.push(format!("{table} {values:?}"));
        }
        assert!(!found.is_empty(), "{table} is empty");
        found.sort();
        lines.append(&mut found);
    }
    lines
}
