//! `gatepost refile`: what is archived is filed anew, after people, rules or the decoder changed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::exit::{Exit, Failure};
use super::orders::{self, Done, Order};
use super::output;
use super::wiring::{self, Global, Running};
use crate::agent::refile::{Difference, Summary, Work, refile as run};
use crate::agent::{PARSER, route};
use crate::archive::{Catalogue, Choice, Filing, Reader};
use crate::config::Settings;
use crate::people::UNASSIGNED;

pub struct Args {
    pub asked: Asked,
    pub dry_run: bool,
    pub json: bool,
}

/// What is to be filed anew.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    pub all: bool,
    pub person: Option<String>,
    pub items: Vec<u64>,
}

pub fn refile(global: &Global, args: &Args) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    // First, so that a mistake in the question is told before anything is opened for writing.
    choices(&Reader::open(&wiring::layout_of(&settings.archive))?, &args.asked)?;
    if args.dry_run {
        let done = wiring::runtime()?.block_on(refiled(None, &settings, &args.asked, &wiring::user()))?;
        return done.print(args.json);
    }
    orders::give(global, &settings, &Order::Refile(args.asked.clone()), args.json)
}

/// Without an archive that is open for writing it is a rehearsal.
pub async fn refiled(
    running: Option<&Running>,
    settings: &Settings,
    asked: &Asked,
    who: &str,
) -> Result<Done, Failure> {
    let layout = wiring::layout_of(&settings.archive);
    let dry_run = running.is_none();
    let people = Arc::new(wiring::people(settings, Some(&Catalogue::of(&layout)?))?);
    let rules = wiring::rules_of(settings, &people);
    let reader = Reader::open(&layout)?;
    let choices = choices(&reader, asked)?;
    let spool = match running {
        Some(running) => running.agent.archive.spool().to_owned(),
        // A rehearsal leaves the archive's folder alone.
        None => std::env::temp_dir(),
    };
    let mut differences = Vec::new();
    let mut tell = |difference: Difference| differences.push(difference);
    let mut work = Work { reader: &reader, rules: &rules, spool: &spool, tell: &mut tell };
    let summary = run(&mut work, &choices, running.map(|running| &running.agent), who).await?;
    let exit = if summary.damaged > 0 { Exit::Damaged } else { Exit::Ok };
    let json = json!({ "dry_run": dry_run, "summary": summary, "items": differences });
    let mut done = Done::new(exit, json);
    for difference in &differences {
        show(&mut done, difference, dry_run);
    }
    sum_up(&mut done, &summary, dry_run);
    Ok(done)
}

fn choices(reader: &Reader, args: &Asked) -> Result<Vec<Choice>, Failure> {
    if args.all {
        return Ok(vec![Choice::All]);
    }
    if let Some(person) = &args.person {
        return Ok(vec![Choice::Person(super::read::person_of(reader, person)?)]);
    }
    if args.items.is_empty() {
        return Ok(vec![Choice::Outdated { person: UNASSIGNED.into(), parser: PARSER, rules: route::RULES }]);
    }
    for item in &args.items {
        if reader.chosen(&Choice::Item(*item), 0, 1)?.is_empty() {
            let failure = Failure::usage(format!("there is no decoded item {item} in the archive"));
            return Err(failure.hint("`gatepost list` shows the numbers; what is quarantined is tried again with `gatepost quarantine retry`"));
        }
    }
    Ok(args.items.iter().map(|item| Choice::Item(*item)).collect())
}

fn show(done: &mut Done, difference: &Difference, dry_run: bool) {
    if let Some(why) = &difference.failed {
        done.note(output::safe(&format!("warning: item {} stays as it is: {why}", difference.item)));
    }
    if !dry_run || difference.failed.is_some() {
        return;
    }
    let id = difference.message_id.as_deref().unwrap_or("(no Message-ID)");
    let anew = if difference.decoded_anew { ", decoded anew" } else { "" };
    done.line(output::safe(&format!("item {} {id}{anew}", difference.item)));
    let mut say = |sign: &str, filing: &Filing| {
        let text = format!("    {sign} {} {} — {}", filing.person, filing.folder.as_str(), filing.because);
        done.line(output::safe(&text));
    };
    difference.add.iter().for_each(|filing| say("+", filing));
    difference.withdraw.iter().for_each(|filing| say("-", filing));
}

fn sum_up(done: &mut Done, summary: &Summary, dry_run: bool) {
    let would = if dry_run { "would be " } else { "" };
    done.line(format!(
        "{} looked at, {} {would}filed anew ({} added, {} taken back), {} {would}decoded anew",
        output::plural(summary.looked_at, "item", "items"),
        summary.refiled,
        output::plural(summary.filings_added, "filing", "filings"),
        summary.filings_withdrawn,
        summary.decoded_anew
    ));
    if summary.kept > 0 {
        done.line(format!(
            "    {} would not be filed like this today and stay where they are",
            output::plural(summary.kept, "item", "items")
        ));
    }
    if summary.failed > 0 {
        done.line(format!("    {} could not be looked at", output::plural(summary.failed, "item", "items")));
    }
    if dry_run {
        done.line("    (a rehearsal: nothing was changed)");
    }
}
