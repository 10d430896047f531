//! One NTLMv2 handshake, bound to the TLS connection where there is one (Extended Protection, RFC 5929 §4).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;
use sspi::{
    AuthIdentity, AuthIdentityBuffers, BufferType, ClientRequestFlags, CredentialUse, DataRepresentation, Ntlm,
    SecurityBuffer, Sspi as _, SspiImpl as _, Username,
};
use tracing::subscriber::{NoSubscriber, with_default};

use super::failure::Failure;
use super::options::EwsOptions;
use crate::base::secret::Secret;

pub(super) struct Handshake {
    ntlm: Ntlm,
    credentials: Option<AuthIdentityBuffers>,
    target: String,
}

impl Handshake {
    /// `certificate` is the server's, in DER.
    pub fn new(
        options: &EwsOptions,
        url: &reqwest::Url,
        password: &Secret,
        certificate: Option<&[u8]>,
    ) -> Result<Handshake, Failure> {
        let username = Username::parse(&options.username).map_err(failed)?;
        let password = password.expose().to_owned().into();
        let identity = AuthIdentity { username, password };
        let mut ntlm = Ntlm::new();
        // The library traces what it is given, the password among it.
        let credentials = with_default(NoSubscriber::default(), || {
            let request = ntlm.acquire_credentials_handle().with_credential_use(CredentialUse::Outbound);
            request.with_auth_data(&identity).execute(&mut ntlm).map(|acquired| acquired.credentials_handle)
        });
        if let Some(certificate) = certificate {
            ntlm.set_channel_bindings(&binding(certificate));
        }
        let target = format!("HTTP/{}", url.host_str().unwrap_or_default());
        Ok(Handshake { ntlm, credentials: credentials.map_err(failed)?, target })
    }

    /// `challenge`: what the server said to the step before.
    pub fn step(&mut self, challenge: Option<&str>) -> Result<String, Failure> {
        let input = STANDARD.decode(challenge.unwrap_or_default());
        self.step_with(input.map_err(|_| Failure::protocol("the server's NTLM challenge is no base64"))?)
    }

    fn step_with(&mut self, input: Vec<u8>) -> Result<String, Failure> {
        let mut input = vec![SecurityBuffer::new(input, BufferType::Token)];
        let mut output = vec![SecurityBuffer::new(Vec::new(), BufferType::Token)];
        let is_first = input[0].buffer.is_empty();
        with_default(NoSubscriber::default(), || {
            let mut request = self
                .ntlm
                .initialize_security_context()
                .with_credentials_handle(&mut self.credentials)
                .with_context_requirements(ClientRequestFlags::empty())
                .with_target_data_representation(DataRepresentation::Native)
                .with_target_name(&self.target)
                .with_output(&mut output);
            if !is_first {
                request = request.with_input(&mut input);
            }
            self.ntlm.initialize_security_context_impl(&mut request)?.resolve_to_result()
        })
        .map_err(failed)?;
        Ok(STANDARD.encode(&output[0].buffer))
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Login { text: crate::net::clean(&error.to_string()), proven: false }
}

/// What binds a login to the TLS connection that it is made on.
pub(super) fn binding(certificate: &[u8]) -> Vec<u8> {
    let mut token = b"tls-server-end-point:".to_vec();
    token.extend_from_slice(&end_point(certificate));
    token
}

/// `tls-server-end-point`: the certificate's digest, by the hash of its own signature where that is better than SHA-256.
fn end_point(certificate: &[u8]) -> Vec<u8> {
    match signature_hash(certificate) {
        Some(384) => sha2::Sha384::digest(certificate).to_vec(),
        Some(512) => sha2::Sha512::digest(certificate).to_vec(),
        _ => sha2::Sha256::digest(certificate).to_vec(),
    }
}

/// Bits of the hash in a certificate's `signatureAlgorithm`, if that is one of SHA-2 (RFC 5280 §4.1, 5758, 4055).
fn signature_hash(certificate: &[u8]) -> Option<u32> {
    let (certificate, _) = element(certificate)?;
    let (_, rest) = element(certificate)?;
    let (algorithm, _) = element(rest)?;
    let (identifier, _) = element(algorithm)?;
    match identifier {
        // sha256WithRSAEncryption and its like; ecdsa-with-SHA256 and its like.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last @ 11..=13] => Some([256, 384, 512][*last as usize - 11]),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, last @ 2..=4] => Some([256, 384, 512][*last as usize - 2]),
        _ => None,
    }
}

/// The content of the DER element that `bytes` begin with, and what follows it.
fn element(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.get(1..)?.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (first as usize, rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(first as usize & 0x7f)?;
            (digits.iter().fold(0usize, |length, &digit| length << 8 | digit as usize), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        rcgen::CertificateParams::new(vec!["mail.corp.example".into()])
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .der()
            .to_vec()
    }

    #[test]
    fn the_end_point_is_digested_by_the_hash_of_the_signature() {
        let sha256 = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(end_point(&sha256), sha2::Sha256::digest(&sha256).to_vec());
        let sha384 = certificate(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(end_point(&sha384), sha2::Sha384::digest(&sha384).to_vec());
        // Without a hash of its own, and what is no certificate.
        let ed25519 = certificate(&rcgen::PKCS_ED25519);
        assert_eq!(end_point(&ed25519), sha2::Sha256::digest(&ed25519).to_vec());
        for cut in 0..sha384.len() {
            end_point(&sha384[..cut]);
        }
    }
}
