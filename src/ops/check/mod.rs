//! `gatepost check`: configuration, archive, people and gateways, each line ok, warning or failed with a
//! hint, as it comes. Changes nothing, here or on a server.

mod alarms;
mod canary;
mod gateway;
mod host;

use std::time::Duration;

use serde_json::json;

use super::exit::{Exit, Failure};
use super::output;
use super::wiring::{self, Global};
use crate::sources::{AnySource, Finding, Level};

#[derive(Debug, Default)]
pub struct Args {
    pub profile: Option<String>,
    /// A test alarm for every target, and nothing else.
    pub send_alarm: bool,
    /// A canary through the whole chain, and nothing else.
    pub send_test: bool,
    pub wait: Option<Duration>,
    pub json: bool,
}

pub fn check(global: &Global, args: &Args) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    let profiles = wiring::chosen(&settings, args.profile.as_deref())?;
    let runtime = wiring::runtime()?;
    let mut lines = Lines { is_silent: args.json, groups: Vec::new() };
    if args.send_alarm || args.send_test {
        let mut exit = Exit::Ok;
        if args.send_alarm {
            lines.group("test alarm");
            lines.all(runtime.block_on(alarms::send(&settings.alarms)));
            exit = if lines.has_failed() { Exit::Gateway } else { Exit::Ok };
        }
        if args.send_test {
            wiring::passwords(&profiles)?;
            lines.group("canary");
            exit = exit.max(runtime.block_on(canary::prove(&mut lines, &settings, &profiles, args.wait))?);
        }
        if args.json {
            lines.print_json()?;
        }
        return Ok(exit);
    }
    lines.group("gatepost");
    lines.tell(finding(Level::Ok, "configuration", &settings.file.display().to_string(), None));
    for notice in &settings.notices {
        lines.tell(finding(Level::Warning, "configuration", notice, None));
    }
    let layout = wiring::layout_of(&settings.archive);
    lines.all(host::archive(&layout));
    lines.all(host::people(&settings));
    lines.all(runtime.block_on(gateway::one_mailbox_twice(&settings.profiles)));
    let mut exit = if lines.has_failed() { Exit::Usage } else { Exit::Ok };
    if let Some(asked) = &settings.directory {
        lines.group("directory");
        lines.all(runtime.block_on(host::directory(&settings, asked)));
        if lines.has_failed() {
            exit = exit.max(Exit::Gateway);
        }
    }
    lines.group("alarms");
    lines.all(runtime.block_on(alarms::look(&settings)));
    if lines.has_failed() {
        exit = exit.max(Exit::Gateway);
    }
    for profile in profiles {
        lines.group(&profile.name);
        match profile.source_options() {
            Ok(options) => {
                let looked = runtime.block_on(AnySource::look(&options, &mut |finding| lines.tell(finding)));
                lines.all(gateway::identities(&layout, &looked));
            }
            Err(error) => lines.tell(finding(Level::Failed, "password", &error.what, error.hint.as_deref())),
        }
        lines.all(gateway::reporters(&layout, profile));
        let said = if profile.delete {
            "delete = true: an item is deleted on the gateway once it provably stands in the archive"
        } else {
            "delete = false: nothing is deleted on the gateway"
        };
        lines.tell(finding(Level::Ok, "deletion", said, None));
        if lines.has_failed() {
            exit = exit.max(Exit::Gateway);
        }
    }
    if args.json {
        lines.print_json()?;
    }
    Ok(exit)
}

/// The findings so far; they are printed as they come, or all at once as JSON.
struct Lines {
    is_silent: bool,
    groups: Vec<(String, Vec<Finding>)>,
}

impl Lines {
    fn group(&mut self, name: &str) {
        if !self.is_silent {
            output::line(name);
        }
        self.groups.push((name.to_owned(), Vec::new()));
    }

    fn tell(&mut self, finding: Finding) {
        if !self.is_silent {
            print(&finding);
        }
        if let Some((_, findings)) = self.groups.last_mut() {
            findings.push(finding);
        }
    }

    fn all(&mut self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.tell(finding));
    }

    /// In the group that is open.
    fn has_failed(&self) -> bool {
        self.groups.last().is_some_and(|(_, findings)| findings.iter().any(|one| one.level == Level::Failed))
    }

    fn print_json(&self) -> Result<(), Failure> {
        let lines: Vec<_> = self
            .groups
            .iter()
            .flat_map(|(group, findings)| {
                findings.iter().map(move |finding| {
                    json!({ "group": group, "level": finding.level, "what": finding.what,
                            "said": finding.said, "hint": finding.hint })
                })
            })
            .collect();
        output::json(&json!({ "checks": lines }))
    }
}

/// One line for people, and its hint.
pub(super) fn print(finding: &Finding) {
    let level = match finding.level {
        Level::Ok => "ok     ",
        Level::Warning => "warning",
        Level::Failed => "failed ",
    };
    let level = output::state(level);
    output::line(&format!("  {level}  {}: {}", output::safe(&finding.what), output::safe(&finding.said)));
    if let Some(hint) = &finding.hint {
        output::line(&format!("           hint: {}", output::safe(hint)));
    }
}

fn finding(level: Level, what: &str, said: &str, hint: Option<&str>) -> Finding {
    Finding { level, what: what.into(), said: said.into(), hint: hint.map(str::to_owned) }
}
