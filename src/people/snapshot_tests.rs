//! Who is who: precedence, domains, tags, machines.

use super::*;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn person(id: &str, origin: Origin, addresses: &[&str]) -> Person {
    let addresses = addresses.iter().map(|text| (address(text), origin)).collect();
    Person { id: PersonId(id.into()), name: None, addresses, legacy: Vec::new(), groups: Vec::new() }
}

fn options(domains: &[&str], persons: Vec<Person>) -> PeopleOptions {
    let internal_domains = domains.iter().map(|domain| (*domain).to_owned()).collect();
    PeopleOptions { internal_domains, persons, ..PeopleOptions::default() }
}

fn owner(id: &str) -> Who {
    Who::Owner(PersonId(id.into()))
}

fn anna() -> Person {
    person("anna@corp.example", Origin::Config, &["anna@corp.example", "anna@private.example"])
}

#[test]
fn an_owner_wins_over_the_domain() {
    let people = People::build(&options(&["corp.example"], vec![anna()]), &[]).unwrap();
    assert_eq!(people.who(&address("ANNA@corp.example"), Timestamp::UNIX_EPOCH), owner("anna@corp.example"));
    assert_eq!(people.who(&address("anna@private.example"), Timestamp::UNIX_EPOCH), owner("anna@corp.example"));
    assert_eq!(people.who(&address("bob@corp.example"), Timestamp::UNIX_EPOCH), Who::UnknownInternal);
    assert_eq!(people.who(&address("bob@private.example"), Timestamp::UNIX_EPOCH), Who::External);
}

#[test]
fn subdomains_count_only_when_listed() {
    let people = People::build(&options(&["corp.example", ".group.example"], vec![]), &[]).unwrap();
    for (text, internal) in [
        ("a@corp.example", true),
        ("a@mail.corp.example", false),
        ("a@evilcorp.example", false),
        ("a@x.group.example", true),
        ("a@x.y.group.example", true),
        ("a@group.example", false),
        ("a@evilgroup.example", false),
    ] {
        assert_eq!(people.is_internal(&address(text)), internal, "{text}");
    }
}

#[test]
fn a_tag_is_stripped_only_without_an_exact_match() {
    let list = person("list", Origin::Config, &["anna+list@corp.example"]);
    let people = People::build(&options(&["corp.example"], vec![anna(), list]), &[]).unwrap();
    assert_eq!(people.who(&address("anna+news@corp.example"), Timestamp::UNIX_EPOCH), owner("anna@corp.example"));
    assert_eq!(people.who(&address("anna+list@corp.example"), Timestamp::UNIX_EPOCH), owner("list"));
    assert_eq!(people.who(&address("bob+x@corp.example"), Timestamp::UNIX_EPOCH), Who::UnknownInternal);
    assert_eq!(people.who(&address("+x@corp.example"), Timestamp::UNIX_EPOCH), Who::UnknownInternal);
    assert_eq!(people.who(&address("imceaex-_o=anna+20org@corp.example"), Timestamp::UNIX_EPOCH), Who::UnknownInternal);
}

#[test]
fn machines_own_nothing() {
    let mut options = options(&["corp.example"], vec![]);
    options.never_owners.push(address("journal@corp.example"));
    let people = People::build(&options, &[]).unwrap();
    for text in [
        "journal@corp.example",
        "journal+probe@corp.example",
        "MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@corp.example",
        "HealthMailboxc3d7722415ad41a5b19e3e00e165edbe@corp.example",
    ] {
        assert_eq!(people.who(&address(text), Timestamp::UNIX_EPOCH), Who::Machine, "{text}");
    }
    assert_eq!(people.who(&address("healthmailboxadmin@corp.example"), Timestamp::UNIX_EPOCH), Who::UnknownInternal);
}

#[test]
fn the_configuration_wins_over_what_the_archive_remembers() {
    let remembered = [
        person("anna@private.example", Origin::Rule, &["anna@private.example"]),
        person("bob@corp.example", Origin::Rule, &["bob@corp.example"]),
        person("gone", Origin::Csv, &["gone@corp.example"]),
        person("stranger@gmail.example", Origin::Rule, &["stranger@gmail.example"]),
    ];
    let people = People::build(&options(&["corp.example"], vec![anna()]), &remembered).unwrap();
    assert_eq!(people.who(&address("anna@private.example"), Timestamp::UNIX_EPOCH), owner("anna@corp.example"));
    assert_eq!(people.who(&address("bob@corp.example"), Timestamp::UNIX_EPOCH), owner("bob@corp.example"));
    assert_eq!(
        people.who(&address("gone@corp.example"), Timestamp::UNIX_EPOCH),
        Who::UnknownInternal,
        "taken out of the CSV"
    );
    assert_eq!(
        people.who(&address("stranger@gmail.example"), Timestamp::UNIX_EPOCH),
        Who::External,
        "the domain was taken out"
    );
    assert_eq!(people.len(), 5, "their archives stay known");
}

#[test]
fn created_people_join_and_take_nothing_away() {
    let people = People::build(&options(&["corp.example"], vec![anna()]), &[]).unwrap();
    let dora = created_person(&address("Dora+x@corp.example"));
    assert_eq!(dora.id.0, "dora@corp.example");
    let people = people.with_created([dora, created_person(&address("anna@private.example"))]);
    assert_eq!(people.who(&address("dora+x@corp.example"), Timestamp::UNIX_EPOCH), owner("dora@corp.example"));
    assert_eq!(people.who(&address("anna@private.example"), Timestamp::UNIX_EPOCH), owner("anna@corp.example"));
}

#[test]
fn wrapped_addresses_belong_to_whom_they_name() {
    let mut options = options(&["corp.example"], vec![anna()]);
    options.domain_aliases.insert("alias.example".into(), "corp.example".into());
    options.persons[0].legacy.push("/o=Org/ou=First Group/cn=Anna".into());
    let people = People::build(&options, &[]).unwrap();
    let anna = owner("anna@corp.example");
    for text in [
        "prvs=0123abcd=anna@corp.example",
        "srs0=hh=tt=corp.example=anna@forwarder.example",
        "anna@alias.example",
        "anna+x@alias.example",
        "IMCEAEX-_O=ORG_OU=First+20Group_cn=Anna@corp.example",
    ] {
        assert_eq!(people.who(&address(text), Timestamp::UNIX_EPOCH), anna, "{text}");
    }
    assert_eq!(people.who(&address("bob@alias.example"), Timestamp::UNIX_EPOCH), Who::UnknownInternal);
    assert_eq!(people.who_by_name("EX:/o=org/ou=first group/cn=anna"), Some(anna.clone()));
    assert_eq!(people.who_by_name("EX:/o=org/cn=bob"), None);
    let verp = address("list-bounces+anna=corp.example@lists.example");
    assert_eq!(people.who(&verp, Timestamp::UNIX_EPOCH), Who::External, "of a sender it names the recipient");
    assert_eq!(people.who_received(&verp, Timestamp::UNIX_EPOCH), anna);
}

fn with_csv(text: &str, mut options: PeopleOptions) -> Result<People, PeopleErrors> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.csv");
    std::fs::write(&path, text).unwrap();
    options.csv = Some(path);
    People::build(&options, &[])
}

#[test]
fn csv_adds_people_and_addresses() {
    let text = "anna@corp.example,Anna E.,a.e@corp.example\ncarl,Carl,carl@corp.example\ncarl,,c@corp.example\n";
    let people = with_csv(text, options(&["corp.example"], vec![anna()])).unwrap();
    assert_eq!(people.who(&address("a.e@corp.example"), Timestamp::UNIX_EPOCH), owner("anna@corp.example"));
    assert_eq!(people.who(&address("c@corp.example"), Timestamp::UNIX_EPOCH), owner("carl"));
    let anna = people.get(&PersonId("anna@corp.example".into())).unwrap();
    assert_eq!(anna.name.as_deref(), Some("Anna E."));
    let origins: Vec<_> = anna.addresses.iter().map(|(address, origin)| format!("{address} {origin:?}")).collect();
    assert_eq!(origins, ["a.e@corp.example Csv", "anna@corp.example Config", "anna@private.example Config"]);
}

#[test]
fn csv_conflicts_are_all_named_with_both_places() {
    let mut options = options(&["corp.example"], vec![anna()]);
    options.never_owners.push(address("journal@corp.example"));
    let text = "bob,,anna@private.example,shared@corp.example\ncarl,,shared@corp.example,journal@corp.example\nBob,,b@corp.example\n";
    let errors = with_csv(text, options).unwrap_err();
    let lines: Vec<_> = errors.0.iter().map(|problem| format!("{}: {}", problem.line.unwrap(), problem.what)).collect();
    insta::assert_debug_snapshot!(lines, @r#"
    [
        "1: anna@private.example is given to bob, but belongs to anna@corp.example (the configuration)",
        "2: shared@corp.example is given to carl, but belongs to bob (line 1)",
        "2: journal@corp.example is given to carl, but stands in `never_owners`",
        "3: person Bob is also written bob",
    ]
    "#);
}

#[test]
fn a_missing_csv_says_where_it_was_looked_for() {
    let mut options = options(&[], vec![]);
    options.csv = Some("/nowhere/people.csv".into());
    let text = People::build(&options, &[]).unwrap_err().to_string();
    assert!(text.starts_with("/nowhere/people.csv: cannot be read: "), "{text}");
    assert!(text.contains("\n  hint: "), "{text}");
}

#[test]
fn twenty_thousand_people_load() {
    let mut text = String::from("person,name,address\n");
    for n in 0..20_000 {
        text.push_str(&format!("p{n}@corp.example,Person {n},alias{n}@corp.example,{n}@old.example\n"));
    }
    let people = with_csv(&text, options(&["corp.example"], vec![])).unwrap();
    assert_eq!(people.len(), 20_000);
    assert_eq!(people.who(&address("19999@old.example"), Timestamp::UNIX_EPOCH), owner("p19999@corp.example"));
}

#[test]
fn who_was_merged_is_the_other_one() {
    let (old, now) = (person("old", Origin::Csv, &["old@corp.example", "left@corp.example"]), anna());
    let merged = |from: &Person, into: &str| Merged { from: from.clone(), into: PersonId(into.into()) };
    let who = |people: &People, text: &str| people.who(&address(text), Timestamp::UNIX_EPOCH);
    // The configuration may still name the one who is gone, or give one of the addresses to somebody else.
    let config = person("old", Origin::Config, &["old@corp.example"]);
    let other = person("other", Origin::Config, &["left@corp.example"]);
    let build = |persons| People::build(&options(&["corp.example"], persons), &[]).unwrap();
    let people = build(vec![now.clone(), config.clone()]).joined(&[merged(&old, "anna@corp.example")]);
    assert_eq!(who(&people, "old@corp.example"), owner("anna@corp.example"));
    assert_eq!(who(&people, "left@corp.example"), owner("anna@corp.example"));
    assert!(people.get(&PersonId("old".into())).is_none());
    let people = build(vec![now.clone(), other]).joined(&[merged(&old, "anna@corp.example")]);
    assert_eq!(who(&people, "left@corp.example"), owner("other"));
    // Once more: all the way, in whichever order they come.
    let third = person("third", Origin::Rule, &["third@corp.example"]);
    let mut all = [merged(&old, "third"), merged(&third, "anna@corp.example")];
    for _ in 0..2 {
        let people = build(vec![now.clone(), config.clone()]).joined(&all);
        assert_eq!(who(&people, "old@corp.example"), owner("anna@corp.example"));
        assert_eq!(who(&people, "third@corp.example"), owner("anna@corp.example"));
        assert_eq!(people.len(), 1);
        all.reverse();
    }
}

/// A directory over time: each step is a list of (key, addresses), a day apart.
fn roster(steps: &[&[(&str, &[&str])]]) -> crate::people::directory::Roster {
    use crate::people::directory::{Entry, Roster, Terms};
    let nobody = HashSet::new();
    let mut roster = None;
    for (day, step) in steps.iter().enumerate() {
        let entry = |(key, addresses): &(&str, &[&str])| Entry {
            key: (*key).into(),
            name: Some(format!("Name of {key}")),
            main: addresses.first().map(|text| address(text)),
            addresses: addresses.iter().map(|text| address(text)).collect(),
            legacy: vec![format!("/o=Org/cn={key}")],
            groups: vec!["archived".into()],
            disabled: false,
        };
        let entries: Vec<Entry> = step.iter().map(entry).collect();
        let terms = Terms { now: day_of(day as i64), drop_max_percent: None, never_owners: &nobody };
        roster = Some(Roster::renewed(roster.as_ref(), "ldaps://dc", &entries, &[], terms).unwrap().roster);
    }
    roster.unwrap()
}

fn day_of(day: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + day * 86_400).unwrap()
}

#[test]
fn an_address_that_changed_hands_leaves_the_old_mail_where_it_was() {
    let steps: [&[(&str, &[&str])]; 3] = [
        &[("a", &["anna@corp.example", "sales@corp.example"]), ("b", &["bob@corp.example"])],
        &[("b", &["bob@corp.example", "sales@corp.example"])],
        &[("b", &["bob@corp.example"])],
    ];
    let mut options = options(&["corp.example"], vec![]);
    options.domain_aliases.insert("alias.example".into(), "corp.example".into());
    options.directory = Some(roster(&steps).into());
    let people = People::build(&options, &[]).unwrap();
    for text in ["sales@corp.example", "sales+x@alias.example"] {
        assert_eq!(people.who(&address(text), day_of(-9)), owner("anna@corp.example"), "{text}");
        assert_eq!(people.who(&address(text), day_of(1)), owner("bob@corp.example"), "{text}");
        assert_eq!(people.who(&address(text), day_of(2)), Who::UnknownInternal, "{text}");
    }
    let anna = PersonId("anna@corp.example".into());
    assert_eq!(people.key(&anna), Some("a"));
    assert!(people.get(&anna).unwrap().addresses.is_empty());
    assert_eq!(people.who_by_name("EX:/o=org/cn=a"), Some(owner("anna@corp.example")));
    let verp = address("list-bounces+sales=corp.example@lists.example");
    assert_eq!(people.who_received(&verp, day_of(0)), owner("anna@corp.example"));
}

#[test]
fn the_directory_stands_between_the_csv_and_the_rule() {
    let steps: [&[(&str, &[&str])]; 1] = [&[
        ("a", &["anna.new@corp.example", "anna@corp.example"]),
        ("b", &["bob@corp.example", "b@corp.example"]),
        ("c", &["carl@corp.example"]),
    ]];
    let mut with_directory = options(&["corp.example"], vec![anna()]);
    with_directory.directory = Some(roster(&steps).into());
    let remembered = [
        person("bob@corp.example", Origin::Rule, &["bob@corp.example"]),
        person("b@corp.example", Origin::Rule, &["b@corp.example"]),
        person("gone@corp.example", Origin::Ldap, &["gone@corp.example"]),
    ];
    let people = People::build(&with_directory, &remembered).unwrap();
    let now = day_of(0);
    // Whom the configuration knows by one address is that person with all of them.
    assert_eq!(people.who(&address("anna.new@corp.example"), now), owner("anna@corp.example"));
    assert_eq!(people.who(&address("b@corp.example"), now), owner("bob@corp.example"));
    assert_eq!(people.who(&address("carl@corp.example"), now), owner("carl@corp.example"));
    assert_eq!(people.who(&address("gone@corp.example"), now), Who::UnknownInternal, "the directory was taken out");
    let anna = people.get(&PersonId("anna@corp.example".into())).unwrap();
    let origins: Vec<_> = anna.addresses.iter().map(|(address, origin)| format!("{address} {origin:?}")).collect();
    let all = ["anna.new@corp.example Ldap", "anna@corp.example Config", "anna@private.example Config"];
    assert_eq!(origins, all);
    assert_eq!((anna.name.as_deref(), &anna.groups[..]), (Some("Name of a"), &["archived".to_owned()][..]));
    assert!(people.get(&PersonId("b@corp.example".into())).unwrap().addresses.is_empty());
    assert_eq!(people.key(&PersonId("bob@corp.example".into())), Some("b"));
}

#[test]
fn who_was_merged_takes_the_directorys_addresses_along() {
    let steps: [&[(&str, &[&str])]; 2] = [
        &[("a", &["anna@corp.example"]), ("b", &["bob@corp.example", "sales@corp.example"])],
        &[
            ("a", &["anna@corp.example", "sales@corp.example"]),
            ("b", &["bob@corp.example"]),
            ("c", &["c@corp.example"]),
        ],
    ];
    let mut options = options(&["corp.example"], vec![]);
    options.directory = Some(roster(&steps).into());
    let build = || People::build(&options, &[]).unwrap();
    // As the archive recorded them once: an address of theirs is somebody else's by now.
    let recorded =
        person("bob@corp.example", Origin::Ldap, &["bob@corp.example", "sales@corp.example", "b@corp.example"]);
    let people = build().joined(&[Merged { from: recorded, into: PersonId("c@corp.example".into()) }]);
    let carl = owner("c@corp.example");
    assert_eq!(people.who(&address("bob@corp.example"), day_of(9)), carl);
    assert_eq!(people.who(&address("sales@corp.example"), day_of(0)), carl);
    assert_eq!(people.who(&address("sales@corp.example"), day_of(1)), owner("anna@corp.example"));
    assert_eq!(people.who(&address("b@corp.example"), day_of(1)), carl, "nobody is given it");
    assert_eq!(people.key(&PersonId("c@corp.example".into())), Some("c"));
    let tenures = people.tenures();
    let shown: Vec<_> = tenures[&PersonId("c@corp.example".into())]
        .iter()
        .map(|(address, tenure)| (address.as_str(), tenure.until))
        .collect();
    assert_eq!(shown, [("sales@corp.example", Some(day_of(1)))]);
}
