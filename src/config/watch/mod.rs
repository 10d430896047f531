//! What `[alarms]`, `[canary]`, `[metrics]` and `[log]` mean: who is told, how the agent is watched, where it writes.
//!
//! Addresses of web services are treated as secrets are: whoever knows the address of a hook can write to it. Only
//! their host is ever shown.

mod alarms;
mod hooks;
mod log;
mod smtp;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(super) use alarms::alarms;
pub(super) use log::{log, metrics};
pub(super) use smtp::canary;

use super::command::SecretVariables;
use super::{ConfigError, ProxySettings, SecretRef};
use crate::agent::alarms::Severity;
use crate::base::address::Address;
use crate::net::TlsMode;
use crate::net::http::{BadUrl, Endpoint, check_url};
use crate::net::smtp::SmtpOptions;
use crate::net::trust::Trust;

/// Who is told, and when it is time to.
#[derive(Clone, Debug)]
pub struct AlarmSettings {
    pub mail: Option<MailTarget>,
    pub webhook: Option<WebhookTarget>,
    pub command: Option<CommandTarget>,
    /// Each alarm is a line of the agent's log, too, at its severity.
    pub system_log: bool,
    /// The longest wait before an alarm that lasts is told again; `None`: never again.
    pub repeat: Option<Duration>,
    /// Ages of the oldest item without a final disposition.
    pub oldest_warning: Duration,
    pub oldest_critical: Duration,
    /// No successful run for so long.
    pub no_success_critical: Duration,
    /// Failed runs in a row, before anybody is told.
    pub failures: u32,
    /// A certificate or client secret expires so soon.
    pub certificate_warning: Duration,
    pub heartbeat: Option<HeartbeatSettings>,
    pub report: Option<ReportSettings>,
}

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for AlarmSettings {
    fn default() -> AlarmSettings {
        AlarmSettings {
            mail: None,
            webhook: None,
            command: None,
            system_log: true,
            repeat: Some(DAY),
            oldest_warning: HOUR,
            oldest_critical: 6 * HOUR,
            no_success_critical: HOUR,
            failures: 3,
            certificate_warning: 21 * DAY,
            heartbeat: None,
            report: None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct MailTarget {
    pub smtp: SmtpSettings,
    pub from: Address,
    pub to: Vec<Address>,
    /// What is less grave is not sent there.
    pub from_severity: Severity,
}

/// [`SmtpOptions`] before the password was fetched.
#[derive(Clone, Debug)]
pub struct SmtpSettings {
    pub host: String,
    pub port: u16,
    pub tls: TlsMode,
    pub trust: Trust,
    pub login: Option<(String, SecretRef)>,
    pub timeout: Duration,
    pub allow_plaintext: bool,
}

impl SmtpSettings {
    /// Fetches the password, each time anew, which may take as long as a command may.
    pub fn options(&self) -> Result<SmtpOptions, ConfigError> {
        let login = match &self.login {
            Some((name, password)) => Some((name.clone(), password.resolve()?)),
            None => None,
        };
        Ok(SmtpOptions {
            host: self.host.clone(),
            port: self.port,
            tls: self.tls,
            trust: self.trust.clone(),
            login,
            timeout: self.timeout,
        })
    }
}

/// A web address and the way to it, before its secrets were fetched.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    pub url: SecretRef,
    /// What may be shown of the address: scheme and host, or the place where it is kept.
    pub shown: String,
    pub ca_file: Option<PathBuf>,
    pub proxy: Option<ProxySettings>,
    pub timeout: Duration,
    /// `http://` to another host than this one.
    pub allow_plaintext: bool,
}

impl EndpointSettings {
    pub fn endpoint(&self) -> Result<Endpoint, ConfigError> {
        let url = self.url.resolve()?;
        let told = check_url(url.expose()).map_err(|bad| self.url.wrong(bad.to_string(), BadUrl::HINT))?;
        if told.is_plain && !told.is_loopback && !self.allow_plaintext {
            return Err(self.url.wrong(PLAIN.to_owned(), PLAIN_HINT));
        }
        Ok(Endpoint {
            url,
            shown: told.shown,
            ca_file: self.ca_file.clone(),
            proxy: self.proxy.as_ref().map(ProxySettings::proxy).transpose()?,
            timeout: self.timeout,
        })
    }
}

const PLAIN: &str = "http:// would send everything in clear text to another host";
const PLAIN_HINT: &str = "use https://; if it must be, add allow_plaintext = true";

#[derive(Clone, Debug)]
pub struct WebhookTarget {
    pub endpoint: EndpointSettings,
    /// Further headers; any of them may be a login.
    pub headers: Vec<(String, SecretRef)>,
    pub from_severity: Severity,
}

#[derive(Clone, Debug)]
pub struct CommandTarget {
    /// A program and its arguments, which no shell sees.
    pub run: Vec<String>,
    pub timeout: Duration,
    /// Variables that hold secrets, which it does not get.
    pub hidden: SecretVariables,
    /// Where it runs: the configuration's folder.
    pub folder: PathBuf,
    pub from_severity: Severity,
}

#[derive(Clone, Debug)]
pub struct HeartbeatSettings {
    pub endpoint: EndpointSettings,
    pub every: Duration,
}

#[derive(Clone, Debug)]
pub struct ReportSettings {
    pub every: Period,
    pub at: jiff::civil::Time,
    /// A name of the time zone database; `None`: the host's.
    pub timezone: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    Daily,
    /// On Mondays.
    Weekly,
}

/// A mail that goes through the organisation, to be found in the archive.
#[derive(Clone, Debug)]
pub struct CanarySettings {
    pub from: Address,
    pub to: Address,
    /// `None`: only when it is asked for.
    pub every: Option<Duration>,
    /// It must stand in the archive after so long.
    pub timeout: Duration,
    pub smtp: SmtpSettings,
}

#[derive(Clone, Debug)]
pub struct MetricsSettings {
    /// `None`: nothing listens.
    pub listen: Option<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `info`, or what `GATEPOST_LOG` may hold, which wins over it.
    pub level: String,
    pub format: LogFormat,
    pub to: LogTarget,
    pub file: Option<PathBuf>,
    pub keep_days: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; that is also what services write, whose journal adds the time.
    #[default]
    Auto,
    Human,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    #[default]
    Stderr,
    Journald,
    File,
    EventLog,
}

#[cfg(test)]
mod tests;
