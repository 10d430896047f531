//! `kill -9` at random moments of a deleting run, again and again, while mail goes on coming in; then one
//! clean run: everything is archived, nothing twice, and the gateway is empty.

use std::time::Duration;

use gatepost::demo::random::Random;

use super::support::bench::{Bench, Setup, few};

const KILLS: usize = 15;
/// So many mails come in between two kills.
const MORE: usize = 60;

fn round(seed: u64) {
    let all = few(seed, 300 + KILLS * MORE);
    let (first, later) = all.split_at(300);
    let undisturbed = Bench::holding(Setup::default(), &all);
    let said = undisturbed.once(None);
    assert_eq!(said.code, Some(0), "{said}");
    let end = undisturbed.state();
    assert!(end.left.is_empty());
    drop(undisturbed);

    let bench = Bench::holding(Setup::default(), first);
    let mut random = Random::new(seed);
    let mut killed = 0;
    for n in 0..KILLS {
        // How far a run has come is read off the gateway, so that a slow machine sees the same moments:
        // somewhere in the download, or somewhere after the first deletion began.
        bench.gateway.reset_counters();
        let waiting: usize = bench.mails().iter().map(|mail| mail.bytes.len()).sum();
        let bytes = (waiting as f64 * random.unit()) as u64;
        let in_deletion = random.chance(40);
        let after = Duration::from_micros(random.below(30_000) as u64);
        let is_there = || {
            let counters = bench.gateway.counters();
            if in_deletion { counters.command("UID STORE") > 0 } else { counters.bytes_sent >= bytes }
        };
        let mut child = bench.start();
        while child.try_wait().unwrap().is_none() && !is_there() {
            std::thread::sleep(Duration::from_micros(500));
        }
        std::thread::sleep(after);
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        child.wait().unwrap();
        bench.nothing_is_lost(&format!("seed {seed}, kill {n}"));
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
