//! FETCH and UID FETCH, and the faults that concern bodies.
//!
//! Bodies are sent from where they lie; nothing here copies a whole mail.

use std::borrow::Cow;
use std::ops::Range;

use super::fault::{BodyFault, Fault};
use super::mailbox::Mail;
use super::session::{Session, Tagged, bad, ok};
use super::syntax::{self, Item, Section, Token};
use super::wire::{Flow, Gone};

/// What is sent of a huge literal before the connection ends.
const HUGE_SENT: usize = 1000;

/// What the plan says about one mail, taken under one lock.
struct Odd {
    size: Option<u64>,
    body: Option<BodyFault>,
    flags_first: bool,
}

impl Session {
    pub(super) async fn fetch(&mut self, name: &str, arguments: &[Token]) -> Flow<Tagged> {
        let by_uid = name.starts_with("UID ");
        let Some(uids) = arguments.first().and_then(Token::text).and_then(|set| self.named(name, &set)) else {
            return bad("Set");
        };
        let Some(mut items) = syntax::items(&arguments[1..]) else { return bad("Unknown data item") };
        if by_uid && !items.contains(&Item::Uid) {
            items.insert(0, Item::Uid);
        }
        let whole_body = items.iter().any(|item| matches!(item, Item::Body { section: Section::All, .. }));
        let sets_seen = items.iter().any(|item| matches!(item, Item::Body { peek: false, .. }));
        let mut first = true;
        for uid in uids {
            let Some((sequence, mail, odd)) = self.take(uid, whole_body, sets_seen) else { continue };
            if odd.flags_first {
                self.wire.line(format!("* {sequence} FETCH (FLAGS ({}))", mail.flag_list())).await?;
            }
            self.mail(sequence, &mail, &items, &odd).await?;
            if first && by_uid {
                self.expunge_by_another(whole_body).await?;
            }
            first = false;
        }
        ok("Done")
    }

    /// A mail as it is now, its sequence number, and what is to go wrong; `None` when it is gone or omitted.
    fn take(&mut self, uid: u32, whole_body: bool, sets_seen: bool) -> Option<(usize, Mail, Odd)> {
        let open = self.open.as_ref()?;
        let sequence = open.view.binary_search(&uid).ok()? + 1;
        let mut state = self.shared.state();
        if state.plan.omits_mail(uid) {
            return None;
        }
        let odd = Odd {
            size: state.plan.size(uid),
            body: if whole_body { state.plan.body(uid) } else { None },
            flags_first: state.plan.has(&Fault::UnsolicitedFlags),
        };
        let mail = state.folder(&open.folder).get_mut(uid)?;
        if sets_seen && !open.read_only {
            mail.add_flag("\\Seen");
        }
        Some((sequence, mail.clone(), odd))
    }

    async fn mail(&mut self, sequence: usize, mail: &Mail, items: &[Item], odd: &Odd) -> Flow {
        self.wire.bytes(format!("* {sequence} FETCH (").as_bytes()).await?;
        let mut separator = "";
        for item in items {
            let name = match item {
                Item::Uid => "UID",
                Item::Flags => "FLAGS",
                Item::Size => "RFC822.SIZE",
                Item::Date => "INTERNALDATE",
                Item::GmailId => "X-GM-MSGID",
                Item::Body { name, .. } => name,
            };
            if self.shared.state().plan.omits_data(mail.uid, name) {
                continue;
            }
            self.wire.bytes(format!("{separator}{name} ").as_bytes()).await?;
            separator = " ";
            let value = match item {
                Item::Uid => mail.uid.to_string(),
                Item::Flags => format!("({})", mail.flag_list()),
                Item::Size => odd.size.unwrap_or(mail.bytes.len() as u64).to_string(),
                Item::Date => format!("\"{}\"", mail.date_text()),
                Item::GmailId => mail.id.to_string(),
                Item::Body { section, partial, .. } => {
                    self.body(mail, section, *partial, odd).await?;
                    continue;
                }
            };
            self.wire.bytes(value.as_bytes()).await?;
        }
        self.wire.line(")").await
    }

    async fn body(&mut self, mail: &Mail, section: &Section, partial: Option<(u64, u64)>, odd: &Odd) -> Flow {
        let Some(content) = content(&mail.bytes, section) else { return self.wire.bytes(b"NIL").await };
        let range = match partial {
            None => 0..content.len(),
            Some((offset, length)) => slice(content.len(), offset, length),
        };
        let bytes = &content[range];
        match odd.body.filter(|_| *section == Section::All) {
            None => {
                self.literal(bytes.len() as u64, bytes).await?;
                Ok(())
            }
            Some(BodyFault::Nil) => self.wire.bytes(b"NIL").await,
            Some(BodyFault::Empty) => self.literal(0, b"").await,
            Some(BodyFault::Cut(after)) => {
                let sent = usize::try_from(after).unwrap_or(usize::MAX).min(bytes.len());
                self.literal(bytes.len() as u64, &bytes[..sent]).await?;
                self.wire.flush().await?;
                Err(Gone)
            }
            Some(BodyFault::Huge(announce)) => {
                self.literal(announce, &[b'x'; HUGE_SENT]).await?;
                self.wire.flush().await?;
                Err(Gone)
            }
        }
    }

    async fn literal(&mut self, announced: u64, bytes: &[u8]) -> Flow {
        self.wire.bytes(format!("{{{announced}}}\r\n").as_bytes()).await?;
        self.wire.bytes(bytes).await
    }

    /// The fault of another client that expunges while a fetch runs.
    async fn expunge_by_another(&mut self, whole_body: bool) -> Flow {
        let Some(open) = &mut self.open else { return Ok(()) };
        let uid = {
            let mut state = self.shared.state();
            let Some(uid) = state.plan.take_expunge_during_fetch(whole_body) else { return Ok(()) };
            state.folder(&open.folder).remove(|mail| mail.uid == uid);
            uid
        };
        if let Ok(at) = open.view.binary_search(&uid) {
            open.view.remove(at);
            self.wire.line(format!("* {} EXPUNGE", at + 1)).await?;
        }
        Ok(())
    }
}

fn slice(len: usize, offset: u64, length: u64) -> Range<usize> {
    let start = usize::try_from(offset).unwrap_or(len).min(len);
    let end = start.saturating_add(usize::try_from(length).unwrap_or(len)).min(len);
    start..end
}

/// The bytes that a section names; `None` for what this gateway cannot cut out.
fn content<'a>(mail: &'a [u8], section: &Section) -> Option<Cow<'a, [u8]>> {
    let head = header_len(mail);
    match section {
        Section::All => Some(Cow::Borrowed(mail)),
        Section::Header => Some(Cow::Borrowed(&mail[..head])),
        Section::Text => Some(Cow::Borrowed(&mail[head..])),
        Section::Fields { names, not } => Some(Cow::Owned(fields(&mail[..head], names, *not))),
        Section::Part => None,
    }
}

/// Length of the header with the empty line that ends it.
fn header_len(mail: &[u8]) -> usize {
    let mut at = 0;
    while let Some(end) = mail[at..].iter().position(|byte| *byte == b'\n') {
        let line = &mail[at..at + end];
        at += end + 1;
        if line.is_empty() || line == b"\r" {
            return at;
        }
    }
    mail.len()
}

fn fields(header: &[u8], names: &[String], not: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut wanted = false;
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        if line == b"\r\n" || line == b"\n" {
            break;
        }
        // A folded line belongs to the field above it.
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
            wanted = names.iter().any(|asked| asked.as_bytes().eq_ignore_ascii_case(name)) != not;
        }
        if wanted {
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}
