//! From the folder's name in the configuration to the folder: `inbox`, or a path that begins with such a name or right
//! below the mailbox's visible root.

use super::answer::Folder;
use super::client::Client;
use super::failure::Failure;
use super::soap::{FolderRef, Request};

/// What the schema knows by name and may hold mail.
const DISTINGUISHED: &[&str] = &[
    "inbox",
    "msgfolderroot",
    "root",
    "deleteditems",
    "drafts",
    "junkemail",
    "outbox",
    "sentitems",
    "searchfolders",
    "archivemsgfolderroot",
    "archiveinbox",
    "archivedeleteditems",
];
const PAGES_MAX: u32 = 1000;

/// The folder, and its id, which is its identity.
pub(super) async fn find(
    client: &mut Client,
    path: &str,
    mailbox: Option<&str>,
) -> Result<(FolderRef, Folder), Failure> {
    let parts: Vec<&str> = path.split('/').map(str::trim).filter(|part| !part.is_empty()).collect();
    let known = parts.first().and_then(|first| DISTINGUISHED.iter().find(|name| name.eq_ignore_ascii_case(first)));
    let (name, parts) = match known {
        Some(name) => (*name, &parts[1..]),
        None => ("msgfolderroot", parts.as_slice()),
    };
    let mut at = FolderRef::Distinguished { name: name.to_owned(), mailbox: mailbox.map(str::to_owned) };
    for part in parts {
        at = FolderRef::Id(below(client, &at, part).await?.id);
    }
    let mut messages = client.call(&Request::Folder(&at)).await?;
    let folder = messages.pop().and_then(|mut message| message.folders.pop());
    let folder = folder.filter(|folder| !folder.id.is_empty());
    Ok((at, folder.ok_or_else(|| Failure::protocol("a folder without its FolderId"))?))
}

/// The folder of this name right below another; the very name before one that differs in case.
async fn below(client: &mut Client, parent: &FolderRef, name: &str) -> Result<Folder, Failure> {
    let mut alike = Vec::new();
    let mut offset = 0;
    for _ in 0..PAGES_MAX {
        let mut messages = client.call(&Request::Folders { below: parent, offset }).await?;
        let Some(page) = messages.pop() else { break };
        let count = page.folders.len() as u64;
        for folder in page.folders {
            if folder.name == name && !folder.id.is_empty() {
                return Ok(folder);
            }
            if folder.name.to_lowercase() == name.to_lowercase() && !folder.id.is_empty() {
                alike.push(folder);
            }
        }
        let next = page.next_offset.unwrap_or(offset + count);
        if page.is_last || count == 0 || next <= offset {
            break;
        }
        offset = next;
    }
    match alike.len() {
        1 => Ok(alike.remove(0)),
        0 => Err(refused(format!("there is no folder {name:?} on the way"))),
        _ => Err(refused(format!("several folders differ from {name:?} in case only"))),
    }
}

fn refused(text: String) -> Failure {
    Failure::Refused { code: "ErrorFolderNotFound".into(), text, wait: None }
}
