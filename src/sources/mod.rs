//! What can be polled, and the contract that each source keeps.
//!
//! A source lists, fetches and deletes; it decides nothing. It never deletes by flag sweep or by
//! closing a folder, only exactly the items it is told, after it matched their size and date again.
//!
//! Contract:
//! - `list` names each item the folder held when it was opened, once, in rising order; what it cannot
//!   list is an error, never a shorter list.
//! - `fetch` answers for every wanted item exactly once: bytes, [`Body::Gone`] or
//!   [`Body::Unfetchable`]. After an error the items not answered for are simply still pending.
//! - `delete` is given items of the epoch that `open` returned, and answers for every one; only [`Deletion::Deleted`] and [`Deletion::Gone`] mean that the
//!   gateway confirmed the absence.
//! - After an error of scope [`Scope::Profile`] the connection is not used again.

mod any;
pub mod ews;
mod failure;
pub mod files;
pub mod imap;
mod login;
pub mod pop3;
pub mod reach;
mod sink;

pub use any::{AnySource, SourceOptions};

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::base::bytes::{ByteSource, SpoolFile};
use crate::base::fsio::Fs;
use crate::mail::regenerated::Regenerated;

/// The identity space of a gateway folder, as the gateway itself names it. Never the profile's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EpochKey {
    /// `imap`, `ews`, `pop3`.
    pub kind: String,
    /// `host:port`, as configured: two servers behind one host name are two gateways.
    pub host: String,
    pub login: String,
    pub folder: String,
    /// UIDVALIDITY, or its like.
    pub validity: String,
}

/// An item as a listing shows it: what identifies the sighting, and what is matched before deletion.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Listed {
    /// UID, EWS id or UIDL.
    pub native_id: String,
    /// The native id as a number, where its order means something (IMAP UIDs).
    pub order: Option<u64>,
    /// As the gateway says (RFC822.SIZE); not always the length of what it then sends. 0, with an empty date, in a
    /// listing that shows neither (EWS).
    pub size: u64,
    /// The gateway's date (INTERNALDATE), in its own spelling: it is compared, never interpreted. Of POP3, which has
    /// none, the header's digest; empty in a listing where asking for it would cost a command for each item.
    pub date: String,
}

/// A folder that was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    pub epoch: EpochKey,
    /// Changes whenever the folder may hold something new or may have lost something (UIDNEXT and
    /// EXISTS); equal means that nothing needs to be listed unless something is due.
    pub state: FolderState,
    /// Items carry rising numbers, so that what was listed once need not be listed again. Without them every listing is
    /// of everything, and says nothing by its counters.
    pub numbered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderState {
    /// The order value that the next new item will have at least (UIDNEXT); it may never fall.
    pub next: u64,
    pub exists: u64,
}

/// What the gateway can do, found out at login.
#[derive(Clone, Debug, Default)]
pub struct Abilities {
    /// It can delete exactly the items it is told (IMAP UIDPLUS), or the profile says `sole_client`.
    pub can_delete: bool,
    /// Why not, in a sentence for the administrator.
    pub cannot_delete_because: Option<String>,
    /// So many bytes may be downloaded from the account in a day.
    pub daily_budget: Option<u64>,
}

/// An answer to a wanted item.
#[derive(Debug)]
pub struct Fetched {
    pub listed: Listed,
    pub body: Body,
}

#[derive(Debug)]
pub enum Body {
    Item(ItemBytes),
    /// It was listed, but the gateway no longer has it.
    Gone,
    /// The gateway has it and will not give its bytes; the reason in the gateway's words.
    Unfetchable(String),
}

/// The bytes of an item, and the share of the window that they take until they are dropped.
pub struct ItemBytes {
    inner: Inner,
    permit: Option<OwnedSemaphorePermit>,
    regenerated: Option<Box<Regenerated>>,
}

enum Inner {
    Memory(Vec<u8>),
    Spool(SpoolFile),
}

impl ItemBytes {
    pub fn memory(bytes: Vec<u8>, permit: Option<OwnedSemaphorePermit>) -> ItemBytes {
        ItemBytes { inner: Inner::Memory(bytes), permit, regenerated: None }
    }

    /// Lets the bytes go and keeps their share of the window.
    pub fn into_permit(self) -> Option<OwnedSemaphorePermit> {
        self.permit
    }

    /// Of a mail that the gateway put together anew; what it keeps beside it takes its share of the window too.
    pub async fn put_together(mut self, beside: Regenerated, intake: &Intake) -> ItemBytes {
        let length = beside.transport_headers.as_ref().map_or(0, String::len) as u64;
        if length > 0 {
            // Given back first: whoever holds a part of the window while it waits for more may wait for itself, or for
            // others that do the same.
            self.permit = None;
            self.permit = intake.room(self.len() + length).await;
        }
        self.regenerated = Some(Box::new(beside));
        self
    }

    pub fn regenerated(&self) -> Option<&Regenerated> {
        self.regenerated.as_deref()
    }

    pub fn spool(file: SpoolFile, permit: Option<OwnedSemaphorePermit>) -> ItemBytes {
        ItemBytes { inner: Inner::Spool(file), permit, regenerated: None }
    }
}

impl ByteSource for ItemBytes {
    fn len(&self) -> u64 {
        match &self.inner {
            Inner::Memory(bytes) => bytes.len() as u64,
            Inner::Spool(file) => file.len(),
        }
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        match &self.inner {
            Inner::Memory(bytes) => bytes.read_exact_at(offset, buffer),
            Inner::Spool(file) => file.read_exact_at(offset, buffer),
        }
    }

    fn as_slice(&self) -> Option<&[u8]> {
        match &self.inner {
            Inner::Memory(bytes) => Some(bytes),
            Inner::Spool(_) => None,
        }
    }
}

impl std::fmt::Debug for ItemBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ItemBytes({} bytes)", self.len())
    }
}

/// Where fetched bytes go: the window of bytes in flight, and the folder for what is too large for it.
#[derive(Clone)]
pub struct Intake {
    window: Arc<Semaphore>,
    /// A literal longer than this is streamed to a spool file.
    pub memory_item_bytes_max: usize,
    pub spool_dir: std::path::PathBuf,
    /// Larger than this is refused as unfetchable.
    pub item_bytes_max: u64,
    window_bytes: usize,
}

impl Intake {
    pub fn new(window_bytes: usize, spool_dir: std::path::PathBuf) -> Intake {
        Intake {
            window: Arc::new(Semaphore::new(window_bytes)),
            memory_item_bytes_max: (window_bytes / 8).max(64 * 1024),
            spool_dir,
            item_bytes_max: 2 * 1024 * 1024 * 1024,
            window_bytes,
        }
    }

    /// Bytes of the window that nothing takes.
    #[cfg(test)]
    fn free(&self) -> usize {
        self.window.available_permits()
    }

    /// Waits until `bytes` of the window are free. A spooled item takes a quarter of the window: it needs
    /// little memory, but only so many may fill the disk at a time.
    pub async fn room(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let share = if bytes > self.memory_item_bytes_max as u64 {
            self.window_bytes / 4
        } else {
            (bytes as usize).clamp(1024, self.window_bytes)
        };
        self.window.clone().acquire_many_owned(share as u32).await.ok()
    }

    /// Whether less than half of the window is free: the archive should commit to make room.
    pub fn is_tight(&self) -> bool {
        self.window.available_permits() < self.window_bytes / 2
    }
}

/// How much of what a mailbox may hold it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    pub percent: u64,
    /// In words: `900 of 1000 MiB`.
    pub said: String,
}

/// From here on a mailbox is nearly full: one that is full takes no journal mail.
pub const FULL_PERCENT: u64 = 90;

/// What became of an item that was to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Deleted now; the gateway confirmed that it is gone.
    Deleted,
    /// It was gone before.
    Gone,
    /// Another size or date stands under this id: nothing was deleted, the identity space is not the one
    /// that was recorded.
    Mismatch,
    /// The gateway answered OK and still has it.
    StillThere,
}

/// How far an error reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The folder could not be used; others may.
    Mailbox,
    /// The connection or the login.
    Profile,
}

/// Who can make it go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Time: a dead connection, a busy server.
    Later,
    /// A person: a refused login, a missing folder, a certificate that is not trusted.
    Operator,
}

/// A failure on the gateway's side. `what` says what was tried, `answer` is the reason in the other
/// side's words (cut to 400 bytes, control characters removed), `hint` says what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}: {answer}")]
pub struct SourceError {
    pub scope: Scope,
    pub retry: Retry,
    pub what: String,
    pub answer: String,
    pub hint: Option<String>,
    /// It was this machine's disk that is full.
    pub no_space: bool,
    /// The login itself was refused: to try on may lock the account.
    pub refused_login: bool,
    /// So long the server wants to be left alone.
    pub wait: Option<Duration>,
}

impl SourceError {
    /// One that time may mend; whoever knows more says so.
    pub fn new(scope: Scope, what: impl Into<String>, answer: impl Into<String>) -> SourceError {
        SourceError {
            scope,
            retry: Retry::Later,
            what: what.into(),
            answer: answer.into(),
            hint: None,
            no_space: false,
            refused_login: false,
            wait: None,
        }
    }
}

/// One line of `check`.
#[derive(Clone, Debug)]
pub struct Finding {
    pub level: Level,
    /// What was looked at: `TLS`, `login`, `folder INBOX`, `delete support` …
    pub what: String,
    pub said: String,
    pub hint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    Warning,
    Failed,
}

/// Takes the lines of a look at a gateway, as they come.
pub type Tell<'t> = &'t mut (dyn FnMut(Finding) + Send);

/// What a look at a gateway came to, for programs; people are told by findings.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Where it ended before its time; all that follows could only fail for the same reason.
    pub blocked: Option<Blocked>,
    /// The mailbox's folders that hold something, or are polled.
    pub folders: Vec<FolderSeen>,
}

/// The step at which nobody got any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Name, network, TLS, greeting.
    Reach,
    /// The login was refused.
    Login,
    /// The login stands; a folder, or the server, cannot be used.
    Mailbox,
}

/// A folder, as it is seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderSeen {
    pub name: String,
    pub items: u64,
    /// How many of the newest are journal reports; `None` where that cannot be asked.
    pub reports: Option<Reports>,
    /// Spam is put there, and reports now and then.
    pub is_junk: bool,
    /// Of a folder that is polled.
    pub epoch: Option<EpochKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reports {
    pub found: u64,
    pub of: u64,
}

impl Looked {
    pub(crate) fn blocked(at: Blocked) -> Looked {
        Looked { blocked: Some(at), folders: Vec::new() }
    }
}

/// A gateway session: connected and logged in.
pub trait Source: Send {
    /// For provenance: software and address of the other side, no secrets.
    fn peer(&self) -> String;

    fn abilities(&self) -> &Abilities;

    /// Opens a folder for reading and, later, deleting.
    fn open(&mut self, folder: &str) -> impl Future<Output = Result<Opened, SourceError>> + Send;

    /// Lists one window of the open folder, from the item with order `from` on (`0`: the first).
    /// Returns the items and where the next window starts; `None`: that was the last.
    fn list(&mut self, from: u64) -> impl Future<Output = Result<(Vec<Listed>, Option<u64>), SourceError>> + Send;

    /// Lists exactly these (to match size and date of what is already known); items that are gone are
    /// missing in the answer.
    fn list_only(&mut self, ids: &[Listed]) -> impl Future<Output = Result<Vec<Listed>, SourceError>> + Send;

    /// Fetches the wanted items and sends an answer for each.
    fn fetch(
        &mut self,
        wanted: &[Listed],
        intake: &Intake,
        out: &mpsc::Sender<Fetched>,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Deletes exactly these items; the answers are in the order of `items`.
    fn delete(&mut self, items: &[Listed]) -> impl Future<Output = Result<Vec<Deletion>, SourceError>> + Send;

    /// Bytes that came over the connection since the login, where they are counted.
    fn received(&self) -> u64 {
        0
    }

    /// Where the source may keep small files of its own, for deletions that take more than one step. Call it before a
    /// folder is opened for deleting.
    fn keep_notes(&mut self, place: &Path, fs: &Fs) {
        let _ = (place, fs);
    }

    /// Items of the open folder that an earlier session began to delete: they are in the folder no more, and may
    /// still be on the gateway. Given to `delete` again, with a receipt, they are finished.
    fn unfinished(&mut self) -> impl Future<Output = Result<Vec<Listed>, SourceError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// How full the mailbox is, where the gateway tells; `None` where it does not, or was not asked.
    fn usage(&mut self) -> impl Future<Output = Option<Usage>> + Send {
        async { None }
    }

    /// Says good-bye. Errors are of no interest any more.
    fn close(self) -> impl Future<Output = ()> + Send;
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    async fn item(intake: &Intake, length: usize) -> ItemBytes {
        ItemBytes::memory(vec![b'x'; length], intake.room(length as u64).await)
    }

    fn header(length: usize) -> Regenerated {
        Regenerated::new(Some("X-Header: value\r\n".repeat(length / 17)))
    }

    /// The first four fill the window; each of them wanted more before it gave back anything.
    #[tokio::test]
    async fn an_item_with_a_header_beside_it_does_not_wait_for_itself() {
        let folder = std::env::temp_dir();
        let small = Intake::new(64 * 1024, folder.clone());
        let alone = item(&small, 60_000).await;
        assert!(alone.put_together(header(8_000), &small).now_or_never().is_some(), "one waits for itself");

        let intake = Intake::new(8 * 1024 * 1024, folder);
        let mut large = Vec::new();
        for _ in 0..4 {
            large.push(item(&intake, intake.memory_item_bytes_max + 1).await);
        }
        for item in large {
            assert!(item.put_together(header(8_000), &intake).now_or_never().is_some(), "each waits for the others");
        }
        assert_eq!(intake.free(), 8 * 1024 * 1024);
    }
}
