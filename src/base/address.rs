//! Mail addresses, normalised once, at the edge.

use std::fmt;

/// An SMTP address in the one form that comparisons use: local part and domain case-folded, the
/// domain in ASCII (IDNA), no angle brackets, no `smtp:` prefix.
///
/// RFC 5321 §2.4 allows a case-sensitive local part; no mail system of this field uses it, and an
/// archive that splits `Anna@` from `anna@` would be wrong far more often.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Address(String);

/// RFC 5321 §4.5.3.1 knows 64 and 255; what is longer than this is no address.
const BYTES_MAX: usize = 1024;

impl Address {
    /// `None` for what is no SMTP address (`<>`, X.400 and `EX:` forms, plain names).
    pub fn parse(text: &str) -> Option<Address> {
        let text = text.trim().trim_start_matches('<').trim_end_matches('>').trim();
        let text = unprefixed(text);
        let (local, domain) = text.rsplit_once('@')?;
        if text.len() > BYTES_MAX {
            return None;
        }
        let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';');
        // Quotes count only where the address needs them (RFC 5321 §4.1.2): `"a.b"@x` is `a.b@x`.
        let bare = local.trim_matches('"');
        let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
        let needs_quotes = quoted && bare.contains(bad) && !bare.contains(|c: char| c.is_control() || c == '"');
        let local = if needs_quotes { local } else { innermost(bare) };
        if local.is_empty() || domain.is_empty() || domain.contains(bad) || (!needs_quotes && local.contains(bad)) {
            return None;
        }
        // Asked again: IDNA maps some characters to these (U+037E to a semicolon).
        let domain = normalise_domain(domain).filter(|domain| !domain.contains(bad))?;
        let address = format!("{}@{domain}", local.to_lowercase());
        // Once more: IDNA and lower case may have made it longer.
        (address.len() <= BYTES_MAX).then_some(Address(address))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn local(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(local, _)| local)
    }

    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// Without `smtp:`, in any case.
fn unprefixed(text: &str) -> &str {
    match text.get(..5) {
        Some(prefix) if prefix.eq_ignore_ascii_case("smtp:") => &text[5..],
        _ => text,
    }
}

/// Quotes and prefixes off until none is left: `"smtp:anna"` would else be another address when it is read again.
fn innermost(mut local: &str) -> &str {
    loop {
        let inner = unprefixed(local).trim_matches('"');
        if inner.len() == local.len() {
            return local;
        }
        local = inner;
    }
}

/// A domain in the form that [`Address`] holds; `None` when it cannot be one.
pub fn normalise_domain(domain: &str) -> Option<String> {
    let domain = domain.trim().trim_end_matches('.');
    if domain.is_empty() || domain.contains('@') {
        return None;
    }
    // An address literal ([192.0.2.1]) is not a host name for IDNA.
    if domain.starts_with('[') {
        return Some(domain.to_ascii_lowercase());
    }
    // IDNA does nothing more to such a name; it is asked about all others, punycode included.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if domain.bytes().all(plain) && !domain.as_bytes().windows(4).any(|four| four.eq_ignore_ascii_case(b"xn--")) {
        return Some(domain.to_ascii_lowercase());
    }
    match idna::domain_to_ascii(domain) {
        // A full stop of another script at the end has become one of ours.
        Ok(ascii) if !ascii.trim_end_matches('.').is_empty() => Some(ascii.trim_end_matches('.').to_owned()),
        // Underscores and the like are refused by IDNA but exist in the field; keep them comparable.
        _ if domain.is_ascii() => Some(domain.to_ascii_lowercase()),
        _ => None,
    }
}

/// Only from the one form: what was written by hand goes through [`Address::parse`].
impl<'de> serde::Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        Address::parse(&text)
            .filter(|address| address.as_str() == text)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no normalised mail address")))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        Address::parse(text).map(|address| address.to_string())
    }

    #[test]
    fn plain_names_are_what_idna_makes_of_them() {
        for name in ["Corp.Example", "a-b.example", "ab--c.example", "-a.example", "a..b", "1.2", "EXAMPLE"] {
            let asked = idna::domain_to_ascii(name).unwrap_or_else(|_| name.to_ascii_lowercase());
            assert_eq!(normalise_domain(name), Some(asked), "{name}");
        }
    }

    #[test]
    fn one_form_for_all_spellings() {
        for text in ["Bob@Corp.Example", "<bob@corp.example>", "SMTP:bob@corp.example", " bob@corp.example. "] {
            assert_eq!(parsed(text).as_deref(), Some("bob@corp.example"), "{text}");
        }
        assert_eq!(parsed("a@BÜCHER.example").as_deref(), Some("a@xn--bcher-kva.example"));
        for text in ["\"John Doe\"@corp.example", "<\"john doe\"@CORP.example.>"] {
            assert_eq!(parsed(text).as_deref(), Some("\"john doe\"@corp.example"), "{text}");
        }
        assert_eq!(parsed("\"a,b@c\"@corp.example").as_deref(), Some("\"a,b@c\"@corp.example"));
        assert_eq!(parsed("\"a.b\"@corp.example").as_deref(), Some("a.b@corp.example"));
        assert_eq!(parsed("a@under_score.example").as_deref(), Some("a@under_score.example"));
        assert_eq!(parsed("a@corp.example\u{3002}").as_deref(), Some("a@corp.example"));
    }

    /// An address in its one form is what it is, however often it is read: the fuzzer found a prefix within quotes.
    #[test]
    fn wrapped_twice_is_the_same_address_when_read_again() {
        for text in ["\"smtp:ako+@1)", "smtp:\"SMTP:ako+\"@1)", "smtp:smtp:ako+@1)", "\"smtp:\"smtp:ako+\"@1)"] {
            assert_eq!(parsed(text).as_deref(), Some("ako+@1)"), "{text}");
        }
        assert_eq!(parsed("\"smtp:\"@corp.example"), None);
        // One that grows beyond what is read again is none.
        for n in 900..1024 {
            if let Some(address) = parsed(&format!("{}@\u{e4}\u{e4}.example", "a".repeat(n))) {
                assert_eq!(parsed(&address).as_deref(), Some(address.as_str()), "{n}");
            }
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        for text in [
            "",
            "<>",
            "Bob",
            "@corp.example",
            "bob@",
            "EX:/o=Org/cn=bob",
            "a b@corp.example",
            "a@b@",
            "a@b\u{37e}c",
            "\"a b@corp.example",
            "a \"b\"@corp.example",
            "\"a\" <\"b\"@corp.example",
            "\"\"@corp.example",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
