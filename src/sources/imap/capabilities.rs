//! What a server says that it can do.

use std::collections::HashSet;

use async_imap::imap_proto::Capability;

/// The words of a CAPABILITY answer, in upper case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Capabilities(HashSet<String>);

impl Capabilities {
    pub fn of(list: &[Capability<'_>]) -> Capabilities {
        let word = |capability: &Capability<'_>| match capability {
            Capability::Imap4rev1 => "IMAP4REV1".to_owned(),
            Capability::Auth(mechanism) => format!("AUTH={}", mechanism.to_ascii_uppercase()),
            Capability::Atom(atom) => atom.to_ascii_uppercase(),
        };
        Capabilities(list.iter().map(word).collect())
    }

    /// `word` in upper case.
    pub fn has(&self, word: &str) -> bool {
        self.0.contains(word)
    }
}
