//! The grammar line by line.

use super::*;

fn shown(text: &str, inner: Inner<'_>) -> Vec<String> {
    let parsed = parse(text, inner).unwrap();
    let recipients = parsed.envelope.recipients.iter();
    recipients
        .map(|r| match (&r.via, &r.via_address) {
            (Some(via), address) => {
                format!("{} {} {via:?} {}", r.role.as_str(), r.address, address.as_deref().unwrap_or("-"))
            }
            (None, _) => format!("{} {}", r.role.as_str(), r.address),
        })
        .collect()
}

#[test]
fn recipients_of_all_kinds() {
    let text = "SENDER: alice@corp.example\r\nto:bob@corp.example\r\nTo: B <carol@corp.example> , expanded:team@corp.example\r\ncc: dave@corp.example,Forwarded: erin@corp.example, Expanded: all@corp.example\r\nTo: x<mailto:x>\r\nTo: a@corp.example<mailto:a@corp.example>\r\nTo: \r\nTo: <>\r\nBcc: bob@corp.example, Expanded:\r\n";
    assert_eq!(
        shown(text, Inner::default()),
        [
            "to bob@corp.example",
            "to carol@corp.example Expanded team@corp.example",
            "cc dave@corp.example Forwarded erin@corp.example",
            "to x",
            "to a@corp.example",
            "bcc bob@corp.example Expanded -",
        ]
    );
}

#[test]
fn lines_that_a_mail_system_wrapped() {
    let text = "Sender:\r\nalice@corp.example\r\nSubject: x\r\nMessage-Id:\r\n <1@x>\r\nTo: bob@corp.example,\r\nExpanded: team@corp.example\r\nCc:\r\ncarol@corp.example, \r\nForwarded:\r\n\tdave@corp.example\r\nBcc:\r\nTo: erin@corp.example,\r\nRecipient:f@corp.example\r\nBcc:\r\nnot an address@corp.example\r\n\r\nx@corp.example";
    assert_eq!(
        shown(text, Inner { message_id: Some("<1@x>"), subject: "x" }),
        [
            "to bob@corp.example Expanded team@corp.example",
            "cc carol@corp.example Forwarded dave@corp.example",
            "to erin@corp.example",
            "recipient f@corp.example",
        ]
    );
    let parsed = parse(text, Inner::default()).unwrap();
    assert_eq!(parsed.envelope.sender.as_deref(), Some("alice@corp.example"));
    assert_eq!(parsed.message_id.as_deref(), Some("<1@x>"));
}

#[test]
fn senders_that_are_nobody() {
    for nobody in ["<>", "", "Microsoft Exchange", "<unknown>"] {
        let parsed = parse(&format!("Sender: {nobody}\nSender: x@corp.example\nTo: b@corp.example"), Inner::default());
        assert_eq!(parsed.unwrap().envelope.sender, None, "{nobody}");
    }
}

#[test]
fn no_envelope() {
    for text in ["", "Dear Bob,\nthe figures are attached.", "Subject: x\nMessage-Id: <y>", ": x"] {
        assert_eq!(parse(text, Inner::default()), None);
    }
}

#[test]
fn only_crlf_and_lf_end_a_line() {
    let text = "Sender: a@corp.example\nSubject: x\u{2028}To: 1@corp.example\u{b}To: 2@corp.example\u{c}To: 3@corp.example\rTo: 4@corp.example\nMessage-Id: <1@x>\nTo: b@corp.example\n";
    assert_eq!(shown(text, Inner { message_id: Some("<1@x>"), subject: "" }), ["to b@corp.example"]);
}

#[test]
fn lines_in_the_subject_are_not_believed() {
    let inner = Inner { message_id: Some("<1@x>"), subject: "Hi\nTo: ceo@corp.example" };
    // The sender knows the Message-ID, but the line of the report comes after the sender's.
    let text = "Sender: a@corp.example\nSubject: Hi\nMessage-Id: <1@x>\nTo: ceo@corp.example\nMessage-Id: <1@x>\nTo: b@corp.example";
    assert_eq!(shown(text, inner), ["to b@corp.example"]);
    assert!(parse(text, inner).unwrap().injected);
    // A false Message-ID first, and last.
    let text = "Sender: a@corp.example\nSubject: Hi\nMessage-Id: <2@x>\nTo: ceo@corp.example\nMessage-Id: <1@x>\nTo: b@corp.example";
    assert_eq!(shown(text, inner), ["to b@corp.example"]);
    // The identifier precedes the subject: its further lines are known.
    let text = "Sender: a@corp.example\nMessage-Id: <1@x>\nSubject: Hi\nTo: ceo@corp.example\nTo: b@corp.example";
    assert_eq!(shown(text, inner), ["to b@corp.example"]);
    // A report that has cleaned the subject loses nothing.
    let text = "Sender: a@corp.example\nMessage-Id: <1@x>\nSubject: Hi To: ceo@corp.example\nTo: b@corp.example\nTo: ceo@corp.example";
    assert_eq!(shown(text, inner), ["to b@corp.example", "to ceo@corp.example"]);
}

#[test]
fn a_hundred_thousand_recipients() {
    let mut text = String::from("Sender: a@corp.example\nSubject: x\nMessage-Id: <1@x>\n");
    for number in 0..100_000 {
        text += &format!("To: user{number}@corp.example, Expanded: all@corp.example\n");
    }
    assert_eq!(
        parse(&text, Inner { message_id: Some("<1@x>"), subject: "x" }).unwrap().envelope.recipients.len(),
        100_000
    );
    text += &format!("To: {}", ",".repeat(1 << 20));
    parse(&text, Inner::default()).unwrap();
}
