use super::*;
use crate::agent::policies::{Policies, Selection, UnknownInternal};
use crate::archive::Folder;
use crate::base::address::Address;
use crate::journal::DecodeOptions;
use crate::people::{Origin, People, PeopleOptions, Person};

fn rules(persons: &[(&str, &[&str])], change: impl FnOnce(&mut Policies)) -> Rules {
    let person = |(id, addresses): &(&str, &[&str])| Person {
        id: PersonId((*id).into()),
        name: None,
        addresses: addresses.iter().map(|address| (Address::parse(address).unwrap(), Origin::Config)).collect(),
        legacy: Vec::new(),
        groups: Vec::new(),
    };
    let options = PeopleOptions {
        internal_domains: vec!["corp.example".into()],
        persons: persons.iter().map(person).collect(),
        ..PeopleOptions::default()
    };
    let mut policies = Policies::default();
    change(&mut policies);
    Rules::new(Arc::new(People::build(&options, &[]).unwrap()), policies, DecodeOptions::default())
}

const ANNA: (&str, &[&str]) = ("anna", &["anna@corp.example"]);
const BOB: (&str, &[&str]) = ("bob", &["bob@corp.example"]);

const MAIL: &[u8] = b"From: x@partner.example\r\nTo: anna@corp.example, bob@corp.example\r\nSubject: s\r\n\
                      Message-ID: <1@partner.example>\r\n\r\nText\r\n";

/// Filed by the rules `before`, and looked at by the rules `now`.
fn planned(before: &Rules, now: &Rules, version: u32) -> Change {
    let item = MAIL.to_vec();
    let decoded = before.decode(&item).unwrap();
    let routing = before.route(&decoded, Timestamp::UNIX_EPOCH);
    let stored = StoredMessage { flags: routing.flags_of(&decoded), ..crate::agent::stored_message(&decoded) };
    let filed = Filed { filings: routing.filings, rules: version };
    plan(&stored, &filed, &now.decode(&item).unwrap(), now, Timestamp::UNIX_EPOCH)
}

fn told(change: &Change) -> Vec<String> {
    let text = |sign: &str, one: &Filing| format!("{sign}{} {}", one.person, one.folder.as_str());
    let mut told: Vec<String> = change.add.iter().map(|one| text("+", one)).collect();
    told.extend(change.withdraw.iter().map(|(one, _)| text("-", one)));
    told.extend(change.kept.iter().map(|one| text("=", one)));
    told
}

#[test]
fn nothing_changed_changes_nothing() {
    let rules = rules(&[ANNA, BOB], |_| {});
    assert!(planned(&rules, &rules, route::RULES).is_none());
    let older = planned(&rules, &rules, route::RULES - 1);
    assert!(older.older_rules && told(&older).is_empty(), "only the version is noted");
}

#[test]
fn what_was_nobodys_goes_to_its_owner() {
    let change = planned(&rules(&[], |_| {}), &rules(&[ANNA], |_| {}), route::RULES);
    // Bob is nobody yet, so it stays where nobody's mail is as well.
    assert_eq!(told(&change), ["+anna inbox"]);
    let change = planned(&rules(&[], |_| {}), &rules(&[ANNA, BOB], |_| {}), route::RULES);
    assert_eq!(told(&change), ["+anna inbox", "+bob inbox", "-unassigned inbox"]);
    assert_eq!(change.people.len(), 2);
}

#[test]
fn an_address_that_changed_hands_takes_the_copy_along() {
    let now = rules(&[("new", &["anna@corp.example"]), BOB], |_| {});
    let change = planned(&rules(&[ANNA, BOB], |_| {}), &now, route::RULES);
    assert_eq!(told(&change), ["+new inbox", "-anna inbox"]);
}

#[test]
fn who_is_not_known_any_more_keeps_what_was_theirs() {
    let before = rules(&[ANNA, BOB], |_| {});
    assert_eq!(told(&planned(&before, &rules(&[BOB], |_| {}), route::RULES)), ["=anna inbox"]);
    assert_eq!(told(&planned(&before, &rules(&[], |_| {}), 0)), ["=anna inbox", "=bob inbox"]);
}

#[test]
fn no_policy_takes_back_what_was_archived() {
    let before = rules(&[ANNA, BOB], |_| {});
    let out = rules(&[ANNA, BOB], |policies| policies.exclude = Selection::new(["anna"], []));
    assert_eq!(told(&planned(&before, &out, 0)), ["=anna inbox"]);
    let none = rules(&[], |policies| policies.unknown_internal = UnknownInternal::Exclude);
    assert_eq!(told(&planned(&before, &none, 0)), ["=anna inbox", "=bob inbox"]);
    let internal = rules(&[ANNA, BOB], |policies| policies.include = Selection::new(["nobody"], []));
    assert_eq!(told(&planned(&before, &internal, 0)), ["=anna inbox", "=bob inbox"]);
}

#[test]
fn what_a_reason_names_is_read_back() {
    for (because, folder, address) in [
        ("sender a@b.example", Folder::Sent, Some("a@b.example")),
        ("on behalf of a@b.example", Folder::Sent, Some("a@b.example")),
        ("to a@b.example", Folder::Inbox, Some("a@b.example")),
        ("bcc a@b.example, member of list@b.example", Folder::Inbox, Some("a@b.example")),
        ("recipient a@b.example, forwarded to c@d.example", Folder::Inbox, Some("a@b.example")),
        ("cc a@b.example, by the message's own header", Folder::Inbox, Some("a@b.example")),
        ("to a@b.example, forwarded by c@d.example, merged from old", Folder::Inbox, Some("a@b.example")),
        ("no address of ours in the envelope", Folder::Inbox, None),
        ("sender a@b.example", Folder::Inbox, None),
    ] {
        assert_eq!(route::claimed(because, folder), address, "{because}");
    }
    let decoded = rules(&[], |_| {}).decode(&MAIL.to_vec()).unwrap();
    for filing in rules(&[ANNA, BOB], |_| {}).route(&decoded, Timestamp::UNIX_EPOCH).filings {
        let address = route::claimed(&filing.because, filing.folder).unwrap();
        assert!(route::claims_for(&decoded, address, filing.folder), "{}", filing.because);
    }
}

/// An older decoder took Carl for a recipient; so he was filed for, and the better one knows that he was none.
#[test]
fn a_better_decoder_takes_back_what_was_not_theirs() {
    let rules = rules(&[ANNA, BOB, ("carl", &["carl@corp.example"])], |_| {});
    let decoded = rules.decode(&MAIL.to_vec()).unwrap();
    let routing = rules.route(&decoded, Timestamp::UNIX_EPOCH);
    let mut stored = crate::agent::stored_message(&decoded);
    let carl = Filing { person: "carl".into(), folder: Folder::Inbox, because: "cc carl@corp.example".into() };
    let mut filed = Filed { filings: routing.filings, rules: route::RULES };
    filed.filings.push(carl);
    let of = |stored: &StoredMessage| plan(stored, &filed, &decoded, &rules, Timestamp::UNIX_EPOCH);
    assert_eq!(told(&of(&stored)), ["=carl inbox"], "nothing says why he was filed for");
    stored.envelope.recipients.truncate(1);
    let change = of(&stored);
    assert_eq!(told(&change), ["-carl inbox"]);
    assert!(change.message.is_some());
    stored = StoredMessage { parser: 1, ..crate::agent::stored_message(&decoded) };
    let change = of(&stored);
    assert_eq!((told(&change), change.message.is_some()), (vec!["=carl inbox".to_owned()], true), "the version alone");
}
