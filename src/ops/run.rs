//! `gatepost run`: the agent, until it is told to stop. Each profile has its own rhythm; one never overlaps
//! itself.

use super::directory::{Keeper, Known};
use super::exit::{Exit, Failure};
use super::host::Host;
use super::indexing;
use super::once;
use super::output;
use super::service;
use super::wiring::{self, Global, Running};
use crate::config::{ProfileSettings, Settings};
use tokio::sync::Notify;

pub fn run(global: &Global) -> Result<Exit, Failure> {
    with_a_thrifty_allocator();
    agent(global, service::host().as_ref(), wiring::told_to_stop())
}

/// The agent under a service manager, or without one; ends when `stop` does, or when the archive cannot go on.
pub fn agent(global: &Global, host: &dyn Host, stop: impl Future<Output = ()>) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    for notice in &settings.notices {
        tracing::warn!(notice, "configuration");
    }
    wiring::passwords(&settings.profiles.iter().collect::<Vec<_>>())?;
    let running = Running::start(&settings, global.create_archive, "run")?;
    for line in &running.mended {
        tracing::warn!(did = line, "recovered");
    }
    let runtime = wiring::runtime()?;
    tracing::info!(profiles = settings.profiles.len(), archive = %settings.archive.path.display(), "started");
    let keeper = Keeper::default();
    let news = Notify::new();
    let ended = runtime.block_on(async {
        host.ready();
        let profiles = settings.profiles.iter().map(|profile| forever(&running, &settings, &keeper, &news, profile));
        tokio::select! {
            never = indexing::follow(global, &settings, &news) => match never {},
            failures = futures_util::future::select_all(profiles.map(Box::pin)) => Some(failures.0),
            () = stop => None,
        }
    });
    host.stopping();
    tracing::info!("stopping");
    let finished = running.finish();
    match ended {
        Some(failure) => Err(failure),
        None => finished.map(|()| Exit::Ok),
    }
}

/// Starts the program anew with an allocator that gives freed memory back, unless the administrator has
/// said how it shall be: glibc keeps what a burst of large mails took (measured: 32 MB instead of 20 MB for an
/// agent that is idle again), and takes its orders only from the environment of a new process. The process
/// id stays. Where it cannot be done, the agent runs as it is.
fn with_a_thrifty_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::os::unix::process::CommandExt as _;
        const THRIFTY: [(&str, &str); 2] = [("MALLOC_TRIM_THRESHOLD_", "65536"), ("MALLOC_MMAP_THRESHOLD_", "32768")];
        if THRIFTY.iter().any(|(name, _)| std::env::var_os(name).is_some()) {
            return;
        }
        if let Ok(program) = std::env::current_exe() {
            // Returns only when it failed.
            let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).envs(THRIFTY).exec();
            tracing::debug!(%error, "cannot start anew with a thrifty allocator");
        }
    }
}

/// Cycles of one profile; returns only when the archive cannot go on.
async fn forever(
    running: &Running,
    settings: &Settings,
    keeper: &Keeper,
    news: &Notify,
    profile: &ProfileSettings,
) -> Failure {
    let mut ticks = tokio::time::interval(profile.every);
    // A cycle that took longer than the interval is followed by one, not by all those that were missed.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known: Option<Known> = None;
    loop {
        ticks.tick().await;
        match keeper.known(settings).await {
            Ok(fresh) => {
                if let Err(failure) = fresh.record(running).await {
                    tracing::error!(error = failure.what, "the archive's records of people could not be renewed");
                }
                known = Some(fresh);
            }
            // The last good ones serve until the file is mended.
            Err(failure) => tracing::error!(error = failure.what, "the people could not be read"),
        }
        let Some(known) = &known else { continue };
        let (report, _) = once::one(running, profile, known).await;
        tracing::info!(
            profile = report.name,
            outcome = ?report.outcome,
            listed = report.listed,
            archived = report.archived,
            already_archived = report.already_archived,
            quarantined = report.quarantined,
            unfetchable = report.unfetchable,
            vanished = report.vanished,
            pending = report.pending,
            deleted = report.deleted,
            bytes = report.bytes,
            seconds = report.seconds,
            head = report.head.map(|head| head.to_string()).unwrap_or_default(),
            "cycle"
        );
        for alarm in &report.alarms {
            tracing::warn!(profile = report.name, alarm = output::safe(alarm), "alarm");
        }
        if let Some(error) = &report.error {
            let hint = error.hint.clone().unwrap_or_default();
            // The refusals themselves were errors; that there is a wait after them is none.
            if report.not_tried {
                tracing::info!(profile = report.name, why = output::safe(&error.what), "not tried");
            } else {
                tracing::error!(profile = report.name, error = output::safe(&error.what), hint, "cycle failed");
            }
        }
        if report.archived > 0 {
            news.notify_one();
        }
        if let Some(error) = running.agent.archive.ended() {
            return error.into();
        }
    }
}
