//! `gatepost people`: who has an archive, their addresses, and where each came from.

use std::collections::BTreeMap;

use serde_json::json;

use super::exit::{Exit, Failure};
use super::orders::{self, Done, Order};
use super::output;
use super::wiring::{self, Global, Running};
use crate::archive::{Catalogue, Core, PersonRecord};
use crate::config::Settings;
use crate::people::{Origin, People, PersonId, UNASSIGNED};

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
        let listed: Vec<_> = rows
            .iter()
            .map(|(id, (name, addresses))| {
                let (inbox, sent) = counts.get(id).copied().unwrap_or_default();
                let addresses: Vec<_> =
                    addresses.iter().map(|(address, origin)| json!({ "address": address, "origin": origin })).collect();
                let key = people.key(&PersonId(id.clone()));
                json!({
                    "person": id, "name": name, "key": key, "addresses": addresses, "inbox": inbox, "sent": sent,
                })
            })
            .collect();
        output::json(&json!({ "people": listed }))?;
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

/// `gatepost people merge`: what is filed for the one is filed for the other.
pub fn merge(global: &Global, from: &str, into: &str, as_json: bool) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    // First, so that a mistake in the question is told before anything is opened for writing.
    both(&settings, from, into)?;
    let order = Order::PeopleMerge { from: from.to_owned(), into: into.to_owned() };
    orders::give(global, &settings, &order, as_json)
}

/// The two people of a merge.
fn both(settings: &Settings, from: &str, into: &str) -> Result<(PersonRecord, PersonRecord), Failure> {
    let catalogue = Catalogue::of(&wiring::layout_of(&settings.archive))?;
    let people = wiring::people(settings, Some(&catalogue))?;
    for one in [from, into] {
        if one.eq_ignore_ascii_case(UNASSIGNED) {
            return Err(Failure::usage("`unassigned` is nobody's archive and cannot be merged")
                .hint("add the address to a person, and run `gatepost refile`"));
        }
    }
    Ok((known(&catalogue, &people, from)?, known(&catalogue, &people, into)?))
}

pub async fn merged(
    running: &Running,
    settings: &Settings,
    from: &str,
    into: &str,
    who: &str,
) -> Result<Done, Failure> {
    let (from, into) = both(settings, from, into)?;
    let (gone, stays, who) = (from.person.clone(), into.person.clone(), who.to_owned());
    let archive = &running.agent.archive;
    {
        let (gone, into) = (gone.clone(), into.clone());
        let job = move |core: &mut Core| core.merge(&gone, into, &who).and_then(|()| core.close());
        archive.call(job).await?;
    }
    let mut moved = 0;
    loop {
        let (gone, stays) = (gone.clone(), stays.clone());
        let count = archive
            .call(move |core| {
                let count = core.move_filings(&gone, &stays, MOVED_AT_ONCE)?;
                core.close()?;
                Ok(count)
            })
            .await?;
        if count == 0 {
            break;
        }
        moved += count;
    }
    let mut done = Done::new(Exit::Ok, json!({ "from": from.person, "into": into.person, "filings": moved }));
    let filings = output::plural(moved, "filing", "filings");
    done.line(output::safe(&format!("{} is merged into {}: {filings} moved", from.person, into.person)));
    Ok(done)
}

/// So many filings are moved in one batch.
const MOVED_AT_ONCE: u32 = 1000;

/// A person as the archive knows them, or the configuration when they have no archive yet.
fn known(catalogue: &Catalogue, people: &People, id: &str) -> Result<PersonRecord, Failure> {
    let id = PersonId::checked(id).map_or_else(|_| id.to_owned(), |id| id.0);
    if let Some(record) = catalogue.person_record(&id)? {
        return Ok(record);
    }
    if let Some(person) = people.get(&PersonId(id.clone())) {
        return Ok(crate::agent::route::record_of(person));
    }
    let ids: Vec<String> = catalogue.persons()?.into_iter().map(|record| record.person).collect();
    let failure = Failure::usage(format!("nobody here has the id `{id}`"));
    Err(match crate::config::nearest(&id, ids.iter().map(String::as_str)) {
        Some(near) => failure.hint(format!("did you mean `{near}`? `gatepost people` shows all")),
        None => failure.hint("`gatepost people` shows who has an archive"),
    })
}

/// A person's name, and addresses with where each came from.
type Row = (Option<String>, Vec<(String, &'static str)>);

fn word(origin: Origin) -> &'static str {
    match origin {
        Origin::Config => "config",
        Origin::Csv => "csv",
        Origin::Ldap => "ldap",
        Origin::Rule => "rule",
    }
}
