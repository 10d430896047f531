//! Which header fields the gateway wrote itself: those above the first `Received` field that it added.
//!
//! Fields are written on top, so the topmost `Received` is always of the last server, and everything below the
//! hop over which a mail came in from outside is the sender's to write. A hop further down counts as the
//! gateway's only when no stranger can cause the one above it: LMTP, a local hand-over, a loopback address, or two hosts
//! that the operator named. Names that a client gives for itself (HELO) never count. A mail without any `Received` came
//! over no wire: it was put into the mailbox by the gateway, and all of its fields count. Of a mail that the gateway
//! regenerated, and whose header on arrival it does not tell, none counts.

use super::options::DecodeOptions;
use crate::mail::header::{Field, Headers};

/// More hops than this are not looked at; mail loops end at about a hundred.
const HOPS_MAX: usize = 200;

pub struct Region {
    /// Fields that start before this offset of the header block are the gateway's.
    end: usize,
    /// The same for what Google wrote before it sent the copy to the gateway.
    google_end: usize,
}

impl Region {
    pub fn of(headers: &Headers<'_>, options: &DecodeOptions) -> Region {
        if headers.is_unplaced() {
            return Region { end: 0, google_end: 0 };
        }
        let hops: Vec<Hop> = headers.all("received").take(HOPS_MAX).map(Hop::of).collect();
        let own = hops.iter().position(|hop| !hop.is_handover(&options.gateway_hosts));
        let Some(first) = own else {
            // No hop from outside at all.
            return Region { end: usize::MAX, google_end: usize::MAX };
        };
        Region { end: hops[first].start, google_end: google_end(&hops[first..]) }
    }

    pub fn holds(&self, field: &Field<'_>) -> bool {
        field.start < self.end
    }

    /// Google's routing notes the recipient on its own side of the hop to the gateway.
    pub fn holds_of_google(&self, field: &Field<'_>) -> bool {
        field.start < self.google_end
    }
}

/// Where Google's own fields end, given that the first hop is the one by which the gateway got the mail. Each hop
/// adds its field above those of the hop before, so Google's reach down to the hop by which Google got it.
fn google_end(hops: &[Hop]) -> usize {
    let mut end = hops[0].start;
    let mut inside = hops[0].left_google();
    for hop in &hops[1..] {
        if !inside {
            return end;
        }
        end = hop.start;
        inside = is_google(&hop.by) && hop.left_google();
    }
    if inside { usize::MAX } else { end }
}

fn is_google(host: &str) -> bool {
    host == "google.com" || host.ends_with(".google.com")
}

/// A `Received` field: `from HELO (verified [address]) by HOST with PROTOCOL …`.
struct Hop {
    start: usize,
    /// What the client said; empty when the mail was made here.
    from: String,
    /// What the server found out about the client.
    found: String,
    by: String,
    with: String,
}

impl Hop {
    fn of(field: &Field<'_>) -> Hop {
        let value = &field.value[..field.value.len().min(4096)];
        let text = String::from_utf8_lossy(value).to_ascii_lowercase();
        let mut hop = Hop {
            start: field.start,
            from: String::new(),
            found: String::new(),
            by: String::new(),
            with: String::new(),
        };
        let mut expected = "";
        let mut depth = 0usize;
        for word in text.split_ascii_whitespace() {
            let opens = word.matches('(').count();
            if depth > 0 || opens > 0 {
                // Comments: the first one after the client's name is what the server found out.
                if expected == "found" {
                    hop.found.push_str(word);
                    hop.found.push(' ');
                }
                depth = (depth + opens).saturating_sub(word.matches(')').count());
                if depth == 0 && expected == "found" {
                    expected = "";
                }
                continue;
            }
            match (expected, word) {
                ("from", _) => (hop.from, expected) = (word.to_owned(), "found"),
                ("by", _) => (hop.by, expected) = (word.trim_end_matches(';').to_owned(), ""),
                ("with", _) => (hop.with, expected) = (word.trim_end_matches(';').to_owned(), ""),
                (_, "from") if hop.from.is_empty() && hop.by.is_empty() => expected = "from",
                (_, "by") if hop.by.is_empty() => expected = "by",
                (_, "with") if hop.with.is_empty() => expected = "with",
                _ => {}
            }
        }
        hop
    }

    /// Within the gateway: from itself to itself.
    fn is_handover(&self, hosts: &[String]) -> bool {
        let local = self.with.starts_with("lmtp") || matches!(self.with.as_str(), "local" | "pipe");
        let loopback = ["[127.0.0.1]", "[::1]", "[ipv6:::1]"].iter().any(|address| self.found.contains(address));
        let named = |host: &str| hosts.iter().any(|own| own.eq_ignore_ascii_case(host));
        let made_here = self.from.is_empty() && !self.by.is_empty() && !is_google(&self.by);
        local || loopback || made_here || (named(&self.by) && self.client().is_some_and(named))
    }

    /// Sent by a host of Google, or moved within it (such hops have no "from").
    fn left_google(&self) -> bool {
        self.client().is_some_and(is_google) || (self.from.is_empty() && is_google(&self.by))
    }

    /// The client's name as the server verified it: Postfix and sendmail write it into the comment, Exim in front of
    /// a comment that begins with the address.
    fn client(&self) -> Option<&str> {
        let found = self.found.trim_start_matches('(').trim_start();
        let name = found.split([' ', '[', ')']).next().unwrap_or_default();
        match name {
            "" => Some(self.from.as_str()).filter(|from| !from.is_empty()),
            "unknown" => None,
            name if name.contains('=') => None,
            name => Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(header: &str, hosts: &[&str]) -> (bool, bool) {
        let headers = Headers::of(header.as_bytes());
        let options =
            DecodeOptions { gateway_hosts: hosts.iter().map(|h| (*h).to_owned()).collect(), ..Default::default() };
        let region = Region::of(&headers, &options);
        let field = headers.get("x-sought").unwrap();
        (region.holds(field), region.holds_of_google(field))
    }

    const OUTSIDE: &str =
        "Received: from mx.gw.example (unknown [203.0.113.9])\r\n\tby mx.gw.example (Postfix) with ESMTPS id 1; x\r\n";

    #[test]
    fn only_what_stands_above_the_hop_from_outside() {
        assert_eq!(counts(&format!("X-Sought: 1\r\n{OUTSIDE}"), &[]), (true, true));
        assert_eq!(counts(&format!("{OUTSIDE}X-Sought: 1\r\n"), &[]), (false, false));
        assert_eq!(counts(&format!("{OUTSIDE}X-Sought: 1\r\n"), &["mx.gw.example"]), (false, false), "HELO lies");
        assert_eq!(counts(&format!("{OUTSIDE}X-Sought: 1\r\n{OUTSIDE}"), &["mx.gw.example"]), (false, false));
        assert_eq!(counts("X-Sought: 1\r\nFrom: a@corp.example\r\n", &[]), (true, true));
    }

    #[test]
    fn hops_within_the_gateway_are_passed() {
        let lmtp = "Received: from mx.gw.example\r\n\tby store.gw.example with LMTP id 2; x\r\n";
        let filter = "Received: from localhost (localhost [127.0.0.1]) by mx.gw.example with ESMTP; x\r\n";
        let named = "Received: from a (mx.gw.example [192.0.2.1]) by store.gw.example with ESMTP; x\r\n";
        for hop in [lmtp, filter] {
            assert_eq!(counts(&format!("{hop}X-Sought: 1\r\n{OUTSIDE}"), &[]), (true, true), "{hop}");
            assert_eq!(counts(&format!("{hop}{OUTSIDE}X-Sought: 1\r\n"), &[]), (false, false), "{hop}");
        }
        assert_eq!(counts(&format!("{named}X-Sought: 1\r\n{OUTSIDE}"), &[]), (false, false));
        let hosts = ["mx.gw.example", "store.gw.example"];
        assert_eq!(counts(&format!("{named}X-Sought: 1\r\n{OUTSIDE}"), &hosts), (true, true));
    }

    #[test]
    fn what_google_wrote_before_the_gateway() {
        let to_gateway =
            "Received: from mail-x1.google.com (mail-x1.google.com [192.0.2.7]) by gw.example with ESMTPS\r\n";
        let inside = "Received: by mail-x1.google.com with SMTP id 3 for <journal@gw.example>; x\r\n";
        let inbound =
            "Received: from mx.partner.example (mx.partner.example [192.0.2.8]) by mx.google.com with ESMTPS\r\n";
        assert_eq!(counts(&format!("{to_gateway}{inside}X-Sought: 1\r\n{inbound}"), &[]), (false, true));
        assert_eq!(counts(&format!("{inside}X-Sought: 1\r\n{inbound}"), &[]), (false, true));
        assert_eq!(counts(&format!("{to_gateway}{inside}{inbound}X-Sought: 1\r\n"), &[]), (false, false));
        let lied = to_gateway.replace("(mail-x1.google.com ", "(unknown ");
        assert_eq!(counts(&format!("{lied}{inside}X-Sought: 1\r\n{inbound}"), &[]), (false, false));
        assert_eq!(counts(&format!("{inbound}X-Sought: 1\r\n"), &[]), (false, false));
    }
}
