//! The command line: what there is, and where each command goes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use super::exit::{Exit, Failure};
use super::wiring::Global;
use super::{
    check, configuration, demo, directory, explain, export, init, logging, once, output, people, prove, quarantine,
    read, reconcile, refile, run, secret, status,
};
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
    /// How each profile is, and what the archive holds
    Status {
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
    /// Show one message
    Show {
        /// The number that `list` shows
        id: u64,
        /// In whose archive; decides whether Bcc is shown
        #[arg(long, value_name = "ID")]
        person: Option<String>,
        /// The message's bytes as they were sent
        #[arg(long)]
        raw: bool,
        /// The rights-protected message beside its clear copy, as it was sent
        #[arg(long, conflicts_with = "item")]
        protected: bool,
        /// The item as the gateway held it: the journal report
        #[arg(long, conflicts_with = "raw")]
        item: bool,
        /// The header that the item came in with, where the gateway keeps it beside a mail that it regenerates (EWS)
        #[arg(long, conflicts_with_all = ["raw", "item", "protected"])]
        headers: bool,
        /// Who really sent and received it, Bcc included
        #[arg(long)]
        envelope: bool,
        #[arg(long)]
        json: bool,
    },
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
        Command::Check { profile, json } => check::check(global, profile.as_deref(), json),
        Command::Once { profile, dry_run, excluded, retry_refused, json } => {
            once::once(global, &once::Args { profile, dry_run, excluded, retry_refused, json })
        }
        Command::Run => run::run(global),
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
            refile::refile(global, &refile::Args { all, person, items: item, dry_run, json })
        }
        Command::List { filter, json } => read::list(global, filter, json),
        Command::Show { id, person, raw, protected, item, headers, envelope, json } => {
            read::show(global, &read::ShowArgs { id, person, raw, protected, item, headers, envelope, json })
        }
        Command::Export(args) => export::export(global, *args),
        Command::VerifyExport(args) => export::verify(global, &args),
        Command::Record(args) => export::record(global, &args),
        Command::Config { command: ConfigCommand::Show { json } } => configuration::show(global, json),
        Command::Secret { command } => match command {
            SecretCommand::Set { name, extra } => secret::set(global, &name, &extra),
            SecretCommand::List { json } => secret::list(global, json),
            SecretCommand::Remove { name } => secret::remove(global, &name),
        },
        Command::Reconcile { profile, json } => reconcile::reconcile(global, profile.as_deref(), json),
        Command::Verify { expect_head, sample, json } => prove::verify(global, expect_head, sample, json),
        Command::Head { json } => prove::head(global, json),
        Command::Rebuild { accept_loss, json } => prove::rebuild(global, accept_loss, json),
    }
}
