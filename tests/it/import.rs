//! Mail from files: filed for whom it is, once, however often and however interrupted it is imported.

use std::fs;
use std::path::{Path, PathBuf};

use gatepost::base::digest::Digest;

use super::support::bench::{Bench, Said, Setup, few, for_each_step};

const ANNA: &str = "anna@corp.example";
const BOB: &str = "bob@corp.example";
const FROM: &str = "From anna@corp.example Sat Jan  3 01:05:34 1996\n";

/// A folder with mail beside an archive.
struct Old {
    bench: Bench,
}

impl Old {
    fn new() -> Old {
        Old { bench: Bench::new(Setup::default()) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bench.folder().join("old").join(name)
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn run(&self, path: &Path, arguments: &[&str]) -> Said {
        let path = path.to_str().unwrap();
        self.bench.run(&[&["import", path], arguments].concat(), None)
    }

    fn import(&self, path: &Path, arguments: &[&str], code: i32) -> serde_json::Value {
        let said = self.run(path, &[arguments, &["--json"]].concat());
        assert_eq!(said.code, Some(code), "{arguments:?}: {said}");
        let report: serde_json::Value =
            serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said}"));
        let number = |key: &str| report[key].as_u64().unwrap_or_else(|| panic!("{key}: {report}"));
        let disposed = ["archived", "already_archived", "quarantined", "excluded", "failed", "pending"].map(number);
        assert_eq!(number("listed"), disposed.iter().sum::<u64>(), "{report}");
        report
    }

    fn head(&self) -> String {
        self.bench.reader().unwrap().head().unwrap().to_string()
    }

    /// Person, folder, subject and why, rising.
    fn filed(&self) -> Vec<(String, &'static str, String, String)> {
        let reader = self.bench.reader().unwrap();
        let mut filed = Vec::new();
        let mut entries = Vec::new();
        reader
            .list(&Default::default(), &mut |entry| {
                entries.push(entry);
                Ok(())
            })
            .unwrap();
        for entry in entries {
            let shown = reader.message(entry.id, Some(&entry.person)).unwrap().unwrap();
            let filing = shown.filings.iter().find(|one| one.person == entry.person && one.folder == entry.folder);
            let because = filing.unwrap().because.clone();
            filed.push((entry.person, entry.folder.as_str(), entry.subject, because));
        }
        filed.sort();
        filed
    }

    fn places(&self) -> Vec<(String, &'static str, String)> {
        self.filed().into_iter().map(|(person, folder, subject, _)| (person, folder, subject)).collect()
    }
}

fn mail(from: &str, to: &str, subject: &str) -> String {
    format!(
        "From: {from}\nTo: {to}\nSubject: {subject}\nMessage-ID: <{subject}@mail.example>\n\
         Date: Tue, 3 Mar 2026 09:15:00 +0100\n\nText of {subject}\n"
    )
}

fn place(person: &str, folder: &'static str, subject: &str) -> (String, &'static str, String) {
    (person.into(), folder, subject.into())
}

#[test]
fn ten_thousand_mails_twice() {
    let old = Old::new();
    let mut content = String::new();
    for n in 0..10_000 {
        content.push_str(FROM);
        content.push_str(&mail("x@partner.example", ANNA, &format!("mail-{n}")));
        content.push_str(&format!("{}\n\n", "words of a small mail ".repeat(n % 40)));
    }
    let path = old.put("Inbox", &content);
    let first = old.import(&path, &["--person", ANNA], 0);
    assert_eq!((&first["archived"], &first["listed"], &first["files"]), (&10_000.into(), &10_000.into(), &1.into()));
    assert_eq!(first["mbox"]["mboxrd"], 1, "{first}");
    let head = old.head();
    assert_eq!(first["head"], head.as_str());
    let second = old.import(&path, &["--person", ANNA], 0);
    assert_eq!((&second["archived"], &second["already_archived"]), (&0.into(), &10_000.into()));
    assert_eq!(old.head(), head, "the second time nothing is written");
    old.bench.is_whole("imported twice");
    let verify = old.bench.json(&["verify", "--json"], 0);
    assert_eq!((&verify["items"], &verify["filings"]), (&10_000.into(), &10_000.into()));
    eprintln!("10,000 mails: {} s, again: {} s", first["seconds"], second["seconds"]);
    // Somewhere else, and for somebody else, they are the same mails.
    let moved = old.path("Moved");
    fs::rename(&path, &moved).unwrap();
    let moved_report = old.import(&moved, &["--person", ANNA], 0);
    assert_eq!(moved_report["already_archived"], 10_000);
    assert_eq!(old.bench.reader().unwrap().volume().unwrap().items, 10_000);
    old.bench.is_whole("imported from elsewhere");
}

#[test]
fn whose_it_is_and_into_which_folder() {
    let old = Old::new();
    let one = |from, to, subject| format!("{FROM}{}\n", mail(from, to, subject));
    old.put("Inbox", one("x@partner.example", "list@partner.example", "received") + &one(ANNA, BOB, "own"));
    old.put("Gesendet", one("anna@private.example", BOB, "by-folder"));
    let root = old.path("");
    old.import(&root, &["--person", "ANNA@corp.example"], 0);
    let expected = [place(ANNA, "inbox", "received"), place(ANNA, "sent", "by-folder"), place(ANNA, "sent", "own")];
    assert_eq!(old.places(), expected);
    let shown = root.display().to_string();
    let shown = shown.trim_end_matches('/');
    let because: Vec<String> = old.filed().into_iter().map(|(.., because)| because).collect();
    assert!(because[0].starts_with("imported from ") && because[0].ends_with(", folder Inbox"), "{because:?}");
    assert!(because[0].contains(shown), "{because:?}");
    assert!(because[2].ends_with(", sent by anna@corp.example"), "{because:?}");
    // Told otherwise: filed there as well, since nothing is ever taken away.
    old.import(&root, &["--person", ANNA, "--folder", "inbox"], 0);
    assert_eq!(old.places().len(), 5);
    old.bench.is_whole("filed in two folders");
    let provenance = old.bench.reader().unwrap().provenance(1).unwrap();
    assert_eq!((provenance[0].kind.as_str(), provenance[0].login.as_str()), ("import", "for anna@corp.example"));
    assert!(provenance[0].native_id.contains('#'), "{provenance:?}");
    // What lies in her folders is not for whom its header names.
    let before = old.filed();
    old.bench.json(&["refile", "--all", "--json"], 0);
    assert_eq!(old.filed(), before);
}

#[test]
fn without_a_person_the_header_says_whose_it_is() {
    let old = Old::new();
    old.put("1.eml", mail(ANNA, BOB, "between"));
    old.put("2.eml", mail("x@partner.example", "y@partner.example", "foreign"));
    old.put("3.eml", mail("x@partner.example", "new@corp.example", "unknown"));
    let report = old.import(&old.path(""), &["--by-headers"], 0);
    assert_eq!(report["archived"], 3);
    let expected = [
        place(ANNA, "sent", "between"),
        place(BOB, "inbox", "between"),
        place("unassigned", "inbox", "foreign"),
        // A header proves nothing, and so creates nobody.
        place("unassigned", "inbox", "unknown"),
    ];
    assert_eq!(old.places(), expected);
    let because = old.filed()[0].3.clone();
    assert!(because.starts_with("sender anna@corp.example, imported from "), "{because}");
    // Without the word it is the same.
    let head = old.head();
    assert_eq!(old.import(&old.path(""), &[], 0)["already_archived"], 3);
    assert_eq!(old.head(), head);
}

#[test]
fn the_same_mail_in_two_peoples_folders_is_both_peoples() {
    let old = Old::new();
    let shared = mail("x@partner.example", "staff@corp.example", "to-all");
    for name in ["anna@corp.example/Inbox/1.eml", "bob@corp.example/Sent Items/7.eml"] {
        old.put(name, &shared);
    }
    old.put("bob@corp.example/Inbox/8.eml", mail("x@partner.example", BOB, "alone"));
    let root = old.path("");
    let said = old.run(&root, &["--people-from-folders"]);
    assert_eq!(said.code, Some(0), "{said}");
    assert!(said.err.contains("folder bob@corp.example is bob@corp.example's"), "{said}");
    let expected = [place(ANNA, "inbox", "to-all"), place(BOB, "inbox", "alone"), place(BOB, "sent", "to-all")];
    assert_eq!(old.places(), expected);
    assert_eq!(old.bench.reader().unwrap().volume().unwrap().items, 2, "stored once");
    old.bench.is_whole("one item, two people");
    let head = old.head();
    old.import(&root, &["--people-from-folders"], 0);
    assert_eq!(old.head(), head);
    assert_eq!(old.bench.run(&["rebuild"], None).code, Some(0));
    assert_eq!(old.places(), expected);
}

#[test]
fn folders_name_people_as_an_archive_of_another_program_does() {
    let old = Old::new();
    old.put("Archive of anna/Outlook/Inbox/1.eml", mail("x@partner.example", "y@z.example", "a"));
    old.put("Archiv von bob@corp.example/Sent/2.eml", mail("x@partner.example", "y@z.example", "b"));
    let root = old.path("");
    old.import(&root, &["--people-from-folders"], 0);
    assert_eq!(old.places(), [place(ANNA, "inbox", "a"), place(BOB, "sent", "b")]);
    // Whoever is unknown is told, before anything is done.
    old.put("Archive of Ana/3.eml", mail("x@partner.example", "y@z.example", "c"));
    let head = old.head();
    let said = old.run(&root, &["--people-from-folders"]);
    assert_eq!(said.code, Some(1), "{said}");
    assert!(said.err.contains("no person is known for `Archive of Ana`") && said.err.contains("--map"), "{said}");
    assert_eq!(old.head(), head);
    let mapped = ["--people-from-folders", "--map", "archive of ana=anna@corp.example"];
    assert_eq!(old.import(&root, &mapped, 0)["archived"], 1);
}

#[test]
fn folders_are_mapped_and_what_is_nobodys_is_told() {
    let old = Old::new();
    let one = |subject: &str| mail("x@partner.example", "y@z.example", subject);
    old.put("team/anna/1.eml", one("a"));
    old.put("team/anna/deep/2.eml", one("b"));
    old.put("bob/3.eml", one("c"));
    old.put("else/4.eml", one("d"));
    let map = ["--map", "*/anna=anna@corp.example", "--map", "bob=bob@corp.example"];
    let report = old.import(&old.path(""), &map, 2);
    assert_eq!((&report["archived"], &report["skipped"]["nobodys"]), (&3.into(), &1.into()));
    assert_eq!(old.places(), [place(ANNA, "inbox", "a"), place(ANNA, "inbox", "b"), place(BOB, "inbox", "c")]);
    let said = old.run(&old.path(""), &map);
    assert!(said.err.contains("1 mail in folders that no person was named for"), "{said}");
    old.import(&old.path(""), &[&map[..], &["--by-headers"]].concat(), 0);
    assert_eq!(old.places().last(), Some(&place("unassigned", "inbox", "d")));
}

#[test]
fn an_unknown_person_is_an_error_that_names_who_is_alike() {
    let old = Old::new();
    let path = old.put("1.eml", mail("x@partner.example", "y@z.example", "a"));
    let said = old.run(&path, &["--person", "ana@partner.example"]);
    assert_eq!(said.code, Some(1), "{said}");
    assert!(said.err.contains("nobody here is called `ana@partner.example`"), "{said}");
    assert!(said.err.contains("did you mean `anna@corp.example`") && said.err.contains("--create-person"), "{said}");
    assert!(!old.bench.archive().exists(), "nothing was made");
    let said = old.run(&path, &["--person", "../x", "--create-person"]);
    assert!(said.code == Some(1) && said.err.contains("no archive can have this name"), "{said}");
    old.import(&path, &["--person", "Old Archive", "--create-person"], 0);
    // The policy of this configuration makes our own domain's people from mail, and none from a typing mistake.
    let said = old.run(&path, &["--person", "annna@corp.example"]);
    assert!(said.code == Some(1) && said.err.contains("did you mean `anna@corp.example`"), "{said}");
    old.import(&path, &["--person", "fresh@corp.example", "--create-person"], 0);
    assert_eq!(old.places(), [place("Old Archive", "inbox", "a"), place("fresh@corp.example", "inbox", "a")]);
    // It is somebody now.
    assert_eq!(old.import(&path, &["--person", "old archive"], 0)["already_archived"], 1);
}

#[test]
fn a_journal_report_counts_by_its_envelope() {
    let old = Old::new();
    let report = fs::read_to_string("tests/data/journal/exchange-2007.eml").unwrap();
    let path = old.put("journal.mbox", format!("{FROM}{report}\n"));
    let imported = old.import(&path, &[], 0);
    assert_eq!((&imported["archived"], &imported["reports"]), (&1.into(), &1.into()));
    let places = old.places();
    assert!(places.contains(&place(BOB, "inbox", "Quarterly figures")), "{places:?}");
    assert!(places.iter().any(|(person, folder, _)| person == "alice@corp.example" && *folder == "sent"), "{places:?}");
    // Named for somebody, it proves the same.
    old.import(&path, &["--person", ANNA], 0);
    assert_eq!(old.places(), places);
    // And the gateway that brings it brings nothing new.
    let bytes: std::sync::Arc<[u8]> = report.into_bytes().into();
    old.bench.put(&super::support::bench::Put { bytes: bytes.clone(), date: None });
    let said = old.bench.once(None);
    assert_eq!(said.report()["already_archived"], 1, "{said}");
    old.bench.is_in_order("imported before");
    assert_eq!(old.places(), places);
}

#[test]
fn a_gateway_files_what_was_imported_for_somebody_else() {
    let old = Old::new();
    let text = mail("x@partner.example", BOB, "copy");
    let path = old.put("1.eml", &text);
    old.import(&path, &["--person", ANNA], 0);
    old.bench.put(&super::support::bench::Put { bytes: text.into_bytes().into(), date: None });
    let said = old.bench.once(None);
    assert_eq!(said.report()["already_archived"], 1, "{said}");
    assert_eq!(old.places(), [place(ANNA, "inbox", "copy"), place(BOB, "inbox", "copy")]);
    old.bench.is_in_order("the same bytes from a gateway");
}

#[test]
fn what_cannot_be_decoded_is_quarantined_and_retried_for_its_person() {
    let old = Old::new();
    old.put("junk.eml", b"\x00\x01\xff no header at all");
    old.put("good.eml", mail("x@partner.example", "y@z.example", "good"));
    let report = old.import(&old.path(""), &["--person", ANNA], 2);
    assert_eq!((&report["archived"], &report["quarantined"]), (&1.into(), &1.into()));
    let listed = old.bench.run(&["quarantine", "list"], None);
    assert!(listed.out.contains("junk.eml#") && listed.out.contains("  imported  "), "{listed}");
    let deleted = old.bench.run(&["quarantine", "delete-on-gateway", "--yes", "1", "2"], None);
    assert!(deleted.err.contains("not quarantined") || deleted.err.contains("on its gateway"), "{deleted}");
    let retried = old.bench.json(&["quarantine", "retry", "--all", "--json"], 2);
    assert!(retried["items"][0]["quarantine"].is_string(), "{retried}");
    let head = old.head();
    let again = old.import(&old.path(""), &["--person", ANNA], 2);
    assert_eq!((&again["already_archived"], &again["quarantined"]), (&1.into(), &1.into()));
    assert_eq!(old.head(), head);
    old.bench.is_whole("with a quarantined one");
}

#[test]
fn what_is_skipped_or_fails_is_counted_and_told() {
    let old = Old::new();
    old.put("a/good.eml", mail("x@partner.example", "y@z.example", "good"));
    old.put("a/old.pst", b"!BDN...");
    old.put("a/broken.mbox", b"no mbox at all");
    old.put("a/empty.eml", "");
    old.put("Inbox", format!("{FROM}X-Mozilla-Status: 0008\nSubject: gone\n\nx\n"));
    let report = old.import(&old.path(""), &["--person", ANNA], 2);
    let skipped = &report["skipped"];
    assert_eq!((&skipped["deleted"], &skipped["outlook"], &skipped["empty"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!((&report["archived"], &report["failed"]), (&1.into(), &1.into()), "{report}");
    let said = old.run(&old.path(""), &["--person", ANNA]);
    for words in
        ["1 already archived, 1 failed", "broken.mbox: it does not begin", "Outlook's formats", "marked as deleted"]
    {
        assert!(said.out.contains(words) || said.err.contains(words), "{words}: {said}");
    }
    for (name, words) in [("a/old.pst", "readpst"), ("a/missing", "cannot read")] {
        let said = old.run(&old.path(name), &["--person", ANNA]);
        assert!(said.code == Some(1) && said.err.contains(words), "{said}");
    }
    let said = old.run(&old.bench.archive(), &["--person", ANNA]);
    assert!(said.code == Some(1) && said.err.contains("part of the archive itself"), "{said}");
}

#[test]
fn a_rehearsal_tells_and_changes_nothing() {
    let old = Old::new();
    old.put("Inbox", format!("{FROM}{}\n{FROM}{}\n", mail(ANNA, BOB, "own"), mail("x@y.example", ANNA, "other")));
    let rehearsed = old.import(&old.path(""), &["--person", ANNA, "--dry-run"], 0);
    assert_eq!(rehearsed["would_file"][ANNA], serde_json::json!({ "inbox": 1, "sent": 1 }));
    assert_eq!((&rehearsed["archived"], &rehearsed["dry_run"]), (&2.into(), &true.into()));
    assert!(!old.bench.archive().exists());
    old.import(&old.path(""), &["--person", ANNA], 0);
    let head = old.head();
    let said = old.run(&old.path(""), &["--person", ANNA, "--dry-run"]);
    assert!(said.out.contains("2 already archived") && said.out.contains("a rehearsal"), "{said}");
    assert_eq!(old.head(), head);
}

#[test]
fn ending_at_every_step_of_an_import_leads_to_the_same_end() {
    let content: Vec<u8> = few(71, 120).iter().flat_map(|put| [FROM.as_bytes(), &put.bytes, b"\n"].concat()).collect();
    let ready = || {
        let old = Old::new();
        let path = old.put("journal", &content);
        (old, path)
    };
    let (undisturbed, path) = ready();
    let report = undisturbed.import(&path, &["--mbox", "o"], 0);
    let archived = report["archived"].as_u64().unwrap();
    assert!(archived > 100, "{report}");
    let end = undisturbed.places();
    let steps = for_each_step(|step| {
        let (old, path) = ready();
        let arguments = ["import", path.to_str().unwrap(), "--mbox", "o"];
        let said = old.bench.run(&arguments, Some(&format!("exit:{step}")));
        assert!(said.is_hit() || said.code == Some(0), "{step}: {said}");
        let report = old.import(&path, &["--mbox", "o"], 0);
        assert_eq!(report["failed"], 0, "{step}: {report}");
        assert_eq!(old.places(), end, "{step}");
        assert_eq!(old.bench.reader().unwrap().volume().unwrap().items, archived, "{step}");
        old.bench.is_whole(&format!("{step}"));
        said.is_hit()
    });
    assert!(steps >= 8, "{steps}");
}

#[test]
fn a_mail_that_ends_the_process_is_quarantined_in_the_end() {
    let old = Old::new();
    old.put("1.eml", mail("x@y.example", ANNA, "good"));
    old.put("2.eml", mail("x@y.example", ANNA, "THE-MAIL-THAT-ENDS-IT"));
    let root = old.path("");
    for _ in 0..2 {
        let arguments = ["import", root.to_str().unwrap(), "--person", ANNA];
        let said = old.bench.run(&arguments, Some("abort-decode:THE-MAIL-THAT-ENDS-IT"));
        assert_eq!(said.code, None, "{said}");
    }
    let report = old.import(&root, &["--person", ANNA], 2);
    assert_eq!(report["quarantined"], 1, "{report}");
    old.bench.is_whole("after two crashes");
}

#[test]
fn large_mails_are_streamed() {
    let old = Old::new();
    let mut random = gatepost::demo::random::Random::new(7);
    let mut text = mail("x@y.example", ANNA, "large");
    while text.len() < 40 * 1024 * 1024 {
        for byte in random.bytes(76) {
            text.push(char::from(33 + byte % 90));
        }
        text.push('\n');
    }
    let path = old.put("Inbox", format!("{FROM}{text}\n{FROM}{}\n", mail("x@y.example", ANNA, "small")));
    let report = old.import(&path, &["--person", ANNA], 0);
    assert_eq!(report["archived"], 2);
    let reader = old.bench.reader().unwrap();
    let catalogue = gatepost::archive::Catalogue::of(&old.bench.layout()).unwrap();
    let item = catalogue.item_by_sha256(&Digest::of(text.as_bytes())).unwrap().expect("the mail as it lay there");
    assert_eq!(reader.item(item).unwrap().size, text.len() as u64);
    assert!(reader.item(item).unwrap().peer.starts_with("mboxrd /"));
    old.bench.is_whole("with a large one");
}
