//! Logins that were refused, and when each may be tried again: accounts lock after a few refusals, and a weekend of no
//! tries at all would cost the mail.
//!
//! ```text
//! refused, with a secret that never worked   three tries, an alarm, then one try per `refused_retry`
//! refused, with the secret that worked last  passes (a server with troubles of its own): ten tries, then the same
//! another secret than the refused one        at once: by hand always, by itself a few times
//! throttled                                  not before the time that the gateway asked for
//! ```
//!
//! Must: the state is on disk, so that `once` from a scheduler keeps to it like `run`; a state that cannot be read is
//! never taken for "nothing was refused"; no secret is in it, and nothing that a weak one could be guessed from.

mod mark;
mod state;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use self::mark::{Key, Mark};
use self::state::{Entry, State};
use crate::base::clock::Clock;
use crate::base::digest::Digest;
use crate::base::secret::Secret;

/// Refusals in a row after which a login is only tried now and then.
pub const REFUSED_MAX: u32 = 3;
/// The same for a secret that worked before: most servers do not count those towards a lock, and what refuses it is
/// often a directory that is down.
const PROVEN_MAX: u32 = 10;
/// With changing secrets, which nobody watches being refused.
const CHANGED_MAX: u32 = 2 * REFUSED_MAX;
/// A process of its own for each cycle would pay for a slow comparison each time; so it is made once in so long. Until then
/// a secret that was changed counts as one that never worked, which makes its tries fewer; and the one before it, if it is
/// put back and refused, still as one that did.
const COMPARED_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// What a gateway asks for is not believed beyond this; a clock that was set back must not silence a profile.
const WAIT_MAX: SignedDuration = SignedDuration::from_hours(1);

/// Who asks for a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A schedule.
    BySchedule,
    /// A person who named the profile; or a scheduler that does, so that this is no leave to try at will.
    ByName,
    /// A person who says so.
    ByForce,
}

/// A login on a gateway, and what is known of its secret.
#[derive(Clone, Debug)]
pub struct LoginName<'a> {
    /// As it names the gateway in the archive.
    pub host: &'a str,
    pub login: &'a str,
    /// `None` where it changes by itself (a token) or there is none.
    pub secret: Option<&'a Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Try,
    /// Refused so often; not before.
    Refused {
        times: u32,
        until: Timestamp,
    },
    /// The gateway asked for it.
    Throttled {
        until: Timestamp,
    },
}

/// What a refusal comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In a row, this one included.
    pub times: u32,
    /// The secret is the one that worked last.
    pub is_proven: bool,
    /// From now on there is one try per `refused_retry`.
    pub is_braked: bool,
}

/// Why the state cannot be used; no login is tried without it.
#[derive(Debug, thiserror::Error)]
#[error("the record of refused logins {} cannot be used: {said}", .path.display())]
pub struct LoginsError {
    pub path: PathBuf,
    pub said: String,
}

/// The record of one archive's gateways.
pub struct Logins {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// What could not be written, and holds for this process.
    unsaved: Option<State>,
    key: Option<Key>,
    /// Secrets that were accepted by this process, as digests that never leave it.
    accepted: HashMap<String, Digest>,
}

impl Logins {
    /// `folder` is the archive's.
    pub fn of(folder: &Path, clock: Arc<dyn Clock>) -> Logins {
        Logins { folder: folder.to_owned(), clock, inner: Mutex::default() }
    }

    /// Whether a login may be tried now. A try that is one in a long time is noted before it is made.
    pub fn may_try(&self, name: &LoginName<'_>, asked: Asked, retry: Duration) -> Result<Verdict, LoginsError> {
        let mut inner = self.lock();
        let mut state = inner.load(&self.folder)?;
        let now = self.clock.now();
        let id = name.id();
        let entry = state.entry(&id);
        if asked == Asked::ByForce {
            return Ok(Verdict::Try);
        }
        if let Some(until) = entry.not_before.filter(|until| *until > now && until.duration_since(now) <= WAIT_MAX) {
            return Ok(Verdict::Throttled { until });
        }
        // Before the comparison of secrets, which is slow on purpose and blocks the other profiles.
        if entry.refused < REFUSED_MAX {
            return Ok(Verdict::Try);
        }
        let key = inner.key(&self.folder);
        let is_proven = name.is(entry.accepted.as_ref(), &key);
        if is_proven && entry.refused < PROVEN_MAX {
            return Ok(Verdict::Try);
        }
        let is_changed = name.secret.is_some() && !name.is(entry.refused_secret.as_ref(), &key);
        if is_changed && (asked == Asked::ByName || entry.refused < CHANGED_MAX) {
            return Ok(Verdict::Try);
        }
        let retry = SignedDuration::try_from(retry).unwrap_or(SignedDuration::MAX);
        // A clock that was set back starts the waiting anew, once.
        let last = entry.last.filter(|last| *last <= now);
        let until = last.map(|last| last.checked_add(retry).unwrap_or(Timestamp::MAX));
        match until {
            Some(until) if until > now => Ok(Verdict::Refused { times: entry.refused, until }),
            Some(_) => {
                state.change(&id, |entry| entry.last = Some(now));
                inner.save(&self.folder, state)?;
                Ok(Verdict::Try)
            }
            None => {
                let until = now.checked_add(retry).unwrap_or(Timestamp::MAX);
                state.change(&id, |entry| entry.last = Some(now));
                inner.save(&self.folder, state)?;
                Ok(Verdict::Refused { times: entry.refused, until })
            }
        }
    }

    /// The login was accepted.
    pub fn accepted(&self, name: &LoginName<'_>) -> Result<(), LoginsError> {
        let mut inner = self.lock();
        let mut state = inner.load(&self.folder)?;
        let id = name.id();
        let entry = state.entry(&id);
        let is_clean = entry.refused == 0 && entry.not_before.is_none() && entry.last.is_none();
        let digest = name.secret.map(|secret| Digest::of(secret.expose().as_bytes()));
        if is_clean && (digest.is_none() || inner.accepted.get(&id) == digest.as_ref()) {
            return Ok(());
        }
        let now = self.clock.now();
        let was_compared = |at: Timestamp| at <= now && now.duration_since(at) < COMPARED_EVERY;
        if is_clean && !inner.accepted.contains_key(&id) && entry.compared.is_some_and(was_compared) {
            return Ok(());
        }
        let key = inner.key(&self.folder);
        let is_known = name.is(entry.accepted.as_ref(), &key);
        if !(is_clean && is_known && digest.is_none()) {
            let accepted = match name.secret {
                Some(_) if is_known => entry.accepted,
                Some(secret) => {
                    key.keep(&self.folder);
                    Some(Mark::of(secret, &key))
                }
                None => None,
            };
            let compared = accepted.is_some().then_some(now);
            state.change(&id, |entry| *entry = Entry { accepted, compared, ..Entry::default() });
            inner.save(&self.folder, state)?;
        }
        if let Some(digest) = digest {
            inner.accepted.insert(id, digest);
        }
        Ok(())
    }

    /// The login was refused.
    pub fn refused(&self, name: &LoginName<'_>) -> Result<Refusal, LoginsError> {
        let mut inner = self.lock();
        let mut state = inner.load(&self.folder)?;
        let (id, now) = (name.id(), self.clock.now());
        let key = inner.key(&self.folder);
        let entry = state.entry(&id);
        let is_proven = name.is(entry.accepted.as_ref(), &key);
        let times = entry.refused.saturating_add(1);
        let refused_secret = match name.secret {
            Some(_) if name.is(entry.refused_secret.as_ref(), &key) => entry.refused_secret,
            Some(secret) => {
                key.keep(&self.folder);
                Some(Mark::of(secret, &key))
            }
            None => None,
        };
        state.change(&id, |entry| {
            (entry.refused, entry.last, entry.refused_secret) = (times, Some(now), refused_secret)
        });
        inner.accepted.remove(&id);
        inner.save(&self.folder, state)?;
        let is_braked = times >= if is_proven { PROVEN_MAX } else { REFUSED_MAX };
        Ok(Refusal { times, is_proven, is_braked })
    }

    /// The gateway asks to be left alone for so long.
    pub fn throttled(&self, name: &LoginName<'_>, wait: Duration) -> Result<(), LoginsError> {
        let mut inner = self.lock();
        let mut state = inner.load(&self.folder)?;
        let wait = SignedDuration::try_from(wait).unwrap_or(WAIT_MAX).min(WAIT_MAX);
        let until = self.clock.now().checked_add(wait).ok();
        state.change(&name.id(), |entry| entry.not_before = until);
        inner.save(&self.folder, state)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // What a panic left half done is the next reading of the file's.
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl LoginName<'_> {
    fn id(&self) -> String {
        format!("{} {}", self.host, self.login)
    }

    fn is(&self, mark: Option<&Mark>, key: &Key) -> bool {
        matches!((self.secret, mark), (Some(secret), Some(mark)) if mark.is_of(secret, key))
    }
}

impl Inner {
    fn load(&mut self, folder: &Path) -> Result<State, LoginsError> {
        match &self.unsaved {
            Some(state) => Ok(state.clone()),
            None => State::load(folder),
        }
    }

    fn save(&mut self, folder: &Path, state: State) -> Result<(), LoginsError> {
        match state.save(folder) {
            Ok(()) => self.unsaved = None,
            Err(error) => {
                self.unsaved = Some(state);
                return Err(error);
            }
        }
        Ok(())
    }

    fn key(&mut self, folder: &Path) -> Key {
        self.key.get_or_insert_with(|| Key::of(folder)).clone()
    }
}

#[cfg(test)]
mod tests;
