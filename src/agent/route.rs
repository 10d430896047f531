//! From an envelope to filings. Pure: the envelope, the people snapshot and its policies decide.
//!
//! Sender and On-Behalf-Of own a Sent copy; every internal recipient, list member (never the list) and Bcc
//! an Inbox copy; of a forwarded copy both mailboxes. External addresses beside internal ones are not
//! filed. An item is excluded only when a policy leaves it with no filing, and then the rule is named.

use std::collections::HashSet;

use crate::archive::{Filing, Folder, PersonRecord};
use crate::base::address::Address;
use crate::journal::{DecodeOptions, Decoded, flags};
use crate::mail::envelope::{Envelope, Recipient, Via};
use crate::people::{NonInternal, UNASSIGNED, UnauthenticatedSender, UnknownInternal, Who};
use crate::people::{People, created_person, tags};

/// Version of these rules; recorded with each filing.
pub const RULES: u32 = 2;

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

/// The profile's options, with what follows from who is who: a copy delivered to a gateway's own address says nothing.
pub fn decode_options(configured: &DecodeOptions, people: &People) -> DecodeOptions {
    let mut options = configured.clone();
    options.journal_addresses.extend(people.never_owners().cloned());
    options
}

/// One address that may own a copy.
struct Claim<'a> {
    address: &'a str,
    folder: Folder,
    because: String,
}

pub fn route(decoded: &Decoded, people: &People) -> Routing {
    let mut router = Router::new(decoded, people);
    let mut received = false;
    for claim in claims(&decoded.envelope) {
        let ours = router.take(&claim, !decoded.degraded);
        received |= ours && claim.folder == Folder::Inbox;
    }
    if !received {
        // The envelope names none of ours: it may be the gateway's own mailbox that it names.
        for claim in decoded.own_recipients.iter().flat_map(received_by) {
            let because = format!("{}, by the message's own header", claim.because);
            router.take(&Claim { because, ..claim }, false);
        }
    }
    router.finish()
}

/// The claims of one item, taken one after the other.
struct Router<'a> {
    people: &'a People,
    anonymous: bool,
    is_draft: bool,
    routing: Routing,
    filed: HashSet<(String, Folder)>,
    created: HashSet<String>,
    known: HashSet<String>,
    any_internal: bool,
    unassigned: Option<(Folder, String)>,
    /// Why an address of ours was left without the copy that it would own.
    withheld: Option<&'static str>,
}

impl<'a> Router<'a> {
    fn new(decoded: &Decoded, people: &'a People) -> Router<'a> {
        Router {
            people,
            anonymous: decoded.anonymous,
            is_draft: decoded.flags.iter().any(|flag| flag == flags::DRAFT),
            routing: Routing::default(),
            filed: HashSet::new(),
            created: HashSet::new(),
            known: HashSet::new(),
            any_internal: false,
            unassigned: None,
            withheld: None,
        }
    }

    /// Says whether the address is one of ours.
    fn take(&mut self, claim: &Claim<'_>, may_create: bool) -> bool {
        let parsed = Address::parse(claim.address);
        let who = match (&parsed, claim.folder) {
            (Some(address), Folder::Sent) => self.people.who(address),
            (Some(address), Folder::Inbox) => self.people.who_received(address),
            (None, _) => self.people.who_by_name(claim.address).unwrap_or(Who::External),
        };
        if matches!(who, Who::External | Who::Machine) {
            return false;
        }
        if claim.folder == Folder::Sent && self.withholds(parsed.as_ref()) {
            return true;
        }
        self.any_internal = true;
        let person = match who {
            Who::External | Who::Machine => return false,
            Who::Owner(id) => {
                if self.known.insert(id.0.clone())
                    && let Some(person) = self.people.get(&id)
                {
                    self.routing.people.push(record_of(person));
                }
                id.0
            }
            Who::UnknownInternal => match self.people.unknown_internal() {
                UnknownInternal::Exclude => return true,
                policy @ (UnknownInternal::Create | UnknownInternal::Unassigned) => {
                    let may_create = may_create && policy == UnknownInternal::Create;
                    let maker = parsed.filter(|address| may_create && may_open(address));
                    let Some(id) = maker.and_then(|address| self.create(&address)) else {
                        self.unassigned.get_or_insert((claim.folder, claim.because.clone()));
                        return true;
                    };
                    id
                }
            },
        };
        if self.filed.insert((person.clone(), claim.folder)) {
            let because = claim.because.clone();
            self.routing.filings.push(Filing { person, folder: claim.folder, because });
        }
        true
    }

    /// Whether a sender of ours gets no Sent copy; notes what is to be flagged.
    fn withholds(&mut self, address: Option<&Address>) -> bool {
        if self.is_draft {
            self.withheld = Some("a draft is never filed under Sent");
            return true;
        }
        // An owner's private address is none that only our own servers may use.
        if self.anonymous && address.is_some_and(|address| self.people.is_internal(address)) {
            self.routing.unauthenticated = true;
            match self.people.unauthenticated_sender() {
                UnauthenticatedSender::Flag => {}
                UnauthenticatedSender::NoSent => {
                    self.withheld = Some("unauthenticated_sender = \"no_sent\"");
                    return true;
                }
            }
        }
        false
    }

    /// The person that an address makes; `None` beyond the limit of one item.
    fn create(&mut self, address: &Address) -> Option<String> {
        let person = created_person(address);
        if !self.created.contains(&person.id.0) {
            if self.created.len() >= self.people.create_max_per_item() {
                self.routing.capped = true;
                return None;
            }
            self.created.insert(person.id.0.clone());
            self.routing.people.push(record_of(&person));
        }
        Some(person.id.0)
    }

    fn unassign(&mut self, folder: Folder, because: String) {
        self.routing.people.push(unassigned_person());
        self.routing.filings.push(Filing { person: UNASSIGNED.into(), folder, because });
    }

    /// Leaves the item with a filing or with the rule that excludes it.
    fn finish(mut self) -> Routing {
        if let Some((folder, because)) = self.unassigned.take() {
            self.unassign(folder, format!("{because}: an address of ours that nobody owns"));
        }
        if self.routing.filings.is_empty() {
            match (self.withheld, self.any_internal, self.people.non_internal()) {
                (Some(why), _, _) => self.unassign(Folder::Inbox, why.into()),
                (None, true, _) => self.routing.excluded = Some("unknown_internal = \"exclude\"".into()),
                (None, false, NonInternal::Exclude) => {
                    self.routing.excluded = Some("non_internal = \"exclude\"".into());
                }
                (None, false, NonInternal::Unassigned) => {
                    self.unassign(Folder::Inbox, "no address of ours in the envelope".into());
                }
            }
        }
        self.routing
    }
}

/// Whether an address may name an archive: one that a machine made for one mail would open one for each mail.
fn may_open(address: &Address) -> bool {
    !tags::is_made(&tags::base(address))
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
    sent.chain(envelope.recipients.iter().flat_map(received_by))
}

/// What a recipient claims: of a forwarded copy both mailboxes.
fn received_by(recipient: &Recipient) -> impl Iterator<Item = Claim<'_>> {
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
