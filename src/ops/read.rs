//! `gatepost list`, `show`, `export`: reading the archives. Never writes to an archive, never waits for the
//! agent.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::cli::FilterArgs;
use super::exit::{Exit, Failure};
use super::output;
use super::wiring::{self, Global};
use crate::archive::{ArchiveError, Entry, ExportOptions, Filter, Reader, Shown};
use crate::people::PersonId;

pub struct ShowArgs {
    pub id: u64,
    pub person: Option<String>,
    pub raw: bool,
    pub protected: bool,
    pub item: bool,
    pub headers: bool,
    pub envelope: bool,
    pub json: bool,
}

pub fn list(global: &Global, filter: FilterArgs, as_json: bool) -> Result<Exit, Failure> {
    let reader = Reader::open(&wiring::layout(global)?)?;
    let filter = filter_of(&reader, filter)?;
    if as_json {
        // Written as it comes: an archive may hold more than fits into memory.
        let mut first = true;
        output::line("{\"messages\": [");
        reader.list(&filter, &mut |entry| {
            let text = serde_json::to_string(&entry).unwrap_or_default();
            output::line(&format!("{}{text}", if first { "" } else { "," }));
            first = false;
            Ok(())
        })?;
        output::line("]}");
        return Ok(Exit::Ok);
    }
    let mut count = 0u64;
    reader.list(&filter, &mut |entry| {
        if count == 0 {
            print_head();
        }
        count += 1;
        print_entry(&entry);
        Ok(())
    })?;
    if count == 0 {
        output::note("no message fits");
    }
    Ok(Exit::Ok)
}

/// The titles of what [`print_entry`] prints.
pub fn print_head() {
    output::line(&format!("{:>7}  {:<23}  {:<24}  {:<5}  {:<28}  {}", "ID", "DATE", "PERSON", "IN", "FROM", "SUBJECT"));
}

/// A line of a list of messages.
pub fn print_entry(entry: &Entry) {
    output::line(&format!(
        "{:>7}  {:<23}  {}  {:<5}  {}  {}",
        entry.id,
        local(entry.date),
        output::cell(&entry.person, 24),
        entry.folder.as_str(),
        output::cell(&entry.from, 28),
        output::fit(&entry.subject, output::rest(97, 60))
    ));
}

pub fn show(global: &Global, args: &ShowArgs) -> Result<Exit, Failure> {
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
        if shown.message.twin.is_none() {
            return Err(Failure::usage(format!(
                "message {} has no protected copy beside the one that is shown",
                shown.id
            )));
        }
        // Its content is encrypted, but not its header.
        if may_see_bcc {
            return bytes(|out| reader.twin_bytes(shown.item, out));
        }
        return bytes(|out| crate::archive::write_twin_without_bcc(&reader, shown.item, out).map(|_| ()));
    }
    if args.raw {
        if may_see_bcc {
            return bytes(|out| reader.original_bytes(shown.item, out));
        }
        return bytes(|out| crate::archive::write_without_bcc(&reader, shown.item, out).map(|_| ()));
    }
    if args.json {
        let mut value = serde_json::to_value(&shown).map_err(|error| Failure::usage(error.to_string()))?;
        if !may_see_bcc {
            hide_bcc(&mut value);
        }
        output::json(&value)?;
        return Ok(Exit::Ok);
    }
    print(&shown, may_see_bcc);
    Ok(Exit::Ok)
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
fn bytes(write: impl FnOnce(&mut dyn std::io::Write) -> crate::archive::Result<()>) -> Result<Exit, Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    write(&mut out)?;
    out.flush()?;
    Ok(Exit::Ok)
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

fn print(shown: &Shown, may_see_bcc: bool) {
    let message = &shown.message;
    let say = |label: &str, text: &str| output::line(&format!("{label:<12}{}", output::safe(text)));
    say("Message", &shown.id.to_string());
    say("Message-ID", message.summary.message_id.as_deref().unwrap_or("(none)"));
    say("Date", &local(message.summary.date));
    say("From", &message.summary.from);
    say("To", &message.summary.to.join(", "));
    if !message.summary.cc.is_empty() {
        say("Cc", &message.summary.cc.join(", "));
    }
    say("Subject", &message.summary.subject);
    say("Size", &format!("{} bytes", message.size));
    say("SHA-256", &message.sha256.to_string());
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
                (Some(crate::mail::envelope::Via::Expanded), Some(list)) => format!(", member of {list}"),
                (Some(crate::mail::envelope::Via::Forwarded), Some(from)) => format!(", forwarded by {from}"),
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
    output::line("--raw prints the message itself, --item the report that brought it, --envelope who received it.");
}

pub fn export(global: &Global, dir: &Path, filter: FilterArgs, envelope: bool, as_json: bool) -> Result<Exit, Failure> {
    let reader = Reader::open(&wiring::layout(global)?)?;
    let filter = filter_of(&reader, filter)?;
    let dir: PathBuf = wiring::absolute(dir)?;
    let report = crate::archive::export(&reader, &filter, &dir, ExportOptions { envelope, now: Timestamp::now() })?;
    if as_json {
        output::json(&report)?;
    } else {
        let redacted = match report.redacted {
            0 => String::new(),
            n => format!(", {n} of them without Bcc lines (see the manifest)"),
        };
        output::line(&format!(
            "{} exported to {} ({}){redacted}",
            output::plural(report.exported, "message", "messages"),
            dir.display(),
            output::bytes(report.bytes)
        ));
        output::line(&format!("    check it with: cd {} && sha256sum -c SHA256SUMS", dir.display()));
        for failed in &report.failed {
            let text =
                format!("error: message {} of {} {}: {}", failed.id, failed.person, failed.folder.as_str(), failed.why);
            output::note(&output::safe(&text));
        }
    }
    Ok(if report.failed.iter().any(|failed| failed.damaged) {
        Exit::Damaged
    } else if report.failed.is_empty() {
        Exit::Ok
    } else {
        Exit::Attention
    })
}

pub fn filter_of(reader: &Reader, args: FilterArgs) -> Result<Filter, Failure> {
    Ok(Filter {
        person: args.person.as_deref().map(|person| person_of(reader, person)).transpose()?,
        folder: args.folder,
        after: args.after.as_deref().map(date).transpose()?,
        before: args.before.as_deref().map(date).transpose()?,
        from: args.from,
        to: args.to,
        subject: args.subject,
        limit: args.limit,
    })
}

/// A person as the user spelt it: the id in any case, or one of the addresses.
pub fn person_of(reader: &Reader, text: &str) -> Result<String, Failure> {
    let id = PersonId::checked(text).map_or_else(|_| text.to_owned(), |id| id.0);
    let people = reader.people()?;
    let folded = text.to_lowercase();
    let found = people
        .iter()
        .find(|person| person.person == id || person.person.to_lowercase() == folded)
        .or_else(|| people.iter().find(|person| person.addresses.contains(&folded)));
    match found {
        Some(person) => Ok(person.person.clone()),
        None => {
            let failure = Failure::usage(format!("nobody here is called `{text}`"));
            Err(match crate::config::nearest(text, people.iter().map(|person| person.person.as_str())) {
                Some(near) => failure.hint(format!("did you mean `{near}`? `gatepost people` shows all")),
                None => failure.hint("`gatepost people` shows who has an archive"),
            })
        }
    }
}

/// A day, a day with a time (both local), or a moment with its offset.
fn date(text: &str) -> Result<Timestamp, Failure> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let civil = text
        .parse::<jiff::civil::DateTime>()
        .or_else(|_| text.parse::<jiff::civil::Date>().map(|date| date.to_datetime(jiff::civil::Time::midnight())));
    civil
        .ok()
        .and_then(|civil| civil.to_zoned(TimeZone::system()).ok())
        .map(|zoned| zoned.timestamp())
        .ok_or_else(|| Failure::usage(format!("`{text}` is not a date")).hint("write 2026-01-31 or 2026-01-31T08:00"))
}

fn local(date: Option<Timestamp>) -> String {
    date.map_or_else(|| "(no date)".to_owned(), output::minute)
}
