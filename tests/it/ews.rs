//! The EWS source through the program, against a server that refuses what the schema refuses.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gatepost::demo::corpus::Corpus;

use crate::support::agent::{Agent, Config, PASSWORD_VARIABLE, alarms, count, wait_with_peak};
use crate::support::cut::Cut;
use crate::support::dovecot::{Dovecot, Setup as Imap};
use crate::support::ews::{Ews, Reply, Setup, USER, asked};

fn mails(seed: u64, count: usize) -> Vec<Vec<u8>> {
    Corpus::small(seed, count).iter().map(|generated| generated.item).collect()
}

fn text(url: &str, profile: &str, ews: &str) -> String {
    let ews = if ews.contains("username") { ews.to_owned() } else { format!("username = \"{USER}\"\n{ews}") };
    format!(
        "[archive]\npath = \"archive\"\n\n[people]\ninternal_domains = [\"corp.example\"]\nunknown_internal = \"create\"\n\n\
         [[profile]]\nname = \"exchange\"\n{profile}\n\n[profile.ews]\nurl = \"{url}\"\n{ews}\n\
         password = {{ env = \"{PASSWORD_VARIABLE}\" }}\ntimeout = \"60s\"\n"
    )
}

fn agent_at(url: &str, profile: &str, ews: &str) -> Agent {
    let agent = Agent::new(&Config::at(0));
    agent.configure_text(&text(url, profile, ews));
    agent
}

fn agent(ews: &Ews) -> Agent {
    agent_at(&ews.url, "delete = true", "")
}

fn did(report: &serde_json::Value) -> [u64; 3] {
    ["archived", "already_archived", "deleted"].map(|key| count(report, key))
}

/// Message, person and folder of everything that is filed.
fn filed(agent: &Agent) -> Vec<String> {
    let mut filed: Vec<String> = agent
        .list()
        .iter()
        .map(|entry| format!("{} {} {}", entry["sha256"], entry["person"], entry["folder"]))
        .collect();
    filed.sort();
    filed
}

fn fault(status: u16, code: &str, back_off_ms: Option<u64>) -> Option<Reply> {
    Some(Reply::Fault { status, code: code.into(), text: "The server cannot.".into(), back_off_ms })
}

#[test]
fn reports_read_over_ews_are_filed_as_those_read_over_imap() {
    let Some(dovecot) = Dovecot::start(&Imap::default()) else { return };
    dovecot.deliver("journal", "INBOX", mails(61, 14));
    let imap = Agent::new(&Config::plain(&dovecot).with_profile("delete = false"));
    imap.once(0);
    let ews = Ews::plain();
    ews.deliver(mails(61, 14));
    let agent = agent(&ews);
    assert_eq!(did(&agent.once(0)), [14, 0, 14]);
    assert_eq!(filed(&agent), filed(&imap));
    assert_eq!(ews.left(), 0);
    assert_eq!(count(&agent.once(0), "listed"), 0);
    assert_eq!(agent.differences(), 0);
    assert_eq!(agent.run(&["verify"]).code, Some(0));
    ews.assert_strict();
    ews.with(|store| {
        assert!(store.deleted.iter().all(|(_, how)| how == "HardDelete"), "{:?}", store.deleted);
    });
}

/// The server's regenerated mail may have lost the field that marks a report.
#[test]
fn reports_without_their_marker_are_filed_as_those_with_it() {
    let marked = mails(84, 14);
    let unmarked: Vec<Vec<u8>> = marked
        .iter()
        .map(|mail| {
            let text = mail.split_inclusive(|&byte| byte == b'\n');
            let is_marker = |line: &[u8]| line.to_ascii_lowercase().starts_with(b"x-ms-journal-report:");
            text.filter(|line| !is_marker(line)).flatten().copied().collect()
        })
        .collect();
    assert_ne!(marked, unmarked);
    let [with, without] = [marked, unmarked].map(|mails| {
        let ews = Ews::plain();
        ews.deliver(mails);
        let agent = agent(&ews);
        agent.run(&["once"]);
        assert_eq!(ews.left(), 0);
        filed(&agent)
    });
    assert_eq!(with, without);
}

/// Pages of 7 and batches of 3, of which the server says that it is too busy for more.
#[test]
fn thirteen_hundred_items_in_small_pages_are_emptied_in_one_run() {
    let ews = Ews::plain();
    ews.deliver(mails(62, 1300));
    ews.with(|store| (store.page_max, store.get_max) = (7, 3));
    let agent = agent(&ews);
    let report = agent.once(0);
    assert_eq!((count(&report, "listed"), did(&report)), (1300, [1300, 0, 1300]));
    assert_eq!(ews.left(), 0);
    // Learned once: the batches that follow are as small as the server wants them.
    assert!(ews.calls("GetItem") < 1300 / 3 + 40, "{}", ews.calls("GetItem"));
    assert_eq!(agent.differences(), 0);
    ews.assert_strict();
}

#[test]
fn a_server_that_says_last_too_early_is_listed_to_its_end() {
    let ews = Ews::plain();
    ews.deliver(mails(63, 40));
    ews.with(|store| (store.page_max, store.says_last) = (7, true));
    assert_eq!(did(&agent(&ews).once(0)), [40, 0, 40]);
}

#[test]
fn a_server_that_forgets_its_sync_state_is_listed_anew() {
    let ews = Ews::plain();
    ews.deliver(mails(64, 30));
    ews.with(|store| store.page_max = 7);
    ews.hook(|call, store| match (call.operation.as_str(), call.before) {
        ("SyncFolderItems", 2) => {
            // Meanwhile one of those that were listed goes.
            store.items.remove(0);
            fault(500, "ErrorInvalidSyncStateData", None)
        }
        _ => None,
    });
    let agent = agent(&ews);
    assert_eq!(did(&agent.once(0)), [29, 0, 29]);
    assert_eq!(ews.left(), 0);
    ews.assert_strict();
}

#[test]
fn a_server_that_never_ends_its_listing_is_an_error_and_not_a_shorter_list() {
    let ews = Ews::plain();
    ews.deliver(mails(65, 3));
    ews.hook(|call, _| {
        (call.operation == "SyncFolderItems").then(|| {
            Reply::Changed(Box::new(|text: String| {
                text.replace("<m:IncludesLastItemInRange>true", "<m:IncludesLastItemInRange>false")
            }))
        })
    });
    agent(&ews).run(&["once"]).is(3, &["does not go on", "nothing was deleted"]);
    assert_eq!(ews.left(), 3);
}

#[test]
fn a_busy_server_is_left_alone_and_asked_again() {
    let ews = Ews::plain();
    ews.deliver(mails(66, 25));
    ews.hook(|call, _| match (call.operation.as_str(), call.before) {
        ("GetFolder", 0) => Some(Reply::Http(503, "Retry-After: 1\r\n".into(), "<title>busy</title>".into())),
        ("SyncFolderItems", 0) => fault(500, "ErrorServerBusy", Some(20)),
        // A fault with the status of an answer.
        ("GetItem", 1) => fault(200, "ErrorServerBusy", Some(20)),
        ("GetItem", 3) => fault(500, "ErrorInternalServerTransientError", None),
        // Items that were not answered, for three reasons.
        ("GetItem", 4) => Some(Reply::Codes(HashMap::from([
            (call.ids[0].clone(), "ErrorServerBusy".to_owned()),
            (call.ids[2].clone(), "ErrorBatchProcessingStopped".to_owned()),
        ]))),
        ("GetItem", 5) => {
            let busy = call.ids.iter().map(|id| (id.clone(), "ErrorTimeoutExpired".to_owned()));
            Some(Reply::Codes(busy.collect()))
        }
        ("DeleteItem", 0) => fault(500, "ErrorServerBusy", Some(20)),
        ("DeleteItem", 1) => Some(Reply::Codes(HashMap::from([
            (call.ids[1].clone(), "ErrorServerBusy".to_owned()),
            (call.ids[3].clone(), "ErrorBatchProcessingStopped".to_owned()),
        ]))),
        _ => None,
    });
    let agent = agent(&ews);
    assert_eq!(did(&agent.once(0)), [25, 0, 25]);
    assert_eq!(ews.left(), 0);
    assert_eq!(agent.differences(), 0);
    ews.assert_strict();
}

#[test]
fn another_client_that_deletes_at_the_same_time_is_no_error() {
    let ews = Ews::plain();
    ews.deliver(mails(67, 30));
    ews.hook(|call, store| {
        // One goes before the first mail is asked for, one between download and deletion.
        if (call.operation == "GetItem" && call.before == 1) || (call.operation == "DeleteItem" && call.before == 0) {
            store.items.remove(1);
        }
        None
    });
    let agent = agent(&ews);
    // Mail that nobody archived is worth a person's attention.
    let report = agent.once(2);
    assert_eq!((did(&report), count(&report, "vanished")), ([29, 0, 28], 1), "{report}");
    assert!(alarms(&report).contains("vanished before"), "{report}");
    assert_eq!(ews.left(), 0);
    assert_eq!(agent.differences(), 0);
}

#[test]
fn what_the_server_cannot_convert_is_unfetchable_with_its_code_and_stays() {
    let ews = Ews::plain();
    ews.deliver(mails(68, 12));
    let (bad, worse) = ews.with(|store| (store.items[3].id.clone(), store.items[7].id.clone()));
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = broken.clone();
    ews.hook(move |call, _| {
        (call.operation == "GetItem" && call.body.contains("IncludeMimeContent") && is_broken.load(Ordering::SeqCst))
            .then(|| {
                Reply::Codes(HashMap::from([
                    (bad.clone(), "ErrorMimeContentConversionFailed".to_owned()),
                    (worse.clone(), "ErrorSomethingNew".to_owned()),
                ]))
            })
    });
    let agent = agent(&ews);
    let report = agent.once(2);
    assert_eq!((did(&report), count(&report, "unfetchable")), ([10, 0, 10], 2), "{report}");
    assert_eq!(ews.left(), 2);
    let said = agent.run(&["reconcile", "--json"]);
    assert!(said.out.contains("\"unfetchable\": 2"), "{said:#?}");
    // It is not tried again at once, and nothing else is made of it.
    let again = agent.once(0);
    assert_eq!(did(&again), [0, 0, 0], "{again}");
    broken.store(false, Ordering::SeqCst);
    assert_eq!(agent.run(&["verify"]).code, Some(0));
}

/// A server ends a call that takes too long for it; what is left is asked for one by one.
#[test]
fn an_answer_that_the_server_cuts_short_is_asked_for_in_smaller_pieces() {
    let ews = Ews::plain();
    ews.deliver(mails(85, 10));
    ews.hook(|call, _| (call.body.contains("IncludeMimeContent") && call.ids.len() > 1).then(|| Reply::Cut(20_000)));
    assert_eq!(did(&agent(&ews).once(0)), [10, 0, 10]);
    ews.assert_strict();
}

#[test]
fn an_answer_in_another_order_files_nothing_under_a_wrong_id() {
    let ews = Ews::plain();
    ews.deliver(mails(69, 4));
    ews.hook(|call, _| {
        (call.operation == "GetItem" && call.body.contains("IncludeMimeContent")).then(|| {
            let (first, second) = (call.ids[0].clone(), call.ids[1].clone());
            Reply::Changed(Box::new(move |text: String| {
                text.replace(&first, "\u{1}").replace(&second, &first).replace('\u{1}', &second)
            }))
        })
    });
    agent(&ews).run(&["once"]).is(3, &["another order", "nothing was deleted"]);
    assert_eq!(ews.left(), 4);
}

#[test]
fn characters_that_xml_forbids_and_a_byte_order_mark_are_passed_over() {
    let ews = Ews::plain();
    ews.deliver(mails(70, 5));
    ews.hook(|_, _| {
        Some(Reply::Changed(Box::new(|text: String| {
            let odd = "<t:Subject>a&#x0;b&#x11;c & \u{8}</t:Subject><t:DateTimeReceived>";
            format!(
                "\u{feff}{}",
                text.replace("<t:DateTimeReceived>", odd).replacen("<t:MimeContent", "<!-- x --><t:MimeContent", 1)
            )
        })))
    });
    assert_eq!(did(&agent(&ews).once(0)), [5, 0, 5]);
}

#[test]
fn broken_base64_is_a_broken_connection_and_never_a_mail() {
    let ews = Ews::plain();
    ews.deliver(mails(71, 3));
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = broken.clone();
    ews.hook(move |call, _| {
        (call.body.contains("IncludeMimeContent") && is_broken.load(Ordering::SeqCst)).then(|| {
            Reply::Changed(Box::new(|text: String| {
                let at = text.rfind("</t:MimeContent>").unwrap();
                format!("{}{}", &text[..at - 3], &text[at..])
            }))
        })
    });
    let agent = agent(&ews);
    agent.run(&["once"]).is(3, &["base64 is broken", "hint:"]);
    assert!(ews.left() > 0);
    broken.store(false, Ordering::SeqCst);
    agent.run(&["once"]);
    assert_eq!((ews.left(), agent.differences()), (0, 0));
    assert_eq!(agent.run(&["verify"]).code, Some(0));
}

/// A server of 2010 knows neither the version nor SuppressReadReceipts.
#[test]
fn an_older_server_is_asked_in_its_own_version() {
    let ews = Ews::plain();
    ews.deliver(mails(72, 3));
    ews.hook(|call, _| match call.version.as_str() {
        "Exchange2013_SP1" => fault(500, "ErrorInvalidServerVersion", None),
        "Exchange2013" => Some(Reply::Fault {
            status: 500,
            code: "Client".into(),
            text: "The specified server version is invalid.".into(),
            back_off_ms: None,
        }),
        _ => None,
    });
    assert_eq!(did(&agent(&ews).once(0)), [3, 0, 3]);
    ews.with(|store| {
        assert!(store.log.iter().all(|call| call.operation != "DeleteItem" || call.version == "Exchange2010_SP2"))
    });
    ews.assert_strict();
}

#[test]
fn what_an_earlier_session_archived_is_matched_and_deleted_without_another_download() {
    let ews = Ews::plain();
    ews.deliver(mails(73, 9));
    let agent = agent_at(&ews.url, "delete = false", "");
    assert_eq!(did(&agent.once(0)), [9, 0, 0]);
    let again = agent.once(0);
    assert_eq!((count(&again, "listed"), count(&again, "bytes")), (0, 0));
    agent.configure_text(&text(&ews.url, "delete = true", "delete_type = \"deleted_items\""));
    let report = agent.once(0);
    assert_eq!((did(&report), count(&report, "bytes")), ([0, 9, 9], 0), "{report}");
    assert_eq!(ews.left(), 0);
    ews.with(|store| assert!(store.deleted.iter().all(|(_, how)| how == "MoveToDeletedItems")));
    assert_eq!(agent.differences(), 0);
}

#[test]
fn another_mail_under_a_known_id_is_not_deleted() {
    let ews = Ews::plain();
    ews.deliver(mails(74, 3));
    let agent = agent_at(&ews.url, "delete = false", "");
    assert_eq!(did(&agent.once(0)), [3, 0, 0]);
    ews.with(|store| store.items[1].date = "2026-09-09T09:09:09Z".into());
    agent.configure_text(&text(&ews.url, "delete = true", ""));
    let report = agent.once(2);
    assert!(alarms(&report).contains("not the folder that was recorded"), "{report}");
    agent.once(0);
    assert_eq!(ews.left(), 0);
    // A folder that was made anew is another identity space.
    ews.with(|store| store.deliver("inbox-1", mails(75, 1).remove(0)));
    ews.hook(|call, _| {
        (call.operation == "GetFolder")
            .then(|| Reply::Changed(Box::new(|text: String| text.replace("\"inbox-1\"", "\"inbox-2\""))))
    });
    let report = agent.once(2);
    assert!(alarms(&report).contains("inbox-2"), "{report}");
    assert_eq!(count(&report, "archived"), 1);
}

#[test]
fn a_mail_of_150_mb_passes_in_little_memory_and_comes_out_as_the_server_gave_it() {
    let ews = Ews::plain();
    let mut mail = b"From: a@corp.example\r\nTo: b@corp.example\r\nSubject: large\r\n\r\n".to_vec();
    while mail.len() < 150_000_000 {
        let line = format!("line {} of a mail that is longer than all of the window\r\n", mail.len());
        mail.extend_from_slice(line.as_bytes());
    }
    ews.deliver([mail.clone()]);
    ews.deliver(mails(76, 3));
    let agent = agent(&ews);
    let (said, peak) = wait_with_peak(agent.start(&["once"]));
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(peak < 256 * 1024, "{peak} KiB");
    assert_eq!(ews.left(), 0);
    let list = agent.list();
    let id = list.iter().find(|entry| entry["subject"] == "large").unwrap()["id"].to_string();
    let raw = agent.run(&["show", &id, "--raw"]);
    assert!(raw.out.as_bytes() == mail, "the bytes come out as they came");
}

#[test]
fn a_login_that_is_refused_is_tried_once() {
    let ews = Ews::plain();
    let mut agent = agent(&ews);
    agent
        .run(&["check"])
        .is(0, &["logged in as journal@corp.example (Basic)", "15.2.1544.9", "HardDelete", "regenerated"]);
    agent.password = "wrong".into();
    agent
        .run(&["once"])
        .is(3, &["does not accept the login", "Basic", "nothing was deleted", "hint: check `username`"]);
    agent.configure_text(&text(&ews.url.replace("/EWS/", "/other/"), "delete = true", ""));
    let other = agent_at("http://localhost:1/EWS/Exchange.asmx", "delete = true", "");
    other.run(&["once"]).is(3, &["refused the connection", "`url`"]);
    let page = Ews::plain();
    page.hook(|_, _| Some(Reply::Http(200, String::new(), "<html><title>Outlook</title></html>".into())));
    agent.password = crate::support::dovecot::PASSWORD.into();
    agent.configure_text(&text(&page.url, "delete = true", ""));
    agent.run(&["once"]).is(3, &["a page in place of XML (Outlook)", "`url` leads to Exchange Web Services"]);
    page.hook(|_, _| Some(Reply::Http(404, String::new(), String::new())));
    agent.run(&["once"]).is(3, &["HTTP 404", "https://HOST/EWS/Exchange.asmx"]);
}

#[test]
fn folders_are_found_by_their_path_and_mailboxes_by_their_address() {
    let ews = Ews::plain();
    ews.with(|store| {
        store.deliver("reports-1", mails(77, 1).remove(0));
        store.deliver("inbox-1", mails(78, 1).remove(0));
    });
    let of = "folder = \"inbox/reports\"\nmailbox = \"archive&more@corp.example\"\n";
    let agent = agent_at(&ews.url, "delete = true", of);
    assert_eq!(did(&agent.once(0)), [1, 0, 1]);
    assert_eq!(ews.with(|store| store.items[0].folder.clone()), "inbox-1");
    agent.configure_text(&text(&ews.url, "delete = true", "folder = \"inbox/nowhere\""));
    agent.run(&["once"]).is(3, &["no folder \"nowhere\"", "check `folder`"]);
    agent.configure_text(&text(&ews.url, "delete = true", "folder = \"msgfolderroot/Journal\""));
    agent.run(&["once"]).is(3, &["IPF.Journal", "diary"]);
    agent.configure_text(&text(&ews.url, "delete = true", "impersonate = \"other@corp.example\""));
    assert_eq!(did(&agent.once(0)), [1, 0, 1]);
    ews.with(|store| {
        let last = store.log.last().unwrap();
        assert_eq!(last.impersonated.as_deref(), Some("other@corp.example"));
        assert_eq!(last.anchor.as_deref(), Some("other@corp.example"));
    });
    ews.hook(|_, _| fault(500, "ErrorImpersonateUserDenied", None));
    agent.run(&["once"]).is(3, &["ErrorImpersonateUserDenied", "ApplicationImpersonation"]);
    ews.assert_strict();
}

#[test]
fn ntlm_is_bound_to_the_connection_and_to_its_certificate() {
    for login in ["CORP\\\\journal", "journal@corp.example"] {
        let ews = Ews::start(Setup { tls: true, ntlm: true, ..Setup::default() });
        ews.deliver(mails(79, 25));
        let ca = ews.ca_file.clone().unwrap();
        let of = format!("auth = \"ntlm\"\nca_file = {ca:?}\nusername = \"{login}\"");
        let mut agent = agent_at(&ews.url, "delete = true", &of);
        agent.run(&["check"]).is(0, &["(NTLM)", "certificate verified"]);
        assert_eq!(did(&agent.once(0)), [25, 0, 25]);
        // Not one handshake for each call; now and then a connection is not back when the next call is made.
        let (logins, calls) = ews.with(|store| (store.logins as usize, store.log.len()));
        assert!((2..calls).contains(&logins), "{logins} of {calls}");
        agent.password = "wrong".into();
        agent.run(&["once"]).is(3, &["does not accept the login", "nothing was deleted"]);
    }
    let middle = Ews::start(Setup { tls: true, ntlm: true, wrong_binding: true, ..Setup::default() });
    middle.deliver(mails(80, 1));
    let of =
        format!("auth = \"ntlm\"\nca_file = {:?}\nusername = \"CORP\\\\journal\"", middle.ca_file.as_ref().unwrap());
    agent_at(&middle.url, "delete = true", &of).run(&["once"]).is(3, &["does not accept the login"]);
    assert_eq!((middle.left(), middle.with(|store| store.logins)), (1, 0));
    let plain = Ews::start(Setup { ntlm: true, ..Setup::default() });
    plain.deliver(mails(81, 2));
    let agent = agent_at(&plain.url, "delete = true", "auth = \"ntlm\"\nusername = \"CORP\\\\journal\"");
    assert_eq!(did(&agent.once(0)), [2, 0, 2]);
}

/// A connection that ends after any number of bytes costs nothing: the next run ends where an undisturbed one does.
#[test]
fn a_cut_wire_loses_nothing_and_doubles_nothing() {
    let all = mails(82, 6);
    let ews = Ews::plain();
    ews.deliver(&all);
    let proxy = Cut::before(ews.port);
    let url = format!("http://localhost:{}/EWS/Exchange.asmx", proxy.port);
    let undisturbed = agent_at(&url, "delete = true", "");
    undisturbed.once(0);
    let whole = proxy.passed();
    let want = filed(&undisturbed);
    let steps = 40;
    for step in 0..steps {
        ews.deliver(&all);
        let agent = agent_at(&url, "delete = true", "");
        let bytes = whole * step / steps + step % 7;
        proxy.after(bytes);
        let cut = agent.run(&["once"]);
        assert!(matches!(cut.code, Some(0 | 2 | 3)), "cut after {bytes}: {cut:#?}");
        assert!(!cut.err.contains("panicked"), "cut after {bytes}: {cut:#?}");
        proxy.after(u64::MAX);
        agent.run(&["once"]);
        assert_eq!(ews.left(), 0, "cut after {bytes}");
        assert_eq!(filed(&agent), want, "cut after {bytes}");
        assert_eq!(agent.differences(), 0, "cut after {bytes}");
    }
    ews.assert_strict();
}

/// Only what was listed and archived is ever asked to be deleted.
#[test]
fn nothing_is_deleted_that_was_not_downloaded() {
    let ews = Ews::plain();
    ews.deliver(mails(83, 20));
    ews.hook(|call, store| {
        if call.operation == "SyncFolderItems" && call.before == 1 {
            store.deliver("inbox-1", b"Subject: late\r\n\r\nlate".to_vec());
        }
        None
    });
    let agent = agent(&ews);
    agent.once(0);
    ews.with(|store| {
        let (downloaded, deleted) = (asked(store, "GetItem"), asked(store, "DeleteItem"));
        assert!(deleted.is_subset(&downloaded) && !deleted.is_empty());
    });
}
