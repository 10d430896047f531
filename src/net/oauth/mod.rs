//! OAuth2 access tokens: what a session logs in with where no password is taken.
//!
//! A token is a secret like a password, and one that expires: it is asked for just before each login, and once more
//! when the gateway refuses the one at hand.
//!
//! Must:
//! - sessions of one login share its tokens ([`Tokens::shared`]), and ask the token server once between them;
//! - a refresh token that the server replaced is on stable storage before the access token that came with it is used,
//!   because the old one may be worth nothing from then on;
//! - tokens are told apart by everything that identifies the login, never by a profile's name, and what was kept under
//!   another secret is not used;
//! - no secret in any error, log or `Debug`, not even one that the token server repeats.

mod ask;
pub mod assertion;
mod device;
mod error;
mod http;
mod kept;
pub mod options;
mod renew;

pub use device::DevicePrompt;
pub use options::{ClientProof, Grant, OAuth2Options, Protocol, Provider};

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::base::clock::{Clock, SystemClock};
use crate::base::digest::Digest;
use crate::base::fsio::Fs;
use crate::base::secret::Secret;
use renew::Renewed;

/// The tokens of one login; sessions share it, so that one token serves until it expires.
#[derive(Debug)]
pub struct Tokens(Kind);

#[derive(Debug)]
enum Kind {
    Fixed(Secret),
    Renewed(Box<Renewed>),
}

/// Why there is no token. Which side must do what is in `problem`; `answer` is the reason in the token server's words.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}: {answer}")]
pub struct TokenError {
    pub problem: TokenProblem,
    pub what: String,
    pub answer: String,
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenProblem {
    /// The token server does not accept the client or the user.
    Refused,
    /// A refresh token or a client secret that is no longer valid.
    Expired,
    /// An administrator has not given the application its right.
    ConsentMissing,
    Throttled,
    /// The network, or a server that is down: it passes.
    Unreachable,
    /// What the configuration names cannot be used.
    Configuration,
    /// An answer that is none.
    Protocol,
}

impl TokenProblem {
    /// Whether time alone may mend it.
    pub fn is_passing(self) -> bool {
        matches!(self, TokenProblem::Throttled | TokenProblem::Unreachable | TokenProblem::Protocol)
    }
}

/// One entry for each login that this process has used; as many as there are profiles.
static SHARED: LazyLock<Mutex<HashMap<Digest, Arc<Tokens>>>> = LazyLock::new(Mutex::default);

impl Tokens {
    /// One token, and never another.
    pub fn fixed(token: Secret) -> Tokens {
        Tokens(Kind::Fixed(token))
    }

    /// The tokens of this login in this process: the same for all sessions, until a secret of the configuration
    /// changes.
    pub fn shared(options: OAuth2Options) -> Arc<Tokens> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = kept::identity(&options);
        if let Some(tokens) = shared.get(&identity)
            && let Kind::Renewed(renewed) = &tokens.0
            && renewed.is_of(&options)
        {
            return tokens.clone();
        }
        let tokens = Arc::new(Tokens::new(options, Arc::new(SystemClock), Fs::real()));
        shared.insert(identity, tokens.clone());
        tokens
    }

    /// Tokens that nobody else shares, with the clock and the file system of a test.
    pub fn new(options: OAuth2Options, clock: Arc<dyn Clock>, fs: Fs) -> Tokens {
        Tokens(Kind::Renewed(Box::new(Renewed::new(options, clock, fs))))
    }

    /// A token that is valid for a while yet.
    pub async fn current(&self) -> Result<Secret, TokenError> {
        match &self.0 {
            Kind::Fixed(token) => Ok(token.clone()),
            Kind::Renewed(renewed) => renewed.token(None).await,
        }
    }

    /// Another token than `refused`, which the gateway did not take. A token server may insist on the same.
    pub async fn instead_of(&self, refused: &Secret) -> Result<Secret, TokenError> {
        match &self.0 {
            Kind::Fixed(token) => Ok(token.clone()),
            Kind::Renewed(renewed) => renewed.token(Some(refused)).await,
        }
    }

    /// Lets a person sign in with a code on another device (RFC 8628): `show` is given what to tell, then the answer
    /// is waited for, as long as the code is good. What was granted is kept, and the tokens are valid from then on.
    pub async fn sign_in(&self, show: impl FnOnce(&DevicePrompt) + Send) -> Result<(), TokenError> {
        self.sign_in_with(show, tokio::time::sleep).await
    }

    /// The same with another way to wait.
    pub async fn sign_in_with<W, F>(&self, show: impl FnOnce(&DevicePrompt) + Send, wait: W) -> Result<(), TokenError>
    where
        W: Fn(std::time::Duration) -> F + Send + Sync,
        F: Future<Output = ()> + Send,
    {
        match &self.0 {
            Kind::Fixed(_) => Ok(()),
            Kind::Renewed(renewed) => renewed.sign_in(show, wait).await,
        }
    }

    /// What a gateway said, without the token that it may repeat.
    pub fn hide(&self, said: &str) -> String {
        match &self.0 {
            Kind::Fixed(token) => token.hide(said),
            Kind::Renewed(renewed) => renewed.hide(said),
        }
    }

    /// The newest refresh token, for whoever keeps it elsewhere; `None` where the grant has none.
    pub async fn refresh_token(&self) -> Option<Secret> {
        match &self.0 {
            Kind::Fixed(_) => None,
            Kind::Renewed(renewed) => renewed.refresh_token().await,
        }
    }
}
