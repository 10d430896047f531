//! Reading `[alarms]`, its thresholds and its report.

use std::path::Path;
use std::time::Duration;

use jiff::civil::Time;

use super::{AlarmSettings, Period, ReportSettings, hooks, smtp};
use crate::base::units::{BadUnit, parse_duration};
use crate::config::keys;
use crate::config::raw::Table;

const NOBODY: &str = "leave it out, or add [alarms.mail], [alarms.webhook] or [alarms.command]";

pub fn alarms(table: &Table<'_, '_>, folder: &Path) -> AlarmSettings {
    let usual = AlarmSettings::default();
    let span = |key: &str, usual: Duration, example: &str| {
        let given = table.unit(key, parse_duration, example).unwrap_or(usual);
        if given.is_zero() {
            table.wrong(key, "is zero, so that it would always be time for it", &format!("usual is {example}"));
        }
        given
    };
    let oldest_warning = span("oldest_warning", usual.oldest_warning, "\"1h\"");
    let oldest_critical = span("oldest_critical", usual.oldest_critical, "\"6h\"");
    if oldest_critical < oldest_warning {
        let key = if table.has("oldest_critical") { "oldest_critical" } else { "oldest_warning" };
        table.wrong(key, "makes the warning come after the critical alarm", "oldest_warning is the shorter one");
    }
    let mail = table.table("mail", &keys::ALARMS_MAIL).and_then(|table| smtp::mail(&table, folder));
    let report = table.table("report", &keys::ALARMS_REPORT).map(|table| report(&table));
    if report.is_some() && !table.has("mail") {
        table.wrong("report", "has no way to be sent", "add [alarms.mail], which says where it goes");
    }
    let settings = AlarmSettings {
        webhook: table.table("webhook", &keys::ALARMS_WEBHOOK).and_then(|table| hooks::webhook(&table, folder)),
        command: table.table("command", &keys::ALARMS_COMMAND).and_then(|table| hooks::command(&table, folder)),
        heartbeat: table.table("heartbeat", &keys::ALARMS_HEARTBEAT).and_then(|table| hooks::heartbeat(&table, folder)),
        mail,
        report,
        system_log: table.boolean("system_log").unwrap_or(usual.system_log),
        repeat: table.unit("repeat", repeat, "\"24h\"").unwrap_or(usual.repeat),
        oldest_warning,
        oldest_critical,
        no_success_critical: span("no_success_critical", usual.no_success_critical, "\"1h\""),
        failures: table.integer("failures", 1..=1000).map_or(usual.failures, |count| count as u32),
        certificate_warning: span("certificate_warning", usual.certificate_warning, "\"21d\""),
    };
    if !settings.system_log && !["mail", "webhook", "command"].iter().any(|target| table.has(target)) {
        table.wrong("system_log", "is false, and there is no other target: nobody would be told", NOBODY);
    }
    settings
}

/// A duration, or `never`.
fn repeat(text: &str) -> Result<Option<Duration>, BadUnit> {
    if text.trim() == "never" {
        return Ok(None);
    }
    let given = parse_duration(text)?;
    if given < Duration::from_secs(60) {
        let hint = "write \"24h\", or \"never\"".to_owned();
        return Err(BadUnit { what: format!("{text:?} is less than a minute"), hint });
    }
    Ok(Some(given))
}

fn report(table: &Table<'_, '_>) -> ReportSettings {
    let every = table.choice("every", &[("daily", Period::Daily), ("weekly", Period::Weekly)]);
    ReportSettings {
        every: every.unwrap_or(Period::Daily),
        at: at(table).unwrap_or(Time::constant(7, 0, 0, 0)),
        timezone: timezone(table),
    }
}

fn at(table: &Table<'_, '_>) -> Option<Time> {
    const HINT: &str = "write the hour and the minute: at = \"07:00\"";
    if !table.has("at") {
        return None;
    }
    let text = table.filled("at", HINT)?;
    let time = Time::strptime("%H:%M", text).ok();
    if time.is_none() {
        table.wrong("at", format!("{text:?} is no time of the day"), HINT);
    }
    time
}

fn timezone(table: &Table<'_, '_>) -> Option<String> {
    const HINT: &str = "a name such as \"Europe/Berlin\"; without it the host's time zone holds";
    if !table.has("timezone") {
        return None;
    }
    let name = table.filled("timezone", HINT)?;
    match jiff::tz::TimeZone::get(name) {
        Ok(_) => Some(name.to_owned()),
        Err(_) => {
            table.wrong("timezone", format!("{name:?} is not in this host's time zone database"), HINT);
            None
        }
    }
}
