//! Where a secret is to be had, and getting it: late, so that commands that only read the archive work
//! without it, and never into a message.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::error::ConfigError;
use super::keys;
use super::raw::Table;
use crate::base::secret::Secret;

const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A secret that has not been fetched yet. `Debug` shows the place, never the text.
#[derive(Clone, Debug)]
pub struct SecretRef {
    origin: Origin,
    /// For errors: where the configuration speaks of it.
    file: PathBuf,
    line: usize,
    key: String,
}

#[derive(Clone, Debug)]
enum Origin {
    Env(String),
    File(PathBuf),
    Literal(Secret),
}

impl SecretRef {
    /// Fetches the secret; each call looks anew, so that a rotated password is taken up.
    pub fn resolve(&self) -> Result<Secret, ConfigError> {
        self.resolve_with(|name| std::env::var_os(name))
    }

    fn resolve_with(&self, env: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<Secret, ConfigError> {
        let wrong = |what: String, hint: &str| ConfigError {
            file: Some(self.file.clone()),
            line: Some(self.line),
            key: Some(self.key.clone()),
            what,
            hint: Some(hint.to_owned()),
        };
        let text = match &self.origin {
            Origin::Literal(secret) => return Ok(secret.clone()),
            Origin::Env(name) => {
                let hint =
                    "set it for this process (systemd: Environment= or EnvironmentFile=), or use { file = \"…\" }";
                let value =
                    env(name).ok_or_else(|| wrong(format!("the environment variable {name} is not set"), hint))?;
                let text = value.into_string();
                text.map_err(|_| wrong(format!("the environment variable {name} is not UTF-8"), "set it anew"))?
            }
            Origin::File(path) => {
                read(path).map_err(|(why, hint)| wrong(format!("{}: {why}", path.display()), hint))?
            }
        };
        let secret = Secret::new(text);
        if secret.expose().is_empty() {
            return Err(wrong(format!("{} is empty", self.place()), "write the password there"));
        }
        // No protocol can send these, and what would be sent instead is another password.
        if secret.expose().contains(['\r', '\n', '\0']) {
            let what = format!("{} holds more than one line", self.place());
            return Err(wrong(what, "the password stands alone in one line"));
        }
        Ok(secret)
    }

    fn place(&self) -> String {
        match &self.origin {
            Origin::Env(name) => format!("the environment variable {name}"),
            Origin::File(path) => path.display().to_string(),
            Origin::Literal(_) => "the configuration".to_owned(),
        }
    }
}

fn read(path: &Path) -> Result<String, (String, &'static str)> {
    use std::io::Read as _;
    let unreadable = |error: std::io::Error| {
        let hint = "the user that gatepost runs as must be able to read it; a relative path counts from the configuration's folder";
        (format!("cannot be read: {error}"), hint)
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(("is too long to be a password".to_owned(), "is it the right file?"));
    }
    let mut text = match String::from_utf8(bytes) {
        Ok(text) => text,
        // The error would carry the bytes; it ends here.
        Err(_) => return Err(("is not UTF-8".to_owned(), "save it as UTF-8 text, the password alone in one line")),
    };
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    // Editors and `echo` end the line; the password does not.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// `{ env = "NAME" }`, `{ file = "path" }` or the text itself, which earns a warning.
pub fn secret_ref(table: &Table<'_, '_>, key: &str, folder: &Path) -> Option<SecretRef> {
    const SHAPES: &str = "write { env = \"NAME\" } or { file = \"path\" }";
    let found = |origin| {
        let (file, line) = (table.doc().file().to_owned(), table.line_of(key));
        Some(SecretRef { origin, file, line, key: table.path_of(key) })
    };
    if !table.has(key) {
        table.missing(key, SHAPES);
        return None;
    }
    let entries = match table.value(key)? {
        DeValue::String(text) if text.is_empty() => {
            table.wrong(key, "is empty", SHAPES);
            return None;
        }
        DeValue::String(text) => {
            table.notice(
                key,
                &format!("the password itself stands here, for all who can read this file or its backups; {SHAPES}"),
            );
            return found(Origin::Literal(Secret::new(text.to_string())));
        }
        DeValue::Table(entries) => entries,
        other => return table.mistyped(key, "a place to find it", other, SHAPES),
    };
    // By hand and not by `Table`: a word in this table that is no key may be the password itself, so
    // it is repeated only when it is nearly a key.
    let mut sound = true;
    for name in entries.keys().map(|name| name.get_ref().as_ref()) {
        if !keys::PASSWORD.known.contains(&name) {
            match keys::nearest(name, keys::PASSWORD.known.iter().copied()) {
                Some(near) => table.wrong(key, format!("unknown key {name:?}"), &format!("did you mean `{near}`?")),
                None => table.wrong(key, "holds an unknown key", SHAPES),
            }
            sound = false;
        }
    }
    let entry = |name: &str| entries.get(name).map(toml::Spanned::get_ref);
    match (entry("env"), entry("file")) {
        (Some(DeValue::String(name)), None) if is_env_name(name) => {
            sound.then(|| found(Origin::Env(name.to_string()))).flatten()
        }
        (Some(DeValue::String(_)), None) => {
            // Not repeated: whoever takes `env` for the password itself must not find it in a log.
            table.wrong(
                key,
                "env: is not the name of an environment variable",
                "a name has letters, digits and _ only",
            );
            None
        }
        (None, Some(DeValue::String(path))) if !path.trim().is_empty() => {
            let path = folder.join(path.as_ref());
            if readable_by_others(&path) {
                table.notice(key, &format!("{} can be read by others than its owner; chmod 600 it", path.display()));
            }
            sound.then(|| found(Origin::File(path))).flatten()
        }
        (None, None) if !sound => None,
        (Some(_), Some(_)) => {
            table.wrong(key, "names both env and file", "leave one of them");
            None
        }
        (_, _) => {
            table.wrong(key, "names no place", SHAPES);
            None
        }
    }
}

fn is_env_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(unix)]
pub(super) fn readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    // A file that is not there, or not for us, is reported when the secret is needed.
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o044 != 0)
}

#[cfg(not(unix))]
pub(super) fn readable_by_others(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(origin: Origin) -> SecretRef {
        let key = "profile \"journal\" → imap → password".to_owned();
        SecretRef { origin, file: "/etc/gatepost.toml".into(), line: 9, key }
    }

    fn from_file(bytes: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, bytes).unwrap();
        let shown = path.display().to_string();
        let resolved = secret(Origin::File(path)).resolve();
        resolved.map(|secret| secret.expose().to_owned()).map_err(|error| error.to_string().replace(&shown, "FILE"))
    }

    #[test]
    fn a_file_holds_one_line() {
        for bytes in [&b"hunter2"[..], b"hunter2\n", b"hunter2\r\n", b"\xef\xbb\xbfhunter2\n"] {
            assert_eq!(from_file(bytes).unwrap(), "hunter2");
        }
        assert_eq!(from_file(b" hunter 2 \n").unwrap(), " hunter 2 ");
        for bytes in [&b"hunter2\nx\n"[..], b"", b"\n", b"hunter2\xff", b"hunter2\0"] {
            let error = from_file(bytes).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        insta::assert_snapshot!(from_file(b"a\nb").unwrap_err(), @r#"
        /etc/gatepost.toml:9: profile "journal" → imap → password: FILE holds more than one line
          hint: the password stands alone in one line
        "#);
    }

    #[test]
    fn what_is_missing_is_named_with_its_place() {
        let env = secret(Origin::Env("JOURNAL_PASSWORD".into()));
        insta::assert_snapshot!(env.resolve_with(|_| None).unwrap_err(), @r#"
        /etc/gatepost.toml:9: profile "journal" → imap → password: the environment variable JOURNAL_PASSWORD is not set
          hint: set it for this process (systemd: Environment= or EnvironmentFile=), or use { file = "…" }
        "#);
        assert_eq!(env.resolve_with(|_| Some("x".into())).unwrap().expose(), "x");
        let file = secret(Origin::File("/nowhere/password".into())).resolve().unwrap_err().to_string();
        assert!(file.contains("/nowhere/password: cannot be read: "), "{file}");
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", secret(Origin::Literal(Secret::new("hunter2".into()))));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
