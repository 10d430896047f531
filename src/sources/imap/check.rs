//! What `check` says about an IMAP gateway. It changes nothing: folders are opened for reading only.

use async_imap::imap_proto::{MailboxDatum, NameAttribute, Response, StatusAttribute};

use super::ImapSource;
use super::connect;
use super::gmail;
use super::names::{decode_folder, quote};
use super::options::ImapOptions;
use super::wire::Wire;
use crate::net::{TlsMode, clean, tls};
use crate::sources::failure::net_error;
use crate::sources::{Finding, Level, Source as _, SourceError};

/// Folders asked for their number of messages, at most: a mailbox may have thousands.
const FOLDERS_MAX: usize = 200;

pub(super) async fn findings(options: &ImapOptions) -> Vec<Finding> {
    let mut found = Vec::new();
    // What fails first is the last line: all that follows could only fail for the same reason.
    if let Err(failed) = look(options, &mut found).await {
        found.push(failed);
    }
    found
}

async fn look(options: &ImapOptions, found: &mut Vec<Finding>) -> Result<(), Finding> {
    let of_net = |what: &'static str| move |error: tls::NetError| failed(what, &net_error(&error, what));
    let addresses = tls::resolve(&options.host, options.port, options.timeout).await.map_err(of_net("DNS"))?;
    let list = addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ");
    found.push(ok("DNS", format!("{} is {list}", clean(&options.host))));
    let (_, peer) = tls::tcp(&options.host, options.port, options.timeout).await.map_err(of_net("connection"))?;
    found.push(ok("connection", format!("{peer} accepts connections")));

    let (greeted, _) = connect::connect(options).await.map_err(|error| failed("TLS", &error))?;
    found.push(match options.tls {
        TlsMode::Implicit => ok("TLS", format!("protected from the first byte, {}", options.trust.verified())),
        TlsMode::StartTls => ok("TLS", format!("protected with STARTTLS, {}", options.trust.verified())),
        TlsMode::None if peer.ip().is_loopback() => ok("TLS", "none, on this machine only".into()),
        TlsMode::None => Finding {
            level: Level::Warning,
            what: "TLS".into(),
            said: "none: passwords and mails go over the network readable (`allow_plaintext`)".into(),
            hint: Some("use `tls = \"implicit\"` or `\"starttls\"`".into()),
        },
    });
    // A session that looked at TLS only is ended: what follows is what a run does, a replaced token included.
    drop(greeted);
    let (logged_in, _) = connect::session(options).await.map_err(|error| failed("login", &error))?;
    let way = logged_in.way;
    let capabilities = logged_in.capabilities.clone();
    let mut source = ImapSource::new(logged_in, Some(peer), options);
    source.look_for_trash(&capabilities).await.map_err(|error| failed("delete support", &error))?;
    found.push(ok("login", format!("logged in as {} ({way})", clean(&options.username))));

    let can = source.abilities();
    found.push(match &can.cannot_delete_because {
        None if let Some(trash) = source.trash.clone() => gmail::finding(&mut source.wire, &trash).await,
        None => ok("delete support", "it deletes exactly the items that it is told".into()),
        Some(why) => Finding {
            level: Level::Warning,
            what: "delete support".into(),
            said: why.clone(),
            hint: Some("fine with `delete = false`; a profile with `delete = true` will not delete".into()),
        },
    });
    source = source.read_only();
    for name in &options.folders {
        let what = format!("folder {}", clean(name));
        match source.open(name).await {
            Ok(opened) => found.push(ok(&what, format!("holds {} items", opened.state.exists))),
            Err(error) => found.push(failed(&what, &error)),
        }
    }
    match others(&mut source.wire, &options.folders).await {
        Ok(others) => found.extend(others),
        Err(error) => found.push(failed("other folders", &error)),
    }
    source.close().await;
    Ok(())
}

/// Folders that are not polled and hold something: a journal report that the server's spam filter moved
/// to Junk would never be archived, and nobody would notice.
async fn others(wire: &mut Wire, polled: &[String]) -> Result<Vec<Finding>, SourceError> {
    use crate::sources::{Retry, Scope};
    let mut names = Vec::new();
    wire.run("LIST \"\" \"*\"", |response| {
        if let Response::MailboxData(MailboxDatum::List(list)) = response {
            let no_folder = |attribute: &NameAttribute<'_>| match attribute {
                NameAttribute::NoSelect => true,
                NameAttribute::Extension(word) => word.eq_ignore_ascii_case("\\NonExistent"),
                _ => false,
            };
            if !list.name_attributes.iter().any(no_folder) {
                names.push(list.name.to_string());
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
    for raw in names.iter().filter(|raw| !raw.chars().any(char::is_control)).take(FOLDERS_MAX) {
        // As the server wrote it, so that a name which is no modified UTF-7 is asked for all the same.
        let name = decode_folder(&raw.replace("\\\"", "\"").replace("\\\\", "\\"));
        if is_polled(&name) {
            continue;
        }
        let mut messages = 0;
        let coded = raw.replace("\\\"", "\"").replace("\\\\", "\\");
        let asked = wire
            .run(&format!("STATUS {} (MESSAGES)", quote(&coded)), |response| {
                if let Response::MailboxData(MailboxDatum::Status { status, .. }) = response {
                    for attribute in status {
                        if let StatusAttribute::Messages(n) = attribute {
                            messages = *n;
                        }
                    }
                }
                Ok(())
            })
            .await;
        match asked {
            Ok(_) if messages > 0 => found.push(Finding {
                level: Level::Warning,
                what: format!("folder {}", clean(&name)),
                said: format!("not polled, holds {messages} items"),
                hint: Some("add it to `folders` if journal mail can land there".into()),
            }),
            Ok(_) => {}
            // A folder that does not say is none of ours; a dead connection ends the look.
            Err(failure @ (super::Failure::No(_) | super::Failure::Bad(_))) => {
                tracing::debug!(%failure, "a folder did not say what it holds");
            }
            Err(failure) => {
                return Err(failure.into_error("asking what the folders hold", Scope::Mailbox, Retry::Later));
            }
        }
    }
    Ok(found)
}

fn ok(what: &str, said: String) -> Finding {
    Finding { level: Level::Ok, what: what.to_owned(), said, hint: None }
}

fn failed(what: &str, error: &SourceError) -> Finding {
    Finding { level: Level::Failed, what: what.to_owned(), said: error.answer.clone(), hint: error.hint.clone() }
}
