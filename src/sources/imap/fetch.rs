//! Fetching: many UIDs a command, several commands under way, every wanted item answered once.
//!
//! `BODY.PEEK[]` and nothing else is asked for, so that no flag changes. Bodies come by way of the
//! diverter; an item is handed on only when its last byte has arrived.
//!
//! What a server may do instead of giving the bytes, and what is made of it:
//! - OK without the item, or NIL, or an empty body: whether it is still there is asked for once more
//!   (Dovecot answers NIL for a mail that another client has expunged); gone, or unfetchable.
//! - NO or BAD to a command of several items: those without an answer are asked for one by one, so that
//!   one mail that the server cannot convert does not hide the others. NO or BAD to a single one:
//!   gone, or unfetchable with the server's reason.
//!   A NO that speaks of the moment counts like any other; when they do not end, the connection is given up.
//! - A body of less than half of the listed size: a stub in place of the mail. Unfetchable.
//! - A body longer than allowed: not even asked for when the listing says so; otherwise it is read,
//!   thrown away and unfetchable, so that the items behind it still come.

use std::collections::{HashMap, VecDeque};

use async_imap::imap_proto::{AttributeValue, Response};
use tokio::sync::mpsc;

use super::diverter::Content;
use super::listing::{present, synchronise, uid_of};
use super::names::unescape;
use super::sets::{UidSet, uid_sets};
use super::wire::{Answer, Failure, Wire};
use crate::base::bytes::ByteSource as _;
use crate::sources::{Body, Fetched, Intake, ItemBytes, Listed};

/// Items of one command, and the bytes that they announce, at most (one item may be larger).
const COMMAND_ITEMS_MAX: usize = 200;
const COMMAND_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Commands under way: while the answers to one are read, the server works on the next.
const PIPELINE: usize = 3;
/// A server that answers so many commands with BAD, or with a NO that will pass, does not mean the items.
const BAD_MAX: u32 = 5;
/// Sizes of small mails are announced too roughly by some servers to tell a stub by.
const STUB_LISTED_MIN: u64 = 8 * 1024;

pub(super) async fn fetch(
    wire: &mut Wire,
    wanted: &[Listed],
    intake: &Intake,
    out: &mpsc::Sender<Fetched>,
) -> Result<(), Failure> {
    let mut fetch = Fetch { waiting: HashMap::with_capacity(wanted.len()), withheld: HashMap::new(), intake, out };
    let mut order = Vec::with_capacity(wanted.len());
    for listed in wanted {
        match uid(listed) {
            None => fetch.send(listed, Body::Unfetchable("its id is no UID".into())).await?,
            Some(_) if listed.size > intake.item_bytes_max => {
                fetch.send(listed, Body::Unfetchable(too_long(listed.size))).await?;
            }
            Some(uid) => {
                if fetch.waiting.insert(uid, listed).is_none() {
                    order.push(listed);
                }
            }
        }
    }
    wire.diverter().divert_to(Some(intake.clone()));
    let result = fetch.pipeline(wire, batches(&order)).await;
    wire.diverter().divert_to(None);
    result?;
    fetch.without_bytes(wire).await
}

pub(super) fn uid(listed: &Listed) -> Option<u32> {
    listed.native_id.parse().ok().filter(|&uid| uid > 0)
}

fn too_long(bytes: u64) -> String {
    format!("{bytes} bytes are more than an item may have")
}

/// Cuts what is wanted into commands, by items, by announced bytes, and by the length of the set.
fn batches(wanted: &[&Listed]) -> VecDeque<UidSet> {
    let mut items: Vec<(u32, u64)> = wanted.iter().filter_map(|item| Some((uid(item)?, item.size))).collect();
    items.sort_unstable();
    let mut sets = VecDeque::new();
    let mut at = 0;
    while at < items.len() {
        let (mut end, mut bytes) = (at, 0u64);
        while end < items.len() && end - at < COMMAND_ITEMS_MAX {
            bytes = bytes.saturating_add(items[end].1);
            if end > at && bytes > COMMAND_BYTES_MAX {
                break;
            }
            end += 1;
        }
        let uids: Vec<u32> = items[at..end].iter().map(|&(uid, _)| uid).collect();
        sets.extend(uid_sets(&uids, COMMAND_ITEMS_MAX));
        at = end;
    }
    sets
}

/// What an untagged answer gives of an item; flag updates give nothing.
struct Given {
    uid: u32,
    /// The token of a diverted body, or a quoted string; `None`: NIL.
    data: Option<Vec<u8>>,
}

impl Given {
    fn of(response: &Response<'_>) -> Option<Given> {
        let (uid, Response::Fetch(_, attributes)) = (uid_of(response)?, response) else { return None };
        attributes.iter().find_map(|attribute| match attribute {
            AttributeValue::BodySection { section: None, index: None, data } => {
                Some(Given { uid, data: data.as_deref().map(<[u8]>::to_vec) })
            }
            _ => None,
        })
    }
}

struct Fetch<'a> {
    /// Wanted and not answered yet.
    waiting: HashMap<u32, &'a Listed>,
    /// Answered without bytes, and why; whether they are still there is found out at the end.
    withheld: HashMap<u32, (&'a Listed, String)>,
    intake: &'a Intake,
    out: &'a mpsc::Sender<Fetched>,
}

impl Fetch<'_> {
    async fn pipeline(&mut self, wire: &mut Wire, mut to_send: VecDeque<UidSet>) -> Result<(), Failure> {
        let mut sent: VecDeque<UidSet> = VecDeque::new();
        let mut bad = 0;
        loop {
            while sent.len() < PIPELINE
                && let Some(set) = to_send.pop_front()
            {
                let command = format!("UID FETCH {} (UID BODY.PEEK[])", set.text);
                match wire.under_way() {
                    0 => wire.start(&command).await?,
                    _ => wire.start_another(&command).await?,
                }
                sent.push_back(set);
            }
            if sent.is_empty() {
                return Ok(());
            }
            match wire.next(Given::of).await? {
                Answer::Continue(_) => {
                    return Err(wire.give_up(Failure::Protocol("it asks for more of a complete command".into())));
                }
                Answer::Data(None) => {}
                Answer::Data(Some(given)) => self.answer(wire, given).await?,
                Answer::Done(Ok(_)) => {
                    sent.pop_front();
                }
                Answer::Done(Err(failure)) => {
                    let Some(set) = sent.pop_front() else { return Err(wire.give_up(failure)) };
                    bad += u32::from(matches!(failure, Failure::Bad(_)) || failure.is_passing_no());
                    if bad > BAD_MAX {
                        // The commands behind it are still under way.
                        return Err(wire.give_up(failure));
                    }
                    let left: Vec<u32> =
                        set.uids.iter().copied().filter(|uid| self.waiting.contains_key(uid)).collect();
                    if set.uids.len() > 1 {
                        to_send.extend(left.iter().flat_map(|&uid| uid_sets(&[uid], 1)));
                    } else if let Some(uid) = left.first() {
                        self.withhold(*uid, failure.to_string());
                    }
                }
            }
        }
    }

    /// Hands on what an answer gives, if it was asked for.
    async fn answer(&mut self, wire: &mut Wire, given: Given) -> Result<(), Failure> {
        let Given { uid, data } = given;
        let diverted = data.as_deref().and_then(|token| wire.diverter().take_body(token));
        let body = match (diverted, data.as_deref()) {
            (Some(diverted), _) => match diverted.content {
                Content::Bytes(bytes) if bytes.is_empty() => Err("the server sent an empty body".to_owned()),
                Content::Bytes(bytes) => Ok(bytes),
                Content::TooLong { bytes } => Err(too_long(bytes)),
            },
            (None, None) => Err("the server sent NIL for its body".to_owned()),
            (None, Some([])) => Err("the server sent an empty body".to_owned()),
            (None, Some(quoted)) => {
                let bytes = unescape(quoted);
                let permit = self.intake.room(bytes.len() as u64).await;
                Ok(ItemBytes::memory(bytes, permit))
            }
        };
        let bytes = match body {
            Ok(bytes) => bytes,
            Err(reason) => {
                self.withhold(uid, reason);
                return Ok(());
            }
        };
        let Some(listed) = self.waiting.remove(&uid) else { return Ok(()) };
        if listed.size >= STUB_LISTED_MIN && bytes.len() < listed.size / 2 {
            let reason =
                format!("it lists {} bytes and gives {}: a stub in place of the mail", listed.size, bytes.len());
            self.withheld.insert(uid, (listed, reason));
            return Ok(());
        }
        if bytes.len() != listed.size {
            // Legal: some servers announce the size of another form of the mail.
            tracing::debug!(uid, announced = listed.size, bytes = bytes.len(), "an item has another size than listed");
        }
        // When nobody takes items any more, the rest of the answers is still on its way.
        self.send(listed, Body::Item(bytes)).await.map_err(|failure| wire.give_up(failure))
    }

    fn withhold(&mut self, uid: u32, reason: String) {
        if let Some(listed) = self.waiting.remove(&uid) {
            self.withheld.insert(uid, (listed, reason));
        }
    }

    /// What came without bytes: gone by now, or held back.
    async fn without_bytes(&mut self, wire: &mut Wire) -> Result<(), Failure> {
        for (uid, listed) in self.waiting.drain() {
            self.withheld.insert(uid, (listed, "the server answered OK without the item".into()));
        }
        if self.withheld.is_empty() {
            return Ok(());
        }
        synchronise(wire).await?;
        let uids: Vec<u32> = self.withheld.keys().copied().collect();
        for set in uid_sets(&uids, usize::MAX) {
            let there = present(wire, &set).await?;
            for uid in &set.uids {
                let Some((listed, reason)) = self.withheld.remove(uid) else { continue };
                let body = match there.binary_search(uid) {
                    Ok(_) => Body::Unfetchable(reason),
                    Err(_) => Body::Gone,
                };
                self.send(listed, body).await?;
            }
        }
        Ok(())
    }

    async fn send(&self, listed: &Listed, body: Body) -> Result<(), Failure> {
        let fetched = Fetched { listed: listed.clone(), body };
        self.out.send(fetched).await.map_err(|_| Failure::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(uid: u32, size: u64) -> Listed {
        Listed { native_id: uid.to_string(), order: Some(uid.into()), size, date: String::new() }
    }

    #[test]
    fn commands_are_bounded_by_items_and_bytes() {
        let items: Vec<Listed> = (1..=1000).map(|uid| listed(uid, 1000)).collect();
        let sets = batches(&items.iter().collect::<Vec<_>>());
        assert_eq!(
            sets.iter().map(|set| set.text.as_str()).collect::<Vec<_>>(),
            ["1:200", "201:400", "401:600", "601:800", "801:1000"]
        );
        let items: Vec<Listed> = (1..=6).map(|uid| listed(uid, 5_000_000 * u64::from(uid % 3))).collect();
        let sets = batches(&items.iter().collect::<Vec<_>>());
        assert_eq!(sets.iter().map(|set| set.text.as_str()).collect::<Vec<_>>(), ["1", "2", "3:4", "5", "6"]);
    }
}
