//! From a failed command to an error that the agent can act on.
//!
//! Who can mend it is decided by the kind of failure and by response codes (RFC 3501, 5530), never by
//! the server's text: texts change with versions and languages.

use std::time::Duration;

use super::notes::Notes;
use super::wire::{Failure, StatusText};
use crate::sources::{Retry, Scope, SourceError};

/// Response codes of a NO that time mends.
const PASSING: &[&str] = &["UNAVAILABLE", "INUSE", "SERVERBUG", "LIMIT", "TRYAGAIN"];

/// No server is believed to mean a longer time.
const BACK_OFF_MAX: Duration = Duration::from_secs(60 * 60);

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
    /// The notes of what is on its way cannot be written.
    pub fn note(notes: &Notes, error: &std::io::Error) -> Failure {
        let text = format!("{} cannot be written: {error}", notes.file().display());
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Failure::NoSpace(text),
            _ => Failure::Local(text),
        }
    }

    /// The NO of a server that is busy or has a passing trouble.
    pub fn is_passing_no(&self) -> bool {
        let is_passing = |code: &str| PASSING.contains(&code);
        matches!(self, Failure::No(status) if status.code.as_deref().is_some_and(is_passing))
            || self.back_off().is_some()
    }

    /// How long Exchange wants to be left alone. By the text, because it gives no code for it.
    pub fn back_off(&self) -> Option<Duration> {
        let (Failure::No(StatusText { text, .. }) | Failure::Bad(StatusText { text, .. }) | Failure::Bye(text)) = self
        else {
            return None;
        };
        let text = text.to_ascii_lowercase();
        let (_, rest) = text.split_once("suggested backoff time:")?;
        let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
        let wait = Duration::from_millis(digits.parse().ok()?);
        Some(wait.min(BACK_OFF_MAX))
    }

    /// `what` says what was tried. A NO reaches as far as `no_scope` and is mended as `no_retry` says,
    /// unless its response code knows better.
    pub fn into_error(self, what: impl Into<String>, no_scope: Scope, no_retry: Retry) -> SourceError {
        let answer = self.to_string();
        let wait = self.back_off();
        // By the text as well. The login was accepted; it is asked as rarely as if it had been refused.
        let is_homeless = matches!(&self, Failure::No(status) | Failure::Bad(status)
            if status.text.contains("authenticated but not connected"));
        let (scope, retry, hint) = match &self {
            _ if wait.is_some() => {
                (Scope::Profile, Retry::Later, Some("it is left alone as long as it asks for; a higher `every` helps"))
            }
            _ if is_homeless => (
                Scope::Profile,
                Retry::Operator,
                Some(
                    "the login is right, but leads to no mailbox: check `username`, and that the account may use IMAP",
                ),
            ),
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
            Failure::Local(_) => (
                Scope::Profile,
                Retry::Operator,
                Some("check the rights of the archive's folder and of what lies in it"),
            ),
            Failure::NoSpace(_) => (
                Scope::Profile,
                Retry::Later,
                Some("make room on the archive's volume; nothing was lost, what was not archived is fetched again"),
            ),
        };
        let no_space = matches!(self, Failure::NoSpace(_));
        SourceError {
            retry,
            hint: hint.map(str::to_owned),
            no_space,
            refused_login: is_homeless,
            wait,
            ..SourceError::new(scope, what, answer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no(text: &str) -> Failure {
        Failure::No(StatusText { code: None, text: text.into() })
    }

    #[test]
    fn the_time_that_exchange_asks_for_is_read() {
        let text = "Request is throttled. Suggested Backoff Time: 299961 milliseconds";
        for failure in [no(text), Failure::Bad(StatusText { code: None, text: text.into() }), Failure::Bye(text.into())]
        {
            assert!(failure.is_passing_no());
            let error = failure.into_error("listing", Scope::Mailbox, Retry::Operator);
            assert_eq!((error.retry, error.wait), (Retry::Later, Some(Duration::from_millis(299_961))));
            assert!(!error.refused_login);
        }
        let endless = "Suggested Backoff Time: 99999999999 milliseconds";
        assert_eq!(no(endless).back_off(), Some(BACK_OFF_MAX));
        for none in ["Suggested Backoff Time: soon", "Suggested Backoff Time: 99999999999999999999999", "busy", ""] {
            assert_eq!(no(none).back_off(), None, "{none}");
        }
    }
}
