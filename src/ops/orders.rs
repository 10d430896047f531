//! Orders that change something: the running agent does them when there is one, else the command takes the archive's lock
//! and does them itself. Either way it is the same code, and who gave the order stands in the archive's chain.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::run::Agent;
use super::wiring::{self, Global, Running};
use super::{control, logging, once, output, pauses, people, quarantine, refile};
use crate::agent::health::Pause;
use crate::agent::logins::Asked;
use crate::config::Settings;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum Order {
    /// How the agent is.
    Snapshot,
    Once {
        profile: Option<String>,
        excluded: bool,
        retry_refused: bool,
    },
    Pause {
        profile: String,
    },
    Resume {
        profile: String,
    },
    Reload,
    LogLevel {
        level: String,
    },
    QuarantineRetry {
        items: Vec<u64>,
    },
    QuarantineDelete {
        items: Vec<u64>,
    },
    Refile(refile::Asked),
    PeopleMerge {
        from: String,
        into: String,
    },
}

impl Order {
    pub fn name(&self) -> &'static str {
        match self {
            Order::Snapshot => "status",
            Order::Once { .. } => "once",
            Order::Pause { .. } => "pause",
            Order::Resume { .. } => "resume",
            Order::Reload => "reload",
            Order::LogLevel { .. } => "log-level",
            Order::QuarantineRetry { .. } => "quarantine retry",
            Order::QuarantineDelete { .. } => "quarantine delete-on-gateway",
            Order::Refile(_) => "refile",
            Order::PeopleMerge { .. } => "people merge",
        }
    }
}

/// A line of the answer: for standard output, or for standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    Line(String),
    Note(String),
}

/// What came of an order, as it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    pub exit: Exit,
    pub json: Value,
    pub said: Vec<Said>,
    /// It ended early; what is told before was done.
    pub failure: Option<Failure>,
}

impl Done {
    pub fn new(exit: Exit, json: Value) -> Done {
        Done { exit, json, said: Vec::new(), failure: None }
    }

    pub fn line(&mut self, text: impl Into<String>) {
        self.said.push(Said::Line(text.into()));
    }

    pub fn note(&mut self, text: impl Into<String>) {
        self.said.push(Said::Note(text.into()));
    }

    /// Prints it: for people, or as one JSON document.
    pub fn print(self, as_json: bool) -> Result<Exit, Failure> {
        if as_json {
            output::json(&self.json)?;
        } else {
            for said in &self.said {
                match said {
                    Said::Line(text) => output::line(text),
                    Said::Note(text) => output::note(text),
                }
            }
        }
        self.failure.map_or(Ok(self.exit), Err)
    }
}

/// Has it done by whoever can, and prints what came of it.
pub fn give(global: &Global, settings: &Settings, order: &Order, as_json: bool) -> Result<Exit, Failure> {
    let done = match control::ask(settings, order)? {
        Some(done) => done,
        None => {
            let running =
                Running::start(settings, global.create_archive && matches!(order, Order::Once { .. }), order.name())?;
            for line in &running.mended {
                output::note(&format!("recovered: {line}"));
            }
            let done = wiring::runtime()?.block_on(perform(&running, settings, order, &wiring::user()));
            let finished = running.finish();
            let done = done?;
            if done.failure.is_none() {
                finished?;
            }
            done
        }
    };
    done.print(as_json)
}

/// For the running agent: what concerns it, and everything else.
pub async fn by_agent(agent: &Agent, running: &Running, order: &Order, who: &str) -> Result<Done, Failure> {
    let settings = agent.settings();
    match order {
        Order::Snapshot => Ok(Done::new(Exit::Ok, serde_json::to_value(agent.snapshot()).unwrap_or_default())),
        Order::Once { profile, excluded, retry_refused } => {
            let asked = match (retry_refused, profile) {
                (true, _) => Asked::ByForce,
                (false, Some(_)) => Asked::ByName,
                (false, None) => Asked::BySchedule,
            };
            cycles(agent, &settings, profile.as_deref(), asked, *excluded).await
        }
        Order::Pause { profile } => {
            let done = here(running, &settings, order, who)?;
            agent.pause(profile, Pause { since: agent.clock.now(), by: who.to_owned() });
            Ok(done)
        }
        Order::Resume { profile } => {
            let done = here(running, &settings, order, who)?;
            agent.resume(profile, who);
            Ok(done)
        }
        Order::Reload => {
            agent.reload().await?;
            let mut done = Done::new(Exit::Ok, json!({ "applied": true }));
            done.line("The configuration is valid and is being applied.");
            Ok(done)
        }
        Order::LogLevel { level } => {
            logging::set_level(level).map_err(|error| {
                Failure::usage(error)
                    .hint("a level (error, warn, info, debug, trace), or as GATEPOST_LOG: \"warn,gatepost=debug\"")
            })?;
            let mut done = Done::new(Exit::Ok, json!({ "level": level }));
            done.line(format!("The agent logs at {level} until it is started anew."));
            Ok(done)
        }
        Order::QuarantineRetry { .. }
        | Order::QuarantineDelete { .. }
        | Order::Refile(_)
        | Order::PeopleMerge { .. } => here(running, &settings, order, who),
    }
}

/// It holds readers of the archive while it works, and so has a thread for itself.
fn here(running: &Running, settings: &Settings, order: &Order, who: &str) -> Result<Done, Failure> {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(perform(running, settings, order, who)))
}

/// Cycles by the running agent: one of each profile, side by side, as `once` does it.
async fn cycles(
    agent: &Agent,
    settings: &Settings,
    profile: Option<&str>,
    asked: Asked,
    excluded: bool,
) -> Result<Done, Failure> {
    let chosen = wiring::chosen(settings, profile)?;
    let paused = |name: &str| agent.paused(name).map(|pause| (name.to_owned(), pause));
    let pauses = chosen.iter().filter_map(|profile| paused(&profile.name)).collect();
    let (chosen, skipped) = once::unpaused(chosen, &pauses, profile.is_some())?;
    let asks = chosen.iter().map(|profile| agent.ask(&profile.name, asked, excluded));
    let mut results = Vec::new();
    for result in futures_util::future::join_all(asks).await {
        results.push(result?);
    }
    Ok(once::done(&[], results, skipped))
}

/// With the archive's lock, or within the agent that has it.
pub async fn perform(running: &Running, settings: &Settings, order: &Order, who: &str) -> Result<Done, Failure> {
    match order {
        Order::Pause { profile } | Order::Resume { profile } => {
            let is_paused = matches!(order, Order::Pause { .. });
            wiring::chosen(settings, Some(profile))?;
            pauses::set(&running.agent.archive, profile, is_paused, who).await?;
            let mut done = Done::new(Exit::Ok, json!({ "profile": profile, "paused": is_paused }));
            match is_paused {
                true => {
                    done.line(format!("{profile} is paused: it is kept and not run until `gatepost resume {profile}`."))
                }
                false => done.line(format!("{profile} runs again.")),
            }
            Ok(done)
        }
        Order::QuarantineRetry { items } => quarantine::retried(running, settings, items, who).await,
        Order::QuarantineDelete { items } => quarantine::deleted(running, settings, items, who).await,
        Order::Refile(asked) => refile::refiled(Some(running), settings, asked, who).await,
        Order::PeopleMerge { from, into } => people::merged(running, settings, from, into, who).await,
        Order::Snapshot | Order::Reload | Order::LogLevel { .. } => Err(Failure {
            exit: Exit::Gateway,
            what: "no agent runs for this archive".into(),
            hint: Some("`gatepost run` starts one, or the service: `gatepost service start`".into()),
            refused: false,
        }),
        // `once` has its own way, which can be interrupted.
        Order::Once { .. } => Err(Failure::usage("not an order without an agent")),
    }
}

/// Orders that only a running agent understands.
pub fn to_agent(settings: &Settings, order: &Order, as_json: bool) -> Result<Exit, Failure> {
    match control::ask(settings, order)? {
        Some(done) => done.print(as_json),
        None => Err(Failure::usage("no agent runs for this archive")
            .hint("`gatepost run` starts one, or the service: `gatepost service start`")),
    }
}
