//! What a POP3 gateway is configured with.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::secret::Secret;
use crate::net::TlsMode;

#[derive(Clone, Debug)]
pub struct Pop3Options {
    pub host: String,
    /// Tried in this order; a place where nothing listens leads to the next. All of them are as well protected: what
    /// is tried next is never a step down.
    pub ports: Vec<(u16, TlsMode)>,
    /// A PEM file with additional trusted authorities.
    pub ca_file: Option<PathBuf>,
    /// The login name; of a *mailbox ID* the part before any `@`.
    pub username: String,
    pub password: Secret,
    pub auth: Pop3Auth,
    /// Longest silence of the server within one read, and longest time to connect.
    pub timeout: Duration,
    /// `tls = "none"` to a host that is not loopback.
    pub allow_plaintext: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pop3Auth {
    /// USER and PASS, unless the server only takes AUTH PLAIN.
    #[default]
    Auto,
    Plain,
    User,
}
