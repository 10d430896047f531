//! `gatepost secret` as a user runs it: from a pipe and at a terminal, as the right user and the wrong one.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::agent::{Agent, Config, Said};

const WORD: &str = "correct horse battery staple";

fn agent() -> Agent {
    let agent = Agent::new(&Config::at(1));
    agent.configure_text(&Config::at(1).text().replace("env = \"GATEPOST_TEST_PASSWORD\"", "secret = \"journal\""));
    agent
}

fn piped(agent: &Agent, arguments: &[&str], input: &[u8]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.arg("--config").arg(agent.path("gatepost.toml")).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have refused before it read.
    let _ = child.stdin.take().unwrap().write_all(input);
    let said = Said::of(child.wait_with_output().unwrap());
    assert!(!said.out.contains(WORD) && !said.err.contains(WORD), "{said:#?}");
    said
}

fn set(agent: &Agent, name: &str, input: &str) -> Said {
    piped(agent, &["secret", "set", name], input.as_bytes())
}

fn got(agent: &Agent, name: &str) -> Option<String> {
    let vault = gatepost::config::vault(&agent.path("gatepost.toml"));
    vault.get(name).ok().map(|secret| secret.expose().to_owned())
}

#[test]
fn a_secret_comes_through_a_pipe_and_is_listed_and_removed() {
    let agent = agent();
    agent.run(&["secret", "list"]).is(0, &["there are no secrets in", "gatepost secret set NAME"]);
    set(&agent, "journal", &format!("{WORD}\n")).is(0, &["the secret journal is kept in", "{ secret = \"journal\" }"]);
    assert_eq!(got(&agent, "journal").as_deref(), Some(WORD));
    set(&agent, "ldap", "other\r\n").is(0, &["the secret ldap is kept in"]);
    assert_eq!(got(&agent, "ldap").as_deref(), Some("other"));
    set(&agent, "ldap", "another").is(0, &["the secret ldap is replaced in"]);
    assert_eq!(got(&agent, "ldap").as_deref(), Some("another"));
    agent.run(&["secret", "list"]).is(0, &["NAME", "SET", "journal", "ldap"]);
    let listed = agent.json(&["secret", "list", "--json"], 0);
    let names: Vec<_> = listed["secrets"].as_array().unwrap().iter().map(|entry| entry["name"].clone()).collect();
    assert_eq!(names, ["journal", "ldap"]);
    agent.run(&["secret", "remove", "ldap"]).is(0, &["the secret ldap is removed"]);
    agent.run(&["secret", "remove", "ldap"]).is(1, &["there is no secret ldap", "gatepost secret list"]);
    assert_eq!(got(&agent, "ldap"), None);
    assert_eq!(got(&agent, "journal").as_deref(), Some(WORD));
}

#[test]
fn what_is_no_secret_changes_nothing() {
    let agent = agent();
    for (input, said) in [
        (&b""[..], "the secret is empty"),
        (b"\n", "the secret is empty"),
        (b"correct horse battery staple\nsecond", "more than one line"),
        (b"correct\0horse", "more than one line"),
        (b"\xff\xfe", "is not UTF-8"),
        (&[b'x'; 70_000], "longer than 64 KiB"),
    ] {
        piped(&agent, &["secret", "set", "journal"], input).is(1, &[said, "nothing was changed"]);
    }
    assert!(!agent.path("secrets").exists());
}

/// Every process of the machine can read arguments, and shells keep them.
#[test]
fn a_secret_is_never_taken_from_an_argument_nor_repeated() {
    let agent = agent();
    for arguments in [
        &["secret", "set", "journal", WORD][..],
        &["secret", "set", "journal", "-x", WORD],
        &["secret", "set", "journal", "--", WORD],
    ] {
        piped(&agent, arguments, b"x\n").is(1, &["never taken from the command line", "hint:"]);
    }
    for arguments in [&["secret", "set", WORD][..], &["secret", "remove", WORD]] {
        piped(&agent, arguments, b"x\n").is(1, &["that is no name for a secret"]);
    }
    let said = piped(&agent, &["secret", "set", &format!("--password={WORD}"), "journal"], b"x\n");
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(!agent.path("secrets").exists());
}

#[test]
fn a_damaged_store_stops_and_is_left_as_it_is() {
    let agent = agent();
    set(&agent, "journal", WORD).is(0, &[]);
    let store = agent.path("secrets").join("store.json");
    for damaged in ["", "{}", "{\"format\":1"] {
        std::fs::write(&store, damaged).unwrap();
        for said in
            [set(&agent, "journal", "new"), agent.run(&["secret", "list"]), agent.run(&["secret", "remove", "x"])]
        {
            said.is(1, &["store.json is damaged", "hint: restore it from a backup"]);
        }
        agent.run(&["once"]).is(1, &["gatepost.toml:", "journal", "store.json is damaged"]);
        assert_eq!(std::fs::read_to_string(&store).unwrap(), damaged);
    }
    assert!(!agent.archive().exists(), "nothing is made when a password cannot be had");
}

#[test]
fn a_secret_that_is_not_there_is_told_before_anything_is_made() {
    let agent = agent();
    agent.run(&["once"]).is(1, &["gatepost.toml:", "there is no secret of that name", "gatepost secret set NAME"]);
    assert!(!agent.archive().exists());
    agent.run(&["config", "show"]).is(0, &["from = \"secret\"", "a secret that is not in"]);
}

/// `script` gives the program a terminal; both are waited for at the end.
#[cfg(unix)]
fn at_a_terminal(agent: &Agent, answers: &[&str]) -> (Option<i32>, String) {
    let gatepost = env!("CARGO_BIN_EXE_gatepost");
    let line = format!("'{gatepost}' --config '{}' secret set journal", agent.path("gatepost.toml").display());
    let mut child = Command::new("script")
        .args(["-q", "-e", "-c", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut seen, mut answered) = (Vec::new(), 0);
    let mut bytes = [0; 1024];
    loop {
        // A terminal whose program has ended is an error in place of an end.
        let count = output.read(&mut bytes).unwrap_or(0);
        if count == 0 {
            break;
        }
        seen.extend_from_slice(&bytes[..count]);
        // Typed when it is asked for, as people do: the echo is off by then.
        let asked = String::from_utf8_lossy(&seen).matches(": ").count();
        while answered < asked.min(answers.len()) {
            input.write_all(format!("{}\n", answers[answered]).as_bytes()).unwrap();
            input.flush().unwrap();
            answered += 1;
        }
    }
    drop(input);
    (child.wait().unwrap().code(), String::from_utf8_lossy(&seen).into_owned())
}

#[cfg(unix)]
#[test]
fn at_a_terminal_a_secret_is_asked_for_twice_without_being_shown() {
    let agent = agent();
    let (code, shown) = at_a_terminal(&agent, &[WORD, WORD]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains(WORD), "{shown}");
    assert!(shown.contains("secret journal") && shown.contains("is kept in"), "{shown}");
    assert_eq!(got(&agent, "journal").as_deref(), Some(WORD));
    let (code, shown) = at_a_terminal(&agent, &["another", "onother"]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("are not the same") && !shown.contains("other"), "{shown}");
    assert_eq!(got(&agent, "journal").as_deref(), Some(WORD));
}

#[cfg(unix)]
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A store that root leaves behind is one that the service cannot read.
#[cfg(unix)]
#[test]
fn root_is_told_to_write_secrets_as_the_user_of_the_service() {
    use std::os::unix::fs::chown;
    // Only root can make what belongs to others.
    if !is_root() {
        return;
    }
    const SERVICE: u32 = 4_000_001;
    // The archive is the service's.
    let agent = agent();
    std::fs::create_dir(agent.archive()).unwrap();
    chown(agent.archive(), Some(SERVICE), None).unwrap();
    let config = agent.path("gatepost.toml");
    let command = format!("sudo -u '#{SERVICE}' gatepost --config {} secret set journal", config.display());
    let folder = agent.path("secrets");
    let install = format!("install -d -o '#{SERVICE}' -m 700 {} && {command}", folder.display());
    set(&agent, "journal", WORD).is(1, &["gatepost runs as '#4000001' here", &install]);
    assert!(!folder.exists());
    // The folder is there and the service's.
    std::fs::create_dir(&folder).unwrap();
    chown(&folder, Some(SERVICE), None).unwrap();
    set(&agent, "journal", WORD).is(1, &["belongs to '#4000001'", &command]);
    let inside: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(inside, Vec::<PathBuf>::new());
}
