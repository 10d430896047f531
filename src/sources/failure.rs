//! Failures that all sources make in the same way.

use std::net::SocketAddr;

use super::{Retry, Scope, SourceError};
use crate::net::TlsMode;
use crate::net::tls::NetError;

/// A network failure always ends the session.
pub(super) fn net_error(error: &NetError, what: impl Into<String>) -> SourceError {
    SourceError {
        retry: if error.is_passing() { Retry::Later } else { Retry::Operator },
        hint: error.hint(),
        ..SourceError::new(Scope::Profile, what, error.to_string())
    }
}

/// An error that this side finds by itself and a person must mend.
pub(super) fn operator(
    scope: Scope,
    what: impl Into<String>,
    answer: impl Into<String>,
    hint: Option<&str>,
) -> SourceError {
    SourceError { retry: Retry::Operator, hint: hint.map(str::to_owned), ..SourceError::new(scope, what, answer) }
}

/// Whether passwords and mails would go readable over a network without that having been allowed.
pub(super) fn exposes(tls: TlsMode, allow_plaintext: bool, peer: SocketAddr) -> bool {
    tls == TlsMode::None && !peer.ip().to_canonical().is_loopback() && !allow_plaintext
}

pub(super) fn exposed(what: String, peer: SocketAddr) -> SourceError {
    operator(
        Scope::Profile,
        what,
        format!("{peer} is another machine, and `tls = \"none\"` would send the password readable"),
        Some("use `tls = \"implicit\"` or `\"starttls\"`; only if it must be: `allow_plaintext = true`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_to_another_machine_must_be_allowed() {
        let [near, mapped, far] =
            ["127.0.0.9:143", "[::ffff:127.0.0.1]:143", "192.0.2.1:143"].map(|text| text.parse().unwrap());
        assert!(!exposes(TlsMode::None, false, near) && !exposes(TlsMode::None, false, mapped));
        assert!(exposes(TlsMode::None, false, far) && !exposes(TlsMode::None, true, far));
        assert!(!exposes(TlsMode::StartTls, false, far));
    }
}
