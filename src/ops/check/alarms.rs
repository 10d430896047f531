//! What `check` says about the targets of alarms; with `--send-alarm` each gets one.

use std::path::Path;

use jiff::Timestamp;

use super::finding;
use crate::config::watch::{CommandTarget, EndpointSettings, SmtpSettings};
use crate::config::{AlarmSettings, Settings};
use crate::net::http;
use crate::net::smtp::Session;
use crate::ops::watch::deliver::{self, Target};
use crate::sources::{Finding, Level};

/// Whether each target could be reached, without telling it anything.
pub(super) async fn look(settings: &Settings) -> Vec<Finding> {
    let alarms = &settings.alarms;
    let mut findings = Vec::new();
    if let Some(mail) = &alarms.mail {
        findings.push(smtp("mail", &mail.smtp).await);
    }
    if let Some(webhook) = &alarms.webhook {
        let headers: Result<Vec<_>, _> = webhook.headers.iter().map(|(_, value)| value.resolve()).collect();
        findings.push(match headers {
            Ok(_) => endpoint("webhook", &webhook.endpoint).await,
            Err(error) => finding(Level::Failed, "webhook", &error.what, error.hint.as_deref()),
        });
    }
    if let Some(target) = &alarms.command {
        findings.push(command(target));
    }
    if findings.is_empty() && !settings.profiles.is_empty() {
        let said = "nobody is told when something is wrong; it only stands in the log";
        let hint = "add [alarms.mail], [alarms.webhook] or [alarms.command] (see config/gatepost.toml)";
        findings.push(finding(Level::Warning, "alarms", said, Some(hint)));
    }
    if let Some(heartbeat) = &alarms.heartbeat {
        findings.push(endpoint("heartbeat", &heartbeat.endpoint).await);
    }
    if let Some(canary) = &settings.canary {
        findings.push(smtp("canary", &canary.smtp).await);
    }
    findings
}

async fn smtp(what: &str, settings: &SmtpSettings) -> Finding {
    let options = match settings.options() {
        Ok(options) => options,
        Err(error) => return finding(Level::Failed, what, &error.what, error.hint.as_deref()),
    };
    let peer = options.peer();
    match Session::open(&options).await {
        Ok(session) => {
            let verified = if session.certificate.is_some() { options.trust.verified() } else { "without TLS" };
            session.close().await;
            let login = if options.login.is_some() { ", the login works" } else { "" };
            finding(Level::Ok, what, &format!("{peer}, {verified}{login}"), None)
        }
        Err(error) => finding(Level::Failed, what, &format!("{peer}: {error}"), error.hint().as_deref()),
    }
}

async fn endpoint(what: &str, settings: &EndpointSettings) -> Finding {
    let endpoint = match settings.endpoint() {
        Ok(endpoint) => endpoint,
        Err(error) => return finding(Level::Failed, what, &error.what, error.hint.as_deref()),
    };
    let shown = &endpoint.shown;
    match http::look(&endpoint).await {
        Ok(()) => finding(Level::Ok, what, &format!("{shown} can be reached"), None),
        Err(error) => finding(Level::Failed, what, &format!("{shown}: {error}"), error.hint().as_deref()),
    }
}

fn command(target: &CommandTarget) -> Finding {
    let program = target.run.first().map(String::as_str).unwrap_or_default();
    let here = Path::new(program);
    if here.components().count() == 1 {
        return finding(
            Level::Ok,
            "command",
            &format!("{program}, which is looked for in PATH when it is needed"),
            None,
        );
    }
    let path = target.folder.join(here);
    let shown = path.display().to_string();
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() && is_executable(&metadata) => finding(Level::Ok, "command", &shown, None),
        Ok(_) => {
            let hint = "chmod +x it, and let the user that gatepost runs as execute it";
            finding(Level::Failed, "command", &format!("{shown} is no program that can be run"), Some(hint))
        }
        Err(error) => {
            finding(Level::Failed, "command", &format!("{shown}: {error}"), Some("check [alarms.command] run"))
        }
    }
}

#[cfg(unix)]
fn is_executable(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_metadata: &std::fs::Metadata) -> bool {
    true
}

/// A test alarm for every target, whatever severity it is meant for.
pub(super) async fn send(settings: &AlarmSettings) -> Vec<Finding> {
    let message = deliver::sample(Timestamp::now());
    deliver::log(&message);
    let configured: Vec<Target> = Target::ALL
        .into_iter()
        .filter(|target| match target {
            Target::Mail => settings.mail.is_some(),
            Target::Webhook => settings.webhook.is_some(),
            Target::Command => settings.command.is_some(),
        })
        .collect();
    if configured.is_empty() {
        let hint = Some("add [alarms.mail], [alarms.webhook] or [alarms.command]");
        return vec![finding(Level::Failed, "alarms", "there is no target to send a test alarm to", hint)];
    }
    let mut findings = Vec::new();
    for target in configured {
        findings.push(match deliver::deliver_to(settings, target, &message).await {
            Ok(()) => finding(Level::Ok, target.as_str(), "the test alarm was taken", None),
            Err(error) => finding(Level::Failed, target.as_str(), &error, None),
        });
    }
    findings
}
