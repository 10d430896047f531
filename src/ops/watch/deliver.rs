//! An alarm on its way out: to a mailbox, a web address, a program, the log. Each target is on its own.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::mail::{self, blocking};
use super::{command, queue};
use crate::agent::alarms::{Message, Severity, State};
use crate::config::AlarmSettings;
use crate::config::watch::{CommandTarget, WebhookTarget};
use crate::net::http;
use crate::ops::wiring;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    Mail,
    Webhook,
    Command,
}

impl Target {
    pub const ALL: [Target; 3] = [Target::Mail, Target::Webhook, Target::Command];

    pub fn as_str(self) -> &'static str {
        match self {
            Target::Mail => "mail",
            Target::Webhook => "webhook",
            Target::Command => "command",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Those that a message of this severity goes to.
pub fn targets(settings: &AlarmSettings, severity: Severity) -> Vec<Target> {
    let least = |target: Target| match target {
        Target::Mail => settings.mail.as_ref().map(|target| target.from_severity),
        Target::Webhook => settings.webhook.as_ref().map(|target| target.from_severity),
        Target::Command => settings.command.as_ref().map(|target| target.from_severity),
    };
    Target::ALL.into_iter().filter(|target| least(*target).is_some_and(|least| severity >= least)).collect()
}

/// Gives a message to every target at once, and to the log; nothing is kept for later (the [`queue::Queue`] does that).
pub async fn deliver(settings: &AlarmSettings, message: &Message) -> Vec<(Target, Result<(), String>)> {
    if settings.system_log {
        log(message);
    }
    let sent = targets(settings, message.severity).into_iter().map(async |target| {
        let taken = deliver_to(settings, target, message).await;
        (target, taken)
    });
    futures_util::future::join_all(sent).await
}

/// A target that is not configured takes everything.
pub async fn deliver_to(settings: &AlarmSettings, target: Target, message: &Message) -> Result<(), String> {
    match target {
        Target::Mail => {
            let Some(target) = &settings.mail else { return Ok(()) };
            let draft = mail::of_alarm(target, message, &wiring::machine());
            mail::send(&target.smtp, &draft).await.map(drop).map_err(|failure| with_hint(failure.what, failure.hint))
        }
        Target::Webhook => {
            let Some(target) = &settings.webhook else { return Ok(()) };
            post(target, message).await
        }
        Target::Command => {
            let Some(target) = settings.command.clone() else { return Ok(()) };
            run(target, message.clone()).await
        }
    }
}

fn with_hint(what: String, hint: Option<String>) -> String {
    hint.map_or_else(|| what.clone(), |hint| format!("{what} (hint: {hint})"))
}

async fn post(target: &WebhookTarget, message: &Message) -> Result<(), String> {
    let fetched = target.clone();
    let (endpoint, headers) = blocking(move || {
        let headers = fetched.headers.iter().map(|(name, value)| Ok((name.clone(), value.resolve()?)));
        Ok((fetched.endpoint.endpoint()?, headers.collect::<Result<Vec<_>, _>>()?))
    })
    .await
    .map_err(|failure| failure.what)?;
    let called = http::call(&endpoint, &headers, Some(body(message))).await;
    called.map_err(|error| with_hint(format!("{}: {error}", endpoint.shown), error.hint()))
}

async fn run(target: CommandTarget, message: Message) -> Result<(), String> {
    let json = body(&message);
    match tokio::task::spawn_blocking(move || command::run(&target, &message, &json)).await {
        Ok(done) => done,
        Err(_) => Err("gatepost failed unexpectedly".to_owned()),
    }
}

/// The message with the host that it comes from.
pub fn body(message: &Message) -> Vec<u8> {
    let mut body = json!(message);
    body["host"] = wiring::machine().into();
    body["version"] = env!("CARGO_PKG_VERSION").into();
    body.to_string().into_bytes()
}

/// The system's log: a line of the agent's own, at the alarm's severity.
pub fn log(message: &Message) {
    let Message { key, kind, state, severity, profile, text, hint, since, at: _, head } = message;
    let profile = profile.as_deref().unwrap_or_default();
    let (hint, head) = (hint.as_deref().unwrap_or_default(), head.map(|head| head.to_string()).unwrap_or_default());
    let (state, since) = (format!("{state:?}").to_lowercase(), since.to_string());
    // One sentence for each, so that both are easily found.
    match (message.state, severity) {
        (State::Cleared, _) => tracing::info!(key, kind, profile, text, since, head, "alarm is over"),
        (_, Severity::Critical) => tracing::error!(key, kind, state, profile, text, hint, since, head, "alarm"),
        (_, Severity::Warning) => tracing::warn!(key, kind, state, profile, text, hint, since, head, "alarm"),
    }
}

/// What `check --send-alarm` sends.
pub fn sample(at: Timestamp) -> Message {
    Message {
        key: "gatepost/test".into(),
        kind: "test".into(),
        state: State::Event,
        severity: Severity::Warning,
        profile: None,
        text: "this is a test alarm. Somebody asked for it with `gatepost check --send-alarm`; nothing is wrong."
            .into(),
        hint: None,
        since: at,
        at,
        head: None,
    }
}

/// The targets as a queue wants them.
pub struct Targets<'a>(pub &'a AlarmSettings);

impl queue::Deliver for Targets<'_> {
    async fn send(&self, target: Target, message: &Message) -> Result<(), String> {
        deliver_to(self.0, target, message).await
    }
}
