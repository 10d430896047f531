//! `gatepost run`: the agent, until it is told to stop.
//!
//! ```text
//! turn          an open archive: ends when its writer does (a full disk, a dying one), and is begun anew
//!   generation  a configuration: ends when another one is to be applied
//!     profile   waits, runs a cycle, tells how it went; each by itself, so that one that hangs holds up no other
//!     idle      waits for news at the gateway, where that is configured
//!     tend      every half minute: alarms, disk, heartbeat, report, canary
//!   control     takes orders from `gatepost …`
//! ```
//!
//! A part that ends by a panic ends its generation: it is told, and all parts are begun anew.
//!
//! Must: what is downloaded when the agent is told to stop is archived; a configuration with mistakes changes nothing; a
//! damaged archive stops collecting and deleting, and the agent stays to say so.

mod idle;
mod live;
mod profile;
mod tend;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::live::{Live, Order as Command};
use super::control;
use super::exit::{Exit, Failure};
use super::host::Host;
use super::indexing;
use super::logging;
use super::service;
use super::watch::deliver::{Targets, deliver};
use super::watch::http;
use super::wiring::{self, Global, Running};
use crate::agent::alarms::{Kind, Message};
use crate::agent::disk::Room;
use crate::agent::pace::Halt;
use crate::archive::ArchiveError;
use crate::base::backoff::Backoff;
use crate::base::clock::{Clock, SystemClock};
use crate::config::Settings;

pub use live::Live as Agent;

/// What is under way when the agent is told to stop gets so long to come to an end.
const GRACE: Duration = Duration::from_secs(8);
/// For alarms that are on their way when the agent is told to stop.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Between two tries to open an archive whose writer ended, or after a panic.
const REOPEN: Backoff = Backoff { first: Duration::from_secs(5), most: Duration::from_secs(300) };

pub fn run(global: &Global) -> Result<Exit, Failure> {
    with_a_thrifty_allocator();
    agent(global, service::host().as_ref(), wiring::told_to_stop())
}

/// The agent under a service manager, or without one; ends when `stop` does, or when the archive cannot be opened.
pub fn agent(global: &Global, host: &dyn Host, stop: impl Future<Output = ()>) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    for notice in &settings.notices {
        tracing::warn!(notice, "configuration");
    }
    logging::retarget(&settings.log)?;
    wiring::passwords(&settings.profiles.iter().collect::<Vec<_>>())?;
    let surroundings = Surroundings { clock: Arc::new(SystemClock), measure: None, ear: None };
    wiring::runtime()?.block_on(live_on(global, settings, surroundings, host, stop))
}

/// Asks for the room on the archive's disk, in the place of the system.
pub type Measure = Arc<dyn Fn() -> std::io::Result<Room> + Send + Sync>;

/// What tests put in the place of the world.
#[derive(Clone)]
pub struct Surroundings {
    pub clock: Arc<dyn Clock>,
    pub measure: Option<Measure>,
    /// Hears every alarm.
    pub ear: Option<mpsc::UnboundedSender<Message>>,
}

/// Why a generation ended.
enum Ended {
    Stop,
    Reload(Box<Settings>),
    /// The archive's writer.
    Archive(ArchiveError),
    /// One of its parts, by a defect.
    Panic,
}

async fn live_on(
    global: &Global,
    settings: Settings,
    surroundings: Surroundings,
    host: &dyn Host,
    stop: impl Future<Output = ()>,
) -> Result<Exit, Failure> {
    tokio::pin!(stop);
    let (commands, mut orders) = mpsc::channel(4);
    let mut settings = Arc::new(settings);
    let mut known: Option<Arc<Live>> = None;
    let (mut failures, mut panics) = (0u32, 0u32);
    // What goes on while the archive is opened again: alarms go out, metrics are served.
    let mut beside = JoinSet::new();
    loop {
        let running = match open(global, &settings, &surroundings, known.is_none()) {
            Ok(running) => Arc::new(running),
            Err(failure) => {
                let Some(live) = &known else {
                    tell_of_the_start(&settings, &failure, surroundings.clock.now()).await;
                    return Err(failure);
                };
                failures += 1;
                live.cannot_open(&failure);
                let at = surroundings.clock.now() + REOPEN.wait(failures);
                tokio::select! {
                    () = surroundings.clock.sleep_until(at) => continue,
                    () = &mut stop => return Err(failure),
                }
            }
        };
        for line in &running.mended {
            tracing::warn!(did = line, "recovered");
        }
        let live = match &known {
            Some(live) => {
                live.reopened();
                live.clone()
            }
            None => {
                let live = Live::start(global.clone(), &settings, &running, surroundings.clone(), commands.clone())?;
                tracing::info!(
                    profiles = settings.profiles.len(), archive = %settings.archive.path.display(), "started"
                );
                let live = known.insert(Arc::new(live)).clone();
                watched(&live, &settings, &mut beside).await;
                live
            }
        };
        let mut control = JoinSet::new();
        match control::listen(&settings) {
            Ok(listener) => {
                control.spawn(control::serve(listener, live.clone(), running.clone()));
            }
            // The agent is worth more than its telephone.
            Err(failure) => tracing::warn!(error = failure.what, hint = failure.hint, "no commands are taken"),
        }
        host.ready();
        let error = loop {
            match generation(&live, &running, &settings, host, &mut orders, stop.as_mut()).await {
                Ended::Reload(new) => {
                    settings = Arc::new(*new);
                    live.apply(&settings);
                    host.ready();
                    tracing::info!(profiles = settings.profiles.len(), "configuration applied");
                }
                Ended::Archive(error) => break Some(error),
                Ended::Panic => {
                    panics += 1;
                    let text =
                        "a part of the agent ended by a defect of gatepost; nothing was lost, all parts begin anew";
                    let hint = "please report it, with the log's line `a part of gatepost failed unexpectedly`";
                    live.event(None, Kind::Defect, text.to_owned(), Some(hint.to_owned()));
                    let at = surroundings.clock.now() + REOPEN.wait(panics);
                    tokio::select! {
                        () = surroundings.clock.sleep_until(at) => {}
                        () = &mut stop => break None,
                    }
                }
                Ended::Stop => {
                    host.stopping();
                    tracing::info!("stopping");
                    break None;
                }
            }
        };
        control.shutdown().await;
        live.closed();
        let finished = finish(running).await;
        match error {
            Some(error) => {
                failures += 1;
                let failure = Failure::from(error);
                live.cannot_open(&failure);
                let at = surroundings.clock.now() + REOPEN.wait(failures);
                tokio::select! {
                    () = surroundings.clock.sleep_until(at) => {}
                    () = &mut stop => return Err(failure),
                }
            }
            None => {
                // Alarms that were told just now should be heard; what is not taken waits for the next start.
                let alarms = live.settings().alarms.clone();
                let _ = tokio::time::timeout(LAST_WORDS, live.queue.settle(&Targets(&alarms))).await;
                return finished.map(|()| Exit::Ok);
            }
        }
    }
}

/// Closes the archive once the last part has let go of it: an order that was being answered ends a moment after the others.
async fn finish(mut running: Arc<Running>) -> Result<(), Failure> {
    for _ in 0..100 {
        match Arc::try_unwrap(running) {
            Ok(last) => return last.finish(),
            Err(held) => running = held,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(Failure::usage("a part of the agent did not end; the archive is closed by its next opening"))
}

/// An agent that cannot start tells of it, unless another one works on the archive.
async fn tell_of_the_start(settings: &Settings, failure: &Failure, at: jiff::Timestamp) {
    if failure.exit == Exit::Locked {
        return;
    }
    let is_damaged = failure.exit == Exit::Damaged;
    let kind = if is_damaged { Kind::Damaged } else { Kind::Unwritable };
    let message = Message {
        key: format!("archive/{}", kind.as_str()),
        kind: kind.as_str().to_owned(),
        state: crate::agent::alarms::State::Event,
        severity: kind.severity(),
        profile: None,
        text: format!(
            "{}. The agent did not start; nothing is collected or deleted",
            failure.what.trim_end_matches('.')
        ),
        hint: failure.hint.clone(),
        since: at,
        at,
        head: None,
    };
    for (target, taken) in deliver(&settings.alarms, &message).await {
        if let Err(error) = taken {
            tracing::warn!(%target, error, "a target of alarms does not take them");
        }
    }
}

/// Starts what looks at the agent from outside.
async fn watched(live: &Arc<Live>, settings: &Settings, beside: &mut JoinSet<()>) {
    let speaker = live.clone();
    beside.spawn(async move {
        let settings = || Arc::new(speaker.settings().alarms.clone());
        match speaker.queue.run(settings).await {}
    });
    let Some(address) = settings.metrics.listen else { return };
    if let Some(listener) = http::listen(address).await {
        let shown = live.clone();
        beside.spawn(async move { match http::serve(listener, Arc::new(move || shown.snapshot())).await {} });
    }
}

fn open(global: &Global, settings: &Settings, surroundings: &Surroundings, is_first: bool) -> Result<Running, Failure> {
    let create = is_first && global.create_archive;
    let running = Running::start_with(settings, create, "run", surroundings.clock.clone())?;
    Ok(match surroundings.measure.clone() {
        Some(measure) => running.measured_by(measure),
        None => running,
    })
}

/// Runs the profiles of a configuration until something ends it.
async fn generation(
    live: &Arc<Live>,
    running: &Arc<Running>,
    settings: &Arc<Settings>,
    host: &dyn Host,
    orders: &mut mpsc::Receiver<Command>,
    mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> Ended {
    let halt = Halt::default();
    let mut tasks = JoinSet::new();
    for (profile, asks) in live.profiles_of(settings) {
        let profile = Arc::new(profile);
        if profile.idles() {
            tasks.spawn(idle::watch(live.clone(), profile.clone(), halt.clone()));
        }
        tasks.spawn(profile::forever(live.clone(), running.clone(), settings.clone(), profile, asks, halt.clone()));
    }
    tasks.spawn(tend::until_halted(live.clone(), settings.clone(), halt.clone()));
    let index = indexing::follow(&live.global, settings, &live.news);
    let alive = be_alive(live, running, host);
    let hangup = wiring::hangups(|| async {
        host.reloading();
        if let Err(failure) = live.reload().await {
            tracing::error!(
                error = failure.what,
                hint = failure.hint,
                "the configuration was not applied; the old one goes on"
            );
            host.ready();
        }
    });
    let ended = tokio::select! {
        biased;
        () = &mut stop => Ended::Stop,
        Some(Command::Apply(new)) = orders.recv() => {
            host.reloading();
            Ended::Reload(new)
        }
        error = live.archive_ended(running) => Ended::Archive(error),
        never = index => match never {},
        () = panicked(&mut tasks) => Ended::Panic,
        never = alive => match never {},
        never = hangup => match never {},
    };
    halt.halt();
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::warn!("something did not come to an end in time; it is given up, and done again by the next run");
    }
    tasks.shutdown().await;
    ended
}

/// Ends when a part does by a panic. One that has nothing more to do, as the wait for news at a gateway that tells none,
/// ends well, and hides no other.
async fn panicked(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if ended.is_err() {
            return;
        }
    }
    std::future::pending().await
}

/// Tells the service manager that the agent lives, as long as the archive answers. Never returns.
async fn be_alive(live: &Live, running: &Running, host: &dyn Host) -> Infallible {
    let every = host.alive_every().unwrap_or(Duration::from_secs(60));
    loop {
        host.status(&live.summary());
        if running.agent.archive.call(|_| Ok(())).await.is_ok() {
            host.alive();
        }
        tokio::time::sleep(every).await;
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

#[cfg(test)]
mod simulation;
