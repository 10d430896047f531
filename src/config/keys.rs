//! Every key of the configuration, table by table: the one list that the reader, the messages about
//! unknown keys and the test of the commented reference go by.

/// The keys of one table.
#[derive(Debug)]
pub struct Keys {
    /// As the headers in the file have it: `profile.imap`; empty at the top.
    pub table: &'static str,
    pub known: &'static [&'static str],
    /// Words of the documented shape that this version cannot serve yet, and what to do meanwhile.
    pub later: &'static [(&'static str, &'static str)],
}

pub const TOP: Keys = Keys {
    table: "",
    known: &["archive", "control", "people", "profile", "alarms", "canary", "metrics", "log"],
    later: &[],
};

pub const ARCHIVE: Keys =
    Keys { table: "archive", known: &["path", "catalogue", "pack_size", "window", "reserve", "index"], later: &[] };

pub const CONTROL: Keys = Keys { table: "control", known: &["socket"], later: &[] };

pub const PEOPLE: Keys = Keys {
    table: "people",
    known: &[
        "internal_domains",
        "domain_aliases",
        "csv",
        "never_owners",
        "journal_addresses",
        "ndr_addresses",
        "person",
        "ldap",
        "scope",
        "include_people",
        "include_groups",
        "exclude_people",
        "exclude_groups",
        "unknown_internal",
        "non_internal",
        "not_enveloped",
        "unauthenticated_sender",
        "create_max_per_item",
        "clear_text",
    ],
    later: &[],
};

pub const PEOPLE_LDAP: Keys = Keys {
    table: "people.ldap",
    known: &[
        "url",
        "starttls",
        "ca_file",
        "tls_fingerprint",
        "allow_plaintext",
        "bind_dn",
        "password",
        "base",
        "filter",
        "page_size",
        "timeout",
        "mail_attributes",
        "name_attribute",
        "disabled",
        "include_groups",
        "exclude_groups",
        "groups",
        "refresh",
        "people_drop_max",
    ],
    later: &[],
};

pub const PERSON: Keys =
    Keys { table: "people.person", known: &["id", "name", "addresses", "legacy", "groups"], later: &[] };

pub const PROFILE: Keys = Keys {
    table: "profile",
    known: &[
        "name",
        "every",
        "cron",
        "timezone",
        "jitter",
        "inactive_after",
        "paused_max",
        "bandwidth",
        "refused_retry",
        "delete",
        "delete_after",
        "delete_excluded",
        "delete_quarantined",
        "role",
        "expect",
        "trusted_reporters",
        "envelope_headers",
        "gateway_hosts",
        "scope",
        "include_people",
        "include_groups",
        "exclude_people",
        "exclude_groups",
        "unknown_internal",
        "non_internal",
        "not_enveloped",
        "unauthenticated_sender",
        "create_max_per_item",
        "clear_text",
        "imap",
        "ews",
        "pop3",
        "gateway",
    ],
    later: &[],
};

/// All tables that have a header of their own.
pub const TABLES: &[&Keys] = &[
    &TOP,
    &ARCHIVE,
    &CONTROL,
    &PEOPLE,
    &PEOPLE_LDAP,
    &PERSON,
    &PROFILE,
    &PROFILE_IMAP,
    // Stands for those of pop3 and ews, which are the same.
    &PROFILE_IMAP_OAUTH2,
    &PROFILE_POP3,
    &PROFILE_GATEWAY,
    &PROFILE_EWS,
    &ALARMS,
    &ALARMS_MAIL,
    &ALARMS_WEBHOOK,
    &ALARMS_COMMAND,
    &ALARMS_HEARTBEAT,
    &ALARMS_REPORT,
    &CANARY,
    &CANARY_SMTP,
    &METRICS,
    &LOG,
];

/// The tables of [`PROFILE`] that say where mail comes from; a profile has exactly one.
pub const SOURCES: &[&str] = &["imap", "ews", "pop3", "gateway"];

pub const PROFILE_IMAP: Keys = Keys {
    table: "profile.imap",
    known: &[
        "host",
        "port",
        "tls",
        "ca_file",
        "tls_fingerprint",
        "client_certificate",
        "client_key",
        "username",
        "mailbox_id",
        "password",
        "oauth2",
        "auth",
        "folders",
        "timeout",
        "allow_plaintext",
        "sole_client",
        "daily_budget",
        "compress",
        "idle",
    ],
    later: &[],
};

pub const PROFILE_POP3: Keys = Keys {
    table: "profile.pop3",
    known: &[
        "host",
        "port",
        "tls",
        "ca_file",
        "tls_fingerprint",
        "client_certificate",
        "client_key",
        "username",
        "mailbox_id",
        "password",
        "oauth2",
        "auth",
        "timeout",
        "allow_plaintext",
    ],
    later: &[],
};

pub const PROFILE_EWS: Keys = Keys {
    table: "profile.ews",
    known: &[
        "url",
        "auth",
        "username",
        "password",
        "oauth2",
        "folder",
        "delete_type",
        "impersonate",
        "mailbox",
        "ca_file",
        "tls_fingerprint",
        "client_certificate",
        "client_key",
        "proxy",
        "proxy_password",
        "timeout",
        "allow_plaintext",
    ],
    later: &[],
};

const OAUTH2: &[&str] = &[
    "provider",
    "tenant",
    "grant",
    "client_id",
    "client_secret",
    "client_secret_expires",
    "client_auth",
    "certificate",
    "key",
    "signature",
    "refresh_token",
    "service_account",
    "subject",
    "scope",
    "token_url",
    "device_url",
    "ca_file",
    "proxy",
    "proxy_password",
    "token_folder",
];

pub const PROFILE_IMAP_OAUTH2: Keys = Keys { table: "profile.imap.oauth2", known: OAUTH2, later: &[] };
pub const PROFILE_POP3_OAUTH2: Keys = Keys { table: "profile.pop3.oauth2", known: OAUTH2, later: &[] };
pub const PROFILE_EWS_OAUTH2: Keys = Keys { table: "profile.ews.oauth2", known: OAUTH2, later: &[] };

/// A MailStore Gateway, which is POP3 with nothing else to know.
pub const PROFILE_GATEWAY: Keys = Keys {
    table: "profile.gateway",
    known: &["host", "mailbox_id", "password", "port", "ca_file", "tls_fingerprint"],
    later: &[],
};

pub const ALARMS: Keys = Keys {
    table: "alarms",
    known: &[
        "system_log",
        "repeat",
        "oldest_warning",
        "oldest_critical",
        "no_success_critical",
        "failures",
        "certificate_warning",
        "mail",
        "webhook",
        "command",
        "heartbeat",
        "report",
    ],
    later: &[],
};

pub const ALARMS_MAIL: Keys = Keys {
    table: "alarms.mail",
    known: &[
        "host",
        "port",
        "tls",
        "ca_file",
        "tls_fingerprint",
        "username",
        "password",
        "timeout",
        "allow_plaintext",
        "from",
        "to",
        "from_severity",
    ],
    later: &[],
};

pub const ALARMS_WEBHOOK: Keys = Keys {
    table: "alarms.webhook",
    known: &["url", "headers", "ca_file", "proxy", "proxy_password", "timeout", "allow_plaintext", "from_severity"],
    later: &[],
};

pub const ALARMS_COMMAND: Keys =
    Keys { table: "alarms.command", known: &["run", "timeout", "from_severity"], later: &[] };

pub const ALARMS_HEARTBEAT: Keys = Keys {
    table: "alarms.heartbeat",
    known: &["url", "every", "ca_file", "proxy", "proxy_password", "timeout", "allow_plaintext"],
    later: &[],
};

pub const ALARMS_REPORT: Keys = Keys { table: "alarms.report", known: &["every", "at", "timezone"], later: &[] };

pub const CANARY: Keys = Keys { table: "canary", known: &["from", "to", "every", "timeout", "smtp"], later: &[] };

pub const CANARY_SMTP: Keys = Keys {
    table: "canary.smtp",
    known: &["host", "port", "tls", "ca_file", "tls_fingerprint", "username", "password", "timeout", "allow_plaintext"],
    later: &[],
};

pub const METRICS: Keys = Keys { table: "metrics", known: &["listen"], later: &[] };

pub const LOG: Keys = Keys { table: "log", known: &["level", "format", "to", "file", "keep_days"], later: &[] };

/// A table whose keys are the administrator's own.
pub const OWN: Keys = Keys { table: "", known: &[], later: &[] };

/// Of `password = { … }`; no table of its own in the reference.
pub const PASSWORD: Keys =
    Keys { table: "password", known: &["env", "file", "command", "credential", "secret"], later: &[] };

/// The known word that `unknown` was probably meant to be.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = unknown.to_lowercase().replace('-', "_");
    let score = |word: &'a str| {
        // A word within the other (`domains`, `internal_domains`) is nearer than its distance says.
        let part = folded.len() >= 3 && word.len() >= 3 && (word.contains(&folded) || folded.contains(word));
        // Two letters in the wrong order cost a short word (`evn`) more than they should.
        let slip = word.len() >= 3 && strsim::osa_distance(&folded, word) == 1;
        let alike = strsim::jaro_winkler(&folded, word);
        let end = folded.len() >= 3 && word.ends_with(&folded);
        let least = if end { 0.95 } else { 0.9 };
        (if part || slip { alike.max(least) } else { alike }, word)
    };
    let best = known.into_iter().map(score).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.78).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_find_their_word() {
        for (unknown, keys, expected) in [
            ("hots", &PROFILE_IMAP, Some("host")),
            ("Username", &PROFILE_IMAP, Some("username")),
            ("user", &PROFILE_IMAP, Some("username")),
            ("folder", &PROFILE_IMAP, Some("folders")),
            ("delete-after", &PROFILE, Some("delete_after")),
            ("domains", &PEOPLE, Some("internal_domains")),
            ("profiles", &TOP, Some("profile")),
            ("evn", &PASSWORD, Some("env")),
            ("packsize", &ARCHIVE, Some("pack_size")),
            ("colour", &PROFILE_IMAP, None),
        ] {
            assert_eq!(nearest(unknown, keys.known.iter().copied()), expected, "{unknown}");
        }
    }
}
