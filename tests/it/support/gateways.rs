//! Every kind of gateway as the contract sees it: a mailbox that mails are put into, that other clients change, and that
//! the program polls.

use std::fs;
use std::path::{Path, PathBuf};

use gatepost::config;
use gatepost::sources::SourceOptions;

use super::agent::{Agent, Config};
use super::cut::Cut;
use super::cyrus::{self, Cyrus};
use super::dovecot::{Client, Dovecot, PASSWORD, Setup};
use super::ews::{Ews, Reply, Store, USER as EWS_USER};

pub const USER: &str = "journal";

pub trait Gateway: Sized {
    /// The folder of an identity that was thrown away is told from the one that follows it.
    const RESET_IS_TOLD: bool = true;
    /// A mail that other clients take away while it is being polled is told from one that cannot be given.
    const VANISHING_IS_TOLD: bool = true;

    /// `None`: it cannot be had here, and the test is skipped.
    fn start() -> Option<Self>;

    fn port(&self) -> u16;

    /// The table of the profile that polls it, at this port.
    fn table(&self, port: u16) -> String;

    fn deliver(&self, mails: &[Vec<u8>]);

    /// What it holds, sorted.
    fn held(&self) -> Vec<Vec<u8>>;

    /// Another client deletes the mail of this subject.
    fn remove(&self, subject: &str);

    /// The same mails in the same order, as if the mailbox had been made anew.
    fn reset(&mut self);

    /// Lets time go back to where it stood before `meanwhile`.
    fn forget(&mut self, meanwhile: impl FnOnce(&Self));

    /// The next connections, or calls, find it too busy.
    fn is_busy(&self, proxy: &Cut);

    /// A mail that it lists and has no bytes of.
    fn deliver_empty(&self);
}

/// A configuration of one deleting profile on a gateway, at this port; all bytes of the mails are believed.
pub fn configuration(gateway: &impl Gateway, port: u16, profile: &str) -> String {
    format!(
        "[archive]\npath = \"archive\"\nindex = false\n\n[people]\ninternal_domains = [\"corp.example\"]\nunknown_internal = \"create\"\n\n\
         [[profile]]\nname = \"journal\"\n{profile}\n\n{}\n",
        gateway.table(port)
    )
}

pub fn agent(gateway: &impl Gateway, profile: &str) -> Agent {
    let agent = Agent::new(&Config::at(0));
    agent.configure_text(&configuration(gateway, gateway.port(), profile));
    agent
}

/// What the table of a profile says, for a source within this process.
pub fn options(table: &str) -> SourceOptions {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("password");
    fs::write(&secret, PASSWORD).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let from_file = format!("password = {{ file = {secret:?} }}");
    let table = table.replace(&password(), &from_file);
    assert!(table.contains(&from_file));
    let file = folder.path().join("gatepost.toml");
    let text = format!("[archive]\npath = \"archive\"\n[[profile]]\nname = \"journal\"\ndelete = true\n{table}");
    fs::write(&file, text).unwrap();
    let settings = config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
    settings.profiles[0].source_options().unwrap()
}

pub fn password() -> String {
    format!("password = {{ env = \"{}\" }}", super::agent::PASSWORD_VARIABLE)
}

/// In clear text, to this machine.
pub fn table(kind: &str, port: u16, user: &str) -> String {
    format!(
        "[profile.{kind}]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nusername = \"{user}\"\n{}\ntimeout = \"60s\"",
        password()
    )
}

pub fn ews_table(port: u16, further: &str) -> String {
    let user = if further.contains("username") { String::new() } else { format!("username = \"{EWS_USER}\"\n") };
    format!(
        "[profile.ews]\nurl = \"http://localhost:{port}/EWS/Exchange.asmx\"\n{user}{further}\n{}\ntimeout = \"60s\"",
        password()
    )
}

fn remove_by(client: &mut Client, subject: &str) {
    client.run("SELECT INBOX");
    let found = client.run(&format!("UID SEARCH SUBJECT \"{subject}\""));
    let uid = found.iter().find_map(|line| line.strip_prefix("* SEARCH ")).unwrap().trim().to_owned();
    client.run(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)"));
    client.run(&format!("UID EXPUNGE {uid}"));
}

fn sorted(mut mails: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    mails.sort();
    mails
}

fn read_all(files: impl IntoIterator<Item = PathBuf>) -> Vec<Vec<u8>> {
    sorted(files.into_iter().map(|file| fs::read(file).unwrap()).collect())
}

// --- Dovecot ---------------------------------------------------------------------------------------

fn maildir_files(dovecot: &Dovecot, user: &str) -> Vec<PathBuf> {
    let folders = ["new", "cur"].map(|name| dovecot.maildir(user).join(name));
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn forget_all(dovecot: &Dovecot, meanwhile: impl FnOnce()) {
    let (at, copy) = (dovecot.maildir(USER), tempfile::tempdir().unwrap());
    cyrus::copy_all(&at, copy.path());
    meanwhile();
    fs::remove_dir_all(&at).unwrap();
    cyrus::copy_all(&copy.path().join(USER), at.parent().unwrap());
}

/// UIDs, and with them UIDVALIDITY and UIDLs, are given anew.
fn renumber(maildir: &Path) {
    for name in ["dovecot-uidlist", "dovecot.index", "dovecot.index.cache", "dovecot.index.log", "dovecot.index.log.2"]
    {
        let _ = fs::remove_file(maildir.join(name));
    }
}

pub struct DovecotImap(Dovecot);

impl Gateway for DovecotImap {
    fn start() -> Option<DovecotImap> {
        Dovecot::start(&Setup::default()).map(DovecotImap)
    }

    fn port(&self) -> u16 {
        self.0.imap_port
    }

    fn table(&self, port: u16) -> String {
        table("imap", port, USER)
    }

    fn deliver(&self, mails: &[Vec<u8>]) {
        self.0.deliver(USER, "INBOX", mails);
    }

    fn held(&self) -> Vec<Vec<u8>> {
        read_all(maildir_files(&self.0, USER))
    }

    fn remove(&self, subject: &str) {
        remove_by(&mut self.0.client(USER), subject);
    }

    fn reset(&mut self) {
        renumber(&self.0.maildir(USER));
    }

    fn forget(&mut self, meanwhile: impl FnOnce(&Self)) {
        forget_all(&self.0, || meanwhile(self));
    }

    fn is_busy(&self, proxy: &Cut) {
        proxy.greet_once("* BYE [UNAVAILABLE] Too many connections\r\n");
    }

    fn deliver_empty(&self) {
        self.deliver(&[Vec::new()]);
    }
}

pub struct DovecotPop3(Dovecot);

impl Gateway for DovecotPop3 {
    // A mailbox of POP3 has no identity: its mails are known by theirs, and are just others then.
    const RESET_IS_TOLD: bool = false;
    const VANISHING_IS_TOLD: bool = false;

    fn start() -> Option<DovecotPop3> {
        Dovecot::start(&Setup::default()).map(DovecotPop3)
    }

    fn port(&self) -> u16 {
        self.0.pop3_port
    }

    fn table(&self, port: u16) -> String {
        table("pop3", port, USER)
    }

    fn deliver(&self, mails: &[Vec<u8>]) {
        self.0.deliver(USER, "INBOX", mails);
    }

    fn held(&self) -> Vec<Vec<u8>> {
        read_all(maildir_files(&self.0, USER))
    }

    fn remove(&self, subject: &str) {
        remove_by(&mut self.0.client(USER), subject);
    }

    fn reset(&mut self) {
        renumber(&self.0.maildir(USER));
    }

    fn forget(&mut self, meanwhile: impl FnOnce(&Self)) {
        forget_all(&self.0, || meanwhile(self));
    }

    fn is_busy(&self, proxy: &Cut) {
        proxy.greet_once("-ERR [SYS/TEMP] Too many connections\r\n");
    }

    fn deliver_empty(&self) {
        self.deliver(&[Vec::new()]);
    }
}

// --- Cyrus -----------------------------------------------------------------------------------------

pub struct CyrusImap(Cyrus);

impl Gateway for CyrusImap {
    fn start() -> Option<CyrusImap> {
        Cyrus::start().map(CyrusImap)
    }

    fn port(&self) -> u16 {
        self.0.imap_port
    }

    fn table(&self, port: u16) -> String {
        table("imap", port, USER)
    }

    fn deliver(&self, mails: &[Vec<u8>]) {
        let mut client = self.0.client(USER);
        mails.iter().for_each(|mail| client.append("INBOX", mail));
    }

    fn held(&self) -> Vec<Vec<u8>> {
        read_all(self.0.files())
    }

    fn remove(&self, subject: &str) {
        remove_by(&mut self.0.client(USER), subject);
    }

    fn reset(&mut self) {
        let validity = || {
            let lines = self.0.client(USER).run("SELECT INBOX");
            lines.into_iter().find(|line| line.contains("[UIDVALIDITY"))
        };
        let (before, mut files) = (validity(), self.0.files());
        let number = |path: &PathBuf| path.file_stem().and_then(|name| name.to_str()?.parse::<u32>().ok());
        files.sort_by_key(number);
        let mails: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        // It counts seconds.
        while validity() == before {
            self.0.throw_away(USER);
        }
        self.deliver(&mails);
    }

    fn forget(&mut self, meanwhile: impl FnOnce(&Self)) {
        let copy = self.0.back_up();
        meanwhile(self);
        self.0.restore(&copy);
    }

    fn is_busy(&self, proxy: &Cut) {
        proxy.greet_once("* BYE [UNAVAILABLE] Too many connections\r\n");
    }

    fn deliver_empty(&self) {
        let before = self.0.files();
        self.deliver(&[b"From: a@corp.example\r\nSubject: lost\r\n\r\nIts file is lost.\r\n".to_vec()]);
        let new = self.0.files().into_iter().find(|file| !before.contains(file)).unwrap();
        fs::write(new, b"").unwrap();
    }
}

// --- Exchange Web Services -------------------------------------------------------------------------

pub struct EmbeddedEws(pub Ews);

impl Gateway for EmbeddedEws {
    fn start() -> Option<EmbeddedEws> {
        Some(EmbeddedEws(Ews::plain()))
    }

    fn port(&self) -> u16 {
        self.0.port
    }

    fn table(&self, port: u16) -> String {
        ews_table(port, "")
    }

    fn deliver(&self, mails: &[Vec<u8>]) {
        self.0.deliver(mails);
    }

    fn held(&self) -> Vec<Vec<u8>> {
        sorted(self.0.with(|store| store.items.iter().map(|item| item.mime.clone()).collect()))
    }

    fn remove(&self, subject: &str) {
        let line = format!("Subject: {subject}\r\n");
        self.0.with(|store| {
            let is_it = |mime: &[u8]| memchr::memmem::find(mime, line.as_bytes()).is_some();
            let at = store.items.iter().position(|item| is_it(&item.mime)).unwrap();
            store.items.remove(at);
        });
    }

    fn reset(&mut self) {
        self.0.with(Store::make_inbox_anew);
    }

    fn forget(&mut self, meanwhile: impl FnOnce(&Self)) {
        let then = self.0.with(|store| store.back_up());
        meanwhile(self);
        self.0.with(|store| store.restore(then));
    }

    fn is_busy(&self, _: &Cut) {
        self.0.hook(|call, _| {
            let is_first = call.before == 0 && call.operation == "SyncFolderItems";
            is_first.then(|| Reply::Http(503, "Retry-After: 1\r\n".into(), "<title>Busy</title>".into()))
        });
    }

    fn deliver_empty(&self) {
        self.deliver(&[Vec::new()]);
    }
}
