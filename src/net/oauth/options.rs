//! What a login with tokens is configured with, and where the tokens of the large providers come from.
//!
//! Must: a token server is spoken to over https. Only on this machine, by a loopback address, is http taken: what goes
//! there is worth as much as the mailbox.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::assertion::{ServiceAccount, SigningKey};
use crate::base::secret::Secret;
use crate::net::proxy::Proxy;

/// Everything that asking for a token needs.
#[derive(Clone, Debug)]
pub struct OAuth2Options {
    pub token_url: String,
    /// Only for [`Grant::DeviceCode`].
    pub device_url: Option<String>,
    /// Empty for a service account, which is named by its own key file.
    pub client_id: String,
    /// The rights asked for, with blanks between.
    pub scope: String,
    /// The mailbox that the token opens. A token server learns it only where the grant says so; it tells the logins of
    /// several people apart that share all the rest.
    pub login: String,
    pub grant: Grant,
    /// A PEM file with additional trusted authorities.
    pub ca_file: Option<PathBuf>,
    /// https goes through it, never http.
    pub proxy: Option<Proxy>,
    /// The longest that one request may take.
    pub timeout: Duration,
    /// Where tokens are kept between runs; `None`: in memory only.
    pub folder: Option<PathBuf>,
}

/// By what right a token is asked for.
#[derive(Clone, Debug)]
pub enum Grant {
    /// The application's own right (RFC 6749 §4.4).
    ClientCredentials(ClientProof),
    /// The right that a person gave once (RFC 6749 §6). Public clients have no proof.
    RefreshToken { token: Secret, proof: Option<ClientProof> },
    /// The same, given on another device (RFC 8628) by [`super::Tokens::sign_in`]; kept in the folder.
    DeviceCode { proof: Option<ClientProof> },
    /// A signed statement (RFC 7523 §2.1), on behalf of a person with domain-wide delegation.
    ServiceAccount { account: ServiceAccount, subject: Option<String> },
}

impl Grant {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Grant::ClientCredentials(_) => "client_credentials",
            Grant::RefreshToken { .. } => "refresh_token",
            Grant::DeviceCode { .. } => "device_code",
            Grant::ServiceAccount { .. } => "service_account",
        }
    }

    pub(super) fn proof(&self) -> Option<&ClientProof> {
        match self {
            Grant::ClientCredentials(proof) => Some(proof),
            Grant::RefreshToken { proof, .. } | Grant::DeviceCode { proof } => proof.as_ref(),
            Grant::ServiceAccount { .. } => None,
        }
    }
}

/// How the application proves that it is the one that `client_id` names.
#[derive(Clone, Debug)]
pub enum ClientProof {
    /// In the request's body, as Microsoft and Google want it.
    SecretInBody(Secret),
    /// In the header, as HTTP Basic.
    SecretInHeader(Secret),
    /// A statement signed with the key of a registered certificate (RFC 7523 §2.2).
    Certificate(SigningKey),
}

/// Whose endpoints and rights are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    Microsoft,
    Google,
}

/// What a token is to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Imap,
    Pop3,
    Ews,
}

impl Provider {
    /// `tenant` means something to Microsoft alone.
    pub fn token_url(self, tenant: &str) -> String {
        match self {
            Provider::Microsoft => format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"),
            Provider::Google => "https://oauth2.googleapis.com/token".to_owned(),
        }
    }

    /// `None`: Google gives no right to mail by device code.
    pub fn device_url(self, tenant: &str) -> Option<String> {
        match self {
            Provider::Microsoft => Some(format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/devicecode")),
            Provider::Google => None,
        }
    }

    /// `is_application`: of the application itself, not of a person who is signed in.
    pub fn scope(self, protocol: Protocol, is_application: bool) -> &'static str {
        match (self, protocol, is_application) {
            (Provider::Microsoft, _, true) => "https://outlook.office365.com/.default",
            (Provider::Microsoft, Protocol::Imap, false) => {
                "https://outlook.office365.com/IMAP.AccessAsUser.All offline_access"
            }
            (Provider::Microsoft, Protocol::Pop3, false) => {
                "https://outlook.office365.com/POP.AccessAsUser.All offline_access"
            }
            (Provider::Microsoft, Protocol::Ews, false) => {
                "https://outlook.office365.com/EWS.AccessAsUser.All offline_access"
            }
            (Provider::Google, _, _) => "https://mail.google.com/",
        }
    }
}

/// Why an address cannot be one of a token server; ready for the user.
#[derive(Debug, PartialEq, Eq)]
pub struct BadEndpoint(pub &'static str);

impl fmt::Display for BadEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A URL that secrets may be sent to.
pub fn endpoint(text: &str) -> Result<Url, BadEndpoint> {
    let url = Url::parse(text).map_err(|_| BadEndpoint("is no URL"))?;
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else { return Err(BadEndpoint("names no host")) };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadEndpoint("holds a login, which has keys of its own"));
    }
    if url.fragment().is_some() {
        return Err(BadEndpoint("holds a # part, which a server never sees"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(host) => Ok(url),
        "http" => Err(BadEndpoint("would send secrets in clear text to another machine")),
        _ => Err(BadEndpoint("does not begin with https://")),
    }
}

/// An address of this machine; a name says that only when it is `localhost`, whatever it resolves to.
pub(super) fn is_loopback(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_https_or_stay_on_this_machine() {
        for good in [
            "https://login.example/token",
            "https://login.example:8443/t?tenant=1",
            "http://127.0.0.1:8080/token",
            "http://[::1]:8080/token",
            "http://localhost/token",
        ] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "http://login.example/token",
            "http://localhost.example/token",
            "http://127.0.0.1.example/token",
            "http://10.0.0.1/token",
            "ftp://login.example/token",
            "https://user:word@login.example/token",
            "https://login.example/token#part",
            "login.example/token",
            "https://",
            "",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
