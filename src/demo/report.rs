//! Writes journal reports as Exchange and Exchange Online do (envelope journaling), and says which
//! filings such a report must lead to.
//!
//! The expectation is written down here a second time, on purpose: tests compare it with what
//! `journal` and the agent's routing make of the bytes, so it must not call them.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::message::{base64_lines, rfc5322_date};
use crate::base::digest::Digest;
use crate::mail::envelope::{Envelope, Recipient, Role, Via};

/// The organisation of all samples.
pub const DOMAIN: &str = "corp.example";

/// The address that Exchange signs reports with; the hexadecimal part is the same everywhere.
const REPORT_SENDER: &str = "MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@corp.example";

/// The transfer encoding of the envelope part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeEncoding {
    Plain,
    Base64,
}

/// What a report is made of.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    pub envelope: &'a Envelope,
    /// The original's, as its headers show them; the report copies them.
    pub from: &'a str,
    pub to: &'a str,
    pub subject: &'a str,
    /// Of the original, with angle brackets.
    pub message_id: &'a str,
    pub date: Timestamp,
    pub original: &'a [u8],
    pub encoding: EnvelopeEncoding,
    /// Sibling reports of the same mail exist.
    pub forked: bool,
    /// Tells sibling reports apart.
    pub serial: u32,
}

impl Report<'_> {
    /// The item, byte for byte the same every time.
    pub fn write(&self) -> Vec<u8> {
        let identity = Digest::of(format!("{} {}", self.message_id, self.serial).as_bytes()).to_string();
        let boundary = format!("_{}_report_", &identity[..32]);
        let guid = &identity[32..];
        let forked = if self.forked { "X-MS-Exchange-Transport-Forked: True\r\n" } else { "" };
        let head = format!(
            "Received: from mail.corp.example (192.0.2.25) by journal.corp.example\r\n\twith ESMTPS; {date}\r\n\
             Sender:\r\n\t<{REPORT_SENDER}>\r\n\
             From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {date}\r\n\
             Message-ID: <{guid}@journal.report.generator>\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed;\r\n\tboundary=\"{boundary}\"\r\n\
             Auto-Submitted: auto-generated\r\n\
             X-MS-Exchange-Generated-Message-Source: Journal Agent\r\n\
             X-MS-Exchange-Parent-Message-Id:\r\n\t{message_id}\r\n\
             {forked}X-MS-Journal-Report:\r\n\r\n",
            date = rfc5322_date(self.date),
            from = self.from,
            to = self.to,
            subject = self.subject,
            message_id = self.message_id,
        );
        let (transfer, body) = match self.encoding {
            EnvelopeEncoding::Plain => ("7bit", self.lines()),
            EnvelopeEncoding::Base64 => ("base64", base64_lines(self.lines().as_bytes())),
        };
        let transfer = if body.is_ascii() { transfer } else { "8bit" };
        let mut item = head.into_bytes();
        item.extend_from_slice(
            format!(
                "--{boundary}\r\nContent-Type: text/plain; charset=\"utf-8\"\r\nContent-Transfer-Encoding: {transfer}\r\n\r\n\
                 {body}\r\n--{boundary}\r\nContent-Type: message/rfc822\r\n\r\n"
            )
            .as_bytes(),
        );
        item.extend_from_slice(self.original);
        item.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        item
    }

    /// The envelope part: one field per line, each with its CRLF.
    fn lines(&self) -> String {
        let mut out = format!("Sender: {}\r\n", self.envelope.sender.as_deref().unwrap_or("<>"));
        if let Some(address) = &self.envelope.on_behalf_of {
            out.push_str(&format!("On-Behalf-Of: {address}\r\n"));
        }
        out.push_str(&format!("Subject: {}\r\nMessage-Id: {}\r\n", self.subject, self.message_id));
        for recipient in &self.envelope.recipients {
            let label = match recipient.role {
                Role::To => "To",
                Role::Cc => "Cc",
                Role::Bcc => "Bcc",
                Role::Recipient => "Recipient",
            };
            out.push_str(&format!("{label}: {}", recipient.address));
            match (recipient.via, &recipient.via_address) {
                (Some(Via::Expanded), Some(list)) => out.push_str(&format!(", Expanded: {list}")),
                (Some(Via::Forwarded), Some(mailbox)) => out.push_str(&format!(", Forwarded: {mailbox}")),
                _ => {}
            }
            out.push_str("\r\n");
        }
        out
    }
}

/// A recipient that got the mail directly.
pub fn direct(role: Role, address: &str) -> Recipient {
    Recipient { role, address: address.to_owned(), via: None, via_address: None }
}

/// A recipient that got the mail through a list or another mailbox.
pub fn through(role: Role, address: &str, via: Via, via_address: &str) -> Recipient {
    Recipient { role, address: address.to_owned(), via: Some(via), via_address: Some(via_address.to_owned()) }
}

/// One message in one folder of one archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExpectedFiling {
    /// The address that names the archive.
    pub person: String,
    /// `inbox` or `sent`.
    pub folder: &'static str,
}

/// The filings of an envelope when every address in [`DOMAIN`] has its own archive: rising, each once.
pub fn expected_filings(envelope: &Envelope) -> Vec<ExpectedFiling> {
    let mut found = BTreeSet::new();
    let mut file = |address: Option<&String>, folder| {
        if let Some(person) = address.filter(|address| is_internal(address)) {
            found.insert(ExpectedFiling { person: person.to_lowercase(), folder });
        }
    };
    file(envelope.sender.as_ref(), "sent");
    file(envelope.on_behalf_of.as_ref(), "sent");
    for recipient in &envelope.recipients {
        file(Some(&recipient.address), "inbox");
        if recipient.via == Some(Via::Forwarded) {
            file(recipient.via_address.as_ref(), "inbox");
        }
    }
    found.into_iter().collect()
}

pub fn is_internal(address: &str) -> bool {
    address.rsplit_once('@').is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(DOMAIN))
}
