//! From an envelope to filings. Pure: the envelope, the people snapshot and its policies decide.
//!
//! Sender and On-Behalf-Of own a Sent copy; every internal recipient, list member (never the list) and Bcc
//! an Inbox copy; of a forwarded copy both mailboxes. External addresses beside internal ones are not
//! filed. An item is excluded only when a policy leaves it with no filing, and then the policy is named.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;

use super::policies::{NonInternal, NotEnveloped, Policies, Scope, UnauthenticatedSender, UnknownInternal};
use crate::archive::{Filing, Folder, PersonRecord};
use crate::base::address::Address;
use crate::journal::{Decoded, flags};
use crate::mail::envelope::{Envelope, Recipient, Via};
use crate::people::{Origin, People, Person, PersonId, UNASSIGNED, Who, created_person, tags};

/// Flags of reports whose envelope was not used.
const SUSPECT: [&str; 3] = [flags::UNTRUSTED_REPORT, flags::REPORT_WITHOUT_ORIGINAL, flags::UNREADABLE_ENVELOPE];

/// A report that cannot be believed, or read.
pub fn is_suspect(flags: &[String]) -> bool {
    flags.iter().any(|flag| SUSPECT.contains(&flag.as_str()))
}

/// Version of these rules; recorded with each filing.
pub const RULES: u32 = 3;

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

    /// Files it where nobody's mail is.
    pub fn unassign(&mut self, folder: Folder, because: String) {
        if self.people.iter().all(|person| person.person != UNASSIGNED) {
            self.people.push(unassigned_person());
        }
        self.filings.push(Filing { person: UNASSIGNED.into(), folder, because });
    }
}

/// One address that may own a copy.
struct Claim<'a> {
    address: &'a str,
    folder: Folder,
    because: String,
}

/// `at` is when the item came in: who owns an address may change.
pub fn route(decoded: &Decoded, people: &People, policies: &Policies, at: Timestamp) -> Routing {
    let mut router = Router::new(decoded, people, policies, at);
    if decoded.degraded && policies.not_enveloped == NotEnveloped::Unassigned {
        router.withheld = Some("no envelope, and not_enveloped = \"unassigned\"");
        return router.finish();
    }
    if !router.is_in_scope(decoded) && !router.routing.suspect {
        let scope = match policies.scope {
            Scope::External => "scope = \"external\"",
            Scope::Internal | Scope::All => "scope = \"internal\"",
        };
        router.routing.excluded = Some(scope.into());
        return router.routing;
    }
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
    policies: &'a Policies,
    at: Timestamp,
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
    /// The policies that left an address of ours without a copy.
    left_out: BTreeSet<&'static str>,
}

impl<'a> Router<'a> {
    fn new(decoded: &Decoded, people: &'a People, policies: &'a Policies, at: Timestamp) -> Router<'a> {
        Router {
            people,
            policies,
            at,
            anonymous: decoded.anonymous,
            is_draft: decoded.flags.iter().any(|flag| flag == flags::DRAFT),
            routing: Routing { suspect: is_suspect(&decoded.flags), ..Routing::default() },
            filed: HashSet::new(),
            created: HashSet::new(),
            known: HashSet::new(),
            any_internal: false,
            unassigned: BTreeMap::new(),
            withheld: None,
            left_out: BTreeSet::new(),
        }
    }

    fn who(&self, address: &str, folder: Folder) -> Option<Who> {
        who(self.people, address, folder, self.at)
    }

    /// Whether `scope` wants the item. What is not known is taken for what the scope asks for.
    fn is_in_scope(&self, decoded: &Decoded) -> bool {
        if self.policies.scope == Scope::All {
            return true;
        }
        let side = |claim: &Claim<'_>| match self.who(claim.address, claim.folder) {
            // By name only: whoever may call himself as he likes came from outside.
            Some(Who::Owner(_) | Who::UnknownInternal) if claim.folder == Folder::Sent && self.anonymous => {
                Some(Side::Outside)
            }
            Some(Who::Owner(_) | Who::UnknownInternal) => Some(Side::Inside),
            Some(Who::External) => Some(Side::Outside),
            Some(Who::Machine) => None,
            None => (!decoded.degraded && !claim.address.trim().is_empty()).then_some(Side::Inside),
        };
        let (mut senders, mut recipients) = (Vec::new(), Vec::new());
        for claim in claims(&decoded.envelope) {
            match claim.folder {
                Folder::Sent => senders.extend(side(&claim)),
                Folder::Inbox => recipients.extend(side(&claim)),
            }
        }
        let either = |wanted: Side, of: &[Side]| of.is_empty() || of.contains(&wanted);
        match self.policies.scope {
            Scope::All => true,
            Scope::External => either(Side::Outside, &senders) || either(Side::Outside, &recipients),
            Scope::Internal => either(Side::Inside, &senders) && either(Side::Inside, &recipients),
        }
    }

    /// Whether the item may be filed for this person, by `include_…` and `exclude_…`; notes what left it out.
    fn is_selected(&mut self, person: Option<&Person>, address: Option<&Address>) -> bool {
        let holds = |selection: &super::policies::Selection| {
            person.is_some_and(|person| selection.holds(person))
                || address.is_some_and(|address| selection.holds_address(address))
        };
        let Policies { include, exclude, .. } = self.policies;
        if !include.is_empty() && !holds(include) {
            self.left_out.insert("include_people and include_groups");
            return false;
        }
        if holds(exclude) {
            self.left_out.insert("exclude_people or exclude_groups");
            return false;
        }
        true
    }

    /// Says whether the address is one of ours.
    fn take(&mut self, claim: &Claim<'_>, may_create: bool) -> bool {
        let parsed = Address::parse(claim.address);
        let who = match self.who(claim.address, claim.folder) {
            Some(who) => who,
            // A report names its organisation's people in forms of its own (X.500, X.400): nobody's yet.
            None if may_create && !claim.address.trim().is_empty() => {
                if self.is_selected(None, None) {
                    let because = format!("{}: no mail address that is known", claim.because);
                    self.unassigned.entry(claim.folder).or_insert(because);
                }
                return false;
            }
            None => Who::External,
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
                let person = self.people.get(&id);
                if !self.is_selected(person, parsed.as_ref()) {
                    return true;
                }
                if self.known.insert(id.0.clone())
                    && let Some(person) = person
                {
                    self.routing.people.push(record_of(person));
                }
                id.0
            }
            Who::UnknownInternal => {
                if !self.is_selected(None, parsed.as_ref()) {
                    return true;
                }
                match self.policies.unknown_internal {
                    UnknownInternal::Exclude => {
                        self.left_out.insert("unknown_internal = \"exclude\"");
                        return true;
                    }
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
                }
            }
        };
        if self.filed.insert((person.clone(), claim.folder)) {
            let because = claim.because.clone();
            self.routing.filings.push(Filing { person, folder: claim.folder, because });
        }
        true
    }

    fn is_by_rule(&self, id: &PersonId) -> bool {
        let by_rule = |person: &Person| person.addresses.values().all(|origin| *origin == Origin::Rule);
        // Somebody whom the directory listed once may have no address left, and is known all the same.
        self.people.key(id).is_none() && self.people.get(id).is_some_and(by_rule)
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
            match self.policies.unauthenticated_sender {
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
            if self.created.len() >= self.policies.create_max_per_item {
                self.routing.capped = true;
                return None;
            }
            self.created.insert(person.id.0.clone());
            self.routing.people.push(record_of(&person));
        }
        Some(person.id.0)
    }

    fn unassign(&mut self, folder: Folder, because: String) {
        self.routing.unassign(folder, because);
    }

    /// Leaves the item with a filing or with the rule that excludes it.
    fn finish(mut self) -> Routing {
        for (folder, because) in std::mem::take(&mut self.unassigned) {
            self.unassign(folder, because);
        }
        if !self.routing.filings.is_empty() {
            return self.routing;
        }
        if self.left_out.is_empty() && !self.any_internal && self.policies.non_internal == NonInternal::Exclude {
            self.left_out.insert("non_internal = \"exclude\"");
        }
        let policies: Vec<&str> = self.left_out.iter().copied().collect();
        match (self.withheld, self.routing.suspect) {
            (Some(why), _) => self.unassign(Folder::Inbox, why.into()),
            // What a sender can bring about by a broken report must not keep a mail out of the archive.
            (None, true) => self.unassign(Folder::Inbox, "a journal report that cannot be believed or read".into()),
            (None, false) if !policies.is_empty() => self.routing.excluded = Some(policies.join(", ")),
            (None, false) => self.unassign(Folder::Inbox, "no address of ours in the envelope".into()),
        }
        self.routing
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Inside,
    Outside,
}

/// Whether an address may name an archive: one that a machine made for one mail would open one for each mail.
fn may_open(address: &Address) -> bool {
    !tags::is_made(&tags::base(address))
}

/// Whose an address is. What is no mail address is a form of the report's own organisation: `None` when
/// nobody is known by it.
pub fn who(people: &People, address: &str, folder: Folder, at: Timestamp) -> Option<Who> {
    match (Address::parse(address), folder) {
        (Some(address), Folder::Sent) => Some(people.who(&address, at)),
        (Some(address), Folder::Inbox) => Some(people.who_received(&address, at)),
        (None, _) => people.who_by_name(address),
    }
}

/// The address by which somebody got a copy, read back from the reason that was recorded; `None`: it names none.
pub fn claimed(because: &str, folder: Folder) -> Option<&str> {
    let words: &[&str] = match folder {
        Folder::Sent => &["sender ", "on behalf of "],
        Folder::Inbox => &["to ", "cc ", "bcc ", "recipient "],
    };
    let rest = words.iter().find_map(|word| because.strip_prefix(word))?;
    let ends = [
        ", member of ",
        ", forwarded by ",
        ", forwarded to ",
        ", by the message's own header",
        ", merged from ",
        ", imported from ",
    ];
    let end = ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
    let address = rest[..end].trim();
    (!address.is_empty()).then_some(address)
}

/// Whether an item still says that this address sent or received it.
pub fn claims_for(decoded: &Decoded, address: &str, folder: Folder) -> bool {
    let own = decoded.own_recipients.iter().flat_map(received_by);
    claims(&decoded.envelope)
        .chain(own)
        .any(|claim| claim.folder == folder && claim.address.eq_ignore_ascii_case(address))
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

/// A person for the archive's records.
pub fn record_of(person: &Person) -> PersonRecord {
    // What a rule found first and somebody listed later is no longer the rule's.
    let listed = person.addresses.values().find(|origin| **origin != Origin::Rule);
    let origin = listed.or(person.addresses.values().next()).copied().unwrap_or(Origin::Config);
    PersonRecord {
        person: person.id.0.clone(),
        name: person.name.clone(),
        addresses: person.addresses.keys().map(|address| address.to_string()).collect(),
        origin: match origin {
            Origin::Config => "config",
            Origin::Csv => "csv",
            Origin::Ldap => "ldap",
            Origin::Rule => "rule",
        }
        .into(),
        key: None,
        tenures: Vec::new(),
        merged_into: None,
    }
}

fn unassigned_person() -> PersonRecord {
    PersonRecord {
        person: UNASSIGNED.into(),
        name: None,
        addresses: Vec::new(),
        origin: "rule".into(),
        key: None,
        tenures: Vec::new(),
        merged_into: None,
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
