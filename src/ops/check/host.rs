//! What `check` says about this machine's side: the archive, its volume, the directory, the people.

use std::path::Path;
use std::sync::Arc;

use super::finding;
use crate::archive::{Catalogue, Layout};
use crate::config::{LdapSettings, Settings};
use crate::ops::{directory, output, wiring};
use crate::people::People;
use crate::sources::{Finding, Level};

/// Less free space than this is worth a word.
const FREE_BYTES_MIN: u64 = 1024 * 1024 * 1024;

pub(super) fn archive(layout: &Layout) -> Vec<Finding> {
    let mut findings = Vec::new();
    let root = layout.root.display().to_string();
    if layout.root.exists() {
        match layout.identity() {
            Ok(identity) => {
                let said = format!("{root} (format {}, since {})", identity.format, identity.created);
                findings.push(finding(Level::Ok, "archive", &said, None));
                if !layout.catalogue.exists() {
                    let hint = Some("run `gatepost rebuild`");
                    findings.push(finding(Level::Failed, "catalogue", "it is missing", hint));
                }
            }
            Err(error) => findings.push(finding(Level::Failed, "archive", &error.what, error.hint.as_deref())),
        }
    } else {
        let said = format!("{root} does not exist yet; the first run makes it");
        findings.push(finding(Level::Ok, "archive", &said, None));
    }
    let existing = layout.root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    match fs4::available_space(existing) {
        Ok(free) if free < FREE_BYTES_MIN => findings.push(finding(
            Level::Warning,
            "disk",
            &format!("only {} free", output::bytes(free)),
            Some("make room before the mailbox is emptied into this volume"),
        )),
        Ok(free) => findings.push(finding(Level::Ok, "disk", &format!("{} free", output::bytes(free)), None)),
        Err(error) => findings.push(finding(Level::Warning, "disk", &error.to_string(), None)),
    }
    let folder = layout.catalogue.parent().unwrap_or(existing);
    if let Some(kind) = network_file_system(folder) {
        findings.push(finding(
            Level::Warning,
            "catalogue",
            &format!("it lies on a network file system ({kind}), where SQLite's log does not work reliably"),
            Some("name a local path with `[archive] catalogue`; the packs may stay where they are"),
        ));
    }
    findings
}

/// The kind of network file system that `path` lies on, where the host tells.
fn network_file_system(path: &Path) -> Option<String> {
    let path = path.ancestors().find_map(|path| path.canonicalize().ok())?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mut best: Option<(usize, String)> = None;
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(_), Some(at), Some(kind)) = (words.next(), words.next(), words.next()) else { continue };
        let at = at.replace("\\040", " ");
        if path.starts_with(&at) && best.as_ref().is_none_or(|(len, _)| at.len() >= *len) {
            best = Some((at.len(), kind.to_owned()));
        }
    }
    let (_, kind) = best?;
    let is_network = kind.starts_with("nfs") || ["cifs", "smb3", "fuse.sshfs", "9p", "afs", "ceph"].contains(&&*kind);
    is_network.then_some(kind)
}

/// Asks the directory as a cycle would. A list that is kept makes its failure a warning: mail goes on.
pub(super) async fn directory(settings: &Settings, asked: &LdapSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let kept = match directory::kept(settings) {
        Ok(kept) => kept,
        Err(failure) => return vec![finding(Level::Failed, "people", &failure.what, failure.hint.as_deref())],
    };
    match directory::asked(settings, asked).await {
        Ok((renewed, took)) => {
            let people = output::plural(renewed.roster.present() as u64, "person", "people");
            let said = format!("{}: {people} in {:.1} s", asked.source(), took.as_secs_f64());
            findings.push(finding(Level::Ok, "people", &said, None));
            let notices = renewed.notices.iter();
            findings.extend(notices.map(|notice| finding(Level::Warning, "people", notice, None)));
        }
        Err(failure) => {
            let level = if kept.is_some() { Level::Warning } else { Level::Failed };
            findings.push(finding(level, "people", &failure.what, failure.hint.as_deref()));
        }
    }
    let said = match &kept {
        Some(roster) => format!("last good list: {}", directory::described(roster)),
        None => "last good list: none yet; the first run fetches it".to_owned(),
    };
    findings.push(finding(Level::Ok, "people", &said, None));
    findings
}

pub(super) fn people(settings: &Settings) -> Vec<Finding> {
    let catalogue = Catalogue::of(&wiring::layout_of(&settings.archive)).ok();
    // What is wrong with the directory's list is told where the directory is asked.
    let roster = directory::kept(settings).ok().flatten().map(Arc::new);
    let people = match wiring::people_with(settings, catalogue.as_ref(), roster) {
        Ok(people) => people,
        Err(failure) => return vec![finding(Level::Failed, "people", &failure.what, failure.hint.as_deref())],
    };
    let mut findings = vec![known_people(settings, &people)];
    let policies = settings.profiles.iter().map(|profile| (format!("profile {}", profile.name), &profile.policies));
    for (whose, policies) in policies {
        for (keys, selection) in [("include_…", &policies.include), ("exclude_…", &policies.exclude)] {
            let unknown = selection.unknown(people.persons());
            if !unknown.is_empty() {
                let said = format!("{whose}: {keys} names nobody who is known: {}", unknown.join(", "));
                let hint = Some("`gatepost people` shows ids and addresses; look for a typing mistake");
                findings.push(finding(Level::Warning, "policies", &said, hint));
            }
        }
    }
    findings
}

fn known_people(settings: &Settings, people: &People) -> Finding {
    if people.is_empty() && settings.people.internal_domains.is_empty() {
        return finding(
            Level::Warning,
            "people",
            "nobody is known, so everything goes to the `unassigned` archive",
            Some("set `[people] internal_domains`, and `csv` or `unknown_internal = \"create\"`"),
        );
    }
    let count = output::plural(people.len() as u64, "person", "people");
    let said = format!("{count}, internal domains: {}", settings.people.internal_domains.join(", "));
    finding(Level::Ok, "people", &said, None)
}
