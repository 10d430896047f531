//! No mail can keep the agent in a crash loop: one that ends the process while it is decoded is stored
//! undecoded the third time, and everything else is archived.

use super::support::bench::{Bench, Put, SUSPECTED, Setup, few};

fn marked() -> Put {
    let text = "From: anna@corp.example\r\nTo: bob@corp.example\r\nSubject: a trap\r\n\
                Message-ID: <trap@corp.example>\r\n\r\nXYZZY-MARK\r\n";
    Put { bytes: text.as_bytes().into(), date: None }
}

#[test]
fn a_mail_that_ends_the_process_is_quarantined_the_third_time() {
    let bench = Bench::new(Setup::default());
    let mails = few(21, 12);
    mails[..6].iter().for_each(|put| _ = bench.put(put));
    bench.put(&marked());
    mails[6..].iter().for_each(|put| _ = bench.put(put));
    let fault = Some("abort-decode:XYZZY-MARK");
    for n in 1..=2 {
        let said = bench.once(fault);
        assert_eq!(said.code, None, "run {n} dies: {said}");
        bench.nothing_is_lost(&format!("run {n}"));
    }
    let said = bench.once(fault);
    assert_eq!(said.code, Some(2), "{said}");
    assert_eq!(said.report()["quarantined"], 1, "{said}");
    bench.is_in_order("the third run");
    let state = bench.state();
    assert_eq!(state.left.len(), 1, "what is quarantined stays on the gateway");
    assert_eq!(state.mails.values().filter(|what| **what == "archived").count(), 12);
    assert_eq!(state.mails.values().filter(|what| **what == SUSPECTED).count(), 1);
    let said = bench.once(fault);
    assert_eq!(said.code, Some(0), "a fourth run has nothing to do: {said}");
}

#[test]
fn without_the_trap_nothing_is_special_about_it() {
    let bench = Bench::new(Setup::default());
    bench.put(&marked());
    let said = bench.once(Some("abort-decode:XYZZY-MARK"));
    assert_eq!(said.code, None, "{said}");
    let said = bench.once(None);
    assert_eq!(said.code, Some(0), "{said}");
    assert_eq!(said.report()["archived"], 1, "{said}");
    bench.is_in_order("the second run");
    assert!(bench.state().left.is_empty());
}

/// Which mail ended the process is remembered by epoch and UID, so an epoch's number must not change from
/// one crash to the next: with two profiles they could swap as long as they were not committed.
#[test]
fn an_epoch_is_durable_before_its_first_item_is_decoded() {
    let bench = Bench::new(Setup::default());
    bench.put(&marked());
    let said = bench.once(Some("abort-decode:XYZZY-MARK"));
    assert_eq!(said.code, None, "{said}");
    let head = bench.reader().unwrap().head().unwrap();
    assert!(head.seq >= 1, "the epoch was not committed when the process died");
}
