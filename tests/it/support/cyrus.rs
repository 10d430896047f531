//! A real Cyrus on loopback: its own port, configuration and mail store, gone when dropped.
//!
//! It runs as the tests' user, or as `nobody` where that is root. Who may log in is asked of a socket as `saslauthd` has
//! one, which the test answers: everybody with the right password.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::dovecot::{Client, PASSWORD, free_port};

const ADMIN: &str = "admin";
/// The second is where `tests/run` unpacks what cannot be installed beside another IMAP server.
const PROGRAMS: [&str; 2] = ["/usr/lib/cyrus/bin", "/usr/local/lib/gatepost-tests/cyrus/usr/lib/cyrus/bin"];

pub struct Cyrus {
    child: Child,
    master: PathBuf,
    dir: tempfile::TempDir,
    pub imap_port: u16,
    owner: Option<&'static str>,
}

impl Cyrus {
    /// `None`: the server cannot be had here, and the test is skipped.
    pub fn start() -> Option<Cyrus> {
        // A free port may be taken by another test before the server binds it.
        let mut reason = String::new();
        for _ in 0..4 {
            match Cyrus::try_start() {
                Ok(cyrus) => return Some(cyrus),
                Err(said) => reason = said,
            }
        }
        super::skip(&reason);
        None
    }

    fn try_start() -> Result<Cyrus, String> {
        let program = |name: &str| PROGRAMS.iter().map(|at| Path::new(at).join(name)).find(|path| path.exists());
        let missing = "Cyrus is not here (Debian, as root: tests/run --prepare)";
        let [master, imapd, recover] = ["master", "imapd", "ctl_cyrusdb"].map(|name| program(name).ok_or(missing));
        let (master, imapd, recover) = (master?, imapd?.display().to_string(), recover?.display().to_string());
        let text = |error: std::io::Error| error.to_string();
        let dir = tempfile::Builder::new().prefix("gp-cyrus-").tempdir().map_err(text)?;
        let is_root = said("id", &["-u"])? == "0";
        let user = if is_root { "nobody".to_owned() } else { said("id", &["-un"])? };
        let at = dir.path().display();
        for name in ["", "conf", "conf/db", "conf/socket", "spool", "proc", "lock"] {
            fs::create_dir_all(dir.path().join(name)).map_err(text)?;
        }
        // The path to a Unix socket must be short; this one is read by the server itself.
        serve_logins(&dir.path().join("sasl"))?;
        let imap_port = free_port();
        let config = format!(
            "configdirectory: {at}/conf\npartition-default: {at}/spool\ndefaultpartition: default\nproc_path: {at}/proc\n\
             mboxname_lockpath: {at}/lock\ncyrus_user: {user}\nadmins: {ADMIN}\nallowplaintext: yes\n\
             sasl_pwcheck_method: saslauthd\nsasl_saslauthd_path: {at}/sasl\nsasl_mech_list: PLAIN LOGIN\n\
             failedloginpause: 0\nautocreate_quota: 0\nautocreate_users: anyone\nunixhierarchysep: yes\n\
             expunge_mode: immediate\ndelete_mode: immediate\nservername: localhost\nsyslog_prefix: gatepost-test\n"
        );
        fs::write(dir.path().join("imapd.conf"), config).map_err(text)?;
        let services = format!(
            "START {{\n recover cmd=\"{recover} -C {at}/imapd.conf -r\"\n}}\nSERVICES {{\n \
             imap cmd=\"{imapd} -C {at}/imapd.conf\" listen=\"127.0.0.1:{imap_port}\" prefork=1\n}}\nEVENTS {{\n}}\n"
        );
        fs::write(dir.path().join("cyrus.conf"), services).map_err(text)?;
        let owner = is_root.then_some("nobody");
        own(owner, dir.path());
        let child = spawn(&master, dir.path())?;
        let mut cyrus = Cyrus { child, master, dir, imap_port, owner };
        cyrus.wait_until_up()?;
        Ok(cyrus)
    }

    fn wait_until_up(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.imap_port)) {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
                let mut greeting = [0; 300];
                if let Ok(count) = stream.read(&mut greeting)
                    && String::from_utf8_lossy(&greeting[..count]).contains("Cyrus")
                {
                    return Ok(());
                }
            }
            if self.child.try_wait().is_ok_and(|status| status.is_some()) || Instant::now() > deadline {
                self.stop();
                let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                return Err(format!("Cyrus does not come up: {log}"));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    pub fn client(&self, user: &str) -> Client {
        Client::log_in(self.imap_port, user)
    }

    /// Throws a mailbox away; the next login makes it anew, with another UIDVALIDITY.
    pub fn throw_away(&self, user: &str) {
        let mut admin = self.client(ADMIN);
        admin.run(&format!("SETACL user/{user} {ADMIN} lrswipkxtecda"));
        admin.run(&format!("DELETE user/{user}"));
    }

    /// The files of all mails.
    pub fn files(&self) -> Vec<PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![self.dir.path().join("spool")]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                let name = entry.file_name().into_string().unwrap();
                if path.is_dir() {
                    folders.push(path);
                } else if name.strip_suffix('.').is_some_and(|number| number.parse::<u32>().is_ok()) {
                    files.push(path);
                }
            }
        }
        files
    }

    /// Everything that the server knows, as it is now.
    pub fn back_up(&mut self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        self.stop();
        for name in ["conf", "spool"] {
            copy_all(&self.dir.path().join(name), copy.path());
        }
        self.go_on();
        copy
    }

    pub fn restore(&mut self, copy: &tempfile::TempDir) {
        self.stop();
        for name in ["conf", "spool"] {
            fs::remove_dir_all(self.dir.path().join(name)).unwrap();
            copy_all(&copy.path().join(name), self.dir.path());
        }
        self.go_on();
    }

    fn go_on(&mut self) {
        own(self.owner, self.dir.path());
        self.child = spawn(&self.master, self.dir.path()).unwrap();
        self.wait_until_up().unwrap();
    }

    /// A TERM, so that the master takes its children along.
    fn stop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Cyrus {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(program: &Path, dir: &Path) -> Result<Child, String> {
    let at = dir.display();
    Command::new(program)
        .args(["-C", &format!("{at}/imapd.conf"), "-M", &format!("{at}/cyrus.conf")])
        .args(["-p", &format!("{at}/master.pid"), "-L", &format!("{at}/log")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{} does not start: {error}", program.display()))
}

/// What `saslauthd` is asked: login, password, service and realm, each behind its length; it answers in the same way.
fn serve_logins(path: &Path) -> Result<(), String> {
    let listener = UnixListener::bind(path).map_err(|error| error.to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).map_err(|error| error.to_string())?;
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream);
        }
    });
    Ok(())
}

fn answer(mut stream: UnixStream) -> std::io::Result<()> {
    let mut asked = Vec::new();
    for _ in 0..4 {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut text = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut text)?;
        asked.push(text);
    }
    let said: &[u8] = if asked[1] == PASSWORD.as_bytes() { b"OK" } else { b"NO" };
    stream.write_all(&(said.len() as u16).to_be_bytes())?;
    stream.write_all(said)
}

fn said(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn own(owner: Option<&str>, path: &Path) {
    if let Some(owner) = owner {
        assert!(Command::new("chown").arg("-R").arg(owner).arg(path).status().unwrap().success());
    }
}

pub(super) fn copy_all(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}
