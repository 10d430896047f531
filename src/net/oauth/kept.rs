//! Tokens between runs: one file for each login, which only its owner can read.
//!
//! Must: a file is found by everything that identifies the login (token server, application, rights, grant, mailbox)
//! and believed only when it was kept under the secrets that are configured now: of those it holds a salted digest.
//! Two processes do not ask at the same time: a refresh token that was used twice may cost the whole grant.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ask::Granted;
use super::{ClientProof, Grant, OAuth2Options};
use crate::base::digest::{Digest, Hasher};
use crate::base::fsio::{self, Fs};
use crate::base::secret::Secret;

const FORMAT: u32 = 1;
const FILE_BYTES_MAX: u64 = 512 * 1024;
/// Between two looks at a lock that another process holds.
const LOCK_LOOK: Duration = Duration::from_millis(50);

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    /// For people: what this opens.
    login: String,
    token_url: String,
    salt: uuid::Uuid,
    secrets: String,
    expires: Timestamp,
    access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

/// The place of one login's tokens.
#[derive(Debug)]
pub(super) struct Kept {
    folder: PathBuf,
    file: PathBuf,
    lock: PathBuf,
    login: String,
    token_url: String,
    /// Over the secrets of the configuration.
    secrets: Zeroizing<Vec<u8>>,
}

/// Everything that identifies a login, and no secret.
pub(super) fn identity(options: &OAuth2Options) -> Digest {
    let (issuer, subject) = match &options.grant {
        Grant::ServiceAccount { account, subject } => (account.email.as_str(), subject.as_deref().unwrap_or_default()),
        Grant::ClientCredentials(_) | Grant::RefreshToken { .. } | Grant::DeviceCode { .. } => ("", ""),
    };
    // An application's own token opens what it opens, whichever mailbox it is used for.
    let login = match &options.grant {
        Grant::ClientCredentials(_) => "",
        Grant::RefreshToken { .. } | Grant::DeviceCode { .. } | Grant::ServiceAccount { .. } => options.login.as_str(),
    };
    let mut hasher = Hasher::new();
    for part in
        [options.token_url.as_str(), &options.client_id, &options.scope, options.grant.name(), login, issuer, subject]
    {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finish()
}

/// The secrets of the configuration, to tell whether they changed.
pub(super) fn secrets(options: &OAuth2Options) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut add = |kind: u8, part: &[u8]| {
        bytes.push(kind);
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    };
    match options.grant.proof() {
        Some(ClientProof::SecretInBody(secret) | ClientProof::SecretInHeader(secret)) => {
            add(1, secret.expose().as_bytes());
        }
        Some(ClientProof::Certificate(key)) => add(2, &key.fingerprint()),
        None => {}
    }
    match &options.grant {
        Grant::RefreshToken { token, .. } => add(3, token.expose().as_bytes()),
        Grant::ServiceAccount { account, .. } => add(4, &account.fingerprint()),
        Grant::ClientCredentials(_) | Grant::DeviceCode { .. } => {}
    }
    bytes
}

impl Kept {
    pub fn new(folder: &Path, options: &OAuth2Options) -> Kept {
        let name = &identity(options).to_string()[..32];
        Kept {
            folder: folder.to_owned(),
            file: folder.join(format!("{name}.json")),
            lock: folder.join(format!("{name}.lock")),
            login: options.login.clone(),
            token_url: options.token_url.clone(),
            secrets: secrets(options),
        }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Waits until no other process asks for this login's tokens; the lock is gone with the value.
    pub async fn lock(&self, limit: Duration) -> io::Result<File> {
        make_folder(&self.folder)?;
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = fsio::patiently(|| options.open(&self.lock))?;
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if waited < limit => {
                    tokio::time::sleep(LOCK_LOOK).await;
                    waited += LOCK_LOOK;
                }
                Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::TimedOut.into()),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// `None` when nothing is there, or what is there was kept under other secrets.
    pub fn read(&self) -> io::Result<Option<Granted>> {
        use std::io::Read as _;
        let file = match fsio::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        // The parser's error could repeat a part of a token.
        let written: Written = serde_json::from_slice(&bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        let access = Secret::new(written.access_token);
        let refresh = written.refresh_token.map(Secret::new);
        if written.format != FORMAT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if written.secrets != salted(written.salt, &self.secrets) {
            return Ok(None);
        }
        Ok(Some(Granted { access, expires: written.expires, refresh }))
    }

    /// On stable storage when this returns.
    pub fn write(&self, fs: &Fs, granted: &Granted) -> io::Result<()> {
        make_folder(&self.folder)?;
        let salt = uuid::Uuid::new_v4();
        let written = Zeroizing::new(serde_json::to_vec_pretty(&Written {
            format: FORMAT,
            login: self.login.clone(),
            token_url: self.token_url.clone(),
            salt,
            secrets: salted(salt, &self.secrets),
            expires: granted.expires,
            access_token: granted.access.expose().to_owned(),
            refresh_token: granted.refresh.as_ref().map(|token| token.expose().to_owned()),
        })?);
        fs.write_durably(&self.file, &written)
    }
}

/// Only the owner's.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let fs = Fs::real();
    if let Some(parent) = folder.parent() {
        fs.create_dir_all(parent)?;
    }
    match fs.create_dir(folder) {
        // Another process was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn salted(salt: uuid::Uuid, secrets: &[u8]) -> String {
    let mut hasher = Hasher::new();
    hasher.update(salt.as_bytes());
    hasher.update(secrets);
    hasher.finish().to_string()
}
