//! Writing what the dialogue came to: the password first, then the configuration that names it. Files of mode 0600,
//! each whole or not at all.

use std::io;
use std::path::{Path, PathBuf};

use super::answers::Keep;
use super::dialogue::Dialogue;
use super::render::{self, SecretAt};
use crate::base::fsio::Fs;
use crate::base::vault::Vault;
use crate::config;
use crate::ops::exit::{Exit, Failure};
use crate::ops::wiring::Global;
use crate::ops::{output, secret};

#[cfg(unix)]
fn is_administrator() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_administrator() -> bool {
    false
}

pub fn default_file() -> PathBuf {
    if is_administrator() { "/etc/gatepost/gatepost.toml".into() } else { "gatepost.toml".into() }
}

pub fn default_archive() -> PathBuf {
    // Within the folder that packaging makes for the service.
    if is_administrator() { "/var/lib/gatepost/archive".into() } else { "gatepost".into() }
}

pub fn write(dialogue: &Dialogue, profile: &str) -> Result<(), Failure> {
    let out = &dialogue.out;
    let failed = |path: &Path, error: &io::Error| Failure {
        exit: if error.kind() == io::ErrorKind::StorageFull { Exit::NoSpace } else { Exit::Usage },
        ..Failure::usage(format!("{} cannot be written: {error}", path.display()))
    };
    let fs = Fs::real();
    let folder = out.parent().unwrap_or(Path::new("."));
    fs.create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    let answers = &dialogue.answers;
    let mut made = Made::Nothing;
    let secret = match (&answers.secret, &answers.keep) {
        (Some(secret), Some(Keep::Sealed)) => {
            let names = config::vault(out).names()?;
            let name = free(profile, |name| names.iter().any(|kept| kept == name));
            let vault = secret::writable(&Global { config: Some(out.clone()), ..Global::default() }, &name)?;
            vault.set(&name, secret)?;
            made = Made::Sealed(vault, name.clone());
            SecretAt::Ref { key: "secret", value: name }
        }
        (_, Some(Keep::Env(name))) => SecretAt::Ref { key: "env", value: name.clone() },
        (_, Some(Keep::Given(path))) => SecretAt::Ref { key: "file", value: path.display().to_string() },
        (Some(secret), Some(Keep::File)) => {
            let name = free(profile, |name| folder.join(format!("{name}.password")).exists());
            let name = format!("{name}.password");
            let path = folder.join(&name);
            let line = zeroize::Zeroizing::new(format!("{}\n", secret.expose()));
            fs.write_durably(&path, line.as_bytes()).map_err(|error| failed(&path, &error))?;
            made = Made::File(path);
            SecretAt::Ref { key: "file", value: name }
        }
        (_, _) => SecretAt::Nowhere,
    };
    let text = render::text(answers, profile, &secret);
    let written = config::parse(out, &text)
        .map_err(Failure::from)
        .and_then(|_| fs.write_durably(out, text.as_bytes()).map_err(|error| failed(out, &error)));
    if written.is_err() {
        made.undo(&fs);
    }
    written
}

/// A secret that nothing names yet.
enum Made {
    Nothing,
    File(PathBuf),
    Sealed(Vault, String),
}

impl Made {
    fn undo(self, fs: &Fs) {
        let undone = match self {
            Made::Nothing => Ok(()),
            Made::File(path) => fs.remove(&path).map_err(|error| error.to_string()),
            Made::Sealed(vault, name) => vault.remove(&name).map(drop).map_err(|error| error.to_string()),
        };
        if let Err(error) = undone {
            tracing::warn!(error, "a secret is left over that no configuration names");
        }
    }
}

/// A name that nobody uses: another profile's password is not to be lost.
fn free(profile: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let names = std::iter::once(profile.to_owned()).chain((2..u32::MAX).map(|n| format!("{profile}-{n}")));
    names.into_iter().find(|name| !is_taken(name)).unwrap_or_else(|| profile.to_owned())
}

/// What stands now, and how to go on.
pub fn tell(dialogue: &Dialogue) {
    let out = dialogue.out.display();
    output::line("");
    output::line(&format!("Written: {out}"));
    output::line("It is readable for its owner alone; the service's user must be able to read it.");
    output::line(&format!("    gatepost --config {out} check      looks at everything, changes nothing"));
    output::line(&format!("    gatepost --config {out} once       one cycle"));
    output::line(&format!("    gatepost --config {out} run        the agent"));
}
