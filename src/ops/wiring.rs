//! From the configuration to the parts: the archive, the agent, the people, the sources.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory;
use super::exit::Failure;
use super::login::Gate;
use crate::agent::pace::Pacing;
use crate::agent::policies::Policies;
use crate::agent::rules::Rules;
use crate::agent::{Agent, Profile};
use crate::archive::{Catalogue, IMPORT, Layout, Limits, OpenOptions, Provenance, Writer};
use crate::base::address::Address;
use crate::base::clock::{Clock, SystemClock};
use crate::base::fsio::Fs;
use crate::base::owner::User;
use crate::config::{self, ArchiveSettings, ProfileSettings, Settings};
use crate::journal::DecodeOptions;
use crate::people::directory::Roster;
use crate::people::{Merged, Origin, People, PeopleOptions, Person, PersonId, UNASSIGNED};
use crate::sources::SourceOptions;

/// What stands before the command.
#[derive(Clone, Debug, Default)]
pub struct Global {
    pub config: Option<PathBuf>,
    pub archive: Option<PathBuf>,
    pub create_archive: bool,
}

pub fn settings(global: &Global) -> Result<Settings, Failure> {
    let mut settings = config::load(&config::find(global.config.as_deref())?)?;
    if let Some(archive) = &global.archive {
        settings.archive.path = std::path::absolute(archive)?;
        settings.archive.catalogue = None;
    }
    Ok(settings)
}

/// The archive's place, for commands that only read: `--archive` alone is enough.
pub fn layout(global: &Global) -> Result<Layout, Failure> {
    match &global.archive {
        Some(archive) => Ok(Layout::new(&std::path::absolute(archive)?, None)),
        None => Ok(layout_of(&settings(global)?.archive)),
    }
}

pub fn layout_of(archive: &ArchiveSettings) -> Layout {
    Layout::new(&archive.path, archive.catalogue.as_deref())
}

/// An archive open for writing, and the agent on it.
pub struct Running {
    pub agent: Agent,
    pub writer: Writer,
    pub mended: Vec<String>,
    pub gate: Gate,
}

impl Running {
    pub fn start(settings: &Settings, create_in_empty: bool, command: &str) -> Result<Running, Failure> {
        Running::start_with(settings, create_in_empty, command, Arc::new(SystemClock))
    }

    pub fn start_with(
        settings: &Settings,
        create_in_empty: bool,
        command: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Running, Failure> {
        owned_by_this_user(&settings.archive.path)?;
        let fs = Fs::from_environment().map_err(Failure::usage)?;
        let (writer, mended) = Writer::open(OpenOptions {
            layout: layout_of(&settings.archive),
            create_missing: true,
            create_in_empty,
            limits: Limits { pack_bytes_max: settings.archive.pack_bytes_max, ..Limits::default() },
            fs: fs.clone(),
            clock: clock.clone(),
            holder: holder(command),
        })?;
        let archive = &settings.archive;
        let agent =
            Agent::start(writer.handle(), &archive.path, archive.window_bytes, archive.reserve, fs, clock.clone())?;
        let agent = agent.shared_by(settings.profiles.len());
        let gate = Gate::of(settings, clock);
        Ok(Running { agent, writer, mended, gate })
    }

    /// With a disk of the test's own.
    pub fn measured_by(mut self, measure: super::run::Measure) -> Running {
        self.agent = self.agent.measured_by(Box::new(move |_, _| measure()));
        self
    }

    /// Commits what is open and gives the lock back.
    pub fn finish(self) -> Result<(), Failure> {
        drop(self.agent);
        Ok(self.writer.finish()?)
    }
}

/// Refuses to write into somebody else's archive: what root leaves there the service cannot open any more.
fn owned_by_this_user(archive: &Path) -> Result<(), Failure> {
    // Of an archive that is not there yet, whose folder it is made in does not matter.
    let (Some(owner), Some(me)) = (User::of(archive), User::current()) else { return Ok(()) };
    if owner == me {
        return Ok(());
    }
    let (owner, me) = (owner.shown(), me.shown());
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let what =
        format!("the archive {} belongs to the user {owner}, and this is {me}; nothing was done", archive.display());
    let command =
        format!("run it as that user: sudo -u {owner} gatepost {}", super::output::safe(&arguments.join(" ")));
    Err(Failure::usage(what).hint(command))
}

/// Calls `on` for each SIGHUP; never returns. Where there is no such signal it never calls.
pub async fn hangups<F: Future<Output = ()>>(on: impl Fn() -> F) -> Infallible {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut hangup) = signal(SignalKind::hangup()) {
            while hangup.recv().await.is_some() {
                on().await;
            }
        }
    }
    let _ = &on;
    std::future::pending().await
}

/// Who holds the lock, for whoever finds it taken.
pub fn holder(command: &str) -> String {
    let user = user();
    let since = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S %:z");
    format!("`gatepost {command}` (process {}, user {user}, since {since})", std::process::id())
}

/// Who asked, for the archive's records.
pub fn user() -> String {
    // Not what the environment says: that can be anything.
    let named = || std::env::var("USERNAME").or_else(|_| std::env::var("USER")).ok();
    User::current().map(User::shown).or_else(named).unwrap_or_else(|| "?".into())
}

/// This machine's name, for the archive's records.
pub fn machine() -> String {
    let named = |text: String| Some(text.trim().to_owned()).filter(|name| !name.is_empty());
    let told = std::env::var("COMPUTERNAME").ok().and_then(named);
    let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok().and_then(named);
    told.or_else(kernel)
        .or_else(|| std::env::var("HOSTNAME").ok().and_then(named))
        .unwrap_or_else(|| "localhost".into())
}

/// The rules by which archived items are judged anew: those of the profile that brought each, and for what no
/// profile brings any more, those of `[people]`.
pub fn rules_of(settings: &Settings, people: &Arc<People>) -> impl Fn(Option<&Provenance>) -> Arc<Rules> + use<> {
    let of = |policies: &Policies, decode: &DecodeOptions| {
        Arc::new(Rules::new(people.clone(), policies.clone(), decode.clone()))
    };
    let default = of(&settings.policies, &settings.decode);
    let profiles: Vec<(String, String, Vec<String>, Arc<Rules>)> = settings
        .profiles
        .iter()
        .map(|profile| {
            let (rules, source) = (of(&profile.policies, &profile.decode), &profile.source);
            (source.host(), source.login().to_owned(), source.folders(), rules)
        })
        .collect();
    move |from| {
        let Some(from) = from.filter(|from| from.kind != IMPORT) else { return default.clone() };
        let mut fit = profiles.iter().filter(|(host, login, _, _)| *host == from.host && *login == from.login);
        // Of two profiles on one account it is the one that polls the folder.
        let polls = fit.clone().find(|(_, _, folders, _)| folders.contains(&from.folder));
        polls.or_else(|| fit.next()).map_or_else(|| default.clone(), |(_, _, _, rules)| rules.clone())
    }
}

/// The profile that brought an item, if there still is one.
pub fn profile_of<'a>(settings: &'a Settings, host: &str, login: &str, folder: &str) -> Option<&'a ProfileSettings> {
    let polls = |profile: &&ProfileSettings| {
        let source = &profile.source;
        source.host() == host && source.login() == login && source.folders().iter().any(|polled| polled == folder)
    };
    settings.profiles.iter().find(polls)
}

pub fn profile(settings: &ProfileSettings) -> Profile {
    Profile {
        name: settings.name.clone(),
        folders: settings.source.folders(),
        delete: settings.delete,
        delete_after: settings.delete_after,
        delete_excluded: settings.delete_excluded,
        look_at_excluded: false,
        delete_quarantined: settings.delete_quarantined,
        role: settings.role,
        expect: settings.expect,
        policies: settings.policies.clone(),
        decode: settings.decode.clone(),
        pacing: Pacing { bandwidth: settings.bandwidth, ..Pacing::default() },
    }
}

/// The people as they are known now: configuration and CSV, the directory's last good list, and whoever the archive
/// knows from earlier runs. Asks nobody.
pub fn people(settings: &Settings, catalogue: Option<&Catalogue>) -> Result<People, Failure> {
    let roster = directory::kept(settings)?;
    if let (None, Some(directory)) = (&roster, &settings.directory) {
        return Err(Failure::usage(format!("the people of {} were never fetched", directory.source()))
            .hint("`gatepost once` asks the directory first; `gatepost people refresh` does only that"));
    }
    people_with(settings, catalogue, roster.map(Arc::new))
}

/// The same with another list of the directory.
pub fn people_with(
    settings: &Settings,
    catalogue: Option<&Catalogue>,
    roster: Option<Arc<Roster>>,
) -> Result<People, Failure> {
    let (mut existing, mut merged) = (Vec::new(), Vec::new());
    if let Some(catalogue) = catalogue {
        for record in catalogue.persons()? {
            if record.person == UNASSIGNED {
                continue;
            }
            // Only what a rule made is remembered; the rest is as the configuration and the CSV say now.
            let origin = match record.origin.as_str() {
                "config" => Origin::Config,
                "csv" => Origin::Csv,
                "ldap" => Origin::Ldap,
                _ => Origin::Rule,
            };
            let into = record.merged_into.map(PersonId);
            let person = Person {
                id: PersonId(record.person),
                name: record.name,
                addresses: record
                    .addresses
                    .iter()
                    .filter_map(|address| Address::parse(address))
                    .map(|address| (address, origin))
                    .collect(),
                legacy: Vec::new(),
                groups: Vec::new(),
            };
            match into {
                Some(into) => merged.push(Merged { from: person, into }),
                None => existing.push(person),
            }
        }
    }
    Ok(People::build(&people_options(settings, roster), &existing)?.joined(&merged))
}

/// Where people come from, with what follows from the profiles.
pub fn people_options(settings: &Settings, roster: Option<Arc<Roster>>) -> PeopleOptions {
    let mut options = PeopleOptions { directory: roster, ..settings.people.clone() };
    for profile in &settings.profiles {
        // A copy that was sent to the gateway itself says nothing about who it is for. Somebody who was
        // named as a person on purpose stays one.
        if let Some(address) = Address::parse(profile.source.login())
            && !options.persons.iter().any(|person| person.addresses.contains_key(&address))
        {
            options.never_owners.push(address);
        }
    }
    options
}

/// Those profiles that a command is about.
pub fn chosen<'a>(settings: &'a Settings, name: Option<&str>) -> Result<Vec<&'a ProfileSettings>, Failure> {
    match name {
        None => Ok(settings.profiles.iter().collect()),
        Some(name) => match settings.profiles.iter().find(|profile| profile.name == name) {
            Some(profile) => Ok(vec![profile]),
            None => {
                let names = settings.profiles.iter().map(|profile| profile.name.as_str());
                let known = names.clone().collect::<Vec<_>>().join(", ");
                let failure = Failure::usage(format!("there is no profile `{name}`"));
                Err(match config::nearest(name, names) {
                    Some(near) => failure.hint(format!("did you mean `{near}`?")),
                    None => failure.hint(format!("the profiles are: {known}")),
                })
            }
        },
    }
}

/// A password that cannot be had is a mistake in the configuration: told before anything is made or asked.
pub fn passwords(profiles: &[&ProfileSettings]) -> Result<(), Failure> {
    let mistakes: Vec<_> = profiles.iter().filter_map(|profile| profile.source_options().err()).collect();
    if mistakes.is_empty() { Ok(()) } else { Err(config::ConfigErrors(mistakes).into()) }
}

/// What a session needs. Secrets may come from commands, which take their time: meanwhile the others go on.
pub async fn source_options(profile: &ProfileSettings) -> Result<SourceOptions, Failure> {
    let profile = profile.clone();
    match tokio::task::spawn_blocking(move || profile.source_options()).await {
        Ok(options) => Ok(options?),
        Err(_) => Err(Failure::usage("the login's secret could not be fetched: gatepost failed unexpectedly")),
    }
}

pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Ends when the process is told to: Ctrl-C, or SIGTERM.
pub async fn told_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without a handler there is no signal to wait for; the default action applies.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A command's path argument, as the user meant it.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    Ok(std::path::absolute(path)?)
}
