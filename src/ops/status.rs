//! `gatepost status`: how each profile is, and what the archive holds.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::orders::Order;
use super::output;
use super::watch::snapshot::Snapshot;
use super::wiring::{self, Global};
use super::{control, directory, standing};
use crate::agent::alarms::Message;
use crate::agent::health::State;
use crate::archive::search::{self, Standing};
use crate::archive::{Catalogue, Gateway, Head, LastRun, Layout, Reader, Totals, Volume};

#[derive(Serialize)]
struct Status {
    profiles: Vec<ProfileStatus>,
    archive: ArchiveStatus,
    agent: AgentStatus,
    /// Where people come from, when that is a directory, and how old its last good list is.
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<DirectoryStatus>,
}

#[derive(Serialize)]
pub struct DirectoryStatus {
    pub source: String,
    pub people: usize,
    /// `None`: never.
    pub fetched: Option<Timestamp>,
    pub age_s: Option<u64>,
    /// Older than it should be: the directory is down, or its list was refused.
    pub overdue: bool,
    #[serde(skip)]
    pub shown: String,
}

#[derive(Serialize)]
struct Paused {
    since: Timestamp,
    by: String,
}

/// The agent that has the archive, if one runs.
#[derive(Serialize)]
struct AgentStatus {
    running: bool,
    pid: Option<u32>,
    since: Option<Timestamp>,
    /// What lasts, as it was told last.
    alarms: Vec<Message>,
}

#[derive(Serialize)]
struct ProfileStatus {
    name: String,
    /// `awaiting-first-run`, `ok`, `inactive`, `error` or `paused`.
    state: String,
    /// A cycle is under way.
    is_running: bool,
    schedule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<Paused>,
    last_run: Option<Timestamp>,
    last_success: Option<Timestamp>,
    next_run: Option<Timestamp>,
    backlog: u64,
    oldest_item_age_s: Option<i64>,
    archived_total: u64,
    deleted_total: u64,
    error: Option<String>,
    head: Option<Head>,
    /// What an administrator should set, though all works.
    warnings: Vec<String>,
}

/// So many of the newest items show whether a gateway holds reports.
const REPORTERS_OF: u32 = 1_000;

#[derive(Serialize)]
struct ArchiveStatus {
    path: String,
    head: Option<Head>,
    items: u64,
    bytes_stored: u64,
    /// How far the index of `search` is.
    index: Standing,
}

pub fn status(global: &Global, as_json: bool) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    let layout = wiring::layout_of(&settings.archive);
    let archive = if layout.root.exists() { Some(Archive::open(&layout)?) } else { None };
    let head = archive.as_ref().map(|archive| archive.volume.head).filter(|head| head.seq > 0);
    let now = Timestamp::now();
    // An agent that cannot be spoken with is told of, and is no reason to say nothing of the archive.
    let (live, unheard) = match control::ask(&settings, &Order::Snapshot) {
        Ok(done) => (done.and_then(|done| serde_json::from_value::<Snapshot>(done.json).ok()), None),
        Err(failure) => (None, Some(failure)),
    };
    let standing = match &archive {
        Some(archive) => standing::of(&settings, &archive.catalogue, &archive.reader, now)?,
        None => BTreeMap::new(),
    };
    let mut profiles = Vec::new();
    for profile in &settings.profiles {
        let known = live.as_ref().and_then(|live| live.profiles.iter().find(|one| one.name == profile.name));
        let health = standing.get(&profile.name);
        let host = profile.source.host();
        let totals = match &archive {
            Some(archive) => archive.reader.totals(Some(Gateway { host: &host, login: profile.source.login() }))?,
            None => Totals::default(),
        };
        let reporters = match &archive {
            Some(archive) if profile.decode.trusted_reporters.is_empty() => {
                let gateway = Gateway { host: &host, login: profile.source.login() };
                archive.reader.reporters(gateway, REPORTERS_OF)?.len()
            }
            Some(_) | None => 0,
        };
        let mut warnings = Vec::new();
        if reporters > 0 {
            let text =
                "journal reports of anybody are believed; `gatepost check` prints the line that trusts yours alone";
            warnings.push(text.to_owned());
        }
        let run = archive.as_ref().and_then(|archive| archive.runs.iter().find(|run| run.name == profile.name));
        let report = run.map(|run| &run.report);
        let number = |key: &str| report.and_then(|report| report[key].as_u64()).unwrap_or(0);
        let error = report.and_then(|report| report["error"]["what"].as_str()).map(str::to_owned);
        let last_run = run.and_then(|run| run.last_run);
        let state = match (known, health) {
            (Some(known), _) => known.state.clone(),
            (None, Some(health)) => health.state(&standing::terms(profile), now).as_str().to_owned(),
            (None, None) => State::AwaitingFirstRun.as_str().to_owned(),
        };
        let paused = health.and_then(|health| health.paused.clone());
        profiles.push(ProfileStatus {
            name: profile.name.clone(),
            state,
            is_running: known.is_some_and(|known| known.is_running),
            schedule: profile.schedule.to_string(),
            paused: paused.map(|pause| Paused { since: pause.since, by: pause.by }),
            last_run,
            last_success: run.and_then(|run| run.last_success),
            // Without an agent it is when a scheduler should run it.
            next_run: match known {
                Some(known) => known.next_run,
                None if health.is_some_and(|health| health.paused.is_some()) => None,
                None => last_run.and_then(|last| profile.schedule.next(last)),
            },
            backlog: number("pending").max(totals.failed + totals.unfetchable),
            oldest_item_age_s: totals.oldest_open.map(|at| Timestamp::now().duration_since(at).as_secs().max(0)),
            archived_total: totals.archived + totals.already_archived,
            deleted_total: totals.deleted,
            error: error.filter(|_| health.is_none_or(|health| health.paused.is_none())),
            head,
            warnings,
        });
    }
    let (items, stored) =
        archive.as_ref().map_or((0, 0), |archive| (archive.volume.items, archive.volume.bytes_stored));
    let path = layout.root.display().to_string();
    let index = if archive.is_some() { search::standing(&layout)? } else { Standing::default() };
    let agent = AgentStatus {
        running: live.is_some() || unheard.is_some(),
        pid: live.as_ref().map(|live| live.pid),
        since: live.as_ref().map(|live| live.started),
        alarms: live.map(|live| live.alarms).unwrap_or_default(),
    };
    let status = Status {
        profiles,
        agent,
        archive: ArchiveStatus { path, head, items, bytes_stored: stored, index },
        directory: directory::status(&settings)?,
    };
    if as_json {
        output::json(&status)?;
    } else {
        print(&status);
        if let Some(failure) = unheard {
            output::note(&format!("warning: {}", failure.what));
            failure.hint.iter().for_each(|hint| output::note(&format!("  hint: {hint}")));
        }
    }
    Ok(Exit::Ok)
}

struct Archive {
    reader: Reader,
    catalogue: Catalogue,
    runs: Vec<LastRun>,
    volume: Volume,
}

impl Archive {
    fn open(layout: &Layout) -> Result<Archive, Failure> {
        let reader = Reader::open(layout)?;
        let catalogue = Catalogue::of(layout)?;
        let runs = catalogue.last_runs()?;
        let volume = reader.volume()?;
        Ok(Archive { reader, catalogue, runs, volume })
    }
}

fn print(status: &Status) {
    let time = |time: Option<Timestamp>| match time {
        Some(time) => output::time(time),
        None => "never".to_owned(),
    };
    for profile in &status.profiles {
        let running = if profile.is_running { " (a cycle is under way)" } else { "" };
        output::line(&format!("{}: {}{running}", profile.name, output::state(&profile.state)));
        if let Some(paused) = &profile.paused {
            let by = output::safe(&paused.by);
            output::line(&format!("    paused        since {} by {by}", output::time(paused.since)));
        }
        output::line(&format!("    schedule      {}", profile.schedule));
        output::line(&format!("    last run      {}", time(profile.last_run)));
        output::line(&format!("    last success  {}", time(profile.last_success)));
        if let Some(next) = profile.next_run.filter(|_| status.agent.running) {
            output::line(&format!("    next run      {}", output::time(next)));
        }
        if profile.backlog > 0 {
            output::line(&format!("    waiting       {}", output::plural(profile.backlog, "item", "items")));
        }
        output::line(&format!(
            "    archived      {} in all, {} deleted on the gateway",
            profile.archived_total, profile.deleted_total
        ));
        if let Some(error) = &profile.error {
            output::line(&format!("    {}         {}", output::state("error"), output::safe(error)));
        }
        for warning in &profile.warnings {
            output::line(&format!("    {}       {warning}", output::state("warning")));
        }
    }
    match (&status.agent.since, status.agent.pid) {
        (Some(since), Some(pid)) => {
            output::line(&format!("agent: running since {} (process {pid})", output::time(*since)))
        }
        _ if status.agent.running => {}
        _ => output::line("agent: not running (`gatepost run`, or `once` from a scheduler)"),
    }
    for alarm in &status.agent.alarms {
        output::line(&output::safe(&format!("    {alarm}")));
    }
    if let Some(directory) = &status.directory {
        let overdue = if directory.overdue { " (overdue)" } else { "" };
        output::line(&format!("people: {}{overdue}", output::safe(&directory.shown)));
    }
    let archive = &status.archive;
    output::line(&format!(
        "archive {}: {}, {} on disk",
        archive.path,
        output::plural(archive.items, "item", "items"),
        output::bytes(archive.bytes_stored)
    ));
    if let Some(head) = &archive.head {
        output::line(&format!("    head {head}"));
    }
    if archive.index.behind > 0 {
        let items = output::plural(archive.index.behind, "item is", "items are");
        output::line(&format!("    index: {items} not indexed yet (`gatepost index`, or the next search)"));
    }
}
