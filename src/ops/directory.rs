//! The directory of people, asked before a cycle, and its last good list, kept in the archive's folder.
//!
//! Must hold: nobody's mail is filed by half a list. A directory that is down, or a list that is refused, changes
//! nothing: the last good one goes on, with its age in every report. Without any list there is no cycle. A file that
//! cannot be read is an error and never replaced by an empty one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use super::exit::{Exit, Failure};
use super::output;
use super::status::DirectoryStatus;
use super::wiring::{self, Global, Running};
use crate::agent::alarms::{Kind, Notice};
use crate::agent::route;
use crate::archive::{Catalogue, Core, PersonRecord};
use crate::base::fsio::{self, Fs};
use crate::config::{LdapSettings, Settings};
use crate::people::directory::{Archived, Difference, Refused, Remembered, Renewed, Roster, Tenure, Terms};
use crate::people::{People, PersonId, UNASSIGNED, ldap};

const FILE: &str = "people-ldap.json";
/// 100,000 people are 50 MB.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
const SHOWN_MAX: usize = 20;

/// The people of a cycle, or why there are none; what somebody should be told in each report.
pub struct Known {
    pub people: Result<Arc<People>, Failure>,
    pub alarms: Vec<Notice>,
    /// Those who have an archive, as a new list of the directory has them: for the archive's own records, by which a
    /// lost list finds its archives again.
    pub records: Vec<PersonRecord>,
}

impl Known {
    pub fn of(people: People) -> Known {
        Known { people: Ok(Arc::new(people)), alarms: Vec::new(), records: Vec::new() }
    }

    /// They are used once more, because the newest cannot be read.
    pub fn cannot_be_renewed(&mut self, failure: &Failure) {
        let what = format!("the people could not be read, those of before go on: {}", failure.what);
        self.alarms = vec![Notice::new(Kind::People, what)];
        self.records.clear();
    }

    /// Records in the archive what is new about its people.
    pub async fn record(&self, running: &Running) -> Result<(), Failure> {
        if !self.records.is_empty() {
            let records = self.records.clone();
            let put = move |core: &mut Core| core.put_people(records).and_then(|_| core.close());
            running.agent.archive.call(put).await?;
        }
        Ok(())
    }
}

/// Asks the directory when its list is old, for all profiles of a process together.
#[derive(Default)]
pub struct Keeper {
    last: tokio::sync::Mutex<Option<Attempt>>,
}

/// One that failed. It is not repeated before the list would be asked for anyway: a password that was refused again
/// and again would lock the account.
struct Attempt {
    at: Instant,
    failure: Failure,
}

impl Keeper {
    /// The people for a cycle that begins now. `Err`: what is at fault is here, and not the directory.
    pub async fn known(&self, settings: &Settings) -> Result<Known, Failure> {
        let catalogue = Catalogue::of(&wiring::layout_of(&settings.archive))?;
        let Some(directory) = &settings.directory else {
            return Ok(Known::of(wiring::people(settings, Some(&catalogue))?));
        };
        let mut last = self.last.lock().await;
        let kept = kept(settings)?;
        let is_fresh = kept.as_ref().is_some_and(|kept| age(kept) < directory.refresh);
        let recent = last.as_ref().filter(|attempt| attempt.at.elapsed() < directory.refresh);
        let asked = match recent {
            _ if is_fresh => None,
            Some(attempt) => Some(Err(attempt.failure.clone())),
            None => {
                let percent = Some(directory.people_drop_max);
                let asked = renew(settings, directory, Some(&catalogue), kept.as_ref(), percent).await;
                let failure = asked.as_ref().err();
                *last = failure.map(|failure| Attempt { at: Instant::now(), failure: failure.clone() });
                Some(asked)
            }
        };
        let mut alarms = Vec::new();
        let is_new = matches!(asked, Some(Ok(_)));
        let roster = match (asked, kept) {
            (None, kept) => kept,
            (Some(Ok(renewed)), _) => {
                for notice in &renewed.notices {
                    tracing::warn!(notice = output::safe(notice), "people from the directory");
                }
                keep(settings, &renewed.roster)?;
                Some(renewed.roster)
            }
            (Some(Err(failure)), Some(kept)) => {
                let hint = failure.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                let what = format!("{}{hint}; the last good list goes on: {}", failure.what, described(&kept));
                alarms.push(Notice::new(Kind::People, what));
                Some(kept)
            }
            (Some(Err(failure)), None) => {
                let what = format!("{}; there is no earlier list of people, so nothing was downloaded", failure.what);
                return Ok(Known { people: Err(Failure { what, ..failure }), alarms, records: Vec::new() });
            }
        };
        let people = wiring::people_with(settings, Some(&catalogue), roster.map(Arc::new))?;
        let records = if is_new { records(&people, &catalogue)? } else { Vec::new() };
        Ok(Known { alarms, records, ..Known::of(people) })
    }
}

/// What the archive should know of those of its people whom the directory lists.
fn records(people: &People, catalogue: &Catalogue) -> Result<Vec<PersonRecord>, Failure> {
    let tenures = people.tenures();
    let mut records = Vec::new();
    for known in catalogue.persons()?.into_iter().filter(|known| known.merged_into.is_none()) {
        let id = PersonId(known.person);
        let (Some(key), Some(person)) = (people.key(&id), people.get(&id)) else { continue };
        let mut record = PersonRecord { key: Some(key.to_owned()), ..route::record_of(person) };
        if person.addresses.is_empty() {
            record.origin = "ldap".into();
        }
        for (address, tenure) in tenures.get(&id).into_iter().flatten() {
            record.addresses.push(address.to_string());
            let (from, until) = (tenure.from, tenure.until);
            record.tenures.push(crate::archive::Tenure { address: address.to_string(), from, until });
        }
        records.push(record);
    }
    Ok(records)
}

fn file(settings: &Settings) -> PathBuf {
    settings.archive.path.join(FILE)
}

/// The last good list; `None`: there never was one.
pub fn kept(settings: &Settings) -> Result<Option<Roster>, Failure> {
    use std::io::Read as _;
    if settings.directory.is_none() {
        return Ok(None);
    }
    let path = file(settings);
    let unusable = |why: String| Failure {
        exit: Exit::Damaged,
        what: format!(
            "{}: the list of people from the directory cannot be used: {why}; nothing was downloaded or deleted",
            path.display()
        ),
        hint: Some(
            "put a copy of it back; if there is none, move it away: the next run asks the directory anew, and knows \
             then only what is there now, not who had an address before"
                .into(),
        ),
        refused: false,
    };
    let opened = match fsio::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| unusable(error.to_string()))?,
    };
    let mut bytes = Vec::new();
    opened.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| unusable(error.to_string()))?;
    Roster::parse(&bytes).map(Some).map_err(unusable)
}

fn keep(settings: &Settings, roster: &Roster) -> Result<(), Failure> {
    let path = file(settings);
    let fs = Fs::from_environment().map_err(Failure::usage)?;
    fs.write_durably(&path, &roster.to_json()).map_err(|error| Failure {
        exit: if error.kind() == std::io::ErrorKind::StorageFull { Exit::NoSpace } else { Exit::Usage },
        what: format!(
            "{}: the list of people cannot be kept: {error}; nothing was downloaded or deleted",
            path.display()
        ),
        hint: None,
        refused: false,
    })
}

/// Asks the directory. Keeps nothing.
async fn renew(
    settings: &Settings,
    directory: &LdapSettings,
    catalogue: Option<&Catalogue>,
    previous: Option<&Roster>,
    drop_max_percent: Option<u32>,
) -> Result<Renewed, Failure> {
    let options = directory.options()?;
    let archives = archives(settings, catalogue)?;
    let entries = ldap::load(&options).await.map_err(|error| Failure {
        exit: Exit::Gateway,
        what: error.what,
        hint: error.hint,
        refused: error.refused,
    })?;
    let restored = match (previous, catalogue) {
        (None, Some(catalogue)) => Some(restored(directory, catalogue)?),
        _ => None,
    };
    let previous = previous.or(restored.as_ref().filter(|roster| !roster.people.is_empty()));
    let never_owners = wiring::people_options(settings, None).never_owners.into_iter().collect();
    let terms = Terms { now: Timestamp::now(), drop_max_percent, never_owners: &never_owners };
    Roster::renewed(previous, &directory.source(), &entries, &archives, terms).map_err(|refused| Failure {
        exit: Exit::Gateway,
        what: format!("the list of {} was refused: {refused}", directory.source()),
        hint: Some(match refused {
            Refused::Nobody { .. } => "check `base` and `filter`, and what the login may see".into(),
            Refused::Dropped { .. } => {
                "if that is right, take it by `gatepost people refresh --accept-drop`; `people_drop_max` is the limit"
                    .into()
            }
        }),
        refused: false,
    })
}

/// A roster for one that is lost, from the archive's records.
fn restored(directory: &LdapSettings, catalogue: &Catalogue) -> Result<Roster, Failure> {
    let remembered =
        catalogue.persons()?.into_iter().filter(|record| record.merged_into.is_none()).filter_map(|record| {
            let tenures = record.tenures.into_iter().filter_map(|tenure| {
                let address = crate::base::address::Address::parse(&tenure.address)?;
                Some((address, Tenure { from: tenure.from, until: tenure.until }))
            });
            Some(Remembered {
                key: record.key?,
                id: PersonId(record.person),
                name: record.name,
                tenures: tenures.collect(),
            })
        });
    Ok(Roster::restored(&directory.source(), Timestamp::now(), remembered))
}

/// The archives that are there: a person whom the directory lists first gets the one that is about them.
fn archives(settings: &Settings, catalogue: Option<&Catalogue>) -> Result<Vec<Archived>, Failure> {
    let listed = People::build(&wiring::people_options(settings, None), &[])?;
    let mut archives: Vec<Archived> = listed
        .persons()
        .map(|person| Archived {
            id: person.id.clone(),
            key: None,
            addresses: person.addresses.keys().cloned().collect(),
        })
        .collect();
    for record in catalogue.map(Catalogue::persons).transpose()?.unwrap_or_default() {
        if record.person != UNASSIGNED {
            let addresses = record.addresses.iter().filter_map(|text| crate::base::address::Address::parse(text));
            let addresses = addresses.collect();
            archives.push(Archived { id: PersonId(record.person.clone()), key: record.key, addresses });
        }
    }
    Ok(archives)
}

/// How long ago the list was fetched; a clock that was set back makes it fresh, not old.
fn age(roster: &Roster) -> Duration {
    Duration::try_from(Timestamp::now().duration_since(roster.fetched)).unwrap_or_default()
}

/// `20000 people from ldaps://dc.corp.example:636, 2h 5m old`
pub fn described(roster: &Roster) -> String {
    let people = output::plural(roster.present() as u64, "person", "people");
    format!("{people} from {}, {} old", roster.source, words(age(roster)))
}

/// In the two largest units.
fn words(age: Duration) -> String {
    let seconds = age.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// For `status`: `None` without a directory.
pub fn status(settings: &Settings) -> Result<Option<DirectoryStatus>, Failure> {
    let Some(directory) = &settings.directory else { return Ok(None) };
    let kept = kept(settings)?;
    // An agent asks at the cycle after the list became old; long after that something is wrong.
    let is_overdue = |roster: &Roster| age(roster) > directory.refresh * 2;
    Ok(Some(DirectoryStatus {
        source: directory.source(),
        people: kept.as_ref().map_or(0, Roster::present),
        fetched: kept.as_ref().map(|roster| roster.fetched),
        age_s: kept.as_ref().map(|roster| age(roster).as_secs()),
        overdue: kept.as_ref().is_some_and(is_overdue),
        shown: kept.as_ref().map_or_else(|| format!("never fetched from {}", directory.source()), described),
    }))
}

/// For `check`: asks the directory, keeps nothing. Why it failed, or what it would give.
pub async fn asked(settings: &Settings, directory: &LdapSettings) -> Result<(Renewed, Duration), Failure> {
    let catalogue = Catalogue::of(&wiring::layout_of(&settings.archive)).ok();
    let previous = kept(settings)?;
    let started = Instant::now();
    let percent = Some(directory.people_drop_max);
    let renewed = renew(settings, directory, catalogue.as_ref(), previous.as_ref(), percent).await?;
    Ok((renewed, started.elapsed()))
}

/// `gatepost people refresh`: asks now, keeps the list, and shows what changed.
pub fn refresh(global: &Global, accept_drop: bool, as_json: bool) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    let Some(directory) = &settings.directory else {
        return Err(Failure::usage("the configuration names no directory")
            .hint("add a [people.ldap]; the CSV and [[people.person]] are read anew in each cycle anyway"));
    };
    let layout = wiring::layout_of(&settings.archive);
    let has_archive = layout.identity_file().exists();
    let catalogue = if has_archive { Some(Catalogue::of(&layout)?) } else { None };
    let previous = kept(&settings)?;
    let percent = (!accept_drop).then_some(directory.people_drop_max);
    let asked = renew(&settings, directory, catalogue.as_ref(), previous.as_ref(), percent);
    let renewed = wiring::runtime()?.block_on(asked).map_err(|failure| match &previous {
        None => failure,
        Some(roster) => {
            Failure { what: format!("{}; the last good list goes on: {}", failure.what, described(roster)), ..failure }
        }
    })?;
    // A file in the folder of an archive that is not there yet would look like an archive that lost something.
    if has_archive {
        keep(&settings, &renewed.roster)?;
    }
    let difference = Roster::difference(previous.as_ref(), &renewed.roster);
    if as_json {
        output::json(&json!({
            "source": renewed.roster.source,
            "people": renewed.roster.present(),
            "kept": has_archive,
            "difference": difference,
            "notices": renewed.notices,
        }))?;
        return Ok(Exit::Ok);
    }
    show(&renewed, &difference, previous.is_none());
    if !has_archive {
        output::note("notice: there is no archive yet, so that the list was not kept; the first run asks again");
    }
    Ok(Exit::Ok)
}

fn show(renewed: &Renewed, difference: &Difference, is_first: bool) {
    let roster = &renewed.roster;
    let people = output::plural(roster.present() as u64, "person", "people");
    output::line(&format!("{people} from {}", roster.source));
    for notice in &renewed.notices {
        output::note(&format!("warning: {}", output::safe(notice)));
    }
    if is_first {
        return;
    }
    let ids = |ids: &[PersonId]| ids.iter().map(|id| id.0.clone()).collect::<Vec<_>>();
    let owned = |pairs: &[(crate::base::address::Address, PersonId)]| {
        pairs.iter().map(|(address, id)| format!("{address} ({id})")).collect::<Vec<_>>()
    };
    let moved = difference.moved.iter().map(|(address, from, to)| format!("{address} from {from} to {to}")).collect();
    for (what, all) in [
        ("added", ids(&difference.added)),
        ("returned", ids(&difference.returned)),
        ("gone", ids(&difference.gone)),
        ("moved", moved),
        ("new addresses", owned(&difference.gained)),
        ("addresses gone", owned(&difference.lost)),
    ] {
        if all.is_empty() {
            continue;
        }
        output::line(&format!("  {what}: {}", all.len()));
        for one in all.iter().take(SHOWN_MAX) {
            output::line(&format!("    {}", output::safe(one)));
        }
        if all.len() > SHOWN_MAX {
            output::line(&format!("    … and {} more; --json names all", all.len() - SHOWN_MAX));
        }
    }
    if *difference == Difference::default() {
        output::line("  nothing has changed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_in_words() {
        for (seconds, expected) in [(0, "0s"), (59, "59s"), (61, "1m"), (7_500, "2h 5m"), (200_000, "2d 7h")] {
            assert_eq!(words(Duration::from_secs(seconds)), expected);
        }
    }
}
