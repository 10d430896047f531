//! Names under which a domain's servers usually listen. Pure: what is asked, and in which order it is shown.

use super::answers::{Kind, Place};
use crate::net::TlsMode;
use crate::net::dns::Named;

/// A place to try, and how it came to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guess {
    pub place: Place,
    pub why: String,
}

/// The SRV services of a kind (RFC 6186, 8314), with the protection that each means.
pub fn services(kind: Kind) -> &'static [(&'static str, TlsMode)] {
    match kind {
        Kind::Imap => &[("_imaps._tcp", TlsMode::Implicit), ("_imap._tcp", TlsMode::StartTls)],
        Kind::Pop3 => &[("_pop3s._tcp", TlsMode::Implicit), ("_pop3._tcp", TlsMode::StartTls)],
        Kind::Ews => &[("_autodiscover._tcp", TlsMode::Implicit)],
        Kind::Gateway | Kind::Google | Kind::Microsoft => &[],
    }
}

pub fn of_dns(service: &str, tls: TlsMode, named: &Named) -> Guess {
    let place = Place::Server { host: named.host.clone(), port: named.port, tls };
    Guess { place, why: format!("named by DNS ({service}), which is not authenticated") }
}

/// Well-known names. EWS has its own: see [`urls`].
pub fn usual(kind: Kind, domain: &str) -> Vec<Guess> {
    let prefixes: &[&str] = match kind {
        Kind::Imap => &["imap.", "mail.", ""],
        Kind::Pop3 => &["pop.", "pop3.", "mail.", ""],
        Kind::Ews | Kind::Gateway | Kind::Google | Kind::Microsoft => &[],
    };
    let (implicit, starttls) = kind.ports();
    let guess = |prefix: &&str, port, tls| Guess {
        place: Place::Server { host: format!("{prefix}{domain}"), port, tls },
        why: "a usual name".into(),
    };
    let first = prefixes.iter().map(|prefix| guess(prefix, implicit, TlsMode::Implicit));
    first.chain(prefixes.iter().map(|prefix| guess(prefix, starttls, TlsMode::StartTls))).collect()
}

/// Hosts that may answer Autodiscover to anybody.
pub fn autodiscover(domain: &str) -> [String; 2] {
    [format!("autodiscover.{domain}"), domain.to_owned()]
}

/// Usual places of Exchange Web Services.
pub fn urls(domain: &str) -> Vec<Guess> {
    let names = ["mail.", "exchange.", "outlook.", "webmail.", "autodiscover."];
    let guess = |prefix: &&str| Guess {
        place: Place::Url(format!("https://{prefix}{domain}/EWS/Exchange.asmx")),
        why: "a usual name".into(),
    };
    names.iter().map(guess).collect()
}

/// The better of two ways to the same host, each place once: DNS names first, TLS from the first byte before STARTTLS,
/// the domain's own hosts before others.
pub fn ranked(mut found: Vec<Guess>, domain: &str) -> Vec<Guess> {
    found.sort_by_key(|guess| {
        let is_starttls = matches!(guess.place, Place::Server { tls: TlsMode::StartTls, .. });
        (!guess.place.is_of(domain), is_starttls)
    });
    let mut kept: Vec<Guess> = Vec::new();
    for guess in found {
        let host = guess.place.host();
        let is_known = kept.iter().any(|other| match (&other.place, &guess.place) {
            (Place::Url(one), Place::Url(two)) => one.eq_ignore_ascii_case(two),
            (Place::Server { .. }, Place::Server { .. }) => other.place.host() == host,
            _ => other.place == guess.place,
        });
        if !is_known {
            kept.push(guess);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domains_own_hosts_come_first_and_each_once() {
        let named = |host: &str, port| Named { host: host.into(), port };
        let mut found = vec![
            of_dns("_imaps._tcp", TlsMode::Implicit, &named("mx.hoster.example", 993)),
            of_dns("_imap._tcp", TlsMode::StartTls, &named("imap.corp.example", 143)),
        ];
        found.extend(usual(Kind::Imap, "corp.example"));
        let places: Vec<String> = ranked(found, "corp.example").iter().map(|guess| guess.place.shown()).collect();
        assert_eq!(
            places,
            [
                "imap.corp.example, port 993, TLS from the first byte",
                "mail.corp.example, port 993, TLS from the first byte",
                "corp.example, port 993, TLS from the first byte",
                "mx.hoster.example, port 993, TLS from the first byte",
            ]
        );
    }
}
