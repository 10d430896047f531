//! What is deleted on a real Dovecot, and when; what is not, and why.

use gatepost::demo::corpus::Corpus;

use crate::support::agent::{Agent, Config, alarms, count};
use crate::support::dovecot::{Dovecot, Setup};

const USER: &str = "journal";
const KEEP: &str = "delete = false";

fn mails(seed: u64, count: usize) -> Vec<Vec<u8>> {
    Corpus::small(seed, count).iter().map(|generated| generated.item).collect()
}

fn with_mail(seed: u64, count: usize) -> Option<Dovecot> {
    let dovecot = Dovecot::start(&Setup::default())?;
    dovecot.deliver(USER, "INBOX", mails(seed, count));
    Some(dovecot)
}

fn left(dovecot: &Dovecot) -> Vec<u32> {
    dovecot.client(USER).uids("INBOX")
}

/// Archived, already archived and deleted.
fn did(report: &serde_json::Value) -> [u64; 3] {
    ["archived", "already_archived", "deleted"].map(|key| count(report, key))
}

#[test]
fn without_deletion_only_what_is_new_is_downloaded() {
    let Some(dovecot) = with_mail(31, 5) else { return };
    let agent = Agent::new(&Config::plain(&dovecot).with_profile(KEEP));
    assert_eq!(agent.run(&["reconcile"]).code, Some(1), "there is no archive yet");
    assert_eq!(did(&agent.once(0)), [5, 0, 0]);
    assert_eq!(agent.differences(), 0);
    let again = agent.once(0);
    assert_eq!((count(&again, "listed"), count(&again, "bytes")), (0, 0));

    dovecot.deliver(USER, "INBOX", mails(32, 2));
    assert_eq!(agent.differences(), 2, "not archived yet");
    assert_eq!(did(&agent.once(0)), [2, 0, 0]);
    assert_eq!(agent.differences(), 0);
    assert_eq!(left(&dovecot), [1, 2, 3, 4, 5, 6, 7]);
    // Nothing was changed on the gateway, not even a flag.
    let mut client = dovecot.client(USER);
    client.run("EXAMINE INBOX");
    let flags = client.run("UID FETCH 1:* (FLAGS)").concat();
    assert!(!flags.contains("Seen") && !flags.contains("Deleted"), "{flags}");

    // Told to delete later, what stands in the archive is deleted without another download.
    agent.configure(&Config::plain(&dovecot));
    assert_eq!(agent.differences(), 7);
    let report = agent.once(0);
    assert_eq!((did(&report), count(&report, "bytes")), ([0, 7, 7], 0), "{report}");
    assert!(left(&dovecot).is_empty());
    assert_eq!(agent.differences(), 0);
}

#[test]
fn delete_after_waits() {
    let Some(dovecot) = with_mail(33, 4) else { return };
    let config = Config::plain(&dovecot).with_profile("delete = true\ndelete_after = \"1h\"");
    let agent = Agent::new(&config);
    assert_eq!(did(&agent.once(0)), [4, 0, 0]);
    assert_eq!(did(&agent.once(0)), [0, 0, 0]);
    assert_eq!(left(&dovecot).len(), 4);
    assert_eq!(agent.differences(), 0, "what is not due is no difference");
    // The time that it waits is over, as the configuration now says.
    agent.configure(&Config::plain(&dovecot));
    assert_eq!(did(&agent.once(0)), [0, 4, 4]);
    assert!(left(&dovecot).is_empty());
}

#[test]
fn another_clients_deleted_mail_survives() {
    let Some(dovecot) = with_mail(36, 3) else { return };
    let agent = Agent::new(&Config::plain(&dovecot));
    // Nobody can decode it, so it is quarantined and stays; another client has marked it as deleted.
    let undecodable = gatepost::demo::samples::samples().into_iter().find(|sample| !sample.decodes).unwrap();
    dovecot.deliver(USER, "INBOX", [undecodable.item]);
    let mut other = dovecot.client(USER);
    other.run("SELECT INBOX");
    other.run("UID STORE 4 +FLAGS (\\Deleted)");
    let report = agent.once(2);
    assert_eq!((did(&report), count(&report, "quarantined")), ([3, 0, 3], 1), "{report}");
    assert_eq!(left(&dovecot), [4]);
    assert_eq!(agent.differences(), 0);
}

#[test]
fn a_rehearsal_changes_nothing() {
    let Some(dovecot) = with_mail(37, 6) else { return };
    let agent = Agent::new(&Config::plain(&dovecot));
    let said = agent.run(&["once", "--dry-run"]);
    said.is(0, &["6 archived", "would be archived", "nothing was deleted"]);
    assert!(!agent.archive().exists());
    let names: Vec<_> = std::fs::read_dir(agent.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["gatepost.toml"]);
    let mut client = dovecot.client(USER);
    client.run("EXAMINE INBOX");
    let flags = client.run("UID FETCH 1:* (FLAGS)").concat();
    assert!(!flags.contains("Seen") && !flags.contains("Deleted"), "{flags}");
    // Nor with an archive: neither in the packs nor in what is recorded.
    agent.once(0);
    dovecot.deliver(USER, "INBOX", mails(38, 2));
    let before = (agent.head(), agent.pack_bytes());
    let report = agent.json(&["once", "--dry-run", "--json"], 0);
    assert_eq!(count(&report["profiles"][0], "archived"), 2, "{report}");
    assert_eq!((agent.head(), agent.pack_bytes()), before);
    assert_eq!(left(&dovecot).len(), 2);
}

#[test]
fn without_uidplus_nothing_is_deleted_and_that_is_said() {
    let setup = Setup { capabilities: Some("IMAP4rev1 SASL-IR LITERAL+"), ..Setup::default() };
    let Some(dovecot) = Dovecot::start(&setup) else { return };
    dovecot.deliver(USER, "INBOX", mails(39, 3));
    let agent = Agent::new(&Config::plain(&dovecot));
    let report = agent.once(2);
    assert_eq!(did(&report), [3, 0, 0]);
    assert!(alarms(&report).contains("UIDPLUS") && alarms(&report).contains("sole_client"), "{report}");
    assert_eq!(left(&dovecot).len(), 3);
    agent.configure(&Config { imap: "sole_client = true".into(), ..Config::plain(&dovecot) });
    assert_eq!(did(&agent.once(0)), [0, 3, 3]);
    assert!(left(&dovecot).is_empty());
}

#[test]
fn a_large_item_passes_through_in_little_memory() {
    let Some(dovecot) = with_mail(40, 20) else { return };
    let large = crate::support::reports::large();
    dovecot.deliver(USER, "INBOX", [&large.item]);
    dovecot.deliver(USER, "INBOX", mails(42, 20));
    let agent = Agent::new(&Config::plain(&dovecot));
    let (said, peak) = crate::support::agent::wait_with_peak(agent.start(&["once", "--json"]));
    eprintln!("peak memory with an item of 60 MB: {peak} KiB");
    said.is(0, &["\"archived\": 41", "\"deleted\": 41"]);
    assert!(peak < 128 * 1024, "{peak} KiB");
    assert!(left(&dovecot).is_empty());
    let largest = agent.list().into_iter().max_by_key(|entry| count(entry, "size")).unwrap();
    assert!(count(&largest, "size") > 59_000_000, "{largest}");
    // It comes out as it went in.
    let id = largest["id"].to_string();
    let show = agent.start(&["show", &id, "--item", "--envelope"]).wait_with_output().unwrap();
    assert!(show.status.success() && show.stdout == large.item);
}

#[test]
fn mail_in_several_folders_goes_to_the_same_archives() {
    let Some(dovecot) = with_mail(43, 3) else { return };
    dovecot.deliver(USER, "Junk", mails(44, 2));
    // The same bytes lie in both: one item, and both sightings may be deleted.
    dovecot.deliver(USER, "Junk", mails(43, 1));
    let config = Config { imap: "folders = [\"INBOX\", \"Junk\"]".into(), ..Config::plain(&dovecot) };
    let agent = Agent::new(&config);
    let report = agent.once(0);
    assert_eq!(did(&report), [5, 1, 6], "{report}");
    assert!(left(&dovecot).is_empty() && dovecot.client(USER).uids("Junk").is_empty());
    assert_eq!(agent.differences(), 0);
}
