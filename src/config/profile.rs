//! The meaning of `[[profile]]` and its source.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::login::{self, proxy, trust, trust_of_server};
use super::raw::{Found, Table, without_login};
use super::secret::secret_ref;
use super::{EwsSettings, ImapSettings, LoginSettings, Pop3Settings, ProfileSettings, SourceSettings, keys, policies};
use crate::agent::policies::Policies;
use crate::agent::schedule::{Cron, Schedule};
use crate::base::units::{BadUnit, parse_duration, parse_size};
use crate::journal::DecodeOptions;
use crate::net::TlsMode;
use crate::net::oauth::Protocol;
use crate::sources::ews::options::{DeleteType, EwsAuth};
use crate::sources::pop3::options::Pop3Auth;

const NAME_MAX: usize = 64;

/// `defaults` are those of `[people]`.
pub fn all(top: &Table<'_, '_>, folder: &Path, defaults: &Policies, decode: &DecodeOptions) -> Vec<ProfileSettings> {
    let mut profiles = Vec::new();
    let mut names: HashMap<String, usize> = HashMap::new();
    let mut mailboxes: HashMap<Mailbox, Polled> = HashMap::new();
    for (number, table) in top.tables("profile", &keys::PROFILE, "name").into_iter().enumerate() {
        let name = name(&table, &mut names);
        let name = name.unwrap_or_default();
        let Some((profile, folders)) = profile(&table, name, folder, defaults, decode) else { continue };
        for folder in folders {
            let polled = Polled { number, by: table.path().to_owned(), line: folder.line };
            let first = mailboxes.entry(Mailbox::of(&profile.source, folder.value)).or_insert(polled);
            if first.number != number {
                let what = format!(
                    "{:?} of this account is polled by {} already (line {})",
                    folder.value, first.by, first.line
                );
                let hint =
                    "two profiles would delete under each other's hands: leave one, or give them different folders";
                let key = match &profile.source {
                    SourceSettings::Imap(_) => format!("{} → imap → folders", table.path()),
                    SourceSettings::Pop3(_) => table.path().to_owned(),
                    SourceSettings::Ews(_) => format!("{} → ews → folder", table.path()),
                };
                table.doc().error(folder.line, key, what, hint);
            }
        }
        profiles.push(profile);
    }
    profiles
}

/// What two profiles must not have in common.
#[derive(PartialEq, Eq, Hash)]
struct Mailbox {
    host: String,
    port: u16,
    login: String,
    folder: String,
}

/// The first profile that polls a mailbox.
struct Polled {
    number: usize,
    by: String,
    line: usize,
}

impl Mailbox {
    /// Over POP3, IMAP and EWS a server shows the same mailbox.
    fn of(source: &SourceSettings, folder: &str) -> Mailbox {
        let (host, port, login) = match source {
            SourceSettings::Imap(imap) => (imap.host.clone(), imap.port, source.login()),
            SourceSettings::Pop3(pop3) => {
                (pop3.host.clone(), pop3.ports.first().map_or(0, |(port, _)| *port), source.login())
            }
            SourceSettings::Ews(ews) => {
                let named = source.host();
                let (host, port) = named.rsplit_once(':').unwrap_or((&named, ""));
                match port.parse() {
                    Ok(port) => (host.to_owned(), port, ews.of_mailbox()),
                    // `autodiscover:` and a domain.
                    Err(_) => (named, 0, ews.of_mailbox()),
                }
            }
        };
        Mailbox {
            host,
            // The usual ports lead to the same server; others may be tunnels to different ones.
            port: if matches!(port, 143 | 995 | 110 | 443) { 993 } else { port },
            login: login.to_lowercase(),
            folder: folder_identity(folder),
        }
    }
}

/// INBOX is the one folder name without regard to case (RFC 3501 §5.1).
fn folder_identity(name: &str) -> String {
    if name.eq_ignore_ascii_case("INBOX") { "INBOX".to_owned() } else { name.to_owned() }
}

fn name(table: &Table<'_, '_>, names: &mut HashMap<String, usize>) -> Option<String> {
    let name = table.required("name", "name it after the mailbox: name = \"journal\"")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.chars().all(fits) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || name.len() > NAME_MAX {
        let what = format!("{name:?} is no name for a profile");
        let hint = "letters, digits, dot, - and _, beginning with a letter or digit, at most 64";
        table.wrong("name", what, hint);
        return None;
    }
    if let Some(line) = names.insert(name.to_lowercase(), table.line_of("name")) {
        table.wrong(
            "name",
            format!("{name:?} stands on line {line} already"),
            "each profile has a name of its own, whatever its case",
        );
        return None;
    }
    Some(name.to_owned())
}

/// With the folders and their lines, for the comparison between profiles.
fn profile<'d>(
    table: &Table<'_, 'd>,
    name: String,
    folder: &Path,
    defaults: &Policies,
    decode: &DecodeOptions,
) -> Option<(ProfileSettings, Vec<Found<&'d str>>)> {
    let duration =
        |key: &str, default: u64| table.unit(key, parse_duration, "\"300s\"").unwrap_or(Duration::from_secs(default));
    let schedule = schedule(table, duration("every", 300));
    let jitter = duration("jitter", 0);
    let inactive_after =
        table.unit("inactive_after", or_never, "\"180m\"").unwrap_or(Some(Duration::from_secs(180 * 60)));
    let paused_max = duration("paused_max", 7 * 24 * 60 * 60);
    let bandwidth = table.unit("bandwidth", bandwidth, "\"2MiB\"").flatten();
    if !table.has("delete") {
        let what =
            "is missing: gatepost must be told whether to delete archived items on the gateway, and does not guess";
        let hint = "begin with `delete = false`, which leaves everything there; `delete = true` empties the mailbox of what is provably archived";
        table.doc().error(table.line(), table.path_of("delete"), what, hint);
    }
    let refused_retry = duration("refused_retry", 60 * 60);
    if refused_retry < Duration::from_secs(60) {
        table.wrong("refused_retry", "is less than a minute", "\"60m\" keeps an account from being locked");
    }
    let delete = table.boolean("delete");
    let delete_after = duration("delete_after", 0);
    let delete_excluded = table.boolean("delete_excluded").unwrap_or(false);
    let delete_quarantined =
        table.unit("delete_quarantined", quarantine_wait, "\"after 7d\"").unwrap_or(Some(QUARANTINE_WAIT));
    if delete == Some(false) {
        for (key, set) in [
            ("delete_after", !delete_after.is_zero()),
            ("delete_excluded", delete_excluded),
            ("delete_quarantined", delete_quarantined != Some(QUARANTINE_WAIT)),
        ] {
            if set {
                table.notice(key, "has no effect while delete = false");
            }
        }
    }
    let (role, expect) = (policies::role(table), policies::expect(table));
    let (policies, decode) = (policies::policies(table, defaults), policies::decode(table, decode));
    one_source(table);
    let (source, folders) = if table.has("imap") {
        let (imap, folders) = imap(&table.table("imap", &keys::PROFILE_IMAP)?, folder)?;
        (SourceSettings::Imap(imap), folders)
    } else if table.has("ews") {
        let of = table.table("ews", &keys::PROFILE_EWS)?;
        let (ews, found) = ews(&of, folder)?;
        (SourceSettings::Ews(ews), vec![found])
    } else {
        let (pop3, line) = if table.has("pop3") {
            let of = table.table("pop3", &keys::PROFILE_POP3)?;
            (pop3(&of, folder), of.line())
        } else {
            let of = table.table("gateway", &keys::PROFILE_GATEWAY)?;
            (gateway(&of, folder), of.line())
        };
        (SourceSettings::Pop3(pop3?), vec![Found { value: "INBOX", line }])
    };
    // A missing `delete` has been noted, so that this value is never used.
    let delete = delete.unwrap_or(false);
    let profile = ProfileSettings {
        name,
        schedule,
        jitter,
        inactive_after,
        paused_max,
        bandwidth,
        refused_retry,
        delete,
        delete_after,
        delete_excluded,
        delete_quarantined,
        role,
        expect,
        policies,
        decode,
        source,
    };
    Some((profile, folders))
}

/// `every`, or `cron` with its time zone.
fn schedule(table: &Table<'_, '_>, every: Duration) -> Schedule {
    if every.is_zero() {
        table.wrong("every", "is zero", "a poll costs the gateway a login: \"60s\" is often, \"300s\" is usual");
    }
    let zone = match table.has("timezone").then(|| table.filled("timezone", "timezone = \"Europe/Berlin\"")).flatten() {
        None => TimeZone::system(),
        Some(name) => TimeZone::get(name).unwrap_or_else(|_| {
            let hint = "write its name in the time zone database: \"Europe/Berlin\", \"America/New_York\", \"UTC\"";
            table.wrong("timezone", format!("{name:?} is no time zone that this machine knows"), hint);
            TimeZone::UTC
        }),
    };
    if !table.has("cron") {
        if table.has("timezone") {
            table.notice("timezone", "has no effect without cron");
        }
        return Schedule::Every(every);
    }
    if table.has("every") {
        let what = format!("stands beside every (line {})", table.line_of("every"));
        table.wrong("cron", what, "leave one of them");
    }
    let Some(text) = table.filled("cron", "cron = \"*/5 * * * *\"") else { return Schedule::Every(every) };
    match Cron::parse(text, zone) {
        Ok(cron) => Schedule::Cron(Box::new(cron)),
        Err(bad) => {
            table.wrong("cron", bad.what, bad.hint);
            Schedule::Every(every)
        }
    }
}

/// A duration, or `never`.
fn or_never(text: &str) -> Result<Option<Duration>, BadUnit> {
    if text.trim() == "never" { Ok(None) } else { parse_duration(text).map(Some) }
}

/// Bytes a second, or `unlimited`.
fn bandwidth(text: &str) -> Result<Option<u64>, BadUnit> {
    const MIN: u64 = 1024;
    if text.trim() == "unlimited" {
        return Ok(None);
    }
    match parse_size(text)? {
        size if size < MIN => Err(BadUnit {
            what: format!("{text:?} a second is too little to empty a mailbox"),
            hint: "at least \"1KiB\"; it counts bytes in each second".into(),
        }),
        size => Ok(Some(size)),
    }
}

/// Long enough for a person to look, short enough that a gateway does not fill up.
const QUARANTINE_WAIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// `never`, `at once`, or `after` a duration.
fn quarantine_wait(text: &str) -> Result<Option<Duration>, BadUnit> {
    match text.trim() {
        "never" => Ok(None),
        "at once" => Ok(Some(Duration::ZERO)),
        other => match other.strip_prefix("after ") {
            Some(wait) => parse_duration(wait).map(Some),
            None => Err(BadUnit {
                what: format!("{text:?} says neither whether nor when"),
                hint: "write \"never\", \"after 7d\" or \"at once\"".into(),
            }),
        },
    }
}

fn one_source(table: &Table<'_, '_>) {
    let there: Vec<&str> = keys::SOURCES.iter().copied().filter(|source| table.has(source)).collect();
    let [first, others @ ..] = there.as_slice() else {
        let hint = "add a [profile.imap] below it, with host, username and password";
        table.doc().error(table.line(), table.path().to_owned(), "has no source", hint);
        return;
    };
    for other in others {
        let line = table.line_of(first);
        let what = format!("is a second source, beside {first} on line {line}; a profile has exactly one");
        table.wrong(other, what, "leave one of them, or give it a [[profile]] of its own");
    }
}

fn imap<'d>(table: &Table<'_, 'd>, folder: &Path) -> Option<(ImapSettings, Vec<Found<&'d str>>)> {
    let host = host(table);
    let tls = tls_mode(table);
    let usual_port = match tls {
        TlsMode::Implicit => 993,
        TlsMode::StartTls | TlsMode::None => 143,
    };
    let port = table.integer("port", 1..=65_535).map_or(usual_port, |port| port as u16);
    match (tls, port) {
        (TlsMode::Implicit, 143) => table.notice("port", "143 is the port of starttls; implicit TLS listens on 993"),
        (TlsMode::StartTls | TlsMode::None, 993) => {
            table.notice("port", "993 is the port of implicit TLS; without it servers listen on 143");
        }
        _ => {}
    }
    let allow_plaintext = table.boolean("allow_plaintext").unwrap_or(false);
    refuse_plaintext(table, host.as_deref(), tls, allow_plaintext);
    let auth = login::imap_auth(table);
    let timeout = timeout(table);
    let username = username(table);
    let login = login::login(table, login::imap_wants(auth), Protocol::Imap, folder);
    let folders = folders(table);
    let trust = trust(table, tls, folder);
    let settings = ImapSettings {
        host: host?,
        port,
        tls,
        trust,
        username: username?,
        login: login?,
        auth,
        folders: folders.iter().map(|folder| folder.value.to_owned()).collect(),
        timeout,
        allow_plaintext,
        sole_client: table.boolean("sole_client").unwrap_or(false),
        daily_budget: table.unit("daily_budget", daily_budget, "\"2500MB\""),
        compress: table.boolean("compress").unwrap_or(false),
        idle: table.boolean("idle").unwrap_or(false),
    };
    Some((settings, folders))
}

/// A size, or `unlimited`.
fn daily_budget(text: &str) -> Result<u64, BadUnit> {
    if text.trim() == "unlimited" {
        return Ok(u64::MAX);
    }
    match parse_size(text)? {
        0 => Err(BadUnit {
            what: "is zero, so that nothing would be downloaded".into(),
            hint: "leave it out, or write \"2500MB\" or \"unlimited\"".into(),
        }),
        size => Ok(size),
    }
}

fn pop3(table: &Table<'_, '_>, folder: &Path) -> Option<Pop3Settings> {
    let host = host(table);
    let tls = tls_mode(table);
    let usual_port = if tls == TlsMode::Implicit { 995 } else { 110 };
    let port = table.integer("port", 1..=65_535).map_or(usual_port, |port| port as u16);
    let allow_plaintext = table.boolean("allow_plaintext").unwrap_or(false);
    refuse_plaintext(table, host.as_deref(), tls, allow_plaintext);
    let auth = login::pop3_auth(table);
    let (timeout, trust) = (timeout(table), trust(table, tls, folder));
    let username = username(table);
    let login = login::login(table, login::pop3_wants(auth), Protocol::Pop3, folder);
    Some(Pop3Settings {
        host: host?,
        ports: vec![(port, tls)],
        trust,
        username: username?,
        login: login?,
        auth,
        timeout,
        allow_plaintext,
    })
}

fn ews<'d>(table: &Table<'_, 'd>, folder: &Path) -> Option<(EwsSettings, Found<&'d str>)> {
    let allow_plaintext = table.boolean("allow_plaintext").unwrap_or(false);
    let url = if table.has("url") { Some(ews_url(table, allow_plaintext)?) } else { None };
    let auth = login::ews_auth(table);
    let delete_types =
        [("hard", DeleteType::Hard), ("soft", DeleteType::Soft), ("deleted_items", DeleteType::DeletedItems)];
    let delete_type = table.choice("delete_type", &delete_types).unwrap_or_default();
    const LOGIN: &str = "write username = \"journal@corp.example\", or \"CORP\\\\journal\"";
    if !table.has("username") {
        table.missing("username", LOGIN);
    }
    let username = table.filled("username", LOGIN).and_then(|text| no_controls(table, "username", text));
    if auth == EwsAuth::Basic && username.as_ref().is_some_and(|name| name.contains(':')) {
        table.wrong("username", "holds a colon, which Basic cannot carry", LOGIN);
    }
    let address = |key: &str| {
        if !table.has(key) {
            return None;
        }
        let text = table.filled(key, "the mailbox's primary address")?;
        if !text.contains('@') || text.contains(char::is_whitespace) {
            table.wrong(
                key,
                format!("{text:?} is no address"),
                "the mailbox's primary address: \"journal@corp.example\"",
            );
        }
        Some(text.to_owned())
    };
    let (impersonate, mailbox) = (address("impersonate"), address("mailbox"));
    let read = mailbox.as_ref().or(impersonate.as_ref()).or(username.as_ref());
    if url.is_none() && !table.has("url") && read.is_some_and(|address| !address.contains('@')) {
        table.missing(
            "url",
            "write url = \"https://mail.example.com/EWS/Exchange.asmx\"; only an address can be looked up",
        );
    }
    let path_line = if table.has("folder") { table.line_of("folder") } else { table.line() };
    let name = if table.has("folder") { table.filled("folder", "folder = \"inbox\"")? } else { "inbox" };
    no_controls(table, "folder", name)?;
    if name.eq_ignore_ascii_case("journal") {
        let hint = "journal reports usually arrive in \"inbox\"; a folder of mail that is named so is \"msgfolderroot/Journal\"";
        table.wrong("folder", "\"journal\" is Outlook's diary", hint);
    }
    let timeout = timeout(table);
    let is_plain = url.as_ref().is_some_and(|url| url.starts_with("http://"));
    let trust = trust(table, if is_plain { TlsMode::None } else { TlsMode::Implicit }, folder);
    if trust.fingerprint.is_some() && !table.has("url") {
        table.missing(
            "url",
            "`tls_fingerprint` pins one server; the ones that Autodiscover asks have other certificates",
        );
    }
    let proxy = proxy(table, folder);
    if is_plain && table.has("proxy") {
        let what =
            "stands beside an http:// URL: the proxy, and whoever is behind it, could read the password and all mail";
        table.wrong("proxy", what, "use https://, or leave `proxy` out");
    }
    let login = login::login(table, login::ews_wants(auth), Protocol::Ews, folder);
    let settings = EwsSettings {
        url,
        auth,
        username: username?,
        login: login?,
        folder: name.to_owned(),
        delete_type,
        impersonate,
        mailbox,
        trust,
        proxy,
        timeout,
        allow_plaintext,
    };
    Some((settings, Found { value: name, line: path_line }))
}

fn ews_url(table: &Table<'_, '_>, allow_plaintext: bool) -> Option<String> {
    const URL: &str = "https://mail.example.com/EWS/Exchange.asmx";
    let text = no_controls(table, "url", table.filled("url", URL)?)?;
    match crate::sources::ews::plain_http_host(&text) {
        Err(why) => {
            table.wrong("url", format!("{:?} cannot be used: {why}", without_login(&text)), URL);
            None
        }
        Ok(Some(host)) if !allow_plaintext && !is_loopback(&host) => {
            let what = format!("http:// would send the password and all mail in clear text to {host}");
            table.wrong("url", what, "use https://; if it must be, add allow_plaintext = true");
            Some(text)
        }
        Ok(_) => Some(text),
    }
}

/// A MailStore Gateway: POP3 with TLS from the first byte, or where that is turned off there, with STLS.
fn gateway(table: &Table<'_, '_>, folder: &Path) -> Option<Pop3Settings> {
    let host = host(table);
    let ports = match table.integer("port", 1..=65_535) {
        None => vec![(995, TlsMode::Implicit), (110, TlsMode::StartTls)],
        Some(110) => vec![(110, TlsMode::StartTls)],
        Some(port) => vec![(port as u16, TlsMode::Implicit)],
    };
    let trust = trust_of_server(table, folder);
    const ID: &str = "the ID of the mailbox as the gateway shows it: mailbox_id = \"mbx-…\"";
    if !table.has("mailbox_id") {
        table.missing("mailbox_id", ID);
    }
    let id = mailbox_id(table, ID);
    let password = secret_ref(table, "password", folder);
    Some(Pop3Settings {
        host: host?,
        ports,
        trust,
        username: id?,
        login: LoginSettings::Password(password?),
        auth: Pop3Auth::Auto,
        timeout: Duration::from_secs(300),
        allow_plaintext: false,
    })
}

pub(super) fn tls_mode(table: &Table<'_, '_>) -> TlsMode {
    table
        .choice("tls", &[("implicit", TlsMode::Implicit), ("starttls", TlsMode::StartTls), ("none", TlsMode::None)])
        .unwrap_or(TlsMode::Implicit)
}

fn timeout(table: &Table<'_, '_>) -> Duration {
    let timeout = table.unit("timeout", parse_duration, "\"300s\"").unwrap_or(Duration::from_secs(300));
    if timeout < Duration::from_secs(1) {
        table.wrong("timeout", "is less than a second", "\"300s\" leaves a slow server time to prepare a large mail");
    }
    timeout
}

pub(super) fn refuse_plaintext(table: &Table<'_, '_>, host: Option<&str>, tls: TlsMode, allow_plaintext: bool) {
    if let Some(host) = host
        && tls == TlsMode::None
        && !allow_plaintext
        && !is_loopback(host)
    {
        let what = format!("\"none\" would send the password and all mail in clear text to {host}");
        table.wrong("tls", what, "use \"implicit\" or \"starttls\"; if it must be, add allow_plaintext = true");
    }
}

pub(super) fn host(table: &Table<'_, '_>) -> Option<String> {
    const NAME: &str = "write the name of the server alone: host = \"imap.example.com\"";
    let text = table.required("host", NAME)?;
    let wrong = |what: &str, hint: &str| {
        table.wrong("host", format!("{:?} {what}", without_login(text)), hint);
        None
    };
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<Ipv6Addr>().is_ok() {
        return Some(bare.to_ascii_lowercase());
    }
    if text.contains("://") || text.contains('/') {
        return wrong("is a URL", NAME);
    }
    if text.contains('@') {
        return wrong("holds an @", NAME);
    }
    if let Some((name, port)) = text.split_once(':') {
        let hint = match port.parse::<u16>() {
            Ok(port) => format!("host = {name:?} and port = {port}"),
            Err(_) => NAME.to_owned(),
        };
        return wrong("holds more than a name", &hint);
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return wrong("holds a blank", NAME);
    }
    match crate::base::address::normalise_domain(text) {
        Some(host) => Some(host),
        None => wrong("is not the name of a server", NAME),
    }
}

pub fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// `username`, or a mailbox ID, of which the login is the part before any `@`.
fn username(table: &Table<'_, '_>) -> Option<String> {
    const ONE: &str = "write username = \"journal@corp.example\", or for a MailStore Gateway mailbox_id = \"mbx-…\"";
    match (table.has("username"), table.has("mailbox_id")) {
        (true, true) => {
            let line = table.line_of("username");
            table.wrong("mailbox_id", format!("stands beside username (line {line})"), "leave one of them");
            None
        }
        (false, false) => {
            table.missing("username", ONE);
            None
        }
        (true, false) => no_controls(table, "username", table.filled("username", ONE)?),
        (false, true) => mailbox_id(table, ONE),
    }
}

fn mailbox_id(table: &Table<'_, '_>, hint: &str) -> Option<String> {
    let id = no_controls(table, "mailbox_id", table.filled("mailbox_id", hint)?)?;
    let Some((local, domain)) = id.split_once('@') else { return Some(id) };
    if local.is_empty() {
        table.wrong("mailbox_id", format!("{id:?} has nothing before the @"), hint);
        return None;
    }
    let text = format!("@{domain} was cut off: the login of a mailbox ID is {local}, without a domain");
    table.notice("mailbox_id", &text);
    Some(local.to_owned())
}

pub fn no_controls(table: &Table<'_, '_>, key: &str, text: &str) -> Option<String> {
    if text.contains(char::is_control) {
        table.wrong(key, "holds a control character", "write it in one line");
        return None;
    }
    Some(text.to_owned())
}

fn folders<'d>(table: &Table<'_, 'd>) -> Vec<Found<&'d str>> {
    const KEY: &str = "folders";
    if !table.has(KEY) {
        return vec![Found { value: "INBOX", line: table.line() }];
    }
    // Not a list: noted already.
    let Some(folders) = table.strings(KEY) else { return Vec::new() };
    if folders.is_empty() {
        table.wrong(KEY, "is empty, so that nothing would be polled", "leave it out for [\"INBOX\"]");
    }
    for (at, folder) in folders.iter().enumerate() {
        let bad = |what: &str, hint: &str| table.doc().error(folder.line, table.path_of(KEY), what, hint);
        if folder.value.trim().is_empty() {
            bad("holds an empty name", "leave it out");
        } else if folder.value.contains(char::is_control) {
            bad("holds a name with a control character", "write it in one line");
        } else if folders[..at].iter().any(|other| folder_identity(other.value) == folder_identity(folder.value)) {
            bad(&format!("{:?} stands here twice", folder.value), "leave one of them; INBOX has no case");
        }
    }
    folders
}
