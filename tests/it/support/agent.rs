//! The program as a user runs it: a configuration in a folder of its own, and what the commands say.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::dovecot::{Dovecot, PASSWORD};

/// The variable from which the configuration takes the password.
pub const PASSWORD_VARIABLE: &str = "GATEPOST_TEST_PASSWORD";

/// A folder with a configuration; the archive that it names is made by the first run.
pub struct Agent {
    folder: tempfile::TempDir,
    pub password: String,
    /// Further variables of the process.
    pub environment: Vec<(String, String)>,
}

/// What one command came to.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A configuration of one profile on an IMAP server; the fields are its TOML.
#[derive(Clone, Debug)]
pub struct Config {
    pub name: &'static str,
    /// `imap`, `pop3`.
    pub kind: &'static str,
    pub host: String,
    pub port: u16,
    pub tls: &'static str,
    pub login: String,
    /// The lines of `[people]`, and what tables follow it.
    pub people: String,
    /// Further lines of `[[profile]]`.
    pub profile: String,
    /// Further lines of `[profile.imap]`.
    pub imap: String,
}

impl Config {
    pub fn plain(dovecot: &Dovecot) -> Config {
        Config::at(dovecot.imap_port)
    }

    /// Plaintext to a port of this machine.
    pub fn at(port: u16) -> Config {
        Config {
            name: "journal",
            kind: "imap",
            host: "127.0.0.1".into(),
            port,
            tls: "none",
            login: "username = \"journal\"".into(),
            people: "internal_domains = [\"corp.example\"]\nunknown_internal = \"create\"".into(),
            profile: "delete = true".into(),
            imap: String::new(),
        }
    }

    /// POP3 in clear text.
    pub fn pop3(port: u16) -> Config {
        Config { kind: "pop3", ..Config::at(port) }
    }

    pub fn with_profile(self, lines: &str) -> Config {
        Config { profile: lines.into(), ..self }
    }

    pub fn with_people(self, lines: &str) -> Config {
        Config { people: lines.into(), ..self }
    }

    pub fn text(&self) -> String {
        format!("[archive]\npath = \"archive\"\nindex = false\n\n[people]\n{}\n\n{}", self.people, self.profile_text())
    }

    /// A further profile for the same archive.
    pub fn profile_text(&self) -> String {
        let Config { name, kind, host, port, tls, login, people: _, profile, imap } = self;
        format!(
            "[[profile]]\nname = \"{name}\"\n{profile}\n\n\
             [profile.{kind}]\nhost = \"{host}\"\nport = {port}\ntls = \"{tls}\"\n{login}\n\
             password = {{ env = \"{PASSWORD_VARIABLE}\" }}\ntimeout = \"60s\"\n{imap}\n"
        )
    }
}

impl Agent {
    pub fn new(config: &Config) -> Agent {
        let agent = Agent { folder: tempfile::tempdir().unwrap(), password: PASSWORD.into(), environment: Vec::new() };
        agent.configure(config);
        agent
    }

    /// Another configuration for the same archive.
    pub fn configure(&self, config: &Config) {
        self.configure_text(&config.text());
    }

    pub fn configure_text(&self, text: &str) {
        std::fs::write(self.path("gatepost.toml"), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn archive(&self) -> PathBuf {
        self.path("archive")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // A measurement is about the release build.
        let binary = std::env::var_os("GATEPOST_TEST_BINARY");
        let mut command = Command::new(binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_gatepost").into()));
        command.arg("--config").arg(self.path("gatepost.toml")).args(arguments);
        command.env(PASSWORD_VARIABLE, &self.password).env_remove("GATEPOST_LOG");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments).output().unwrap())
    }

    /// A command that goes on; the caller waits for it.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// Runs a command that must end with `code`; the JSON that it prints.
    pub fn json(&self, arguments: &[&str], code: i32) -> Value {
        let said = self.run(arguments);
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:#?}");
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said:#?}"))
    }

    /// One cycle that must end with `code`; the report of its one profile, whose counts add up.
    pub fn once(&self, code: i32) -> Value {
        let report = self.json(&["once", "--json"], code)["profiles"][0].clone();
        let dispositions =
            ["archived", "already_archived", "quarantined", "unfetchable", "excluded", "vanished", "failed", "pending"];
        let sum: u64 = dispositions.iter().map(|key| count(&report, key)).sum();
        assert_eq!(count(&report, "listed"), sum, "the counts do not add up: {report}");
        report
    }

    pub fn list(&self) -> Vec<Value> {
        self.json(&["list", "--json"], 0)["messages"].as_array().unwrap().clone()
    }

    pub fn head(&self) -> String {
        self.json(&["status", "--json"], 0)["archive"]["head"].as_str().unwrap_or_default().to_owned()
    }

    /// Number of differences between the gateway and what is recorded of it.
    pub fn differences(&self) -> usize {
        let said = self.run(&["reconcile", "--json"]);
        let result: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
        let differences = result["profiles"][0]["differences"].as_array().unwrap().len();
        assert_eq!(said.code, Some(if differences == 0 { 0 } else { 2 }), "{said:#?}");
        differences
    }

    /// Bytes of all packs.
    pub fn pack_bytes(&self) -> u64 {
        let packs = std::fs::read_dir(self.archive().join("packs")).unwrap();
        packs.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }
}

pub fn count(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap_or_else(|| panic!("{key} is no number: {report}"))
}

/// The alarms of a report, as one text.
pub fn alarms(report: &Value) -> String {
    report["alarms"].to_string()
}

impl Said {
    pub fn of(output: std::process::Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Ended with `code`, said each of `words`, and no secret.
    pub fn is(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for word in words {
            assert!(self.err.contains(word) || self.out.contains(word), "{word:?} is missing: {self:#?}");
        }
        assert!(!self.err.contains("panicked"), "{self:#?}");
        assert!(!self.err.contains(PASSWORD) && !self.out.contains(PASSWORD), "the password was shown: {self:#?}");
    }
}

/// A number of KiB from `/proc/PID/status`, such as `VmHWM`; `None` when the process has ended.
pub fn memory_kib(process: u32, key: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

/// Waits for a process and tells its peak of memory in KiB. The kernel forgets the peak when a process
/// ends, so it is asked for again and again; it never falls.
pub fn wait_with_peak(mut child: Child) -> (Said, u64) {
    let id = child.id();
    let mut peak = 0;
    let mut pipes = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
            scope.spawn(move || {
                let mut text = String::new();
                pipe.map(|mut pipe| pipe.read_to_string(&mut text).unwrap());
                text
            })
        };
        let out = read(pipes.0.take().map(|pipe| Box::new(pipe) as _));
        let err = read(pipes.1.take().map(|pipe| Box::new(pipe) as _));
        let status = loop {
            peak = peak.max(memory_kib(id, "VmHWM").unwrap_or(0));
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        (Said { code: status.code(), out: out.join().unwrap(), err: err.join().unwrap() }, peak)
    })
}

/// SHA-256 of a file, as `sha256sum` prints it.
pub fn sha256_of(path: &Path) -> String {
    gatepost::base::digest::Digest::of(&std::fs::read(path).unwrap()).to_string()
}
