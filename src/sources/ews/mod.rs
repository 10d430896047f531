//! The EWS source: Exchange 2016, 2019 and SE, and grommunio.
//!
//! ```text
//! connect    URL, or Autodiscover → proxy → TLS → HTTP/1.1 with Basic, NTLM, a token or the process's own account
//! listing    SyncFolderItems from the beginning, until a page is empty: the ids of all that the folder holds
//! fetch      GetItem for sizes → GetItem with the mail, as many at a time as their bytes allow
//! delete     GetItem for size and date → match → DeleteItem, by id
//! ```
//!
//! An item is known by its ItemId, whose letters have case. Size and date of receipt stand beside it; both always come
//! from the same kind of question, because a server may spell and even choose the date differently in another. A
//! listing has neither: they are asked for when an item is fetched or is to be deleted.
//!
//! **The mail is regenerated** by the server from its own store each time that it is asked for: trace fields can be
//! missing, and the bytes can differ from one fetch to the next. It is recorded as regenerated, with the header that it
//! came in with beside it.
//!
//! Every listing is a whole one. A sync state is kept within a listing only, so that none can be ahead of what is
//! archived, and a server that forgets it costs nothing.

mod answer;
mod autodiscover;
mod base64;
mod check;
mod client;
mod connection;
mod failure;
mod folder;
mod http;
pub mod knock;
mod negotiate;
mod ntlm;
pub mod options;
mod soap;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};

use tokio::sync::mpsc;

use self::answer::{Change, Message};
use self::client::Client;
use self::failure::{Failure, Kind, Patience, kind};
use self::http::Http;
use self::options::EwsOptions;
use self::soap::{FolderRef, Request};
use super::failure::operator;
use super::sink::Sink;
use super::{
    Abilities, Body, Deletion, EpochKey, Fetched, FolderState, Intake, Listed, Looked, Opened, Scope, Source,
    SourceError, Tell,
};
use crate::base::bytes::ByteSource as _;
use crate::mail::regenerated::Regenerated;
use crate::net::clean;

/// More than any folder holds; bounds the memory that a hostile server can take.
const ITEMS_MAX: usize = 5_000_000;
/// The schema says 512 bytes; some ids are longer.
const ID_BYTES_MAX: usize = 2048;
/// Pages that bring nothing new before a server is taken to be going round in circles.
const IDLE_PAGES_MAX: u32 = 50;
const RESTARTS_MAX: u32 = 3;
const MEASURE_BATCH: usize = 100;
const DELETE_BATCH: usize = 100;
/// Mails in one call, which a server cuts at about a minute.
const MIME_BATCH: usize = 10;
/// Of their sizes together.
const MIME_BATCH_BYTES: u64 = 8 * 1024 * 1024;

/// For the configuration: `Err` says why a URL cannot be used; the host where it would be asked without TLS.
pub fn plain_http_host(url: &str) -> Result<Option<String>, String> {
    let url = http::parse_url(url)?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    Ok((url.scheme() == "http").then_some(host))
}

/// A session with an EWS gateway.
pub struct EwsSource {
    client: Client,
    options: EwsOptions,
    abilities: Abilities,
    read_only: bool,
    /// Why nothing is asked any more.
    given_up: Option<SourceError>,
    /// The open folder's items, in the server's order.
    order: Vec<String>,
}

/// What a question about size and date came to.
#[derive(Clone, Debug)]
enum Measured {
    Is { size: u64, date: String },
    Gone,
    Refused(String),
}

impl EwsSource {
    /// Finds the server. The login is proven by the first call.
    pub async fn connect(options: &EwsOptions) -> Result<EwsSource, SourceError> {
        let (url, _) = autodiscover::url(options).await?;
        EwsSource::connect_to(&url, options).await
    }

    async fn connect_to(url: &reqwest::Url, options: &EwsOptions) -> Result<EwsSource, SourceError> {
        let what = format!("connecting to {}", clean(url.as_str()));
        let http = Http::connect(url, options).await.map_err(|failure| failure.into_error(what))?;
        Ok(EwsSource {
            client: Client::new(http, options),
            options: options.clone(),
            abilities: Abilities { can_delete: true, ..Abilities::default() },
            read_only: false,
            given_up: None,
            order: Vec::new(),
        })
    }

    /// Deletes nothing (`check`, a dry run).
    pub fn read_only(mut self) -> EwsSource {
        self.read_only = true;
        self.abilities.can_delete = false;
        self.abilities.cannot_delete_because = Some("the session is for reading only".into());
        self
    }

    /// What `check` says about a gateway, in the order of looking; it ends at what blocks the rest.
    pub async fn survey(options: &EwsOptions, tell: Tell<'_>) -> Looked {
        check::look(options, tell).await
    }

    fn host(&self) -> String {
        let address = self.options.of_mailbox().unwrap_or(&self.options.username);
        EwsOptions::gateway_host(self.options.url.as_deref(), address)
    }

    /// A failure after which this session asks nothing more.
    fn give_up(&mut self, failure: Failure, what: &str) -> SourceError {
        let error = failure.into_error(what);
        // Each request carries the login, and a page of an error may repeat it.
        let error = SourceError { answer: self.options.login.hide(&error.answer), ..error };
        if error.scope == Scope::Profile {
            self.given_up = Some(error.clone());
        }
        error
    }

    fn usable(&self) -> Result<(), SourceError> {
        self.given_up.clone().map_or(Ok(()), Err)
    }

    /// The ids of everything in a folder.
    async fn sync(&mut self, folder: &FolderRef) -> Result<Vec<String>, Failure> {
        let mut there = Inventory::default();
        let (mut state, mut idle, mut restarts) = (None::<String>, 0, 0);
        loop {
            let page = match self.client.call(&Request::Sync { folder, state: state.as_deref() }).await {
                Ok(mut messages) => messages.pop().ok_or_else(|| Failure::protocol("no answer to SyncFolderItems"))?,
                Err(failure) if failure.kind() == Kind::SyncState && state.is_some() && restarts < RESTARTS_MAX => {
                    tracing::info!("the server forgot how far the folder was listed; listing it from the beginning");
                    (there, state, idle) = (Inventory::default(), None, 0);
                    restarts += 1;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let is_empty = page.changes.is_empty();
            let has_news = there.take(page.changes)?;
            // Servers have said "last" with changes left, so that only an empty page is the end; one that gives the
            // same page again and again after its "last" has said all it has to.
            if page.is_last && (is_empty || !has_news) {
                return Ok(there.order());
            }
            let stalled = is_empty && state.as_ref() == Some(&page.sync_state);
            idle = if has_news { 0 } else { idle + 1 };
            if page.sync_state.is_empty() || stalled || idle > IDLE_PAGES_MAX {
                return Err(Failure::protocol("SyncFolderItems says that there is more, and does not go on"));
            }
            state = Some(page.sync_state);
        }
    }

    /// Size and date of each of these.
    async fn measure(&mut self, ids: &[&str]) -> Result<HashMap<String, Measured>, Failure> {
        let mut found = HashMap::with_capacity(ids.len());
        let mut patience = Patience::default();
        let mut batch_max = MEASURE_BATCH;
        let mut left: VecDeque<&str> = ids.iter().copied().collect();
        while !left.is_empty() {
            let batch: Vec<&str> = left.iter().take(batch_max).copied().collect();
            let messages = self.client.call(&Request::Measure(&batch)).await?;
            left.drain(..batch.len());
            check_order(&batch, &messages)?;
            let mut again = Again::default();
            for (id, message) in batch.iter().zip(&messages) {
                let measured = match kind(&message.code) {
                    _ if message.is_success() => {
                        let item = message.items.first();
                        match item.filter(|item| item.size.is_some() || !item.date.is_empty()) {
                            // Some items were never received; that they have no date is matched like one.
                            Some(item) if item.date.is_empty() => {
                                Measured::Is { size: item.size.unwrap_or(0), date: "none".into() }
                            }
                            Some(item) => Measured::Is { size: item.size.unwrap_or(0), date: item.date.clone() },
                            None => return Err(Failure::protocol("GetItem gives neither size nor date of receipt")),
                        }
                    }
                    Kind::Gone => Measured::Gone,
                    Kind::Busy | Kind::Transient | Kind::NotTried => {
                        again.put(id, message);
                        continue;
                    }
                    Kind::TooLarge | Kind::Version | Kind::SyncState | Kind::Operator | Kind::Other => {
                        Measured::Refused(said(message))
                    }
                };
                again.answered();
                found.insert((*id).to_owned(), measured);
            }
            let pause = again.pause(batch.len());
            again.ids.into_iter().rev().for_each(|id| left.push_front(id));
            self.pause(pause, &mut batch_max, &mut patience, "asking for sizes and dates (GetItem)").await?;
        }
        Ok(found)
    }

    /// What follows a batch of which some were not answered: the next one is smaller, and comes later when nothing
    /// of this one went through.
    async fn pause(
        &mut self,
        pause: Pause,
        batch_max: &mut usize,
        patience: &mut Patience,
        what: &str,
    ) -> Result<(), Failure> {
        match pause {
            Pause::None => patience.progress(),
            Pause::Smaller(size) => {
                *batch_max = size.clamp(1, *batch_max);
                patience.progress();
            }
            Pause::Wait(failure) => {
                *batch_max = (*batch_max / 2).max(1);
                if !self.client.recover(&failure, patience, what).await {
                    return Err(failure);
                }
            }
        }
        Ok(())
    }
}

/// The folder's items while it is listed.
#[derive(Default)]
struct Inventory {
    places: HashMap<String, u64>,
    next: u64,
}

impl Inventory {
    /// Whether a page changed anything.
    fn take(&mut self, changes: Vec<Change>) -> Result<bool, Failure> {
        let mut has_news = false;
        for change in changes {
            match change {
                Change::There(id) if id.len() > ID_BYTES_MAX || id.contains(char::is_control) => {
                    return Err(Failure::Protocol(format!("an ItemId that is none: {}", clean(&id))));
                }
                Change::There(id) => {
                    if !self.places.contains_key(&id) {
                        self.places.insert(id, self.next);
                        self.next += 1;
                        has_news = true;
                    }
                }
                Change::Gone(id) => has_news |= self.places.remove(&id).is_some(),
            }
        }
        if self.places.len() > ITEMS_MAX {
            return Err(Failure::protocol("more items than can be"));
        }
        Ok(has_news)
    }

    fn order(self) -> Vec<String> {
        let mut all: Vec<(u64, String)> = self.places.into_iter().map(|(id, place)| (place, id)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id).collect()
    }
}

/// What of a batch must be asked for again.
#[derive(Default)]
struct Again<'a> {
    ids: Vec<&'a str>,
    /// Of those that the server was too busy for.
    busy: Option<Failure>,
    /// One was answered after one that was not.
    is_scattered: bool,
}

enum Pause {
    None,
    Smaller(usize),
    Wait(Failure),
}

impl<'a> Again<'a> {
    fn put(&mut self, id: &'a str, message: &Message) {
        self.ids.push(id);
        if kind(&message.code) != Kind::NotTried {
            let failure = message.failure();
            if self.busy.as_ref().is_none_or(|busy| busy.hint() < failure.hint()) {
                self.busy = Some(failure);
            }
        }
    }

    /// An answer that says something.
    fn answered(&mut self) {
        self.is_scattered |= !self.ids.is_empty();
    }

    fn pause(&mut self, asked: usize) -> Pause {
        let done = asked - self.ids.len();
        match self.busy.take() {
            None if self.ids.is_empty() || done > 0 => Pause::None,
            None => Pause::Wait(Failure::Refused {
                code: "ErrorInternalServerTransientError".into(),
                text: "the server tried none of the items".into(),
                wait: None,
            }),
            // Some servers say "busy" of all above a certain number; where those in between were too much, fewer are no
            // remedy, and what is left may go through at once.
            Some(failure) if done > 0 && failure.hint().is_none() && self.is_scattered => Pause::None,
            Some(failure) if done > 0 && failure.hint().is_none() => Pause::Smaller(done),
            // Without a hint, an item at a time is not worth a minute each.
            Some(Failure::Refused { text, wait, .. }) => {
                Pause::Wait(Failure::Refused { code: "ErrorInternalServerTransientError".into(), text, wait })
            }
            Some(failure) => Pause::Wait(failure),
        }
    }
}

/// Errors carry no id, so that answers are told apart by their place. One that carries the id of another place shows
/// that the places do not hold.
fn check_order(ids: &[&str], messages: &[Message]) -> Result<(), Failure> {
    for (at, message) in messages.iter().enumerate() {
        check_place(ids, at, message)?;
    }
    Ok(())
}

fn check_place(ids: &[&str], at: usize, message: &Message) -> Result<(), Failure> {
    let Some(item) = message.items.first() else { return Ok(()) };
    let is_elsewhere = ids.get(at) != Some(&item.id.as_str()) && ids.contains(&item.id.as_str());
    if is_elsewhere || message.items.len() > 1 {
        return Err(Failure::protocol("its answers stand in another order than the questions"));
    }
    Ok(())
}

/// A refusal, in the server's words.
fn said(message: &Message) -> String {
    if message.text.is_empty() { message.code.clone() } else { format!("{}: {}", message.code, message.text) }
}

impl Source for EwsSource {
    fn peer(&self) -> String {
        let server = self.client.server.as_deref().unwrap_or("unknown");
        format!("ews {} ({}) version {server}", self.host(), self.client.peer())
    }

    fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    async fn open(&mut self, folder: &str) -> Result<Opened, SourceError> {
        self.usable()?;
        let what = format!("opening {}", clean(folder));
        let mailbox = self.options.mailbox.clone();
        let found = folder::find(&mut self.client, folder, mailbox.as_deref()).await;
        let (reference, found) = found.map_err(|failure| self.give_up(failure, &what))?;
        if found.class.starts_with("IPF.") && !found.class.starts_with("IPF.Note") {
            let answer = format!("it is no folder of mail ({})", clean(&found.class));
            let hint = "\"Journal\" is Outlook's diary; journal reports usually arrive in \"inbox\"";
            return Err(operator(Scope::Mailbox, what, answer, Some(hint)));
        }
        let what = format!("listing {}", clean(folder));
        let order = self.sync(&reference).await.map_err(|failure| self.give_up(failure, &what))?;
        self.order = order;
        let folder = match &self.options.of_mailbox() {
            Some(mailbox) => format!("{folder} of {mailbox}"),
            None => folder.to_owned(),
        };
        let epoch = EpochKey {
            kind: "ews".into(),
            host: self.host(),
            login: self.options.username.clone(),
            folder,
            validity: found.id,
        };
        let state = FolderState { next: 1, exists: self.order.len() as u64 };
        Ok(Opened { epoch, state, numbered: false })
    }

    async fn list(&mut self, _from: u64) -> Result<(Vec<Listed>, Option<u64>), SourceError> {
        self.usable()?;
        let listed = |id: &String| Listed { native_id: id.clone(), order: Some(0), size: 0, date: String::new() };
        Ok((self.order.iter().map(listed).collect(), None))
    }

    async fn list_only(&mut self, ids: &[Listed]) -> Result<Vec<Listed>, SourceError> {
        self.usable()?;
        let natives: Vec<&str> = ids.iter().map(|listed| listed.native_id.as_str()).collect();
        let found = self.measure(&natives).await;
        let found = found.map_err(|failure| self.give_up(failure, "matching items"))?;
        let there = |id: &Listed| match found.get(&id.native_id)? {
            Measured::Is { size, date } => Some(Listed { size: *size, date: date.clone(), ..id.clone() }),
            Measured::Refused(_) => Some(Listed { size: 0, date: String::new(), ..id.clone() }),
            Measured::Gone => None,
        };
        Ok(ids.iter().filter_map(there).collect())
    }

    async fn fetch(
        &mut self,
        wanted: &[Listed],
        intake: &Intake,
        out: &mpsc::Sender<Fetched>,
    ) -> Result<(), SourceError> {
        self.usable()?;
        for some in wanted.chunks(MEASURE_BATCH) {
            self.fetch_some(some, intake, out).await.map_err(|failure| self.give_up(failure, "downloading"))?;
        }
        Ok(())
    }

    async fn delete(&mut self, items: &[Listed]) -> Result<Vec<Deletion>, SourceError> {
        const WHAT: &str = "deleting";
        self.usable()?;
        if self.read_only {
            return Err(operator(Scope::Profile, WHAT, "the session is for reading only", None));
        }
        let mut answers = Vec::with_capacity(items.len());
        for some in items.chunks(DELETE_BATCH) {
            let deleted = self.delete_some(some).await;
            answers.extend(deleted.map_err(|failure| self.give_up(failure, WHAT))?);
        }
        let gone: HashSet<&str> = items
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| matches!(answer, Deletion::Deleted | Deletion::Gone))
            .map(|(item, _)| item.native_id.as_str())
            .collect();
        self.order.retain(|id| !gone.contains(id.as_str()));
        Ok(answers)
    }

    async fn close(self) {}
}

impl EwsSource {
    async fn delete_some(&mut self, items: &[Listed]) -> Result<Vec<Deletion>, Failure> {
        let ids: Vec<&str> = items.iter().map(|item| item.native_id.as_str()).collect();
        let measured = self.measure(&ids).await?;
        let mut answers: HashMap<&str, Deletion> = HashMap::new();
        let mut matched: VecDeque<&str> = VecDeque::new();
        for item in items {
            let id = item.native_id.as_str();
            match measured.get(id) {
                // What nobody recorded cannot be matched.
                Some(Measured::Is { size, date }) if *size == item.size && *date == item.date && !date.is_empty() => {
                    if !matched.contains(&id) {
                        matched.push_back(id);
                    }
                }
                Some(Measured::Is { .. }) => _ = answers.insert(id, Deletion::Mismatch),
                Some(Measured::Gone) => _ = answers.insert(id, Deletion::Gone),
                // It is there and cannot be looked at: nothing is known to match.
                Some(Measured::Refused(_)) | None => _ = answers.insert(id, Deletion::StillThere),
            }
        }
        let mut patience = Patience::default();
        let mut batch_max = DELETE_BATCH;
        while !matched.is_empty() {
            let batch: Vec<&str> = matched.iter().take(batch_max).copied().collect();
            let messages = self.client.call(&Request::Delete(&batch)).await?;
            matched.drain(..batch.len());
            let mut again = Again::default();
            for (id, message) in batch.iter().zip(&messages) {
                let answer = match kind(&message.code) {
                    _ if message.is_success() => Deletion::Deleted,
                    Kind::Gone => Deletion::Gone,
                    Kind::Busy | Kind::Transient | Kind::NotTried => {
                        again.put(id, message);
                        continue;
                    }
                    Kind::Operator
                        if batch.len() == messages.len() && messages.iter().all(|one| one.code == message.code) =>
                    {
                        return Err(message.failure());
                    }
                    Kind::TooLarge | Kind::Version | Kind::SyncState | Kind::Operator | Kind::Other => {
                        tracing::warn!(id = *id, said = said(message), "an item could not be deleted");
                        Deletion::StillThere
                    }
                };
                again.answered();
                answers.insert(id, answer);
            }
            let pause = again.pause(batch.len());
            again.ids.into_iter().rev().for_each(|id| matched.push_front(id));
            self.pause(pause, &mut batch_max, &mut patience, "deleting (DeleteItem)").await?;
        }
        Ok(items
            .iter()
            .map(|item| answers.get(item.native_id.as_str()).cloned().unwrap_or(Deletion::StillThere))
            .collect())
    }

    async fn fetch_some(
        &mut self,
        wanted: &[Listed],
        intake: &Intake,
        out: &mpsc::Sender<Fetched>,
    ) -> Result<(), Failure> {
        let send = |listed: Listed, body: Body| {
            let out = out.clone();
            async move { out.send(Fetched { listed, body }).await.map_err(|_| Failure::Stopped) }
        };
        let ids: Vec<&str> = wanted.iter().map(|listed| listed.native_id.as_str()).collect();
        let measured = self.measure(&ids).await?;
        let mut left: VecDeque<Listed> = VecDeque::new();
        for listed in wanted {
            match measured.get(&listed.native_id) {
                Some(Measured::Is { size, date }) => {
                    let listed = Listed { size: *size, date: date.clone(), ..listed.clone() };
                    if *size > intake.item_bytes_max {
                        send(listed, Body::Unfetchable(too_long(*size))).await?;
                    } else {
                        left.push_back(listed);
                    }
                }
                Some(Measured::Refused(why)) => send(listed.clone(), Body::Unfetchable(why.clone())).await?,
                Some(Measured::Gone) | None => send(listed.clone(), Body::Gone).await?,
            }
        }
        let mut patience = Patience::default();
        let mut batch_max = MIME_BATCH;
        while !left.is_empty() {
            let mut bytes = 0;
            let fits = left.iter().take(batch_max).take_while(|listed| {
                bytes += listed.size;
                bytes <= MIME_BATCH_BYTES
            });
            let fits = fits.count().max(1);
            let batch: Vec<Listed> = left.drain(..fits).collect();
            let asked: Vec<&str> = batch.iter().map(|listed| listed.native_id.as_str()).collect();
            let (mut done, mut again) = (0, Again::default());
            let result = self.fetch_batch(&batch, &asked, intake, out, &mut done, &mut again).await;
            let pause = again.pause(done);
            let mut due: Vec<Listed> = batch[done..].to_vec();
            due.extend(batch.iter().filter(|listed| again.ids.contains(&listed.native_id.as_str())).cloned());
            due.into_iter().rev().for_each(|listed| left.push_front(listed));
            match result {
                Ok(()) => self.pause(pause, &mut batch_max, &mut patience, "downloading (GetItem)").await?,
                // It took too long, or was too much: what is left is asked for one by one.
                Err(failure) if failure.is_about_size() && batch.len() > 1 && batch_max > 1 => batch_max = 1,
                Err(failure) if failure.kind() == Kind::TooLarge => {
                    if let Some(listed) = left.pop_front() {
                        send(listed, Body::Unfetchable(failure.to_string())).await?;
                    }
                }
                Err(failure) => {
                    if done > 0 {
                        patience.progress();
                    }
                    if !self.client.recover(&failure, &mut patience, "downloading (GetItem)").await {
                        return Err(failure);
                    }
                }
            }
        }
        Ok(())
    }

    /// One call for mails. What is answered is handed on as it arrives; `done` counts the answers, also those that
    /// say nothing yet, which are put into `again`.
    async fn fetch_batch<'a>(
        &mut self,
        batch: &[Listed],
        asked: &[&'a str],
        intake: &Intake,
        out: &mpsc::Sender<Fetched>,
        done: &mut usize,
        again: &mut Again<'a>,
    ) -> Result<(), Failure> {
        let mut answer = self.client.begin(&Request::Mime(asked)).await?;
        for (listed, id) in batch.iter().zip(asked) {
            let mut sink = Sink::new(intake, listed.size).await;
            let message = answer.message(Some(&mut sink)).await?;
            let message = message.ok_or_else(|| Failure::protocol("fewer answers than questions"))?;
            check_place(asked, *done, &message)?;
            let body = match kind(&message.code) {
                _ if message.is_success() => {
                    let item = message.items.into_iter().next().unwrap_or_default();
                    match sink.finish().await.map_err(|error| Failure::local(&error))? {
                        Err(bytes) => Body::Unfetchable(too_long(bytes)),
                        Ok(bytes) if !item.has_mime || bytes.is_empty() => {
                            Body::Unfetchable("the server gave the item without its mail (no MimeContent)".into())
                        }
                        Ok(bytes) => {
                            let beside = Regenerated::new(item.transport_headers);
                            Body::Item(bytes.put_together(beside, intake).await)
                        }
                    }
                }
                Kind::Gone => Body::Gone,
                Kind::Busy | Kind::Transient | Kind::NotTried => {
                    again.put(id, &message);
                    *done += 1;
                    continue;
                }
                Kind::TooLarge | Kind::Version | Kind::SyncState | Kind::Operator | Kind::Other => {
                    Body::Unfetchable(said(&message))
                }
            };
            again.answered();
            out.send(Fetched { listed: listed.clone(), body }).await.map_err(|_| Failure::Stopped)?;
            *done += 1;
        }
        match answer.message(None).await? {
            None => Ok(()),
            Some(_) => Err(Failure::protocol("more answers than questions")),
        }
    }
}

#[cfg(test)]
async fn sink_for_tests(intake: &Intake) -> Sink {
    Sink::new(intake, 0).await
}

fn too_long(bytes: u64) -> String {
    format!("{bytes} bytes are more than an item may have")
}
