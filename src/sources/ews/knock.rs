//! What a server says to somebody who does not log in: whether EWS is there at all, and which logins it takes. No
//! credentials are sent.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Url;

use super::autodiscover;
use super::failure::Failure;
use super::http::{Http, parse_url};
use super::options::{DeleteType, EwsAuth, EwsOptions};
use crate::base::secret::Secret;
use crate::net::login::Login;
use crate::net::trust::Trust;
use crate::sources::SourceError;
use crate::sources::failure::operator;

const WHAT: &str = "asking whether EWS is there";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub status: u16,
    /// The schemes of WWW-Authenticate.
    pub schemes: Vec<String>,
    /// The server's clock.
    pub date: Option<Timestamp>,
}

impl Answered {
    /// Somebody there wants a login, as EWS does.
    pub fn is_ews(&self) -> bool {
        self.status == 401 && !self.schemes.is_empty()
    }

    pub fn takes(&self, scheme: &str) -> bool {
        self.schemes.iter().any(|offered| offered.eq_ignore_ascii_case(scheme))
    }
}

pub(super) async fn knock(url: &Url, options: &EwsOptions) -> Result<Answered, Failure> {
    Http::connect(url, options).await?.knock().await
}

/// Knocks at a URL that is only suspected.
pub async fn at(url: &str, ca_file: Option<&Path>, limit: Duration) -> Result<Answered, SourceError> {
    let parsed = parse_url(url).map_err(|why| operator(crate::sources::Scope::Profile, WHAT, why, None))?;
    knock(&parsed, &nobody(ca_file, limit)).await.map_err(|failure| failure.into_error(WHAT))
}

/// What Autodiscover says to anybody, at one host: the URL of EWS. The form of it that wants a login is not asked.
pub async fn autodiscovered(
    host: &str,
    address: &str,
    ca_file: Option<&Path>,
    limit: Duration,
) -> Result<String, SourceError> {
    let what = "asking Autodiscover";
    let wrong = |why: String| operator(crate::sources::Scope::Profile, what, why, None);
    let base = parse_url(&format!("https://{host}/")).map_err(wrong)?;
    let found = autodiscover::json(&base, address, &nobody(ca_file, limit)).await;
    found.map(|url| url.to_string()).map_err(|failure| failure.into_error(what))
}

fn nobody(ca_file: Option<&Path>, timeout: Duration) -> EwsOptions {
    EwsOptions {
        url: None,
        auth: EwsAuth::default(),
        username: String::new(),
        login: Login::Password(Secret::new(String::new())),
        folder: "inbox".into(),
        delete_type: DeleteType::default(),
        trust: Trust::with(ca_file),
        proxy: None,
        timeout,
        allow_plaintext: false,
        impersonate: None,
        mailbox: None,
    }
}
