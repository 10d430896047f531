//! What an archive may be called.
//!
//! An id names an archive for decades, is typed on command lines and becomes a folder name in exports,
//! on Windows too. Whatever comes from outside passes here; what fails is refused (configuration, CSV)
//! or encoded (people created by rule, whose addresses a stranger may have chosen).

use std::fmt::Write as _;

use crate::base::address::Address;
use crate::base::digest::Digest;
use crate::people::{PersonId, UNASSIGNED};

const LENGTH_MAX: usize = 128;

/// Why a text cannot be an id; both are ready for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadId {
    pub what: String,
    pub hint: String,
}

impl PersonId {
    /// An id that has the shape of an address is normalised like one, so that `Anna@Corp.example` in
    /// the configuration and `anna@corp.example`, created by rule a year earlier, are one archive.
    pub fn checked(text: &str) -> Result<PersonId, BadId> {
        let bad = |what: String, hint: &str| Err(BadId { what, hint: hint.to_owned() });
        let text = text.trim();
        let usual = "use the person's main address, or a short name such as `anna`";
        if text.is_empty() {
            return bad("is empty".into(), usual);
        }
        if text.eq_ignore_ascii_case(UNASSIGNED) {
            return bad(format!("`{UNASSIGNED}` is reserved for the mail that nobody owns"), usual);
        }
        if let Some(found) = text.chars().find(|&c| is_unfit(c)) {
            return bad(format!("{text:?} holds {found:?}, which a folder name cannot hold"), usual);
        }
        if text.starts_with('.') || text.ends_with('.') {
            return bad(format!("{text:?} begins or ends with a dot"), usual);
        }
        if is_windows_device(text) {
            return bad(format!("{text:?} is the name of a device on Windows, not of a folder"), usual);
        }
        let id = Address::parse(text).map_or_else(|| text.to_owned(), |address| address.to_string());
        if id.len() > LENGTH_MAX {
            return bad(format!("is {} bytes long, {LENGTH_MAX} are allowed", id.len()), usual);
        }
        Ok(PersonId(id))
    }

    /// The id for an archive that is created by rule: the address, save what [`PersonId::checked`]
    /// refuses. `a/b@corp.example` is a legal address and `../../x@corp.example` a possible one.
    pub fn for_address(address: &Address) -> PersonId {
        let mut id = String::with_capacity(address.as_str().len());
        for (at, c) in address.as_str().char_indices() {
            if is_unfit(c) || c == '%' || (c == '.' && at == 0) {
                let mut utf8 = [0; 4];
                for byte in c.encode_utf8(&mut utf8).bytes() {
                    // Writing to a String cannot fail.
                    let _ = write!(id, "%{byte:02x}");
                }
            } else {
                id.push(c);
            }
        }
        if id.len() > LENGTH_MAX {
            // Cut, with a digest in place of the rest, so that two long addresses stay two archives.
            let digest = Digest::of(address.as_str().as_bytes()).to_string();
            let mut cut = LENGTH_MAX - 17;
            while !id.is_char_boundary(cut) {
                cut -= 1;
            }
            id.truncate(cut);
            id.push('~');
            id.push_str(&digest[..16]);
        }
        PersonId(id)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What two ids must differ in: file systems on Windows and macOS ignore case.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl std::fmt::Display for PersonId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_unfit(c: char) -> bool {
    // The bidirectional controls are not `is_control`, but let one name look like another.
    let bidi = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || bidi || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
}

fn is_windows_device(text: &str) -> bool {
    let stem = text.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
    };
    matches!(stem.as_str(), "con" | "prn" | "aux" | "nul") || numbered("com") || numbered("lpt")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(address: &str) -> String {
        PersonId::for_address(&Address::parse(address).unwrap()).0
    }

    #[test]
    fn ordinary_ids_stand_and_addresses_are_normalised() {
        for (text, id) in [
            ("anna", "anna"),
            (" Anna Example ", "Anna Example"),
            ("Anna@Corp.Example", "anna@corp.example"),
            ("console", "console"),
        ] {
            assert_eq!(PersonId::checked(text).unwrap().0, id);
        }
    }

    #[test]
    fn what_cannot_be_a_folder_is_refused() {
        for text in ["", " ", "unassigned", "UnAssigned", "a/b", "a\\b", "..", ".hidden", "a.", "a\nb", "a:b", "nul"] {
            assert!(PersonId::checked(text).is_err(), "{text:?}");
        }
        for text in ["CON.txt", "com1", "a\u{202e}b"] {
            assert!(PersonId::checked(text).is_err(), "{text:?}");
        }
        assert!(PersonId::checked(&"x".repeat(128)).is_ok());
        assert_eq!(PersonId::checked(&"x".repeat(129)).unwrap_err().what, "is 129 bytes long, 128 are allowed");
    }

    #[test]
    fn a_created_id_is_the_address_or_a_harmless_form_of_it() {
        assert_eq!(created("bob@corp.example"), "bob@corp.example");
        assert_eq!(created("../../etc@corp.example"), "%2e./..%2fetc@corp.example".replace("./.", ".%2f."));
        assert_eq!(created("a%2fb@corp.example"), "a%252fb@corp.example");
        let long = [
            created(&format!("{}1@corp.example", "ä".repeat(200))),
            created(&format!("{}2@c.example", "ä".repeat(200))),
        ];
        assert_ne!(long[0], long[1]);
        assert!(long.iter().all(|id| id.len() <= LENGTH_MAX));
    }
}
