//! Who owns which archive: an immutable snapshot per run.
//!
//! People come from the configuration, from a CSV file, from a directory (LDAP) and, by rule, from the mail itself. This room
//! answers questions about addresses; it never files a mail, writes an archive or looks into a message.

pub mod csv;
pub mod directory;
mod error;
mod id;
pub mod ldap;
mod snapshot;
pub mod tags;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::address::Address;

pub use error::{PeopleErrors, Problem};
pub use id::BadId;
pub use snapshot::{Merged, People, created_person};

/// An archive owner's id; it names the archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PersonId(pub String);

/// The archive of what belongs to nobody.
pub const UNASSIGNED: &str = "unassigned";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub id: PersonId,
    pub name: Option<String>,
    /// Every address, the id included where it is one, with where each came from.
    pub addresses: BTreeMap<Address, Origin>,
    /// What a directory calls this person beside the addresses: legacyExchangeDN and X500 proxies, as written there.
    pub legacy: Vec<String>,
    /// Groups that policies may speak of, as the configuration or the directory names them.
    pub groups: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    Config,
    Csv,
    /// From the directory.
    Ldap,
    /// Created by `unknown_internal = "create"`.
    Rule,
}

/// Where people come from; the `[people]` table, resolved.
#[derive(Clone, Debug, Default)]
pub struct PeopleOptions {
    /// Normalised ([`crate::base::address::normalise_domain`]). One with a leading dot means the
    /// subdomains only: `.corp.example` does not hold `corp.example`.
    pub internal_domains: Vec<String>,
    /// A domain → the domain it is another name of; both normalised. What is sent to the one is the other's.
    pub domain_aliases: BTreeMap<String, String>,
    pub csv: Option<PathBuf>,
    /// The last good list of the directory.
    pub directory: Option<std::sync::Arc<directory::Roster>>,
    /// From the configuration; no address belongs to two of them.
    pub persons: Vec<Person>,
    /// Never owners: the gateways' own addresses and the like.
    pub never_owners: Vec<Address>,
}

/// Who an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    Owner(PersonId),
    /// In an internal domain, but nobody's.
    UnknownInternal,
    External,
    /// The journal address, Microsoft Exchange's constant address, a probe: never an owner.
    Machine,
}
