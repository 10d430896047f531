//! What `check` says about gateways beyond what they say themselves: what the archive remembers of them, and whether
//! two profiles empty one mailbox.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::finding;
use crate::archive::{Gateway, Layout, Reader};
use crate::config::ProfileSettings;
use crate::net::tls;
use crate::sources::{Finding, Level, Looked};

/// So many of the newest items say who writes reports to a gateway.
const REPORTERS_OF: u32 = 10_000;
const DNS_LIMIT: Duration = Duration::from_secs(20);

/// Who wrote the reports of late, and the line that trusts them alone.
pub(super) fn reporters(layout: &Layout, settings: &ProfileSettings) -> Option<Finding> {
    let (host, login) = (settings.source.host(), settings.source.login());
    // What is wrong with the archive is said above.
    let reader = Reader::open(layout).ok()?;
    let seen = reader.reporters(Gateway { host: &host, login }, REPORTERS_OF).ok()?;
    if seen.is_empty() {
        return None;
    }
    let counted: Vec<String> = seen.iter().map(|one| format!("{} ({})", one.domain, one.count)).collect();
    let counted = counted.join(", ");
    if settings.decode.trusted_reporters.is_empty() {
        let named: Vec<String> = seen.iter().map(|one| format!("{:?}", one.domain)).collect();
        let hint = format!(
            "whoever knows the journal address can forge reports; if these are yours, add to this [[profile]]: \
             trusted_reporters = [{}]",
            named.join(", ")
        );
        let said = format!("{counted}; reports of anybody are believed");
        return Some(finding(Level::Warning, "reporters seen", &said, Some(&hint)));
    }
    Some(finding(Level::Ok, "reporters seen", &counted, None))
}

/// Folders that are not the ones which the archive knows under their names.
pub(super) fn identities(layout: &Layout, looked: &Looked) -> Vec<Finding> {
    let Ok(reader) = Reader::open(layout) else { return Vec::new() };
    let changed = looked.folders.iter().filter_map(|folder| folder.epoch.as_ref()).filter_map(|now| {
        let of = Gateway { host: &now.host, login: &now.login };
        let known = reader.validity(&now.kind, of, &now.folder).ok()??;
        (known != now.validity).then(|| {
            let said = format!("it is another one than the archive knows: {known} is now {}", now.validity);
            let hint = "it was made anew or restored; the next run archives all it holds as new, with an alarm, and \
                        what was archived under its old identity is not deleted by it";
            finding(Level::Warning, &format!("identity of {}", now.folder), &said, Some(hint))
        })
    });
    changed.collect()
}

/// Profiles of one login whose hosts have different names and the same address: probably one mailbox, which two
/// profiles would empty under each other's hands. What is certainly one mailbox is refused by the configuration.
pub(super) async fn one_mailbox_twice(profiles: &[ProfileSettings]) -> Vec<Finding> {
    let named = |profile: &ProfileSettings| profile.source.host().rsplit_once(':').map(|(host, _)| host.to_owned());
    let login = |profile: &ProfileSettings| profile.source.login().to_lowercase();
    let mut found = Vec::new();
    for (at, one) in profiles.iter().enumerate() {
        for other in &profiles[at + 1..] {
            let (Some(host), Some(its)) = (named(one), named(other)) else { continue };
            let shares_folder = one
                .source
                .folders()
                .iter()
                .any(|folder| other.source.folders().iter().any(|its| its.eq_ignore_ascii_case(folder)));
            if login(one) != login(other) || host == its || !shares_folder {
                continue;
            }
            let (here, there) = tokio::join!(addresses(&host), addresses(&its));
            if let Some(address) = here.intersection(&there).next() {
                let said = format!(
                    "{} and {} log in as {:?} at {host} and {its}, which both are {address}",
                    one.name,
                    other.name,
                    one.source.login()
                );
                let hint = "if it is one mailbox, leave one of the two profiles: they would archive everything twice \
                            and delete under each other's hands";
                found.push(finding(Level::Warning, "profiles", &said, Some(hint)));
            }
        }
    }
    found
}

async fn addresses(host: &str) -> BTreeSet<IpAddr> {
    match tls::resolve(host, 0, DNS_LIMIT).await {
        Ok(found) => found.into_iter().map(|address| address.ip().to_canonical()).collect(),
        // Told where the profile itself is looked at.
        Err(_) => BTreeSet::new(),
    }
}
