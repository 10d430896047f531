//! `gatepost explain`: how an item would be recognised and filed, and why.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::exit::{Exit, Failure};
use super::output;
use super::wiring::{self, Global};
use crate::agent::policies::Policies;
use crate::agent::rules::Rules;
use crate::archive::Filing;
use crate::base::bytes::SpoolFile;
use crate::journal::{DecodeOptions, View};
use crate::people::{People, PeopleOptions};

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Explained<'a> {
    #[serde(flatten)]
    view: View<'a>,
    filings: &'a [Filing],
    /// Which rules matched or almost did; for people, its wording may change.
    rules: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    excluded: Option<&'a str>,
}

pub fn explain(global: &Global, file: &Path, profile: Option<&str>, as_json: bool) -> Result<Exit, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("cannot read {}: {error}", file.display())).hint("name a file with one mail (.eml)")
    };
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let len = opened.metadata().map_err(unreadable)?.len();
    let item = SpoolFile::new(opened, len);
    let rules = rules(global, profile)?;
    let decoded = match rules.decode(&item) {
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
    let routing = rules.route(&decoded, jiff::Timestamp::now());
    if as_json {
        // Written as it goes: a list of 100,000 recipients is not built a second time as a JSON value.
        let flags = routing.flags_of(&decoded);
        let mut view = decoded.view();
        view.flags = &flags;
        let excluded = routing.excluded.as_deref();
        output::json(&Explained { view, filings: &routing.filings, rules: &decoded.trail, excluded })?;
        return Ok(Exit::Ok);
    }
    let say = |label: &str, text: &str| output::line(&format!("{label:<14}{}", output::safe(text)));
    say("Format", decoded.format.as_str());
    if decoded.degraded {
        say("", "the envelope is the message's own headers: Bcc and list members are not known");
    }
    if let Some(wrapping) = &decoded.wrapped_in {
        say("Wrapped in", wrapping);
    }
    for (number, note) in decoded.trail.iter().enumerate() {
        say(if number == 0 { "Because" } else { "" }, note);
    }
    let flags = routing.flags_of(&decoded);
    if !flags.is_empty() {
        say("Flags", &flags.join(", "));
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
    say("Date", &decoded.summary.date.map(output::time).unwrap_or_default());
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

/// Those of the profile that was named, or of the only one; with several profiles those of `[people]`. Without a
/// configuration nobody is ours.
fn rules(global: &Global, profile: Option<&str>) -> Result<Rules, Failure> {
    let found = crate::config::find(global.config.as_deref());
    if global.config.is_none() && profile.is_none() && found.as_ref().map_or(true, |path| !path.exists()) {
        output::note("notice: no configuration was found, so nobody is known and nothing is filed by person");
        let people = People::build(&PeopleOptions::default(), &[])?;
        return Ok(Rules::new(Arc::new(people), Policies::default(), DecodeOptions::default()));
    }
    let settings = wiring::settings(global)?;
    // As in a cycle: whoever has an archive by rule is known.
    let catalogue = crate::archive::Catalogue::of(&wiring::layout_of(&settings.archive)).ok();
    let people = Arc::new(wiring::people(&settings, catalogue.as_ref())?);
    let chosen = wiring::chosen(&settings, profile)?;
    Ok(match chosen.as_slice() {
        [only] => Rules::new(people, only.policies.clone(), only.decode.clone()),
        _ => {
            output::note("notice: by the policies of [people] alone; name a profile with --profile for its own");
            Rules::new(people, settings.policies.clone(), settings.decode.clone())
        }
    })
}
