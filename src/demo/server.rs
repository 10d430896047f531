//! The embedded gateway: starts, shows and changes what it holds, misbehaves on demand, stops.
//!
//! It listens on 127.0.0.1 only and never offers STARTTLS. Passwords are neither counted nor logged.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use super::fault::{Answer, Fault, Plan};
use super::gmail;
use super::mailbox::{Folder, Folders, Mail, folder_name};
use super::session::Session;
use super::wire::Wire;
use crate::base::secret::Secret;

/// Commands kept in the log; older ones fall out.
const LOG_LINES_MAX: usize = 20_000;
const FIRST_VALIDITY: u32 = 1_767_600_001;

#[derive(Clone, Debug)]
pub struct GatewayOptions {
    pub login: String,
    pub password: Secret,
    /// 0: any free port.
    pub port: u16,
    pub uidplus: bool,
    /// AUTHENTICATE PLAIN is offered beside LOGIN.
    pub auth_plain: bool,
    /// AUTHENTICATE takes an initial response.
    pub sasl_ir: bool,
    /// Folders are labels, as at Gmail (see [`super::gmail`]).
    pub gmail: bool,
}

impl Default for GatewayOptions {
    fn default() -> GatewayOptions {
        GatewayOptions {
            login: "journal@corp.example".into(),
            password: Secret::new("journal".into()),
            port: 0,
            uidplus: true,
            auth_plain: true,
            sasl_ir: true,
            gmail: false,
        }
    }
}

/// What happened so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub connections: u64,
    /// Successful ones, by LOGIN or AUTHENTICATE.
    pub logins: u64,
    /// Successful SELECT and EXAMINE.
    pub selects: u64,
    /// Every command received, by name (`UID FETCH`), also those that failed.
    pub commands: BTreeMap<String, u64>,
    pub bytes_sent: u64,
}

impl Counters {
    pub fn command(&self, name: &str) -> u64 {
        self.commands.get(name).copied().unwrap_or(0)
    }
}

pub(super) struct State {
    pub folders: Folders,
    pub plan: Plan,
    pub counters: Counters,
    log: VecDeque<String>,
}

/// What the handle and all connections share. The lock is never held while waiting.
pub(super) struct Shared {
    pub options: GatewayOptions,
    state: Mutex<State>,
    disconnect: Notify,
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, State> {
        // A panic of one test thread must not hide the gateway from the others.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// How many of these bytes may be sent, and whether the connection ends after them.
    pub fn allow(&self, bytes: u64) -> (u64, bool) {
        let mut state = self.state();
        let (allowed, ends) = state.plan.allow(bytes);
        state.counters.bytes_sent += allowed;
        (allowed, ends)
    }

    /// Counts and logs a command, and takes the fault that is due for it. `shown` has no secrets.
    pub fn received(&self, name: &str, shown: &str) -> Option<Answer> {
        let mut state = self.state();
        *state.counters.commands.entry(name.to_owned()).or_default() += 1;
        if state.log.len() == LOG_LINES_MAX {
            state.log.pop_front();
        }
        state.log.push_back(if shown.is_empty() { name.to_owned() } else { format!("{name} {shown}") });
        state.plan.answer(name)
    }

    pub fn has_uidplus(&self) -> bool {
        self.options.uidplus && !self.state().plan.has(&Fault::NoUidPlus)
    }
}

impl State {
    pub fn folder(&mut self, name: &str) -> &mut Folder {
        let validity = FIRST_VALIDITY + self.folders.len() as u32;
        self.folders.entry(folder_name(name).to_owned()).or_insert_with(|| Folder::new(validity))
    }
}

/// A running gateway; dropping it closes all connections.
pub struct Gateway {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Gateway {
    /// Listens on 127.0.0.1 with an empty INBOX. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn start(options: GatewayOptions) -> std::io::Result<Gateway> {
        let listener = TcpListener::bind(("127.0.0.1", options.port)).await?;
        let port = listener.local_addr()?.port();
        let mut folders = Folders::from([("INBOX".to_owned(), Folder::new(FIRST_VALIDITY))]);
        if options.gmail {
            gmail::add_folders(&mut folders, FIRST_VALIDITY);
        }
        let state = State { folders, plan: Plan::default(), counters: Counters::default(), log: VecDeque::new() };
        let shared = Arc::new(Shared { options, state: Mutex::new(state), disconnect: Notify::new() });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Gateway { port, shared, accepting })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Appends a mail and returns its UID; the folder is created when missing. Without a date it gets one
    /// that depends on the UID only.
    pub fn append(&self, folder: &str, bytes: impl Into<Arc<[u8]>>, internaldate: Option<Timestamp>) -> u32 {
        let mut state = self.shared.state();
        let uid = state.folder(folder).append(bytes.into(), internaldate);
        if self.shared.options.gmail {
            gmail::appended(&mut state.folders, folder_name(folder), uid);
        }
        uid
    }

    /// Another client takes a folder away.
    pub fn remove(&self, folder: &str) {
        self.shared.state().folders.remove(folder_name(folder));
    }

    /// All names, with what each folder holds.
    pub fn folders(&self) -> BTreeMap<String, Vec<Mail>> {
        let state = self.shared.state();
        state.folders.iter().map(|(name, folder)| (name.clone(), folder.mails().to_vec())).collect()
    }

    pub fn create(&self, folder: &str) {
        self.shared.state().folder(folder);
    }

    /// The UIDs that a folder holds, rising; empty when there is no such folder.
    pub fn uids(&self, folder: &str) -> Vec<u32> {
        self.shared.state().folders.get(folder_name(folder)).map(Folder::uids).unwrap_or_default()
    }

    pub fn message(&self, folder: &str, uid: u32) -> Option<Mail> {
        self.shared.state().folders.get(folder_name(folder))?.get(uid).cloned()
    }

    pub fn uidvalidity(&self, folder: &str) -> u32 {
        self.shared.state().folder(folder).validity
    }

    /// A new identity space; clients that have the folder open are told BYE.
    pub fn set_uidvalidity(&self, folder: &str, validity: u32) {
        self.shared.state().folder(folder).validity = validity;
    }

    pub fn set_uidnext(&self, folder: &str, next: u32) {
        self.shared.state().folder(folder).next = next;
    }

    /// Replaces all mails under the same UIDVALIDITY, as a restored backup does; UIDNEXT becomes the
    /// largest UID + 1 and may so fall.
    pub fn restore(&self, folder: &str, mails: Vec<Mail>) {
        self.shared.state().folder(folder).restore(mails);
    }

    /// Another client expunges a mail. False when it was not there.
    pub fn expunge(&self, folder: &str, uid: u32) -> bool {
        let mut state = self.shared.state();
        let folder = state.folder(folder);
        let found = folder.get(uid).is_some();
        folder.remove(|mail| mail.uid == uid);
        found
    }

    /// Another client sets a flag, such as `\Deleted`. False when the mail is not there.
    pub fn set_flag(&self, folder: &str, uid: u32, flag: &str) -> bool {
        match self.shared.state().folder(folder).get_mut(uid) {
            Some(mail) => {
                mail.add_flag(flag);
                true
            }
            None => false,
        }
    }

    pub fn misbehave(&self, fault: Fault) {
        self.shared.state().plan.add(fault);
    }

    /// Takes back all faults.
    pub fn behave(&self) {
        self.shared.state().plan.clear();
    }

    pub fn counters(&self) -> Counters {
        self.shared.state().counters.clone()
    }

    pub fn reset_counters(&self) {
        let mut state = self.shared.state();
        state.counters = Counters::default();
        state.log.clear();
    }

    /// The commands received, oldest first, without tags and passwords, each cut to some 200 bytes.
    pub fn log(&self) -> Vec<String> {
        self.shared.state().log.iter().cloned().collect()
    }

    /// Closes all connections without a word and goes on listening.
    pub fn disconnect_all(&self) {
        self.shared.disconnect.notify_waiters();
    }

    /// Stops listening and closes all connections; they are closed when this returns.
    pub async fn stop(mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Sessions live in the set, so that ending this task ends them too.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    shared.state().counters.connections += 1;
                    let shared = shared.clone();
                    sessions.spawn(async move {
                        let mut session = Session::new(Wire::new(stream, shared.clone()), shared.clone());
                        // Ends by itself or is disconnected; either way what was sent is delivered.
                        tokio::select! {
                            _ = session.run() => {}
                            () = shared.disconnect.notified() => {}
                        }
                        session.end().await;
                    });
                }
                // Out of descriptors, for example: nothing to tell anybody, and spinning would not help.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            },
            Some(_) = sessions.join_next() => {}
        }
    }
}
