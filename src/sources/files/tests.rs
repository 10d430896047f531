//! Files as other programs leave them, and as they should not be.

use std::fs;

use super::mbox::Kind;
use super::*;

/// Takes everything down.
#[derive(Default)]
struct Notes {
    mails: Vec<Mail>,
    files: u64,
    skipped: Vec<(Skip, String)>,
    failed: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mail {
    place: String,
    folder: String,
    text: String,
    date: Option<Timestamp>,
    kind: String,
}

impl Taker for Notes {
    fn mail(&mut self, found: Found) -> Result<(), Stop> {
        use crate::base::bytes::{ByteSource as _, read_range};
        let (sha256, len, kind) = (found.mail.sha256, found.mail.len, found.container.to_string());
        let item = found.mail.into_item(None);
        assert_eq!(item.len(), len);
        let bytes = read_range(&item, 0..len).unwrap();
        assert_eq!(crate::base::digest::Digest::of(&bytes), sha256);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.mails.push(Mail { place: found.place, folder: found.folder, text, date: found.date, kind });
        Ok(())
    }

    fn file(&mut self) {
        self.files += 1;
    }

    fn skipped(&mut self, why: Skip, path: &Path) {
        self.skipped.push((why, path.file_name().unwrap().to_string_lossy().into_owned()));
    }

    fn failed(&mut self, path: &Path, why: String) {
        self.failed.push((path.file_name().unwrap().to_string_lossy().into_owned(), why));
    }

    fn is_gone(&self) -> bool {
        false
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn read(&self) -> Notes {
        read(self.0.path(), None)
    }
}

fn options(quoting: Option<Quoting>) -> Options {
    Options { quoting, memory_bytes_max: 64 * 1024, mail_bytes_max: 8 * 1024 * 1024, spool_dir: std::env::temp_dir() }
}

fn read(path: &Path, quoting: Option<Quoting>) -> Notes {
    let mut notes = Notes::default();
    walk(path, &options(quoting), &mut notes).unwrap();
    notes.mails.sort();
    notes.skipped.sort_by(|a, b| a.1.cmp(&b.1));
    notes.failed.sort();
    notes
}

/// The mails of an mbox.
fn cut(content: impl AsRef<[u8]>, quoting: Option<Quoting>) -> (Vec<String>, String) {
    let folder = Folder::new();
    let path = folder.put("Inbox", content);
    let mut notes = Notes::default();
    walk(&path, &options(quoting), &mut notes).unwrap();
    assert_eq!(notes.failed, [], "{:?}", notes.mails);
    let kind = notes.mails.first().map(|mail| mail.kind.clone()).unwrap_or_default();
    (notes.mails.into_iter().map(|mail| mail.text).collect(), kind)
}

const FROM: &str = "From anna@corp.example Sat Jan  3 01:05:34 1996\n";

#[test]
fn mails_are_cut_at_their_separators() {
    let one = "Subject: 1\n\nText\n";
    let two = "Subject: 2\n\n";
    let three = "Subject: 3\n\nMore\n\n\nText\n\n";
    // The empty line before a separator, and at the end, is the mbox's.
    let content = format!("{FROM}{one}\n{FROM}{two}{FROM}{three}\n");
    assert_eq!(cut(&content, None), (vec![one.into(), two.into(), three.into()], "mboxrd".into()));
    // Without it at the end; without even a line break there.
    assert_eq!(cut(content.trim_end_matches('\n'), None).0[2], "Subject: 3\n\nMore\n\n\nText");
    let crlf = cut(content.replace('\n', "\r\n"), None).0;
    assert_eq!(crlf, [one, two, three].map(|mail| mail.replace('\n', "\r\n")));
    // Empty lines before the first.
    assert_eq!(cut(format!("\n\n{content}"), Some(Quoting::Rd)).0.len(), 0, "it does not look like one then");
}

#[test]
fn a_line_in_a_mail_is_no_separator() {
    let mail = format!("Subject: x\n\nHello\n{FROM}was there\n\nFrom the beginning\n\nFrom Monday on\n");
    let (mails, kind) = cut(format!("{FROM}{mail}\n{FROM}Subject: y\n\ny\n"), None);
    // What mboxrd would have quoted stands there as it is.
    assert_eq!((mails, kind.as_str()), (vec![mail, "Subject: y\n\ny\n".into()], "mboxo"));
}

#[test]
fn quoting_is_taken_off_where_it_can_be() {
    let original = "Subject: x\n\nFrom here\n>From there\n>>From nowhere\n> From a distance\n>Fro\nFrom\n";
    let quoted = original.replace("\nFrom here", "\n>From here").replace("\n>From there", "\n>>From there");
    let quoted = quoted.replace("\n>>From nowhere", "\n>>>From nowhere");
    let content = format!("{FROM}{quoted}\n");
    assert_eq!(cut(&content, None), (vec![original.into()], "mboxrd".into()));
    assert_eq!(cut(&content, Some(Quoting::O)), (vec![quoted.clone()], "mboxo".into()));
    // A line that is not quoted shows another program: nothing is guessed then.
    let other = format!("{content}{FROM}Subject: y\n\nText\nFrom here\n>From there\n");
    let (mails, kind) = cut(&other, None);
    assert_eq!((mails[0].as_str(), kind.as_str()), (quoted.as_str(), "mboxo"));
}

#[test]
fn lengths_are_believed_when_all_of_them_are_right() {
    let mail = |n: usize, body: &str| format!("Subject: {n}\nContent-Length: {}\n\n{body}", body.len());
    let bodies =
        [format!("a\n\n{FROM}b\n"), format!("\n\n{FROM}\n"), String::new(), ">From c\n".into(), "no end".into()];
    let mails: Vec<String> = bodies.iter().enumerate().map(|(n, body)| mail(n, body)).collect();
    let content: String = mails.iter().map(|mail| format!("{FROM}{mail}\n")).collect();
    assert_eq!(cut(&content, None), (mails.clone(), "mboxcl".into()));
    // One that lies: all are cut at their separators.
    let liar = content.replace("Content-Length: 8\n", "Content-Length: 9000\n");
    assert_eq!(cut(&liar, None).1, "mboxrd");
    // Where lengths are asked for, those that do not fit are passed over.
    let (told, kind) = cut(format!("{FROM}Content-Length: 9\n\nx\n\n{content}"), Some(Quoting::Cl));
    assert_eq!((told[0].as_str(), told.len(), kind.as_str()), ("Content-Length: 9\n\nx\n", 6, "mboxcl"));
    let enormous = format!("{FROM}Content-Length: {}\n\nx\n", u64::MAX);
    assert_eq!(cut(enormous, Some(Quoting::Cl)).0, [format!("Content-Length: {}\n\nx\n", u64::MAX)]);
}

#[test]
fn a_length_that_a_stranger_wrote_swallows_nothing() {
    let second = "Subject: 2\n\ny\n";
    let spam = format!("Subject: 1\nContent-Length: {}\n\nx\n", 2 + 1 + FROM.len() + second.len());
    let content = format!("{FROM}{spam}\n{FROM}{second}\n{FROM}Subject: 3\n\nz\n");
    let (mails, kind) = cut(content, None);
    assert_eq!((mails.len(), kind.as_str()), (3, "mboxrd"));
}

#[test]
fn thunderbird_writes_bare_separators_and_marks_what_is_deleted() {
    let mail = |status: &str, text: &str| format!("X-Mozilla-Status: {status}\r\nSubject: x\r\n\r\n{text}\r\n");
    let content = format!(
        "From \r\n{}\r\nFrom - Tue Nov 21 10:00:00 2023\r\n{}\r\nFrom \r\n{}\r\n",
        mail("0001", ">From here\r\n\r\nFrom \r\nme"),
        mail("0009", "deleted"),
        mail("0000", "last")
    );
    let folder = Folder::new();
    folder.put("Mail/Local Folders/Inbox", &content);
    folder.put("Mail/Local Folders/Inbox.msf", "// <!-- <mdb:mork:z v=\"1.4\"/> -->");
    folder.put("Mail/Local Folders/Inbox.sbd/Projekt", content.replace("0009", "0000"));
    folder.put("Mail/Local Folders/Sent", "");
    folder.put("Mail/Local Folders/msgFilterRules.dat", "version=\"9\"\n");
    folder.put("Mail/Local Folders/Inbox.mozmsgs/1.wdseml", "Subject: copy\n\n");
    let notes = folder.read();
    let in_folder = |name: &str| notes.mails.iter().filter(|mail| mail.folder == name).count();
    assert_eq!(in_folder("Mail/Local Folders/Inbox"), 2, "{:?}", notes.mails);
    assert_eq!(in_folder("Mail/Local Folders/Inbox/Projekt"), 3);
    assert!(
        notes.mails.iter().any(|mail| mail.text.ends_with("From here\r\n\r\nFrom \r\nme\r\n")),
        "{:?}",
        notes.mails
    );
    assert_eq!(notes.files, 2);
    let skipped: Vec<_> = notes.skipped.iter().map(|(why, name)| (*why, name.as_str())).collect();
    assert_eq!(
        skipped,
        [
            (Skip::Deleted, "Inbox"),
            (Skip::Other, "Inbox.msf"),
            (Skip::Empty, "Sent"),
            (Skip::Other, "msgFilterRules.dat")
        ]
    );
}

#[test]
fn maildirs_with_their_folders_and_flags() {
    let folder = Folder::new();
    for part in ["cur", "new", "tmp", ".Sent.2019/cur", ".Sent.2019/new", ".INBOX.Entw&APw-rfe/cur", "lite/cur"] {
        fs::create_dir_all(folder.0.path().join(part)).unwrap();
    }
    fs::create_dir_all(folder.0.path().join(".INBOX.Entw&APw-rfe/tmp")).unwrap();
    fs::create_dir_all(folder.0.path().join("lite/tmp")).unwrap();
    let mail = "Subject: x\n\nText\n";
    folder.put("cur/1700000000.M1.host:2,S", mail);
    folder.put("cur/1700000001.M1.host;2,RS", mail);
    folder.put("cur/1700000002.M1.host!2,ST", mail);
    folder.put("cur/1700000003.M1.host:2,T", mail);
    folder.put("cur/1700000004.M1.host\u{f03a}2,S", mail);
    folder.put("new/1700000005.M1.host", mail);
    folder.put("new/empty", "");
    folder.put("tmp/1700000006.M1.host", mail);
    folder.put(".Sent.2019/cur/a:2,", mail);
    folder.put(".INBOX.Entw&APw-rfe/cur/b:2,D", mail);
    folder.put("lite/cur/c.eml", mail);
    folder.put("dovecot-uidlist", "3 V1 N2\n");
    let packed = folder.put("cur/1700000007.M1.host:2,S", b"\x1f\x8b\x08");
    let notes = folder.read();
    let found: Vec<_> = notes.mails.iter().map(|mail| (mail.place.as_str(), mail.folder.as_str())).collect();
    assert_eq!(
        found,
        [
            (".INBOX.Entw&APw-rfe/b", "INBOX/Entwürfe"),
            (".Sent.2019/a", "Sent/2019"),
            ("1700000000.M1.host", ""),
            ("1700000001.M1.host", ""),
            ("1700000004.M1.host", ""),
            ("1700000005.M1.host", ""),
            ("lite/c.eml", "lite"),
        ]
    );
    assert!(notes.mails.iter().all(|one| one.kind == "Maildir" && one.text == mail));
    assert_eq!(notes.mails[2].date, Timestamp::from_second(1_700_000_000).ok());
    let count = |why: Skip| notes.skipped.iter().filter(|(skip, _)| *skip == why).count();
    assert_eq!((count(Skip::Deleted), count(Skip::Empty), count(Skip::Packed), count(Skip::Other)), (2, 1, 1, 1));
    fs::remove_file(packed).unwrap();
}

#[test]
fn trees_of_mails_and_what_else_lies_in_them() {
    let folder = Folder::new();
    folder.put("Archive of Anna/Outlook/Inbox/1.eml", "Date: Tue, 3 Mar 2026 09:15:00 +0100\nSubject: x\n\nx\n");
    folder.put("Archive of Anna/Outlook/Inbox/2.EML", b"\x00\x01\xff binary junk");
    folder.put(
        "Archive of Anna/Outlook/Inbox/3",
        "Received: from a by b;\n Tue, 3 Mar 2026 10:00:00 +0000\nSubject: y\n\n",
    );
    folder.put("Archive of Anna/notes.txt", "Subject: this is no mail\n");
    folder.put("Archive of Anna/old.msg", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest");
    folder.put("Archive of Anna/old.pst", b"!BDNrest");
    folder.put("Archive of Anna/all.zip", b"PK\x03\x04rest");
    folder.put("Archive of Anna/junk.mbox", b"\x00\x01\xff\n");
    folder.put("Archive of Anna/README", "Read this first\n");
    folder.put("Archive of Anna/empty.eml", "");
    folder.put("Sent.mbox/mbox", format!("{FROM}Subject: apple\n\nx\n"));
    let notes = folder.read();
    let found: Vec<_> = notes.mails.iter().map(|mail| (mail.place.as_str(), mail.folder.as_str())).collect();
    let inbox = "Archive of Anna/Outlook/Inbox";
    assert_eq!(
        found,
        [
            ("Archive of Anna/Outlook/Inbox/1.eml", inbox),
            ("Archive of Anna/Outlook/Inbox/2.EML", inbox),
            ("Archive of Anna/Outlook/Inbox/3", inbox),
            ("Sent.mbox/mbox", "Sent"),
        ]
    );
    assert_eq!(notes.mails[0].date, "2026-03-03T08:15:00Z".parse().ok());
    assert_eq!(notes.mails[2].date, "2026-03-03T10:00:00Z".parse().ok());
    assert_eq!(notes.failed.len(), 1, "{:?}", notes.failed);
    assert!(notes.failed[0].0 == "junk.mbox" && notes.failed[0].1.contains("does not begin"), "{:?}", notes.failed);
    let count = |why: Skip| notes.skipped.iter().filter(|(skip, _)| *skip == why).count();
    let counts = (count(Skip::Outlook), count(Skip::Packed), count(Skip::Empty), count(Skip::Other));
    assert_eq!(counts, (2, 1, 1, 2), "{:?}", notes.skipped);
    let first = first_level(folder.0.path()).unwrap();
    assert_eq!(first, ["Archive of Anna", "Sent"]);
}

#[cfg(unix)]
#[test]
fn links_pipes_and_what_may_not_be_read_end_nothing() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = Folder::new();
    folder.put("a/1.eml", "Subject: x\n\nx\n");
    symlink(folder.0.path(), folder.0.path().join("a/circle")).unwrap();
    symlink("1.eml", folder.0.path().join("a/2.eml")).unwrap();
    let pipe = folder.0.path().join("a/3.eml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let socket = std::os::unix::net::UnixListener::bind(folder.0.path().join("a/socket")).unwrap();
    let closed = folder.put("a/4.eml", "Subject: secret\n\n");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let notes = folder.read();
    // Whoever is root may read everything.
    let is_root = fs::read(&closed).is_ok();
    assert_eq!(notes.mails.len(), if is_root { 2 } else { 1 });
    assert_eq!(notes.failed.len(), usize::from(!is_root));
    let count = |why: Skip| notes.skipped.iter().filter(|(skip, _)| *skip == why).count();
    assert_eq!((count(Skip::Link), count(Skip::Special)), (2, 2), "{:?}", notes.skipped);
    assert!(refusal(&pipe).unwrap().what.contains("neither a file nor a folder"));
    // What is named itself is followed.
    let link = folder.0.path().join("link");
    symlink(folder.0.path().join("a"), &link).unwrap();
    assert!(refusal(&link).is_none() && !read(&link, None).mails.is_empty());
    drop(socket);
}

#[test]
fn what_is_named_and_no_mail_is_refused_with_a_hint() {
    let folder = Folder::new();
    for (name, content, what, hint) in [
        ("a.pst", &b"!BDN..."[..], "Outlook", "Thunderbird"),
        ("a.msg", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Outlook", "eml"),
        ("b.msg", b"binary \x00", "Outlook", "eml"),
        ("a.zip", b"PK\x03\x04", "packed", "unpack"),
        ("a.txt", b"Hello", "no mail", "begins with"),
    ] {
        let refusal = refusal(&folder.put(name, content)).unwrap_or_else(|| panic!("{name}"));
        assert!(refusal.what.contains(what) && refusal.hint.contains(hint), "{name}: {refusal:?}");
    }
    assert!(refusal(&folder.0.path().join("missing")).unwrap().what.contains("cannot read"));
    for (name, content) in [("a.eml", &b"\x00\x01"[..]), ("c.eml", b""), ("1", b"Subject: x\n\n")] {
        assert_eq!(refusal(&folder.put(name, content)), None, "{name}");
    }
}

#[test]
fn large_mails_go_through_a_file_and_come_out_the_same() {
    let line = format!("{}\n>From x\n", "x".repeat(70));
    let body = line.repeat(20_000);
    let whole = format!("Subject: large\n\n{body}");
    assert!(whole.len() > 20 * 64 * 1024);
    let folder = Folder::new();
    folder.put("1.eml", &whole);
    folder.put("2.mbox", format!("{FROM}{whole}\n{FROM}Subject: small\n\nx\n"));
    // One line without an end.
    folder.put("3.mbox", format!("{FROM}Subject: line\n\n{}", "y".repeat(3_000_000)));
    // Longer than a mail may be: it fails, and what is behind it is read.
    let huge = format!("Subject: huge\n\n{}\n", "z".repeat(9 * 1024 * 1024));
    folder.put("4.mbox", format!("{FROM}{huge}\n{FROM}Subject: behind\n\nx\n"));
    folder.put("5.eml", huge);
    let notes = folder.read();
    let by_subject = |subject: &str| {
        let start = format!("Subject: {subject}\n");
        notes.mails.iter().filter(|mail| mail.text.starts_with(&start)).map(|mail| mail.text.len()).collect::<Vec<_>>()
    };
    assert_eq!(by_subject("large"), [whole.len(), whole.len() - 20_000], "quoting is taken off in the mbox");
    assert_eq!((by_subject("small").len(), by_subject("behind").len(), by_subject("huge").len()), (1, 1, 0));
    assert_eq!(by_subject("line"), [15 + 3_000_000]);
    assert_eq!(notes.failed.len(), 2, "{:?}", notes.failed);
    assert!(notes.failed.iter().all(|(_, why)| why.contains("longer than a mail may be")), "{:?}", notes.failed);
}

#[test]
fn where_a_line_is_cut_by_the_buffer_makes_no_difference() {
    // Lines of all lengths around the buffer's, each followed by one that is quoted.
    for extra in (0..64).map(|n| n * 131) {
        let long = "a".repeat(256 * 1024 - 8 * 1024 - 4_000 + extra);
        let original = format!("Subject: x\n\n{long}\nFrom y\n");
        let content = format!("{FROM}{}\n{FROM}Subject: z\n\nz\n", original.replace("\nFrom", "\n>From"));
        let (mails, kind) = cut(&content, None);
        assert_eq!((mails.len(), kind.as_str()), (2, "mboxrd"), "{extra}");
        assert!(mails[0] == original, "{extra}");
    }
}

#[test]
fn what_changes_while_it_is_read_is_told() {
    /// Writes to the file once its first mail was read.
    struct Writer(Notes, PathBuf, &'static [u8]);
    impl Taker for Writer {
        fn mail(&mut self, found: Found) -> Result<(), Stop> {
            if self.0.mails.is_empty() {
                fs::write(&self.1, self.2).unwrap();
            }
            self.0.mail(found)
        }
        fn file(&mut self) {
            self.0.file();
        }
        fn skipped(&mut self, why: Skip, path: &Path) {
            self.0.skipped(why, path);
        }
        fn failed(&mut self, path: &Path, why: String) {
            self.0.failed(path, why);
        }
        fn is_gone(&self) -> bool {
            false
        }
    }
    let folder = Folder::new();
    let content: String = (0..9_000).map(|n| format!("{FROM}Subject: {n}\n\n{}\n\n", "x".repeat(100))).collect();
    for (after, words) in [(&b"From x Sat Jan  3 01:05:34 1996\n"[..], "shorter"), (&[b'\n'; 3_000_000][..], "changed")]
    {
        let path = folder.put("Inbox", &content);
        let mut writer = Writer(Notes::default(), path.clone(), after);
        walk(&path, &options(None), &mut writer).unwrap();
        let Writer(notes, ..) = writer;
        assert!(!notes.mails.is_empty());
        assert!(notes.failed.len() == 1 && notes.failed[0].1.contains(words), "{words}: {:?}", notes.failed);
        assert!(notes.mails.iter().all(|mail| mail.text.starts_with("Subject: ")), "no half of a mail");
    }
}

#[test]
fn kinds_are_seen_at_once() {
    let folder = Folder::new();
    let path = folder.put("x", format!("{FROM}Subject: a\n\nx\n"));
    let file = fs::File::open(&path).unwrap();
    let kind = |quoting| Kind::of(&file, file.metadata().unwrap().len(), quoting).unwrap().quoting;
    assert_eq!((kind(None), kind(Some(Quoting::O)), kind(Some(Quoting::Cl))), (Quoting::Rd, Quoting::O, Quoting::Cl));
}
