//! Bounces of journal reports, as they pile up in an alternate journaling mailbox.
//!
//! Only asked when the item is no report itself: a report *of* a bounce also carries the bounce's marks. The
//! bounce stays what was archived; the report in it tells the envelope and the original. Other mail servers bounce
//! reports too, so Exchange's own mark is not required. A bounce of anything else is a plain mail.

use super::original::header_of;
use super::report::Reading;
use super::{DecodeError, Item, exchange, exchange2003, flags, workmail};
use crate::base::bytes::read_range;
use crate::mail::header::Headers;
use crate::mail::mime::Kind;
use crate::mail::transfer;

/// Bounces of bounces; deeper ones are plain mails.
const DEPTH_MAX: usize = 3;
/// Returned messages that are looked at; a bounce has one.
const RETURNED_MAX: usize = 4;
/// More of returned headers is not read.
const HEADERS_BYTES_MAX: u64 = 1024 * 1024;

pub fn read<'a>(item: &Item<'a, '_>, depth: usize) -> Result<Reading<'a>, DecodeError> {
    if !is_bounce(item) {
        return Ok(Reading::Other);
    }
    if depth >= DEPTH_MAX {
        item.trail.note("ndr", "bounces in bounces beyond the limit: not looked into");
        return Ok(Reading::Other);
    }
    let returned: Vec<usize> = item.structure.children(item.root).collect();
    for &part in returned.iter().filter(|&&part| item.structure.parts[part].content.is_message()).take(RETURNED_MAX) {
        if item.structure.parts[part].kind != Kind::Message {
            item.trail.note("ndr", "the returned message has a transfer encoding or lies too deep: not looked into");
            continue;
        }
        let Some(header) = header_of(item, part)? else { continue };
        let headers = Headers::of(&header);
        let nested = Item { root: part + 1, headers: &headers, ..*item };
        match nested.read_report()? {
            Reading::Report(finding) => {
                item.trail.note("ndr", "a bounce that returns a journal report");
                return Ok(Reading::Report(super::Finding { wrapped_in: Some("ndr"), ..finding }));
            }
            Reading::Refused(flags::REPORT_WITHOUT_ORIGINAL) => return Ok(lost(item)),
            Reading::Refused(flag) => return Ok(Reading::Refused(flag)),
            Reading::Other => {}
        }
        match read(&nested, depth + 1)? {
            Reading::Other => {}
            found => return Ok(found),
        }
    }
    for part in returned {
        let part = &item.structure.parts[part];
        if !matches!(part.content.kind.as_str(), "text/rfc822-headers" | "message/rfc822-headers") {
            continue;
        }
        let end = part.body.end.min(part.body.start + HEADERS_BYTES_MAX);
        let block = transfer::decode(part.content.encoding, &read_range(item.bytes, part.body.start..end)?);
        let headers = Headers::of(&block);
        if exchange::is_marked(&headers) || workmail::is_marked(&headers) || exchange2003::is_marked(&headers) {
            return Ok(lost(item));
        }
    }
    item.trail.note("ndr", "a bounce, but not of a journal report");
    Ok(Reading::Other)
}

/// The bounce returns no more than headers of the report: the mail it told of is in no archive by this item.
fn lost<'a>(item: &Item<'a, '_>) -> Reading<'a> {
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
