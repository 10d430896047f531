//! The immutable answer to "who is this address?" that one run works with.
//!
//! Built from four sources, of which the earlier wins an address: the configuration, the CSV file, the
//! directory (its last good roster), and people that the archive remembers because a rule created them.
//! It never does I/O after it was built, and building it never changes the archive.
//!
//! What the directory says of an address holds for a time, the rest always: an address that changed hands
//! there leaves the mail from before to whom it was sent.
//!
//! Of remembered people only the addresses that came by *rule* count: an address taken out of the
//! configuration or the CSV is taken out, whatever an earlier run recorded. Their archives stay known.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use crate::base::address::Address;
use crate::people::directory::{Listed, Roster, Tenure};
use crate::people::error::{PeopleErrors, Problem};
use crate::people::{Origin, PeopleOptions, Person, PersonId, Who, csv, tags};

#[derive(Clone, Debug)]
pub struct People {
    persons: BTreeMap<PersonId, Person>,
    /// By the configuration and the CSV.
    owners: HashMap<Address, PersonId>,
    /// By the directory; no two of one address at the same time.
    tenures: HashMap<Address, Vec<(Tenure, PersonId)>>,
    /// By rule.
    ruled: HashMap<Address, PersonId>,
    /// The directory's keys of those that it lists.
    keys: BTreeMap<PersonId, String>,
    /// Directory names, as [`tags::legacy_key`] writes them.
    legacy: HashMap<String, PersonId>,
    domain_aliases: BTreeMap<String, String>,
    domains: HashSet<String>,
    /// With the leading dot: subdomains of these are internal, the domain itself is not.
    suffixes: Vec<String>,
    never_owners: HashSet<Address>,
}

impl People {
    /// Reads the CSV file, if there is one. `existing` are the people the archive knows.
    pub fn build(options: &PeopleOptions, existing: &[Person]) -> Result<People, PeopleErrors> {
        let (suffixes, domains) = options.internal_domains.iter().cloned().partition(|domain| domain.starts_with('.'));
        let mut people = People {
            persons: BTreeMap::new(),
            owners: HashMap::new(),
            tenures: HashMap::new(),
            ruled: HashMap::new(),
            keys: BTreeMap::new(),
            legacy: HashMap::new(),
            domain_aliases: options.domain_aliases.clone(),
            domains: Vec::into_iter(domains).collect(),
            suffixes,
            never_owners: options.never_owners.iter().cloned().collect(),
        };
        // `config` has reported conflicts among these already; here the first one wins.
        for person in &options.persons {
            people.adopt(person.clone());
        }
        if let Some(path) = &options.csv {
            let problems = people.add_rows(path, csv::read(path)?);
            if !problems.is_empty() {
                return Err(PeopleErrors(problems));
            }
        }
        if let Some(roster) = &options.directory {
            people.add_roster(roster);
        }
        for person in existing {
            people.remember(person);
        }
        Ok(people)
    }

    /// Who sent or received by this address at that time: the first of its forms ([`tags::candidates`]) that somebody
    /// owned then.
    pub fn who(&self, address: &Address, at: Timestamp) -> Who {
        let candidates = tags::candidates(address, |domain| self.domain_aliases.get(domain).cloned());
        for candidate in &candidates {
            if self.never_owners.contains(candidate) || is_machine(candidate) {
                return Who::Machine;
            }
            if let Some(id) = self.owner(candidate, at) {
                return Who::Owner(id.clone());
            }
        }
        if let Some(id) = tags::legacy(address.as_str()).and_then(|name| self.legacy.get(&name)) {
            return Who::Owner(id.clone());
        }
        if candidates.iter().any(|candidate| self.is_internal(candidate)) {
            Who::UnknownInternal
        } else {
            Who::External
        }
    }

    /// Who received by this address. In a list's bounce address that is the recipient whom it names, if we know one;
    /// of a sender that would be wrong: it is not the sender who is named there.
    pub fn who_received(&self, address: &Address, at: Timestamp) -> Who {
        let who = self.who(address, at);
        if matches!(who, Who::External | Who::UnknownInternal) {
            let named = tags::verp(address).into_iter().filter(|named| self.is_internal(named));
            if let Some(id) = named.into_iter().find_map(|named| self.owner(&named, at).cloned()) {
                return Who::Owner(id);
            }
        }
        who
    }

    fn owner(&self, address: &Address, at: Timestamp) -> Option<&PersonId> {
        let listed = || self.tenures.get(address)?.iter().find(|(tenure, _)| tenure.holds(at)).map(|(_, id)| id);
        self.owners.get(address).or_else(listed).or_else(|| self.ruled.get(address))
    }

    /// Who is meant by a directory name (`EX:/o=…`, `X500:…`), which is no address; `None` when nobody is known by it.
    pub fn who_by_name(&self, text: &str) -> Option<Who> {
        let name = tags::legacy(text)?;
        self.legacy.get(&name).map(|id| Who::Owner(id.clone()))
    }

    /// Addresses that are the gateways' own.
    pub fn never_owners(&self) -> impl Iterator<Item = &Address> {
        self.never_owners.iter()
    }

    /// The `internal_domains`, sorted.
    pub fn internal_domains(&self) -> Vec<&str> {
        let mut domains: Vec<&str> = self.domains.iter().chain(&self.suffixes).map(String::as_str).collect();
        domains.sort_unstable();
        domains
    }

    /// In one of the `internal_domains`? A subdomain counts only when it is listed, or its parent is
    /// listed as `.corp.example` or `*.corp.example`.
    pub fn is_internal(&self, address: &Address) -> bool {
        let domain = self.domain_aliases.get(address.domain()).map_or(address.domain(), String::as_str);
        self.domains.contains(domain) || self.suffixes.iter().any(|suffix| domain.ends_with(suffix.as_str()))
    }

    /// The same people and those a rule has just created; who owns an address already keeps it.
    pub fn with_created(mut self, created: impl IntoIterator<Item = Person>) -> People {
        for person in created {
            self.adopt(person);
        }
        self
    }

    /// The same people after archives were joined: whoever was merged is the other one now, with all addresses,
    /// also those that nobody is given any more. What was merged twice goes all the way.
    pub fn joined(mut self, merged: &[Merged]) -> People {
        let into: HashMap<&PersonId, &PersonId> = merged.iter().map(|one| (&one.from.id, &one.into)).collect();
        for one in merged {
            let mut id = &one.into;
            // Longer than this would be a circle, which the archive refuses to write.
            for _ in 0..merged.len() {
                id = into.get(id).copied().unwrap_or(id);
            }
            let timed = self.tenures.values_mut().flatten().map(|(_, owner)| owner);
            let always = self.owners.values_mut().chain(self.ruled.values_mut()).chain(self.legacy.values_mut());
            for owner in always.chain(timed).filter(|owner| **owner == one.from.id) {
                *owner = id.clone();
            }
            if let Some(key) = self.keys.remove(&one.from.id) {
                self.keys.entry(id.clone()).or_insert(key);
            }
            if let Some(person) = self.persons.remove(&one.from.id) {
                self.adopt(Person { id: id.clone(), name: None, ..person });
            }
            self.adopt_as(Person { id: id.clone(), name: None, ..one.from.clone() }, true);
        }
        self
    }

    pub fn get(&self, id: &PersonId) -> Option<&Person> {
        self.persons.get(id)
    }

    /// The directory's key of a person that it lists, or listed.
    pub fn key(&self, id: &PersonId) -> Option<&str> {
        self.keys.get(id).map(String::as_str)
    }

    /// The addresses that the directory gave to somebody for a time only.
    pub fn tenures(&self) -> HashMap<&PersonId, Vec<(&Address, &Tenure)>> {
        let mut found: HashMap<&PersonId, Vec<(&Address, &Tenure)>> = HashMap::new();
        for (address, tenures) in &self.tenures {
            for (tenure, id) in tenures.iter().filter(|(tenure, _)| tenure.from.is_some() || tenure.until.is_some()) {
                found.entry(id).or_default().push((address, tenure));
            }
        }
        found
    }

    /// Sorted by id; each address with its origin.
    pub fn persons(&self) -> impl Iterator<Item = &Person> {
        self.persons.values()
    }

    pub fn len(&self) -> usize {
        self.persons.len()
    }

    pub fn is_empty(&self) -> bool {
        self.persons.is_empty()
    }

    /// Takes a person in, with those addresses that are still free.
    fn adopt(&mut self, person: Person) {
        self.adopt_as(person, false);
    }

    /// `weakly`: with addresses that count only where nobody is given them, as those of a rule do.
    fn adopt_as(&mut self, person: Person, weakly: bool) {
        let Person { id, name, addresses, legacy, groups } = person;
        let mine = self.persons.entry(id.clone()).or_insert_with(|| Person {
            id: id.clone(),
            name: None,
            addresses: BTreeMap::new(),
            legacy: Vec::new(),
            groups: Vec::new(),
        });
        for group in groups {
            if !mine.groups.contains(&group) {
                mine.groups.push(group);
            }
        }
        mine.name = mine.name.take().or(name);
        for name in legacy {
            let owner = self.legacy.entry(tags::legacy_key(&name)).or_insert_with(|| id.clone());
            if *owner == id && !mine.legacy.contains(&name) {
                mine.legacy.push(name);
            }
        }
        for (address, origin) in addresses {
            let is_weak = weakly || origin == Origin::Rule;
            let is_elsewhere = |owner: &PersonId| *owner != id;
            if self.owners.get(&address).is_some_and(is_elsewhere)
                || is_weak && self.ruled.get(&address).is_some_and(is_elsewhere)
            {
                continue;
            }
            let tenures = self.tenures.get(&address);
            let held = tenures.and_then(|tenures| tenures.iter().find(|(tenure, _)| tenure.until.is_none()));
            if !is_weak || !held.is_some_and(|(_, owner)| is_elsewhere(owner)) {
                mine.addresses.entry(address.clone()).or_insert(origin);
            }
            match origin {
                _ if is_weak => drop(self.ruled.insert(address, id.clone())),
                Origin::Config | Origin::Csv | Origin::Rule => drop(self.owners.insert(address, id.clone())),
                // Its tenures say when.
                Origin::Ldap => {}
            }
        }
    }

    /// Adds whom the directory lists, or has listed.
    fn add_roster(&mut self, roster: &Roster) {
        let spellings: HashMap<String, PersonId> = self.persons.keys().map(|id| (id.folded(), id.clone())).collect();
        // Those who are there come first: names that the directory gave to somebody else are that person's.
        let (present, gone): (Vec<_>, Vec<_>) = roster.people.iter().partition(|(_, listed)| listed.present);
        for (key, listed) in present.into_iter().chain(gone) {
            let id = self.same_person(listed).or_else(|| spellings.get(&listed.id.folded()).cloned());
            let id = id.unwrap_or_else(|| listed.id.clone());
            self.adopt(Person {
                id: id.clone(),
                name: listed.name.clone(),
                addresses: BTreeMap::new(),
                legacy: listed.legacy.clone(),
                groups: if listed.present { listed.groups.clone() } else { Vec::new() },
            });
            self.keys.entry(id.clone()).or_insert_with(|| key.clone());
            for (address, tenures) in &listed.addresses {
                if self.owners.contains_key(address) {
                    continue;
                }
                if tenures.iter().any(|tenure| tenure.until.is_none())
                    && let Some(person) = self.persons.get_mut(&id)
                {
                    person.addresses.insert(address.clone(), Origin::Ldap);
                }
                let known = self.tenures.entry(address.clone()).or_default();
                known.extend(tenures.iter().map(|tenure| (tenure.clone(), id.clone())));
            }
        }
    }

    /// Whom the configuration or the CSV knows by an address of this person's: the two are one.
    fn same_person(&self, listed: &Listed) -> Option<PersonId> {
        let addresses = listed.main.iter().chain(listed.current());
        addresses.into_iter().find_map(|address| self.owners.get(address)).cloned()
    }

    fn add_rows(&mut self, path: &std::path::Path, rows: Vec<csv::Row>) -> Vec<Problem> {
        let mut problems = Vec::new();
        // One person may have several rows (one address per row is a common export), but not two spellings.
        let mut spellings: HashMap<String, PersonId> =
            self.persons.keys().map(|id| (id.folded(), id.clone())).collect();
        let mut lines: HashMap<Address, u64> = HashMap::new();
        for row in rows {
            let spelling = spellings.entry(row.person.folded()).or_insert_with(|| row.person.clone());
            if *spelling != row.person {
                let what = format!("person {} is also written {spelling}", row.person);
                problems.push(Problem::in_file(path, Some(row.line), what, "write the id in one way"));
                continue;
            }
            let own = Address::parse(row.person.as_str());
            let mut addresses = BTreeMap::new();
            for address in own.into_iter().chain(row.addresses) {
                if let Some(owner) = self.owners.get(&address).filter(|owner| **owner != row.person) {
                    let where_from = match lines.get(&address) {
                        Some(line) => format!("line {line}"),
                        None => "the configuration".to_owned(),
                    };
                    let what = format!("{address} is given to {}, but belongs to {owner} ({where_from})", row.person);
                    problems.push(Problem::in_file(
                        path,
                        Some(row.line),
                        what,
                        "an address has one owner: take one out",
                    ));
                } else if self.never_owners.contains(&address) {
                    let what = format!("{address} is given to {}, but stands in `never_owners`", row.person);
                    problems.push(Problem::in_file(path, Some(row.line), what, "take it out of one of the two"));
                } else {
                    lines.entry(address.clone()).or_insert(row.line);
                    addresses.insert(address, Origin::Csv);
                }
            }
            self.adopt(Person { id: row.person, name: row.name, addresses, legacy: Vec::new(), groups: Vec::new() });
        }
        problems
    }

    fn remember(&mut self, person: &Person) {
        let by_rule = |(address, origin): &(&Address, &Origin)| match origin {
            // Outside the internal domains the rule would not apply any more: a domain listed by
            // mistake must not go on filing strangers' mail once it is taken out.
            Origin::Rule => self.is_internal(address),
            Origin::Config | Origin::Csv | Origin::Ldap => false,
        };
        let addresses = person.addresses.iter().filter(by_rule).map(|(address, origin)| (address.clone(), *origin));
        let addresses = addresses.collect();
        self.adopt(Person {
            id: person.id.clone(),
            name: person.name.clone(),
            addresses,
            legacy: Vec::new(),
            groups: Vec::new(),
        });
    }
}

/// A person whose archive was joined to another.
#[derive(Clone, Debug)]
pub struct Merged {
    pub from: Person,
    pub into: PersonId,
}

/// The person that `unknown_internal = "create"` makes of an address: the address is the id.
///
/// Pure; [`People::with_created`] and the archive's commit make it real. Tags are taken off here as in
/// [`People::who`], else mail to `new+list@` would open an archive of its own when it comes before the
/// first mail to `new@`, and none when it comes after.
pub fn created_person(address: &Address) -> Person {
    let address = tags::base(address);
    let id = PersonId::for_address(&address);
    Person {
        id,
        name: None,
        addresses: BTreeMap::from([(address, Origin::Rule)]),
        legacy: Vec::new(),
        groups: Vec::new(),
    }
}

/// Addresses of the mail system itself, in every organisation the same.
pub(super) fn is_machine(address: &Address) -> bool {
    // The constant sender of Exchange's own messages, journal reports among them.
    if address.local() == "microsoftexchange329e71ec88ae4615bbc36ab6ce41109e" {
        return true;
    }
    // Managed-availability probes (Exchange 2013 and later): HealthMailbox and hexadecimal digits.
    let probe = |id: &str| id.len() >= 6 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    address.local().strip_prefix("healthmailbox").is_some_and(|id| id.is_empty() || probe(id))
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
