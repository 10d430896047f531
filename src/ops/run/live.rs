//! What the parts of a running agent share: how each profile is, which alarms last, and the way to have a cycle run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{Measure, Surroundings};
use crate::agent::alarms::{Book, Condition, Kind, Message, Severity, spell};
use crate::agent::disk::Room;
use crate::agent::health::{Health, Pause, Terms, Thresholds};
use crate::agent::logins::Asked;
use crate::agent::report::ProfileReport;
use crate::archive::{ArchiveError, Catalogue, Gateway, Head, Reader, Unsettled};
use crate::base::clock::Clock;
use crate::base::fsio::Fs;
use crate::config::{ProfileSettings, Settings};
use crate::ops::directory::Keeper;
use crate::ops::exit::{Exit, Failure};
use crate::ops::watch::queue::Queue;
use crate::ops::watch::snapshot::{ArchiveSnapshot, ProfileSnapshot, Snapshot};
use crate::ops::wiring::{self, Global, Running};
use crate::ops::{logging, standing};

/// What the agent's own loop is told.
pub enum Order {
    Apply(Box<Settings>),
}

/// Somebody wants a cycle now.
pub struct Ask {
    pub asked: Asked,
    pub look_at_excluded: bool,
    pub reply: oneshot::Sender<(ProfileReport, Exit)>,
}

/// So many wait for a cycle of one profile at most.
const ASKS_MAX: usize = 8;
pub struct Live {
    pub global: Global,
    pub clock: Arc<dyn Clock>,
    measure: Option<Measure>,
    pub started: Timestamp,
    pub keeper: Keeper,
    /// Something new stands in the archive.
    pub news: Notify,
    orders: mpsc::Sender<Order>,
    settings: Mutex<Arc<Settings>>,
    profiles: Mutex<BTreeMap<String, Profile>>,
    book: Mutex<Book>,
    /// On their way to the targets of alarms.
    pub queue: Queue,
    /// Hears every alarm, in tests.
    ear: Option<mpsc::UnboundedSender<Message>>,
    is_damaged: AtomicBool,
    damage: Mutex<Option<Failure>>,
    configuration: Mutex<Option<Failure>>,
    /// Text and hint.
    missing_canary: Mutex<Option<(String, String)>>,
    head: Mutex<Option<Head>>,
    volume: Mutex<Volume>,
    /// When the agent's own loop last came round.
    beat: Mutex<Timestamp>,
    /// The archive could not be opened again.
    closed: Mutex<Option<Failure>>,
}

#[derive(Clone, Copy, Default)]
pub struct Volume {
    pub items: u64,
    pub bytes_raw: u64,
    pub bytes_stored: u64,
    pub last_commit: Option<Timestamp>,
}

struct Profile {
    health: Health,
    terms: Terms,
    asks: mpsc::Sender<Ask>,
    /// News from the gateway, or resumed.
    wake: Arc<Notify>,
    is_running: bool,
    next_run: Option<Timestamp>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    pub fn start(
        global: Global,
        settings: &Arc<Settings>,
        running: &Running,
        surroundings: Surroundings,
        orders: mpsc::Sender<Order>,
    ) -> Result<Live, Failure> {
        let Surroundings { clock, measure, ear } = surroundings;
        let now = clock.now();
        let layout = wiring::layout_of(&settings.archive);
        let fs: &Fs = &running.agent.fs;
        let live = Live {
            global,
            measure,
            started: now,
            keeper: Keeper::default(),
            news: Notify::new(),
            orders,
            settings: Mutex::new(settings.clone()),
            profiles: Mutex::default(),
            book: Mutex::new(Book::open(&settings.archive.path, fs)),
            queue: Queue::open(&settings.archive.path, fs.clone(), clock.clone()),
            ear,
            is_damaged: AtomicBool::new(false),
            damage: Mutex::default(),
            configuration: Mutex::default(),
            missing_canary: Mutex::default(),
            head: Mutex::default(),
            volume: Mutex::default(),
            beat: Mutex::new(now),
            closed: Mutex::default(),
            clock,
        };
        lock(&live.book).repeat_after(settings.alarms.repeat);
        let (catalogue, reader) = (Catalogue::of(&layout)?, Reader::open(&layout)?);
        *lock(&live.head) = Some(reader.head()?).filter(|head| head.seq > 0);
        let mut healths = standing::of(settings, &catalogue, &reader, now)?;
        for profile in &settings.profiles {
            let mut health = healths.remove(&profile.name).unwrap_or_else(|| Health::new(now));
            if let Some(since) = lock(&live.book).since(Some(&profile.name), Kind::NoSuccess) {
                health.still_fails(since, &live.thresholds());
            }
            lock(&live.profiles).insert(profile.name.clone(), Profile::new(profile, health));
        }
        Ok(live)
    }

    pub fn settings(&self) -> Arc<Settings> {
        lock(&self.settings).clone()
    }

    /// The profiles of a generation, each with what it is asked by from now on.
    pub fn profiles_of(&self, settings: &Settings) -> Vec<(ProfileSettings, mpsc::Receiver<Ask>)> {
        let mut profiles = lock(&self.profiles);
        let mut of = Vec::new();
        for profile in &settings.profiles {
            let (sender, receiver) = mpsc::channel(ASKS_MAX);
            if let Some(known) = profiles.get_mut(&profile.name) {
                known.asks = sender;
                of.push((profile.clone(), receiver));
            }
        }
        of
    }

    /// Another configuration holds.
    pub fn apply(&self, settings: &Arc<Settings>) {
        *lock(&self.settings) = settings.clone();
        lock(&self.book).repeat_after(settings.alarms.repeat);
        let mut profiles = lock(&self.profiles);
        profiles.retain(|name, _| settings.profiles.iter().any(|profile| profile.name == *name));
        for profile in &settings.profiles {
            match profiles.get_mut(&profile.name) {
                Some(known) => known.terms = standing::terms(profile),
                None => {
                    let known = Profile::new(profile, Health::new(self.clock.now()));
                    profiles.insert(profile.name.clone(), known);
                }
            }
        }
        let names: Vec<&str> = settings.profiles.iter().map(|profile| profile.name.as_str()).collect();
        lock(&self.book).keep_only(&names);
        *lock(&self.configuration) = None;
    }

    /// Reads the configuration anew and has it applied; with mistakes the old one goes on.
    pub async fn reload(&self) -> Result<(), Failure> {
        let read = || -> Result<Settings, Failure> {
            let new = wiring::settings(&self.global)?;
            let old = self.settings();
            if new.archive.path != old.archive.path || new.archive.catalogue != old.archive.catalogue {
                return Err(Failure::usage("the archive has another place in the new configuration")
                    .hint("restart the agent for that; nothing was changed"));
            }
            wiring::passwords(&new.profiles.iter().collect::<Vec<_>>())?;
            logging::retarget(&new.log)?;
            Ok(new)
        };
        let result = tokio::task::block_in_place(read);
        match result {
            Ok(new) => {
                let gone = || Failure::usage("the agent is stopping");
                self.orders.send(Order::Apply(Box::new(new))).await.map_err(|_| gone())
            }
            Err(failure) => {
                *lock(&self.configuration) = Some(failure.clone());
                self.assess_archive();
                Err(failure)
            }
        }
    }

    pub async fn archive_ended(&self, running: &Running) -> ArchiveError {
        loop {
            if let Some(error) = running.agent.archive.ended() {
                return error;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    pub fn cannot_open(&self, failure: &Failure) {
        tracing::error!(
            error = failure.what,
            hint = failure.hint,
            "the archive cannot be written; it is opened again later"
        );
        if failure.exit == Exit::Damaged {
            self.damaged(failure.clone());
        }
        *lock(&self.closed) = Some(failure.clone());
        self.assess_archive();
    }

    pub fn reopened(&self) {
        if lock(&self.closed).take().is_some() {
            tracing::info!("the archive is open again");
        }
        self.assess_archive();
    }

    pub fn closed(&self) {
        let _ =
            lock(&self.book).save().inspect_err(|error| tracing::warn!(%error, "the book of alarms was not written"));
    }

    /// Nothing is collected or deleted from now on.
    pub fn damaged(&self, failure: Failure) {
        if !self.is_damaged.swap(true, Ordering::SeqCst) {
            *lock(&self.damage) = Some(failure);
            self.assess_archive();
        }
    }

    pub fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::SeqCst)
    }

    fn send(&self, messages: impl IntoIterator<Item = Message>) {
        let (head, settings) = (*lock(&self.head), self.settings());
        for mut message in messages {
            message.head = head;
            self.queue.push(&settings.alarms, &message);
            if let Some(ear) = &self.ear {
                // The test may have heard enough.
                let _ = ear.send(message);
            }
        }
    }

    /// What lasts of a profile now: told where it is news.
    pub fn assess(&self, name: &str) {
        let now = self.clock.now();
        let thresholds = self.thresholds();
        let (conditions, because) = match lock(&self.profiles).get(name) {
            Some(profile) if !self.is_damaged() && profile.health.is_known() => {
                let because = profile.health.paused.as_ref();
                let because = because.map(|pause| format!("paused by {}; its errors are forgotten", pause.by));
                (profile.health.conditions(&profile.terms, &thresholds, now), because)
            }
            // Nothing of a profile is news while the archive is damaged, and before its first cycle.
            Some(_) | None => return,
        };
        let messages = lock(&self.book).update_because(Some(name), conditions, because.as_deref(), now);
        self.send(messages);
        self.save_book();
    }

    /// What lasts of the archive and of the agent.
    pub fn assess_archive(&self) {
        let now = self.clock.now();
        let mut conditions = Vec::new();
        if let Some(damage) = &*lock(&self.damage) {
            let text = format!(
                "{}. Collecting and deleting stopped until the agent is started again",
                damage.what.trim_end_matches('.')
            );
            let hint = damage.hint.clone().unwrap_or_else(|| {
                "restore what is damaged from a backup, then `gatepost verify`; do not rebuild".to_owned()
            });
            conditions.push(Condition::new(Kind::Damaged, Severity::Critical, text).hint(hint));
        } else if let Some(closed) = lock(&self.closed).as_ref().filter(|closed| closed.exit != Exit::NoSpace) {
            let text =
                format!("the archive cannot be written: {}. Collecting paused", closed.what.trim_end_matches('.'));
            let mut condition = Condition::new(Kind::Unwritable, Severity::Critical, text);
            condition.hint = closed.hint.clone();
            conditions.push(condition);
        }
        if let Ok(room) = self.room()
            && (room.is_short() || lock(&self.closed).as_ref().is_some_and(|closed| closed.exit == Exit::NoSpace))
        {
            conditions.push(self.short_of_room(room));
        }
        if let Some(failure) = &*lock(&self.configuration) {
            let first = failure.what.lines().next().unwrap_or_default();
            let text = format!("the new configuration was not applied, the old one goes on: {first}");
            conditions.push(Condition::new(Kind::Configuration, Severity::Warning, text).hint("gatepost check"));
        }
        if let Some((text, hint)) = &*lock(&self.missing_canary) {
            conditions.push(Condition::new(Kind::Canary, Severity::Critical, text.clone()).hint(hint.clone()));
        }
        let messages = lock(&self.book).update(None, conditions, now);
        self.send(messages);
        self.save_book();
    }

    fn short_of_room(&self, room: Room) -> Condition {
        let waiting: u64 = lock(&self.profiles).values().map(|profile| profile.health.pending).sum();
        Condition::new(Kind::Disk, Severity::Critical, room.told(waiting))
            .hint("make room; collecting goes on by itself")
    }

    pub fn room(&self) -> std::io::Result<Room> {
        match &self.measure {
            Some(measure) => measure(),
            None => {
                let settings = self.settings();
                Room::of(&settings.archive.path, settings.archive.reserve)
            }
        }
    }

    fn save_book(&self) {
        if let Err(error) = lock(&self.book).save() {
            tracing::warn!(%error, "the book of alarms was not written");
        }
    }

    /// A canary was not seen in time, or was (`None`).
    pub fn canary(&self, missing: Option<(String, String)>) {
        *lock(&self.missing_canary) = missing;
        self.assess_archive();
    }

    /// What lasts, as it was told last.
    pub fn active_alarms(&self) -> Vec<Message> {
        lock(&self.book).active(self.clock.now())
    }

    pub fn event(&self, profile: Option<&str>, kind: Kind, text: String, hint: Option<String>) {
        let now = self.clock.now();
        let message = lock(&self.book).event(profile, (kind, kind.severity()), text, hint, now);
        self.send(message);
        self.save_book();
    }

    pub fn thresholds(&self) -> Thresholds {
        let settings = self.settings();
        let alarms = &settings.alarms;
        Thresholds {
            failures: alarms.failures,
            no_success_critical: alarms.no_success_critical,
            oldest_warning: alarms.oldest_warning,
            oldest_critical: alarms.oldest_critical,
            certificate: alarms.certificate_warning,
        }
    }

    /// A cycle of a profile ended.
    pub fn finished(&self, report: &ProfileReport, run: Option<u64>, open: Option<Unsettled>) {
        let now = self.clock.now();
        if let Some(head) = report.head {
            *lock(&self.head) = Some(head);
        }
        if let Some(profile) = lock(&self.profiles).get_mut(&report.name) {
            profile.health.finished(report, now);
            if let Some(open) = open {
                profile.health.open = open;
            }
        }
        let hint = run.map(|run| format!("gatepost runs show {run}"));
        for notice in report.alarms.iter().filter(|notice| !notice.kind.lasts()) {
            self.event(Some(&report.name), notice.kind, notice.text.clone(), hint.clone());
        }
        self.assess(&report.name);
        self.assess_archive();
    }

    pub fn paused(&self, name: &str) -> Option<Pause> {
        lock(&self.profiles).get(name).and_then(|profile| profile.health.paused.clone())
    }

    pub fn failures(&self, name: &str) -> u32 {
        lock(&self.profiles).get(name).map_or(0, |profile| profile.health.failures)
    }

    pub fn last_run(&self, name: &str) -> Option<Timestamp> {
        lock(&self.profiles).get(name).and_then(|profile| profile.health.last_run)
    }

    pub fn pause(&self, name: &str, pause: Pause) {
        if let Some(profile) = lock(&self.profiles).get_mut(name) {
            profile.health.pause(pause.clone());
            profile.wake.notify_one();
        }
        self.event(
            Some(name),
            Kind::Paused,
            format!("paused by {}", pause.by),
            Some(format!("gatepost resume {name}")),
        );
        self.assess(name);
    }

    pub fn resume(&self, name: &str, by: &str) {
        let now = self.clock.now();
        let mut paused = None;
        if let Some(profile) = lock(&self.profiles).get_mut(name) {
            paused = profile.health.paused.take();
            profile.health.resume(now);
            profile.wake.notify_one();
        }
        if let Some(pause) = paused {
            let lasted = spell(now.duration_since(pause.since).unsigned_abs());
            self.event(Some(name), Kind::Resumed, format!("resumed by {by} after {lasted}"), None);
        }
        self.assess(name);
    }

    pub fn wake(&self, name: &str) -> Arc<Notify> {
        lock(&self.profiles).get(name).map(|profile| profile.wake.clone()).unwrap_or_default()
    }

    /// What a profile does now; `next`: when its next cycle is due.
    pub fn runs(&self, name: &str, is_running: bool, next: Option<Timestamp>) {
        if let Some(profile) = lock(&self.profiles).get_mut(name) {
            (profile.is_running, profile.next_run) = (is_running, next);
        }
    }

    /// Has a cycle run, after the one that may be under way.
    pub async fn ask(
        &self,
        name: &str,
        asked: Asked,
        look_at_excluded: bool,
    ) -> Result<(ProfileReport, Exit), Failure> {
        let (reply, answer) = oneshot::channel();
        let asks = lock(&self.profiles).get(name).map(|profile| profile.asks.clone());
        let ask = Ask { asked, look_at_excluded, reply };
        let stopping = || {
            Failure::usage(format!("{name}: the agent is stopping or takes another configuration")).hint("try again")
        };
        asks.ok_or_else(stopping)?.send(ask).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    /// Whether all profiles that are not paused succeeded after `since`.
    pub fn all_succeeded_after(&self, since: Option<Timestamp>) -> bool {
        let profiles = lock(&self.profiles);
        let mut unpaused = profiles.values().filter(|profile| profile.health.paused.is_none()).peekable();
        unpaused.peek().is_some()
            && unpaused.all(|profile| {
                let health = &profile.health;
                health.error.is_none()
                    && health.last_success.is_some_and(|success| since.is_none_or(|since| success > since))
            })
    }

    /// When the certificate that a gateway showed ends.
    pub fn certificate_until(&self, name: &str, until: Option<Timestamp>) {
        if let Some(profile) = lock(&self.profiles).get_mut(name) {
            profile.health.certificate_until = until;
        }
        self.assess(name);
    }

    /// When what gatepost proves itself by at a gateway ends.
    pub fn proof_ends(&self, name: &str, ends: Option<(&'static str, Timestamp)>) {
        if let Some(profile) = lock(&self.profiles).get_mut(name) {
            profile.health.proof_ends = ends;
        }
        self.assess(name);
    }

    /// The agent's loop came round.
    pub fn beats(&self) {
        *lock(&self.beat) = self.clock.now();
    }

    pub fn set_volume(&self, volume: Volume) {
        *lock(&self.volume) = volume;
    }

    pub fn names(&self) -> Vec<String> {
        lock(&self.profiles).keys().cloned().collect()
    }

    /// How the agent is now.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.clock.now();
        let room = self.room().unwrap_or(Room { free: 0, reserve: 0 });
        let volume = *lock(&self.volume);
        let profiles = lock(&self.profiles);
        let profiles = profiles.iter().map(|(name, profile)| {
            let health = &profile.health;
            ProfileSnapshot {
                name: name.clone(),
                state: health.state(&profile.terms, now).as_str().to_owned(),
                is_running: profile.is_running,
                last_run: health.last_run,
                last_success: health.last_success,
                next_run: profile.next_run.filter(|_| health.paused.is_none()),
                last_item: health.last_item,
                backlog: health.backlog(),
                oldest_item_age_s: health.oldest_age(now).map(|age| age.as_secs() as i64),
                quarantined: health.open.quarantined,
                failures: health.failures,
                totals: health.totals.clone(),
            }
        });
        Snapshot {
            pid: std::process::id(),
            started: self.started,
            at: *lock(&self.beat),
            is_ready: lock(&self.closed).is_none(),
            is_damaged: self.is_damaged(),
            profiles: profiles.collect(),
            archive: ArchiveSnapshot {
                head: *lock(&self.head),
                items: volume.items,
                bytes_raw: volume.bytes_raw,
                bytes_stored: volume.bytes_stored,
                free_bytes: room.free,
                reserve_bytes: room.reserve,
                last_commit: volume.last_commit,
            },
            alarms: lock(&self.book).active(now),
        }
    }

    /// In a line, for the service manager.
    pub fn summary(&self) -> String {
        let now = self.clock.now();
        let profiles = lock(&self.profiles);
        let words = profiles
            .iter()
            .map(|(name, profile)| format!("{name}: {}", profile.health.state(&profile.terms, now).as_str()));
        let words: Vec<String> = words.collect();
        if self.is_damaged() { "the archive is damaged; nothing is collected".to_owned() } else { words.join(", ") }
    }
}

impl Profile {
    fn new(settings: &ProfileSettings, health: Health) -> Profile {
        let (asks, _) = mpsc::channel(1);
        Profile {
            health,
            terms: standing::terms(settings),
            asks,
            wake: Arc::default(),
            is_running: false,
            next_run: None,
        }
    }
}

/// What a gateway still holds without a final disposition, as the archive knows it.
pub async fn open_of(running: &Running, profile: &ProfileSettings) -> Result<Unsettled, ArchiveError> {
    let (host, login) = (profile.source.host(), profile.source.login().to_owned());
    running.agent.archive.call(move |core| core.unsettled(Gateway { host: &host, login: &login })).await
}
