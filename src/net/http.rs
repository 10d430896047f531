//! Calling a web address once: a hook, a heartbeat.
//!
//! The address may be all that a stranger needs to write there, so that only its host is ever told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};

use super::proxy::Proxy;
use super::tls::{self, NetError};
use super::trust::Trust;
use super::{TlsMode, clean};
use crate::base::secret::Secret;

/// Of an answer, which is only looked at when it refuses.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A web address, and the way to it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub url: Secret,
    /// What may be shown of it.
    pub shown: String,
    pub ca_file: Option<PathBuf>,
    /// For `https://` only.
    pub proxy: Option<Proxy>,
    /// For all of it.
    pub timeout: Duration,
}

/// What is told of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Scheme, host and port; the rest may be a secret.
    pub shown: String,
    pub is_plain: bool,
    /// This host's own.
    pub is_loopback: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("is no URL")]
    Syntax,
    #[error("is neither https:// nor http://")]
    Scheme,
    #[error("holds a login before the @")]
    Login,
}

impl BadUrl {
    pub const HINT: &str = "write url = \"https://alarms.corp.example/…\", or a place where it is kept, as of passwords: \
                            url = { secret = \"NAME\" }";
}

/// Whether an address can be called, and what may be told of it.
pub fn check_url(text: &str) -> Result<Told, BadUrl> {
    let url = Url::parse(text).map_err(|_| BadUrl::Syntax)?;
    let is_plain = match url.scheme() {
        "https" => false,
        "http" => true,
        _ => return Err(BadUrl::Scheme),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadUrl::Login);
    }
    let host = url.host_str().ok_or(BadUrl::Syntax)?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let has_more = url.path() != "/" || url.query().is_some();
    let shown = format!("{}://{host}{port}{}", url.scheme(), if has_more { "/…" } else { "" });
    let bare = host.trim_matches(['[', ']']);
    let is_loopback = match bare.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => bare.eq_ignore_ascii_case("localhost"),
    };
    Ok(Told { shown, is_plain, is_loopback })
}

/// A name of a header that a configuration may set.
pub fn is_header(name: &str) -> bool {
    const OURS: [&str; 5] = ["host", "content-length", "content-type", "transfer-encoding", "connection"];
    !OURS.contains(&name.to_ascii_lowercase().as_str()) && HeaderName::from_bytes(name.as_bytes()).is_ok()
}

/// Why an address did not take what it was told.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error("the address cannot be called: {0}")]
    Setup(String),
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("it sends calls elsewhere ({0}), which is not followed")]
    Redirect(u16),
    #[error("it answers {status}{said}")]
    Refused { status: u16, said: String },
}

impl HttpError {
    pub fn hint(&self) -> Option<String> {
        match self {
            // Elsewhere there is a key for each part of it.
            HttpError::Net(error) => error.hint().map(|hint| {
                ["`host`, `port`", "`host`", "`port`"].iter().fold(hint, |hint, part| hint.replace(part, "`url`"))
            }),
            HttpError::Setup(_) | HttpError::Redirect(_) => Some("check `url`".to_owned()),
            HttpError::Refused { status: 400..=499, .. } => {
                Some("check `url`, and `headers` if it wants a login".into())
            }
            HttpError::Silent(_) | HttpError::Broken(_) | HttpError::Refused { .. } => None,
        }
    }
}

/// Calls the address: with `json` a POST of it, else a GET. Only an answer of 2xx is a good one.
pub async fn call(endpoint: &Endpoint, headers: &[(String, Secret)], json: Option<Vec<u8>>) -> Result<(), HttpError> {
    let hide = |text: &str| {
        // The whole address, and the parts of it that are the secret.
        let url = Url::parse(endpoint.url.expose()).ok();
        let path = Secret::new(url.as_ref().map(|url| url.path().trim_matches('/').to_owned()).unwrap_or_default());
        let query = Secret::new(url.as_ref().and_then(Url::query).unwrap_or_default().to_owned());
        let secrets = [&endpoint.url, &path, &query].into_iter().chain(headers.iter().map(|(_, value)| value));
        clean(&secrets.fold(text.to_owned(), |text, secret| secret.hide(&text)))
    };
    let url = Url::parse(endpoint.url.expose()).map_err(|_| HttpError::Setup("it is no URL".into()))?;
    let client = client(endpoint, &url)?;
    let method = if json.is_some() { Method::POST } else { Method::GET };
    let mut request = client.request(method, url.clone());
    for (name, value) in headers {
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|_| HttpError::Setup(format!("the header {name} holds what no header can carry")))?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    if let Some(json) = json {
        request = request.header(CONTENT_TYPE, "application/json").body(json);
    }
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_timeout() => return Err(HttpError::Silent(endpoint.timeout)),
        Err(error) if error.is_connect() => {
            return Err(match look(endpoint).await {
                Err(why) => why,
                Ok(()) => HttpError::Broken(hide(&chain(&error))),
            });
        }
        Err(error) => return Err(HttpError::Broken(hide(&chain(&error)))),
    };
    match response.status().as_u16() {
        200..=299 => Ok(()),
        status @ 300..=399 => Err(HttpError::Redirect(status)),
        status => {
            let mut body = Vec::new();
            while let Ok(Some(chunk)) = response.chunk().await {
                body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - body.len())]);
                if body.len() == ANSWER_BYTES_MAX {
                    break;
                }
            }
            let text = String::from_utf8_lossy(&body);
            let is_page = text.trim_start().starts_with('<');
            let said = if is_page || text.trim().is_empty() { String::new() } else { format!(": {}", hide(&text)) };
            Err(HttpError::Refused { status, said })
        }
    }
}

fn client(endpoint: &Endpoint, url: &Url) -> Result<Client, HttpError> {
    let trust = Trust::with(endpoint.ca_file.as_deref());
    let setup = |error: reqwest::Error| HttpError::Setup(clean(&chain(&error)));
    let mut builder = Client::builder()
        .tls_backend_preconfigured(trust.connector()?)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .connect_timeout(endpoint.timeout)
        .timeout(endpoint.timeout)
        .user_agent(concat!("gatepost/", env!("CARGO_PKG_VERSION")));
    if let Some(proxy) = endpoint.proxy.as_ref().filter(|_| url.scheme() == "https") {
        let mut through = reqwest::Proxy::https(format!("http://{}", proxy.authority())).map_err(setup)?;
        if let Some((user, password)) = &proxy.login {
            through = through.basic_auth(user, password.expose());
        }
        builder = builder.proxy(through);
    }
    if let (Some("localhost"), Some(port)) = (url.host_str(), url.port_or_known_default()) {
        // Whatever the host's tables say, it stays here.
        let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        builder = builder.resolve_to_addrs("localhost", &here.map(|ip| SocketAddr::new(ip, port)));
    }
    builder.build().map_err(setup)
}

/// Connects and shakes hands, without a request.
pub async fn look(endpoint: &Endpoint) -> Result<(), HttpError> {
    let url = Url::parse(endpoint.url.expose()).map_err(|_| HttpError::Setup("it is no URL".into()))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let mode = if url.scheme() == "https" { TlsMode::Implicit } else { TlsMode::None };
    let port = url.port_or_known_default().unwrap_or(443);
    let (trust, limit) = (Trust::with(endpoint.ca_file.as_deref()), endpoint.timeout);
    match endpoint.proxy.as_ref().filter(|_| mode == TlsMode::Implicit) {
        Some(proxy) => {
            let (stream, _) = proxy.tunnel(host, port, limit).await?;
            tls::handshake(Box::new(stream), host, &trust, limit).await.map(drop)?;
        }
        None => tls::connect(host, port, mode, &trust, limit).await.map(drop)?,
    }
    Ok(())
}

/// An error with its causes; the outermost one of the library says nothing, and names the URL.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut text = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push(error.to_string());
        cause = error.source();
    }
    if text.is_empty() { "the request failed".into() } else { text.join(": ") }
}
