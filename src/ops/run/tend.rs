//! What a running agent looks at from time to time, whether or not its profiles run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::live::{Live, Volume};
use crate::archive::Reader;
use crate::config::Settings;
use crate::ops::wiring::{self, Running};

const EVERY: SignedDuration = SignedDuration::from_secs(30);
/// Counting an archive costs more the larger it is, so that it is done for a hundredth of the time at most.
const COUNT_EVERY_MIN: Duration = Duration::from_secs(60);

pub async fn forever(live: Arc<Live>, running: Arc<Running>, settings: Arc<Settings>) {
    let mut count_at = Instant::now();
    loop {
        for name in live.names() {
            live.assess(&name);
        }
        live.assess_archive();
        if Instant::now() >= count_at {
            let began = Instant::now();
            count(&live, &settings).await;
            count_at = Instant::now() + (began.elapsed() * 100).max(COUNT_EVERY_MIN);
        }
        let _ = &running;
        live.clock.sleep_until(live.clock.now() + EVERY).await;
    }
}

/// The archive's numbers, for whoever watches.
async fn count(live: &Live, settings: &Settings) {
    let layout = wiring::layout_of(&settings.archive);
    let counted = tokio::task::spawn_blocking(move || {
        let reader = Reader::open(&layout)?;
        let volume = reader.volume()?;
        let last_commit = reader.last_commit()?;
        let (items, bytes_raw, bytes_stored) = (volume.items, volume.bytes_raw, volume.bytes_stored);
        Ok::<_, crate::archive::ArchiveError>(Volume { items, bytes_raw, bytes_stored, last_commit })
    });
    match counted.await {
        Ok(Ok(volume)) => live.set_volume(volume),
        Ok(Err(error)) => tracing::warn!(%error, "the archive could not be counted"),
        Err(error) => tracing::warn!(%error, "the archive could not be counted"),
    }
}
