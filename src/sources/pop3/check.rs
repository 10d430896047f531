//! What `check` says about a POP3 gateway. It changes nothing.

use super::options::Pop3Options;
use super::{Pop3Source, connect};
use crate::net::{TlsMode, clean, tls};
use crate::sources::failure::net_error;
use crate::sources::reach::{self, Door, Speaks};
use crate::sources::{Blocked, Finding, FolderSeen, Level, Looked, Retry, Source as _, SourceError, Tell};

pub(super) async fn look(options: &Pop3Options, tell: Tell<'_>) -> Looked {
    match at_server(options, tell).await {
        Ok(mailbox) => Looked { blocked: None, folders: vec![mailbox] },
        // What fails first is the last line: all that follows could only fail for the same reason.
        Err((at, failed)) => {
            tell(failed);
            Looked::blocked(at)
        }
    }
}

async fn at_server(options: &Pop3Options, tell: Tell<'_>) -> Result<FolderSeen, (Blocked, Finding)> {
    let port = options.ports.first().map_or(995, |(port, _)| *port);
    let addresses = tls::resolve(&options.host, port, options.timeout)
        .await
        .map_err(|error| (Blocked::Reach, failed("DNS", &net_error(&error, "DNS"))))?;
    let list = addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ");
    tell(ok("DNS", format!("{} is {list}", clean(&options.host))));
    let greeted = match connect::connect(options).await {
        Ok(greeted) => greeted,
        Err(error) => {
            let mut failed = failed("connection", &error);
            if error.retry == Retry::Operator
                && let Some(shown) = shown(options).await
            {
                failed.said = format!("{}; {}", failed.said, reach::described(&shown));
            }
            return Err((Blocked::Reach, failed));
        }
    };
    tell(ok("connection", format!("{} accepts connections", greeted.peer)));
    let door = door(options, greeted.peer.port(), greeted.tls);
    let shown = if greeted.tls == TlsMode::None { None } else { reach::shown(&door).await.ok() };
    let how = if greeted.tls == TlsMode::StartTls { "with STLS" } else { "from the first byte" };
    reach::tls_findings(&door, how, greeted.peer, shown.as_ref()).into_iter().for_each(&mut *tell);
    // A session that looked at TLS only is ended: what follows is what a run does, a replaced token included.
    drop(greeted);
    let (greeted, way) = connect::session(options).await.map_err(|error| {
        let at = if error.refused_login { Blocked::Login } else { Blocked::Reach };
        (at, failed("login", &error))
    })?;
    tell(ok("login", format!("logged in as {} ({way})", clean(&options.username))));
    let expires = greeted.capabilities.argument("EXPIRE").filter(|days| *days != "NEVER").map(clean);
    let mut source = Pop3Source::new(greeted, options).read_only();
    let opened = source.open("INBOX").await.map_err(|error| (Blocked::Mailbox, failed("mailbox", &error)))?;
    tell(ok("mailbox", format!("holds {} items, each with its UIDL", opened.state.exists)));
    if let Some(days) = expires {
        // RFC 2449 §6.7: 0 means that a mail may go when the session in which it was read ends.
        tell(Finding {
            level: Level::Warning,
            what: "retention".into(),
            said: format!("the server may delete mail by itself (EXPIRE {days})"),
            hint: Some("let the server keep mail until it is deleted: what it removes before is never archived".into()),
        });
    }
    tell(ok("delete support", "DELE, confirmed by QUIT; POP3 has no rights that could be asked for before".into()));
    source.close().await;
    let (items, epoch) = (opened.state.exists, Some(opened.epoch));
    Ok(FolderSeen { name: "INBOX".into(), items, reports: None, is_junk: false, epoch })
}

fn door(options: &Pop3Options, port: u16, tls: TlsMode) -> Door {
    let (host, trust) = (options.host.clone(), options.trust.clone());
    Door { host, port, tls, speaks: Speaks::Pop3, trust, limit: options.timeout }
}

/// The certificate at the first port where somebody shows one.
async fn shown(options: &Pop3Options) -> Option<reach::Shown> {
    for (port, tls) in options.ports.iter().filter(|(_, tls)| *tls != TlsMode::None) {
        if let Ok(shown) = reach::shown(&door(options, *port, *tls)).await {
            return Some(shown);
        }
    }
    None
}

fn ok(what: &str, said: String) -> Finding {
    Finding { level: Level::Ok, what: what.to_owned(), said, hint: None }
}

fn failed(what: &str, error: &SourceError) -> Finding {
    Finding { level: Level::Failed, what: what.to_owned(), said: error.answer.clone(), hint: error.hint.clone() }
}
