//! Names of the files and folders of an export: valid on every file system, the same for the same message, and
//! different for different people and messages.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::record::Folder;
use crate::base::digest::Digest;

/// A folder name for a person's id that every file system takes, different for different ids also where case does
/// not count.
pub(super) fn safe_name(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    for (at, character) in id.char_indices() {
        let last = at + character.len_utf8() == id.len();
        let plain = !character.is_control()
            && !character.is_uppercase()
            && !matches!(character, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*' | '%')
            // Windows drops them from the end; a leading dot hides, and makes `..`.
            && !(matches!(character, '.' | ' ') && (at == 0 || last));
        if plain {
            name.push(character);
        } else {
            let mut bytes = [0u8; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                name.push_str(&format!("%{byte:02x}"));
            }
        }
    }
    // Windows keeps device names for itself, whatever follows their first dot.
    let stem = name.split('.').next().unwrap_or_default();
    let numbered = |device: &str| {
        stem.strip_prefix(device)
            .is_some_and(|rest| matches!(rest.as_bytes(), [b'0'..=b'9']) || matches!(rest, "¹" | "²" | "³"))
    };
    let device =
        matches!(stem, "con" | "prn" | "aux" | "nul" | "conin$" | "conout$") || numbered("com") || numbered("lpt");
    if device || is_ours(&name) {
        name = format!("%{:02x}{}", name.as_bytes()[0], &name[1..]);
    }
    const NAME_BYTES_MAX: usize = 150;
    if name.is_empty() {
        name.push('%');
    } else if name.len() > NAME_BYTES_MAX {
        let mut end = NAME_BYTES_MAX - 33;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name = format!("{}%{}", &name[..end], &Digest::of(id.as_bytes()).to_string()[..32]);
    }
    name
}

/// Files of the export's own beside the people's folders.
fn is_ours(name: &str) -> bool {
    let stems = [("manifest", ".json"), ("index", ".html"), ("index", ".csv"), ("mail-", ".zip")];
    stems.iter().any(|(start, end)| name.starts_with(start) && name.ends_with(end))
}

/// A subfolder for each month: a hundred thousand files in one folder are no joy, and a month is something that
/// people look for.
fn month(date: Option<Timestamp>) -> String {
    let date = date.filter(|date| is_known_year(*date)).map(|date| date.to_zoned(TimeZone::UTC));
    date.map_or_else(|| "undated".into(), |date| date.strftime("%Y-%m").to_string())
}

/// A year in which mail can have been written; headers tell others, too.
pub(super) fn is_known_year(date: Timestamp) -> bool {
    (1970..2200).contains(&date.to_zoned(TimeZone::UTC).year())
}

/// What a message is called by.
pub(super) struct Named<'a> {
    pub person: &'a str,
    pub folder: Folder,
    pub id: u64,
    pub item: u64,
    pub date: Option<Timestamp>,
    pub received: Timestamp,
    /// The rights-protected message beside the clear copy of the same number.
    pub protected: bool,
    pub size: u64,
    pub sha256: Digest,
}

impl Named<'_> {
    /// `again`: another message has the name already, as when a message was decoded anew since the last export.
    pub fn eml(&self, again: bool) -> String {
        let protected = if self.protected { ".protected" } else { "" };
        let again = if again { format!(".{}", &self.sha256.to_string()[..12]) } else { String::new() };
        let Named { folder, id, .. } = self;
        format!("{}/{}/{}/{id:08}{again}{protected}.eml", safe_name(self.person), folder.as_str(), month(self.date))
    }

    pub fn mbox(person: &str, folder: Folder) -> String {
        let name = match folder {
            Folder::Inbox => "Inbox.mbox",
            Folder::Sent => "Sent.mbox",
        };
        format!("{}/{name}", safe_name(person))
    }

    /// The folder that has `cur`, `new` and `tmp`.
    pub fn maildir_folder(person: &str, folder: Folder) -> String {
        match folder {
            Folder::Inbox => safe_name(person),
            Folder::Sent => format!("{}/.Sent", safe_name(person)),
        }
    }

    /// Without the `:2,` of flags, whose colon Windows does not take and which say nothing here: nobody knows who
    /// read what. A file in `cur` may be without it. `S=` saves a server from asking for the size.
    pub fn maildir(&self, again: bool) -> String {
        let protected = if self.protected { "-protected" } else { "" };
        let again = if again { format!("-{}", &self.sha256.to_string()[..12]) } else { String::new() };
        let (folder, second) = (Named::maildir_folder(self.person, self.folder), self.received.as_second().max(0));
        format!("{folder}/cur/{second}.{:08}{again}{protected}.gatepost,S={}", self.item, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_everywhere_and_stay_different() {
        for (id, name) in [
            ("anna@corp.example", "anna@corp.example"),
            ("Anna", "%41nna"),
            ("nul.x@corp.example", "%6eul.x@corp.example"),
            ("com1", "%63om1"),
            ("common", "common"),
            ("..", "%2e%2e"),
            ("a/b\\c", "a%2fb%5cc"),
            ("ends. ", "ends.%20"),
            ("", "%"),
            ("manifest.json", "%6danifest.json"),
            ("manifest-0002.json", "%6danifest-0002.json"),
            ("index.html", "%69ndex.html"),
            ("mail-0001.zip", "%6dail-0001.zip"),
            ("mail@corp.example", "mail@corp.example"),
            ("SHA256SUMS", "%53%48%41256%53%55%4d%53"),
        ] {
            assert_eq!(safe_name(id), name);
        }
        let long = safe_name(&"ä".repeat(500));
        assert!(long.len() <= 150 && long != safe_name(&"ä".repeat(501)));
    }

    #[test]
    fn a_month_is_one_that_people_know() {
        for (date, name) in [
            (Some("2026-11-30T23:59:59Z"), "2026-11"),
            (Some("1969-12-31T23:59:59Z"), "undated"),
            (Some("-000044-03-15T12:00:00Z"), "undated"),
            (Some("9000-01-01T00:00:00Z"), "undated"),
            (None, "undated"),
        ] {
            assert_eq!(month(date.map(|date| date.parse().unwrap())), name, "{date:?}");
        }
    }
}
