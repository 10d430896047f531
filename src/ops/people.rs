//! `gatepost people`: who has an archive, their addresses, and where each came from.

use std::collections::BTreeMap;

use serde_json::json;

use super::exit::{Exit, Failure};
use super::output;
use super::wiring::{self, Global};
use crate::archive::Catalogue;
use crate::people::Origin;

pub fn people(global: &Global, as_json: bool) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    let layout = wiring::layout_of(&settings.archive);
    let catalogue = if layout.identity_file().exists() { Some(Catalogue::of(&layout)?) } else { None };
    let people = wiring::people(&settings, catalogue.as_ref())?;
    let counts = match &catalogue {
        Some(catalogue) => catalogue.filing_counts()?,
        None => BTreeMap::new(),
    };
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for person in people.persons() {
        let addresses = person.addresses.iter().map(|(address, origin)| (address.to_string(), word(*origin)));
        rows.insert(person.id.0.clone(), (person.name.clone(), addresses.collect()));
    }
    for id in counts.keys() {
        rows.entry(id.clone()).or_default();
    }
    if as_json {
        let people: Vec<_> = rows
            .iter()
            .map(|(id, (name, addresses))| {
                let (inbox, sent) = counts.get(id).copied().unwrap_or_default();
                let addresses: Vec<_> =
                    addresses.iter().map(|(address, origin)| json!({ "address": address, "origin": origin })).collect();
                json!({ "person": id, "name": name, "addresses": addresses, "inbox": inbox, "sent": sent })
            })
            .collect();
        output::json(&json!({ "people": people }))?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|(id, (name, addresses))| {
            let (inbox, sent) = counts.get(id).copied().unwrap_or_default();
            let addresses: Vec<String> =
                addresses.iter().map(|(address, origin)| format!("{address} ({origin})")).collect();
            vec![
                output::safe(id),
                output::safe(name.as_deref().unwrap_or("")),
                inbox.to_string(),
                sent.to_string(),
                output::safe(&addresses.join(", ")),
            ]
        })
        .collect();
    output::line(&output::table(&["PERSON", "NAME", "INBOX", "SENT", "ADDRESSES"], &rows));
    Ok(Exit::Ok)
}

/// A person's name, and addresses with where each came from.
type Row = (Option<String>, Vec<(String, &'static str)>);

fn word(origin: Origin) -> &'static str {
    match origin {
        Origin::Config => "config",
        Origin::Csv => "csv",
        Origin::Rule => "rule",
    }
}
