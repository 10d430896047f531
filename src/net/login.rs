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
