//! Reads `src/**` and keeps the rules that a reader of the source may rely on: which room may import
//! which, and what happens in one place only. A finding names file and line, the rule, and why it is one.
//!
//! It reads text, not types. Comments, string literals and `#[cfg(test)]` items are blanked first, so
//! that what is left is code that ships.

use std::fmt;
use std::path::{Path, PathBuf};

/// A room may import the rooms of lower rank; rooms of equal rank are siblings and never meet.
/// `ops` stands above `demo` because the command line starts the demo.
const RANKS: &[&[&str]] = &[
    &["base"],
    &["mail", "net"],
    &["text"],
    &["sources", "journal", "people", "archive"],
    &["agent"],
    &["config"],
    &["demo"],
    &["ops"],
    &["main"],
];

/// Words that may stand only in some places.
struct Fence {
    rule: &'static str,
    /// A word that begins with `.` is a call on a value; other words are never matched after a dot.
    words: &'static [&'static str],
    /// Beginnings of paths below `src/`.
    inside: &'static [&'static str],
    why: &'static str,
}

const FENCES: &[Fence] = &[
    Fence {
        rule: "SQL stays in archive/",
        words: &["rusqlite"],
        inside: &["archive/"],
        why: "the catalogue is derived from the packs by one room; whoever else wrote to it would be lost by `rebuild`",
    },
    Fence {
        rule: "zstd stays in archive/",
        words: &["zstd"],
        inside: &["archive/"],
        why: "what a pack holds is defined by FORMAT.md and written by one room",
    },
    Fence {
        rule: "printing stays in ops/",
        words: &["print!", "println!", "eprint!", "eprintln!", "dbg!", "stdout(", "stderr("],
        inside: &["ops/", "main.rs"],
        why: "`--json` is one document, and logs carry no subjects; other rooms return values or use `tracing`",
    },
    Fence {
        rule: "the process is ended by ops/",
        words: &["process::exit"],
        inside: &["ops/", "main.rs", "base/fsio"],
        why: "elsewhere it would skip the hand-over of what is in flight, and exit codes have one home \
              (base/fsio ends it as the injected crash)",
    },
    Fence {
        rule: "aborting is for crash tests",
        words: &["process::abort"],
        inside: &["base/fsio", "agent/decoders.rs"],
        why: "no state of the program justifies it (agent/decoders.rs plays the mail that aborts its parser)",
    },
    Fence {
        rule: "fsync and rename go through base/fsio",
        words: &[".sync_all(", ".sync_data(", "fs::rename"],
        inside: &["base/fsio", "archive/export/"],
        why: "what the file-I/O layer does not see, the crash tests can neither fail nor drop (an export is no part \
              of the archive: it can be made again)",
    },
    Fence {
        rule: "deletion on a gateway is called in agent/delete.rs",
        words: &[".delete(", "Source::delete("],
        inside: &["agent/delete.rs"],
        why: "one place checks the receipt before a mail leaves the gateway (a wrapper of a source, in sources/, \
              may pass the call on as `inner.delete(`)",
    },
    Fence {
        rule: "anyhow stays in ops/",
        words: &["anyhow"],
        inside: &["ops/", "main.rs"],
        why: "below, callers branch on errors, so errors have types",
    },
];

const UNWRAP_WORDS: &[&str] = &[".unwrap()", ".expect(", ".unwrap_err()", ".expect_err("];
const UNWRAP_EXCUSES: &[&str] = &["cannot fail", "reason:"];

#[derive(PartialEq)]
struct Finding {
    path: String,
    line: usize,
    said: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {}", self.path, self.line, self.said)
    }
}

/// A source file as two texts of the same length and lines: what is compiled, and what is said about it.
struct Code {
    path: String,
    code: String,
    comments: String,
}

impl Code {
    fn new(path: &str, text: &str) -> Code {
        let (code, comments) = split_comments(text);
        Code { path: path.to_owned(), code, comments }
    }

    fn finding(&self, offset: usize, said: String) -> Finding {
        Finding { path: self.path.clone(), line: 1 + self.code[..offset].matches('\n').count(), said }
    }

    /// `mail` of `mail/mime.rs`, `main` of `main.rs`; `None` of `lib.rs`, which only lists the rooms.
    fn room(&self) -> Option<&str> {
        match self.path.split_once('/') {
            Some((room, _)) => Some(room),
            None => self.path.strip_suffix(".rs").filter(|&room| room != "lib"),
        }
    }

    /// The folder in which the files of this file's child modules lie.
    fn children(&self) -> String {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        match stem.rsplit_once('/') {
            Some((folder, "mod")) => format!("{folder}/"),
            None if matches!(stem, "lib" | "main") => String::new(),
            _ => format!("{stem}/"),
        }
    }
}

/// All findings in `files` (path below `src/`, text).
fn check(files: &[(String, String)]) -> Vec<Finding> {
    let mut sources: Vec<Code> = files.iter().map(|(path, text)| Code::new(path, text)).collect();
    let mut test_files = Vec::new();
    for (source, (_, text)) in sources.iter_mut().zip(files) {
        let (children, own) = (source.children(), source.path.rsplit_once('/').map_or("", |(folder, _)| folder));
        test_files.extend(blank_tests(&mut source.code, text).into_iter().map(|file| match file {
            TestFile::Module(name) => format!("{children}{name}"),
            TestFile::Path(path) => {
                format!("{own}/{}", path.trim_end_matches(".rs")).trim_start_matches('/').to_owned()
            }
        }));
    }
    let is_test = |path: &str| {
        test_files
            .iter()
            .any(|module| path.strip_prefix(module.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/')))
    };

    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !is_test(&source.path)) {
        imports(source, &mut findings);
        fences(source, &mut findings);
        unwraps(source, &mut findings);
    }
    findings
}

fn rank(room: &str) -> Option<usize> {
    RANKS.iter().position(|rooms| rooms.contains(&room))
}

fn imports(source: &Code, findings: &mut Vec<Finding>) {
    let Some(room) = source.room() else { return };
    let Some(own_rank) = rank(room) else {
        findings.push(source.finding(0, format!("the room `{room}` has no place in the order of rooms: give it one in tests/it/rooms.rs and in the crate's page")));
        return;
    };
    for (offset, target) in rooms_named(source) {
        if target == room {
            continue;
        }
        let said = match rank(&target) {
            Some(rank) if rank < own_rank => continue,
            Some(rank) if rank == own_rank => format!(
                "`{room}` imports `{target}`: siblings never import each other, so that each can be read alone; \
                 what both need belongs into a lower room"
            ),
            Some(_) => format!(
                "`{room}` imports `{target}`, which stands above it: dependencies point one way, \
                 {}; pass a value or a trait down instead",
                RANKS.iter().map(|rooms| rooms.join(", ")).collect::<Vec<_>>().join(" → ")
            ),
            None => format!("`{room}` imports `{target}`, which is no room: everything lives in a room"),
        };
        findings.push(source.finding(offset, said));
    }
}

/// Each room named by a path from the crate's root (`crate::room`, `crate::{a, b::c}`, or enough `super::`).
fn rooms_named(source: &Code) -> Vec<(usize, String)> {
    let code = &source.code;
    let depth = source.children().matches('/').count();
    let mut to_root: Vec<String> = vec!["crate::".into()];
    if depth > 0 {
        to_root.push("super::".repeat(depth));
    }
    let mut named = Vec::new();
    for path in &to_root {
        for (offset, _) in code.match_indices(path.as_str()) {
            // `super::` in the middle of a longer chain, `$crate::` and the like.
            if code[..offset].ends_with(|c: char| is_ident(c) || c == ':') {
                continue;
            }
            let rest = &code[offset + path.len()..];
            let start = offset + path.len();
            match rest.strip_prefix('{') {
                Some(group) => named.extend(group_heads(group).into_iter().map(|(at, name)| (start + 1 + at, name))),
                None => named.extend(head(rest).map(|name| (start, name))),
            }
        }
    }
    named
}

/// The first segments of the members of a `use` group whose opening brace was just read.
fn group_heads(group: &str) -> Vec<(usize, String)> {
    let mut heads = Vec::new();
    let (mut depth, mut at_start) = (0, true);
    for (offset, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if c.is_whitespace() => {}
            _ if at_start && depth == 0 => {
                at_start = false;
                heads.extend(head(&group[offset..]).map(|name| (offset, name)));
            }
            _ => {}
        }
    }
    heads
}

/// The identifier that `text` begins with; `None` for a macro of the crate.
fn head(text: &str) -> Option<String> {
    let end = text.find(|c| !is_ident(c)).unwrap_or(text.len());
    (end > 0 && !text[end..].starts_with('!')).then(|| text[..end].to_owned())
}

fn fences(source: &Code, findings: &mut Vec<Finding>) {
    for fence in FENCES.iter().filter(|fence| !fence.inside.iter().any(|place| source.path.starts_with(place))) {
        for (offset, word) in fence.words.iter().flat_map(|word| words(&source.code, word)) {
            let passed_on =
                word == ".delete(" && source.path.starts_with("sources/") && source.code[..offset].ends_with("inner");
            if !passed_on {
                findings.push(source.finding(offset, format!("`{word}`: {}, because {}", fence.rule, fence.why)));
            }
        }
    }
    if source.path == "agent/delete.rs" {
        for (offset, word) in words(&source.code, ".delete(").into_iter().skip(1) {
            findings.push(source.finding(
                offset,
                format!("`{word}` a second time: deletion on a gateway is called in one place, so that one look shows what guards it"),
            ));
        }
    }
}

fn unwraps(source: &Code, findings: &mut Vec<Finding>) {
    let code: Vec<&str> = source.code.lines().collect();
    let comments: Vec<&str> = source.comments.lines().collect();
    let excused = |line: usize| {
        let above = (0..line).rev().take_while(|&n| code[n].trim().is_empty() && !comments[n].trim().is_empty());
        std::iter::once(line)
            .chain(above)
            .any(|n| UNWRAP_EXCUSES.iter().any(|excuse| comments[n].to_lowercase().contains(excuse)))
    };
    for (offset, word) in UNWRAP_WORDS.iter().flat_map(|word| words(&source.code, word)) {
        let mut finding = source.finding(
            offset,
            format!(
                "`{word}` can end the agent in the middle of a run: return the error, or say in a comment on this line \
                 or just above why it \"cannot fail\" (or \"reason: …\")"
            ),
        );
        // The comment may stand at the call or at the start of the chain that it ends.
        let call = finding.line - 1;
        let mut first = call;
        while first > 0 && code[first].trim_start().starts_with('.') {
            first -= 1;
        }
        if !excused(call) && !excused(first) {
            finding.line = call + 1;
            findings.push(finding);
        }
    }
}

/// Where `word` stands in `code` as a word of its own.
fn words<'w>(code: &str, word: &'w str) -> Vec<(usize, &'w str)> {
    code.match_indices(word)
        .filter(|(offset, _)| {
            let before = code[..*offset].chars().next_back();
            let after = code[offset + word.len()..].chars().next();
            let starts = word.starts_with('.') || !before.is_some_and(|c| is_ident(c) || c == '.');
            let ends = !word.ends_with(is_ident) || !after.is_some_and(is_ident);
            starts && ends
        })
        .map(|(offset, _)| (offset, word))
        .collect()
}

fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The code with comments and the insides of literals blanked, and the comments with all else blanked.
/// Blanks are one byte for one byte, so that offsets and lines agree.
fn split_comments(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let blank = |from: usize, to: usize| -> String {
        bytes[from..to].iter().map(|&b| if b == b'\n' { '\n' } else { ' ' }).collect()
    };
    let (mut code, mut comments) = (String::new(), String::new());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let (len, comment) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), true)
        } else if rest.starts_with("/*") {
            (block_comment(rest), true)
        } else {
            (literal(rest, text[..at].chars().next_back()), false)
        };
        if len == 0 {
            let c = rest.chars().next().map_or(1, char::len_utf8);
            code.push_str(&rest[..c]);
            comments.push_str(&blank(at, at + c));
            at += c;
            continue;
        }
        code.push_str(&blank(at, at + len));
        comments.push_str(&if comment { rest[..len].to_owned() } else { blank(at, at + len) });
        at += len;
    }
    (code, comments)
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    loop {
        let rest = &text.as_bytes()[at..];
        match rest {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            [_, ..] => at += 1,
            [] => return at,
        }
        if depth == 0 {
            return at;
        }
    }
}

/// The length of the string or character literal that `text` begins with; 0: none.
fn literal(text: &str, before: Option<char>) -> usize {
    let bytes = text.as_bytes();
    match bytes[0] {
        b'"' => 1 + quoted(&bytes[1..], b'"'),
        b'\'' if bytes.get(1) == Some(&b'\\') => 1 + quoted(&bytes[1..], b'\''),
        // A lifetime has no closing quote after one character.
        b'\'' => text[1..].chars().next().map_or(0, |c| {
            let end = 1 + c.len_utf8();
            if text[end..].starts_with('\'') { end + 1 } else { 0 }
        }),
        b'r' | b'b' | b'c' if !before.is_some_and(is_ident) => {
            let prefix = text.find(|c| !matches!(c, 'r' | 'b' | 'c')).unwrap_or(0);
            let hashes = text[prefix..].bytes().take_while(|&b| b == b'#').count();
            let open = prefix + hashes;
            if prefix > 2 || bytes.get(open) != Some(&b'"') || !text[..prefix].contains('r') {
                return 0;
            }
            let close = format!("\"{}", "#".repeat(hashes));
            text[open + 1..].find(&close).map_or(text.len(), |end| open + 1 + end + close.len())
        }
        _ => 0,
    }
}

/// The length up to and with the closing quote.
fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b if b == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// A test module in a file of its own: by its name, or where `#[path = …]` says.
enum TestFile {
    Module(String),
    Path(String),
}

/// Blanks the items under `#[cfg(test)]`; returns the test modules in files of their own. `text` is the
/// file before anything was blanked.
fn blank_tests(code: &mut String, text: &str) -> Vec<TestFile> {
    let mut files = Vec::new();
    while let Some(start) = ["#[cfg(test)]", "#[cfg(all(test,"].iter().filter_map(|mark| code.find(mark)).min() {
        let rest = &code[start..];
        let end = match rest.find(['{', ';']) {
            Some(at) if rest.as_bytes()[at] == b';' => {
                let path = text[start..start + at].split_once("#[path = \"").and_then(|(_, path)| path.split_once('"'));
                let name = rest[..at].rsplit_once("mod ").map(|(_, name)| TestFile::Module(name.trim().to_owned()));
                files.extend(path.map(|(path, _)| TestFile::Path(path.to_owned())).or(name));
                at + 1
            }
            Some(open) => {
                let mut depth = 0;
                let close = rest[open..].char_indices().find_map(|(at, c)| {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => {}
                    }
                    (depth == 0).then_some(open + at + 1)
                });
                close.unwrap_or(rest.len())
            }
            None => rest.len(),
        };
        let blanked: String = rest[..end].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..start + end, &blanked);
    }
    files
}

fn read_sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn the_source_keeps_its_rules() {
    let files = read_sources();
    assert!(files.iter().any(|(path, _)| path == "lib.rs"), "src/ was not found");
    let findings: Vec<String> = check(&files).iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{} broken rules:\n\n{}\n", findings.len(), findings.join("\n\n"));
}

/// The findings in one file, as `line: beginning of what was said`.
fn found(path: &str, text: &str) -> Vec<(usize, String)> {
    check(&[(path.into(), text.into())]).into_iter().map(|finding| (finding.line, finding.said)).collect()
}

fn assert_found(path: &str, text: &str, line: usize, said: &str) {
    let findings = found(path, text);
    assert!(
        findings.len() == 1 && findings[0].0 == line && findings[0].1.contains(said),
        "{path}: {text:?}: expected {said:?} in line {line}, found {findings:?}"
    );
}

fn assert_clean(path: &str, text: &str) {
    assert_eq!(found(path, text), [], "{path}: {text:?}");
}

#[test]
fn a_break_of_the_import_order_is_found() {
    let above = "stands above it";
    assert_found("mail/mime.rs", "\nuse crate::agent::cycle;", 2, above);
    assert_found("base/fsio.rs", "fn f() { crate::mail::f() }", 1, above);
    assert_found("agent/mod.rs", "use crate::{base::clock, sources::{Source, imap},\n config::Settings};", 2, above);
    assert_found("journal/exchange.rs", "use crate::people::PersonId;", 1, "siblings never");
    assert_found("demo/mod.rs", "use crate::ops::cli;", 1, above);
    assert_found("archive/pack.rs", "use super::super::sources::Listed;", 1, "siblings never");
    assert_found("archive/mod.rs", "use super::{base, net, journal};", 1, "siblings never");
    assert_found("mail/mod.rs", "use crate::nowhere::X;", 1, "is no room");
    assert_found("attic/mod.rs", "", 1, "no place in the order");

    assert_clean("lib.rs", "pub mod ops;");
    assert_clean("main.rs", "fn main() { gatepost::ops::cli::main() }");
    assert_clean("ops/cli.rs", "use crate::{config, demo, archive::Archive};");
    assert_clean("archive/pack.rs", "use super::frame::Frame; use crate::archive::head; use crate::net;");
    assert_clean(
        "mail/mod.rs",
        "//! [`crate::agent`]\n/* use crate::ops; /* nested */ crate::ops */\nconst A: &str = \"crate::ops\";",
    );
    assert_clean(
        "mail/mod.rs",
        "const A: &str = r#\"\"crate::ops\"#; fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' }",
    );
}

#[test]
fn what_has_one_place_is_found_elsewhere() {
    for (path, text, rule) in [
        ("agent/cycle.rs", "use rusqlite::Connection;", "SQL"),
        ("sources/imap/mod.rs", "let x = zstd::encode_all(b, 3);", "zstd"),
        ("agent/mod.rs", "println!(\"{}\", 1);", "printing"),
        ("base/clock.rs", "let out = std::io::stdout();", "printing"),
        ("agent/mod.rs", "std::process::exit(1)", "process"),
        ("archive/pack.rs", "file.sync_data()?;", "fsync"),
        ("agent/cycle.rs", "source.delete(&items).await?;", "deletion"),
        ("sources/imap/mod.rs", "self.session.delete(&items).await?;", "deletion"),
        ("agent/mod.rs", "use anyhow::Context;", "anyhow"),
    ] {
        assert_found(path, text, 1, rule);
    }
    assert_found("agent/delete.rs", "a.delete(x);\nb.delete(y);", 2, "second time");

    assert_clean("archive/catalogue.rs", "use rusqlite::Connection; let x = zstd::encode_all(b, 3);");
    assert_clean("ops/cli.rs", "println!(); std::process::exit(1); use anyhow::Result;");
    assert_clean("base/fsio.rs", "std::process::exit(70); file.sync_all()?; fs::rename(a, b)?;");
    assert_clean("agent/delete.rs", "source.delete(&items).await?;");
    assert_clean("sources/mod.rs", "fn delete(&mut self) {} self.inner.delete(items)");
    assert_clean("agent/mod.rs", "fn my_println() {} command.stdout(pipe); // println! is for ops");
}

#[test]
fn an_unwrap_needs_its_reason() {
    assert_found("mail/mod.rs", "let a = b\n    .c()\n    .unwrap();", 3, "`.unwrap()` can end the agent");
    assert_found("mail/mod.rs", "a.expect(\"cannot fail\");", 1, "`.expect(`");
    assert_found("mail/mod.rs", "// cannot fail\n\na.unwrap();", 3, "`.unwrap()`");

    assert_clean("mail/mod.rs", "a.unwrap_or_default(); b.unwrap_or_else(|| 1);");
    assert_clean("mail/mod.rs", "a.unwrap(); // cannot fail: four bytes");
    assert_clean("mail/mod.rs", "// Reason: the length was\n// checked above.\na.unwrap();");
    assert_clean("mail/mod.rs", "// This cannot fail.\nlet a = b\n    .c()\n    .unwrap();");
}

#[test]
fn tests_may_do_what_they_like() {
    let tests = "fn f() {}\n#[cfg(test)]\nmod tests {\n  use crate::ops; fn g() { a.unwrap(); println!(\"}\"); }\n}\n";
    assert_clean("mail/mod.rs", tests);
    assert_found("mail/mod.rs", &format!("{tests}\nfn h() {{ a.unwrap() }}"), 7, "`.unwrap()`");

    let in_file = |declared: &str, path: &str| {
        check(&[("mail/mime.rs".into(), declared.into()), (path.into(), "a.unwrap()".into())]).len()
    };
    assert_eq!(in_file("#[cfg(test)]\nmod tests;", "mail/mime/tests.rs"), 0);
    assert_eq!(in_file("mod tests;", "mail/mime/tests.rs"), 1);
    let by_path = "const A: &str = \"ü\";\n#[cfg(test)]\n#[path = \"mime_tests.rs\"]\nmod tests;";
    assert_eq!(in_file(by_path, "mail/mime_tests.rs"), 0);
    assert_eq!(in_file(by_path, "mail/mime_test.rs"), 1);
}
