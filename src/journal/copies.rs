//! The envelope of a plain copy, from the fields in which gateways note it.
//!
//! A field counts only where the gateway wrote it ([`super::gateway`]); there it is as good as a report, so the
//! envelope is **not degraded**: an auditor asks whether it is known who received the mail, and that is what such a
//! field says (degraded means that it had to be guessed from `To` and `Cc`). It does not say in which role, so every
//! recipient is a `recipient`, and it speaks of its own copy only: other recipients come with other copies.
//!
//! Values that are the gateway's own address say nothing (Postfix's always_bcc notes the journal mailbox) and are
//! passed over: those in [`super::DecodeOptions::journal_addresses`], and mailboxes whose very name says what they are.
//! For a gateway mailbox of which neither is true, [`super::Decoded::own_recipients`] is kept beside the envelope.

use std::collections::HashSet;

use super::Item;
use super::gateway::Region;
use super::plain;
use crate::base::address::Address;
use crate::mail::envelope::{Envelope, Recipient, Role};
use crate::mail::header::Field;
use crate::mail::words;

/// Where gateways note the sender of the envelope.
const SENDER_HEADERS: [&str; 3] = ["X-Envelope-From", "X-MAILFROM", "Return-Path"];

/// No person's mailbox; what an administrator calls the one that gets a copy of everything.
const JOURNAL_NAMES: [&str; 8] =
    ["journal", "journaling", "journalling", "archive", "archiv", "mailarchive", "mail-archive", "always_bcc"];

/// Prefixes of virtual domains have a few dashes.
const PREFIX_DASHES_MAX: usize = 16;

/// `None`: no such field names anybody.
pub fn envelope(item: &Item<'_, '_>) -> Option<Envelope> {
    let region = Region::of(item.headers, item.options);
    let prefixes = Prefixes::of(item);
    for name in &item.options.envelope_headers {
        let google = name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("x-gm-"));
        let counts = |field: &&Field<'_>| if google { region.holds_of_google(field) } else { region.holds(field) };
        if !item.headers.has(name) {
            continue;
        }
        let mut seen = HashSet::new();
        let mut recipients = Vec::new();
        let mut own = false;
        let noted = item.headers.all(name).filter(counts).flat_map(|field| addresses(field.value));
        for address in noted.map(|address| prefixes.strip(address)) {
            if item.options.journal_addresses.contains(&address) || JOURNAL_NAMES.contains(&address.local()) {
                own = true;
            } else if seen.insert(address.clone()) {
                let address = address.to_string();
                recipients.push(Recipient { role: Role::Recipient, address, via: None, via_address: None });
            }
        }
        if recipients.is_empty() {
            let why =
                if own { "names only the gateway's own address" } else { "is not the gateway's, or names nobody" };
            item.trail.note("plain", format!("{name} {why}: passed over"));
            continue;
        }
        item.trail.note("plain", format!("recipients from {name}, which the gateway wrote"));
        return Some(Envelope { sender: sender(item, &region), on_behalf_of: None, recipients });
    }
    None
}

/// The envelope's sender; of a mail without a way back (`<>`: automatic replies) the one in its own header.
fn sender(item: &Item<'_, '_>, region: &Region) -> Option<String> {
    let noted = SENDER_HEADERS.iter().find_map(|name| {
        let field = item.headers.all(name).find(|field| region.holds(field))?;
        addresses(field.value).into_iter().next()
    });
    match noted {
        Some(address) => Some(address.to_string()),
        None => plain::envelope_of(item.headers).sender,
    }
}

fn addresses(value: &[u8]) -> Vec<Address> {
    let mailboxes = words::mailboxes(value).into_iter().filter_map(|mailbox| mailbox.address);
    mailboxes.filter_map(|address| Address::parse(&address)).collect()
}

/// qmail and its like put something in front of addresses of a virtual domain: the domain
/// (`corp.example-bob@corp.example`), or a name of the administrator's choice (`mailbox-corp-bob@corp.example`).
struct Prefixes {
    /// Whom the message itself names, when qmail delivered it: what is left without the prefix must be one of them,
    /// for `sales-bob` can also be a mailbox of that name.
    named: HashSet<String>,
}

impl Prefixes {
    fn of(item: &Item<'_, '_>) -> Prefixes {
        let qmail = item.headers.get("received").is_some_and(|field| field.one_line().starts_with(b"(qmail "));
        let recipients = if qmail { plain::envelope_of(item.headers).recipients } else { Vec::new() };
        Prefixes { named: recipients.into_iter().map(|recipient| recipient.address).collect() }
    }

    fn strip(&self, address: Address) -> Address {
        let (local, domain) = (address.local(), address.domain());
        let known = local.strip_prefix(domain).and_then(|rest| rest.strip_prefix('-'));
        let found = match known {
            Some(bare) => Some(format!("{bare}@{domain}")),
            None if self.named.is_empty() || self.named.contains(address.as_str()) => None,
            None => {
                let ends = local.match_indices('-').map(|(at, _)| format!("{}@{domain}", &local[at + 1..]));
                ends.take(PREFIX_DASHES_MAX).find(|bare| self.named.contains(bare))
            }
        };
        found.and_then(|bare| Address::parse(&bare)).unwrap_or(address)
    }
}
