//! A bench for crash and fault tests: an embedded gateway in this process, a configuration, an archive
//! that does not exist yet, and the real program as a subprocess.
//!
//! The bench remembers every mail that was ever put on the gateway, so that after each run it can say
//! whether one was lost: what is no longer on the gateway must stand in the archive, byte for byte.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assert_cmd::Command;
use gatepost::archive::{Catalogue, Filter, Layout, Reader};
use gatepost::base::digest::Digest;
use gatepost::base::fsio::EXIT_AT_STEP;
use gatepost::demo::mailbox::Mail;
use gatepost::demo::samples::PEOPLE;
use gatepost::demo::server::{Gateway, GatewayOptions};

pub use super::mails::*;

/// What the configuration says beside the constant part.
#[derive(Clone)]
pub struct Setup {
    pub delete: bool,
    pub host: &'static str,
    pub profile: &'static str,
    pub timeout: &'static str,
    /// The catalogue lies outside of the archive.
    pub catalogue_elsewhere: bool,
    pub uidplus: bool,
    pub gmail: bool,
    pub daily_budget: Option<u64>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            delete: true,
            host: "127.0.0.1",
            profile: "journal",
            timeout: "60s",
            catalogue_elsewhere: false,
            uidplus: true,
            gmail: false,
            daily_budget: None,
        }
    }
}

pub struct Bench {
    pub gateway: Arc<Gateway>,
    // Stops after the gateway.
    pub runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    /// Where the archive is looked for.
    root: RefCell<PathBuf>,
    setup: RefCell<Setup>,
    ever: RefCell<Vec<Arc<[u8]>>>,
}

/// What a run said.
pub struct Said {
    /// `None`: it was ended by a signal.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn is_hit(&self) -> bool {
        self.code == Some(EXIT_AT_STEP)
    }

    /// The report of the first profile.
    pub fn report(&self) -> serde_json::Value {
        let all: serde_json::Value = serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self}"));
        all["profiles"][0].clone()
    }

    pub fn alarms(&self) -> String {
        self.report()["alarms"].to_string()
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {:?}\nstdout: {}\nstderr: {}", self.code, self.out, self.err)
    }
}

/// Where a mailbox and its archive have come to, as far as every way there must lead to the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Person, folder, SHA-256 (of a message with several variants the least): rising, with whatever is there
    /// twice.
    pub filings: Vec<(String, &'static str, Digest)>,
    /// Of each mail that was ever on the gateway: what it is in the archive.
    pub mails: BTreeMap<Digest, &'static str>,
    pub items: u64,
    /// What the gateway still holds.
    pub left: Vec<Digest>,
}

/// It was being decoded, the second time alone, at the moment of two crashes, and was so taken for their reason:
/// as it should be, and by chance what happens to a mail that has nothing to do with it.
pub const SUSPECTED: &str = "suspected";

impl State {
    /// The same end; but of what crashes have made suspect only that it is there.
    pub fn is_but_for_suspects(&self, end: &State, when: &str) {
        let suspects = self.mails.values().filter(|what| **what == SUSPECTED).count();
        assert!(suspects <= 2, "{when}: {suspects} suspects");
        assert_eq!(self.items, end.items, "{when}");
        if suspects == 0 {
            assert_eq!(self, end, "{when}");
        }
    }
}

impl Bench {
    pub fn new(setup: Setup) -> Bench {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = GatewayOptions { uidplus: setup.uidplus, gmail: setup.gmail, ..GatewayOptions::default() };
        let gateway = Arc::new(runtime.block_on(Gateway::start(options)).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let root = RefCell::new(folder.path().to_owned());
        let bench = Bench { gateway, runtime, folder, root, setup: RefCell::new(setup), ever: RefCell::default() };
        bench.configure(|_| ());
        bench
    }

    pub fn holding(setup: Setup, items: &[Put]) -> Bench {
        let bench = Bench::new(setup);
        items.iter().for_each(|item| _ = bench.put(item));
        bench
    }

    /// Changes the configuration.
    pub fn configure(&self, change: impl FnOnce(&mut Setup)) {
        let mut setup = self.setup.borrow_mut();
        change(&mut setup);
        let text = configuration(&setup, self.gateway.port());
        std::fs::write(self.folder.path().join("gatepost.toml"), text).unwrap();
    }

    pub fn daily_budget(&self) -> Option<u64> {
        self.setup.borrow().daily_budget
    }

    pub fn put(&self, item: &Put) -> u32 {
        self.ever.borrow_mut().push(item.bytes.clone());
        self.gateway.append("INBOX", item.bytes.clone(), item.date)
    }

    /// Another client took it away before it was archived: it is not looked for any more.
    pub fn forget(&self, digest: &Digest) {
        self.ever.borrow_mut().retain(|bytes| Digest::of(bytes) != *digest);
    }

    /// The server comes back from a backup with these mails, under the same UIDVALIDITY.
    pub fn restore(&self, mails: Vec<Mail>) {
        self.ever.borrow_mut().extend(mails.iter().map(|mail| mail.bytes.clone()));
        self.gateway.restore("INBOX", mails);
    }

    pub fn mails(&self) -> Vec<Mail> {
        let uids = self.gateway.uids("INBOX");
        uids.into_iter().filter_map(|uid| self.gateway.message("INBOX", uid)).collect()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// From now on the archive is the one below this folder (for what runs in this process).
    pub fn look_at(&self, root: &Path) {
        *self.root.borrow_mut() = root.to_owned();
    }

    pub fn archive(&self) -> PathBuf {
        self.root.borrow().join("deep/er/archive")
    }

    pub fn catalogue(&self) -> Option<PathBuf> {
        self.setup.borrow().catalogue_elsewhere.then(|| self.root.borrow().join("catalogue.sqlite3"))
    }

    pub fn layout(&self) -> Layout {
        Layout::new(&self.archive(), self.catalogue().as_deref())
    }

    fn program(&self, arguments: &[&str], fault: Option<&str>) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.arg("--config").arg(self.folder.path().join("gatepost.toml")).args(arguments);
        command.env("GATEPOST_TEST_PASSWORD", "journal").env_remove("GATEPOST_FAULT");
        if let Some(fault) = fault {
            command.env("GATEPOST_FAULT", fault);
        }
        command
    }

    pub fn run(&self, arguments: &[&str], fault: Option<&str>) -> Said {
        let mut command = Command::from_std(self.program(arguments, fault));
        let output = command.timeout(std::time::Duration::from_secs(300)).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// One cycle, with a fault of the file layer or without.
    pub fn once(&self, fault: Option<&str>) -> Said {
        self.run(&["once", "--json"], fault)
    }

    /// Starts a cycle and leaves it running.
    pub fn start(&self) -> std::process::Child {
        let mut command = self.program(&["once"], None);
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
    }

    /// Starts a command and leaves it running, unheard.
    pub fn spawn(&self, arguments: &[&str]) -> std::process::Child {
        let mut command = self.program(arguments, None);
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
    }

    /// The same, with what it says to be read.
    pub fn spawn_heard(&self, arguments: &[&str]) -> std::process::Child {
        let mut command = self.program(arguments, None);
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    }

    pub fn reader(&self) -> Option<Reader> {
        self.archive().exists().then(|| Reader::open(&self.layout()).unwrap())
    }

    /// Must: whatever is no longer on the gateway stands in the archive, byte for byte.
    pub fn nothing_is_lost(&self, when: &str) {
        let there: std::collections::HashSet<Digest> =
            self.mails().iter().map(|mail| Digest::of(&mail.bytes)).collect();
        let archive = self.reader().map(|reader| (reader, Catalogue::of(&self.layout()).unwrap()));
        for bytes in self.ever.borrow().iter() {
            let digest = Digest::of(bytes);
            if there.contains(&digest) {
                continue;
            }
            let Some((reader, catalogue)) = &archive else {
                panic!("{when}: a mail is gone from the gateway and there is no archive");
            };
            let item = catalogue.item_by_sha256(&digest).unwrap();
            let item = item.unwrap_or_else(|| panic!("{when}: mail {digest} is gone and not in the archive"));
            let mut out = Vec::new();
            reader.item_bytes(item, &mut out).unwrap_or_else(|error| panic!("{when}: item {item}: {error}"));
            assert!(out == **bytes, "{when}: item {item} is not what was on the gateway");
        }
    }

    pub fn state(&self) -> State {
        let left: Vec<Digest> = self.mails().iter().map(|mail| Digest::of(&mail.bytes)).collect();
        let mut state = State { filings: Vec::new(), mails: BTreeMap::new(), items: 0, left };
        state.left.sort_unstable();
        let reader = self.reader();
        let catalogue = reader.as_ref().map(|_| Catalogue::of(&self.layout()).unwrap());
        for bytes in self.ever.borrow().iter() {
            let digest = Digest::of(bytes);
            let item = catalogue.as_ref().and_then(|catalogue| catalogue.item_by_sha256(&digest).unwrap());
            let what = match item.map(|item| reader.as_ref().unwrap().item(item).unwrap()) {
                None => "absent",
                Some(item) if item.quarantine.as_deref().is_some_and(|why| why.contains("ended twice")) => SUSPECTED,
                Some(item) if item.quarantine.is_some() => "quarantined",
                Some(_) => "archived",
            };
            state.mails.insert(digest, what);
        }
        let (Some(reader), Some(catalogue)) = (reader, catalogue) else { return state };
        state.items = catalogue.last_item().unwrap();
        let mut entries = Vec::new();
        reader
            .list(&Filter::default(), &mut |entry| {
                entries.push(entry);
                Ok(())
            })
            .unwrap();
        for entry in entries {
            let mut out = Vec::new();
            reader.original_bytes(entry.item, &mut out).unwrap();
            assert_eq!(Digest::of(&out), entry.sha256);
            // Which of two variants of one message came first, and so is shown, is a matter of chance.
            let shown = reader.message(entry.id, None).unwrap().unwrap();
            let variants = shown.filings.iter().map(|filing| reader.item(filing.item).unwrap());
            let least = variants.filter_map(|item| item.message.map(|message| message.sha256)).min().unwrap();
            state.filings.push((entry.person, entry.folder.as_str(), least));
        }
        state.filings.sort_unstable();
        state
    }

    /// Packs and catalogue are whole and say the same; asked within this process.
    pub fn is_whole(&self, when: &str) {
        let report = gatepost::archive::verify(&self.layout(), &Default::default(), &mut |_, _| ()).unwrap();
        assert!(report.ok, "{when}: {report:?}");
        assert!(report.torn_tail.is_none() && report.unacknowledged == 0, "{when}: {report:?}");
    }

    /// What must hold after every run that went through, however it came to it.
    pub fn is_in_order(&self, when: &str) {
        self.nothing_is_lost(when);
        let said = self.run(&["reconcile", "--json"], None);
        assert_eq!(said.code, Some(0), "{when}: {said}");
        let said = self.run(&["verify", "--json"], None);
        assert_eq!(said.code, Some(0), "{when}: {said}");
    }
}

fn configuration(setup: &Setup, port: u16) -> String {
    let Setup { delete, host, profile, timeout, catalogue_elsewhere, uidplus: _, gmail: _, daily_budget } = setup;
    let budget = daily_budget.map(|bytes| format!("daily_budget = \"{bytes}B\"")).unwrap_or_default();
    let catalogue = if *catalogue_elsewhere { "catalogue = \"catalogue.sqlite3\"" } else { "" };
    // Known beforehand: who is not is created by reports and not by plain copies, so that the filing of a
    // plain copy depends on what an earlier run has archived.
    let people: String = PEOPLE.iter().map(|id| format!("[[people.person]]\nid = \"{id}\"\n")).collect();
    format!(
        r#"
[archive]
path = "deep/er/archive"
pack_size = "1MiB"
index = false
{catalogue}

[people]
internal_domains = ["corp.example"]
unknown_internal = "create"
{people}
[[profile]]
name = "{profile}"
delete = {delete}

[profile.imap]
host = "{host}"
port = {port}
tls = "none"
username = "journal@corp.example"
password = {{ env = "GATEPOST_TEST_PASSWORD" }}
timeout = "{timeout}"
{budget}
"#
    )
}

/// Runs `job` for 1, 2, 3 … on as many threads as there are processors, until it said `false` a few times in
/// a row (how many steps a run has differs by a few from run to run). Returns how often it said `true`.
pub fn for_each_step(job: impl Fn(u64) -> bool + Sync) -> u64 {
    for_each_step_on(std::thread::available_parallelism().map_or(2, usize::from).max(2), job)
}

/// The same on so many threads, where steps wait for others most of the time.
pub fn for_each_step_on(threads: usize, job: impl Fn(u64) -> bool + Sync) -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    let (next, hits, misses) = (AtomicU64::new(1), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while misses.load(Relaxed) < 3 {
                    let hit = job(next.fetch_add(1, Relaxed));
                    if hit { &hits } else { &misses }.fetch_add(1, Relaxed);
                }
            });
        }
    });
    hits.into_inner()
}

impl Bench {
    /// Other people than all of the samples', and further lines of the profile, until the next `configure`.
    pub fn reconfigure(&self, people: &str, profile: &str) {
        self.configure(|_| ());
        let path = self.folder.path().join("gatepost.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once("unknown_internal").unwrap();
        let after = &rest[rest.find("[[profile]]").unwrap()..];
        let after = after.replacen("delete = ", &format!("{profile}\ndelete = "), 1);
        std::fs::write(&path, format!("{before}{people}\n{after}")).unwrap();
    }

    /// A command that must end with `code`; the JSON that it prints.
    pub fn json(&self, arguments: &[&str], code: i32) -> serde_json::Value {
        let said = self.run(arguments, None);
        assert_eq!(said.code, Some(code), "{arguments:?}: {said}");
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
    }
}

/// The samples' people as the configuration names them; who is unknown belongs to nobody.
pub fn known_people() -> String {
    let people: String = PEOPLE.iter().map(|id| format!("[[people.person]]\nid = \"{id}\"\n")).collect();
    format!("unknown_internal = \"unassigned\"\n{people}")
}

pub const NOBODY: &str = "unknown_internal = \"unassigned\"";
