//! Looks for a domain's servers: DNS, Autodiscover, usual names. Each is reached with verified TLS and nobody logs in;
//! what is found is a suggestion for a person.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;

use super::answers::{Kind, Place};
use super::guess::{self, Guess};
use crate::net::TlsMode;
use crate::net::dns::Dns;
use crate::net::tls::{CertificateProblem, NetError};
use crate::net::trust::Trust;
use crate::sources::ews::knock;
use crate::sources::reach::{self, Door, Shown, Speaks, Unreached};

/// Of a guess: most of them are wrong, and somebody waits.
const GUESS_LIMIT: Duration = Duration::from_secs(5);
/// Of a server that somebody named.
pub const LIMIT: Duration = Duration::from_secs(20);

/// A server that answered.
pub struct Answered {
    pub schemes: Vec<String>,
}

/// Why a place is none.
pub struct Closed {
    pub said: String,
    pub hint: Option<String>,
    /// What it shows, where its certificate is what is wrong with it.
    pub shown: Option<Shown>,
    /// Nobody knows who issued the certificate: naming the authority may mend that. Nothing mends an expired one, or
    /// one for another name, but the server's administrator.
    pub wants_authority: bool,
}

/// The servers of a domain that can be reached, as good as the other side tells.
pub async fn servers(kind: Kind, domain: &str, login: &str, ca_file: Option<&Path>) -> Vec<Guess> {
    let mut guesses = Vec::new();
    if let Ok(dns) = Dns::of_system() {
        guesses.extend(named(&dns, kind, domain).await);
    }
    if kind == Kind::Ews {
        let hosts: Vec<String> = guesses.iter().map(|guess| guess.place.host()).collect();
        guesses = autodiscovered(domain, &hosts, login, ca_file).await;
        guesses.extend(guess::urls(domain));
    } else {
        guesses.extend(guess::usual(kind, domain));
    }
    let tried = join_all(guesses.into_iter().map(|guess| async {
        let is_open = match &guess.place {
            Place::Url(url) => knock::at(url, ca_file, GUESS_LIMIT).await.is_ok_and(|answered| answered.is_ews()),
            place => match door(place, kind, ca_file, GUESS_LIMIT) {
                Some(door) => is_there(&reach::reach(&door).await),
                None => false,
            },
        };
        is_open.then_some(guess)
    }));
    guess::ranked(tried.await.into_iter().flatten().collect(), domain)
}

/// What DNS says. Its silence, or a server that is down, means that the usual names must do.
pub async fn named(dns: &Dns, kind: Kind, domain: &str) -> Vec<Guess> {
    let asked = guess::services(kind).iter().map(|(service, tls)| async move {
        match dns.srv(service, domain).await {
            Ok(found) => found.iter().map(|named| guess::of_dns(service, *tls, named)).collect(),
            Err(error) => {
                tracing::debug!(service, error, "DNS does not tell");
                Vec::new()
            }
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// The URLs that Autodiscover names to anybody.
async fn autodiscovered(domain: &str, named: &[String], login: &str, ca_file: Option<&Path>) -> Vec<Guess> {
    let own = guess::autodiscover(domain).into_iter().map(|host| (host, "named by Autodiscover"));
    let other = named.iter().map(|host| (host.clone(), "named by an Autodiscover that DNS names, not authenticated"));
    let asked = own.chain(other).map(|(host, why)| async move {
        let found = knock::autodiscovered(&host, login, ca_file, GUESS_LIMIT).await.ok()?;
        Some(Guess { place: Place::Url(found), why: why.into() })
    });
    let mut found: Vec<Guess> = join_all(asked).await.into_iter().flatten().collect();
    // It may tell more to somebody who logs in.
    let place = Place::Autodiscover { domain: domain.to_owned() };
    if found.is_empty()
        && let Some(door) = door(&place, Kind::Ews, ca_file, GUESS_LIMIT)
        && is_there(&reach::reach(&door).await)
    {
        found.push(Guess { place, why: "Autodiscover, which is asked in each session".into() });
    }
    found
}

/// A certificate that is not trusted is somebody all the same: the person is asked for its authority.
fn is_there(reached: &Result<std::net::SocketAddr, Unreached>) -> bool {
    matches!(reached, Ok(_) | Err(Unreached::Net(NetError::Certificate { .. })))
}

/// Reaches a place that somebody named, and tells why not.
pub async fn knock_at(place: &Place, kind: Kind, ca_file: Option<&Path>) -> Result<Answered, Closed> {
    if let Some(door) = door(place, kind, ca_file, LIMIT)
        && let Err(error) = reach::reach(&door).await
    {
        let problem = match &error {
            Unreached::Net(NetError::Certificate { problem, .. }) => Some(*problem),
            Unreached::Net(_) | Unreached::NoTls(_) | Unreached::OtherLanguage(_) => None,
        };
        let shown = if problem.is_some() { reach::shown(&door).await.ok() } else { None };
        let wants_authority = shown.is_some() && problem == Some(CertificateProblem::NotTrusted);
        let hint = match &error {
            Unreached::Net(error) => error.hint(),
            Unreached::NoTls(_) => Some("without TLS the password would go readable over the network".into()),
            Unreached::OtherLanguage(_) => Some("check the port".into()),
        };
        let hint = hint.map(|hint| hint.replace('`', ""));
        return Err(Closed { said: error.to_string(), hint, shown, wants_authority });
    }
    let Place::Url(url) = place else { return Ok(Answered { schemes: Vec::new() }) };
    match knock::at(url, ca_file, LIMIT).await {
        Ok(answered) if answered.status == 404 => Err(Closed {
            said: format!("{url}: the server answers HTTP 404"),
            hint: Some("EWS usually is at https://HOST/EWS/Exchange.asmx".into()),
            shown: None,
            wants_authority: false,
        }),
        Ok(answered) => Ok(Answered { schemes: answered.schemes }),
        Err(error) => Err(Closed { said: error.to_string(), hint: error.hint, shown: None, wants_authority: false }),
    }
}

fn door(place: &Place, kind: Kind, ca_file: Option<&Path>, limit: Duration) -> Option<Door> {
    let speaks = match kind {
        Kind::Imap | Kind::Google | Kind::Microsoft => Speaks::Imap,
        Kind::Pop3 | Kind::Gateway => Speaks::Pop3,
        Kind::Ews => Speaks::Http,
    };
    let (host, port, tls) = match place {
        Place::Server { host, port, tls } => (host.clone(), *port, *tls),
        Place::Url(url) => {
            let url = reqwest::Url::parse(url).ok()?;
            let tls = if url.scheme() == "https" { TlsMode::Implicit } else { TlsMode::None };
            let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
            (host, url.port_or_known_default()?, tls)
        }
        Place::Autodiscover { .. } => (place.host(), 443, TlsMode::Implicit),
    };
    Some(Door { host, port, tls, speaks, trust: Trust::with(ca_file), limit })
}
