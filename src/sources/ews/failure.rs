//! Why a call failed, and what the server's codes mean.

use std::io;
use std::time::Duration;

use crate::sources::{Retry, Scope, SourceError};

#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    /// A code of EWS, of a SOAP fault or of a single answer.
    #[error("{code}: {text}")]
    Refused { code: String, text: String, wait: Option<Duration> },
    #[error("the server answered HTTP {status}{}", if .text.is_empty() { String::new() } else { format!(" ({text})") })]
    Http { status: u16, text: String, wait: Option<Duration> },
    /// `proven`: the same login was accepted before in this session.
    #[error("the server does not accept the login{}{text}", if .text.is_empty() { "" } else { ": " })]
    Login { text: String, proven: bool },
    /// A token that is not to be had, or not taken.
    #[error("{0}")]
    Token(Box<SourceError>),
    #[error("{text}")]
    Connect { text: String, hint: Option<String>, is_passing: bool },
    #[error("the server closed the connection in the middle of its answer")]
    Eof,
    #[error("{0}")]
    Io(String),
    #[error("the server was silent for {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error("the server's answer was not understood: {0}")]
    Protocol(String),
    #[error("{0}")]
    Local(String),
    #[error("{0}")]
    NoSpace(String),
    /// On this side nobody takes items any more.
    #[error("the download was stopped")]
    Stopped,
}

/// What a code says about the item or the call that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gone,
    /// Too much at once, or that the server should be left alone for a while.
    Busy,
    /// It passes by itself.
    Transient,
    /// Not tried, because of something before it in the batch.
    NotTried,
    /// More than fits an answer: fewer items may.
    TooLarge,
    /// The server does not know the version that was asked for.
    Version,
    SyncState,
    /// Somebody must change something here or there.
    Operator,
    /// Everything else; codes outside the published list occur.
    Other,
}

pub(super) fn kind(code: &str) -> Kind {
    match code {
        "ErrorItemNotFound" => Kind::Gone,
        "ErrorServerBusy" | "ErrorTooManyObjectsOpened" | "ErrorExceededConnectionCount" => Kind::Busy,
        "ErrorInternalServerTransientError"
        | "ErrorTimeoutExpired"
        | "ErrorMailboxMoveInProgress"
        | "ErrorMailboxStoreUnavailable"
        | "ErrorMailboxFailover"
        | "ErrorInsufficientResources"
        | "ErrorConnectionFailed"
        | "ErrorADUnavailable"
        | "ErrorADOperation"
        | "ErrorMessageTrackingTransientError" => Kind::Transient,
        "ErrorBatchProcessingStopped" => Kind::NotTried,
        "ErrorMessageSizeExceeded" | "ErrorDataSizeLimitExceeded" => Kind::TooLarge,
        "ErrorInvalidServerVersion" | "ErrorIncorrectSchemaVersion" | "ErrorInvalidSchemaVersionForMailboxVersion" => {
            Kind::Version
        }
        "ErrorInvalidSyncStateData" => Kind::SyncState,
        "ErrorAccessDenied"
        | "ErrorFolderNotFound"
        // Of grommunio, for a folder that is not there.
        | "ErrorFolderPropertyRequestFailed"
        | "ErrorImpersonateUserDenied"
        | "ErrorImpersonationDenied"
        | "ErrorImpersonationFailed"
        | "ErrorNonExistentMailbox"
        | "ErrorCannotFindUser"
        | "ErrorNonPrimarySmtpAddress"
        | "ErrorMissingEmailAddress"
        | "ErrorAccountDisabled"
        | "ErrorInvalidFolderId"
        | "ErrorSchemaValidation" => Kind::Operator,
        _ => Kind::Other,
    }
}

impl Failure {
    pub fn protocol(text: impl Into<String>) -> Failure {
        Failure::Protocol(text.into())
    }

    /// What goes wrong while a mail is put in its place on this machine.
    pub fn local(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Failure::NoSpace(format!("cannot write a downloaded mail: {error}"))
            }
            _ => Failure::Local(format!("cannot write a downloaded mail: {error}")),
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            // By the text, because servers of 2007 and 2010 give no code for it.
            Failure::Refused { text, .. } | Failure::Http { status: 500, text, .. }
                if text.contains("server version is invalid") =>
            {
                Kind::Version
            }
            Failure::Refused { code, .. } => kind(code),
            // A redirection leads to an error page: that is how some proxies say that they are busy.
            Failure::Http { status: 429 | 503 | 300..=399, .. } => Kind::Busy,
            Failure::Http { status: 408 | 502 | 504, .. } => Kind::Transient,
            // An overloaded server may refuse good credentials.
            Failure::Login { proven: true, .. } => Kind::Busy,
            Failure::Login { .. } => Kind::Operator,
            Failure::Http { .. }
            | Failure::Connect { .. }
            | Failure::Token(_)
            | Failure::Eof
            | Failure::Io(_)
            | Failure::Silent(_)
            | Failure::Protocol(_)
            | Failure::Local(_)
            | Failure::NoSpace(_)
            | Failure::Stopped => Kind::Other,
        }
    }

    /// How long the server wants to be left alone.
    pub fn hint(&self) -> Option<Duration> {
        match self {
            Failure::Refused { wait, .. } | Failure::Http { wait, .. } => *wait,
            _ => None,
        }
    }

    /// Whether it is about the length of an answer or the time that it took.
    pub fn is_about_size(&self) -> bool {
        matches!(self, Failure::Eof | Failure::Io(_) | Failure::Silent(_)) || self.kind() == Kind::TooLarge
    }

    /// The connection ended before the answer did. A server may close one at the moment when it is used again.
    fn is_of_connection(&self) -> bool {
        matches!(self, Failure::Eof | Failure::Io(_))
    }

    pub fn into_error(self, what: impl Into<String>) -> SourceError {
        const NEXT_RUN: &str = "the next run goes on where this one stopped; if it happens again, see the server's log";
        if let Failure::Token(error) = self {
            return *error;
        }
        let answer = self.to_string();
        let mut scope = Scope::Profile;
        let (retry, hint): (Retry, Option<String>) = match &self {
            Failure::Refused { code, .. } => {
                let hint = match code.as_str() {
                    "ErrorImpersonateUserDenied" | "ErrorImpersonationDenied" => {
                        Some("give the login the role ApplicationImpersonation over the mailbox in `impersonate`")
                    }
                    "ErrorNonExistentMailbox" | "ErrorCannotFindUser" | "ErrorNonPrimarySmtpAddress" => {
                        Some("check the address in `impersonate` or `mailbox`; it must be the mailbox's primary one")
                    }
                    "ErrorAccessDenied" => Some("the login needs the right to read and delete in this folder"),
                    "ErrorFolderNotFound" | "ErrorInvalidFolderId" | "ErrorFolderPropertyRequestFailed" => {
                        scope = Scope::Mailbox;
                        Some("check `folder`: a name such as \"inbox\", or a path such as \"inbox/Reports\"")
                    }
                    _ => None,
                };
                let retry = if self.kind() == Kind::Operator { Retry::Operator } else { Retry::Later };
                let busy = matches!(self.kind(), Kind::Busy | Kind::Transient);
                let hint = hint.or(busy.then_some("the next run goes on where this one stopped"));
                (retry, hint.map(str::to_owned))
            }
            Failure::Http { status: 403..=405, .. } => {
                let hint = "check `url`: it usually is https://HOST/EWS/Exchange.asmx, and EWS must be enabled";
                (Retry::Operator, Some(hint.into()))
            }
            Failure::Login { proven: true, .. } => (Retry::Later, Some(NEXT_RUN.into())),
            Failure::Login { .. } => (
                Retry::Operator,
                Some("check `username`, `password` and `auth`, and that the account may use EWS".to_owned()),
            ),
            Failure::Connect { hint, is_passing, .. } => {
                (if *is_passing { Retry::Later } else { Retry::Operator }, hint.clone())
            }
            Failure::Http { .. } | Failure::Eof | Failure::Io(_) | Failure::Stopped | Failure::Token(_) => {
                (Retry::Later, Some(NEXT_RUN.into()))
            }
            Failure::Silent(_) => {
                let hint = "`timeout` is the longest silence of the server that is waited for";
                (Retry::Later, Some(hint.into()))
            }
            Failure::Protocol(_) => (Retry::Later, Some("check that `url` leads to Exchange Web Services".into())),
            Failure::Local(_) => {
                (Retry::Operator, Some("check the rights of the folder for temporary files".to_owned()))
            }
            Failure::NoSpace(_) => (
                Retry::Later,
                Some(
                    "make room on the archive's volume; nothing was lost, what was not archived is fetched again"
                        .into(),
                ),
            ),
        };
        let no_space = matches!(self, Failure::NoSpace(_));
        let refused_login = matches!(self, Failure::Login { proven: false, .. });
        let wait = self.hint();
        SourceError { retry, hint, no_space, refused_login, wait, ..SourceError::new(scope, what, answer) }
    }
}

/// How long to wait before a call is made again.
#[derive(Debug, Default)]
pub(super) struct Patience {
    tries: u32,
    waited: Duration,
    is_reconnected: bool,
}

impl Patience {
    /// At first, and at most, where the server does not say for how long: most are busy for a moment only.
    const WITHOUT_HINT: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];
    const TRIES_MAX: u32 = 8;
    /// The server wants to be left alone for longer: that is for the next run.
    const WAITED_MAX: Duration = Duration::from_secs(15 * 60);

    /// `None`: it does not pass, or not soon enough. `random` spreads what would come all at once.
    pub fn wait(&mut self, failure: &Failure, random: u8) -> Option<Duration> {
        // Every call may be made again: of what is deleted already it says no more than that it is gone.
        if failure.is_of_connection() {
            return (!std::mem::replace(&mut self.is_reconnected, true)).then_some(Duration::ZERO);
        }
        let base = match failure.kind() {
            Kind::Busy if failure.hint().is_none() => {
                let [first, most] = Patience::WITHOUT_HINT;
                (first * (1 << self.tries.min(7))).min(most)
            }
            Kind::Busy | Kind::Transient => Duration::ZERO,
            _ => return None,
        };
        // Accounts lock after a few refusals.
        let tries_max = if matches!(failure, Failure::Login { .. }) { 2 } else { Patience::TRIES_MAX };
        let own = Duration::from_millis(500 << self.tries.min(7)).mul_f64(1.0 + f64::from(random) / 1024.0);
        let wait = failure.hint().unwrap_or(base).max(own);
        // The server may name any number of seconds.
        let waited = self.waited.saturating_add(wait);
        if self.tries >= tries_max || waited > Patience::WAITED_MAX {
            return None;
        }
        self.tries += 1;
        self.waited = waited;
        Some(wait)
    }

    /// Something went through: what happened before does not count any more.
    pub fn progress(&mut self) {
        *self = Patience::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, wait: Option<u64>) -> Failure {
        Failure::Refused { code: code.into(), text: String::new(), wait: wait.map(Duration::from_millis) }
    }

    #[test]
    fn a_server_that_wants_to_be_left_alone_for_ever_is_no_panic() {
        let mut patience = Patience::default();
        assert!(patience.wait(&refused("ErrorServerBusy", Some(1000)), 0).is_some());
        let for_ever = Failure::Http { status: 503, text: String::new(), wait: Some(Duration::MAX) };
        assert_eq!(patience.wait(&for_ever, 0), None);
    }

    #[test]
    fn a_busy_server_is_left_alone_as_long_as_it_says_and_ever_longer_when_it_says_nothing() {
        let mut patience = Patience::default();
        let secs = |wait: Option<Duration>| wait.map(|wait| wait.as_secs_f64());
        assert_eq!(secs(patience.wait(&refused("ErrorServerBusy", Some(297_000)), 0)), Some(297.0));
        assert_eq!(secs(patience.wait(&refused("ErrorServerBusy", Some(10)), 0)), Some(1.0), "its own back-off");
        assert_eq!(secs(patience.wait(&refused("ErrorServerBusy", None), 0)), Some(20.0));
        assert_eq!(secs(patience.wait(&refused("ErrorServerBusy", None), 0)), Some(40.0));
        assert_eq!(secs(patience.wait(&refused("ErrorServerBusy", None), 0)), Some(60.0));
        assert_eq!(secs(patience.wait(&refused("ErrorTimeoutExpired", None), 0)), Some(16.0));
        assert_eq!(secs(patience.wait(&refused("ErrorServerBusy", Some(800_000)), 0)), None, "for the next run");
        assert_eq!(patience.wait(&refused("ErrorAccessDenied", None), 0), None);
        let mut patience = Patience::default();
        let busy = refused("ErrorServerBusy", Some(1));
        assert_eq!((0..20).filter(|_| patience.wait(&busy, 0).is_some()).count(), Patience::TRIES_MAX as usize);
        let refused = Failure::Login { text: String::new(), proven: true };
        patience.progress();
        assert_eq!((0..20).filter(|_| patience.wait(&refused, 0).is_some()).count(), 2, "accounts lock");
        assert_eq!(patience.wait(&Failure::Login { text: String::new(), proven: false }, 0), None);
        patience.progress();
        assert_eq!((0..20).filter(|_| patience.wait(&Failure::Eof, 0).is_some()).count(), 1, "a connection that ended");
    }
}
