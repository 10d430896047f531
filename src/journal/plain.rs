//! Copies of the message itself. The envelope is what the gateway noted ([`super::copies`]); where it noted
//! nothing, what the message's own headers say ("step-down"), which is all there is: degraded.

use std::collections::HashSet;

use super::original::Located;
use super::{Finding, Format, Item, copies};
use crate::base::address::Address;
use crate::mail::envelope::{Envelope, Recipient, Role};
use crate::mail::header::Headers;
use crate::mail::words;

/// What is no SMTP address is kept as it was written, up to here.
const RAW_BYTES_MAX: usize = 1024;

/// `flag` tells why what could be a report is not treated as one; then nothing but its own headers is believed.
pub fn read<'a>(item: &Item<'a, '_>, flag: Option<&'static str>) -> Finding<'a> {
    let noted = if flag.is_none() { copies::envelope(item) } else { None };
    let degraded = noted.is_none();
    let own_recipients = if degraded { Vec::new() } else { envelope_of(item.headers).recipients };
    let envelope = noted.unwrap_or_else(|| {
        item.trail.note(Format::Plain.as_str(), "step-down: the envelope is what the message says of itself");
        envelope_of(item.headers)
    });
    let flags = flag.into_iter().collect();
    Finding { degraded, flags, envelope, own_recipients, ..Finding::new(Format::Plain, Located::whole(item)) }
}

/// Sender and recipients by the header of a message.
pub fn envelope_of(headers: &Headers<'_>) -> Envelope {
    let mut seen = HashSet::new();
    let mut recipients = Vec::new();
    let fields = [
        ("to", Role::To),
        ("cc", Role::Cc),
        ("bcc", Role::Bcc),
        ("resent-to", Role::To),
        ("resent-cc", Role::Cc),
        ("resent-bcc", Role::Bcc),
    ];
    for (name, role) in fields {
        for address in addresses(headers, name) {
            let recipient = Recipient { role, address, via: None, via_address: None };
            if seen.insert(recipient.clone()) {
                recipients.push(recipient);
            }
        }
    }
    let sender = ["from", "sender"].iter().find_map(|name| addresses(headers, name).into_iter().next());
    Envelope { sender, on_behalf_of: None, recipients }
}

fn addresses(headers: &Headers<'_>, name: &str) -> Vec<String> {
    let mailboxes = headers.all(name).flat_map(|field| words::mailboxes(field.value));
    mailboxes.filter_map(|mailbox| mailbox.address).filter_map(|address| normal(&address)).collect()
}

/// The normal form of an address, or the text itself where it is none; `None` when nothing is left of it.
pub fn normal(text: &str) -> Option<String> {
    if let Some(address) = Address::parse(text) {
        return Some(address.to_string());
    }
    let text = text.trim().trim_start_matches('<').trim_end_matches('>').trim();
    let text = words::truncated(words::clean(text), RAW_BYTES_MAX);
    if text.is_empty() { None } else { Some(text) }
}
