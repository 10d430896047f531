//! From an envelope to filings. Pure: the envelope, the people snapshot and its policies decide.
//!
//! Sender and On-Behalf-Of own a Sent copy; every internal recipient, list member (never the list) and Bcc
//! an Inbox copy; of a forwarded copy both mailboxes. External addresses beside internal ones are not
//! filed. An item is excluded only when a policy leaves it with no filing, and then the rule is named.

use std::collections::{BTreeMap, HashSet};

use crate::archive::{Filing, Folder, PersonRecord};
use crate::base::address::Address;
use crate::journal::{DecodeOptions, Decoded, flags};
use crate::mail::envelope::{Envelope, Recipient, Via};
use crate::people::{NonInternal, Origin, PersonId, UNASSIGNED, UnauthenticatedSender, UnknownInternal, Who};
use crate::people::{People, created_person, tags};

/// Flags of reports whose envelope was not used.
const SUSPECT: [&str; 3] = [flags::UNTRUSTED_REPORT, flags::REPORT_WITHOUT_ORIGINAL, flags::UNREADABLE_ENVELOPE];

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
    /// A report that cannot be believed, or read: a person should look.
    pub suspect: bool,
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
    unassigned: BTreeMap<Folder, String>,
    /// Why an address of ours was left without the copy that it would own.
    withheld: Option<&'static str>,
}

impl<'a> Router<'a> {
    fn new(decoded: &Decoded, people: &'a People) -> Router<'a> {
        Router {
            people,
            anonymous: decoded.anonymous,
            is_draft: decoded.flags.iter().any(|flag| flag == flags::DRAFT),
            routing: Routing {
                suspect: decoded.flags.iter().any(|flag| SUSPECT.contains(&flag.as_str())),
                ..Routing::default()
            },
            filed: HashSet::new(),
            created: HashSet::new(),
            known: HashSet::new(),
            any_internal: false,
            unassigned: BTreeMap::new(),
            withheld: None,
        }
    }

    /// Says whether the address is one of ours.
    fn take(&mut self, claim: &Claim<'_>, may_create: bool) -> bool {
        let parsed = Address::parse(claim.address);
        let who = match (&parsed, claim.folder) {
            (Some(address), Folder::Sent) => self.people.who(address),
            (Some(address), Folder::Inbox) => self.people.who_received(address),
            (None, _) => match self.people.who_by_name(claim.address) {
                Some(who) => who,
                // A report names its organisation's people in forms of its own (X.500, X.400): nobody's yet.
                None if may_create && !claim.address.trim().is_empty() => {
                    let because = format!("{}: no mail address that is known", claim.because);
                    self.unassigned.entry(claim.folder).or_insert(because);
                    return false;
                }
                None => Who::External,
            },
        };
        // Who got an archive by rule is known only by what a report proves. What proves nothing is not filed by
        // that: else it would hang on what was downloaded before.
        let who = match who {
            Who::Owner(id) if !may_create && self.is_by_rule(&id) => Who::UnknownInternal,
            who => who,
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
                        let because = || format!("{}: an address of ours that nobody owns", claim.because);
                        self.unassigned.entry(claim.folder).or_insert_with(because);
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

    fn is_by_rule(&self, id: &PersonId) -> bool {
        let by_rule = |person: &crate::people::Person| person.addresses.values().all(|origin| *origin == Origin::Rule);
        self.people.get(id).is_some_and(by_rule)
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
        if self.routing.people.iter().all(|person| person.person != UNASSIGNED) {
            self.routing.people.push(unassigned_person());
        }
        self.routing.filings.push(Filing { person: UNASSIGNED.into(), folder, because });
    }

    /// Leaves the item with a filing or with the rule that excludes it.
    fn finish(mut self) -> Routing {
        for (folder, because) in std::mem::take(&mut self.unassigned) {
            self.unassign(folder, because);
        }
        if !self.routing.filings.is_empty() {
            return self.routing;
        }
        let rule = match (self.any_internal, self.people.non_internal()) {
            (true, _) => Some("unknown_internal = \"exclude\""),
            (false, NonInternal::Exclude) => Some("non_internal = \"exclude\""),
            (false, NonInternal::Unassigned) => None,
        };
        match (self.withheld, self.routing.suspect, rule) {
            (Some(why), _, _) => self.unassign(Folder::Inbox, why.into()),
            // What a sender can bring about by a broken report must not keep a mail out of the archive.
            (None, true, _) => {
                self.unassign(Folder::Inbox, "a journal report that cannot be believed or read".into());
            }
            (None, false, Some(rule)) => self.routing.excluded = Some(rule.into()),
            (None, false, None) => self.unassign(Folder::Inbox, "no address of ours in the envelope".into()),
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
    let origin = person.addresses.values().next().copied().unwrap_or(Origin::Config);
    PersonRecord {
        person: person.id.0.clone(),
        name: person.name.clone(),
        addresses: person.addresses.keys().map(|address| address.to_string()).collect(),
        origin: match origin {
            Origin::Config => "config",
            Origin::Csv => "csv",
            Origin::Rule => "rule",
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
