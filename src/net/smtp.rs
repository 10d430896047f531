//! Handing a mail to a server that sends it (SMTP submission, RFC 6409).
//!
//! TLS is this room's own, so that certificates are verified and pinned as everywhere, and nothing is said in clear text
//! that was to be protected: without STARTTLS in the server's offer nothing is sent at all, and what it said before the
//! handshake is forgotten. The conversation after that is `lettre`'s.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use super::tls::{self, NetError, Secured};
use super::trust::Trust;
use super::{BoxTransport, TlsMode, clean};
use crate::base::secret::Secret;

/// Of all that a server says in one conversation.
const SAID_BYTES_MAX: u64 = 256 * 1024;

/// How mail is sent.
#[derive(Clone, Debug)]
pub struct SmtpOptions {
    pub host: String,
    pub port: u16,
    pub tls: TlsMode,
    pub trust: Trust,
    pub login: Option<(String, Secret)>,
    /// For each step.
    pub timeout: Duration,
}

/// Why a mail was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SmtpError {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error("{peer} does not offer STARTTLS; nothing was sent")]
    NoStartTls { peer: String },
    #[error("{what}: {said}")]
    Refused { what: &'static str, said: String, is_passing: bool, is_login: bool },
    #[error("{peer} was silent for {}", humantime::format_duration(*.limit))]
    Silent { peer: String, limit: Duration },
    #[error("the conversation with {peer} broke off: {said}")]
    Broken { peer: String, said: String },
}

impl SmtpError {
    /// Whether time alone may mend it.
    pub fn is_passing(&self) -> bool {
        match self {
            SmtpError::Net(error) => error.is_passing(),
            SmtpError::Refused { is_passing, .. } => *is_passing,
            SmtpError::NoStartTls { .. } => false,
            SmtpError::Silent { .. } | SmtpError::Broken { .. } => true,
        }
    }

    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            SmtpError::Net(NetError::Handshake { .. }) => {
                "check that `port` and `tls` fit together: 465 with `implicit`, 587 with `starttls`"
            }
            SmtpError::Net(error) => return error.hint(),
            SmtpError::NoStartTls { .. } => "use tls = \"implicit\" and its port (465), or another server",
            SmtpError::Refused { is_login: true, .. } => {
                "check `username` and `password`, and that the account may send"
            }
            SmtpError::Refused { is_passing: true, .. } => "it is tried again",
            SmtpError::Refused { .. } => "check `from` and `to`, and whom the server lets send",
            SmtpError::Silent { .. } => "check `port` and `tls`; `timeout` is how long to wait",
            SmtpError::Broken { .. } => "check `port`: is it a mail server?",
        };
        Some(hint.to_owned())
    }
}

/// A conversation that stands, after the login.
pub struct Session<'a> {
    connection: AsyncSmtpConnection,
    options: &'a SmtpOptions,
    /// The server's certificate, in DER.
    pub certificate: Option<Vec<u8>>,
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("host", &self.options.host).finish_non_exhaustive()
    }
}

/// Sends one mail, whose lines end in CRLF. What the server said when it took it: probably its queue's number.
pub async fn send(options: &SmtpOptions, from: &str, to: &[String], message: &[u8]) -> Result<String, SmtpError> {
    let mut session = Session::open(options).await?;
    let sent = session.send(from, to, message).await;
    session.close().await;
    sent
}

impl<'a> Session<'a> {
    /// Connects, and logs in where there is a login.
    pub async fn open(options: &'a SmtpOptions) -> Result<Session<'a>, SmtpError> {
        let SmtpOptions { host, port, tls, trust, login, timeout: limit } = options;
        let tls::Connected { mut stream, peer, mut certificate } =
            tls::connect(host, *port, *tls, trust, *limit).await?;
        let mut greeting: &'static [u8] = b"";
        if *tls == TlsMode::StartTls {
            ask_for_tls(options, &mut stream).await?;
            Secured { stream, certificate } = tls::handshake(stream, host, trust, *limit).await?;
            // A server greets once, and the library waits for it.
            greeting = b"220 protected\r\n";
        }
        let stream = Stream { inner: Mutex::new(stream), greeting, peer, left: SAID_BYTES_MAX };
        let hello = ClientId::default();
        let opening = AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello);
        let connection = options.step("the server does not talk to us", opening).await?;
        let mut session = Session { connection, options, certificate };
        if let Some((user, password)) = login {
            let credentials = Credentials::new(user.clone(), password.expose().to_owned());
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            if session.connection.server_info().get_auth_mechanism(&mechanisms).is_none() {
                let said = "the server offers neither PLAIN nor LOGIN on this connection".to_owned();
                let what = "no login is possible";
                return Err(SmtpError::Refused { what, said, is_passing: false, is_login: true });
            }
            let login = session.connection.auth(&mechanisms, &credentials);
            options.step(LOGIN, login).await?;
        }
        Ok(session)
    }

    pub async fn send(&mut self, from: &str, to: &[String], message: &[u8]) -> Result<String, SmtpError> {
        let unusable = |error: lettre::address::AddressError| SmtpError::Refused {
            what: "the mail cannot be addressed",
            said: error.to_string(),
            is_passing: false,
            is_login: false,
        };
        let from = from.parse().map_err(unusable)?;
        let to = to.iter().map(|to| to.parse()).collect::<Result<Vec<_>, _>>().map_err(unusable)?;
        let envelope = Envelope::new(Some(from), to).map_err(|error| SmtpError::Refused {
            what: "the mail cannot be addressed",
            said: error.to_string(),
            is_passing: false,
            is_login: false,
        })?;
        let taken = self.options.step("the mail was not taken", self.connection.send(&envelope, message)).await?;
        Ok(clean(&taken.message().collect::<Vec<_>>().join(" ")))
    }

    pub async fn close(mut self) {
        // It has said all; whether the other side says good-bye changes nothing.
        let _ = timeout(self.options.timeout.min(Duration::from_secs(5)), self.connection.quit()).await;
    }
}

const LOGIN: &str = "the login is refused";

impl SmtpOptions {
    /// For people: where it is.
    pub fn peer(&self) -> String {
        format!("{}:{}", clean(&self.host), self.port)
    }

    async fn step<T>(
        &self,
        what: &'static str,
        step: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
    ) -> Result<T, SmtpError> {
        let error = match timeout(self.timeout, step).await {
            Err(_) => return Err(SmtpError::Silent { peer: self.peer(), limit: self.timeout }),
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error,
        };
        let mut said = error.to_string();
        // The server may repeat what it refuses.
        for secret in self.login.iter().map(|(_, password)| password) {
            said = secret.hide(&said);
        }
        let said = clean(&said);
        Err(match error.status() {
            Some(_) => {
                let is_passing = error.is_transient();
                SmtpError::Refused { what, said, is_passing, is_login: what == LOGIN && !is_passing }
            }
            None => SmtpError::Broken { peer: self.peer(), said },
        })
    }
}

/// The conversation up to the server's consent to a handshake. Read byte by byte: what a stranger slipped in behind it
/// would be taken for the handshake, and break it.
async fn ask_for_tls(options: &SmtpOptions, stream: &mut BoxTransport) -> Result<(), SmtpError> {
    let talk = async {
        let greeting = reply(stream).await?;
        if !greeting.starts_with("220") {
            return Ok(Err(greeting));
        }
        stream.write_all(b"EHLO [127.0.0.1]\r\n").await?;
        let offer = reply(stream).await?;
        if !offer.starts_with("250") {
            return Ok(Err(offer));
        }
        let has =
            offer.lines().filter_map(|line| line.get(4..)).any(|word| word.trim().eq_ignore_ascii_case("STARTTLS"));
        if !has {
            return Ok(Ok(false));
        }
        stream.write_all(b"STARTTLS\r\n").await?;
        let consent = reply(stream).await?;
        if consent.starts_with("220") { Ok(Ok(true)) } else { Ok(Err(consent)) }
    };
    let peer = options.peer();
    match timeout(options.timeout, talk).await {
        Err(_) => Err(SmtpError::Silent { peer, limit: options.timeout }),
        Ok(Err(error)) => {
            let error: io::Error = error;
            Err(SmtpError::Broken { peer, said: clean(&error.to_string()) })
        }
        Ok(Ok(Ok(true))) => Ok(()),
        Ok(Ok(Ok(false))) => Err(SmtpError::NoStartTls { peer }),
        Ok(Ok(Err(said))) => {
            let is_passing = said.starts_with('4');
            let said = clean(&said);
            Err(SmtpError::Refused { what: "the server does not change to TLS", said, is_passing, is_login: false })
        }
    }
}

/// An answer of one or several lines (RFC 5321 §4.2.1).
async fn reply(stream: &mut BoxTransport) -> io::Result<String> {
    const BYTES_MAX: usize = 16 * 1024;
    let (mut all, mut line) = (Vec::new(), 0);
    loop {
        let byte = stream.read_u8().await?;
        all.push(byte);
        if all.len() > BYTES_MAX {
            return Err(io::Error::other("its answer has no end"));
        }
        if byte == b'\n' {
            if all.get(line + 3) != Some(&b'-') {
                return Ok(String::from_utf8_lossy(&all).into_owned());
            }
            line = all.len();
        }
    }
}

/// What the library talks over. Behind a lock only because it wants a stream that can be shared; nobody shares it.
struct Stream {
    inner: Mutex<BoxTransport>,
    /// What is read before anything else.
    greeting: &'static [u8],
    peer: SocketAddr,
    /// Bytes that may still be read; a line without an end must not fill the memory.
    left: u64,
}

impl Stream {
    fn inner(&mut self) -> Pin<&mut BoxTransport> {
        Pin::new(self.inner.get_mut().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.greeting.is_empty() {
            let count = buffer.remaining().min(self.greeting.len());
            let (now, later) = self.greeting.split_at(count);
            buffer.put_slice(now);
            self.greeting = later;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = self.inner().poll_read(cx, buffer);
        let count = (buffer.filled().len() - before) as u64;
        match self.left.checked_sub(count) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::other("its answers have no end"))),
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Stream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}
