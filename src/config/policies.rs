//! The policies of `[people]` and of a `[[profile]]`: the same words; a profile's override the others one by one.

use std::str::FromStr as _;

use super::raw::Table;
use crate::agent::policies::{
    NonInternal, NotEnveloped, Policies, Scope, Selection, UnauthenticatedSender, UnknownInternal,
};
use crate::agent::{Expect, Role};
use crate::journal::{ClearText, DecodeOptions, Reporter};

/// Reads what stands in `table`; what does not is as in `defaults`.
pub fn policies(table: &Table<'_, '_>, defaults: &Policies) -> Policies {
    let scope =
        table.choice("scope", &[("all", Scope::All), ("external", Scope::External), ("internal", Scope::Internal)]);
    let unknown_internal = table.choice(
        "unknown_internal",
        &[
            ("create", UnknownInternal::Create),
            ("unassigned", UnknownInternal::Unassigned),
            ("exclude", UnknownInternal::Exclude),
        ],
    );
    let non_internal =
        table.choice("non_internal", &[("unassigned", NonInternal::Unassigned), ("exclude", NonInternal::Exclude)]);
    let not_enveloped =
        table.choice("not_enveloped", &[("headers", NotEnveloped::Headers), ("unassigned", NotEnveloped::Unassigned)]);
    let unauthenticated_sender = table.choice(
        "unauthenticated_sender",
        &[("flag", UnauthenticatedSender::Flag), ("no_sent", UnauthenticatedSender::NoSent)],
    );
    Policies {
        scope: scope.unwrap_or(defaults.scope),
        include: selection(table, "include_people", "include_groups", &defaults.include),
        exclude: selection(table, "exclude_people", "exclude_groups", &defaults.exclude),
        unknown_internal: unknown_internal.unwrap_or(defaults.unknown_internal),
        non_internal: non_internal.unwrap_or(defaults.non_internal),
        not_enveloped: not_enveloped.unwrap_or(defaults.not_enveloped),
        unauthenticated_sender: unauthenticated_sender.unwrap_or(defaults.unauthenticated_sender),
        create_max_per_item: table
            .integer("create_max_per_item", 0..=10_000)
            .map_or(defaults.create_max_per_item, |max| max as usize),
    }
}

/// Both lists of a selection belong together: a profile that names one of them has a selection of its own.
fn selection(table: &Table<'_, '_>, people: &str, groups: &str, default: &Selection) -> Selection {
    if !table.has(people) && !table.has(groups) {
        return default.clone();
    }
    let names = |key: &str| -> Vec<&str> {
        let found = table.strings(key).unwrap_or_default();
        for empty in found.iter().filter(|found| found.value.trim().is_empty()) {
            table.doc().error(empty.line, table.path_of(key), "holds an empty name", "leave it out");
        }
        found.into_iter().map(|found| found.value).collect()
    };
    Selection::new(names(people), names(groups))
}

/// `clear_text`, which `[people]` and profiles have.
pub fn clear_text(table: &Table<'_, '_>) -> Option<ClearText> {
    table.choice(
        "clear_text",
        &[("prefer", ClearText::Prefer), ("protected", ClearText::Protected), ("both", ClearText::Both)],
    )
}

/// What a profile says of its gateway's reports and copies; journal addresses are the people's matter.
pub fn decode(table: &Table<'_, '_>, defaults: &DecodeOptions) -> DecodeOptions {
    let mut options = defaults.clone();
    options.clear_text = clear_text(table).unwrap_or(defaults.clear_text);
    if let Some(found) = table.strings("envelope_headers") {
        options.envelope_headers = Vec::new();
        for header in found {
            let name = header.value.trim();
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
                let hint = "write the names alone: envelope_headers = [\"X-Original-To\", \"Delivered-To\"]";
                let what = format!("{:?} is no name of a header field", header.value);
                table.doc().error(header.line, table.path_of("envelope_headers"), what, hint);
            }
            options.envelope_headers.push(name.to_owned());
        }
    }
    for host in table.strings("gateway_hosts").unwrap_or_default() {
        match crate::base::address::normalise_domain(host.value) {
            Some(name) if !host.value.contains(char::is_whitespace) => options.gateway_hosts.push(name),
            _ => {
                let what = format!("{:?} is not the name of a host", host.value);
                let hint = "write the names as they stand in Received lines: \"mx1.corp.example\"";
                table.doc().error(host.line, table.path_of("gateway_hosts"), what, hint);
            }
        }
    }
    for reporter in table.strings("trusted_reporters").unwrap_or_default() {
        match Reporter::from_str(reporter.value) {
            Ok(reporter) => options.trusted_reporters.push(reporter),
            Err(what) => {
                let hint = "the domain of a sender (\"corp.example\"), or a header field that the gateway writes \
                            (\"X-OriginatorOrg=corp.example\"); `gatepost check` shows those that were seen";
                table.doc().error(reporter.line, table.path_of("trusted_reporters"), what, hint);
            }
        }
    }
    options
}

pub fn role(table: &Table<'_, '_>) -> Role {
    table.choice("role", &[("primary", Role::Primary), ("alternate", Role::Alternate)]).unwrap_or_default()
}

pub fn expect(table: &Table<'_, '_>) -> Expect {
    let choices = [("auto", Expect::Auto), ("reports", Expect::Reports), ("copies", Expect::Copies)];
    table.choice("expect", &choices).unwrap_or_default()
}
