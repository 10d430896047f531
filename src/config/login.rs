//! What a profile logs in with, what its TLS trusts and shows, and the proxy on its way: the same words for all sources.
//!
//! A mistake here could send a secret the wrong way, so nothing is guessed: two ways to log in beside each other, or a
//! way that `auth` does not fit, are mistakes.

use std::path::Path;

use super::oauth2::oauth2;
use super::raw::Table;
use super::resolve::path;
use super::secret::{readable_by_others, secret_ref};
use super::{ConfigError, LoginSettings, ProxySettings};
use crate::base::secret::Secret;
use crate::net::TlsMode;
use crate::net::login::Login;
use crate::net::oauth::Protocol;
use crate::net::proxy::Proxy;
use crate::net::trust::{ClientIdentity, Trust};
use crate::sources::ews::options::EwsAuth;
use crate::sources::imap::options::ImapAuth;
use crate::sources::pop3::options::Pop3Auth;

/// Which logins an `auth` can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    Any,
    Password,
    Token,
    Certificate,
    /// Nothing: the account that the program runs as.
    Process,
}

impl LoginSettings {
    /// Fetches the secret; each call looks anew, so that a changed one is taken up.
    pub fn login(&self) -> Result<Login, ConfigError> {
        Ok(match self {
            LoginSettings::Password(password) => Login::Password(password.resolve()?),
            LoginSettings::OAuth2(oauth2) => Login::Tokens(oauth2.tokens()?),
            LoginSettings::Certificate => Login::Certificate,
            LoginSettings::Process => Login::Process,
        })
    }
}

impl ProxySettings {
    pub fn proxy(&self) -> Result<Proxy, ConfigError> {
        let login = match &self.user {
            None => None,
            Some((user, None)) => Some((user.clone(), Secret::new(String::new()))),
            Some((user, Some(password))) => Some((user.clone(), password.resolve()?)),
        };
        Ok(Proxy { host: self.host.clone(), port: self.port, login })
    }
}

pub fn imap_auth(table: &Table<'_, '_>) -> ImapAuth {
    let choices = [
        ("auto", ImapAuth::Auto),
        ("plain", ImapAuth::Plain),
        ("login", ImapAuth::Login),
        ("xoauth2", ImapAuth::XOAuth2),
        ("oauthbearer", ImapAuth::OAuthBearer),
        ("external", ImapAuth::External),
    ];
    table.choice("auth", &choices).unwrap_or_default()
}

pub fn imap_wants(auth: ImapAuth) -> Wants {
    match auth {
        ImapAuth::Auto => Wants::Any,
        ImapAuth::Plain | ImapAuth::Login => Wants::Password,
        ImapAuth::XOAuth2 | ImapAuth::OAuthBearer => Wants::Token,
        ImapAuth::External => Wants::Certificate,
    }
}

pub fn pop3_auth(table: &Table<'_, '_>) -> Pop3Auth {
    let choices = [
        ("auto", Pop3Auth::Auto),
        ("plain", Pop3Auth::Plain),
        ("user", Pop3Auth::User),
        ("xoauth2", Pop3Auth::XOAuth2),
        ("oauthbearer", Pop3Auth::OAuthBearer),
        ("external", Pop3Auth::External),
    ];
    table.choice("auth", &choices).unwrap_or_default()
}

pub fn pop3_wants(auth: Pop3Auth) -> Wants {
    match auth {
        Pop3Auth::Auto => Wants::Any,
        Pop3Auth::Plain | Pop3Auth::User => Wants::Password,
        Pop3Auth::XOAuth2 | Pop3Auth::OAuthBearer => Wants::Token,
        Pop3Auth::External => Wants::Certificate,
    }
}

/// Where the table `oauth2` stands, `auth` need not.
pub fn ews_auth(table: &Table<'_, '_>) -> EwsAuth {
    let choices = [
        ("basic", EwsAuth::Basic),
        ("ntlm", EwsAuth::Ntlm),
        ("oauth2", EwsAuth::OAuth2),
        ("negotiate", EwsAuth::Negotiate),
    ];
    let usual = if table.has("oauth2") { EwsAuth::OAuth2 } else { EwsAuth::default() };
    table.choice("auth", &choices).unwrap_or(usual)
}

pub fn ews_wants(auth: EwsAuth) -> Wants {
    match auth {
        EwsAuth::Basic | EwsAuth::Ntlm => Wants::Password,
        EwsAuth::OAuth2 => Wants::Token,
        EwsAuth::Negotiate => Wants::Process,
    }
}

/// `wants` is what `auth` is about.
pub fn login(table: &Table<'_, '_>, wants: Wants, protocol: Protocol, folder: &Path) -> Option<LoginSettings> {
    let stray = |key: &str, what: &str| {
        if table.has(key) {
            table.wrong(key, format!("stands here, but {what}"), "leave it out, or change `auth`");
        }
    };
    match wants {
        Wants::Certificate => {
            let what = "auth = \"external\" logs in with the client certificate alone";
            ["password", "oauth2"].iter().for_each(|key| stray(key, what));
            if !table.has("client_certificate") {
                table.missing("client_certificate", "auth = \"external\" logs in with it: a PEM file, and client_key");
            }
            Some(LoginSettings::Certificate)
        }
        Wants::Process => {
            let what = "auth = \"negotiate\" logs in as the account that gatepost runs as";
            ["password", "oauth2"].iter().for_each(|key| stray(key, what));
            if !cfg!(windows) {
                let hint = "elsewhere write auth = \"ntlm\", with username and password";
                table.wrong("auth", "\"negotiate\" logs in as a Windows account, and this is not Windows", hint);
            }
            Some(LoginSettings::Process)
        }
        Wants::Any | Wants::Token if table.has("oauth2") => {
            stray("password", "oauth2 logs in with tokens, and beside it no password is ever sent");
            oauth2(table, folder, protocol).map(|oauth2| LoginSettings::OAuth2(Box::new(oauth2)))
        }
        Wants::Token => {
            table.missing("oauth2", "this `auth` sends a token: add the table oauth2, with provider and client_id");
            None
        }
        Wants::Password if table.has("oauth2") => {
            // Its own mistakes are told, too.
            let _ = oauth2(table, folder, protocol);
            let hint = match protocol {
                Protocol::Imap | Protocol::Pop3 => "leave `auth` out, or leave out the table oauth2",
                Protocol::Ews => "write auth = \"oauth2\", or leave out the table oauth2",
            };
            table.wrong("auth", "sends a password, but oauth2 is configured", hint);
            None
        }
        Wants::Any | Wants::Password => Some(LoginSettings::Password(secret_ref(table, "password", folder)?)),
    }
}

/// What TLS trusts and shows; `mode` is what protects the connection.
pub fn trust(table: &Table<'_, '_>, mode: TlsMode, folder: &Path) -> Trust {
    let trust = Trust {
        ca_file: path(table, "ca_file", folder),
        fingerprint: fingerprint(table),
        identity: identity(table, folder),
    };
    for (key, is_there) in
        [("tls_fingerprint", trust.fingerprint.is_some()), ("client_certificate", trust.identity.is_some())]
    {
        if is_there && mode == TlsMode::None {
            table.wrong(key, "needs TLS, and this connection has none", "set `tls`, or leave it out");
        }
    }
    trust
}

/// For tables without a client certificate.
pub fn trust_of_server(table: &Table<'_, '_>, folder: &Path) -> Trust {
    Trust { ca_file: path(table, "ca_file", folder), fingerprint: fingerprint(table), identity: None }
}

fn fingerprint(table: &Table<'_, '_>) -> Option<crate::net::trust::Fingerprint> {
    const KEY: &str = "tls_fingerprint";
    const HINT: &str = "\"sha256:\" and the 64 digits that `openssl x509 -noout -fingerprint -sha256 -in server.pem` \
                        prints, with or without colons";
    if !table.has(KEY) {
        return None;
    }
    let text = table.filled(KEY, HINT)?;
    text.parse().map_err(|_| table.wrong(KEY, format!("{text:?} is no SHA-256 fingerprint"), HINT)).ok()
}

fn identity(table: &Table<'_, '_>, folder: &Path) -> Option<ClientIdentity> {
    const CERTIFICATE: &str = "client_certificate";
    const KEY: &str = "client_key";
    match (table.has(CERTIFICATE), table.has(KEY)) {
        (false, false) => None,
        (true, false) => {
            table.missing(KEY, "the private key of `client_certificate`: a PEM file (PKCS #8, without a password)");
            None
        }
        (false, true) => {
            table.missing(CERTIFICATE, "the certificate of `client_key`: a PEM file, with its chain");
            None
        }
        (true, true) => {
            let (certificate, key) = (path(table, CERTIFICATE, folder)?, path(table, KEY, folder)?);
            if readable_by_others(&key) {
                table.notice(KEY, &format!("{} can be read by others than its owner; chmod 600 it", key.display()));
            }
            Some(ClientIdentity { certificate, key })
        }
    }
}

/// `proxy = "http://user@host:port"`, and `proxy_password` where the proxy wants a login.
pub fn proxy(table: &Table<'_, '_>, folder: &Path) -> Option<ProxySettings> {
    const KEY: &str = "proxy";
    const PASSWORD: &str = "proxy_password";
    const SHAPE: &str =
        "write proxy = \"http://proxy.corp.example:3128\", or with a login \"http://user@…\" and proxy_password";
    if !table.has(KEY) {
        if table.has(PASSWORD) {
            table.wrong(PASSWORD, "stands without proxy", SHAPE);
        }
        return None;
    }
    let text = table.filled(KEY, SHAPE)?;
    // Not repeated: whoever writes the password into it must not find it in a log.
    let wrong = |what: &str, hint: &str| {
        table.wrong(KEY, what, hint);
        None
    };
    let Some(rest) = text.strip_prefix("http://") else { return wrong("is not an http:// URL", SHAPE) };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return wrong(
            "holds a password",
            "leave it out there, and write proxy_password = { env = \"…\" } or { file = \"…\" }",
        );
    }
    if user.is_some_and(|user| user.is_empty() || user.contains(char::is_control)) {
        return wrong("has no user before the @", SHAPE);
    }
    let Some((host, port)) = place.rsplit_once(':') else { return wrong("names no port", SHAPE) };
    let Some(port) = port.parse::<u16>().ok().filter(|port| *port > 0) else { return wrong("names no port", SHAPE) };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(fits) {
        return wrong("does not name a host", SHAPE);
    }
    let password = if table.has(PASSWORD) { Some(secret_ref(table, PASSWORD, folder)?) } else { None };
    if password.is_some() && user.is_none() {
        table.wrong(PASSWORD, "stands without a user in `proxy`", SHAPE);
    }
    let user = user.map(|user| (user.to_owned(), password));
    Some(ProxySettings { host: host.to_ascii_lowercase(), port, user })
}
