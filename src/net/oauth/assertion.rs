//! Signed statements (JWT, RFC 7515 and 7523) in the place of a secret: an application's certificate, and the key
//! file of a Google service account.
//!
//! Must: a private key is in no message and no `Debug`, and leaves this file only as a signature.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use getrandom::SysRng;
use jiff::Timestamp;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{RsaPrivateKey, pkcs1v15, pss};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::base::digest::{Digest, Hasher};
use crate::base::secret::Secret;
use crate::net::certificate::Certificate;

/// How long a statement about the application is good for; it is used at once.
const ASSERTION_S: i64 = 10 * 60;
/// The most that Google takes.
const SERVICE_ACCOUNT_S: i64 = 60 * 60;
/// A clock may be that much ahead of the token server's, which would refuse a statement from the future.
const CLOCK_AHEAD_S: i64 = 10;
/// Shorter keys are refused by the token servers, with less to say about why.
const KEY_BITS_MIN: u32 = 2048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5, which every server knows.
    Rs256,
    /// RSASSA-PSS, which Microsoft recommends.
    Ps256,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Ps256 => "PS256",
        }
    }
}

/// Why a key or certificate cannot be used; both ready for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadKey {
    pub what: &'static str,
    pub hint: &'static str,
}

/// A private key, which shows nothing of itself.
#[derive(Clone)]
pub struct PrivateKey(Arc<RsaPrivateKey>);

impl PrivateKey {
    /// From PEM, PKCS#8 or PKCS#1, without a passphrase.
    pub fn parse(pem: &Secret) -> Result<PrivateKey, BadKey> {
        private_key(pem.expose()).map(|key| PrivateKey(Arc::new(key)))
    }
}

/// The private key of a certificate, and the certificate's fingerprints, by which a token server knows it.
#[derive(Clone)]
pub struct SigningKey {
    key: PrivateKey,
    /// SHA-1 and SHA-256 of the certificate.
    thumbprints: Option<([u8; 20], Digest)>,
    algorithm: Algorithm,
    not_after: Option<Timestamp>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// The certificate in PEM form; of several the one that belongs to the key. An error is the certificate's.
    pub fn new(key: PrivateKey, certificate: &str, algorithm: Algorithm) -> Result<SigningKey, BadKey> {
        let mut found = 0;
        let modulus = key.0.n().to_be_bytes_trimmed_vartime();
        for der in blocks(certificate, "CERTIFICATE") {
            found += 1;
            // A certificate holds its public key in the open, and no other has this modulus.
            if der.windows(modulus.len()).any(|window| window == modulus.as_ref()) {
                let thumbprints = Some((Sha1::digest(der.as_slice()).into(), Digest::of(&der)));
                let not_after = Certificate::of_der(&der).map(|certificate| certificate.not_after);
                return Ok(SigningKey { key, thumbprints, algorithm, not_after });
            }
        }
        Err(match found {
            0 => BadKey { what: "holds no certificate in PEM form", hint: "-----BEGIN CERTIFICATE----- is expected" },
            _ => BadKey {
                what: "is a certificate of another key",
                hint: "certificate and key must have been made together",
            },
        })
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.not_after
    }

    /// Tells keys and certificates apart, for whoever must know whether they changed. No secret.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = Hasher::new();
        hasher.update(self.algorithm.name().as_bytes());
        hasher.update(&self.key.0.n().to_be_bytes_trimmed_vartime());
        if let Some((_, sha256)) = &self.thumbprints {
            hasher.update(sha256.as_bytes());
        }
        hasher.finish().0
    }

    /// What the application says about itself (RFC 7523 §3).
    pub(super) fn client_assertion(&self, client_id: &str, audience: &str, now: Timestamp) -> Result<Secret, BadKey> {
        let now = now.as_second();
        let mut header = json!({ "alg": self.algorithm.name(), "typ": "JWT" });
        if let Some((sha1, sha256)) = &self.thumbprints {
            header["x5t"] = URL_SAFE_NO_PAD.encode(sha1).into();
            header["x5t#S256"] = URL_SAFE_NO_PAD.encode(sha256.as_bytes()).into();
        }
        let claims = json!({
            "iss": client_id, "sub": client_id, "aud": audience, "jti": uuid::Uuid::new_v4().to_string(),
            "iat": now - CLOCK_AHEAD_S, "nbf": now - CLOCK_AHEAD_S, "exp": now + ASSERTION_S,
        });
        self.sign(&header, &claims)
    }

    fn sign(&self, header: &Value, claims: &Value) -> Result<Secret, BadKey> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        let key = self.key.0.as_ref().clone();
        let signature = match self.algorithm {
            Algorithm::Rs256 => pkcs1v15::SigningKey::<Sha256>::new(key)
                .try_sign_with_rng(&mut SysRng, text.as_bytes())
                .map(|signature| signature.to_vec()),
            Algorithm::Ps256 => pss::BlindedSigningKey::<Sha256>::new(key)
                .try_sign_with_rng(&mut SysRng, text.as_bytes())
                .map(|signature| signature.to_vec()),
        };
        let signature = signature.map_err(|_| BadKey {
            what: "is a key that cannot sign",
            hint: "make a new pair of key and certificate (RSA, 2048 bits or more)",
        })?;
        Ok(Secret::new(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}

/// The key file of a Google service account, or of another issuer that writes the same.
#[derive(Clone)]
pub struct ServiceAccount {
    key: SigningKey,
    pub email: String,
    key_id: Option<String>,
    pub token_url: Option<String>,
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount")
            .field("email", &self.email)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl ServiceAccount {
    /// From the text of the JSON file.
    pub fn parse(json: &Secret) -> Result<ServiceAccount, BadKey> {
        #[derive(serde::Deserialize)]
        struct File {
            #[serde(rename = "type")]
            kind: String,
            client_email: String,
            private_key: String,
            private_key_id: Option<String>,
            token_uri: Option<String>,
        }
        const FILE: &str = "in the Google Cloud console: IAM, service accounts, the account, keys, add key, JSON";
        let file: File = serde_json::from_str(json.expose())
            .map_err(|_| BadKey { what: "is not the key file of a service account", hint: FILE })?;
        if file.kind != "service_account" {
            return Err(BadKey { what: "is a key file of another kind than service_account", hint: FILE });
        }
        let key = SigningKey {
            key: PrivateKey::parse(&Secret::new(file.private_key))?,
            thumbprints: None,
            algorithm: Algorithm::Rs256,
            not_after: None,
        };
        let (email, key_id, token_url) = (file.client_email, file.private_key_id, file.token_uri);
        Ok(ServiceAccount { key, email, key_id, token_url })
    }

    pub(super) fn fingerprint(&self) -> [u8; 32] {
        self.key.fingerprint()
    }

    /// The statement that is exchanged for a token; `subject` is the person on whose behalf.
    pub(super) fn assertion(
        &self,
        subject: Option<&str>,
        scope: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<Secret, BadKey> {
        let now = now.as_second() - CLOCK_AHEAD_S;
        let mut header = json!({ "alg": self.key.algorithm.name(), "typ": "JWT" });
        if let Some(id) = &self.key_id {
            header["kid"] = id.as_str().into();
        }
        let mut claims = json!({
            "iss": self.email, "scope": scope, "aud": audience, "iat": now, "exp": now + SERVICE_ACCOUNT_S,
        });
        if let Some(subject) = subject {
            claims["sub"] = subject.into();
        }
        self.key.sign(&header, &claims)
    }
}

fn private_key(pem: &str) -> Result<RsaPrivateKey, BadKey> {
    const RSA: &str = "an RSA key in PEM form is expected, without a passphrase";
    let unusable = BadKey { what: "is no RSA key that can be used", hint: RSA };
    let key = if let Some(der) = blocks(pem, "PRIVATE KEY").first() {
        RsaPrivateKey::from_pkcs8_der(der).map_err(|_| unusable)?
    } else if let Some(der) = blocks(pem, "RSA PRIVATE KEY").first() {
        RsaPrivateKey::from_pkcs1_der(der).map_err(|_| unusable)?
    } else if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(BadKey {
            what: "is encrypted with a passphrase",
            hint: "write it out without one, in a file that only gatepost can read: openssl pkey -in KEY -out PLAIN",
        });
    } else {
        return Err(BadKey { what: "holds no private key in PEM form", hint: RSA });
    };
    if key.n().bits() < KEY_BITS_MIN {
        return Err(BadKey { what: "is too short a key", hint: "RSA keys have 2048 bits or more" });
    }
    Ok(key)
}

/// What stands between the lines of PEM with this label; other text in the file does not matter.
fn blocks(pem: &str, label: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut found = Vec::new();
    for rest in pem.split(begin.as_str()).skip(1) {
        let Some((text, _)) = rest.split_once(end.as_str()) else { continue };
        let text: Zeroizing<String> = Zeroizing::new(text.chars().filter(|c| !c.is_ascii_whitespace()).collect());
        if let Ok(der) = STANDARD.decode(text.as_bytes()) {
            found.push(Zeroizing::new(der));
        }
    }
    found
}
