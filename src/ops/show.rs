//! `gatepost show`: one message as a person reads it, its attachments, its bytes, and what happened to it.
//!
//! Must never: let a mail drive the terminal, write outside of the folder that was named, or tell of `Bcc` recipients
//! to anybody but the sender and an operator who asks for the envelope.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;

use super::exit::{Exit, Failure};
use super::output;
use super::read::person_of;
use super::wiring::{self, Global};
use crate::archive::{ArchiveError, AtGateway, DeletedHow, Happened, Happening, History, Reader, Shown};
use crate::base::bytes::ByteSource;
use crate::mail::envelope::Via;
use crate::text::{self, Attachment, Content, Reading};

#[derive(clap::Args)]
pub struct Args {
    /// The number that `list` shows
    id: u64,
    /// In whose archive; decides whether Bcc is shown
    #[arg(long, value_name = "ID")]
    person: Option<String>,
    /// Save the attachments into this folder, which is made if it is not there; no file in it is overwritten
    #[arg(long, value_name = "DIR", conflicts_with_all = ["raw", "protected", "item", "headers", "history"])]
    save: Option<PathBuf>,
    /// Only this attachment: its words, or with --save its file, or with --raw its bytes
    #[arg(long, value_name = "N", conflicts_with_all = ["protected", "item", "headers", "history"])]
    attachment: Option<u32>,
    /// The message's bytes as they were sent
    #[arg(long)]
    raw: bool,
    /// The rights-protected message beside its clear copy, as it was sent
    #[arg(long, conflicts_with = "item")]
    protected: bool,
    /// The item as the gateway held it: the journal report
    #[arg(long, conflicts_with = "raw")]
    item: bool,
    /// The header that the item came in with, where the gateway keeps it beside a mail that it regenerates (EWS)
    #[arg(long, conflicts_with_all = ["raw", "item", "protected"])]
    headers: bool,
    /// Who really sent and received it, Bcc included
    #[arg(long)]
    envelope: bool,
    /// When it came and from which gateway, why it was filed where, and when it was deleted there
    #[arg(long, conflicts_with_all = ["raw", "item", "protected", "headers"])]
    history: bool,
    #[arg(long)]
    json: bool,
}

/// Of addresses in one line; the rest is counted.
const NAMES_SHOWN: usize = 50;

pub fn show(global: &Global, args: &Args) -> Result<Exit, Failure> {
    let reader = Reader::open(&wiring::layout(global)?)?;
    let person = args.person.as_deref().map(|person| person_of(&reader, person)).transpose()?;
    let Some(shown) = reader.message(args.id, person.as_deref())? else {
        let failure = match &person {
            Some(person) => Failure::usage(format!("there is no message {} in the archive of {person}", args.id)),
            None => Failure::usage(format!("there is no message {}", args.id)),
        };
        return Err(failure.hint("`gatepost list` shows the numbers"));
    };
    // Bcc is for the sender, and for an operator who asks for the envelope.
    let may_see_bcc = args.envelope
        || match &person {
            Some(person) => reader.is_sender(shown.id, person)?,
            None => false,
        };
    if args.item {
        if !may_see_bcc {
            return Err(Failure::usage(
                "the report names Bcc recipients; it is shown to the sender, or with --envelope",
            )
            .hint("add --envelope, or name the sender with --person"));
        }
        return bytes(|out| reader.item_bytes(shown.item, out));
    }
    if args.headers {
        return headers(&shown, may_see_bcc);
    }
    if args.protected {
        return protected(&reader, &shown, may_see_bcc);
    }
    if args.save.is_some() || args.attachment.is_some() {
        let mail = reader.original(shown.item)?;
        return match (&args.save, args.attachment) {
            (Some(folder), wanted) => save(&*mail, folder, wanted, shown.id, args.json),
            (None, Some(number)) if args.raw => raw_attachment(&*mail, number, shown.id),
            (None, number) => words_of(&*mail, number.unwrap_or_default(), shown.id, args.json),
        };
    }
    if args.raw {
        if may_see_bcc {
            return bytes(|out| reader.original_bytes(shown.item, out));
        }
        return bytes(|out| crate::archive::write_without_bcc(&reader, shown.item, out).map(|_| ()));
    }
    let history = if args.history { Some(history_of(&reader, shown.id, may_see_bcc)?) } else { None };
    let mail = reader.original(shown.item)?;
    let content = read(&*mail, false)?;
    if args.json {
        return as_json(&shown, content, history, may_see_bcc);
    }
    header(&shown, &content, may_see_bcc);
    match history {
        Some(history) => print_history(&history),
        None => {
            body(&content);
            attachments(&content, shown.id);
            facts(&shown, may_see_bcc);
        }
    }
    Ok(Exit::Ok)
}

fn protected(reader: &Reader, shown: &Shown, may_see_bcc: bool) -> Result<Exit, Failure> {
    if shown.message.twin.is_none() {
        let what = format!("message {} has no protected copy beside the one that is shown", shown.id);
        return Err(Failure::usage(what));
    }
    // Its content is encrypted, but not its header.
    if may_see_bcc {
        return bytes(|out| reader.twin_bytes(shown.item, out));
    }
    bytes(|out| crate::archive::write_twin_without_bcc(reader, shown.item, out).map(|_| ()))
}

/// The header beside a mail that the gateway regenerated, as it told it.
fn headers(shown: &Shown, may_see_bcc: bool) -> Result<Exit, Failure> {
    if !may_see_bcc {
        return Err(Failure::usage(
            "the header of the item may name Bcc recipients; it is shown to the sender, or with --envelope",
        )
        .hint("add --envelope, or name the sender with --person"));
    }
    let Some(beside) = &shown.regenerated else {
        let what = format!("message {} was not regenerated by its gateway", shown.id);
        return Err(Failure::usage(what).hint("--item prints it with its header, as it came in"));
    };
    let Some(text) = &beside.transport_headers else {
        return Err(Failure::usage(format!("the gateway keeps no header beside message {}", shown.id)));
    };
    if beside.left_out > 0 {
        output::note(&format!("{} more of it were not kept", output::bytes(beside.left_out)));
    }
    bytes(|out| {
        let failed = |error| ArchiveError::io("write", Path::new("the output"), &error);
        out.write_all(text.as_bytes()).map_err(failed)
    })
}

/// Bytes of mail to standard output, as they are.
fn bytes(write: impl FnOnce(&mut dyn io::Write) -> crate::archive::Result<()>) -> Result<Exit, Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    write(&mut out)?;
    out.flush()?;
    Ok(Exit::Ok)
}

fn read(mail: &dyn ByteSource, words: bool) -> Result<Content, Failure> {
    let pdf = if words { std::env::current_exe().ok() } else { None };
    let options = text::Options { attachments: words, pdf, ..text::Options::default() };
    text::content(mail, &options).map_err(|error| Failure::usage(format!("cannot read the message: {error}")))
}

// --- what is printed ------------------------------------------------------------------------------

fn say(label: &str, text: &str) {
    for (at, line) in wrapped(&output::safe(text), width().saturating_sub(12)).iter().enumerate() {
        output::line(format!("{:<12}{line}", if at == 0 { label } else { "" }).trim_end());
    }
}

fn header(shown: &Shown, content: &Content, may_see_bcc: bool) {
    let summary = &shown.message.summary;
    let names = |label: &str, names: &[String]| {
        if names.len() > NAMES_SHOWN {
            let more = names.len() - NAMES_SHOWN;
            say(label, &format!("{} and {more} more", names[..NAMES_SHOWN].join(", ")));
        } else if !names.is_empty() {
            say(label, &names.join(", "));
        }
    };
    match content.from.is_empty() {
        true => say("From", &summary.from),
        false => names("From", &content.from),
    }
    names("To", &content.to);
    names("Cc", &content.cc);
    if may_see_bcc {
        names("Bcc", &content.bcc);
    }
    say("Date", &date(summary.date));
    say("Subject", &content.subject);
    say("Message-ID", summary.message_id.as_deref().unwrap_or("(none)"));
}

fn date(date: Option<Timestamp>) -> String {
    date.map_or_else(|| "(none)".to_owned(), output::time)
}

fn body(content: &Content) {
    output::line("");
    let width = width();
    for line in content.body.trim_end().lines() {
        for piece in wrapped(&output::safe(line), width) {
            output::line(&piece);
        }
    }
    if content.body.trim().is_empty() {
        output::line("(no text)");
    }
    if content.is_cut {
        output::line("");
        output::line("(The text is longer than what is shown; --raw prints the whole message.)");
    }
}

fn attachments(content: &Content, id: u64) {
    if content.attachments.is_empty() {
        return;
    }
    let rows: Vec<Vec<String>> = content
        .attachments
        .iter()
        .map(|one| {
            vec![
                one.number.to_string(),
                output::fit(if one.name.is_empty() { "(no name)" } else { &one.name }, 60),
                output::fit(&one.kind, 60),
                output::bytes(one.size),
                if one.is_inline { "part of the text" } else { "" }.to_owned(),
            ]
        })
        .collect();
    output::line("");
    output::line(&output::table(&["NO", "ATTACHMENT", "KIND", "SIZE", ""], &rows));
    output::line(&format!("`gatepost show {id} --save DIR` saves them, --attachment N one of them."));
}

fn facts(shown: &Shown, may_see_bcc: bool) {
    let message = &shown.message;
    output::line("");
    say("Message", &format!("{} ({} bytes, SHA-256 {})", shown.id, message.size, message.sha256));
    say("Format", &message.format);
    if let Some(twin) = &message.twin {
        say("Protected", &format!("a rights-protected copy of {} bytes beside it (--protected)", twin.size));
    }
    if let Some(beside) = &shown.regenerated {
        let kept =
            if beside.transport_headers.is_some() { "; --headers prints the header it came in with" } else { "" };
        say("Regenerated", &format!("the gateway put the mail together from its own store{kept}"));
    }
    if message.degraded {
        say("", "no report proves the envelope: it is the message's own headers");
    }
    if !message.flags.is_empty() {
        say("Flags", &message.flags.join(", "));
    }
    if may_see_bcc {
        say("Sent by", message.envelope.sender.as_deref().unwrap_or("(none)"));
        if let Some(behalf) = &message.envelope.on_behalf_of {
            say("On behalf of", behalf);
        }
        for recipient in &message.envelope.recipients {
            let via = match (&recipient.via, &recipient.via_address) {
                (Some(Via::Expanded), Some(list)) => format!(", member of {list}"),
                (Some(Via::Forwarded), Some(from)) => format!(", forwarded by {from}"),
                _ => String::new(),
            };
            say("Received by", &format!("{} ({}{via})", recipient.address, recipient.role.as_str()));
        }
    }
    for filing in &shown.filings {
        if may_see_bcc || !tells_of_bcc(&filing.because) {
            say("Filed", &format!("{} {} — {}", filing.person, filing.folder.as_str(), filing.because));
        }
    }
    output::line("");
    output::line("--raw prints the message itself, --item the report that brought it, --envelope who received it,");
    output::line("--history what happened to it.");
}

/// Columns of the terminal; without one lines stay as they are.
fn width() -> usize {
    if !io::stdout().is_terminal() {
        return usize::MAX;
    }
    terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0)).max(40)
}

/// The line in pieces of at most `width` columns, cut at blanks where there are any.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = line;
    loop {
        let mut used = 0;
        let mut blank = None;
        let over = rest.char_indices().find(|(at, c)| {
            if *c == ' ' && *at > 0 {
                blank = Some(*at);
            }
            used += columns(*c);
            used > width
        });
        let Some((over, _)) = over else { break };
        // At least one character, however narrow the terminal.
        let first = rest.chars().next().map_or(1, char::len_utf8);
        let end = blank.unwrap_or(over).max(first);
        pieces.push(rest[..end].trim_end().to_owned());
        rest = rest[end..].trim_start_matches(' ');
        if rest.is_empty() {
            return pieces;
        }
    }
    pieces.push(rest.to_owned());
    pieces
}

/// How wide terminals draw a character: East Asian ones and pictures as two, marks as none.
fn columns(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200d | 0x2060 | 0xfe00..=0xfe0f | 0xfeff => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

// --- JSON -----------------------------------------------------------------------------------------

fn as_json(shown: &Shown, content: Content, history: Option<History>, may_see_bcc: bool) -> Result<Exit, Failure> {
    let failed = |error: serde_json::Error| Failure::usage(error.to_string());
    let mut value = serde_json::to_value(shown).map_err(failed)?;
    if !may_see_bcc {
        hide_bcc(&mut value);
    }
    let bcc = if may_see_bcc { content.bcc } else { Vec::new() };
    value["headers"] = json!({
        "subject": content.subject, "from": content.from, "reply_to": content.reply_to, "to": content.to,
        "cc": content.cc, "bcc": bcc,
    });
    value["text"] = json!(content.body);
    value["text_is_cut"] = json!(content.is_cut);
    value["attachments"] = content.attachments.iter().map(attachment_json).collect();
    if let Some(history) = history {
        value["history"] = serde_json::to_value(history).map_err(failed)?;
    }
    output::json(&value)?;
    Ok(Exit::Ok)
}

fn attachment_json(one: &Attachment) -> serde_json::Value {
    json!({ "number": one.number, "name": one.name, "kind": one.kind, "size": one.size, "inline": one.is_inline })
}

/// Takes Bcc recipients, and what would tell of them, out of what `show --json` prints.
fn hide_bcc(value: &mut serde_json::Value) {
    if let Some(beside) = value["regenerated"].as_object_mut() {
        beside.remove("transport_headers");
    }
    if let Some(recipients) = value["message"]["envelope"]["recipients"].as_array_mut() {
        recipients.retain(|recipient| recipient["role"] != json!("bcc") && recipient["role"] != json!("recipient"));
    }
    if let Some(filings) = value["filings"].as_array_mut() {
        filings.retain(|filing| !tells_of_bcc(filing["because"].as_str().unwrap_or_default()));
    }
}

fn tells_of_bcc(because: &str) -> bool {
    because.starts_with("bcc ") || because.starts_with("recipient ")
}

// --- attachments ----------------------------------------------------------------------------------

fn not_there(number: u32, id: u64) -> Failure {
    Failure::usage(format!("message {id} has no attachment {number}"))
        .hint(format!("`gatepost show {id}` lists its attachments"))
}

fn raw_attachment(mail: &dyn ByteSource, number: u32, id: u64) -> Result<Exit, Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    if !text::write_attachment(mail, number, &mut out)? {
        return Err(not_there(number, id));
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// The words in an attachment, which need no program of the attachment's own kind to be read.
fn words_of(mail: &dyn ByteSource, number: u32, id: u64, as_json: bool) -> Result<Exit, Failure> {
    let content = read(mail, true)?;
    let Some(one) = content.attachments.iter().find(|one| one.number == number) else {
        return Err(not_there(number, id));
    };
    if as_json {
        let mut value = attachment_json(one);
        (value["text"], value["failed"]) = match &one.text {
            Reading::Text(text) => (json!(text), json!(null)),
            Reading::None => (json!(null), json!(null)),
            Reading::Failed(why) => (json!(null), json!(why)),
        };
        output::json(&value)?;
        return Ok(Exit::Ok);
    }
    let hint = format!("`gatepost show {id} --attachment {number} --save DIR` saves it, --raw prints its bytes");
    let name = if one.name.is_empty() { "(no name)".to_owned() } else { output::fit(&one.name, 100) };
    match &one.text {
        Reading::Text(text) => {
            let width = width();
            for piece in text.lines().flat_map(|line| wrapped(&output::safe(line), width)) {
                output::line(&piece);
            }
            Ok(Exit::Ok)
        }
        Reading::None => {
            let what = format!("attachment {number}, {name} ({}), has no words to print", output::fit(&one.kind, 60));
            Err(Failure::usage(what).hint(hint))
        }
        Reading::Failed(why) => {
            Err(Failure::usage(format!("attachment {number}, {name}, cannot be read: {why}")).hint(hint))
        }
    }
}

fn save(mail: &dyn ByteSource, folder: &Path, wanted: Option<u32>, id: u64, as_json: bool) -> Result<Exit, Failure> {
    let content = read(mail, false)?;
    let chosen: Vec<&Attachment> =
        content.attachments.iter().filter(|one| wanted.is_none_or(|wanted| one.number == wanted)).collect();
    if let (Some(number), true) = (wanted, chosen.is_empty()) {
        return Err(not_there(number, id));
    }
    let folder = wiring::absolute(folder)?;
    let mut saved = Vec::new();
    if !chosen.is_empty() {
        make_folder(&folder)?;
    }
    for one in chosen {
        let name = text::safe_file_name(&one.name, one.number, &one.kind);
        let (path, file) = new_file(&folder, &name)?;
        write_file(mail, one.number, &path, file)?;
        saved.push((one, path));
    }
    if as_json {
        let saved = saved.iter().map(|(one, path)| {
            let mut value = attachment_json(one);
            value["path"] = json!(path);
            value
        });
        output::json(&json!({ "saved": saved.collect::<Vec<_>>() }))?;
        return Ok(Exit::Ok);
    }
    for (one, path) in &saved {
        output::line(&format!(
            "{:>3}  {}  {}",
            one.number,
            output::safe(&path.display().to_string()),
            output::bytes(one.size)
        ));
    }
    if saved.is_empty() {
        output::note(&format!("message {id} has no attachments; nothing was saved"));
    }
    Ok(Exit::Ok)
}

fn make_folder(folder: &Path) -> Result<(), Failure> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| {
        Failure::usage(format!("cannot make the folder {}: {error}", output::safe(&folder.display().to_string())))
            .hint("name a folder that can be made or is there")
    })
}

/// A file that was not there: no other one is overwritten, and no link is followed.
fn new_file(folder: &Path, name: &str) -> Result<(PathBuf, File), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() => (stem, format!(".{ending}")),
        _ => (name, String::new()),
    };
    for n in 1..10_000u32 {
        let path = match n {
            1 => folder.join(name),
            n => folder.join(format!("{stem} ({n}){ending}")),
        };
        match options.open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // Windows says so of a folder of that name.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && path.is_dir() => {}
            Err(error) => return Err(cannot_write(&path, &error)),
        }
    }
    let what = format!("there are too many files called {name} in {}", output::safe(&folder.display().to_string()));
    Err(Failure::usage(what).hint("name an empty folder"))
}

fn write_file(mail: &dyn ByteSource, number: u32, path: &Path, file: File) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(file);
    let written = text::write_attachment(mail, number, &mut out).and_then(|_| out.flush());
    written.map_err(|error| {
        // Half of an attachment must not look like one. If it cannot be removed either, the error says enough.
        let _ = std::fs::remove_file(path);
        cannot_write(path, &error)
    })
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::StorageFull { Exit::NoSpace } else { Exit::Usage };
    let what = format!("cannot write {}: {error}", output::safe(&path.display().to_string()));
    let failure = Failure { exit, ..Failure::usage(what) };
    failure.hint("name a folder that you may write to; what was saved before is whole")
}

// --- history --------------------------------------------------------------------------------------

fn history_of(reader: &Reader, message: u64, may_see_bcc: bool) -> Result<History, Failure> {
    let mut history = reader.history(message)?;
    if !may_see_bcc {
        let mut hidden = std::collections::HashSet::new();
        for event in &history.events {
            if let Happened::Filed { person, folder, because, .. } = &event.what
                && tells_of_bcc(because)
            {
                hidden.insert((event.item, person.clone(), *folder));
            }
        }
        history.events.retain(|event| match &event.what {
            Happened::Filed { because, .. } => !tells_of_bcc(because),
            Happened::Withdrawn { person, folder, .. } => !hidden.contains(&(event.item, person.clone(), *folder)),
            _ => true,
        });
    }
    Ok(history)
}

fn print_history(history: &History) {
    output::line("");
    let several = history.items.len() > 1;
    for event in &history.events {
        let item = if several { format!("item {}: ", event.item) } else { String::new() };
        output::line(&format!("{}  {}", output::time(event.at), output::safe(&format!("{item}{}", told(event)))));
    }
    if several {
        output::line("");
        output::line("The items are copies of one message; each keeps its own bytes and filings.");
    }
    for unread in &history.unread {
        output::note(&format!("warning: something may be missing here: {}", output::safe(unread)));
    }
}

fn told(event: &Happening) -> String {
    let gateway =
        |at: &AtGateway| format!("in {} of {} on {} ({} id {})", at.mailbox, at.login, at.host, at.kind, at.native_id);
    match &event.what {
        Happened::Fetched { peer, program, size } => format!("fetched from {peer} by {program}, {size} bytes"),
        Happened::Seen { at_gateway, date, disposition, .. } => {
            let date = if date.is_empty() { String::new() } else { format!(", dated {date} there") };
            format!("seen {}{date}: {}", gateway(at_gateway), disposition.as_str().replace('_', " "))
        }
        Happened::Quarantined { because } => format!("quarantined: {because}"),
        Happened::Decoded { format, parser, because: None } => format!("decoded as {format} by decoder {parser}"),
        Happened::Decoded { format, parser, because: Some(why) } => {
            format!("decoded anew as {format} by decoder {parser}: {why}")
        }
        Happened::ShownAs { message } if *message == event.item => "shown as a message of its own".to_owned(),
        Happened::ShownAs { message } => format!("shown as one with message {message}"),
        Happened::Filed { person, folder, because, .. } => {
            format!("filed for {person}, {}: {because}", folder.as_str())
        }
        Happened::Withdrawn { person, folder, because } => {
            format!("taken back from {person}, {}: {because}", folder.as_str())
        }
        Happened::Deleted { at_gateway, how: DeletedHow::Confirmed } => {
            format!("deleted on the gateway, which confirmed it: {}", gateway(at_gateway))
        }
        Happened::Deleted { at_gateway, how: DeletedHow::Inferred } => {
            format!("deleted on the gateway (inferred: a complete listing did not have it): {}", gateway(at_gateway))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_at_blanks() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrapped("日本語の文", 4), ["日本", "語の", "文"]);
        assert_eq!(wrapped("", 4), [""]);
        assert_eq!(wrapped("word   ", 4), ["word"]);
        assert_eq!(wrapped(" x", usize::MAX), [" x"]);
        assert_eq!(wrapped("日", 1), ["日"]);
        let long = "x".repeat(1 << 20);
        assert_eq!(wrapped(&long, 80).len(), (1usize << 20).div_ceil(80));
    }

    #[test]
    fn files_are_new_whatever_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        let inside = folder.path().join("in");
        make_folder(&inside).unwrap();
        std::fs::write(inside.join("a.txt"), "mine").unwrap();
        std::fs::create_dir(inside.join("a (2).txt")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&outside, inside.join("a (3).txt")).unwrap();
        let (path, _) = new_file(&inside, "a.txt").unwrap();
        assert_eq!(path, inside.join(if cfg!(unix) { "a (4).txt" } else { "a (3).txt" }));
        assert_eq!(std::fs::read_to_string(inside.join("a.txt")).unwrap(), "mine");
        assert!(!outside.exists());
        assert_eq!(new_file(&inside, "noending").unwrap().0, inside.join("noending"));
        assert_eq!(new_file(&inside, "noending").unwrap().0, inside.join("noending (2)"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(&inside)), (0o600, 0o700));
        }
    }
}
