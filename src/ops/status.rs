//! `gatepost status`: how each profile is, and what the archive holds.

use jiff::Timestamp;
use serde::Serialize;

use super::directory;
use super::exit::{Exit, Failure};
use super::output;
use super::wiring::{self, Global};
use crate::archive::search::{self, Standing};
use crate::archive::{Catalogue, Gateway, Head, LastRun, Layout, Reader, Totals, Volume};

#[derive(Serialize)]
struct Status {
    profiles: Vec<ProfileStatus>,
    archive: ArchiveStatus,
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
struct ProfileStatus {
    name: String,
    /// `awaiting-first-run`, `ok` or `error`.
    state: &'static str,
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
    let mut profiles = Vec::new();
    for profile in &settings.profiles {
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
        let every = jiff::SignedDuration::try_from(profile.every).unwrap_or(jiff::SignedDuration::ZERO);
        profiles.push(ProfileStatus {
            name: profile.name.clone(),
            state: match (run, &error) {
                (None, _) => "awaiting-first-run",
                (Some(_), Some(_)) => "error",
                (Some(_), None) => "ok",
            },
            last_run,
            last_success: run.and_then(|run| run.last_success),
            next_run: last_run.and_then(|last| last.checked_add(every).ok()),
            backlog: number("pending").max(totals.failed + totals.unfetchable),
            oldest_item_age_s: totals.oldest_open.map(|at| Timestamp::now().duration_since(at).as_secs().max(0)),
            archived_total: totals.archived + totals.already_archived,
            deleted_total: totals.deleted,
            error,
            head,
            warnings,
        });
    }
    let (items, stored) =
        archive.as_ref().map_or((0, 0), |archive| (archive.volume.items, archive.volume.bytes_stored));
    let path = layout.root.display().to_string();
    let index = if archive.is_some() { search::standing(&layout)? } else { Standing::default() };
    let status = Status {
        profiles,
        archive: ArchiveStatus { path, head, items, bytes_stored: stored, index },
        directory: directory::status(&settings)?,
    };
    if as_json {
        output::json(&status)?;
    } else {
        print(&status);
    }
    Ok(Exit::Ok)
}

struct Archive {
    reader: Reader,
    runs: Vec<LastRun>,
    volume: Volume,
}

impl Archive {
    fn open(layout: &Layout) -> Result<Archive, Failure> {
        let reader = Reader::open(layout)?;
        let runs = Catalogue::of(layout)?.last_runs()?;
        let volume = reader.volume()?;
        Ok(Archive { reader, runs, volume })
    }
}

fn print(status: &Status) {
    let time = |time: Option<Timestamp>| match time {
        Some(time) => output::time(time),
        None => "never".to_owned(),
    };
    for profile in &status.profiles {
        output::line(&format!("{}: {}", profile.name, output::state(profile.state)));
        output::line(&format!("    last run      {}", time(profile.last_run)));
        output::line(&format!("    last success  {}", time(profile.last_success)));
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
