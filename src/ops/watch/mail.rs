//! Mails that gatepost itself writes: alarms, reports, canaries. They hold nothing of archived mail.

use jiff::Timestamp;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, SinglePart};

use crate::agent::alarms::{Message, State};
use crate::config::watch::MailTarget;
use crate::net::clean;
use crate::net::smtp;
use crate::ops::exit::Failure;

/// A mail before it is one.
pub struct Draft {
    pub from: String,
    pub to: Vec<String>,
    pub subject: String,
    pub text: String,
    pub at: Timestamp,
    /// Without the brackets.
    pub message_id: String,
    /// A machine sends it, and no machine should answer (RFC 3834).
    pub is_automatic: bool,
}

impl Draft {
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        let mailbox = |text: &str| {
            text.parse()
                .map(|email| Mailbox::new(None, email))
                .map_err(|_| format!("{:?} cannot be written as an address", clean(text)))
        };
        let mut builder = lettre::Message::builder()
            .from(mailbox(&self.from)?)
            .subject(clean(&self.subject))
            .date(self.at.into())
            .message_id(Some(format!("<{}>", self.message_id)));
        for to in &self.to {
            builder = builder.to(mailbox(to)?);
        }
        let part = SinglePart::builder()
            .header(ContentType::TEXT_PLAIN)
            // Lines of any length and any script pass every server.
            .header(ContentTransferEncoding::QuotedPrintable)
            .body(self.text.replace('\n', "\r\n"));
        let mut message = builder.singlepart(part).map_err(|error| error.to_string())?;
        if self.is_automatic {
            // Names of this file: a mistake in them would be seen by every test.
            for (name, value) in [("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All")] {
                let name = HeaderName::new_from_ascii(name.to_owned()).map_err(|error| error.to_string())?;
                message.headers_mut().insert_raw(HeaderValue::new(name, value.to_owned()));
            }
        }
        Ok(message.formatted())
    }
}

/// A name for a mail that no other has.
pub fn message_id(from: &str) -> String {
    let domain = from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    format!("{}@{domain}", uuid::Uuid::new_v4())
}

/// An alarm as a mail; `machine` is the name of this one.
pub fn of_alarm(target: &MailTarget, message: &Message, machine: &str) -> Draft {
    let from = target.from.to_string();
    Draft {
        subject: format!("[gatepost {}] {}: {}", clean(machine), message.subject(), first_sentence(&message.text)),
        text: text_of(message, machine),
        to: target.to.iter().map(ToString::to_string).collect(),
        at: message.at,
        message_id: message_id(&from),
        is_automatic: true,
        from,
    }
}

/// Subjects are read in lists; the text has the rest.
fn first_sentence(text: &str) -> &str {
    let end = text.find(". ").map_or(text.len(), |at| at + 1);
    &text[..end]
}

fn text_of(message: &Message, machine: &str) -> String {
    let state = match message.state {
        State::Raised => "began, or became graver",
        State::Repeated => "lasts",
        State::Cleared => "is over",
        State::Event => "happened",
    };
    let mut text = format!("{}: {}\n\n", message.subject(), message.text);
    if let Some(hint) = &message.hint {
        text.push_str(&format!("hint: {hint}\n\n"));
    }
    let mut fact = |name: &str, value: String| text.push_str(&format!("{:<10}{value}\n", format!("{name}:")));
    fact("alarm", format!("{} ({state})", message.key));
    fact("severity", message.severity.as_str().to_owned());
    if let Some(profile) = &message.profile {
        fact("profile", profile.clone());
    }
    fact("since", crate::ops::output::time(message.since));
    fact("told", crate::ops::output::time(message.at));
    fact("host", machine.to_owned());
    if let Some(head) = &message.head {
        text.push_str(&format!(
            "\nThe archive's head, to be kept: {head}\n(gatepost verify --expect-head proves later that nothing was changed)\n"
        ));
    }
    text
}

/// Sends a draft by a server; the error is ready for people, its hint included.
pub async fn send(settings: &crate::config::watch::SmtpSettings, draft: &Draft) -> Result<String, Failure> {
    let settings = settings.clone();
    let options = blocking(move || settings.options()).await?;
    let bytes = draft.bytes().map_err(Failure::usage)?;
    match smtp::send(&options, &draft.from, &draft.to, &bytes).await {
        Ok(said) => Ok(said),
        Err(error) => {
            let what = format!("mail by {}: {error}", options.peer());
            Err(Failure { exit: crate::ops::exit::Exit::Gateway, what, hint: error.hint(), refused: false })
        }
    }
}

/// Secrets may come from commands, which take their time.
pub(super) async fn blocking<T: Send + 'static>(
    fetch: impl FnOnce() -> Result<T, crate::config::ConfigError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(fetch).await {
        Ok(fetched) => Ok(fetched?),
        Err(_) => Err(Failure::usage("a secret could not be fetched: gatepost failed unexpectedly")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::alarms::Severity;

    #[test]
    fn a_mail_is_one_line_in_lists_and_no_machine_answers_it() {
        let at: Timestamp = "2026-03-01T06:00:00Z".parse().unwrap();
        let draft = Draft {
            from: "gatepost@corp.example".into(),
            to: vec!["a@corp.example".into(), "b@corp.example".into()],
            subject: "[gatepost mail1] CRITICAL journal: down\r\nBcc: evil@example.net".into(),
            text: "Grüße\n.\nend".into(),
            at,
            message_id: message_id("gatepost@corp.example"),
            is_automatic: true,
        };
        let text = String::from_utf8(draft.bytes().unwrap()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        for line in [
            "From: gatepost@corp.example",
            "To: a@corp.example, b@corp.example",
            "Date: Sun, 01 Mar 2026 06:00:00 +0000",
            "Auto-Submitted: auto-generated",
        ] {
            assert!(head.lines().any(|one| one == line), "{line} in {head}");
        }
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        assert!(head.contains("Message-ID: <") && head.contains("@corp.example>"), "{head}");
        assert_eq!(body, "Gr=C3=BC=C3=9Fe\r\n.\r\nend\r\n");
    }

    #[test]
    fn an_alarm_says_all_that_is_known() {
        let at: Timestamp = "2026-03-01T06:00:00Z".parse().unwrap();
        let message = Message {
            key: "journal/no-success".into(),
            kind: "no-success".into(),
            state: State::Raised,
            severity: Severity::Critical,
            profile: Some("journal".into()),
            text: "no successful run for 4 h 12 min. Nothing was deleted.".into(),
            hint: Some("gatepost check --profile journal".into()),
            since: at,
            at,
            head: Some("7:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap()),
        };
        let text = text_of(&message, "mail1");
        assert!(
            text.starts_with("CRITICAL journal: no successful run for 4 h 12 min. Nothing was deleted.\n"),
            "{text}"
        );
        for part in ["hint: gatepost check", "alarm:    journal/no-success (began", "host:     mail1", "7:ba7816bf"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(first_sentence(&message.text), "no successful run for 4 h 12 min.");
    }
}
