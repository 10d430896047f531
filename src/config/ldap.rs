//! The meaning of `[people.ldap]`.

use std::net::Ipv6Addr;
use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::login::trust_of_server;
use super::profile::{is_loopback, no_controls};
use super::raw::{Table, without_login};
use super::secret::{SecretRef, secret_ref};
use super::{ConfigError, LdapSettings};
use crate::base::address::normalise_domain;
use crate::base::units::parse_duration;
use crate::net::TlsMode;
use crate::people::ldap::{self, Disabled, LdapOptions};

const URL: &str = "write url = \"ldaps://dc1.corp.example\", or \"ldap://…\" with starttls = true";
/// Servers give no more than a few thousand at a time whatever they are asked for.
const PAGE_SIZE_MAX: i64 = 100_000;

impl LdapSettings {
    /// What the client needs, the password included; fetched each time, so that a changed one is taken up.
    pub fn options(&self) -> Result<LdapOptions, ConfigError> {
        let login = match &self.login {
            Some((name, password)) => Some((name.clone(), password.resolve()?)),
            None => None,
        };
        Ok(LdapOptions { login, ..self.options.clone() })
    }

    /// For people: where the list comes from.
    pub fn source(&self) -> String {
        self.options.source()
    }
}

pub fn ldap(table: &Table<'_, '_>, folder: &Path) -> Option<LdapSettings> {
    let usual = LdapOptions::default();
    let address = url(table);
    let login = login(table, folder);
    let filter = filter(table).unwrap_or(usual.filter);
    let timeout = table.unit("timeout", parse_duration, "\"60s\"").unwrap_or(usual.timeout);
    if timeout < Duration::from_secs(1) {
        table.wrong("timeout", "is less than a second", "\"60s\" is for all people together");
    }
    let mail_attributes = attributes(table).unwrap_or(usual.mail_attributes);
    let disabled = table.choice("disabled", &[("keep", Disabled::Keep), ("skip", Disabled::Skip)]).unwrap_or_default();
    let page_size = table.integer("page_size", 0..=PAGE_SIZE_MAX).map_or(usual.page_size, |size| size as u32);
    let refresh = table.unit("refresh", parse_duration, "\"15m\"").unwrap_or(Duration::from_secs(15 * 60));
    let people_drop_max = table.integer("people_drop_max", 1..=100).map_or(20, |percent| percent as u32);
    let options = LdapOptions {
        trust: trust_of_server(table, folder),
        base: names(table, "base"),
        filter,
        page_size,
        timeout,
        mail_attributes,
        name_attribute: table.filled("name_attribute", "name an attribute, or leave the key out").map(str::to_owned),
        disabled,
        include_groups: names(table, "include_groups"),
        exclude_groups: names(table, "exclude_groups"),
        groups: names(table, "groups"),
        ..usual
    };
    let (host, port, tls) = address?;
    Some(LdapSettings { options: LdapOptions { host, port, tls, ..options }, login: login?, refresh, people_drop_max })
}

fn url(table: &Table<'_, '_>) -> Option<(String, u16, TlsMode)> {
    let starttls = table.boolean("starttls").unwrap_or(false);
    let allow_plaintext = table.boolean("allow_plaintext").unwrap_or(false);
    let text = table.required("url", URL)?;
    let wrong = |what: &str| {
        table.wrong("url", format!("{:?} {what}", without_login(text)), URL);
        None
    };
    let Some((scheme, rest)) = text.split_once("://") else { return wrong("is no URL") };
    let (tls, usual_port) = match (scheme.to_ascii_lowercase().as_str(), starttls) {
        ("ldaps", false) => (TlsMode::Implicit, 636),
        ("ldaps", true) => {
            table.wrong("starttls", "stands beside ldaps://, which is TLS from the first byte", "leave one of the two");
            return None;
        }
        ("ldap", true) => (TlsMode::StartTls, 389),
        ("ldap", false) => (TlsMode::None, 389),
        _ => return wrong("is neither ldaps:// nor ldap://"),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?']) {
        table.wrong(
            "url",
            format!("{:?} holds more than a server", without_login(text)),
            "base and filter have keys of their own",
        );
        return None;
    }
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => match port.parse::<u16>() {
            Ok(port @ 1..) => (name, port),
            _ => return wrong("has no port after the colon"),
        },
        _ => (authority, usual_port),
    };
    let host = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().ok().map(|_| address.to_ascii_lowercase()),
        None => normalise_domain(name).filter(|_| !name.contains(|c: char| c.is_whitespace() || c == ':' || c == '[')),
    };
    let Some(host) = host else { return wrong("does not name a server") };
    if tls == TlsMode::None && table.has("tls_fingerprint") {
        table.wrong("tls_fingerprint", "needs TLS, and this connection has none", "use ldaps://, or starttls = true");
    }
    if tls == TlsMode::None && !allow_plaintext && !is_loopback(&host) {
        let what = format!("\"ldap://\" would send the password and the list of people in clear text to {host}");
        let hint = "use ldaps:// or add starttls = true; if it must be, add allow_plaintext = true";
        table.wrong("url", what, hint);
    }
    Some((host, port, tls))
}

/// `Some(None)`: anonymous.
fn login(table: &Table<'_, '_>, folder: &Path) -> Option<Option<(String, SecretRef)>> {
    match (table.has("bind_dn"), table.has("password")) {
        (false, false) => Some(None),
        (false, true) => {
            table.wrong(
                "password",
                "stands without bind_dn",
                "name the account: bind_dn = \"cn=reader,dc=corp,dc=example\"",
            );
            None
        }
        (true, _) => {
            let hint = "a DN; for Active Directory also \"reader@corp.example\"";
            let name = table.filled("bind_dn", hint).and_then(|name| no_controls(table, "bind_dn", name));
            let password = secret_ref(table, "password", folder);
            Some(Some((name?, password?)))
        }
    }
}

fn filter(table: &Table<'_, '_>) -> Option<String> {
    let text = table.filled("filter", "leave it out for everybody with a mailbox")?;
    if !ldap::is_filter(text) {
        let hint = "write it like (&(objectClass=person)(mail=*)): every part in parentheses (RFC 4515)";
        table.wrong("filter", format!("{text:?} is not a search filter"), hint);
        return None;
    }
    Some(text.to_owned())
}

fn attributes(table: &Table<'_, '_>) -> Option<Vec<String>> {
    const KEY: &str = "mail_attributes";
    if !table.has(KEY) {
        return None;
    }
    let names = names(table, KEY);
    if names.is_empty() {
        table.wrong(KEY, "is empty, so that nobody would have an address", "leave it out for the usual ones");
    }
    for name in &names {
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
            table.wrong(KEY, format!("{name:?} is not the name of an attribute"), "such as \"mail\"");
        }
    }
    Some(names)
}

/// One name, or a list of them.
fn names(table: &Table<'_, '_>, key: &str) -> Vec<String> {
    if !table.has(key) {
        return Vec::new();
    }
    if let Some(DeValue::String(text)) = table.value(key) {
        let text = text.trim();
        if text.is_empty() {
            table.wrong(key, "is empty", "leave it out");
        }
        return vec![text.to_owned()];
    }
    let mut names = Vec::new();
    for found in table.strings(key).unwrap_or_default() {
        match found.value.trim() {
            "" => table.doc().error(found.line, table.path_of(key), "holds an empty name", "leave it out"),
            name => names.push(name.to_owned()),
        }
    }
    names
}
