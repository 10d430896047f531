//! The HTTP below EWS: one connection at a time, which NTLM is bound to; no redirects, no proxies, verified TLS.
//!
//! Must: credentials go only to the host that the profile names, over TLS or on this machine, unless the profile
//! allows plaintext; the addresses that were looked at for that are the ones that are connected to.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, Method, Response, StatusCode, Url};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

use super::failure::Failure;
use super::ntlm::Handshake;
use super::options::{EwsAuth, EwsOptions};
use crate::net::tls::NetError;
use crate::net::{TlsMode, clean, tls};

const TEXT: &str = "text/xml; charset=utf-8";
/// Of an error page, which is read for its reason only.
const PAGE_BYTES_MAX: usize = 64 * 1024;
/// A connection that goes away between the steps of a handshake is not a refusal.
const HANDSHAKES_MAX: u32 = 4;

pub(super) struct Http {
    client: Client,
    url: Url,
    auth: EwsAuth,
    options: EwsOptions,
    pub peer: SocketAddr,
    /// The connection is one that a handshake was made on.
    is_bound: bool,
    /// The login was accepted once.
    is_proven: bool,
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
    /// Finds the server and tries a connection, so that what is wrong with it is told apart from what EWS says.
    pub async fn connect(url: &Url, options: &EwsOptions) -> Result<Http, Failure> {
        let failed = |error: &NetError| Failure::Connect {
            text: error.to_string(),
            // The other sources have a key for each part of it.
            hint: error.hint().map(|hint| {
                ["`host`, `port`", "`host`", "`port`"].iter().fold(hint, |hint, key| hint.replace(key, "`url`"))
            }),
            is_passing: error.is_passing(),
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let mode = if url.scheme() == "http" { TlsMode::None } else { TlsMode::Implicit };
        let addresses = tls::resolve(&host, port, options.timeout).await.map_err(|error| failed(&error))?;
        if let Some(far) =
            addresses.iter().find(|peer| crate::sources::failure::exposes(mode, options.allow_plaintext, **peer))
        {
            return Err(Failure::Connect {
                text: format!("{far} is another machine, and http:// would send the password and all mail readable"),
                hint: Some("use https://; only if it must be: `allow_plaintext = true`".into()),
                is_passing: false,
            });
        }
        let probe = tls::connect(&host, port, mode, options.ca_file.as_deref(), options.timeout);
        let peer = probe.await.map_err(|error| failed(&error))?.peer;
        let client = client(&host, &addresses, options)?;
        let (url, auth, options) = (url.clone(), options.auth, options.clone());
        Ok(Http { client, url, auth, options, peer, is_bound: false, is_proven: false })
    }

    /// Sends a request; the answer is of EWS (200, or 500 with a fault), everything else is a failure.
    pub async fn post(&mut self, xml: &str) -> Result<Stretch, Failure> {
        let response = match self.auth {
            EwsAuth::Basic => self.send(Method::POST, Some(xml), None).await?,
            EwsAuth::Ntlm => self.post_ntlm(xml).await?,
        };
        self.judge(response).await
    }

    /// For Autodiscover; without credentials.
    pub async fn get(&self) -> Result<Response, Failure> {
        let request = self.client.get(self.url.clone()).header("Accept", "application/json");
        request.send().await.map_err(|error| wire_failure(&error, self.options.timeout))
    }

    /// For Autodiscover: whatever the answer is.
    pub async fn post_any(&mut self, xml: &str) -> Result<Response, Failure> {
        match self.auth {
            EwsAuth::Basic => self.send(Method::POST, Some(xml), None).await,
            EwsAuth::Ntlm => self.post_ntlm(xml).await,
        }
    }

    async fn judge(&mut self, response: Response) -> Result<Stretch, Failure> {
        let status = response.status();
        match status {
            StatusCode::OK => self.is_proven = true,
            StatusCode::INTERNAL_SERVER_ERROR => {}
            StatusCode::UNAUTHORIZED => {
                let text = if offers(&response).is_empty() {
                    String::new()
                } else {
                    format!("it takes {}", offers(&response).join(", "))
                };
                let _ = drain(response).await;
                return Err(Failure::Login { text: clean(&text), proven: self.is_proven });
            }
            _ => {
                let wait = retry_after(&response);
                let text = drain(response).await.map(|page| title(&page)).unwrap_or_default();
                return Err(Failure::Http { status: status.as_u16(), text, wait });
            }
        }
        let is_xml = response.headers().get(CONTENT_TYPE).is_none_or(|kind| {
            let kind = kind.to_str().unwrap_or_default().to_ascii_lowercase();
            kind.contains("xml") || kind.trim().is_empty()
        });
        if !is_xml {
            let page = drain(response).await.unwrap_or_default();
            if status == StatusCode::OK {
                return Err(Failure::Protocol(format!("a page in place of XML ({})", title(&page))));
            }
            return Err(Failure::Http { status: status.as_u16(), text: title(&page), wait: None });
        }
        Ok(Stretch::new(response, self.options.timeout))
    }

    async fn send(&self, method: Method, xml: Option<&str>, token: Option<&str>) -> Result<Response, Failure> {
        let mut request = self.client.request(method, self.url.clone());
        request = request.header("client-request-id", uuid::Uuid::new_v4().to_string());
        request = request.header("return-client-request-id", "true");
        if let Some(mailbox) = self.options.of_mailbox() {
            request = request.header("X-AnchorMailbox", mailbox);
        }
        if let Some(xml) = xml {
            request = request.header(CONTENT_TYPE, TEXT).header("Accept", "text/xml");
            // Of an empty body the library says no length, and servers refuse that.
            request = if xml.is_empty() { request.header(CONTENT_LENGTH, 0) } else { request.body(xml.to_owned()) };
        }
        match (token, self.auth) {
            (Some(token), _) => {
                let mut value = reqwest::header::HeaderValue::from_str(token)
                    .map_err(|_| Failure::protocol("a login that is no header"))?;
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
            (None, EwsAuth::Basic) => {
                request = request.basic_auth(&self.options.username, Some(self.options.password.expose()));
            }
            (None, EwsAuth::Ntlm) => {}
        }
        request.send().await.map_err(|error| wire_failure(&error, self.options.timeout))
    }

    /// A handshake belongs to one connection; a request that comes out on another one is made again.
    async fn post_ntlm(&mut self, xml: &str) -> Result<Response, Failure> {
        let mut refused = None;
        for _ in 0..HANDSHAKES_MAX {
            if self.is_bound {
                let response = self.send(Method::POST, Some(xml), None).await?;
                if response.status() != StatusCode::UNAUTHORIZED {
                    return Ok(response);
                }
                self.is_bound = false;
                settle(response).await?;
            }
            let mut scheme = "NTLM";
            let mut handshake = Handshake::new(&self.options, &self.url)?;
            let first = handshake.first()?;
            let mut response = self.send(Method::POST, Some(""), Some(&format!("{scheme} {first}"))).await?;
            if response.status() == StatusCode::UNAUTHORIZED
                && challenge(&response, scheme).is_none()
                && offers(&response).iter().any(|offer| offer.eq_ignore_ascii_case("Negotiate"))
                && !offers(&response).iter().any(|offer| offer.eq_ignore_ascii_case("NTLM"))
            {
                settle(response).await?;
                scheme = "Negotiate";
                handshake = Handshake::new(&self.options, &self.url)?;
                let first = handshake.first()?;
                response = self.send(Method::POST, Some(""), Some(&format!("{scheme} {first}"))).await?;
            }
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            let Some(challenge) = challenge(&response, scheme) else {
                // No NTLM here: told with what the server takes.
                return Ok(response);
            };
            let certificate = response.extensions().get::<reqwest::tls::TlsInfo>();
            if let Some(certificate) = certificate.and_then(reqwest::tls::TlsInfo::peer_certificate) {
                handshake.bind_to(certificate);
            }
            let here = local_address(&response);
            settle(response).await?;
            let last = handshake.answer(&challenge)?;
            let response = self.send(Method::POST, Some(xml), Some(&format!("{scheme} {last}"))).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                self.is_bound = true;
                return Ok(response);
            }
            if here.is_none() || here == local_address(&response) {
                return Ok(response);
            }
            refused = Some(response);
        }
        refused.ok_or(Failure::Eof)
    }
}

fn client(host: &str, addresses: &[SocketAddr], options: &EwsOptions) -> Result<Client, Failure> {
    let setup = |text: String| Failure::Connect { text, hint: None, is_passing: false };
    let connector = tls::connector(options.ca_file.as_deref()).map_err(|error| setup(error.to_string()))?;
    Client::builder()
        .tls_backend_preconfigured(connector)
        .tls_info(true)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .cookie_store(true)
        .resolve_to_addrs(host, addresses)
        .pool_max_idle_per_host(1)
        .connect_timeout(options.timeout)
        .read_timeout(options.timeout)
        .user_agent(concat!("gatepost/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| setup(clean(&chain(&error))))
}

/// The connection that an answer came over.
fn local_address(response: &Response) -> Option<SocketAddr> {
    response.extensions().get::<hyper_util::client::legacy::connect::HttpInfo>().map(|info| info.local_addr())
}

/// Reads an answer to its end, so that its connection can be used again, and lets the client take it back.
async fn settle(response: Response) -> Result<(), Failure> {
    drain(response).await?;
    tokio::time::sleep(Duration::from_millis(5)).await;
    Ok(())
}

async fn drain(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| wire_failure(&error, Duration::ZERO))? {
        page.extend_from_slice(&chunk);
        if page.len() > PAGE_BYTES_MAX {
            break;
        }
    }
    Ok(page)
}

/// The schemes that a server takes.
fn offers(response: &Response) -> Vec<String> {
    let headers = response.headers().get_all(WWW_AUTHENTICATE).iter();
    headers.filter_map(|value| value.to_str().ok()?.split_whitespace().next().map(str::to_owned)).collect()
}

fn challenge(response: &Response, scheme: &str) -> Option<String> {
    response.headers().get_all(WWW_AUTHENTICATE).iter().find_map(|value| {
        let (name, token) = value.to_str().ok()?.split_once(' ')?;
        name.eq_ignore_ascii_case(scheme).then(|| token.trim().to_owned())
    })
}

/// In seconds; the other form, a date, is not worth a clock.
fn retry_after(response: &Response) -> Option<Duration> {
    response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
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

fn wire_failure(error: &reqwest::Error, timeout: Duration) -> Failure {
    if error.is_timeout() {
        return Failure::Silent(timeout);
    }
    let text = clean(&chain(error));
    if error.is_connect() {
        return Failure::Connect { text, hint: None, is_passing: true };
    }
    Failure::Io(text)
}

/// An error with its causes; the outermost one of this library says nothing, and names the URL.
fn chain(error: &reqwest::Error) -> String {
    let mut text = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push(error.to_string());
        cause = error.source();
    }
    if text.is_empty() { "the request failed".into() } else { text.join(": ") }
}

type Chunks = Pin<Box<dyn Stream<Item = io::Result<Vec<u8>>> + Send>>;

/// The body of an answer, as it arrives.
pub(super) struct Stretch {
    chunks: Chunks,
    chunk: Vec<u8>,
    at: usize,
}

impl Stretch {
    fn new(response: Response, timeout: Duration) -> Stretch {
        let chunks = futures_util::stream::unfold(Some(response), move |response| async move {
            let mut response = response?;
            match response.chunk().await {
                Ok(Some(chunk)) => Some((Ok(chunk.to_vec()), Some(response))),
                Ok(None) => None,
                Err(error) => Some((Err(io::Error::other(wire_failure(&error, timeout))), None)),
            }
        });
        Stretch { chunks: Box::pin(chunks), chunk: Vec::new(), at: 0 }
    }
}

impl AsyncBufRead for Stretch {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.at >= this.chunk.len() {
            match std::task::ready!(this.chunks.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => (this.chunk, this.at) = (chunk, 0),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(&[])),
            }
        }
        Poll::Ready(Ok(&this.chunk[this.at..]))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.at += amount;
    }
}

impl AsyncRead for Stretch {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let chunk = std::task::ready!(self.as_mut().poll_fill_buf(cx))?;
        let count = chunk.len().min(out.remaining());
        out.put_slice(&chunk[..count]);
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}
