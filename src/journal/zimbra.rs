//! Zimbra's legal intercept: a mail about one account, with the message attached.
//!
//! Subject `Intercept message for ACCT …` and body `Intercepted message for ACCT. Operation=…, folder=…` must name the
//! same account. What the account did with the message decides the envelope:
//!
//! - added to a folder: the account received it;
//! - sent, or added to Sent: the account sent it; to whom is only known from the message, so degraded;
//! - a draft: nobody received it and nobody sent it; it is the account's, flag `draft`.

use super::original::Located;
use super::report::{self, Reading};
use super::{DecodeError, Finding, Format, Item, flags, plain, trust};
use crate::base::address::Address;
use crate::mail::envelope::{Envelope, Recipient, Role};
use crate::mail::header::Headers;
use crate::mail::words;

const OPENINGS: [&str; 2] = ["intercept message for ", "intercepted message for "];

pub fn read<'a>(item: &Item<'a, '_>) -> Result<Reading<'a>, DecodeError> {
    let subject = item.headers.get("subject").map(|field| words::text(field.value)).unwrap_or_default();
    let Some((account, _)) = account_in(&subject) else { return Ok(Reading::Other) };
    let rule = Format::Zimbra.as_str();
    let tells = |text: &str| Told::of(text).is_some_and(|told| told.account == account);
    let texts = report::envelope_texts(item, &tells)?;
    let told = texts.first().and_then(|found| Told::of(&found.text));
    let (Some(told), Some(&part)) = (told, report::originals(item).first()) else {
        item.trail.note(rule, "the subject is an intercept's, but body or attached message are not");
        return Ok(Reading::Other);
    };
    if let Some(flag) = trust::refusal(item) {
        return Ok(Reading::Refused(flag));
    }
    let (original, flag) = Located::attached(item, part)?;
    let own = plain::envelope_of(&Headers::of(original.header()));
    let mut flags: Vec<&'static str> = flag.into_iter().collect();
    let account = account.to_string();
    let itself = Recipient { role: Role::Recipient, address: account.clone(), via: None, via_address: None };
    let (degraded, envelope) = match told.act {
        Act::Draft => {
            flags.push(flags::DRAFT);
            (false, Envelope { sender: Some(account), on_behalf_of: None, recipients: vec![itself] })
        }
        Act::Sent => (true, Envelope { sender: Some(account), ..own }),
        Act::Received => (false, Envelope { recipients: vec![itself], ..own }),
    };
    item.trail.note(rule, format!("an intercept; operation {:?}, folder {:?}", told.operation, told.folder));
    let reporter = trust::sender_domain(item);
    Ok(Reading::Report(Finding { degraded, flags, envelope, reporter, ..Finding::new(Format::Zimbra, original) }))
}

#[derive(Debug, PartialEq, Eq)]
enum Act {
    Draft,
    Sent,
    Received,
}

/// What the body tells.
struct Told<'a> {
    account: Address,
    operation: &'a str,
    folder: &'a str,
    act: Act,
}

impl<'a> Told<'a> {
    fn of(text: &'a str) -> Option<Told<'a>> {
        let text = text.trim_start();
        let (account, rest) = account_in(text)?;
        let value = |name: &str| {
            // Bounded: the values follow the account at once.
            let rest = rest.get(..1024).unwrap_or(rest);
            let at = rest.find(name)? + name.len();
            let value = rest[at..].split([',', '\r', '\n']).next()?.trim();
            Some(value.trim_end_matches('.'))
        };
        let operation = value("Operation=").or_else(|| value("operation="))?;
        let folder = value("folder=").unwrap_or_default();
        let (doing, place) = (operation.to_ascii_lowercase(), folder.to_ascii_lowercase());
        let place = place.trim_start_matches('/');
        let act = if doing.contains("draft") || place == "drafts" {
            Act::Draft
        } else if doing.contains("send") || place == "sent" {
            Act::Sent
        } else {
            Act::Received
        };
        Some(Told { account, operation, folder, act })
    }
}

/// The account after the opening, and the text behind it.
fn account_in(text: &str) -> Option<(Address, &str)> {
    let opening = OPENINGS
        .iter()
        .find(|opening| text.get(..opening.len()).is_some_and(|start| start.eq_ignore_ascii_case(opening)))?;
    let rest = &text[opening.len()..];
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | ',' | ';')).unwrap_or(rest.len());
    let account = rest[..end].trim_end_matches([':', '.']);
    Some((Address::parse(account)?, &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_account_did() {
        for (told, act) in [
            ("Operation=add message, folder=Inbox, folder ID=2.", Act::Received),
            ("\r\nOperation=add message,\r\nfolder=Drafts, folder ID=6.", Act::Draft),
            ("Operation=save draft, folder=Drafts, folder ID=6.", Act::Draft),
            ("Operation=send message, folder=none, folder ID=none.", Act::Sent),
            ("Operation=add message, folder=Sent, folder ID=5.", Act::Sent),
        ] {
            let text = format!("Intercepted message for Anna@corp.example. {told}");
            let found = Told::of(&text).unwrap();
            assert_eq!((found.account.as_str(), found.act), ("anna@corp.example", act), "{told}");
        }
        assert!(Told::of("Intercepted message for nobody. Operation=x").is_none());
        assert!(Told::of("Intercepted message for a@corp.example.").is_none());
    }
}
