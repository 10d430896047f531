//! What is different at Gmail: a mail is one, and folders are labels on it.
//!
//! - All Mail shows every mail that is not in the Trash.
//! - EXPUNGE takes a label off and frees nothing; in All Mail it does not even that.
//! - A mail that comes into the Trash leaves all other folders. Only EXPUNGE there deletes it.
//! - X-GM-MSGID names a mail in every folder.

use super::mailbox::{Folder, Folders, Mail, folder_name};
use super::session::{Session, Tagged, bad, no, ok};
use super::syntax::Token;
use super::wire::Flow;

pub const ALL_MAIL: &str = "[Gmail]/Alle Nachrichten";
/// In the account's language, as there.
pub const TRASH: &str = "[Gmail]/Papierkorb";

/// Ids of real mails have nineteen digits.
const FIRST_ID: u64 = 1_796_000_000_000_000_000;

pub(super) fn add_folders(folders: &mut Folders, validity: u32) {
    folders.insert(ALL_MAIL.into(), Folder::new(validity + 1));
    folders.insert(TRASH.into(), Folder::new(validity + 2));
}

pub(super) fn special_use(folder: &str) -> &'static str {
    match folder {
        ALL_MAIL => "\\HasNoChildren \\All",
        TRASH => "\\HasNoChildren \\Trash",
        _ => "\\HasNoChildren",
    }
}

/// A mail that came into `folder` gets its id, and stands in All Mail, too.
pub(super) fn appended(folders: &mut Folders, folder: &str, uid: u32) {
    let count: u64 = folders.values().map(|folder| u64::from(folder.next)).sum();
    let Some(mail) = folders.get_mut(folder).and_then(|folder| folder.get_mut(uid)) else { return };
    mail.id = FIRST_ID + count;
    let mail = mail.clone();
    if !matches!(folder, ALL_MAIL | TRASH)
        && let Some(all) = folders.get_mut(ALL_MAIL)
    {
        all.adopt(&mail);
    }
}

/// Puts a mail into another folder and returns its number there.
fn moved(folders: &mut Folders, from: &str, to: &str, mail: &Mail) -> Option<u32> {
    let uid = folders.get_mut(to)?.adopt(mail);
    for (name, folder) in folders.iter_mut() {
        let leaves = if to == TRASH { name != TRASH } else { name == from && name != ALL_MAIL };
        if leaves && folder.mails().iter().any(|other| other.id == mail.id) {
            folder.remove(|other| other.id == mail.id);
        }
    }
    Some(uid)
}

impl Session {
    /// `UID MOVE set folder` (RFC 6851); the EXPUNGE lines follow with the other changes.
    pub(super) async fn move_to(&mut self, arguments: &[Token]) -> Flow<Tagged> {
        let text = |at: usize| arguments.get(at).and_then(Token::text);
        let (Some(set), Some(to)) = (text(0), text(1)) else { return bad("Set and folder") };
        let Some(uids) = self.named("UID MOVE", &set) else { return bad("Set") };
        let to = folder_name(&to).to_owned();
        let Some(open) = &self.open else { return bad("No folder is open") };
        if open.read_only {
            return no("[READ-ONLY] The folder is open for reading");
        }
        let (validity, pairs) = {
            let mut state = self.shared.state();
            let Some(validity) = state.folders.get(&to).map(|folder| folder.validity) else {
                return no("[TRYCREATE] No such folder");
            };
            let mut pairs = Vec::new();
            let most = state.plan.moves_at_most();
            for uid in uids.into_iter().take(most) {
                let Some(mail) = state.folders.get(&open.folder).and_then(|folder| folder.get(uid)).cloned() else {
                    continue;
                };
                pairs.extend(moved(&mut state.folders, &open.folder, &to, &mail).map(|new| (uid, new)));
            }
            (validity, pairs)
        };
        if !pairs.is_empty() && self.shared.has_uidplus() {
            let list = |which: fn(&(u32, u32)) -> u32| {
                pairs.iter().map(|pair| which(pair).to_string()).collect::<Vec<_>>().join(",")
            };
            let (old, new) = (list(|pair| pair.0), list(|pair| pair.1));
            self.wire.line(format!("* OK [COPYUID {validity} {old} {new}] Moved")).await?;
        }
        ok("Done")
    }
}
