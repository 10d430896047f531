//! The files in `config/` are read by people and by no program, so that only a test keeps them true.

use std::collections::BTreeSet;

use super::*;
use crate::people::People;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

/// The reference with its `# key = value` lines made keys, save those that begin with one of `examples`.
fn uncommented(examples: &[&str]) -> String {
    let text = std::fs::read_to_string(folder().join("gatepost.toml")).unwrap();
    let key = |line: &str| -> Option<String> {
        let (key, _) = line.strip_prefix("# ")?.split_once(" = ")?;
        let fits = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        fits.then(|| {
            if examples.iter().any(|example| line[2..].starts_with(example)) {
                String::new()
            } else {
                line[2..].to_owned()
            }
        })
    };
    text.lines().map(|line| key(line).unwrap_or_else(|| opened(line)) + "\n").collect()
}

/// The directory and the tokens stand in the reference as comments, table and all.
fn opened(line: &str) -> String {
    match line {
        "# [people.ldap]" | "# url = \"ldaps://dc1.corp.example\"" | TOKENS => line[2..].to_owned(),
        line if WATCHED.contains(&line) => line[2..].to_owned(),
        line => line.to_owned(),
    }
}

/// Tables of targets, each with what it must have.
const WATCHED: [&str; 16] = [
    "# [alarms.mail]",
    "# host = \"smtp.corp.example\"",
    "# from = \"gatepost@corp.example\"",
    "# to = [\"admin@corp.example\"]",
    "# [alarms.webhook]",
    "# url = \"https://hooks.corp.example\"",
    "# [alarms.command]",
    "# run = [\"/usr/local/bin/page\", \"--team\", \"mail\"]",
    "# [alarms.heartbeat]",
    "# url = \"https://beat.corp.example\"",
    "# [alarms.report]",
    "# [canary]",
    "# from = \"canary@corp.example\"",
    "# to = \"canary-inbox@corp.example\"",
    "# [canary.smtp]",
    "# host = \"smtp-in.corp.example\"",
];

const TOKENS: &str = "# [profile.imap.oauth2]";

/// Without the table of tokens, which excludes the password.
fn without_tokens(text: &str) -> String {
    let (before, after) = text.split_once(TOKENS.trim_start_matches("# ")).unwrap();
    let (_, after) = after.split_once("\n[[").unwrap();
    format!("{before}\n[[{after}")
}

fn collect(prefix: &str, table: &toml::Table, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        found.insert(path.clone());
        match value {
            // Values in the reference, not tables: `password = { env = … }`, pairs of domains, and of tokens what
            // stands in one line.
            toml::Value::Table(_)
                if ["password", "proxy_password", "client_secret", "refresh_token", "domain_aliases", "headers"]
                    .contains(&&**key) => {}
            toml::Value::Table(_) if key == "oauth2" && prefix != "profile.imap" => {}
            toml::Value::Table(table) => collect(&path, table, found),
            toml::Value::Array(list) => {
                list.iter().filter_map(toml::Value::as_table).for_each(|table| collect(&path, table, found));
            }
            _ => {}
        }
    }
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let mut found = BTreeSet::new();
    collect("", &uncommented(&[]).parse().unwrap(), &mut found);
    let path = |table: &str, key: &str| if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
    let known: BTreeSet<String> =
        keys::TABLES.iter().flat_map(|keys| keys.known.iter().map(|key| path(keys.table, key))).collect();
    assert_eq!(found, known);
}

#[test]
fn the_reference_shows_the_defaults() {
    let file = folder().join("gatepost.toml");
    assert!(load(&file).unwrap().directory.is_none());
    let opened: String = std::fs::read_to_string(&file).unwrap().lines().map(|line| opened(line) + "\n").collect();
    let settings = parse(&file, &without_tokens(&opened)).unwrap();
    assert_eq!(settings.notices, Vec::<String>::new());
    // These are examples, as the reference says; the others are defaults and must change nothing.
    let examples = [
        "catalogue = ",
        "csv = ",
        "domain_aliases = ",
        "ca_file = ",
        "tls_fingerprint = ",
        "client_certificate = ",
        "client_key = ",
        "proxy = ",
        "proxy_password = ",
        "mailbox_id = ",
        "port = 995",
        "bind_dn = ",
        "password = { file = \"ldap.password\"",
        "base = ",
        "name_attribute = ",
        "impersonate = ",
        "mailbox = ",
        "oauth2 = ",
        "daily_budget = ",
        "cron = ",
        "timezone = ",
        "socket = ",
        "username = ",
        "password = { file = \"smtp.password\"",
        "headers = ",
        "every = \"6h\"",
        "file = ",
    ];
    let all = uncommented(&[]);
    assert!(examples.iter().all(|example| all.lines().any(|line| line.starts_with(example))));
    let defaults = without_tokens(&uncommented(&examples));
    let explicit = parse(&settings.file, &defaults).unwrap();
    // Line numbers are left out: the examples are gone from one of the two texts.
    let shown = |settings: &Settings| {
        let text = format!("{settings:#?}");
        text.lines().filter(|line| !line.trim_start().starts_with("line: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(shown(&explicit), shown(&settings));
}

#[test]
fn the_examples_load() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") && !path.ends_with("gatepost.toml") {
            let settings = load(&path).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(settings.notices, Vec::<String>::new(), "{}", path.display());
            names.push(path);
        }
    }
    assert!(names.len() >= 6, "{names:?}");
    let mut settings = load(&folder().join("imap.toml")).unwrap();
    settings.people.csv = Some(folder().join("people.csv"));
    assert_eq!(People::build(&settings.people, &[]).unwrap().len(), 3);
}

/// What `config show` prints is the file again, every key of it, but for the passwords.
#[test]
fn what_is_shown_of_the_configuration_is_the_configuration() {
    let passwords = |text: &str| -> String {
        let line = |line: &str| match line.split_once(" = ") {
            Some((key @ ("password" | "proxy_password"), _)) => format!("{key} = {{ env = \"X\" }}\n"),
            Some(("headers", _)) => "headers = { Authorization = { env = \"X\" } }\n".to_owned(),
            _ => format!("{line}\n"),
        };
        text.lines().map(line).collect()
    };
    // Each stands instead of another key.
    let examples = ["mailbox_id = ", "impersonate = ", "oauth2 = ", "cron = ", "timezone = "];
    let written = passwords(&without_tokens(&uncommented(&examples)));
    let settings = parse(&folder().join("gatepost.toml"), &written).unwrap();
    let shown = show::text(&show::tree(&settings));
    let again = parse(&settings.file, &passwords(&shown)).unwrap_or_else(|errors| panic!("{errors}\n{shown}"));
    let facts = |settings: &Settings| {
        let text = format!("{settings:#?}");
        let place = |line: &str| ["line: ", "key: "].iter().any(|of| line.trim_start().starts_with(of));
        text.lines().filter(|line| !place(line)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(facts(&again), facts(&settings), "{shown}");
    // Keys that say the same as another, or nothing where the default is nothing.
    let silent = [
        "people.ndr_addresses",
        "profile.cron",
        "profile.timezone",
        "alarms.report.timezone",
        "profile.imap.mailbox_id",
        "profile.pop3.mailbox_id",
    ];
    let mut found = BTreeSet::new();
    collect("", &show::tree(&settings), &mut found);
    let path = |table: &str, key: &str| if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
    // Tokens exclude passwords; they have a test of their own.
    let tables = keys::TABLES.iter().filter(|keys| keys.table != "profile.gateway" && !keys.table.ends_with(".oauth2"));
    for keys in tables {
        for key in keys.known.iter().map(|key| path(keys.table, key)) {
            let is_silent = silent.contains(&key.as_str())
                || ["gateway", "impersonate", "oauth2"].iter().any(|end| key.ends_with(end));
            assert!(is_silent || found.contains(&key), "{key} is not shown:\n{shown}");
        }
    }
}

#[test]
fn a_gateway_is_shown_with_its_mailbox_and_no_password() {
    let text = "archive = { path = \"/a\" }\n[[profile]]\nname = \"gw\"\ndelete = false\n[profile.gateway]\n\
                host = \"gw.example.com\"\nmailbox_id = \"mbx-2\"\npassword = \"hunter2\"\n";
    let shown = show::text(&show::tree(&parse(Path::new("/etc/gatepost.toml"), text).unwrap()));
    let (_, gateway) = shown.split_once("[profile.gateway]\n").unwrap();
    let (gateway, _) = gateway.split_once("\n[alarms]").unwrap();
    assert_eq!(
        gateway,
        "host = \"gw.example.com\"\nmailbox_id = \"mbx-2\"\n\
         password = { from = \"literal\", place = \"the configuration\" }\n"
    );
    assert!(!shown.contains("hunter2"));
}
