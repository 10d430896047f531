//! Bounces of journal reports, as they pile up in an alternate journaling mailbox.
//!
//! Only asked when the item is no report itself: a report *of* a bounce also carries the bounce's marks. The
//! bounce stays what was archived; the report in it tells the envelope and the original. Other mail servers bounce
//! reports too, so Exchange's own mark is not required. A bounce of anything else is a plain mail.
//!
//! The report lies in the bounce as a message/rfc822, sometimes in a transfer encoding, or (qmail, older mail servers)
//! in the bounce's text, behind a line that says so.

use memchr::memmem;

use super::embedded::Embedded;
use super::original::{header_of, is_encoded_part};
use super::report::Reading;
use super::{DecodeError, Finding, Item, exchange, exchange2003, flags, workmail};
use crate::base::bytes::read_range;
use crate::mail::header::Headers;
use crate::mail::mime::Kind;
use crate::mail::transfer::{self, Encoding};
use crate::mail::words;

/// Bounces of bounces; deeper ones are plain mails.
const DEPTH_MAX: usize = 3;
/// Returned messages that are looked at; a bounce has one.
const RETURNED_MAX: usize = 4;
/// More of returned headers is not read.
const HEADERS_BYTES_MAX: u64 = 1024 * 1024;
/// Where in a bounce's text the copy of the message begins at the latest.
const TEXT_BYTES_MAX: u64 = 64 * 1024;
/// The line before the copy: of qmail, Exim before 4.84, and sendmail without DSN.
const COPY_FOLLOWS: [&[u8]; 4] = [
    b"--- Below this line is a copy of the message.",
    b"------ This is a copy of the message, including all the headers. ------",
    b"----- Unsent message follows -----",
    b"----- Original message follows -----",
];

pub fn read<'a>(item: &Item<'a, '_>, depth: usize) -> Result<Reading<'a>, DecodeError> {
    if !is_bounce(item) {
        return read_text(item);
    }
    if depth >= DEPTH_MAX {
        item.trail.note("ndr", "bounces in bounces beyond the limit: not looked into");
        return Ok(Reading::Other);
    }
    let children: Vec<usize> = item.structure.children(item.root).collect();
    for &part in children.iter().filter(|&&part| item.structure.parts[part].content.is_message()).take(RETURNED_MAX) {
        match read_part(item, part, depth)? {
            Reading::Other => {}
            found => return Ok(found),
        }
    }
    for part in children {
        let part = &item.structure.parts[part];
        if !matches!(part.content.kind.as_str(), "text/rfc822-headers" | "message/rfc822-headers") {
            continue;
        }
        let end = part.body.end.min(part.body.start + HEADERS_BYTES_MAX);
        let block = transfer::decode(part.content.encoding, &read_range(item.bytes, part.body.start..end)?);
        if is_report(&Headers::of(&block)) {
            return Ok(lost(item));
        }
    }
    item.trail.note("ndr", "a bounce, but not of a journal report");
    Ok(Reading::Other)
}

/// A message/rfc822 of the bounce.
fn read_part<'a>(item: &Item<'a, '_>, part: usize, depth: usize) -> Result<Reading<'a>, DecodeError> {
    if let Some(header) = header_of(item, part)? {
        let headers = Headers::of(&header);
        return returned(&Item { root: part + 1, headers: &headers, ..*item }, depth);
    }
    let labelled = item.structure.parts[part].content.encoding;
    if item.embedded || labelled == Encoding::Identity {
        item.trail.note("ndr", "the returned message lies too deep: not looked into");
        return Ok(Reading::Other);
    }
    let (encoding, flag) = match is_encoded_part(item, part)? {
        true => (labelled, flags::ENCODED_ORIGINAL),
        false => (Encoding::Identity, flags::ENCODING_NOT_APPLIED),
    };
    let body = item.structure.parts[part].body.clone();
    read_embedded(item, body, encoding, Some(flag), depth)
}

/// A mail that the scanner of the item did not see as one.
fn read_embedded<'a>(
    item: &Item<'a, '_>,
    range: std::ops::Range<u64>,
    encoding: Encoding,
    flag: Option<&'static str>,
    depth: usize,
) -> Result<Reading<'a>, DecodeError> {
    let (embedded, structure) = Embedded::scan(item.bytes, range, encoding)?;
    let headers = Headers::of(&structure.root_header);
    let nested = Item {
        bytes: &embedded,
        structure: &structure,
        root: 0,
        headers: &headers,
        outer: item.outer,
        options: item.options,
        trail: item.trail,
        embedded: true,
    };
    let mut finding = match returned(&nested, depth)? {
        Reading::Report(finding) => finding,
        Reading::Refused(flag) => return Ok(Reading::Refused(flag)),
        Reading::Other => return Ok(Reading::Other),
    };
    finding.flags.extend(flag.filter(|flag| !finding.flags.contains(flag)));
    let Finding { format, wrapped_in, degraded, flags, envelope, original, twin, reporter, own_recipients } = finding;
    let original = embedded.outwards(original);
    let twin = twin.map(|twin| embedded.outwards(twin));
    let (Some(original), false) = (original, matches!(twin, Some(None))) else {
        item.trail
            .note("ndr", "the returned report and its original are both encoded: the archive cannot cut that out");
        return Ok(Reading::Refused(flags::UNREADABLE_ENVELOPE));
    };
    let twin = twin.flatten();
    let finding = Finding { format, wrapped_in, degraded, flags, envelope, original, twin, reporter, own_recipients };
    Ok(Reading::Report(finding))
}

/// What was returned: a report, or a bounce of one.
fn returned<'a>(nested: &Item<'a, '_>, depth: usize) -> Result<Reading<'a>, DecodeError> {
    match nested.read_report()? {
        Reading::Report(finding) => {
            nested.trail.note("ndr", "a bounce that returns a journal report");
            Ok(Reading::Report(Finding { wrapped_in: Some("ndr"), ..finding }))
        }
        Reading::Refused(flags::REPORT_WITHOUT_ORIGINAL) => Ok(lost(nested)),
        Reading::Refused(flag) => Ok(Reading::Refused(flag)),
        Reading::Other => read(nested, depth + 1),
    }
}

/// A bounce without parts, with the message in its text.
fn read_text<'a>(item: &Item<'a, '_>) -> Result<Reading<'a>, DecodeError> {
    let root = &item.structure.parts[item.root];
    let plain = root.kind == Kind::Leaf && root.content.kind == "text/plain";
    if !plain || item.embedded || root.content.encoding != Encoding::Identity || !is_from_mail_server(item.headers) {
        return Ok(Reading::Other);
    }
    let end = root.body.end.min(root.body.start + TEXT_BYTES_MAX);
    let text = read_range(item.bytes, root.body.start..end)?;
    let found = COPY_FOLLOWS.iter().filter_map(|line| Some(memmem::find(&text, line)? + line.len())).min();
    let Some(after) = found else { return Ok(Reading::Other) };
    // The rest of that line, and the empty one behind it.
    let blank = text[after..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let start = root.body.start + (after + blank) as u64;
    match read_embedded(item, start..root.body.end, Encoding::Identity, None, DEPTH_MAX)? {
        Reading::Other => {
            item.trail.note("ndr", "a bounce in plain text, but not of a journal report");
            Ok(Reading::Other)
        }
        found => Ok(found),
    }
}

fn is_from_mail_server(headers: &Headers<'_>) -> bool {
    let mailboxes = headers.get("from").map(|field| words::mailboxes(field.value)).unwrap_or_default();
    mailboxes.iter().filter_map(|mailbox| mailbox.address.as_deref()).any(|address| {
        let local = address.split('@').next().unwrap_or_default();
        ["mailer-daemon", "postmaster"].iter().any(|name| local.eq_ignore_ascii_case(name))
    })
}

fn is_report(headers: &Headers<'_>) -> bool {
    exchange::is_marked(headers) || workmail::is_marked(headers) || exchange2003::is_marked(headers)
}

/// The bounce returns no more than headers of the report: the mail it told of is in no archive by this item.
fn lost<'a>(item: &Item<'_, '_>) -> Reading<'a> {
    item.trail.note("ndr", "a bounce that returns only headers of a journal report: the original is lost");
    Reading::Refused(flags::CONTENT_LOST)
}

fn is_bounce(item: &Item<'_, '_>) -> bool {
    let root = &item.structure.parts[item.root];
    if root.kind != Kind::Multipart {
        return false;
    }
    let report_type = root.content.parameter("report-type");
    let delivery = report_type.is_none_or(|kind| kind.eq_ignore_ascii_case(b"delivery-status"));
    (root.content.kind == "multipart/report" && delivery)
        || item.headers.has("x-ms-exchange-message-is-ndr")
        || item.structure.children(item.root).any(|part| {
            let kind = item.structure.parts[part].content.kind.as_str();
            kind == "message/delivery-status" || kind == "message/global-delivery-status"
        })
}
