//! `gatepost once`: one cycle of every profile, and a report of it.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::directory::{Keeper, Known};
use super::exit::{Exit, Failure, of_cycle};
use super::indexing;
use super::login::{self, Closed, Entered, Gate};
use super::output;
use super::wiring::{self, Global, Running};
use crate::agent::logins::Asked;
use crate::agent::report::{Outcome, ProfileReport, ReportedError};
use crate::agent::{CycleError, Profile, cycle, reconcile};
use crate::archive::Catalogue;
use crate::config::{ProfileSettings, Settings};
use crate::sources::{Intake, Source as _};

pub struct Args {
    pub profile: Option<String>,
    pub dry_run: bool,
    pub excluded: bool,
    /// A login that was refused again and again is tried all the same.
    pub retry_refused: bool,
    pub json: bool,
}

impl Args {
    fn asked(&self) -> Asked {
        match (self.retry_refused, &self.profile) {
            (true, _) => Asked::ByForce,
            (false, Some(_)) => Asked::ByName,
            (false, None) => Asked::BySchedule,
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    /// What was mended when the archive was opened: batches taken over, a torn tail set aside.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    recovered: &'a [String],
    profiles: &'a [ProfileReport],
}

pub fn once(global: &Global, args: &Args) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    for notice in &settings.notices {
        output::note(&format!("notice: {notice}"));
    }
    let profiles = wiring::chosen(&settings, args.profile.as_deref())?;
    wiring::passwords(&profiles)?;
    let runtime = wiring::runtime()?;
    if args.dry_run {
        return runtime.block_on(rehearse(&settings, &profiles, args));
    }
    let mut running = Running::start(&settings, global.create_archive, "once")?;
    running.look_at_excluded = args.excluded;
    running.gate.asked = args.asked();
    for line in &running.mended {
        output::note(&format!("recovered: {line}"));
    }
    let keeper = Keeper::default();
    let done = runtime.block_on(async {
        tokio::select! {
            done = all(&running, &settings, &profiles, &keeper) => Some(done),
            () = wiring::told_to_stop() => None,
        }
    });
    let done = done.transpose()?;
    let recovered = running.mended.clone();
    let finished = running.finish();
    if done.is_some() && finished.is_ok() {
        runtime.block_on(async {
            tokio::select! {
                () = indexing::catch_up(global, &settings) => {}
                () = wiring::told_to_stop() => {}
            }
        });
    }
    let Some((reports, exit)) = done else {
        finished?;
        return Err(Failure {
            exit: Exit::Attention,
            what: "interrupted; what was archived stands, nothing was deleted without a receipt".into(),
            hint: Some("run it again: it goes on where it stopped".into()),
            refused: false,
        });
    };
    if args.json {
        output::json(&Report { recovered: &recovered, profiles: &reports })?;
    } else {
        for report in &reports {
            print(report);
        }
    }
    finished?;
    Ok(exit)
}

async fn all(
    running: &Running,
    settings: &Settings,
    profiles: &[&ProfileSettings],
    keeper: &Keeper,
) -> Result<(Vec<ProfileReport>, Exit), Failure> {
    let known = keeper.known(settings).await?;
    known.record(running).await?;
    let cycles = profiles.iter().map(|profile| one(running, profile, &known));
    let mut exit = Exit::Ok;
    let mut reports = Vec::new();
    for (report, code) in futures_util::future::join_all(cycles).await {
        exit = exit.max(code);
        reports.push(report);
    }
    Ok((reports, exit))
}

/// One cycle: log in, run, log out, and note how it went.
pub async fn one(running: &Running, settings: &ProfileSettings, known: &Known) -> (ProfileReport, Exit) {
    let started = Instant::now();
    let agent = &running.agent;
    let profile = Profile { look_at_excluded: running.look_at_excluded, ..wiring::profile(settings) };
    let connected = match &known.people {
        Ok(people) => running.gate.enter(settings).await.map(|entered| (entered, people)),
        Err(failure) => Err(failure.clone().into()),
    };
    let (mut report, mut exit) = match connected {
        Ok((Entered { mut source, ticket }, people)) => {
            let (mut report, error) = cycle::run(agent, &profile, people, &mut source).await;
            source.close().await;
            report.alarms.extend(running.gate.left(&ticket, error.as_ref()));
            let exit = match (&error, report.outcome) {
                (Some(error), _) => of_cycle(error),
                (None, Outcome::Attention) => Exit::Attention,
                (None, Outcome::Ok | Outcome::Error) => Exit::Ok,
            };
            (report, exit)
        }
        Err(Closed { failure, alarm, not_tried }) => {
            let error = ReportedError { what: failure.what, hint: failure.hint };
            let mut report =
                ProfileReport { name: profile.name.clone(), error: Some(error), not_tried, ..ProfileReport::default() };
            report.alarms.extend(alarm);
            report.finish();
            (report, failure.exit)
        }
    };
    if !known.alarms.is_empty() {
        report.alarms.extend(known.alarms.iter().cloned());
        report.finish();
        exit = exit.max(Exit::Attention);
    }
    report.seconds = (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    if let Err(error) = note_run(running, &mut report).await {
        // The archive's error is the one to hear of; a cycle that failed for it says the same.
        exit = exit.max(super::exit::of_archive(error.kind));
        if report.error.is_none() {
            report.error = Some(ReportedError { what: error.what, hint: error.hint });
            report.finish();
        }
    }
    (report, exit)
}

async fn note_run(running: &Running, report: &mut ProfileReport) -> Result<(), crate::archive::ArchiveError> {
    report.head = Some(running.agent.archive.commit().await?);
    let idle = report.is_idle();
    let success = report.error.is_none();
    let name = report.name.clone();
    let json = serde_json::to_value(&*report).unwrap_or_default();
    running.agent.archive.call(move |core| core.ran(&name, success, json, idle)).await?;
    report.head = Some(running.agent.archive.call(|core| core.rest()).await?);
    Ok(())
}

async fn rehearse(settings: &Settings, profiles: &[&ProfileSettings], args: &Args) -> Result<Exit, Failure> {
    let json = args.json;
    let layout = wiring::layout_of(&settings.archive);
    let catalogue = if layout.identity_file().exists() { Some(Catalogue::of(&layout)?) } else { None };
    let people = Arc::new(wiring::people(settings, catalogue.as_ref())?);
    let spool = tempfile::tempdir()?;
    let intake = Intake::new(settings.archive.window_bytes, spool.path().to_owned());
    let mut exit = Exit::Ok;
    let mut reports = Vec::new();
    let gate = Gate::of(settings, args.asked());
    for settings in profiles {
        let started = Instant::now();
        let profile = Profile { look_at_excluded: args.excluded, ..wiring::profile(settings) };
        let mut tell = |rehearsed: reconcile::Rehearsed| {
            if json {
                return;
            }
            let what = format!("{} {}: would be {}", rehearsed.folder, rehearsed.native_id, rehearsed.would_be);
            output::line(&output::safe(&what));
            for filing in rehearsed.filings {
                let text = format!("    {} {} — {}", filing.person, filing.folder.as_str(), filing.because);
                output::line(&output::safe(&text));
            }
        };
        let done: Result<ProfileReport, Failure> = async {
            let Entered { source, ticket } = gate.enter(settings).await?;
            let mut source = source.read_only();
            let report =
                reconcile::rehearse(&mut source, &profile, &people, catalogue.as_ref(), &intake, &mut tell).await;
            source.close().await;
            report.map_err(|error: CycleError| login::ended(&gate, &ticket, error))
        }
        .await;
        let mut report = match done {
            Ok(report) => report,
            Err(failure) => {
                exit = exit.max(failure.exit);
                let error = ReportedError { what: failure.what, hint: failure.hint };
                let mut report =
                    ProfileReport { name: profile.name.clone(), error: Some(error), ..ProfileReport::default() };
                report.finish();
                report
            }
        };
        report.seconds = (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        if report.outcome == Outcome::Attention {
            exit = exit.max(Exit::Attention);
        }
        if !json {
            print(&report);
            output::line("    (a rehearsal: nothing was archived, nothing was deleted)");
        }
        reports.push(report);
    }
    if json {
        output::json(&Report { recovered: &[], profiles: &reports })?;
    }
    Ok(exit)
}

/// A report for people.
pub fn print(report: &ProfileReport) {
    let mut parts = Vec::new();
    let mut say = |count: u64, word: &str| {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    };
    say(report.archived, "archived");
    say(report.already_archived, "already archived");
    say(report.quarantined, "quarantined");
    say(report.unfetchable, "unfetchable");
    say(report.excluded, "excluded");
    say(report.vanished, "vanished");
    say(report.failed, "failed");
    say(report.pending, "pending");
    say(report.deleted, "deleted on the gateway");
    let what = match (parts.is_empty(), &report.error) {
        (false, _) => parts.join(", "),
        (true, None) => "nothing new".to_owned(),
        // Nobody looked: that must not read like an empty mailbox.
        (true, Some(_)) => "FAILED before anything was archived".to_owned(),
    };
    output::line(&format!("{}: {what} ({} in {:.1} s)", report.name, output::bytes(report.bytes), report.seconds));
    for (policy, count) in &report.excluded_by {
        output::line(&format!("    {count} excluded by {policy}"));
    }
    for alarm in &report.alarms {
        output::note(&format!("warning: {}: {}", report.name, output::safe(alarm)));
    }
    if report.quarantined > 0 {
        output::note(&format!(
            "warning: {}: {} in quarantine, not decoded; the bytes are archived (`gatepost quarantine list`)",
            report.name,
            output::plural(report.quarantined, "item", "items")
        ));
    }
    if report.unfetchable > 0 {
        output::note(&format!(
            "warning: {}: the gateway did not give {}; they stay there and are tried again",
            report.name,
            output::plural(report.unfetchable, "item", "items")
        ));
    }
    if let Some(error) = &report.error {
        let deleted = if report.deleted == 0 {
            "nothing was deleted".to_owned()
        } else {
            format!(
                "{} deleted before, each with its receipt",
                output::plural(report.deleted, "item was", "items were")
            )
        };
        output::note(&format!("error: {}: {}; {deleted}", report.name, output::safe(error.what.trim_end_matches('.'))));
        if let Some(hint) = &error.hint {
            output::note(&format!("  hint: {}", output::safe(hint)));
        }
    }
    if let Some(head) = &report.head {
        output::line(&format!("    head {head}"));
    }
}
