//! What an operator may decide about decoding. Plain values: nothing here reads a configuration, and the
//! default is what suits a gateway about which nothing is known.

use std::str::FromStr;

use crate::base::address::{Address, normalise_domain};

/// Fields in which gateways note the recipients of a copy. First those that only a gateway writes for this purpose;
/// last those that every mailbox gets on delivery and that often name the journal mailbox itself.
pub const ENVELOPE_HEADERS: [&str; 11] = [
    "X-Gm-Original-To",
    "Envelope-To",
    "X-Envelope-To",
    "X-RCPT-To",
    "X-RCPTTO",
    "X-Deliver-To",
    "X-MDaemon-Deliver-To",
    "X-Sieve-Redirected-From",
    "X-Original-To",
    "Delivered-To",
    "Apparently-To",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// In the order in which they are asked; the first that names somebody counts. Empty: none is believed.
    pub envelope_headers: Vec<String>,
    /// The gateway's own addresses. A copy that was delivered to them says nothing about whom it is for.
    pub journal_addresses: Vec<Address>,
    /// Host names of the gateway, in lower case. A hop from one of them to another is the gateway's own, and what
    /// stands above the last of those counts. Without names only hand-overs that no stranger can cause count so.
    pub gateway_hosts: Vec<String>,
    pub clear_text: ClearText,
    /// Empty: whoever is consistent is believed.
    pub trusted_reporters: Vec<Reporter>,
}

impl Default for DecodeOptions {
    fn default() -> DecodeOptions {
        DecodeOptions {
            envelope_headers: ENVELOPE_HEADERS.map(str::to_owned).to_vec(),
            journal_addresses: Vec::new(),
            gateway_hosts: Vec::new(),
            clear_text: ClearText::default(),
            trusted_reporters: Vec::new(),
        }
    }
}

/// Which of a rights-protected message and its clear copy is the original.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClearText {
    /// The clear one; the protected one stays in the item as evidence.
    #[default]
    Prefer,
    Protected,
    /// The clear one, and [`super::Decoded::twin`] tells where the protected one lies.
    Both,
}

/// Who is believed to write reports. One match is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// The domain of the report's `Sender`, else of its `From`; with a leading dot its subdomains.
    SenderDomain(String),
    /// A field with that value. `X-OriginatorOrg` is Exchange's and counts wherever it stands; any other must have
    /// been written by the gateway that received the report, above its first `Received`.
    Header { name: String, value: String },
}

/// `corp.example` or `X-OriginatorOrg=corp.example`, as an operator writes them.
impl FromStr for Reporter {
    type Err = String;

    fn from_str(text: &str) -> Result<Reporter, String> {
        if let Some((name, value)) = text.split_once('=') {
            let (name, value) = (name.trim(), value.trim());
            let fit = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
            return if fit && !value.is_empty() {
                Ok(Reporter::Header { name: name.to_owned(), value: value.to_owned() })
            } else {
                Err(format!("{text:?} is not of the form Header-Name=value"))
            };
        }
        let (dot, rest) = match text.trim().strip_prefix('.') {
            Some(rest) => (".", rest),
            None => ("", text.trim()),
        };
        match normalise_domain(rest) {
            Some(domain) if domain.contains('.') => Ok(Reporter::SenderDomain(format!("{dot}{domain}"))),
            _ => Err(format!("{text:?} is neither a domain nor Header-Name=value")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reporters_as_operators_write_them() {
        let domain = |text: &str| Ok(Reporter::SenderDomain(text.to_owned()));
        assert_eq!("Corp.Example".parse(), domain("corp.example"));
        assert_eq!(".corp.example".parse(), domain(".corp.example"));
        let header = Reporter::Header { name: "X-OriginatorOrg".into(), value: "corp.example".into() };
        assert_eq!("X-OriginatorOrg = corp.example".parse(), Ok(header));
        for bad in ["", "corp", "=x", "X-Y=", "a b=c", "a@b.example"] {
            assert!(bad.parse::<Reporter>().is_err(), "{bad}");
        }
    }
}
