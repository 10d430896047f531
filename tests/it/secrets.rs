//! No secret is in what gatepost says, logs, archives or passes on: every command, every kind of login, good and
//! refused, at trace level, and then a search for the secrets in every form that they are sent in.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost::base::secret::Secret;

use crate::support::agent::{Agent, Config};
use crate::support::dovecot::{Dovecot, PASSWORD, Setup as Imap};
use crate::support::ews::{Ews, Setup, USER};
use crate::support::slapd::{PASSWORD as LDAP_PASSWORD, READER, SUFFIX, Slapd, user};

/// With what has another form in a URL, in base64, in JSON and in UTF-16.
const WRONG: &str = "wrong+horse/9 \"\u{e4}\\&";
const VARIABLE: &str = "GATEPOST_TEST_SECRET";

/// Every form in which a secret could be told, with its name.
fn forms(secret: &str) -> BTreeMap<String, Vec<u8>> {
    let mut forms = BTreeMap::new();
    let mut add = |name: &str, bytes: Vec<u8>| forms.insert(name.to_owned(), bytes);
    let utf16: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
    add("as it is", secret.into());
    add("UTF-16", utf16.clone());
    add("Debug", format!("{secret:?}").trim_matches('"').into());
    add("JSON", serde_json::to_string(secret).unwrap().trim_matches('"').into());
    add(
        "JSON, ASCII",
        secret
            .chars()
            .map(|c| if c.is_ascii() { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) })
            .collect::<String>()
            .into(),
    );
    for (kind, bytes) in [("UTF-8", secret.as_bytes()), ("UTF-16", &utf16)] {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        add(&format!("hex of {kind}"), hex.clone().into());
        add(&format!("HEX of {kind}"), hex.to_uppercase().into());
        let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
        add(&format!("bytes of {kind}"), numbers.join(", ").into());
        // Within a longer text, base64 has one of three forms; what depends on the neighbours is left out.
        for before in 0..3 {
            let text = STANDARD.encode([&vec![0; before][..], bytes].concat());
            let whole = &text[[0, 2, 3][before]..(before + bytes.len()) * 8 / 6];
            add(&format!("base64 of {kind} at {before}"), whole.into());
            add(&format!("base64url of {kind} at {before}"), whole.replace('+', "-").replace('/', "_").into());
        }
    }
    for (name, space) in [("URL", "%20"), ("form", "+")] {
        let byte = |byte: u8| match byte {
            b' ' => space.to_owned(),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => (byte as char).to_string(),
            byte => format!("%{byte:02X}"),
        };
        let coded: String = secret.bytes().map(byte).collect();
        add(&format!("{name} in lower case"), coded.to_lowercase().into());
        add(name, coded.into());
    }
    forms
}

/// The forms of the secrets that are in `text`.
fn told(text: &[u8], secrets: &[&str]) -> Vec<String> {
    let in_text = |form: &[u8]| memchr::memmem::find(text, form).is_some();
    let all = secrets.iter().flat_map(|secret| forms(secret).into_iter().map(move |(name, form)| (secret, name, form)));
    all.filter(|(_, _, form)| in_text(form)).map(|(secret, name, _)| format!("{secret}: {name}")).collect()
}

#[test]
fn the_search_finds_a_secret_in_every_form() {
    for secret in [PASSWORD, WRONG] {
        assert!(told(b"nothing of it", &[secret]).is_empty());
        for (name, form) in forms(secret) {
            let found = told(&[b"x", &form[..], b"y"].concat(), &[secret]);
            assert!(found.iter().any(|found| found.ends_with(&name)), "{name}");
        }
        for user in ["a", "ab", "abc"] {
            let plain = STANDARD.encode(format!("\0{user}\0{secret}"));
            let basic = STANDARD.encode(format!("{user}:{secret}"));
            assert!(!told(plain.as_bytes(), &[secret]).is_empty() && !told(basic.as_bytes(), &[secret]).is_empty());
        }
    }
}

/// Servers of all kinds, and a configuration that reads them with secrets from all kinds of places.
struct World {
    agent: Agent,
    _servers: (Dovecot, Slapd, Ews, Ews),
}

const PROFILES: usize = 6;

impl World {
    fn start() -> Option<World> {
        let dovecot = Dovecot::start(&Imap::default())?;
        let person = user("Anna", "00112233-4455-6677-8899-aabbccddeeff", &["mail: anna@corp.example"]);
        let slapd = Slapd::start(&person)?;
        let (basic, ntlm) = (Ews::plain(), Ews::start(Setup { ntlm: true, ..Setup::default() }));
        let mail =
            |to: &str| format!("From: x@partner.example\r\nTo: {to}\r\nSubject: one\r\n\r\nText\r\n").into_bytes();
        for user in ["journal", "second", "third", "fourth"] {
            dovecot.deliver(user, "INBOX", [mail("anna@corp.example")]);
        }
        basic.deliver([mail("anna@corp.example")]);
        ntlm.deliver([mail("anna@corp.example")]);

        // What the command sees is written down beside it.
        let command = "tr '\\\\0' '\\\\n' </proc/self/environ >child.environ; tr '\\\\0' '\\\\n' </proc/$PPID/cmdline >parent.cmdline; cat command.secret";
        let profile =
            |name: &str, source: &str| format!("[[profile]]\nname = \"{name}\"\ndelete = false\n{source}\n\n");
        let (imap, pop3) = (dovecot.imap_port, dovecot.pop3_port);
        let near = |port: u16| format!("host = \"127.0.0.1\"\nport = {port}\ntls = \"none\"");
        let text = format!(
            "[archive]\npath = \"archive\"\n\n[people]\ninternal_domains = [\"corp.example\"]\n\
             unknown_internal = \"create\"\n[people.ldap]\nurl = \"ldap://127.0.0.1:{}\"\nbind_dn = \"{READER}\"\n\
             password = {{ file = \"ldap.secret\" }}\nbase = \"{SUFFIX}\"\nrefresh = \"0s\"\n\n",
            slapd.ldap_port
        ) + &profile(
            "imap-plain",
            &format!("[profile.imap]\n{}\nusername = \"journal\"\npassword = {{ env = \"{VARIABLE}\" }}", near(imap)),
        ) + &profile(
            "imap-login",
            &format!(
                "[profile.imap]\n{}\nusername = \"second\"\nauth = \"login\"\npassword = {{ secret = \"second\" }}",
                near(imap)
            ),
        ) + &profile(
            "pop3-user",
            &format!(
                "[profile.pop3]\n{}\nusername = \"third\"\nauth = \"user\"\npassword = {{ command = [\"/bin/sh\", \"-c\", \"{command}\"] }}",
                near(pop3)
            ),
        ) + &profile(
            "pop3-plain",
            &format!(
                "[profile.pop3]\n{}\nusername = \"fourth\"\nauth = \"plain\"\npassword = {{ command = \"cat command.secret\" }}",
                near(pop3)
            ),
        ) + &profile(
            "ews-basic",
            &format!(
                "[profile.ews]\nurl = \"{}\"\nusername = \"{USER}\"\npassword = {{ file = \"ews.secret\" }}",
                basic.url
            ),
        ) + &profile(
            "ews-ntlm",
            &format!(
                "[profile.ews]\nurl = \"{}\"\nauth = \"ntlm\"\nusername = \"CORP\\\\journal\"\npassword = {{ credential = \"ntlm.secret\" }}",
                ntlm.url
            ),
        );
        let agent = Agent::new(&Config::at(1));
        agent.configure_text(&text);
        Some(World { agent, _servers: (dovecot, slapd, basic, ntlm) })
    }

    /// Puts `password` into all places, and `ldap` into the directory's.
    fn keep(&self, password: &str, ldap: &str) {
        for name in ["ews.secret", "command.secret", "ntlm.secret"] {
            write_private(&self.agent.path(name), password);
        }
        write_private(&self.agent.path("ldap.secret"), ldap);
        let vault = gatepost::config::vault(&self.agent.path("gatepost.toml"));
        vault.set("second", &Secret::new(password.to_owned())).unwrap();
    }

    fn command(&self, arguments: &[&str], password: &str, json: bool) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.arg("--config").arg(self.agent.path("gatepost.toml")).args(arguments);
        command.env(VARIABLE, password).env("CREDENTIALS_DIRECTORY", self.agent.path(""));
        command.env("GATEPOST_LOG", "trace").env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
        if json {
            command.env("GATEPOST_LOG_FORMAT", "json");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command; it ends with `code` and tells nothing.
    fn quiet(&self, arguments: &[&str], password: &str, code: i32) -> String {
        let mut all = String::new();
        for json in [false, true] {
            let output = self.command(arguments, password, json).output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&said).into_owned();
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
            assert_eq!(told(&said, SECRETS), Vec::<String>::new(), "{arguments:?}: {text}");
            all += &text;
        }
        all
    }

    /// The next command tries its logins, however often they were refused.
    fn forget_refusals(&self) {
        match std::fs::remove_file(self.agent.archive().join("logins.json")) {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
        }
    }

    /// The agent, until each profile has had a cycle.
    fn run(&self, password: &str) -> String {
        let mut child = self.command(&["run"], password, false).spawn().unwrap();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let (mut text, mut cycles) = (String::new(), 0);
        while cycles < PROFILES {
            let before = text.len();
            assert_ne!(err.read_line(&mut text).unwrap(), 0, "it ended: {text}");
            cycles += usize::from(text[before..].contains(" cycle profile="));
        }
        let arguments = std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
        assert!(!arguments.is_empty());
        terminate(&child);
        err.read_to_string(&mut text).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [&output.stdout, text.as_bytes(), &arguments].concat();
        assert_eq!(told(&said, SECRETS), Vec::<String>::new(), "{text}");
        text
    }

    /// Nothing but the places of secrets holds one.
    fn assert_nothing_kept(&self) {
        let mut files = Vec::new();
        walk(&self.agent.path(""), &mut files);
        for name in ["store.json", "catalogue.sqlite3", "000001.pack.zst", "child.environ", "parent.cmdline"] {
            assert!(files.iter().any(|path| path.ends_with(name)), "{name} is missing: {files:?}");
        }
        for path in files.iter().filter(|path| path.extension().is_none_or(|end| end != "secret")) {
            let bytes = std::fs::read(path).unwrap();
            assert_eq!(told(&bytes, SECRETS), Vec::<String>::new(), "{}", path.display());
            // Packs are compressed.
            if path.extension().is_some_and(|end| end == "zst") {
                let plain = zstd::decode_all(&bytes[..]).unwrap();
                assert_eq!(told(&plain, SECRETS), Vec::<String>::new(), "{}", path.display());
            }
        }
        let seen = |name: &str| std::fs::read_to_string(self.agent.path(name)).unwrap();
        assert!(seen("child.environ").contains("PATH=") && seen("parent.cmdline").contains("--config"));
    }
}

const SECRETS: &[&str] = &[PASSWORD, LDAP_PASSWORD, WRONG];

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}

fn terminate(child: &Child) {
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn no_secret_is_told_kept_or_passed_on() {
    let Some(world) = World::start() else { return };
    world.keep(PASSWORD, LDAP_PASSWORD);
    for (arguments, code) in [
        (&["check"][..], 0),
        (&["check", "--json"], 0),
        (&["once", "--json"], 0),
        (&["once", "--dry-run", "--json"], 0),
        (&["people", "refresh", "--json"], 0),
    ] {
        world.quiet(arguments, PASSWORD, code);
    }
    let text = world.run(PASSWORD);
    assert!(text.contains("outcome=") && !text.contains("cycle failed"), "{text}");
    assert!(text.contains("DEBUG logged in to the gateway"), "trace level is off: {text}");
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["people", "--json"],
        &["list", "--json"],
        &["quarantine", "list", "--json"],
        &["refile", "--json"],
        &["reconcile", "--json"],
        &["verify", "--json"],
        &["head", "--json"],
        &["config", "show"],
        &["config", "show", "--json"],
        &["secret", "list"],
        &["secret", "list", "--json"],
    ] {
        world.quiet(arguments, PASSWORD, 0);
    }
    // Refused everywhere, the directory included.
    world.keep(WRONG, WRONG);
    for (arguments, said) in [
        (&["check", "--json"][..], "imap-plain"),
        (&["once", "--json"], "ews-ntlm"),
        (&["once", "--dry-run"], "imap-login"),
        (&["reconcile"], "imap-plain"),
    ] {
        world.forget_refusals();
        let text = world.quiet(arguments, WRONG, 3);
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
    world.forget_refusals();
    let text = world.run(WRONG);
    assert!(text.matches("cycle failed").count() >= PROFILES, "{text}");
    world.quiet(&["status", "--json"], WRONG, 0);
    world.assert_nothing_kept();
}

#[test]
fn a_mistaken_configuration_is_told_without_its_password() {
    let base = Config::at(1).text();
    let shape = format!("{{ env = \"{}\" }}", crate::support::agent::PASSWORD_VARIABLE);
    let quoted = serde_json::to_string(WRONG).unwrap();
    for (what, text) in [
        ("a literal", base.replace(&shape, &quoted)),
        ("a literal and a mistake", base.replace(&shape, &quoted).replace("port = 1", "port = \"1\"")),
        ("no quotes", base.replace(&shape, WRONG)),
        ("no end", base.replace(&shape, &quoted[..quoted.len() - 1])),
        ("twice", base.replace(&shape, &format!("{quoted}\npassword = {quoted}"))),
        ("as a variable", base.replace(&shape, &format!("{{ env = {quoted} }}"))),
        ("as a secret", base.replace(&shape, &format!("{{ secret = {quoted} }}"))),
        ("as a credential", base.replace(&shape, &format!("{{ credential = {quoted} }}"))),
        ("as a command", base.replace(&shape, &format!("{{ command = {quoted} }}"))),
        ("as a program", base.replace(&shape, &format!("{{ command = [{quoted}] }}"))),
        ("as a key", base.replace(&shape, &format!("{{ {quoted} = \"x\" }}"))),
        ("as a table", base.replace("[profile.imap]", &format!("[profile.imap.{quoted}]"))),
    ] {
        let agent = Agent::new(&Config::at(1));
        agent.configure_text(&text);
        for arguments in [&["check", "--json"][..], &["once"], &["config", "show"], &["run"]] {
            // It is no mistake, so that the agent would run on.
            if what == "a literal" && arguments == ["run"] {
                continue;
            }
            let said = agent.run(arguments);
            // To be shown, a configuration need not work.
            assert!(said.code != Some(0) || arguments == ["config", "show"], "{what} {arguments:?}: {said:#?}");
            let all = said.out + &said.err;
            assert_eq!(told(all.as_bytes(), &[WRONG]), Vec::<String>::new(), "{what} {arguments:?}: {all}");
        }
    }
}

/// A server that repeats in its refusal what it was sent, line by line.
fn parrot(greeting: &'static str, answer: fn(&str) -> String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut lines = BufReader::new(client.try_clone().unwrap());
            let mut client = client;
            let _ = client.write_all(greeting.as_bytes());
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|count| count > 0) {
                if client.write_all(answer(line.trim_end()).as_bytes()).is_err() {
                    break;
                }
                line.clear();
            }
        }
    });
    port
}

fn imap_parrot(line: &str) -> String {
    let (tag, rest) = line.split_once(' ').unwrap_or(("*", line));
    match rest {
        "CAPABILITY" => format!("* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\n{tag} OK done\r\n"),
        rest => format!("{tag} NO [AUTHENTICATIONFAILED] cannot do {rest}\r\n"),
    }
}

fn pop3_parrot(line: &str) -> String {
    match line {
        "CAPA" => "+OK\r\nUSER\r\nSASL PLAIN\r\n.\r\n".into(),
        "AUTH PLAIN" => "+ \r\n".into(),
        user if user.starts_with("USER") => "+OK\r\n".into(),
        line => format!("-ERR cannot do {line}\r\n"),
    }
}

/// What a server says goes into errors, reports and the archive's record of runs.
#[test]
fn a_server_that_repeats_the_login_does_not_get_it_into_a_report() {
    const WORD: &str = "hunter2\"\\x";
    let imap = parrot("* OK ready\r\n", imap_parrot);
    let pop3 = parrot("+OK ready\r\n", pop3_parrot);
    for (config, auth) in [
        (Config::at(imap), "plain"),
        (Config::at(imap), "login"),
        (Config::pop3(pop3), "user"),
        (Config::pop3(pop3), "plain"),
    ] {
        let config = Config { imap: format!("auth = \"{auth}\""), ..config };
        let mut agent = Agent::new(&config);
        agent.password = WORD.into();
        for arguments in [&["once", "--json"][..], &["check"], &["status", "--json"]] {
            let said = agent.run(arguments);
            let all = said.out + &said.err;
            assert!(all.contains("(secret)"), "{auth} {arguments:?}: {all}");
            assert_eq!(told(all.as_bytes(), &[WORD]), Vec::<String>::new(), "{auth} {arguments:?}: {all}");
        }
        let mut files = Vec::new();
        walk(&agent.archive(), &mut files);
        for path in files {
            assert_eq!(told(&std::fs::read(&path).unwrap(), &[WORD]), Vec::<String>::new(), "{}", path.display());
        }
    }
}
