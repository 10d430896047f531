//! The meaning of `[profile.imap.oauth2]`, and of the same table under pop3 and ews.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use toml::de::DeValue;
use zeroize::Zeroizing;

use super::keys::{self, Keys};
use super::login;
use super::profile::no_controls;
use super::raw::Table;
use super::resolve::path;
use super::secret::{SecretRef, secret_ref};
use super::{ConfigError, ProxySettings};
use crate::base::secret::Secret;
use crate::net::oauth::assertion::{Algorithm, BadKey, PrivateKey, ServiceAccount, SigningKey};
use crate::net::oauth::options::{self, BadEndpoint};
use crate::net::oauth::{ClientProof, Grant, OAuth2Options, Protocol, Provider, Tokens};

/// One request to a token server; the largest of them answer within seconds.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A key with its certificates.
const PEM_BYTES_MAX: u64 = 256 * 1024;

const ENDPOINT: &str = "write the whole address: \"https://login.example.com/oauth2/token\"";

/// A login with tokens, before its secrets were fetched; [`OAuth2Settings::tokens`] fetches them.
#[derive(Clone, Debug)]
pub struct OAuth2Settings {
    /// Without secrets.
    pub(super) token_url: Option<String>,
    pub(super) device_url: Option<String>,
    pub(super) client_id: String,
    pub(super) scope: String,
    pub(super) login: String,
    pub(super) grant: GrantSettings,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) proxy: Option<ProxySettings>,
    pub(super) folder: PathBuf,
    /// Where the configuration speaks of it, for errors.
    pub(super) file: PathBuf,
    pub(super) line: usize,
    pub(super) path: String,
}

#[derive(Clone, Debug)]
pub(super) enum GrantSettings {
    ClientCredentials(ProofSettings),
    RefreshToken { token: SecretRef, proof: Option<ProofSettings> },
    DeviceCode { proof: Option<ProofSettings> },
    ServiceAccount { file: PathBuf, subject: Option<String> },
}

#[derive(Clone, Debug)]
pub(super) enum ProofSettings {
    Secret { secret: SecretRef, in_header: bool, expires: Option<Timestamp> },
    Certificate { certificate: PathBuf, key: PathBuf, algorithm: Algorithm },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GrantName {
    ClientCredentials,
    RefreshToken,
    DeviceCode,
    ServiceAccount,
}

impl OAuth2Settings {
    /// The tokens of this login; those that are asked for a second time with the same secrets are the same. Call it
    /// once per session, so that a changed secret is taken up.
    pub fn tokens(&self) -> Result<Arc<Tokens>, ConfigError> {
        Ok(Tokens::shared(self.options()?))
    }

    /// What asking for a token needs, the secrets included.
    pub fn options(&self) -> Result<OAuth2Options, ConfigError> {
        let proof = |proof: &Option<ProofSettings>| proof.as_ref().map(|proof| self.proof(proof)).transpose();
        let mut token_url = self.token_url.clone();
        let grant = match &self.grant {
            GrantSettings::ClientCredentials(settings) => Grant::ClientCredentials(self.proof(settings)?),
            GrantSettings::RefreshToken { token, proof: settings } => {
                Grant::RefreshToken { token: token.resolve()?, proof: proof(settings)? }
            }
            GrantSettings::DeviceCode { proof: settings } => Grant::DeviceCode { proof: proof(settings)? },
            GrantSettings::ServiceAccount { file, subject } => {
                let account = ServiceAccount::parse(&self.read("service_account", file)?)
                    .map_err(|bad| self.unusable("service_account", file, bad))?;
                if token_url.is_none() {
                    token_url = account.token_url.clone();
                }
                Grant::ServiceAccount { account, subject: subject.clone() }
            }
        };
        let token_url = token_url.unwrap_or_else(|| Provider::Google.token_url(""));
        if let Err(BadEndpoint(why)) = options::endpoint(&token_url) {
            let what = format!("the token_uri in the key file {why}");
            return Err(self.wrong("service_account", what, "set token_url, or make a new key file"));
        }
        Ok(OAuth2Options {
            token_url,
            device_url: self.device_url.clone(),
            client_id: self.client_id.clone(),
            scope: self.scope.clone(),
            login: self.login.clone(),
            grant,
            ca_file: self.ca_file.clone(),
            proxy: self.proxy.as_ref().map(ProxySettings::proxy).transpose()?,
            timeout: TIMEOUT,
            folder: Some(self.folder.clone()),
        })
    }

    /// What gatepost proves itself by and when that ends, where it can be known; a file that cannot be read is told of by
    /// the cycles.
    pub fn ends(&self) -> Option<(&'static str, Timestamp)> {
        let proof = match &self.grant {
            GrantSettings::ClientCredentials(proof) => proof,
            GrantSettings::RefreshToken { proof, .. } | GrantSettings::DeviceCode { proof } => proof.as_ref()?,
            GrantSettings::ServiceAccount { .. } => return None,
        };
        match proof {
            ProofSettings::Secret { expires, .. } => expires.map(|until| ("the client secret", until)),
            ProofSettings::Certificate { .. } => match self.proof(proof).ok()? {
                ClientProof::Certificate(key) => key.not_after().map(|until| ("the client certificate", until)),
                ClientProof::SecretInBody(_) | ClientProof::SecretInHeader(_) => None,
            },
        }
    }

    fn proof(&self, settings: &ProofSettings) -> Result<ClientProof, ConfigError> {
        match settings {
            ProofSettings::Secret { secret, in_header, .. } => {
                let secret = secret.resolve()?;
                Ok(if *in_header { ClientProof::SecretInHeader(secret) } else { ClientProof::SecretInBody(secret) })
            }
            ProofSettings::Certificate { certificate, key, algorithm } => {
                let private = PrivateKey::parse(&self.read("key", key)?);
                let private = private.map_err(|bad| self.unusable("key", key, bad))?;
                let shown = self.read("certificate", certificate)?;
                SigningKey::new(private, shown.expose(), *algorithm)
                    .map(ClientProof::Certificate)
                    .map_err(|bad| self.unusable("certificate", certificate, bad))
            }
        }
    }

    /// A file with a key in it. No error repeats what stands there.
    fn read(&self, key: &str, path: &Path) -> Result<Secret, ConfigError> {
        let wrong = |why: String| {
            let hint = "the user that gatepost runs as must be able to read it; a relative path counts from the configuration's folder";
            self.wrong(key, format!("{}: {why}", path.display()), hint)
        };
        let mut bytes = Zeroizing::new(Vec::new());
        let opened = std::fs::File::open(path).and_then(|file| file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes));
        opened.map_err(|error| wrong(format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > PEM_BYTES_MAX {
            return Err(wrong("is too long to be a key or certificate".to_owned()));
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Secret::new(text.to_owned())),
            Err(_) => Err(wrong("is no text; PEM or JSON is expected".to_owned())),
        }
    }

    fn unusable(&self, key: &str, path: &Path, bad: BadKey) -> ConfigError {
        self.wrong(key, format!("{} {}", path.display(), bad.what), bad.hint)
    }

    fn wrong(&self, key: &str, what: String, hint: &str) -> ConfigError {
        ConfigError {
            file: Some(self.file.clone()),
            line: Some(self.line),
            key: Some(format!("{} → {key}", self.path)),
            what,
            hint: Some(hint.to_owned()),
        }
    }
}

/// The table `oauth2` of a source, for tokens that open `protocol`; `None` when it is absent, or wrong (which is noted).
/// `source` is the table above it, whose login a token is for.
pub fn oauth2(source: &Table<'_, '_>, folder: &Path, protocol: Protocol) -> Option<OAuth2Settings> {
    let table = source.table("oauth2", keys_of(protocol))?;
    let provider = table.choice("provider", &[("microsoft", Provider::Microsoft), ("google", Provider::Google)]);
    let login = whose(source);
    let grant = grant_name(&table);
    let tenant = tenant(&table, provider, grant);
    let token_url = address(&table, "token_url");
    let device_url = address(&table, "device_url");
    let proof = match grant {
        // What stands there in vain has been noted.
        Some(GrantName::ServiceAccount) => Proof::None,
        Some(GrantName::ClientCredentials | GrantName::RefreshToken | GrantName::DeviceCode) | None => {
            proof(&table, folder, provider)
        }
    };
    let client_id = client_id(&table, grant);
    let scope = scope(&table, provider, protocol, grant);
    let ca_file = path(&table, "ca_file", folder);
    let proxy = login::proxy(&table, folder);
    let token_folder = match table.has("token_folder") {
        true => path(&table, "token_folder", folder),
        false => Some(table.doc().token_folder()),
    };
    if provider.is_none()
        && !table.has("provider")
        && !table.has("token_url")
        && grant != Some(GrantName::ServiceAccount)
    {
        table.missing("provider", "write provider = \"microsoft\" or \"google\", or name the server with token_url");
    }
    let tenant = tenant.as_deref().unwrap_or_default();
    let token_url = token_url.or_else(|| provider.map(|provider| provider.token_url(tenant)));
    let device_url = device_url.or_else(|| provider.and_then(|provider| provider.device_url(tenant)));
    let grant = match grant? {
        GrantName::ClientCredentials => {
            if matches!(proof, Proof::None) {
                table.missing(
                    "client_secret",
                    "an application proves itself by client_secret, or by certificate and key",
                );
            }
            GrantSettings::ClientCredentials(proof.given()??)
        }
        GrantName::RefreshToken => {
            let token = secret_ref(&table, "refresh_token", folder);
            GrantSettings::RefreshToken { proof: proof.given()?, token: token? }
        }
        GrantName::DeviceCode => {
            if device_url.is_none() && !table.has("device_url") {
                device_is_impossible(&table, provider);
            }
            GrantSettings::DeviceCode { proof: proof.given()? }
        }
        GrantName::ServiceAccount => {
            let file = path(&table, "service_account", folder);
            let subject = match table.has("subject") {
                true => Some(table.filled("subject", "the mailbox that is read: \"journal@corp.example\"")?.to_owned()),
                false => login.clone(),
            };
            GrantSettings::ServiceAccount { file: file?, subject }
        }
    };
    Some(OAuth2Settings {
        token_url,
        device_url,
        client_id: client_id?,
        scope: scope?,
        login: login.unwrap_or_default(),
        grant,
        ca_file,
        proxy,
        folder: token_folder?,
        file: table.doc().file().to_owned(),
        line: table.line(),
        path: table.path().to_owned(),
    })
}

fn keys_of(protocol: Protocol) -> &'static Keys {
    match protocol {
        Protocol::Imap => &keys::PROFILE_IMAP_OAUTH2,
        Protocol::Pop3 => &keys::PROFILE_POP3_OAUTH2,
        Protocol::Ews => &keys::PROFILE_EWS_OAUTH2,
    }
}

/// Whom the token is for. What is wrong with the login is told where the source is read.
fn whose(source: &Table<'_, '_>) -> Option<String> {
    ["mailbox", "impersonate", "username", "mailbox_id"].into_iter().find_map(|key| {
        // Each source knows some of these.
        match source.knows(key).then(|| source.value(key))?? {
            DeValue::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            _ => None,
        }
    })
}

/// By the key `grant`, or by what only one grant needs.
fn grant_name(table: &Table<'_, '_>) -> Option<GrantName> {
    const NAMES: &[(&str, GrantName)] = &[
        ("client_credentials", GrantName::ClientCredentials),
        ("refresh_token", GrantName::RefreshToken),
        ("device_code", GrantName::DeviceCode),
        ("service_account", GrantName::ServiceAccount),
    ];
    let grant = match table.has("grant") {
        true => table.choice("grant", NAMES)?,
        false if table.has("service_account") => GrantName::ServiceAccount,
        false if table.has("refresh_token") => GrantName::RefreshToken,
        false if table.has("client_secret") || table.has("certificate") => GrantName::ClientCredentials,
        false => {
            let hint = "name client_secret, or certificate and key, or refresh_token, or service_account; or write \
                        grant = \"device_code\" for a person who signs in once";
            table.doc().error(
                table.line(),
                table.path().to_owned(),
                "does not say by what right a token is asked for",
                hint,
            );
            return None;
        }
    };
    let others: &[&str] = match grant {
        GrantName::ClientCredentials => &["refresh_token", "service_account", "subject", "device_url"],
        GrantName::RefreshToken => &["service_account", "subject", "device_url"],
        GrantName::DeviceCode => &["refresh_token", "service_account", "subject"],
        GrantName::ServiceAccount => &[
            "client_id",
            "client_secret",
            "client_secret_expires",
            "client_auth",
            "certificate",
            "key",
            "signature",
            "refresh_token",
            "device_url",
            "tenant",
        ],
    };
    let name = NAMES.iter().find(|(_, named)| *named == grant).map_or("", |(name, _)| name);
    for key in others.iter().filter(|key| table.has(key)) {
        table.wrong(key, format!("has no place beside grant = {name:?}"), "leave it out, or name another grant");
    }
    if grant == GrantName::ServiceAccount && !table.has("service_account") {
        table.missing("service_account", "name the JSON key file: service_account = \"journal-reader.json\"");
        return None;
    }
    Some(grant)
}

fn tenant(table: &Table<'_, '_>, provider: Option<Provider>, grant: Option<GrantName>) -> Option<String> {
    const TENANT: &str = "the directory's ID or a domain of it: tenant = \"corp.example\"";
    if provider != Some(Provider::Microsoft) {
        if table.has("tenant") && grant != Some(GrantName::ServiceAccount) {
            table.wrong("tenant", "is a word of Microsoft's", "leave it out, or write provider = \"microsoft\"");
        }
        return None;
    }
    if !table.has("tenant") && !table.has("token_url") {
        table.missing("tenant", TENANT);
    }
    let tenant = table.filled("tenant", TENANT)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if !tenant.chars().all(fits) {
        table.wrong("tenant", format!("{tenant:?} is neither an ID nor a domain"), TENANT);
        return None;
    }
    let is_of_all = ["common", "organizations", "consumers"].iter().any(|name| tenant.eq_ignore_ascii_case(name));
    if is_of_all && grant == Some(GrantName::ClientCredentials) {
        let what = format!("{tenant:?} is no directory, and an application asks one for its token");
        table.wrong("tenant", what, TENANT);
    }
    Some(tenant.to_owned())
}

fn address(table: &Table<'_, '_>, key: &str) -> Option<String> {
    let text = table.filled(key, ENDPOINT)?;
    match options::endpoint(text) {
        Ok(_) => Some(text.to_owned()),
        // Not repeated: an address with a login in it is one with a secret.
        Err(BadEndpoint(why)) => {
            table.wrong(key, why, ENDPOINT);
            None
        }
    }
}

/// `client_id` without blanks; a service account is named by its key file.
fn client_id(table: &Table<'_, '_>, grant: Option<GrantName>) -> Option<String> {
    const ID: &str = "the application's ID as the provider shows it: client_id = \"…\"";
    if grant == Some(GrantName::ServiceAccount) {
        return Some(String::new());
    }
    no_controls(table, "client_id", table.required("client_id", ID)?)
}

fn scope(
    table: &Table<'_, '_>,
    provider: Option<Provider>,
    protocol: Protocol,
    grant: Option<GrantName>,
) -> Option<String> {
    const SCOPE: &str = "the rights as the provider names them, with blanks between: scope = \"mail.read\"";
    if table.has("scope") {
        return no_controls(table, "scope", table.filled("scope", SCOPE)?);
    }
    let by_application = grant == Some(GrantName::ClientCredentials);
    match (provider, grant?) {
        (Some(provider), _) => Some(provider.scope(protocol, by_application).to_owned()),
        (None, GrantName::ServiceAccount) => Some(Provider::Google.scope(protocol, false).to_owned()),
        // Many servers know the rights of a client or of a refresh token by themselves.
        (None, GrantName::ClientCredentials | GrantName::RefreshToken) => Some(String::new()),
        (None, GrantName::DeviceCode) => {
            table.missing("scope", SCOPE);
            None
        }
    }
}

fn device_is_impossible(table: &Table<'_, '_>, provider: Option<Provider>) {
    match provider {
        Some(Provider::Google) => table.wrong(
            "grant",
            "Google gives no right to mail by device code",
            "use a service account: service_account = \"journal-reader.json\"",
        ),
        Some(Provider::Microsoft) | None => table.missing("device_url", ENDPOINT),
    }
}

/// The beginning of a day in UTC, in quotes or as TOML writes dates.
fn day(table: &Table<'_, '_>, key: &str) -> Option<Timestamp> {
    let text = match table.value(key)? {
        DeValue::String(text) => text.trim().to_owned(),
        DeValue::Datetime(date) => date.to_string(),
        _ => String::new(),
    };
    let day = text.parse::<Date>().ok().filter(|_| text.len() == "2027-01-31".len());
    let begins = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
    if begins.is_none() {
        table.wrong(key, "is no day", &format!("as the provider shows it: {key} = \"2027-01-31\""));
    }
    begins.map(|begins| begins.timestamp())
}

/// What was found of a proof.
enum Proof {
    None,
    /// Noted.
    Wrong,
    Found(ProofSettings),
}

impl Proof {
    /// `None` when it was wrong.
    fn given(self) -> Option<Option<ProofSettings>> {
        match self {
            Proof::None => Some(None),
            Proof::Wrong => None,
            Proof::Found(settings) => Some(Some(settings)),
        }
    }
}

fn proof(table: &Table<'_, '_>, folder: &Path, provider: Option<Provider>) -> Proof {
    let in_header = table.choice("client_auth", &[("body", false), ("basic", true)]);
    let algorithm = table.choice("signature", &[("ps256", Algorithm::Ps256), ("rs256", Algorithm::Rs256)]);
    let (has_secret, has_certificate) = (table.has("client_secret"), table.has("certificate"));
    let expires = day(table, "client_secret_expires");
    for (key, of, is_alone) in [
        ("client_auth", "client_secret", !has_secret),
        ("client_secret_expires", "client_secret", !has_secret),
        ("key", "certificate", !has_certificate),
        ("signature", "certificate", !has_certificate),
    ] {
        if table.has(key) && is_alone {
            table.wrong(key, format!("stands without {of}"), "add it, or leave this out");
        }
    }
    match (has_secret, has_certificate) {
        (false, false) => Proof::None,
        (true, true) => {
            let line = table.line_of("client_secret");
            let what = format!("stands beside client_secret (line {line})");
            table.wrong("certificate", what, "an application proves itself by one of them");
            Proof::Wrong
        }
        (true, false) => match secret_ref(table, "client_secret", folder) {
            Some(secret) => {
                Proof::Found(ProofSettings::Secret { secret, in_header: in_header.unwrap_or(false), expires })
            }
            None => Proof::Wrong,
        },
        (false, true) => {
            let certificate = path(table, "certificate", folder);
            // Often they are in one file.
            let key = if table.has("key") { path(table, "key", folder) } else { certificate.clone() };
            let usual = match provider {
                Some(Provider::Microsoft) => Algorithm::Ps256,
                Some(Provider::Google) | None => Algorithm::Rs256,
            };
            match (certificate, key) {
                (Some(certificate), Some(key)) => {
                    Proof::Found(ProofSettings::Certificate { certificate, key, algorithm: algorithm.unwrap_or(usual) })
                }
                _ => Proof::Wrong,
            }
        }
    }
}
