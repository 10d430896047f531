//! Reports that the generated corpus does not have.

use gatepost::base::digest::Digest;
use gatepost::demo::corpus::Generated;
use gatepost::demo::message::Message;
use gatepost::demo::report::{EnvelopeEncoding, Report, direct, expected_filings};
use gatepost::mail::envelope::{Envelope, Role};

/// A report whose original still names its blind recipient, as a mail from a client's outbox does.
pub fn with_inner_bcc() -> Generated {
    report("inner-bcc", "<user03@corp.example>", "hello\n".into())
}

/// A report of 60 MB.
pub fn large() -> Generated {
    let line = "a line of a very long text that goes on for sixty million bytes, and so on and on\n";
    report("large", "", line.repeat(60_000_000 / line.len()))
}

/// From one to another, with a third as blind recipient.
fn report(name: &str, bcc: &str, text: String) -> Generated {
    let envelope = Envelope {
        sender: Some("user01@corp.example".into()),
        on_behalf_of: None,
        recipients: vec![direct(Role::To, "user02@corp.example"), direct(Role::Bcc, "user03@corp.example")],
    };
    let date = "2026-01-01T08:00:00Z".parse().unwrap();
    let message = Message {
        trace: Vec::new(),
        from: "<user01@corp.example>".into(),
        to: "<user02@corp.example>".into(),
        cc: String::new(),
        bcc: bcc.into(),
        subject: format!("special: {name}"),
        date,
        message_id: format!("<{name}@corp.example>"),
        text,
        html: None,
        attachments: Vec::new(),
    };
    let original = message.write();
    let report = Report {
        envelope: &envelope,
        from: &message.from,
        to: &message.to,
        subject: &message.subject,
        message_id: &message.message_id,
        date,
        original: &original,
        encoding: EnvelopeEncoding::Plain,
        forked: false,
        serial: 0,
    };
    Generated {
        item: report.write(),
        date,
        filings: expected_filings(&envelope),
        message_id: message.message_id.clone(),
        subject: message.subject.clone(),
        original_sha256: Digest::of(&original),
        original_len: original.len(),
        envelope,
        recurring: Vec::new(),
    }
}
