//! The configuration as a whole: what is accepted, and every refusal read aloud.

use super::*;
use crate::agent::policies::{NonInternal, NotEnveloped, Scope, Selection, UnauthenticatedSender, UnknownInternal};
use crate::base::address::Address;
use crate::journal::{ClearText, ENVELOPE_HEADERS, Reporter};
use crate::net::login::Login;
use crate::people::PersonId;

const MINIMAL: &str = r#"
[archive]
path = "mail"

[people]
internal_domains = ["corp.example"]

[[profile]]
name = "journal"
delete = false

[profile.imap]
host = "imap.example.com"
username = "journal@corp.example"
password = { env = "JOURNAL_PASSWORD" }
"#;

fn file() -> PathBuf {
    std::path::absolute(if cfg!(windows) { r"C:\etc\gatepost.toml" } else { "/etc/gatepost.toml" }).unwrap()
}

fn read(text: &str) -> Result<Settings, String> {
    parse(&file(), text).map_err(|errors| errors.to_string().replace(&file().display().to_string(), "FILE"))
}

/// The mistakes of [`MINIMAL`] with one part of it replaced.
fn mistakes(from: &str, to: &str) -> String {
    assert!(MINIMAL.contains(from), "{from}");
    match read(&MINIMAL.replacen(from, to, 1)) {
        Ok(settings) => format!("accepted; notices: {:?}", settings.notices),
        Err(text) => text,
    }
}

/// [`MINIMAL`] with lines added to `[profile.imap]`, its end.
fn imap(lines: &str) -> Result<ImapSettings, String> {
    let settings = read(&format!("{MINIMAL}{lines}\n"))?;
    let SourceSettings::Imap(imap) = settings.profiles[0].source.clone() else { panic!("another source") };
    Ok(imap)
}

#[test]
fn defaults_are_as_documented() {
    let settings = read(MINIMAL).unwrap();
    assert_eq!(settings.archive.path, file().parent().unwrap().join("mail"));
    assert_eq!((settings.archive.pack_bytes_max, settings.archive.window_bytes), (1 << 30, 8 << 20));
    assert_eq!(settings.archive.catalogue, None);
    assert!(settings.archive.index);
    assert_eq!(settings.people.internal_domains, ["corp.example"]);
    assert_eq!(settings.policies, Policies::default());
    assert_eq!(settings.profiles[0].policies, Policies::default());
    let profile = &settings.profiles[0];
    assert_eq!((profile.name.as_str(), profile.every), ("journal", Duration::from_secs(300)));
    assert_eq!((profile.delete, profile.delete_after, profile.delete_excluded), (false, Duration::ZERO, false));
    let SourceSettings::Imap(imap) = &profile.source else { panic!("another source") };
    assert_eq!((imap.port, imap.tls, imap.auth), (993, TlsMode::Implicit, ImapAuth::Auto));
    assert_eq!((imap.folders.as_slice(), imap.timeout), (&["INBOX".to_owned()][..], Duration::from_secs(300)));
    assert!(!imap.allow_plaintext && !imap.sole_client && imap.trust.ca_file.is_none());
    assert_eq!(settings.notices, Vec::<String>::new());
}

fn password_of(login: &Login) -> String {
    let Login::Password(password) = login else { panic!("{login:?}") };
    password.expose().to_owned()
}

fn the_password(settings: &Settings) -> String {
    match settings.profiles[0].source_options().unwrap() {
        SourceOptions::Imap(options) => password_of(&options.login),
        SourceOptions::Pop3(options) => password_of(&options.login),
        SourceOptions::Ews(options) => password_of(&options.login),
    }
}

#[test]
fn the_documented_shape_is_read_whole() {
    let settings = read(
        r#"
        [archive]
        path = "/var/lib/gatepost"
        catalogue = "/fast/gatepost.sqlite3"
        pack_size = "64MiB"
        window = "16 MiB"
        [people]
        internal_domains = ["Corp.Example", "*.group.example", ".dev.example"]
        unknown_internal = "create"
        non_internal = "exclude"
        csv = "people.csv"
        create_max_per_item = 7
        never_owners = ["journal@corp.example"]
        ndr_addresses = ["ndr@corp.example"]
        scope = "external"
        exclude_people = ["carl"]
        clear_text = "both"
        [people.domain_aliases]
        "Old.Example" = "corp.example"
        [[people.person]]
        id = "anna@corp.example"
        name = "Anna Example"
        addresses = ["a.example@corp.example"]
        groups = ["Sales"]
        legacy = ["/o=Org/cn=anna"]
        [[profile]]
        name = "journal"
        every = "1m"
        role = "alternate"
        expect = "reports"
        trusted_reporters = ["corp.onmicrosoft.example", "X-OriginatorOrg=corp.example"]
        envelope_headers = ["X-Copy-For"]
        gateway_hosts = ["MX1.corp.example"]
        scope = "internal"
        include_groups = ["Sales"]
        not_enveloped = "unassigned"
        unauthenticated_sender = "no_sent"
        delete = true
        delete_after = "7days"
        delete_excluded = true
        [profile.imap]
        host = "[::1]"
        tls = "none"
        ca_file = "private-ca.pem"
        mailbox_id = "mbx-2a20"
        password = { file = "journal.password" }
        auth = "login"
        folders = ["INBOX", "Junk"]
        timeout = "10s"
        sole_client = true
        "#,
    )
    .unwrap();
    let folder = file().parent().unwrap().to_owned();
    assert_eq!(settings.people.internal_domains, ["corp.example", ".group.example", ".dev.example"]);
    assert_eq!(settings.people.csv, Some(folder.join("people.csv")));
    let never = ["journal@corp.example", "ndr@corp.example"].map(|text| Address::parse(text).unwrap());
    assert_eq!(settings.people.never_owners, never);
    assert_eq!(settings.people.domain_aliases["old.example"], "corp.example");
    let general = Policies {
        scope: Scope::External,
        exclude: Selection::new(["carl"], []),
        unknown_internal: UnknownInternal::Create,
        non_internal: NonInternal::Exclude,
        create_max_per_item: 7,
        ..Policies::default()
    };
    let own = Policies {
        scope: Scope::Internal,
        include: Selection::new([], ["sales"]),
        not_enveloped: NotEnveloped::Unassigned,
        unauthenticated_sender: UnauthenticatedSender::NoSent,
        ..general.clone()
    };
    assert_eq!(settings.policies, general);
    let profile = &settings.profiles[0];
    assert_eq!((&profile.policies, profile.role, profile.expect), (&own, Role::Alternate, Expect::Reports));
    assert_eq!(settings.decode, DecodeOptions { clear_text: ClearText::Both, ..DecodeOptions::default() });
    assert_eq!(profile.decode.clear_text, ClearText::Both);
    assert_eq!(profile.decode.envelope_headers, ["X-Copy-For"]);
    assert_eq!(profile.decode.gateway_hosts, ["mx1.corp.example"]);
    let header = Reporter::Header { name: "X-OriginatorOrg".into(), value: "corp.example".into() };
    let domain = Reporter::SenderDomain("corp.onmicrosoft.example".into());
    assert_eq!(profile.decode.trusted_reporters, [domain, header]);
    let anna = &settings.people.persons[0];
    assert_eq!((anna.id.as_str(), anna.addresses.len()), ("anna@corp.example", 2));
    let SourceSettings::Imap(imap) = &settings.profiles[0].source else { panic!("another source") };
    assert_eq!((imap.host.as_str(), imap.port, imap.username.as_str()), ("::1", 143, "mbx-2a20"));
    assert_eq!(imap.trust.ca_file, Some(folder.join("private-ca.pem")));
    assert_eq!((imap.auth, imap.sole_client), (ImapAuth::Login, true));
    assert_eq!((settings.archive.pack_bytes_max, settings.archive.window_bytes), (64 << 20, 16 << 20));
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = r#"
[archive]
path = "mail"
pack_size = "1GB5"
windw = "24MiB"
[people]
internal_domain = ["corp.example"]
unknown_internal = "creat"
[[profile]]
name = "journal"
every = 300
[profile.imap]
hots = "imap.example.com"
port = 99999
tls = true
folders = "INBOX"
[alarm]
"#;
    insta::assert_snapshot!(read(text).unwrap_err(), @r#"
    the configuration has 14 mistakes:
    FILE:4: archive → pack_size: "1GB5" is not a size
      hint: write a number with a unit: "24MiB", "1GiB", "512KiB"
    FILE:5: archive → windw: unknown key
      hint: did you mean `window`?
    FILE:7: people → internal_domain: unknown key
      hint: did you mean `internal_domains`?
    FILE:8: people → unknown_internal: "creat" is not known
      hint: did you mean "create"? It is one of: create, unassigned, exclude
    FILE:9: profile "journal" → delete: is missing: gatepost must be told whether to delete archived items on the gateway, and does not guess
      hint: begin with `delete = false`, which leaves everything there; `delete = true` empties the mailbox of what is provably archived
    FILE:11: profile "journal" → every: "300" has no unit
      hint: for seconds write "300s"
    FILE:12: profile "journal" → imap → host: is missing
      hint: write the name of the server alone: host = "imap.example.com"
    FILE:12: profile "journal" → imap → username: is missing
      hint: write username = "journal@corp.example", or for a MailStore Gateway mailbox_id = "mbx-…"
    FILE:12: profile "journal" → imap → password: is missing
      hint: write { env = "NAME" }, { file = "path" }, { command = "…" }, { credential = "NAME" } (of systemd) or { secret = "NAME" } (of `gatepost secret set`)
    FILE:13: profile "journal" → imap → hots: unknown key
      hint: did you mean `host`?
    FILE:14: profile "journal" → imap → port: 99999 is out of bounds
      hint: write a number from 1 to 65535, or leave the key out
    FILE:15: profile "journal" → imap → tls: is true or false, but text in quotes is expected
      hint: it is one of: implicit, starttls, none
    FILE:16: profile "journal" → imap → folders: is text, but a list is expected
      hint: write `folders = ["INBOX"]`
    FILE:17: alarm: unknown key
      hint: did you mean `alarms`?
    "#);
}

#[test]
fn delete_has_no_default() {
    insta::assert_snapshot!(mistakes("delete = false", ""), @r#"
    FILE:8: profile "journal" → delete: is missing: gatepost must be told whether to delete archived items on the gateway, and does not guess
      hint: begin with `delete = false`, which leaves everything there; `delete = true` empties the mailbox of what is provably archived
    "#);
    insta::assert_snapshot!(mistakes("delete = false", "delete = \"false\""), @r#"
    FILE:10: profile "journal" → delete: is text, but true or false is expected
      hint: leave out the quotes: `delete = false`
    "#);
}

#[test]
fn words_of_later_versions_are_known() {
    insta::assert_snapshot!(mistakes("delete = false", "delete = false\ncron = \"0 */5 * * * *\""), @r#"
    FILE:11: profile "journal" → cron: is not available in this version
      hint: write an interval instead, such as `every = "300s"`
    "#);
    let ews = "[profile.ews]\nurl = \"https://mail.corp.example\"\n\n[profile.imap]";
    insta::assert_snapshot!(mistakes("[profile.imap]", ews), @r#"
    FILE:12: profile "journal" → ews: is a second source, beside imap on line 15; a profile has exactly one
      hint: leave one of them, or give it a [[profile]] of its own
    "#);
    let (head, _) = MINIMAL.split_once("[profile.imap]").unwrap();
    insta::assert_snapshot!(read(head).unwrap_err(), @r#"
    FILE:8: profile "journal": has no source
      hint: add a [profile.imap] below it, with host, username and password
    "#);
}

#[test]
fn brackets_are_explained() {
    insta::assert_snapshot!(mistakes("[[profile]]", "[profile]"), @r#"
    FILE:8: profile: is written in single brackets
      hint: there can be several: write [[profile]]
    "#);
    insta::assert_snapshot!(mistakes("[archive]", "[[archive]]"), @r#"
    FILE:2: archive: stands here several times, but can stand only once
      hint: write [archive] in single brackets
    "#);
}

#[test]
fn units_are_asked_for() {
    insta::assert_snapshot!(mistakes("delete = false", "delete = false\nevery = \"300\""), @r#"
    FILE:11: profile "journal" → every: "300" has no unit
      hint: for seconds write "300s"
    "#);
    insta::assert_snapshot!(mistakes("delete = false", "delete = false\nevery = \"0s\""), @r#"
    FILE:11: profile "journal" → every: is zero
      hint: a poll costs the gateway a login: "60s" is often, "300s" is usual
    "#);
    insta::assert_snapshot!(mistakes("path = \"mail\"", "path = \"mail\"\npack_size = \"64KiB\"\nwindow = 24"), @r#"
    the configuration has 2 mistakes:
    FILE:4: archive → pack_size: is too small
      hint: the least is "1MiB"
    FILE:5: archive → window: "24" has no unit
      hint: for mebibytes write "24MiB", for bytes "24B"
    "#);
}

#[test]
fn quarantined_mail_is_deleted_after_a_week_or_as_told() {
    let wait = |value: &str| {
        let line = format!("delete = true\ndelete_quarantined = {value}");
        read(&MINIMAL.replacen("delete = false", &line, 1)).map(|settings| settings.profiles[0].delete_quarantined)
    };
    let days = |days: u64| Some(Duration::from_secs(days * 24 * 60 * 60));
    assert_eq!(read(MINIMAL).unwrap().profiles[0].delete_quarantined, days(7));
    assert_eq!(wait("\"never\""), Ok(None));
    assert_eq!(wait("\"at once\""), Ok(Some(Duration::ZERO)));
    assert_eq!(wait("\"after 30 days\""), Ok(days(30)));
    insta::assert_snapshot!(wait("\"7d\"").unwrap_err(), @r#"
    FILE:11: profile "journal" → delete_quarantined: "7d" says neither whether nor when
      hint: write "never", "after 7d" or "at once"
    "#);
    assert!(wait("\"after a while\"").unwrap_err().contains("is not a duration"));
    assert!(mistakes("delete = false", "delete = false\ndelete_quarantined = \"at once\"").contains("has no effect"));
}

#[test]
fn profiles_may_not_meet() {
    let twice =
        format!("{MINIMAL}{}", MINIMAL.split_once("[[profile]]").unwrap().1.replacen("\nname", "[[profile]]\nname", 1));
    insta::assert_snapshot!(read(&twice).unwrap_err(), @r#"
    the configuration has 2 mistakes:
    FILE:17: profile "journal" → name: "journal" stands on line 9 already
      hint: each profile has a name of its own, whatever its case
    FILE:20: profile "journal" → imap → folders: "INBOX" of this account is polled by profile "journal" already (line 12)
      hint: two profiles would delete under each other's hands: leave one, or give them different folders
    "#);
    let renamed = twice.replacen("\"journal\"", "\"other\"", 1);
    insta::assert_snapshot!(read(&renamed).unwrap_err(), @r#"
    FILE:20: profile "journal" → imap → folders: "INBOX" of this account is polled by profile "other" already (line 12)
      hint: two profiles would delete under each other's hands: leave one, or give them different folders
    "#);
    let split = format!("{renamed}folders = [\"Junk\"]\n");
    assert_eq!(read(&split).unwrap().profiles.len(), 2);
    insta::assert_snapshot!(mistakes("\"journal\"", "\"../x\""), @r#"
    FILE:9: profile "../x" → name: "../x" is no name for a profile
      hint: letters, digits, dot, - and _, beginning with a letter or digit, at most 64
    "#);
}

#[test]
fn plaintext_needs_loopback_or_consent() {
    insta::assert_snapshot!(imap("tls = \"none\"").unwrap_err(), @r#"
    FILE:16: profile "journal" → imap → tls: "none" would send the password and all mail in clear text to imap.example.com
      hint: use "implicit" or "starttls"; if it must be, add allow_plaintext = true
    "#);
    assert!(imap("tls = \"none\"\nallow_plaintext = true").is_ok());
    for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1"] {
        let text = MINIMAL.replace("imap.example.com", host);
        assert!(read(&format!("{text}tls = \"none\"\n")).is_ok(), "{host}");
    }
    for host in ["localhost.corp.example", "128.0.0.1", "::2", "0.0.0.0"] {
        let text = MINIMAL.replace("imap.example.com", host);
        assert!(read(&format!("{text}tls = \"none\"\n")).is_err(), "{host}");
    }
}

#[test]
fn hosts_are_names() {
    insta::assert_snapshot!(mistakes("imap.example.com", "imaps://imap.example.com"), @r#"
    FILE:13: profile "journal" → imap → host: "imaps://imap.example.com" is a URL
      hint: write the name of the server alone: host = "imap.example.com"
    "#);
    insta::assert_snapshot!(mistakes("imap.example.com", "imap.example.com:993"), @r#"
    FILE:13: profile "journal" → imap → host: "imap.example.com:993" holds more than a name
      hint: host = "imap.example.com" and port = 993
    "#);
    insta::assert_snapshot!(mistakes("imap.example.com", " "), @r#"
    FILE:13: profile "journal" → imap → host: is empty
      hint: write the name of the server alone: host = "imap.example.com"
    "#);
}

#[test]
fn a_mailbox_id_loses_its_domain_and_says_so() {
    insta::assert_snapshot!(
        mistakes("username = \"journal@corp.example\"", "mailbox_id = \"mbx-2a20@gateway.example\"").replace(&file().display().to_string(), "FILE"), @r#"accepted; notices: ["FILE:14: profile \"journal\" → imap → mailbox_id: @gateway.example was cut off: the login of a mailbox ID is mbx-2a20, without a domain"]"#);
    insta::assert_snapshot!(imap("mailbox_id = \"mbx-2a20\"").unwrap_err(), @r#"
    FILE:16: profile "journal" → imap → mailbox_id: stands beside username (line 14)
      hint: leave one of them
    "#);
    insta::assert_snapshot!(mistakes("username = \"journal@corp.example\"", ""), @r#"
    FILE:12: profile "journal" → imap → username: is missing
      hint: write username = "journal@corp.example", or for a MailStore Gateway mailbox_id = "mbx-…"
    "#);
}

#[test]
fn folders_are_some_and_different() {
    insta::assert_snapshot!(imap("folders = []").unwrap_err(), @r#"
    FILE:16: profile "journal" → imap → folders: is empty, so that nothing would be polled
      hint: leave it out for ["INBOX"]
    "#);
    insta::assert_snapshot!(imap("folders = [\"INBOX\", \"Inbox\", \"\", 7]").unwrap_err(), @r#"
    the configuration has 3 mistakes:
    FILE:16: profile "journal" → imap → folders: holds a number, but only text is expected
      hint: put it in quotes
    FILE:16: profile "journal" → imap → folders: "Inbox" stands here twice
      hint: leave one of them; INBOX has no case
    FILE:16: profile "journal" → imap → folders: holds an empty name
      hint: leave it out
    "#);
    assert!(imap("folders = [\"Archive\", \"archive\"]").is_ok());
}

#[test]
fn domains_and_people_are_checked() {
    let people = r#"internal_domains = ["anna@corp.example", "*.corp.example", "a b", ""]
never_owners = ["journal@corp.example", "journal"]
[[people.person]]
id = "anna@corp.example"
addresses = ["shared@corp.example"]
[[people.person]]
id = "bob"
addresses = ["shared@corp.example", "journal@corp.example", "Bob"]
[[people.person]]
id = "Anna@Corp.example"
[[people.person]]
id = "unassigned"
[[people.person]]
id = "../etc"
[[people.person]]
id = "carl"
[[people.person]]
name = "No Id"
"#;
    insta::assert_snapshot!(mistakes("internal_domains = [\"corp.example\"]", people), @r#"
    the configuration has 12 mistakes:
    FILE:6: people → internal_domains: "anna@corp.example" is an address or holds an @, but a domain is expected
      hint: write the part after the @: "corp.example"
    FILE:6: people → internal_domains: "a b" is not a domain
      hint: write "corp.example", and "*.corp.example" for its subdomains
    FILE:6: people → internal_domains: "" is not a domain
      hint: write "corp.example", and "*.corp.example" for its subdomains
    FILE:7: people → never_owners: "journal" is not a mail address
      hint: write it in full: "anna@corp.example"
    FILE:13: people → person "bob" → addresses: "Bob" is not a mail address
      hint: write it in full: "anna@corp.example"
    FILE:13: people → person "bob": shared@corp.example belongs to anna@corp.example already (line 10)
      hint: an address has one owner: take one out
    FILE:13: people → person "bob": journal@corp.example stands in never_owners (line 7)
      hint: take it out of one of the two
    FILE:15: people → person "Anna@Corp.example" → id: the id anna@corp.example stands on line 9 already
      hint: an archive has one id, whatever its case; list all addresses in one [[people.person]]
    FILE:17: people → person "unassigned" → id: `unassigned` is reserved for the mail that nobody owns
      hint: use the person's main address, or a short name such as `anna`
    FILE:19: people → person "../etc" → id: "../etc" holds '/', which a folder name cannot hold
      hint: use the person's main address, or a short name such as `anna`
    FILE:20: people → person "carl": owns no address, so that no mail could ever be filed
      hint: add addresses = ["…"], or use an address as the id
    FILE:22: people → person number 7 → id: is missing
      hint: it names the archive: the main address, or a short name
    "#);
}

#[test]
fn passwords_come_from_somewhere_and_are_never_shown() {
    const FROM: &str = "{ env = \"JOURNAL_PASSWORD\" }";
    insta::assert_snapshot!(mistakes(FROM, "{ }"), @r#"
    FILE:15: profile "journal" → imap → password: names no place
      hint: write { env = "NAME" }, { file = "path" }, { command = "…" }, { credential = "NAME" } (of systemd) or { secret = "NAME" } (of `gatepost secret set`)
    "#);
    insta::assert_snapshot!(mistakes(FROM, "{ evn = \"X\" }"), @r#"
    FILE:15: profile "journal" → imap → password: holds a key that is misspelt
      hint: did you mean `env`?
    "#);
    insta::assert_snapshot!(mistakes(FROM, "{ env = \"X\", file = \"y\" }"), @r#"
    FILE:15: profile "journal" → imap → password: names both env and file
      hint: leave one of them
    "#);
    insta::assert_snapshot!(mistakes(FROM, "\"hunter2\"").replace(&file().display().to_string(), "FILE"), @r#"accepted; notices: ["FILE:15: profile \"journal\" → imap → password: the password itself stands here, for all who can read this file or its backups; write { env = \"NAME\" }, { file = \"path\" }, { command = \"…\" }, { credential = \"NAME\" } (of systemd) or { secret = \"NAME\" } (of `gatepost secret set`)"]"#);
    for shape in [
        "hunter2",
        "\"hunter2",
        "\"hunter2\" hunter2",
        "\"hun\\ter2\\q hunter2\"",
        "'hunter2",
        "\"\"\"hunter2",
        "{ env = \"hunter2!\" }",
        "{ credential = \"hunter2/\" }",
        "{ secret = \"hunter2!\" }",
        "{ command = [\"\", \"hunter2\"] }",
        "{ command = [5, \"hunter2\"] }",
        "{ file = [\"hunter2\"] }",
        "{ secret = \"hunter2\", env = \"hunter2\" }",
        "{ hunter2secret = \"hunter2\" }",
        "{ hunter2 = \"hunter2\" }",
        "{ env = hunter2 }",
        "[\"hunter2\"]",
        "\"hunter2\"\npassword = \"hunter2\"",
        "\"hunter2\"\npassword.env = \"hunter2\"",
        "\"hunter2\"\nhost = \"hunter2",
    ] {
        let text = mistakes(FROM, shape);
        assert!(!text.contains("hunter2") && !text.starts_with("accepted"), "{shape}: {text}");
        assert!(text.contains("FILE:1"), "{shape}: {text}");
    }
    let settings = read(&MINIMAL.replace(FROM, "\"hunter2\"")).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert_eq!(the_password(&settings), "hunter2");
}

#[test]
fn a_login_within_a_url_or_host_is_not_repeated() {
    const HOST: &str = "host = \"imap.example.com\"";
    for host in ["journal:hunter2@imap.example.com", "imap://journal:hunter2@imap.example.com/", "a@hunter2@b"] {
        let text = mistakes(HOST, &format!("host = {host:?}"));
        assert!(!text.contains("hunter2") && !text.starts_with("accepted"), "{text}");
    }
    let ews = MINIMAL.replace("imap]", "ews]").replace(HOST, "url = \"https://journal:hunter2@mail.example.com/EWS/\"");
    let text = read(&ews).unwrap_err();
    assert!(text.contains("\"https://…@mail.example.com/EWS/\" cannot be used: it holds a login"), "{text}");
    for url in ["ldaps://cn=x:hunter2@dc1.corp.example", "ldaps://x:hunter2@dc1/?q", "dc1:hunter2@", "x://hunter2@dc1"]
    {
        let text = mistakes("[[profile]]", &format!("[people.ldap]\nurl = {url:?}\n[[profile]]"));
        assert!(!text.contains("hunter2") && !text.starts_with("accepted"), "{text}");
    }
}

/// Whoever takes one of the keys for the place of the password itself does not find it in a log.
#[test]
fn a_password_in_the_wrong_place_is_not_repeated() {
    const FROM: &str = "env = \"JOURNAL_PASSWORD\"";
    for (shape, said) in [
        ("env = \"hunter2\"", "the environment variable named there is not set"),
        ("credential = \"hunter2\"", "systemd gave this process no credential"),
        ("secret = \"hunter2\"", "there is no secret of that name in "),
        ("command = [\"hunter2\"]", "the command cannot be started: "),
    ] {
        let settings = read(&MINIMAL.replace(FROM, shape)).unwrap();
        let error = settings.profiles[0].source_options().unwrap_err().to_string();
        let SourceSettings::Imap(imap) = &settings.profiles[0].source else { panic!("another source") };
        assert!(error.contains(said), "{error}");
        let super::LoginSettings::Password(password) = &imap.login else { panic!("another login") };
        for text in [&error, &password.place()] {
            assert!(!text.contains("hunter2"), "{shape}: {text}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_password_comes_from_a_command_or_the_store() {
    const FROM: &str = "env = \"JOURNAL_PASSWORD\"";
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gatepost.toml");
    let loaded = |shape: &str| {
        std::fs::write(&config, MINIMAL.replace(FROM, shape)).unwrap();
        load(&config).unwrap()
    };
    for command in ["\"printf hun; echo ter2\"", "[\"printf\", \"%s\\n\", \"hunter2\"]"] {
        let settings = loaded(&format!("command = {command}"));
        assert_eq!(the_password(&settings), "hunter2");
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
    vault(&config).set("journal", &crate::base::secret::Secret::new("hunter2".into())).unwrap();
    let settings = loaded("secret = \"journal\"");
    assert_eq!(the_password(&settings), "hunter2");
    let SourceSettings::Imap(imap) = &settings.profiles[0].source else { panic!("another source") };
    let super::LoginSettings::Password(password) = &imap.login else { panic!("another login") };
    assert!(password.place().starts_with("the secret journal in "), "{}", password.place());
}

/// A variable that is named as the place of a secret, above or below, is not in a command's environment.
#[cfg(unix)]
#[test]
fn a_command_does_not_see_the_other_passwords() {
    // Cargo sets this one for every test.
    const NAME: &str = "CARGO_MANIFEST_DIR";
    let command = "command = \"echo ${CARGO_MANIFEST_DIR-unset}\"";
    let text = MINIMAL.replace("env = \"JOURNAL_PASSWORD\"", command);
    assert_ne!(the_password(&read(&text).unwrap()), "unset");
    let other = MINIMAL.split_once("[[profile]]").unwrap().1.replace("\"journal\"", "\"other\"");
    let other = other.replace("imap.example.com", "other.example.com").replace("JOURNAL_PASSWORD", NAME);
    assert_eq!(the_password(&read(&format!("{text}\n[[profile]]{other}")).unwrap()), "unset");
}

#[test]
fn secrets_are_fetched_late() {
    let text = MINIMAL.replace("JOURNAL_PASSWORD", "GATEPOST_TEST_NOT_SET");
    let error = read(&text).unwrap().profiles[0].source_options().unwrap_err().to_string();
    assert!(error.contains("the environment variable GATEPOST_TEST_NOT_SET is not set"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_password_file_that_others_can_read_is_noticed() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("journal.password");
    std::fs::write(&password, "hunter2\n").unwrap();
    let config = folder.path().join("gatepost.toml");
    std::fs::write(&config, MINIMAL.replace("env = \"JOURNAL_PASSWORD\"", "file = \"journal.password\"")).unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o644)).unwrap();
    let settings = load(&config).unwrap();
    assert!(settings.notices[0].contains("journal.password can be read by others"), "{:?}", settings.notices);
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let settings = load(&config).unwrap();
    assert_eq!(settings.notices, Vec::<String>::new());
    assert_eq!(the_password(&settings), "hunter2");
}

#[test]
fn what_cannot_be_read_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gatepost.toml");
    let text = load(&path).unwrap_err().to_string();
    assert!(text.contains("gatepost.toml: cannot be read: ") && text.contains("--config FILE"), "{text}");
    std::fs::write(&path, b"# fine\npassword = \"hunter2\xff\"\n").unwrap();
    let text = load(&path).unwrap_err().to_string();
    assert!(text.contains("gatepost.toml:2: is not UTF-8") && !text.contains("hunter2"), "{text}");
    insta::assert_snapshot!(read("").unwrap_err(), @r#"
    FILE:1: archive → path: is missing
      hint: name the archive's folder: [archive] path = "/var/lib/gatepost"
    "#);
}

#[test]
fn the_file_is_found_where_it_was_named_else_where_it_usually_is() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("a.toml"), folder.path().join("b.toml"));
    std::fs::write(&there, "").unwrap();
    let places = [here.clone(), there.clone()];
    assert_eq!(find_among(Some(Path::new("x.toml")), Some("y.toml".into()), &places).unwrap(), Path::new("x.toml"));
    assert_eq!(find_among(None, Some("y.toml".into()), &places).unwrap(), Path::new("y.toml"));
    assert_eq!(find_among(None, Some("".into()), &places).unwrap(), there);
    let error = find_among(None, None, &[PathBuf::from("/nowhere/a"), PathBuf::from("/nowhere/b")]).unwrap_err();
    insta::assert_snapshot!(error, @r#"
    no configuration was found at /nowhere/a or /nowhere/b
      hint: name one with --config FILE or the variable GATEPOST_CONFIG
    "#);
}

#[test]
fn a_config_of_people_feeds_the_snapshot() {
    let text = MINIMAL.replace("[[profile]]", "[[people.person]]\nid = \"Anna@corp.example\"\n\n[[profile]]");
    let settings = read(&text).unwrap();
    let people = crate::people::People::build(&settings.people, &[]).unwrap();
    let anna = Address::parse("anna@corp.example").unwrap();
    assert_eq!(
        people.who(&anna, jiff::Timestamp::UNIX_EPOCH),
        crate::people::Who::Owner(PersonId("anna@corp.example".into()))
    );
}

#[test]
fn policies_are_checked() {
    let people = r#"internal_domains = ["corp.example"]
domain_aliases = { "old.example" = "corp.example", "older.example" = "old.example", "x.example" = 7 }
scope = "outside"
exclude_people = ["carl", ""]
journal_addresses = ["journal"]
"#;
    insta::assert_snapshot!(mistakes("internal_domains = [\"corp.example\"]", people), @r#"
    the configuration has 5 mistakes:
    FILE:7: people → domain_aliases: holds a number, but only text is expected
      hint: put it in quotes
    FILE:7: people → domain_aliases: "older.example" is an alias of "old.example", which is an alias itself
      hint: name the domain that the people's addresses are in
    FILE:8: people → scope: "outside" is not known
      hint: it is one of: all, external, internal
    FILE:9: people → exclude_people: holds an empty name
      hint: leave it out
    FILE:10: people → journal_addresses: "journal" is not a mail address
      hint: write it in full: "anna@corp.example"
    "#);
    let profile = "delete = false\nrole = \"second\"\nexpect = \"report\"\ntrusted_reporters = [\"corp\"]\n\
                   envelope_headers = [\"X-To:\"]\ngateway_hosts = [\"a b\"]";
    insta::assert_snapshot!(mistakes("delete = false", profile), @r#"
    the configuration has 5 mistakes:
    FILE:11: profile "journal" → role: "second" is not known
      hint: it is one of: primary, alternate
    FILE:12: profile "journal" → expect: "report" is not known
      hint: did you mean "reports"? It is one of: auto, reports, copies
    FILE:13: profile "journal" → trusted_reporters: "corp" is neither a domain nor Header-Name=value
      hint: the domain of a sender ("corp.example"), or a header field that the gateway writes ("X-OriginatorOrg=corp.example"); `gatepost check` shows those that were seen
    FILE:14: profile "journal" → envelope_headers: "X-To:" is no name of a header field
      hint: write the names alone: envelope_headers = ["X-Original-To", "Delivered-To"]
    FILE:15: profile "journal" → gateway_hosts: "a b" is not the name of a host
      hint: write the names as they stand in Received lines: "mx1.corp.example"
    "#);
    assert_eq!(read(MINIMAL).unwrap().decode.envelope_headers, ENVELOPE_HEADERS);
}

#[test]
fn pop3_and_a_mailstore_gateway_are_sources() {
    let (head, _) = MINIMAL.split_once("[profile.imap]").unwrap();
    let source = |text: &str| read(&format!("{head}{text}")).map(|settings| settings.profiles[0].source.clone());
    let login = "host = \"gw.example.com\"\nmailbox_id = \"mbx-2a20\"\npassword = { env = \"X\" }\n";
    let Ok(SourceSettings::Pop3(gateway)) = source(&format!("[profile.gateway]\n{login}")) else {
        panic!("no gateway")
    };
    assert_eq!(gateway.ports, [(995, TlsMode::Implicit), (110, TlsMode::StartTls)], "never without TLS");
    assert_eq!((gateway.username.as_str(), gateway.allow_plaintext), ("mbx-2a20", false));
    let pop3 = |lines: &str| source(&format!("[profile.pop3]\n{login}{lines}"));
    let Ok(SourceSettings::Pop3(starttls)) = pop3("tls = \"starttls\"") else { panic!("no pop3") };
    assert_eq!(starttls.ports, [(110, TlsMode::StartTls)]);
    insta::assert_snapshot!(pop3("tls = \"none\"").unwrap_err(), @r#"
    FILE:16: profile "journal" → pop3 → tls: "none" would send the password and all mail in clear text to gw.example.com
      hint: use "implicit" or "starttls"; if it must be, add allow_plaintext = true
    "#);
    insta::assert_snapshot!(source("[profile.gateway]\nhost = \"gw.example.com\"").unwrap_err(), @r#"
    the configuration has 2 mistakes:
    FILE:12: profile "journal" → gateway → mailbox_id: is missing
      hint: the ID of the mailbox as the gateway shows it: mailbox_id = "mbx-…"
    FILE:12: profile "journal" → gateway → password: is missing
      hint: write { env = "NAME" }, { file = "path" }, { command = "…" }, { credential = "NAME" } (of systemd) or { secret = "NAME" } (of `gatepost secret set`)
    "#);
    let both = format!(
        "{MINIMAL}[[profile]]\nname = \"two\"\ndelete = false\n[profile.pop3]\nhost = \"imap.example.com\"\n\
                        username = \"journal@corp.example\"\npassword = {{ env = \"X\" }}\n"
    );
    assert!(read(&both).unwrap_err().to_string().contains("is polled by profile \"journal\" already"));
    // EWS shows the same mailbox, too; its inbox has another spelling.
    for (url, mailbox, is_same) in [
        ("https://imap.example.com/EWS/Exchange.asmx", "journal@corp.example", true),
        ("https://IMAP.example.com:443/EWS/Exchange.asmx", "Journal@corp.example", true),
        ("https://imap.example.com:4443/EWS/Exchange.asmx", "journal@corp.example", false),
        ("https://imap.example.com/EWS/Exchange.asmx", "other@corp.example", false),
    ] {
        let both = format!(
            "{MINIMAL}[[profile]]\nname = \"two\"\ndelete = false\n[profile.ews]\nurl = \"{url}\"\n\
             username = \"{mailbox}\"\npassword = {{ env = \"X\" }}\n"
        );
        let refused = read(&both).err().is_some_and(|text| text.contains("is polled by profile \"journal\" already"));
        assert_eq!(refused, is_same, "{url} {mailbox}");
    }
}

/// [`MINIMAL`] with a directory.
fn with_ldap(lines: &str) -> Result<Settings, String> {
    read(&format!("{MINIMAL}\n[people.ldap]\n{lines}\n"))
}

#[test]
fn a_directory_needs_little() {
    let settings = with_ldap("url = \"ldaps://DC1.corp.example\"").unwrap();
    let directory = settings.directory.unwrap();
    assert_eq!(directory.source(), "ldaps://dc1.corp.example:636");
    assert_eq!((directory.refresh, directory.people_drop_max), (Duration::from_secs(900), 20));
    let options = directory.options().unwrap();
    assert!(options.login.is_none() && options.base.is_empty());
    let lines = "url = \"ldap://[::1]:1389/\"\nbase = \"ou=people,dc=corp,dc=example\"\nbind_dn = \"cn=reader\"\n\
                 password = { env = \"GATEPOST_TEST_NOT_SET\" }\nmail_attributes = [\"mail\", \"mailAlternateAddress\"]\n\
                 disabled = \"skip\"\nexclude_groups = [\"Left\"]";
    let directory = with_ldap(lines).unwrap().directory.unwrap();
    assert_eq!(directory.source(), "ldap://[::1]:1389");
    assert!(directory.options().unwrap_err().what.contains("GATEPOST_TEST_NOT_SET is not set"));
    let plain = with_ldap("url = \"ldap://dc1.corp.example\"\nstarttls = true").unwrap().directory.unwrap();
    assert_eq!(plain.options().unwrap().tls, TlsMode::StartTls);
}

#[test]
fn mistakes_about_a_directory_are_all_told() {
    for (lines, expected) in [
        ("", "people → ldap → url: is missing"),
        ("url = \"dc1.corp.example\"", "is no URL"),
        ("url = \"https://dc1.corp.example\"", "is neither ldaps:// nor ldap://"),
        ("url = \"ldaps://dc1.corp.example/dc=corp\"", "holds more than a server"),
        ("url = \"ldaps://dc1.corp.example:x\"", "has no port after the colon"),
        ("url = \"ldaps://\"", "does not name a server"),
        ("url = \"ldap://dc1.corp.example\"", "in clear text to dc1.corp.example"),
        ("url = \"ldaps://dc\"\nstarttls = true", "stands beside ldaps://"),
        ("url = \"ldaps://dc\"\nbind_dn = \"cn=reader\"", "people → ldap → password: is missing"),
        ("url = \"ldaps://dc\"\npassword = { env = \"X\" }", "stands without bind_dn"),
        ("url = \"ldaps://dc\"\nfilter = \"(&(mail=*)\"", "is not a search filter"),
        ("url = \"ldaps://dc\"\nmail_attributes = []", "is empty, so that nobody would have an address"),
        ("url = \"ldaps://dc\"\npeople_drop_max = 0", "0 is out of bounds"),
        ("url = \"ldaps://dc\"\nbind = \"x\"", "did you mean `bind_dn`?"),
    ] {
        let text = with_ldap(lines).map(|_| String::new()).unwrap_or_else(|text| text);
        assert!(text.contains(expected), "{lines}: {text}");
    }
    assert!(with_ldap("url = \"ldap://dc\"\nallow_plaintext = true").is_ok());
}
