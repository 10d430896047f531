//! The envelope: who sent and who received, as the gateway's report proves it.

use serde::{Deserialize, Serialize};

/// Who sent a message and who received it.
///
/// Addresses are in the normal form of [`crate::base::address::Address`] where they are SMTP
/// addresses, and as they were written (X.400, `EX:` …) where they are not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// `None` for `<>` and for placeholders without an address.
    pub sender: Option<String>,
    pub on_behalf_of: Option<String>,
    pub recipients: Vec<Recipient>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recipient {
    pub role: Role,
    /// Who received the mail: of a distribution list the member, never the list.
    pub address: String,
    pub via: Option<Via>,
    /// The list (`expanded`) or the mailbox that forwarded (`forwarded`).
    pub via_address: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    To,
    Cc,
    Bcc,
    /// The report cannot prove which: anonymous inbound mail looks like this, and Bcc hides here.
    Recipient,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::To => "to",
            Role::Cc => "cc",
            Role::Bcc => "bcc",
            Role::Recipient => "recipient",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    Expanded,
    Forwarded,
}
