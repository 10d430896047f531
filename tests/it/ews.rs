//! The EWS source through the program, against a server that refuses what the schema refuses.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gatepost::demo::corpus::Corpus;

use crate::support::agent::{Agent, Config, PASSWORD_VARIABLE, alarms, count};
use crate::support::dovecot::{Dovecot, Setup as Imap};
use crate::support::ews::{Closes, Ews, Reply, Setup, USER, asked};

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

/// A report whose regenerated mail shows nothing of what it is, and the header that it came in with, kept beside it.
#[test]
fn the_header_that_a_mail_came_in_with_is_read_and_kept_beside_it() {
    let marked = mails(93, 14);
    let lines = |mail: &[u8]| mail.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let bare = |mail: &[u8]| -> (Vec<u8>, String) {
        let lines = lines(mail);
        let end = lines.iter().position(|line| line.trim_ascii().is_empty()).unwrap();
        let header = String::from_utf8(lines[..end].concat()).unwrap();
        // What a server puts into a mail that it regenerates: nothing that only its way here has written.
        let kept = ["content-", "mime-version:", "subject:", "date:"];
        let mut field_is_kept = false;
        let kept = lines[..end].iter().filter(|line| {
            if !line.starts_with(b" ") && !line.starts_with(b"\t") {
                let name = String::from_utf8_lossy(line).to_ascii_lowercase();
                field_is_kept = kept.iter().any(|kept| name.starts_with(kept));
            }
            field_is_kept
        });
        let mail = kept.chain(&lines[end..]).flatten().copied().collect();
        (mail, header)
    };
    let with = Ews::plain();
    with.deliver(&marked);
    let with_marker = agent(&with);
    with_marker.run(&["once"]);
    let ews = Ews::plain();
    for mail in &marked {
        let (mail, header) = bare(mail);
        ews.deliver([mail]);
        ews.with(|store| store.items.last_mut().unwrap().transport_headers = Some(header));
    }
    let agent = agent(&ews);
    agent.run(&["once"]);
    assert_eq!(ews.left(), 0);
    let people = |agent: &Agent| {
        let mut filed: Vec<String> = agent
            .list()
            .iter()
            .map(|entry| format!("{} {} {}", entry["message_id"], entry["person"], entry["folder"]))
            .collect();
        filed.sort();
        filed
    };
    assert!(!people(&agent).is_empty());
    assert_eq!(people(&agent), people(&with_marker));
    // It is evidence: shown, proven, and there again when the catalogue was made anew.
    let id = agent.list()[0]["id"].to_string();
    let shown = agent.run(&["show", &id, "--headers", "--envelope"]);
    assert!(marked.iter().any(|mail| mail.starts_with(shown.out.trim_end().as_bytes())), "{shown:#?}");
    agent.run(&["show", &id, "--headers"]).is(1, &["--envelope"]);
    let hidden = agent.run(&["show", &id, "--json"]);
    assert!(hidden.out.contains("\"regenerated\"") && !hidden.out.contains("transport_headers"), "{hidden:#?}");
    agent.run(&["verify"]).is(0, &[]);
    let before = (people(&agent), agent.run(&["show", &id, "--json", "--envelope"]).out);
    std::fs::remove_file(agent.archive().join("catalogue.sqlite3")).unwrap();
    agent.run(&["rebuild"]).is(0, &[]);
    assert_eq!((people(&agent), agent.run(&["show", &id, "--json", "--envelope"]).out), before);
    // Decoded anew it is what it was.
    agent.run(&["refile", "--all"]).is(0, &[]);
    assert_eq!(people(&agent), before.0);
}

/// Nobody can say which fields of a regenerated mail a server wrote, when that is not told beside it.
#[test]
fn a_field_of_a_regenerated_mail_is_no_envelope_unless_the_header_on_arrival_has_it() {
    let mail =
        "From: a@corp.example\r\nTo: b@corp.example\r\nX-Envelope-To: chief@corp.example\r\nSubject: s\r\n\r\nt\r\n";
    let told =
        "Received: from x by y with LMTP; Mon, 2 Mar 2026 10:00:00 +0000\r\nX-Envelope-To: chief@corp.example\r\n";
    for (headers, owner) in [(None, "b@corp.example"), (Some(told.to_owned()), "chief@corp.example")] {
        let ews = Ews::plain();
        ews.deliver([mail]);
        ews.with(|store| store.items[0].transport_headers = headers);
        let agent = agent(&ews);
        agent.configure_text(&text(&ews.url, "delete = true", "").replace(
            "unknown_internal",
            "person = [{ id = \"b@corp.example\" }, { id = \"chief@corp.example\" }]\nunknown_internal",
        ));
        agent.run(&["once"]);
        let inboxes: Vec<String> = agent
            .list()
            .iter()
            .filter(|entry| entry["folder"] == "inbox")
            .map(|entry| entry["person"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(inboxes, [owner]);
    }
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

/// Some here and some there: what is left is asked for again at once, and in no smaller pieces.
#[test]
fn single_items_that_the_server_is_too_busy_for_are_asked_for_again() {
    let ews = Ews::plain();
    ews.deliver(mails(94, 120));
    let mut seen = HashMap::<String, u32>::new();
    ews.hook(move |call, _| {
        let busy = call.ids.iter().filter(|id| {
            let times = seen.entry(format!("{} {id}", call.operation)).or_default();
            *times += 1;
            // Every third item, the first two times.
            id.as_bytes().iter().map(|&byte| u32::from(byte)).sum::<u32>() % 3 == 0 && *times <= 2
        });
        Some(Reply::Codes(busy.map(|id| (id.clone(), "ErrorServerBusy".to_owned())).collect()))
    });
    let agent = agent(&ews);
    assert_eq!(did(&agent.once(0)), [120, 0, 120]);
    assert_eq!(ews.left(), 0);
    assert!(ews.calls("GetItem") < 60, "{}", ews.calls("GetItem"));
    assert_eq!(agent.differences(), 0);
    ews.assert_strict();
}

/// What proxies and servers do to connections, with each login.
#[test]
fn connections_that_end_after_each_answer_cost_nothing() {
    for (closes, continues) in [(Closes::Announced, false), (Closes::Silently, false), (Closes::Never, true)] {
        for ntlm in [false, true] {
            let ews = Ews::start(Setup { ntlm, closes, continues, ..Setup::default() });
            ews.deliver(mails(95, 25));
            let login = if ntlm { "auth = \"ntlm\"\nusername = \"CORP\\\\journal\"" } else { "" };
            let agent = agent_at(&ews.url, "delete = true", login);
            assert_eq!(did(&agent.once(0)), [25, 0, 25], "{closes:?} {ntlm}");
            assert_eq!(ews.left(), 0, "{closes:?} {ntlm}");
            assert_eq!(agent.differences(), 0, "{closes:?} {ntlm}");
        }
    }
}

/// Bytes that are other ones each time, items without a date, and mails that are still given after they were deleted.
#[test]
fn a_server_that_regenerates_mails_differently_each_time_gives_each_once() {
    let ews = Ews::plain();
    let mail = |n| {
        format!(
            "From: a@corp.example\r\nTo: b@corp.example\r\nMessage-ID: <{n}@corp.example>\r\nDate: Mon, 2 Mar 2026 10:00:00 +0000\r\nSubject: {n}\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed; boundary=\"----=_Part\"\r\n\r\n------=_Part\r\n\r\ntext {n}\r\n------=_Part--\r\n"
        )
    };
    ews.deliver((0..12).map(mail));
    ews.with(|store| {
        (store.varies, store.gives_deleted) = (Some("----=_Part"), true);
        store.items[3].date.clear();
        store.items[4].size = 0;
    });
    let agent = agent_at(&ews.url, "delete = false", "delete_type = \"soft\"");
    assert_eq!(did(&agent.once(0)), [12, 0, 0]);
    // It is another folder now, of which everything is fetched anew: other bytes, and the same mails.
    ews.with(|store| store.make_inbox_anew());
    let report = agent.once(2);
    assert_eq!(did(&report), [12, 0, 0], "{report}");
    assert_eq!(agent.list().iter().filter(|entry| entry["folder"] == "inbox").count(), 12);
    agent.configure_text(&text(&ews.url, "delete = true", "delete_type = \"soft\""));
    assert_eq!(did(&agent.once(0)), [0, 12, 12]);
    assert_eq!(ews.left(), 0);
    assert_eq!(count(&agent.once(0), "listed"), 0);
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
fn a_login_that_is_refused_is_tried_once() {
    let ews = Ews::plain();
    let mut agent = agent(&ews);
    agent
        .run(&["check"])
        .is(0, &["logged in as journal@corp.example (Basic)", "15.2.1544.9", "HardDelete", "regenerated"]);
    ews.with(|store| {
        store.may_not_delete = true;
        store.deliver("junk-1", mails(75, 1).remove(0));
    });
    let said = agent.run(&["check"]);
    said.is(0, &["may not delete in this folder", "folder junkemail: not polled, holds 1 items"]);
    ews.assert_strict();
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
