//! A connection that waits for news at the gateway (IMAP IDLE, RFC 2177), so that mail is archived within seconds.

use std::sync::Arc;
use std::time::Duration;

use super::live::Live;
use crate::agent::pace::Halt;
use crate::base::backoff::{Backoff, jittered};
use crate::config::{ProfileSettings, SourceSettings};
use crate::sources::imap::idle::{self, NotOffered};

const RETRY: Backoff = Backoff { first: Duration::from_secs(30), most: Duration::from_secs(900) };

/// Wakes the profile at news. The cycles go on by their schedule whatever happens here.
pub async fn watch(live: Arc<Live>, profile: Arc<ProfileSettings>, halt: Halt) {
    let wake = live.wake(&profile.name);
    let mut failures = 0u32;
    loop {
        // A login that is refused is the cycles' business: they count it.
        if live.paused(&profile.name).is_none() && live.failures(&profile.name) == 0 && !live.is_damaged() {
            let on_news = || wake.notify_one();
            let waited = tokio::select! {
                () = halt.halted() => return,
                waited = watched(&profile, &on_news) => waited,
            };
            match waited {
                Ok(NotOffered) => {
                    tracing::warn!(profile = profile.name, "this server has no IDLE; the schedule alone holds");
                    return;
                }
                Err(error) => {
                    failures += 1;
                    tracing::info!(profile = profile.name, error, "waiting for news ended; it is begun again");
                }
            }
        }
        tokio::select! {
            () = halt.halted() => return,
            () = tokio::time::sleep(jittered(RETRY.wait(failures))) => {}
        }
    }
}

async fn watched(profile: &ProfileSettings, on_news: &(dyn Fn() + Send + Sync)) -> Result<NotOffered, String> {
    let SourceSettings::Imap(imap) = profile.source.clone() else { return Ok(NotOffered) };
    let options = tokio::task::spawn_blocking(move || imap.options()).await;
    let options = options.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    idle::watch(&options, on_news).await.map_err(|error| error.to_string())
}
