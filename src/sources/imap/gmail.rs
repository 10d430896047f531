//! Deleting where folders are labels (Gmail): EXPUNGE in a folder only takes the label off, and the mail stays in All
//! Mail and in the account's space. So a mail is moved to the Trash, which takes it out of all folders, and expunged
//! there.
//!
//! ```text
//! match size and date → note X-GM-MSGID durably → UID MOVE → in the Trash: match X-GM-MSGID, size and date
//!   → STORE → UID EXPUNGE → ask again → forget the note
//! ```
//!
//! Must: in the Trash, which holds what people threw away too, nothing is touched but mails whose X-GM-MSGID, size and
//! date are those of a mail that this or an earlier session moved there, and that has a receipt now.
//!
//! A session may end after each of these steps. Before the move nothing has happened; after it the note leads the next
//! session ([`unfinished`]) to the Trash. What it does not find there either is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_imap::imap_proto::{AttributeValue, MailboxDatum, NameAttribute, Response};

use super::capabilities::Capabilities;
use super::delete::{BATCH_ITEMS_MAX, mark_and_expunge, matching};
use super::folder::{self, Folder};
use super::listing::{list_only, present, uid_of};
use super::names::{decode_folder, quote};
use super::notes::{Note, Notes};
use super::sets::uid_sets;
use super::wire::{self, Failure, Wire};
use crate::net::clean;
use crate::sources::{Deletion, Finding, Level, Listed};

/// Downloaded from an account in a day; who takes more is locked out for hours.
pub(super) const DAILY_BUDGET: u64 = 2_500_000_000;

/// What a server of this kind says that it can do.
pub(super) fn is_spoken(capabilities: &Capabilities) -> bool {
    capabilities.has("X-GM-EXT-1")
}

/// The folder that deleting goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trash {
    /// As the server writes it.
    coded: String,
    /// For people, and for SELECT.
    pub name: String,
}

/// Looks for the Trash by its attribute (RFC 6154): its name is in the account's language.
pub(super) async fn trash(wire: &mut Wire) -> Result<Option<Trash>, Failure> {
    let mut found = None;
    wire.run("LIST \"\" \"*\"", |response| {
        if let Response::MailboxData(MailboxDatum::List(list)) = response {
            let is = |wanted: &NameAttribute<'_>| list.name_attributes.iter().any(|attribute| attribute == wanted);
            if is(&NameAttribute::Trash) && !is(&NameAttribute::NoSelect) {
                let coded = list.name.replace("\\\"", "\"").replace("\\\\", "\\");
                if !coded.chars().any(char::is_control) {
                    found = Some(Trash { name: decode_folder(&coded), coded });
                }
            }
        }
        Ok(())
    })
    .await?;
    Ok(found)
}

/// Why nothing can be deleted, where that is so.
pub(super) fn why_not(capabilities: &Capabilities, trash: Option<&Trash>) -> Option<String> {
    let lacks = |word: &str| !capabilities.has(word);
    if lacks("UIDPLUS") || lacks("MOVE") {
        return Some(
            "the server has labels in the place of folders, and cannot move single mails (MOVE, UIDPLUS)".into(),
        );
    }
    match trash {
        Some(_) => None,
        None => Some(
            "deleting there needs the Trash, and the server shows none over IMAP (Gmail: settings, labels, \
             \"Show in IMAP\")"
                .into(),
        ),
    }
}

/// What `check` says of the Trash: whether a deletion frees space. Selecting changes nothing there.
pub(super) async fn finding(wire: &mut Wire, trash: &Trash) -> Finding {
    let what = "delete support".to_owned();
    match folder::select(wire, &trash.name, false).await {
        Ok(folder) if !folder.read_only && folder.keeps_deleted => Finding {
            level: Level::Ok,
            what,
            said: format!(
                "a mail that is deleted is moved to {} and expunged there, out of all its labels, which frees its \
                 space; {} mails lie there now and are left alone",
                clean(&trash.name),
                folder.state.exists
            ),
            hint: None,
        },
        Ok(_) => Finding {
            level: Level::Warning,
            what,
            said: format!("{} can be opened for reading only, so that nothing is freed", clean(&trash.name)),
            hint: Some(
                "fine with `delete = false`; with `delete = true` the space is freed when the server empties it".into(),
            ),
        },
        Err(error) => Finding { level: Level::Warning, what, said: error.to_string(), hint: error.hint },
    }
}

/// Which noted mails are no longer in the open folder, and may lie in the Trash. Notes of the others go: they are
/// listed and deleted like any mail.
pub(super) async fn unfinished(wire: &mut Wire, notes: &mut Notes) -> Result<Vec<Listed>, Failure> {
    let uids: Vec<u32> = notes.all().keys().copied().collect();
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    let there: BTreeSet<u32> = list_only(wire, &uids).await?.iter().filter_map(super::fetch::uid).collect();
    notes.remove(there).map_err(|error| Failure::note(notes, &error))?;
    let listed = |(uid, note): (&u32, &Note)| Listed {
        native_id: uid.to_string(),
        order: Some((*uid).into()),
        size: note.size,
        date: note.date.clone(),
    };
    Ok(notes.all().iter().map(listed).collect())
}

/// Deletes from the open folder, which is another one afterwards: the caller opens it again.
pub(super) async fn delete(
    wire: &mut Wire,
    trash: &Trash,
    folder: &Folder,
    notes: &mut Notes,
    items: &[Listed],
) -> Result<Vec<Deletion>, super::SourceError> {
    let outcome = HashMap::with_capacity(items.len());
    let mut batches = Batches { outcome, trash, notes, arrived: Vec::new() };
    let told = |failure: Failure| {
        failure.into_error(super::doing("deleting from", folder), super::Scope::Mailbox, super::Retry::Later)
    };
    let wanted: HashMap<u32, &Listed> =
        items.iter().filter_map(|item| Some((super::fetch::uid(item)?, item))).collect();
    let uids: Vec<u32> = wanted.keys().copied().collect();
    let mut on_their_way = BTreeMap::new();
    for set in uid_sets(&uids, BATCH_ITEMS_MAX) {
        let matched = matching(wire, &set, &wanted, &mut batches.outcome).await.map_err(told)?;
        // Not in the folder: in the Trash, if an earlier session took it there.
        for uid in &set.uids {
            if let (Some(Deletion::Gone), Some(note)) = (batches.outcome.get(uid), batches.notes.get(*uid))
                && wanted.get(uid).is_some_and(|listed| note.is_of(listed))
            {
                on_their_way.insert(*uid, note.clone());
            }
        }
        let moved = batches.move_to_trash(wire, &matched, &wanted).await.map_err(told)?;
        on_their_way.extend(moved);
    }
    if !on_their_way.is_empty() {
        batches.empty(wire, on_their_way).await?;
    }
    let Batches { outcome, notes, .. } = batches;
    let settled = outcome.iter().filter(|(_, deletion)| **deletion != Deletion::StillThere).map(|(uid, _)| *uid);
    notes.remove(settled.collect::<Vec<_>>()).map_err(|error| told(Failure::note(notes, &error)))?;
    Ok(super::delete::answers(items, &wanted, &outcome))
}

struct Batches<'a> {
    outcome: HashMap<u32, Deletion>,
    trash: &'a Trash,
    notes: &'a mut Notes,
    /// Numbers in the Trash that the server named. Whose they are is asked for.
    arrived: Vec<u32>,
}

impl Batches<'_> {
    /// Moves what matched; returns what left the folder.
    async fn move_to_trash(
        &mut self,
        wire: &mut Wire,
        matched: &[u32],
        wanted: &HashMap<u32, &Listed>,
    ) -> Result<BTreeMap<u32, Note>, Failure> {
        let mut moved = BTreeMap::new();
        for set in uid_sets(matched, BATCH_ITEMS_MAX) {
            let ids = ids(wire, &set.text).await?;
            let mut noted = BTreeMap::new();
            for uid in &set.uids {
                let (Some(listed), Some(id)) = (wanted.get(uid), ids.get(uid)) else {
                    return Err(wire::protocol("it does not say the X-GM-MSGID of a mail"));
                };
                noted.insert(*uid, Note { id: *id, size: listed.size, date: listed.date.clone() });
            }
            self.notes.add(noted.clone()).map_err(|error| Failure::note(self.notes, &error))?;
            let arrived = &mut self.arrived;
            let command = format!("UID MOVE {} {}", set.text, quote(&self.trash.coded));
            let done = wire
                .run(&command, |response| {
                    if let Response::Data { outcome, .. } = response {
                        arrived.extend(wire::copied(outcome.code.as_ref(), set.uids.len()));
                    }
                    Ok(())
                })
                .await?;
            arrived.extend(done.copied);
            for uid in present(wire, &set).await? {
                noted.remove(&uid);
                self.outcome.insert(uid, Deletion::StillThere);
            }
            moved.extend(noted);
        }
        Ok(moved)
    }

    /// Expunges in the Trash exactly the mails that these notes are of.
    async fn empty(&mut self, wire: &mut Wire, noted: BTreeMap<u32, Note>) -> Result<(), super::SourceError> {
        let opened = folder::select(wire, &self.trash.name, false).await?;
        let told = |failure: Failure| {
            failure.into_error(super::doing("deleting from", &opened), super::Scope::Mailbox, super::Retry::Later)
        };
        let mut found = recognised(wire, &self.arrived, &noted).await.map_err(told)?;
        let known: BTreeSet<u32> = found.values().copied().collect();
        let mut looked_up = Vec::new();
        // Of an earlier session, or of a server that does not say where they are now.
        for note in noted.iter().filter(|(uid, _)| !known.contains(*uid)).map(|(_, note)| note) {
            looked_up.extend(search(wire, note.id).await.map_err(told)?);
        }
        found.extend(recognised(wire, &looked_up, &noted).await.map_err(told)?);
        // Of what is not found, an earlier session saw the end, or the server: it is gone from both folders.
        for uid in noted.keys() {
            self.outcome.insert(*uid, Deletion::Gone);
        }
        let in_trash: Vec<u32> = found.keys().copied().collect();
        for set in uid_sets(&in_trash, BATCH_ITEMS_MAX) {
            mark_and_expunge(wire, &set).await.map_err(told)?;
            let left = present(wire, &set).await.map_err(told)?;
            for there in &set.uids {
                let Some(uid) = found.get(there) else { continue };
                let still = left.binary_search(there).is_ok();
                self.outcome.insert(*uid, if still { Deletion::StillThere } else { Deletion::Deleted });
            }
        }
        Ok(())
    }
}

/// Which of these mails of the open folder are the noted ones: by UID here, the UID that they were noted under.
async fn recognised(wire: &mut Wire, uids: &[u32], noted: &BTreeMap<u32, Note>) -> Result<BTreeMap<u32, u32>, Failure> {
    let by_id: HashMap<u64, u32> = noted.iter().map(|(uid, note)| (note.id, *uid)).collect();
    let mut found = BTreeMap::new();
    for set in uid_sets(uids, BATCH_ITEMS_MAX) {
        let ids = ids(wire, &set.text).await?;
        for listed in list_only(wire, &set.uids).await? {
            let Some(there) = super::fetch::uid(&listed) else { continue };
            let Some(uid) = ids.get(&there).and_then(|id| by_id.get(id)) else { continue };
            match noted.get(uid) {
                Some(note) if note.is_of(&listed) => _ = found.insert(there, *uid),
                _ => tracing::warn!(there, "a mail in the Trash is another one than was moved there; it is left"),
            }
        }
    }
    Ok(found)
}

/// The X-GM-MSGID of mails of the open folder, by UID.
async fn ids(wire: &mut Wire, set: &str) -> Result<BTreeMap<u32, u64>, Failure> {
    let mut ids = BTreeMap::new();
    wire.run(&format!("UID FETCH {set} (UID X-GM-MSGID)"), |response| {
        if let (Some(uid), Response::Fetch(_, attributes)) = (uid_of(response), response) {
            let id = attributes.iter().find_map(|attribute| match attribute {
                AttributeValue::GmailMsgId(id) => Some(*id),
                _ => None,
            });
            ids.extend(id.map(|id| (uid, id)));
        }
        Ok(())
    })
    .await?;
    Ok(ids)
}

/// More than one mail of a number would be a defect of the server's; a few are looked at.
const FOUND_MAX: usize = 8;

async fn search(wire: &mut Wire, id: u64) -> Result<Vec<u32>, Failure> {
    let mut found = Vec::new();
    wire.run(&format!("UID SEARCH X-GM-MSGID {id}"), |response| {
        if let Response::MailboxData(MailboxDatum::Search(uids)) = response {
            found.extend(uids.iter().take(FOUND_MAX));
        }
        Ok(())
    })
    .await?;
    Ok(found)
}
