//! An archive on a volume that is full: nothing is lost, nothing is deleted that is not archived, and the
//! next run goes on when there is room. Needs the right to mount a small volume in memory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gatepost::demo::corpus::Corpus;

use crate::support::agent::{Agent, Config, count};
use crate::support::dovecot::{Dovecot, Setup};

const USER: &str = "journal";

/// A volume in memory, unmounted when dropped.
struct Volume(PathBuf);

impl Volume {
    fn mount(at: &Path, options: &str) -> bool {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "gatepost-test"]).arg(at);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    fn new(at: PathBuf, size: &str) -> Option<Volume> {
        std::fs::create_dir(&at).unwrap();
        Volume::mount(&at, &format!("size={size}")).then_some(Volume(at))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_volume_stops_the_run_and_loses_nothing() {
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let corpus = Corpus::new(81, 120);
    dovecot.deliver(USER, "INBOX", corpus.iter().map(|generated| generated.item));
    let config = Config::plain(&dovecot);
    let agent = Agent::new(&config);
    let Some(volume) = Volume::new(agent.path("disk"), "1500k") else {
        eprintln!("not tested: no volume can be mounted here");
        return;
    };
    let text = config.text().replace("path = \"archive\"", "path = \"disk/archive\"");
    std::fs::write(agent.path("gatepost.toml"), text).unwrap();

    for _ in 0..2 {
        agent.run(&["once"]).is(6, &["journal", "No space left", "nothing was deleted", "hint: make room"]);
        let there: usize = dovecot.client(USER).uids("INBOX").len();
        let archived: std::collections::BTreeSet<_> =
            agent.list().iter().map(|entry| entry["message_id"].to_string()).collect();
        assert!(there + archived.len() >= corpus.len(), "{there} and {}", archived.len());
    }
    assert!(Volume::mount(&volume.0, "remount,size=64m"));
    let report = agent.once(0);
    assert_eq!(count(&report, "archived") + count(&report, "already_archived"), count(&report, "deleted"), "{report}");
    assert!(dovecot.client(USER).uids("INBOX").is_empty());
    let expected: usize = corpus.iter().map(|generated| generated.filings.len()).sum();
    assert_eq!(agent.list().len(), expected);
    agent.run(&["verify"]).is(0, &[]);
}
