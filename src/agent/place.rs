//! Whose imported mail is. Pure, like [`super::route`], which it asks where the operator does not say.
//!
//! What lies in a person's folders is that person's, whatever its header says. A journal report is no such mail: it was
//! put into a mailbox by a server, and proves for whom its message is. It is filed as on a gateway, and for the person
//! who was named only when its envelope names nobody of ours.

use std::sync::Arc;

use jiff::Timestamp;

use super::route::{self, Routing};
use super::rules::Rules;
use crate::archive::{Filing, Folder, IMPORT, PersonRecord, Provenance};
use crate::base::address::Address;
use crate::journal::{Decoded, Format};
use crate::people::{PersonId, UNASSIGNED, Who};
use crate::sources::files::holds_sent_mail;

/// How the reasons of filings begin that were made because the operator said whose mail it is.
const TOLD: &str = "imported from ";

const BY_HEADERS: &str = "by headers";
const FOR: &str = "for ";

/// Into which folder of a person's archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Into {
    /// Sent, when it is from that person or lies in a folder of sent mail; else Inbox.
    #[default]
    Auto,
    Told(Folder),
}

/// For whom.
#[derive(Clone, Debug)]
pub enum Owner {
    /// As the mail says.
    Headers,
    Person(Arc<PersonRecord>),
}

/// One imported mail's place.
#[derive(Clone, Debug)]
pub struct Placed {
    pub owner: Owner,
    pub into: Into,
    /// The path that was given.
    pub root: Arc<str>,
    /// Below it; may be empty.
    pub folder: String,
}

impl Owner {
    /// How the archive names it (`login` of an epoch): what was imported for one person is looked at again for another.
    pub fn login(&self, into: Into) -> String {
        let whose = match self {
            Owner::Headers => return BY_HEADERS.into(),
            Owner::Person(person) => &person.person,
        };
        match into {
            Into::Auto => format!("{FOR}{whose}"),
            Into::Told(folder) => format!("{FOR}{whose}, into {}", folder.as_str()),
        }
    }
}

impl Placed {
    /// Of an item that was imported, by what the archive recorded then; `None`: it was not, or by its headers.
    pub fn recorded(from: &Provenance, rules: &Rules) -> Option<Placed> {
        let whose = from.login.strip_prefix(FOR).filter(|_| from.kind == IMPORT)?;
        let told = |folder: Folder| Some((whose.strip_suffix(&format!(", into {}", folder.as_str()))?, folder));
        let (id, into) = match told(Folder::Inbox).or_else(|| told(Folder::Sent)) {
            Some((id, folder)) => (id, Into::Told(folder)),
            None => (whose, Into::Auto),
        };
        let person = rules.people.get(&PersonId(id.to_owned())).map(route::record_of);
        let place = from.native_id.rsplit_once('#').map_or(from.native_id.as_str(), |(place, _)| place);
        Some(Placed {
            owner: Owner::Person(Arc::new(person.unwrap_or_else(|| new_person(id, None)))),
            into,
            root: from.folder.as_str().into(),
            folder: place.trim_end_matches(".mbox").into(),
        })
    }

    /// `at` is when it came in.
    pub fn route(&self, decoded: &Decoded, rules: &Rules, at: Timestamp) -> Routing {
        let mut routing = rules.route(decoded, at);
        let from = self.from();
        let named = routing.filings.iter().any(|filing| filing.person != UNASSIGNED);
        match &self.owner {
            Owner::Person(person) if decoded.format == Format::Plain || !named => {
                let is_theirs = self.is_from(person, decoded, rules, at);
                let folder = match self.into {
                    Into::Told(folder) => folder,
                    Into::Auto if is_theirs || holds_sent_mail(&self.folder) => Folder::Sent,
                    Into::Auto => Folder::Inbox,
                };
                let sender = decoded.envelope.sender.as_deref().filter(|_| is_theirs);
                let by = sender.map(|sender| format!(", sent by {sender}")).unwrap_or_default();
                let because = format!("{TOLD}{from}{by}");
                routing.filings = vec![Filing { person: person.person.clone(), folder, because }];
                routing.people = vec![PersonRecord::clone(person)];
                (routing.excluded, routing.capped) = (None, false);
            }
            Owner::Person(_) | Owner::Headers => {
                for filing in &mut routing.filings {
                    filing.because = format!("{}, {TOLD}{from}", filing.because);
                }
            }
        }
        routing
    }

    fn from(&self) -> String {
        if self.folder.is_empty() { self.root.to_string() } else { format!("{}, folder {}", self.root, self.folder) }
    }

    fn is_from(&self, person: &PersonRecord, decoded: &Decoded, rules: &Rules, at: Timestamp) -> bool {
        let envelope = &decoded.envelope;
        let shown = decoded.summary.from.rsplit_once('<').map_or(decoded.summary.from.as_str(), |(_, address)| address);
        let senders = [envelope.sender.as_deref(), envelope.on_behalf_of.as_deref(), Some(shown)];
        senders.into_iter().flatten().filter_map(Address::parse).any(|address| {
            person.addresses.iter().any(|own| own == address.as_str())
                || matches!(rules.people.who(&address, at), Who::Owner(id) if id.as_str() == person.person)
        })
    }
}

/// Somebody whose archive begins with an import.
pub fn new_person(id: &str, address: Option<&Address>) -> PersonRecord {
    PersonRecord {
        person: id.into(),
        name: None,
        addresses: address.map(|address| address.to_string()).into_iter().collect(),
        origin: "rule".into(),
        key: None,
        tenures: Vec::new(),
        merged_into: None,
    }
}

/// Whether an item is filed as an operator said when it was imported: nothing that is known of addresses changes that.
pub fn is_told(filings: &[Filing]) -> bool {
    filings.iter().any(|filing| filing.because.starts_with(TOLD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::policies::Policies;
    use crate::journal::DecodeOptions;
    use crate::people::{People, PeopleOptions, Person};

    fn rules() -> Rules {
        let address = |text: &str| Address::parse(text).unwrap();
        let persons = ["anna@corp.example", "bob@corp.example"].map(|id| Person {
            id: PersonId(id.into()),
            name: None,
            addresses: [(address(id), crate::people::Origin::Config)].into(),
            legacy: Vec::new(),
            groups: Vec::new(),
        });
        let options = PeopleOptions {
            internal_domains: vec!["corp.example".into()],
            persons: persons.to_vec(),
            ..PeopleOptions::default()
        };
        let people = Arc::new(People::build(&options, &[]).unwrap());
        Rules::new(people, Policies::default(), DecodeOptions::default())
    }

    fn filed(mail: &str, folder: &str, into: Into, owner: Option<&str>) -> Vec<(String, Folder, String)> {
        let rules = rules();
        let owner = match owner {
            Some(id) => Owner::Person(Arc::new(route::record_of(rules.people.get(&PersonId(id.into())).unwrap()))),
            None => Owner::Headers,
        };
        let placed = Placed { owner, into, root: "/old/mail".into(), folder: folder.into() };
        let decoded = rules.decode(&mail.as_bytes().to_vec()).unwrap();
        let routing = placed.route(&decoded, &rules, Timestamp::UNIX_EPOCH);
        assert!(routing.excluded.is_none());
        routing.filings.into_iter().map(|filing| (filing.person, filing.folder, filing.because)).collect()
    }

    const FROM_ANNA: &str = "From: Anna <anna@corp.example>\r\nTo: bob@corp.example\r\nSubject: a\r\n\r\nx\r\n";
    const TO_ANNA: &str = "From: x@partner.example\r\nTo: list@partner.example\r\nSubject: a\r\n\r\nx\r\n";
    const ANNA: &str = "anna@corp.example";

    #[test]
    fn whose_folder_it_is_counts() {
        let one = |mail, folder, into| {
            let filed = filed(mail, folder, into, Some(ANNA));
            let [(person, folder, because)] = &filed[..] else { panic!("{filed:?}") };
            assert_eq!(person, ANNA);
            (*folder, because.clone())
        };
        let because = "imported from /old/mail, folder INBOX".to_owned();
        assert_eq!(one(TO_ANNA, "INBOX", Into::Auto), (Folder::Inbox, because));
        assert_eq!(one(TO_ANNA, "INBOX.Sent", Into::Auto).0, Folder::Sent);
        let because = "imported from /old/mail, sent by anna@corp.example".to_owned();
        assert_eq!(one(FROM_ANNA, "", Into::Auto), (Folder::Sent, because));
        assert_eq!(one(FROM_ANNA, "", Into::Told(Folder::Inbox)).0, Folder::Inbox);
        assert_eq!(one(TO_ANNA, "", Into::Told(Folder::Sent)).0, Folder::Sent);
    }

    #[test]
    fn by_its_headers_it_is_filed_as_a_copy() {
        let all = filed(FROM_ANNA, "x", Into::Auto, None);
        let because = |filing: &str| format!("{filing}, imported from /old/mail, folder x");
        assert_eq!(
            all,
            [
                (ANNA.to_owned(), Folder::Sent, because("sender anna@corp.example")),
                ("bob@corp.example".to_owned(), Folder::Inbox, because("to bob@corp.example")),
            ]
        );
        // What filing anew reads back.
        assert_eq!(route::claimed(&all[1].2, Folder::Inbox), Some("bob@corp.example"));
        assert_eq!(filed(TO_ANNA, "x", Into::Auto, None)[0].0, UNASSIGNED);
    }

    #[test]
    fn a_report_is_filed_by_its_envelope() {
        let report = include_str!("../../tests/data/journal/exchange-2007.eml");
        let by_envelope = filed(report, "", Into::Auto, None);
        let bob = by_envelope.iter().find(|(person, ..)| person == "bob@corp.example").unwrap();
        assert_eq!((bob.1, bob.2.as_str()), (Folder::Inbox, "to bob@corp.example, imported from /old/mail"));
        assert!(by_envelope.iter().all(|(person, ..)| person != ANNA), "{by_envelope:?}");
        assert_eq!(filed(report, "", Into::Auto, Some(ANNA)), by_envelope);
        // One that names nobody of ours lay in her mailbox all the same.
        let foreign = report.replace("corp.example", "partner.example");
        assert_eq!(filed(&foreign, "", Into::Auto, Some(ANNA))[0].0, ANNA);
        assert_eq!(filed(&foreign, "", Into::Auto, None)[0].0, UNASSIGNED);
    }

    #[test]
    fn what_was_recorded_says_whose_it_is() {
        let rules = rules();
        let placed = |login: &str| {
            let from = Provenance {
                kind: IMPORT.into(),
                host: "host".into(),
                login: login.into(),
                folder: "/old".into(),
                epoch: 1,
                native_id: "Sent.mbox#00".into(),
                order: None,
                size: 1,
                date: String::new(),
                disposition: crate::archive::Disposition::Quarantined,
                at: Timestamp::UNIX_EPOCH,
                gone: None,
            };
            Placed::recorded(&from, &rules)
        };
        for into in [Into::Auto, Into::Told(Folder::Inbox), Into::Told(Folder::Sent)] {
            let owner = Owner::Person(Arc::new(new_person(ANNA, None)));
            let back = placed(&owner.login(into)).unwrap();
            let Owner::Person(person) = &back.owner else { panic!() };
            assert_eq!((person.person.as_str(), back.into), (ANNA, into));
            assert!(holds_sent_mail(&back.folder));
        }
        assert!(placed(&Owner::Headers.login(Into::Auto)).is_none());
    }
}
