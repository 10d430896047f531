//! One file per message: eml folders and Maildir++.
//!
//! A Maildir is a folder per person that a mail server takes as it is: `cur`, `new` and `tmp` are the INBOX, `.Sent` is
//! the folder of that name. Messages keep the line ends that they have; a server adds the CRs that IMAP wants itself,
//! and the manifest has the sum of that, too.

use std::path::Path;

use jiff::Timestamp;

use super::super::error::Result;
use super::super::record::Folder;
use super::names::Named;
use super::output::{Exported, Folders, create, date_file, inside, is_same};
use super::render::Rendered;
use crate::base::fsio;

/// An empty file that tells a folder of a Maildir from a Maildir.
pub(super) const MAILDIR_FOLDER: &str = "maildirfolder";

/// Puts a message under its name; true: it is there already, with this content.
pub(super) fn put(
    dir: &Path,
    work: &Path,
    folders: &mut Folders,
    file: &str,
    received: Timestamp,
    message: Rendered,
) -> Result<bool> {
    let path = inside(dir, file);
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    folders.make(dir, folder)?;
    if is_same(&path, message.size, message.sha256)? {
        return Ok(true);
    }
    let temporary = message.into_file(&work.join("message.tmp"))?;
    let file = std::fs::OpenOptions::new().write(true).open(&temporary).exported("open", &temporary)?;
    date_file(&file, received);
    drop(file);
    fsio::rename(&temporary, &path).exported("write", &path)?;
    Ok(false)
}

/// The folders that a Maildir has, with mail or without.
pub(super) fn make_maildir(dir: &Path, folders: &mut Folders, person: &str, folder: Folder) -> Result<()> {
    let inbox = Named::maildir_folder(person, Folder::Inbox);
    let own = Named::maildir_folder(person, folder);
    for base in if folder == Folder::Inbox { vec![&inbox] } else { vec![&inbox, &own] } {
        for part in ["cur", "new", "tmp"] {
            folders.make(dir, &format!("{base}/{part}"))?;
        }
    }
    if folder != Folder::Inbox {
        let mark = inside(dir, &own).join(MAILDIR_FOLDER);
        if std::fs::symlink_metadata(&mark).is_err() {
            create(&mark)?;
        }
    }
    Ok(())
}
