//! The way to a server's door: TCP, TLS, greeting. It ends before anybody logs in.
//!
//! For `check` and `init`, which look before they speak. Nothing secret is known here, so nothing can be given away.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{Finding, Level};
use crate::net::certificate::{self, Certificate};
use crate::net::tls::{self, NetError};
use crate::net::trust::Trust;
use crate::net::{BoxTransport, TlsMode, clean};

const LINE_BYTES_MAX: usize = 4096;
/// Lines of an answer before it counts as none.
const LINES_MAX: usize = 20;
/// So soon a certificate must be renewed.
const EXPIRY_WARNING_DAYS: i64 = 21;

/// The language behind a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Imap,
    Pop3,
    /// Where the client speaks first.
    Http,
}

#[derive(Clone, Debug)]
pub struct Door {
    pub host: String,
    pub port: u16,
    pub tls: TlsMode,
    pub speaks: Speaks,
    pub trust: Trust,
    /// Of each step.
    pub limit: Duration,
}

/// Why nobody is reached.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    #[error("{0}")]
    Net(#[from] NetError),
    #[error("the server does not offer TLS on this port: {0}")]
    NoTls(String),
    #[error("something else listens there: {0}")]
    OtherLanguage(String),
}

/// What a server shows of itself to anybody.
#[derive(Clone, Debug)]
pub struct Shown {
    pub certificate: Certificate,
    pub is_tls13: bool,
}

/// Connects as a session would, up to the greeting, with the certificate verified.
pub async fn reach(door: &Door) -> Result<SocketAddr, Unreached> {
    let (stream, peer) = tls::tcp(&door.host, door.port, door.limit).await?;
    let mut stream: BoxTransport = Box::new(stream);
    match door.tls {
        TlsMode::StartTls => {
            stream = start_tls(stream, door).await?;
            tls::handshake(stream, &door.host, &door.trust, door.limit).await?;
        }
        TlsMode::Implicit => {
            let mut secured = tls::handshake(stream, &door.host, &door.trust, door.limit).await?;
            greeting(&mut secured.stream, door).await?;
        }
        TlsMode::None => greeting(&mut stream, door).await?,
    }
    Ok(peer)
}

/// The certificate that is shown, trusted or not.
pub async fn shown(door: &Door) -> Result<Shown, Unreached> {
    for newest in [true, false] {
        let (stream, _) = tls::tcp(&door.host, door.port, door.limit).await?;
        let mut stream: BoxTransport = Box::new(stream);
        if door.tls == TlsMode::StartTls {
            stream = start_tls(stream, door).await?;
        }
        match certificate::read(stream, &door.host, newest, door.limit).await {
            Ok(certificate) => return Ok(Shown { certificate, is_tls13: newest }),
            Err(error) if !newest => return Err(error.into()),
            // A server that knows TLS 1.2 only, or a library that cannot be told.
            Err(error) => tracing::debug!(%error, "no TLS 1.3"),
        }
    }
    Err(Unreached::NoTls("no version of TLS was accepted".into()))
}

async fn greeting(stream: &mut BoxTransport, door: &Door) -> Result<(), Unreached> {
    let wanted = match door.speaks {
        Speaks::Imap => "* ",
        Speaks::Pop3 => "+OK",
        Speaks::Http => return Ok(()),
    };
    let said = line(stream, door).await?;
    if said.starts_with(wanted) { Ok(()) } else { Err(Unreached::OtherLanguage(clean(&said))) }
}

/// Up to where the handshake begins.
async fn start_tls(mut stream: BoxTransport, door: &Door) -> Result<BoxTransport, Unreached> {
    greeting(&mut stream, door).await?;
    let (command, done, ok): (&[u8], &str, &str) = match door.speaks {
        Speaks::Imap => (b"g1 STARTTLS\r\n", "g1 ", "g1 OK"),
        Speaks::Pop3 => (b"STLS\r\n", "", "+OK"),
        Speaks::Http => return Err(Unreached::NoTls("HTTP has no STARTTLS".into())),
    };
    let silent = || NetError::Timeout { what: format!("asking {} for TLS", clean(&door.host)), limit: door.limit };
    timeout(door.limit, stream.write_all(command)).await.map_err(|_| silent())?.map_err(|error| broke(door, &error))?;
    for _ in 0..LINES_MAX {
        let said = line(&mut stream, door).await?;
        if said.get(..ok.len()).is_some_and(|start| start.eq_ignore_ascii_case(ok)) {
            return Ok(stream);
        }
        if said.starts_with(done) {
            return Err(Unreached::NoTls(clean(&said)));
        }
    }
    Err(Unreached::OtherLanguage("it talks without end".into()))
}

/// One line, byte by byte: what follows it may be a handshake.
async fn line(stream: &mut BoxTransport, door: &Door) -> Result<String, Unreached> {
    let mut bytes = Vec::new();
    let read = async {
        loop {
            let byte = stream.read_u8().await?;
            if byte == b'\n' || bytes.len() >= LINE_BYTES_MAX {
                return std::io::Result::Ok(());
            }
            bytes.push(byte);
        }
    };
    let silent = || NetError::Timeout { what: format!("the greeting of {}", clean(&door.host)), limit: door.limit };
    timeout(door.limit, read).await.map_err(|_| silent())?.map_err(|error| broke(door, &error))?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn broke(door: &Door, error: &std::io::Error) -> NetError {
    let said = match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the server closed the connection without a word".to_owned(),
        _ => clean(&error.to_string()),
    };
    NetError::Unreachable { peer: format!("{}:{}", clean(&door.host), door.port), said }
}

/// How a verified connection is protected, and for how long its certificate holds. `how`: `STARTTLS` and the like.
pub(super) fn tls_findings(door: &Door, how: &str, peer: SocketAddr, shown: Option<&Shown>) -> Vec<Finding> {
    let line = |level, what: &str, said: String, hint: Option<&str>| Finding {
        level,
        what: what.into(),
        said,
        hint: hint.map(str::to_owned),
    };
    if door.tls == TlsMode::None {
        let is_here = peer.ip().to_canonical().is_loopback();
        return vec![if is_here {
            line(Level::Ok, "TLS", "none, on this machine only".into(), None)
        } else {
            let said = "none: passwords and mails go over the network readable (`allow_plaintext`)";
            line(Level::Warning, "TLS", said.into(), Some("use TLS from the first byte, or STARTTLS"))
        }];
    }
    let version = match shown {
        Some(Shown { is_tls13: true, .. }) => "TLS 1.3",
        Some(Shown { is_tls13: false, .. }) => "TLS 1.2",
        None => "TLS 1.2 or newer",
    };
    let mut found = vec![line(Level::Ok, "TLS", format!("{version}, {how}, {}", door.trust.verified()), None)];
    let Some(Shown { certificate, .. }) = shown else { return found };
    let days = (certificate.not_after.as_second() - Timestamp::now().as_second()).div_euclid(24 * 60 * 60);
    let said =
        format!("{}, issued by {}, valid until {}", certificate.subject, certificate.issuer, certificate.until());
    found.push(if days < EXPIRY_WARNING_DAYS {
        let hint = "renew it on the server in time: from that day on no session is possible";
        line(Level::Warning, "certificate", format!("{said}, {days} days from now"), Some(hint))
    } else {
        line(Level::Ok, "certificate", said, None)
    });
    found
}

/// What the other side shows, for whoever must find out why it is not trusted.
pub fn described(shown: &Shown) -> String {
    let Certificate { subject, issuer, not_before, not_after, fingerprint } = &shown.certificate;
    let day = |at: &Timestamp| at.strftime("%Y-%m-%d").to_string();
    format!(
        "the server shows {subject}, issued by {issuer}, valid from {} to {}, SHA-256 {fingerprint}",
        day(not_before),
        day(not_after)
    )
}
