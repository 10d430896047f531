//! Opening a folder.

use async_imap::imap_proto::{MailboxDatum, Response, ResponseCode};

use super::names::{encode_folder, quote};
use super::wire::Wire;
use crate::net::clean;
use crate::sources::failure::operator;
use crate::sources::{FolderState, Retry, Scope, SourceError};

/// The folder that is selected.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub name: String,
    pub validity: u32,
    pub state: FolderState,
    /// Mails that no session was told of yet; SELECT takes that mark off them.
    pub recent: Option<u32>,
    /// Opened for reading only, by us or by the server.
    pub read_only: bool,
    /// A `\Deleted` lasts (PERMANENTFLAGS), as far as the server says.
    pub keeps_deleted: bool,
}

/// SELECT, or EXAMINE when nothing may be changed.
pub(super) async fn select(wire: &mut Wire, name: &str, read_only: bool) -> Result<Folder, SourceError> {
    let what = format!("opening the folder {}", clean(name));
    let Some(coded) = encode_folder(name) else {
        return Err(operator(Scope::Mailbox, what, "its name holds a control character", None));
    };
    let command = format!("{} {}", if read_only { "EXAMINE" } else { "SELECT" }, quote(&coded));
    let (mut exists, mut next, mut validity, mut recent, mut sticky) = (None, None, None, None, true);
    let mut keeps_deleted = true;
    let done = wire
        .run(&command, |response| {
            match response {
                Response::MailboxData(MailboxDatum::Exists(n)) => exists = Some(*n),
                Response::MailboxData(MailboxDatum::Recent(n)) => recent = Some(*n),
                Response::Data { outcome, .. } => match &outcome.code {
                    Some(ResponseCode::UidNext(n)) => next = Some(*n),
                    Some(ResponseCode::UidValidity(n)) => validity = Some(*n),
                    Some(ResponseCode::UidNotSticky) => sticky = false,
                    Some(ResponseCode::PermanentFlags(flags)) => {
                        keeps_deleted = flags.iter().any(|flag| flag.eq_ignore_ascii_case("\\Deleted"));
                    }
                    _ => {}
                },
                _ => {}
            }
            Ok(())
        })
        .await
        .map_err(|failure| {
            let refused = matches!(failure, super::wire::Failure::No(_)) && !failure.is_passing_no();
            let mut error = failure.into_error(what.as_str(), Scope::Mailbox, Retry::Operator);
            if refused {
                error.hint = Some("`gatepost check` lists the folders that there are".into());
            }
            error
        })?;
    // Without any of these a mail that was archived cannot be told from another one.
    let missing = |word: &str| {
        let answer = format!("the server does not say its {word}");
        operator(Scope::Mailbox, what.as_str(), answer, Some("a folder without lasting UIDs cannot be polled safely"))
    };
    let exists = exists.ok_or_else(|| missing("number of messages (EXISTS)"))?;
    let validity = validity.filter(|&n| n > 0).ok_or_else(|| missing("UIDVALIDITY"))?;
    let next = next.filter(|&n| n > 0).ok_or_else(|| missing("UIDNEXT"))?;
    if !sticky {
        let answer = "its UIDs do not last (UIDNOTSTICKY)";
        let hint = "a folder without lasting UIDs cannot be polled safely";
        return Err(operator(Scope::Mailbox, what, answer, Some(hint)));
    }
    Ok(Folder {
        name: name.to_owned(),
        validity,
        state: FolderState { next: next.into(), exists: exists.into() },
        recent,
        read_only: read_only || done.read_only,
        keeps_deleted,
    })
}
