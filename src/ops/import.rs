//! `gatepost import`: mail that lies in files, filed for named people or by its own headers.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::exit::{Exit, Failure, of_cycle};
use super::indexing;
use super::output;
use super::wiring::{self, Global, Running};
use crate::agent::import::{Filed, ImportReport, Order, Owners, Skipped, Target, import as run};
use crate::agent::place::{Into, Owner, new_person};
use crate::agent::rules::Rules;
use crate::agent::{CycleError, route};
use crate::archive::{Catalogue, Folder, PersonRecord};
use crate::base::address::Address;
use crate::config::Settings;
use crate::people::{People, Person, PersonId, Who, created_person};
use crate::sources::Intake;
use crate::sources::files::{self, Pattern, Quoting};

/// File mail that lies in files already: eml, mbox, Maildir, and trees of them
///
/// Nothing is changed or deleted there. Without --person, --map or --people-from-folders each mail is filed by its own
/// headers. The same import again goes on where an earlier one ended, and brings nothing twice. Journal reports are
/// filed by their envelopes, as on a gateway.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Mails (.eml), mbox files, Maildirs, or folders with any of them (Thunderbird's, MailStore's exports)
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// All of it is this person's mail
    #[arg(long, value_name = "ID", conflicts_with = "by_headers")]
    person: Option<String>,
    /// File by the mail's own headers (also what --map and --people-from-folders say nothing about)
    #[arg(long)]
    by_headers: bool,
    /// What lies in these folders is this person's (`*` and `?` stand for any text); may be given several times
    #[arg(long, value_name = "FOLDER=ID", value_parser = mapping)]
    map: Vec<(String, String)>,
    /// The first level of folders names the people: ids, addresses or names, also as `Archive of NAME`
    #[arg(long, conflicts_with = "person")]
    people_from_folders: bool,
    /// Into Inbox, or into Sent; `auto`: Sent what is from that person or lies in a folder of sent mail
    #[arg(long, value_enum, default_value_t = InFolder::Auto, value_name = "FOLDER")]
    folder: InFolder,
    /// How mbox files quote lines that begin with `From `; without it, by what each file shows
    #[arg(long, value_enum, value_name = "KIND")]
    mbox: Option<Mbox>,
    /// Make an archive for who is named and not known
    #[arg(long)]
    create_person: bool,
    /// Read and decode everything and tell what would happen; archive nothing
    #[arg(long)]
    dry_run: bool,
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum InFolder {
    Inbox,
    Sent,
    Auto,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Mbox {
    /// `>` before every line of `>`s and `From `: one is taken off
    Rd,
    /// `>` before `From ` alone: the mail stays as it stands
    O,
    /// Content-Length says where a mail ends
    Cl,
}

fn mapping(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((folder, person)) if !folder.trim().is_empty() && !person.trim().is_empty() => {
            Ok((folder.trim().to_owned(), person.trim().to_owned()))
        }
        _ => Err("a mapping is FOLDER=ID: `*/Anna=anna@corp.example`".into()),
    }
}

pub fn import(global: &Global, args: &Args) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    for notice in &settings.notices {
        output::note(&format!("notice: {notice}"));
    }
    let layout = wiring::layout_of(&settings.archive);
    let paths: Vec<PathBuf> = args.paths.iter().map(|path| wiring::absolute(path)).collect::<Result<_, _>>()?;
    for path in &paths {
        if let Some(refusal) = files::refusal(path) {
            return Err(Failure::usage(refusal.what).hint(refusal.hint));
        }
        if is_within(path, &layout.root) {
            let what = format!("{} is part of the archive itself", path.display());
            return Err(Failure::usage(what).hint("`gatepost export` writes mail that can be imported elsewhere"));
        }
    }
    // Everybody must be known before anything is made.
    let catalogue = if layout.identity_file().exists() { Some(Catalogue::of(&layout)?) } else { None };
    let people = Arc::new(wiring::people(&settings, catalogue.as_ref())?);
    let known = Known { people: &people, create: args.create_person };
    let order = Order {
        owners: owners(&known, args, &paths)?,
        paths,
        quoting: args.mbox.map(|mbox| match mbox {
            Mbox::Rd => Quoting::Rd,
            Mbox::O => Quoting::O,
            Mbox::Cl => Quoting::Cl,
        }),
        into: match args.folder {
            InFolder::Inbox => Into::Told(Folder::Inbox),
            InFolder::Sent => Into::Told(Folder::Sent),
            InFolder::Auto => Into::Auto,
        },
        host: wiring::machine(),
    };
    let rules = Arc::new(Rules::new(people.clone(), settings.policies.clone(), settings.decode.clone()));
    let started = Instant::now();
    let mut watch = Watch::new(!args.json, started);
    let runtime = wiring::runtime()?;
    let outcome = if args.dry_run {
        let spool = tempfile::tempdir()?;
        let intake = Intake::new(settings.archive.window_bytes, spool.path().to_owned());
        let target = Target::Rehearsal(&intake);
        let mut tell = |report: &ImportReport| watch.tell(report);
        let work = run(&target, &order, &rules, catalogue.as_ref(), &mut tell);
        let done = runtime.block_on(or_told_to_stop(work));
        done.map(|(report, error)| (report, error.map(Failure::from), Vec::new()))
    } else {
        drop(catalogue);
        archive(global, &settings, &order, &rules, &runtime, &mut watch)?
    };
    watch.end();
    let Some((mut report, failure, recovered)) = outcome else {
        return Err(Failure {
            exit: Exit::Attention,
            what: "interrupted; what was archived stands".into(),
            hint: Some("run the same import again: it goes on where it stopped".into()),
            refused: false,
        });
    };
    report.seconds = (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    for line in &recovered {
        output::note(&format!("recovered: {line}"));
    }
    if args.json {
        output::json(&report)?;
    } else {
        print(&report);
    }
    if !args.dry_run {
        runtime.block_on(or_told_to_stop(indexing::catch_up(global, &settings)));
    }
    failure.map_or(Ok(()), Err)?;
    Ok(if report.needs_attention() { Exit::Attention } else { Exit::Ok })
}

type Outcome = Option<(ImportReport, Option<Failure>, Vec<String>)>;

/// `None`: it was told to stop.
async fn or_told_to_stop<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = wiring::told_to_stop() => None,
    }
}

fn archive(
    global: &Global,
    settings: &Settings,
    order: &Order,
    rules: &Arc<Rules>,
    runtime: &tokio::runtime::Runtime,
    watch: &mut Watch,
) -> Result<Outcome, Failure> {
    let running = Running::start(settings, global.create_archive, "import")?;
    let catalogue = Catalogue::of(&wiring::layout_of(&settings.archive))?;
    let recovered = running.mended.clone();
    let work = async {
        let before = running.agent.archive.commit().await.map_err(CycleError::from)?;
        let target = Target::Archive(&running.agent);
        let (report, error) = run(&target, order, rules, Some(&catalogue), &mut |report| watch.tell(report)).await;
        Ok::<_, CycleError>((report, error, before))
    };
    let done = runtime.block_on(or_told_to_stop(work)).transpose()?;
    let noted = match done {
        None => None,
        // The archive's end is told by whoever ended it.
        Some((report, Some(error), _)) => {
            let (exit, failure) = (of_cycle(&error), Failure::from(error));
            Some((report, Some(Failure { exit, ..failure })))
        }
        Some((mut report, None, before)) => {
            let what = serde_json::json!({ "paths": order.paths, "report": &report });
            let who = wiring::user();
            let noted = runtime.block_on(running.agent.archive.call(move |core| {
                core.close()?;
                // What brought nothing new leaves nothing behind.
                if core.head() != before {
                    core.event("import", &who, what)?;
                }
                core.rest()
            }));
            match noted {
                Ok(head) => {
                    report.head = Some(head).filter(|head| head.seq > 0);
                    Some((report, None))
                }
                Err(error) => Some((report, Some(error.into()))),
            }
        }
    };
    drop(catalogue);
    let finished = running.finish();
    match noted {
        Some((report, None)) => {
            finished?;
            Ok(Some((report, None, recovered)))
        }
        Some((report, failure)) => Ok(Some((report, failure, recovered))),
        None => finished.map(|()| None),
    }
}

/// Links are followed as far as there are any, so that another spelling does not get by.
fn is_within(path: &Path, root: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real(path).starts_with(real(root))
}

/// Who can be named.
struct Known<'a> {
    people: &'a People,
    create: bool,
}

fn owners(known: &Known<'_>, args: &Args, paths: &[PathBuf]) -> Result<Owners, Failure> {
    let mut patterns = Vec::new();
    for (folder, person) in &args.map {
        patterns.push((Pattern::new(folder), known.named(person)?));
    }
    let first_level = if args.people_from_folders { Some(known.of_folders(paths, &patterns)?) } else { None };
    let told = !patterns.is_empty() || first_level.is_some();
    let rest = match &args.person {
        Some(person) => Some(Owner::Person(known.named(person)?)),
        None => (args.by_headers || !told).then_some(Owner::Headers),
    };
    Ok(Owners { patterns, first_level, rest })
}

impl Known<'_> {
    /// The person by that id, in any case of letters, or by an address.
    fn find(&self, text: &str) -> Option<&Person> {
        let id = PersonId::checked(text).ok()?;
        let by_id = self.people.get(&id).or_else(|| self.people.persons().find(|one| one.id.folded() == id.folded()));
        by_id.or_else(|| match self.people.who(&Address::parse(text)?, Timestamp::now()) {
            Who::Owner(id) => self.people.get(&id),
            Who::UnknownInternal | Who::External | Who::Machine => None,
        })
    }

    /// Somebody whose archive may be made.
    fn made(&self, text: &str) -> Result<Option<PersonRecord>, Failure> {
        let address = Address::parse(text);
        // Whatever the policy is for addresses in mail: this one was typed, and may be mistyped.
        if !self.create {
            return Ok(None);
        }
        let id = PersonId::checked(text)
            .map_err(|bad| Failure::usage(format!("no archive can have this name: {}", bad.what)).hint(bad.hint))?;
        Ok(Some(match address {
            Some(address) => {
                let person = created_person(&address);
                new_person(person.id.as_str(), person.addresses.keys().next())
            }
            None => new_person(id.as_str(), None),
        }))
    }

    fn named(&self, text: &str) -> Result<Arc<PersonRecord>, Failure> {
        if let Some(person) = self.find(text) {
            return Ok(Arc::new(route::record_of(person)));
        }
        match self.made(text)? {
            Some(person) => Ok(Arc::new(person)),
            None => Err(self.nobody(&format!("nobody here is called `{text}`"), &[text])),
        }
    }

    /// An error that lists who may have been meant.
    fn nobody(&self, what: &str, texts: &[&str]) -> Failure {
        let mut alike: Vec<(f64, &str)> = Vec::new();
        for text in texts.iter().map(|text| text.to_lowercase()) {
            alike.extend(self.people.persons().filter_map(|person| {
                let id = person.id.as_str();
                // What they have in common by their domain makes no two people alike.
                let score = strsim::jaro_winkler(before_at(&text), before_at(&id.to_lowercase()));
                (score >= 0.78).then_some((score, id))
            }));
        }
        alike.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        let mut names: Vec<String> = Vec::new();
        for (_, id) in alike {
            let name = format!("`{id}`");
            if !names.contains(&name) && names.len() < 5 {
                names.push(name);
            }
        }
        let create = "--create-person makes an archive";
        Failure::usage(what).hint(match names.is_empty() {
            false => format!("did you mean {}? `gatepost people` shows all; {create}", names.join(" or ")),
            true => format!("`gatepost people` shows who has an archive; {create}"),
        })
    }

    /// Whose each folder of the first level is. MailStore calls them `Archive of NAME` in its own language.
    fn of_folders(
        &self,
        paths: &[PathBuf],
        patterns: &[(Pattern, Arc<PersonRecord>)],
    ) -> Result<HashMap<String, Arc<PersonRecord>>, Failure> {
        let mut found = HashMap::new();
        let mut unknown = Vec::new();
        for path in paths.iter().filter(|path| path.is_dir()) {
            let folders = files::first_level(path)
                .map_err(|error| Failure::usage(format!("cannot read the folder {}: {error}", path.display())))?;
            for folder in folders {
                if patterns.iter().any(|(pattern, _)| pattern.fits(&folder)) {
                    continue;
                }
                let name = ["Archive of ", "Archiv von "].iter().find_map(|start| folder.strip_prefix(start));
                let name = name.unwrap_or(&folder);
                let person = match self.find(name).or_else(|| self.by_name(name)) {
                    Some(person) => Some(route::record_of(person)),
                    None => self.made(name)?,
                };
                match person {
                    Some(person) => {
                        output::note(&output::safe(&format!("notice: folder {folder} is {}'s", person.person)));
                        found.insert(folder, Arc::new(person));
                    }
                    None => unknown.push((name.to_owned(), folder)),
                }
            }
        }
        if unknown.is_empty() {
            return Ok(found);
        }
        let shown: Vec<String> = unknown.iter().take(5).map(|(_, folder)| format!("`{folder}`")).collect();
        let more = if unknown.len() > 5 { format!(" and {} more", unknown.len() - 5) } else { String::new() };
        let what = format!("no person is known for {}{more}", shown.join(", "));
        let names: Vec<&str> = unknown.iter().take(5).map(|(name, _)| name.as_str()).collect();
        let failure = self.nobody(&what, &names);
        let hint = failure.hint.clone().unwrap_or_default();
        Err(failure.hint(format!("{hint}; --map FOLDER=ID names the person of a folder")))
    }

    /// By the person's own name, or by what stands before the `@`, when that is one person's only.
    fn by_name(&self, name: &str) -> Option<&Person> {
        let folded = name.to_lowercase();
        let is_named = |person: &&Person| person.name.as_ref().is_some_and(|own| own.to_lowercase() == folded);
        let is_local = |person: &&Person| person.addresses.keys().any(|address| address.local() == folded);
        let only = |fits: &dyn Fn(&&Person) -> bool| {
            let mut fitting = self.people.persons().filter(|person| fits(person));
            fitting.next().filter(|_| fitting.next().is_none())
        };
        only(&is_named).or_else(|| only(&is_local))
    }
}

fn before_at(text: &str) -> &str {
    text.split('@').next().unwrap_or(text)
}

/// Tells how far it is, when somebody watches.
struct Watch {
    watched: bool,
    started: Instant,
    last: Option<Instant>,
}

impl Watch {
    fn new(wanted: bool, started: Instant) -> Watch {
        Watch { watched: wanted && std::io::stderr().is_terminal(), started, last: None }
    }

    fn tell(&mut self, report: &ImportReport) {
        let now = Instant::now();
        if !self.watched || self.last.is_some_and(|last| now - last < Duration::from_millis(200)) {
            return;
        }
        self.last = Some(now);
        let rate = report.bytes as f64 / 1e6 / (now - self.started).as_secs_f64().max(0.001);
        output::progress(&format!("importing: {}, {rate:.1} MB/s", output::plural(report.listed, "mail", "mails")));
    }

    fn end(&self) {
        if self.last.is_some() {
            output::progress("");
        }
    }
}

/// A report for people.
fn print(report: &ImportReport) {
    let mut parts = Vec::new();
    let mut say = |count: u64, word: &str| {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    };
    say(report.archived, if report.dry_run { "would be archived" } else { "archived" });
    say(report.already_archived, "already archived");
    say(report.quarantined, if report.dry_run { "would be quarantined" } else { "quarantined" });
    say(report.excluded, "excluded");
    say(report.failed, "failed");
    say(report.pending, "pending");
    let what = if parts.is_empty() { "no mail was found".to_owned() } else { parts.join(", ") };
    let files = output::plural(report.files, "file", "files");
    output::line(&format!("{what} ({} of {files} in {:.1} s)", output::bytes(report.bytes), report.seconds));
    for (kind, count) in &report.mbox {
        output::line(&format!("    {} read as {kind}", output::plural(*count, "mbox", "mboxes")));
    }
    for (person, Filed { inbox, sent }) in &report.would_file {
        output::line(&output::safe(&format!("    {person}: {inbox} in Inbox, {sent} in Sent")));
    }
    if report.reports > 0 {
        let reports = output::plural(report.reports, "journal report", "journal reports");
        output::line(&format!("    {reports} among them, filed by what their envelopes say"));
    }
    for (policy, count) in &report.excluded_by {
        output::line(&output::safe(&format!("    {count} excluded by {policy}")));
    }
    let Skipped { deleted, empty, links, special, outlook, packed, nobodys, other } = report.skipped;
    let mut left = Vec::new();
    for (count, one, many) in [
        (deleted, "mail marked as deleted", "mails marked as deleted"),
        (empty, "empty one", "empty ones"),
        (links, "symbolic link", "symbolic links"),
        (special, "pipe, socket or device", "pipes, sockets or devices"),
        (other, "file that is no mail", "files that are no mail"),
    ] {
        if count > 0 {
            left.push(output::plural(count, one, many));
        }
    }
    if !left.is_empty() {
        output::line(&format!("    skipped: {}", left.join(", ")));
    }
    let warn = |text: String| output::note(&format!("warning: {}", output::safe(&text)));
    for problem in &report.problems {
        warn(format!("{}: {}", problem.path, problem.why));
    }
    if report.failed > report.problems.len() as u64 {
        warn(format!("{} more could not be read", report.failed - report.problems.len() as u64));
    }
    if outlook > 0 {
        warn(format!("{} in Outlook's formats (.msg, .pst) not read", output::plural(outlook, "file", "files")));
        output::note(
            "  hint: export them from Outlook as eml, or let Thunderbird or `readpst -r` make mbox files of them",
        );
    }
    if packed > 0 {
        warn(format!("{} not read", output::plural(packed, "packed file", "packed files")));
        output::note("  hint: unpack them, and import again");
    }
    if nobodys > 0 {
        warn(format!("{} in folders that no person was named for", output::plural(nobodys, "mail", "mails")));
        output::note("  hint: --map FOLDER=ID names one, --by-headers files them by their own headers");
    }
    if report.quarantined > 0 && !report.dry_run {
        warn(format!(
            "{} in quarantine, not decoded; the bytes are archived (`gatepost quarantine list`)",
            output::plural(report.quarantined, "mail", "mails")
        ));
    }
    if report.dry_run {
        output::line("    (a rehearsal: nothing was archived)");
    }
    if let Some(head) = &report.head {
        output::line(&format!("    head {head}"));
    }
}
