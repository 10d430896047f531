//! The requests below EWS, and how each is logged in: Basic, NTLM, a bearer token.
//!
//! Must: credentials go only to the host that the profile names (see `connection`). A refused token is replaced once,
//! until another was accepted; a refused password is not said again.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, DATE, HOST, HeaderValue, RETRY_AFTER, SET_COOKIE,
    USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, StatusCode};
use reqwest::Url;
use reqwest::cookie::{CookieStore as _, Jar};
use zeroize::Zeroizing;

use super::connection::{Connection, Place, Reply, Stretch, Unanswered};
use super::failure::Failure;
use super::knock::Answered;
use super::options::{EwsAuth, EwsOptions};
use super::{negotiate, ntlm};
use crate::base::secret::Secret;
use crate::net::login::Login;
use crate::net::oauth::Tokens;
use crate::net::{TlsMode, clean};
use crate::sources::login::{self, Credential, TokenStatus, explain};
use crate::sources::{Retry, Scope, SourceError};

const TEXT: &str = "text/xml; charset=utf-8";
const HANDSHAKES_MAX: u32 = 4;

pub(super) struct Http {
    url: Url,
    place: Place,
    options: EwsOptions,
    jar: Jar,
    connection: Option<Connection>,
    pub peer: std::net::SocketAddr,
    /// The login was accepted once.
    is_proven: bool,
    /// A token was refused and replaced, and none was accepted since.
    has_renewed: bool,
}

/// A URL that mail may be asked for at.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err("it must begin with https://".into());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it names no host".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a login; write it at `username` and `password`".into());
    }
    Ok(url)
}

impl Http {
    /// Connects, so that what is wrong with that is told apart from what EWS says.
    pub async fn connect(url: &Url, options: &EwsOptions) -> Result<Http, Failure> {
        let place = Place {
            host: url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default().unwrap_or(443),
            tls: if url.scheme() == "http" { TlsMode::None } else { TlsMode::Implicit },
        };
        let connection = Connection::open(&place, options).await?;
        Ok(Http {
            url: url.clone(),
            place,
            options: options.clone(),
            jar: Jar::default(),
            peer: connection.peer,
            connection: Some(connection),
            is_proven: false,
            has_renewed: false,
        })
    }

    /// Sends a request; the answer is of EWS (200, or 500 with a fault), everything else is a failure.
    pub async fn post(&mut self, xml: &str) -> Result<Stretch, Failure> {
        let reply = self.post_any(xml).await?;
        self.judge(reply).await
    }

    /// An empty request of nobody.
    pub async fn knock(&mut self) -> Result<Answered, Failure> {
        let reply = self.exchange(Method::POST, Some(""), None).await?;
        let date = reply.header(DATE).and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        let (status, schemes) = (reply.status().as_u16(), offers(&reply));
        Ok(Answered { status, schemes, date: date.map(|date| date.timestamp()) })
    }

    /// For Autodiscover; without credentials.
    pub async fn get(&mut self) -> Result<Reply, Failure> {
        self.exchange(Method::GET, None, None).await
    }

    /// For Autodiscover: whatever the answer is.
    pub async fn post_any(&mut self, xml: &str) -> Result<Reply, Failure> {
        match (self.options.auth, self.options.login.clone()) {
            (EwsAuth::Basic, Login::Password(password)) => {
                let pair = Zeroizing::new(format!("{}:{}", self.options.username, password.expose()));
                let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
                self.exchange(Method::POST, Some(xml), Some(&value)).await
            }
            (EwsAuth::Ntlm, Login::Password(password)) => self.post_bound(xml, Some(&password)).await,
            (EwsAuth::Negotiate, _) => self.post_bound(xml, None).await,
            (EwsAuth::OAuth2, Login::Tokens(tokens)) => self.post_bearer(xml, &tokens).await,
            (EwsAuth::Basic | EwsAuth::Ntlm | EwsAuth::OAuth2, _) => {
                let text = "`auth` is for another kind of login than the configured one";
                Err(Failure::Login { text: text.into(), proven: false })
            }
        }
    }

    async fn judge(&mut self, reply: Reply) -> Result<Stretch, Failure> {
        let status = reply.status();
        match status {
            StatusCode::OK => (self.is_proven, self.has_renewed) = (true, false),
            StatusCode::INTERNAL_SERVER_ERROR => {}
            StatusCode::UNAUTHORIZED => {
                let offers = offers(&reply);
                let text = if offers.is_empty() { String::new() } else { format!("it takes {}", offers.join(", ")) };
                let told = bearer_status(&reply);
                let _ = reply.settle().await;
                let refused = Failure::Login { text: clean(&text), proven: self.is_proven };
                return Err(match (self.options.auth, self.is_proven) {
                    (EwsAuth::OAuth2, false) => self.refused_token(&refused, told.as_ref()),
                    _ => refused,
                });
            }
            _ => {
                let wait = retry_after(&reply);
                let text = reply.settle().await.map(|page| title(&page)).unwrap_or_default();
                return Err(Failure::Http { status: status.as_u16(), text, wait });
            }
        }
        let is_xml = reply.headers().get(CONTENT_TYPE).is_none_or(|kind| {
            let kind = kind.to_str().unwrap_or_default().to_ascii_lowercase();
            kind.contains("xml") || kind.trim().is_empty()
        });
        if !is_xml {
            let page = reply.settle().await.unwrap_or_default();
            if status == StatusCode::OK {
                return Err(Failure::Protocol(format!("a page in place of XML ({})", title(&page))));
            }
            return Err(Failure::Http { status: status.as_u16(), text: title(&page), wait: None });
        }
        Ok(Stretch::new(reply))
    }

    /// The connection at hand, or a new one.
    async fn connection(&mut self) -> Result<&mut Connection, Failure> {
        let is_ready = match &mut self.connection {
            Some(connection) => connection.is_ready().await,
            None => false,
        };
        if !is_ready {
            self.connection = None;
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            gone @ None => Ok(gone.insert(Connection::open(&self.place, &self.options).await?)),
        }
    }

    /// Sends a request, and once more where the connection had been given up meanwhile.
    async fn exchange(&mut self, method: Method, xml: Option<&str>, login: Option<&str>) -> Result<Reply, Failure> {
        match self.exchange_once(&method, xml, login).await {
            Err(unanswered) if unanswered.was_stale => {
                self.exchange_once(&method, xml, login).await.map_err(|unanswered| unanswered.failure)
            }
            done => done.map_err(|unanswered| unanswered.failure),
        }
    }

    async fn exchange_once(
        &mut self,
        method: &Method,
        xml: Option<&str>,
        login: Option<&str>,
    ) -> Result<Reply, Unanswered> {
        let request = self.request(method, xml, login)?;
        let sent = self.connection().await?.send(request).await;
        if sent.is_err() {
            self.connection = None;
        }
        sent.map(|reply| self.take_cookies(reply))
    }

    fn take_cookies(&self, reply: Reply) -> Reply {
        self.jar.set_cookies(&mut reply.headers().get_all(SET_COOKIE).iter(), &self.url);
        reply
    }

    fn request(
        &self,
        method: &Method,
        xml: Option<&str>,
        login: Option<&str>,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let path = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        let host = self.url.host_str().unwrap_or_default();
        let host = self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host)
            .header(USER_AGENT, concat!("gatepost/", env!("CARGO_PKG_VERSION")))
            .header("client-request-id", uuid::Uuid::new_v4().to_string())
            .header("return-client-request-id", "true");
        if let Some(cookies) = self.jar.cookies(&self.url) {
            request = request.header(COOKIE, cookies);
        }
        if let Some(mailbox) = self.options.of_mailbox() {
            request = request.header("X-AnchorMailbox", mailbox);
        }
        request = match xml {
            // Of an empty body the library says no length, and servers refuse that.
            Some(xml) => {
                request.header(CONTENT_TYPE, TEXT).header(ACCEPT, "text/xml").header(CONTENT_LENGTH, xml.len())
            }
            None => request.header(ACCEPT, "application/json"),
        };
        if let Some(login) = login {
            let mut value = HeaderValue::from_str(login).map_err(|_| Failure::protocol("a login that is no header"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let body = Full::from(Bytes::copy_from_slice(xml.unwrap_or_default().as_bytes()));
        request.body(body).map_err(|error| Failure::protocol(clean(&error.to_string())))
    }

    /// With a token; with another one where this is refused, once until one is accepted.
    async fn post_bearer(&mut self, xml: &str, tokens: &Tokens) -> Result<Reply, Failure> {
        let username = self.options.username.clone();
        let token = login::current(tokens, &username).await.map_err(|error| Failure::Token(Box::new(error)))?;
        let reply = self.exchange(Method::POST, Some(xml), Some(&bearer(&token))).await?;
        if reply.status() != StatusCode::UNAUTHORIZED || self.has_renewed {
            return Ok(reply);
        }
        let another = tokens.instead_of(&token).await;
        let another = another.map_err(|error| Failure::Token(Box::new(login::of_token(&error, &username))))?;
        if another.expose() == token.expose() {
            return Ok(reply);
        }
        reply.settle().await?;
        self.has_renewed = true;
        self.exchange(Method::POST, Some(xml), Some(&bearer(&another))).await
    }

    fn refused_token(&self, refused: &Failure, told: Option<&TokenStatus>) -> Failure {
        let what = format!("logging in as {}", clean(&self.options.username));
        let mut error =
            SourceError { retry: Retry::Operator, ..SourceError::new(Scope::Profile, what, refused.to_string()) };
        explain(&mut error, &Credential::Token(Secret::new(String::new())), told, "EWS");
        Failure::Token(Box::new(error))
    }

    /// A login that belongs to the connection: NTLM with a password, or the identity of the process.
    async fn post_bound(&mut self, xml: &str, password: Option<&Secret>) -> Result<Reply, Failure> {
        if self.connection().await?.is_bound {
            match self.exchange_once(&Method::POST, Some(xml), None).await {
                Ok(reply) if reply.status() != StatusCode::UNAUTHORIZED => return Ok(reply),
                Ok(reply) => _ = reply.settle().await?,
                Err(unanswered) if unanswered.was_stale => {}
                Err(unanswered) => return Err(unanswered.failure),
            }
        }
        let mut scheme = if password.is_some() { "NTLM" } else { "Negotiate" };
        // A connection that goes away between the steps of a handshake is not a refusal.
        for _ in 0..HANDSHAKES_MAX {
            match self.shake(xml, password, &mut scheme).await? {
                Some(reply) => return Ok(reply),
                None => tracing::debug!("the connection went away within a login; once more"),
            }
        }
        Err(Failure::Eof)
    }

    /// `None`: it must be begun anew.
    async fn shake(
        &mut self,
        xml: &str,
        password: Option<&Secret>,
        scheme: &mut &'static str,
    ) -> Result<Option<Reply>, Failure> {
        let certificate = self.connection().await?.certificate.clone();
        let mut handshake = match password {
            Some(password) => {
                Own::Ntlm(ntlm::Handshake::new(&self.options, &self.url, password, certificate.as_deref())?)
            }
            None => Own::Process(negotiate::Handshake::new(&self.url, certificate.as_deref())?),
        };
        let mut input: Option<String> = None;
        loop {
            let token = Zeroizing::new(format!("{scheme} {}", handshake.step(input.as_deref())?));
            // NTLM's first word logs nobody in; the request itself goes with what may.
            let may_log_in = input.is_some() || password.is_none();
            let body = if may_log_in { xml } else { "" };
            let reply = match self.exchange_once(&Method::POST, Some(body), Some(&token)).await {
                Ok(reply) => reply,
                Err(unanswered) if unanswered.was_stale => return Ok(None),
                Err(unanswered) => return Err(unanswered.failure),
            };
            if reply.status() != StatusCode::UNAUTHORIZED {
                if let Some(connection) = self.connection.as_mut().filter(|_| may_log_in) {
                    connection.is_bound = true;
                }
                return Ok(Some(reply));
            }
            let Some(challenge) = challenge(&reply, scheme) else {
                let offers = offers(&reply);
                let takes = |name: &str| offers.iter().any(|offer| offer.eq_ignore_ascii_case(name));
                if input.is_none() && *scheme == "NTLM" && takes("Negotiate") && !takes("NTLM") {
                    *scheme = "Negotiate";
                    reply.settle().await?;
                    return Ok(None);
                }
                // Refused; or no such login here, which is told with what the server takes.
                return Ok(Some(reply));
            };
            reply.settle().await?;
            let is_still_there = match &mut self.connection {
                Some(connection) => connection.is_ready().await,
                None => false,
            };
            if !is_still_there {
                return Ok(None);
            }
            input = Some(challenge);
        }
    }
}

/// A login in steps, each of which answers the server's word.
// One a login; it is not moved about.
#[allow(clippy::large_enum_variant)]
enum Own {
    Ntlm(ntlm::Handshake),
    Process(negotiate::Handshake),
}

impl Own {
    fn step(&mut self, challenge: Option<&str>) -> Result<String, Failure> {
        match self {
            Own::Ntlm(handshake) => handshake.step(challenge),
            Own::Process(handshake) => handshake.step(challenge),
        }
    }
}

fn bearer(token: &Secret) -> Zeroizing<String> {
    Zeroizing::new(format!("Bearer {}", token.expose()))
}

/// The schemes that a server takes.
fn offers(reply: &Reply) -> Vec<String> {
    let headers = reply.headers().get_all(WWW_AUTHENTICATE).iter();
    headers.filter_map(|value| value.to_str().ok()?.split_whitespace().next().map(str::to_owned)).collect()
}

fn challenge(reply: &Reply, scheme: &str) -> Option<String> {
    reply.headers().get_all(WWW_AUTHENTICATE).iter().find_map(|value| {
        let (name, token) = value.to_str().ok()?.split_once(' ')?;
        name.eq_ignore_ascii_case(scheme).then(|| token.trim().to_owned())
    })
}

/// Why a token is refused: `error="…"` (RFC 6750 §3).
fn bearer_status(reply: &Reply) -> Option<TokenStatus> {
    let said = challenge(reply, "Bearer")?;
    let value = |key: &str| {
        let (_, rest) = said.split_once(&format!("{key}=\""))?;
        rest.split_once('"').map(|(value, _)| clean(value))
    };
    Some(TokenStatus { status: value("error")?, scope: value("scope").unwrap_or_default() })
}

/// In seconds; the other form, a date, is not worth a clock.
fn retry_after(reply: &Reply) -> Option<Duration> {
    reply.header(RETRY_AFTER)?.trim().parse().ok().map(Duration::from_secs)
}

/// What an error page says in its title.
fn title(page: &[u8]) -> String {
    let page = String::from_utf8_lossy(page);
    let lower = page.to_ascii_lowercase();
    let found = lower.find("<title>").and_then(|start| {
        let start = start + "<title>".len();
        lower[start..].find("</title>").map(|length| page[start..start + length].to_owned())
    });
    let text = found.unwrap_or_else(|| if page.contains('<') { String::new() } else { page.into_owned() });
    clean(&text.chars().take(200).collect::<String>())
}
