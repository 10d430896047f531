//! Reading how mail is sent: `[alarms.mail]`, `[canary]`.

use std::path::Path;
use std::time::Duration;

use super::{CanarySettings, MailTarget, SmtpSettings};
use crate::base::address::Address;
use crate::base::units::parse_duration;
use crate::config::keys;
use crate::config::login::trust_of_server;
use crate::config::profile::{host, no_controls, refuse_plaintext, tls_mode};
use crate::config::raw::Table;
use crate::config::secret::secret_ref;
use crate::net::TlsMode;

pub(super) fn mail(table: &Table<'_, '_>, folder: &Path) -> Option<MailTarget> {
    let (smtp, from) = (smtp(table, folder), address(table, "from"));
    let to = recipients(table);
    let from_severity = super::hooks::from_severity(table);
    Some(MailTarget { smtp: smtp?, from: from?, to: to?, from_severity })
}

pub(super) fn smtp(table: &Table<'_, '_>, folder: &Path) -> Option<SmtpSettings> {
    let (host, tls) = (host(table), tls_mode(table));
    let usual_port = match tls {
        TlsMode::Implicit => 465,
        TlsMode::StartTls => 587,
        TlsMode::None => 25,
    };
    let port = table.integer("port", 1..=65_535).map_or(usual_port, |port| port as u16);
    let allow_plaintext = table.boolean("allow_plaintext").unwrap_or(false);
    refuse_plaintext(table, host.as_deref(), tls, allow_plaintext);
    let trust = trust_of_server(table, folder);
    if trust.fingerprint.is_some() && tls == TlsMode::None {
        table.wrong("tls_fingerprint", "needs TLS, and this connection has none", "set `tls`, or leave it out");
    }
    let timeout = limit(table, "timeout", 60);
    let login = match (table.has("username"), table.has("password")) {
        (false, false) => Some(None),
        (false, true) => {
            table.wrong("password", "stands without username", "name the account: username = \"gatepost\"");
            None
        }
        (true, _) => {
            let name = table.filled("username", "the account that sends");
            let name = name.and_then(|name| no_controls(table, "username", name));
            let password = secret_ref(table, "password", folder);
            Some(name.zip(password))
        }
    };
    Some(SmtpSettings { host: host?, port, tls, trust, login: login?, timeout, allow_plaintext })
}

/// A time that must not be nothing.
pub(super) fn limit(table: &Table<'_, '_>, key: &str, usual_s: u64) -> Duration {
    let usual = Duration::from_secs(usual_s);
    let shown = format!("\"{usual_s}s\"");
    let given = table.unit(key, parse_duration, &shown).unwrap_or(usual);
    if given < Duration::from_secs(1) {
        table.wrong(key, "is less than a second", &format!("usual is {shown}"));
    }
    given
}

const ADDRESS: &str = "write it in full: \"gatepost@corp.example\"";

fn address(table: &Table<'_, '_>, key: &str) -> Option<Address> {
    let text = table.required(key, ADDRESS)?;
    let address = parsed(text);
    if address.is_none() {
        table.wrong(key, format!("{text:?} is not a mail address"), ADDRESS);
    }
    address
}

/// Of those that can be written into a command of SMTP.
fn parsed(text: &str) -> Option<Address> {
    let address = Address::parse(text)?;
    address.as_str().parse::<lettre::Address>().ok()?;
    Some(address)
}

fn recipients(table: &Table<'_, '_>) -> Option<Vec<Address>> {
    const KEY: &str = "to";
    if !table.has(KEY) {
        table.missing(KEY, "who is told: to = [\"admin@corp.example\"]");
    }
    let mut sound = true;
    let mut to = Vec::new();
    for found in table.strings(KEY)? {
        match parsed(found.value) {
            Some(address) => to.push(address),
            None => {
                sound = false;
                let what = format!("{:?} is not a mail address", found.value);
                table.doc().error(found.line, table.path_of(KEY), what, ADDRESS);
            }
        }
    }
    if to.is_empty() && sound {
        table.wrong(KEY, "is empty, so that nobody would be told", "name somebody, or leave out the table");
    }
    Some(to).filter(|to| sound && !to.is_empty())
}

/// `shared` is how `[alarms.mail]` sends.
pub fn canary(table: &Table<'_, '_>, folder: &Path, shared: Option<&SmtpSettings>) -> Option<CanarySettings> {
    let (from, to) = (address(table, "from"), address(table, "to"));
    let every = table.unit("every", parse_duration, "\"1h\"");
    let least = Duration::from_secs(60);
    if every.is_some_and(|every| every < least) {
        table.wrong("every", "is less than a minute", "\"1h\" is often enough: each one is archived");
    }
    let timeout = limit(table, "timeout", 15 * 60);
    let smtp = match (table.table("smtp", &keys::CANARY_SMTP), shared) {
        (Some(own), _) => smtp(&own, folder),
        (None, Some(shared)) if !table.has("smtp") => Some(shared.clone()),
        (None, _) => {
            if !table.has("smtp") {
                let hint = "add [canary.smtp] with a host, or [alarms.mail], whose server is then used";
                table.missing("smtp", hint);
            }
            None
        }
    };
    Some(CanarySettings { from: from?, to: to?, every, timeout, smtp: smtp? })
}
