//! Which folders there are, what they hold, and whether that is journal mail. Looks only: EXAMINE, STATUS, PEEK.

use async_imap::imap_proto::{AttributeValue, MailboxDatum, NameAttribute, Response, StatusAttribute};

use super::folder;
use super::names::{decode_folder, encode_folder, quote};
use super::wire::{Failure, Wire};
use crate::net::clean;
use crate::sources::failure::operator;
use crate::sources::{FolderSeen, Reports, Retry, Scope, SourceError};

/// Folders asked for their number of messages, at most: a mailbox may have thousands.
const FOLDERS_MAX: usize = 200;
/// Folders looked into.
const LOOKED_INTO_MAX: usize = 50;
/// So many of a folder's newest mails are asked whether they are reports.
const NEWEST: u64 = 20;

/// Of a journal report, whatever program wrote it.
const FETCH: &str = "(UID BODY.PEEK[HEADER.FIELDS (X-MS-JOURNAL-REPORT CONTENT-IDENTIFIER X-GM-ORIGINAL-TO)])";
const MARKS: [&str; 3] = ["x-ms-journal-report:", "exjournalreport", "x-gm-original-to:"];

pub(super) fn quoted(name: &str) -> Result<String, SourceError> {
    encode_folder(name).map(|coded| quote(&coded)).ok_or_else(|| {
        let what = format!("asking about the folder {}", clean(name));
        operator(Scope::Mailbox, what, "its name holds a control character", None)
    })
}

/// The folders that are not polled and hold something.
pub(super) async fn others(wire: &mut Wire, polled: &[String]) -> Result<Vec<FolderSeen>, SourceError> {
    let mut names = Vec::new();
    wire.run("LIST \"\" \"*\"", |response| {
        if let Response::MailboxData(MailboxDatum::List(list)) = response {
            let no_folder = |attribute: &NameAttribute<'_>| match attribute {
                NameAttribute::NoSelect => true,
                // It shows what other folders hold.
                NameAttribute::All => true,
                NameAttribute::Extension(word) => word.eq_ignore_ascii_case("\\NonExistent"),
                _ => false,
            };
            if !list.name_attributes.iter().any(no_folder) {
                let is_junk = list.name_attributes.contains(&NameAttribute::Junk);
                names.push((list.name.to_string(), is_junk));
            }
        }
        Ok(())
    })
    .await
    .map_err(|failure| failure.into_error("listing the folders", Scope::Mailbox, Retry::Later))?;
    let is_polled = |name: &str| {
        polled.iter().any(|polled| polled == name || (polled.eq_ignore_ascii_case("INBOX") && name == "INBOX"))
    };
    let mut found = Vec::new();
    for (raw, marked) in names.iter().filter(|(raw, _)| !raw.chars().any(char::is_control)).take(FOLDERS_MAX) {
        // As the server wrote it, so that a name which is no modified UTF-7 is asked for all the same.
        let coded = raw.replace("\\\"", "\"").replace("\\\\", "\\");
        let name = decode_folder(&coded);
        if is_polled(&name) {
            continue;
        }
        let items = match items(wire, &coded).await {
            Ok(items) => items,
            // A folder that does not say is none of ours; a dead connection ends the look.
            Err(failure @ (Failure::No(_) | Failure::Bad(_))) => {
                tracing::debug!(%failure, "a folder did not say what it holds");
                continue;
            }
            Err(failure) => {
                return Err(failure.into_error("asking what the folders hold", Scope::Mailbox, Retry::Later));
            }
        };
        if items > 0 {
            let is_junk = *marked || is_junk(&name);
            found.push(FolderSeen { name, items, reports: None, is_junk, epoch: None });
        }
    }
    for folder in found.iter_mut().take(LOOKED_INTO_MAX) {
        match reports(wire, &folder.name).await {
            Ok(reports) => folder.reports = Some(reports),
            Err(error) if error.scope == Scope::Mailbox => tracing::debug!(%error, "a folder cannot be looked into"),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

async fn items(wire: &mut Wire, coded: &str) -> Result<u64, Failure> {
    let mut messages = 0;
    wire.run(&format!("STATUS {} (MESSAGES)", quote(coded)), |response| {
        if let Response::MailboxData(MailboxDatum::Status { status, .. }) = response {
            for attribute in status {
                if let StatusAttribute::Messages(n) = attribute {
                    messages = u64::from(*n);
                }
            }
        }
        Ok(())
    })
    .await?;
    Ok(messages)
}

/// How many of the newest mails of a folder are journal reports; it is the folder that is open afterwards.
pub(super) async fn reports(wire: &mut Wire, name: &str) -> Result<Reports, SourceError> {
    let exists = folder::select(wire, name, true).await?.state.exists;
    if exists == 0 {
        return Ok(Reports { found: 0, of: 0 });
    }
    let first = exists.saturating_sub(NEWEST - 1).max(1);
    let mut found = 0;
    wire.run(&format!("FETCH {first}:{exists} {FETCH}"), |response| {
        if let Response::Fetch(_, attributes) = response {
            let is_marked = attributes.iter().any(|attribute| match attribute {
                AttributeValue::BodySection { data: Some(data), .. } => {
                    let text = String::from_utf8_lossy(data).to_ascii_lowercase();
                    MARKS.iter().any(|mark| text.contains(mark))
                }
                _ => false,
            });
            found += u64::from(is_marked);
        }
        Ok(())
    })
    .await
    .map_err(|failure| failure.into_error(format!("looking into {}", clean(name)), Scope::Mailbox, Retry::Later))?;
    Ok(Reports { found, of: exists - first + 1 })
}

/// As servers and people call it where no attribute says so.
fn is_junk(name: &str) -> bool {
    let last = name.rsplit(['/', '.']).next().unwrap_or(name).to_lowercase();
    ["junk", "spam", "junk e-mail", "junk-e-mail", "junk email", "bulk mail"].contains(&last.as_str())
}
