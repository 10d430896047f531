//! What a running agent looks at from time to time, whether or not its profiles run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::live::{Live, Volume};
use crate::archive::Reader;
use crate::config::{Settings, SourceSettings};
use crate::net::TlsMode;
use crate::ops::wiring::{self, Running};
use crate::sources::reach::{self, Door, Speaks};

const EVERY: SignedDuration = SignedDuration::from_secs(30);
/// Counting an archive costs more the larger it is, so that it is done for a hundredth of the time at most.
const COUNT_EVERY_MIN: Duration = Duration::from_secs(60);

/// Certificates last for weeks at least; a handshake a day shows in time when one ends.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
const HANDSHAKE_MAX: Duration = Duration::from_secs(20);

pub async fn forever(live: Arc<Live>, running: Arc<Running>, settings: Arc<Settings>) {
    let mut count_at = Instant::now();
    let mut certificates_at = Instant::now();
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
        if Instant::now() >= certificates_at {
            look_at_certificates(&live, &settings).await;
            certificates_at = Instant::now() + CERTIFICATES_EVERY;
        }
        let _ = &running;
        live.clock.sleep_until(live.clock.now() + EVERY).await;
    }
}

/// When the certificates of the gateways end.
async fn look_at_certificates(live: &Live, settings: &Settings) {
    let doors = settings.profiles.iter().filter_map(|profile| Some((profile.name.clone(), door(&profile.source)?)));
    let looks = doors.map(|(name, door)| async move { (name, reach::shown(&door).await) });
    for (name, shown) in futures_util::future::join_all(looks).await {
        match shown {
            Ok(shown) => live.certificate_until(&name, Some(shown.certificate.not_after)),
            // The cycles tell of a gateway that cannot be reached.
            Err(error) => tracing::debug!(profile = name, %error, "no certificate was seen"),
        }
    }
}

/// Where a gateway shows its certificate.
fn door(source: &SourceSettings) -> Option<Door> {
    let (host, port, tls, speaks, trust) = match source {
        SourceSettings::Imap(imap) => (imap.host.clone(), imap.port, imap.tls, Speaks::Imap, &imap.trust),
        SourceSettings::Pop3(pop3) => {
            let (port, tls) = *pop3.ports.first()?;
            (pop3.host.clone(), port, tls, Speaks::Pop3, &pop3.trust)
        }
        // Behind a proxy there is no door.
        SourceSettings::Ews(ews) if ews.proxy.is_some() => return None,
        SourceSettings::Ews(ews) => {
            let url = ews.url.as_deref().filter(|url| url.starts_with("https://"))?;
            let named = crate::sources::ews::options::EwsOptions::gateway_host(Some(url), "");
            let (host, port) = named.rsplit_once(':')?;
            (host.to_owned(), port.parse().ok()?, TlsMode::Implicit, Speaks::Http, &ews.trust)
        }
    };
    let has_one = tls != TlsMode::None;
    has_one.then(|| Door { host, port, tls, speaks, trust: trust.clone(), limit: HANDSHAKE_MAX })
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
