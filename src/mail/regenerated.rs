//! Mail that its gateway puts together anew from its own store, each time that it is asked for (EWS).
//!
//! Such a mail may lack what servers wrote on its way: the marker of a journal report, `Received`, `X-` fields. The
//! gateway keeps the header that the mail came in with beside it, and that one is read in the place of the mail's own.
//! Without it nobody can say which fields the gateway wrote: then none counts as such.

use serde::{Deserialize, Serialize};

use super::header::{Field, fields};

/// More of a header than any server lets in.
pub const TRANSPORT_HEADERS_BYTES_MAX: usize = 256 * 1024;

/// What a gateway keeps beside a mail that it regenerates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regenerated {
    /// The header fields that it came in with (PidTagTransportMessageHeaders), as the gateway tells them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport_headers: Option<String>,
    /// So many bytes of them were too many to keep.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Regenerated {
    /// Of what the gateway told, as many whole lines as are kept.
    pub fn new(transport_headers: Option<String>) -> Regenerated {
        let Some(mut text) = transport_headers.filter(|text| !text.trim().is_empty()) else {
            return Regenerated::default();
        };
        let whole = text.len();
        if whole > TRANSPORT_HEADERS_BYTES_MAX {
            let kept = text.as_bytes()[..TRANSPORT_HEADERS_BYTES_MAX].iter().rposition(|&byte| byte == b'\n');
            text.truncate(kept.map_or(0, |at| at + 1));
        }
        let left_out = (whole - text.len()) as u64;
        Regenerated { transport_headers: Some(text), left_out }
    }

    /// The header block that the mail came in with: what the gateway tells of it, and below it, where nothing was
    /// written by a server, the mail's own fields of other names. `None`: it tells nothing.
    pub fn header_block(&self, own: &[u8]) -> Option<Vec<u8>> {
        let told = self.transport_headers.as_deref()?.trim_start().as_bytes();
        let (mut block, mut names) = (Vec::with_capacity(told.len() + own.len()), std::collections::HashSet::new());
        let mut put = |text: &[u8], field: &Field<'_>| {
            block.extend_from_slice(text[field.start..field.end].trim_ascii_end());
            block.extend_from_slice(b"\r\n");
        };
        for field in fields(told) {
            names.insert(field.name.to_ascii_lowercase());
            put(told, &field);
        }
        if names.is_empty() {
            return None;
        }
        fields(own)
            .filter(|field| !names.contains(&field.name.to_ascii_lowercase()))
            .for_each(|field| put(own, &field));
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(told: &str, own: &str) -> Option<String> {
        let block = Regenerated::new(Some(told.into())).header_block(own.as_bytes())?;
        Some(String::from_utf8(block).unwrap())
    }

    #[test]
    fn the_header_that_a_mail_came_in_with_stands_above_what_only_the_mail_has() {
        let told = "\r\nMicrosoft Mail Internet Headers Version 2.0\nReceived: from a\n\tby b\nX-Mark:\nTo: b@corp.example\n\nX: 1\n";
        assert_eq!(
            block(told, "to: B <b@corp.example>\r\nDate: today\r\n\r\nX: 2\r\n").as_deref(),
            Some("Received: from a\n\tby b\r\nX-Mark:\r\nTo: b@corp.example\r\nDate: today\r\n")
        );
        assert_eq!(block("To: b@corp.example", "").as_deref(), Some("To: b@corp.example\r\n"));
        for told in ["", " \r\n", "no field"] {
            assert_eq!(block(told, "To: b@corp.example\r\n"), None, "{told:?}");
        }
    }

    #[test]
    fn more_than_is_kept_ends_with_a_whole_line_and_says_how_much_is_missing() {
        let line = format!("X-Line: {}ü\r\n", "x".repeat(990));
        let told = line.repeat(400);
        let kept = Regenerated::new(Some(told.clone()));
        let text = kept.transport_headers.unwrap();
        assert!(text.len() <= TRANSPORT_HEADERS_BYTES_MAX && text.len() > TRANSPORT_HEADERS_BYTES_MAX - 1100);
        assert!(told.starts_with(&text) && text.ends_with("ü\r\n"));
        assert_eq!(kept.left_out as usize + text.len(), told.len());
        assert_eq!(Regenerated::new(Some("x".repeat(TRANSPORT_HEADERS_BYTES_MAX + 1))).transport_headers.unwrap(), "");
    }

    #[test]
    fn as_json_it_is_no_longer_than_it_has_to_be() {
        let empty = serde_json::to_string(&Regenerated::default()).unwrap();
        assert_eq!(empty, "{}");
        assert_eq!(serde_json::from_str::<Regenerated>(&empty).unwrap(), Regenerated::default());
    }
}
