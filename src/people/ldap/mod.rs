//! People from a directory: Active Directory, OpenLDAP and their like.
//!
//! Must hold: a load gives the whole list or an error, never a part of it. A page without its successor's cookie, a
//! limit of the server, a reference to another server, a group that is not there, a person without a key: each is an
//! error, because a list that is short by some people would take their addresses from them. Nothing is written here,
//! and nothing in the directory is changed.

mod entry;
mod groups;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use ldap3::controls::{Control, ControlType, MakeCritical as _, PagedResults, RawControl};
use ldap3::{Ldap, LdapConnAsync, LdapResult, Scope, SearchOptions};

use crate::base::secret::Secret;
use crate::net::tls::{self, NetError};
use crate::net::trust::Trust;
use crate::net::{TlsMode, clean};
use crate::people::directory::Entry;
use entry::Object;

/// More people than any organisation has that runs this; beyond it the filter is wrong.
const ENTRIES_MAX: usize = 1_000_000;
/// Asks Active Directory and OpenLDAP to leave out references to other servers (LDAP_SERVER_DOMAIN_SCOPE_OID).
const DOMAIN_SCOPE: &str = "1.2.840.113556.1.4.1339";

/// Whoever has a mailbox: users of Active Directory (shared mailboxes and rooms are users too), accounts elsewhere. Not
/// contacts and groups, which have addresses, but other people's.
pub const FILTER: &str =
    "(&(|(mail=*)(proxyAddresses=*))(|(objectClass=user)(objectClass=inetOrgPerson)(objectClass=posixAccount)))";
pub const MAIL_ATTRIBUTES: [&str; 3] = ["mail", "proxyAddresses", "userPrincipalName"];

/// What becomes of people whose account is disabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disabled {
    /// They still receive mail, and shared mailboxes are disabled accounts.
    #[default]
    Keep,
    Skip,
}

#[derive(Clone, Debug)]
pub struct LdapOptions {
    pub host: String,
    pub port: u16,
    pub tls: TlsMode,
    pub trust: Trust,
    /// `None`: anonymous.
    pub login: Option<(String, Secret)>,
    /// Where people are looked for; empty: the directory's own naming contexts.
    pub base: Vec<String>,
    pub filter: String,
    /// People per answer; 0: all at once, for servers without paged results.
    pub page_size: u32,
    /// For one whole load.
    pub timeout: Duration,
    /// The earlier wins the question for the main address, save a primary one in proxyAddresses.
    pub mail_attributes: Vec<String>,
    pub name_attribute: Option<String>,
    pub disabled: Disabled,
    /// DNs or names of groups. Members of one of these only; empty: all.
    pub include_groups: Vec<String>,
    pub exclude_groups: Vec<String>,
    /// Groups that are noted in [`Entry::groups`].
    pub groups: Vec<String>,
}

impl Default for LdapOptions {
    fn default() -> LdapOptions {
        LdapOptions {
            host: "localhost".into(),
            port: 636,
            tls: TlsMode::Implicit,
            trust: Trust::default(),
            login: None,
            base: Vec::new(),
            filter: FILTER.into(),
            page_size: 500,
            timeout: Duration::from_secs(60),
            mail_attributes: MAIL_ATTRIBUTES.map(str::to_owned).into(),
            name_attribute: None,
            disabled: Disabled::Keep,
            include_groups: Vec::new(),
            exclude_groups: Vec::new(),
            groups: Vec::new(),
        }
    }
}

impl LdapOptions {
    /// For people: where the list comes from.
    pub fn source(&self) -> String {
        let scheme = if self.tls == TlsMode::Implicit { "ldaps" } else { "ldap" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{scheme}://{host}:{}", self.port)
    }
}

/// Why there is no list. `refused`: the login was turned down, and trying again may lock the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapError {
    pub what: String,
    pub hint: Option<String>,
    pub refused: bool,
}

impl LdapError {
    fn new(what: impl Into<String>, hint: &str) -> LdapError {
        let hint = Some(hint).filter(|hint| !hint.is_empty()).map(str::to_owned);
        LdapError { what: what.into(), hint, refused: false }
    }
}

impl fmt::Display for LdapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for LdapError {}

/// A search filter that can be sent? Asked when the configuration is read.
pub fn is_filter(text: &str) -> bool {
    ldap3::parse_filter(text).is_ok()
}

/// All people of the directory, each once.
pub async fn load(options: &LdapOptions) -> Result<Vec<Entry>, LdapError> {
    match tokio::time::timeout(options.timeout, load_all(options)).await {
        Ok(loaded) => loaded.map_err(|error| match &options.login {
            // A server may repeat what it refuses.
            Some((_, password)) => LdapError { what: password.hide(&error.what), ..error },
            None => error,
        }),
        Err(_) => {
            let limit = humantime::format_duration(options.timeout);
            let what = format!("the directory {} did not give all its people within {limit}", options.source());
            Err(LdapError::new(what, "a longer `timeout` waits longer; `base` and `filter` make the list shorter"))
        }
    }
}

async fn load_all(options: &LdapOptions) -> Result<Vec<Entry>, LdapError> {
    let mut directory = Directory::open(options).await?;
    let contexts = directory.naming_contexts().await?;
    let bases = if options.base.is_empty() { &contexts } else { &options.base };
    let wanted = [&options.include_groups, &options.exclude_groups, &options.groups].into_iter().flatten();
    let wanted: Vec<&str> = wanted.map(String::as_str).collect();
    let mut attributes: Vec<&str> = options.mail_attributes.iter().map(String::as_str).collect();
    attributes.extend(options.name_attribute.as_deref());
    attributes.extend(entry::KEYS.into_iter().chain(entry::DISABLED).chain(entry::NAMES));
    attributes.push(entry::LEGACY);
    if !wanted.is_empty() {
        attributes.push(entry::LOGIN);
    }
    let mut objects = Vec::new();
    for base in bases {
        objects.extend(directory.search(base, Scope::Subtree, &options.filter, &attributes).await?);
    }
    directory.complete(&mut objects).await?;
    let mut memberships = match wanted.is_empty() {
        true => HashMap::new(),
        false => groups::memberships(&mut directory, &contexts, &wanted, &objects).await?,
    };
    directory.close().await;

    // By key: bases may overlap.
    let mut entries = BTreeMap::new();
    for object in &objects {
        let member_of = memberships.remove(&groups::dn_key(&object.dn)).unwrap_or_default();
        let is_in = |groups: &[String]| groups.iter().any(|group| member_of.contains(group.as_str()));
        let is_included = options.include_groups.is_empty() || is_in(&options.include_groups);
        let noted = options.groups.iter().filter(|group| member_of.contains(group.as_str())).cloned().collect();
        let entry = entry::entry(object, options, noted).map_err(|why| {
            let what = format!("the directory {}: {} {why}", options.source(), clean(&object.dn));
            LdapError::new(what, "the login must be allowed to read it: it names the person's archive for good")
        })?;
        let is_skipped = options.disabled == Disabled::Skip && entry.disabled;
        if is_included && !is_in(&options.exclude_groups) && !is_skipped {
            entries.entry(entry.key.clone()).or_insert(entry);
        }
    }
    Ok(entries.into_values().collect())
}

/// A session.
struct Directory<'a> {
    options: &'a LdapOptions,
    ldap: Ldap,
    trouble: wire::Trouble,
    driver: tokio::task::JoinHandle<()>,
    _pump: wire::Pump,
    /// Objects that were read so far.
    count: usize,
}

impl Drop for Directory<'_> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl<'a> Directory<'a> {
    async fn open(options: &'a LdapOptions) -> Result<Directory<'a>, LdapError> {
        let source = options.source();
        let limit = options.timeout;
        let trust = &options.trust;
        let connected = tls::connect(&options.host, options.port, options.tls, trust, limit).await;
        let mut stream = connected.map_err(|error| unreachable(&source, &error))?.stream;
        if options.tls == TlsMode::StartTls {
            wire::start_tls(&mut stream).await.map_err(|said| {
                LdapError::new(
                    format!("the directory {source} {said}; the login was not sent"),
                    "without TLS nothing is sent: let the server offer StartTLS, or use ldaps:// in `url`",
                )
            })?;
            let shaken = tls::handshake(stream, &options.host, trust, limit).await;
            stream = shaken.map_err(|error| unreachable(&source, &error))?.stream;
        }
        let no_session = |said: String| LdapError::new(format!("no session with the directory {source}: {said}"), "");
        let guarded = wire::guard(stream).await.map_err(|error| no_session(error.to_string()))?;
        let (connection, ldap) = LdapConnAsync::with_settings(guarded.settings, guarded.url)
            .await
            .map_err(|error| no_session(clean(&error.to_string())))?;
        let driver = tokio::spawn(async move {
            // Why it ended is what the guard noted.
            let _ = connection.drive().await;
        });
        let (trouble, pump) = (guarded.trouble, guarded.pump);
        let mut directory = Directory { options, ldap, trouble, driver, _pump: pump, count: 0 };
        directory.bind().await?;
        Ok(directory)
    }

    async fn bind(&mut self) -> Result<(), LdapError> {
        let Some((name, password)) = &self.options.login else { return Ok(()) };
        let bound = self.ldap.simple_bind(name, password.expose()).await;
        let result = bound.map_err(|error| self.broken(&error))?;
        if result.rc == 0 {
            return Ok(());
        }
        let mut error = self.failed(&format!("the login {}", clean(name)), &result);
        // 49: wrong; 48, 53: not in this way. None of them mends itself.
        error.refused = matches!(result.rc, 48 | 49 | 53);
        Err(error)
    }

    async fn close(mut self) {
        let _ = self.ldap.unbind().await;
    }

    /// Where the directory itself says that its entries are; needed as a default only, so that a server which keeps it
    /// to itself is no error while `base` is set.
    async fn naming_contexts(&mut self) -> Result<Vec<String>, LdapError> {
        const DEFAULT: &str = "defaultNamingContext";
        const ALL: &str = "namingContexts";
        let root = self.page("", Scope::Base, "(objectClass=*)", &[DEFAULT, ALL], None).await;
        let contexts: Vec<String> = match root.as_ref().map(|(root, _)| root.first()) {
            Ok(Some(root)) => match root.texts(DEFAULT).next() {
                Some(context) => vec![context.to_owned()],
                None => root.texts(ALL).map(str::to_owned).collect(),
            },
            Ok(None) | Err(_) => Vec::new(),
        };
        match contexts.is_empty() {
            false => Ok(contexts),
            true if !self.options.base.is_empty() && self.trouble.said().is_none() => Ok(self.options.base.clone()),
            true => {
                root?;
                let what = format!("the directory {} does not say where its entries are", self.options.source());
                Err(LdapError::new(what, "name it: base = [\"dc=corp,dc=example\"]"))
            }
        }
    }

    /// All objects, page by page.
    async fn search(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[&str],
    ) -> Result<Vec<Object>, LdapError> {
        let mut objects = Vec::new();
        let mut cookie = Some(Vec::new());
        while let Some(next) = cookie {
            let page = match (self.options.page_size, scope) {
                (0, _) | (_, Scope::Base) => None,
                (size, _) => Some(PagedResults { size: i32::try_from(size).unwrap_or(i32::MAX), cookie: next }),
            };
            let (found, following) = self.page(base, scope, filter, attributes, page).await?;
            self.count += found.len();
            if self.count > ENTRIES_MAX {
                let what = format!("the directory {} lists more than {ENTRIES_MAX} people", self.options.source());
                return Err(LdapError::new(what, "`base` and `filter` make the list shorter"));
            }
            objects.extend(found);
            cookie = following;
        }
        Ok(objects)
    }

    /// One answer, and the cookie of the next one.
    async fn page(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[&str],
        page: Option<PagedResults>,
    ) -> Result<(Vec<Object>, Option<Vec<u8>>), LdapError> {
        let is_paged = page.is_some();
        let domain_scope = RawControl { ctype: DOMAIN_SCOPE.into(), crit: false, val: None };
        let mut controls = vec![domain_scope];
        // Critical: a server that cannot do it shall say so instead of giving what it happens to give.
        controls.extend(page.map(|page| RawControl::from(page.critical())));
        self.ldap.with_controls(controls).with_search_options(SearchOptions::new());
        let searched = self.ldap.streaming_search(base, scope, filter, attributes.to_vec()).await;
        let mut stream = searched.map_err(|error| self.broken(&error))?;
        let mut objects = Vec::new();
        loop {
            let item = stream.next().await.map_err(|error| self.broken(&error))?;
            let Some(item) = item else { break };
            if item.is_ref() {
                let to = ldap3::parse_refs(item.0);
                if to.iter().all(|url| is_own_partition(url)) {
                    continue;
                }
                return Err(self.elsewhere(&to));
            }
            objects.push(Object::new(item).ok_or_else(|| self.strange("an entry that cannot be read"))?);
        }
        let result = stream.finish().await;
        if result.rc != 0 {
            return Err(match result.refs.is_empty() {
                true => self.failed(&format!("the search below {base:?}"), &result),
                false => self.elsewhere(&result.refs),
            });
        }
        if !is_paged {
            return Ok((objects, None));
        }
        let is_paging = |control: &&Control| matches!(control.0, Some(ControlType::PagedResults));
        let value = result.ctrls.iter().find(is_paging).and_then(|control| control.1.val.as_deref());
        let cookie = value.and_then(wire::paged_cookie).ok_or_else(|| {
            self.strange(
                "a page of people without saying whether it is the last (`page_size = 0` asks for all at once)",
            )
        })?;
        Ok((objects, Some(cookie).filter(|cookie| !cookie.is_empty())))
    }

    /// Fetches the rest of attributes that the server gave in part: Active Directory never gives more than 1,500
    /// values of one at a time.
    async fn complete(&mut self, objects: &mut [Object]) -> Result<(), LdapError> {
        for object in objects {
            let mut before = Vec::new();
            loop {
                let unfinished = object.unfinished();
                if unfinished.is_empty() {
                    break;
                }
                if unfinished == before {
                    return Err(self.strange("a part of an attribute again and again"));
                }
                let names: Vec<String> =
                    unfinished.iter().map(|(name, next)| format!("{name};range={next}-*")).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let (found, _) = self.page(&object.dn, Scope::Base, "(objectClass=*)", &names, None).await?;
                match found.into_iter().next() {
                    Some(part) => object.extend(part),
                    None => return Err(self.strange("a part of an attribute, but not the rest")),
                }
                before = unfinished;
            }
        }
        Ok(())
    }

    /// The connection or the protocol failed.
    fn broken(&self, error: &ldap3::LdapError) -> LdapError {
        let said = match (self.trouble.said(), error) {
            (Some(said), _) => said,
            (None, ldap3::LdapError::FilterParsing) => {
                let what = format!("the filter {:?} is not of the form of RFC 4515", self.options.filter);
                return LdapError::new(what, "write it like (&(objectClass=person)(mail=*))");
            }
            (None, error) => format!("gave no answer: {}", clean(&error.to_string())),
        };
        let what = format!("the directory {} {said}", self.options.source());
        LdapError::new(what, "check `url`, and whether the server is well; its log may say more")
    }

    fn strange(&self, gave: &str) -> LdapError {
        LdapError::new(format!("the directory {} gave {gave}", self.options.source()), "")
    }

    fn elsewhere(&self, to: &[String]) -> LdapError {
        let to = clean(&to.join(" "));
        LdapError::new(
            format!("the directory {} says that a part of the people is elsewhere: {to}", self.options.source()),
            "name a server that has them all (of a forest the global catalog: ldaps://…:3269), or a narrower `base`",
        )
    }

    /// The server refused something: its words, and what may be done.
    fn failed(&self, what: &str, result: &LdapResult) -> LdapError {
        let hint = match result.rc {
            1 if result.text.contains("successful bind") => "the server wants a login: set `bind_dn` and `password`",
            4 => "the server gives no more at a time: lower `page_size`, or let this login exceed the limit there",
            3 | 11 => "the server stops such a search: narrow `base` and `filter`, or raise its limit for this login",
            8 | 13 => "the server wants TLS: use ldaps:// in `url`, or starttls = true",
            12 => "the server cannot page: page_size = 0 asks for everybody at once",
            10 => "name the server that has the people in `url`",
            32 => "check `base`; what a login may not see does not exist for it",
            34 => "check the spelling of `base` and `bind_dn`: cn=reader,ou=services,dc=corp,dc=example",
            48 | 49 => bind_hint(&result.text),
            50 => "let this login read the people and the attributes that are asked for",
            51 | 52 => "the server has too much to do or is stopping; it is asked again later",
            _ => "",
        };
        let text = clean(result.text.trim_end_matches('\0'));
        let said = match (text.is_empty(), result_name(result.rc)) {
            (true, name) => format!("{name} ({})", result.rc),
            (false, name) => format!("{name} ({}): {text}", result.rc),
        };
        LdapError::new(format!("the directory {} refused {what}: {said}", self.options.source()), hint)
    }
}

/// Active Directory answers each search below a domain with references to its own partitions of DNS and configuration,
/// when it ignores [`DOMAIN_SCOPE`]. No people are there.
fn is_own_partition(url: &str) -> bool {
    let Some((_, dn)) = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')) else { return false };
    let dn = dn.to_ascii_lowercase();
    ["dc=domaindnszones,", "dc=forestdnszones,", "cn=configuration,"].iter().any(|part| dn.starts_with(part))
}

/// Active Directory says in a number why it refused.
fn bind_hint(text: &str) -> &'static str {
    let reasons = [
        ("data 525", "there is no such account: check `bind_dn`"),
        ("data 52e", "the password is wrong, or the account is written in another way than `bind_dn` has it"),
        ("data 530", "the account may not log in at this hour"),
        ("data 531", "the account may not log in from this machine"),
        ("data 532", "the password has expired: set a new one, and let it not expire for this account"),
        ("data 533", "the account is disabled"),
        ("data 701", "the account has expired"),
        ("data 773", "the password must be changed first"),
        ("data 775", "the account is locked: unlock it, and check the password here before it is locked again"),
    ];
    let found = reasons.iter().find(|(number, _)| text.contains(number));
    found.map_or("check `bind_dn` and the password", |(_, hint)| hint)
}

/// RFC 4511 appendix A.
fn result_name(code: u32) -> &'static str {
    match code {
        1 => "operations error",
        2 => "protocol error",
        3 => "time limit exceeded",
        4 => "size limit exceeded",
        7 => "this kind of login is not supported",
        8 => "stronger authentication required",
        10 => "referral",
        11 => "administrative limit exceeded",
        12 => "critical extension unavailable",
        13 => "confidentiality required",
        32 => "no such object",
        34 => "invalid DN",
        48 => "inappropriate authentication",
        49 => "invalid credentials",
        50 => "insufficient access rights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwilling to perform",
        _ => "result",
    }
}

fn unreachable(source: &str, error: &NetError) -> LdapError {
    let hint = match error {
        NetError::HostNotFound { .. } => Some("check the spelling of `url`, and this machine's DNS".to_owned()),
        NetError::Refused { .. } => Some("nothing listens there: check `url`, and whether the server runs".to_owned()),
        NetError::Timeout { .. } => Some("check `url` and the firewalls between".to_owned()),
        NetError::Handshake { .. } => {
            Some("check `url`: ldaps:// is usually on port 636, ldap:// with starttls = true on 389".to_owned())
        }
        other => other.hint().map(|hint| hint.replace("`host`", "the host in `url`")),
    };
    LdapError { what: format!("the directory {source} cannot be used: {error}"), hint, refused: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_partitions_without_people_are_passed_over() {
        assert!(is_own_partition("ldap://ForestDnsZones.corp.example/DC=ForestDnsZones,DC=corp,DC=example"));
        assert!(is_own_partition("ldap://corp.example/CN=Configuration,DC=corp,DC=example"));
        assert!(!is_own_partition("ldap://child.corp.example/DC=child,DC=corp,DC=example"));
        assert!(!is_own_partition("ldap://other.example"));
    }

    #[test]
    fn the_usual_filter_can_be_sent() {
        assert!(is_filter(FILTER));
        for text in ["", "mail=*)", "(&(mail=*)", "(mail)"] {
            assert!(!is_filter(text), "{text}");
        }
    }
}
