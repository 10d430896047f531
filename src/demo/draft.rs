//! From the plan of a sample to its item: the header, the report and the filings that follow from it.

use jiff::Timestamp;

use super::message::{Attachment, Message, rfc5322_date};
use super::report::{EnvelopeEncoding, Report, expected_filings};
use super::samples::Sample;
use crate::mail::envelope::{Envelope, Recipient, Role};

/// 2026-02-02 07:30 UTC, a Monday.
const FIRST_S: i64 = 1_770_017_400;

/// When the n-th item arrives.
pub(super) fn at(n: usize) -> Timestamp {
    Timestamp::from_second(FIRST_S + n as i64 * 1_380).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `anna@corp.example` → `Anna <anna@corp.example>`.
fn named(address: &str) -> String {
    let local = address.split('@').next().unwrap_or_default();
    let name: String = local.chars().take(1).flat_map(char::to_uppercase).chain(local.chars().skip(1)).collect();
    format!("{name} <{address}>")
}

/// A plan of one sample, with what most of them share.
pub(super) struct Draft {
    pub name: &'static str,
    pub sender: &'static str,
    pub on_behalf_of: Option<&'static str>,
    pub recipients: Vec<Recipient>,
    /// `To` as the original shows it; empty: the To recipients.
    pub shown_to: &'static str,
    pub subject: &'static str,
    pub text: &'static str,
    pub html: Option<&'static str>,
    pub attachments: Vec<Attachment>,
    pub inner_bcc: &'static str,
    pub encoding: EnvelopeEncoding,
}

impl Draft {
    pub fn new(
        name: &'static str,
        sender: &'static str,
        recipients: Vec<Recipient>,
        subject: &'static str,
        text: &'static str,
    ) -> Draft {
        Draft {
            name,
            sender,
            on_behalf_of: None,
            recipients,
            shown_to: "",
            subject,
            text,
            html: None,
            attachments: Vec::new(),
            inner_bcc: "",
            encoding: EnvelopeEncoding::Plain,
        }
    }

    fn envelope(&self) -> Envelope {
        Envelope {
            sender: Some(self.sender.to_owned()).filter(|sender| !sender.is_empty()),
            on_behalf_of: self.on_behalf_of.map(str::to_owned),
            recipients: self.recipients.clone(),
        }
    }

    fn message(&self, n: usize, hop: &str) -> Message {
        let shown = |role| {
            let direct = self.recipients.iter().filter(|recipient| recipient.role == role && recipient.via.is_none());
            direct.map(|recipient| named(&recipient.address)).collect::<Vec<_>>().join(", ")
        };
        let domain = self.sender.rsplit_once('@').map_or("corp.example", |(_, domain)| domain);
        let from = match (self.on_behalf_of, self.sender) {
            (Some(owner), _) => named(owner),
            (None, "") => "Mail Delivery System <postmaster@supplier.example>".to_owned(),
            (None, sender) => named(sender),
        };
        Message {
            trace: vec![(
                "Received".into(),
                format!("from client.{domain} by {hop} with ESMTPS;\r\n\t{}", rfc5322_date(at(n))),
            )],
            from,
            to: if self.shown_to.is_empty() { shown(Role::To) } else { self.shown_to.to_owned() },
            cc: shown(Role::Cc),
            bcc: self.inner_bcc.to_owned(),
            subject: self.subject.to_owned(),
            date: at(n),
            message_id: format!("<sample-{n:02}@{domain}>"),
            text: self.text.to_owned(),
            html: self.html.map(str::to_owned),
            attachments: self.attachments.clone(),
        }
    }

    pub fn sample(&self, n: usize) -> Sample {
        self.report(n, "mail.corp.example", self.envelope(), false, 0)
    }

    pub fn report(&self, n: usize, hop: &str, envelope: Envelope, forked: bool, serial: u32) -> Sample {
        let message = self.message(n, hop);
        let report = Report {
            envelope: &envelope,
            from: &message.from,
            to: &message.to,
            subject: self.subject,
            message_id: &message.message_id,
            date: at(n),
            original: &message.write(),
            encoding: self.encoding,
            forked,
            serial,
        };
        Sample {
            name: self.name,
            item: report.write(),
            date: at(n),
            message_id: message.message_id.clone(),
            filings: expected_filings(&envelope),
            decodes: true,
        }
    }

    /// The mail itself, without a report around it.
    pub fn plain(&self, n: usize) -> Sample {
        let message = self.message(n, "mail.corp.example");
        Sample {
            name: self.name,
            item: message.write(),
            date: at(n),
            message_id: message.message_id.clone(),
            filings: expected_filings(&self.envelope()),
            decodes: true,
        }
    }
}
