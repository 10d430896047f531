//! The IMAP source.
//!
//! ```text
//! connect    host → TLS → greeting → STARTTLS → login
//! folder     SELECT: UIDVALIDITY, UIDNEXT, EXISTS
//! listing    windowed UID FETCH (UID RFC822.SIZE INTERNALDATE)
//! fetch      pipelined UID FETCH (BODY.PEEK[]) ── diverter: bodies go past the parser
//! delete     match → STORE → UID EXPUNGE → ask again
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
mod listing;
mod names;
pub mod options;
mod sets;
#[cfg(test)]
mod tests;
mod wire;

use std::net::SocketAddr;

use tokio::sync::mpsc;

use self::capabilities::Capabilities;
use self::connect::LoggedIn;
use self::delete::Expunge;
use self::folder::Folder;
use self::listing::Windows;
use self::options::ImapOptions;
use self::wire::{Failure, Wire};
use super::failure::operator;
use super::{
    Abilities, Deletion, EpochKey, Fetched, Finding, Intake, Listed, Opened, Retry, Scope, Source, SourceError,
};
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
}

impl ImapSource {
    /// Connects and logs in; nothing is opened yet.
    pub async fn connect(options: &ImapOptions) -> Result<ImapSource, SourceError> {
        let (logged_in, peer) = connect::session(options).await?;
        Ok(ImapSource::new(logged_in, Some(peer), options))
    }

    /// Opens folders with EXAMINE from now on: nothing can be deleted (`check`, a dry run).
    pub fn read_only(mut self) -> ImapSource {
        self.read_only = true;
        self.abilities.can_delete = false;
        self.abilities.cannot_delete_because = Some("the session is for reading only".into());
        self
    }

    /// What `check` says about a gateway, in the order of looking; it ends at what blocks the rest.
    pub async fn findings(options: &ImapOptions) -> Vec<Finding> {
        check::findings(options).await
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
        };
        tracing::debug!(host, way, uidplus = capabilities.has("UIDPLUS"), "logged in to the gateway");
        let login = options.username.clone();
        ImapSource { wire, peer, host, login, abilities, expunge, read_only: false, open: None }
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
        self.open = None;
        let folder = folder::select(&mut self.wire, name, self.read_only).await?;
        let epoch = EpochKey {
            kind: "imap".into(),
            host: self.host.clone(),
            login: self.login.clone(),
            // However it is written in the configuration, it is one folder (RFC 3501 §5.1).
            folder: if name.eq_ignore_ascii_case("INBOX") { "INBOX".into() } else { name.to_owned() },
            validity: folder.validity.to_string(),
        };
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
        let (wire, folder, _) = self.opened()?;
        let what = doing("deleting from", folder);
        let Some(how) = how else {
            return Err(operator(Scope::Mailbox, what, why_not.unwrap_or_default(), Some("nothing was deleted")));
        };
        if folder.read_only {
            let hint = "nothing was deleted; the account needs the right to delete there";
            return Err(operator(Scope::Mailbox, what, "the server opened it for reading only", Some(hint)));
        }
        delete::delete(wire, items, how).await.map_err(|failure| failure.into_error(what, Scope::Mailbox, Retry::Later))
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
