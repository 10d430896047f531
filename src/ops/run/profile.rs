//! One profile of a running agent: it waits, runs a cycle, tells how it went, and waits again. It never overlaps itself.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::live::{self, Ask, Live};
use crate::agent::logins::Asked;
use crate::agent::pace::{Halt, Held, Pacing};
use crate::agent::report::ProfileReport;
use crate::base::backoff::{Backoff, jittered};
use crate::config::{ProfileSettings, Settings};
use crate::ops::directory::Known;
use crate::ops::exit::Exit;
use crate::ops::once::{self, Manner};
use crate::ops::output;
use crate::ops::wiring::Running;

/// A cycle takes so long at most before it lets go, so that a long backlog does not keep the agent from anything.
const SLICE: Duration = Duration::from_secs(60);
/// The first wait after a failure, and the longest for profiles that run seldom or often.
const RETRY_FIRST: Duration = Duration::from_secs(15);
const RETRY_MOST: Duration = Duration::from_secs(15 * 60);
const RETRY_MOST_MIN: Duration = Duration::from_secs(60);

/// What makes a cycle begin.
enum Begins {
    Due,
    /// News at the gateway, or somebody paused it.
    Woken,
    Asked(Ask),
    Halted,
}

pub async fn forever(
    live: Arc<Live>,
    running: Arc<Running>,
    settings: Arc<Settings>,
    profile: Arc<ProfileSettings>,
    mut asks: mpsc::Receiver<Ask>,
    halt: Halt,
) {
    let wake = live.wake(&profile.name);
    let mut due = first(&live, &profile);
    let mut known: Option<Known> = None;
    loop {
        let begins = if live.paused(&profile.name).is_some() || live.is_damaged() {
            live.runs(&profile.name, false, None);
            tokio::select! {
                biased;
                () = halt.halted() => Begins::Halted,
                // Whoever sent it hears that it is paused from the agent; a person who insists gets a cycle.
                Some(ask) = asks.recv() => Begins::Asked(ask),
                () = wake.notified() => {
                    due = live.clock.now();
                    continue;
                }
            }
        } else {
            live.runs(&profile.name, false, Some(due));
            tokio::select! {
                biased;
                () = halt.halted() => Begins::Halted,
                Some(ask) = asks.recv() => Begins::Asked(ask),
                () = wake.notified() => Begins::Woken,
                () = live.clock.sleep_until(due) => Begins::Due,
            }
        };
        let ask = match begins {
            Begins::Halted => return,
            Begins::Due | Begins::Woken if live.paused(&profile.name).is_some() => continue,
            // A gateway that fails is not asked more often because it says that there is news.
            Begins::Woken if live.failures(&profile.name) > 0 => continue,
            Begins::Due | Begins::Woken => None,
            Begins::Asked(ask) => Some(ask),
        };
        if live.is_damaged() {
            // Dropping the question answers it.
            continue;
        }
        live.runs(&profile.name, true, None);
        renew(&live, &running, &settings, &mut known).await;
        let Some(known) = &known else {
            due = live.clock.now() + SignedDuration::from_secs(60);
            continue;
        };
        let manner = Manner {
            asked: ask.as_ref().map_or(Asked::BySchedule, |ask| ask.asked),
            look_at_excluded: ask.as_ref().is_some_and(|ask| ask.look_at_excluded),
            pacing: Pacing { slice: Some(SLICE), bandwidth: profile.bandwidth, halt: halt.clone() },
        };
        let cycle = once::one(&running, &profile, known, &manner);
        let cycled = tokio::select! {
            cycled = cycle => cycled,
            // What hangs in the middle of a command is left there; what had come is archived.
            () = async { halt.halted().await; tokio::time::sleep(super::GRACE / 2).await } => return,
        };
        told(&live, &running, &profile, &cycled).await;
        let once::Cycled { report, exit, .. } = cycled;
        due = next(&live, &profile, &report);
        if exit == Exit::Damaged {
            let what = report.error.as_ref().map(|error| error.what.clone()).unwrap_or_default();
            let hint = report.error.as_ref().and_then(|error| error.hint.clone());
            live.damaged(crate::ops::exit::Failure { exit, what, hint, refused: false });
        }
        if let Some(ask) = ask {
            // Whoever asked may be gone.
            let _ = ask.reply.send((report, exit));
        }
    }
}

/// The people of the next cycle. Where they cannot be read, the last good ones serve until the file is mended.
async fn renew(live: &Live, running: &Running, settings: &Settings, known: &mut Option<Known>) {
    // It holds the catalogue while it asks the directory, and so has a thread for itself.
    let asked = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(live.keeper.known(settings)));
    match asked {
        Ok(fresh) => {
            if let Err(failure) = fresh.record(running).await {
                tracing::error!(error = failure.what, "the archive's records of people could not be renewed");
            }
            *known = Some(fresh);
        }
        Err(failure) => {
            tracing::error!(error = failure.what, "the people could not be read");
            if let Some(known) = known {
                known.cannot_be_renewed(&failure);
            }
        }
    }
}

/// What is known of a cycle goes to whom it concerns.
async fn told(live: &Live, running: &Running, profile: &ProfileSettings, cycled: &once::Cycled) {
    let report = &cycled.report;
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
    if let Some(error) = &report.error {
        let hint = error.hint.clone().unwrap_or_default();
        // The refusals themselves were errors; that there is a wait after them is none.
        if report.not_tried {
            tracing::info!(profile = report.name, why = output::safe(&error.what), "not tried");
        } else {
            tracing::error!(profile = report.name, error = output::safe(&error.what), hint, "cycle failed");
        }
    }
    // What is idle changed nothing; an archive that has ended says so elsewhere.
    let open = if report.is_idle() && live.last_run(&profile.name).is_some_and(|last| last >= live.started) {
        None
    } else {
        live::open_of(running, profile).await.ok()
    };
    live.finished(report, cycled.run, open);
    if report.archived > 0 {
        live.news.notify_one();
    }
}

/// When the first cycle of a generation is due.
fn first(live: &Live, profile: &ProfileSettings) -> Timestamp {
    let now = live.clock.now();
    let last = live.last_run(&profile.name);
    match &profile.schedule {
        // A configuration that is applied does not make everything run at once.
        crate::agent::schedule::Schedule::Every(_) => match last.filter(|last| *last >= live.started) {
            Some(last) => profile.schedule.next(last).unwrap_or(now).max(now),
            None => now + spread(profile),
        },
        // A time that passed while the agent did not run is made up for.
        crate::agent::schedule::Schedule::Cron(_) => {
            profile.schedule.next(last.unwrap_or(now).min(now)).map_or(Timestamp::MAX, |at| at.max(now))
        }
    }
}

/// When the cycle after this one is due.
fn next(live: &Live, profile: &ProfileSettings, report: &ProfileReport) -> Timestamp {
    let now = live.clock.now();
    let scheduled = profile.schedule.next(now).unwrap_or(Timestamp::MAX);
    if report.held_back == Some(Held::Slice) {
        return now;
    }
    if report.error.is_some() && !report.not_tried {
        let interval = profile.schedule.interval(now);
        let most = interval.clamp(RETRY_MOST_MIN, RETRY_MOST);
        let backoff = Backoff { first: RETRY_FIRST.min(interval), most };
        let wait = jittered(backoff.wait(live.failures(&profile.name)));
        return now.checked_add(wait).unwrap_or(scheduled);
    }
    scheduled.checked_add(spread(profile)).unwrap_or(scheduled)
}

/// A part of the profile's jitter, by chance.
fn spread(profile: &ProfileSettings) -> SignedDuration {
    let most = profile.jitter.saturating_mul(10);
    let extra = jittered(most).saturating_sub(most).min(profile.jitter);
    SignedDuration::try_from(extra).unwrap_or_default()
}
