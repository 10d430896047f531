//! File → raw (every unknown key named) → resolved settings; all mistakes reported at once.
//!
//! This room reads the configuration and the places its secrets lie in. It never connects anywhere, never
//! touches an archive, and never prints.

mod command;
mod doc;
mod error;
pub mod keys;
mod ldap;
mod login;
pub mod oauth2;
mod policies;
mod profile;
mod raw;
mod resolve;
mod secret;
pub mod show;
pub mod watch;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::{ConfigError, ConfigErrors};
pub use keys::nearest;
pub use oauth2::OAuth2Settings;
pub use secret::{SecretRef, vault};
pub use watch::{AlarmSettings, CanarySettings, LogSettings, MetricsSettings};

use jiff::Timestamp;

use crate::agent::disk::Reserve;
use crate::agent::policies::Policies;
use crate::agent::schedule::Schedule;
use crate::agent::{Expect, Role};
use crate::base::fsio;
use crate::journal::DecodeOptions;
use crate::net::TlsMode;
use crate::net::trust::{ClientIdentity, Trust};
use crate::people::PeopleOptions;
use crate::people::ldap::LdapOptions;
use crate::sources::SourceOptions;
use crate::sources::ews::options::{DeleteType, EwsAuth, EwsOptions};
use crate::sources::imap::options::{ImapAuth, ImapOptions};
use crate::sources::pop3::options::{Pop3Auth, Pop3Options};

/// Ten thousand people written out by hand are 2 MB; what is far longer is the wrong file.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Names the configuration where no `--config` does.
pub const ENV: &str = "GATEPOST_CONFIG";

/// A configuration that was read, checked and resolved: paths are absolute. Secrets are places still, so
/// that commands which only read the archive need none.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where all this was read, absolute.
    pub file: PathBuf,
    pub archive: ArchiveSettings,
    /// Where a running agent listens for commands; `None`: in the archive's folder.
    pub control: Option<PathBuf>,
    pub people: PeopleOptions,
    pub directory: Option<LdapSettings>,
    /// Of `[people]`: what holds where a profile says nothing else, and for mail of profiles that are gone.
    pub policies: Policies,
    pub decode: DecodeOptions,
    pub profiles: Vec<ProfileSettings>,
    /// Who is told, and when.
    pub alarms: AlarmSettings,
    pub canary: Option<CanarySettings>,
    pub metrics: MetricsSettings,
    pub log: LogSettings,
    /// What deserves a word without being a mistake (a literal password, a cut mailbox ID).
    pub notices: Vec<String>,
}

/// The directory that people come from, before the password was fetched.
#[derive(Clone, Debug)]
pub struct LdapSettings {
    /// Without the login.
    options: LdapOptions,
    login: Option<(String, SecretRef)>,
    /// A list that is younger is not asked for anew.
    pub refresh: Duration,
    /// Percent of the people whose absence makes a list be refused.
    pub people_drop_max: u32,
}

#[derive(Clone, Debug)]
pub struct ArchiveSettings {
    pub path: PathBuf,
    /// The catalogue's file, when it does not lie in the archive.
    pub catalogue: Option<PathBuf>,
    /// A pack is sealed when it is longer than this.
    pub pack_bytes_max: u64,
    /// Bytes in flight between gateway and archive.
    pub window_bytes: usize,
    pub reserve: Reserve,
    /// Bring the index of `search` up to date after each run.
    pub index: bool,
}

#[derive(Clone, Debug)]
pub struct ProfileSettings {
    pub name: String,
    pub schedule: Schedule,
    /// A cycle begins up to this much later than it is due, by chance.
    pub jitter: Duration,
    /// Without a new item for so long the profile is inactive; `None`: never.
    pub inactive_after: Option<Duration>,
    /// A profile that is paused for longer is an alarm.
    pub paused_max: Duration,
    /// Bytes a second that are downloaded at most, on average.
    pub bandwidth: Option<u64>,
    /// Between two tries of a login that was refused again and again.
    pub refused_retry: Duration,
    /// Delete archived items on the gateway?
    pub delete: bool,
    /// Keep them there this long after archiving.
    pub delete_after: Duration,
    pub delete_excluded: bool,
    /// So long after an item was quarantined; `None`: never.
    pub delete_quarantined: Option<Duration>,
    pub role: Role,
    pub expect: Expect,
    pub policies: Policies,
    pub decode: DecodeOptions,
    pub source: SourceSettings,
}

// One a profile; it is not moved about.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum SourceSettings {
    Imap(ImapSettings),
    Pop3(Pop3Settings),
    Ews(EwsSettings),
}

/// A login before its secret was fetched.
#[derive(Clone, Debug)]
pub enum LoginSettings {
    Password(SecretRef),
    OAuth2(Box<OAuth2Settings>),
    Certificate,
    Process,
}

/// A proxy before its password was fetched.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    pub host: String,
    pub port: u16,
    pub user: Option<(String, Option<SecretRef>)>,
}

/// [`ImapOptions`] before the password was fetched; [`ImapSettings::options`] fetches it.
#[derive(Clone, Debug)]
pub struct ImapSettings {
    pub host: String,
    pub port: u16,
    pub tls: TlsMode,
    pub trust: Trust,
    /// The login name; of a mailbox ID the part before any `@`.
    pub username: String,
    pub login: LoginSettings,
    pub auth: ImapAuth,
    pub folders: Vec<String>,
    pub timeout: Duration,
    pub allow_plaintext: bool,
    pub sole_client: bool,
    /// `u64::MAX`: without a limit.
    pub daily_budget: Option<u64>,
    pub compress: bool,
    /// A connection that waits for news between the cycles (RFC 2177).
    pub idle: bool,
}

/// [`Pop3Options`] before the password was fetched; of `[profile.pop3]` or `[profile.gateway]`.
#[derive(Clone, Debug)]
pub struct Pop3Settings {
    pub host: String,
    pub ports: Vec<(u16, TlsMode)>,
    pub trust: Trust,
    pub username: String,
    pub login: LoginSettings,
    pub auth: Pop3Auth,
    pub timeout: Duration,
    pub allow_plaintext: bool,
}

/// [`EwsOptions`] before the password was fetched.
#[derive(Clone, Debug)]
pub struct EwsSettings {
    pub url: Option<String>,
    pub auth: EwsAuth,
    pub username: String,
    pub login: LoginSettings,
    pub folder: String,
    pub delete_type: DeleteType,
    pub impersonate: Option<String>,
    pub mailbox: Option<String>,
    pub trust: Trust,
    pub proxy: Option<ProxySettings>,
    pub timeout: Duration,
    pub allow_plaintext: bool,
}

impl ProfileSettings {
    /// Whether a second connection waits for news.
    pub fn idles(&self) -> bool {
        matches!(&self.source, SourceSettings::Imap(imap) if imap.idle)
    }

    /// What gatepost proves itself by at the gateway and when that ends, where it can be known.
    pub fn proof_ends(&self) -> Option<(&'static str, Timestamp)> {
        let (login, trust) = match &self.source {
            SourceSettings::Imap(imap) => (&imap.login, &imap.trust),
            SourceSettings::Pop3(pop3) => (&pop3.login, &pop3.trust),
            SourceSettings::Ews(ews) => (&ews.login, &ews.trust),
        };
        let of_login = match login {
            LoginSettings::OAuth2(oauth2) => oauth2.ends(),
            LoginSettings::Password(_) | LoginSettings::Certificate | LoginSettings::Process => None,
        };
        let of_connection = trust.identity.as_ref().and_then(ClientIdentity::not_after);
        let of_connection = of_connection.map(|until| ("the client certificate", until));
        [of_login, of_connection].into_iter().flatten().min_by_key(|(_, until)| *until)
    }

    /// What the source needs, the password included; call it once per session, not once per process,
    /// so that a changed password is taken up.
    pub fn source_options(&self) -> Result<SourceOptions, ConfigError> {
        Ok(match &self.source {
            SourceSettings::Imap(imap) => SourceOptions::Imap(imap.options()?),
            SourceSettings::Pop3(pop3) => SourceOptions::Pop3(pop3.options()?),
            SourceSettings::Ews(ews) => SourceOptions::Ews(ews.options()?),
        })
    }
}

impl SourceSettings {
    /// `host:port`, as it names the gateway in the archive.
    pub fn host(&self) -> String {
        match self {
            SourceSettings::Imap(imap) => format!("{}:{}", imap.host, imap.port),
            SourceSettings::Pop3(pop3) => format!("{}:{}", pop3.host, pop3.ports.first().map_or(0, |(port, _)| *port)),
            SourceSettings::Ews(ews) => EwsOptions::gateway_host(ews.url.as_deref(), ews.of_mailbox()),
        }
    }

    pub fn login(&self) -> &str {
        match self {
            SourceSettings::Imap(imap) => &imap.username,
            SourceSettings::Pop3(pop3) => &pop3.username,
            SourceSettings::Ews(ews) => &ews.username,
        }
    }

    pub fn folders(&self) -> Vec<String> {
        match self {
            SourceSettings::Imap(imap) => imap.folders.clone(),
            SourceSettings::Pop3(_) => vec!["INBOX".to_owned()],
            SourceSettings::Ews(ews) => vec![ews.folder.clone()],
        }
    }
}

impl EwsSettings {
    /// The address of the mailbox that is read, or the login where it is its own.
    pub fn of_mailbox(&self) -> &str {
        self.mailbox.as_deref().or(self.impersonate.as_deref()).unwrap_or(&self.username)
    }

    pub fn options(&self) -> Result<EwsOptions, ConfigError> {
        Ok(EwsOptions {
            url: self.url.clone(),
            auth: self.auth,
            username: self.username.clone(),
            login: self.login.login()?,
            folder: self.folder.clone(),
            delete_type: self.delete_type,
            trust: self.trust.clone(),
            proxy: self.proxy.as_ref().map(ProxySettings::proxy).transpose()?,
            timeout: self.timeout,
            allow_plaintext: self.allow_plaintext,
            impersonate: self.impersonate.clone(),
            mailbox: self.mailbox.clone(),
        })
    }
}

impl Pop3Settings {
    pub fn options(&self) -> Result<Pop3Options, ConfigError> {
        Ok(Pop3Options {
            host: self.host.clone(),
            ports: self.ports.clone(),
            trust: self.trust.clone(),
            username: self.username.clone(),
            login: self.login.login()?,
            auth: self.auth,
            timeout: self.timeout,
            allow_plaintext: self.allow_plaintext,
        })
    }
}

impl ImapSettings {
    pub fn options(&self) -> Result<ImapOptions, ConfigError> {
        Ok(ImapOptions {
            host: self.host.clone(),
            port: self.port,
            tls: self.tls,
            trust: self.trust.clone(),
            username: self.username.clone(),
            login: self.login.login()?,
            auth: self.auth,
            folders: self.folders.clone(),
            timeout: self.timeout,
            allow_plaintext: self.allow_plaintext,
            sole_client: self.sole_client,
            daily_budget: self.daily_budget,
            compress: self.compress,
        })
    }
}

/// Reads and checks a file. Of the secrets only the places are looked at, and the CSV of people is read
/// by `People::build`: both change while the agent runs.
pub fn load(path: &Path) -> Result<Settings, ConfigErrors> {
    let wrong = |what: String, hint: &str| ConfigError {
        file: Some(path.to_owned()),
        line: None,
        key: None,
        what,
        hint: Some(hint.to_owned()),
    };
    let unreadable = |error: std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "name another with --config FILE or the variable GATEPOST_CONFIG",
            std::io::ErrorKind::PermissionDenied => "the user that gatepost runs as must be able to read it",
            _ => "a text file in TOML is expected",
        };
        wrong(format!("cannot be read: {error}"), hint)
    };
    use std::io::Read as _;
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let file = fsio::open(&absolute).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(
            "is longer than 16 MiB".into(),
            "is it the right file? Many people go into a CSV: [people] csv",
        )
        .into());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count();
        ConfigError { line: Some(line), ..wrong("is not UTF-8 from this line on".into(), "save the file as UTF-8") }
    })?;
    parse(&absolute, &text)
}

/// The text of a configuration; `file` is for messages and for relative paths, and should be absolute.
pub fn parse(file: &Path, text: &str) -> Result<Settings, ConfigErrors> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let tree = doc::parse(file, text)?;
    resolve::settings(doc::Doc::new(file, text), &tree, file)
}

/// The file to load: the one asked for, else [`ENV`], else the first that is there of `./gatepost.toml` and
/// the system's place.
pub fn find(explicit: Option<&Path>) -> Result<PathBuf, ConfigError> {
    find_among(explicit, std::env::var_os(ENV), &[PathBuf::from("gatepost.toml"), system_file()])
}

#[cfg(not(windows))]
pub fn system_file() -> PathBuf {
    PathBuf::from("/etc/gatepost/gatepost.toml")
}

/// Where the machine's configuration is, unless another one is named.
#[cfg(windows)]
pub fn system_file() -> PathBuf {
    // A service's environment may be a poor one.
    let told = std::env::var_os("ProgramData").map(PathBuf::from).filter(|path| path.is_absolute());
    told.unwrap_or_else(|| PathBuf::from(r"C:\ProgramData")).join("gatepost").join("gatepost.toml")
}

fn find_among(explicit: Option<&Path>, env: Option<OsString>, places: &[PathBuf]) -> Result<PathBuf, ConfigError> {
    // What was named is taken even when it is not there: falling back to another file in silence could
    // run the wrong gateway.
    if let Some(path) = explicit {
        return Ok(path.to_owned());
    }
    if let Some(path) = env.filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    if let Some(path) = places.iter().find(|path| path.exists()) {
        return Ok(path.clone());
    }
    let looked: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
    Err(ConfigError {
        file: None,
        line: None,
        key: None,
        what: format!("no configuration was found at {}", looked.join(" or ")),
        hint: Some(format!("name one with --config FILE or the variable {ENV}")),
    })
}

#[cfg(test)]
mod login_tests;
#[cfg(test)]
mod oauth2_tests;
#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;
