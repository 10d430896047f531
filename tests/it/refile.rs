//! Archived mail filed anew: after people were added, after archives were joined, and however often it is
//! interrupted.

use super::support::bench::{Bench, NOBODY, Setup, few, for_each_step, known_people, varied};

const CREATE: &str = "unknown_internal = \"create\"";

/// What is archived while nobody is known.
fn unassigned(mails: &[super::support::bench::Put]) -> Bench {
    let bench = Bench::holding(Setup::default(), mails);
    bench.reconfigure(NOBODY, "");
    let said = bench.once(None);
    assert!(matches!(said.code, Some(0 | 2)), "{said}");
    assert!(bench.state().filings.iter().all(|(person, _, _)| person == "unassigned"));
    bench
}

fn head(bench: &Bench) -> String {
    bench.reader().unwrap().head().unwrap().to_string()
}

#[test]
fn unassigned_mail_goes_to_its_owners_once_they_are_known() {
    let at_once = Bench::holding(Setup::default(), &varied());
    at_once.reconfigure(&known_people(), "");
    at_once.once(None);

    let bench = unassigned(&varied());
    let (before, then) = (bench.state(), head(&bench));
    bench.reconfigure(&known_people(), "");
    let rehearsed = bench.json(&["refile", "--dry-run", "--json"], 0);
    assert!(rehearsed["summary"]["refiled"].as_u64().unwrap() > 10, "{rehearsed}");
    assert_eq!((bench.state(), head(&bench)), (before, then), "a rehearsal changes nothing");
    let said = bench.run(&["refile", "--dry-run"], None);
    assert!(said.out.contains("    + ") && said.out.contains("    - unassigned "), "{said}");

    let refiled = bench.json(&["refile", "--json"], 0);
    assert_eq!(refiled["summary"], rehearsed["summary"]);
    assert_eq!(bench.state().filings, at_once.state().filings, "as if they had been known from the start");
    bench.is_in_order("filed anew");
    let (after, then) = (bench.state(), head(&bench));
    let again = bench.json(&["refile", "--json"], 0);
    assert_eq!(again["summary"]["refiled"], 0, "{again}");
    assert_eq!(head(&bench), then, "nothing is recorded when nothing differs");
    let everything = bench.json(&["refile", "--all", "--json"], 0);
    assert_eq!(everything["summary"]["refiled"], 0, "{everything}");
    assert_eq!(bench.run(&["rebuild"], None).code, Some(0));
    assert_eq!(bench.state(), after, "a rebuilt catalogue says the same");
    let events = bench.reader().unwrap().events("refile", 9).unwrap();
    assert_eq!(events.len(), 1);
}

#[test]
fn who_left_keeps_the_archive() {
    let bench = Bench::holding(Setup::default(), &varied());
    bench.reconfigure(&known_people(), "");
    bench.once(None);
    let (before, then) = (bench.state(), head(&bench));
    bench.reconfigure(NOBODY, "");
    let refiled = bench.json(&["refile", "--all", "--json"], 0);
    assert!(refiled["summary"]["kept"].as_u64().unwrap() > 10, "{refiled}");
    assert_eq!((bench.state(), head(&bench)), (before, then));
}

#[test]
fn ending_at_every_step_of_refile_leads_to_the_same_end() {
    // Enough for several batches.
    let mails = few(61, 150);
    let undisturbed = unassigned(&mails);
    undisturbed.reconfigure(CREATE, "");
    undisturbed.json(&["refile", "--json"], 0);
    let end = undisturbed.state().filings;
    assert!(end.iter().any(|(person, _, _)| person != "unassigned"));
    let steps = for_each_step(|step| {
        let bench = unassigned(&mails);
        bench.reconfigure(CREATE, "");
        let said = bench.run(&["refile"], Some(&format!("exit:{step}")));
        assert!(said.is_hit() || said.code == Some(0), "{step}: {said}");
        // Between two batches or in one: every message is filed somewhere.
        let reader = bench.reader().unwrap();
        let mut messages = std::collections::HashSet::new();
        reader
            .list(&Default::default(), &mut |entry| {
                messages.insert(entry.id);
                Ok(())
            })
            .unwrap();
        assert_eq!(messages.len() as u64, reader.volume().unwrap().messages, "{step}");
        bench.json(&["refile", "--json"], 0);
        assert_eq!(bench.state().filings, end, "{step}");
        bench.is_whole(&format!("{step}"));
        said.is_hit()
    });
    assert!(steps >= 8, "{steps}");
}

#[test]
fn a_merged_archive_stays_merged() {
    let (anna, bob) = ("anna@corp.example", "bob@corp.example");
    let bench = Bench::holding(Setup::default(), &varied());
    bench.once(None);
    let of = |person: &str| bench.state().filings.iter().filter(|(owner, _, _)| owner == person).count();
    assert!(of(bob) > 0);
    for (arguments, word) in [
        (["people", "merge", bob, bob], "itself"),
        (["people", "merge", bob, "bib@corp.example"], "did you mean"),
        (["people", "merge", "unassigned", anna], "cannot be merged"),
    ] {
        let said = bench.run(&arguments, None);
        assert!(said.code == Some(1) && said.err.contains(word), "{said}");
    }
    let done = bench.json(&["people", "merge", bob, anna, "--json"], 0);
    assert!(done["filings"].as_u64().unwrap() > 0, "{done}");
    assert_eq!(of(bob), 0);
    let said = bench.run(&["people", "merge", anna, bob], None);
    assert!(said.code == Some(1) && said.err.contains("was merged into"), "{said}");
    bench.is_in_order("merged");
    // The configuration still names both; a later mail, filing anew and a new catalogue change nothing about it.
    let text = "From: x@partner.example\r\nTo: bob@corp.example\r\nSubject: to the merged one\r\n\
                Message-ID: <merged@partner.example>\r\n\r\nHello\r\n";
    bench.put(&super::support::bench::Put { bytes: text.as_bytes().into(), date: None });
    let before = of(anna);
    assert_eq!(bench.once(None).code, Some(0));
    assert_eq!((of(anna), of(bob)), (before + 1, 0));
    let all = bench.json(&["refile", "--all", "--json"], 0);
    assert_eq!(all["summary"]["refiled"], 0, "{all}");
    let state = bench.state();
    assert_eq!(bench.run(&["rebuild"], None).code, Some(0));
    assert_eq!(bench.state(), state);
    assert_eq!(bench.json(&["refile", "--all", "--json"], 0)["summary"]["refiled"], 0);
    bench.is_in_order("rebuilt");
}

#[test]
fn refile_waits_for_no_lock() {
    let bench = unassigned(&few(62, 3));
    let (writer, _) = super::support::history::open(&bench, gatepost::base::fsio::Fs::real()).unwrap();
    let said = bench.run(&["refile"], None);
    assert_eq!(said.code, Some(5), "{said}");
    assert_eq!(bench.run(&["refile", "--dry-run"], None).code, Some(0), "a rehearsal needs no lock");
    writer.finish().unwrap();
}

const CLEAR: &str = "Message-ID: <pair@corp.example>\r\nDate: Tue, 3 Mar 2026 09:15:00 +0100\r\n\
                     From: anna@corp.example\r\nTo: bob@corp.example\r\nBcc: dave@corp.example\r\nSubject: plan\r\n\r\nText\r\n";

/// A report with the rights-protected message and its clear copy.
fn pair() -> super::support::bench::Put {
    let part = |original: &str| format!("--r--\r\nContent-Type: message/rfc822\r\n\r\n{original}\r\n");
    let protected = format!("Content-Class: rpmsg.message\r\n{CLEAR}");
    let text = format!(
        "From: journal@corp.example\r\nX-MS-Journal-Report:\r\nContent-Type: multipart/mixed; boundary=\"r--\"\r\n\r\n\
         --r--\r\n\r\nSender: anna@corp.example\r\nSubject: plan\r\nMessage-Id: <pair@corp.example>\r\n\
         To: bob@corp.example\r\nBcc: dave@corp.example\r\n\r\n{}{}--r----\r\n",
        part(&protected),
        part(CLEAR)
    );
    super::support::bench::Put { bytes: text.into_bytes().into(), date: None }
}

/// What was archived with `clear_text = "prefer"` shows both copies once the configuration wants both.
#[test]
fn both_copies_of_a_protected_mail_are_shown_and_exported() {
    let bench = Bench::holding(Setup::default(), &[pair()]);
    assert_eq!(bench.once(None).code, Some(0));
    let said = bench.run(&["show", "1", "--protected"], None);
    assert!(said.code == Some(1) && said.err.contains("no protected copy"), "{said}");
    bench.reconfigure(&known_people(), "clear_text = \"both\"");
    let done = bench.json(&["refile", "--item", "1", "--json"], 0);
    assert_eq!((&done["summary"]["decoded_anew"], &done["summary"]["refiled"]), (&1.into(), &0.into()), "{done}");
    assert!(bench.run(&["show", "1"], None).out.contains("rights-protected copy"));
    let protected = format!("Content-Class: rpmsg.message\r\n{CLEAR}");
    let said = bench.run(&["show", "1", "--protected", "--person", "anna@corp.example"], None);
    assert_eq!(said.out, protected);
    let said = bench.run(&["show", "1", "--protected", "--person", "bob@corp.example"], None);
    assert_eq!(said.out, protected.replace("Bcc: dave@corp.example\r\n", ""), "its header is open to all");
    let out = bench.folder().join("out");
    assert_eq!(bench.run(&["export", out.to_str().unwrap()], None).code, Some(0));
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let entries = manifest["entries"].as_array().unwrap();
    let annas = |entry: &&serde_json::Value| entry["protected"] == true && entry["person"] == "anna@corp.example";
    let file = entries.iter().find(annas).unwrap()["file"].as_str().unwrap();
    assert_eq!(std::fs::read_to_string(out.join(file)).unwrap(), protected);
    bench.is_in_order("both");
    let again = bench.json(&["refile", "--all", "--json"], 0);
    assert_eq!(again["summary"]["decoded_anew"], 0, "{again}");
}

#[test]
fn check_lists_the_reporters_seen() {
    let bench = Bench::holding(Setup::default(), &[pair()]);
    bench.once(None);
    let said = bench.run(&["check"], None);
    assert!(said.out.contains("reporters seen: corp.example (1)"), "{said}");
}
