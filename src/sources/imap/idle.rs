//! Waiting for news in a folder (IDLE, RFC 2177), over a connection of its own that does nothing else.

use std::time::Duration;

use async_imap::imap_proto::{MailboxDatum, Response};

use super::connect;
use super::folder;
use super::options::ImapOptions;
use super::wire::{Answer, Failure, Wire, protocol};
use crate::sources::{Retry, Scope, SourceError};

/// IDLE is renewed so often: servers end a connection that was silent for half an hour, and routers forget it sooner.
const RENEW: Duration = Duration::from_secs(9 * 60);
/// How long the server may take with anything else.
const ANSWER: Duration = Duration::from_secs(60);

/// The server does not speak IDLE.
#[derive(Debug, PartialEq, Eq)]
pub struct NotOffered;

/// Waits in the first of the folders, which is opened for reading only, and calls `on_news` whenever something may have
/// come, first of all once the folder is watched. Ends with an error, or at once where there is no IDLE.
pub async fn watch(options: &ImapOptions, on_news: &(dyn Fn() + Send + Sync)) -> Result<NotOffered, SourceError> {
    // The silence of a server that has nothing to tell is no failure.
    let patient = ImapOptions { timeout: RENEW + ANSWER, ..options.clone() };
    let (mut session, _) = connect::session(&patient).await?;
    if !session.capabilities.has("IDLE") {
        return Ok(NotOffered);
    }
    let folder = options.folders.first().map_or("INBOX", String::as_str);
    folder::select(&mut session.wire, folder, true).await?;
    on_news();
    loop {
        idle(&mut session.wire, on_news)
            .await
            .map_err(|failure| failure.into_error("waiting for news", Scope::Profile, Retry::Later))?;
    }
}

/// One IDLE, from its beginning to its end.
async fn idle(wire: &mut Wire, on_news: &(dyn Fn() + Send + Sync)) -> Result<(), Failure> {
    wire.start("IDLE").await?;
    let renewal = tokio::time::sleep(RENEW);
    tokio::pin!(renewal);
    loop {
        let answer = tokio::select! {
            answer = wire.next(|response| matches!(response, Response::MailboxData(MailboxDatum::Exists(_)))) => answer?,
            () = &mut renewal => break,
        };
        match answer {
            Answer::Data(true) => on_news(),
            // Expunged by the cycles, flags set: no news.
            Answer::Data(false) | Answer::Continue(_) => {}
            Answer::Done(Ok(_)) => return Err(wire.give_up(protocol("it ended IDLE without being asked"))),
            Answer::Done(Err(failure)) => return Err(wire.give_up(failure)),
        }
    }
    wire.write(b"DONE\r\n").await?;
    loop {
        match tokio::time::timeout(ANSWER, wire.next(|_| ())).await {
            Ok(Ok(Answer::Done(done))) => return done.map(drop),
            Ok(Ok(Answer::Data(()) | Answer::Continue(_))) => {}
            Ok(Err(failure)) => return Err(failure),
            Err(_) => return Err(wire.give_up(protocol("it does not end IDLE"))),
        }
    }
}
