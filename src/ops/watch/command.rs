//! An alarm given to a program: as JSON on its standard input, and in variables.
//!
//! It has so much time; then it is ended with all that it started. Variables that hold secrets of the configuration are not
//! handed on.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::agent::alarms::Message;
use crate::base::process::Group;
use crate::config::watch::CommandTarget;
use crate::net::clean;

const STDERR_BYTES_MAX: u64 = 4 * 1024;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Runs the program and waits for it. Blocks the thread.
pub fn run(target: &CommandTarget, message: &Message, json: &[u8]) -> Result<(), String> {
    let end = Instant::now() + target.timeout;
    let mut group = Group::spawn(command(target, message)).map_err(|error| {
        format!("the command cannot be started: {error} (a service's PATH is short; name the whole path)")
    })?;
    if let Some(mut input) = group.input() {
        let json = json.to_owned();
        // A program that does not read it must not hold us up.
        std::thread::spawn(move || input.write_all(&json));
    }
    let (tell, told) = std::sync::mpsc::channel();
    if let Some(complaints) = group.complaints() {
        std::thread::spawn(move || {
            let mut said = Vec::new();
            // What cannot be read was not said.
            let _ = complaints.take(STDERR_BYTES_MAX).read_to_end(&mut said);
            let _ = tell.send(said);
        });
    }
    let status = loop {
        match group.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() >= end => {
                group.kill();
                let limit = humantime::format_duration(target.timeout);
                return Err(format!("the command took longer than {limit}, and was ended"));
            }
            Ok(None) => std::thread::sleep(LOOK_AGAIN),
            Err(error) => {
                group.kill();
                return Err(format!("the command cannot be followed: {error}"));
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    // What it started may hold the pipe open, so that it is not waited for long.
    let said = told.recv_timeout(Duration::from_millis(500)).unwrap_or_default();
    let said = clean(&String::from_utf8_lossy(&said));
    let code = status.code().map_or_else(|| "by a signal".to_owned(), |code| format!("with code {code}"));
    let said = if said.is_empty() { "and said nothing".to_owned() } else { format!("and said: {said}") };
    Err(format!("the command ended {code} {said}"))
}

fn command(target: &CommandTarget, message: &Message) -> Command {
    let (program, arguments) = target.run.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    let here = Path::new(program);
    // Without a folder in it, PATH is searched.
    let program = if here.components().count() > 1 { target.folder.join(here) } else { here.to_owned() };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&target.folder);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    for name in target.hidden.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter() {
        command.env_remove(name);
    }
    for (name, value) in variables(message) {
        command.env(format!("GATEPOST_ALARM_{name}"), value.replace('\0', ""));
    }
    command
}

fn variables(message: &Message) -> [(&'static str, String); 10] {
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    [
        ("KEY", message.key.clone()),
        ("KIND", message.kind.clone()),
        ("STATE", word(serde_json::json!(message.state))),
        ("SEVERITY", message.severity.as_str().to_owned()),
        ("PROFILE", message.profile.clone().unwrap_or_default()),
        ("TEXT", message.text.clone()),
        ("HINT", message.hint.clone().unwrap_or_default()),
        ("SINCE", message.since.to_string()),
        ("AT", message.at.to_string()),
        ("HEAD", message.head.map(|head| head.to_string()).unwrap_or_default()),
    ]
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::deliver::sample;
    use super::*;
    use crate::agent::alarms::Severity;

    fn target(script: &str, timeout: Duration, folder: &Path) -> CommandTarget {
        CommandTarget {
            run: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            timeout,
            folder: folder.to_owned(),
            hidden: std::sync::Arc::default(),
            from_severity: Severity::Warning,
        }
    }

    #[test]
    fn a_program_gets_the_alarm_twice_over() {
        let dir = tempfile::tempdir().unwrap();
        let script = "cat > in.json; printf '%s|%s|%s' \"$GATEPOST_ALARM_SEVERITY\" \"$GATEPOST_ALARM_STATE\" \
                      \"$GATEPOST_ALARM_TEXT\" > env";
        let target = target(script, Duration::from_secs(30), dir.path());
        let message = sample("2026-03-01T06:00:00Z".parse().unwrap());
        run(&target, &message, b"{\"a\":1}").unwrap();
        assert_eq!(std::fs::read(dir.path().join("in.json")).unwrap(), b"{\"a\":1}");
        let env = std::fs::read_to_string(dir.path().join("env")).unwrap();
        assert_eq!(env, format!("warning|event|{}", message.text));
    }

    #[test]
    fn a_program_that_fails_or_hangs_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let message = sample("2026-03-01T06:00:00Z".parse().unwrap());
        let failed = run(&target("echo no network >&2; exit 7", Duration::from_secs(30), dir.path()), &message, b"");
        assert_eq!(failed.unwrap_err(), "the command ended with code 7 and said: no network");
        let began = Instant::now();
        // It does not read its input, and what it started goes with it.
        let hung =
            run(&target("sleep 60 & sleep 60", Duration::from_millis(300), dir.path()), &message, &[b'x'; 1 << 20]);
        assert!(hung.unwrap_err().contains("and was ended"));
        assert!(began.elapsed() < Duration::from_secs(20));
        let missing =
            CommandTarget { run: vec!["/nowhere/page".into()], ..target("", Duration::from_secs(1), dir.path()) };
        assert!(run(&missing, &message, b"").unwrap_err().contains("cannot be started"));
    }
}
