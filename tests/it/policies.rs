//! Policies of a profile, through the program and a real Dovecot: what is archived, what is excluded and said so,
//! what is told.

use serde_json::Value;

use crate::support::agent::{Agent, Config, alarms, count};
use crate::support::dovecot::{Dovecot, Setup};

const USER: &str = "journal";
const ANNA: &str = "anna@corp.example";
const BOB: &str = "bob@corp.example";
const STRANGER: &str = "x@partner.example";

/// A report of Exchange about a mail with this Message-ID.
fn report(id: &str, sender: &str, recipients: &[&str]) -> Vec<u8> {
    let recipients: String = recipients.iter().map(|recipient| format!("To: {recipient}\r\n")).collect();
    format!(
        "From: {sender}\r\nSender: <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@corp.example>\r\n\
         To: journal@corp.example\r\nSubject: {id}\r\nMessage-ID: <report-{id}@journal.report.generator>\r\n\
         X-MS-Journal-Report:\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"r\"\r\n\r\n\
         --r\r\nContent-Type: text/plain\r\n\r\nSender: {sender}\r\nSubject: {id}\r\n\
         Message-Id: <{id}@corp.example>\r\n{recipients}\r\n--r\r\nContent-Type: message/rfc822\r\n\r\n\
         From: {sender}\r\nSubject: {id}\r\nMessage-ID: <{id}@corp.example>\r\n\
         Date: Tue, 3 Feb 2026 04:05:06 +0000\r\n\r\nText of {id}\r\n--r--\r\n"
    )
    .into_bytes()
}

/// The same, returned by a mail server to the alternate mailbox.
fn bounced(report: &[u8]) -> Vec<u8> {
    let head = "From: MAILER-DAEMON@corp.example\r\nTo: alternate@corp.example\r\nSubject: Undeliverable\r\n\
                Message-ID: <ndr@corp.example>\r\nMIME-Version: 1.0\r\n\
                Content-Type: multipart/report; report-type=delivery-status; boundary=\"n\"\r\n\r\n\
                --n\r\nContent-Type: text/plain\r\n\r\nThe mailbox is full.\r\n\
                --n\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns;mx.corp.example\r\n\r\n\
                Final-Recipient: rfc822;journal@corp.example\r\nAction: failed\r\nStatus: 5.2.2\r\n\
                --n\r\nContent-Type: message/rfc822\r\n\r\n";
    [head.as_bytes(), report, b"\r\n--n--\r\n"].concat()
}

fn plain(id: &str, from: &str, to: &str) -> Vec<u8> {
    format!("From: {from}\r\nTo: {to}\r\nSubject: {id}\r\nMessage-ID: <{id}@x.example>\r\n\r\nText\r\n").into_bytes()
}

fn filed(agent: &Agent) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one =
        |entry: &Value| format!("{} {} {}", text(&entry["subject"]), text(&entry["person"]), text(&entry["folder"]));
    let mut filed: Vec<String> = agent.list().iter().map(one).collect();
    filed.sort();
    filed
}

#[test]
fn what_is_out_of_scope_stays_on_the_gateway_until_told_otherwise() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let inside = report("inside", ANNA, &[BOB]);
    dovecot.deliver(USER, "INBOX", [inside.clone(), report("out", ANNA, &[BOB, STRANGER])]);
    let config = Config::plain(&dovecot).with_profile("delete = true\nscope = \"external\"");
    let agent = Agent::new(&config);
    std::fs::write(agent.path("inside.eml"), inside).unwrap();
    let explained = agent.json(&["explain", "--json", agent.path("inside.eml").to_str().unwrap()], 0);
    assert_eq!(explained["excluded"], "scope = \"external\"", "{explained}");
    let rehearsed = agent.json(&["once", "--dry-run", "--json"], 0);
    assert_eq!(count(&rehearsed["profiles"][0], "excluded"), 1, "{rehearsed}");

    let done = agent.once(0);
    assert_eq!(["archived", "excluded", "deleted"].map(|key| count(&done, key)), [1, 1, 1], "{done}");
    assert_eq!(done["excluded_by"], serde_json::json!({ "scope = \"external\"": 1 }), "{done}");
    assert_eq!(dovecot.client(USER).uids("INBOX"), [1]);
    assert_eq!(filed(&agent), [format!("out {ANNA} sent"), format!("out {BOB} inbox")]);
    assert_eq!(count(&agent.once(0), "listed"), 0);
    assert_eq!(agent.differences(), 0, "an excluded item is where it belongs");

    agent.configure(&config.with_profile("delete = true\nscope = \"external\"\ndelete_excluded = true"));
    let done = agent.once(0);
    assert_eq!(["excluded", "deleted"].map(|key| count(&done, key)), [1, 1], "{done}");
    assert!(dovecot.client(USER).uids("INBOX").is_empty());
}

#[test]
fn what_was_excluded_is_looked_at_again_under_other_policies_or_when_told() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver(USER, "INBOX", [report("a", ANNA, &[BOB]), report("b", STRANGER, &[ANNA])]);
    let scoped = |scope: &str| Config::plain(&dovecot).with_profile(&format!("delete = true\nscope = \"{scope}\""));
    let people = "internal_domains = [\"corp.example\"]\nunknown_internal = \"exclude\"";
    let agent = Agent::new(&scoped("external").with_people(people));
    assert_eq!(count(&agent.once(0), "excluded"), 2);
    assert_eq!(count(&agent.once(0), "listed"), 0);
    // People change every day; what they would change is looked at when told.
    let known = format!("{people}\n[[people.person]]\nid = \"{ANNA}\"");
    agent.configure(&scoped("external").with_people(&known));
    assert_eq!(count(&agent.once(0), "listed"), 0);
    let rehearsed = agent.json(&["once", "--excluded", "--dry-run", "--json"], 0);
    assert_eq!(count(&rehearsed["profiles"][0], "archived"), 1, "{rehearsed}");
    let done = agent.json(&["once", "--excluded", "--json"], 0)["profiles"][0].clone();
    assert_eq!(["archived", "excluded", "deleted"].map(|key| count(&done, key)), [1, 1, 1], "{done}");
    assert_eq!(count(&agent.once(0), "listed"), 0);
    // Another policy is another matter.
    agent.configure(&scoped("all").with_people(&known));
    let done = agent.once(0);
    assert_eq!(["archived", "excluded", "deleted"].map(|key| count(&done, key)), [1, 0, 1], "{done}");
    assert_eq!(filed(&agent), [format!("a {ANNA} sent"), format!("b {ANNA} inbox")]);
    assert!(dovecot.client(USER).uids("INBOX").is_empty());
}

#[test]
fn a_profile_has_policies_of_its_own() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver("one", "INBOX", [report("a", ANNA, &[BOB])]);
    dovecot.deliver("two", "INBOX", [report("b", ANNA, &[BOB])]);
    let people =
        "internal_domains = [\"corp.example\"]\nunknown_internal = \"create\"\nexclude_people = [\"bob@corp.example\"]";
    let config = Config::plain(&dovecot).with_people(people);
    let one = Config { name: "one", login: "username = \"one\"".into(), ..config.clone() };
    let two = Config { name: "two", login: "username = \"two\"".into(), ..config };
    let two = two.with_profile("delete = false\nexclude_people = [\"anna@corp.example\"]");
    let agent = Agent::new(&one);
    agent.configure_text(&format!("{}\n{}", one.text(), two.profile_text()));
    agent.json(&["once", "--json"], 0);
    assert_eq!(filed(&agent), [format!("a {ANNA} sent"), format!("b {BOB} inbox")]);
}

#[test]
fn arrivals_in_an_alternate_mailbox_alarm_and_are_united_with_what_came_the_usual_way() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let both = report("both", ANNA, &[BOB]);
    dovecot.deliver(USER, "INBOX", [&both]);
    let primary = Config::plain(&dovecot);
    let alternate = Config { name: "alternate", login: "username = \"alternate\"".into(), ..primary.clone() };
    let alternate = alternate.with_profile("delete = true\nrole = \"alternate\"");
    let agent = Agent::new(&primary);
    agent.configure_text(&format!("{}\n{}", primary.text(), alternate.profile_text()));
    let reports = agent.json(&["once", "--json"], 0);
    assert_eq!(count(&reports["profiles"][0], "archived"), 1);
    assert_eq!(reports["profiles"][1]["alarms"], serde_json::json!([]), "silence is normal: {reports}");

    let lost = report("lost", STRANGER, &[ANNA]);
    dovecot.deliver("alternate", "INBOX", [bounced(&both), bounced(&lost)]);
    let reports = agent.json(&["once", "--json"], 2);
    let told = alarms(&reports["profiles"][1]);
    assert!(told.contains("2 items came to the alternate") && told.contains("delivery is failing"), "{told}");
    assert_eq!(count(&reports["profiles"][1], "deleted"), 2, "{reports}");
    let want = [format!("both {ANNA} sent"), format!("both {BOB} inbox"), format!("lost {ANNA} inbox")];
    assert_eq!(filed(&agent), want, "the report in the bounce is the same message");
    assert_eq!(agent.run(&["verify"]).code, Some(0));
}

#[test]
fn another_kind_of_item_than_expected_is_told() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let expecting = |what: &str| Config::plain(&dovecot).with_profile(&format!("delete = true\nexpect = \"{what}\""));
    let agent = Agent::new(&expecting("reports"));
    dovecot.deliver(USER, "INBOX", [report("a", ANNA, &[BOB])]);
    assert_eq!(alarms(&agent.once(0)), "[]");
    dovecot.deliver(USER, "INBOX", [plain("p", STRANGER, ANNA), report("b", ANNA, &[BOB])]);
    let told = alarms(&agent.once(2));
    assert!(told.contains("1 of 2 items were no journal reports"), "{told}");
    agent.configure(&expecting("copies"));
    dovecot.deliver(USER, "INBOX", [report("c", ANNA, &[BOB])]);
    assert!(alarms(&agent.once(2)).contains("1 of 1 items were journal reports"));

    // By itself: a share of items without an envelope, where others have one.
    agent.configure(&expecting("auto"));
    let copies = |from: usize| (from..from + 6).map(|n| plain(&format!("p{n}"), STRANGER, ANNA));
    dovecot.deliver(USER, "INBOX", copies(0));
    let told = alarms(&agent.once(2));
    assert!(told.contains("7 of the last 10 items had no envelope"), "{told}");
    dovecot.deliver("copies", "INBOX", copies(6));
    let alone = Agent::new(&Config { login: "username = \"copies\"".into(), ..expecting("auto") });
    assert_eq!(alarms(&alone.once(0)), "[]", "a gateway of copies alone");
    dovecot.deliver("copies", "INBOX", copies(12).chain([report("d", ANNA, &[BOB])]));
    let told = alarms(&alone.once(2));
    assert!(told.contains("12 of the last 13 items had no envelope"), "{told}");
}

#[test]
fn a_report_of_somebody_else_is_a_plain_mail_and_told() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let forged = String::from_utf8(report("forged", ANNA, &[BOB])).unwrap();
    let forged = forged.replace("ab6ce41109e@corp.example", "ab6ce41109e@evil.example");
    dovecot.deliver(USER, "INBOX", [report("true", ANNA, &[BOB]), forged.into_bytes()]);
    let trusting = "delete = true\ntrusted_reporters = [\"corp.example\"]";
    let agent = Agent::new(&Config::plain(&dovecot).with_profile(trusting));
    let done = agent.once(2);
    assert!(alarms(&done).contains("1 journal reports could not be believed"), "{done}");
    let want = [format!("true {ANNA} sent"), format!("true {BOB} inbox")];
    let filed = filed(&agent);
    assert_eq!(
        filed.iter().filter(|entry| entry.starts_with("true")).collect::<Vec<_>>(),
        want.iter().collect::<Vec<_>>()
    );
    // By its own headers: the sender of the report, and the journal mailbox itself.
    let checked = agent.run(&["check"]);
    checked.is(0, &["reporters seen: corp.example (1)"]);
    assert!(!checked.out.contains("anybody"), "{checked:#?}");
    agent.configure(&Config::plain(&dovecot));
    agent.run(&["status"]).is(0, &["warning", "journal reports of anybody are believed"]);
    agent.run(&["check"]).is(0, &["trusted_reporters = [\"corp.example\"]"]);
    let forged: Vec<_> = filed.iter().filter(|entry| entry.starts_with("forged")).collect();
    assert!(!forged.is_empty() && forged.iter().all(|entry| !entry.contains(BOB)), "{filed:?}");
}
