//! What an IMAP gateway is configured with.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::secret::Secret;
use crate::net::TlsMode;

#[derive(Clone, Debug)]
pub struct ImapOptions {
    pub host: String,
    pub port: u16,
    pub tls: TlsMode,
    /// A PEM file with additional trusted authorities.
    pub ca_file: Option<PathBuf>,
    /// The login name; of a *mailbox ID* the part before any `@`.
    pub username: String,
    pub password: Secret,
    pub auth: ImapAuth,
    pub folders: Vec<String>,
    /// Longest silence of the server within one read, and longest time to connect.
    pub timeout: Duration,
    /// `tls = "none"` to a host that is not loopback.
    pub allow_plaintext: bool,
    /// Nobody else uses this mailbox, so that a plain EXPUNGE may be used where UIDPLUS is missing.
    pub sole_client: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImapAuth {
    /// AUTHENTICATE PLAIN where the server offers it, else LOGIN.
    #[default]
    Auto,
    Plain,
    Login,
}
