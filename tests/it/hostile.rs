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
        assert_eq!(recipients, if matches!(name, "recipients" | "list") { 100_000 } else { 1 }, "{name}");
    }
}
