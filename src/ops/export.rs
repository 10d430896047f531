//! `gatepost export`, `verify-export`, `record`: taking mail along, and whether it is what it was. Never writes to an
//! archive, never waits for the agent.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::cli::FilterArgs;
use super::exit::{Exit, Failure};
use super::output;
use super::read::{filter_of, person_of};
use super::search::{parsed, up_to_date};
use super::wiring::{self, Global};
use crate::archive::search::Request;
use crate::archive::{
    self, ArchiveError, Entries, ErrorKind, ExportCheck, ExportFormat, ExportKind, ExportOptions, ExportReport, Filter,
    Phase, Reader, Selection, VolumeLimits, Watch,
};
use crate::base::units;

#[derive(clap::Args)]
pub struct Args {
    /// A new or empty folder, or one of an earlier export
    #[arg(value_name = "DIR", required_unless_present = "out")]
    dir: Option<PathBuf>,
    /// The same, as an option
    #[arg(long, short, value_name = "DIR", conflicts_with = "dir", visible_alias = "output")]
    out: Option<PathBuf>,
    /// How messages are written
    #[arg(long, value_enum, default_value_t = Format::Eml)]
    format: Format,
    #[command(flatten)]
    filter: FilterArgs,
    /// What `gatepost search` finds
    #[arg(long, value_name = "QUERY")]
    search: Option<String>,
    /// Only what came into the archive since the last export into this folder; everything the first time
    #[arg(long)]
    since_last: bool,
    /// A zip file is full when it holds so much, before compression
    #[arg(long, value_name = "SIZE", value_parser = volume_size)]
    volume_size: Option<u64>,
    /// Leave Bcc lines in the messages of everybody's archives
    #[arg(long)]
    envelope: bool,
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct VerifyArgs {
    /// The folder of an export, or of a record
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Look also whether the archive has each message, and had that head
    #[arg(long)]
    against_archive: bool,
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct RecordArgs {
    /// An id, or one of the addresses; `gatepost people` shows them
    #[arg(value_name = "PERSON")]
    person: String,
    /// A new or empty folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Leave Bcc lines also in messages that the person received
    #[arg(long)]
    envelope: bool,
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A file per message, in folders by person, folder and month
    Eml,
    /// A file per person and folder (mboxrd)
    Mbox,
    /// A Maildir++ per person, as mail servers take it
    Maildir,
    /// Zip files of eml files
    Zip,
}

impl From<Format> for ExportFormat {
    fn from(format: Format) -> ExportFormat {
        match format {
            Format::Eml => ExportFormat::Eml,
            Format::Mbox => ExportFormat::Mbox,
            Format::Maildir => ExportFormat::Maildir,
            Format::Zip => ExportFormat::Zip,
        }
    }
}

fn volume_size(text: &str) -> Result<u64, String> {
    let size = units::parse_size(text).map_err(|bad| format!("{}; {}", bad.what, bad.hint))?;
    if size < 1 << 20 { Err("a volume has 1MiB at least".into()) } else { Ok(size) }
}

pub fn export(global: &Global, args: Args) -> Result<Exit, Failure> {
    let Args { dir, out, format, filter, search, since_last, volume_size, envelope, json } = args;
    if volume_size.is_some() && format != Format::Zip {
        return Err(Failure::usage("--volume-size is about zip files").hint("add --format zip"));
    }
    let layout = wiring::layout(global)?;
    let reader = Reader::open(&layout)?;
    let filter = filter_of(&reader, filter)?;
    // clap has seen to it that there is one of the two.
    let dir = wiring::absolute(&dir.or(out).unwrap_or_default())?;
    let defaults = VolumeLimits::default();
    let volume = VolumeLimits { bytes: volume_size.unwrap_or(defaults.bytes), ..defaults };
    let options = ExportOptions { envelope, since_last, volume, ..ExportOptions::new(format.into(), Timestamp::now()) };
    let selection = Selection { filter: filter.clone(), search: search.clone() };
    let job = Job { selection, dir, options, json };
    let Some(query) = search else {
        return run(&reader, &job, &mut |visit| reader.list(&filter, visit));
    };
    let limit = filter.limit;
    let request = Request { query: parsed(&query)?, filter, envelope, limit, ..Request::default() };
    // What is exported is to be all of it.
    up_to_date(&layout)?;
    run(&reader, &job, &mut |visit| match archive::search::find(&layout, &reader, &request, visit)? {
        Some(_) => Ok(()),
        None => Err(ArchiveError::new(ErrorKind::Failed, "the index of `search` was damaged meanwhile")
            .hint("run it again: the index is built anew, and the export goes on where it stopped")),
    })
}

pub fn record(global: &Global, args: &RecordArgs) -> Result<Exit, Failure> {
    let reader = Reader::open(&wiring::layout(global)?)?;
    let person = person_of(&reader, &args.person)?;
    let filter = Filter { person: Some(person), ..Filter::default() };
    let new = ExportOptions::new(ExportFormat::Eml, Timestamp::now());
    let options = ExportOptions { kind: ExportKind::Record, envelope: args.envelope, ..new };
    let selection = Selection { filter: filter.clone(), search: None };
    let dir = wiring::absolute(&args.dir)?;
    run(&reader, &Job { selection, dir, options, json: args.json }, &mut |visit| reader.list(&filter, visit))
}

struct Job {
    selection: Selection,
    dir: PathBuf,
    options: ExportOptions,
    json: bool,
}

fn run(reader: &Reader, job: &Job, entries: &mut Entries<'_>) -> Result<Exit, Failure> {
    let bar = Bar::new();
    let signals = bar.stop_on_signal()?;
    let done = crate::archive::export(reader, &job.selection, entries, &job.dir, job.options, &bar);
    bar.end();
    signals.shutdown_background();
    let report = done.map_err(|error| failure(error, job))?;
    if job.json {
        output::json(&report)?;
    } else {
        tell(&report, job);
    }
    Ok(if report.failed.iter().any(|failed| failed.damaged) {
        Exit::Damaged
    } else if report.failed.is_empty() && report.interrupted.is_none() {
        Exit::Ok
    } else {
        Exit::Attention
    })
}

/// What happened to the export, beside what failed.
fn failure(error: ArchiveError, job: &Job) -> Failure {
    let mut failure = Failure::from(error.clone());
    if matches!(error.kind, ErrorKind::NoSpace | ErrorKind::Failed) {
        failure.what = format!("{}; the export in {} is not complete", failure.what, job.dir.display());
    }
    failure
}

fn tell(report: &ExportReport, job: &Job) {
    let dir = job.dir.display();
    let mut more = Vec::new();
    if report.kept > 0 {
        more.push(format!("{} of them there already", report.kept));
    }
    if report.redacted > 0 {
        more.push(format!("{} without Bcc lines, see the manifest", report.redacted));
    }
    let more = if more.is_empty() { String::new() } else { format!(", {}", more.join(", ")) };
    let what = output::plural(report.exported, "message", "messages");
    let size = output::bytes(report.bytes);
    match (&report.manifest, report.interrupted) {
        (_, Some(_)) => output::line(&format!("{what} exported to {dir} so far ({size}){more}")),
        (None, None) if report.exported == 0 => output::line(&format!("nothing new for {dir}")),
        (None, None) => output::line(&format!("{what} stand in {dir} ({size}), nothing new{more}")),
        (Some(_), None) => output::line(&format!("{what} exported to {dir} ({size}){more}")),
    }
    if report.earlier > 0 {
        output::line(&format!("    {} of earlier runs", output::plural(report.earlier, "message", "messages")));
    }
    for one in &report.withdrawn {
        let text = format!(
            "    message {} is filed in {}'s {} no more; {} stays",
            one.id,
            one.person,
            one.folder.as_str(),
            one.file
        );
        output::line(&output::safe(&text));
    }
    if report.interrupted.is_none() {
        if job.options.kind == ExportKind::Record {
            output::line(&format!("    read it: {}", job.dir.join("index.html").display()));
        }
        output::line(&format!(
            "    check it: gatepost verify-export {dir}   (or: cd {dir} && sha256sum -c SHA256SUMS)"
        ));
    }
    for failed in &report.failed {
        let text =
            format!("error: message {} of {} {}: {}", failed.id, failed.person, failed.folder.as_str(), failed.why);
        output::note(&output::safe(&text));
    }
    if let Some(left) = report.interrupted {
        let left = output::plural(left, "message is", "messages are");
        output::note(&format!("stopped: {left} left; the same command goes on where this one stopped"));
    }
}

pub fn verify(global: &Global, args: &VerifyArgs) -> Result<Exit, Failure> {
    let reader = match args.against_archive {
        true => Some(Reader::open(&wiring::layout(global)?)?),
        false => None,
    };
    let dir = wiring::absolute(&args.dir)?;
    let bar = Bar::new();
    let done = crate::archive::verify_export(&dir, reader.as_ref(), &bar);
    bar.end();
    let check = done?;
    if args.json {
        output::json(&check)?;
    } else {
        tell_check(&check, &args.dir);
    }
    Ok(if check.is_good() { Exit::Ok } else { Exit::Attention })
}

fn tell_check(check: &ExportCheck, dir: &std::path::Path) {
    for difference in &check.differences {
        output::note(&output::safe(&format!("{}: {}", difference.file, difference.what)));
    }
    let count = check.differences.len() as u64 + check.further_differences;
    let what = output::safe(&check.selection);
    let of = match check.kind {
        Some(ExportKind::Record) => "a record",
        Some(ExportKind::Export) | None => "an export",
    };
    if count > 0 {
        let differences = output::plural(count, "difference", "differences");
        output::note(&format!("{differences}: {} is not what its manifest says", dir.display()));
        return;
    }
    output::line(&format!(
        "{} is what its manifest says: {of} of {what}, {} in {} ({})",
        dir.display(),
        output::plural(check.messages, "message", "messages"),
        output::plural(check.files, "file", "files"),
        output::bytes(check.bytes)
    ));
    if let Some(head) = check.head {
        let said = if check.against_archive { ", which the archive had; it has each message" } else { "" };
        output::line(&format!("    up to the archive's head {head}{said}"));
    }
    if check.not_exported > 0 {
        let lost = output::plural(check.not_exported, "message", "messages");
        output::line(&format!("    {lost} could not be exported then: \"failed\" in the manifest says why"));
    }
}

/// What a person at the terminal sees of long work; nothing when there is none. Knows also when to stop.
struct Bar {
    bar: Option<ProgressBar>,
    messages: AtomicU64,
    of: AtomicU64,
    exporting: AtomicBool,
    stop: Arc<AtomicBool>,
}

impl Bar {
    fn new() -> Bar {
        let bar = std::io::stderr().is_terminal().then(|| {
            // Ten times a second is as often as anybody can read.
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            bar.set_style(style("{msg}"));
            bar.set_message("looking at what there is");
            bar
        });
        Bar {
            bar,
            messages: AtomicU64::new(0),
            of: AtomicU64::new(0),
            exporting: AtomicBool::new(false),
            stop: Arc::default(),
        }
    }

    /// The first Ctrl-C ends the work in good order, the second one at once.
    fn stop_on_signal(&self) -> Result<tokio::runtime::Runtime, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let stop = self.stop.clone();
        runtime.spawn(async move {
            wiring::told_to_stop().await;
            stop.store(true, Ordering::Relaxed);
            wiring::told_to_stop().await;
            std::process::exit(Exit::Attention.code().into());
        });
        Ok(runtime)
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Watch for Bar {
    fn begin(&self, phase: Phase, messages: u64, bytes: u64) {
        let Some(bar) = &self.bar else { return };
        self.messages.store(0, Ordering::Relaxed);
        self.of.store(messages, Ordering::Relaxed);
        self.exporting.store(phase == Phase::Exporting, Ordering::Relaxed);
        bar.reset();
        bar.set_length(bytes);
        bar.set_style(style("{msg}  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left"));
        bar.enable_steady_tick(Duration::from_millis(250));
        self.done(0, 0);
    }

    fn done(&self, messages: u64, bytes: u64) {
        let Some(bar) = &self.bar else { return };
        let messages = self.messages.fetch_add(messages, Ordering::Relaxed) + messages;
        let word = if self.exporting.load(Ordering::Relaxed) { "exporting" } else { "checking" };
        bar.set_message(format!("{word} {messages} of {}", self.of.load(Ordering::Relaxed)));
        bar.inc(bytes);
    }

    fn is_told_to_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
