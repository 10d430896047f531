//! What `config show` says of alarms, canary, metrics and log. Of web addresses only the host is told.

use toml::{Table, Value};

use super::{Out, duration, login, path, secret, tls_word, words};
use crate::base::address::Address;
use crate::config::secret::SecretRef;
use crate::config::watch::{
    AlarmSettings, CanarySettings, CommandTarget, EndpointSettings, HeartbeatSettings, LogFormat, LogSettings,
    LogTarget, MailTarget, MetricsSettings, Period, ReportSettings, SmtpSettings, WebhookTarget,
};

pub(super) fn alarms(settings: &AlarmSettings) -> Table {
    let AlarmSettings {
        mail,
        webhook,
        command,
        system_log,
        repeat,
        oldest_warning,
        oldest_critical,
        no_success_critical,
        failures,
        certificate_warning,
        heartbeat,
        report,
    } = settings;
    Out::default()
        .put("system_log", *system_log)
        .put("repeat", repeat.map_or_else(|| "never".to_owned(), duration))
        .put("oldest_warning", duration(*oldest_warning))
        .put("oldest_critical", duration(*oldest_critical))
        .put("no_success_critical", duration(*no_success_critical))
        .put("failures", i64::from(*failures))
        .put("certificate_warning", duration(*certificate_warning))
        .put_some("mail", mail.as_ref().map(self::mail))
        .put_some("webhook", webhook.as_ref().map(self::webhook))
        .put_some("command", command.as_ref().map(self::command))
        .put_some("heartbeat", heartbeat.as_ref().map(self::heartbeat))
        .put_some("report", report.as_ref().map(self::report))
        .0
}

fn mail(target: &MailTarget) -> Value {
    let MailTarget { smtp, from, to, from_severity } = target;
    let to: Vec<String> = to.iter().map(Address::to_string).collect();
    let out = Out(self::smtp(smtp)).put("from", from.to_string()).put("to", words(&to));
    Value::Table(out.put("from_severity", from_severity.as_str()).0)
}

fn smtp(settings: &SmtpSettings) -> Table {
    let SmtpSettings { host, port, tls, trust, login, timeout, allow_plaintext } = settings;
    Out::default()
        .put("host", host.clone())
        .put("port", i64::from(*port))
        .put("tls", tls_word(*tls))
        .put_all(login::trust(trust))
        .put_some("username", login.as_ref().map(|(name, _)| name.clone()))
        .put_some("password", login.as_ref().map(|(_, password)| secret(password)))
        .put("timeout", duration(*timeout))
        .put("allow_plaintext", *allow_plaintext)
        .0
}

fn endpoint(settings: &EndpointSettings) -> Out {
    let EndpointSettings { url, shown, ca_file, proxy, timeout, allow_plaintext } = settings;
    let url = match url.kind() {
        "literal" => Value::String(shown.clone()),
        _ => secret(url),
    };
    Out::default()
        .put("url", url)
        .put_some("ca_file", ca_file.as_deref().map(path))
        .put_all(login::proxy(proxy.as_ref()))
        .put("timeout", duration(*timeout))
        .put("allow_plaintext", *allow_plaintext)
}

fn webhook(target: &WebhookTarget) -> Value {
    let WebhookTarget { endpoint, headers, from_severity } = target;
    let header = |(name, value): &(String, SecretRef)| (name.clone(), secret(value));
    let headers: Table = headers.iter().map(header).collect();
    let headers = Some(headers).filter(|headers| !headers.is_empty()).map(Value::Table);
    let out = self::endpoint(endpoint).put_some("headers", headers);
    Value::Table(out.put("from_severity", from_severity.as_str()).0)
}

fn command(target: &CommandTarget) -> Value {
    // The folder is the configuration's; whose secrets are hidden follows from the rest of it.
    let CommandTarget { run, timeout, hidden: _, folder: _, from_severity } = target;
    let out = Out::default().put("run", words(run)).put("timeout", duration(*timeout));
    Value::Table(out.put("from_severity", from_severity.as_str()).0)
}

fn heartbeat(settings: &HeartbeatSettings) -> Value {
    let HeartbeatSettings { endpoint, every } = settings;
    Value::Table(self::endpoint(endpoint).put("every", duration(*every)).0)
}

fn report(settings: &ReportSettings) -> Value {
    let ReportSettings { every, at, timezone } = settings;
    let every = match every {
        Period::Daily => "daily",
        Period::Weekly => "weekly",
    };
    let at = at.strftime("%H:%M").to_string();
    Value::Table(Out::default().put("every", every).put("at", at).put_some("timezone", timezone.clone()).0)
}

pub(super) fn canary(settings: &CanarySettings) -> Value {
    let CanarySettings { from, to, every, timeout, smtp } = settings;
    let out = Out::default().put("from", from.to_string()).put("to", to.to_string());
    let out = out.put_some("every", every.map(duration)).put("timeout", duration(*timeout));
    Value::Table(out.put("smtp", Value::Table(self::smtp(smtp))).0)
}

pub(super) fn metrics(settings: &MetricsSettings) -> Table {
    let MetricsSettings { listen } = settings;
    Out::default().put("listen", listen.map_or_else(|| "off".to_owned(), |address| address.to_string())).0
}

pub(super) fn log(settings: &LogSettings) -> Table {
    let LogSettings { level, format, to, file, keep_days } = settings;
    let format = match format {
        LogFormat::Auto => "auto",
        LogFormat::Human => "human",
        LogFormat::Json => "json",
    };
    let to = match to {
        LogTarget::Stderr => "stderr",
        LogTarget::Journald => "journald",
        LogTarget::File => "file",
        LogTarget::EventLog => "eventlog",
    };
    Out::default()
        .put("level", level.clone())
        .put("format", format)
        .put("to", to)
        .put_some("file", file.as_deref().map(path))
        .put("keep_days", i64::from(*keep_days))
        .0
}
