//! Who wrote a report: the reporters that an operator trusts, and what is to be seen of any reporter.
//!
//! Every field of a report can be forged by whoever knows the journal address, so a report is also asked
//! whether it agrees with itself ([`super::report`]); these two together are all that an item can prove.

use super::gateway::Region;
use super::options::Reporter;
use super::{Item, flags};
use crate::base::address::Address;
use crate::mail::words;

/// `Some(flag)` when reporters are configured and none of them wrote this.
pub fn refusal(item: &Item<'_, '_>) -> Option<&'static str> {
    let reporters = &item.options.trusted_reporters;
    if reporters.is_empty() || reporters.iter().any(|reporter| wrote(reporter, item)) {
        return None;
    }
    let domain = sender_domain(item).unwrap_or_else(|| "(no sender)".into());
    item.trail.note("trusted_reporters", format!("not one of them: Sender domain {domain}"));
    Some(flags::UNTRUSTED_REPORT)
}

/// The domain of the report's own sender: what an operator would list.
pub fn sender_domain(item: &Item<'_, '_>) -> Option<String> {
    // In a report of Exchange 2007 and later `From` is the original's whenever there is a `Sender`.
    let field = item.headers.get("sender").or_else(|| item.headers.get("from"))?;
    let address = words::mailboxes(field.value).into_iter().find_map(|mailbox| mailbox.address)?;
    Some(Address::parse(&address)?.domain().to_owned())
}

fn wrote(reporter: &Reporter, item: &Item<'_, '_>) -> bool {
    match reporter {
        Reporter::SenderDomain(wanted) => sender_domain(item).is_some_and(|found| match wanted.strip_prefix('.') {
            Some(_) => found.ends_with(wanted.as_str()),
            None => found == *wanted,
        }),
        Reporter::Header { name, value } => {
            let matches =
                |found: &crate::mail::header::Field<'_>| found.one_line().eq_ignore_ascii_case(value.as_bytes());
            if name.eq_ignore_ascii_case("x-originatororg") {
                return item.headers.all(name).any(matches);
            }
            // Of a bounced report the gateway saw only the bounce.
            let region = Region::of(item.outer, item.options);
            item.outer.all(name).any(|field| region.holds(field) && matches(field))
        }
    }
}
