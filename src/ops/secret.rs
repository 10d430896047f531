//! `gatepost secret`: the sealed store beside the configuration. A secret is read from the terminal without being
//! shown, or from a pipe; never from an argument, which every process of the machine could read.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use zeroize::Zeroizing;

use super::exit::{Exit, Failure};
use super::output;
use super::wiring::Global;
use crate::base::owner::User;
use crate::base::secret::Secret;
use crate::base::vault::{self, SECRET_BYTES_MAX, Vault, VaultError, VaultProblem};
use crate::config;

/// What the packages and `packaging/systemd` call the service's user.
const SERVICE_USER: &str = "gatepost";

/// `extra` is what stands behind the name on the command line: the secret, in all likelihood.
pub fn set(global: &Global, name: &str, extra: &[String]) -> Result<Exit, Failure> {
    if !extra.is_empty() {
        return Err(Failure::usage("a secret is never taken from the command line, where all on this machine see it")
            .hint("leave it out, and you are asked for it; or send it through a pipe. Change one that stood there"));
    }
    vault::check_name(name)?;
    // Before anybody types a secret in vain.
    let vault = writable(global, name)?;
    let secret = read_secret(name)?;
    let replaced = vault.set(name, &secret).map_err(|error| of_vault(global, error, name))?;
    let done = if replaced { "replaced" } else { "kept" };
    output::line(&format!("the secret {name} is {done} in {}", output::safe(&vault.folder().display().to_string())));
    if !replaced {
        output::line(&format!("in the configuration: password = {{ secret = \"{name}\" }}"));
    }
    Ok(Exit::Ok)
}

pub fn list(global: &Global, as_json: bool) -> Result<Exit, Failure> {
    let vault = config::vault(&file(global)?);
    let entries = vault.entries()?;
    if as_json {
        let secrets: Vec<_> =
            entries.iter().map(|entry| json!({ "name": entry.name, "set": entry.set.to_string() })).collect();
        output::json(&json!({ "folder": vault.folder(), "secrets": secrets }))?;
        return Ok(Exit::Ok);
    }
    if entries.is_empty() {
        let folder = output::safe(&vault.folder().display().to_string());
        output::line(&format!("there are no secrets in {folder}; `gatepost secret set NAME` adds one"));
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> =
        entries.iter().map(|entry| vec![entry.name.clone(), output::minute(entry.set)]).collect();
    output::line(&output::table(&["NAME", "SET"], &rows));
    Ok(Exit::Ok)
}

pub fn remove(global: &Global, name: &str) -> Result<Exit, Failure> {
    let vault = config::vault(&file(global)?);
    if !vault.remove(name).map_err(|error| of_vault(global, error, name))? {
        return Err(Failure::usage(format!("there is no secret {name}")).hint("`gatepost secret list` shows them"));
    }
    output::line(&format!("the secret {name} is removed"));
    Ok(Exit::Ok)
}

/// The configuration whose store it is; it need not be there yet.
fn file(global: &Global) -> Result<PathBuf, Failure> {
    Ok(std::path::absolute(config::find(global.config.as_deref())?)?)
}

/// The store, fit to be written by this user: root is refused where the service would not be able to read it.
pub fn writable(global: &Global, name: &str) -> Result<Vault, Failure> {
    let file = file(global)?;
    let vault = config::vault(&file);
    if User::current() == Some(User::ROOT)
        && !vault.folder().exists()
        && let Some(service) = service_user(&file)
    {
        let (service, folder) = (service.shown(), vault.folder().display());
        let what = format!("gatepost runs as {service} here, which could not read secrets of root's in {folder}");
        let hint = format!("install -d -o {service} -m 700 {folder} && {}", as_user(&service, &file, name));
        return Err(Failure::usage(what).hint(hint));
    }
    if let (Some(current), Some(owner)) = (User::current(), User::of(vault.folder()))
        && current != owner
    {
        let what = format!("{} belongs to {}", vault.folder().display(), owner.shown());
        return Err(Failure::usage(what).hint(as_user(&owner.shown(), &file, name)));
    }
    Ok(vault)
}

fn as_user(user: &str, file: &Path, name: &str) -> String {
    format!("sudo -u {user} gatepost --config {} secret set {name}", file.display())
}

/// The user that the agent runs as, where that is not root: whose the archive is, or the configuration's folder, or
/// the one that is called so.
fn service_user(file: &Path) -> Option<User> {
    let not_root = |user: &User| *user != User::ROOT;
    let archive = config::load(file).ok().map(|settings| settings.archive.path);
    let of_archive = archive.and_then(|path| path.ancestors().find_map(User::of)).filter(not_root);
    let of_folder = || file.parent().and_then(User::of).filter(not_root);
    of_archive.or_else(of_folder).or_else(|| User::named(SERVICE_USER))
}

fn read_secret(name: &str) -> Result<Secret, Failure> {
    let secret = if io::stdin().is_terminal() { ask(name)? } else { from_pipe()? };
    if secret.expose().is_empty() {
        return Err(Failure::usage("the secret is empty; nothing was changed"));
    }
    if secret.expose().contains(['\r', '\n', '\0']) {
        return Err(Failure::usage("the secret has more than one line; nothing was changed")
            .hint("no login can send that; is it a file of another kind?"));
    }
    Ok(secret)
}

/// Without echo, and twice, since nobody sees a slip.
fn ask(name: &str) -> Result<Secret, Failure> {
    // The library asks before it stops the echo: who types at once, or pastes, would see it.
    let _quiet = Quiet::from_now();
    let prompt = |text: String| match rpassword::prompt_password(text) {
        Ok(text) => Ok(Secret::new(text)),
        Err(error) => Err(Failure::usage(format!("nothing can be read from the terminal: {error}"))),
    };
    let secret = prompt(format!("secret {name} (is not shown): "))?;
    let again = prompt("once more: ".to_owned())?;
    if secret.expose() != again.expose() {
        return Err(Failure::usage("the two are not the same; nothing was changed"));
    }
    Ok(secret)
}

/// A terminal without echo; it is as it was when this is dropped.
pub struct Quiet {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl Quiet {
    #[cfg(unix)]
    pub fn from_now() -> Quiet {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let Ok(before) = tcgetattr(io::stdin()) else { return Quiet { before: None } };
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO;
        // Where it cannot be done the library does it, a moment later.
        let done = tcsetattr(io::stdin(), OptionalActions::Now, &quiet);
        Quiet { before: done.ok().map(|()| before) }
    }

    #[cfg(not(unix))]
    pub fn from_now() -> Quiet {
        Quiet {}
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(before) = &self.before {
            // A terminal that is gone needs no care.
            let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, before);
        }
    }
}

fn from_pipe() -> Result<Secret, Failure> {
    // Room for the line's end.
    let most = SECRET_BYTES_MAX as u64 + 2;
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 3));
    io::stdin().lock().take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(Failure::usage("the secret is longer than 64 KiB; nothing was changed"));
    }
    let text =
        std::str::from_utf8(&bytes).map_err(|_| Failure::usage("the secret is not UTF-8 text; nothing was changed"))?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(Secret::new(text.to_owned()))
}

fn of_vault(global: &Global, error: VaultError, name: &str) -> Failure {
    let hint = match (error.problem, file(global)) {
        (VaultProblem::Owner(owner), Ok(file)) => Some(as_user(&owner.shown(), &file, name)),
        _ => None,
    };
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
