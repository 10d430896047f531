//! `gatepost init` on a terminal, driven as a person drives it, against real servers on loopback; from nothing to the
//! first archived mail.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Command;

use gatepost::demo::corpus::Corpus;
use rexpect::session::PtySession;

use crate::support::agent::Said;
use crate::support::dovecot::{Dovecot, PASSWORD, Setup as Imap};
use crate::support::ews::{Ews, Setup, USER};

fn mails(seed: u64, count: usize) -> Vec<Vec<u8>> {
    Corpus::small(seed, count).iter().map(|generated| generated.item).collect()
}

/// A dialogue that asks something else than the test expects waits for ever; it is no measure of speed.
const HANG_MS: u64 = 10 * 60 * 1000;

/// A folder to begin in, with nothing in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.current_dir(self.0.path()).args(arguments).env_remove("GATEPOST_CONFIG").env_remove("GATEPOST_LOG");
        // What is waited for is words.
        command.env("NO_COLOR", "1");
        command
    }

    /// Without a terminal.
    fn run(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(arguments);
        Said::of(command.stdin(std::process::Stdio::null()).output().unwrap())
    }

    fn init(&self, arguments: &[&str]) -> Terminal {
        let config = self.path("gatepost.toml").display().to_string();
        let arguments = [&["init", "--out", &config], arguments].concat();
        let session = rexpect::session::spawn_command(self.command(&arguments), Some(HANG_MS)).unwrap();
        Terminal { session, seen: String::new() }
    }

    fn list(&self) -> Vec<serde_json::Value> {
        let said = self.run(&["list", "--json"]);
        let list: serde_json::Value =
            serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
        list["messages"].as_array().unwrap().clone()
    }
}

/// The program's terminal, and all that was shown on it.
struct Terminal {
    session: PtySession,
    seen: String,
}

impl Terminal {
    /// Reads on to this text.
    fn shows(&mut self, text: &str) -> &mut Terminal {
        let before = self.session.exp_string(text).unwrap_or_else(|error| panic!("{text:?}: {error}\n{}", self.seen));
        self.seen += &before;
        self.seen += text;
        self
    }

    fn types(&mut self, line: &str) -> &mut Terminal {
        self.session.send_line(line).unwrap();
        self
    }

    /// To the end; how the program ended.
    fn ends(mut self) -> (i32, String) {
        self.seen += &self.session.exp_eof().unwrap();
        let status = self.session.process().wait().unwrap();
        let rexpect::process::WaitStatus::Exited(_, code) = status else { panic!("{status:?}\n{}", self.seen) };
        assert!(!self.seen.contains(PASSWORD), "the password was shown: {}", self.seen);
        (code, self.seen)
    }
}

#[test]
fn from_nothing_to_the_first_archived_mail_over_imap() {
    let Some(dovecot) = Dovecot::start(&Imap::default()) else { return };
    dovecot.deliver("journal", "INBOX", mails(91, 5));
    dovecot.deliver("journal", "Junk", mails(92, 2));
    let (place, ca) = (Place::new(), dovecot.ca_file.display().to_string());
    let server = format!("localhost:{}", dovecot.imaps_port);
    let mut terminal = place.init(&[]);
    terminal.shows("a MailStore Gateway").shows("Kind (a number): ").types("1");
    terminal.shows("Login").types("journal");
    // A closed port, then the right one, whose authority is not known here.
    terminal.shows("Server (HOST or HOST:PORT): ").types("localhost:1");
    terminal.shows("refused the connection").shows("hint: nothing listens there");
    terminal.shows("Server (HOST or HOST:PORT): ").types(&server);
    terminal.shows("is not trusted").shows("CN=localhost, issued by CN=gatepost test authority").shows("SHA-256 ");
    terminal.shows("PEM file of that authority").types(&ca);
    terminal.shows("ok       server: ");
    terminal.shows("Password: ").types("not the password");
    terminal.shows("certificate verified").shows("failed   login: ").shows("tried 2 times more");
    terminal.shows("Password: ").types(PASSWORD);
    terminal.shows("ok       login: logged in as journal");
    terminal.shows("1  INBOX: 5 mails, ").shows("2  Junk: 2 mails, ");
    terminal.shows("[1,2]: ").types("");
    terminal.shows("read back and compared").shows("Delete on the gateway? (yes or no) [no]: ").types("yes");
    terminal.shows("Internal domains").types("corp.example");
    terminal.shows("Folder of the archive [").types("mail");
    terminal.shows("Where shall the password be kept?").shows("[1]: ").types("");
    terminal.shows("Written: ");
    terminal.shows("Rehearse now? (yes or no) [yes]: ").types("");
    terminal.shows("would be").shows("nothing was archived, nothing was deleted");
    terminal.shows("Archive now, with a first cycle? (yes or no) [yes]: ").types("");
    terminal.shows("7 archived, ").shows("7 deleted on the gateway");
    let (code, seen) = terminal.ends();
    assert_eq!(code, 0, "{seen}");

    assert!(!place.list().is_empty());
    assert!(dovecot.client("journal").uids("INBOX").is_empty());
    let written = std::fs::read_to_string(place.path("gatepost.toml")).unwrap();
    assert!(written.contains("password = { secret = \"journal\" }") && !written.contains(PASSWORD), "{written}");
    for name in ["gatepost.toml", "secrets/store.json", "secrets/key"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(place.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let check = place.run(&["check"]);
    check.is(0, &["folder Junk: holds 0 items", "delete = true"]);
    assert!(!check.out.contains("warning  configuration"), "{check:#?}");
}

#[test]
fn from_nothing_to_the_first_archived_mail_over_ews() {
    let ews = Ews::start(Setup { tls: true, ntlm: true, ..Setup::default() });
    ews.deliver(mails(93, 4));
    let (place, ca) = (Place::new(), ews.ca_file.clone().unwrap().display().to_string());
    let mut terminal = place.init(&["--kind", "ews", "--ca-file", &ca, "--delete", "no"]);
    terminal.shows("Login").types(&USER.replace("@corp.example", "@corp.invalid"));
    terminal.shows("Looking for servers of corp.invalid").shows("No server was found");
    terminal.shows("Server (a name, or the URL of Exchange Web Services): ").types(&ews.url);
    terminal.shows("ok       server: ");
    terminal.shows("Password: ").types("wrong");
    // NTLM is all that the server takes, so that nobody is asked.
    terminal.shows("failed   login").shows("another login.").shows("Password: ").types("");
    terminal.shows("Login").types(USER);
    terminal.shows("Password: ").types(PASSWORD);
    terminal.shows("(NTLM), server version").shows("may delete in this folder");
    terminal.shows("Internal domains, with commas between [corp.example]: ").types("");
    terminal.shows("Folder of the archive [").types("mail");
    terminal.shows("[1]: ").types("2");
    terminal.shows("Rehearse now? (yes or no) [yes]: ").types("no");
    terminal.shows("Archive now, with a first cycle? (yes or no) [yes]: ").types("yes");
    terminal.shows("4 archived");
    let (code, seen) = terminal.ends();
    assert_eq!(code, 0, "{seen}");
    assert_eq!(ews.left(), 4);
    assert!(!place.list().is_empty() && place.path("mail/packs").is_dir());
    assert_eq!(std::fs::read_to_string(place.path("journal.password")).unwrap(), format!("{PASSWORD}\n"));
    ews.assert_strict();
}

#[test]
fn the_end_of_a_dialogue_leaves_nothing_behind() {
    let Some(dovecot) = Dovecot::start(&Imap::default()) else { return };
    let place = Place::new();
    let (ca, port) = (dovecot.ca_file.display().to_string(), dovecot.imaps_port.to_string());
    let given = ["--kind", "imap", "--user", "journal", "--host", "localhost", "--port", &port, "--ca-file", &ca];
    for at_password in [true, false] {
        let mut terminal = if at_password { place.init(&given) } else { place.init(&[]) };
        let handle = terminal.session.process().get_file_handle().unwrap();
        let state = || {
            let state = rustix::termios::tcgetattr(handle.as_fd()).unwrap();
            (state.local_modes, state.input_modes)
        };
        terminal.shows(if at_password { "Password: " } else { "Kind (a number): " });
        let asked = state();
        terminal.session.send_control('c').unwrap();
        terminal.shows("stopped; nothing was written");
        let (code, seen) = terminal.ends();
        assert_eq!(code, 1, "{seen}");
        let lines = rustix::termios::LocalModes::ICANON | rustix::termios::LocalModes::ISIG;
        assert!(state().0.contains(lines), "the terminal is as it was: {:?}", state());
        assert_eq!(at_password, asked.0 != state().0, "a password is read without the terminal's help");
    }
    // Three refusals, and no fourth try.
    let mut terminal = place.init(&given);
    for _ in 0..3 {
        terminal.shows("Password: ").types("wrong");
        terminal.shows("failed   login: ");
    }
    terminal.shows("the login was refused three times");
    let (code, seen) = terminal.ends();
    assert_eq!(code, 3, "{seen}");
    assert_eq!(std::fs::read_dir(place.0.path()).unwrap().count(), 0, "nothing was written");
}

/// An authority mends nothing there, so that none is asked for.
#[test]
fn an_expired_certificate_leads_to_another_server() {
    let Some(dovecot) = Dovecot::start(&Imap { expired_certificate: true, ..Imap::default() }) else { return };
    let place = Place::new();
    let (ca, port) = (dovecot.ca_file.display().to_string(), dovecot.imaps_port.to_string());
    let given = ["--kind", "imap", "--user", "journal", "--host", "localhost", "--port", &port, "--ca-file", &ca];
    let mut terminal = place.init(&given);
    terminal.shows("is expired or not yet valid").shows("valid from 2001-01-01 to 2002-01-01");
    terminal.shows("hint: renew the certificate on the server").shows("Server (HOST or HOST:PORT): ");
    terminal.session.send_control('c').unwrap();
    let (code, seen) = terminal.ends();
    assert!(code == 1 && !seen.contains("PEM file"), "{seen}");
}

#[test]
fn a_script_answers_everything_up_front() {
    let Some(dovecot) = Dovecot::start(&Imap::default()) else { return };
    dovecot.deliver("journal", "INBOX", mails(94, 3));
    let place = Place::new();
    let (ca, port) = (dovecot.ca_file.display().to_string(), dovecot.imaps_port.to_string());
    std::fs::write(place.path("secret"), format!("{PASSWORD}\n")).unwrap();
    place.run(&["init"]).is(1, &["no terminal to ask on", "--kind imap|ews"]);
    let archive = place.path("mail").display().to_string();
    let given = ["init", "--kind", "imap", "--user", "journal", "--host", "localhost", "--port", &port];
    let given = [&given[..], &["--archive", &archive]].concat();
    place.run(&given).is(3, &["is not trusted", "SHA-256"]);
    let given = [&given[..], &["--ca-file", &ca]].concat();
    place.run(&given).is(1, &["\"Password\" is not answered", "--password-env NAME"]);
    let given = [&given[..], &["--password-file", "secret"]].concat();
    place.run(&given).is(1, &["Folders", "--folder NAME", "--yes"]);
    place.run(&[&given[..], &["--yes"]].concat()).is(1, &["Internal domains", "--domain NAME"]);
    let given = [&given[..], &["--yes", "--domain", "corp.example", "--then", "once"]].concat();
    let config = place.path("gatepost.toml").display().to_string();
    let given = [&given[..], &["--out", &config]].concat();
    place.run(&given).is(0, &["3 archived", "Written: "]);
    place.run(&given).is(1, &["Replace it?", "--overwrite"]);
    place.run(&[&given[..], &["--overwrite"]].concat()).is(0, &["nothing new"]);
    std::fs::write(place.path("secret"), "wrong\n").unwrap();
    place.run(&[&given[..], &["--overwrite"]].concat()).is(3, &["login: "]);
}
