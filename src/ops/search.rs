//! `gatepost search` and `gatepost index`: finding mail, and the index that it is found with.

use std::io::IsTerminal as _;
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::cli::FilterArgs;
use super::exit::{Exit, Failure};
use super::output;
use super::read;
use super::wiring::{self, Global};
use crate::archive::search::query::{self, Calendar, Query, QueryError};
use crate::archive::search::{self, BuildOptions, BuildReport, Found, Order, Progress, Request, Standing};
use crate::archive::{ArchiveError, Layout, Reader};
use crate::text;

pub struct Args {
    pub query: String,
    pub filter: FilterArgs,
    pub envelope: bool,
    pub order: Order,
    /// From 1.
    pub page: u64,
    pub json: bool,
}

/// What a page holds when nobody says how much.
const PAGE: u64 = 50;

pub fn search(global: &Global, args: &Args) -> Result<Exit, Failure> {
    let layout = wiring::layout(global)?;
    let reader = Reader::open(&layout)?;
    let filter = read::filter_of(&reader, args.filter.clone())?;
    // Other programs want all of it, people a page.
    let limit = filter.limit.or((!args.json || args.page > 1).then_some(PAGE));
    let request = Request {
        query: parsed(&args.query)?,
        envelope: args.envelope,
        order: args.order,
        skip: limit.unwrap_or(0).saturating_mul(args.page - 1),
        limit,
        filter,
    };
    let standing = prepare(&layout);
    if args.json {
        let mut first = true;
        output::line("{\"messages\": [");
        let found = find(&layout, &reader, &request, &mut |entry| {
            let text = output::safe_json(&serde_json::to_string(&entry).unwrap_or_default());
            output::line(&format!("{}{text}", if first { "" } else { "," }));
            first = false;
            Ok(())
        })?;
        output::line(&format!("], \"more\": {}, \"not_indexed\": {}}}", found.more, standing.behind));
        return Ok(Exit::Ok);
    }
    let mut count = 0u64;
    let found = find(&layout, &reader, &request, &mut |entry| {
        if count == 0 {
            read::print_head();
        }
        count += 1;
        read::print_entry(&entry);
        Ok(())
    })?;
    if count == 0 {
        output::note(if args.page > 1 { "there is no such page" } else { "no message fits" });
    }
    if found.more {
        output::note(&format!("there are more: --page {}", args.page + 1));
    }
    if standing.behind > 0 {
        let items = output::plural(standing.behind, "item is", "items are");
        output::note(&format!("{items} not searched yet (`gatepost index` makes the index up to date)"));
    }
    Ok(Exit::Ok)
}

/// A query in the host's time zone; what is not understood is shown at its place.
pub fn parsed(text: &str) -> Result<Query, Failure> {
    let calendar = Calendar { zone: TimeZone::system(), now: Timestamp::now() };
    query::parse(text, &calendar).map_err(|error| misunderstood(text, &error))
}

fn misunderstood(text: &str, error: &QueryError) -> Failure {
    // In characters, and on one line whatever stands in the query.
    let before = text.get(..error.at.start).unwrap_or_default().chars().count();
    let marked = text.get(error.at.clone()).unwrap_or_default().chars().count().max(1);
    let pointed = if text.is_empty() || text.len() > query::BYTES_MAX {
        String::new()
    } else {
        format!("\n    {}\n    {}{}", output::safe(text), " ".repeat(before), "^".repeat(marked))
    };
    Failure { hint: error.hint.clone(), ..Failure::usage(format!("{}{pointed}", error.what)) }
}

/// Calls `visit` with each filing that fits; an index that is missing or turns out to be damaged is built first.
pub fn find(
    layout: &Layout,
    reader: &Reader,
    request: &Request,
    visit: &mut dyn FnMut(crate::archive::Entry) -> crate::archive::Result<()>,
) -> Result<Found, Failure> {
    if let Some(found) = search::find(layout, reader, request, visit)? {
        return Ok(found);
    }
    watched(layout, &BuildOptions { text: reading(), rebuild: false })?;
    search::find(layout, reader, request, visit)?.ok_or_else(|| {
        Failure::usage("there is no index that could be searched, and it cannot be built now")
            .hint("another process may be building it: try again, or run `gatepost index` to see why")
    })
}

/// Brings the index up to date as far as that can be done here, and tells how far behind it is then. A search goes on
/// with what is there when it cannot be.
pub fn prepare(layout: &Layout) -> Standing {
    let behind = |layout: &Layout| search::standing(layout).unwrap_or_default();
    let standing = behind(layout);
    if standing.behind == 0 {
        return standing;
    }
    match watched(layout, &BuildOptions { text: reading(), rebuild: false }) {
        Ok(_) => {}
        Err(error) => output::note(&format!("warning: the index is not up to date: {}", output::safe(&error.what))),
    }
    behind(layout)
}

/// Brings the index up to date, or says why that cannot be done here.
pub fn up_to_date(layout: &Layout) -> Result<(), Failure> {
    match watched(layout, &BuildOptions { text: reading(), rebuild: false })? {
        Some(_) => Ok(()),
        None => {
            Err(Failure { exit: Exit::Locked, ..Failure::usage("another process is bringing the index up to date") }
                .hint("wait for it to end; `gatepost status` says how far it is"))
        }
    }
}

/// What is read of mails for the index.
fn reading() -> text::Options {
    text::Options { attachments: true, pdf: std::env::current_exe().ok(), ..text::Options::default() }
}

/// Brings the index up to date; whoever watches sees how far it is. `None`: another process is at it.
fn watched(layout: &Layout, options: &BuildOptions) -> Result<Option<BuildReport>, ArchiveError> {
    // What is written here is the library's, which asks for no mode of its own.
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let is_watched = std::io::stderr().is_terminal();
    let began = Instant::now();
    let mut shown = Instant::now();
    let mut is_shown = false;
    let done = search::catch_up(layout, options, &mut |Progress { done, items }| {
        if is_watched && began.elapsed().as_secs() >= 1 && shown.elapsed().as_millis() >= 200 {
            shown = Instant::now();
            is_shown = true;
            let rate = done as f64 / began.elapsed().as_secs_f64();
            let left = items.saturating_sub(done) as f64 / rate.max(1.0);
            output::progress(&format!("indexing: {done} of {items} messages, {rate:.0}/s, {left:.0} s left"));
        }
    });
    if is_shown {
        output::progress("");
    }
    let done = done?;
    if let Some(why) = done.as_ref().and_then(|report| report.rebuilt.as_ref()).filter(|_| !options.rebuild) {
        output::note(&format!("the index was built anew: {}", output::safe(why)));
    }
    Ok(done)
}

pub struct IndexArgs {
    pub rebuild: bool,
    /// Started by the agent: nothing to say when all is well, and others come first.
    pub quiet: bool,
    pub json: bool,
}

pub fn index(global: &Global, args: &IndexArgs) -> Result<Exit, Failure> {
    let layout = wiring::layout(global)?;
    if args.quiet {
        yield_to_others();
    }
    let Some(report) = watched(&layout, &BuildOptions { text: reading(), rebuild: args.rebuild })? else {
        if args.quiet {
            return Ok(Exit::Ok);
        }
        return Err(Failure { exit: Exit::Locked, ..Failure::usage("another process is building the index") }
            .hint("wait for it to end; `gatepost status` says how far it is"));
    };
    if args.json {
        output::json(&report)?;
    } else if !args.quiet {
        output::line(&summary(&report));
    }
    Ok(if report.unread > 0 { Exit::Damaged } else { Exit::Ok })
}

fn summary(report: &BuildReport) -> String {
    if report.indexed == 0 && report.unread == 0 {
        return "the index is up to date".into();
    }
    let mut text = format!(
        "{} indexed in {:.1} s ({:.0}/s, {} of text)",
        output::plural(report.indexed, "message", "messages"),
        report.seconds,
        report.indexed as f64 / report.seconds.max(0.001),
        output::bytes(report.text_bytes)
    );
    if report.by_record > 0 {
        text +=
            &format!("\n    {} of them by subject and names only: the mail itself cannot be read", report.by_record);
    }
    if report.unread > 0 {
        text += &format!("\n    {} not indexed: damaged (`gatepost verify`)", report.unread);
    }
    text
}

/// Archiving and everybody else come first.
fn yield_to_others() {
    #[cfg(unix)]
    let _ = rustix::process::nice(10);
}
