//! Exports in the hands of others: Python's `mailbox` and `zipfile`, Dovecot, `sha256sum`, `unzip`, and a reader that
//! keeps to Thunderbird's rules; runs that are killed, and disks that are full.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use gatepost::base::digest::Digest;
use gatepost::demo::random::Random;
use serde_json::Value;

use super::support::bench::{Bench, Put, Setup, few, known_people, varied};
use super::support::{dovecot, skip};

const ANNA: &str = "anna@corp.example";
const BOB: &str = "bob@corp.example";

/// Mails that are hard on formats and readers, by what is special about them. Each is a message of Anna's to Bob.
fn odd_mails() -> Vec<(&'static str, Vec<u8>)> {
    let head = |n: usize| {
        format!(
            "Received: from a by b; Sat, 21 Nov 2026 10:00:{n:02} +0000\r\nFrom: Anna <{ANNA}>\r\nTo: {BOB}\r\n\
             Subject: odd {n}\r\nMessage-ID: <odd-{n}@corp.example>\r\nDate: Sat, 21 Nov 2026 10:00:{n:02} +0000\r\n"
        )
    };
    let mut eight_bit = b"\r\n".to_vec();
    eight_bit.extend(1..=255u8);
    let bodies: Vec<(&'static str, Vec<u8>)> = vec![
        ("crlf", b"\r\nHello\r\n".to_vec()),
        ("lf", b"\r\nHello\r\nWorld\r\n".to_vec()),
        ("from", b"\r\nFrom me to you\r\n>From a quote\r\n>>From two\r\n>not From\r\n\r\nFrom \r\nFrom".to_vec()),
        ("no end", b"\r\nno end".to_vec()),
        ("ends in a quote", b"\r\n>From ".to_vec()),
        ("ends in CR", b"\r\nend\r".to_vec()),
        ("nul", b"\r\na\0b\r\n\0".to_vec()),
        ("8-bit", eight_bit),
        ("empty body", b"\r\n".to_vec()),
        ("no body", b"".to_vec()),
        ("empty lines", b"\r\nx\r\n\r\n\r\n".to_vec()),
        ("mixed ends", b"\r\na\nb\r\nc\rd\n\n\r\n\n".to_vec()),
        ("like an mbox", b"\r\nx\r\n\r\nFrom a@b Sat Nov 21 10:00:00 2026\r\nTo: x\r\nFrom: y\r\n\r\nz\r\n".to_vec()),
        ("large", [b"\r\n".to_vec(), b"0123456789abcdef From \r\nFrom x\r\n".repeat(200_000)].concat()),
    ];
    let mut mails: Vec<(&'static str, Vec<u8>)> = Vec::new();
    for (n, (name, body)) in bodies.into_iter().enumerate() {
        let mut mail = [head(n).into_bytes(), body].concat();
        if name == "lf" {
            mail.retain(|byte| *byte != b'\r');
        }
        mails.push((name, mail));
    }
    let n = mails.len();
    mails.push(("bcc", format!("{}Bcc: carol@customer.example\r\n\r\nHi\r\n", head(n)).into_bytes()));
    mails
}

/// A bench that has archived these.
fn archived(mails: &[Put]) -> Bench {
    let bench = Bench::holding(Setup::default(), mails);
    let said = bench.once(None);
    assert!(matches!(said.code, Some(0 | 2)), "{said}");
    bench
}

fn odd_bench() -> Bench {
    let puts: Vec<Put> = odd_mails().into_iter().map(|(_, bytes)| Put { bytes: bytes.into(), date: None }).collect();
    archived(&puts)
}

/// Exports, and has the export verified in both ways.
fn export(bench: &Bench, name: &str, arguments: &[&str]) -> PathBuf {
    let dir = bench.folder().join(name);
    let said = bench.run(&[&["export", dir.to_str().unwrap()], arguments].concat(), None);
    assert_eq!(said.code, Some(0), "{said}");
    is_good(bench, &dir);
    dir
}

fn is_good(bench: &Bench, dir: &Path) {
    for more in [&[][..], &["--against-archive"]] {
        let said = bench.run(&[&["verify-export", dir.to_str().unwrap()], more].concat(), None);
        assert_eq!(said.code, Some(0), "{said}");
    }
    let mut check = Command::new("sha256sum");
    check.args(["--check", "--quiet", "--strict", "SHA256SUMS"]).current_dir(dir);
    match check.output() {
        Ok(said) => assert!(said.status.success(), "{said:?}"),
        Err(_) => skip("sha256sum is not installed (Debian: apt-get install coreutils)"),
    }
}

fn manifest(dir: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join(name)).unwrap()).unwrap()
}

fn entries(dir: &Path) -> Vec<Value> {
    manifest(dir, "manifest.json")["entries"].as_array().unwrap().clone()
}

fn text<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry[key].as_str().unwrap_or_else(|| panic!("no {key} in {entry}"))
}

/// What a Python program prints; `None`: there is no Python.
fn python(program: &str, arguments: &[&str]) -> Option<String> {
    let said = Command::new("python3").arg("-c").arg(program).args(arguments).output();
    let Ok(said) = said else {
        skip("Python is not installed (Debian: apt-get install python3)");
        return None;
    };
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    Some(String::from_utf8(said.stdout).unwrap())
}

/// SHA-256 and "From " line of each message of an mbox.
const MBOX: &str = "
import hashlib, mailbox, sys
box = mailbox.mbox(sys.argv[1], create=False)
for key in box.iterkeys():
    print(hashlib.sha256(box.get_bytes(key)).hexdigest(), box.get_message(key).get_from())
";

/// Messages of an mbox as Thunderbird reads them (MboxParser in its MboxMsgInputStream): line by line, LF or CRLF; the
/// header as it is up to its empty line; in the body one `>` off `>…From `; a message ends before a "From " line that is
/// followed by what may be two header fields, and the empty line before that line, or at the end, is none of the message's.
fn as_thunderbird_reads(mbox: &[u8]) -> Vec<Vec<u8>> {
    let lines: Vec<&[u8]> = mbox.split_inclusive(|byte| *byte == b'\n').collect();
    let is_empty = |line: &[u8]| line == b"\n" || line == b"\r\n";
    let is_field = |line: Option<&&[u8]>| {
        line.is_none_or(|line| {
            let name = line.iter().take_while(|byte| **byte != b':' && (33..=126).contains(*byte)).count();
            line.get(name) == Some(&b':')
        })
    };
    let begins = |at: usize| {
        let Some(line) = lines.get(at) else { return false };
        let mut next = at + 1;
        let first = is_field(lines.get(next));
        next += 1;
        while lines.get(next).is_some_and(|line| line.starts_with(b" ") || line.starts_with(b"\t")) {
            next += 1;
        }
        line.starts_with(b"From ") && first && is_field(lines.get(next))
    };
    let mut messages = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        assert!(lines[at].starts_with(b"From "));
        at += 1;
        let mut message = Vec::new();
        while at < lines.len() && !is_empty(lines[at]) {
            message.extend_from_slice(lines[at]);
            at += 1;
        }
        if at < lines.len() {
            message.extend_from_slice(lines[at]);
            at += 1;
        }
        while at < lines.len() {
            if is_empty(lines[at]) && (at + 1 == lines.len() || begins(at + 1)) {
                at += 1;
                break;
            }
            if begins(at) {
                break;
            }
            let marks = lines[at].iter().take_while(|byte| **byte == b'>').count();
            let quoted = marks > 0 && lines[at][marks..].starts_with(b"From ");
            message.extend_from_slice(&lines[at][usize::from(quoted)..]);
            at += 1;
        }
        messages.push(message);
    }
    messages
}

#[test]
fn an_mbox_is_read_by_python_and_by_thunderbirds_rules() {
    let bench = odd_bench();
    let dir = export(&bench, "out", &["--format", "mbox"]);
    let originals: BTreeMap<String, &str> =
        odd_mails().into_iter().map(|(name, bytes)| (Digest::of(&bytes).to_string(), name)).collect();
    let entries = entries(&dir);
    assert_eq!(entries.len(), 2 * odd_mails().len());
    let mut files: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    entries.iter().for_each(|entry| files.entry(text(entry, "file")).or_default().push(entry));
    assert_eq!(files.keys().collect::<Vec<_>>(), [&"anna@corp.example/Sent.mbox", &"bob@corp.example/Inbox.mbox"]);
    for (file, entries) in files {
        let mbox = std::fs::read(dir.join(file)).unwrap();
        let read = as_thunderbird_reads(&mbox);
        assert_eq!(read.len(), entries.len());
        for (message, entry) in read.into_iter().zip(&entries) {
            let name = originals[text(entry, "sha256_original")];
            let offset = entry["offset"].as_u64().unwrap() as usize;
            let slice = &mbox[offset..][..entry["size"].as_u64().unwrap() as usize];
            assert_eq!(Digest::of(slice).to_string(), text(entry, "sha256_exported"), "{name}");
            let said = match name {
                // As the manifest's page says of that reader.
                "no body" => Digest::of(&message[..message.len() - 1]),
                _ => Digest::of(&message),
            };
            assert_eq!(said.to_string(), text(entry, "sha256_unquoted"), "{name}");
            let quoted = entry["quoted_lines"].as_u64().unwrap_or(0);
            let added = entry["newline_added"].as_bool().unwrap_or(false);
            assert_eq!(quoted > 0, ["from", "ends in a quote", "like an mbox", "large"].contains(&name));
            assert_eq!(
                added,
                ["from", "no end", "ends in a quote", "ends in CR", "nul", "8-bit"].contains(&name),
                "{name}"
            );
            let redacted = name == "bcc" && text(entry, "person") == BOB;
            assert_eq!(entry["redacted"].as_bool().unwrap(), redacted);
            if !added && quoted == 0 && !redacted {
                assert_eq!(text(entry, "sha256_exported"), text(entry, "sha256_original"), "{name}");
            }
        }
        let Some(said) = python(MBOX, &[dir.join(file).to_str().unwrap()]) else { continue };
        for (line, entry) in said.lines().zip(&entries) {
            let (sum, from) = line.split_once(' ').unwrap();
            assert_eq!(sum, text(entry, "sha256_exported"), "{entry}");
            assert!(from.starts_with("anna@corp.example ") && from.ends_with(" 2026"), "{from}");
        }
        assert_eq!(said.lines().count(), entries.len());
    }
}

/// A header that begins like the line before a message, in every way that it may be written.
#[test]
fn a_message_that_begins_like_an_mbox_is_one_message() {
    let mail = |n: usize, first: &str| {
        let rest = format!("From: {ANNA}\r\nTo: {BOB}\r\nMessage-ID: <first-{n}@corp.example>\r\n\r\nText\r\n");
        Put { bytes: format!("{first}{rest}").into_bytes().into(), date: None }
    };
    let firsts = ["From x Sat Nov 21 2026\r\n", ">From x\r\n", "Subject: x\r\nFrom nobody\r\n", "From \n"];
    let bench = archived(&firsts.iter().enumerate().map(|(n, first)| mail(n, first)).collect::<Vec<_>>());
    let dir = export(&bench, "out", &["--format", "mbox", "--person", ANNA]);
    let entries = entries(&dir);
    assert_eq!(entries.len(), firsts.len());
    assert!(entries.iter().all(|entry| entry["quoted_lines"] == 1));
    let Some(said) = python(MBOX, &[dir.join(ANNA).join("Sent.mbox").to_str().unwrap()]) else { return };
    let sums: Vec<&str> = said.lines().map(|line| line.split_once(' ').unwrap().0).collect();
    assert_eq!(sums, entries.iter().map(|entry| text(entry, "sha256_exported")).collect::<Vec<_>>());
}

#[test]
fn dovecot_serves_an_exported_maildir() {
    let Some(dovecot) = dovecot::Dovecot::start(&dovecot::Setup::default()) else { return };
    let bench = odd_bench();
    let dir = export(&bench, "out", &["--format", "maildir"]);
    let nul = odd_mails().into_iter().find(|(name, _)| *name == "nul").unwrap().1;
    let nul = Digest::of(&nul).to_string();
    for (person, user, folder, told) in [(ANNA, "anna", "Sent", "sent"), (BOB, "bob", "INBOX", "inbox")] {
        dovecot.adopt(user, &dir.join(person));
        let mut client = dovecot.client(user);
        let mut wanted: Vec<(String, i64)> = Vec::new();
        for entry in entries(&dir).iter().filter(|entry| text(entry, "person") == person) {
            assert_eq!(text(entry, "folder"), told);
            let name = text(entry, "file").rsplit('/').next().unwrap();
            assert!(!name.contains([':', '*', '?', '"', '<', '>', '|', '\\']), "{name}");
            let received: jiff::Timestamp = text(entry, "received").parse().unwrap();
            // No server can send a NUL.
            if text(entry, "sha256_original") != nul {
                wanted.push((text(entry, "sha256_crlf").to_owned(), received.as_second()));
            }
        }
        let mut sent = Vec::new();
        for (date, bytes) in client.messages(folder) {
            let date = jiff::Zoned::strptime("%d-%b-%Y %H:%M:%S %z", &date).unwrap();
            if !String::from_utf8_lossy(&bytes).contains("Subject: odd 6\r\n") {
                sent.push((Digest::of(&bytes).to_string(), date.timestamp().as_second()));
            }
        }
        wanted.sort();
        sent.sort();
        assert_eq!(sent.len(), odd_mails().len() - 1);
        assert_eq!(sent, wanted);
    }
    let program = "import hashlib, mailbox, sys\n\
                   for message in mailbox.Maildir(sys.argv[1], create=False).keys(): print(message)\n";
    let Some(said) = python(program, &[dir.join(BOB).to_str().unwrap()]) else { return };
    assert_eq!(said.lines().count(), odd_mails().len());
}

#[test]
fn zip_files_are_opened_by_python_and_unzip() {
    let bench = odd_bench();
    let dir = export(&bench, "out", &["--format", "zip", "--volume-size", "1MiB"]);
    let entries = entries(&dir);
    let volumes: std::collections::BTreeSet<&str> = entries.iter().map(|entry| text(entry, "file")).collect();
    assert!(volumes.len() > 1, "{volumes:?}");
    let program = "import hashlib, sys, zipfile\n\
                   with zipfile.ZipFile(sys.argv[1]) as z:\n    \
                       assert z.testzip() is None\n    \
                       for name in z.namelist(): print(hashlib.sha256(z.read(name)).hexdigest(), name)\n";
    for volume in volumes {
        let path = dir.join(volume);
        let Some(said) = python(program, &[path.to_str().unwrap()]) else { return };
        let mut members: BTreeMap<&str, &str> =
            said.lines().map(|line| line.split_once(' ').unwrap()).map(|(a, b)| (b, a)).collect();
        for entry in entries.iter().filter(|entry| text(entry, "file") == volume) {
            assert_eq!(members.remove(text(entry, "member")), Some(text(entry, "sha256_exported")), "{entry}");
        }
        assert_eq!(members.keys().copied().collect::<Vec<_>>(), ["SHA256SUMS", "manifest.json"]);
        let out = bench.folder().join(volume);
        match Command::new("unzip").arg("-q").arg(&path).arg("-d").arg(&out).output() {
            Ok(said) => assert!(said.status.success(), "{said:?}"),
            Err(_) => return skip("unzip is not installed (Debian: apt-get install unzip)"),
        }
        is_good(&bench, &out);
    }
}

#[test]
fn what_comes_and_what_is_filed_anew_is_added() {
    let put = |n: usize, to: &str| Put {
        bytes: format!(
            "X-MS-Journal-Report:\r\nContent-Type: multipart/mixed; boundary=\"r\"\r\n\r\n--r\r\n\r\nSender: {ANNA}\r\n\
             Subject: s\r\nMessage-Id: <n{n}@x>\r\nTo: {to}\r\n\r\n--r\r\nContent-Type: message/rfc822\r\n\r\n\
             From: {ANNA}\r\nTo: {to}\r\nMessage-ID: <n{n}@x>\r\n\r\nText {n}\r\n\r\n--r--\r\n"
        )
        .into_bytes()
        .into(),
        date: None,
    };
    for format in ["eml", "mbox", "maildir", "zip"] {
        let bench = Bench::new(Setup::default());
        bench.reconfigure(&known_people(), "");
        bench.put(&put(1, BOB));
        bench.put(&put(2, "zoe@corp.example"));
        assert_eq!(bench.once(None).code, Some(0));
        let dir = bench.folder().join("out");
        let run = |more: &[&str]| {
            let arguments = ["export", dir.to_str().unwrap(), "--format", format, "--since-last", "--json"];
            let report = bench.json(&[&arguments, more].concat(), 0);
            is_good(&bench, &dir);
            let number = |key: &str| report[key].as_u64().unwrap();
            (number("exported"), number("earlier"), report["withdrawn"].as_array().unwrap().len())
        };
        // Two are Anna's, one is Bob's, one nobody's.
        assert_eq!(run(&[]), (4, 0, 0));
        assert_eq!(run(&[]), (0, 4, 0));
        bench.put(&put(3, BOB));
        assert_eq!(bench.once(None).code, Some(0));
        assert_eq!(run(&[]), (2, 4, 0));
        let people = format!("{}[[people.person]]\nid = \"zoe@corp.example\"\n", known_people());
        bench.reconfigure(&people, "");
        assert_eq!(bench.run(&["refile"], None).code, Some(0));
        assert_eq!(run(&[]), (1, 5, 1));
        assert_eq!(run(&[]), (0, 6, 0));
        let newest = manifest(&dir, "manifest-0003.json");
        assert_eq!(text(&newest["entries"][0], "person"), "zoe@corp.example");
        assert_eq!(text(&newest["withdrawn"][0], "person"), "unassigned");
    }
}

/// Kills exports at any moment: what stands under a final name is whole, and the same command brings the rest.
#[test]
fn an_export_that_is_killed_again_and_again_comes_to_its_end() {
    let mut mails = varied();
    mails.extend(few(3, 300));
    let bench = archived(&mails);
    let mut random = Random::new(17);
    for format in ["eml", "mbox", "maildir", "zip"] {
        let dir = bench.folder().join(format);
        let arguments = ["export", dir.to_str().unwrap(), "--format", format, "--volume-size", "1MiB"];
        let arguments = if format == "zip" { &arguments[..] } else { &arguments[..4] };
        let mut seen: BTreeMap<PathBuf, Digest> = BTreeMap::new();
        let mut killed = 0;
        for _ in 0..12 {
            let mut child = bench.spawn(arguments);
            std::thread::sleep(Duration::from_millis(random.below(120) as u64));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                killed += 1;
            }
            child.wait().unwrap();
            whole_files(&dir, &mut seen);
        }
        let said = bench.run(arguments, None);
        assert_eq!(said.code, Some(0), "{said}");
        is_good(&bench, &dir);
        for (path, sum) in seen {
            assert_eq!(Digest::of(&std::fs::read(&path).unwrap()), sum, "{}", path.display());
        }
        assert!(killed > 0, "{format}");
    }
}

/// Every file that has its final name, but for what each run writes anew.
fn whole_files(dir: &Path, seen: &mut BTreeMap<PathBuf, Digest>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            if name != ".gatepost-export" {
                whole_files(&entry.path(), seen);
            }
        } else if name != "SHA256SUMS" && !name.ends_with(".part") && !name.starts_with("manifest") {
            seen.insert(entry.path(), Digest::of(&std::fs::read(entry.path()).unwrap()));
        }
    }
}

#[cfg(unix)]
#[test]
fn an_export_that_is_told_to_stop_says_how_it_goes_on() {
    let bench = archived(&few(5, 400));
    let dir = bench.folder().join("out");
    let arguments = ["export", dir.to_str().unwrap(), "--format", "mbox"];
    for _ in 0..50 {
        let child = bench.spawn_heard(&arguments);
        std::thread::sleep(Duration::from_millis(60));
        let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        let said = child.wait_with_output().unwrap();
        let heard = String::from_utf8_lossy(&said.stderr).into_owned();
        // Too early for a handler, or too late.
        if said.status.code() != Some(2) {
            let _ = std::fs::remove_dir_all(&dir);
            continue;
        }
        assert!(heard.contains("stopped: ") && heard.contains("the same command goes on"), "{heard}");
        assert_eq!(bench.run(&["verify-export", dir.to_str().unwrap()], None).code, Some(2));
        let said = bench.run(&arguments, None);
        assert_eq!(said.code, Some(0), "{said}");
        return is_good(&bench, &dir);
    }
    panic!("no export was stopped while it was at work");
}

#[test]
fn a_record_shows_hostile_mail_as_text() {
    let mail = format!(
        "From: \"<script>alert(1)</script>\" <{ANNA}>\r\nTo: {BOB}\r\nSubject: =HYPERLINK(\"http://x.invalid\") \
         <img src=x onerror=alert(1)> =?utf-8?q?=E2=80=AEgnp=2Eexe?=\r\nMessage-ID: <h@x>\r\n\
         Date: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\nHi\r\n"
    );
    let bench = archived(&[Put { bytes: mail.into_bytes().into(), date: None }]);
    let dir = bench.folder().join("record");
    let said = bench.run(&["record", "BOB@corp.example", dir.to_str().unwrap()], None);
    assert_eq!(said.code, Some(0), "{said}");
    assert!(said.out.contains("index.html"), "{said}");
    is_good(&bench, &dir);
    let page = std::fs::read_to_string(dir.join("index.html")).unwrap();
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains('\u{202e}'), "{page}");
    assert!(page.contains("=HYPERLINK(&quot;http://x.invalid&quot;) &lt;img src=x onerror=alert(1)&gt;"), "{page}");
    let table = std::fs::read_to_string(dir.join("index.csv")).unwrap();
    assert!(table.contains("\"'=HYPERLINK("), "{table}");
    let said = bench.run(&["record", "nobody", dir.to_str().unwrap()], None);
    assert!(said.code == Some(1) && said.err.contains("gatepost people"), "{said}");
    let said = bench.run(&["record", BOB, dir.to_str().unwrap()], None);
    assert!(said.code == Some(1) && said.err.contains("whole record already"), "{said}");
}

#[test]
fn mistakes_are_answered_with_what_to_do() {
    let bench = archived(&few(7, 5));
    let own = bench.folder().join("own");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("letter.txt"), "mine").unwrap();
    let own = own.to_str().unwrap();
    let file = bench.folder().join("file");
    std::fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    for (arguments, words) in [
        (&["export", own][..], "it holds files that are no export of gatepost"),
        (&["export", file], "hint: "),
        (&["export", &format!("{file}/below")], "hint: "),
        (&["export", "x", "--format", "pst"], "[possible values: eml, mbox, maildir, zip]"),
        (&["export", "x", "--volume-size", "2GiB"], "--format zip"),
        (&["export", "x", "--format", "zip", "--volume-size", "5"], "has no unit"),
        (&["verify-export", own], "there is no manifest.json in it"),
        (&["verify-export", file], "it is no folder"),
        (&["verify-export", "/nowhere/at/all"], "there is no such folder"),
    ] {
        let said = bench.run(arguments, None);
        assert!(matches!(said.code, Some(1 | 2)) && said.err.contains(words), "{arguments:?}: {said}");
        assert!(!said.err.contains("panicked"), "{said}");
    }
    assert_eq!(std::fs::read_dir(own).unwrap().count(), 1);
    assert!(!bench.folder().join("x").exists());
}

/// Needs the right to mount a small volume in memory.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_an_export_that_goes_on_when_there_is_room() {
    let bench = archived(&varied());
    let mount = |options: &str, at: &Path| {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "gatepost-test"]).arg(at).stdout(Stdio::null()).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success())
    };
    for format in ["eml", "mbox", "maildir", "zip"] {
        let disk = bench.folder().join(format!("disk-{format}"));
        std::fs::create_dir(&disk).unwrap();
        if !mount("size=600k", &disk) {
            return eprintln!("not tested: no volume can be mounted here");
        }
        let dir = disk.join("out");
        let arguments = ["export", dir.to_str().unwrap(), "--format", format];
        let full = bench.run(&arguments, None);
        let grown = mount("remount,size=64m", &disk);
        let good = bench.run(&arguments, None);
        let checked = bench.run(&["verify-export", dir.to_str().unwrap()], None);
        let _ = Command::new("umount").arg(&disk).status();
        assert!(full.code == Some(6) && full.err.contains("make room there"), "{format}: {full}");
        assert!(full.err.contains("is not complete"), "{full}");
        assert!(grown && good.code == Some(0) && checked.code == Some(0), "{format}: {good} {checked}");
    }
}

/// A reader on the other side of a pipe that went away, and JSON for programs.
#[test]
fn programs_are_told_in_json() {
    let bench = archived(&few(9, 20));
    let dir = bench.folder().join("out");
    let report = bench.json(&["export", dir.to_str().unwrap(), "--json"], 0);
    assert_eq!(report["manifest"], "manifest.json");
    let check = bench.json(&["verify-export", dir.to_str().unwrap(), "--json"], 0);
    assert_eq!((&check["messages"], &check["differences"]), (&report["exported"], &Value::Array(Vec::new())));
    let name = entries(&dir)[0]["file"].as_str().unwrap().to_owned();
    std::fs::OpenOptions::new().append(true).open(dir.join(&name)).unwrap().write_all(b"x").unwrap();
    let check = bench.json(&["verify-export", dir.to_str().unwrap(), "--json"], 2);
    assert_eq!(
        (&check["differences"][0]["found"], &check["differences"][0]["file"]),
        (&"changed".into(), &name.into())
    );
}
