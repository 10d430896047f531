//! The command line: what there is, and where each command goes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use super::exit::{Exit, Failure};
use super::orders::{self, Order};
use super::wiring::{self, Global};
use super::{
    check, configuration, demo, directory, explain, export, extract_pdf, import, init, logging, once, output, people,
    prove, quarantine, read, reconcile, refile, run, runs, search, secret, service, shell, show, status,
};
use crate::archive::search::Order as Sorting;
use crate::archive::{Folder, Head};

#[derive(Parser)]
#[command(
    name = "gatepost",
    version,
    about = "Empties a gateway or journal mailbox into per-user mail archives.\n\
             A mail leaves the gateway only after it provably stands in the archive.",
    after_help = "Exit codes: 0 all well; 1 usage or configuration; 2 new items need attention; 3 a gateway could not\n\
                  be reached or refused; 4 the archive is damaged; 5 locked by another run; 6 no space.",
    arg_required_else_help = true
)]
struct Cli {
    /// The configuration; without it $GATEPOST_CONFIG, ./gatepost.toml, then the system's place
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The archive's folder, instead of the one that the configuration names
    #[arg(long, value_name = "DIR", global = true)]
    archive: Option<PathBuf>,
    /// Make a new archive in an existing empty folder
    #[arg(long, global = true)]
    create_archive: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole job on an embedded loopback gateway with sample journal mail
    Demo {
        /// Where the archive and its configuration are left; a new temporary folder without it
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Ask a few questions, try the login and write a configuration
    Init(Box<init::Args>),
    /// Look at the configuration, the gateways, the archive and the people, without changing anything
    Check {
        #[arg(long, value_name = "NAME")]
        profile: Option<String>,
        /// Only send a test alarm to every target of `[alarms]`
        #[arg(long)]
        send_alarm: bool,
        /// Only mail the canary of `[canary]`, and wait until it stands in the archive
        #[arg(long)]
        send_test: bool,
        /// With --send-test: at most so long, instead of the canary's timeout
        #[arg(long, value_name = "TIME", requires = "send_test", value_parser = humantime::parse_duration)]
        wait: Option<std::time::Duration>,
        #[arg(long)]
        json: bool,
    },
    /// One cycle of every profile
    Once {
        #[arg(long, value_name = "NAME")]
        profile: Option<String>,
        /// Download and decode what is new and tell what would happen; archive and delete nothing
        #[arg(long)]
        dry_run: bool,
        /// Look again at what policies excluded and the gateway still has: people may have been added
        #[arg(long)]
        excluded: bool,
        /// Try also a login that was refused again and again and is to wait (`refused_retry`)
        #[arg(long)]
        retry_refused: bool,
        #[arg(long)]
        json: bool,
    },
    /// The agent: cycles on schedule until stopped
    Run,
    /// Keep a profile from running; it is kept, and its errors are forgotten
    Pause {
        #[arg(value_name = "PROFILE")]
        profile: String,
        #[arg(long)]
        json: bool,
    },
    /// Run a paused profile again
    Resume {
        #[arg(value_name = "PROFILE")]
        profile: String,
        #[arg(long)]
        json: bool,
    },
    /// Have the running agent read its configuration anew; one with mistakes changes nothing
    Reload {
        #[arg(long)]
        json: bool,
    },
    /// Have the running agent log more, or less
    LogLevel {
        /// error, warn, info, debug, trace, or as GATEPOST_LOG has it
        level: String,
        #[arg(long)]
        json: bool,
    },
    Import(Box<import::Args>),
    /// How each profile is, and what the archive holds
    Status {
        #[arg(long)]
        json: bool,
    },
    /// Past runs that did something, newest first
    Runs {
        #[command(subcommand)]
        command: Option<RunsCommand>,
        #[arg(long, value_name = "NAME")]
        profile: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
        #[arg(long)]
        json: bool,
    },
    /// How an item would be recognised, its envelope, where it would be filed, and why
    Explain {
        #[arg(value_name = "FILE.eml")]
        file: PathBuf,
        /// By this profile's policies (not needed when there is only one)
        #[arg(long, value_name = "NAME")]
        profile: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// The archives, their addresses, and where each came from
    People {
        #[command(subcommand)]
        command: Option<PeopleCommand>,
        #[arg(long)]
        json: bool,
    },
    /// Items that need a person: they could not be decoded, or the gateway never gave them
    Quarantine {
        #[command(subcommand)]
        command: QuarantineCommand,
    },
    /// File archived messages anew, after people, rules or the decoder changed
    ///
    /// Without --all, --person or --item: what is unassigned, and what older versions decoded or filed.
    Refile {
        /// Everything
        #[arg(long, conflicts_with_all = ["person", "item"])]
        all: bool,
        /// What is filed for this person
        #[arg(long, value_name = "ID", conflicts_with = "item")]
        person: Option<String>,
        /// This message; may be given several times
        #[arg(long, value_name = "N")]
        item: Vec<u64>,
        /// Show the difference; change nothing
        #[arg(long)]
        dry_run: bool,
        #[arg(long)]
        json: bool,
    },
    /// List the messages of the archives, newest first
    List {
        #[command(flatten)]
        filter: FilterArgs,
        #[arg(long)]
        json: bool,
    },
    /// Find messages by words, people and dates
    ///
    /// All of it must fit: `from:anna invoice "final offer" after:2025-01-01 has:attachment larger:1M`. A word* may go on, -word
    /// must not be there, OR joins two neighbours, parentheses group. Fields: from: to: cc: bcc: subject: body:
    /// attachment: has:attachment after: before: on: larger: smaller: message-id: in:inbox|sent person:.
    Search {
        /// What to find; several arguments are one query
        #[arg(required = true, value_name = "QUERY")]
        query: Vec<String>,
        #[command(flatten)]
        filter: FilterArgs,
        /// Search also recipients that only the envelope names (Bcc), in everybody's archives
        #[arg(long)]
        envelope: bool,
        /// The order of what is found
        #[arg(long, value_enum, default_value_t = Sort::Newest)]
        sort: Sort,
        /// The pages of --limit messages (50) that follow
        #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        page: u64,
        #[arg(long)]
        json: bool,
    },
    /// Bring the index that `search` uses up to date (it does so by itself)
    Index {
        /// Make it anew
        #[arg(long)]
        rebuild: bool,
        /// Say nothing when all is well, and let others go first
        #[arg(long)]
        quiet: bool,
        #[arg(long)]
        json: bool,
    },
    /// Show one message: its text, its attachments, its history
    Show(Box<show::Args>),
    /// Export messages as eml files, mbox, Maildir or zip, with a SHA-256 manifest
    Export(Box<export::Args>),
    /// Compare an export with its manifest; the archive is not needed
    VerifyExport(export::VerifyArgs),
    /// A person's whole record, to be handed over: every message, a page to read, a manifest
    Record(export::RecordArgs),
    /// The configuration as it was understood
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Passwords in a sealed store beside the configuration, for `password = { secret = "NAME" }`
    Secret {
        #[command(subcommand)]
        command: SecretCommand,
    },
    /// gatepost as a service of this machine
    Service(service::Args),
    /// What the gateways hold against what is recorded of it
    Reconcile {
        #[arg(long, value_name = "NAME")]
        profile: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Prove the archive whole: every byte, every item, the chain of commits
    Verify {
        /// The archive must contain this commit (from `gatepost head`, kept elsewhere)
        #[arg(long, value_name = "SEQ:HASH")]
        expect_head: Option<Head>,
        /// Only part N of M of the items; the chain is always checked
        #[arg(long, value_name = "N/M", value_parser = prove::sample)]
        sample: Option<(u32, u32)>,
        #[arg(long)]
        json: bool,
    },
    /// What reads a PDF in a process of its own: from standard input to standard output
    #[command(name = crate::text::pdf::COMMAND, hide = true)]
    ExtractPdf,
    /// The archive's head: keep it elsewhere, it proves later that nothing was changed
    Head {
        #[arg(long)]
        json: bool,
    },
    /// Make the catalogue anew from the packs
    Rebuild {
        /// Go on although items are lost, and say which
        #[arg(long)]
        accept_loss: bool,
        #[arg(long)]
        json: bool,
    },
    /// Completions for a shell, to be put where it looks for them
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// The manual: the program's page, or with --dir a page of each command
    Man {
        /// Where the pages are put
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum RunsCommand {
    /// Everything about one run
    Show {
        #[arg(value_name = "N")]
        run: u64,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Every setting with the value that holds, defaults included; of secrets only the place
    Show {
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum SecretCommand {
    /// Keep a secret: asked for twice, without being shown, or one line from a pipe
    Set {
        name: String,
        /// Taken, so that it can be refused without being repeated
        #[arg(hide = true, allow_hyphen_values = true)]
        extra: Vec<String>,
    },
    /// The names of the secrets, and when each was set
    List {
        #[arg(long)]
        json: bool,
    },
    /// Forget a secret
    Remove { name: String },
}

#[derive(Subcommand)]
enum PeopleCommand {
    /// Ask the directory now, and show what has changed
    Refresh {
        /// Take the list although many people are missing in it
        #[arg(long)]
        accept_drop: bool,
        #[arg(long)]
        json: bool,
    },
    /// Join two archives: what is filed for FROM is filed for INTO, from now on and what is there already
    Merge {
        /// The person who goes
        from: String,
        /// The person who stays
        into: String,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum QuarantineCommand {
    /// All of them: why, since when, and whether they still are on the gateway
    List {
        #[arg(long)]
        json: bool,
    },
    /// One of them, with the beginning of its bytes
    Show {
        item: u64,
        /// The item's bytes as the gateway gave them
        #[arg(long, conflicts_with = "json")]
        raw: bool,
        #[arg(long)]
        json: bool,
    },
    /// Decode and file them again, after an upgrade
    Retry {
        #[arg(value_name = "ITEM", required_unless_present = "all")]
        items: Vec<u64>,
        #[arg(long, conflicts_with = "items")]
        all: bool,
        #[arg(long)]
        json: bool,
    },
    /// Delete them on the gateway; the archived bytes stay
    DeleteOnGateway {
        #[arg(value_name = "ITEM", required = true)]
        items: Vec<u64>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Sort {
    Newest,
    Oldest,
    /// What fits best comes first
    Rank,
}

#[derive(Args, Clone, Default)]
pub(super) struct FilterArgs {
    /// Only this person's archive
    #[arg(long, value_name = "ID")]
    pub person: Option<String>,
    /// `inbox` or `sent`
    #[arg(long)]
    pub folder: Option<Folder>,
    /// Sent at this date or later (2026-01-31, or with a time)
    #[arg(long, value_name = "DATE")]
    pub after: Option<String>,
    /// Sent before this date
    #[arg(long, value_name = "DATE")]
    pub before: Option<String>,
    /// The sender contains this
    #[arg(long, value_name = "TEXT")]
    pub from: Option<String>,
    /// A recipient in the header contains this
    #[arg(long, value_name = "TEXT")]
    pub to: Option<String>,
    /// The subject contains this
    #[arg(long, value_name = "TEXT")]
    pub subject: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to tell it to when the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    if let Command::ExtractPdf = cli.command {
        return extract_pdf::extract_pdf();
    }
    logging::start();
    std::panic::set_hook(Box::new(|panic| {
        // A panic in a parser of foreign bytes is caught and becomes a quarantined item; its text may hold
        // mail, so only the place is told.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a part of gatepost failed unexpectedly");
    }));
    let global = Global { config: cli.config, archive: cli.archive, create_archive: cli.create_archive };
    match dispatch(&global, cli.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::failure(&failure);
            failure.exit.into()
        }
    }
}

fn dispatch(global: &Global, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Demo { dir } => demo::demo(dir),
        Command::Init(args) => init::init(global, &args),
        Command::Check { profile, send_alarm, send_test, wait, json } => {
            check::check(global, &check::Args { profile, send_alarm, send_test, wait, json })
        }
        Command::Once { profile, dry_run, excluded, retry_refused, json } => {
            once::once(global, &once::Args { profile, dry_run, excluded, retry_refused, json })
        }
        Command::Run => run::run(global),
        Command::Pause { profile, json } => once::paused(global, Order::Pause { profile }, json),
        Command::Resume { profile, json } => once::paused(global, Order::Resume { profile }, json),
        Command::Reload { json } => orders::to_agent(&wiring::settings(global)?, &Order::Reload, json),
        Command::LogLevel { level, json } => {
            orders::to_agent(&wiring::settings(global)?, &Order::LogLevel { level }, json)
        }
        Command::Runs { command: Some(RunsCommand::Show { run, json: own }), json, .. } => {
            runs::show(global, run, own || json)
        }
        Command::Runs { command: None, profile, limit, json } => runs::list(global, profile.as_deref(), limit, json),
        Command::Import(args) => import::import(global, &args),
        Command::Status { json } => status::status(global, json),
        Command::Explain { file, profile, json } => explain::explain(global, &file, profile.as_deref(), json),
        Command::People { command: None, json } => people::people(global, json),
        Command::People { command: Some(PeopleCommand::Merge { from, into, json: own }), json } => {
            people::merge(global, &from, &into, own || json)
        }
        Command::People { command: Some(PeopleCommand::Refresh { accept_drop, json: own }), json } => {
            directory::refresh(global, accept_drop, own || json)
        }
        Command::Quarantine { command } => match command {
            QuarantineCommand::List { json } => quarantine::list(global, json),
            QuarantineCommand::Show { item, raw, json } => quarantine::show(global, item, raw, json),
            QuarantineCommand::Retry { items, all, json } => quarantine::retry(global, &items, all, json),
            QuarantineCommand::DeleteOnGateway { items, yes, json } => {
                quarantine::delete_on_gateway(global, &items, yes, json)
            }
        },
        Command::Refile { all, person, item, dry_run, json } => {
            let asked = refile::Asked { all, person, items: item };
            refile::refile(global, &refile::Args { asked, dry_run, json })
        }
        Command::List { filter, json } => read::list(global, filter, json),
        Command::Search { query, filter, envelope, sort, page, json } => {
            let order = match sort {
                Sort::Newest => Sorting::Newest,
                Sort::Oldest => Sorting::Oldest,
                Sort::Rank => Sorting::Rank,
            };
            search::search(global, &search::Args { query: query.join(" "), filter, envelope, order, page, json })
        }
        Command::Index { rebuild, quiet, json } => search::index(global, &search::IndexArgs { rebuild, quiet, json }),
        Command::Show(args) => show::show(global, &args),
        Command::Export(args) => export::export(global, *args),
        Command::VerifyExport(args) => export::verify(global, &args),
        Command::Record(args) => export::record(global, &args),
        Command::Config { command: ConfigCommand::Show { json } } => configuration::show(global, json),
        Command::Secret { command } => match command {
            SecretCommand::Set { name, extra } => secret::set(global, &name, &extra),
            SecretCommand::List { json } => secret::list(global, json),
            SecretCommand::Remove { name } => secret::remove(global, &name),
        },
        Command::Service(args) => service::service(global, &args),
        Command::Reconcile { profile, json } => reconcile::reconcile(global, profile.as_deref(), json),
        Command::Verify { expect_head, sample, json } => prove::verify(global, expect_head, sample, json),
        // Done before anything was opened.
        Command::ExtractPdf => Ok(Exit::Ok),
        Command::Head { json } => prove::head(global, json),
        Command::Rebuild { accept_loss, json } => prove::rebuild(global, accept_loss, json),
        Command::Completions { shell } => shell::completions(shell),
        Command::Man { dir } => shell::man(dir.as_deref()),
    }
}

/// The command line, for what is made from it.
pub(super) fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They ask, serve, make something, or print what is no data.
    const WITHOUT_JSON: [&str; 12] = [
        "demo",
        "init",
        "run",
        "completions",
        "man",
        "help",
        "secret set",
        "secret remove",
        "service install",
        "service uninstall",
        "service start",
        "service stop",
    ];

    fn leaves(command: &clap::Command, name: &str, found: &mut Vec<(String, clap::Command)>) {
        if !command.has_subcommands() || command.get_arguments().any(|argument| argument.get_id() == "json") {
            found.push((name.to_owned(), command.clone()));
        }
        for sub in command.get_subcommands() {
            leaves(sub, format!("{name} {}", sub.get_name()).trim(), found);
        }
    }

    #[test]
    fn every_reading_command_has_json() {
        let mut found = Vec::new();
        leaves(&command(), "", &mut found);
        assert!(found.len() > 20, "{}", found.len());
        // What is hidden is for gatepost itself.
        found.retain(|(_, command)| !command.is_hide_set());
        for (name, command) in &found {
            let has = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
            assert_eq!(has, !WITHOUT_JSON.contains(&name.as_str()), "{name}");
        }
        for name in WITHOUT_JSON.iter().filter(|name| **name != "help") {
            assert!(found.iter().any(|(found, _)| found == name), "there is no {name}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
