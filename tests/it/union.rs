//! Several items of one message, through the program and a real Dovecot: shown as one with all of their filings, and the
//! attachment stored once. And items that only look alike: shown side by side, so that nothing is hidden.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;

use crate::support::agent::{Agent, Config, count};
use crate::support::dovecot::{Dovecot, Setup};

const USER: &str = "journal";
const ATTACHMENT: usize = 400_000;

/// Bytes that do not compress, the same in every item.
fn attachment() -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let bytes: Vec<u8> = (0..ATTACHMENT)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect();
    let digits = base64::engine::general_purpose::STANDARD.encode(bytes);
    digits.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line) + "\r\n").collect()
}

/// A message with text in two forms, a forwarded message and an attachment; `trace` is what servers put in front.
fn message(trace: &str, boundary: &str) -> String {
    let nested = "Message-ID: <earlier@corp.example>\r\nDate: Mon, 2 Mar 2026 09:15:00 +0100\r\nSubject: earlier\r\n\r\nEarlier text\r\n";
    format!(
        "{trace}From: Alice A <alice@corp.example>\r\nTo: everybody@corp.example\r\nSubject: Figures\r\n\
         Date: Tue, 3 Mar 2026 09:15:00 +0100\r\nMessage-ID: <figures@corp.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: multipart/alternative; boundary=\"a{boundary}\"\r\n\r\n\
         --a{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nThe f\u{00fc}gures\r\n\
         --a{boundary}\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>The figures</p>\r\n--a{boundary}--\r\n\
         --{boundary}\r\nContent-Type: message/rfc822\r\n\r\n{nested}\r\n\
         --{boundary}\r\nContent-Type: application/pdf; name=\"figures.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"figures.pdf\"\r\n\r\n{}--{boundary}--\r\n",
        attachment()
    )
}

fn report(serial: u32, recipients: &str, original: &str) -> String {
    format!(
        "Received: from ex.corp.example by gw.example; Tue, 3 Mar 2026 09:15:0{serial} +0100\r\nX-MS-Journal-Report:\r\n\
         Message-ID: <{serial}@journal.report.generator>\r\nFrom: Alice A <alice@corp.example>\r\nSubject: Figures\r\n\
         Content-Type: multipart/mixed; boundary=\"_r{serial}_\"\r\n\r\n--_r{serial}_\r\nContent-Type: text/plain\r\n\r\n\
         Sender: alice@corp.example\r\nSubject: Figures\r\nMessage-Id: <figures@corp.example>\r\n{recipients}\r\n\
         --_r{serial}_\r\nContent-Type: message/rfc822\r\n\r\n{original}\r\n--_r{serial}_--\r\n"
    )
}

/// Of each message that is listed: person and folder of its filings.
fn shown(agent: &Agent) -> BTreeMap<u64, BTreeSet<(String, String)>> {
    let mut messages: BTreeMap<u64, BTreeSet<(String, String)>> = BTreeMap::new();
    for entry in agent.list() {
        assert_eq!(entry["message_id"], "<figures@corp.example>", "{entry}");
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        let new = messages.entry(entry["id"].as_u64().unwrap()).or_default().insert((text("person"), text("folder")));
        assert!(new, "listed twice: {entry}");
    }
    messages
}

#[test]
fn five_ways_to_report_one_message() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let forked = "Received: from hub.corp.example by edge.corp.example; x\r\nX-MS-Exchange-Organization-SCL: -1\r\n\
                  X-MS-Exchange-Transport-Forked: True\r\n";
    let google = |serial: u32, to: &str| format!("X-Gm-Original-To: {to}\r\n{}", message("", &format!("g{serial}")));
    // A server that wants 7 bits has encoded the text, and another one ends lines of it otherwise.
    let encoded = message("", "q").replace(
        "text/plain; charset=utf-8\r\n\r\nThe f\u{00fc}gures",
        "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nThe f=C3=BCg=\r\nures",
    );
    let items = [
        // A fork: inside and outside.
        report(0, "To: b@corp.example, Expanded: everybody@corp.example\r\n", &message("", "m")),
        report(1, "To: out@partner.example, Expanded: everybody@corp.example\r\n", &message(forked, "other")),
        // A long list in two pieces.
        report(2, "To: c@corp.example\r\nTo: d@corp.example\r\n", &message("Received: by chip1; x\r\n", "m")),
        report(3, "To: e@corp.example\r\nBcc: f@corp.example\r\n", &message("Received: by chip2; x\r\n", "m")),
        // A second rule has some of them again.
        report(4, "To: b@corp.example\r\nBcc: f@corp.example\r\n", &encoded),
        // One copy per recipient.
        google(5, "g@corp.example"),
        google(6, "h@corp.example"),
    ];
    let bytes: usize = items.iter().map(String::len).sum();
    dovecot.deliver(USER, "INBOX", &items);
    let agent = Agent::new(&Config::plain(&dovecot));
    let run = agent.once(0);
    assert_eq!(count(&run, "archived"), items.len() as u64, "{run}");

    let messages = shown(&agent);
    assert_eq!(messages.len(), 1, "one message: {messages:?}");
    let mut expected: BTreeSet<(String, String)> =
        ["b", "c", "d", "e", "f", "g", "h"].map(|who| (format!("{who}@corp.example"), "inbox".into())).into();
    expected.insert(("alice@corp.example".into(), "sent".into()));
    assert_eq!(messages.into_values().next(), Some(expected));

    let volume = agent.json(&["verify", "--json"], 0);
    assert_eq!(count(&volume, "messages"), 1, "{volume}");
    assert_eq!(count(&volume, "items"), items.len() as u64, "{volume}");
    // Seven items with 7 times 540 KB of base64: the digits of one, and the small rest of all.
    assert!(bytes > 7 * ATTACHMENT * 4 / 3);
    assert!(count(&volume, "bytes_stored") < (ATTACHMENT as u64) * 3 / 2, "the attachment is stored once: {volume}");
}

#[test]
fn copies_that_only_look_alike_hide_nothing() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let honest = message("", "m");
    let hostile = [
        ("The f\u{00fc}gures", "The f\u{00fc}gurines"),
        ("<p>The figures</p>", "<p>Pay here</p>"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-16le"),
        ("text/html; charset=utf-8", "text/plain; charset=utf-8"),
        ("application/pdf; name=\"figures.pdf\"", "application/x-msdownload; name=\"figures.pdf\""),
        ("name=\"figures.pdf\"", "name=\"figures.exe\""),
        ("filename=\"figures.pdf\"", "filename=\"figures.exe\""),
        ("Content-Disposition: attachment", "Content-Disposition: inline"),
        ("Earlier text", "Other text"),
        ("Subject: earlier", "Subject: another"),
        ("Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: 7bit"),
        ("Content-Type: message/rfc822", "Content-Type: text/plain"),
        ("multipart/alternative; boundary=\"am\"", "multipart/alternative; boundary=\"none\""),
        ("multipart/mixed; boundary=\"m\"", "multipart/mixed; boundary=\"none\""),
        ("--m--", "--m\r\n\r\none part more\r\n--m--"),
        ("MIME-Version: 1.0\r\n", "MIME-Version: 1.0\r\nTo: ceo@corp.example\r\n"),
        ("From: Alice A <", "From: Alice B <"),
    ];
    let mut items = vec![report(0, "To: b@corp.example\r\n", &honest)];
    for (from, to) in hostile {
        assert!(honest.contains(from), "{from}");
        items.push(report(1, "To: b@corp.example\r\n", &honest.replacen(from, to, 1)));
    }
    dovecot.deliver(USER, "INBOX", &items);
    let agent = Agent::new(&Config::plain(&dovecot));
    agent.once(0);
    let messages = shown(&agent);
    let missing: Vec<_> = (messages.len()..items.len()).collect();
    assert_eq!(messages.len(), items.len(), "{} are hidden by another", missing.len());
    for filings in messages.values() {
        assert_eq!(filings.len(), 2, "{filings:?}");
    }
}
