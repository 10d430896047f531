//! Renews the tokens of one login: when they are about to expire, and when the gateway refuses one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::ask::{Granted, Refusal, ask};
use super::device::{self, DevicePrompt};
use super::kept::{Kept, secrets};
use super::{Grant, OAuth2Options, TokenError, TokenProblem};
use crate::base::clock::Clock;
use crate::base::fsio::Fs;
use crate::base::secret::Secret;

/// A token is renewed that long before its end, or a quarter of its life where that is less: a login takes time, and
/// clocks differ.
const EARLY: SignedDuration = SignedDuration::from_secs(5 * 60);

pub(super) struct Renewed {
    options: OAuth2Options,
    kept: Option<Kept>,
    clock: Arc<dyn Clock>,
    fs: Fs,
    /// How often the token server was asked. Who waited for `held` meanwhile takes what came of it.
    asked: AtomicU64,
    held: Mutex<Held>,
}

impl std::fmt::Debug for Renewed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewed").field("token_url", &self.options.token_url).finish_non_exhaustive()
    }
}

/// The proxy, and its login.
fn way(options: &OAuth2Options) -> Option<(String, Option<(&str, &str)>)> {
    let proxy = options.proxy.as_ref()?;
    let login = proxy.login.as_ref().map(|(user, password)| (user.as_str(), password.expose()));
    Some((proxy.authority(), login))
}

#[derive(Default)]
struct Held {
    granted: Option<Granted>,
    /// When it is no longer handed out.
    renew_at: Option<Timestamp>,
    /// The last attempt failed like this.
    failed: Option<TokenError>,
    /// The token server wants to be left alone until then.
    not_before: Option<Timestamp>,
    /// A refresh token that could not be kept; tried again each time.
    is_unsaved: bool,
}

impl Held {
    fn take(&mut self, granted: Granted, now: Timestamp) {
        let life = granted.expires.duration_since(now);
        let early = EARLY.min(life / 4);
        self.renew_at = granted.expires.checked_sub(early).ok();
        // A server that does not replace the refresh token leaves the old one good.
        let refresh = granted.refresh.or_else(|| self.granted.take().and_then(|old| old.refresh));
        self.granted = Some(Granted { refresh, ..granted });
        self.failed = None;
        self.not_before = None;
    }

    fn usable(&self, refused: Option<&Secret>, now: Timestamp) -> Option<Secret> {
        let granted = self.granted.as_ref()?;
        let is_refused = refused.is_some_and(|refused| refused.expose() == granted.access.expose());
        (!is_refused && self.renew_at.is_some_and(|at| now < at)).then(|| granted.access.clone())
    }
}

impl Renewed {
    pub fn new(options: OAuth2Options, clock: Arc<dyn Clock>, fs: Fs) -> Renewed {
        let kept = options.folder.as_deref().map(|folder| Kept::new(folder, &options));
        Renewed { options, kept, clock, fs, asked: AtomicU64::new(0), held: Mutex::default() }
    }

    /// Whether these are what `options` ask for: what is not part of the identity may have changed.
    pub fn is_of(&self, options: &OAuth2Options) -> bool {
        secrets(&self.options) == secrets(options)
            && (&self.options.ca_file, way(&self.options)) == (&options.ca_file, way(options))
            && (&self.options.folder, &self.options.device_url) == (&options.folder, &options.device_url)
    }

    /// Text without the access token at hand. While another session renews it there is none to repeat.
    pub fn hide(&self, said: &str) -> String {
        let held = self.held.try_lock();
        let token = held.as_ref().ok().and_then(|held| held.granted.as_ref()).map(|granted| &granted.access);
        token.map_or_else(|| said.to_owned(), |token| token.hide(said))
    }

    pub async fn refresh_token(&self) -> Option<Secret> {
        self.held.lock().await.granted.as_ref()?.refresh.clone()
    }

    pub async fn token(&self, refused: Option<&Secret>) -> Result<Secret, TokenError> {
        let before = self.asked.load(Ordering::Acquire);
        let mut held = self.held.lock().await;
        let now = self.clock.now();
        if let Some(token) = held.usable(refused, now) {
            return Ok(token);
        }
        if let Some(failed) = &held.failed
            && (before != self.asked.load(Ordering::Acquire) || held.not_before.is_some_and(|until| now < until))
        {
            return Err(failed.clone());
        }
        let renewed = self.renew(&mut held, refused, now).await;
        self.asked.fetch_add(1, Ordering::AcqRel);
        renewed.map_err(|(error, wait)| {
            held.not_before = wait.and_then(|wait| now.checked_add(wait).ok());
            held.failed = Some(error.clone());
            error
        })
    }

    async fn renew(&self, held: &mut Held, refused: Option<&Secret>, now: Timestamp) -> Result<Secret, Refusal> {
        let _lock = self.lock().await.map_err(|error| (error, None))?;
        if held.is_unsaved {
            self.keep(held);
        } else if let Some(found) = self.found().map_err(|error| (error, None))? {
            held.take(found, now);
            if let Some(token) = held.usable(refused, now) {
                return Ok(token);
            }
        }
        let newest = held.granted.as_ref().and_then(|granted| granted.refresh.clone());
        let configured = match &self.options.grant {
            Grant::RefreshToken { token, .. } => Some(token),
            Grant::ClientCredentials(_) | Grant::DeviceCode { .. } | Grant::ServiceAccount { .. } => None,
        };
        let asked = match ask(&self.options, newest.as_ref().or(configured), now).await {
            // A kept token may be an old one, out of a backup; the configured one may still be good.
            Err((error, _))
                if error.problem == TokenProblem::Expired
                    && let (Some(newest), Some(configured)) = (&newest, configured)
                    && newest.expose() != configured.expose() =>
            {
                ask(&self.options, Some(configured), now).await
            }
            asked => asked,
        };
        let granted = asked?;
        let token = granted.access.clone();
        held.take(granted, now);
        self.keep(held);
        Ok(token)
    }

    /// Keeps what is held. Without it only a refresh token is lost with the process, and only that is worth a word.
    fn keep(&self, held: &mut Held) {
        let (Some(kept), Some(granted)) = (&self.kept, &held.granted) else { return };
        match kept.write(&self.fs, granted) {
            Ok(()) => held.is_unsaved = false,
            Err(error) => {
                held.is_unsaved = granted.refresh.is_some();
                let file = kept.file().display().to_string();
                if held.is_unsaved {
                    tracing::error!(%error, file, "the refresh token could not be kept; it is lost when the process ends");
                } else {
                    tracing::debug!(%error, file, "the access token could not be kept");
                }
            }
        }
    }

    /// Against another process. Only who lives by a refresh token cannot do without.
    async fn lock(&self) -> Result<Option<std::fs::File>, TokenError> {
        let Some(kept) = &self.kept else { return Ok(None) };
        // The other process may need two requests of its own.
        match kept.lock(self.options.timeout.saturating_mul(3).max(Duration::from_secs(1))).await {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if self.is_refreshed() => {
                let file = kept.file().display();
                let text = format!("{file} cannot be used: {error}");
                let hint =
                    "the user that gatepost runs as must be able to write there; `token_folder` names another folder";
                let problem = match error.kind() {
                    std::io::ErrorKind::TimedOut => TokenProblem::Unreachable,
                    _ => TokenProblem::Configuration,
                };
                Err(TokenError::of(&self.options, problem, &text, Some(hint), &[]))
            }
            Err(error) => {
                tracing::debug!(%error, file = %kept.file().display(), "tokens are not kept between runs");
                Ok(None)
            }
        }
    }

    /// What another process, or an earlier one, has kept.
    fn found(&self) -> Result<Option<Granted>, TokenError> {
        let Some(kept) = &self.kept else { return Ok(None) };
        match kept.read() {
            Ok(found) => Ok(found),
            // Nothing is lost with it: another token is asked for, and takes its place.
            Err(_) if !self.is_refreshed() => Ok(None),
            Err(error) => {
                let text = format!("{} cannot be read: {error}", kept.file().display());
                let hint = match error.kind() {
                    std::io::ErrorKind::PermissionDenied => {
                        "the user that gatepost runs as must own the folder and the files in it"
                    }
                    _ => "restore it; or remove it, and the configured refresh token is used again (or sign in again)",
                };
                Err(TokenError::of(&self.options, TokenProblem::Configuration, &text, Some(hint), &[]))
            }
        }
    }

    fn is_refreshed(&self) -> bool {
        match &self.options.grant {
            Grant::RefreshToken { .. } | Grant::DeviceCode { .. } => true,
            Grant::ClientCredentials(_) | Grant::ServiceAccount { .. } => false,
        }
    }

    pub async fn sign_in<W, F>(&self, show: impl FnOnce(&DevicePrompt) + Send, wait: W) -> Result<(), TokenError>
    where
        W: Fn(Duration) -> F + Send + Sync,
        F: Future<Output = ()> + Send,
    {
        // Before a person is troubled.
        drop(self.lock().await?);
        let granted = device::sign_in(&self.options, self.clock.as_ref(), show, wait).await?;
        let _lock = self.lock().await?;
        let mut held = self.held.lock().await;
        *held = Held::default();
        held.take(granted, self.clock.now());
        self.keep(&mut held);
        Ok(())
    }
}
