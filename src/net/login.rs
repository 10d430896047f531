//! What a session logs in with.

use std::sync::Arc;

use super::oauth::Tokens;
use crate::base::secret::Secret;

#[derive(Clone, Debug)]
pub enum Login {
    Password(Secret),
    Tokens(Arc<Tokens>),
    /// Nothing is said: the client certificate of the TLS connection is the login.
    Certificate,
    /// The account that the program runs as.
    Process,
}

impl Login {
    /// What a server said, without the secret that it may repeat.
    pub fn hide(&self, said: &str) -> String {
        match self {
            Login::Password(password) => password.hide(said),
            Login::Tokens(tokens) => tokens.hide(said),
            Login::Certificate | Login::Process => said.to_owned(),
        }
    }
}
