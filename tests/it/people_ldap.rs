//! A directory of people through the program: whose archive a mail goes to while people marry, leave and take over
//! addresses, and what happens when the directory is down or wrong.

use serde_json::Value;

use crate::support::agent::{Agent, Config, alarms, count};
use crate::support::dovecot::{Dovecot, Setup};
use crate::support::slapd::{Cutter, PASSWORD, READER, SUFFIX, Slapd, user};

const USER: &str = "journal";
const ANNA: &str = "00112233-4455-6677-8899-aabbccddeeff";
const BOB: &str = "10112233-4455-6677-8899-aabbccddeeff";

/// A report of Exchange about a mail from outside.
fn report(id: &str, recipient: &str) -> Vec<u8> {
    format!(
        "From: x@partner.example\r\nSender: <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@corp.example>\r\n\
         To: journal@corp.example\r\nSubject: {id}\r\nMessage-ID: <report-{id}@journal.report.generator>\r\n\
         X-MS-Journal-Report:\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"r\"\r\n\r\n\
         --r\r\nContent-Type: text/plain\r\n\r\nSender: x@partner.example\r\nSubject: {id}\r\n\
         Message-Id: <{id}@partner.example>\r\nTo: {recipient}\r\n\r\n--r\r\nContent-Type: message/rfc822\r\n\r\n\
         From: x@partner.example\r\nSubject: {id}\r\nMessage-ID: <{id}@partner.example>\r\n\
         Date: Tue, 3 Feb 2026 04:05:06 +0000\r\n\r\nText of {id}\r\n--r--\r\n"
    )
    .into_bytes()
}

/// Some others, so that one who leaves is no drop.
fn others() -> String {
    (0..9)
        .map(|n| user(&format!("Other{n}"), &format!("9{n}112233-4455-6677-8899-aabbccddeeff"), &[&mail(n)]))
        .collect()
}

fn mail(n: usize) -> String {
    format!("mail: other{n}@corp.example")
}

struct World {
    dovecot: Dovecot,
    slapd: Slapd,
    agent: Agent,
}

impl World {
    fn new(people: &str) -> Option<World> {
        let dovecot = Dovecot::start(&Setup::default())?;
        let slapd = Slapd::start(&(people.to_owned() + &others()))?;
        let agent = Agent::new(&config(&dovecot, slapd.ldap_port));
        std::fs::write(agent.path("ldap.password"), PASSWORD).unwrap();
        Some(World { dovecot, slapd, agent })
    }

    fn deliver(&self, id: &str, recipient: &str) {
        self.dovecot.client(USER).append("INBOX", &report(id, recipient));
    }

    /// Comes in an hour from now: gateways date by the second, and an address may change hands within one.
    fn deliver_later(&self, id: &str, recipient: &str) {
        let later = jiff::Zoned::now().checked_add(jiff::Span::new().hours(1)).unwrap();
        self.deliver_at(&later.strftime("%d-%b-%Y %H:%M:%S %z").to_string(), id, recipient);
    }

    fn deliver_at(&self, date: &str, id: &str, recipient: &str) {
        self.dovecot.client(USER).append(&format!("INBOX \"{date}\""), &report(id, recipient));
    }

    fn waiting(&self) -> usize {
        self.dovecot.client(USER).uids("INBOX").len()
    }

    fn snapshot(&self) -> Vec<u8> {
        std::fs::read(self.agent.archive().join("people-ldap.json")).unwrap()
    }

    /// Subject and person of each message.
    fn filed(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut filed: Vec<_> =
            self.agent.list().iter().map(|entry| (text(&entry["subject"]), text(&entry["person"]))).collect();
        filed.sort();
        filed
    }
}

fn config(dovecot: &Dovecot, ldap_port: u16) -> Config {
    Config::plain(dovecot).with_people(&format!(
        "internal_domains = [\"corp.example\"]\nunknown_internal = \"unassigned\"\n[people.ldap]\n\
         url = \"ldap://127.0.0.1:{ldap_port}\"\nbind_dn = \"{READER}\"\npassword = {{ file = \"ldap.password\" }}\n\
         base = \"{SUFFIX}\"\npage_size = 4\nrefresh = \"0s\""
    ))
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(subject, person)| ((*subject).to_owned(), (*person).to_owned())).collect()
}

fn change(name: &str, lines: &str) -> String {
    format!("dn: cn={name},{SUFFIX}\nchangetype: modify\n{lines}\n")
}

fn delete(name: &str) -> String {
    format!("dn: cn={name},{SUFFIX}\nchangetype: delete\n\n")
}

#[test]
fn a_marriage_does_not_split_an_archive() {
    let Some(world) = World::new(&user("Anna", ANNA, &["mail: anna.maiden@corp.example"])) else { return };
    world.deliver("before", "anna.maiden@corp.example");
    world.agent.once(0);
    world.slapd.modify(&change("Anna", "replace: mail\nmail: anna.wed@corp.example\n-\nreplace: sn\nsn: Wed\n"));
    world.deliver("after", "anna.wed@corp.example");
    world.agent.once(0);
    let anna = "anna.maiden@corp.example";
    assert_eq!(world.filed(), pairs(&[("after", anna), ("before", anna)]));
    let people = world.agent.json(&["people", "--json"], 0);
    let anna = people["people"].as_array().unwrap().iter().find(|person| person["person"] == anna).unwrap();
    assert_eq!(anna["key"], ANNA);
    let addresses: Vec<_> =
        anna["addresses"].as_array().unwrap().iter().map(|entry| entry["address"].clone()).collect();
    assert_eq!((addresses, &anna["addresses"][0]["origin"]), (vec!["anna.wed@corp.example".into()], &"ldap".into()));
    // The archive's own records know the key: a list that was lost finds her again.
    std::fs::remove_file(world.agent.archive().join("people-ldap.json")).unwrap();
    world.deliver("lost", "anna.wed@corp.example");
    world.agent.once(0);
    assert_eq!(world.filed()[2], ("lost".to_owned(), "anna.maiden@corp.example".to_owned()));
}

#[test]
fn who_was_merged_stays_merged_whatever_the_directory_says() {
    let people = user("Anna", ANNA, &["mail: anna@corp.example"]) + &user("Bob", BOB, &["mail: bob@corp.example"]);
    let Some(world) = World::new(&people) else { return };
    world.deliver("one", "anna@corp.example");
    world.deliver("two", "bob@corp.example");
    world.agent.once(0);
    world.agent.json(&["people", "merge", "bob@corp.example", "anna@corp.example", "--json"], 0);
    world.slapd.modify(&change("Bob", "add: proxyAddresses\nproxyAddresses: smtp:b.new@corp.example\n"));
    world.deliver_later("three", "b.new@corp.example");
    world.agent.once(0);
    let anna = "anna@corp.example";
    assert_eq!(world.filed(), pairs(&[("one", anna), ("three", anna), ("two", anna)]));
}

#[test]
fn the_successor_does_not_get_the_predecessors_mail() {
    let people = user("Anna", ANNA, &["mail: anna@corp.example", "proxyAddresses: smtp:sales@corp.example"])
        + &user("Bob", BOB, &["mail: bob@corp.example"]);
    let Some(world) = World::new(&people) else { return };
    world.deliver("one", "sales@corp.example");
    world.agent.once(0);
    world.slapd.modify(&delete("Anna"));
    world.slapd.modify(&change("Bob", "add: proxyAddresses\nproxyAddresses: smtp:sales@corp.example\n"));
    let said = world.agent.run(&["people", "refresh"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.out.contains("gone: 1\n    anna@corp.example\n"), "{said:#?}");
    assert!(said.out.contains("sales@corp.example from anna@corp.example to bob@corp.example"), "{said:#?}");
    // What came in while it was hers, and was downloaded late.
    world.deliver_at("03-Feb-2024 04:05:06 +0000", "late", "sales@corp.example");
    world.deliver_later("new", "sales@corp.example");
    world.agent.once(0);
    let (anna, bob) = ("anna@corp.example", "bob@corp.example");
    assert_eq!(world.filed(), pairs(&[("late", anna), ("new", bob), ("one", anna)]));
    // The archive's records say the same when the list is lost.
    std::fs::remove_file(world.agent.archive().join("people-ldap.json")).unwrap();
    world.deliver_at("03-Feb-2024 04:05:06 +0000", "later still", "sales@corp.example");
    world.agent.once(0);
    assert_eq!(world.filed()[1], ("later still".to_owned(), anna.to_owned()));
}

#[test]
fn a_directory_that_is_down_stops_nothing_once_it_was_up() {
    let Some(mut world) = World::new(&user("Anna", ANNA, &["mail: anna@corp.example"])) else { return };
    world.slapd.stop();
    world.deliver("one", "anna@corp.example");
    let report = world.agent.once(3);
    let error = report["error"]["what"].as_str().unwrap();
    assert!(error.contains("refused the connection") && error.contains("nothing was downloaded"), "{error}");
    assert_eq!(world.waiting(), 1);
    let check = world.agent.json(&["check", "--json"], 3);
    assert!(check.to_string().contains("none yet; the first run fetches it"), "{check}");

    world.slapd.start_again();
    let report = world.agent.once(0);
    assert_eq!((count(&report, "archived"), world.waiting()), (1, 0));
    let (before, status) = (world.snapshot(), world.agent.json(&["status", "--json"], 0));
    assert_eq!((&status["directory"]["people"], status["directory"]["age_s"].is_u64()), (&10.into(), true));

    world.slapd.stop();
    world.deliver("two", "anna@corp.example");
    let report = world.agent.once(2);
    assert_eq!((count(&report, "archived"), world.waiting()), (1, 0));
    let alarms = alarms(&report);
    assert!(alarms.contains("the last good list goes on: 10 people from ldap://"), "{alarms:?}");
    assert_eq!(world.snapshot(), before);
    let anna = "anna@corp.example";
    assert_eq!(world.filed(), pairs(&[("one", anna), ("two", anna)]));
    let check = world.agent.json(&["check", "--json"], 0);
    assert!(check.to_string().contains("last good list: 10 people"), "{check}");
}

#[test]
fn a_list_that_is_much_shorter_is_not_believed() {
    let Some(world) = World::new(&user("Anna", ANNA, &["mail: anna@corp.example"])) else { return };
    world.agent.once(0);
    let before = world.snapshot();
    for name in ["Anna", "Other0", "Other1"] {
        world.slapd.modify(&delete(name));
    }
    world.deliver("one", "anna@corp.example");
    let alarms = alarms(&world.agent.once(2));
    let expected = "3 of the 10 people before are missing in the directory's answer, which lists 7";
    assert!(alarms.contains(expected), "{alarms:?}");
    assert_eq!((world.snapshot(), world.filed()), (before, pairs(&[("one", "anna@corp.example")])));
    let said = world.agent.run(&["people", "refresh"]);
    assert_eq!(said.code, Some(3), "{said:#?}");
    assert!(said.err.contains("--accept-drop"), "{said:#?}");
    let said = world.agent.json(&["people", "refresh", "--accept-drop", "--json"], 0);
    assert_eq!(said["difference"]["gone"].as_array().unwrap().len(), 3);
    world.deliver_later("two", "anna@corp.example");
    world.agent.once(0);
    assert_eq!(world.filed(), pairs(&[("one", "anna@corp.example"), ("two", "unassigned")]));
    // Nobody at all is never taken.
    for n in 2..9 {
        world.slapd.modify(&delete(&format!("Other{n}")));
    }
    let said = world.agent.run(&["people", "refresh", "--accept-drop"]);
    assert_eq!(said.code, Some(3), "{said:#?}");
    assert!(said.err.contains("lists nobody (7 before)"), "{said:#?}");
}

#[test]
fn a_directory_that_dies_in_the_middle_of_a_page_changes_nothing() {
    let Some(world) = World::new(&user("Anna", ANNA, &["mail: anna@corp.example"])) else { return };
    let cutter = Cutter::before(world.slapd.ldap_port);
    world.agent.configure(&config(&world.dovecot, cutter.port));
    world.agent.once(0);
    let (all, before) = (cutter.passed(), world.snapshot());
    for n in 1..12 {
        cutter.cut_after(all * n / 12);
        let alarms = alarms(&world.agent.once(2));
        assert!(alarms.contains("the last good list goes on"), "{n}: {alarms:?}");
        assert_eq!(world.snapshot(), before, "{n}");
    }
    cutter.cut_after(u64::MAX);
    world.agent.once(0);
    assert_ne!(world.snapshot(), before);
}

#[test]
fn a_damaged_list_is_an_error_and_stays_as_it_is() {
    let Some(world) = World::new(&user("Anna", ANNA, &["mail: anna@corp.example"])) else { return };
    world.agent.once(0);
    let path = world.agent.archive().join("people-ldap.json");
    let half = world.snapshot()[..200].to_vec();
    std::fs::write(&path, &half).unwrap();
    world.deliver("one", "anna@corp.example");
    for command in [&["once"][..], &["people"], &["people", "refresh"], &["once", "--dry-run"]] {
        let said = world.agent.run(command);
        assert_eq!(said.code, Some(4), "{command:?} {said:#?}");
        assert!(said.err.contains("people-ldap.json: the list of people") && said.err.contains("hint:"), "{said:#?}");
    }
    assert_eq!((world.snapshot(), world.waiting()), (half, 1));
}

#[cfg(unix)]
#[test]
fn the_list_of_people_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(world) = World::new(&user("Anna", ANNA, &["mail: anna@corp.example"])) else { return };
    world.agent.once(0);
    let mode = std::fs::metadata(world.agent.archive().join("people-ldap.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
