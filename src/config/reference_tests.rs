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
        let fits = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
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

/// The directory stands in the reference as a comment, table and all.
fn opened(line: &str) -> String {
    match line {
        "# [people.ldap]" | "# url = \"ldaps://dc1.corp.example\"" => line[2..].to_owned(),
        line => line.to_owned(),
    }
}

fn collect(prefix: &str, table: &toml::Table, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        found.insert(path.clone());
        match value {
            // Values in the reference, not tables: `password = { env = … }`, and pairs of domains.
            toml::Value::Table(table) if !key.ends_with("password") && key != "domain_aliases" => {
                collect(&path, table, found)
            }
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
    let with_directory: String =
        std::fs::read_to_string(&file).unwrap().lines().map(|line| opened(line) + "\n").collect();
    let settings = parse(&file, &with_directory).unwrap();
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
    ];
    let all = uncommented(&[]);
    assert!(examples.iter().all(|example| all.lines().any(|line| line.starts_with(example))));
    let defaults = uncommented(&examples);
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
    let mut settings = load(&folder().join("imap.toml")).unwrap();
    assert_eq!(settings.notices, Vec::<String>::new());
    settings.people.csv = Some(folder().join("people.csv"));
    assert_eq!(People::build(&settings.people, &[]).unwrap().len(), 3);
}
