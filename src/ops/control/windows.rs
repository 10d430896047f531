//! The channel on Windows: a named pipe of the archive's.

use std::io;
use std::path::{Path, PathBuf};

use tokio::net::windows::named_pipe::NamedPipeServer;
use tokio::sync::Mutex;
use tokio::sync::mpsc;

use super::super::exit::Failure;
use super::pipe;
use crate::config::Settings;

pub struct Listener {
    callers: Mutex<mpsc::Receiver<NamedPipeServer>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The pipe is found by the folder that a socket would lie in.
fn name(place: &Path) -> String {
    pipe::name(place.parent().map(PathBuf::from).unwrap_or_default().as_path())
}

pub fn listen(settings: &Settings) -> Result<Listener, Failure> {
    let name = name(&super::place(settings));
    let (sender, callers) = mpsc::channel(super::AT_ONCE);
    let serving = tokio::spawn(async move {
        let error = pipe::serve(&name, |caller| {
            // Who finds no room is sent away, and may come again.
            let _ = sender.try_send(caller);
        })
        .await;
        tracing::warn!(%error, "no commands are taken");
    });
    Ok(Listener { callers: Mutex::new(callers), serving })
}

impl Listener {
    /// The next who has something to say, and who that is.
    pub async fn accept(&self) -> io::Result<(NamedPipeServer, String)> {
        match self.callers.lock().await.recv().await {
            Some(caller) => Ok((caller, pipe::CALLER.to_owned())),
            // It has been told why.
            None => std::future::pending().await,
        }
    }
}

/// `None`: nobody listens there.
pub fn connect(place: &Path) -> Result<Option<std::fs::File>, Failure> {
    match pipe::connect(&name(place)) {
        Ok(pipe) => Ok(Some(pipe)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(None),
            io::ErrorKind::PermissionDenied => Err(super::forbidden(place)),
            _ => Err(Failure::usage(format!("the running agent cannot be reached: {error}"))),
        },
    }
}
