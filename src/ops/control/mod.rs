//! Orders to a running agent, over a Unix socket or a named pipe.
//!
//! ```text
//! gatepost …  ── one line of JSON: Request ──▶  agent
//!             ◀── one line of JSON: Answer  ──  and the end of the connection
//! ```
//!
//! Who may use it is the file system's business: the socket lies in a folder of the agent's owner (and group). Who did use
//! it is asked of the system, and stands in the archive's chain with what was done. Without an agent the same orders take
//! the archive's lock (`orders`).
//!
//! Must: nobody else than the socket's owner, its group and root is heard; an order is never done twice because an answer
//! was lost.

#[cfg(windows)]
mod pipe;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;
#[cfg(unix)]
use unix as channel;
#[cfg(windows)]
use windows as channel;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::exit::{Exit, Failure};
use super::orders::{self, Done, Order};
use super::run::Agent;
use super::wiring::Running;
use crate::config::Settings;

pub use channel::{Listener, listen};

const PROTOCOL: u32 = 1;
const FILE: &str = "control.sock";
const REQUEST_BYTES_MAX: u64 = 1024 * 1024;
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long somebody who connects may take to say what is wanted.
const PATIENCE: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 16;

#[derive(Serialize, Deserialize)]
struct Request {
    protocol: u32,
    order: Order,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    done: Option<Done>,
    failure: Option<Failure>,
}

/// Where the agent of these settings listens.
fn place(settings: &Settings) -> PathBuf {
    settings.control.clone().unwrap_or_else(|| settings.archive.path.join(FILE))
}

/// Has the running agent do it; `None`: there is none.
pub fn ask(settings: &Settings, order: &Order) -> Result<Option<Done>, Failure> {
    use std::io::{BufRead as _, Read as _, Write as _};
    let Some(mut stream) = channel::connect(&place(settings))? else { return Ok(None) };
    let lost = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("the running agent did not answer: {error}"))
            .hint("`gatepost status` shows whether it was done; the agent's log says why")
    };
    let mut request =
        serde_json::to_vec(&Request { protocol: PROTOCOL, order: order.clone() }).map_err(|error| lost(&error))?;
    request.push(b'\n');
    stream.write_all(&request).map_err(|error| lost(&error))?;
    let mut answer = Vec::new();
    let mut reader = std::io::BufReader::new(stream).take(ANSWER_BYTES_MAX);
    reader.read_until(b'\n', &mut answer).map_err(|error| lost(&error))?;
    if answer.is_empty() {
        return Err(lost(&"it ended the connection"));
    }
    let answer: Answer = serde_json::from_slice(&answer).map_err(|error| lost(&error))?;
    match (answer.done, answer.failure) {
        (_, Some(failure)) => Err(failure),
        (Some(done), None) => Ok(Some(done)),
        (None, None) => Err(lost(&"its answer is empty")),
    }
}

/// Takes orders until it is aborted.
pub async fn serve(listener: Listener, agent: Arc<Agent>, running: Arc<Running>) {
    let mut under_way = JoinSet::new();
    let room = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        while under_way.try_join_next().is_some() {}
        let (stream, who) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a command could not be taken");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (agent, running) = (agent.clone(), running.clone());
        under_way.spawn(async move {
            if let Err(error) = heard(stream, &who, &agent, &running).await {
                tracing::debug!(%error, "a connection for commands ended early");
            }
            drop(permit);
        });
    }
}

async fn heard(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    who: &str,
    agent: &Arc<Agent>,
    running: &Arc<Running>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let read = (&mut stream).take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line).await;
    let _: usize = match tokio::time::timeout(PATIENCE, async { read }).await {
        Ok(read) => read?,
        Err(_) => return Ok(()),
    };
    let answer = match serde_json::from_slice::<Request>(&line) {
        Ok(Request { protocol: PROTOCOL, order }) => {
            match order {
                // Whoever looks changes nothing.
                Order::Snapshot => tracing::debug!(order = order.name(), who, "told"),
                _ => tracing::info!(order = order.name(), who, "told"),
            }
            match orders::by_agent(agent, running, &order, who).await {
                Ok(done) => Answer { done: Some(done), failure: None },
                Err(failure) => Answer { done: None, failure: Some(failure) },
            }
        }
        Ok(_) | Err(_) => {
            let failure =
                Failure::usage("the running agent is of another version and does not understand this command")
                    .hint("restart the agent after an upgrade");
            Answer { done: None, failure: Some(failure) }
        }
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    let stream = stream.get_mut();
    stream.write_all(&text).await?;
    stream.flush().await?;
    // A pipe forgets what was not read when it is closed: the caller closes it.
    let mut rest = [0; 1];
    let _: Result<_, _> = tokio::time::timeout(PATIENCE, stream.read(&mut rest)).await;
    Ok(())
}

/// The agent is there, and whoever runs this may not speak with it.
fn forbidden(place: &std::path::Path) -> Failure {
    let hint = match crate::base::owner::User::of(place) {
        Some(user) => format!("run it as the agent's user: sudo -u {} gatepost …", user.shown()),
        None => "run it in a prompt that was opened as administrator".to_owned(),
    };
    Failure {
        exit: Exit::Usage,
        what: format!("an agent runs, and this user may not give it orders ({})", place.display()),
        hint: Some(hint),
        refused: false,
    }
}
