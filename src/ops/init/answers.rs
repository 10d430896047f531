//! The answers of `gatepost init` as values, and reading them from what a person types. No terminal, no network.

use std::path::{Path, PathBuf};

use crate::base::address::normalise_domain;
use crate::base::secret::Secret;
use crate::net::TlsMode;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Any mailbox over IMAP
    Imap,
    /// Exchange on premises, grommunio: Exchange Web Services
    Ews,
    /// A MailStore Gateway
    Gateway,
    /// Any mailbox over POP3
    Pop3,
    /// Google Workspace
    Google,
    /// Microsoft 365
    Microsoft,
}

impl Kind {
    pub const ALL: [Kind; 6] = [Kind::Imap, Kind::Ews, Kind::Gateway, Kind::Pop3, Kind::Google, Kind::Microsoft];

    pub fn word(self) -> &'static str {
        match self {
            Kind::Imap => "imap",
            Kind::Ews => "ews",
            Kind::Gateway => "gateway",
            Kind::Pop3 => "pop3",
            Kind::Google => "google",
            Kind::Microsoft => "microsoft",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Kind::Imap => "a mailbox over IMAP",
            Kind::Ews => "Exchange Server or grommunio (Exchange Web Services)",
            Kind::Gateway => "a MailStore Gateway",
            Kind::Pop3 => "a mailbox over POP3",
            Kind::Google => "Google Workspace",
            Kind::Microsoft => "Microsoft 365",
        }
    }

    /// Where it always is.
    pub fn fixed_place(self) -> Option<Place> {
        let at = |host: &str| Place::Server { host: host.into(), port: 993, tls: TlsMode::Implicit };
        match self {
            Kind::Google => Some(at("imap.gmail.com")),
            Kind::Microsoft => Some(at("outlook.office365.com")),
            Kind::Imap | Kind::Ews | Kind::Gateway | Kind::Pop3 => None,
        }
    }

    /// With TLS from the first byte, and with STARTTLS.
    pub fn ports(self) -> (u16, u16) {
        match self {
            Kind::Pop3 | Kind::Gateway => (995, 110),
            Kind::Imap | Kind::Google | Kind::Microsoft | Kind::Ews => (993, 143),
        }
    }
}

/// Where the gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Server {
        host: String,
        port: u16,
        tls: TlsMode,
    },
    Url(String),
    /// The URL is asked for in each session, with the login, at autodiscover.DOMAIN.
    Autodiscover {
        domain: String,
    },
}

impl Place {
    pub fn shown(&self) -> String {
        match self {
            Place::Server { host, port, tls } => {
                let how = match tls {
                    TlsMode::Implicit => "TLS from the first byte",
                    TlsMode::StartTls => "STARTTLS",
                    TlsMode::None => "no TLS",
                };
                format!("{host}, port {port}, {how}")
            }
            Place::Url(url) => url.clone(),
            Place::Autodiscover { domain } => format!("autodiscover.{domain}, which names the server to the login"),
        }
    }

    pub fn host(&self) -> String {
        match self {
            Place::Server { host, .. } => host.clone(),
            Place::Url(url) => {
                let url = reqwest::Url::parse(url).ok();
                url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
            }
            Place::Autodiscover { domain } => format!("autodiscover.{domain}"),
        }
    }

    /// Whether the host's name is one of the domain, so that its certificate proves that it is the domain's.
    pub fn is_of(&self, domain: &str) -> bool {
        let host = self.host();
        host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
    }
}

/// How a session proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Access {
    /// A password (of Google: an app password)
    Password,
    /// OAuth2: somebody signs in once with a code
    Device,
    /// OAuth2: the application's own right, with its secret
    Application,
    /// OAuth2: a Google service account with domain-wide delegation
    ServiceAccount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum HttpLogin {
    Basic,
    Ntlm,
}

/// Where the password is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// In the sealed store beside the configuration.
    Sealed,
    /// In a file of its own beside the configuration, mode 0600.
    File,
    /// In a variable that somebody sets for the process.
    Env(String),
    /// In a file that is there.
    Given(PathBuf),
}

/// What is known so far.
#[derive(Clone, Default)]
pub struct Answers {
    pub kind: Option<Kind>,
    pub login: Option<String>,
    pub place: Option<Place>,
    pub ca_file: Option<PathBuf>,
    pub http_login: Option<HttpLogin>,
    pub access: Option<Access>,
    pub tenant: Option<String>,
    pub client_id: Option<String>,
    pub service_account: Option<PathBuf>,
    /// The password, or the secret of an application.
    pub secret: Option<Secret>,
    pub keep: Option<Keep>,
    pub folders: Option<Vec<String>>,
    pub delete: Option<bool>,
    pub domains: Option<Vec<String>>,
    pub archive: Option<PathBuf>,
}

impl Answers {
    pub fn domain(&self) -> Option<&str> {
        self.login.as_deref()?.rsplit_once('@').map(|(_, domain)| domain).filter(|domain| !domain.is_empty())
    }

    pub fn needs_secret(&self) -> bool {
        matches!(self.access, Some(Access::Password | Access::Application))
    }
}

/// `1`, or the word.
pub fn kind(text: &str) -> Result<Kind, String> {
    chosen(text, &Kind::ALL.map(|kind| (kind.word(), kind)))
}

pub fn chosen<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let text = text.trim();
    let by_number = text.parse::<usize>().ok().and_then(|number| choices.get(number.checked_sub(1)?));
    let by_word = || choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    by_number.or_else(by_word).map(|(_, choice)| *choice).ok_or_else(|| {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        format!("type a number from 1 to {}, or one of: {}", choices.len(), words.join(", "))
    })
}

pub fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" | "true" => Ok(true),
        "n" | "no" | "false" => Ok(false),
        _ => Err("type yes or no".into()),
    }
}

pub fn login(text: &str, kind: Kind) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("type the name that the mailbox is logged in to with".into());
    }
    match kind {
        Kind::Google | Kind::Microsoft if !text.contains('@') => {
            Err("type the mailbox's whole address, such as journal@corp.example".into())
        }
        // The login of a MailStore Gateway has no domain part.
        Kind::Gateway => Ok(text.split('@').next().unwrap_or(text).to_owned()),
        Kind::Imap | Kind::Ews | Kind::Pop3 | Kind::Google | Kind::Microsoft => Ok(text.to_owned()),
    }
}

/// `HOST`, `HOST:PORT`, or of EWS also a URL. Without a port both usual ports are meant, the first one first.
pub fn places(text: &str, kind: Kind) -> Result<Vec<Place>, String> {
    let text = text.trim();
    if kind == Kind::Ews {
        return Ok(vec![Place::Url(ews_url(text)?)]);
    }
    if text.contains("://") {
        return Err("type the server's name alone, without a protocol".into());
    }
    let (implicit, starttls) = kind.ports();
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            let port: u16 =
                port.parse().ok().filter(|port| *port > 0).ok_or("the port is no number from 1 to 65535")?;
            (name, Some(port))
        }
        _ => (text, None),
    };
    let host = host(name)?;
    let server = |port, tls| Place::Server { host: host.clone(), port, tls };
    Ok(match port {
        None => vec![server(implicit, TlsMode::Implicit), server(starttls, TlsMode::StartTls)],
        Some(port) if port == starttls => vec![server(port, TlsMode::StartTls)],
        Some(port) if port == implicit => vec![server(port, TlsMode::Implicit)],
        // Another port says nothing about what is spoken there.
        Some(port) => vec![server(port, TlsMode::Implicit), server(port, TlsMode::StartTls)],
    })
}

pub fn host(text: &str) -> Result<String, String> {
    let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::IpAddr>().is_ok() {
        return Ok(bare.to_ascii_lowercase());
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '@' | '/' | ':' | '"' | '\\');
    match normalise_domain(bare) {
        Some(host) if !bare.contains(odd) && !bare.is_empty() => Ok(host),
        _ => Err(format!("{text:?} is not the name of a server")),
    }
}

fn ews_url(text: &str) -> Result<String, String> {
    let url = if text.contains("://") { text.to_owned() } else { format!("https://{text}/EWS/Exchange.asmx") };
    crate::sources::ews::plain_http_host(&url).map_err(|why| format!("{text:?} cannot be used: {why}"))?;
    Ok(url)
}

pub fn domains(text: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for word in text.split([',', ';']).map(str::trim).filter(|word| !word.is_empty()) {
        let word = word.rsplit_once('@').map_or(word, |(_, domain)| domain);
        let (dot, name) = match word.strip_prefix("*.") {
            Some(name) => ("*.", name),
            None => ("", word),
        };
        let domain = host(name).map_err(|_| format!("{word:?} is not a domain"))?;
        let domain = format!("{dot}{domain}");
        if !found.contains(&domain) {
            found.push(domain);
        }
    }
    if found.is_empty() { Err("type at least one domain, such as corp.example".into()) } else { Ok(found) }
}

pub fn filled(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        Err("type it in one line".into())
    } else {
        Ok(text.into())
    }
}

pub fn path(text: &str) -> Result<PathBuf, String> {
    let text = filled(text)?;
    if text == "~" || text.starts_with("~/") {
        return Err("~ means nothing here, only a shell knows it: type the whole path".into());
    }
    std::path::absolute(Path::new(&text)).map_err(|error| error.to_string())
}

pub fn existing_file(text: &str) -> Result<PathBuf, String> {
    let path = path(text)?;
    match std::fs::metadata(&path) {
        Ok(found) if found.is_file() => Ok(path),
        Ok(_) => Err(format!("{} is no file", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// An archive, or a place where one can be made.
pub fn fit_for_archive(path: &Path) -> Result<PathBuf, String> {
    let layout = crate::archive::Layout::new(path, None);
    match std::fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(format!("{}: {error}", path.display())),
        Ok(is_empty) if is_empty || layout.identity_file().exists() => Ok(path.to_owned()),
        Ok(_) => Err(format!(
            "{} holds something else than an archive; name a folder that is empty or not there yet",
            path.display()
        )),
    }
}

impl Keep {
    /// As it is given on the command line.
    pub fn env(name: &str) -> Result<Keep, String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(fits) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("it is not the name of an environment variable: letters, digits and _ only".into());
        }
        Ok(Keep::Env(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_people_write_them() {
        let implicit = |host: &str, port| Place::Server { host: host.into(), port, tls: TlsMode::Implicit };
        let starttls = |host: &str, port| Place::Server { host: host.into(), port, tls: TlsMode::StartTls };
        let read = |text: &str| places(text, Kind::Imap);
        assert_eq!(
            read(" Mail.Corp.Example ").unwrap(),
            [implicit("mail.corp.example", 993), starttls("mail.corp.example", 143)]
        );
        assert_eq!(read("mail.corp.example:143").unwrap(), [starttls("mail.corp.example", 143)]);
        assert_eq!(read("mail:1993").unwrap().len(), 2);
        assert_eq!(read("[::1]:993").unwrap(), [implicit("::1", 993)]);
        assert_eq!(read("::1").unwrap()[0], implicit("::1", 993));
        for wrong in ["imaps://mail", "a b", "", "mail:x", "mail:0", "mail/x", "a@b", "ma\"il"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        let url = |text: &str| places(text, Kind::Ews).map(|places| places[0].shown());
        assert_eq!(url("mail.corp.example").unwrap(), "https://mail.corp.example/EWS/Exchange.asmx");
        assert_eq!(url("https://x.example/ews").unwrap(), "https://x.example/ews");
        assert!(url("ftp://x.example/").is_err() && url("https://user:pw@x.example/").is_err());
    }

    #[test]
    fn a_host_is_of_a_domain_only_when_it_lies_in_it() {
        let at = |host: &str| Place::Server { host: host.into(), port: 993, tls: TlsMode::Implicit };
        assert!(at("imap.corp.example").is_of("corp.example") && at("corp.example").is_of("corp.example"));
        assert!(!at("evilcorp.example").is_of("corp.example") && !at("corp.example.net").is_of("corp.example"));
    }

    #[test]
    fn domains_may_be_addresses_and_come_in_any_shape() {
        assert_eq!(
            domains("Corp.example, a@b.example;*.corp.example,corp.example").unwrap(),
            ["corp.example", "b.example", "*.corp.example"]
        );
        assert!(domains(" , ").is_err() && domains("a/b").is_err() && domains("corp example").is_err());
    }
}
