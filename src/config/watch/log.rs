//! Reading `[metrics]` and `[log]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::{LogFormat, LogSettings, LogTarget, MetricsSettings};
use crate::config::raw::Table;
use crate::config::resolve::path;

const PORT: u16 = 9467;

impl Default for MetricsSettings {
    fn default() -> MetricsSettings {
        MetricsSettings { listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))) }
    }
}

impl Default for LogSettings {
    fn default() -> LogSettings {
        LogSettings {
            level: "info".into(),
            format: LogFormat::default(),
            to: LogTarget::default(),
            file: None,
            keep_days: 30,
        }
    }
}

pub fn metrics(table: &Table<'_, '_>) -> MetricsSettings {
    const HINT: &str = "an address and a port: listen = \"127.0.0.1:9467\"; \"off\" for none";
    let usual = MetricsSettings::default();
    if !table.has("listen") {
        return usual;
    }
    let listen = match table.filled("listen", HINT) {
        None => return usual,
        Some("off") => None,
        Some(text) => match text.parse::<SocketAddr>() {
            Ok(address) => Some(address),
            Err(_) => {
                table.wrong("listen", format!("{text:?} is no address with a port"), HINT);
                None
            }
        },
    };
    if listen.is_some_and(|address| !address.ip().to_canonical().is_loopback()) {
        let text = "everybody who reaches this address can read how the agent is: names of profiles, counts, times; \
                    no mail and no addresses. There is no login and no TLS";
        table.notice("listen", text);
    }
    MetricsSettings { listen }
}

pub fn log(table: &Table<'_, '_>, folder: &Path) -> LogSettings {
    let usual = LogSettings::default();
    let level = match table.has("level").then(|| table.filled("level", "\"info\"")).flatten() {
        None => usual.level,
        Some(text) => level(table, text).unwrap_or(usual.level),
    };
    let formats = [("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)];
    let targets = [
        ("stderr", LogTarget::Stderr),
        ("journald", LogTarget::Journald),
        ("file", LogTarget::File),
        ("eventlog", LogTarget::EventLog),
    ];
    let to = table.choice("to", &targets).unwrap_or_default();
    match to {
        LogTarget::Journald if !cfg!(target_os = "linux") => {
            table.wrong("to", "\"journald\" is of Linux, and this is another system", "use \"file\" or \"stderr\"");
        }
        LogTarget::EventLog if !cfg!(windows) => {
            table.wrong("to", "\"eventlog\" is of Windows, and this is another system", "use \"journald\" or \"file\"");
        }
        LogTarget::Journald | LogTarget::EventLog | LogTarget::File | LogTarget::Stderr => {}
    }
    let file = path(table, "file", folder);
    if to == LogTarget::File && !table.has("file") {
        table.missing("file", "name it: file = \"/var/log/gatepost/gatepost.log\"");
    }
    if file.as_ref().is_some_and(|file| file.file_name().is_none() || file.is_dir()) {
        table.wrong("file", "is a folder", "name a file in it; the day is added to its name");
    }
    LogSettings {
        level,
        format: table.choice("format", &formats).unwrap_or_default(),
        to,
        file,
        keep_days: table.integer("keep_days", 1..=3660).map_or(usual.keep_days, |days| days as u32),
    }
}

/// A level for gatepost's own lines, or directives as `GATEPOST_LOG` has them.
fn level(table: &Table<'_, '_>, text: &str) -> Option<String> {
    const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
    let is_level = LEVELS.contains(&text);
    let is_directive = text.contains(['=', ',']) && tracing_subscriber::EnvFilter::builder().parse(text).is_ok();
    if !is_level && !is_directive {
        table.wrong("level", format!("{text:?} is no level"), "it is one of: error, warn, info, debug, trace");
        return None;
    }
    Some(text.to_owned())
}
