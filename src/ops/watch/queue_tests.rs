use std::cell::RefCell;

use super::*;
use crate::base::clock::FixedClock;
use crate::base::fsio::{Fail, How, Plan};
use crate::config::parse;

const START: &str = "2026-03-01T06:00:00Z";

/// Targets that a test turns off.
#[derive(Default)]
struct World {
    down: RefCell<Vec<Target>>,
    got: RefCell<Vec<(Target, String)>>,
    tries: RefCell<u32>,
}

impl Deliver for World {
    async fn send(&self, target: Target, message: &Message) -> Result<(), String> {
        *self.tries.borrow_mut() += 1;
        if self.down.borrow().contains(&target) {
            return Err("no route".into());
        }
        self.got.borrow_mut().push((target, format!("{:?} {}", message.state, message.text)));
        Ok(())
    }
}

impl World {
    fn told(&self, target: Target) -> Vec<String> {
        let got = self.got.borrow_mut().drain(..).collect::<Vec<_>>();
        let (mine, others): (Vec<_>, Vec<_>) = got.into_iter().partition(|(of, _)| *of == target);
        self.got.borrow_mut().extend(others);
        mine.into_iter().map(|(_, text)| text).collect()
    }
}

fn settings() -> AlarmSettings {
    let text = "[archive]\npath = \"/a\"\n[alarms]\nsystem_log = false\n\
                [alarms.webhook]\nurl = \"https://hooks.corp.example/x\"\n\
                [alarms.command]\nrun = [\"/bin/true\"]\nfrom_severity = \"critical\"\n";
    parse(Path::new("/etc/gatepost.toml"), text).unwrap().alarms
}

fn message(key: &str, state: State, severity: Severity, text: &str) -> Message {
    let at = START.parse().unwrap();
    Message {
        key: key.into(),
        kind: key.into(),
        state,
        severity,
        profile: None,
        text: text.into(),
        hint: None,
        since: at,
        at,
        head: None,
    }
}

struct Bench {
    dir: tempfile::TempDir,
    clock: Arc<FixedClock>,
    queue: Queue,
    settings: AlarmSettings,
    world: World,
}

impl Bench {
    fn new() -> Bench {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(FixedClock::at(START.parse().unwrap())));
        let queue = Queue::open(dir.path(), Fs::real(), clock.clone());
        Bench { dir, clock, queue, settings: settings(), world: World::default() }
    }

    fn push(&self, key: &str, state: State, severity: Severity, text: &str) {
        self.queue.push(&self.settings, &message(key, state, severity, text));
    }

    async fn work(&self) -> Option<Timestamp> {
        self.queue.work(&self.world).await
    }
}

use Severity::{Critical, Warning};
use State::{Cleared, Event, Raised, Repeated};

#[tokio::test]
async fn one_that_is_down_holds_up_no_other_and_gets_all_in_order_later() {
    let bench = Bench::new();
    bench.world.down.borrow_mut().push(Target::Webhook);
    bench.push("a", Raised, Critical, "first");
    bench.push("b", Event, Warning, "second");
    bench.push("c", Event, Critical, "third");
    let next = bench.work().await.unwrap();
    // A warning is not for the command.
    assert_eq!(bench.world.told(Target::Command), ["Raised first", "Event third"]);
    assert_eq!(bench.queue.waiting(Target::Webhook), 3);
    assert_eq!(next.duration_since(bench.clock.now()), WAIT_FIRST);
    // Before its time nobody knocks.
    let tries = *bench.world.tries.borrow();
    bench.work().await;
    assert_eq!(*bench.world.tries.borrow(), tries);
    // The waits grow, up to their limit.
    let mut waits = Vec::new();
    for _ in 0..9 {
        bench.clock.advance(WAIT_MAX);
        waits.push(bench.work().await.unwrap().duration_since(bench.clock.now()).as_secs());
    }
    assert_eq!(waits, [20, 40, 80, 160, 320, 640, 900, 900, 900]);
    bench.world.down.borrow_mut().clear();
    bench.clock.advance(WAIT_MAX);
    assert_eq!(bench.work().await, None);
    assert_eq!(bench.world.told(Target::Webhook), ["Raised first", "Event second", "Event third"]);
    assert!(!bench.dir.path().join(FILE).exists());
}

#[tokio::test]
async fn a_restart_loses_nothing() {
    let bench = Bench::new();
    bench.push("a", Raised, Critical, "first");
    let path = bench.dir.path().join(FILE);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let again = Queue::open(bench.dir.path(), Fs::real(), bench.clock.clone());
    assert_eq!((again.waiting(Target::Webhook), again.waiting(Target::Command)), (1, 1));
    again.work(&bench.world).await;
    assert_eq!(bench.world.told(Target::Webhook), ["Raised first"]);
    assert!(!path.exists());
    // A file that is none is forgotten, and the next one takes its place.
    std::fs::write(&path, b"{").unwrap();
    let again = Queue::open(bench.dir.path(), Fs::real(), bench.clock.clone());
    again.push(&bench.settings, &message("a", Event, Critical, "x"));
    assert_eq!(Queue::open(bench.dir.path(), Fs::real(), bench.clock.clone()).waiting(Target::Webhook), 1);
}

#[tokio::test]
async fn what_was_over_before_it_could_be_told_is_nothing_or_a_note() {
    let bench = Bench::new();
    bench.world.down.borrow_mut().push(Target::Webhook);
    bench.push("a", Raised, Warning, "slow");
    bench.work().await;
    bench.push("a", Repeated, Warning, "slow still");
    // Still not told: it stays a beginning.
    assert_eq!(bench.queue.waiting(Target::Webhook), 1);
    bench.push("a", Cleared, Warning, "quick again");
    assert_eq!(bench.queue.waiting(Target::Webhook), 0);
    bench.push("b", Raised, Warning, "no run for 1 h");
    bench.push("b", Raised, Critical, "no run for 4 h");
    bench.push("b", Cleared, Critical, "runs again");
    bench.world.down.borrow_mut().clear();
    bench.clock.advance(WAIT_MAX);
    bench.work().await;
    let told = bench.world.told(Target::Webhook);
    assert_eq!(told, ["Event was over before it could be told; since 2026-03-01T06:00:00Z: no run for 4 h"]);
}

#[tokio::test]
async fn what_was_told_gets_its_all_clear() {
    let bench = Bench::new();
    bench.push("a", Raised, Critical, "down");
    bench.work().await;
    assert_eq!(bench.world.told(Target::Webhook), ["Raised down"]);
    bench.world.down.borrow_mut().push(Target::Webhook);
    bench.push("a", Repeated, Critical, "down 1");
    bench.push("a", Repeated, Critical, "down 2");
    assert_eq!(bench.queue.waiting(Target::Webhook), 1);
    bench.push("a", Cleared, Critical, "up");
    bench.push("a", Raised, Critical, "down again");
    bench.world.down.borrow_mut().clear();
    bench.clock.advance(WAIT_MAX);
    bench.work().await;
    assert_eq!(bench.world.told(Target::Webhook), ["Cleared up", "Raised down again"]);
    bench.push("a", Cleared, Critical, "up");
    bench.work().await;
    assert_eq!(bench.world.told(Target::Webhook), ["Cleared up"]);
}

#[tokio::test]
async fn a_line_is_bounded_and_a_dead_disk_stops_nobody() {
    let bench = Bench::new();
    bench.world.down.borrow_mut().push(Target::Webhook);
    for number in 0..WAITING_MAX + 20 {
        bench.push(&format!("k{number}"), Event, Warning, &format!("n{number}"));
    }
    assert_eq!(bench.queue.waiting(Target::Webhook), WAITING_MAX);
    bench.world.down.borrow_mut().clear();
    bench.work().await;
    let told = bench.world.told(Target::Webhook);
    assert_eq!((told[0].as_str(), told.last().unwrap().as_str()), ("Event n20", "Event n119"));

    let fail = Fail { at: 1, for_good: true, how: How::NoSpace };
    let fs = Fs::with_plan(Plan { fail: Some(fail), ..Plan::default() });
    let queue = Queue::open(bench.dir.path(), fs, bench.clock.clone());
    queue.push(&bench.settings, &message("disk", Raised, Critical, "full"));
    queue.work(&bench.world).await;
    assert_eq!(bench.world.told(Target::Webhook), ["Raised full"]);
}
