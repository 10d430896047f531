//! `search` and `index` as a user meets them, on an archive that the program itself drained a gateway into.

use std::time::{Duration, Instant};

use gatepost::demo::samples::samples;
use gatepost::demo::server::{Gateway, GatewayOptions};
use serde_json::Value;

use crate::support::agent::{Agent, Config, count};

/// The embedded gateway with mails on it, and a configuration that indexes.
struct Bench {
    runtime: tokio::runtime::Runtime,
    gateway: Gateway,
    agent: Agent,
}

impl Bench {
    fn new(index: bool) -> Bench {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let gateway = runtime.block_on(Gateway::start(GatewayOptions::default())).unwrap();
        let config = Config { login: "username = \"journal@corp.example\"".into(), ..Config::at(gateway.port()) };
        let mut agent = Agent::new(&config);
        agent.configure_text(&config.text().replace("index = false", &format!("index = {index}")));
        agent.password = GatewayOptions::default().password.expose().to_owned();
        let bench = Bench { runtime, gateway, agent };
        for sample in samples() {
            bench.append(sample.item);
        }
        bench
    }

    fn append(&self, item: Vec<u8>) {
        self.gateway.append("INBOX", item, None);
    }

    fn once(&self) {
        let _entered = self.runtime.enter();
        // One sample cannot be decoded.
        let said = self.agent.run(&["once"]);
        assert!(matches!(said.code, Some(0 | 2)), "{said:?}");
    }

    fn behind(&self) -> u64 {
        count(&self.agent.json(&["status", "--json"], 0)["archive"]["index"], "behind")
    }

    fn index(&self) -> std::path::PathBuf {
        self.agent.archive().join("catalogue.index")
    }

    fn found(&self, query: &[&str]) -> Vec<Value> {
        let found = self.agent.json(&[&["search", "--json"], query].concat(), 0);
        assert_eq!((count(&found, "not_indexed"), &found["more"]), (0, &Value::Bool(false)), "{found}");
        found["messages"].as_array().unwrap().clone()
    }
}

/// A report of a mail that Anna sent to Bob, and secretly to Carol.
fn report(subject: &str, text: &str) -> Vec<u8> {
    format!(
        "From: journal@corp.example\r\nTo: journal@corp.example\r\nSubject: report\r\nX-MS-Journal-Report:\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=r\r\n\r\n--r\r\nContent-Type: text/plain\r\n\r\nSender: anna@corp.example\r\n\
         Message-Id: <{subject}@corp.example>\r\nTo: bob@corp.example\r\nBcc: carol@corp.example\r\n--r\r\nContent-Type: message/rfc822\r\n\r\n\
         From: Anna <anna@corp.example>\r\nTo: Bob <bob@corp.example>\r\nSubject: {subject}\r\nMessage-ID: <{subject}@corp.example>\r\n\
         Date: Mon, 2 Mar 2026 10:00:00 +0100\r\n\r\n{text}\r\n--r--\r\n"
    )
    .into_bytes()
}

#[test]
fn a_run_leaves_an_index_and_a_search_needs_no_more() {
    let bench = Bench::new(true);
    bench.append(report("quarterly", "the unmistakable zebra"));
    bench.once();
    assert_eq!(bench.behind(), 0);
    let found = bench.found(&["zebra"]);
    let places: Vec<_> =
        found.iter().map(|entry| (entry["person"].as_str().unwrap(), entry["folder"].as_str().unwrap())).collect();
    assert_eq!(places, [("anna@corp.example", "sent"), ("bob@corp.example", "inbox"), ("carol@corp.example", "inbox")]);
    let keys: Vec<&String> = found[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["date", "folder", "from", "id", "message_id", "person", "sha256", "size", "subject", "to"]);
    // The Bcc: for the sender, and for an operator.
    assert_eq!(bench.found(&["zebra to:carol"]).len(), 1);
    assert_eq!(bench.found(&["zebra to:carol", "--envelope"]).len(), 3);
    assert!(bench.found(&["zebra bcc:carol", "--person", "carol@corp.example"]).is_empty());
    assert_eq!(bench.found(&["zebra", "--person", "bob@corp.example", "--folder", "inbox"]).len(), 1);
    assert_eq!(bench.found(&["from:anna", "after:2026-03-02", "before:2026-03-03", "in:sent"]).len(), 1);
    // For people.
    let said = bench.agent.run(&["search", "from:anna", "zebra"]);
    said.is(0, &["bob@corp.example", "quarterly", "2026-03-02"]);
    bench.agent.run(&["search", "nowhere"]).is(0, &["no message fits"]);
    bench.agent.run(&["search", "corp", "--limit", "2"]).is(0, &["--page 2"]);
    bench.agent.run(&["search", "corp", "--limit", "2", "--page", "9999"]).is(0, &["no such page"]);
}

#[test]
fn what_is_not_understood_is_pointed_at() {
    let bench = Bench::new(false);
    bench.once();
    bench
        .agent
        .run(&["search", "grüße form:anna"])
        .is(1, &["no field `form:`", "\n          ^^^^^", "did you mean `from:`?"]);
    bench.agent.run(&["search", "(offer"]).is(1, &["not closed", "^"]);
    bench.agent.run(&["search", "in:sent OR offer"]).is(1, &["in:sent (invoice OR offer)"]);
    bench.agent.run(&["search", ""]).is(1, &["nothing to search for"]);
    bench.agent.run(&["search", "\u{1b}[2J\u{7}:x y:"]).is(1, &["\u{fffd}[2J"]);
    bench.agent.run(&["search", "offer person:nobody"]).is(1, &["nobody here is called so", "gatepost people"]);
    bench.agent.run(&["search", "offer", "--page", "0"]).is(1, &["--page"]);
    bench.agent.run(&["search"]).is(1, &["QUERY"]);
}

#[test]
fn a_search_catches_up_by_itself() {
    let bench = Bench::new(false);
    bench.once();
    assert!(!bench.index().exists());
    assert!(bench.behind() >= 30);
    bench.agent.run(&["status"]).is(0, &["not indexed yet"]);
    let before = bench.found(&["offer"]);
    assert!(!before.is_empty());
    assert_eq!(bench.behind(), 0);
    bench.append(report("later", "an offer that came later"));
    bench.once();
    assert_eq!(bench.behind(), 1);
    assert_eq!(bench.found(&["offer"]).len(), before.len() + 3);
    // Deleted, damaged, and asked for anew: the same is found.
    let expected = bench.found(&["offer"]);
    std::fs::remove_dir_all(bench.index()).unwrap();
    assert_eq!(bench.found(&["offer"]), expected);
    for entry in std::fs::read_dir(bench.index()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[bytes.len() / 3..]).unwrap();
    }
    let said = bench.agent.run(&["search", "offer"]);
    said.is(0, &["the index was built anew: it", "later"]);
    assert_eq!(bench.found(&["offer"]), expected);
    bench.agent.run(&["index"]).is(0, &["the index is up to date"]);
    bench.agent.run(&["index", "--rebuild"]).is(0, &["indexed in"]);
    assert_eq!(bench.found(&["offer"]), expected);
    bench.agent.run(&["verify"]).is(0, &[]);
}

/// Killed at any moment, the next one goes on; the archive is not concerned.
#[test]
fn killed_while_it_indexes() {
    let bench = Bench::new(false);
    for n in 0..300 {
        bench.append(report(&format!("mail-{n}"), &"some words that make it longer ".repeat(200)));
    }
    bench.once();
    let expected = bench.found(&["words"]).len();
    assert_eq!(expected, 900);
    for milliseconds in [0, 2, 5, 10, 20, 40, 80, 120, 160, 240] {
        let mut child = bench.agent.start(&["index", "--rebuild"]);
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        bench.agent.run(&["index", "--quiet"]).is(0, &[]);
        assert_eq!(bench.found(&["words"]).len(), expected, "killed after {milliseconds} ms");
    }
}

/// Whoever may only read the archive's folder searches with what is there.
#[cfg(unix)]
#[test]
fn an_index_that_cannot_be_written_does_not_stop_a_search() {
    let bench = Bench::new(true);
    bench.once();
    let expected = bench.found(&["offer"]).len();
    bench.append(report("later", "an offer that came later"));
    bench.agent.configure_text(
        &std::fs::read_to_string(bench.agent.path("gatepost.toml")).unwrap().replace("index = true", "index = false"),
    );
    bench.once();
    // A folder stands where the lock belongs: an obstacle for root too.
    let lock = bench.agent.archive().join("catalogue.index.lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let said = bench.agent.run(&["search", "offer"]);
    said.is(0, &["warning: the index is not up to date", "1 item is not searched yet"]);
    let found = bench.agent.json(&["search", "offer", "--json"], 0);
    assert_eq!((found["messages"].as_array().unwrap().len(), count(&found, "not_indexed")), (expected, 1));
}

/// The agent's index follows what it archives, and stops with it.
#[cfg(unix)]
#[test]
fn the_agent_indexes_beside_its_cycles() {
    let bench = Bench::new(true);
    let text = std::fs::read_to_string(bench.agent.path("gatepost.toml")).unwrap();
    bench.agent.configure_text(&text.replace("delete = true", "delete = true\nevery = \"1s\""));
    let child = bench.agent.start(&["run"]);
    let wait = |until: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !until() {
            assert!(began.elapsed() < Duration::from_secs(60), "nothing happens");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait(&|| bench.agent.archive().join("archive.json").exists() && bench.index().exists() && bench.behind() == 0);
    let before = bench.found(&["offer"]).len();
    bench.append(report("later", "an offer that came later"));
    wait(&|| bench.agent.run(&["list", "--subject", "later"]).out.contains("later") && bench.behind() == 0);
    assert_eq!(bench.found(&["offer"]).len(), before + 3);
    assert!(std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let said = crate::support::agent::Said::of(child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// A mail with one attachment, base64.
fn with_attachment(subject: &str, kind: &str, name: &str, bytes: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let encoded = base64::prelude::BASE64_STANDARD.encode(bytes);
    let lines: Vec<&str> = encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!(
        "From: Eve <eve@elsewhere.example>\r\nTo: bob@corp.example\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: text/plain\r\n\r\nsee there\r\n--m\r\nContent-Type: {kind}\r\n\
         Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\r\n{}\r\n--m--\r\n",
        lines.join("\r\n")
    )
    .into_bytes()
}

fn zipped(name: &str, content: &[u8], times: usize) -> Vec<u8> {
    use std::io::Write as _;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
    for _ in 0..times {
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A PDF of so many pages, each with a word; its table of pages is one flat list.
fn pdf(pages: usize) -> Vec<u8> {
    let mut out = b"%PDF-1.4\n".to_vec();
    let mut places = vec![0];
    let mut object = |out: &mut Vec<u8>, text: String| {
        places.push(out.len());
        out.extend_from_slice(format!("{} 0 obj\n{text}\nendobj\n", places.len() - 1).as_bytes());
    };
    let kids: String = (0..pages).map(|n| format!("{} 0 R ", 4 + 2 * n)).collect();
    object(&mut out, "<< /Type /Catalog /Pages 2 0 R >>".into());
    object(&mut out, format!("<< /Type /Pages /Count {pages} /Kids [{kids}] >>"));
    object(&mut out, "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".into());
    for n in 0..pages {
        let text = format!("BT /F1 12 Tf 72 720 Td (pageword {n}) Tj ET");
        let page = format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {} 0 R /Resources << /Font << /F1 3 0 R >> >> >>",
            5 + 2 * n
        );
        object(&mut out, page);
        object(&mut out, format!("<< /Length {} >>\nstream\n{text}\nendstream", text.len()));
    }
    let start = out.len();
    out.extend_from_slice(format!("xref\n0 {}\n0000000000 65535 f \n", places.len()).as_bytes());
    for place in &places[1..] {
        out.extend_from_slice(format!("{place:010} 00000 n \n").as_bytes());
    }
    let trailer = format!("trailer << /Size {} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n", places.len());
    out.extend_from_slice(trailer.as_bytes());
    out
}

/// Harms nothing, and is found by its subject.
#[test]
fn hostile_mails_are_found_by_their_subjects() {
    let bench = Bench::new(true);
    let docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    let bomb = zipped("word/document.xml", &[b'a'; 1 << 20], 300);
    let nested = zipped("bomb.docx", &bomb, 1);
    let mut rfc822 = b"Subject: innermost\r\n\r\nx\r\n".to_vec();
    for _ in 0..200 {
        rfc822 = [b"Content-Type: message/rfc822\r\n\r\n".as_slice(), &rfc822].concat();
    }
    let html = |body: String| {
        format!(
            "From: eve@elsewhere.example\r\nTo: bob@corp.example\r\nSubject: hostile-html\r\nContent-Type: text/html\r\n\r\n{body}\r\n"
        )
    };
    let mails: Vec<(&str, Vec<u8>)> = vec![
        ("hostile-bomb", with_attachment("hostile-bomb", docx, "bomb.docx", &bomb)),
        ("hostile-nested", with_attachment("hostile-nested", "application/zip", "nested.zip", &nested)),
        ("hostile-pages", with_attachment("hostile-pages", "application/pdf", "pages.pdf", &pdf(10_000))),
        ("hostile-nopdf", with_attachment("hostile-nopdf", "application/pdf", "no.pdf", &[b"%PDF-1.7\n".as_slice(), &[0xff; 5000]].concat())),
        ("hostile-tnef", with_attachment("hostile-tnef", "application/ms-tnef", "winmail.dat", &[&[0x78, 0x9f, 0x3e, 0x22, 1, 0][..], &[0xff; 999]].concat())),
        ("hostile-path", with_attachment("hostile-path", "text/plain", "../../../outside.txt", b"pathword")),
        ("hostile-name", with_attachment("hostile-name", "text/plain", "C:\\\\CON\u{202e}\u{7}.txt", b"nameword")),
        ("hostile-html", html("<div>".repeat(100_000) + "htmlword").into_bytes()),
        (
            "hostile-charset",
            b"From: eve@elsewhere.example\r\nTo: bob@corp.example\r\nSubject: hostile-charset\r\nContent-Type: text/plain; charset=\"x-\xff\"\r\n\r\n\x80\xff\xfe charsetword\r\n".to_vec(),
        ),
        (
            "hostile-escape",
            b"From: =?utf-8?q?=1B]0;owned=07?= <eve@elsewhere.example>\r\nTo: bob@corp.example\r\nSubject: hostile-escape =?utf-8?q?=1B[2J?=\r\n\r\n\x1b[2J\x9b31m escapeword\r\n".to_vec(),
        ),
        ("hostile-depth", [b"From: eve@elsewhere.example\r\nTo: bob@corp.example\r\nSubject: hostile-depth\r\n".as_slice(), &rfc822].concat()),
    ];
    for (_, mail) in &mails {
        bench.append(mail.clone());
    }
    bench.once();
    assert_eq!(bench.behind(), 0);
    for (subject, _) in &mails {
        let found = bench.found(&[&format!("subject:{subject}"), "--envelope"]);
        assert!(!found.is_empty(), "{subject}");
        let id = found[0]["id"].to_string();
        let said = bench.agent.run(&["show", &id]);
        said.is(0, &[subject]);
        let driven = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!said.out.contains(driven) && !said.err.contains(driven), "{subject}: {said:?}");
        let saved = bench.agent.path(subject);
        bench.agent.run(&["show", &id, "--save", saved.to_str().unwrap()]).is(0, &[]);
    }
    for word in ["pathword", "nameword", "htmlword", "charsetword", "escapeword", "\"pageword 7\"", "outside"] {
        assert!(!bench.found(&[word]).is_empty(), "{word}");
    }
    let outside = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().contains("outside");
    assert!(!std::fs::read_dir(bench.agent.path(".")).unwrap().flatten().any(outside), "saved beside its folder");
    bench.agent.run(&["verify"]).is(0, &[]);
}

/// A search chooses what is exported.
#[test]
fn what_is_found_can_be_exported() {
    let bench = Bench::new(false);
    bench.append(report("quarterly", "the unmistakable zebra"));
    bench.once();
    let out = bench.agent.path("out");
    let out = out.to_str().unwrap();
    let report = bench.agent.json(&["export", out, "--search", "zebra in:inbox", "--json"], 0);
    assert_eq!(count(&report, "exported"), 2, "{report}");
    bench.agent.run(&["verify-export", out]).is(0, &[]);
    bench.agent.run(&["export", out, "--search", "form:x"]).is(1, &["no field `form:`"]);
    bench.agent.run(&["export", out, "--search", "offer"]).is(1, &["hint"]);
}
