//! `gatepost once`: one cycle of every profile, and a report of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::directory::{Keeper, Known};
use super::exit::{Exit, Failure, of_cycle};
use super::indexing;
use super::login::{self, Closed, Entered, Gate};
use super::orders::{self, Done, Order};
use super::wiring::{self, Global, Running};
use super::{control, output, pauses};
use crate::agent::health::Pause;
use crate::agent::logins::Asked;
use crate::agent::pace::{Held, Pacing};
use crate::agent::report::{Outcome, ProfileReport, ReportedError};
use crate::agent::{CycleError, Profile, cycle, reconcile};
use crate::archive::Catalogue;
use crate::base::clock::SystemClock;
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
    profiles: &'a [&'a ProfileReport],
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
    let order =
        Order::Once { profile: args.profile.clone(), excluded: args.excluded, retry_refused: args.retry_refused };
    if let Some(done) = control::ask(&settings, &order)? {
        return done.print(args.json);
    }
    let running = Running::start(&settings, global.create_archive, "once")?;
    if !args.json {
        for line in &running.mended {
            output::note(&format!("recovered: {line}"));
        }
    }
    let pauses = pauses::of(&wiring::layout_of(&settings.archive))?;
    let (profiles, skipped) = match unpaused(profiles, &pauses, args.profile.is_some()) {
        Ok(chosen) => chosen,
        Err(failure) => {
            running.finish()?;
            return Err(failure);
        }
    };
    let keeper = Keeper::default();
    let manner = Manner { asked: args.asked(), look_at_excluded: args.excluded, ..Manner::default() };
    let halt = manner.pacing.halt.clone();
    let done = runtime.block_on(async {
        let cycles = all(&running, &settings, &profiles, &keeper, &manner);
        tokio::pin!(cycles);
        tokio::select! {
            done = &mut cycles => Some(done),
            () = wiring::told_to_stop() => {
                // What is under way comes to its end, if it does so soon.
                halt.halt();
                match tokio::time::timeout(STOP_GRACE, &mut cycles).await {
                    Ok(Err(failure)) => Some(Err(failure)),
                    Ok(Ok(_)) | Err(_) => None,
                }
            }
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
    let Some(results) = done else {
        finished?;
        return Err(Failure {
            exit: Exit::Attention,
            what: "interrupted; what was archived stands, nothing was deleted without a receipt".into(),
            hint: Some("run it again: it goes on where it stopped".into()),
            refused: false,
        });
    };
    let exit = self::done(&recovered, results, skipped).print(args.json)?;
    finished?;
    Ok(exit)
}

/// What is under way when somebody interrupts gets so long.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What came of the cycles, as it is told.
pub fn done(recovered: &[String], results: Vec<(ProfileReport, Exit)>, skipped: Vec<String>) -> Done {
    let exit = results.iter().map(|(_, exit)| *exit).max().unwrap_or(Exit::Ok);
    let reports: Vec<&ProfileReport> = results.iter().map(|(report, _)| report).collect();
    let json = serde_json::to_value(Report { recovered, profiles: &reports }).unwrap_or_default();
    let mut done = Done::new(exit, json);
    for line in skipped {
        done.note(line);
    }
    for report in reports {
        tell(&mut done, report);
    }
    done
}

/// Those of the profiles that are not paused; what is said of the others. One that was named is an error.
pub fn unpaused<'s>(
    profiles: Vec<&'s ProfileSettings>,
    pauses: &BTreeMap<String, Pause>,
    is_named: bool,
) -> Result<(Vec<&'s ProfileSettings>, Vec<String>), Failure> {
    let mut skipped = Vec::new();
    let mut chosen = Vec::new();
    for profile in profiles {
        let Some(pause) = pauses.get(&profile.name) else {
            chosen.push(profile);
            continue;
        };
        let what =
            format!("{} is paused since {} by {}", profile.name, output::time(pause.since), output::safe(&pause.by));
        let hint = format!("gatepost resume {}", profile.name);
        if is_named {
            return Err(Failure::usage(format!("{what}; nothing was done")).hint(hint));
        }
        skipped.push(format!("notice: {what} and was not run (hint: {hint})"));
    }
    Ok((chosen, skipped))
}

/// `gatepost pause` and `gatepost resume`.
pub fn paused(global: &Global, order: Order, as_json: bool) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    if let Order::Pause { profile } | Order::Resume { profile } = &order {
        wiring::chosen(&settings, Some(profile))?;
        let pauses = pauses::of(&wiring::layout_of(&settings.archive))?;
        match (pauses.get(profile), &order) {
            (Some(pause), Order::Pause { .. }) => {
                let by = output::safe(&pause.by);
                output::note(&format!(
                    "notice: {profile} is paused already, since {} by {by}",
                    output::time(pause.since)
                ));
            }
            (None, Order::Resume { .. }) => output::note(&format!("notice: {profile} is not paused")),
            _ => {}
        }
    }
    orders::give(global, &settings, &order, as_json)
}

async fn all(
    running: &Running,
    settings: &Settings,
    profiles: &[&ProfileSettings],
    keeper: &Keeper,
    manner: &Manner,
) -> Result<Vec<(ProfileReport, Exit)>, Failure> {
    let known = keeper.known(settings).await?;
    known.record(running).await?;
    let cycles = profiles.iter().map(|profile| one(running, profile, &known, manner));
    let cycled = futures_util::future::join_all(cycles).await;
    Ok(cycled.into_iter().map(|cycled| (cycled.report, cycled.exit)).collect())
}

/// How a cycle is run.
#[derive(Clone, Debug)]
pub struct Manner {
    pub asked: Asked,
    /// Look again at what policies excluded.
    pub look_at_excluded: bool,
    /// Its bandwidth is the profile's where there is none.
    pub pacing: Pacing,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner { asked: Asked::BySchedule, look_at_excluded: false, pacing: Pacing::default() }
    }
}

/// A cycle that ended.
pub struct Cycled {
    pub report: ProfileReport,
    pub exit: Exit,
    /// Its number, when it did something.
    pub run: Option<u64>,
}

/// One cycle: log in, run, log out, and note how it went.
pub async fn one(running: &Running, settings: &ProfileSettings, known: &Known, manner: &Manner) -> Cycled {
    let started = Instant::now();
    let agent = &running.agent;
    let mut profile = Profile { look_at_excluded: manner.look_at_excluded, ..wiring::profile(settings) };
    profile.pacing = Pacing { bandwidth: profile.pacing.bandwidth, ..manner.pacing.clone() };
    let connected = match &known.people {
        Ok(people) => running.gate.enter(settings, manner.asked).await.map(|entered| (entered, people)),
        Err(failure) => Err(failure.clone().into()),
    };
    let (mut report, mut exit) = match connected {
        Ok((Entered { mut source, ticket }, people)) => {
            let (mut report, error) = cycle::run(agent, &profile, people, &mut source).await;
            source.close().await;
            report.alarms.extend(running.gate.left(&ticket, error.as_ref()));
            let exit = match (&error, report.outcome) {
                (Some(error), _) => of_cycle(error),
                _ if report.held_back == Some(Held::Disk) => Exit::NoSpace,
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
    let run = match note_run(running, &mut report).await {
        Ok(run) => run,
        Err(error) => {
            // The archive's error is the one to hear of; a cycle that failed for it says the same.
            exit = exit.max(super::exit::of_archive(error.kind));
            if report.error.is_none() {
                report.error = Some(ReportedError { what: error.what, hint: error.hint });
                report.finish();
            }
            None
        }
    };
    Cycled { report, exit, run }
}

async fn note_run(running: &Running, report: &mut ProfileReport) -> Result<Option<u64>, crate::archive::ArchiveError> {
    report.head = Some(running.agent.archive.commit().await?);
    let idle = report.is_idle();
    let success = report.error.is_none();
    let name = report.name.clone();
    let json = serde_json::to_value(&*report).unwrap_or_default();
    let run = running.agent.archive.call(move |core| core.ran(&name, success, json, idle)).await?;
    report.head = Some(running.agent.archive.call(|core| core.rest()).await?);
    Ok(run)
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
    let gate = Gate::of(settings, Arc::new(SystemClock));
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
            let Entered { source, ticket } = gate.enter(settings, args.asked()).await?;
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
        output::json(&Report { recovered: &[], profiles: &reports.iter().collect::<Vec<_>>() })?;
    }
    Ok(exit)
}

/// A report for people.
pub fn print(report: &ProfileReport) {
    let mut done = Done::new(Exit::Ok, serde_json::Value::Null);
    tell(&mut done, report);
    // There is no failure in it.
    let _ = done.print(false);
}

fn tell(done: &mut Done, report: &ProfileReport) {
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
    done.line(format!("{}: {what} ({} in {:.1} s)", report.name, output::bytes(report.bytes), report.seconds));
    for (policy, count) in &report.excluded_by {
        done.line(format!("    {count} excluded by {policy}"));
    }
    for alarm in &report.alarms {
        done.note(format!("warning: {}: {}", report.name, output::safe(&alarm.text)));
    }
    if report.quarantined > 0 {
        done.note(format!(
            "warning: {}: {} in quarantine, not decoded; the bytes are archived (`gatepost quarantine list`)",
            report.name,
            output::plural(report.quarantined, "item", "items")
        ));
    }
    if report.unfetchable > 0 {
        done.note(format!(
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
        done.note(format!("error: {}: {}; {deleted}", report.name, output::safe(error.what.trim_end_matches('.'))));
        if let Some(hint) = &error.hint {
            done.note(format!("  hint: {}", output::safe(hint)));
        }
    }
    if let Some(head) = &report.head {
        done.line(format!("    head {head}"));
    }
}
