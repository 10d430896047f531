//! Google Chat archiving: a mail that Google makes of a conversation. Its `To` names everybody who took part
//! (and the archive's address, which owns nothing).
//!
//! There is no marker but the sender, which anybody can write. What was fetched over a wire must at least have been
//! sent by Google's own envelope address, where the gateway noted one.

use super::gateway::Region;
use super::original::Located;
use super::report::Reading;
use super::{Finding, Format, Item, flags, plain, trust};
use crate::base::address::Address;
use crate::mail::envelope::{Envelope, Role};
use crate::mail::words;

const SENDER: &str = "chat-archiving+noreply@google.com";

pub fn read<'a>(item: &Item<'a, '_>) -> Reading<'a> {
    let own = plain::envelope_of(item.headers);
    if own.sender.as_deref() != Some(SENDER) {
        return Reading::Other;
    }
    let rule = Format::GoogleChat.as_str();
    if !from_google(item) {
        item.trail.note(rule, "its From is Google Chat's, but the gateway noted another sender");
        return Reading::Refused(flags::UNTRUSTED_REPORT);
    }
    if let Some(flag) = trust::refusal(item) {
        return Reading::Refused(flag);
    }
    item.trail.note(rule, "archived chat activity; everybody in To took part");
    let recipients = own.recipients.into_iter().filter(|recipient| recipient.role == Role::To).collect();
    Reading::Report(Finding {
        envelope: Envelope { sender: own.sender, on_behalf_of: None, recipients },
        reporter: trust::sender_domain(item),
        ..Finding::new(Format::GoogleChat, Located::whole(item))
    })
}

fn from_google(item: &Item<'_, '_>) -> bool {
    let region = Region::of(item.headers, item.options);
    let mut noted = item.headers.all("return-path").filter(|field| region.holds(field));
    noted.all(|field| {
        let address = words::mailboxes(field.value).into_iter().find_map(|mailbox| mailbox.address);
        // An empty one is a mail without a way back; it contradicts nothing.
        address.and_then(|address| Address::parse(&address)).is_none_or(|address| {
            let domain = address.domain();
            domain == "google.com" || domain.ends_with(".google.com")
        })
    })
}
