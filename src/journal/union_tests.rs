//! Which items of one message are shown as one: several reports, copies and bounces of it; and which are not.

use super::tests::{ORIGINAL, report};
use super::*;

fn of(item: String) -> Decoded {
    decode(&item.into_bytes(), &DecodeOptions::default()).unwrap()
}

const MESSAGE: &str = "From: a@corp.example\r\nTo: list@corp.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m1\r\n\r\n--m1\r\n\r\nText\r\n--m1\r\nContent-Type: application/pdf\r\n\r\nPDF\r\n--m1--\r\n";

fn message() -> String {
    ORIGINAL.replace("\r\n\r\nText\r\n", "\r\n") + MESSAGE
}

#[test]
fn five_reports_of_one_message_unite() {
    let message = message();
    // What the servers on two branches of a fork each add.
    let forked = format!(
        "Received: from hub.corp.example by edge.corp.example; x\r\nX-MS-Exchange-Organization-SCL: -1\r\nX-MS-Exchange-Transport-Forked: True\r\n{}",
        message.replace("m1", "m2")
    );
    let items = [
        report("To: b@corp.example\r\n", "", &message),
        report("To: x@partner.example\r\n", "", &forked),
        report("Bcc: c@corp.example\r\n", "", &message)
            .replace("X-MS-Journal-Report", "X-MS-Exchange-Organization-Journal-Report"),
        format!("X-Gm-Original-To: d@corp.example\r\n{message}"),
        format!(
            "Content-Type: multipart/report; report-type=delivery-status; boundary=n\r\n\r\n--n\r\nContent-Type: message/rfc822\r\n\r\n{}\r\n--n--\r\n",
            report("To: e@corp.example\r\n", "", &message)
        ),
    ];
    let decoded: Vec<Decoded> = items.into_iter().map(of).collect();
    let wanted = ["b@corp.example", "x@partner.example", "c@corp.example", "d@corp.example", "e@corp.example"];
    for (item, wanted) in decoded.iter().zip(wanted) {
        assert_eq!(item.canonical, decoded[0].canonical, "{wanted}");
        assert_eq!(item.envelope.recipients[0].address, wanted);
        assert!(!item.degraded);
    }
    assert_eq!(decoded[4].wrapped_in.as_deref(), Some("ndr"));
    assert_ne!(decoded[0].original.sha256, decoded[1].original.sha256, "each keeps its own variant");
}

#[test]
fn a_copy_with_the_same_headers_and_another_content_stays_apart() {
    let message = message();
    let honest = of(report("To: b@corp.example\r\n", "", &message));
    for (from, to) in [
        ("Text", "Test"),
        ("PDF", "EXE"),
        ("application/pdf", "application/zip"),
        ("Content-Type: application/pdf", "Content-Type: text/plain; charset=utf-7"),
        ("--m1--", "--m1\r\n\r\nmore\r\n--m1--"),
        ("boundary=m1", "boundary=none"),
    ] {
        let hostile = of(report("To: b@corp.example\r\n", "", &message.replace(from, to)));
        assert_eq!(hostile.format, Format::Exchange);
        assert_eq!(hostile.summary.message_id, honest.summary.message_id);
        assert_ne!(hostile.canonical, honest.canonical, "{from}");
    }
}

#[test]
fn without_message_id_only_equal_bytes_unite() {
    let message = message().replace("Message-ID: <1@x>\r\n", "");
    let one = of(report("To: b@corp.example\r\n", "", &message));
    let same = of(report("To: c@corp.example\r\n", "", &message));
    let trace = of(report("To: c@corp.example\r\n", "", &format!("Received: x\r\n{message}")));
    assert_eq!(one.canonical, same.canonical);
    assert_ne!(one.canonical, trace.canonical);
}
