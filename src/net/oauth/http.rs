//! The HTTP below a token request: one request, one answer of bounded length, in bounded time.
//!
//! Must: TLS is verified; no redirect is followed, because the request holds a secret; what is not for the token's
//! reader (a page, a throttle, a server that is down) never reaches the library that reads tokens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use native_tls::TlsConnector;
use oauth2::http::{HeaderMap, Response, StatusCode, header};
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::{Client, Proxy, Url};

use super::error::WAIT_MAX;
use super::{OAuth2Options, TokenError, TokenProblem};
use crate::base::secret::Secret;
use crate::net::http::chain;
use crate::net::tls::NetError;
use crate::net::trust::Trust;
use crate::net::{TlsMode, clean, tls};

/// Tokens with hundreds of groups in them are some ten KiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The library wants one even where no TLS is spoken, and making one reads all authorities of the system.
static UNUSED: LazyLock<Result<TlsConnector, String>> =
    LazyLock::new(|| TlsConnector::new().map_err(|error| clean(&error.to_string())));

/// What a request may hold that nobody else may see.
const SECRET_FIELDS: &[&str] =
    &["client_secret", "client_assertion", "assertion", "refresh_token", "device_code", "code", "password"];

/// Why there is no answer that could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{text}")]
    Connect { text: String, hint: Option<String>, is_passing: bool },
    #[error("it is asked too often ({status}){text}")]
    Throttled { status: u16, wait: Option<Duration>, text: String },
    #[error("it answers {status}{text}")]
    Down { status: u16, text: String },
    #[error("it sends requests elsewhere ({status}), which is not followed")]
    Redirect { status: u16 },
    #[error("its answer is longer than any token")]
    TooLong,
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error("the connection broke: {0}")]
    Broken(String),
}

impl Failure {
    pub fn is_passing(&self) -> bool {
        self.problem().is_passing()
    }

    fn problem(&self) -> TokenProblem {
        match self {
            Failure::Connect { is_passing: true, .. }
            | Failure::Down { .. }
            | Failure::Silent(_)
            | Failure::Broken(_) => TokenProblem::Unreachable,
            Failure::Connect { is_passing: false, .. } | Failure::Redirect { .. } => TokenProblem::Configuration,
            Failure::Throttled { .. } => TokenProblem::Throttled,
            Failure::TooLong => TokenProblem::Protocol,
        }
    }

    /// How long the server wants to be left alone.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Failure::Throttled { wait, .. } => *wait,
            Failure::Connect { .. }
            | Failure::Down { .. }
            | Failure::Redirect { .. }
            | Failure::TooLong
            | Failure::Silent(_)
            | Failure::Broken(_) => None,
        }
    }

    pub fn told(&self, options: &OAuth2Options, sent: &[Secret]) -> TokenError {
        let wait = |wait: &Option<Duration>| wait.map(|wait| format!("it is left alone for {}", shown(wait)));
        let hint = match self {
            Failure::Connect { hint, .. } => hint.clone(),
            Failure::Throttled { wait: asked, .. } => wait(asked).or_else(|| Some("it is asked again later".into())),
            Failure::Down { .. } | Failure::Broken(_) => Some("it is asked again later".into()),
            Failure::Redirect { .. } => {
                Some("check `token_url`: it must be the address of the token endpoint itself".into())
            }
            Failure::TooLong => Some("check `token_url`".into()),
            Failure::Silent(_) => Some("check `token_url`, `proxy` and the firewalls between".into()),
        };
        TokenError::of(options, self.problem(), &self.to_string(), hint.as_deref(), sent)
    }
}

fn shown(wait: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(wait.as_secs()))
}

pub(super) struct Http<'a> {
    client: Client,
    options: &'a OAuth2Options,
    now: Timestamp,
    /// The secrets that the last request held.
    sent: Mutex<Vec<Secret>>,
}

impl<'a> Http<'a> {
    pub fn new(options: &'a OAuth2Options, now: Timestamp) -> Result<Http<'a>, Failure> {
        let setup = |text: String, hint: Option<String>| Failure::Connect { text, hint, is_passing: false };
        let urls = [Some(&options.token_url), options.device_url.as_ref()].into_iter().flatten();
        let urls: Vec<Url> = urls.filter_map(|url| Url::parse(url).ok()).collect();
        let connector = match urls.iter().all(|url| url.scheme() == "http") {
            true => UNUSED.clone().map_err(|said| setup(said, None))?,
            false => {
                let trust = Trust::with(options.ca_file.as_deref());
                trust.connector().map_err(|error| setup(error.to_string(), error.hint()))?
            }
        };
        let mut builder = Client::builder()
            .tls_backend_preconfigured(connector)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .connect_timeout(options.timeout)
            .timeout(options.timeout)
            .user_agent(concat!("gatepost/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = &options.proxy {
            let url = format!("http://{}", proxy.authority());
            let mut through = Proxy::https(url).map_err(|_| setup("`proxy` cannot be used".into(), None))?;
            if let Some((user, password)) = &proxy.login {
                through = through.basic_auth(user, password.expose());
            }
            builder = builder.proxy(through);
        }
        // Only names of this machine are spoken to without TLS; whatever the host's tables say, they stay here.
        for url in urls.iter().filter(|url| url.scheme() == "http") {
            if let Some(port) = url.port_or_known_default() {
                let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                builder = builder.resolve_to_addrs("localhost", &here.map(|ip| SocketAddr::new(ip, port)));
            }
        }
        let client = builder.build().map_err(|error| setup(clean(&chain(&error)), None))?;
        Ok(Http { client, options, now, sent: Mutex::default() })
    }

    /// The secrets that the last request held, which an answer may repeat.
    pub fn sent(&self) -> Vec<Secret> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A token server's own answer, whether it grants or refuses; everything else is a failure.
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Failure> {
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = secrets_in(request.body());
        let url = request.uri().to_string();
        let request = reqwest::Request::try_from(request).map_err(|error| Failure::Broken(clean(&chain(&error))))?;
        let mut response = match self.client.execute(request).await {
            Ok(response) => response,
            Err(error) => return Err(self.no_answer(&url, &error).await),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > ANSWER_BYTES_MAX => return Err(Failure::TooLong),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Err(self.no_answer(&url, &error).await),
            }
        }
        self.judged(status, headers, body)
    }

    fn judged(&self, status: StatusCode, headers: HeaderMap, body: Vec<u8>) -> Result<HttpResponse, Failure> {
        let text = || {
            // Not cut here: whoever repeats it takes the secrets out first, and half a secret is not found.
            let text = String::from_utf8_lossy(&body);
            let is_page = text.trim_start().starts_with('<');
            if is_page || text.trim().is_empty() { String::new() } else { format!(": {text}") }
        };
        match status.as_u16() {
            429 | 503 => {
                let wait = headers.get(header::RETRY_AFTER).and_then(|value| self.retry_after(value.to_str().ok()?));
                Err(Failure::Throttled { status: status.as_u16(), wait, text: text() })
            }
            300..=399 => Err(Failure::Redirect { status: status.as_u16() }),
            // Some say what is wrong with a request by 500, in the form of a refusal.
            500..=599 if serde_json::from_slice::<super::error::Said>(&body).is_err() => {
                Err(Failure::Down { status: status.as_u16(), text: text() })
            }
            404 | 405 | 410 if serde_json::from_slice::<super::error::Said>(&body).is_err() => Err(Failure::Connect {
                text: format!("there is no token endpoint ({})", status.as_u16()),
                hint: Some("check `token_url` (or `tenant`)".into()),
                is_passing: false,
            }),
            _ => {
                let mut response = Response::new(body);
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                Ok(response)
            }
        }
    }

    /// In seconds, or as a date.
    fn retry_after(&self, value: &str) -> Option<Duration> {
        let wait = match value.trim().parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => {
                let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
                Duration::try_from(date.duration_since(self.now)).unwrap_or_default()
            }
        };
        Some(wait.min(WAIT_MAX))
    }

    /// The library says little about why; a second attempt by hand says it, without a request.
    async fn no_answer(&self, url: &str, error: &reqwest::Error) -> Failure {
        if error.is_timeout() {
            return Failure::Silent(self.options.timeout);
        }
        if !error.is_connect() {
            return Failure::Broken(clean(&chain(error)));
        }
        const KEY: &str = "`token_url`";
        let found = match Url::parse(url) {
            Ok(url) => self.probe(&url).await.err(),
            Err(_) => None,
        };
        match found {
            Some(error) => Failure::Connect {
                text: error.to_string(),
                // Elsewhere there is a key for each part of it.
                hint: error.hint().map(|hint| {
                    ["`host`, `port`", "`host`", "`port`"].iter().fold(hint, |hint, part| hint.replace(part, KEY))
                }),
                is_passing: error.is_passing(),
            },
            None => Failure::Connect {
                text: clean(&chain(error)),
                hint: Some(format!("check {KEY} and the network of this machine")),
                is_passing: true,
            },
        }
    }

    async fn probe(&self, url: &Url) -> Result<(), NetError> {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let mode = if url.scheme() == "https" { TlsMode::Implicit } else { TlsMode::None };
        let port = url.port_or_known_default().unwrap_or(443);
        let (trust, limit) = (Trust::with(self.options.ca_file.as_deref()), self.options.timeout);
        match self.options.proxy.as_ref().filter(|_| mode == TlsMode::Implicit) {
            Some(proxy) => {
                let (stream, _) = proxy.tunnel(host, port, limit).await?;
                tls::handshake(Box::new(stream), host, &trust, limit).await.map(drop)
            }
            None => tls::connect(host, port, mode, &trust, limit).await.map(drop),
        }
    }
}

/// Under one name and not as a closure: sessions wait for tokens wherever they are, and the compiler sees that they may
/// only where this future's type does not depend on what a closure borrows.
impl<'c> AsyncHttpClient<'c> for Http<'_> {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Failure>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

fn secrets_in(body: &[u8]) -> Vec<Secret> {
    let query = String::from_utf8_lossy(body);
    let Ok(url) = Url::parse(&format!("http://localhost/?{query}")) else { return Vec::new() };
    let secrets = url.query_pairs().filter(|(name, _)| SECRET_FIELDS.contains(&name.as_ref()));
    secrets.map(|(_, value)| Secret::new(value.into_owned())).collect()
}
