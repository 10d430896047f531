//! The n-th file operation fails, once or for good, for every n: the run ends with an error that says what
//! to do, nothing is lost, and the next run comes to the normal end.

use gatepost::base::fsio::{Fail, Fs, How, Plan};

use super::support::bench::{Bench, Put, Setup, State, few, for_each_step, varied};
use super::support::history;
use super::support::points;

fn mails() -> Vec<Put> {
    let mut mails: Vec<Put> = varied().into_iter().filter(|put| put.bytes.len() < 100_000).skip(15).collect();
    mails.extend(few(12, 4));
    mails
}

fn undisturbed() -> State {
    let bench = Bench::holding(Setup::default(), &mails());
    history::run(&bench, Fs::real()).unwrap();
    bench.nothing_is_lost("undisturbed");
    let state = bench.state();
    assert_eq!(state.left.len(), 1);
    state
}

/// Within this process, with small packs and batches: every operation, every way to fail.
fn every_operation(for_good: bool, how: How) {
    let end = undisturbed();
    let failed = for_each_step(|at| {
        let when = format!("operation {at} failed ({how:?}, for good: {for_good})");
        let bench = Bench::holding(Setup::default(), &mails());
        let fs = Fs::with_plan(Plan { fail: Some(Fail { at, for_good, how }), ..Plan::default() });
        let said = history::run(&bench, fs.clone());
        let (_, hit) = fs.counted();
        assert!(!hit || said.is_err(), "{when}, and the run says that all is well");
        bench.nothing_is_lost(&when);
        history::run(&bench, Fs::real()).unwrap_or_else(|error| panic!("{when}; then: {error}"));
        bench.nothing_is_lost(&when);
        bench.is_whole(&when);
        assert_eq!(bench.state(), end, "{when}");
        hit
    });
    points(&format!("each operation fails ({how:?}, for good: {for_good})"), failed);
    assert!(failed > 50, "{failed}");
}

#[test]
fn an_error_once() {
    every_operation(false, How::Error);
}

#[test]
fn an_error_for_good() {
    every_operation(true, How::Error);
}

#[test]
fn no_space_once() {
    every_operation(false, How::NoSpace);
}

#[test]
fn no_space_for_good() {
    every_operation(true, How::NoSpace);
}

#[test]
fn half_a_write_once() {
    every_operation(false, How::Short);
}

#[test]
fn half_a_write_for_good() {
    every_operation(true, How::Short);
}

/// The whole program says what is the matter, by its words and its exit code.
fn program(fault: &str, stride: u64, code: i32, word: &str) {
    let end = {
        let bench = Bench::holding(Setup::default(), &few(13, 8));
        assert_eq!(bench.once(None).code, Some(0));
        bench.state()
    };
    let failed = for_each_step(|n| {
        let at = 1 + (n - 1) * stride;
        let bench = Bench::holding(Setup::default(), &few(13, 8));
        let said = bench.once(Some(&fault.replace('#', &at.to_string())));
        let hit = said.code != Some(0);
        if hit {
            assert_eq!(said.code, Some(code), "operation {at}: {said}");
            let told = format!("{}{}", said.out, said.err);
            assert!(told.contains(word) && told.contains("hint"), "operation {at}: {said}");
        }
        bench.nothing_is_lost(&format!("operation {at}, {fault}"));
        let said = bench.once(None);
        assert_eq!(said.code, Some(0), "after operation {at}, {fault}: {said}");
        bench.is_in_order(&format!("operation {at}, {fault}"));
        assert_eq!(bench.state(), end, "operation {at}, {fault}");
        hit
    });
    points(&format!("each operation of the program fails: {fault}"), failed);
    assert!(failed > 5, "{failed}");
}

#[test]
fn a_full_disk_is_exit_code_6_at_every_operation() {
    program("fail:#:forever:ENOSPC", 1, 6, "make room");
}

#[test]
fn a_failing_disk_is_told() {
    program("fail:#:once:EIO", 3, 1, "told to fail");
}
