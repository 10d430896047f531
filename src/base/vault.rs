//! The sealed store of secrets: `secrets`, a folder beside the configuration, that `gatepost secret` writes and
//! `password = { secret = "…" }` reads.
//!
//! | file | holds |
//! |---|---|
//! | `store.json` | names, and each secret sealed with XChaCha20-Poly1305, its name and date bound to it |
//! | `key` | the key; not there when systemd hands it over as the credential [`KEY_CREDENTIAL`] |
//! | `lock` | who is writing |
//!
//! What that protects against: a copy of `store.json` alone (a backup, a ticket, a repository) tells names and
//! dates and nothing else, and a secret that was changed, or moved to another name, is noticed. What it does not:
//! whoever reads both files reads the secrets. The key is worth more outside of the folder, as a credential that
//! systemd keeps encrypted with the machine's TPM. On Windows the key is wrapped by DPAPI for this machine: a
//! copy of the folder is worth nothing elsewhere, and on the machine the folder's access list is what protects it.
//!
//! A store or key that is damaged, or sealed with another key, is an error; it is never replaced by an empty one,
//! and a new key is never made for a store that is there. No error holds a byte of a secret or a key.

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, Generate as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::credential;
use super::digest::Digest;
use super::fsio::{self, Fs};
use super::owner::User;
use super::secret::Secret;

/// The systemd credential that holds the key, where there is one: what the file `key` would hold.
pub const KEY_CREDENTIAL: &str = "gatepost-secret-key";

const FORMAT: u32 = 1;
/// A few hundred secrets are 100 KB; what is far longer is no store.
const STORE_BYTES_MAX: u64 = 4 * 1024 * 1024;
const KEY_BYTES_MAX: u64 = 4096;
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
const NAME_BYTES_MAX: usize = 64;
/// Another writer is done in milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// A store, whether it is there yet or not.
#[derive(Clone)]
pub struct Vault {
    folder: PathBuf,
    /// The key that systemd hands over.
    credential: Option<PathBuf>,
    fs: Fs,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct VaultError {
    pub problem: VaultProblem,
    pub what: String,
    pub hint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaultProblem {
    /// No secret of that name.
    Missing,
    /// A name or a secret that cannot be kept.
    Refused,
    /// The folder is another user's.
    Owner(User),
    /// Another process is writing.
    Locked,
    NoSpace,
    /// Files that cannot be read, written or understood.
    Unusable,
}

/// What `list` shows of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    /// When it was set.
    pub set: jiff::Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Store {
    format: u32,
    /// Which key; tells a wrong key from damage.
    key: String,
    secrets: BTreeMap<String, Sealed>,
    /// Over what stands above, without any key: a store that lost a name to a bad disk must not look whole.
    sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    set: jiff::Timestamp,
    nonce: String,
    sealed: String,
}

impl Store {
    fn empty(key: String) -> Store {
        Store { format: FORMAT, key, secrets: BTreeMap::default(), sha256: String::new() }
    }

    fn digest(&self) -> String {
        let mut text = format!("{}\0{}\0", self.format, self.key);
        for (name, Sealed { set, nonce, sealed }) in &self.secrets {
            text += &format!("{name}\0{set}\0{nonce}\0{sealed}\0");
        }
        Digest::of(text.as_bytes()).to_string()
    }
}

type Result<T> = std::result::Result<T, VaultError>;

impl Vault {
    /// The store in `folder`.
    pub fn at(folder: &Path) -> Vault {
        let credential = credential::path(KEY_CREDENTIAL).ok().filter(|path| path.exists());
        Vault { folder: folder.to_owned(), credential, fs: Fs::real() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps a secret under a name; whether it replaces another.
    pub fn set(&self, name: &str, secret: &Secret) -> Result<bool> {
        check_name(name)?;
        if secret.expose().is_empty() || secret.expose().len() > SECRET_BYTES_MAX {
            let what = "the secret is empty, or longer than 64 KiB".to_owned();
            return Err(error(VaultProblem::Refused, what));
        }
        self.own_folder()?;
        let _lock = self.lock()?;
        let store = self.read()?;
        let key = match &store {
            Some(store) => self.key_of(store)?,
            None => self.key_or_new()?,
        };
        let mut store = store.unwrap_or_else(|| Store::empty(key_id(&key)));
        let set = jiff::Timestamp::now();
        let nonce = XNonce::try_generate()
            .map_err(|_| error(VaultProblem::Unusable, "this machine has no randomness".into()))?;
        let bound = bound(name, set);
        let payload = Payload { msg: secret.expose().as_bytes(), aad: bound.as_bytes() };
        let sealed = XChaCha20Poly1305::new(&key)
            .encrypt(&nonce, payload)
            .map_err(|_| error(VaultProblem::Refused, "the secret cannot be sealed".into()))?;
        let sealed = Sealed { set, nonce: BASE64.encode(nonce), sealed: BASE64.encode(sealed) };
        let replaced = store.secrets.insert(name.to_owned(), sealed).is_some();
        self.write(store)?;
        Ok(replaced)
    }

    pub fn get(&self, name: &str) -> Result<Secret> {
        check_name(name)?;
        let missing = || {
            let what = format!("there is no secret {name:?} in {}", self.folder.display());
            VaultError { hint: Some(format!("gatepost secret set {name}")), ..error(VaultProblem::Missing, what) }
        };
        let store = self.read()?.ok_or_else(missing)?;
        let sealed = store.secrets.get(name).ok_or_else(missing)?;
        let key = self.key_of(&store)?;
        let damaged = || {
            let what = format!("the secret {name:?} in {} is damaged", self.store_file().display());
            let hint = format!("set it anew: gatepost secret set {name}");
            VaultError { hint: Some(hint), ..error(VaultProblem::Unusable, what) }
        };
        let nonce = BASE64.decode(&sealed.nonce).map_err(|_| damaged())?;
        let nonce = XNonce::try_from(nonce.as_slice()).map_err(|_| damaged())?;
        let message = BASE64.decode(&sealed.sealed).map_err(|_| damaged())?;
        let bound = bound(name, sealed.set);
        let text = XChaCha20Poly1305::new(&key)
            .decrypt(&nonce, Payload { msg: &message, aad: bound.as_bytes() })
            .map_err(|_| damaged())?;
        let text = Zeroizing::new(text);
        Ok(Secret::new(std::str::from_utf8(&text).map_err(|_| damaged())?.to_owned()))
    }

    /// What is kept, by name; needs no key.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let store = self.read()?;
        let secrets = store.map(|store| store.secrets).unwrap_or_default();
        Ok(secrets.into_iter().map(|(name, sealed)| Entry { name, set: sealed.set }).collect())
    }

    pub fn names(&self) -> Result<Vec<String>> {
        Ok(self.entries()?.into_iter().map(|entry| entry.name).collect())
    }

    /// Forgets a secret; whether there was one. Needs no key: what cannot be opened can still be removed.
    pub fn remove(&self, name: &str) -> Result<bool> {
        check_name(name)?;
        if !self.store_file().exists() {
            return Ok(false);
        }
        self.own_folder()?;
        let _lock = self.lock()?;
        let Some(mut store) = self.read()? else { return Ok(false) };
        if store.secrets.remove(name).is_none() {
            return Ok(false);
        }
        self.write(store)?;
        Ok(true)
    }

    fn store_file(&self) -> PathBuf {
        self.folder.join("store.json")
    }

    fn key_file(&self) -> PathBuf {
        self.folder.join("key")
    }

    /// The folder is there and this user's: what root writes into a service's folder, the service cannot read.
    fn own_folder(&self) -> Result<()> {
        let (owner, current) = (User::of(&self.folder), User::current());
        if let Some(owner) = owner {
            if current.is_some_and(|current| current != owner) {
                let what = format!("{} belongs to {}", self.folder.display(), owner.shown());
                let hint = format!("run it as that user: sudo -u {} gatepost secret …", owner.shown());
                return Err(VaultError { hint: Some(hint), ..error(VaultProblem::Owner(owner), what) });
            }
            return Ok(());
        }
        if self.folder.is_dir() {
            return Ok(());
        }
        let made = match self.fs.create_dir(&self.folder) {
            // Somebody else was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        };
        let synced = made.and_then(|()| self.fs.sync_dir(self.folder.parent().unwrap_or(Path::new("."))));
        synced.map_err(|error| failed("make", &self.folder, &error))
    }

    fn lock(&self) -> Result<std::fs::File> {
        let path = self.folder.join("lock");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = fsio::patiently(|| options.open(&path)).map_err(|error| failed("open", &path, &error))?;
        let end = Instant::now() + LOCK_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
                Err(TryLockError::WouldBlock) => {
                    let what = format!("another process is writing the secrets in {}", self.folder.display());
                    return Err(error(VaultProblem::Locked, what));
                }
                Err(TryLockError::Error(error)) => return Err(failed("lock", &path, &error)),
            }
        }
    }

    fn read(&self) -> Result<Option<Store>> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let path = self.store_file();
        let Some(bytes) = read_private(&path, STORE_BYTES_MAX)? else { return Ok(None) };
        let damaged = || {
            let what = format!("the store of secrets {} is damaged", path.display());
            let hint = "restore it from a backup; or move it away and set the secrets anew";
            VaultError { hint: Some(hint.into()), ..error(VaultProblem::Unusable, what) }
        };
        let version: Version = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        if version.format != FORMAT {
            let what = format!("{} has format {}, and this gatepost knows {FORMAT}", path.display(), version.format);
            let hint = Some("it was written by another version".to_owned());
            return Err(VaultError { hint, ..error(VaultProblem::Unusable, what) });
        }
        let store: Store = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        if store.digest() != store.sha256 {
            return Err(damaged());
        }
        Ok(Some(store))
    }

    fn write(&self, mut store: Store) -> Result<()> {
        let path = self.store_file();
        store.sha256 = store.digest();
        let mut text = serde_json::to_vec_pretty(&store)
            .map_err(|_| error(VaultProblem::Unusable, "the store cannot be written as JSON".into()))?;
        text.push(b'\n');
        if text.len() as u64 > STORE_BYTES_MAX {
            let what = format!("{} would grow beyond 4 MiB", path.display());
            return Err(error(VaultProblem::Refused, what));
        }
        self.fs.write_durably(&path, &text).map_err(|error| failed("write", &path, &error))
    }

    /// The key that sealed what is there; never a new one.
    fn key_of(&self, store: &Store) -> Result<Key> {
        let (key, path) = match &self.credential {
            Some(path) => (read_key(path, false)?, path.clone()),
            None => (read_key(&self.key_file(), true)?, self.key_file()),
        };
        let Some(key) = key else {
            let what = format!("the key {} is not there, but secrets that it sealed are", path.display());
            let hint = format!(
                "put it back, or hand it over as the credential {KEY_CREDENTIAL}; without it the secrets are lost: \
                 move {} away and set them anew",
                self.store_file().display()
            );
            return Err(VaultError { hint: Some(hint), ..error(VaultProblem::Unusable, what) });
        };
        if key_id(&key) != store.key {
            let what = format!("{} was sealed with another key than {}", self.store_file().display(), path.display());
            let hint = "put the key back that belongs to it, or move the store away and set the secrets anew";
            return Err(VaultError { hint: Some(hint.into()), ..error(VaultProblem::Unusable, what) });
        }
        Ok(key)
    }

    /// For the first secret of a store.
    fn key_or_new(&self) -> Result<Key> {
        if let Some(path) = &self.credential {
            let lost = || error(VaultProblem::Unusable, format!("the credential {KEY_CREDENTIAL} is gone"));
            return read_key(path, false)?.ok_or_else(lost);
        }
        let path = self.key_file();
        if let Some(key) = read_key(&path, true)? {
            return Ok(key);
        }
        let key =
            Key::try_generate().map_err(|_| error(VaultProblem::Unusable, "this machine has no randomness".into()))?;
        let line = key_line(&key)?;
        self.fs.write_durably(&path, line.as_bytes()).map_err(|error| failed("write", &path, &error))?;
        Ok(key)
    }
}

fn error(problem: VaultProblem, what: String) -> VaultError {
    VaultError { problem, what, hint: None }
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> VaultError {
    let problem = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => VaultProblem::NoSpace,
        _ => VaultProblem::Unusable,
    };
    let hint = (error.kind() == io::ErrorKind::PermissionDenied)
        .then(|| "the user that gatepost runs as must own the folder of secrets".to_owned());
    VaultError { problem, what: format!("cannot {doing} {}: {error}", path.display()), hint }
}

pub fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.len() <= NAME_BYTES_MAX && name.chars().all(fits) {
        return Ok(());
    }
    // Not repeated: whoever takes the name's place for the secret itself must not find it in a log.
    let what = "that is no name for a secret".to_owned();
    let hint = "letters, digits, dot, @, - and _, beginning with a letter or digit, at most 64";
    Err(VaultError { hint: Some(hint.into()), ..error(VaultProblem::Refused, what) })
}

/// Bound to the sealed text: neither can be exchanged without being noticed.
fn bound(name: &str, set: jiff::Timestamp) -> String {
    format!("gatepost secret {FORMAT}\0{name}\0{set}")
}

/// Names a key without telling anything about it.
fn key_id(key: &Key) -> String {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new_with_prefix(b"gatepost secret key\0");
    hash.update(key);
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_key(path: &Path, wrapped_here: bool) -> Result<Option<Key>> {
    let Some(bytes) = read_private(path, KEY_BYTES_MAX)? else { return Ok(None) };
    let key = std::str::from_utf8(&bytes).ok().and_then(|line| key_from_line(line.trim(), wrapped_here));
    key.map(Some).ok_or_else(|| {
        let what = format!("{} holds no key of this machine: it is damaged, or another file", path.display());
        let hint = "a key is 32 bytes in base64, in one line; restore it from a backup";
        VaultError { hint: Some(hint.into()), ..error(VaultProblem::Unusable, what) }
    })
}

fn key_from_bytes(bytes: &[u8]) -> Option<Key> {
    Key::try_from(bytes).ok()
}

#[cfg(not(windows))]
fn key_line(key: &Key) -> Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(BASE64.encode(key));
    line.push('\n');
    Ok(line)
}

#[cfg(not(windows))]
fn key_from_line(line: &str, _wrapped_here: bool) -> Option<Key> {
    key_from_bytes(&Zeroizing::new(BASE64.decode(line).ok()?))
}

/// Marks a key that DPAPI wrapped for this machine.
#[cfg(windows)]
const WRAPPED: &str = "dpapi:";

#[cfg(windows)]
fn key_line(key: &Key) -> Result<Zeroizing<String>> {
    use windows_dpapi::{Scope, encrypt_data};
    let wrapped = encrypt_data(key, Scope::Machine, Some(KEY_CREDENTIAL.as_bytes()))
        .map_err(|said| error(VaultProblem::Unusable, format!("Windows cannot protect the key: {said}")))?;
    Ok(Zeroizing::new(format!("{WRAPPED}{}\n", BASE64.encode(wrapped))))
}

#[cfg(windows)]
fn key_from_line(line: &str, wrapped_here: bool) -> Option<Key> {
    use windows_dpapi::{Scope, decrypt_data};
    if !wrapped_here {
        return key_from_bytes(&Zeroizing::new(BASE64.decode(line).ok()?));
    }
    let wrapped = BASE64.decode(line.strip_prefix(WRAPPED)?).ok()?;
    let key = decrypt_data(&wrapped, Scope::Machine, Some(KEY_CREDENTIAL.as_bytes())).ok()?;
    key_from_bytes(&Zeroizing::new(key))
}

/// A file of the folder, `None` when it is not there. One that everybody may read or write is refused.
fn read_private(path: &Path, bytes_max: u64) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let file = match fsio::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path, &error)),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file.metadata().map_err(|error| failed("read", path, &error))?.permissions().mode();
        if mode & 0o007 != 0 {
            let what = format!("{} is open to everybody on this machine", path.display());
            let hint = format!("chmod 600 {}; and take what was in it for known", path.display());
            return Err(VaultError { hint: Some(hint), ..error(VaultProblem::Unusable, what) });
        }
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| failed("read", path, &error))?;
    if bytes.len() as u64 > bytes_max {
        let what = format!("{} is too long to be what it should", path.display());
        return Err(error(VaultProblem::Unusable, what));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
#[path = "vault_tests.rs"]
mod tests;
