//! What `check` says about an IMAP gateway. It changes nothing: folders are opened for reading only, mails are peeked
//! at, and what would take a mark off a mail is not tried.

use async_imap::imap_proto::Response;
use async_imap::imap_proto::rfc4314::AclRight;

use super::capabilities::Capabilities;
use super::options::ImapOptions;
use super::wire::Wire;
use super::{ImapSource, connect, folder, folders, gmail};
use crate::net::{TlsMode, clean, tls};
use crate::sources::failure::net_error;
use crate::sources::reach::{self, Door, Speaks};
use crate::sources::{
    Blocked, FULL_PERCENT, Finding, FolderSeen, Level, Looked, Reports, Retry, Scope, Source as _, SourceError, Tell,
    Usage,
};

pub(super) async fn look(options: &ImapOptions, tell: Tell<'_>) -> Looked {
    match at_server(options, tell).await {
        Ok(looked) => looked,
        // What fails first is the last line: all that follows could only fail for the same reason.
        Err((at, failed)) => {
            tell(failed);
            Looked::blocked(at)
        }
    }
}

async fn at_server(options: &ImapOptions, tell: Tell<'_>) -> Result<Looked, (Blocked, Finding)> {
    let of_net =
        |what: &'static str| move |error: tls::NetError| (Blocked::Reach, failed(what, &net_error(&error, what)));
    let addresses = tls::resolve(&options.host, options.port, options.timeout).await.map_err(of_net("DNS"))?;
    let list = addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ");
    tell(ok("DNS", format!("{} is {list}", clean(&options.host))));
    let (_, peer) = tls::tcp(&options.host, options.port, options.timeout).await.map_err(of_net("connection"))?;
    tell(ok("connection", format!("{peer} accepts connections")));

    let door = Door {
        host: options.host.clone(),
        port: options.port,
        tls: options.tls,
        speaks: Speaks::Imap,
        trust: options.trust.clone(),
        limit: options.timeout,
    };
    let shown = if options.tls == TlsMode::None { None } else { reach::shown(&door).await.ok() };
    let (greeted, _) = connect::connect(options).await.map_err(|error| {
        let mut failed = failed("TLS", &error);
        if let (Some(shown), Retry::Operator) = (&shown, error.retry) {
            failed.said = format!("{}; {}", failed.said, reach::described(shown));
        }
        (Blocked::Reach, failed)
    })?;
    let how = if options.tls == TlsMode::StartTls { "with STARTTLS" } else { "from the first byte" };
    reach::tls_findings(&door, how, peer, shown.as_ref()).into_iter().for_each(&mut *tell);
    // A session that looked at TLS only is ended: what follows is what a run does, a replaced token included.
    drop(greeted);
    let (logged_in, _) = connect::session(options).await.map_err(|error| {
        let at = if error.refused_login { Blocked::Login } else { Blocked::Reach };
        (at, failed("login", &error))
    })?;
    let way = logged_in.way;
    let capabilities = logged_in.capabilities.clone();
    let mut source = ImapSource::new(logged_in, Some(peer), options);
    source.look_for_trash(&capabilities).await.map_err(|error| (Blocked::Mailbox, failed("delete support", &error)))?;
    tell(ok("login", format!("logged in as {} ({way})", clean(&options.username))));

    let can = source.abilities();
    tell(match &can.cannot_delete_because {
        None if let Some(trash) = source.trash.clone() => gmail::finding(&mut source.wire, &trash).await,
        None => ok("delete support", "it deletes exactly the items that it is told".into()),
        Some(why) => warning(
            "delete support",
            why.clone(),
            "fine with `delete = false`; a profile with `delete = true` will not delete",
        ),
    });
    source = source.read_only();
    source.wire.diverter().be_curious();
    let mut blocked = None;
    let mut seen = Vec::new();
    for name in &options.folders {
        let what = format!("folder {}", clean(name));
        match source.open(name).await {
            Ok(opened) => {
                let said = format!("holds {} items (UIDVALIDITY {})", opened.state.exists, opened.epoch.validity);
                tell(ok(&what, said));
                let recent = source.open.as_ref().and_then(|(folder, _)| folder.recent);
                if let Some(line) = may_delete(&mut source.wire, &capabilities, name, recent).await {
                    tell(line);
                }
                let reports = folders::reports(&mut source.wire, name).await.ok();
                let (items, epoch) = (opened.state.exists, Some(opened.epoch));
                seen.push(FolderSeen { name: name.clone(), items, reports, is_junk: false, epoch });
            }
            Err(error) if error.scope == Scope::Mailbox => {
                blocked = Some(Blocked::Mailbox);
                tell(failed(&what, &error));
            }
            Err(error) => return Err((Blocked::Mailbox, failed(&what, &error))),
        }
    }
    match folders::others(&mut source.wire, &options.folders).await {
        Ok(others) => {
            others.iter().filter_map(not_polled).for_each(&mut *tell);
            seen.extend(others);
        }
        Err(error) => return Err((Blocked::Mailbox, failed("other folders", &error))),
    }
    if capabilities.has("QUOTA")
        && let Some(line) = quota(&mut source.wire).await
    {
        tell(line);
    }
    source.close().await;
    Ok(Looked { blocked, folders: seen })
}

/// Whether a deletion there would be let through, as far as it shows without one.
async fn may_delete(wire: &mut Wire, capabilities: &Capabilities, name: &str, recent: Option<u32>) -> Option<Finding> {
    let what = format!("deletion in {}", clean(name));
    const FINE: &str = "fine with `delete = false`; else give the login the rights to mark and to remove mails there";
    if capabilities.has("ACL") {
        let missing = match rights(wire, name).await {
            Ok(rights) => {
                let needed = [(AclRight::DeleteMessage, "t"), (AclRight::Expunge, "e")];
                let missing = needed.iter().filter(|(right, _)| !rights.contains(right)).map(|(_, letter)| *letter);
                missing.collect::<Vec<_>>()
            }
            Err(error) => return Some(warning(&what, error.answer, "the server says that it has ACL, and not which")),
        };
        return Some(if missing.is_empty() {
            ok(&what, "the login has the rights to mark and to remove mails (ACL t, e)".into())
        } else {
            warning(&what, format!("the login lacks the rights {} (ACL)", missing.join(", ")), FINE)
        });
    }
    if recent != Some(0) {
        let said = "not tried: opening the folder as a run does would take the mark \\Recent off mails in it";
        return Some(ok(&what, said.into()));
    }
    // As a run opens it; EXAMINE again, so that nothing that follows could change anything.
    let opened = folder::select(wire, name, false).await;
    let again = folder::select(wire, name, true).await;
    match (opened, again) {
        (Ok(folder), Ok(_)) if folder.read_only => {
            Some(warning(&what, "the server opens the folder for reading only".into(), FINE))
        }
        (Ok(folder), Ok(_)) if !folder.keeps_deleted => {
            Some(warning(&what, "a mark \\Deleted does not last there (PERMANENTFLAGS)".into(), FINE))
        }
        (Ok(_), Ok(_)) => Some(ok(&what, "the server opens the folder for reading and writing".into())),
        (Err(error), _) | (_, Err(error)) => Some(warning(&what, error.answer, FINE)),
    }
}

async fn rights(wire: &mut Wire, name: &str) -> Result<Vec<AclRight>, SourceError> {
    let mut found = Vec::new();
    let command = format!("MYRIGHTS {}", folders::quoted(name)?);
    wire.run(&command, |response| {
        if let Response::MyRights(rights) = response {
            found = rights.rights.clone();
        }
        Ok(())
    })
    .await
    .map_err(|failure| failure.into_error("asking for the rights", Scope::Mailbox, Retry::Operator))?;
    // "d" of RFC 2086 is both of them.
    if found.contains(&AclRight::OldDelete) {
        found.extend([AclRight::DeleteMessage, AclRight::Expunge]);
    }
    Ok(found)
}

/// How full the mailbox is. A gateway that is full takes no journal mail any more.
async fn quota(wire: &mut Wire) -> Option<Finding> {
    let Usage { percent, said } = super::quota::usage(wire).await?;
    let said = format!("{said} used ({percent} %)");
    Some(if percent >= FULL_PERCENT {
        let hint = "a full mailbox takes no journal mail: raise its quota, or let gatepost delete what is archived";
        warning("quota", said, hint)
    } else {
        ok("quota", said)
    })
}

/// A journal report that the server's spam filter moved to Junk would never be archived, and nobody would notice.
fn not_polled(folder: &FolderSeen) -> Option<Finding> {
    let what = format!("folder {}", clean(&folder.name));
    let said = format!("not polled, holds {} items", folder.items);
    const HINT: &str = "add it to `folders` if journal mail can land there";
    match folder.reports {
        Some(Reports { found, of }) if found > 0 => {
            Some(warning(&what, format!("{said}; journal reports: {found} of the newest {of}"), HINT))
        }
        _ if folder.is_junk => Some(warning(&what, said, HINT)),
        Some(Reports { of, .. }) => Some(ok(&what, format!("{said}; none of the newest {of} is a journal report"))),
        None => Some(warning(&what, said, HINT)),
    }
}

fn ok(what: &str, said: String) -> Finding {
    Finding { level: Level::Ok, what: what.to_owned(), said, hint: None }
}

fn warning(what: &str, said: String, hint: &str) -> Finding {
    Finding { level: Level::Warning, what: what.to_owned(), said, hint: Some(hint.to_owned()) }
}

fn failed(what: &str, error: &SourceError) -> Finding {
    Finding { level: Level::Failed, what: what.to_owned(), said: error.answer.clone(), hint: error.hint.clone() }
}
