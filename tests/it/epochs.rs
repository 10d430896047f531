//! A mailbox that is not the one that was recorded: new UIDs, a restored backup, another host, another name
//! of the profile. Nothing is lost, nothing is archived twice, and somebody hears of it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use gatepost::demo::corpus::Corpus;

use crate::support::agent::{Agent, Config, alarms, count};
use crate::support::dovecot::{Dovecot, Setup};

const USER: &str = "journal";
const KEEP: &str = "delete = false";

fn mails(seed: u64, count: usize) -> Vec<Vec<u8>> {
    Corpus::small(seed, count).iter().map(|generated| generated.item).collect()
}

/// Six items, archived without deletion.
fn archived() -> Option<(Dovecot, Agent)> {
    let dovecot = Dovecot::start(&Setup::default())?;
    dovecot.deliver(USER, "INBOX", mails(51, 6));
    let agent = Agent::new(&Config::plain(&dovecot).with_profile(KEEP));
    assert_eq!(did(&agent.once(0)), [6, 0, 0]);
    Some((dovecot, agent))
}

/// Archived, already archived and deleted.
fn did(report: &serde_json::Value) -> [u64; 3] {
    ["archived", "already_archived", "deleted"].map(|key| count(report, key))
}

/// Exactly these corpora stand in the archives: each filing once.
fn holds(agent: &Agent, corpora: &[(u64, usize)]) {
    let mut expected = BTreeMap::new();
    for (seed, count) in corpora {
        for generated in Corpus::small(*seed, *count).iter() {
            for filing in generated.filings {
                *expected.entry((filing.person, generated.original_sha256.to_string())).or_insert(0) += 1;
            }
        }
    }
    let mut found = BTreeMap::new();
    for entry in agent.list() {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        *found.entry((text("person"), text("sha256"))).or_insert(0) += 1;
    }
    assert_eq!(found, expected);
}

fn then(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + seconds)
}

fn left(dovecot: &Dovecot) -> Vec<u32> {
    dovecot.client(USER).uids("INBOX")
}

#[test]
fn a_new_uidvalidity_is_an_alarm_and_no_doubles() {
    let Some((dovecot, agent)) = archived() else { return };
    dovecot.lose_uids(USER);
    dovecot.deliver(USER, "INBOX", mails(52, 2));
    let report = agent.once(2);
    assert_eq!(did(&report), [2, 6, 0], "{report}");
    assert!(alarms(&report).contains("UIDVALIDITY changed"), "{report}");
    holds(&agent, &[(51, 6), (52, 2)]);
    // Told once; after that it is the folder that is recorded.
    assert_eq!(did(&agent.once(0)), [0, 0, 0]);
    assert_eq!(agent.differences(), 0);
    agent.configure(&Config::plain(&dovecot));
    assert_eq!(did(&agent.once(0)), [0, 8, 8]);
    assert!(left(&dovecot).is_empty());
}

#[test]
fn an_emptied_mailbox_that_is_made_anew_loses_nothing() {
    let Some((dovecot, agent)) = archived() else { return };
    agent.configure(&Config::plain(&dovecot));
    assert_eq!(did(&agent.once(0)), [0, 6, 6]);
    std::fs::remove_dir_all(dovecot.maildir(USER)).unwrap();
    dovecot.deliver(USER, "INBOX", mails(53, 3));
    let report = agent.once(2);
    assert_eq!(did(&report), [3, 0, 3], "{report}");
    // Dovecot takes the time as UIDVALIDITY: within the same second only the next UID tells.
    let alarms = alarms(&report);
    assert!(alarms.contains("UIDVALIDITY changed") || alarms.contains("UIDNEXT fell"), "{report}");
    holds(&agent, &[(51, 6), (53, 3)]);
    assert!(left(&dovecot).is_empty());
}

/// Same UIDVALIDITY, same number of items, same next UID: only sizes and dates tell.
#[test]
fn other_mails_under_the_same_uids_are_archived_not_deleted() {
    for profile in [KEEP, "delete = true"] {
        let Some((dovecot, agent)) = archived() else { return };
        dovecot.restore(USER, 7, &mails(54, 6), then(0));
        dovecot.deliver(USER, "INBOX", mails(55, 1));
        agent.configure(&Config::plain(&dovecot).with_profile(profile));
        let report = agent.once(2);
        let deleted = if profile == KEEP { 0 } else { 7 };
        assert_eq!(did(&report), [7, 0, deleted], "{report}");
        assert!(alarms(&report).contains("another size or date"), "{report}");
        holds(&agent, &[(51, 6), (54, 6), (55, 1)]);
        assert_eq!(left(&dovecot).len() as u64, 7 - deleted);
        assert_eq!(agent.differences(), 0);
        assert_eq!(did(&agent.once(0)), [0, 0, 0]);
    }
}

/// Not even the counters tell: nothing is due, so nothing is listed, and so nothing is deleted either.
#[test]
fn a_restored_mailbox_with_the_same_counters_is_found_before_anything_is_deleted() {
    let Some((dovecot, agent)) = archived() else { return };
    dovecot.restore(USER, 7, &mails(54, 6), then(0));
    assert_eq!(did(&agent.once(0)), [0, 0, 0]);
    assert_eq!(agent.differences(), 6, "reconcile looks closer");
    agent.configure(&Config::plain(&dovecot));
    let report = agent.once(2);
    assert_eq!(did(&report), [6, 0, 6], "{report}");
    assert!(alarms(&report).contains("another size or date"), "{report}");
    holds(&agent, &[(51, 6), (54, 6)]);
}

#[test]
fn an_older_backup_of_the_same_mails_is_recognised() {
    let Some((dovecot, agent)) = archived() else { return };
    agent.configure(&Config::plain(&dovecot));
    assert_eq!(did(&agent.once(0)), [0, 6, 6]);
    // Back come four that were deleted, with the next UID that the backup knew.
    dovecot.restore(USER, 5, &mails(51, 4), then(0));
    let report = agent.once(2);
    assert_eq!(did(&report), [0, 4, 4], "{report}");
    assert!(alarms(&report).contains("UIDNEXT fell"), "{report}");
    holds(&agent, &[(51, 6)]);
    assert!(left(&dovecot).is_empty());
    // New mail gets UIDs that were in use before the restoration.
    dovecot.deliver(USER, "INBOX", mails(56, 3));
    assert_eq!(did(&agent.once(0)), [3, 0, 3]);
    holds(&agent, &[(51, 6), (56, 3)]);
}

#[test]
fn mails_that_come_back_under_their_old_uids_are_recognised() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    dovecot.deliver(USER, "INBOX", mails(51, 6));
    dovecot.redate(USER, then(0));
    let agent = Agent::new(&Config::plain(&dovecot));
    agent.once(0);
    // The next UID did not fall and sizes and dates are the same: only their having been deleted tells.
    dovecot.restore(USER, 7, &mails(51, 6), then(0));
    let report = agent.once(2);
    assert_eq!(did(&report), [0, 6, 6], "{report}");
    assert!(alarms(&report).contains("deleted and is there again"), "{report}");
    holds(&agent, &[(51, 6)]);
}

#[test]
fn another_host_is_an_alarm_and_no_doubles() {
    let Some((dovecot, agent)) = archived() else { return };
    agent.configure(&Config { host: "localhost".into(), ..Config::plain(&dovecot) });
    let report = agent.once(2);
    assert_eq!(did(&report), [0, 6, 6], "{report}");
    assert!(alarms(&report).contains("host changed"), "{report}");
    holds(&agent, &[(51, 6)]);
    assert_eq!(did(&agent.once(0)), [0, 0, 0]);
}

#[test]
fn another_name_of_the_profile_changes_nothing() {
    let Some((dovecot, agent)) = archived() else { return };
    let config = Config { name: "gateway", ..Config::plain(&dovecot) };
    agent.configure(&config.clone().with_profile(KEEP));
    let report = agent.once(0);
    assert_eq!((report["name"].as_str(), count(&report, "listed")), (Some("gateway"), 0), "{report}");
    assert_eq!(agent.differences(), 0);
    agent.configure(&config);
    assert_eq!(did(&agent.once(0)), [0, 6, 6]);
    holds(&agent, &[(51, 6)]);
}

#[test]
fn what_another_client_expunges_between_two_runs_is_found() {
    let Some((dovecot, agent)) = archived() else { return };
    let mut other = dovecot.client(USER);
    other.run("SELECT INBOX");
    other.run("UID STORE 2,6 +FLAGS (\\Deleted)");
    other.run("EXPUNGE");
    assert_eq!(agent.differences(), 2);
    assert_eq!(did(&agent.once(0)), [0, 0, 0]);
    assert_eq!(agent.differences(), 0, "archived and gone is as good as deleted");
    holds(&agent, &[(51, 6)]);
}
