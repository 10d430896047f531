//! The ladder of refusals, with a clock that the test moves.

use super::*;
use crate::base::clock::FixedClock;

const RETRY: Duration = Duration::from_secs(3600);

struct Bench {
    folder: tempfile::TempDir,
    clock: Arc<FixedClock>,
}

impl Bench {
    fn new() -> Bench {
        let clock = Arc::new(FixedClock::at("2026-03-02T10:00:00Z".parse().unwrap()));
        Bench { folder: tempfile::tempdir().unwrap(), clock }
    }

    /// As each `once` has it: nothing is remembered but what is on disk.
    fn logins(&self) -> Logins {
        Logins::of(self.folder.path(), self.clock.clone())
    }

    fn may_try(&self, secret: &str, asked: Asked) -> Verdict {
        let secret = Secret::new(secret.into());
        self.logins().may_try(&name(Some(&secret)), asked, RETRY).unwrap()
    }

    /// Tries where it may be tried, and is refused; whether it was tried.
    fn refused(&self, secret: &str, asked: Asked) -> bool {
        let tries = self.may_try(secret, asked) == Verdict::Try;
        if tries {
            let secret = Secret::new(secret.into());
            self.logins().refused(&name(Some(&secret))).unwrap();
        }
        tries
    }

    fn accepted(&self, secret: &str) {
        let secret = Secret::new(secret.into());
        self.logins().accepted(&name(Some(&secret))).unwrap();
    }

    fn later(&self, minutes: i64) {
        self.clock.advance(SignedDuration::from_mins(minutes));
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("logins.json")
    }
}

fn name(secret: Option<&Secret>) -> LoginName<'_> {
    LoginName { host: "imap.corp.example:993", login: "journal", secret }
}

use Asked::{ByForce, ByName, BySchedule};

#[test]
fn after_three_refusals_there_is_one_try_an_hour() {
    let bench = Bench::new();
    let tried = (0..24 * 12).filter(|_| {
        bench.later(5);
        bench.refused("wrong", BySchedule)
    });
    assert_eq!(tried.count(), 3 + 23, "a day of tries every five minutes");
    assert!(!bench.refused("wrong", ByName), "a name is no leave to hammer");
    assert!(bench.refused("wrong", ByForce));
    // Whoever comes while a try is on its way waits, whatever becomes of it.
    bench.later(61);
    assert_eq!(bench.may_try("wrong", BySchedule), Verdict::Try);
    assert!(matches!(bench.may_try("wrong", BySchedule), Verdict::Refused { times: 27, .. }));
    bench.accepted("wrong");
    assert_eq!(bench.may_try("wrong", BySchedule), Verdict::Try);
}

#[test]
fn a_changed_secret_is_tried_at_once_but_not_without_end() {
    let bench = Bench::new();
    assert_eq!((0..9).filter(|_| bench.refused("wrong", BySchedule)).count(), 3);
    assert!(bench.refused("other", ByName) && !bench.refused("other", ByName));
    // A command that gives another secret each time must not lock the account.
    assert_eq!((0..50).filter(|n| bench.refused(&format!("{n}"), BySchedule)).count(), 2);
    assert!(bench.refused("by hand", ByName));
    bench.accepted("right");
    assert_eq!(bench.may_try("right", BySchedule), Verdict::Try);
}

#[test]
fn a_secret_that_worked_before_has_more_tries() {
    let bench = Bench::new();
    bench.accepted("right");
    assert_eq!((0..30).filter(|_| bench.refused("right", BySchedule)).count(), PROVEN_MAX as usize);
    bench.later(61);
    assert!(bench.refused("right", BySchedule) && !bench.refused("right", BySchedule));
    let bench = Bench::new();
    bench.accepted("right");
    assert_eq!((0..30).filter(|_| bench.refused("wrong", BySchedule)).count(), 3, "another one has not");
}

#[test]
fn a_gateway_that_asks_for_time_gets_it() {
    let bench = Bench::new();
    bench.logins().throttled(&name(None), Duration::from_secs(300)).unwrap();
    bench.later(4);
    assert!(matches!(bench.may_try("right", ByName), Verdict::Throttled { .. }));
    assert_eq!(bench.may_try("right", ByForce), Verdict::Try);
    bench.later(2);
    assert_eq!(bench.may_try("right", BySchedule), Verdict::Try);
    bench.logins().throttled(&name(None), Duration::from_secs(u64::MAX)).unwrap();
    bench.later(61);
    assert_eq!(bench.may_try("right", BySchedule), Verdict::Try, "no gateway is believed to mean more than an hour");
    // A clock that was set back.
    bench.logins().throttled(&name(None), Duration::from_secs(300)).unwrap();
    bench.later(-60 * 24);
    assert_eq!(bench.may_try("right", BySchedule), Verdict::Try);
}

#[test]
fn a_clock_that_was_set_back_neither_silences_nor_hammers() {
    let bench = Bench::new();
    while bench.refused("wrong", BySchedule) {}
    bench.later(-60 * 24 * 365);
    let tried = (0..24 * 12).filter(|_| {
        bench.later(5);
        bench.refused("wrong", BySchedule)
    });
    assert_eq!(tried.count(), 23);
}

#[test]
fn a_damaged_record_leaves_one_try_and_no_more() {
    for damage in ["", "{", "{\"version\":1}", "{\"version\":1,\"logins\":{\"x\":{\"refused\":-1}}}", "\0\0\0"] {
        let bench = Bench::new();
        while bench.refused("wrong", BySchedule) {}
        std::fs::write(bench.file(), damage).unwrap();
        assert_eq!((0..9).filter(|_| bench.refused("wrong", BySchedule)).count(), 1, "{damage:?}");
        assert!(bench.folder.path().join("logins.json.damaged").exists());
        bench.later(61);
        assert!(bench.refused("wrong", BySchedule));
        bench.accepted("right");
        assert_eq!(bench.may_try("right", BySchedule), Verdict::Try);
    }
}

#[test]
fn a_record_that_cannot_be_read_or_written_lets_nobody_try() {
    let bench = Bench::new();
    std::fs::create_dir(bench.file()).unwrap();
    let error = bench.logins().may_try(&name(None), BySchedule, RETRY).unwrap_err();
    assert!(error.to_string().contains("logins.json"), "{error}");
    std::fs::remove_dir(bench.file()).unwrap();
    std::fs::write(bench.file(), "{\"version\":2,\"logins\":[]}").unwrap();
    let error = bench.logins().may_try(&name(None), BySchedule, RETRY).unwrap_err();
    assert!(error.to_string().contains("newer"), "{error}");
}

#[test]
fn what_cannot_be_written_holds_for_the_process() {
    let bench = Bench::new();
    let missing = bench.folder.path().join("gone");
    let logins = Logins::of(&missing, bench.clock.clone());
    for _ in 0..3 {
        assert_eq!(logins.may_try(&name(None), BySchedule, RETRY).unwrap(), Verdict::Try);
        logins.refused(&name(None)).unwrap_err();
    }
    assert!(matches!(logins.may_try(&name(None), BySchedule, RETRY).unwrap(), Verdict::Refused { .. }));
}

#[test]
fn no_secret_is_in_the_record() {
    let bench = Bench::new();
    bench.accepted("hunter2");
    bench.refused("hunter3", BySchedule);
    let text = std::fs::read_to_string(bench.file()).unwrap();
    for secret in ["hunter2", "hunter3"] {
        assert!(!text.contains(secret) && !text.contains(&Digest::of(secret.as_bytes()).to_string()), "{text}");
    }
    #[cfg(unix)]
    for file in ["logins.json", "logins.key"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(bench.folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_process_for_each_cycle_compares_slowly_once_a_day_only() {
    let bench = Bench::new();
    bench.accepted("right");
    let written = || std::fs::read_to_string(bench.file()).unwrap();
    let first = written();
    bench.later(10);
    bench.accepted("right");
    assert_eq!(written(), first);
    // A day later it is looked at again: another secret has worked since, and it is the one that has more tries.
    bench.later(24 * 60);
    bench.accepted("other");
    assert_ne!(written(), first);
    assert_eq!((0..30).filter(|_| bench.refused("other", BySchedule)).count(), PROVEN_MAX as usize);
}
