//! Indexing beside the agent, in a process of its own: a mail whose text ends the reader cannot end the agent, and what it
//! costs in memory is given back.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::Notify;

use super::wiring::{self, Global};
use crate::archive::search;
use crate::config::Settings;

/// The process that brings the index up to date; it ends with the value.
struct Indexer(Child);

impl Drop for Indexer {
    fn drop(&mut self) {
        // What it had not committed is indexed by the next one.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Brings the index up to date when there is something new, and waits for it. Never an error of the run: `search` catches
/// up by itself, and `status` says how far the index is behind.
pub async fn catch_up(global: &Global, settings: &Settings) {
    if !settings.archive.index {
        return;
    }
    match search::standing(&wiring::layout_of(&settings.archive)) {
        Ok(standing) if standing.behind > 0 => {}
        Ok(_) => return,
        Err(error) => return tracing::warn!(%error, "the index was not brought up to date"),
    }
    let mut indexer = match start(global, settings) {
        Ok(child) => Indexer(child),
        Err(error) => return tracing::warn!(%error, "the index was not brought up to date"),
    };
    loop {
        match indexer.0.try_wait() {
            Ok(None) => tokio::time::sleep(Duration::from_millis(10)).await,
            Ok(Some(status)) if status.success() => return,
            Ok(Some(status)) => return tracing::warn!(%status, "indexing ended early; `gatepost index` says why"),
            Err(error) => return tracing::warn!(%error, "the index was not brought up to date"),
        }
    }
}

fn start(global: &Global, settings: &Settings) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--config").arg(&settings.file);
    if let Some(archive) = &global.archive {
        command.arg("--archive").arg(archive);
    }
    command.args(["index", "--quiet"]).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn()
}

/// For the agent: catches up whenever it is told that something new stands in the archive. Never returns.
pub async fn follow(global: &Global, settings: &Settings, news: &Notify) -> std::convert::Infallible {
    loop {
        catch_up(global, settings).await;
        news.notified().await;
    }
}
