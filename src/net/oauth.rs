//! OAuth2 access tokens: what a session logs in with where no password is taken.
//!
//! A token is a secret like a password, and one that expires: it is asked for just before each login, and once more
//! when the gateway refuses the one at hand.

use crate::base::secret::Secret;

/// The tokens of one login; sessions share it, so that one token serves until it expires.
#[derive(Debug)]
pub struct Tokens {
    fixed: Secret,
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

impl Tokens {
    /// One token, and never another.
    pub fn fixed(token: Secret) -> Tokens {
        Tokens { fixed: token }
    }

    /// A token that is valid for a while yet.
    pub async fn current(&self) -> Result<Secret, TokenError> {
        Ok(self.fixed.clone())
    }

    /// Another token than `refused`, which the gateway did not take.
    pub async fn instead_of(&self, refused: &Secret) -> Result<Secret, TokenError> {
        let _ = refused;
        Ok(self.fixed.clone())
    }
}
