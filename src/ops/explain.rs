//! `gatepost explain`: how an item would be recognised and filed, and why.

use std::path::Path;

use serde_json::json;

use super::exit::{Exit, Failure};
use super::output;
use super::wiring::{self, Global};
use crate::agent::route;
use crate::base::bytes::SpoolFile;
use crate::people::{People, PeopleOptions};

pub fn explain(global: &Global, file: &Path, as_json: bool) -> Result<Exit, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("cannot read {}: {error}", file.display())).hint("name a file with one mail (.eml)")
    };
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let len = opened.metadata().map_err(unreadable)?.len();
    let item = SpoolFile::new(opened, len);
    let people = people(global)?;
    let decoded = match crate::journal::decode(&item) {
        Ok(decoded) => decoded,
        Err(error) => {
            if as_json {
                output::json(&json!({ "quarantine": error.to_string() }))?;
            } else {
                output::line(&format!("It cannot be decoded and would be quarantined: {}", output::safe(&error.0)));
            }
            return Ok(Exit::Attention);
        }
    };
    let routing = route::route(&decoded, &people);
    if as_json {
        let mut value = serde_json::to_value(decoded.view()).map_err(|error| Failure::usage(error.to_string()))?;
        value["filings"] = json!(routing.filings);
        if let Some(rule) = &routing.excluded {
            value["excluded"] = json!(rule);
        }
        output::json(&value)?;
        return Ok(Exit::Ok);
    }
    let say = |label: &str, text: &str| output::line(&format!("{label:<14}{}", output::safe(text)));
    say("Format", decoded.format.as_str());
    if decoded.degraded {
        say("", "the envelope is the message's own headers: Bcc and list members are not known");
    }
    if !decoded.flags.is_empty() {
        say("Flags", &decoded.flags.join(", "));
    }
    let envelope = &decoded.envelope;
    say("Sender", envelope.sender.as_deref().unwrap_or("(none)"));
    if let Some(behalf) = &envelope.on_behalf_of {
        say("On behalf of", behalf);
    }
    for recipient in &envelope.recipients {
        let via = match (recipient.via, &recipient.via_address) {
            (Some(crate::mail::envelope::Via::Expanded), Some(list)) => format!(" (member of {list})"),
            (Some(crate::mail::envelope::Via::Forwarded), Some(from)) => format!(" (forwarded by {from})"),
            _ => String::new(),
        };
        say(recipient.role.as_str(), &format!("{}{via}", recipient.address));
    }
    say("Message-ID", decoded.summary.message_id.as_deref().unwrap_or("(none)"));
    say("Subject", &decoded.summary.subject);
    say("Date", &decoded.summary.date.map(|date| date.to_string()).unwrap_or_default());
    say("SHA-256", &decoded.original.sha256.to_string());
    say("Size", &format!("{} bytes", decoded.original.size));
    match &routing.excluded {
        Some(rule) => say("Filed", &format!("nowhere: excluded by {rule}")),
        None => {
            for filing in &routing.filings {
                say("Filed", &format!("{} {} — {}", filing.person, filing.folder.as_str(), filing.because));
            }
        }
    }
    Ok(Exit::Ok)
}

/// The people of the configuration, when there is one; without it nobody is ours.
fn people(global: &Global) -> Result<People, Failure> {
    let found = crate::config::find(global.config.as_deref());
    if global.config.is_none() && found.as_ref().map_or(true, |path| !path.exists()) {
        output::note("notice: no configuration was found, so nobody is known and nothing is filed by person");
        return Ok(People::build(&PeopleOptions::default(), &[])?);
    }
    let settings = wiring::settings(global)?;
    // Whoever has an archive by rule is known to the next cycle, so also here.
    let catalogue = crate::archive::Catalogue::of(&wiring::layout_of(&settings.archive)).ok();
    wiring::people(&settings, catalogue.as_ref())
}
