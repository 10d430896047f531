//! What a POP3 gateway is configured with.

use std::time::Duration;

use crate::net::TlsMode;
use crate::net::login::Login;
use crate::net::trust::Trust;

#[derive(Clone, Debug)]
pub struct Pop3Options {
    pub host: String,
    /// Tried in this order; a place where nothing listens leads to the next. All of them are as well protected: what
    /// is tried next is never a step down.
    pub ports: Vec<(u16, TlsMode)>,
    pub trust: Trust,
    /// The login name; of a *mailbox ID* the part before any `@`.
    pub username: String,
    pub login: Login,
    pub auth: Pop3Auth,
    /// Longest silence of the server within one read, and longest time to connect.
    pub timeout: Duration,
    /// `tls = "none"` to a host that is not loopback.
    pub allow_plaintext: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pop3Auth {
    /// Of a password: USER and PASS, unless the server only takes AUTH PLAIN. Of a token: OAUTHBEARER, else XOAUTH2.
    #[default]
    Auto,
    Plain,
    User,
    XOAuth2,
    OAuthBearer,
    /// The client certificate.
    External,
}
