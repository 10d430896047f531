//! What the command line answers up front, and the dialogue that begins with it.

use std::path::PathBuf;

use super::answers::{self, Access, HttpLogin, Keep, Kind, Place};
use super::dialogue::{self, Dialogue, Topic};
use super::{store, terminal};
use crate::net::TlsMode;
use crate::ops::exit::Failure;
use crate::ops::wiring::{self, Global};

/// Every answer can be given here; what is not given is asked.
#[derive(clap::Args)]
pub struct Args {
    /// Where the journal mail arrives
    #[arg(long, value_enum)]
    pub kind: Option<Kind>,
    /// The login; of a MailStore Gateway the mailbox's ID
    #[arg(long, value_name = "NAME", visible_alias = "login")]
    pub user: Option<String>,
    /// The server's name
    #[arg(long, conflicts_with = "url")]
    pub host: Option<String>,
    #[arg(long, requires = "host")]
    pub port: Option<u16>,
    /// implicit, starttls, or none (to this machine only)
    #[arg(long, requires = "host", value_name = "HOW", value_parser = dialogue::tls)]
    pub tls: Option<TlsMode>,
    /// Of Exchange Web Services
    #[arg(long)]
    pub url: Option<String>,
    /// A PEM file of an authority to trust beside the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// How to log in to Exchange Web Services
    #[arg(long, value_enum)]
    pub auth: Option<HttpLogin>,
    /// How to log in to Google or Microsoft
    #[arg(long, value_enum)]
    pub access: Option<Access>,
    /// Microsoft's directory: a domain of it, or its ID
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// The application's ID
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// The key file of a Google service account
    #[arg(long, value_name = "FILE")]
    pub service_account: Option<PathBuf>,
    /// The password stands, and stays, in this variable
    #[arg(long, value_name = "NAME", conflicts_with_all = ["password_file", "password_stdin"])]
    pub password_env: Option<String>,
    /// The password stands, and stays, in this file
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    pub password_file: Option<PathBuf>,
    /// The password is the first line of standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Where a password that is typed or piped is kept
    #[arg(long, value_name = "WHERE", value_parser = ["sealed", "file"])]
    pub keep: Option<String>,
    /// A folder to archive; may be given several times
    #[arg(long, value_name = "NAME")]
    pub folder: Vec<String>,
    /// Delete on the gateway what stands in the archive
    #[arg(long, value_name = "yes|no", value_parser = answers::yes_or_no)]
    pub delete: Option<bool>,
    /// A mail domain of yours; may be given several times
    #[arg(long, value_name = "NAME")]
    pub domain: Vec<String>,
    /// The profile's name
    #[arg(long, value_name = "NAME", default_value = "journal")]
    pub name: String,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace a configuration that is there
    #[arg(long)]
    pub overwrite: bool,
    /// Take the default of every question that has one
    #[arg(long)]
    pub yes: bool,
    /// What to do with the new configuration; asked without it
    #[arg(long, value_enum, value_name = "WHAT")]
    pub then: Option<Then>,
}

/// The arguments alone, for a test.
#[cfg(test)]
#[derive(clap::Parser)]
pub struct Probe {
    #[command(flatten)]
    _args: Args,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Then {
    Nothing,
    /// A first `once --dry-run`
    Rehearse,
    /// A first `once`
    Once,
}

/// The dialogue with what the command line says.
pub fn started(global: &Global, args: &Args) -> Result<Dialogue, Failure> {
    let out = match args.out.as_ref().or(global.config.as_ref()) {
        Some(out) => wiring::absolute(out)?,
        None => wiring::absolute(&store::default_file())?,
    };
    let mut dialogue = Dialogue::new(out, wiring::absolute(&store::default_archive())?);
    let say = |dialogue: &mut Dialogue, topic, flag: &str, text: &str| {
        dialogue.answer(topic, text).map_err(|why| Failure::usage(format!("{flag} {text}: {why}")))
    };
    let path = |path: &PathBuf| path.display().to_string();
    if let Some(kind) = args.kind {
        say(&mut dialogue, Topic::Kind, "--kind", kind.word())?;
    }
    let texts = [
        (Topic::Login, "--user", args.user.clone()),
        (Topic::CaFile, "--ca-file", args.ca_file.as_ref().map(path)),
        (Topic::Tenant, "--tenant", args.tenant.clone()),
        (Topic::ClientId, "--client-id", args.client_id.clone()),
        (Topic::ServiceAccount, "--service-account", args.service_account.as_ref().map(path)),
        (Topic::Domains, "--domain", (!args.domain.is_empty()).then(|| args.domain.join(","))),
        (Topic::Folders, "--folder", (!args.folder.is_empty()).then(|| args.folder.join(","))),
        (Topic::Archive, "--archive", global.archive.as_ref().map(path)),
        (Topic::Keep, "--keep", args.keep.clone()),
    ];
    for (topic, flag, text) in texts {
        if let Some(text) = text {
            say(&mut dialogue, topic, flag, &text)?;
        }
    }
    dialogue.answers.http_login = args.auth;
    dialogue.answers.access = args.access.or(dialogue.answers.access);
    dialogue.answers.delete = args.delete;
    if args.out.is_some() || global.config.is_some() || args.yes {
        let out = dialogue.out.display().to_string();
        say(&mut dialogue, Topic::Out, "--out", &out)?;
        if args.overwrite {
            say(&mut dialogue, Topic::Overwrite, "--overwrite", "yes")?;
        }
    }
    place(&mut dialogue, args)?;
    secret(&mut dialogue, args)?;
    Ok(dialogue)
}

fn place(dialogue: &mut Dialogue, args: &Args) -> Result<(), Failure> {
    let text = match (&args.host, &args.url, args.port) {
        (Some(host), _, Some(port)) => format!("{host}:{port}"),
        (Some(host), _, None) => host.clone(),
        (None, Some(url), _) => url.clone(),
        (None, None, _) => return Ok(()),
    };
    let wrong = |why: String| Failure::usage(format!("{text}: {why}"));
    match (args.tls, args.kind) {
        (Some(tls), kind) => {
            let (implicit, starttls) = kind.unwrap_or(Kind::Imap).ports();
            let usual = if tls == TlsMode::Implicit { implicit } else { starttls };
            let host = answers::host(args.host.as_deref().unwrap_or_default()).map_err(wrong)?;
            dialogue.place(Place::Server { host, port: args.port.unwrap_or(usual), tls });
            Ok(())
        }
        (None, _) => dialogue.answer(Topic::Server, &text).map_err(wrong),
    }
}

fn secret(dialogue: &mut Dialogue, args: &Args) -> Result<(), Failure> {
    let mut given = None;
    if let Some(name) = &args.password_env {
        let keep = Keep::env(name).map_err(|why| Failure::usage(format!("--password-env: {why}")))?;
        dialogue.answers.keep = Some(keep);
        given = std::env::var(name).ok().map(zeroize::Zeroizing::new);
    } else if let Some(file) = &args.password_file {
        let file = wiring::absolute(file)?;
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Failure::usage(format!("--password-file {}: {error}", file.display())))?;
        let length = text.trim_end_matches(['\r', '\n']).len();
        let mut text = zeroize::Zeroizing::new(text);
        text.truncate(length);
        given = Some(text);
        dialogue.answers.keep = Some(Keep::Given(file));
    } else if args.password_stdin {
        given = Some(terminal::piped()?);
    }
    match given {
        Some(text) => dialogue
            .answer(Topic::Secret, &text)
            .map_err(|why| Failure::usage(format!("the password that was given cannot be used: {why}"))),
        None => Ok(()),
    }
}
