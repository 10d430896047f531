//! What an EWS gateway is configured with.

use std::time::Duration;

use crate::net::login::Login;
use crate::net::proxy::Proxy;
use crate::net::trust::Trust;

#[derive(Clone, Debug)]
pub struct EwsOptions {
    /// `https://host/EWS/Exchange.asmx`; `None`: asked for by Autodiscover.
    pub url: Option<String>,
    pub auth: EwsAuth,
    /// `user@domain` or `DOMAIN\user`.
    pub username: String,
    pub login: Login,
    /// `inbox`, another name of the schema's, or a path.
    pub folder: String,
    pub delete_type: DeleteType,
    pub trust: Trust,
    /// Asked for a tunnel to the server; only for `https://`.
    pub proxy: Option<Proxy>,
    /// Longest silence of the server within one read, and longest time to connect.
    pub timeout: Duration,
    /// `http://` to a host that is not loopback.
    pub allow_plaintext: bool,
    /// Act as the owner of this mailbox (the right ApplicationImpersonation).
    pub impersonate: Option<String>,
    /// Open the folder in this mailbox, to which the login has access as a delegate.
    pub mailbox: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EwsAuth {
    #[default]
    Basic,
    Ntlm,
    /// A bearer token.
    OAuth2,
    /// The identity that the program runs as; on Windows only.
    Negotiate,
}

/// What a deletion does on the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeleteType {
    /// Out of the mailbox; into Recoverable Items while the server's retention says so.
    #[default]
    Hard,
    Soft,
    DeletedItems,
}

impl EwsOptions {
    /// The mailbox that is read, as far as it is known to be another than the login's.
    pub fn of_mailbox(&self) -> Option<&str> {
        self.mailbox.as_deref().or(self.impersonate.as_deref())
    }

    /// What names the gateway in the archive. Where Autodiscover finds the server it is the domain that was asked, so
    /// that a mailbox which moves to another server stays the same one.
    pub fn gateway_host(url: Option<&str>, address: &str) -> String {
        match url.and_then(|url| reqwest::Url::parse(url).ok()) {
            Some(url) => {
                let port = url.port_or_known_default().unwrap_or(443);
                format!("{}:{port}", url.host_str().unwrap_or_default())
            }
            None => format!("autodiscover:{}", address.rsplit_once('@').map_or(address, |(_, domain)| domain)),
        }
    }
}
