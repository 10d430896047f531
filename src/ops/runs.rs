//! `gatepost runs`: what past runs did. Runs that found nothing are not recorded.

use serde::Serialize;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::output;
use super::wiring::{self, Global};
use crate::archive::{Event, Reader};

const EVENT: &str = "run";
/// Runs that are looked through for those of one profile.
const LOOKED_THROUGH: u32 = 100_000;

#[derive(Serialize)]
struct Run {
    run: u64,
    at: jiff::Timestamp,
    #[serde(flatten)]
    report: Value,
}

fn of(event: Event) -> Run {
    Run { run: event.id, at: event.at, report: event.what }
}

pub fn list(global: &Global, profile: Option<&str>, limit: u32, as_json: bool) -> Result<Exit, Failure> {
    let reader = Reader::open(&wiring::layout(global)?)?;
    let events = reader.events(EVENT, if profile.is_some() { LOOKED_THROUGH } else { limit })?;
    let fits = |event: &Event| profile.is_none_or(|profile| event.what["name"] == profile);
    let runs: Vec<Run> = events.into_iter().filter(fits).take(limit as usize).map(of).collect();
    if as_json {
        output::json(&json!({ "runs": runs }))?;
        return Ok(Exit::Ok);
    }
    if runs.is_empty() {
        output::line("No run is recorded: runs that find nothing leave no record.");
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let text = |key: &str| run.report[key].as_str().unwrap_or_default().to_owned();
            let number = |key: &str| run.report[key].as_u64().unwrap_or(0);
            let problems =
                ["quarantined", "unfetchable", "vanished", "failed"].iter().map(|key| number(key)).sum::<u64>();
            vec![
                run.run.to_string(),
                output::minute(run.at),
                output::safe(&text("name")),
                output::state(&text("outcome")),
                number("listed").to_string(),
                (number("archived") + number("already_archived")).to_string(),
                problems.to_string(),
                number("pending").to_string(),
                number("deleted").to_string(),
                output::bytes(number("bytes")),
            ]
        })
        .collect();
    let head = ["RUN", "ENDED", "PROFILE", "OUTCOME", "LISTED", "ARCHIVED", "PROBLEMS", "PENDING", "DELETED", "BYTES"];
    output::line(&output::table(&head, &rows));
    Ok(Exit::Ok)
}

pub fn show(global: &Global, run: u64, as_json: bool) -> Result<Exit, Failure> {
    let reader = Reader::open(&wiring::layout(global)?)?;
    let event = reader
        .event(run)?
        .filter(|event| event.event == EVENT)
        .ok_or_else(|| Failure::usage(format!("there is no run {run}")).hint("`gatepost runs` lists them"))?;
    let run = of(event);
    if as_json {
        output::json(&run)?;
        return Ok(Exit::Ok);
    }
    output::line(&format!("run {}, ended {}", run.run, output::time(run.at)));
    match serde_json::from_value::<crate::agent::report::ProfileReport>(run.report.clone()) {
        Ok(report) => super::once::print(&report),
        // Of an earlier version.
        Err(_) => output::line(&output::safe_json(&run.report.to_string())),
    }
    Ok(Exit::Ok)
}
