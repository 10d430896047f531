//! One of the sources, as a profile has it.

use std::path::Path;

use tokio::sync::mpsc;

use super::ews::EwsSource;
use super::ews::options::EwsOptions;
use super::imap::ImapSource;
use super::imap::options::ImapOptions;
use super::pop3::Pop3Source;
use super::pop3::options::Pop3Options;
use super::{Abilities, Deletion, Fetched, Finding, Intake, Listed, Looked, Opened, Source, SourceError, Tell, Usage};
use crate::base::fsio::Fs;
use crate::base::secret::Secret;
use crate::net::login::Login;

/// What a source is configured with.
#[derive(Clone, Debug)]
pub enum SourceOptions {
    Imap(ImapOptions),
    Pop3(Pop3Options),
    Ews(EwsOptions),
}

impl SourceOptions {
    /// The secret that is sent, where it is one that changes only by hand.
    pub fn password(&self) -> Option<&Secret> {
        let login = match self {
            SourceOptions::Imap(options) => &options.login,
            SourceOptions::Pop3(options) => &options.login,
            SourceOptions::Ews(options) => &options.login,
        };
        match login {
            Login::Password(password) => Some(password),
            Login::Tokens(_) | Login::Certificate | Login::Process => None,
        }
    }

    /// Whether [`AnySource::connect`] proves the login; else the first call does.
    pub fn logs_in_at_once(&self) -> bool {
        match self {
            SourceOptions::Imap(_) | SourceOptions::Pop3(_) => true,
            SourceOptions::Ews(_) => false,
        }
    }

    /// What a server said, without the login that it may repeat.
    fn discreet(&self, said: &str) -> String {
        match self {
            SourceOptions::Imap(options) => options.login.hide(said),
            SourceOptions::Pop3(options) => options.login.hide(said),
            SourceOptions::Ews(options) => options.login.hide(said),
        }
    }
}

// One a session; it is not moved about.
#[allow(clippy::large_enum_variant)]
pub enum AnySource {
    Imap(ImapSource),
    Pop3(Pop3Source),
    Ews(EwsSource),
}

impl AnySource {
    /// Connects and logs in.
    pub async fn connect(options: &SourceOptions) -> Result<AnySource, SourceError> {
        let connected = match options {
            SourceOptions::Imap(options) => ImapSource::connect(options).await.map(AnySource::Imap),
            SourceOptions::Pop3(options) => Pop3Source::connect(options).await.map(AnySource::Pop3),
            SourceOptions::Ews(options) => EwsSource::connect(options).await.map(AnySource::Ews),
        };
        connected.map_err(|error| SourceError { answer: options.discreet(&error.answer), ..error })
    }

    /// What `check` says about a gateway, line by line in the order of looking; it ends at what blocks the rest, and
    /// changes nothing.
    pub async fn look(options: &SourceOptions, tell: Tell<'_>) -> Looked {
        let mut discreet = |finding: Finding| tell(Finding { said: options.discreet(&finding.said), ..finding });
        match options {
            SourceOptions::Imap(options) => ImapSource::survey(options, &mut discreet).await,
            SourceOptions::Pop3(options) => Pop3Source::survey(options, &mut discreet).await,
            SourceOptions::Ews(options) => EwsSource::survey(options, &mut discreet).await,
        }
    }

    /// Deletes nothing from now on (`check`, a dry run).
    pub fn read_only(self) -> AnySource {
        match self {
            AnySource::Imap(source) => AnySource::Imap(source.read_only()),
            AnySource::Pop3(source) => AnySource::Pop3(source.read_only()),
            AnySource::Ews(source) => AnySource::Ews(source.read_only()),
        }
    }
}

impl Source for AnySource {
    fn peer(&self) -> String {
        match self {
            AnySource::Imap(source) => source.peer(),
            AnySource::Pop3(source) => source.peer(),
            AnySource::Ews(source) => source.peer(),
        }
    }

    fn abilities(&self) -> &Abilities {
        match self {
            AnySource::Imap(source) => source.abilities(),
            AnySource::Pop3(source) => source.abilities(),
            AnySource::Ews(source) => source.abilities(),
        }
    }

    async fn open(&mut self, folder: &str) -> Result<Opened, SourceError> {
        match self {
            AnySource::Imap(source) => source.open(folder).await,
            AnySource::Pop3(source) => source.open(folder).await,
            AnySource::Ews(source) => source.open(folder).await,
        }
    }

    async fn list(&mut self, from: u64) -> Result<(Vec<Listed>, Option<u64>), SourceError> {
        match self {
            AnySource::Imap(source) => source.list(from).await,
            AnySource::Pop3(source) => source.list(from).await,
            AnySource::Ews(source) => source.list(from).await,
        }
    }

    async fn list_only(&mut self, ids: &[Listed]) -> Result<Vec<Listed>, SourceError> {
        match self {
            AnySource::Imap(source) => source.list_only(ids).await,
            AnySource::Pop3(source) => source.list_only(ids).await,
            AnySource::Ews(source) => source.list_only(ids).await,
        }
    }

    async fn fetch(
        &mut self,
        wanted: &[Listed],
        intake: &Intake,
        out: &mpsc::Sender<Fetched>,
    ) -> Result<(), SourceError> {
        match self {
            AnySource::Imap(source) => source.fetch(wanted, intake, out).await,
            AnySource::Pop3(source) => source.fetch(wanted, intake, out).await,
            AnySource::Ews(source) => source.fetch(wanted, intake, out).await,
        }
    }

    async fn delete(&mut self, items: &[Listed]) -> Result<Vec<Deletion>, SourceError> {
        match self {
            AnySource::Imap(inner) => inner.delete(items).await,
            AnySource::Pop3(inner) => inner.delete(items).await,
            AnySource::Ews(inner) => inner.delete(items).await,
        }
    }

    fn received(&self) -> u64 {
        match self {
            AnySource::Imap(source) => source.received(),
            AnySource::Pop3(source) => source.received(),
            AnySource::Ews(source) => source.received(),
        }
    }

    fn keep_notes(&mut self, place: &Path, fs: &Fs) {
        match self {
            AnySource::Imap(source) => source.keep_notes(place, fs),
            AnySource::Pop3(source) => source.keep_notes(place, fs),
            AnySource::Ews(source) => source.keep_notes(place, fs),
        }
    }

    async fn unfinished(&mut self) -> Result<Vec<Listed>, SourceError> {
        match self {
            AnySource::Imap(source) => source.unfinished().await,
            AnySource::Pop3(source) => source.unfinished().await,
            AnySource::Ews(source) => source.unfinished().await,
        }
    }

    async fn usage(&mut self) -> Option<Usage> {
        match self {
            AnySource::Imap(source) => source.usage().await,
            AnySource::Pop3(source) => source.usage().await,
            AnySource::Ews(source) => source.usage().await,
        }
    }

    async fn close(self) {
        match self {
            AnySource::Imap(source) => source.close().await,
            AnySource::Pop3(source) => source.close().await,
            AnySource::Ews(source) => source.close().await,
        }
    }
}
