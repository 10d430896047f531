//! `gatepost quarantine`: what needs a person: list, show, retry, delete on the gateway.
//!
//! Must never: delete on a gateway what the archive does not provably hold, or without being told to in so many
//! words.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;

use super::exit::{Exit, Failure};
use super::login::{self, Entered};
use super::orders::{self, Done, Order};
use super::output;
use super::wiring::{self, Global, Running};
use crate::agent::logins::Asked;
use crate::agent::order::{Ordered, delete_quarantined};
use crate::agent::retry::{Retried, retry as try_again};
use crate::archive::{Attention, Catalogue, Disposition, ErrorKind, IMPORT, Provenance, Reader};
use crate::config::{ProfileSettings, Settings};
use crate::sources::Source as _;

/// So much of an item is shown.
const HEAD_BYTES: usize = 2048;

/// An entry of the list.
#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    what: &'a Attention,
    /// The profile that polls it.
    profile: Option<&'a str>,
    on_gateway: bool,
    /// `None`: it stays there.
    deleted_after: Option<Timestamp>,
}

pub fn list(global: &Global, as_json: bool) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    let reader = Reader::open(&wiring::layout_of(&settings.archive))?;
    let found = reader.attention()?;
    let entries: Vec<Entry<'_>> = found
        .iter()
        .map(|what| {
            let profile = wiring::profile_of(&settings, &what.host, &what.login, &what.folder);
            let on_gateway = what.gone.is_none() && what.kind != IMPORT;
            let deleted_after = profile.filter(|_| on_gateway && what.item.is_some()).and_then(|one| due(one, what.at));
            Entry { what, profile: profile.map(|profile| profile.name.as_str()), on_gateway, deleted_after }
        })
        .collect();
    if as_json {
        output::json(&json!({ "items": entries }))?;
        return Ok(Exit::Ok);
    }
    if entries.is_empty() {
        output::line("Nothing needs a person: no item is quarantined, and the gateways gave all of theirs.");
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            let item = entry.what.item.map_or_else(|| "—".to_owned(), |item| item.to_string());
            let gateway = match (entry.on_gateway, entry.deleted_after, entry.what.item) {
                (false, _, _) if entry.what.kind == IMPORT => "imported".to_owned(),
                (false, _, _) => format!("gone ({})", entry.what.gone.as_deref().unwrap_or_default()),
                (true, Some(after), _) => format!("there until {}", output::minute(after)),
                (true, None, _) => "there".to_owned(),
            };
            vec![
                item,
                entry.what.disposition.as_str().to_owned(),
                output::minute(entry.what.at),
                output::bytes(entry.what.size),
                output::safe(&format!("{} {}", entry.what.folder, entry.what.native_id)),
                gateway,
                output::safe(&entry.what.reason),
            ]
        })
        .collect();
    let head = ["ITEM", "STATE", "SINCE", "SIZE", "FOLDER AND ID", "ON THE GATEWAY", "WHY"];
    output::line(&output::table(&head, &rows));
    output::line("");
    output::line(
        "`gatepost quarantine show ITEM` shows one, `retry` decodes it again. The bytes of an item with a number",
    );
    output::line("stand in the archive; one without was never given by its gateway, and is never deleted there.");
    Ok(Exit::Ok)
}

/// When the policy of its profile deletes what was quarantined then.
fn due(profile: &ProfileSettings, at: Timestamp) -> Option<Timestamp> {
    let wait = wiring::profile(profile).quarantine_wait().filter(|_| profile.delete)?;
    at.checked_add(SignedDuration::try_from(wait).ok()?).ok()
}

pub fn show(global: &Global, item: u64, raw: bool, as_json: bool) -> Result<Exit, Failure> {
    let reader = Reader::open(&wiring::layout(global)?)?;
    let record = reader.item(item).map_err(|error| unknown(error, item))?;
    if raw {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        reader.item_bytes(item, &mut out)?;
        out.flush()?;
        return Ok(Exit::Ok);
    }
    let sightings = reader.provenance(item)?;
    let mut head = Head { bytes: Vec::new() };
    reader.item_bytes(item, &mut head)?;
    let head = String::from_utf8_lossy(&head.bytes).into_owned();
    if as_json {
        output::json(&json!({
            "item": item, "quarantine": record.quarantine, "sha256": record.sha256, "size": record.size,
            "peer": record.peer, "fetched": record.fetched, "program": record.program,
            "sightings": sightings, "head": head,
        }))?;
        return Ok(Exit::Ok);
    }
    let say = |label: &str, text: &str| output::line(&format!("{label:<12}{}", output::safe(text)));
    say("Item", &item.to_string());
    match &record.quarantine {
        Some(why) => say("Quarantined", why),
        None => say("Quarantined", "no: it was decoded; `gatepost list` and `show` have its message"),
    }
    say("Size", &format!("{} bytes", record.size));
    say("SHA-256", &record.sha256.to_string());
    say("Fetched", &format!("{} from {} by {}", output::time(record.fetched), record.peer, record.program));
    for one in &sightings {
        let gone = match &one.gone {
            _ if one.kind == IMPORT => "imported".to_owned(),
            Some(gone) => format!("gone: {gone}"),
            None => "on the gateway".to_owned(),
        };
        say(
            "Seen",
            &format!(
                "{} {} in {} of {} on {} ({}, {gone})",
                one.native_id,
                one.date,
                one.folder,
                one.login,
                one.host,
                one.disposition.as_str()
            ),
        );
    }
    output::line("");
    for line in head.lines() {
        output::line(&output::safe(&format!("    {line}")));
    }
    if record.size > HEAD_BYTES as u64 {
        output::line(&format!("    … {} bytes in all; --raw writes them", record.size));
    }
    Ok(Exit::Ok)
}

fn unknown(error: crate::archive::ArchiveError, item: u64) -> Failure {
    match error.kind {
        ErrorKind::Unusable => Failure::usage(format!("there is no item {item} in the archive"))
            .hint("`gatepost quarantine list` shows the numbers"),
        _ => error.into(),
    }
}

/// Takes the first bytes and lets the rest go by: the whole item is proved all the same.
struct Head {
    bytes: Vec<u8>,
}

impl std::io::Write for Head {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = HEAD_BYTES.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub fn retry(global: &Global, items: &[u64], all: bool, as_json: bool) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    let layout = wiring::layout_of(&settings.archive);
    let items = match all {
        true => Reader::open(&layout)?.quarantined()?,
        false => quarantined(&Reader::open(&layout)?, items)?,
    };
    orders::give(global, &settings, &Order::QuarantineRetry { items }, as_json)
}

/// Decodes and files them again.
pub async fn retried(running: &Running, settings: &Settings, items: &[u64], who: &str) -> Result<Done, Failure> {
    let layout = wiring::layout_of(&settings.archive);
    let people = Arc::new(wiring::people(settings, Some(&Catalogue::of(&layout)?))?);
    let rules = wiring::rules_of(settings, &people);
    let reader = Reader::open(&layout)?;
    let mut retried: Vec<Retried> = Vec::new();
    let mut failure = None;
    for item in items {
        match try_again(&running.agent, &reader, &rules, *item, who).await {
            Ok(one) => retried.push(one),
            // What was retried before stands.
            Err(error) => {
                failure = Some(Failure::from(error));
                break;
            }
        }
    }
    let still = retried.iter().any(|one| one.quarantine.is_some());
    let mut done = Done::new(if still { Exit::Attention } else { Exit::Ok }, json!({ "items": retried }));
    for one in &retried {
        match &one.quarantine {
            Some(why) => done.line(output::safe(&format!("item {}: still quarantined: {why}", one.item))),
            None => done.line(format!("item {}: decoded and filed", one.item)),
        }
        for filing in &one.filings {
            let text = format!("    {} {} — {}", filing.person, filing.folder.as_str(), filing.because);
            done.line(output::safe(&text));
        }
    }
    if retried.is_empty() && failure.is_none() {
        done.line("No item is quarantined.");
    }
    done.failure = failure;
    Ok(done)
}

/// Those that were named, when each of them is quarantined.
fn quarantined(reader: &Reader, items: &[u64]) -> Result<Vec<u64>, Failure> {
    for item in items {
        let record = reader.item(*item).map_err(|error| unknown(error, *item))?;
        if record.quarantine.is_none() {
            return Err(Failure::usage(format!("item {item} is not quarantined"))
                .hint("`gatepost quarantine list` shows what is; `gatepost refile --item` files decoded items anew"));
        }
    }
    Ok(items.to_vec())
}

pub fn delete_on_gateway(global: &Global, items: &[u64], yes: bool, as_json: bool) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    let reader = Reader::open(&wiring::layout_of(&settings.archive))?;
    let items = quarantined(&reader, items)?;
    let orders = on_gateways(&reader, &settings, &items)?;
    drop(reader);
    let count = orders.iter().map(|(_, sightings)| sightings.len() as u64).sum::<u64>();
    if count == 0 {
        output::note("none of them is on its gateway any more; nothing was deleted");
        return Ok(Exit::Ok);
    }
    if !yes && !confirmed(count)? {
        return Err(Failure::usage("nothing was deleted: the deletion was not confirmed").hint("add --yes"));
    }
    wiring::passwords(&orders.iter().map(|(profile, _)| *profile).collect::<Vec<_>>())?;
    orders::give(global, &settings, &Order::QuarantineDelete { items }, as_json)
}

/// Where each of them still is.
fn on_gateways<'s>(
    reader: &Reader,
    settings: &'s Settings,
    items: &[u64],
) -> Result<Vec<(&'s ProfileSettings, Vec<Provenance>)>, Failure> {
    let mut orders: Vec<(&ProfileSettings, Vec<Provenance>)> = Vec::new();
    for item in items {
        let there = reader.provenance(*item)?.into_iter();
        for one in
            there.filter(|one| one.gone.is_none() && one.disposition == Disposition::Quarantined && one.kind != IMPORT)
        {
            let profile = polled(settings, &one, *item)?;
            match orders.iter_mut().find(|(known, _)| known.name == profile.name) {
                Some((_, sightings)) => sightings.push(one),
                None => orders.push((profile, vec![one])),
            }
        }
    }
    Ok(orders)
}

/// Deletes them on their gateways; a person asked, and confirmed it.
pub async fn deleted(running: &Running, settings: &Settings, items: &[u64], who: &str) -> Result<Done, Failure> {
    let orders = {
        let reader = Reader::open(&wiring::layout_of(&settings.archive))?;
        let items = quarantined(&reader, items)?;
        on_gateways(&reader, settings, &items)?
    };
    let mut done: Vec<Ordered> = Vec::new();
    let mut failure = None;
    for (profile, sightings) in &orders {
        let ordered = async {
            let (gate, Entered { mut source, ticket }) = login::enter(settings, profile, Asked::ByName).await?;
            if let (false, why) = (source.abilities().can_delete, &source.abilities().cannot_delete_because) {
                let why = why.clone().unwrap_or_default();
                source.close().await;
                return Err(Failure {
                    exit: Exit::Gateway,
                    what: format!(
                        "{}: this gateway cannot delete single items: {why}; nothing was deleted",
                        profile.name
                    ),
                    hint: Some("delete them with another mail client; the next run takes note".into()),
                    refused: false,
                });
            }
            let ordered = delete_quarantined(&running.agent, &mut source, sightings, who).await;
            source.close().await;
            ordered.map_err(|error| login::ended(&gate, &ticket, error))
        };
        match ordered.await {
            Ok(ordered) => done.extend(ordered),
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    let exit = if done.iter().all(|one| one.deleted) { Exit::Ok } else { Exit::Attention };
    let mut told = Done::new(exit, json!({ "sightings": done }));
    for one in &done {
        let what = one.because.as_deref().unwrap_or("deleted on the gateway; its bytes stay in the archive");
        told.line(output::safe(&format!("{} {}: {what}", one.folder, one.native_id)));
    }
    told.failure = failure;
    Ok(told)
}

fn polled<'a>(settings: &'a Settings, one: &Provenance, item: u64) -> Result<&'a ProfileSettings, Failure> {
    wiring::profile_of(settings, &one.host, &one.login, &one.folder).ok_or_else(|| {
        Failure::usage(format!(
            "item {item} lies in {} of {} on {}, which no profile polls; nothing was deleted",
            one.folder, one.login, one.host
        ))
        .hint("add the profile again, or delete it there with another mail client")
    })
}

/// Asks on a terminal; elsewhere there is nobody to ask.
fn confirmed(count: u64) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    let items = output::plural(count, "item", "items");
    output::note(&format!("Delete {items} on the gateway? The bytes stay in the archive. Type yes:"));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
