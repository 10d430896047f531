//! The meaning of `[archive]` and `[people]`: defaults, bounds, and what contradicts itself.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::doc::Doc;
use super::error::ConfigErrors;
use super::raw::{Found, Table};
use super::{ArchiveSettings, Settings, keys, ldap, policies, profile, watch};
use crate::agent::disk::Reserve;
use crate::agent::policies::Policies;
use crate::base::address::{Address, normalise_domain};
use crate::base::units::{BadUnit, parse_size};
use crate::journal::DecodeOptions;
use crate::people::{Origin, PeopleOptions, Person, PersonId};

const MIB: u64 = 1024 * 1024;
const PACK_MIN: u64 = MIB;
const WINDOW_MIN: u64 = 64 * 1024;

/// `file` is absolute; relative paths in it count from its folder.
pub fn settings(doc: Doc<'_>, tree: &Spanned<DeTable<'_>>, file: &Path) -> Result<Settings, ConfigErrors> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let top = Table::top(&doc, tree);
    let archive = match top.table("archive", &keys::ARCHIVE) {
        Some(table) => archive(&table, folder),
        None => {
            if !top.has("archive") {
                doc.error(
                    1,
                    "archive → path".into(),
                    "is missing",
                    "name the archive's folder: [archive] path = \"/var/lib/gatepost\"",
                );
            }
            None
        }
    };
    if let Some(archive) = &archive {
        // Beside the archive and not in it: whoever copies an archive must not take along what opens the mailbox.
        let mut name = archive.path.file_name().unwrap_or_default().to_owned();
        name.push(".tokens");
        doc.set_token_folder(archive.path.with_file_name(name));
    }
    let control = top.table("control", &keys::CONTROL).and_then(|table| path(&table, "socket", folder));
    let (mut policies, mut decode) = (Policies::default(), DecodeOptions::default());
    let mut directory = None;
    let people = top.table("people", &keys::PEOPLE).map(|table| {
        directory = table.table("ldap", &keys::PEOPLE_LDAP).and_then(|table| ldap::ldap(&table, folder));
        policies = policies::policies(&table, &policies);
        decode.clear_text = policies::clear_text(&table).unwrap_or_default();
        let journal_addresses = addresses(&table, "journal_addresses");
        decode.journal_addresses = journal_addresses.iter().map(|found| found.value.clone()).collect();
        people(&table, folder, journal_addresses)
    });
    let profiles = profile::all(&top, folder, &policies, &decode);
    if !top.has("profile") {
        doc.notice(
            1,
            "profile",
            "there is none, so that nothing will be fetched; add a [[profile]] with a [profile.imap]",
        );
    } else if people.as_ref().is_none_or(|people| people.internal_domains.is_empty()) {
        let text = "is not set: only people listed by hand own mail, and nobody is created by rule";
        doc.notice(top.line_of("people"), "people → internal_domains", text);
    }
    let alarms = top.table("alarms", &keys::ALARMS).map(|table| watch::alarms(&table, folder)).unwrap_or_default();
    let smtp = alarms.mail.as_ref().map(|mail| &mail.smtp);
    let canary = top.table("canary", &keys::CANARY).and_then(|table| watch::canary(&table, folder, smtp));
    let metrics = top.table("metrics", &keys::METRICS).map(|table| watch::metrics(&table)).unwrap_or_default();
    let log = top.table("log", &keys::LOG).map(|table| watch::log(&table, folder)).unwrap_or_default();
    drop(top);
    let notices = doc.finish()?;
    let Some(archive) = archive else {
        // Every way to `None` has noted a mistake, and `finish` has returned it.
        unreachable!("no archive and no mistake");
    };
    let people = people.unwrap_or_default();
    Ok(Settings {
        file: file.to_owned(),
        archive,
        control,
        people,
        directory,
        policies,
        decode,
        profiles,
        alarms,
        canary,
        metrics,
        log,
        notices,
    })
}

/// A path as the file has it, made absolute.
pub fn path(table: &Table<'_, '_>, key: &str, folder: &Path) -> Option<PathBuf> {
    let text = table.filled(key, "name a path, or leave the key out")?;
    if text == "~" || text.starts_with("~/") {
        table.wrong(key, format!("{text:?}: ~ means nothing here, only a shell knows it"), "write the whole path");
        return None;
    }
    Some(folder.join(text))
}

fn archive(table: &Table<'_, '_>, folder: &Path) -> Option<ArchiveSettings> {
    if !table.has("path") {
        table.missing("path", "name the archive's folder: path = \"/var/lib/gatepost\"");
    }
    let archive_path = path(table, "path", folder);
    let catalogue = path(table, "catalogue", folder);
    let pack = size(table, "pack_size", 1024 * MIB, PACK_MIN, "1MiB");
    let window = size(table, "window", 8 * MIB, WINDOW_MIN, "64KiB");
    Some(ArchiveSettings {
        path: archive_path?,
        catalogue,
        pack_bytes_max: pack,
        window_bytes: usize::try_from(window).unwrap_or(usize::MAX),
        reserve: table.unit("reserve", reserve, "\"10GiB\"").unwrap_or_default(),
        index: table.boolean("index").unwrap_or(true),
    })
}

/// A size, or `auto`.
fn reserve(text: &str) -> Result<Reserve, BadUnit> {
    if text.trim() == "auto" { Ok(Reserve::Auto) } else { parse_size(text).map(Reserve::Bytes) }
}

fn size(table: &Table<'_, '_>, key: &str, default: u64, min: u64, min_text: &str) -> u64 {
    /// SQLite counts in signed 64 bits; long before that, no file system follows.
    const MAX: u64 = 1 << 40;
    let Some(size) = table.unit(key, parse_size, "\"1GiB\"") else { return default };
    if size < min {
        table.wrong(key, "is too small", &format!("the least is \"{min_text}\""));
    } else if size > MAX {
        table.wrong(key, "is too large", "the most is \"1TiB\"");
    }
    size
}

fn people(table: &Table<'_, '_>, folder: &Path, journal_addresses: Vec<Found<Address>>) -> PeopleOptions {
    let mut internal_domains = Vec::new();
    for found in table.strings("internal_domains").unwrap_or_default() {
        if let Some(domain) = domain(table, "internal_domains", found) {
            if internal_domains.contains(&domain) {
                bad(table, "internal_domains", found, "stands here twice", "leave one of them");
            }
            internal_domains.push(domain);
        }
    }
    let never_owners: Vec<Found<Address>> =
        ["never_owners", "ndr_addresses"].into_iter().flat_map(|key| addresses(table, key)).collect();
    let never_owners = [journal_addresses, never_owners].concat();
    let persons = persons(table, &never_owners);
    PeopleOptions {
        internal_domains,
        domain_aliases: domain_aliases(table),
        csv: path(table, "csv", folder),
        directory: None,
        persons,
        never_owners: never_owners.into_iter().map(|found| found.value).collect(),
    }
}

/// `{ "old.example" = "corp.example" }`: what is sent to the one is the other's.
fn domain_aliases(table: &Table<'_, '_>) -> BTreeMap<String, String> {
    const KEY: &str = "domain_aliases";
    let mut aliases = BTreeMap::new();
    for (alias, of) in table.pairs(KEY) {
        let (Some(from), Some(to)) = (domain(table, KEY, alias), domain(table, KEY, of)) else { continue };
        if from.starts_with('.') || to.starts_with('.') {
            bad(table, KEY, alias, "stands for subdomains, but one domain is expected", "write each pair of domains");
        } else if from == to {
            bad(table, KEY, alias, "is an alias of itself", "leave it out");
        }
        aliases.insert(from, to);
    }
    for (alias, of) in aliases.iter().filter(|(_, of)| aliases.contains_key(*of)) {
        table.wrong(
            KEY,
            format!("{alias:?} is an alias of {of:?}, which is an alias itself"),
            "name the domain that the people's addresses are in",
        );
    }
    aliases
}

/// Notes a mistake at one entry of a list.
fn bad(table: &Table<'_, '_>, key: &str, found: Found<&str>, what: &str, hint: &str) {
    table.doc().error(found.line, table.path_of(key), format!("{:?} {what}", found.value), hint);
}

/// `corp.example`, or `.corp.example` for its subdomains, which may be written `*.corp.example`.
fn domain(table: &Table<'_, '_>, key: &str, found: Found<&str>) -> Option<String> {
    let text = found.value.trim();
    if let Some((_, domain)) = text.rsplit_once('@') {
        let hint = format!("write the part after the @: {domain:?}");
        bad(table, key, found, "is an address or holds an @, but a domain is expected", &hint);
        return None;
    }
    let (dot, name) = match text.strip_prefix("*.").or_else(|| text.strip_prefix('.')) {
        Some(parent) => (".", parent),
        None => ("", text),
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '*' | '/' | ':' | ',' | ';' | '[' | ']');
    match normalise_domain(name) {
        Some(domain) if !name.contains(odd) && !domain.contains("..") && !domain.starts_with('.') => {
            Some(format!("{dot}{domain}"))
        }
        _ => {
            bad(
                table,
                key,
                found,
                "is not a domain",
                "write \"corp.example\", and \"*.corp.example\" for its subdomains",
            );
            None
        }
    }
}

fn addresses(table: &Table<'_, '_>, key: &str) -> Vec<Found<Address>> {
    let mut addresses = Vec::new();
    for found in table.strings(key).unwrap_or_default() {
        match Address::parse(found.value) {
            Some(address) => addresses.push(Found { value: address, line: found.line }),
            None => bad(table, key, found, "is not a mail address", "write it in full: \"anna@corp.example\""),
        }
    }
    addresses
}

fn persons(people: &Table<'_, '_>, never_owners: &[Found<Address>]) -> Vec<Person> {
    let mut persons = Vec::new();
    let mut ids: HashMap<String, usize> = HashMap::new();
    let mut owners: HashMap<Address, (PersonId, usize)> = HashMap::new();
    let never: HashMap<&Address, usize> = never_owners.iter().map(|found| (&found.value, found.line)).collect();
    for table in people.tables("person", &keys::PERSON, "id") {
        let listed = addresses(&table, "addresses");
        let name = table.string("name").map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
        let hint = "it names the archive: the main address, or a short name";
        let Some(text) = table.required("id", hint) else { continue };
        let id = match PersonId::checked(text) {
            Ok(id) => id,
            Err(bad) => {
                table.wrong("id", bad.what, &bad.hint);
                continue;
            }
        };
        if let Some(line) = ids.insert(id.folded(), table.line_of("id")) {
            let what = format!("the id {id} stands on line {line} already");
            table.wrong(
                "id",
                what,
                "an archive has one id, whatever its case; list all addresses in one [[people.person]]",
            );
            continue;
        }
        let own = Address::parse(id.as_str()).map(|value| Found { value, line: table.line_of("id") });
        // Addresses that were listed, but refused, have been noted one by one.
        let listed_none = !table.has("addresses")
            || matches!(table.value("addresses"), Some(DeValue::Array(list)) if list.is_empty());
        let mut mine = BTreeMap::new();
        for found in own.into_iter().chain(listed) {
            let address = found.value;
            let note = |what: String, hint: &str| table.doc().error(found.line, table.path().to_owned(), what, hint);
            if let Some((owner, line)) = owners.get(&address).filter(|(owner, _)| *owner != id) {
                note(
                    format!("{address} belongs to {owner} already (line {line})"),
                    "an address has one owner: take one out",
                );
            } else if let Some(line) = never.get(&address) {
                note(format!("{address} stands in never_owners (line {line})"), "take it out of one of the two");
            }
            owners.entry(address.clone()).or_insert_with(|| (id.clone(), found.line));
            mine.insert(address, Origin::Config);
        }
        if mine.is_empty() && listed_none {
            let what = "owns no address, so that no mail could ever be filed";
            table.doc().error(
                table.line(),
                table.path().to_owned(),
                what,
                "add addresses = [\"…\"], or use an address as the id",
            );
        }
        let words = |key: &str| -> Vec<String> {
            table.strings(key).unwrap_or_default().into_iter().map(|found| found.value.trim().to_owned()).collect()
        };
        persons.push(Person { id, name, addresses: mine, legacy: words("legacy"), groups: words("groups") });
    }
    persons
}
