//! What an administrator decides about a profile's mail, beside who is who. Plain values; [`super::route`]
//! goes by them.
//!
//! Every combination leaves an item with a filing or with the name of the policy that excludes it. Where an
//! envelope leaves a doubt about whether a policy excludes, it does not: mail that was archived needlessly can
//! be told apart later, mail that was not archived is gone.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::base::address::Address;
use crate::people::Person;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies {
    pub scope: Scope,
    /// Empty: everybody.
    pub include: Selection,
    pub exclude: Selection,
    pub unknown_internal: UnknownInternal,
    pub non_internal: NonInternal,
    pub not_enveloped: NotEnveloped,
    pub unauthenticated_sender: UnauthenticatedSender,
    /// How many people one item may create; the rest is unassigned, with an alarm.
    pub create_max_per_item: usize,
}

impl Default for Policies {
    fn default() -> Policies {
        Policies {
            scope: Scope::default(),
            include: Selection::default(),
            exclude: Selection::default(),
            unknown_internal: UnknownInternal::default(),
            non_internal: NonInternal::default(),
            not_enveloped: NotEnveloped::default(),
            unauthenticated_sender: UnauthenticatedSender::default(),
            create_max_per_item: 50,
        }
    }
}

/// Which mail is archived, by who takes part in it. Mail to both sides is in both scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    #[default]
    All,
    /// Somebody outside sent or received it.
    External,
    /// Somebody of ours sent it, and somebody of ours received it.
    Internal,
}

/// What happens with an address in an internal domain that nobody owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownInternal {
    Create,
    #[default]
    Unassigned,
    Exclude,
}

/// What happens with an item without any internal address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NonInternal {
    #[default]
    Unassigned,
    Exclude,
}

/// What happens with an item whose envelope nobody noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotEnveloped {
    /// It is filed by its own header fields, which a sender can forge and which name no Bcc.
    #[default]
    Headers,
    Unassigned,
}

/// What a sender of ours is worth in a mail that came from outside without authentication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnauthenticatedSender {
    /// Filed as any other, and flagged.
    #[default]
    Flag,
    /// Flagged, and no Sent copy.
    NoSent,
}

/// People by id, address or group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Ids and addresses, in lower case.
    names: BTreeSet<String>,
    /// In lower case.
    groups: BTreeSet<String>,
}

impl Selection {
    pub fn new<T: AsRef<str>>(names: impl IntoIterator<Item = T>, groups: impl IntoIterator<Item = T>) -> Selection {
        let folded = |text: &str| match Address::parse(text) {
            Some(address) => address.to_string(),
            None => text.trim().to_lowercase(),
        };
        Selection {
            names: names.into_iter().map(|name| folded(name.as_ref())).collect(),
            groups: groups.into_iter().map(|group| group.as_ref().trim().to_lowercase()).collect(),
        }
    }

    /// Names and groups, as the configuration could have them.
    pub fn words(&self) -> (Vec<String>, Vec<String>) {
        (self.names.iter().cloned().collect(), self.groups.iter().cloned().collect())
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.groups.is_empty()
    }

    pub fn holds(&self, person: &Person) -> bool {
        self.names.contains(&person.id.folded())
            || person.addresses.keys().any(|address| self.names.contains(address.as_str()))
            || person.groups.iter().any(|group| self.groups.contains(&group.to_lowercase()))
    }

    /// Of somebody who is no person (yet).
    pub fn holds_address(&self, address: &Address) -> bool {
        self.names.contains(address.as_str())
    }

    /// The names and groups that fit nobody: typing mistakes, mostly.
    pub fn unknown<'a>(&'a self, people: impl Iterator<Item = &'a Person>) -> Vec<String> {
        let mut unknown: HashSet<String> = self.names.iter().cloned().collect();
        unknown.extend(self.groups.iter().map(|group| format!("group {group}")));
        for person in people {
            unknown.remove(&person.id.folded());
            for address in person.addresses.keys() {
                unknown.remove(address.as_str());
            }
            for group in &person.groups {
                unknown.remove(&format!("group {}", group.to_lowercase()));
            }
        }
        let mut unknown: Vec<String> = unknown.into_iter().collect();
        unknown.sort();
        unknown
    }
}
