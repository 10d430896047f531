//! From an envelope to filings. Pure: the envelope, the people snapshot and its policies decide.
//!
//! Sender and On-Behalf-Of own a Sent copy; every internal recipient, list member (never the list) and Bcc
//! an Inbox copy; of a forwarded copy both mailboxes. External addresses beside internal ones are not
//! filed. An item is excluded only when a policy leaves it with no filing, and then the rule is named.

use std::collections::{BTreeMap, HashSet};

use crate::archive::{Filing, Folder, PersonRecord};
use crate::base::address::Address;
use crate::journal::{Decoded, flags};
use crate::mail::envelope::{Envelope, Via};
use crate::people::{NonInternal, UNASSIGNED, UnknownInternal, Who};
use crate::people::{People, created_person};

/// Flags of reports whose envelope was not used.
const SUSPECT: [&str; 3] = [flags::UNTRUSTED_REPORT, flags::REPORT_WITHOUT_ORIGINAL, flags::UNREADABLE_ENVELOPE];

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
    /// A report that cannot be believed, or read: a person should look.
    pub suspect: bool,
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
    let mut unassigned: BTreeMap<Folder, String> = BTreeMap::new();
    let may_create = !decoded.degraded;
    routing.suspect = decoded.flags.iter().any(|flag| SUSPECT.contains(&flag.as_str()));
    for claim in claims(&decoded.envelope) {
        let Some(address) = Address::parse(claim.address) else {
            // A report names its organisation's people in forms of its own (X.500, X.400): nobody's yet.
            if !decoded.degraded && !claim.address.trim().is_empty() {
                let because = format!("{}: no mail address that is known", claim.because);
                unassigned.entry(claim.folder).or_insert(because);
            }
            continue;
        };
        let person = match people.who(&address) {
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
                    UnknownInternal::Create if may_create => {
                        let person = created_person(&address);
                        let is_new = !created.contains(&person.id.0);
                        if is_new && created.len() >= people.create_max_per_item() {
                            routing.capped = true;
                            unassigned.entry(claim.folder).or_insert_with(|| nobodys(&claim.because));
                            continue;
                        }
                        if is_new {
                            created.insert(person.id.0.clone());
                            routing.people.push(record_of(&person));
                        }
                        person.id.0
                    }
                    UnknownInternal::Create | UnknownInternal::Unassigned => {
                        unassigned.entry(claim.folder).or_insert_with(|| nobodys(&claim.because));
                        continue;
                    }
                }
            }
        };
        if filed.insert((person.clone(), claim.folder)) {
            routing.filings.push(Filing { person, folder: claim.folder, because: claim.because });
        }
    }
    if !unassigned.is_empty() {
        routing.people.push(unassigned_person());
    }
    for (folder, because) in unassigned {
        routing.filings.push(Filing { person: UNASSIGNED.into(), folder, because });
    }
    if routing.filings.is_empty() {
        let rule = match (any_internal, people.non_internal()) {
            (true, _) => Some("unknown_internal = \"exclude\""),
            (false, NonInternal::Exclude) => Some("non_internal = \"exclude\""),
            (false, NonInternal::Unassigned) => None,
        };
        match rule {
            // What a sender can bring about by a broken report must not keep a mail out of the archive.
            Some(rule) if !routing.suspect => routing.excluded = Some(rule.into()),
            Some(_) | None => {
                let because = match routing.suspect {
                    true => "a journal report that cannot be believed or read",
                    false => "no address of ours in the envelope",
                };
                routing.people.push(unassigned_person());
                let person = UNASSIGNED.into();
                routing.filings.push(Filing { person, folder: Folder::Inbox, because: because.into() });
            }
        }
    }
    routing
}

fn nobodys(because: &str) -> String {
    format!("{because}: an address of ours that nobody owns")
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
