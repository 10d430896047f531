//! All that decides about an item, in one place: who is who, the profile's policies, and how it is decoded.
//!
//! Made once per cycle; whoever explains, rehearses or files anew goes by the same, so that it comes out the same.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::fmt::strtime;

use super::policies::Policies;
use super::route::{self, Routing};
use crate::base::bytes::ByteSource;
use crate::base::digest::Digest;
use crate::journal::{self, DecodeError, DecodeOptions, Decoded};
use crate::mail::regenerated::Regenerated;
use crate::people::People;

#[derive(Clone, Debug)]
pub struct Rules {
    pub people: Arc<People>,
    pub policies: Policies,
    decode: DecodeOptions,
    mark: u32,
}

impl Rules {
    /// `decode` as configured; what follows from who is who is added: a copy delivered to a gateway's own address
    /// says nothing about whom it is for.
    pub fn new(people: Arc<People>, policies: Policies, mut decode: DecodeOptions) -> Rules {
        decode.journal_addresses.extend(people.never_owners().cloned());
        let decides = format!("{} {policies:?} {decode:?} {:?}", route::RULES, people.internal_domains());
        let digest = Digest::of(decides.as_bytes());
        let [a, b, c, d, ..] = *digest.as_bytes();
        Rules { people, policies, decode, mark: u32::from_be_bytes([a, b, c, d]) }
    }

    /// Tells rules apart. What was excluded by others is looked at again while the gateway still has it. Who is who is
    /// no part of it: that changes every day.
    pub fn mark(&self) -> u32 {
        self.mark
    }

    pub fn decode(&self, item: &dyn ByteSource) -> Result<Decoded, DecodeError> {
        journal::decode(item, &self.decode)
    }

    /// The same for an item that may have been regenerated.
    pub fn decode_beside(&self, item: &dyn ByteSource, beside: Option<&Regenerated>) -> Result<Decoded, DecodeError> {
        match beside {
            Some(beside) => journal::decode_regenerated(item, beside, &self.decode),
            None => self.decode(item),
        }
    }

    /// `at` is when the item came in: addresses change hands.
    pub fn route(&self, decoded: &Decoded, at: Timestamp) -> Routing {
        route::route(decoded, &self.people, &self.policies, at)
    }
}

/// When an item came in, as its gateway dates it; `None` where that is no date.
pub fn dated(date: &str) -> Option<Timestamp> {
    let date = date.trim().trim_matches('"').trim();
    if let Ok(at) = date.parse() {
        return Some(at);
    }
    // IMAP: `17-Jul-1996 02:44:25 -0700`, the day padded by a blank (RFC 3501 date-time).
    strtime::parse("%d-%b-%Y %H:%M:%S %z", date).and_then(|broken| broken.to_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_gateways() {
        let at = "2026-02-03T04:05:06Z".parse().ok();
        for date in ["03-Feb-2026 06:05:06 +0200", " 3-Feb-2026 04:05:06 +0000", "2026-02-03T04:05:06Z"] {
            assert_eq!(dated(date), at, "{date}");
        }
        for date in ["", "yesterday", "99-Feb-2026 06:05:06 +0200"] {
            assert_eq!(dated(date), None, "{date}");
        }
    }
}
