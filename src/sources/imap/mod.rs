//! The IMAP source.
//!
//! ```text
//! connect    host → TLS → greeting → STARTTLS → login
//! folder     SELECT: UIDVALIDITY, UIDNEXT, EXISTS
//! listing    windowed UID FETCH (UID RFC822.SIZE INTERNALDATE)
//! fetch      pipelined UID FETCH (BODY.PEEK[]) ── diverter: bodies go past the parser
//! delete     match → STORE → UID EXPUNGE → ask again
//! gmail      the same by way of the Trash, where folders are labels
//! check      the same way, one finding a step
//! wire       commands and responses; failure: what a failed one means
//! ```
//!
//! It must never change anything but the `\Deleted` flag of the items it is told to delete, and never
//! send a password over a connection that is not what the profile asks for.

mod capabilities;
mod check;
mod connect;
mod delete;
mod diverter;
mod failure;
mod fetch;
mod folder;
mod folders;
mod gmail;
pub mod idle;
mod listing;
pub(super) mod names;
mod notes;
pub mod options;
mod quota;
mod sets;
#[cfg(test)]
mod tests;
mod wire;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use self::capabilities::Capabilities;
use self::connect::LoggedIn;
use self::delete::Expunge;
use self::folder::Folder;
use self::gmail::Trash;
use self::listing::Windows;
use self::notes::Notes;
use self::options::ImapOptions;
use self::wire::{Failure, Wire};
use super::failure::operator;
use super::{
    Abilities, Deletion, EpochKey, Fetched, Intake, Listed, Looked, Opened, Retry, Scope, Source, SourceError, Tell,
    Usage,
};
use crate::base::fsio::Fs;
use crate::net::clean;

/// A session with an IMAP gateway, logged in.
pub struct ImapSource {
    wire: Wire,
    peer: String,
    /// `host:port` and login, for the epoch.
    host: String,
    login: String,
    abilities: Abilities,
    expunge: Option<Expunge>,
    read_only: bool,
    open: Option<(Folder, Windows)>,
    /// The server tells how full the mailbox is.
    has_quota: bool,
    /// Folders are labels; deleting goes through the Trash, if it was found.
    labels: bool,
    received: Arc<AtomicU64>,
    trash: Option<Trash>,
    /// Where it is noted what lies there.
    place: Option<(PathBuf, Fs)>,
    /// Of the open folder.
    notes: Option<Notes>,
}

impl ImapSource {
    /// Connects and logs in; nothing is opened yet.
    pub async fn connect(options: &ImapOptions) -> Result<ImapSource, SourceError> {
        let (logged_in, peer) = connect::session(options).await?;
        let logged_in = connect::compressed(logged_in, options).await?;
        let capabilities = logged_in.capabilities.clone();
        let mut source = ImapSource::new(logged_in, Some(peer), options);
        source.look_for_trash(&capabilities).await?;
        Ok(source)
    }

    /// Where folders are labels, finds out how mail is deleted.
    async fn look_for_trash(&mut self, capabilities: &Capabilities) -> Result<(), SourceError> {
        if !gmail::is_spoken(capabilities) {
            return Ok(());
        }
        self.labels = true;
        self.abilities.daily_budget.get_or_insert(gmail::DAILY_BUDGET);
        self.trash = gmail::trash(&mut self.wire)
            .await
            .map_err(|failure| failure.into_error("looking for the Trash", Scope::Profile, Retry::Later))?;
        self.abilities.cannot_delete_because = gmail::why_not(capabilities, self.trash.as_ref());
        self.abilities.can_delete = self.abilities.cannot_delete_because.is_none();
        Ok(())
    }

    /// Deletes by way of the Trash, and opens the folder again.
    async fn delete_with_labels(&mut self, trash: &Trash, items: &[Listed]) -> Result<Vec<Deletion>, SourceError> {
        // Until the folder is open again, no UID means anything.
        let Some((folder, windows)) = self.open.take() else {
            return Err(operator(Scope::Mailbox, "using a folder", "none is open", None));
        };
        let Some(notes) = &mut self.notes else {
            let what = doing("deleting from", &folder);
            return Err(operator(Scope::Mailbox, what, "there is no place to note what is on its way", None));
        };
        let outcome = gmail::delete(&mut self.wire, trash, &folder, notes, items).await?;
        let again = folder::select(&mut self.wire, &folder.name, self.read_only).await?;
        if again.validity != folder.validity {
            let what = doing("opening", &folder);
            let answer = "it is another one than before its mails were deleted (UIDVALIDITY)";
            return Err(SourceError { retry: Retry::Later, ..operator(Scope::Mailbox, what, answer, None) });
        }
        self.open = Some((folder, windows));
        Ok(outcome)
    }

    /// Opens folders with EXAMINE from now on: nothing can be deleted (`check`, a dry run).
    pub fn read_only(mut self) -> ImapSource {
        self.read_only = true;
        self.abilities.can_delete = false;
        self.abilities.cannot_delete_because = Some("the session is for reading only".into());
        self
    }

    /// What `check` says about a gateway, in the order of looking; it ends at what blocks the rest.
    pub async fn survey(options: &ImapOptions, tell: Tell<'_>) -> Looked {
        check::look(options, tell).await
    }

    fn new(logged_in: LoggedIn, peer: Option<SocketAddr>, options: &ImapOptions) -> ImapSource {
        let LoggedIn { wire, greeting, capabilities, way } = logged_in;
        let host = format!("{}:{}", options.host, options.port);
        let greeting: String = greeting.chars().take(100).collect();
        let peer = match peer {
            Some(address) => format!("imap {host} ({address}) {greeting}"),
            None => format!("imap {host} {greeting}"),
        };
        let expunge = expunge(&capabilities, options.sole_client);
        let abilities = Abilities {
            can_delete: expunge.is_some(),
            cannot_delete_because: match expunge {
                Some(_) => None,
                None => Some(
                    "the server cannot delete single mails (no UIDPLUS), and the profile does not say `sole_client = true`"
                        .into(),
                ),
            },
            daily_budget: options.daily_budget,
        };
        let received = wire.received();
        tracing::debug!(host, way, uidplus = capabilities.has("UIDPLUS"), "logged in to the gateway");
        let login = options.username.clone();
        ImapSource {
            wire,
            peer,
            host,
            login,
            abilities,
            expunge,
            read_only: false,
            open: None,
            has_quota: capabilities.has("QUOTA"),
            labels: false,
            received,
            trash: None,
            place: None,
            notes: None,
        }
    }

    fn opened(&mut self) -> Result<(&mut Wire, &mut Folder, &mut Windows), SourceError> {
        match &mut self.open {
            Some((folder, windows)) => Ok((&mut self.wire, folder, windows)),
            None => Err(operator(Scope::Mailbox, "using a folder", "none is open", None)),
        }
    }
}

fn expunge(capabilities: &Capabilities, sole_client: bool) -> Option<Expunge> {
    // IMAP4rev2 has UIDPLUS in it.
    match capabilities.has("UIDPLUS") || capabilities.has("IMAP4REV2") {
        true => Some(Expunge::ByUid),
        false if sole_client => Some(Expunge::SoleClient),
        false => None,
    }
}

fn unreadable(place: &Path, folder: &Folder, error: &std::io::Error) -> SourceError {
    let what = format!("reading what is on its way through the Trash from {}", clean(&folder.name));
    let hint = "restore the file trash-….json in the archive's folder, or remove it: what it names lies in the Trash";
    operator(Scope::Mailbox, what, format!("{}: {error}", place.display()), Some(hint))
}

fn doing(what: &str, folder: &Folder) -> String {
    format!("{what} {}", clean(&folder.name))
}

impl Source for ImapSource {
    fn peer(&self) -> String {
        self.peer.clone()
    }

    fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    async fn open(&mut self, name: &str) -> Result<Opened, SourceError> {
        // A failed SELECT leaves no folder selected.
        (self.open, self.notes) = (None, None);
        let folder = folder::select(&mut self.wire, name, self.read_only).await?;
        let epoch = EpochKey {
            kind: "imap".into(),
            host: self.host.clone(),
            login: self.login.clone(),
            // However it is written in the configuration, it is one folder (RFC 3501 §5.1).
            folder: if name.eq_ignore_ascii_case("INBOX") { "INBOX".into() } else { name.to_owned() },
            validity: folder.validity.to_string(),
        };
        if let (true, Some((place, fs))) = (self.labels && !folder.read_only, &self.place) {
            let notes = Notes::open(place, fs, &self.host, &self.login, &epoch.folder, folder.validity);
            self.notes = Some(notes.map_err(|error| unreadable(place, &folder, &error))?);
        }
        let state = folder.state;
        let windows = Windows::new(state.next, state.exists);
        self.open = Some((folder, windows));
        Ok(Opened { epoch, state, numbered: true })
    }

    async fn list(&mut self, from: u64) -> Result<(Vec<Listed>, Option<u64>), SourceError> {
        let (wire, folder, windows) = self.opened()?;
        listing::list(wire, windows, folder.state.exists, from)
            .await
            .map_err(|failure| failure.into_error(doing("listing", folder), Scope::Mailbox, Retry::Later))
    }

    async fn list_only(&mut self, ids: &[Listed]) -> Result<Vec<Listed>, SourceError> {
        let (wire, folder, _) = self.opened()?;
        let uids: Vec<u32> = ids.iter().filter_map(fetch::uid).collect();
        listing::list_only(wire, &uids)
            .await
            .map_err(|failure| failure.into_error(doing("listing", folder), Scope::Mailbox, Retry::Later))
    }

    async fn fetch(
        &mut self,
        wanted: &[Listed],
        intake: &Intake,
        out: &mpsc::Sender<Fetched>,
    ) -> Result<(), SourceError> {
        let (wire, folder, _) = self.opened()?;
        fetch::fetch(wire, wanted, intake, out)
            .await
            .map_err(|failure| failure.into_error(doing("downloading from", folder), Scope::Mailbox, Retry::Later))
    }

    async fn delete(&mut self, items: &[Listed]) -> Result<Vec<Deletion>, SourceError> {
        let why_not = self.abilities.cannot_delete_because.clone();
        let how = self.expunge.filter(|_| why_not.is_none());
        let trash = self.trash.clone();
        let (wire, folder, _) = self.opened()?;
        let what = doing("deleting from", folder);
        let Some(how) = how else {
            return Err(operator(Scope::Mailbox, what, why_not.unwrap_or_default(), Some("nothing was deleted")));
        };
        if folder.read_only {
            let hint = "nothing was deleted; the account needs the right to delete there";
            return Err(operator(Scope::Mailbox, what, "the server opened it for reading only", Some(hint)));
        }
        // In the Trash itself, expunging deletes.
        if let Some(trash) = trash.filter(|trash| trash.name != folder.name) {
            return self.delete_with_labels(&trash, items).await;
        }
        delete::delete(wire, items, how).await.map_err(|failure| failure.into_error(what, Scope::Mailbox, Retry::Later))
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn keep_notes(&mut self, place: &Path, fs: &Fs) {
        self.place = Some((place.to_owned(), fs.clone()));
    }

    async fn unfinished(&mut self) -> Result<Vec<Listed>, SourceError> {
        let (Some((folder, _)), Some(notes)) = (&self.open, &mut self.notes) else { return Ok(Vec::new()) };
        gmail::unfinished(&mut self.wire, notes)
            .await
            .map_err(|failure| failure.into_error(doing("listing", folder), Scope::Mailbox, Retry::Later))
    }

    async fn usage(&mut self) -> Option<Usage> {
        if self.has_quota { quota::usage(&mut self.wire).await } else { None }
    }

    async fn close(mut self) {
        // The server answers with BYE, so an "error" is what is expected.
        let farewell = self.wire.run("LOGOUT", |_| Ok(()));
        match tokio::time::timeout(std::time::Duration::from_secs(5), farewell).await {
            Ok(Err(Failure::Bye(_)) | Ok(_)) | Err(_) => {}
            Ok(Err(failure)) => tracing::debug!(%failure, "the good-bye failed"),
        }
    }
}
