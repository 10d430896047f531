//! What a session logs in with.

use std::sync::Arc;

use super::oauth::Tokens;
use crate::base::secret::Secret;

#[derive(Clone, Debug)]
pub enum Login {
    Password(Secret),
    Tokens(Arc<Tokens>),
}
