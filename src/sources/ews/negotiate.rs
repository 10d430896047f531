//! The login of the process itself (Negotiate, RFC 4559): Kerberos with the account that the program runs as. No password
//! is configured, and none is known here.
//!
//! Only Windows has such an identity without further ado; elsewhere the configuration refuses it.

#[cfg(not(windows))]
pub(super) use elsewhere::Handshake;
#[cfg(windows)]
pub(super) use windows::Handshake;

#[cfg(windows)]
mod windows {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use cross_krb5::{ClientCtx, InitiateFlags, PendingClientCtx, Step};

    use crate::net::clean;
    use crate::sources::ews::failure::Failure;
    use crate::sources::ews::ntlm;

    pub(in crate::sources::ews) struct Handshake {
        /// What is to be said first; then the context that answers the server's words.
        first: Option<Vec<u8>>,
        pending: Option<PendingClientCtx>,
    }

    impl Handshake {
        /// `certificate` is the server's, in DER.
        pub fn new(url: &reqwest::Url, certificate: Option<&[u8]>) -> Result<Handshake, Failure> {
            let target = format!("HTTP/{}", url.host_str().unwrap_or_default());
            let binding = certificate.map(ntlm::binding);
            // That the server is the right one, and that nobody reads along, is TLS's part here.
            let flags = InitiateFlags::NEGOTIATE_TOKEN
                | InitiateFlags::DISABLE_MUTUAL_AUTH
                | InitiateFlags::DISABLE_CONFIDENTIALITY;
            let (pending, token) = ClientCtx::new(flags, None, &target, binding.as_deref()).map_err(failed)?;
            Ok(Handshake { first: Some(token.to_vec()), pending: Some(pending) })
        }

        pub fn step(&mut self, challenge: Option<&str>) -> Result<String, Failure> {
            if let Some(first) = self.first.take() {
                return Ok(STANDARD.encode(first));
            }
            let challenge = STANDARD.decode(challenge.unwrap_or_default());
            let challenge = challenge.map_err(|_| Failure::protocol("the server's challenge is no base64"))?;
            let Some(pending) = self.pending.take() else { return Err(refused()) };
            match pending.step(&challenge).map_err(failed)? {
                Step::Continue((pending, token)) => {
                    self.pending = Some(pending);
                    Ok(STANDARD.encode(&*token))
                }
                Step::Finished((_, Some(token))) => Ok(STANDARD.encode(&*token)),
                Step::Finished((_, None)) => Err(refused()),
            }
        }
    }

    fn refused() -> Failure {
        Failure::Login { text: "it goes on asking after the last word of a Kerberos login".into(), proven: false }
    }

    /// The domain's words: no ticket for this server, no domain at all.
    fn failed(error: impl std::fmt::Display) -> Failure {
        Failure::Connect {
            text: format!("Windows gives no Kerberos ticket for the server: {}", clean(&error.to_string())),
            hint: Some(
                "gatepost must run as an account of the domain, and the server's name in `url` must be registered there \
                 (setspn -Q HTTP/NAME)"
                    .into(),
            ),
            is_passing: true,
        }
    }
}

#[cfg(not(windows))]
mod elsewhere {
    use crate::sources::ews::failure::Failure;

    /// There is none here.
    pub(in crate::sources::ews) enum Handshake {}

    impl Handshake {
        pub fn new(_url: &reqwest::Url, _certificate: Option<&[u8]>) -> Result<Handshake, Failure> {
            let what =
                "`auth = \"negotiate\"` logs in as the Windows account that gatepost runs as; this is not Windows";
            Err(Failure::Connect {
                text: what.into(),
                hint: Some("use `auth = \"ntlm\"` with `username` and `password`".into()),
                is_passing: false,
            })
        }

        pub fn step(&mut self, _challenge: Option<&str>) -> Result<String, Failure> {
            match *self {}
        }
    }
}
