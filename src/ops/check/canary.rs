//! `check --send-test`: a mail through the whole organisation, until it stands in the archive.
//!
//! Other than the rest of `check` it changes something: it sends a mail, and while no agent runs it runs the cycles that
//! archive it.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Lines, finding};
use crate::agent::report::{Outcome, ProfileReport};
use crate::archive::Layout;
use crate::config::{ProfileSettings, Settings};
use crate::ops::directory::Keeper;
use crate::ops::exit::{Exit, Failure};
use crate::ops::watch::canary::{self, Flight};
use crate::ops::wiring::{self, Running};
use crate::ops::{once, output};
use crate::sources::Level;

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

pub(super) async fn prove(
    lines: &mut Lines,
    settings: &Settings,
    profiles: &[&ProfileSettings],
    wait: Option<Duration>,
) -> Result<Exit, Failure> {
    let Some(canary) = &settings.canary else {
        let hint = "add [canary] with `from` and `to`: an internal sender and an internal recipient";
        return Err(Failure::usage("there is no [canary] in the configuration").hint(hint));
    };
    let layout = wiring::layout_of(&settings.archive);
    let flight = match canary::send(canary, Timestamp::now()).await {
        Ok(flight) => flight,
        Err(failure) => {
            lines.tell(finding(Level::Failed, "sent", &failure.what, failure.hint.as_deref()));
            return Ok(Exit::Gateway);
        }
    };
    let said = format!("{} to {}, as {:?}: {}", canary.from, canary.to, subject(&flight), flight.said);
    lines.tell(finding(Level::Ok, "sent", &said, None));
    let limit = wait.unwrap_or(canary.timeout);
    let (began, mut seen) = (Instant::now(), Seen::default());
    loop {
        if let Some(id) = look(&layout, &flight).await? {
            let took = humantime::format_duration(Duration::from_secs(began.elapsed().as_secs()));
            let said = format!("message {id}, {took} after it was sent (gatepost show {id})");
            lines.tell(finding(Level::Ok, "archived", &said, None));
            return Ok(Exit::Ok);
        }
        if began.elapsed() >= limit {
            break;
        }
        match cycles(settings, profiles).await {
            Ok(Some(reports)) => {
                seen.note(&reports);
                if look(&layout, &flight).await?.is_some() {
                    continue;
                }
            }
            Ok(None) => seen.an_agent = true,
            Err(failure) => {
                lines.tell(finding(Level::Failed, "cycle", &failure.what, failure.hint.as_deref()));
                return Ok(failure.exit);
            }
        }
        tokio::time::sleep(LOOK_AGAIN.min(limit.saturating_sub(began.elapsed()))).await;
    }
    lines.all(seen.told());
    let missing = canary::missing(&flight, Timestamp::now());
    lines.tell(finding(Level::Failed, "archived", &missing.text, Some(&missing.hint)));
    Ok(Exit::Gateway)
}

fn subject(flight: &Flight) -> String {
    format!("gatepost canary {}", flight.token)
}

/// On a thread of its own: it reads the catalogue.
async fn look(layout: &Layout, flight: &Flight) -> Result<Option<u64>, Failure> {
    let (layout, flight) = (layout.clone(), flight.clone());
    match tokio::task::spawn_blocking(move || canary::is_archived(&layout, &flight)).await {
        Ok(found) => found,
        Err(_) => Err(Failure::usage("the archive could not be read: gatepost failed unexpectedly")),
    }
}

/// A cycle of each profile; `None`: an agent holds the archive, and does so itself.
async fn cycles(settings: &Settings, profiles: &[&ProfileSettings]) -> Result<Option<Vec<ProfileReport>>, Failure> {
    let running = match Running::start(settings, false, "check --send-test") {
        Ok(running) => running,
        Err(failure) if failure.exit == Exit::Locked => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let keeper = Keeper::default();
    let done = async {
        let known = keeper.known(settings).await?;
        known.record(&running).await?;
        let cycles = profiles.iter().map(|profile| once::one(&running, profile, &known));
        Ok(futures_util::future::join_all(cycles).await.into_iter().map(|(report, _)| report).collect())
    }
    .await;
    running.finish()?;
    done.map(Some)
}

/// What the cycles of this command saw.
#[derive(Default)]
struct Seen {
    an_agent: bool,
    arrived: u64,
    errors: Vec<String>,
}

impl Seen {
    fn note(&mut self, reports: &[ProfileReport]) {
        for report in reports {
            self.arrived += report.listed;
            if let (Outcome::Error, Some(error)) = (report.outcome, &report.error) {
                let error = format!("{}: {}", report.name, error.what);
                if !self.errors.contains(&error) {
                    self.errors.push(error);
                }
            }
        }
    }

    fn told(&self) -> Vec<crate::sources::Finding> {
        let mut told: Vec<_> = self.errors.iter().map(|error| finding(Level::Failed, "gateway", error, None)).collect();
        if self.an_agent {
            let hint = Some("gatepost status shows how it is");
            told.push(finding(Level::Ok, "gateway", "the agent that runs looks there by its schedule", hint));
        } else if self.errors.is_empty() {
            let items = output::plural(self.arrived, "item", "items");
            let said = match self.arrived {
                0 => "nothing new arrived there".to_owned(),
                _ => format!("{items} arrived there, and the canary is none of them"),
            };
            told.push(finding(Level::Warning, "gateway", &said, None));
        }
        told
    }
}
