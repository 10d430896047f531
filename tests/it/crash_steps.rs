//! The program ends at step 1, 2, 3 … of everything it does to files, and at the steps between; then it
//! runs again: the end is always the same, nothing is lost and nothing is there twice.

use super::support::bench::{Bench, NOBODY, Setup, State, for_each_step, known_people, varied};
use super::support::points;

fn undisturbed(setup: &Setup) -> State {
    let bench = Bench::holding(setup.clone(), &varied());
    let said = bench.once(None);
    assert_eq!(said.code, Some(2), "{said}");
    bench.is_in_order("undisturbed");
    let state = bench.state();
    assert_eq!(state.left.len(), if setup.delete { 1 } else { varied().len() });
    assert_eq!(state.mails.values().filter(|what| **what == "quarantined").count(), 1);
    assert_eq!(state.mails.values().filter(|what| **what == "absent").count(), 0);
    assert_eq!(state.items, varied().len() as u64 - 1, "one is there twice on the gateway");
    state
}

/// Ends at each of `steps` one after the other, then runs undisturbed. False: the last step was not met.
fn crash(setup: &Setup, steps: &[u64], end: &State) -> bool {
    let bench = Bench::holding(setup.clone(), &varied());
    let mut hit = false;
    for step in steps {
        let said = bench.once(Some(&format!("exit:{step}")));
        hit = said.is_hit();
        assert!(hit || matches!(said.code, Some(0 | 2)), "{steps:?}: {said}");
        bench.nothing_is_lost(&format!("after ending at {steps:?}"));
    }
    let said = bench.once(None);
    assert!(matches!(said.code, Some(0 | 2)), "after ending at {steps:?}: {said}");
    bench.is_in_order(&format!("{steps:?}"));
    match steps {
        [_] => assert_eq!(bench.state(), *end, "{steps:?}"),
        _ => bench.state().is_but_for_suspects(end, &format!("{steps:?}")),
    }
    let said = bench.once(None);
    assert_eq!(said.code, Some(0), "the one after ending at {steps:?}: {said}");
    assert_eq!(said.report()["listed"], 0, "{steps:?}: {said}");
    hit
}

#[test]
fn ending_at_every_step_leads_to_the_same_end() {
    let setup = Setup::default();
    let end = undisturbed(&setup);
    let steps = for_each_step(|step| crash(&setup, &[step], &end));
    points("the program ends at each step", steps);
    assert!(steps > 30, "{steps}");
}

#[test]
fn ending_at_a_step_and_then_at_another_leads_to_the_same_end() {
    let setup = Setup::default();
    let end = undisturbed(&setup);
    // The second run mends what the first left, so that its steps are others; every pair would take long.
    let seconds = [1, 2, 3, 4, 6, 8, 11, 15];
    let pairs: Vec<[u64; 2]> =
        (1..60).step_by(4).flat_map(|one| seconds.map(|two| [one, two + one % 3])).step_by(2).collect();
    points("the program ends at a step and at another", pairs.len() as u64);
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(pair) = pairs.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    crash(&setup, pair, &end);
                }
            });
        }
    });
}

#[test]
fn ending_at_every_step_of_a_run_that_deletes_nothing() {
    let setup = Setup { delete: false, catalogue_elsewhere: true, ..Setup::default() };
    let end = undisturbed(&setup);
    let steps = for_each_step(|step| crash(&setup, &[step], &end));
    points("the program ends at each step and deletes nothing", steps);
    assert!(steps > 25, "{steps}");
}

/// What an archive goes through after its first mail, in this order: other people and a policy, filing anew, the index, a
/// catalogue made anew, a later run.
const LIFE: [&[&str]; 4] =
    [&["refile", "--all", "--json"], &["index", "--json"], &["rebuild", "--json"], &["once", "--json"]];

/// A bench whose archive has come to the command `LIFE[upto]`.
fn lived(upto: usize) -> Bench {
    let bench = Bench::holding(Setup::default(), &varied());
    bench.reconfigure(NOBODY, "scope = \"external\"");
    let said = bench.once(None);
    assert_eq!(said.code, Some(2), "{said}");
    bench.reconfigure(&format!("unknown_internal = \"create\"\n{}", known_people().split_once('\n').unwrap().1), "");
    for command in &LIFE[..upto] {
        let said = bench.run(command, None);
        assert!(matches!(said.code, Some(0 | 2)), "{command:?}: {said}");
    }
    bench
}

/// The command itself, and all that follow it.
fn lives_on(bench: &Bench, from: usize) -> State {
    for command in &LIFE[from..] {
        let said = bench.run(command, None);
        assert!(matches!(said.code, Some(0 | 2)), "{command:?}: {said}");
    }
    bench.is_in_order("at the end of its life");
    bench.state()
}

#[test]
fn every_command_that_changes_an_archive_may_end_at_every_step() {
    let end = lives_on(&lived(0), 0);
    assert_eq!(end.left.len(), 1, "what is quarantined stays");
    // The index is tantivy's own files, which take no notice of these steps; `search.rs` ends it at any time.
    for (at, command) in LIFE.iter().enumerate().filter(|(_, command)| command[0] != "index") {
        let steps = for_each_step(|step| {
            let bench = lived(at);
            let said = bench.run(command, Some(&format!("exit:{step}")));
            let when = format!("{command:?} ended at {step}");
            assert!(said.is_hit() || matches!(said.code, Some(0 | 2)), "{when}: {said}");
            // Until it is made anew there is no catalogue, and nothing was taken away meanwhile.
            if command[0] != "rebuild" {
                bench.nothing_is_lost(&when);
            }
            assert_eq!(lives_on(&bench, at), end, "{when}");
            said.is_hit()
        });
        points(&format!("the program ends at each step of `{}`", command[0]), steps);
        assert!(steps > 3, "{command:?}: {steps}");
    }
}
