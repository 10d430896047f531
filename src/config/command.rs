//! `password = { command = … }`: a program that prints a secret, such as a password manager's.
//!
//! It gets no input, [`TIME_MAX`], and room for [`OUTPUT_BYTES_MAX`]; then it is ended with all that it started.
//! Its environment is gatepost's without the variables in which the configuration keeps other secrets. What it
//! prints is the secret and goes nowhere else; neither does the command itself, which may be the secret that
//! somebody put into the wrong place. What it says on standard error is told when it fails, without the lines that
//! repeat what it printed.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::base::process::Group;
use crate::net::clean;

const TIME_MAX: Duration = Duration::from_secs(30);
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
const STDERR_BYTES_MAX: usize = 8 * 1024;
/// Codes by which a shell says that it did not find a program, or may not run it.
const NOT_RUN: [i32; 2] = [126, 127];

/// Variables that hold secrets, as far as the configuration says so; shared by all commands of a file, since those
/// that are named below a command count, too.
pub type SecretVariables = Arc<Mutex<BTreeSet<String>>>;

#[derive(Clone)]
pub struct SecretCommand {
    pub words: Words,
    /// The configuration's folder: where it runs, and where a relative program is.
    pub folder: PathBuf,
    pub hidden: SecretVariables,
    time_max: Duration,
}

#[derive(Clone)]
pub enum Words {
    /// For the system's shell.
    Line(String),
    /// A program and its arguments, which no shell sees.
    List(Vec<String>),
}

/// Why there is no secret, and what to do.
pub type Failed = (String, String);

impl fmt::Debug for SecretCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl SecretCommand {
    pub fn new(words: Words, folder: &Path, hidden: SecretVariables) -> SecretCommand {
        SecretCommand { words, folder: folder.to_owned(), hidden, time_max: TIME_MAX }
    }

    /// What may be said of it.
    pub fn kind(&self) -> &'static str {
        match &self.words {
            Words::Line(_) => "a command for the shell",
            Words::List(_) => "a command",
        }
    }

    /// What it prints.
    pub fn run(&self) -> Result<Zeroizing<Vec<u8>>, Failed> {
        let not_started = |error: io::Error| {
            let hint = "try it as the user that gatepost runs as; a service's PATH is short, so name the whole path";
            (format!("the command cannot be started: {error}"), hint.to_owned())
        };
        let mut command = self.command();
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in self.hidden.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter() {
            command.env_remove(name);
        }
        let end = Instant::now() + self.time_max;
        let mut group = Group::spawn(command).map_err(not_started)?;
        let out = read(group.output(), OUTPUT_BYTES_MAX);
        let err = read(group.complaints(), STDERR_BYTES_MAX);
        let ended = wait(&mut group, &out, end);
        let status = match ended {
            Ok(status) => status,
            Err(why) => {
                group.kill();
                return Err(why.told(self.time_max));
            }
        };
        let (status, printed) = status;
        if status.success() {
            return Ok(printed);
        }
        // What it started may hold the pipe open, so that it is not waited for long.
        let said = err.recv_timeout(end.saturating_duration_since(Instant::now())).unwrap_or_default();
        let code = status.code().map_or_else(|| "by a signal".to_owned(), |code| format!("with code {code}"));
        let hint = "run it by hand as the user that gatepost runs as".to_owned();
        if matches!(self.words, Words::Line(_)) && status.code().is_some_and(|code| NOT_RUN.contains(&code)) {
            let hint = "name a program; a password itself does not belong there".to_owned();
            return Err((format!("the shell cannot run the command: it ended {code}"), hint));
        }
        let said = self.shown(&said.bytes, &printed);
        let said = if said.is_empty() { "and said nothing".to_owned() } else { format!("and said: {said}") };
        Err((format!("the command ended {code} {said}"), hint))
    }

    fn command(&self) -> Command {
        match &self.words {
            #[cfg(unix)]
            Words::Line(line) => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(line);
                command
            }
            #[cfg(not(unix))]
            Words::Line(line) => {
                use std::os::windows::process::CommandExt as _;
                let mut command = Command::new("cmd");
                // The shell parses the rest by itself; quoting it again would change it.
                command.raw_arg("/D /S /C \"").raw_arg(line).raw_arg("\"");
                command
            }
            Words::List(words) => {
                let (program, arguments) = words.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
                let here = Path::new(program);
                // Without a folder in it, PATH is searched.
                let program = if here.components().count() > 1 { self.folder.join(here) } else { here.to_owned() };
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
        }
    }

    /// Standard error without what may be the secret: lines of the shell, which repeat the command, and lines that
    /// hold what was printed, or the command itself.
    fn shown(&self, said: &[u8], printed: &[u8]) -> String {
        let printed = String::from_utf8_lossy(printed);
        let command = match &self.words {
            Words::Line(line) => line.trim(),
            Words::List(_) => "",
        };
        let secrets = printed.lines().map(str::trim).chain([command]).filter(|text| !text.is_empty());
        let secrets: Vec<&str> = secrets.collect();
        let mut hidden = false;
        let said = String::from_utf8_lossy(said);
        let lines = said.lines().filter(|line| {
            let shell = ["sh:", "/bin/sh:"].iter().any(|shell| line.starts_with(shell));
            let tells = shell || secrets.iter().any(|secret| line.contains(secret));
            hidden |= tells;
            !tells
        });
        let shown = clean(&lines.collect::<Vec<_>>().join("\n"));
        match (shown.is_empty(), hidden) {
            (true, true) => "(something that may hold the secret)".to_owned(),
            (_, _) => shown,
        }
    }
}

enum Why {
    TooSlow,
    TooLong,
    Lost(io::Error),
}

impl Why {
    fn told(self, limit: Duration) -> Failed {
        match self {
            Why::TooSlow => {
                let what = format!("the command took longer than {}, and was ended", humantime::format_duration(limit));
                (what, "it cannot ask anybody: it must print the secret by itself, and end".into())
            }
            Why::TooLong => (
                "the command prints more than a secret can be".into(),
                "it prints the secret alone, in one line".into(),
            ),
            Why::Lost(error) => (format!("the command cannot be followed: {error}"), "try again".into()),
        }
    }
}

/// Until the program has ended and closed its output.
fn wait(
    group: &mut Group,
    out: &Receiver<Piece>,
    end: Instant,
) -> Result<(std::process::ExitStatus, Zeroizing<Vec<u8>>), Why> {
    let printed = out.recv_timeout(end.saturating_duration_since(Instant::now())).map_err(|_| Why::TooSlow)?;
    if printed.more {
        return Err(Why::TooLong);
    }
    loop {
        match group.try_wait() {
            Ok(Some(status)) => return Ok((status, printed.bytes)),
            Ok(None) if Instant::now() >= end => return Err(Why::TooSlow),
            // It has closed its output, so that this is short.
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
            Err(error) => return Err(Why::Lost(error)),
        }
    }
}

#[derive(Default)]
struct Piece {
    bytes: Zeroizing<Vec<u8>>,
    /// There was more than was asked for.
    more: bool,
}

/// Reads to the end, or to one byte more than `bytes_max`; on a thread, because a pipe has no time-out. The thread
/// is not waited for: it ends when the last holder of the pipe does.
fn read(pipe: Option<impl Read + Send + 'static>, bytes_max: usize) -> Receiver<Piece> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut read = Piece { bytes: Zeroizing::new(Vec::with_capacity(bytes_max + 1)), more: false };
        if let Some(mut pipe) = pipe {
            // What was read before an error is what there is.
            let _ = pipe.by_ref().take(bytes_max as u64 + 1).read_to_end(&mut read.bytes);
            read.more = read.bytes.len() > bytes_max;
            read.bytes.truncate(bytes_max);
            // Nobody waits for it when the program was given up.
            let _ = send.send(read);
            // A program that goes on talking must not hang for it.
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
    });
    receive
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(line: &str) -> SecretCommand {
        SecretCommand::new(Words::Line(line.into()), Path::new("/"), SecretVariables::default())
    }

    fn list(words: &[&str]) -> SecretCommand {
        let words = Words::List(words.iter().map(|&word| word.to_owned()).collect());
        SecretCommand::new(words, Path::new("/"), SecretVariables::default())
    }

    fn printed(command: &SecretCommand) -> Result<String, String> {
        let done = command.run();
        done.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).map_err(|(what, hint)| format!("{what}; {hint}"))
    }

    #[test]
    fn a_line_is_for_the_shell_and_a_list_is_not() {
        assert_eq!(printed(&shell("printf hun; echo ter2 | cat")).unwrap(), "hunter2\n");
        assert_eq!(printed(&list(&["/bin/echo", "$HOME;", "a  b"])).unwrap(), "$HOME; a  b\n");
        assert_eq!(printed(&list(&["echo", "x"])).unwrap(), "x\n");
        // Nobody is asked.
        assert_eq!(printed(&shell("cat; echo end")).unwrap(), "end\n");
    }

    #[test]
    fn a_relative_program_is_in_the_configurations_folder() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("tell");
        std::fs::write(&program, "#!/bin/sh\npwd\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let here = std::fs::canonicalize(folder.path()).unwrap();
        let told = SecretCommand { folder: folder.path().into(), ..list(&["./tell"]) };
        assert_eq!(printed(&told).unwrap().trim(), here.to_str().unwrap());
    }

    #[test]
    fn other_secrets_are_not_in_its_environment() {
        // Cargo sets this one for every test.
        const NAME: &str = "CARGO_MANIFEST_DIR";
        assert!(printed(&shell("env")).unwrap().contains(NAME));
        let command = shell("env");
        command.hidden.lock().unwrap().insert(NAME.into());
        assert!(!printed(&command).unwrap().contains(NAME));
    }

    #[test]
    fn what_fails_is_told_in_its_own_words_without_the_secret() {
        let said = printed(&shell("echo hunter2; echo 'no such \x1b[31mentry' >&2; exit 3")).unwrap_err();
        assert!(said.starts_with("the command ended with code 3 and said: no such [31mentry; "), "{said}");
        let said = printed(&shell("kill -9 $$")).unwrap_err();
        assert!(said.starts_with("the command ended by a signal and said nothing"), "{said}");
        for tells in [
            // What was printed is said again, and other things with it.
            "w=hunt; echo ${w}er2; echo \"wrong: ${w}er2\" >&2; echo 'may be said' >&2; exit 1",
            "set -x; w=$(printf hunt; printf er2); echo $w; exit 1",
            // The password in the wrong place.
            "hunter2",
            "hunter2 and more",
            "/hunter2",
            "hunter2(",
            "hunter2'",
            "echo a; hunter2; exit 1",
            "${hunter2?}",
        ] {
            let said = printed(&shell(tells)).unwrap_err();
            assert!(!said.contains("hunter2"), "{tells}: {said}");
        }
        assert!(printed(&shell("w=hunt; echo ${w}er2; echo may be said >&2; exit 1")).unwrap_err().contains("may be"));
        let said = printed(&list(&["hunter2"])).unwrap_err();
        assert!(said.starts_with("the command cannot be started: ") && !said.contains("hunter2"), "{said}");
        assert!(!format!("{:?}", shell("echo hunter2")).contains("hunter2"));
        assert!(!format!("{:?}", list(&["echo", "hunter2"])).contains("hunter2"));
    }

    /// Whether a process of this number is there and not only waiting to be counted.
    fn lives(id: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    #[test]
    fn what_takes_too_long_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let ended = |at: usize, rest: &str| {
            let path = folder.path().join(at.to_string());
            let line = format!("sleep 1000 & echo $! >{0}; sh -c 'echo $$ >>{0}; sleep 1000' & {rest}", path.display());
            let command = SecretCommand { time_max: Duration::from_secs(2), ..shell(&line) };
            let said = printed(&command).unwrap_err();
            assert!(said.starts_with("the command took longer than 2s, and was ended"), "{rest}: {said}");
            let ids = std::fs::read_to_string(&path).unwrap();
            assert!(!ids.is_empty());
            // The kernel ends them when it comes to it.
            for id in ids.lines() {
                while lives(id) {
                    std::thread::yield_now();
                }
            }
        };
        std::thread::scope(|scope| {
            for (at, rest) in ["wait", "exec >&- 2>&-; wait", "exit 0"].into_iter().enumerate() {
                let ended = &ended;
                scope.spawn(move || ended(at, rest));
            }
        });
    }

    #[test]
    fn what_prints_without_end_is_ended() {
        let said = printed(&shell("yes hunter2")).unwrap_err();
        assert!(said.starts_with("the command prints more than a secret can be"), "{said}");
        // Standard error without end is none of its output, and no reason to hang.
        let noisy = shell("head -c 1000000 /dev/zero | tr '\\0' x >&2; echo hunter2");
        assert_eq!(printed(&noisy).unwrap(), "hunter2\n");
    }
}
