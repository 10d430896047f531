//! The power goes at any moment: recorded runs of a deleting agent are replayed up to some operation, with
//! any part of what was not synced lost, and with the catalogue as it was at any earlier commit. Then every
//! mail that was deleted on the gateway by that moment stands in the archive, and the next run comes to the
//! normal end.
//!
//! Histories with two runs matter most: what the first left in the page cache without a sync, the second
//! one reads as if it stood on the disk.

use gatepost::base::fsio::{Fail, Fs, How, Op};
use gatepost::demo::random::Random;

use super::support::bench::{Bench, Put, Setup, State, few, varied};
use super::support::disk::{Disk, Kept};
use super::support::history::{self, History};

/// Few and small, of every kind: one is there twice, one cannot be decoded, some share an attachment.
fn mails() -> Vec<Put> {
    let mut mails: Vec<Put> = varied().into_iter().filter(|put| put.bytes.len() < 100_000).skip(15).collect();
    mails.extend(few(11, 4));
    mails
}

struct Replay {
    bench: Bench,
    history: History,
    mails: Vec<gatepost::demo::mailbox::Mail>,
    end: State,
}

/// The end that every way must lead to, and how many operations the way there has.
fn undisturbed() -> (State, usize) {
    let bench = Bench::holding(Setup::default(), &mails());
    let (history, said) = history::record(&bench, &[None]);
    assert_eq!(said[0].as_ref().unwrap().quarantined, 1);
    bench.nothing_is_lost("undisturbed");
    let state = bench.state();
    assert_eq!(state.left.len(), 1);
    (state, history.ops.len())
}

impl Replay {
    fn new(failures: &[Option<Fail>], end: &State) -> Replay {
        let bench = Bench::holding(Setup::default(), &mails());
        let mails = bench.mails();
        let (history, said) = history::record(&bench, failures);
        assert!(said.last().unwrap().is_ok(), "{failures:?}: {said:?}");
        bench.nothing_is_lost("the recorded runs");
        assert_eq!(bench.state(), *end, "{failures:?}");
        Replay { bench, history, mails, end: end.clone() }
    }

    /// Loses power when `at` operations had been begun.
    fn case(&self, at: usize, kept: Kept, seed: u64, to_the_end: bool) {
        let when =
            format!("power lost before operation {at} ({:?}), {kept:?} kept, seed {seed}", self.history.ops.get(at));
        let mut random = Random::new(seed);
        let mut disk = Disk::new(self.bench.folder());
        self.history.ops[..at].iter().for_each(|op| disk.done(op, &mut random));
        let after = tempfile::tempdir().unwrap();
        disk.lose_power(after.path(), kept, &mut random);
        self.bench.look_at(after.path());

        let mark = self.history.mark(at);
        let layout = self.bench.layout();
        if layout.identity_file().exists() {
            // A new archive gets its place together with its catalogue, which SQLite has synced.
            let newest = mark.catalogues.saturating_sub(1);
            let chosen = if random.chance(40) { newest } else { random.below(newest + 1) };
            std::fs::copy(&self.history.catalogues[chosen], &layout.catalogue).unwrap();
        }
        let left = self.mails.iter().filter(|mail| mark.left.contains(&mail.uid)).cloned().collect();
        self.bench.gateway.restore("INBOX", left);
        self.bench.gateway.set_uidnext("INBOX", self.mails.len() as u32 + 1);

        match history::open(&self.bench, Fs::real()) {
            Ok((writer, _)) => writer.finish().unwrap(),
            Err(error) => panic!("{when}: {error}"),
        }
        self.bench.nothing_is_lost(&when);
        self.bench.is_whole(&when);
        if to_the_end {
            history::run(&self.bench, Fs::real()).unwrap_or_else(|error| panic!("{when}: {error}"));
            self.bench.nothing_is_lost(&when);
            assert_eq!(self.bench.state(), self.end, "{when}");
            self.bench.is_whole(&when);
        }
    }

    /// Every `stride`-th operation, or the last ones only, each with everything, nothing and some kept.
    fn cases(&self, points: impl Iterator<Item = usize>, seed: u64) -> usize {
        let mut done = 0;
        for at in points {
            for kept in [Kept::Nothing, Kept::All, Kept::Some, Kept::Pieces, Kept::Pieces] {
                done += 1;
                self.case(at, kept, seed ^ (at as u64 * 31 + done as u64), done % 3 == 0);
            }
        }
        super::support::points("power is lost", done as u64);
        done
    }
}

#[test]
fn power_lost_at_any_operation_loses_nothing() {
    let (end, _) = undisturbed();
    let replay = Replay::new(&[None], &end);
    let seals = replay.history.ops.iter().filter(|op| **op == Op::Step("seal committed")).count();
    assert!(seals >= 1, "the run is to go over the end of a pack");
    let cases = replay.cases(0..=replay.history.ops.len(), 1);
    assert!(cases > 200, "{cases}");
}

/// The first run ends at some operation (its process dies there, or a disk that fails for good), the second
/// one mends and goes on, and then the power goes during the second.
#[test]
fn power_lost_after_a_run_that_died_loses_nothing() {
    let (end, operations) = undisturbed();
    let failures = (1..operations as u64).step_by(3).map(|at| Fail { at, for_good: true, how: How::Error });
    second_runs(failures, &end);
}

/// The n-th operation fails once; the writer ends, cleans up what it can, and the next one goes on.
#[test]
fn power_lost_after_a_failed_operation_loses_nothing() {
    let (end, operations) = undisturbed();
    let failures = (2..operations as u64).step_by(3).map(|at| Fail { at, for_good: false, how: How::Error });
    second_runs(failures, &end);
}

/// The seal of a pack was written and its sync failed; the next run finds it in the page cache. It may not
/// count on it before it has brought it to the disk itself.
#[test]
fn a_seal_that_was_never_synced_is_written_anew() {
    let (end, _) = undisturbed();
    let bench = Bench::holding(Setup::default(), &mails());
    let (history, _) = history::record(&bench, &[None]);
    drop(bench);
    let seal = history.ops.iter().position(|op| *op == Op::Step("seal committed")).unwrap();
    assert!(matches!(history.ops[seal - 1], Op::Sync(_)));
    let replay = Replay::new(&[Some(Fail { at: seal as u64, for_good: true, how: How::Error }), None], &end);
    let failed = replay.history.ops.iter().position(|op| matches!(op, Op::Failed(_))).unwrap();
    for seed in 0..2 {
        replay.cases(failed..failed + 12, seed);
    }
}

/// The first run died, or met an error, between giving a new archive its place and making that name durable.
/// The second one finds it there.
#[test]
fn the_name_of_a_new_archive_is_durable_before_its_first_commit() {
    let (end, _) = undisturbed();
    let bench = Bench::holding(Setup::default(), &mails());
    let (history, _) = history::record(&bench, &[None]);
    drop(bench);
    let folders = |op: &Op| matches!(op, Op::SyncDir(path) if !path.ends_with("packs"));
    let syncs = history.ops.iter().enumerate().filter(|(_, op)| folders(op)).map(|(n, _)| n as u64 + 1);
    let syncs: Vec<u64> = syncs.collect();
    assert!(syncs.len() >= 4, "{syncs:?}");
    for at in syncs {
        for for_good in [false, true] {
            let replay = Replay::new(&[Some(Fail { at, for_good, how: How::Error }), None], &end);
            let last = replay.history.ops.len();
            replay.cases([last - 6, last].into_iter(), at);
        }
    }
}

fn second_runs(failures: impl Iterator<Item = Fail>, end: &State) {
    let mut cases = 0;
    for (n, fail) in failures.enumerate() {
        let replay = Replay::new(&[Some(fail.clone()), None], end);
        let ops = &replay.history.ops;
        let from = ops.iter().position(|op| matches!(op, Op::Failed(_))).unwrap_or(0);
        // The operations right after the failure are where the second run takes over; later ones are sampled.
        let points = (from..ops.len().min(from + 12)).chain((from + 12..=ops.len()).step_by(13));
        let mut random = Random::new(n as u64);
        let points: Vec<usize> = points.filter(|_| random.chance(20)).collect();
        cases += replay.cases(points.into_iter(), n as u64);
    }
    assert!(cases > 100, "{cases}");
}
