//! The index on archives that the real writer wrote.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::mpsc::unbounded_channel;

use super::query::Calendar;
use super::*;
use crate::archive::test_support::{ANNA, BOB, epoch_name, now, options, wait};
use crate::archive::{
    Encoder, Filing, Filter, Folder, Handle, Outcome, PersonRecord, Seen, StoredMessage, Submission, Writer, prepare,
};
use crate::base::digest::Digest;
use crate::mail::envelope::{Envelope, Recipient, Role, Via};
use crate::mail::header::Headers;
use crate::mail::summary::Summary;

const EVE: &str = "eve@corp.example";

/// A mail, who received it without being named in it, and whose it is beside Anna, who sent it.
#[derive(Clone)]
struct Mail {
    text: String,
    hidden: Vec<Recipient>,
    inboxes: Vec<&'static str>,
}

fn mail(header: &str, body: &str) -> Mail {
    let text = format!("From: Anna Müller <{ANNA}>\r\nTo: Bob <{BOB}>\r\n{header}\r\n\r\n{body}\r\n");
    Mail { text, hidden: Vec::new(), inboxes: vec![BOB] }
}

fn recipient(role: Role, address: &str) -> Recipient {
    Recipient { role, address: address.into(), via: None, via_address: None }
}

struct Archive {
    folder: tempfile::TempDir,
    layout: Layout,
    items: u64,
}

impl Archive {
    fn new() -> Archive {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(&folder.path().join("archive"), None);
        Archive { folder, layout, items: 0 }
    }

    fn of(mails: &[Mail]) -> Archive {
        let mut archive = Archive::new();
        archive.add(mails);
        archive
    }

    fn writing<T>(&self, act: impl FnOnce(&Handle, u64) -> T) -> T {
        let (writer, _) = Writer::open(options(&self.layout, 50_000)).unwrap();
        let handle = writer.handle();
        let epoch = wait(handle.call(|core| core.epoch(&epoch_name()))).unwrap().id;
        let done = act(&handle, epoch);
        drop(handle);
        writer.finish().unwrap();
        done
    }

    fn add(&mut self, mails: &[Mail]) {
        let first = self.items;
        self.items += mails.len() as u64;
        self.writing(|handle, epoch| {
            let mut encoder = Encoder::new().unwrap();
            let (reply, _answers) = unbounded_channel();
            for (n, mail) in mails.iter().enumerate() {
                let native_id = (first + n as u64 + 1).to_string();
                let bytes = [format!("X-Item: {native_id}\r\n\r\n").as_bytes(), mail.text.as_bytes()].concat();
                let before = bytes.len() - mail.text.len();
                let item = prepare(&bytes, Digest::of(&bytes), &[], handle.known(), &mut encoder, None).unwrap();
                let outcome = Outcome::Message {
                    message: Box::new(stored(mail, before as u64)),
                    filings: filings(&mail.inboxes),
                    people: [ANNA, BOB, EVE].map(person).to_vec(),
                    rules: 1,
                };
                let seen = Seen {
                    epoch,
                    order: native_id.parse().ok(),
                    native_id,
                    size: bytes.len() as u64,
                    date: "21-Nov-2026 10:00:00 +0000".into(),
                };
                let submission = Submission {
                    seen,
                    peer: "imap.example.com".into(),
                    fetched: now(),
                    item,
                    regenerated: None,
                    outcome,
                    reply: reply.clone(),
                    hold: None,
                };
                handle.submit(submission).unwrap();
            }
            wait(handle.commit()).unwrap();
        });
    }

    fn catch_up(&self) -> BuildReport {
        catch_up(&self.layout, &BuildOptions::default(), &mut |_| {}).unwrap().expect("nobody else is at it")
    }

    fn request(&self, request: &Request) -> Option<(Vec<Entry>, Found)> {
        let reader = Reader::open(&self.layout).unwrap();
        let mut entries = Vec::new();
        let found = find(&self.layout, &reader, request, &mut |entry| {
            entries.push(entry);
            Ok(())
        });
        Some((entries, found.unwrap()?))
    }

    /// `number person folder` of what is found, from an index that is up to date.
    fn found(&self, query: &str) -> Vec<String> {
        self.catch_up();
        lines(self.request(&asked(query)).unwrap().0)
    }

    /// The numbers of the messages.
    fn numbers(&self, query: &str) -> Vec<u64> {
        self.catch_up();
        let entries = self.request(&asked(query)).unwrap().0;
        entries.iter().map(|entry| entry.id).collect::<BTreeSet<u64>>().into_iter().collect()
    }
}

fn stored(mail: &Mail, before: u64) -> StoredMessage {
    let bytes = mail.text.as_bytes();
    let headers = Headers::of(bytes);
    let summary = Summary::of(&headers);
    let mut recipients = vec![recipient(Role::To, BOB)];
    recipients.extend(mail.hidden.iter().cloned());
    StoredMessage {
        sha256: Digest::of(bytes),
        size: bytes.len() as u64,
        range: before..before + bytes.len() as u64,
        transfer: "identity".into(),
        format: "exchange".into(),
        wrapped_in: None,
        degraded: false,
        flags: Vec::new(),
        envelope: Envelope { sender: Some(ANNA.into()), on_behalf_of: None, recipients },
        canonical_version: 1,
        canonical: Digest::of(summary.message_id.as_deref().unwrap_or(&mail.text).as_bytes()),
        parser: 1,
        reporter: None,
        twin: None,
        summary,
    }
}

fn filings(inboxes: &[&str]) -> Vec<Filing> {
    let filing = |person: &str, folder| Filing { person: person.into(), folder, because: "to".into() };
    let mut filings = vec![filing(ANNA, Folder::Sent)];
    filings.extend(inboxes.iter().map(|person| filing(person, Folder::Inbox)));
    filings
}

fn person(id: &str) -> PersonRecord {
    PersonRecord {
        person: id.into(),
        name: Some(id.split('@').next().unwrap_or_default().to_uppercase()),
        addresses: vec![id.into(), format!("alias-{id}")],
        origin: "config".into(),
        key: None,
        tenures: Vec::new(),
        merged_into: None,
    }
}

fn asked(query: &str) -> Request {
    let calendar = Calendar { zone: TimeZone::UTC, now: now() };
    Request { query: query::parse(query, &calendar).unwrap(), ..Request::default() }
}

fn lines(entries: Vec<Entry>) -> Vec<String> {
    let line = |entry: Entry| {
        format!("{} {} {}", entry.id, entry.person.split('@').next().unwrap_or_default(), entry.folder.as_str())
    };
    entries.into_iter().map(line).collect()
}

fn some_mails() -> Vec<Mail> {
    let attached = "Subject: Drawing\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\
                    Date: Sun, 1 Feb 2026 10:00:00 +0000";
    let parts = "--x\r\nContent-Type: text/plain\r\n\r\nsee the drawing\r\n--x\r\nContent-Type: application/octet-stream\r\n\
                 Content-Disposition: attachment; filename=\"Blaupause 7.dwg\"\r\n\r\nxxxx\r\n--x--";
    vec![
        mail(
            "Subject: Invoice 88\r\nDate: Fri, 2 Jan 2026 10:00:00 +0000\r\nMessage-ID: <One@corp.example>",
            "The final offer, Zähler included.",
        ),
        mail("Subject: Lunch\r\nCc: Carol <carol@customer.example>", "an offer, final\r\n> invoices that were quoted"),
        mail(attached, parts),
        mail("Subject: =?utf-8?b?5p2x5Lqs44G4?=\r\nContent-Type: text/plain; charset=utf-8", "会議は大阪で"),
        mail("Subject: Large", &"padding ".repeat(2000)),
    ]
}

#[test]
fn every_kind_of_question() {
    let archive = Archive::of(&some_mails());
    for (query, expected) in [
        ("invoice", &[1][..]),
        ("invoi*", &[1, 2]),
        ("INVOICES", &[2]),
        ("\"final offer\"", &[1]),
        ("final offer", &[1, 2]),
        ("\"final off*\"", &[1]),
        ("zahler", &[1]),
        ("ZÄHLER", &[1]),
        ("muller", &[1, 2, 3, 4, 5]),
        ("subject:offer", &[]),
        ("body:offer", &[1, 2]),
        ("from:anna subject:lunch", &[2]),
        ("from:bob", &[]),
        ("to:bob@corp.example lunch", &[2]),
        ("cc:carol", &[2]),
        ("to:carol", &[]),
        ("carol", &[2]),
        ("attachment:blaupause", &[3]),
        ("blaupause", &[3]),
        ("\"blaupause 7 dwg\"", &[3]),
        ("has:attachment", &[3]),
        ("-has:attachment", &[1, 2, 4, 5]),
        ("東京", &[4]),
        ("京へ", &[4]),
        ("大阪", &[4]),
        ("阪大", &[]),
        ("larger:10k", &[5]),
        ("smaller:10k -invoi*", &[3, 4]),
        ("after:2026-01-15", &[3]),
        ("before:2026-01-15", &[1]),
        ("on:2026-01-02", &[1]),
        ("-after:2000", &[2, 4, 5]),
        ("message-id:<one@CORP.example>", &[1]),
        ("lunch OR drawing", &[2, 3]),
        ("offer (lunch OR drawing)", &[2]),
        ("offer -lunch", &[1]),
        ("-(lunch OR drawing OR large)", &[1, 4]),
        ("-lunch OR drawing", &[1, 3, 4, 5]),
        ("nobody", &[]),
    ] {
        assert_eq!(archive.numbers(query), expected, "{query}");
    }
}

#[test]
fn filings_are_asked_of_the_catalogue() {
    let archive = Archive::of(&some_mails());
    assert_eq!(archive.found("invoice"), ["1 anna sent", "1 bob inbox"]);
    for (query, expected) in [
        ("invoice in:sent", &["1 anna sent"][..]),
        ("invoice in:inbox", &["1 bob inbox"]),
        ("invoice person:bob", &["1 bob inbox"]),
        ("invoice person:ALIAS-bob@corp.example", &["1 bob inbox"]),
        ("invoice person:corp.example", &["1 anna sent", "1 bob inbox"]),
        ("invoice -person:bob", &["1 anna sent"]),
        ("invoice (person:bob OR in:sent)", &["1 anna sent", "1 bob inbox"]),
        ("invoice person:bob in:sent", &[]),
        ("invoice (person:bob OR person:anna) -(in:sent person:anna)", &["1 bob inbox"]),
    ] {
        assert_eq!(archive.found(query), expected, "{query}");
    }
    let request = Request { filter: Filter { person: Some(BOB.into()), ..Filter::default() }, ..asked("offer") };
    assert_eq!(lines(archive.request(&request).unwrap().0), ["1 bob inbox", "2 bob inbox"]);
    let filter = Filter { folder: Some(Folder::Sent), subject: Some("lun".into()), ..Filter::default() };
    assert_eq!(lines(archive.request(&Request { filter, ..asked("offer") }).unwrap().0), ["2 anna sent"]);
    let reader = Reader::open(&archive.layout).unwrap();
    let unknown = find(&archive.layout, &reader, &asked("x person:mallory"), &mut |_| Ok(())).unwrap_err();
    assert!(unknown.what.contains("mallory"), "{unknown}");
}

/// The recipients whom a header hides are found by their sender and by an operator, and `-` does not turn that around.
#[test]
fn hidden_recipients_are_found_by_the_sender_and_by_an_operator() {
    let mut secret = mail("Subject: Plan\r\nBcc: Mallory <mallory@elsewhere.example>", "the plan");
    secret.hidden = vec![
        recipient(Role::Bcc, EVE),
        Recipient {
            role: Role::To,
            address: "member@corp.example".into(),
            via: Some(Via::Expanded),
            via_address: Some("list@corp.example".into()),
        },
    ];
    secret.inboxes = vec![BOB, EVE];
    let archive = Archive::of(&[secret, mail("Subject: Other", "nothing")]);
    for query in ["eve", "to:eve", "bcc:eve@corp.example", "mallory", "bcc:mallory", "to:member", "list", "plan eve"] {
        assert_eq!(archive.found(query), ["1 anna sent"], "{query}");
        let all = archive.request(&Request { envelope: true, ..asked(query) }).unwrap().0;
        assert_eq!(lines(all), ["1 anna sent", "1 bob inbox", "1 eve inbox"], "{query}");
    }
    for query in ["cc:eve", "from:eve", "subject:eve", "body:mallory"] {
        assert!(archive.found(query).is_empty(), "{query}");
    }
    assert_eq!(archive.found("plan -eve"), ["1 bob inbox", "1 eve inbox"]);
    assert_eq!(archive.found("-eve"), ["2 anna sent", "2 bob inbox", "1 bob inbox", "1 eve inbox"]);
    assert_eq!(archive.found("plan OR eve").len(), 3);
}

#[test]
fn pages_and_orders() {
    let mails: Vec<Mail> = (0..30)
        .map(|n| {
            let date =
                if n % 7 == 6 { String::new() } else { format!("\r\nDate: {} Jan 2026 10:00:00 +0000", n % 28 + 1) };
            mail(&format!("Subject: Number {n}{date}"), &"word ".repeat(1 + n % 3))
        })
        .collect();
    let archive = Archive::of(&mails);
    archive.catch_up();
    for order in [Order::Newest, Order::Oldest, Order::Rank] {
        let request = Request { order, ..asked("word") };
        let (all, found) = archive.request(&request).unwrap();
        assert_eq!((all.len(), found.messages, found.more), (60, 30, false));
        let mut paged = Vec::new();
        for page in 0.. {
            let request = Request { skip: page * 7, limit: Some(7), ..request.clone() };
            let (some, found) = archive.request(&request).unwrap();
            paged.extend(some);
            if !found.more {
                break;
            }
        }
        assert_eq!(paged, all);
        let dates: Vec<Option<Timestamp>> = all.iter().map(|entry| entry.date).collect();
        match order {
            Order::Newest => assert!(dates.is_sorted_by(|a, b| a >= b)),
            Order::Oldest => assert!(dates.is_sorted_by_key(|date| (date.is_none(), *date))),
            Order::Rank => assert!(all[0].id % 3 == 0 && all[59].id % 3 == 1, "three of the word, then one"),
        }
    }
}

/// The index beside an archive, file by file.
fn files(archive: &Archive) -> Vec<PathBuf> {
    let folder = archive.layout.catalogue.with_extension("index");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_damaged_index_is_built_anew_and_finds_the_same() {
    let mut archive = Archive::of(&some_mails());
    archive.catch_up();
    // A second segment, and a document of the first that is replaced.
    archive.add(&[mail("Subject: Second offer", "another final offer for the invoices"), some_mails().remove(1)]);
    let queries = ["offer", "invoi*", "\"final offer\"", "has:attachment", "after:2026-01-15", "-lunch", "大阪"];
    let expected: Vec<_> = queries.iter().map(|query| archive.found(query)).collect();
    assert!(expected.iter().all(|found| found.len() >= 2), "{expected:?}");
    let is_ours = |name: &str| name.ends_with("checked.json") || name.ends_with(".lock");
    let names: Vec<PathBuf> = files(&archive).into_iter().filter(|path| !is_ours(&path.to_string_lossy())).collect();
    assert!(names.len() > 12, "{names:?}");
    let mut rebuilt = 0;
    for at in 0..names.len() {
        for damage in ["gone", "cut", "emptied", "flipped"] {
            // Names change with each building.
            let all: Vec<PathBuf> =
                files(&archive).into_iter().filter(|path| !is_ours(&path.to_string_lossy())).collect();
            let Some(path) = all.get(at) else { continue };
            let bytes = std::fs::read(path).unwrap();
            match damage {
                "gone" => std::fs::remove_file(path).unwrap(),
                "cut" => std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap(),
                "emptied" => std::fs::write(path, b"").unwrap(),
                _ => {
                    let mut bytes = bytes;
                    let middle = bytes.len() / 2;
                    if let Some(byte) = bytes.get_mut(middle) {
                        *byte ^= 0x40;
                    }
                    std::fs::write(path, bytes).unwrap();
                }
            }
            rebuilt += u32::from(archive.catch_up().rebuilt.is_some());
            for (query, expected) in queries.iter().zip(&expected) {
                assert_eq!(&archive.found(query), expected, "{query} after {} was {damage}", path.display());
            }
        }
    }
    assert!(rebuilt >= 20, "{rebuilt}");
    // A damage that comes between the check and the question.
    std::fs::remove_dir_all(archive.layout.catalogue.with_extension("index")).unwrap();
    assert!(archive.request(&asked("offer")).is_none());
    assert_eq!(archive.found("offer"), expected[0]);
}

#[test]
fn an_index_of_another_archive_or_state_is_not_believed() {
    let mut archive = Archive::of(&some_mails());
    archive.catch_up();
    let index = archive.layout.catalogue.with_extension("index");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    let other = Archive::of(&some_mails()[..1]);
    copy(&index, &other.layout.catalogue.with_extension("index"));
    assert_eq!(standing(&other.layout).unwrap(), Standing { indexed: 0, behind: 1 });
    assert!(other.catch_up().rebuilt.unwrap().contains("another state"));
    assert_eq!(other.numbers("offer"), [1]);

    // An archive that was put back to an older state, with a newer index beside it.
    let old = archive.folder.path().join("old");
    copy(&archive.layout.packs(), &old.join("packs"));
    std::fs::copy(&archive.layout.catalogue, old.join("catalogue.sqlite3")).unwrap();
    archive.add(&[mail("Subject: Later", "later")]);
    assert_eq!(archive.numbers("later"), [6]);
    for pack in archive.layout.list_packs().unwrap() {
        std::fs::remove_file(archive.layout.pack(pack)).unwrap();
    }
    copy(&old.join("packs"), &archive.layout.packs());
    std::fs::copy(old.join("catalogue.sqlite3"), &archive.layout.catalogue).unwrap();
    assert!(archive.numbers("later").is_empty());
    assert_eq!(archive.numbers("offer"), [1, 2]);
}

#[test]
fn an_archive_without_mail_has_an_index_too() {
    let mut archive = Archive::of(&[]);
    assert!(archive.found("anything").is_empty());
    assert!(archive.numbers("-anything").is_empty());
    assert_eq!(archive.catch_up(), BuildReport::default());
    archive.add(&some_mails()[..1]);
    assert_eq!(archive.numbers("invoice"), [1]);
}

#[test]
fn it_catches_up_with_what_is_new() {
    let mut archive = Archive::of(&some_mails()[..2]);
    assert_eq!(standing(&archive.layout).unwrap(), Standing { indexed: 0, behind: 2 });
    assert_eq!(archive.catch_up().indexed, 2);
    assert_eq!(archive.catch_up(), BuildReport::default());
    assert_eq!(standing(&archive.layout).unwrap(), Standing { indexed: 2, behind: 0 });
    // Another copy of the first message, which somebody else received too; and a new message.
    let mut again = some_mails().remove(0);
    again.hidden = vec![recipient(Role::Bcc, EVE)];
    archive.add(&[again, mail("Subject: New", "new")]);
    assert_eq!(standing(&archive.layout).unwrap(), Standing { indexed: 2, behind: 2 });
    let report = archive.catch_up();
    assert_eq!((report.indexed, report.rebuilt), (2, None));
    assert_eq!(archive.numbers("invoice"), [1]);
    assert_eq!(archive.found("bcc:eve"), ["1 anna sent"]);
    assert_eq!(archive.numbers("new"), [4]);
    // It is the same index that a new one would be.
    let before: Vec<_> = ["offer", "bcc:eve", "-new"].map(|query| archive.found(query)).to_vec();
    let options = BuildOptions { rebuild: true, ..BuildOptions::default() };
    let report = catch_up(&archive.layout, &options, &mut |_| {}).unwrap().unwrap();
    assert_eq!(report.indexed, 3);
    assert_eq!(["offer", "bcc:eve", "-new"].map(|query| archive.found(query)).to_vec(), before);
}

/// What an item is shown as may change when it is decoded anew: the index follows.
#[test]
fn decoded_anew_means_indexed_anew() {
    let archive = Archive::of(&some_mails()[..2]);
    assert_eq!(archive.numbers("lunch"), [2]);
    let changed = mail("Subject: Supper\r\nCc: Carol <carol@customer.example>", "an offer");
    archive.writing(|handle, _| {
        let mut message = stored(&changed, 0);
        // Of the bytes that the item has: only what the record says of them is new.
        let before = Reader::open(&archive.layout).unwrap().item(2).unwrap().message.unwrap();
        (message.range, message.sha256, message.size) = (before.range, before.sha256, before.size);
        message.envelope.recipients.push(recipient(Role::Bcc, "late@corp.example"));
        wait(handle.call(move |core| {
            core.decode_again(2, Some(message), "test")?;
            core.close()
        }))
        .unwrap();
    });
    assert_eq!(standing(&archive.layout).unwrap(), Standing { indexed: 2, behind: 1 });
    assert_eq!(archive.catch_up().indexed, 1);
    assert_eq!(archive.found("bcc:late"), ["2 anna sent"]);
    assert_eq!(archive.numbers("lunch"), [2]);
    assert_eq!(standing(&archive.layout).unwrap(), Standing { indexed: 2, behind: 0 });
}

/// The note on disk stands for processes that ended in the middle.
#[test]
fn a_mail_that_ends_the_process_is_left_at_its_record() {
    let mut archive = Archive::of(&some_mails()[..1]);
    archive.catch_up();
    archive.add(&some_mails()[1..3]);
    let note = archive.layout.catalogue.with_extension("index").join("unfinished.json");
    let ended = |note: &std::path::Path| std::fs::read_to_string(note).unwrap();
    // The first that ended leaves no place, the second one does, the third the same.
    std::fs::write(&note, "{\"at\":null,\"suspect\":null,\"left\":[]}").unwrap();
    {
        let careful = build::Careful::begin(&archive.layout).unwrap();
        assert!(careful.is_on);
    }
    for suspect in ["null", "2"] {
        std::fs::write(&note, format!("{{\"at\":2,\"suspect\":{suspect},\"left\":[]}}")).unwrap();
        build::Careful::begin(&archive.layout).unwrap();
        assert_eq!(ended(&note).contains("\"left\":[2]"), suspect == "2", "{}", ended(&note));
    }
    let report = archive.catch_up();
    assert_eq!((report.indexed, report.by_record), (2, 1));
    assert!(!note.exists());
    assert_eq!(archive.numbers("subject:lunch"), [2]);
    assert!(archive.numbers("quoted").is_empty(), "its text was not read");
    assert_eq!(archive.numbers("drawing"), [3]);
}

#[test]
fn one_writes_and_the_others_go_on() {
    let archive = Archive::of(&some_mails());
    let lock = state::Lock::take(&archive.layout).unwrap().unwrap();
    assert_eq!(catch_up(&archive.layout, &BuildOptions::default(), &mut |_| {}).unwrap(), None);
    drop(lock);
    assert_eq!(archive.numbers("invoice"), [1]);
    // Who searches needs no lock, and sees what was there before.
    let _lock = state::Lock::take(&archive.layout).unwrap().unwrap();
    assert_eq!(archive.request(&asked("invoice")).unwrap().1.messages, 1);
}

#[test]
fn damaged_mails_are_found_by_what_is_left_of_them() {
    let archive = Archive::of(&some_mails()[..2]);
    // A byte of the second mail's text, stored as it is or compressed.
    let reader = Reader::open(&archive.layout).unwrap();
    let chunk = reader.item(2).unwrap().chunks[0].sha256;
    let place = reader.catalogue.chunk(&chunk).unwrap().unwrap();
    let mut pack = std::fs::read(archive.layout.pack(place.pack)).unwrap();
    pack[(place.offset + crate::archive::frame::HEAD_LEN as u64 + place.stored_len / 2) as usize] ^= 0xff;
    crate::archive::test_support::put(&archive.layout.pack(place.pack), &pack);
    let report = archive.catch_up();
    assert_eq!((report.indexed, report.by_record, report.unread), (2, 1, 0));
    assert_eq!(archive.numbers("lunch"), [2]);
    assert_eq!(archive.numbers("quoted"), [] as [u64; 0]);
}
