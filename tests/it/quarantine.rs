//! What needs a person: found, shown, decoded after all, and deleted on the gateway by policy or by order.

use super::support::bench::{Bench, Put, Setup, few, known_people};

const FAULT: Option<&str> = Some("abort-decode:XYZZY-MARK");

fn trap() -> Put {
    let text = "From: x@partner.example\r\nTo: bob@corp.example\r\nSubject: a trap\r\n\
                Message-ID: <trap@corp.example>\r\n\r\nXYZZY-MARK\r\n";
    Put { bytes: text.as_bytes().into(), date: None }
}

/// Text without a header is no mail.
fn garbage() -> Put {
    Put { bytes: b"this is no mail \x1b[2J at all\r\n".as_slice().into(), date: None }
}

fn quarantined(profile: &str, put: &Put) -> Bench {
    let bench = Bench::holding(Setup::default(), &few(71, 3));
    bench.put(put);
    bench.reconfigure(&known_people(), profile);
    bench
}

fn items(bench: &Bench) -> Vec<serde_json::Value> {
    bench.json(&["quarantine", "list", "--json"], 0)["items"].as_array().unwrap().clone()
}

#[test]
fn an_item_that_ended_the_process_is_filed_by_a_version_that_can_decode_it() {
    let bench = quarantined("", &trap());
    for _ in 0..2 {
        assert_eq!(bench.once(FAULT).code, None);
    }
    let said = bench.once(FAULT);
    assert_eq!(said.code, Some(2), "{said}");
    assert!(said.alarms().contains("will be deleted on the gateway after "), "{said}");
    let listed = items(&bench);
    assert_eq!(listed.len(), 1);
    assert!(listed[0]["on_gateway"] == true && listed[0]["deleted_after"].is_string(), "{listed:?}");
    let item = listed[0]["item"].to_string();
    assert!(bench.run(&["quarantine", "show", &item], None).out.contains("ended twice"));

    // Still the old version: it dies twice, and the third time says so.
    for _ in 0..2 {
        assert_eq!(bench.run(&["quarantine", "retry", &item], FAULT).code, None);
    }
    let said = bench.run(&["quarantine", "retry", &item], FAULT);
    assert!(said.code == Some(2) && said.out.contains("ended twice"), "{said}");
    assert_eq!(items(&bench).len(), 1);
    let retried = bench.json(&["quarantine", "retry", "--all", "--json"], 0);
    assert_eq!(retried["items"][0]["filings"][0]["person"], "bob@corp.example", "{retried}");
    assert!(items(&bench).is_empty());
    bench.is_whole("retried");
    assert_eq!(bench.reader().unwrap().events("quarantine-retry", 9).unwrap().len(), 2);
    let said = bench.run(&["quarantine", "retry", &item], None);
    assert!(said.code == Some(1) && said.err.contains("is not quarantined"), "{said}");

    let said = bench.once(None);
    assert_eq!((said.code, &said.report()["deleted"]), (Some(0), &1.into()), "{said}");
    bench.is_in_order("deleted as any archived item");
    let state = bench.state();
    assert!(state.left.is_empty());
    assert_eq!(bench.run(&["rebuild"], None).code, Some(0));
    assert_eq!(bench.state(), state);
}

#[test]
fn ending_at_every_step_of_a_retry_leads_to_the_same_end() {
    let steps = super::support::bench::for_each_step(|step| {
        let bench = quarantined("", &trap());
        (0..3).for_each(|_| _ = bench.once(FAULT));
        let said = bench.run(&["quarantine", "retry", "--all"], Some(&format!("exit:{step}")));
        assert!(said.is_hit() || said.code == Some(0), "{step}: {said}");
        bench.json(&["quarantine", "retry", "--all", "--json"], 0);
        assert!(items(&bench).is_empty(), "{step}");
        assert_eq!(bench.once(None).code, Some(0), "{step}");
        bench.is_in_order(&format!("{step}"));
        let state = bench.state();
        assert!(state.left.is_empty() && state.mails.values().all(|what| *what == "archived"), "{step}");
        said.is_hit()
    });
    assert!(steps >= 3, "{steps}");
}

#[test]
fn what_stays_undecodable_stays_quarantined_and_is_shown_safely() {
    let bench = quarantined("delete_quarantined = \"never\"", &garbage());
    let said = bench.once(None);
    assert_eq!(said.code, Some(2), "{said}");
    assert!(!said.alarms().contains("will be deleted"), "{said}");
    let item = items(&bench)[0]["item"].to_string();
    assert!(items(&bench)[0]["deleted_after"].is_null());
    let said = bench.run(&["quarantine", "show", &item], None);
    assert!(said.out.contains("this is no mail") && !said.out.contains('\x1b'), "{said}");
    let said = bench.run(&["quarantine", "show", &item, "--raw"], None);
    assert_eq!(said.out.as_bytes(), &*garbage().bytes);
    let retried = bench.json(&["quarantine", "retry", &item, "--json"], 2);
    assert!(retried["items"][0]["quarantine"].as_str().unwrap().contains("no header"), "{retried}");
    assert_eq!(bench.state().left.len(), 1);
    bench.is_in_order("retried");
    for arguments in [["quarantine", "show", "999"], ["quarantine", "retry", "999"], ["quarantine", "retry", "1"]] {
        let said = bench.run(&arguments, None);
        assert!(said.code == Some(1) && said.err.contains("hint:"), "{said}");
    }
}

#[test]
fn an_order_deletes_on_the_gateway_and_needs_a_yes() {
    let bench = quarantined("delete_quarantined = \"never\"", &garbage());
    bench.once(None);
    let item = items(&bench)[0]["item"].to_string();
    let said = bench.run(&["quarantine", "delete-on-gateway", &item], None);
    assert!(said.code == Some(1) && said.err.contains("--yes"), "{said}");
    assert_eq!(bench.state().left.len(), 1);
    let said = bench.run(&["quarantine", "delete-on-gateway", "1", "--yes"], None);
    assert!(said.code == Some(1) && said.err.contains("is not quarantined"), "{said}");
    let done = bench.json(&["quarantine", "delete-on-gateway", &item, "--yes", "--json"], 0);
    assert_eq!(done["sightings"][0]["deleted"], true, "{done}");
    assert!(bench.state().left.is_empty());
    bench.is_in_order("deleted by order");
    let listed = items(&bench);
    assert!(listed.len() == 1 && listed[0]["on_gateway"] == false, "it still needs a person: {listed:?}");
    let order = bench.reader().unwrap().events("quarantine-delete", 9).unwrap();
    assert_eq!(order.len(), 1);
    assert_eq!(bench.once(None).code, Some(0), "the next run finds nothing odd");
}

/// The order stands in the chain first, and what was deleted without being noted is found by the next run.
#[test]
fn ending_at_every_step_of_an_order_loses_nothing() {
    let steps = super::support::bench::for_each_step(|step| {
        let bench = quarantined("delete_quarantined = \"never\"", &garbage());
        bench.once(None);
        let item = items(&bench)[0]["item"].to_string();
        let order = ["quarantine", "delete-on-gateway", item.as_str(), "--yes"];
        let said = bench.run(&order, Some(&format!("exit:{step}")));
        bench.nothing_is_lost(&format!("{step}"));
        if bench.state().left.is_empty() {
            assert_eq!(bench.reader().unwrap().events("quarantine-delete", 9).unwrap().len(), 1, "{step}");
        }
        bench.run(&order, None);
        assert!(matches!(bench.once(None).code, Some(0 | 2)), "{step}");
        assert!(bench.state().left.is_empty(), "{step}");
        bench.is_in_order(&format!("{step}"));
        said.is_hit()
    });
    assert!(steps >= 4, "{steps}");
}

#[test]
fn an_order_is_obeyed_where_nothing_else_is_deleted() {
    let bench = Bench::holding(Setup { delete: false, ..Setup::default() }, &[garbage()]);
    bench.once(None);
    let item = items(&bench)[0]["item"].to_string();
    bench.json(&["quarantine", "delete-on-gateway", &item, "--yes", "--json"], 0);
    assert!(bench.state().left.is_empty());
    bench.is_in_order("deleted by order");
}

#[test]
fn a_policy_deletes_what_was_quarantined_long_enough() {
    let bench = quarantined("delete_quarantined = \"after 1s\"", &garbage());
    let said = bench.once(None);
    assert!(said.code == Some(2) && said.alarms().contains("1 quarantined items will be deleted"), "{said}");
    // Not a sleep: until its time has come nothing happens to it.
    let gone = loop {
        let said = bench.once(None);
        bench.nothing_is_lost("waiting");
        if said.report()["listed"] != 0 {
            break said;
        }
        assert_eq!(bench.state().left.len(), 1, "{said}");
    };
    assert_eq!(gone.report()["deleted"], 1, "{gone}");
    assert_eq!((&gone.report()["listed"], &gone.report()["quarantined"]), (&1.into(), &1.into()), "{gone}");
    assert!(gone.alarms().contains("were due for deletion"), "{gone}");
    assert!(bench.state().left.is_empty());
    assert_eq!(items(&bench).len(), 1, "its bytes still need a person");
    bench.is_in_order("deleted by policy");
    let said = bench.once(None);
    assert_eq!((said.code, &said.report()["listed"]), (Some(0), &0.into()), "{said}");
}

#[test]
fn a_policy_deletes_at_once() {
    let bench = quarantined("delete_quarantined = \"at once\"", &garbage());
    let said = bench.once(None);
    assert_eq!((said.code, &said.report()["quarantined"]), (Some(2), &1.into()), "{said}");
    assert!(bench.state().left.is_empty());
    bench.is_in_order("deleted at once");
}
