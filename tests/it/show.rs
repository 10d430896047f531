//! `show`: a mail as a person reads it, its attachments saved, its history told, and the terminal left alone.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::support::bench::{Bench, Put, Setup, known_people};

const ANNA: &str = "anna@corp.example";
const BOB: &str = "bob@corp.example";

fn put(text: &str) -> Put {
    Put { bytes: text.replace('\n', "\r\n").into_bytes().into(), date: None }
}

fn file(name: &str, bytes: &[u8]) -> String {
    let data = BASE64_STANDARD.encode(bytes);
    format!(
        "--m\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\
         Content-Disposition: attachment; filename=\"{name}\"\n\n{data}\n"
    )
}

fn report(original: &str) -> Put {
    put(&format!(
        "From: journal@corp.example\nX-MS-Journal-Report:\nContent-Type: multipart/mixed; boundary=\"r--\"\n\n\
         --r--\n\nSender: {ANNA}\nSubject: plan\nMessage-Id: <plan@corp.example>\nTo: {BOB}\n\
         Bcc: dave@corp.example\n\n--r--\nContent-Type: message/rfc822\n\n{original}\n--r----\n"
    ))
}

fn plan() -> Put {
    let inner =
        "--m\nContent-Type: message/rfc822\n\nSubject: inner words\nFrom: x@partner.example\n\nof the inner mail\n";
    report(&format!(
        "Message-ID: <plan@corp.example>\nDate: Tue, 3 Mar 2026 09:15:00 +0100\nFrom: =?utf-8?q?Anna_=C3=84rger?= <{ANNA}>\n\
         To: Bob <{BOB}>\nBcc: dave@corp.example\nSubject: plan =?utf-8?q?=1B[31m?=\nContent-Type: multipart/mixed; boundary=m\n\n\
         --m\nContent-Type: text/html; charset=utf-8\n\n<p>The <b>plan</b> &amp; \x1b]0;owned\x07 more\u{202e}</p>\n\
         {}{}{}{inner}--m--\n",
        file("../../evil.txt", b"words of a file"),
        file("con.txt", b"device"),
        file("evil.txt", b"again"),
    ))
}

fn bench() -> Bench {
    let bench = Bench::holding(Setup::default(), &[plan()]);
    bench.reconfigure(&known_people(), "");
    let said = bench.once(None);
    assert_eq!(said.code, Some(0), "{said}");
    bench
}

#[test]
fn a_mail_is_read_safely() {
    let bench = bench();
    let said = bench.run(&["show", "1"], None);
    assert_eq!(said.code, Some(0), "{said}");
    for part in [
        "Anna Ärger <anna@corp.example>",
        "The plan & ",
        "Subject: inner words",
        "of the inner mail",
        "../../evil.txt",
        "inner words.eml",
    ] {
        assert!(said.out.contains(part), "{part}: {said}");
    }
    assert!(said.out.contains("Date        2026-03-03 ") && said.out.contains("<plan@corp.example>"), "{said}");
    let drives = |text: &str| text.chars().any(|c| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}'));
    for arguments in [
        &["show", "1"][..],
        &["show", "1", "--envelope"],
        &["show", "1", "--history"],
        &["show", "1", "--attachment", "1"],
        &["show", "1", "--attachment", "9"],
        &["show", "1", "--json"],
    ] {
        let said = bench.run(arguments, None);
        assert!(!drives(&said.out) && !drives(&said.err), "{arguments:?}: {said}");
    }
}

#[test]
fn bcc_is_for_the_sender_and_the_envelope() {
    let bench = bench();
    let tells = |arguments: &[&str]| {
        let said = bench.run(arguments, None);
        assert_eq!(said.code, Some(0), "{said}");
        said.out.contains("dave@corp.example")
    };
    for further in [&[][..], &["--json"], &["--history"], &["--history", "--json"], &["--raw"]] {
        assert!(!tells(&[&["show", "1"], further].concat()), "{further:?}");
        assert!(!tells(&[&["show", "1", "--person", BOB], further].concat()), "{further:?}");
        assert!(tells(&[&["show", "1", "--person", ANNA], further].concat()), "{further:?}");
        assert!(tells(&[&["show", "1", "--envelope"], further].concat()), "{further:?}");
    }
}

#[test]
fn attachments_are_saved_where_they_belong() {
    let bench = bench();
    let folder = bench.folder().join("saved/here");
    let there = folder.to_str().unwrap();
    let said = bench.run(&["show", "1", "--save", there], None);
    assert_eq!(said.code, Some(0), "{said}");
    let names = || {
        let mut names: Vec<String> =
            std::fs::read_dir(&folder).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["_con.txt", "evil (2).txt", "evil.txt", "inner words.eml"]);
    assert_eq!(std::fs::read_to_string(folder.join("evil.txt")).unwrap(), "words of a file");
    let eml = std::fs::read_to_string(folder.join("inner words.eml")).unwrap();
    assert_eq!(eml, "Subject: inner words\r\nFrom: x@partner.example\r\n\r\nof the inner mail");
    assert!(!bench.folder().join("evil.txt").exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(folder.join("evil.txt")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }
    // Nothing is overwritten.
    let saved = bench.json(&["show", "1", "--save", there, "--attachment", "3", "--json"], 0);
    assert!(saved["saved"][0]["path"].as_str().unwrap().ends_with("evil (3).txt"), "{saved}");
    assert_eq!(saved["saved"][0]["size"], 5);
    assert_eq!(names().len(), 5);
    assert_eq!(bench.run(&["show", "1", "--attachment", "2", "--raw"], None).out, "device");
    assert_eq!(bench.run(&["show", "1", "--attachment", "1"], None).out, "words of a file\n");
    for (arguments, word) in [
        (&["show", "1", "--attachment", "9"][..], "has no attachment 9"),
        (&["show", "1", "--attachment", "0", "--raw"], "has no attachment 0"),
        (&["show", "1", "--attachment", "4"], "has no words to print"),
        (&["show", "7"], "there is no message 7"),
        (&["show", "1", "--save", "/dev/null/x"], "cannot make the folder"),
        (&["show", "1", "--save", there, "--raw"], "cannot be used with"),
    ] {
        let said = bench.run(arguments, None);
        assert!(said.code == Some(1) && said.err.contains(word), "{arguments:?}: {said}");
    }
}

#[test]
fn json_gives_all_of_it() {
    let bench = bench();
    let shown = bench.json(&["show", "1", "--history", "--envelope", "--json"], 0);
    assert_eq!(shown["headers"]["from"][0], "Anna Ärger <anna@corp.example>");
    assert_eq!(shown["headers"]["bcc"][0], "dave@corp.example");
    assert!(shown["text"].as_str().unwrap().starts_with("The plan & "));
    assert_eq!(shown["attachments"].as_array().unwrap().len(), 4);
    assert_eq!(shown["attachments"][0]["name"], "../../evil.txt");
    let events: Vec<&str> =
        shown["history"]["events"].as_array().unwrap().iter().filter_map(|one| one["event"].as_str()).collect();
    // The mail is there for sender, recipient and Bcc, and gone from the gateway.
    assert_eq!(events, ["fetched", "seen", "decoded", "filed", "filed", "filed", "deleted"], "{shown}");
}

#[test]
fn history_tells_of_filing_anew_and_of_deletion_by_others() {
    let bench = Bench::holding(Setup { delete: false, ..Setup::default() }, &[plan()]);
    bench.reconfigure(super::support::bench::NOBODY, "");
    bench.once(None);
    let said = bench.run(&["show", "1", "--history"], None);
    assert!(said.out.contains("filed for unassigned") && !said.out.contains("deleted on"), "{said}");
    bench.reconfigure(&known_people(), "");
    bench.json(&["refile", "--json"], 0);
    // Somebody else empties the mailbox, and the next listing tells.
    for uid in bench.gateway.uids("INBOX") {
        bench.gateway.expunge("INBOX", uid);
    }
    bench.once(None);
    let said = bench.run(&["show", "1", "--history", "--envelope"], None);
    for part in [
        "taken back from unassigned",
        "filed for anna@corp.example, sent",
        "filed for bob@corp.example, inbox",
        "(inferred: ",
    ] {
        assert!(said.out.contains(part), "{part}: {said}");
    }
}
