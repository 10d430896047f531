//! Logging in to gateways, with an eye on what was refused before. Every command that logs in to empty, look or delete
//! goes through here; only `check`, which a person calls to see whether a login works, does not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::exit::{Exit, Failure, of_cycle};
use super::{output, wiring};
use crate::agent::CycleError;
use crate::agent::alarms::{Kind, Notice};
use crate::agent::logins::{Asked, LoginName, Logins, LoginsError, Refusal, Verdict};
use crate::base::clock::{Clock, SystemClock};
use crate::base::secret::Secret;
use crate::config::{ProfileSettings, Settings};
use crate::sources::{AnySource, SourceError};

/// A gateway that asks for no more time than this gets it at once; more is for the next cycle.
const WAIT_HERE_MAX: Duration = Duration::from_secs(60);
const WAITS_HERE_MAX: u32 = 3;

/// The way to the gateways of one archive.
pub struct Gate {
    logins: Logins,
    /// It is there once there is an archive; before, a rehearsal must leave no file in its place.
    archive: PathBuf,
}

/// A session, and what must be said of it when it ended.
pub struct Entered {
    pub source: AnySource,
    pub ticket: Ticket,
}

/// Whose login it is.
pub struct Ticket {
    host: String,
    login: String,
    secret: Option<Secret>,
    retry: Duration,
    /// To be connected is to be logged in; over EWS the first call shows it.
    is_proven: bool,
}

/// Why there is no session.
pub struct Closed {
    pub failure: Failure,
    pub alarm: Option<Notice>,
    /// Nothing was tried: it is not time yet.
    pub not_tried: bool,
}

impl From<Failure> for Closed {
    fn from(failure: Failure) -> Closed {
        Closed { failure, alarm: None, not_tried: false }
    }
}

impl From<Closed> for Failure {
    /// For commands without a report.
    fn from(closed: Closed) -> Failure {
        if let Some(alarm) = &closed.alarm {
            output::note(&format!("warning: {}", output::safe(&alarm.text)));
        }
        closed.failure
    }
}

impl Gate {
    pub fn of(settings: &Settings, clock: Arc<dyn Clock>) -> Gate {
        let logins = Logins::of(&settings.archive.path, clock);
        Gate { logins, archive: wiring::layout_of(&settings.archive).identity_file() }
    }

    /// Connects and logs in, if it is time for that.
    pub async fn enter(&self, profile: &ProfileSettings, asked: Asked) -> Result<Entered, Closed> {
        let options = wiring::source_options(profile).await?;
        let ticket = Ticket {
            host: profile.source.host(),
            login: profile.source.login().to_owned(),
            secret: options.password().cloned(),
            retry: profile.refused_retry,
            is_proven: options.logs_in_at_once(),
        };
        match self.logins.may_try(&ticket.name(), asked, ticket.retry) {
            Ok(Verdict::Try) => {}
            Ok(Verdict::Refused { times, until }) => return Err(self.not_yet(&ticket, times, until)),
            Ok(Verdict::Throttled { until }) => {
                let what = format!("{} asked to be left alone until {}", ticket.shown(), output::time(until));
                let hint = "nothing was tried; a higher `every` helps where this happens often";
                return Err(Closed { not_tried: true, ..gateway(what, hint, false).into() });
            }
            Err(error) => return Err(unusable(&error).into()),
        }
        let mut waits = 0;
        loop {
            let error = match AnySource::connect(&options).await {
                Ok(source) => return Ok(Entered { source, ticket }),
                Err(error) => error,
            };
            match error.wait {
                Some(wait) if wait <= WAIT_HERE_MAX && waits < WAITS_HERE_MAX => {
                    tracing::info!(wait_ms = wait.as_millis() as u64, "the gateway asks to be left alone; waiting");
                    tokio::time::sleep(wait).await;
                    waits += 1;
                }
                _ => return Err(self.refused(&ticket, error)),
            }
        }
    }

    fn not_yet(&self, ticket: &Ticket, times: u32, until: jiff::Timestamp) -> Closed {
        let what = format!(
            "the login was refused {times} times in a row by {}; it is not tried before {}",
            ticket.shown(),
            output::time(until)
        );
        let hint = "mend the login, then run `gatepost once --profile NAME`: with a changed secret it tries at once, and \
                    with --retry-refused in any case; `gatepost check` tries it, too";
        Closed { not_tried: true, ..gateway(what, hint, true).into() }
    }

    fn refused(&self, ticket: &Ticket, error: SourceError) -> Closed {
        let noted = self.note_error(ticket, &error);
        let mut failure = Failure::from(error);
        let alarm = noted.and_then(|refusal| {
            if refusal.is_proven && !refusal.is_braked {
                failure.hint = Some(
                    "the same secret was accepted before, so that this is taken for a trouble of the gateway that passes; \
                     if the password was changed there, change it here"
                        .into(),
                );
            }
            ticket.alarm(&refusal)
        });
        Closed { failure, alarm, not_tried: false }
    }

    /// Takes note of how a session ended; an alarm where its login was refused once too often.
    pub fn left(&self, ticket: &Ticket, error: Option<&CycleError>) -> Option<Notice> {
        match error {
            Some(CycleError::Source(error)) if error.refused_login || error.wait.is_some() => {
                self.note_error(ticket, error).and_then(|refusal| ticket.alarm(&refusal))
            }
            Some(CycleError::Source(_)) if !ticket.is_proven => None,
            _ => {
                self.noted(|logins| logins.accepted(&ticket.name()));
                None
            }
        }
    }

    fn note_error(&self, ticket: &Ticket, error: &SourceError) -> Option<Refusal> {
        if let Some(wait) = error.wait {
            self.noted(|logins| logins.throttled(&ticket.name(), wait));
        }
        if !error.refused_login {
            return None;
        }
        self.noted(|logins| logins.refused(&ticket.name()))
    }

    /// What cannot be written holds for this process.
    fn noted<T>(&self, note: impl FnOnce(&Logins) -> Result<T, LoginsError>) -> Option<T> {
        if !self.archive.exists() {
            return None;
        }
        note(&self.logins).inspect_err(|error| tracing::error!(%error, "how a login went could not be noted")).ok()
    }
}

impl Ticket {
    fn name(&self) -> LoginName<'_> {
        LoginName { host: &self.host, login: &self.login, secret: self.secret.as_ref() }
    }

    fn shown(&self) -> String {
        format!("{} (as {})", self.host, self.login)
    }

    fn alarm(&self, refusal: &Refusal) -> Option<Notice> {
        refusal.is_braked.then(|| {
            let what = format!(
                "{} refused the login {} times in a row: it is tried once in {} from now on (`refused_retry`), so that the \
                 account is not locked",
                self.shown(),
                refusal.times,
                humantime::format_duration(self.retry)
            );
            Notice::new(Kind::RefusedLogin, what)
        })
    }
}

/// A session for a command that keeps no report.
pub async fn enter(settings: &Settings, profile: &ProfileSettings, asked: Asked) -> Result<(Gate, Entered), Failure> {
    let gate = Gate::of(settings, Arc::new(SystemClock));
    let entered = gate.enter(profile, asked).await.map_err(|closed| {
        let mut failure = Failure::from(closed);
        if failure.exit == Exit::Gateway {
            failure.what = format!("{}: {}", profile.name, failure.what);
        }
        failure
    })?;
    Ok((gate, entered))
}

/// A failure of the session, as the command tells it.
pub fn ended(gate: &Gate, ticket: &Ticket, error: CycleError) -> Failure {
    if let Some(alarm) = gate.left(ticket, Some(&error)) {
        output::note(&format!("warning: {}", output::safe(&alarm.text)));
    }
    Failure { exit: of_cycle(&error), ..Failure::from(error) }
}

fn gateway(what: String, hint: &str, refused: bool) -> Failure {
    Failure { exit: Exit::Gateway, what, hint: Some(hint.to_owned()), refused }
}

fn unusable(error: &LoginsError) -> Failure {
    Failure::usage(format!("{error}; no login was tried"))
        .hint(format!("the user that gatepost runs as (now {}) must be able to read and write it", wiring::user()))
}
