//! From an envelope to filings. Pure: the envelope, the people snapshot and its policies decide.
//!
//! Sender and On-Behalf-Of own a Sent copy; every internal recipient, list member (never the list) and Bcc
//! an Inbox copy; of a forwarded copy both mailboxes. External addresses beside internal ones are not
//! filed. An item is excluded only when a policy leaves it with no filing, and then the rule is named.

use std::collections::HashSet;

use crate::archive::{Filing, Folder, PersonRecord};
use crate::base::address::Address;
use crate::journal::{DecodeOptions, Decoded, flags};
use crate::mail::envelope::{Envelope, Via};
use crate::people::{NonInternal, UNASSIGNED, UnauthenticatedSender, UnknownInternal, Who};
use crate::people::{People, created_person, tags};

/// Version of these rules; recorded with each filing.
pub const RULES: u32 = 1;

#[derive(Clone, Debug, Default)]
pub struct Routing {
    pub filings: Vec<Filing>,
    /// Owners of the filings, for the record of who they were when first filed for.
    pub people: Vec<PersonRecord>,
    /// The rule that leaves this item with no filing.
    pub excluded: Option<String>,
    /// More people would have been created than one item may.
    pub capped: bool,
    /// A sender of ours in a mail that came from outside without authentication.
    pub unauthenticated: bool,
}

impl Routing {
    /// The item's flags with what was found when filing it.
    pub fn flags_of(&self, decoded: &Decoded) -> Vec<String> {
        let found = self.unauthenticated.then(|| flags::UNAUTHENTICATED_SENDER.to_owned());
        decoded.flags.iter().cloned().chain(found).collect()
    }
}

/// The options that follow from who is who: what was delivered to a gateway's own address says nothing.
pub fn decode_options(people: &People) -> DecodeOptions {
    DecodeOptions { journal_addresses: people.never_owners().cloned().collect(), ..DecodeOptions::default() }
}

/// One address that may own a copy.
struct Claim<'a> {
    address: &'a str,
    folder: Folder,
    because: String,
}

pub fn route(decoded: &Decoded, people: &People) -> Routing {
    let mut routing = Routing::default();
    let mut filed: HashSet<(String, Folder)> = HashSet::new();
    let mut created: HashSet<String> = HashSet::new();
    let mut known: HashSet<String> = HashSet::new();
    let mut any_internal = false;
    let mut unassigned = None;
    let may_create = !decoded.degraded;
    let is_draft = decoded.flags.iter().any(|flag| flag == flags::DRAFT);
    // Why an address of ours was left without the copy that it would own.
    let mut withheld = None;
    for claim in claims(&decoded.envelope) {
        let is_sent = claim.folder == Folder::Sent;
        let parsed = Address::parse(claim.address);
        let who = match &parsed {
            Some(address) if is_sent => people.who(address),
            Some(address) => people.who_received(address),
            None => people.who_by_name(claim.address).unwrap_or(Who::External),
        };
        if is_sent && matches!(who, Who::Owner(_) | Who::UnknownInternal) {
            if is_draft {
                withheld = Some("a draft is never filed under Sent");
                continue;
            }
            // An owner's private address is no address that only our own servers may use.
            if decoded.anonymous && parsed.as_ref().is_some_and(|address| people.is_internal(address)) {
                routing.unauthenticated = true;
                match people.unauthenticated_sender() {
                    UnauthenticatedSender::Flag => {}
                    UnauthenticatedSender::NoSent => {
                        withheld = Some("unauthenticated_sender = \"no_sent\"");
                        continue;
                    }
                }
            }
        }
        let person = match who {
            Who::External | Who::Machine => continue,
            Who::Owner(id) => {
                any_internal = true;
                if known.insert(id.0.clone())
                    && let Some(person) = people.get(&id)
                {
                    routing.people.push(record_of(person));
                }
                id.0
            }
            Who::UnknownInternal => {
                any_internal = true;
                match people.unknown_internal() {
                    UnknownInternal::Exclude => continue,
                    UnknownInternal::Create if may_create && may_open(parsed.as_ref()) => {
                        let Some(person) = parsed.as_ref().map(created_person) else { continue };
                        let is_new = !created.contains(&person.id.0);
                        if is_new && created.len() >= people.create_max_per_item() {
                            routing.capped = true;
                            unassigned.get_or_insert((claim.folder, claim.because));
                            continue;
                        }
                        if is_new {
                            created.insert(person.id.0.clone());
                            routing.people.push(record_of(&person));
                        }
                        person.id.0
                    }
                    UnknownInternal::Create | UnknownInternal::Unassigned => {
                        unassigned.get_or_insert((claim.folder, claim.because));
                        continue;
                    }
                }
            }
        };
        if filed.insert((person.clone(), claim.folder)) {
            routing.filings.push(Filing { person, folder: claim.folder, because: claim.because });
        }
    }
    if let Some((folder, because)) = unassigned {
        routing.people.push(unassigned_person());
        let because = format!("{because}: an address of ours that nobody owns");
        routing.filings.push(Filing { person: UNASSIGNED.into(), folder, because });
    }
    if routing.filings.is_empty() {
        if let Some(why) = withheld {
            routing.people.push(unassigned_person());
            routing.filings.push(Filing { person: UNASSIGNED.into(), folder: Folder::Inbox, because: why.into() });
        } else if any_internal {
            routing.excluded = Some("unknown_internal = \"exclude\"".into());
        } else {
            match people.non_internal() {
                NonInternal::Exclude => routing.excluded = Some("non_internal = \"exclude\"".into()),
                NonInternal::Unassigned => {
                    routing.people.push(unassigned_person());
                    routing.filings.push(Filing {
                        person: UNASSIGNED.into(),
                        folder: Folder::Inbox,
                        because: "no address of ours in the envelope".into(),
                    });
                }
            }
        }
    }
    routing
}

/// Whether an address may name an archive: one that a machine made for one mail would open one for each mail.
fn may_open(address: Option<&Address>) -> bool {
    address.is_some_and(|address| !tags::is_made(&tags::base(address)))
}

/// Who claims a copy, in the order in which reasons are preferred.
fn claims(envelope: &Envelope) -> impl Iterator<Item = Claim<'_>> {
    let sender = envelope.sender.as_deref().map(|address| (address, "sender"));
    let behalf = envelope.on_behalf_of.as_deref().map(|address| (address, "on behalf of"));
    let sent = sender.into_iter().chain(behalf).map(|(address, word)| Claim {
        address,
        folder: Folder::Sent,
        because: format!("{word} {address}"),
    });
    let received = envelope.recipients.iter().flat_map(|recipient| {
        let role = recipient.role.as_str();
        let address = recipient.address.as_str();
        let via = recipient.via.zip(recipient.via_address.as_deref());
        let because = match via {
            Some((Via::Expanded, list)) => format!("{role} {address}, member of {list}"),
            Some((Via::Forwarded, from)) => format!("{role} {address}, forwarded by {from}"),
            None => format!("{role} {address}"),
        };
        let forwarder = match via {
            Some((Via::Forwarded, from)) => Some(Claim {
                address: from,
                folder: Folder::Inbox,
                because: format!("{role} {from}, forwarded to {address}"),
            }),
            Some((Via::Expanded, _)) | None => None,
        };
        std::iter::once(Claim { address, folder: Folder::Inbox, because }).chain(forwarder)
    });
    sent.chain(received)
}

fn record_of(person: &crate::people::Person) -> PersonRecord {
    let origin = person.addresses.values().next().copied().unwrap_or(crate::people::Origin::Config);
    PersonRecord {
        person: person.id.0.clone(),
        name: person.name.clone(),
        addresses: person.addresses.keys().map(|address| address.to_string()).collect(),
        origin: match origin {
            crate::people::Origin::Config => "config",
            crate::people::Origin::Csv => "csv",
            crate::people::Origin::Rule => "rule",
        }
        .into(),
    }
}

fn unassigned_person() -> PersonRecord {
    PersonRecord { person: UNASSIGNED.into(), name: None, addresses: Vec::new(), origin: "rule".into() }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
