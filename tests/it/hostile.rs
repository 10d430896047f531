//! Mails made to do harm, through the whole program with little memory: `explain` must come back with an answer.
//!
//! No clock in here: whether work grows faster than the mail is counted in `src/journal/tests.rs`. Memory is limited
//! by the system (RLIMIT_DATA), so this runs on Linux.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::Command;

/// In KiB, as `ulimit -d` wants it.
const MEMORY_MAX: u64 = 128 * 1024;

fn report(envelope: &str, original: &str) -> String {
    format!(
        "X-MS-Journal-Report:\r\nContent-Type: multipart/mixed; boundary=\"r--\"\r\n\r\n--r--\r\n\r\nSender: a@corp.example\r\n\
         Subject: x\r\nMessage-Id: <1@x>\r\n{envelope}\r\n--r--\r\nContent-Type: message/rfc822\r\n\r\n\
         Message-ID: <1@x>\r\n{original}\r\n--r----\r\n"
    )
}

#[test]
fn hostile_mail_is_explained_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let nest = "Content-Type: message/rfc822\r\n\r\n".repeat(50_000);
    let recipients: String =
        (0..100_000).map(|n| format!("Bcc: user{n}@corp.example, Expanded: all@corp.example\r\n")).collect();
    let header = format!("X-Filler: {}\r\n", "x".repeat(80)).repeat(25_000);
    let plain = "To: b@corp.example\r\n";
    let list: String = (0..100_000).map(|n| format!("\t\"User {n}\" <smtp:user{n}@corp.example>,\r\n")).collect();
    let multiparts: String =
        (0..50_000).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n")).collect();
    let bounce = "multipart/report; report-type=delivery-status; boundary=";
    let bounces: String = (0..20_000)
        .map(|n| format!("Content-Type: {bounce}n{n}\r\nTo: b@x\r\n\r\n--n{n}\r\nContent-Type: message/rfc822\r\n\r\n"))
        .collect();
    let texts = "--r--\r\nContent-Type: text/plain\r\n\r\nTo: c@corp.example\r\n".repeat(100_000);
    let html = "--\r\nContent-Type: text/html\r\n\r\n<pre>";
    let to = (0..100_000).map(|n| format!("User {n} <user{n}@corp.example>")).collect::<Vec<_>>().join(",\r\n ");
    let hops = "Received: from localhost (localhost [127.0.0.1]) by x with LMTP; d\r\n".repeat(49_000);
    let cases = [
        ("recipients", report(&recipients, "\r\nText\r\n"), "exchange"),
        ("header", report(plain, &format!("{header}\r\nText\r\n")), "exchange"),
        ("nested", report(plain, &nest), "exchange"),
        ("unclosed", report(plain, &"x\r\n".repeat(2_000_000)).replace("--r----", ""), "exchange"),
        ("huge", report(plain, &format!("\r\n{}", "--r-\r\n".repeat(8_000_000))), "exchange"),
        (
            "list",
            report("", "\r\nText\r\n")
                .replace("X-MS-Journal-Report:", "Content-Identifer: ExJournalReport")
                .replace("Subject: x\r\nMessage-Id: <1@x>\r\n", &format!("Message-Id: <1@x>\r\nRecipients:\r\n{list}")),
            "exchange2003",
        ),
        ("outer header", format!("{header}{}", report(plain, "\r\nText\r\n")), "exchange"),
        (
            "one field",
            report(plain, &format!("Subject:{}\r\n\r\nText\r\n", "\r\n =?utf-8?q?x?=".repeat(140_000))),
            "exchange",
        ),
        ("multiparts", report(plain, &multiparts), "exchange"),
        ("bounces", bounces + &report(plain, "\r\nText\r\n"), "plain"),
        ("texts", report(plain, "\r\nText\r\n").replace("--r----", &texts), "exchange"),
        (
            "html",
            report(&format!("{}<br>{plain}", "<div>".repeat(1_000_000)), "\r\nText\r\n").replace("--\r\n\r\n", html),
            "exchange",
        ),
        ("to", format!("From: a@corp.example\r\nTo: {to}\r\n\r\nText\r\n"), "plain"),
        ("received", format!("{hops}From: a@corp.example\r\n{plain}\r\nText\r\n"), "plain"),
    ];
    for (name, mail, format) in cases {
        let file = folder.path().join(format!("{name}.eml"));
        fs::write(&file, &mail).unwrap();
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -d {MEMORY_MAX} && exec \"$0\" explain --json \"$1\""))
            .arg(env!("CARGO_BIN_EXE_gatepost"))
            .arg(&file)
            .current_dir(folder.path())
            .env_remove("GATEPOST_CONFIG")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {:?} {said}", output.status);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(&format!("\"format\": \"{format}\"")), "{name}: {}", &text[..text.len().min(300)]);
        let recipients = text.matches("\"address\":").count();
        assert_eq!(recipients, if matches!(name, "recipients" | "list" | "to") { 100_000 } else { 1 }, "{name}");
    }
}
