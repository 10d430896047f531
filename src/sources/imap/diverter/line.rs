//! What a line of a response means for the diverter: does it end the response, or announce a literal;
//! and is the response one that the parser should see at all.
//!
//! The parser ends the connection over a response that it does not know. RFC 3501 asks a client to
//! ignore such, so they are left out here.

/// How a line ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// It ends the response.
    Response,
    /// A literal of `bytes` follows; its announcement starts at `header_at`, counted from the response's start.
    Literal { header_at: usize, bytes: u64, is_body: bool },
}

/// Looks at the last line of `response`, which begins at `line_start` and is complete.
pub(super) fn end_of(response: &[u8], line_start: usize) -> LineEnd {
    if !may_hold_literals(response) {
        return LineEnd::Response;
    }
    let Some((header_at, bytes)) = announced(response, line_start) else { return LineEnd::Response };
    let before = &response[line_start..header_at];
    let is_body = is_fetch(response) && ends_with_body(before);
    LineEnd::Literal { header_at, bytes, is_body }
}

/// The words of a status (`* OK …`, `* BYE …`), a tagged and a continuation line are free text, in which
/// `{5}` means nothing.
fn may_hold_literals(response: &[u8]) -> bool {
    let Some(rest) = response.strip_prefix(b"* ") else { return false };
    !matches!(word(rest).as_str(), "OK" | "NO" | "BAD" | "BYE" | "PREAUTH")
}

/// The literal that the last line announces: `{n}`, `{n+}`, `~{n}`.
fn announced(response: &[u8], line_start: usize) -> Option<(usize, u64)> {
    let line = response[line_start..].strip_suffix(b"\r\n")?.strip_suffix(b"}")?;
    let line = line.strip_suffix(b"+").unwrap_or(line);
    let digits = line.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    // Nineteen digits fit; nothing that long is ever meant, and a parse failure below is no literal.
    if digits == 0 || digits > 19 {
        return None;
    }
    let number = &line[line.len() - digits..];
    let before = line[..line.len() - digits].strip_suffix(b"{")?;
    let before = before.strip_suffix(b"~").unwrap_or(before);
    let bytes = std::str::from_utf8(number).ok()?.parse().ok()?;
    Some((line_start + before.len(), bytes))
}

fn is_fetch(response: &[u8]) -> bool {
    let Some(rest) = response.strip_prefix(b"* ") else { return false };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    digits > 0 && rest.get(digits) == Some(&b' ') && word(&rest[digits + 1..]) == "FETCH"
}

fn ends_with_body(before: &[u8]) -> bool {
    const BODY: &[u8] = b"BODY[] ";
    let Some(at) = before.len().checked_sub(BODY.len()) else { return false };
    before[at..].eq_ignore_ascii_case(BODY) && (at == 0 || matches!(before[at - 1], b' ' | b'('))
}

/// The first word, in upper case.
fn word(text: &[u8]) -> String {
    text.iter().take_while(|b| b.is_ascii_alphanumeric()).take(16).map(|&b| b.to_ascii_uppercase() as char).collect()
}

/// Whether anybody here has a use for a complete response. `curious`: somebody asks for rights, quotas and marks.
pub(super) fn is_for_us(response: &[u8], curious: bool) -> bool {
    let Some(rest) = response.strip_prefix(b"* ") else { return true };
    if is_fetch(response) {
        // A flag update without a UID is of no use to anyone, and an empty one ends the parser.
        return contains_ignore_case(response, b"UID ");
    }
    if rest.first().is_some_and(u8::is_ascii_digit) {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let what = rest.get(digits + 1..).map(word).unwrap_or_default();
        return matches!(what.as_str(), "EXISTS" | "EXPUNGE") || (curious && what == "RECENT");
    }
    let word = word(rest);
    if matches!(word.as_str(), "MYRIGHTS" | "QUOTA") {
        return curious;
    }
    matches!(
        word.as_str(),
        "OK" | "NO" | "BAD" | "BYE" | "PREAUTH" | "CAPABILITY" | "LIST" | "STATUS" | "SEARCH" | "VANISHED"
    )
}

/// `INTERNALDATE NIL` makes the parser panic; a date that is never a date is as good.
pub(super) fn mend(response: &mut [u8]) {
    const NIL: &[u8] = b"INTERNALDATE NIL";
    if is_fetch(response)
        && let Some(at) = response.windows(NIL.len()).position(|window| window.eq_ignore_ascii_case(NIL))
    {
        response[at + NIL.len() - 3..at + NIL.len()].copy_from_slice(b"\"-\"");
    }
}

fn contains_ignore_case(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(line: &str) -> Option<(u64, bool)> {
        match end_of(line.as_bytes(), 0) {
            LineEnd::Response => None,
            LineEnd::Literal { bytes, is_body, .. } => Some((bytes, is_body)),
        }
    }

    #[test]
    fn bodies_are_recognised_in_every_spelling() {
        assert_eq!(literal("* 1 FETCH (UID 5 BODY[] {12}\r\n"), Some((12, true)));
        assert_eq!(literal("* 1 fetch (body[] {12}\r\n"), Some((12, true)));
        assert_eq!(literal("* 1 FETCH (BODY[] ~{12}\r\n"), Some((12, true)));
        assert_eq!(literal("* 1 FETCH (BODY[] {12+}\r\n"), Some((12, true)));
        assert_eq!(literal("* 1 FETCH (BODY[HEADER] {12}\r\n"), Some((12, false)));
        assert_eq!(literal("* 1 FETCH (XBODY[] {12}\r\n"), Some((12, false)));
        assert_eq!(literal("* LIST () \"/\" {5}\r\n"), Some((5, false)));
    }

    #[test]
    fn free_text_announces_nothing() {
        for line in ["* OK hello {5}\r\n", "* BYE {5}\r\n", "A1 NO BODY[] {5}\r\n", "+ go {5}\r\n"] {
            assert_eq!(literal(line), None, "{line}");
        }
        for line in ["* 1 FETCH (UID 5)\r\n", "* 1 FETCH {}\r\n", "* 1 FETCH {99999999999999999999}\r\n"] {
            assert_eq!(literal(line), None, "{line}");
        }
    }

    #[test]
    fn what_the_parser_does_not_know_is_left_out() {
        for line in ["* ESEARCH (TAG \"a\") COUNT 3", "* 5 RECENT", "* FLAGS (\\X)", "* 5 FETCH ()", "* XYZZY", "* 7 X"]
        {
            assert!(!is_for_us(line.as_bytes(), false), "{line}");
        }
        for line in ["A1 OK", "+ go", "* 5 EXISTS", "* 5 FETCH (UID 3)", "* bye now", "* SEARCH 1", "* STATUS x ()"] {
            assert!(is_for_us(line.as_bytes(), false), "{line}");
        }
        for line in ["* 5 RECENT", "* MYRIGHTS INBOX lr", "* QUOTA \"\" (STORAGE 1 2)"] {
            assert!(is_for_us(line.as_bytes(), true) && !is_for_us(line.as_bytes(), false), "{line}");
        }
    }

    #[test]
    fn a_missing_date_is_mended() {
        let mut line = b"* 1 FETCH (UID 3 INTERNALDATE NIL RFC822.SIZE 4)\r\n".to_vec();
        mend(&mut line);
        assert_eq!(line, b"* 1 FETCH (UID 3 INTERNALDATE \"-\" RFC822.SIZE 4)\r\n");
    }
}
