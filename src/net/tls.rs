//! TCP and TLS connections with time-outs.
//!
//! Certificates and host names are verified always; there is no switch to turn that off. A private
//! authority is added with a PEM file, on top of the system's own; a pin is looked at beside both ([`Trust`]).

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::trust::{Fingerprint, Trust};
use super::{BoxTransport, TlsMode, clean};

/// A connection that stands. With [`TlsMode::StartTls`] it is still unprotected: see [`handshake`].
pub struct Connected {
    pub stream: BoxTransport,
    pub peer: SocketAddr,
    /// The server's, in DER; `None` without TLS.
    pub certificate: Option<Vec<u8>>,
}

/// A connection after its handshake; the certificate was verified, and is the pinned one where one is pinned.
pub struct Secured {
    pub stream: BoxTransport,
    /// The server's, in DER.
    pub certificate: Option<Vec<u8>>,
}

/// Why no connection could be made. `said` is the reason in the system's or the library's words.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error("the host name {host} was not found: {said}")]
    HostNotFound { host: String, said: String },
    #[error("{peer} refused the connection")]
    Refused { peer: String },
    #[error("{what} took longer than {}", humantime::format_duration(*.limit))]
    Timeout { what: String, limit: Duration },
    #[error("no connection to {peer}: {said}")]
    Unreachable { peer: String, said: String },
    #[error("{}: {said}", .problem.words(peer))]
    Certificate { problem: CertificateProblem, peer: String, said: String },
    /// The connection broke during the handshake, as it does when the other side does not speak TLS.
    #[error("the TLS handshake with {peer} broke off: {said}")]
    Handshake { peer: String, said: String },
    #[error("the file of trusted authorities {} cannot be used: {said}", .path.display())]
    CaFile { path: PathBuf, said: String },
    #[error("the client certificate {} cannot be used: {said}", .path.display())]
    Identity { path: PathBuf, said: String },
    /// Verified, and yet not the one that is configured.
    #[error("the certificate of {peer} is not the pinned one: it is {}, and {pinned} is pinned", shown(*.seen))]
    Pin { peer: String, seen: Option<Fingerprint>, pinned: Fingerprint },
    #[error("the proxy {proxy} gives no tunnel to {target}: {said}")]
    Proxy { proxy: String, target: String, said: String, is_login: bool, is_passing: bool },
    #[error("the proxy {proxy} cannot be reached: {said}")]
    ProxyUnreachable { proxy: String, said: String, is_passing: bool },
    #[error("TLS cannot be set up on this machine: {said}")]
    Setup { said: String },
}

/// What is wrong with the other side's certificate. Found in the library's text, because it offers
/// nothing else; it chooses the hint, and no behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateProblem {
    NotTrusted,
    WrongName,
    Expired,
    Other,
}

fn shown(fingerprint: Option<Fingerprint>) -> String {
    fingerprint.map_or_else(|| "not shown".to_owned(), |fingerprint| fingerprint.to_string())
}

impl CertificateProblem {
    fn words(self, peer: &str) -> String {
        match self {
            CertificateProblem::NotTrusted => "the server's certificate is not trusted".into(),
            CertificateProblem::WrongName => format!("the server's certificate is for another name than {peer}"),
            CertificateProblem::Expired => "the server's certificate is expired or not yet valid".into(),
            CertificateProblem::Other => "the TLS handshake failed".into(),
        }
    }

    fn of(said: &str) -> CertificateProblem {
        let said = said.to_ascii_lowercase();
        let any = |words: &[&str]| words.iter().any(|word| said.contains(word));
        if any(&["mismatch", "cn_no_match", "does not match"]) {
            CertificateProblem::WrongName
        } else if any(&["expired", "not yet valid", "validity period"]) {
            CertificateProblem::Expired
        } else if any(&["self-signed", "self signed", "issuer", "untrusted", "not trusted", "verify the first"]) {
            CertificateProblem::NotTrusted
        } else {
            CertificateProblem::Other
        }
    }
}

impl NetError {
    /// Whether time alone may mend it; everything else needs a person.
    pub fn is_passing(&self) -> bool {
        match self {
            NetError::Timeout { .. } | NetError::Unreachable { .. } | NetError::Refused { .. } => true,
            NetError::HostNotFound { .. } | NetError::Handshake { .. } => true,
            NetError::Proxy { is_passing, .. } | NetError::ProxyUnreachable { is_passing, .. } => *is_passing,
            NetError::Certificate { .. } | NetError::Pin { .. } => false,
            NetError::CaFile { .. } | NetError::Identity { .. } | NetError::Setup { .. } => false,
        }
    }

    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            NetError::HostNotFound { .. } => "check the spelling of `host`, and this machine's DNS",
            NetError::Refused { .. } => "nothing listens there: check `port`, and whether the server runs",
            NetError::Timeout { .. } => "check `host`, `port` and the firewalls between; `timeout` is how long to wait",
            NetError::Unreachable { .. } => "check the network of this machine",
            NetError::Certificate { problem, .. } => match problem {
                CertificateProblem::NotTrusted => {
                    "set `ca_file` to the PEM file of the authority that issued it (never skip the check)"
                }
                CertificateProblem::WrongName => "set `host` to a name that the certificate carries",
                CertificateProblem::Expired => "renew the certificate on the server, and check this machine's clock",
                CertificateProblem::Other => "check that the server offers TLS 1.2 or newer",
            },
            NetError::Handshake { .. } => {
                "check that `port` and `tls` fit together: 993 with `implicit`, 143 with `starttls`"
            }
            NetError::CaFile { .. } => "it must hold one or more certificates in PEM form",
            NetError::Identity { .. } => {
                "`client_certificate` holds the certificate (and its chain) in PEM form, `client_key` its key without a \
                 password, as PKCS #8: openssl pkcs8 -topk8 -nocrypt -in old.key -out new.key"
            }
            NetError::Pin { .. } => {
                "nothing was sent. If the server has a new certificate, ask whoever renewed it for its fingerprint and \
                 write that at `tls_fingerprint`; if nobody did, somebody stands between"
            }
            NetError::Proxy { is_login: true, .. } => "check the user in `proxy`, and `proxy_password`",
            NetError::Proxy { .. } => "check `proxy`, and that it may lead to this server and port",
            NetError::ProxyUnreachable { .. } => "check the host and port of `proxy`",
            NetError::Setup { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// Connects, and with [`TlsMode::Implicit`] shakes hands. `limit` bounds each of the two.
pub async fn connect(
    host: &str,
    port: u16,
    mode: TlsMode,
    trust: &Trust,
    limit: Duration,
) -> Result<Connected, NetError> {
    let (stream, peer) = tcp(host, port, limit).await?;
    let stream: BoxTransport = Box::new(stream);
    Ok(match mode {
        TlsMode::Implicit => {
            let Secured { stream, certificate } = handshake(stream, host, trust, limit).await?;
            Connected { stream, peer, certificate }
        }
        TlsMode::StartTls | TlsMode::None => Connected { stream, peer, certificate: None },
    })
}

/// The addresses of a host name.
pub async fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, NetError> {
    let not_found = |said: String| NetError::HostNotFound { host: clean(host), said };
    let addresses: Vec<SocketAddr> = match timeout(limit, tokio::net::lookup_host((host, port))).await {
        Err(_) => return Err(NetError::Timeout { what: format!("looking up {}", clean(host)), limit }),
        Ok(Err(error)) => return Err(not_found(clean(&error.to_string()))),
        Ok(Ok(found)) => found.collect(),
    };
    if addresses.is_empty() {
        return Err(not_found("it has no address".into()));
    }
    Ok(addresses)
}

/// Tries each address of the host in turn; the last failure is reported.
pub async fn tcp(host: &str, port: u16, limit: Duration) -> Result<(TcpStream, SocketAddr), NetError> {
    let mut failure = None;
    for address in resolve(host, port, limit).await? {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Commands are small and each is waited for.
                let _ = stream.set_nodelay(true);
                return Ok((stream, address));
            }
            Err(_) => failure = Some(NetError::Timeout { what: format!("connecting to {address}"), limit }),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                failure = Some(NetError::Refused { peer: address.to_string() });
            }
            Ok(Err(error)) => {
                failure = Some(NetError::Unreachable { peer: address.to_string(), said: clean(&error.to_string()) });
            }
        }
    }
    Err(failure.unwrap_or_else(|| NetError::HostNotFound { host: clean(host), said: "it has no address".into() }))
}

/// Makes a connection a TLS one, and checks that the other side is `host`, and the pinned one.
pub async fn handshake(stream: BoxTransport, host: &str, trust: &Trust, limit: Duration) -> Result<Secured, NetError> {
    let connector = tokio_native_tls::TlsConnector::from(trust.connector()?);
    match timeout(limit, connector.connect(host, stream)).await {
        Err(_) => Err(NetError::Timeout { what: format!("the TLS handshake with {}", clean(host)), limit }),
        Ok(Ok(stream)) => {
            let certificate = stream.get_ref().peer_certificate().ok().flatten();
            let certificate = certificate.and_then(|certificate| certificate.to_der().ok());
            trust.check_pin(host, certificate.as_deref())?;
            Ok(Secured { stream: Box::new(stream), certificate })
        }
        Ok(Err(error)) => {
            let said = clean(&error.to_string());
            match broken_off(&error) {
                true => Err(NetError::Handshake { peer: clean(host), said }),
                false => {
                    let (problem, said) = (CertificateProblem::of(&said), reason(&said).to_owned());
                    Err(NetError::Certificate { problem, peer: clean(host), said })
                }
            }
        }
    }
}

/// What OpenSSL says of a certificate stands in brackets at the end, behind where in its source it says so.
fn reason(said: &str) -> &str {
    let inner = said.strip_suffix(')').and_then(|rest| rest.rsplit_once('('));
    match inner {
        Some((before, inner)) if before.contains("certificate verify failed") && !inner.is_empty() => inner,
        _ => said,
    }
}

/// Whether the connection broke, rather than TLS having been refused by either side.
fn broken_off(error: &native_tls::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof);
        }
        cause = error.source();
    }
    // OpenSSL's "unexpected EOF" has no cause to look at; nothing but a closed connection is that short.
    error.to_string() == "unexpected EOF"
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn the_reason_is_found_in_what_the_library_says() {
        let said = "error:0A000086:SSL routines:f:certificate verify failed:../statem.c:1889: (IP address mismatch)";
        assert_eq!(reason(said), "IP address mismatch");
        for other in ["unexpected EOF", "certificate verify failed", "error (1)", "certificate verify failed ()"] {
            assert_eq!(reason(other), other);
        }
    }

    #[tokio::test]
    async fn refused_and_unknown_hosts_are_told_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert!(matches!(tcp("127.0.0.1", port, LIMIT).await, Err(NetError::Refused { .. })));
        let error = tcp("gateway.invalid", 993, LIMIT).await.unwrap_err();
        assert!(matches!(error, NetError::HostNotFound { .. } | NetError::Timeout { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_or_stays_silent_is_not_a_certificate_problem() {
        let (client, server) = tokio::io::duplex(1024);
        drop(server);
        let error = handshake(Box::new(client), "localhost", &Trust::default(), LIMIT).await.err().unwrap();
        assert!(matches!(error, NetError::Handshake { .. }), "{error:?}");

        let (client, _server) = tokio::io::duplex(64 * 1024);
        let error =
            handshake(Box::new(client), "localhost", &Trust::default(), Duration::from_millis(50)).await.err().unwrap();
        assert!(matches!(error, NetError::Timeout { .. }), "{error:?}");
    }
}
