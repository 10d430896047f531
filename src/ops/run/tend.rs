//! What a running agent looks at from time to time, whether or not its profiles run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::live::{Live, Volume};
use crate::agent::pace::Halt;
use crate::archive::Reader;
use crate::config::{Settings, SourceSettings};
use crate::net::TlsMode;
use crate::ops::exit::Failure;
use crate::ops::watch::{canary, digest, heartbeat};
use crate::ops::wiring;
use crate::sources::reach::{self, Door, Speaks};

const EVERY: SignedDuration = SignedDuration::from_secs(30);
/// Counting an archive costs more the larger it is, so that it is done for a hundredth of the time at most.
const COUNT_EVERY_MIN: Duration = Duration::from_secs(60);

/// Certificates and client secrets last for weeks at least; a look a day shows in time when one ends.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
const HANDSHAKE_MAX: Duration = Duration::from_secs(20);

/// What is due by the clock.
#[derive(Default)]
struct Due {
    beaten: Option<Timestamp>,
    beat_at: Option<Timestamp>,
    report: Option<digest::Due>,
    canary_at: Option<Timestamp>,
    flight: Option<canary::Flight>,
}

/// Ends when the configuration is no longer its own, or the agent stops.
pub async fn until_halted(live: Arc<Live>, settings: Arc<Settings>, halt: Halt) {
    tokio::select! {
        biased;
        () = halt.halted() => {}
        () = forever(live, settings) => {}
    }
}

async fn forever(live: Arc<Live>, settings: Arc<Settings>) {
    let (mut count_at, mut certificates_at) = (Instant::now(), Instant::now());
    let mut due = Due::default();
    loop {
        live.beats();
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
        due.beat(&live, &settings).await;
        due.report(&live, &settings).await;
        due.canary(&live, &settings).await;
        live.clock.sleep_until(live.clock.now() + EVERY).await;
    }
}

impl Due {
    /// Whoever listens hears that everything works, and nothing when it does not: all profiles that are not paused
    /// succeeded since the last time.
    async fn beat(&mut self, live: &Live, settings: &Settings) {
        let Some(heartbeat) = &settings.alarms.heartbeat else { return };
        let now = live.clock.now();
        if self.beat_at.is_some_and(|at| at > now) || live.is_damaged() || !live.all_succeeded_after(self.beaten) {
            return;
        }
        match heartbeat::beat(heartbeat).await {
            Ok(()) => {
                self.beaten = Some(now);
                self.beat_at = now.checked_add(heartbeat.every).ok();
            }
            Err(error) => tracing::warn!(error, "the heartbeat was not taken; it is tried again"),
        }
    }

    async fn report(&mut self, live: &Live, settings: &Settings) {
        let (Some(report), Some(mail)) = (&settings.alarms.report, &settings.alarms.mail) else { return };
        let now = live.clock.now();
        let due = *self.report.get_or_insert_with(|| digest::next(report, now));
        if due.at > now {
            return;
        }
        self.report = Some(digest::next(report, now));
        let (owned, alarms) = (settings.clone(), live.active_alarms());
        let gathered = tokio::task::spawn_blocking(move || digest::gather(&owned, (due.from, due.at), alarms)).await;
        let sent = match gathered {
            Ok(Ok(gathered)) => digest::send(mail, report, &gathered).await,
            Ok(Err(failure)) => Err(failure),
            Err(error) => Err(Failure::usage(error.to_string())),
        };
        match sent {
            Ok(_) => tracing::info!("report sent"),
            Err(failure) => tracing::error!(error = failure.what, hint = failure.hint, "the report could not be sent"),
        }
    }

    /// Sends a canary when it is time, and looks whether the last one stands in the archive.
    async fn canary(&mut self, live: &Live, settings: &Settings) {
        let Some(terms) = &settings.canary else { return };
        let Some(every) = terms.every else { return };
        let now = live.clock.now();
        if let Some(flight) = self.flight.clone() {
            let (layout, looked_for) = (wiring::layout_of(&settings.archive), flight.clone());
            let found = tokio::task::spawn_blocking(move || canary::is_archived(&layout, &looked_for)).await;
            match found {
                Ok(Ok(Some(_))) => {
                    self.flight = None;
                    live.canary(None);
                }
                _ if now >= flight.due => {
                    self.flight = None;
                    let missing = canary::missing(&flight, now);
                    live.canary(Some((missing.text, missing.hint)));
                }
                _ => {}
            }
        }
        if self.flight.is_some() || self.canary_at.is_some_and(|at| at > now) {
            return;
        }
        self.canary_at = now.checked_add(every).ok();
        match canary::send(terms, now).await {
            Ok(flight) => self.flight = Some(flight),
            Err(failure) => {
                let hint = failure.hint.unwrap_or_else(|| "gatepost check --send-test".to_owned());
                live.canary(Some((format!("the canary could not be sent: {}", failure.what), hint)));
            }
        }
    }
}

/// When the certificates of the gateways end, and what gatepost itself proves itself by.
async fn look_at_certificates(live: &Live, settings: &Settings) {
    for profile in &settings.profiles {
        live.proof_ends(&profile.name, tokio::task::block_in_place(|| profile.proof_ends()));
    }
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
