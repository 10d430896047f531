//! Reading what is called: `[alarms.webhook]`, `[alarms.command]`, `[alarms.heartbeat]`.

use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::smtp::limit;
use super::{CommandTarget, EndpointSettings, HeartbeatSettings, PLAIN, PLAIN_HINT, WebhookTarget};
use crate::agent::alarms::Severity;
use crate::base::units::parse_duration;
use crate::config::login::proxy;
use crate::config::raw::Table;
use crate::config::resolve::path;
use crate::config::secret::{SecretRef, plain_ref, secret_ref};
use crate::net::http::{BadUrl, check_url, is_header};

pub(super) fn from_severity(table: &Table<'_, '_>) -> Severity {
    let choices = [("warning", Severity::Warning), ("critical", Severity::Critical)];
    table.choice("from_severity", &choices).unwrap_or(Severity::Warning)
}

pub(super) fn webhook(table: &Table<'_, '_>, folder: &Path) -> Option<WebhookTarget> {
    let (endpoint, headers) = (endpoint(table, folder), headers(table, folder));
    let from_severity = from_severity(table);
    Some(WebhookTarget { endpoint: endpoint?, headers, from_severity })
}

pub(super) fn heartbeat(table: &Table<'_, '_>, folder: &Path) -> Option<HeartbeatSettings> {
    let endpoint = endpoint(table, folder);
    let every = table.unit("every", parse_duration, "\"5m\"").unwrap_or(Duration::from_secs(5 * 60));
    if every < Duration::from_secs(10) {
        table.wrong("every", "is less than ten seconds", "\"5m\" is usual; let the other side wait somewhat longer");
    }
    Some(HeartbeatSettings { endpoint: endpoint?, every })
}

fn endpoint(table: &Table<'_, '_>, folder: &Path) -> Option<EndpointSettings> {
    let allow_plaintext = table.boolean("allow_plaintext").unwrap_or(false);
    let url = url(table, folder, allow_plaintext);
    let (ca_file, proxy) = (path(table, "ca_file", folder), proxy(table, folder));
    let timeout = limit(table, "timeout", 30);
    let (url, shown, is_plain) = url?;
    if is_plain && table.has("proxy") {
        table.wrong(
            "proxy",
            "stands beside an http:// URL, which does not go through it",
            "use https://, or leave it out",
        );
    }
    Some(EndpointSettings { url, shown, ca_file, proxy, timeout, allow_plaintext })
}

/// With what may be shown of it, and whether it is known to be http://.
fn url(table: &Table<'_, '_>, folder: &Path, allow_plaintext: bool) -> Option<(SecretRef, String, bool)> {
    const KEY: &str = "url";
    if !table.has(KEY) {
        table.missing(KEY, BadUrl::HINT);
        return None;
    }
    let DeValue::String(text) = table.value(KEY)? else {
        // A place, where it is as secret as a password.
        let place = secret_ref(table, KEY, folder)?;
        let shown = place.place();
        return Some((place, shown, false));
    };
    match check_url(text.trim()) {
        // Not repeated: it may hold what opens the hook.
        Err(bad) => {
            table.wrong(KEY, bad.to_string(), BadUrl::HINT);
            None
        }
        Ok(told) => {
            if told.is_plain && !told.is_loopback && !allow_plaintext {
                table.wrong(KEY, PLAIN, PLAIN_HINT);
            }
            Some((plain_ref(table, KEY, text.trim()), told.shown, told.is_plain))
        }
    }
}

/// Names of headers whose value probably is a login.
const SECRET_WORDS: [&str; 6] = ["auth", "token", "key", "secret", "cookie", "pass"];

fn headers(table: &Table<'_, '_>, folder: &Path) -> Vec<(String, SecretRef)> {
    const KEY: &str = "headers";
    let Some(headers) = table.own_keys(KEY) else { return Vec::new() };
    let mut found = Vec::new();
    for name in headers.names() {
        if !is_header(name) {
            headers.wrong(
                name,
                "is not the name of a header that can be set",
                "headers = { \"X-Api-Key\" = { env = \"NAME\" } }",
            );
            continue;
        }
        let folded = name.to_ascii_lowercase();
        let value = match headers.value(name) {
            Some(DeValue::String(text)) if !SECRET_WORDS.iter().any(|word| folded.contains(word)) => {
                if text.contains(char::is_control) || !text.is_ascii() {
                    headers.wrong(name, "holds what no header can carry", "plain text in one line");
                }
                Some(plain_ref(&headers, name, text))
            }
            _ => secret_ref(&headers, name, folder),
        };
        found.extend(value.map(|value| (name.to_owned(), value)));
    }
    found
}

pub(super) fn command(table: &Table<'_, '_>, folder: &Path) -> Option<CommandTarget> {
    const KEY: &str = "run";
    const SHAPE: &str = "a program and its arguments: run = [\"/usr/local/bin/page\", \"--team\", \"mail\"]";
    if !table.has(KEY) {
        table.missing(KEY, SHAPE);
    }
    let words = table.strings(KEY);
    let (timeout, from_severity) = (limit(table, "timeout", 30), from_severity(table));
    let run: Vec<String> = words?.into_iter().map(|found| found.value.to_owned()).collect();
    if run.first().is_none_or(|program| program.trim().is_empty()) {
        table.wrong(KEY, "names no program", SHAPE);
        return None;
    }
    if run.iter().any(|word| word.contains('\0')) {
        table.wrong(KEY, "holds what no argument can carry", SHAPE);
        return None;
    }
    let hidden = table.doc().secret_variables();
    Some(CommandTarget { run, timeout, hidden, folder: folder.to_owned(), from_severity })
}
