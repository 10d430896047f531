//! The roster: the last good list of people from a directory, and how a new list becomes the next roster.
//!
//! Must hold: a person's key (objectGUID, entryUUID) names one archive for good, whatever becomes of name and
//! addresses. An address has one owner at a time; when it moves, the mail from before stays its former owner's.
//! People who are gone are kept, so that what is theirs is still found. A list that is empty or much shorter than the
//! last one is refused: the directory is then likelier wrong than the company.
//!
//! Pure: values in, values out. Who asks the directory and keeps the roster's file is `ops`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::address::Address;
use crate::people::PersonId;

/// Of the file; another number is a roster that this program does not understand.
const VERSION: u32 = 1;

/// One person, as a directory has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// objectGUID or entryUUID, in lower case.
    pub key: String,
    pub name: Option<String>,
    /// The primary SMTP address, else `mail`, else the login name; one of `addresses`.
    pub main: Option<Address>,
    pub addresses: BTreeSet<Address>,
    /// legacyExchangeDN and X500 proxies, as written there.
    pub legacy: Vec<String>,
    /// Those of the configured groups that this person is in, as the configuration names them.
    pub groups: Vec<String>,
    pub disabled: bool,
}

/// When an address was somebody's: from (inclusive, `None`: ever) until (exclusive, `None`: still).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenure {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Tenure {
    pub fn holds(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Names the archive.
    pub id: PersonId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// In the last good list?
    pub present: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<Address>,
    /// In order of time; the last one may be open.
    pub addresses: BTreeMap<Address, Vec<Tenure>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legacy: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

impl Listed {
    /// The addresses that are this person's now.
    pub fn current(&self) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(|(_, tenures)| is_open(tenures)).map(|(address, _)| address)
    }
}

fn is_open(tenures: &[Tenure]) -> bool {
    tenures.last().is_some_and(|tenure| tenure.until.is_none())
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    version: u32,
    /// The directory that was asked, for people.
    pub source: String,
    pub fetched: Timestamp,
    /// By key.
    pub people: BTreeMap<String, Listed>,
}

/// An archive that is there already, whoever made it.
#[derive(Clone, Debug)]
pub struct Archived {
    pub id: PersonId,
    /// The directory's key that the archive's record names.
    pub key: Option<String>,
    pub addresses: Vec<Address>,
}

/// What the archive remembers of a person from a directory.
#[derive(Clone, Debug)]
pub struct Remembered {
    pub key: String,
    pub id: PersonId,
    pub name: Option<String>,
    pub tenures: Vec<(Address, Tenure)>,
}

/// Under which conditions a list is taken.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    pub now: Timestamp,
    /// A list is refused when this percentage of the people in the last one, or more, is missing in it; `None`: the
    /// administrator takes the drop on purpose.
    pub drop_max_percent: Option<u32>,
    /// Nobody owns these.
    pub never_owners: &'a HashSet<Address>,
}

/// Why a list was not taken. The last good roster goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the directory answered, but lists nobody ({before} before)")]
    Nobody { before: usize },
    #[error("{gone} of the {before} people before are missing in the directory's answer, which lists {now}")]
    Dropped { before: usize, gone: usize, now: usize },
}

#[derive(Clone, Debug)]
pub struct Renewed {
    pub roster: Roster,
    /// What an administrator should put right in the directory.
    pub notices: Vec<String>,
}

/// How one roster differs from the one before, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub added: Vec<PersonId>,
    pub gone: Vec<PersonId>,
    pub returned: Vec<PersonId>,
    /// Address, from whom, to whom.
    pub moved: Vec<(Address, PersonId, PersonId)>,
    /// Of people in both: an address that nobody had, and one that nobody has any more.
    pub gained: Vec<(Address, PersonId)>,
    pub lost: Vec<(Address, PersonId)>,
}

impl Roster {
    /// The roster after `entries` were listed. `source` is told to people; `archives` are those that exist.
    pub fn renewed(
        previous: Option<&Roster>,
        source: &str,
        entries: &[Entry],
        archives: &[Archived],
        terms: Terms<'_>,
    ) -> Result<Renewed, Refused> {
        let Terms { now, never_owners, .. } = terms;
        let mut notices = Vec::new();
        let may_own = |address: &&Address| !never_owners.contains(*address) && !super::snapshot::is_machine(address);
        let mut sorted: BTreeMap<&str, (&Entry, BTreeSet<&Address>)> = BTreeMap::new();
        for entry in entries {
            let addresses: BTreeSet<&Address> = entry.addresses.iter().filter(may_own).collect();
            // Nobody whose mail could be told: a service account, a health probe.
            if !addresses.is_empty() {
                sorted.entry(&entry.key).or_insert((entry, addresses));
            }
        }
        let mut people = previous.map(|roster| roster.people.clone()).unwrap_or_default();
        refuse_drop(&people, &sorted, terms.drop_max_percent)?;

        let owners = owners(&people, &sorted, &mut notices);
        give_ids(&mut people, &sorted, archives, &owners);
        for (key, listed) in &mut people {
            match sorted.get(key.as_str()) {
                Some((entry, _)) => {
                    listed.present = true;
                    listed.disabled = entry.disabled;
                    listed.name = entry.name.clone().or(listed.name.take());
                    listed.main = entry.main.clone();
                    listed.groups = entry.groups.clone();
                    for name in &entry.legacy {
                        // Old mail still carries the old name, so none is taken away.
                        if !listed.legacy.contains(name) {
                            listed.legacy.push(name.clone());
                        }
                    }
                }
                None => listed.present = false,
            }
        }
        let had: HashSet<Address> = people.values().flat_map(|listed| listed.addresses.keys().cloned()).collect();
        for (key, listed) in &mut people {
            for (address, tenures) in &mut listed.addresses {
                if owners.get(address) != Some(&key.as_str())
                    && let Some(last) = tenures.last_mut()
                    && last.until.is_none()
                {
                    last.until = Some(now);
                }
            }
        }
        for (address, key) in owners {
            let Some(listed) = people.get_mut(key) else { continue };
            let tenures = listed.addresses.entry(address.clone()).or_default();
            if !is_open(tenures) {
                // What was sent there before anybody had it can only be meant for its first owner.
                let from = had.contains(address).then_some(now);
                tenures.push(Tenure { from, until: None });
            }
        }
        let roster = Roster { version: VERSION, source: source.to_owned(), fetched: now, people };
        Ok(Renewed { roster, notices })
    }

    /// What can be had again of a roster that is lost, from those who have an archive: who had which address when.
    /// Nobody counts as listed, so that the next list is no drop.
    pub fn restored(source: &str, fetched: Timestamp, remembered: impl IntoIterator<Item = Remembered>) -> Roster {
        let mut people = BTreeMap::new();
        for Remembered { key, id, name, tenures } in remembered {
            let mut addresses: BTreeMap<Address, Vec<Tenure>> = BTreeMap::new();
            for (address, tenure) in tenures {
                addresses.entry(address).or_default().push(tenure);
            }
            for tenures in addresses.values_mut() {
                // The open one is the last one.
                tenures.sort_by_key(|tenure| (tenure.until.is_none(), tenure.from));
            }
            let listed = Listed {
                id,
                name,
                present: false,
                disabled: false,
                main: None,
                addresses,
                legacy: Vec::new(),
                groups: Vec::new(),
            };
            people.entry(key).or_insert(listed);
        }
        Roster { version: VERSION, source: source.to_owned(), fetched, people }
    }

    /// How many the last good list had.
    pub fn present(&self) -> usize {
        self.people.values().filter(|listed| listed.present).count()
    }

    pub fn difference(previous: Option<&Roster>, next: &Roster) -> Difference {
        let mut found = Difference::default();
        let before = |key: &str| previous.and_then(|roster| roster.people.get(key));
        let holders = |roster: &Roster| -> HashMap<Address, PersonId> {
            let all =
                roster.people.values().flat_map(|listed| listed.current().map(|a| (a.clone(), listed.id.clone())));
            all.collect()
        };
        let held_before = previous.map(holders).unwrap_or_default();
        let held_now = holders(next);
        for (key, listed) in &next.people {
            let old = before(key);
            match (old.map(|old| old.present), listed.present) {
                (None, true) => found.added.push(listed.id.clone()),
                (Some(false), true) => found.returned.push(listed.id.clone()),
                (Some(true), false) => found.gone.push(listed.id.clone()),
                (None | Some(false), false) | (Some(true), true) => {}
            }
            for address in listed.current() {
                match held_before.get(address) {
                    Some(former) if *former != listed.id => {
                        found.moved.push((address.clone(), former.clone(), listed.id.clone()));
                    }
                    None if old.is_some_and(|old| old.present) => {
                        found.gained.push((address.clone(), listed.id.clone()));
                    }
                    _ => {}
                }
            }
            for address in old.iter().filter(|_| listed.present).flat_map(|old| old.current()) {
                if !held_now.contains_key(address) {
                    found.lost.push((address.clone(), listed.id.clone()));
                }
            }
        }
        found
    }

    pub fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// `Err`: the bytes are no roster; why.
    pub fn parse(bytes: &[u8]) -> Result<Roster, String> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if version != VERSION {
            return Err(format!("it has version {version}; this program knows version {VERSION}"));
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }
}

fn refuse_drop(
    people: &BTreeMap<String, Listed>,
    sorted: &BTreeMap<&str, (&Entry, BTreeSet<&Address>)>,
    drop_max_percent: Option<u32>,
) -> Result<(), Refused> {
    let before = people.values().filter(|listed| listed.present).count();
    // Nobody at all is a wrong base or a login without rights, never a company: not even on purpose.
    if sorted.is_empty() {
        return Err(Refused::Nobody { before });
    }
    // Those who are missing, not the difference of the counts: a directory whose keys have all changed lists as many
    // people as before, and none of them.
    let is_missing = |(key, listed): &(&String, &Listed)| listed.present && !sorted.contains_key(key.as_str());
    let gone = people.iter().filter(is_missing).count();
    match drop_max_percent {
        Some(percent) if gone > 0 && gone as u64 * 100 >= before as u64 * u64::from(percent) => {
            Err(Refused::Dropped { before, gone, now: sorted.len() })
        }
        _ => Ok(()),
    }
}

/// Each address's one owner, by key.
fn owners<'a>(
    people: &BTreeMap<String, Listed>,
    sorted: &BTreeMap<&'a str, (&'a Entry, BTreeSet<&'a Address>)>,
    notices: &mut Vec<String>,
) -> BTreeMap<&'a Address, &'a str> {
    let mut claims: BTreeMap<&Address, Vec<&'a str>> = BTreeMap::new();
    for (key, (_, addresses)) in sorted {
        for address in addresses {
            claims.entry(address).or_default().push(key);
        }
    }
    let mut owners = BTreeMap::new();
    for (address, keys) in claims {
        // Who has it keeps it; else whose main address it is; else the smallest key, so that it is always the same.
        let has_it = |key: &&&str| people.get(**key).is_some_and(|listed| listed.current().any(|own| own == address));
        let is_main = |key: &&&str| sorted.get(**key).is_some_and(|(entry, _)| entry.main.as_ref() == Some(address));
        let winner = keys.iter().find(has_it).or_else(|| keys.iter().find(is_main)).or(keys.first());
        let Some(&winner) = winner else { continue };
        if keys.len() > 1 {
            let name = |key: &&str| match sorted.get(*key).and_then(|(entry, _)| entry.name.clone()) {
                Some(name) => format!("{name} ({key})"),
                None => (*key).to_owned(),
            };
            let all = keys.iter().map(name).collect::<Vec<_>>().join(", ");
            notices.push(format!("{address} belongs to several in the directory: {all}; {} has it", name(&winner)));
        }
        owners.insert(address, winner);
    }
    owners
}

/// Gives each new key the archive that is its own for good.
fn give_ids(
    people: &mut BTreeMap<String, Listed>,
    sorted: &BTreeMap<&str, (&Entry, BTreeSet<&Address>)>,
    archives: &[Archived],
    owners: &BTreeMap<&Address, &str>,
) {
    let mut taken: HashSet<String> = people.values().map(|listed| listed.id.folded()).collect();
    let new: Vec<_> = sorted.iter().filter(|(key, _)| !people.contains_key(**key)).collect();
    let mut ids: HashMap<&str, PersonId> = HashMap::new();
    let mut give = |id: &PersonId| taken.insert(id.folded());
    // First whose archive says so, then by main address, then by any: the better claim is heard before the weaker.
    let by_key: HashMap<&str, &Archived> =
        archives.iter().filter_map(|archived| Some((archived.key.as_deref()?, archived))).collect();
    let mut by_address: HashMap<&Address, &Archived> = HashMap::new();
    for archived in archives.iter().filter(|archived| archived.key.is_none()) {
        for address in &archived.addresses {
            by_address.entry(address).or_insert(archived);
        }
    }
    for (key, _) in &new {
        if let Some(archived) = by_key.get(**key)
            && give(&archived.id)
        {
            ids.insert(key, archived.id.clone());
        }
    }
    let owns = |key: &str, address: &Address| owners.get(address) == Some(&key);
    for (key, (entry, _)) in &new {
        let main = entry.main.as_ref().filter(|main| owns(key, main));
        if !ids.contains_key(**key)
            && let Some(archived) = main.and_then(|main| by_address.get(main))
            && give(&archived.id)
        {
            ids.insert(key, archived.id.clone());
        }
    }
    for (key, (_, addresses)) in &new {
        if ids.contains_key(**key) {
            continue;
        }
        let found =
            addresses.iter().filter(|address| owns(key, address)).filter_map(|address| by_address.get(*address));
        for archived in found {
            if give(&archived.id) {
                ids.insert(key, archived.id.clone());
                break;
            }
        }
    }
    // An archive that nobody adopted is still somebody's.
    taken.extend(archives.iter().map(|archived| archived.id.folded()));
    for (key, (entry, addresses)) in &new {
        let id = match ids.remove(**key) {
            Some(id) => id,
            None => {
                let main = entry.main.as_ref().filter(|main| addresses.contains(main)).or(addresses.first().copied());
                let Some(main) = main else { continue };
                free_id(main, &mut taken)
            }
        };
        let listed = Listed {
            id,
            name: None,
            present: true,
            disabled: false,
            main: None,
            addresses: BTreeMap::new(),
            legacy: Vec::new(),
            groups: Vec::new(),
        };
        people.insert((**key).to_owned(), listed);
    }
}

/// The main address, with a number when another person's archive is called by it.
fn free_id(main: &Address, taken: &mut HashSet<String>) -> PersonId {
    let usual = PersonId::for_address(main);
    let mut id = usual.clone();
    let mut number = 2;
    while !taken.insert(id.folded()) {
        id = PersonId(format!("{usual}~{number}"));
        number += 1;
    }
    id
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
