//! What a TLS server shows of itself: for people who must decide whom to trust, and to warn before it expires.
//!
//! Must never carry anything: the connections that are made here trust anybody, so that a certificate can be read that
//! nobody trusts. They end with the handshake and are not handed out; no byte is sent or believed over them.

use std::time::Duration;

use jiff::Timestamp;
use native_tls::{Protocol, TlsConnector};
use tokio::time::timeout;

use super::tls::NetError;
use super::{BoxTransport, clean};
use crate::base::digest::Digest;

/// A certificate, as far as people look at it. The texts are the other side's, made fit for a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub subject: String,
    pub issuer: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// SHA-256 over the whole certificate, as `openssl x509 -fingerprint -sha256` prints it.
    pub fingerprint: String,
}

impl Certificate {
    pub fn of_der(der: &[u8]) -> Option<Certificate> {
        let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
        let validity = parsed.validity();
        let name = |text: String| if text.trim().is_empty() { "nobody".to_owned() } else { clean(&text) };
        Some(Certificate {
            subject: name(parsed.subject().to_string()),
            issuer: name(parsed.issuer().to_string()),
            not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
            fingerprint: fingerprint(der),
        })
    }

    pub fn until(&self) -> String {
        day(self.not_after)
    }
}

/// In pairs of digits, as other programs show it.
fn fingerprint(der: &[u8]) -> String {
    let digits = Digest::of(der).to_string().to_ascii_uppercase();
    let pairs: Vec<&str> = (0..digits.len() / 2).map(|at| &digits[2 * at..2 * at + 2]).collect();
    pairs.join(":")
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// Shakes hands with whoever is there, reads the certificate and ends the connection. `newest` takes TLS 1.3 only:
/// the library does not tell what was spoken, but that it was spoken.
pub async fn read(stream: BoxTransport, host: &str, newest: bool, limit: Duration) -> Result<Certificate, NetError> {
    let setup = |error: native_tls::Error| NetError::Setup { said: clean(&error.to_string()) };
    let broke = |said: String| NetError::Handshake { peer: clean(host), said };
    let connector = TlsConnector::builder()
        .min_protocol_version(Some(if newest { Protocol::Tlsv13 } else { Protocol::Tlsv12 }))
        .danger_accept_invalid_certs(true)
        .danger_accept_invalid_hostnames(true)
        .build()
        .map_err(setup)?;
    let connector = tokio_native_tls::TlsConnector::from(connector);
    let stream = match timeout(limit, connector.connect(host, stream)).await {
        Err(_) => return Err(NetError::Timeout { what: format!("the TLS handshake with {}", clean(host)), limit }),
        Ok(Err(error)) => return Err(broke(clean(&error.to_string()))),
        Ok(Ok(stream)) => stream,
    };
    let certificate = stream.get_ref().peer_certificate().map_err(setup)?;
    let der = certificate.map(|certificate| certificate.to_der()).transpose().map_err(setup)?;
    der.and_then(|der| Certificate::of_der(&der))
        .ok_or_else(|| broke("it shows no certificate that can be read".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_shown_as_other_programs_show_it() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["mail.corp.example".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "mail.corp.example\x1b[2J");
        params.not_before = rcgen::date_time_ymd(2026, 1, 2);
        params.not_after = rcgen::date_time_ymd(2027, 3, 4);
        let made = params.self_signed(&key).unwrap();
        let seen = Certificate::of_der(made.der()).unwrap();
        assert!(seen.subject.starts_with("CN=mail.corp.example") && !seen.subject.contains('\x1b'), "{seen:?}");
        assert_eq!((seen.issuer.as_str(), seen.until().as_str()), (seen.subject.as_str(), "2027-03-04"));
        assert_eq!(seen.fingerprint.len(), 32 * 3 - 1);
        assert_eq!(seen.fingerprint.replace(':', "").to_lowercase(), Digest::of(made.der()).to_string());
        assert!(Certificate::of_der(b"no certificate").is_none());
        assert!(Certificate::of_der(&made.der()[..40]).is_none());
    }
}
