//! Folders: how they are named in Maildirs and in Thunderbird's trees, which of them hold sent mail, and the patterns by
//! which an operator says whose they are.

use crate::sources::imap::names::decode_folder;

/// As mail programs and servers call the folder of sent mail, in the languages they come in. Compared in lower case.
const SENT: [&str; 40] = [
    "sent",
    "sent items",
    "sent mail",
    "sent messages",
    "sent-mail",
    "sentmail",
    "sentitems",
    "sent objects",
    "outbox sent",
    // German
    "gesendet",
    "gesendete elemente",
    "gesendete objekte",
    "gesendete nachrichten",
    "gesendete mails",
    // French
    "envoyés",
    "envoyes",
    "éléments envoyés",
    "messages envoyés",
    "courrier envoyé",
    // Italian
    "inviata",
    "inviati",
    "posta inviata",
    "elementi inviati",
    // Spanish, Portuguese
    "enviados",
    "enviadas",
    "elementos enviados",
    "mensajes enviados",
    "itens enviados",
    "mensagens enviadas",
    // Dutch, Danish, Norwegian, Swedish, Finnish
    "verzonden",
    "verzonden items",
    "sendt",
    "sendt post",
    "skickat",
    "lähetetyt",
    // Polish, Czech, Russian, Chinese, Japanese
    "wysłane",
    "elementy wysłane",
    "odeslaná pošta",
    "отправленные",
    "已发送",
];

/// Whether a folder, or one that it lies in, is one of sent mail. The levels lie between `/`; IMAP servers of the old
/// kind put dots there (`INBOX.Sent`).
pub fn holds_sent_mail(folder: &str) -> bool {
    let is_sent = |name: &str| SENT.contains(&name.trim().to_lowercase().as_str());
    folder.split('/').any(|level| is_sent(level) || level.split('.').any(is_sent))
}

/// A folder and one within it.
pub(super) fn within(folder: &str, name: &str) -> String {
    match (folder.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => folder.to_owned(),
        _ => format!("{folder}/{name}"),
    }
}

/// The levels of a folder in a Maildir, named as Maildir++ does: `.Sent.2019`, in modified UTF-7.
pub(super) fn of_maildir(name: &str) -> String {
    let levels: Vec<String> = name.split('.').filter(|level| !level.is_empty()).map(decode_folder).collect();
    // The name itself may hold what separates levels here.
    levels.iter().map(|level| level.replace('/', "_")).collect::<Vec<_>>().join("/")
}

/// A folder's name in a tree: Thunderbird keeps what lies below `Inbox` in `Inbox.sbd`.
pub(super) fn of_tree(name: &str) -> &str {
    strip_end(name, ".sbd").or_else(|| strip_end(name, ".mbox")).unwrap_or(name)
}

/// A folder's name by its mbox file.
pub(super) fn of_mbox(name: &str) -> &str {
    ["mbox", "mbx", "mboxrd", "mboxo", "mboxcl", "mboxcl2"]
        .into_iter()
        .find_map(|ending| strip_end(name, &format!(".{ending}")))
        .unwrap_or(name)
}

fn strip_end<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    let at = name.len().checked_sub(ending.len()).filter(|at| *at > 0)?;
    let (stem, end) = (name.get(..at)?, name.get(at..)?);
    end.eq_ignore_ascii_case(ending).then_some(stem)
}

/// Which folders are meant: `*` stands for any text, `?` for one character, in any case of letters. A folder is meant
/// when it fits or lies within one that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<char>);

impl Pattern {
    pub fn new(text: &str) -> Pattern {
        Pattern(text.trim_matches('/').to_lowercase().chars().collect())
    }

    pub fn fits(&self, folder: &str) -> bool {
        let folder: Vec<char> = folder.to_lowercase().chars().collect();
        let ends = (0..folder.len()).filter(|at| folder[*at] == '/').chain([folder.len()]);
        ends.into_iter().any(|end| self.fits_all(&folder[..end]))
    }

    /// In time of pattern × text: only the latest star is ever gone back to.
    fn fits_all(&self, text: &[char]) -> bool {
        let pattern = &self.0;
        let (mut p, mut t) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
                _ => match star {
                    Some((at, from)) => {
                        star = Some((at, from + 1));
                        (p, t) = (at + 1, from + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|c| *c == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_sent_mail() {
        for folder in [
            "Sent",
            "INBOX.Sent",
            "INBOX/Sent Items",
            "anna/Gesendete Elemente/2019",
            "[Gmail]/Sent Mail",
            "Envoyés",
            "Gesendet",
        ] {
            assert!(holds_sent_mail(folder), "{folder}");
        }
        for folder in ["", "INBOX", "Presents", "Unsent", "Absent/Friends", "consent.forms", "To be sent"] {
            assert!(!holds_sent_mail(folder), "{folder}");
        }
    }

    #[test]
    fn names_of_folders() {
        assert_eq!(of_maildir(".Sent.2019"), "Sent/2019");
        assert_eq!(of_maildir(".INBOX.Entw&APw-rfe"), "INBOX/Entwürfe");
        assert_eq!(of_maildir(".a&AC8-b"), "a_b");
        assert_eq!((of_tree("Inbox.sbd"), of_tree("x"), of_tree(".sbd")), ("Inbox", "x", ".sbd"));
        assert_eq!((of_mbox("Sent.mbox"), of_mbox("Inbox"), of_mbox("a.MBOX")), ("Sent", "Inbox", "a"));
    }

    #[test]
    fn patterns() {
        for (pattern, folder) in [
            ("anna", "anna"),
            ("anna", "Anna/Inbox"),
            ("*/Sent", "bob/sent"),
            ("*sent*", "x/presents/y"),
            ("a?c", "abc/d"),
            ("*", ""),
            ("", ""),
            ("/anna/", "anna"),
        ] {
            assert!(Pattern::new(pattern).fits(folder), "{pattern} {folder}");
        }
        for (pattern, folder) in [("anna", "annabel"), ("anna", "x/anna"), ("a?c", "ac"), ("*/Sent", "Sent"), ("", "a")]
        {
            assert!(!Pattern::new(pattern).fits(folder), "{pattern} {folder}");
        }
        let hostile = Pattern::new(&"a*".repeat(200));
        assert!(!hostile.fits(&format!("{}b", "a".repeat(20_000)).replace('b', "\u{e9}").replace('a', "b")));
    }
}
