//! What a list shows of a message: decoded for people, never used for identity.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Texts are decoded (RFC 2047), unfolded, without control characters, and each at most
/// [`TEXT_BYTES_MAX`] bytes long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// With its angle brackets, as in the header (RFC 5322 §3.6.4); `None` when missing or empty.
    pub message_id: Option<String>,
    /// `None` when the `Date` field is missing or not a date.
    pub date: Option<Timestamp>,
    pub from: String,
    /// The `To` field; at most [`NAMES_MAX`] of them.
    pub to: Vec<String>,
    pub cc: Vec<String>,
    pub subject: String,
}

pub const TEXT_BYTES_MAX: usize = 998;
pub const NAMES_MAX: usize = 50;
