//! `gatepost list`: reading the archives. Never writes to an archive, never waits for the agent.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::cli::FilterArgs;
use super::exit::{Exit, Failure};
use super::output;
use super::wiring::{self, Global};
use crate::archive::{Entry, Filter, Reader};
use crate::people::PersonId;

pub fn list(global: &Global, filter: FilterArgs, as_json: bool) -> Result<Exit, Failure> {
    let reader = Reader::open(&wiring::layout(global)?)?;
    let filter = filter_of(&reader, filter)?;
    if as_json {
        // Written as it comes: an archive may hold more than fits into memory.
        let mut first = true;
        output::line("{\"messages\": [");
        reader.list(&filter, &mut |entry| {
            let text = output::safe_json(&serde_json::to_string(&entry).unwrap_or_default());
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
