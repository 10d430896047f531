//! Rosters over time: who keeps which archive and which address, and which lists are refused.

use super::*;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// `addresses`: the first is the main one.
fn entry(key: &str, addresses: &[&str]) -> Entry {
    Entry {
        key: key.into(),
        name: None,
        main: addresses.first().map(|text| address(text)),
        addresses: addresses.iter().map(|text| address(text)).collect(),
        legacy: Vec::new(),
        groups: Vec::new(),
        disabled: false,
    }
}

fn at(day: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + day * 86_400).unwrap()
}

fn renew(previous: Option<&Roster>, entries: &[Entry], archives: &[Archived], day: i64) -> Result<Renewed, Refused> {
    let never_owners = HashSet::from([address("journal@corp.example")]);
    let terms = Terms { now: at(day), drop_max_percent: Some(20), never_owners: &never_owners };
    Roster::renewed(previous, "ldaps://dc.corp.example", entries, archives, terms)
}

fn renewed(previous: Option<&Roster>, entries: &[Entry], day: i64) -> Roster {
    // Enough others that one who leaves is no drop.
    let others = (0..9).map(|n| entry(&format!("other{n}"), &[&format!("other{n}@corp.example")]));
    let all: Vec<Entry> = entries.iter().cloned().chain(others).collect();
    renew(previous, &all, &[], day).unwrap().roster
}

fn id<'a>(roster: &'a Roster, key: &str) -> &'a str {
    &roster.people[key].id.0
}

/// Who had an address on a day, by key.
fn holder<'a>(roster: &'a Roster, text: &str, day: i64) -> Vec<&'a str> {
    let has = |listed: &Listed| {
        listed.addresses.get(&address(text)).is_some_and(|tenures| tenures.iter().any(|tenure| tenure.holds(at(day))))
    };
    roster.people.iter().filter(|(_, listed)| has(listed)).map(|(key, _)| key.as_str()).collect()
}

#[test]
fn a_marriage_does_not_split_an_archive() {
    let first = renewed(None, &[entry("a", &["anna.maiden@corp.example"])], 0);
    let second = renewed(Some(&first), &[entry("a", &["anna.wed@corp.example", "anna.maiden@corp.example"])], 10);
    assert_eq!(id(&second, "a"), "anna.maiden@corp.example");
    assert_eq!(holder(&second, "anna.wed@corp.example", 5), ["a"], "a new address was nobody's before");
    let third = renewed(Some(&second), &[entry("a", &["anna.wed@corp.example"])], 20);
    assert_eq!(id(&third, "a"), "anna.maiden@corp.example");
    assert_eq!(holder(&third, "anna.maiden@corp.example", 19), ["a"]);
    assert_eq!(holder(&third, "anna.maiden@corp.example", 20), [""; 0]);
}

#[test]
fn a_reassigned_address_leaves_the_old_mail_to_the_predecessor() {
    let first = renewed(None, &[entry("a", &["sales@corp.example"]), entry("b", &["bob@corp.example"])], 0);
    let second = renewed(Some(&first), &[entry("b", &["bob@corp.example", "sales@corp.example"])], 10);
    assert_eq!(holder(&second, "sales@corp.example", 9), ["a"]);
    assert_eq!(holder(&second, "sales@corp.example", 10), ["b"]);
    assert!(!second.people["a"].present);
    let difference = Roster::difference(Some(&first), &second);
    let moved =
        (address("sales@corp.example"), PersonId("sales@corp.example".into()), PersonId("bob@corp.example".into()));
    assert_eq!(difference.moved, [moved]);
    assert_eq!(difference.gone, [PersonId("sales@corp.example".into())]);
    assert_eq!((difference.gained, difference.lost), (vec![], vec![]));
    // And back, with a pause during which nobody had it.
    let third = renewed(Some(&second), &[entry("b", &["bob@corp.example"])], 20);
    let fourth = renewed(Some(&third), &[entry("a", &["sales@corp.example"]), entry("b", &["bob@corp.example"])], 30);
    let holders: Vec<_> = [9, 19, 25, 30].map(|day| holder(&fourth, "sales@corp.example", day)).concat();
    assert_eq!(holders, ["a", "b", "a"]);
    assert_eq!(id(&fourth, "a"), "sales@corp.example");
}

#[test]
fn a_namesake_gets_an_archive_of_their_own() {
    let first = renewed(None, &[entry("a", &["anna@corp.example"])], 0);
    let second = renewed(Some(&first), &[entry("b", &["anna@corp.example"])], 10);
    assert_eq!(id(&second, "b"), "anna@corp.example~2");
    assert_eq!(holder(&second, "anna@corp.example", 0), ["a"]);
    assert_eq!(holder(&second, "anna@corp.example", 10), ["b"]);
}

#[test]
fn an_archive_that_a_rule_made_is_adopted_by_whom_it_is_about() {
    let archived = |id: &str, key: Option<&str>, addresses: &[&str]| Archived {
        id: PersonId(id.into()),
        key: key.map(str::to_owned),
        addresses: addresses.iter().map(|text| address(text)).collect(),
    };
    let archives = [
        archived("sales@corp.example", None, &["sales@corp.example"]),
        archived("anna", None, &["anna@corp.example", "a@corp.example"]),
        archived("carl@corp.example", Some("gone"), &["carl@corp.example"]),
        archived("old@corp.example", Some("d"), &["old@corp.example"]),
        archived("eve@corp.example", None, &[]),
    ];
    let entries = [
        // `sales` is somebody else's main address: that claim is the better one.
        entry("0", &["zoe@corp.example", "sales@corp.example"]),
        entry("a", &["anna.new@corp.example", "a@corp.example"]),
        entry("c", &["carl@corp.example"]),
        entry("d", &["dora@corp.example"]),
        entry("e", &["eve@corp.example"]),
    ];
    let roster = renew(None, &entries, &archives, 0).unwrap().roster;
    let ids: Vec<_> = ["0", "a", "c", "d", "e"].map(|key| id(&roster, key)).into();
    assert_eq!(ids, ["sales@corp.example", "anna", "carl@corp.example~2", "old@corp.example", "eve@corp.example~2"]);
}

#[test]
fn two_who_claim_one_address_are_told_and_one_has_it() {
    let clash = [entry("b", &["bob@corp.example", "x@corp.example"]), entry("c", &["x@corp.example"])];
    let first = renew(None, &clash, &[], 0).unwrap();
    assert_eq!(holder(&first.roster, "x@corp.example", 0), ["c"], "its main address");
    assert!(first.notices[0].starts_with("x@corp.example belongs to several in the directory: b, c; c has it"));
    let next = [entry("b", &["x@corp.example", "bob@corp.example"]), entry("c", &["x@corp.example"])];
    let second = renew(Some(&first.roster), &next, &[], 1).unwrap();
    assert_eq!(holder(&second.roster, "x@corp.example", 1), ["c"], "who has it keeps it");
}

#[test]
fn gateways_and_probes_are_nobody() {
    let entries = [
        entry("a", &["anna@corp.example", "journal@corp.example"]),
        entry("j", &["journal@corp.example"]),
        entry("h", &["healthmailboxc3d7722415ad41a5b19e3e00e165edbe@corp.example"]),
    ];
    let roster = renew(None, &entries, &[], 0).unwrap().roster;
    assert_eq!(roster.people.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(holder(&roster, "journal@corp.example", 0), [""; 0]);
}

#[test]
fn a_list_of_nobody_or_of_many_fewer_is_refused() {
    let ten: Vec<Entry> = (0..10).map(|n| entry(&format!("k{n}"), &[&format!("p{n}@corp.example")])).collect();
    assert_eq!(renew(None, &[], &[], 0).unwrap_err(), Refused::Nobody { before: 0 });
    let roster = renew(None, &ten, &[], 0).unwrap().roster;
    assert_eq!(renew(Some(&roster), &[], &[], 1).unwrap_err(), Refused::Nobody { before: 10 });
    let refused = renew(Some(&roster), &ten[2..], &[], 1).unwrap_err();
    assert_eq!(refused, Refused::Dropped { before: 10, gone: 2, now: 8 });
    let nine = renew(Some(&roster), &ten[1..], &[], 1).unwrap().roster;
    assert_eq!(nine.present(), 9);
    // As many as before, but nobody that was there: the keys are other ones.
    let others: Vec<Entry> = (0..10).map(|n| entry(&format!("z{n}"), &[&format!("p{n}@corp.example")])).collect();
    assert_eq!(renew(Some(&nine), &others, &[], 2).unwrap_err(), Refused::Dropped { before: 9, gone: 9, now: 10 });
    let nobody = HashSet::new();
    let terms = Terms { now: at(2), drop_max_percent: None, never_owners: &nobody };
    let five = Roster::renewed(Some(&nine), "", &ten[5..], &[], terms).unwrap().roster;
    assert_eq!((five.present(), five.people.len()), (5, 10));
}

#[test]
fn a_roster_survives_its_file_and_damage_is_named() {
    let mut anna = entry("a", &["anna@corp.example", "a.b@corp.example"]);
    anna.name = Some("Anna \"Ä\" Example".into());
    anna.legacy.push("/o=Org/cn=Anna".into());
    let first = renewed(None, &[anna.clone()], 0);
    anna.addresses.pop_first();
    anna.disabled = true;
    let second = renewed(Some(&first), &[anna], 5);
    assert_eq!(Roster::parse(&second.to_json()).unwrap(), second);
    let json = second.to_json();
    for cut in [0, 1, json.len() / 2, json.len() - 3] {
        assert!(Roster::parse(&json[..cut]).is_err(), "{cut}");
    }
    let later = String::from_utf8(json).unwrap().replace("\"version\": 1", "\"version\": 2");
    assert_eq!(Roster::parse(later.as_bytes()).unwrap_err(), "it has version 2; this program knows version 1");
}

proptest::proptest! {
    /// Whatever a directory does over time: at any moment an address has at most one holder, and an id never changes.
    #[test]
    fn an_address_never_has_two_holders(steps in proptest::collection::vec(
        proptest::collection::btree_map(0usize..6, proptest::collection::btree_set(0usize..5, 1..4), 1..6), 1..8)) {
        let nobody = HashSet::new();
        let mut roster: Option<Roster> = None;
        for (day, step) in steps.iter().enumerate() {
            let entries: Vec<Entry> = step.iter().map(|(key, addresses)| {
                let texts: Vec<String> = addresses.iter().map(|n| format!("a{n}@corp.example")).collect();
                entry(&format!("k{key}"), &texts.iter().map(String::as_str).collect::<Vec<_>>())
            }).collect();
            let terms = Terms { now: at(day as i64), drop_max_percent: None, never_owners: &nobody };
            let next = Roster::renewed(roster.as_ref(), "", &entries, &[], terms).unwrap().roster;
            for (key, listed) in roster.iter().flat_map(|roster| &roster.people) {
                assert_eq!(next.people[key].id, listed.id);
            }
            let ids: HashSet<String> = next.people.values().map(|listed| listed.id.folded()).collect();
            assert_eq!(ids.len(), next.people.len());
            for n in 0..5 {
                let text = format!("a{n}@corp.example");
                for moment in -1..=(day as i64) {
                    let holders = holder(&next, &text, moment);
                    assert!(holders.len() <= 1, "{text} on day {moment}: {holders:?}");
                }
                let wanted = entries.iter().any(|entry| entry.addresses.contains(&address(&text)));
                assert_eq!(!holder(&next, &text, day as i64).is_empty(), wanted);
            }
            roster = Some(next);
        }
    }
}
