//! A mail that goes the way of every mail: out by SMTP, through the organisation, into the gateway, into the archive. When
//! it arrives, the whole chain works; when it does not, something between is broken that no single check sees.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::mail::{self, Draft};
use crate::archive::{Filter, Layout, Reader};
use crate::config::CanarySettings;
use crate::ops::exit::Failure;

/// By so much clocks may differ.
const CLOCKS: SignedDuration = SignedDuration::from_mins(10);

/// A canary on its way; kept until it is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flight {
    /// It stands in the subject, too: some servers give a mail another Message-ID.
    pub token: String,
    pub message_id: String,
    pub sent: Timestamp,
    /// It must stand in the archive by then.
    pub due: Timestamp,
    /// What the server said when it took it.
    pub said: String,
}

/// What an alarm about it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub text: String,
    pub hint: String,
}

/// Sends one. An error means that no mail went out.
pub async fn send(settings: &CanarySettings, now: Timestamp) -> Result<Flight, Failure> {
    let token = uuid::Uuid::new_v4().simple().to_string();
    let from = settings.from.to_string();
    let domain = settings.from.domain();
    let message_id = format!("gatepost-canary-{token}@{domain}");
    let draft = Draft {
        to: vec![settings.to.to_string()],
        subject: format!("gatepost canary {token}"),
        text: format!(
            "This mail was sent by gatepost to prove that mail reaches the archive.\nNobody has to do anything with it.\n\n\
             token: {token}\n"
        ),
        at: now,
        message_id: message_id.clone(),
        is_automatic: true,
        from,
    };
    let said = mail::send(&settings.smtp, &draft).await?;
    let timeout = SignedDuration::try_from(settings.timeout).unwrap_or(SignedDuration::from_mins(15));
    let due = now.saturating_add(timeout).unwrap_or(now);
    Ok(Flight { token, message_id, sent: now, due, said })
}

/// The number of the message in the archive, when it stands there. Blocks on the archive; reads only.
pub fn is_archived(layout: &Layout, flight: &Flight) -> Result<Option<u64>, Failure> {
    if !layout.root.exists() {
        return Ok(None);
    }
    let filter = Filter { after: flight.sent.saturating_sub(CLOCKS).ok(), ..Filter::default() };
    let mut found = None;
    Reader::open(layout)?.list(&filter, &mut |entry| {
        let has_id = entry.message_id.as_ref().is_some_and(|id| id.contains(&flight.message_id));
        if has_id || entry.subject.contains(&flight.token) {
            found = Some(entry.id);
        }
        Ok(())
    })?;
    Ok(found)
}

/// What is told when it is not there in time.
pub fn missing(flight: &Flight, now: Timestamp) -> Missing {
    let minutes = now.duration_since(flight.sent).as_mins().max(0);
    Missing {
        text: format!(
            "the canary that was sent {minutes} min ago is not in the archive. The mail server took it ({}); between there and \
             the archive something does not pass mail on.",
            crate::net::clean(&flight.said)
        ),
        hint: "look for its subject in the recipient's mailbox (is it delivered?), in the gateway's mailbox (does the journal \
               rule copy it?) and in `gatepost quarantine list`; then gatepost check"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_says_where_to_look() {
        let sent: Timestamp = "2026-03-01T06:00:00Z".parse().unwrap();
        let flight =
            Flight { token: "t".into(), message_id: "m".into(), sent, due: sent, said: "2.0.0 queued as 4711".into() };
        let missing = missing(&flight, sent + SignedDuration::from_mins(15));
        assert!(missing.text.contains("15 min ago") && missing.text.contains("queued as 4711"), "{missing:?}");
        assert!(missing.hint.contains("journal"), "{missing:?}");
    }
}
