//! Runs of the agent within the test process, recorded: every file operation, and with each of them what
//! the gateway still held and which states the catalogue had had by then.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatepost::agent::disk::Reserve;
use gatepost::agent::pace::Pacing;
use gatepost::agent::policies::{Policies, UnknownInternal};
use gatepost::agent::report::ProfileReport;
use gatepost::agent::{Agent, Expect, Profile, Role, cycle};
use gatepost::archive::{Layout, Limits, OpenOptions, Writer};
use gatepost::base::address::Address;
use gatepost::base::clock::{Clock, SystemClock};
use gatepost::base::fsio::{Fail, Fs, Op, Plan};
use gatepost::base::secret::Secret;
use gatepost::journal::DecodeOptions;
use gatepost::net::TlsMode;
use gatepost::net::login::Login;
use gatepost::net::trust::Trust;
use gatepost::people::{People, PeopleOptions};
use gatepost::sources::imap::options::{ImapAuth, ImapOptions};
use gatepost::sources::{AnySource, Source as _, SourceOptions};
use rusqlite::{Connection, OpenFlags};

use super::bench::Bench;

/// How things stood just before an operation.
#[derive(Clone)]
pub struct Mark {
    pub at: usize,
    /// What the gateway held.
    pub left: Arc<Vec<u32>>,
    /// So many states of the catalogue had been committed.
    pub catalogues: usize,
}

/// One or more runs on the same archive, one after the other.
pub struct History {
    pub ops: Vec<Op>,
    pub marks: Vec<Mark>,
    /// Every state of the catalogue that was committed, as files.
    pub catalogues: Vec<std::path::PathBuf>,
}

impl History {
    /// How things stood when `at` operations had been begun.
    pub fn mark(&self, at: usize) -> &Mark {
        &self.marks[self.marks.partition_point(|mark| mark.at <= at) - 1]
    }
}

struct Watcher {
    catalogue: std::path::PathBuf,
    copies: std::path::PathBuf,
    db: Option<(Connection, i64)>,
    history: History,
    offset: usize,
}

impl Watcher {
    fn look(&mut self, at: usize, left: Vec<u32>) {
        if self.db.is_none() && self.catalogue.exists() {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            self.db = Some((Connection::open_with_flags(&self.catalogue, flags).unwrap(), -1));
        }
        if let Some((db, version)) = &mut self.db {
            let now: i64 = db.query_row("PRAGMA data_version", [], |row| row.get(0)).unwrap();
            if now != *version {
                *version = now;
                let to = self.copies.join(format!("{:06}.sqlite3", self.history.catalogues.len()));
                let mut copy = Connection::open(&to).unwrap();
                copy.pragma_update(None, "synchronous", "OFF").unwrap();
                let backup = rusqlite::backup::Backup::new(db, &mut copy).unwrap();
                backup.run_to_completion(10_000, Duration::ZERO, None).unwrap();
                self.history.catalogues.push(to);
            }
        }
        let mark = Mark { at: self.offset + at, left: Arc::new(left), catalogues: self.history.catalogues.len() };
        self.history.marks.push(mark);
    }
}

/// Records one cycle after the other, each with its failure; returns what each said, too.
pub fn record(bench: &Bench, failures: &[Option<Fail>]) -> (History, Vec<Result<ProfileReport, String>>) {
    let copies = bench.folder().join("copies");
    std::fs::create_dir(&copies).unwrap();
    let history = History { ops: Vec::new(), marks: Vec::new(), catalogues: Vec::new() };
    let catalogue = bench.layout().catalogue;
    let watcher = Arc::new(Mutex::new(Watcher { catalogue, copies, db: None, history, offset: 0 }));
    let mut said = Vec::new();
    for fail in failures {
        let (watching, gateway) = (watcher.clone(), bench.gateway.clone());
        let watch = move |at: usize, _: &Op| watching.lock().unwrap().look(at, gateway.uids("INBOX"));
        let fs =
            Fs::with_plan(Plan { fail: fail.clone(), record: true, watch: Some(Arc::new(watch)), ..Plan::default() });
        said.push(run(bench, fs.clone()));
        let mut watcher = watcher.lock().unwrap();
        watcher.history.ops.extend(fs.recorded());
        watcher.offset = watcher.history.ops.len();
        watcher.look(0, bench.gateway.uids("INBOX"));
    }
    let mut watcher = watcher.lock().unwrap();
    watcher.db = None;
    let empty = History { ops: Vec::new(), marks: Vec::new(), catalogues: Vec::new() };
    (std::mem::replace(&mut watcher.history, empty), said)
}

pub fn open(bench: &Bench, fs: Fs) -> Result<(Writer, Vec<String>), gatepost::archive::ArchiveError> {
    open_at(bench.layout(), fs, Arc::new(SystemClock))
}

fn open_at(
    layout: Layout,
    fs: Fs,
    clock: Arc<dyn Clock>,
) -> Result<(Writer, Vec<String>), gatepost::archive::ArchiveError> {
    // Small packs and batches, so that few mails see every kind of border.
    let limits =
        Limits { pack_bytes_max: 24 * 1024, batch_items_max: 4, idle: Duration::from_millis(4), ..Limits::default() };
    Writer::open(OpenOptions {
        layout,
        create_missing: true,
        create_in_empty: false,
        limits,
        fs,
        clock,
        holder: "a test".into(),
    })
}

/// One deleting cycle within this process.
pub fn run(bench: &Bench, fs: Fs) -> Result<ProfileReport, String> {
    run_at(bench, fs, Arc::new(SystemClock))
}

pub fn run_at(bench: &Bench, fs: Fs, clock: Arc<dyn Clock>) -> Result<ProfileReport, String> {
    let source = Polled { options: SourceOptions::Imap(imap(bench)), folder: "INBOX" };
    run_on(&source, bench.layout(), &bench.runtime, fs, clock)
}

/// A gateway, and which folder of it.
pub struct Polled {
    pub options: SourceOptions,
    pub folder: &'static str,
}

/// One deleting cycle within this process, on any gateway.
pub fn run_on(
    polled: &Polled,
    layout: Layout,
    runtime: &tokio::runtime::Runtime,
    fs: Fs,
    clock: Arc<dyn Clock>,
) -> Result<ProfileReport, String> {
    let root = layout.root.clone();
    let (writer, _) = open_at(layout, fs.clone(), clock.clone()).map_err(|error| error.to_string())?;
    let done = runtime.block_on(async {
        let agent = Agent::start(writer.handle(), &root, 4 << 20, Reserve::Bytes(0), fs, clock);
        let agent = agent.map_err(|error| error.to_string())?;
        let profile = Profile {
            name: "journal".into(),
            folders: vec![polled.folder.into()],
            delete: true,
            delete_after: Duration::ZERO,
            delete_excluded: false,
            look_at_excluded: false,
            delete_quarantined: None,
            role: Role::Primary,
            expect: Expect::Auto,
            policies: Policies { unknown_internal: UnknownInternal::Create, ..Policies::default() },
            decode: DecodeOptions::default(),
            pacing: Pacing::default(),
        };
        let mut source = AnySource::connect(&polled.options).await.map_err(|error| error.to_string())?;
        let done = cycle::run(&agent, &profile, &Arc::new(people()), &mut source).await;
        source.close().await;
        Ok::<_, String>(done)
    });
    // The lock goes with the writer's thread, whatever became of the cycle.
    let finished = writer.finish().map_err(|error| error.to_string());
    let (report, error) = done?;
    finished?;
    match error {
        Some(error) => Err(error.to_string()),
        None => Ok(report),
    }
}

fn people() -> People {
    let options = PeopleOptions {
        internal_domains: vec!["corp.example".into()],
        csv: None,
        persons: Vec::new(),
        never_owners: vec![Address::parse("journal@corp.example").unwrap()],
        ..PeopleOptions::default()
    };
    People::build(&options, &[]).unwrap()
}

pub fn imap(bench: &Bench) -> ImapOptions {
    ImapOptions {
        host: "127.0.0.1".into(),
        port: bench.gateway.port(),
        tls: TlsMode::None,
        trust: Trust::default(),
        username: "journal@corp.example".into(),
        login: Login::Password(Secret::new("journal".into())),
        auth: ImapAuth::Auto,
        folders: vec!["INBOX".into()],
        timeout: Duration::from_secs(60),
        allow_plaintext: false,
        sole_client: false,
        daily_budget: bench.daily_budget(),
        compress: false,
    }
}
