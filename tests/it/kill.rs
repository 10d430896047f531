//! `kill -9` at random moments of a deleting run, again and again, while mail goes on coming in; then one
//! clean run: everything is archived, nothing twice, and the gateway is empty.

use std::time::{Duration, Instant};

use gatepost::demo::random::Random;

use super::support::bench::{Bench, Setup, few};

const KILLS: usize = 15;
/// So many mails come in between two kills.
const MORE: usize = 60;

fn round(seed: u64) {
    let all = few(seed, 300 + KILLS * MORE);
    let (first, later) = all.split_at(300);

    let undisturbed = Bench::holding(Setup::default(), &all);
    let started = Instant::now();
    let said = undisturbed.once(None);
    assert_eq!(said.code, Some(0), "{said}");
    let whole = started.elapsed();
    let end = undisturbed.state();
    assert!(end.left.is_empty());
    drop(undisturbed);

    let bench = Bench::holding(Setup::default(), first);
    let mut random = Random::new(seed);
    let mut killed = 0;
    for n in 0..KILLS {
        let mut child = bench.start();
        let moment = whole.mul_f64(0.3 * random.unit());
        let started = Instant::now();
        while started.elapsed() < moment && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        child.wait().unwrap();
        bench.nothing_is_lost(&format!("seed {seed}, kill {n} after {moment:?}"));
        later[n * MORE..(n + 1) * MORE].iter().for_each(|put| _ = bench.put(put));
    }
    assert!(killed >= KILLS / 3, "{killed}");

    let said = bench.once(None);
    assert!(matches!(said.code, Some(0 | 2)), "seed {seed}: {said}");
    bench.is_in_order(&format!("seed {seed}"));
    bench.state().is_but_for_suspects(&end, &format!("seed {seed}"));
}

#[test]
fn killed_again_and_again_loses_nothing_1() {
    round(1);
}

#[test]
fn killed_again_and_again_loses_nothing_2() {
    round(2);
}
