//! `gatepost refile`: what is archived is filed anew, after people, rules or the decoder changed.

use std::sync::Arc;

use serde_json::json;

use super::exit::{Exit, Failure};
use super::output;
use super::wiring::{self, Global, Running};
use crate::agent::refile::{Difference, Summary, Work, refile as run};
use crate::agent::{PARSER, route};
use crate::archive::{Catalogue, Choice, Filing, Reader};
use crate::people::UNASSIGNED;

pub struct Args {
    pub all: bool,
    pub person: Option<String>,
    pub items: Vec<u64>,
    pub dry_run: bool,
    pub json: bool,
}

pub fn refile(global: &Global, args: &Args) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    let layout = wiring::layout_of(&settings.archive);
    // First, so that a mistake in the question is told before anything is opened for writing.
    let reader = Reader::open(&layout)?;
    let choices = choices(&reader, args)?;
    let running = match args.dry_run {
        true => None,
        false => {
            drop(reader);
            Some(Running::start(&settings, false, "refile")?)
        }
    };
    for line in running.iter().flat_map(|running| &running.mended) {
        output::note(&format!("recovered: {line}"));
    }
    let catalogue = Catalogue::of(&layout)?;
    let people = Arc::new(wiring::people(&settings, Some(&catalogue))?);
    drop(catalogue);
    let rules = wiring::rules_of(&settings, &people);
    let reader = Reader::open(&layout)?;
    let spool = match &running {
        Some(running) => running.agent.archive.spool().to_owned(),
        // A rehearsal leaves the archive's folder alone.
        None => std::env::temp_dir(),
    };
    let mut differences = Vec::new();
    let mut tell = |difference: Difference| match args.json {
        true => differences.push(difference),
        false => print(&difference, args.dry_run),
    };
    let mut work = Work { reader: &reader, rules: &rules, spool: &spool, tell: &mut tell };
    let runtime = wiring::runtime()?;
    let agent = running.as_ref().map(|running| &running.agent);
    let who = wiring::user();
    let done = runtime.block_on(run(&mut work, &choices, agent, &who));
    drop(reader);
    let finished = running.map_or(Ok(()), Running::finish);
    let summary = done?;
    finished?;
    if args.json {
        output::json(&json!({ "dry_run": args.dry_run, "summary": summary, "items": differences }))?;
    } else {
        sum_up(&summary, args.dry_run);
    }
    Ok(if summary.damaged > 0 { Exit::Damaged } else { Exit::Ok })
}

fn choices(reader: &Reader, args: &Args) -> Result<Vec<Choice>, Failure> {
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

fn print(difference: &Difference, dry_run: bool) {
    if let Some(why) = &difference.failed {
        output::note(&output::safe(&format!("warning: item {} stays as it is: {why}", difference.item)));
    }
    if !dry_run || difference.failed.is_some() {
        return;
    }
    let id = difference.message_id.as_deref().unwrap_or("(no Message-ID)");
    let anew = if difference.decoded_anew { ", decoded anew" } else { "" };
    output::line(&output::safe(&format!("item {} {id}{anew}", difference.item)));
    let say = |sign: &str, filing: &Filing| {
        let text = format!("    {sign} {} {} — {}", filing.person, filing.folder.as_str(), filing.because);
        output::line(&output::safe(&text));
    };
    difference.add.iter().for_each(|filing| say("+", filing));
    difference.withdraw.iter().for_each(|filing| say("-", filing));
}

fn sum_up(summary: &Summary, dry_run: bool) {
    let would = if dry_run { "would be " } else { "" };
    output::line(&format!(
        "{} looked at, {} {would}filed anew ({} added, {} taken back), {} {would}decoded anew",
        output::plural(summary.looked_at, "item", "items"),
        summary.refiled,
        output::plural(summary.filings_added, "filing", "filings"),
        summary.filings_withdrawn,
        summary.decoded_anew
    ));
    if summary.kept > 0 {
        output::line(&format!(
            "    {} would not be filed like this today and stay where they are",
            output::plural(summary.kept, "item", "items")
        ));
    }
    if summary.failed > 0 {
        output::line(&format!("    {} could not be looked at", output::plural(summary.failed, "item", "items")));
    }
    if dry_run {
        output::line("    (a rehearsal: nothing was changed)");
    }
}
