//! What a TLS client trusts, and what it shows of itself.
//!
//! A pin is an addition: chain and name of the certificate are verified all the same. It must be looked at after each
//! handshake and before anything secret goes out; [`super::tls::handshake`] does both.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::Timestamp;
use native_tls::{Certificate, Identity, Protocol, TlsConnector};

use super::certificate;
use super::clean;
use super::tls::NetError;
use crate::base::digest::Digest;

/// The default trusts the system's authorities, and shows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// A PEM file with authorities that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The one certificate that the server may have.
    pub fingerprint: Option<Fingerprint>,
    pub identity: Option<ClientIdentity>,
}

/// A client certificate, as two PEM files; the key is PKCS #8 and not encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The SHA-256 of a certificate in DER, as `openssl x509 -fingerprint -sha256` and browsers show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(Digest);

impl Fingerprint {
    pub fn of(der: &[u8]) -> Fingerprint {
        Fingerprint(Digest::of(der))
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("not a fingerprint: sha256: and 64 hexadecimal digits are expected")]
pub struct NotAFingerprint;

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    /// With or without the colons between the digits.
    fn from_str(text: &str) -> Result<Fingerprint, NotAFingerprint> {
        let text = text.trim().to_ascii_lowercase();
        let digits = text.strip_prefix("sha256:").ok_or(NotAFingerprint)?.trim();
        digits.replace(':', "").parse().map(Fingerprint).map_err(|_| NotAFingerprint)
    }
}

impl Trust {
    /// The system's authorities, and those of the file.
    pub fn with(ca_file: Option<&Path>) -> Trust {
        Trust { ca_file: ca_file.map(Path::to_owned), ..Trust::default() }
    }

    /// For `check`: what was looked at in a certificate that passed.
    pub fn verified(&self) -> &'static str {
        match self.fingerprint {
            Some(_) => "certificate verified, and it is the pinned one",
            None => "certificate verified",
        }
    }

    /// `certificate` is what the server showed, in DER. The chain was verified before.
    pub fn check_pin(&self, peer: &str, certificate: Option<&[u8]>) -> Result<(), NetError> {
        let Some(pinned) = self.fingerprint else { return Ok(()) };
        let seen = certificate.map(Fingerprint::of);
        if seen == Some(pinned) {
            return Ok(());
        }
        Err(NetError::Pin { peer: clean(peer), seen, pinned })
    }

    /// What makes TLS connections: the system's authorities, those of the file, TLS 1.2 and newer.
    pub fn connector(&self) -> Result<TlsConnector, NetError> {
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(Protocol::Tlsv12));
        if let Some(path) = &self.ca_file {
            for certificate in authorities(path)? {
                builder.add_root_certificate(certificate);
            }
        }
        if let Some(identity) = &self.identity {
            builder.identity(identity.load()?);
        }
        builder.build().map_err(|error| NetError::Setup { said: clean(&error.to_string()) })
    }
}

impl ClientIdentity {
    /// When the certificate ends, which is the first of its file; `None` when none can be read.
    pub fn not_after(&self) -> Option<Timestamp> {
        let chain = authorities(&self.certificate).ok()?;
        let shown = certificate::Certificate::of_der(&chain.first()?.to_der().ok()?)?;
        Some(shown.not_after)
    }

    fn load(&self) -> Result<Identity, NetError> {
        let unusable = |path: &Path, said: String| NetError::Identity { path: path.to_owned(), said };
        let read = |path: &Path| std::fs::read(path).map_err(|error| unusable(path, error.to_string()));
        let certificate = read(&self.certificate)?;
        let key = zeroize::Zeroizing::new(read(&self.key)?);
        // Text may stand before it, as `openssl` writes it.
        const BEGIN: &[u8] = b"-----BEGIN PRIVATE KEY-----";
        let Some(start) = memchr::memmem::find(&key, BEGIN) else {
            return Err(unusable(&self.key, "no PRIVATE KEY (PKCS #8) in PEM form was found in it".into()));
        };
        Identity::from_pkcs8(&certificate, &key[start..])
            .map_err(|error| unusable(&self.certificate, clean(&error.to_string())))
    }
}

/// The certificates of a PEM file, which may hold several and text between them.
fn authorities(path: &Path) -> Result<Vec<Certificate>, NetError> {
    const END: &str = "-----END CERTIFICATE-----";
    let unusable = |said: String| NetError::CaFile { path: path.to_owned(), said };
    let text = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let text = String::from_utf8_lossy(&text);
    let mut found = Vec::new();
    for block in text.split_inclusive(END) {
        let Some(start) = block.find("-----BEGIN CERTIFICATE-----") else { continue };
        let certificate = Certificate::from_pem(&block.as_bytes()[start..])
            .map_err(|error| unusable(format!("certificate {}: {}", found.len() + 1, clean(&error.to_string()))))?;
        found.push(certificate);
    }
    if found.is_empty() {
        return Err(unusable("no certificate in PEM form was found in it".into()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ca(name: &str) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec![name.into()]).unwrap().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_file_may_hold_several_authorities_and_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, format!("# first\n{}\n# second\n{}", ca("a"), ca("b"))).unwrap();
        assert_eq!(authorities(&path).unwrap().len(), 2);
        std::fs::write(&path, "nothing here").unwrap();
        assert!(matches!(authorities(&path), Err(NetError::CaFile { .. })));
        assert!(matches!(authorities(&dir.path().join("none")), Err(NetError::CaFile { .. })));
    }

    #[test]
    fn fingerprints_are_read_as_tools_write_them() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let of = Fingerprint::of(b"abc");
        let colons: Vec<String> =
            hex.to_uppercase().as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned()).collect();
        for text in [format!("sha256:{hex}"), format!("SHA256:{}", colons.join(":")), of.to_string()] {
            assert_eq!(text.parse::<Fingerprint>().unwrap(), of, "{text}");
        }
        for text in ["", "sha256:", hex, &format!("sha1:{hex}"), &format!("sha256:{}", &hex[2..])] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_pinned_certificate_passes() {
        let pinned = Trust { fingerprint: Some(Fingerprint::of(b"leaf")), ..Trust::default() };
        assert!(pinned.check_pin("localhost", Some(b"leaf")).is_ok());
        for shown in [Some(&b"other"[..]), None] {
            let error = pinned.check_pin("localhost", shown).unwrap_err();
            assert!(!error.is_passing() && error.hint().is_some());
            assert_eq!(error.to_string().contains(&Fingerprint::of(b"other").to_string()), shown.is_some(), "{error}");
        }
        assert!(Trust::default().check_pin("localhost", None).is_ok());
    }

    #[test]
    fn what_is_wrong_with_a_client_certificate_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["journal".into()]).unwrap().self_signed(&key).unwrap();
        let good = at("good.pem", &certificate.pem());
        let good_key = at("good.key", &format!("some text\n{}", key.serialize_pem()));
        let trust = |certificate: &Path, key: &Path| Trust {
            identity: Some(ClientIdentity { certificate: certificate.to_owned(), key: key.to_owned() }),
            ..Trust::default()
        };
        trust(&good, &good_key).connector().unwrap();
        let old = at("old.key", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n");
        let error = trust(&good, &old).connector().unwrap_err();
        assert!(error.to_string().contains("old.key") && error.hint().unwrap().contains("pkcs8"), "{error}");
        let error = trust(&dir.path().join("none"), &good_key).connector().unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }
}
