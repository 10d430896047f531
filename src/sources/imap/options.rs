//! What an IMAP gateway is configured with.

use std::time::Duration;

use crate::net::TlsMode;
use crate::net::login::Login;
use crate::net::trust::Trust;

#[derive(Clone, Debug)]
pub struct ImapOptions {
    pub host: String,
    pub port: u16,
    pub tls: TlsMode,
    pub trust: Trust,
    /// The login name; of a *mailbox ID* the part before any `@`.
    pub username: String,
    pub login: Login,
    pub auth: ImapAuth,
    pub folders: Vec<String>,
    /// Longest silence of the server within one read, and longest time to connect.
    pub timeout: Duration,
    /// `tls = "none"` to a host that is not loopback.
    pub allow_plaintext: bool,
    /// Nobody else uses this mailbox, so that a plain EXPUNGE may be used where UIDPLUS is missing.
    pub sole_client: bool,
    /// Downloaded in a day; `None`: what is known of the server. `u64::MAX` stands for no limit.
    pub daily_budget: Option<u64>,
    /// Have the connection compressed where the server offers it (RFC 4978), for slow lines.
    pub compress: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImapAuth {
    /// Of a password: AUTHENTICATE PLAIN where the server offers it, else LOGIN. Of a token: OAUTHBEARER, else XOAUTH2.
    #[default]
    Auto,
    Plain,
    Login,
    XOAuth2,
    OAuthBearer,
    /// The client certificate.
    External,
}
