//! A day of an agent in a few seconds: its clock is the test's, its gateway is the embedded one, which dies, refuses, hangs
//! and comes back, and its disk fills up. What is told must be exactly what is expected, and no mail may be lost or left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc};

use super::{Surroundings, live_on};
use crate::agent::alarms::Message;
use crate::agent::disk::Room;
use crate::archive::{Filter, Reader};
use crate::base::clock::{Clock as _, FixedClock};
use crate::demo::fault::{Answer, Fault, When};
use crate::demo::server::{Gateway, GatewayOptions};
use crate::ops::control;
use crate::ops::exit::{Exit, Failure};
use crate::ops::host::Nobody;
use crate::ops::orders::{Done, Order};
use crate::ops::watch::snapshot::Snapshot;
use crate::ops::wiring::{self, Global};

const GIB: u64 = 1024 * 1024 * 1024;
/// In the place of free bytes: whoever asks for them next panics.
const PANIC: u64 = u64::MAX;

/// An agent under a simulated clock.
struct World {
    clock: Arc<FixedClock>,
    free: Arc<AtomicU64>,
    heard: mpsc::UnboundedReceiver<Message>,
    stop: Arc<Notify>,
    agent: tokio::task::JoinHandle<Result<Exit, Failure>>,
    global: Global,
    began: Timestamp,
    /// As it was told: minutes since the beginning, state, severity, key.
    told: Vec<(i64, String)>,
    texts: Vec<String>,
    sleepers: usize,
    _folder: tempfile::TempDir,
}

impl World {
    /// `profiles`: the text of the profiles in the configuration; `sleepers`: how many of them wait for a time.
    async fn begin(profiles: &str, sleepers: usize) -> World {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[archive]\npath = \"mail\"\nindex = false\nreserve = \"10GiB\"\n\
             [people]\ninternal_domains = [\"corp.example\"]\n[[people.person]]\nid = \"b@corp.example\"\n{profiles}"
        );
        let file = folder.path().join("gatepost.toml");
        std::fs::write(&file, text).unwrap();
        let began: Timestamp = "2026-11-24T06:00:00Z".parse().unwrap();
        let clock = Arc::new(FixedClock::at(began));
        let free = Arc::new(AtomicU64::new(100 * GIB));
        let (ear, heard) = mpsc::unbounded_channel();
        let disk = free.clone();
        let surroundings = Surroundings {
            clock: clock.clone(),
            measure: Some(Arc::new(move || {
                let panics = disk.compare_exchange(PANIC, 100 * GIB, Ordering::SeqCst, Ordering::SeqCst).is_ok();
                assert!(!panics, "as the test wishes");
                Ok(Room { free: disk.load(Ordering::SeqCst), reserve: 10 * GIB })
            })),
            ear: Some(ear),
        };
        let global = Global { config: Some(file.clone()), ..Global::default() };
        let stop = Arc::new(Notify::new());
        let (stopped, of_agent) = (stop.clone(), global.clone());
        let agent = tokio::spawn(async move {
            let settings = wiring::settings(&of_agent)?;
            let stop = async { stopped.notified().await };
            live_on(&of_agent, settings, surroundings, &Nobody, stop).await
        });
        let told = Vec::new();
        // `tend` is one more.
        let sleepers = sleepers + 1;
        let mut world = World {
            clock,
            free,
            heard,
            stop,
            agent,
            global,
            began,
            told,
            texts: Vec::new(),
            sleepers,
            _folder: folder,
        };
        world.settle().await;
        world
    }

    fn archive(&self) -> PathBuf {
        self.global.config.as_deref().and_then(Path::parent).unwrap().join("mail")
    }

    /// Waits until everybody waits for a time that is yet to come.
    async fn settle(&mut self) {
        let began = Instant::now();
        let mut quiet = 0;
        while quiet < 3 {
            assert!(began.elapsed() < Duration::from_secs(120), "it does not come to rest: {:?}", self.clock.awaited());
            assert!(!self.agent.is_finished(), "the agent ended");
            let now = self.clock.now();
            let awaited = self.clock.awaited();
            let is_quiet = awaited.len() == self.sleepers && awaited.iter().all(|at| *at > now);
            quiet = if is_quiet { quiet + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while let Ok(message) = self.heard.try_recv() {
            let minutes = (message.at.duration_since(self.began).as_secs() as f64 / 60.0).floor() as i64;
            let line = format!("{} {} {}", message.state.as_str(), message.severity.as_str(), message.key);
            self.told.push((minutes, line));
            self.texts.push(message.to_string());
        }
    }

    /// Lets so many minutes pass, one event after the other.
    async fn pass(&mut self, minutes: i64) {
        let until = self.clock.now() + SignedDuration::from_mins(minutes);
        loop {
            let next = self.clock.awaited().first().copied().filter(|next| *next <= until);
            self.clock.set(next.unwrap_or(until));
            self.settle().await;
            if next.is_none() {
                return;
            }
        }
    }

    async fn order(&self, order: Order) -> Result<Done, Failure> {
        let global = self.global.clone();
        let asked = tokio::task::spawn_blocking(move || control::ask(&wiring::settings(&global)?, &order));
        asked.await.unwrap().map(|done| done.expect("no agent listens"))
    }

    async fn snapshot(&self) -> Snapshot {
        serde_json::from_value(self.order(Order::Snapshot).await.unwrap().json).unwrap()
    }

    async fn state(&self, profile: &str) -> String {
        let snapshot = self.snapshot().await;
        snapshot.profiles.iter().find(|one| one.name == profile).unwrap().state.clone()
    }

    /// What was told since the last time, without the minutes.
    fn news(&mut self) -> Vec<String> {
        self.told.drain(..).map(|(_, line)| line).collect()
    }

    async fn end(self) -> (PathBuf, tempfile::TempDir) {
        let archive = self.archive();
        self.stop.notify_one();
        let exit = self.agent.await.unwrap().unwrap();
        assert_eq!(exit, Exit::Ok);
        (archive, self._folder)
    }
}

fn profile(name: &str, gateway: &Gateway, more: &str) -> String {
    format!(
        "[[profile]]\nname = \"{name}\"\ndelete = true\nevery = \"300s\"\n{more}\n[profile.imap]\nhost = \"127.0.0.1\"\n\
         port = {}\ntls = \"none\"\nusername = \"journal@corp.example\"\npassword = \"journal\"\ntimeout = \"1s\"\n",
        gateway.port()
    )
}

fn mail(number: usize) -> Vec<u8> {
    format!(
        "From: a@corp.example\r\nTo: b@corp.example\r\nMessage-ID: <{number}@corp.example>\r\n\
         Date: Tue, 24 Nov 2026 06:00:00 +0000\r\nSubject: number {number}\r\n\r\ntext {number}\r\n"
    )
    .into_bytes()
}

/// How often each Message-ID is filed for its recipient.
fn filed(archive: &Path) -> BTreeMap<String, u64> {
    let reader = Reader::open(&crate::archive::Layout::new(archive, None)).unwrap();
    let mut found = BTreeMap::new();
    let filter = Filter { person: Some("b@corp.example".into()), ..Filter::default() };
    reader
        .list(&filter, &mut |entry| {
            *found.entry(entry.message_id.unwrap_or_default()).or_default() += 1;
            Ok(())
        })
        .unwrap();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_with_a_gateway_that_dies_refuses_hangs_and_comes_back() {
    let gateway = Gateway::start(GatewayOptions::default()).await.unwrap();
    let mut sent = 0;
    let mut send = |count: usize| {
        for _ in 0..count {
            sent += 1;
            gateway.append("INBOX", mail(sent), None);
        }
        sent
    };
    send(5);
    let mut world = World::begin(&profile("journal", &gateway, ""), 1).await;
    assert_eq!(world.state("journal").await, "ok");
    assert_eq!(gateway.uids("INBOX"), [0u32; 0]);
    let none: [&str; 0] = [];
    assert_eq!(world.news(), none);

    // Mail every hour, and nothing to tell.
    for _ in 0..3 {
        send(2);
        world.pass(60).await;
    }
    assert_eq!(world.news(), none);

    // It dies: told after the third failure, graver after an hour, taken back once it is there again. Nothing is lost.
    gateway.misbehave(Fault::on("AUTHENTICATE", When::Always, Answer::Eof));
    send(3);
    world.pass(4).await;
    assert_eq!(world.news(), none);
    world.pass(6).await;
    assert_eq!(world.state("journal").await, "error");
    assert_eq!(world.news(), ["raised warning journal/no-success"]);
    world.pass(242).await;
    assert_eq!(world.news(), ["raised critical journal/no-success"]);
    let last = world.texts.last().unwrap().clone();
    assert!(
        last.contains("CRITICAL journal: no successful run for ") && last.contains("Nothing was deleted."),
        "{last}"
    );
    assert!(last.ends_with("hint: gatepost check --profile journal"), "{last}");
    gateway.behave();
    world.pass(6).await;
    assert_eq!(world.news(), ["cleared critical journal/no-success"]);
    assert_eq!(world.state("journal").await, "ok");
    assert_eq!(gateway.uids("INBOX"), [0u32; 0]);

    // It hangs in the middle of a command.
    gateway.misbehave(Fault::on("SELECT", When::Always, Answer::Hang));
    send(3);
    world.pass(10).await;
    assert_eq!(world.news(), ["raised warning journal/no-success"]);
    gateway.behave();
    world.pass(6).await;
    assert_eq!(world.news(), ["cleared warning journal/no-success"]);

    // It is busy: no alarm for one time.
    gateway.misbehave(Fault::on("SELECT", When::Nth(1), Answer::No));
    world.pass(10).await;
    assert_eq!(world.news(), none);

    // It refuses the login, which it took before: ten tries, an alarm, then one try an hour.
    gateway.misbehave(Fault::RefuseLogin);
    send(2);
    world.pass(45).await;
    let news = world.news();
    assert_eq!(news, ["raised warning journal/no-success", "raised critical journal/refused-login"]);
    let logins = gateway.counters().command("AUTHENTICATE");
    world.pass(180).await;
    let tries = gateway.counters().command("AUTHENTICATE") - logins;
    assert!((2..=4).contains(&tries), "{tries} tries in three hours");
    assert_eq!(world.news(), ["raised critical journal/no-success"]);
    gateway.behave();
    world.pass(66).await;
    assert_eq!(world.news(), ["cleared critical journal/no-success", "cleared critical journal/refused-login"]);
    assert_eq!(gateway.uids("INBOX"), [0u32; 0]);

    // The disk fills up: collecting pauses before it is full, and goes on by itself.
    world.free.store(9 * GIB, Ordering::SeqCst);
    send(4);
    world.pass(11).await;
    assert_eq!(world.news(), ["raised critical archive/disk"]);
    world.pass(10).await;
    let snapshot = world.snapshot().await;
    assert_eq!((snapshot.profiles[0].backlog, gateway.uids("INBOX").len()), (4, 4));
    let text = &snapshot.alarms[0].text;
    assert_eq!(
        text,
        "9.0 GiB free, reserve 10.0 GiB. Collecting paused; 4 items wait on the gateway. Nothing was lost."
    );
    world.free.store(90 * GIB, Ordering::SeqCst);
    world.pass(6).await;
    assert_eq!(world.news(), ["cleared critical archive/disk"]);
    assert_eq!(gateway.uids("INBOX"), [0u32; 0]);

    // Another client takes mail away before it is archived.
    world.clock.advance(SignedDuration::ZERO);
    gateway.misbehave(Fault::ExpungeDuringFetch { uid: gateway.append("INBOX", mail(100_001), None), bodies: true });
    gateway.append("INBOX", mail(100_002), None);
    world.pass(6).await;
    let news = world.news();
    assert!(news == ["event critical journal/vanished"] || news.is_empty(), "{news:?}");
    gateway.behave();

    // A person pauses it, which is told, and resumes it.
    world.order(Order::Pause { profile: "journal".into() }).await.unwrap();
    world.sleepers = 1;
    world.settle().await;
    send(1);
    world.pass(120).await;
    assert_eq!((world.state("journal").await.as_str(), gateway.uids("INBOX").len()), ("paused", 1));
    assert_eq!(world.news(), ["event warning journal/paused"]);
    world.sleepers = 2;
    world.order(Order::Resume { profile: "journal".into() }).await.unwrap();
    world.settle().await;
    world.pass(1).await;
    assert_eq!(world.news(), ["event warning journal/resumed"]);
    assert_eq!(gateway.uids("INBOX"), [0u32; 0]);

    // Silence.
    world.pass(185).await;
    assert_eq!(world.state("journal").await, "inactive");
    assert_eq!(world.news(), ["raised warning journal/inactive"]);
    let last = world.texts.last().unwrap();
    assert_eq!(
        last,
        "WARNING journal: the login works, but no mail arrived for 180 min. The journal rule may be off hint: check the \
         rule and the alternate mailbox"
    );
    send(1);
    world.pass(6).await;
    assert_eq!(world.news(), ["cleared warning journal/inactive"]);
    assert_eq!(world.state("journal").await, "ok");

    let hours = world.clock.now().duration_since(world.began).as_hours();
    assert!(hours >= 16, "{hours} h");
    // The rest of the day: nothing happens but mail.
    while world.clock.now().duration_since(world.began).as_hours() < 24 {
        send(1);
        world.pass(60).await;
    }
    assert_eq!(world.news(), none);
    let total = send(0);
    let (archive, _folder) = world.end().await;
    let mut filed = filed(&archive);
    // One of them was taken away by another client.
    filed.retain(|id, _| !id.contains("10000"));
    assert_eq!(filed.len(), total);
    assert!(filed.values().all(|times| *times == 1), "{filed:?}");
    assert_eq!(gateway.uids("INBOX"), [0u32; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_profiles_three_hang_and_seven_keep_their_schedule() {
    let mut gateways = Vec::new();
    let mut profiles = String::new();
    for number in 0..10 {
        let gateway = Gateway::start(GatewayOptions::default()).await.unwrap();
        let text = profile(&format!("p{number}"), &gateway, "");
        // Those that hang do so for longer than the test lasts.
        profiles.push_str(&if number < 3 { text.replace("timeout = \"1s\"", "timeout = \"900s\"") } else { text });
        gateways.push(gateway);
    }
    for gateway in &gateways[..3] {
        gateway.misbehave(Fault::on("UID FETCH", When::Always, Answer::Hang));
        for number in 0..3 {
            gateway.append("INBOX", mail(number), None);
        }
    }
    let mut world = World::begin(&profiles, 7).await;
    for round in 0..12 {
        for gateway in &gateways[3..] {
            gateway.append("INBOX", mail(round), None);
        }
        world.pass(5).await;
    }
    let snapshot = world.snapshot().await;
    for one in &snapshot.profiles {
        let hangs = one.name.as_str() < "p3";
        assert_eq!(one.is_running, hangs, "{one:?}");
        // The first at the beginning, then one every five minutes.
        let expected = if hangs { 0 } else { 12 };
        assert_eq!(one.totals.archived + one.totals.already_archived, expected, "{one:?}");
    }
    assert!(gateways[3..].iter().all(|gateway| gateway.uids("INBOX").is_empty()));
    // It stops although three of them hang.
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_panics_is_told_and_all_parts_begin_anew() {
    let gateway = Gateway::start(GatewayOptions::default()).await.unwrap();
    let mut world = World::begin(&profile("journal", &gateway, ""), 1).await;
    gateway.append("INBOX", mail(1), None);
    world.free.store(PANIC, Ordering::SeqCst);
    // All parts have ended, and the agent waits.
    world.sleepers = 1;
    world.clock.set(world.clock.awaited()[0]);
    // One sleeper is left for a moment before the panic, too.
    let began = Instant::now();
    while world.told.is_empty() && began.elapsed() < Duration::from_secs(60) {
        world.settle().await;
    }
    world.settle().await;
    assert_eq!(world.news(), ["event critical archive/defect"]);
    let text = world.texts.last().unwrap();
    assert!(text.contains("a part of the agent ended by a defect of gatepost"), "{text}");
    world.sleepers = 2;
    world.clock.set(world.clock.awaited()[0]);
    world.settle().await;
    world.pass(10).await;
    assert_eq!(world.news(), [""; 0]);
    assert_eq!(world.state("journal").await, "ok");
    assert_eq!(gateway.uids("INBOX"), [0u32; 0]);
    let (archive, _folder) = world.end().await;
    assert_eq!(filed(&archive), BTreeMap::from([("<1@corp.example>".to_owned(), 1)]));
}
