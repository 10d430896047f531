//! From a failed command to an error that the agent can act on.
//!
//! Who can mend it is decided by the kind of failure and by response codes (RFC 3501, 5530), never by
//! the server's text: texts change with versions and languages.

use super::wire::Failure;
use crate::sources::{Retry, Scope, SourceError};

/// Response codes of a NO that time mends.
const PASSING: &[&str] = &["UNAVAILABLE", "INUSE", "SERVERBUG", "LIMIT", "TRYAGAIN"];

/// Response codes of a NO that only a person can mend.
const LASTING: &[&str] = &[
    "AUTHENTICATIONFAILED",
    "AUTHORIZATIONFAILED",
    "EXPIRED",
    "PRIVACYREQUIRED",
    "CONTACTADMIN",
    "NOPERM",
    "NONEXISTENT",
    "CANNOT",
    "CLIENTBUG",
];

impl Failure {
    /// The NO of a server that is busy or has a passing trouble.
    pub fn is_passing_no(&self) -> bool {
        matches!(self, Failure::No(status) if status.code.as_deref().is_some_and(|code| PASSING.contains(&code)))
    }

    /// `what` says what was tried. A NO reaches as far as `no_scope` and is mended as `no_retry` says,
    /// unless its response code knows better.
    pub fn into_error(self, what: impl Into<String>, no_scope: Scope, no_retry: Retry) -> SourceError {
        let answer = self.to_string();
        let (scope, retry, hint) = match &self {
            Failure::No(status) => {
                let retry = match status.code.as_deref() {
                    Some(code) if PASSING.contains(&code) => Retry::Later,
                    Some(code) if LASTING.contains(&code) => Retry::Operator,
                    _ => no_retry,
                };
                (no_scope, retry, None)
            }
            Failure::Bad(_) => (Scope::Profile, Retry::Operator, Some("the server does not take this command")),
            Failure::Bye(_) | Failure::Eof | Failure::Io(_) | Failure::GivenUp => (
                Scope::Profile,
                Retry::Later,
                Some("the next run goes on where this one stopped; if it happens again, see the server's log"),
            ),
            Failure::Silent(_) => (
                Scope::Profile,
                Retry::Later,
                Some("`timeout` is the longest silence of the server that is waited for"),
            ),
            Failure::Protocol(_) | Failure::Stopped => (
                Scope::Profile,
                Retry::Later,
                Some("check that an IMAP server listens at `host` and `port`, and that `tls` is what it expects there"),
            ),
            Failure::NotAlone => (
                Scope::Mailbox,
                Retry::Operator,
                Some("somebody else uses this mailbox: set `sole_client = false`, or let nobody else delete there"),
            ),
            Failure::Local(_) => {
                (Scope::Profile, Retry::Operator, Some("check the rights of the folder for temporary files"))
            }
            Failure::NoSpace(_) => (
                Scope::Profile,
                Retry::Later,
                Some("make room on the archive's volume; nothing was lost, what was not archived is fetched again"),
            ),
        };
        let no_space = matches!(self, Failure::NoSpace(_));
        SourceError { scope, retry, what: what.into(), answer, hint: hint.map(str::to_owned), no_space }
    }
}
