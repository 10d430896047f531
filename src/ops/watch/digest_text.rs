//! A digest as a text that is read in a mail: what needs a person comes first.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::digest::{Digest, ProfileDigest};
use crate::ops::output::{bytes, plural};

/// One line: how it is.
pub fn summary(digest: &Digest) -> String {
    let archived: u64 = digest.profiles.iter().map(|profile| profile.archived).sum();
    let archived = plural(archived, "item archived", "items archived");
    match needs(digest).len() {
        0 => format!("report: {archived}, nothing needs a person"),
        1 => format!("report: {archived}, 1 matter needs a person"),
        many => format!("report: {archived}, {many} matters need a person"),
    }
}

pub fn text(digest: &Digest, zone: &TimeZone) -> String {
    let time = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %:z").to_string();
    let mut text =
        format!("gatepost on {}, {} to {}\n\n{}\n", digest.host, time(digest.from), time(digest.to), summary(digest));
    let needs = needs(digest);
    if !needs.is_empty() {
        text.push_str("\nNeeds a person\n");
        needs.iter().for_each(|need| text.push_str(&format!("  {need}\n")));
    }
    for profile in &digest.profiles {
        text.push_str(&format!("\n{}\n", profile.name));
        lines(profile, &time).iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    let volume = &digest.volume;
    text.push_str("\nArchive\n");
    text.push_str(&format!(
        "  {} of {}, {} on disk\n",
        plural(volume.items, "item", "items"),
        bytes(volume.bytes_raw),
        bytes(volume.bytes_stored)
    ));
    if let Some(free) = digest.free_bytes {
        text.push_str(&format!("  {} free\n", bytes(free)));
    }
    text.push_str(&format!("  head {}\n", volume.head));
    text.push_str("\nKeep the head: gatepost verify --expect-head proves with it that nothing was changed since.\n");
    if digest.is_cut {
        text.push_str("This period had more runs than were counted here: the numbers of the profiles are too low.\n");
    }
    text
}

/// What somebody should do, one line each.
fn needs(digest: &Digest) -> Vec<String> {
    let mut needs: Vec<String> = digest.alarms.iter().map(|alarm| format!("{alarm}")).collect();
    if digest.quarantined > 0 {
        let items = plural(digest.quarantined, "item is", "items are");
        needs.push(format!("{items} in quarantine: archived, but not decoded. hint: gatepost quarantine list"));
    }
    if digest.unfetchable > 0 {
        let items = plural(digest.unfetchable, "item", "items");
        needs.push(format!("the gateways do not give {items}, which stay there. hint: gatepost quarantine list"));
    }
    for profile in digest.profiles.iter().filter(|profile| profile.vanished > 0) {
        let items = plural(profile.vanished, "item", "items");
        let said = format!("{}: {items} vanished before they were archived; another client took them.", profile.name);
        needs.push(format!("{said} hint: gatepost check --profile {}", profile.name));
    }
    needs
}

fn lines(profile: &ProfileDigest, time: &dyn Fn(Timestamp) -> String) -> Vec<String> {
    let counts = [
        (profile.archived, "archived"),
        (profile.already_archived, "already archived"),
        (profile.quarantined, "quarantined"),
        (profile.unfetchable, "unfetchable"),
        (profile.excluded, "excluded"),
        (profile.vanished, "vanished"),
        (profile.failed, "failed"),
        (profile.deleted, "deleted on the gateway"),
    ];
    let told: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let mut lines = match told.is_empty() {
        true => vec!["nothing came in".to_owned()],
        false => vec![format!("{} ({})", told.join(", "), bytes(profile.bytes))],
    };
    let never = || "never".to_owned();
    lines.push(format!("last success  {}", profile.last_success.map_or_else(never, time)));
    if let Some(oldest) = profile.oldest_open {
        lines.push(format!("oldest item without a final disposition: {}", time(oldest)));
    }
    for (error, count) in &profile.errors {
        let times = if *count == 1 { String::new() } else { format!(" ({count} times)") };
        lines.push(format!("error{times}: {}", crate::net::clean(error)));
    }
    lines
}
