//! The configuration as it was understood: every key with the value that holds, defaults included, in the words of
//! the file. Of secrets only the place is told, never the text.
//!
//! Settings are taken apart field by field: a new one that is not shown does not compile.

mod login;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::{Table, Value};

use super::keys::{self, Keys};
use super::secret::SecretRef;
use super::{
    ArchiveSettings, EwsSettings, ImapSettings, LdapSettings, Pop3Settings, ProfileSettings, Settings, SourceSettings,
};
use crate::agent::disk::Reserve;
use crate::agent::policies::{
    NonInternal, NotEnveloped, Policies, Scope, Selection, UnauthenticatedSender, UnknownInternal,
};
use crate::agent::schedule::Schedule;
use crate::agent::{Expect, Role};
use crate::base::address::Address;
use crate::journal::{ClearText, DecodeOptions, Reporter};
use crate::net::TlsMode;
use crate::people::ldap::{Disabled, LdapOptions};
use crate::people::{PeopleOptions, Person};
use crate::sources::ews::options::{DeleteType, EwsAuth};
use crate::sources::imap::options::ImapAuth;
use crate::sources::pop3::options::Pop3Auth;

/// What [`Settings`] say, as a tree of the file's shape.
pub fn tree(settings: &Settings) -> Table {
    let Settings { file: _, archive, control, people, directory, policies, decode, profiles, .. } = settings;
    let Settings { alarms, canary, metrics, log, notices: _, .. } = settings;
    let mut top = Table::new();
    top.insert("archive".into(), Value::Table(self::archive(archive)));
    if let Some(socket) = control {
        top.insert("control".into(), Value::Table(Out::default().put("socket", path(socket)).0));
    }
    top.insert("people".into(), Value::Table(self::people(people, directory.as_ref(), policies, decode)));
    let profiles = profiles.iter().map(|settings| Value::Table(profile(settings))).collect();
    top.insert("profile".into(), Value::Array(profiles));
    top.insert("alarms".into(), Value::Table(watch::alarms(alarms)));
    if let Some(canary) = canary {
        top.insert("canary".into(), watch::canary(canary));
    }
    top.insert("metrics".into(), Value::Table(watch::metrics(metrics)));
    top.insert("log".into(), Value::Table(watch::log(log)));
    top
}

/// The tree as text: keys in the order of the reference, tables below the keys.
pub fn text(tree: &Table) -> String {
    let mut out = String::new();
    table_text(&mut out, tree, &keys::TOP, "");
    out
}

fn table_text(out: &mut String, table: &Table, keys: &Keys, header: &str) {
    let is_table = |value: &Value, key: &str| below(keys, key).is_some() && (value.is_table() || value.is_array());
    let present = || keys.known.iter().filter_map(|&key| table.get(key).map(|value| (key, value)));
    if !header.is_empty() {
        out.push_str(&format!("{}{header}\n", if out.is_empty() { "" } else { "\n" }));
    }
    for (key, value) in present().filter(|(key, value)| !is_table(value, key)) {
        out.push_str(&format!("{key} = {value}\n"));
    }
    for (key, value) in present().filter(|(key, value)| is_table(value, key)) {
        let Some(keys) = below(keys, key) else { continue };
        match value {
            Value::Table(table) => table_text(out, table, keys, &format!("[{}]", keys.table)),
            Value::Array(list) => {
                for table in list.iter().filter_map(Value::as_table) {
                    table_text(out, table, keys, &format!("[[{}]]", keys.table));
                }
            }
            // Told by `is_table`.
            _ => {}
        }
    }
}

/// The keys of the table that `key` is, if it is one with a header.
fn below(keys: &Keys, key: &str) -> Option<&'static Keys> {
    let path = if keys.table.is_empty() { key.to_owned() } else { format!("{}.{key}", keys.table) };
    keys::TABLES.iter().find(|keys| keys.table == path).copied()
}

/// A table being filled; what is `None` is left out.
#[derive(Default)]
struct Out(Table);

impl Out {
    fn put(mut self, key: &str, value: impl Into<Value>) -> Out {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    fn put_some(self, key: &str, value: Option<impl Into<Value>>) -> Out {
        match value {
            Some(value) => self.put(key, value),
            None => self,
        }
    }

    fn put_all(mut self, other: Table) -> Out {
        self.0.extend(other);
        self
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn size(bytes: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

fn secret(secret: &SecretRef) -> Value {
    Value::Table(Out::default().put("from", secret.kind()).put("place", secret.place()).0)
}

fn words(words: &[String]) -> Value {
    Value::Array(words.iter().cloned().map(Value::String).collect())
}

fn addresses<'a>(addresses: impl Iterator<Item = &'a Address>) -> Value {
    Value::Array(addresses.map(|address| Value::String(address.to_string())).collect())
}

fn archive(settings: &ArchiveSettings) -> Table {
    let ArchiveSettings { path: folder, catalogue, pack_bytes_max, window_bytes, reserve, index } = settings;
    let reserve = match reserve {
        Reserve::Auto => "auto".to_owned(),
        Reserve::Bytes(bytes) => size(*bytes),
    };
    Out::default()
        .put("path", path(folder))
        .put_some("catalogue", catalogue.as_deref().map(path))
        .put("pack_size", size(*pack_bytes_max))
        .put("window", size(*window_bytes as u64))
        .put("reserve", reserve)
        .put("index", *index)
        .0
}

fn people(
    options: &PeopleOptions,
    directory: Option<&LdapSettings>,
    policies: &Policies,
    decode: &DecodeOptions,
) -> Table {
    // `directory` is the list that was fetched, which is none of the configuration's.
    let PeopleOptions { internal_domains, domain_aliases, csv, directory: _, persons, never_owners } = options;
    let aliases: BTreeMap<&String, &String> = domain_aliases.iter().collect();
    let aliases: Table = aliases.into_iter().map(|(from, to)| (from.clone(), Value::String(to.clone()))).collect();
    // What is kept as one list stands in the file as three; the first two are told apart.
    let of_journal = &decode.journal_addresses;
    let never = never_owners.iter().filter(|address| !of_journal.contains(address));
    Out::default()
        .put("internal_domains", words(internal_domains))
        .put("domain_aliases", Value::Table(aliases))
        .put_some("csv", csv.as_deref().map(path))
        .put("journal_addresses", addresses(of_journal.iter()))
        .put("never_owners", addresses(never))
        .put_all(self::policies(policies))
        .put("clear_text", clear_text(decode.clear_text))
        .put_some("ldap", directory.map(|directory| Value::Table(ldap(directory))))
        .put("person", Value::Array(persons.iter().map(|person| Value::Table(self::person(person))).collect()))
        .0
}

fn person(person: &Person) -> Table {
    let Person { id, name, addresses: owned, legacy, groups } = person;
    Out::default()
        .put("id", id.to_string())
        .put_some("name", name.clone())
        .put("addresses", addresses(owned.keys()))
        .put("groups", words(groups))
        .put("legacy", words(legacy))
        .0
}

fn ldap(settings: &LdapSettings) -> Table {
    let LdapSettings { options, login, refresh, people_drop_max } = settings;
    let LdapOptions {
        host,
        port,
        tls,
        trust,
        // Fetched with the password; the settings' own `login` says where that is.
        login: _,
        base,
        filter,
        page_size,
        timeout,
        mail_attributes,
        name_attribute,
        disabled,
        include_groups,
        exclude_groups,
        groups,
    } = options;
    let (scheme, starttls) = match tls {
        TlsMode::Implicit => ("ldaps", false),
        TlsMode::StartTls => ("ldap", true),
        TlsMode::None => ("ldap", false),
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let disabled = match disabled {
        Disabled::Keep => "keep",
        Disabled::Skip => "skip",
    };
    Out::default()
        .put("url", format!("{scheme}://{host}:{port}"))
        .put("starttls", starttls)
        .put_all(login::trust(trust))
        // Whoever reads this far was let through.
        .put("allow_plaintext", *tls == TlsMode::None)
        .put_some("bind_dn", login.as_ref().map(|(name, _)| name.clone()))
        .put_some("password", login.as_ref().map(|(_, password)| secret(password)))
        .put("base", words(base))
        .put("filter", filter.clone())
        .put("page_size", i64::from(*page_size))
        .put("timeout", duration(*timeout))
        .put("mail_attributes", words(mail_attributes))
        .put_some("name_attribute", name_attribute.clone())
        .put("disabled", disabled)
        .put("include_groups", words(include_groups))
        .put("exclude_groups", words(exclude_groups))
        .put("groups", words(groups))
        .put("refresh", duration(*refresh))
        .put("people_drop_max", i64::from(*people_drop_max))
        .0
}

fn profile(settings: &ProfileSettings) -> Table {
    let ProfileSettings {
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
    } = settings;
    let DecodeOptions { envelope_headers, journal_addresses: _, gateway_hosts, clear_text, trusted_reporters } = decode;
    let (every, cron) = match schedule {
        Schedule::Every(every) => (Some(duration(*every)), None),
        Schedule::Cron(cron) => (None, Some(cron)),
    };
    let quarantined = match delete_quarantined {
        None => "never".to_owned(),
        Some(wait) if wait.is_zero() => "at once".to_owned(),
        Some(wait) => format!("after {}", duration(*wait)),
    };
    let role = match role {
        Role::Primary => "primary",
        Role::Alternate => "alternate",
    };
    let expect = match expect {
        Expect::Auto => "auto",
        Expect::Reports => "reports",
        Expect::Copies => "copies",
    };
    let reporters = trusted_reporters.iter().map(|reporter| match reporter {
        Reporter::SenderDomain(domain) => domain.clone(),
        Reporter::Header { name, value } => format!("{name}={value}"),
    });
    let (kind, source) = match source {
        SourceSettings::Imap(settings) => ("imap", imap(settings)),
        SourceSettings::Pop3(settings) => pop3(settings),
        SourceSettings::Ews(settings) => ("ews", ews(settings)),
    };
    Out::default()
        .put("name", name.clone())
        .put_some("every", every)
        .put_some("cron", cron.map(|cron| cron.text().to_owned()))
        .put_some("timezone", cron.and_then(|cron| cron.zone().iana_name().map(str::to_owned)))
        .put("jitter", duration(*jitter))
        .put("inactive_after", inactive_after.map_or_else(|| "never".to_owned(), duration))
        .put("paused_max", duration(*paused_max))
        .put("bandwidth", bandwidth.map_or_else(|| "unlimited".to_owned(), size))
        .put("refused_retry", duration(*refused_retry))
        .put("delete", *delete)
        .put("delete_after", duration(*delete_after))
        .put("delete_excluded", *delete_excluded)
        .put("delete_quarantined", quarantined)
        .put("role", role)
        .put("expect", expect)
        .put("trusted_reporters", words(&reporters.collect::<Vec<_>>()))
        .put("envelope_headers", words(envelope_headers))
        .put("gateway_hosts", words(gateway_hosts))
        .put_all(self::policies(policies))
        .put("clear_text", self::clear_text(*clear_text))
        .put(kind, Value::Table(source))
        .0
}

fn policies(policies: &Policies) -> Table {
    let Policies {
        scope,
        include,
        exclude,
        unknown_internal,
        non_internal,
        not_enveloped,
        unauthenticated_sender,
        create_max_per_item,
    } = policies;
    let scope = match scope {
        Scope::All => "all",
        Scope::External => "external",
        Scope::Internal => "internal",
    };
    let unknown_internal = match unknown_internal {
        UnknownInternal::Create => "create",
        UnknownInternal::Unassigned => "unassigned",
        UnknownInternal::Exclude => "exclude",
    };
    let non_internal = match non_internal {
        NonInternal::Unassigned => "unassigned",
        NonInternal::Exclude => "exclude",
    };
    let not_enveloped = match not_enveloped {
        NotEnveloped::Headers => "headers",
        NotEnveloped::Unassigned => "unassigned",
    };
    let unauthenticated_sender = match unauthenticated_sender {
        UnauthenticatedSender::Flag => "flag",
        UnauthenticatedSender::NoSent => "no_sent",
    };
    let (include_people, include_groups) = selection(include);
    let (exclude_people, exclude_groups) = selection(exclude);
    Out::default()
        .put("scope", scope)
        .put("include_people", include_people)
        .put("include_groups", include_groups)
        .put("exclude_people", exclude_people)
        .put("exclude_groups", exclude_groups)
        .put("unknown_internal", unknown_internal)
        .put("non_internal", non_internal)
        .put("not_enveloped", not_enveloped)
        .put("unauthenticated_sender", unauthenticated_sender)
        .put("create_max_per_item", i64::try_from(*create_max_per_item).unwrap_or(i64::MAX))
        .0
}

fn selection(selection: &Selection) -> (Value, Value) {
    let (names, groups) = selection.words();
    (words(&names), words(&groups))
}

fn clear_text(clear_text: ClearText) -> &'static str {
    match clear_text {
        ClearText::Prefer => "prefer",
        ClearText::Protected => "protected",
        ClearText::Both => "both",
    }
}

fn tls_word(tls: TlsMode) -> &'static str {
    match tls {
        TlsMode::Implicit => "implicit",
        TlsMode::StartTls => "starttls",
        TlsMode::None => "none",
    }
}

fn imap(settings: &ImapSettings) -> Table {
    let ImapSettings { host, port, tls, trust, username, login, auth, folders, timeout, .. } = settings;
    let ImapSettings { allow_plaintext, sole_client, daily_budget, compress, idle, .. } = settings;
    let budget = |bytes: u64| if bytes == u64::MAX { "unlimited".to_owned() } else { size(bytes) };
    let auth = match auth {
        ImapAuth::Auto => "auto",
        ImapAuth::Plain => "plain",
        ImapAuth::Login => "login",
        ImapAuth::XOAuth2 => "xoauth2",
        ImapAuth::OAuthBearer => "oauthbearer",
        ImapAuth::External => "external",
    };
    Out::default()
        .put("host", host.clone())
        .put("port", i64::from(*port))
        .put("tls", tls_word(*tls))
        .put_all(login::trust(trust))
        .put("username", username.clone())
        .put_all(login::login(login))
        .put("auth", auth)
        .put("folders", words(folders))
        .put("timeout", duration(*timeout))
        .put("allow_plaintext", *allow_plaintext)
        .put("sole_client", *sole_client)
        .put_some("daily_budget", daily_budget.map(budget))
        .put("compress", *compress)
        .put("idle", *idle)
        .0
}

/// With the table that it comes from: a MailStore Gateway is POP3 whose port may be one of two.
fn pop3(settings: &Pop3Settings) -> (&'static str, Table) {
    let Pop3Settings { host, ports, trust, username, login, auth, timeout, allow_plaintext } = settings;
    let auth = match auth {
        Pop3Auth::Auto => "auto",
        Pop3Auth::Plain => "plain",
        Pop3Auth::User => "user",
        Pop3Auth::XOAuth2 => "xoauth2",
        Pop3Auth::OAuthBearer => "oauthbearer",
        Pop3Auth::External => "external",
    };
    let out = Out::default().put("host", host.clone()).put_all(login::trust(trust)).put_all(login::login(login));
    match ports.as_slice() {
        [(port, tls)] => {
            let out = out.put("port", i64::from(*port)).put("tls", tls_word(*tls)).put("username", username.clone());
            let out = out.put("auth", auth).put("timeout", duration(*timeout));
            ("pop3", out.put("allow_plaintext", *allow_plaintext).0)
        }
        _ => ("gateway", out.put("mailbox_id", username.clone()).0),
    }
}

fn ews(settings: &EwsSettings) -> Table {
    let EwsSettings {
        url,
        auth,
        username,
        login,
        folder,
        delete_type,
        impersonate,
        mailbox,
        trust,
        proxy,
        timeout,
        allow_plaintext,
    } = settings;
    let auth = match auth {
        EwsAuth::Basic => "basic",
        EwsAuth::Ntlm => "ntlm",
        EwsAuth::OAuth2 => "oauth2",
        EwsAuth::Negotiate => "negotiate",
    };
    let delete_type = match delete_type {
        DeleteType::Hard => "hard",
        DeleteType::Soft => "soft",
        DeleteType::DeletedItems => "deleted_items",
    };
    Out::default()
        .put_some("url", url.clone())
        .put("auth", auth)
        .put("username", username.clone())
        .put_all(login::login(login))
        .put("folder", folder.clone())
        .put("delete_type", delete_type)
        .put_some("impersonate", impersonate.clone())
        .put_some("mailbox", mailbox.clone())
        .put_all(login::trust(trust))
        .put_all(login::proxy(proxy.as_ref()))
        .put("timeout", duration(*timeout))
        .put("allow_plaintext", *allow_plaintext)
        .0
}
