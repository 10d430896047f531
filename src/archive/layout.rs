//! Where things lie in an archive, how a new one comes to be, and who holds its lock.
//!
//! A half-made archive never stands under the real name: it is prepared beside it and renamed.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::catalogue::Catalogue;
use super::error::{ArchiveError, ErrorKind, Result, Tried as _};
use crate::base::fsio::{self, Fs};

pub const FORMAT: u32 = 1;

#[derive(Clone, Debug)]
pub struct Layout {
    pub root: PathBuf,
    pub catalogue: PathBuf,
}

/// `archive.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Identity {
    pub format: u32,
    /// Bits that a reader must know to read on.
    pub features: u64,
    pub archive: uuid::Uuid,
    pub created: Timestamp,
}

impl Layout {
    pub fn new(root: &Path, catalogue: Option<&Path>) -> Layout {
        let catalogue = catalogue.map_or_else(|| root.join("catalogue.sqlite3"), Path::to_owned);
        Layout { root: root.to_owned(), catalogue }
    }

    pub fn identity_file(&self) -> PathBuf {
        self.root.join("archive.json")
    }

    pub fn packs(&self) -> PathBuf {
        self.root.join("packs")
    }

    pub fn pack(&self, no: u64) -> PathBuf {
        self.packs().join(format!("{no:06}.pack.zst"))
    }

    pub fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    pub fn torn(&self) -> PathBuf {
        self.root.join("torn")
    }

    fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    fn lock_holder(&self) -> PathBuf {
        self.root.join("lock-holder")
    }

    pub fn catalogue_is_inside(&self) -> bool {
        self.catalogue.starts_with(&self.root)
    }

    /// Numbers of the packs that are there, rising. Files with other names are not ours and are left alone.
    pub fn list_packs(&self) -> Result<Vec<u64>> {
        let folder = self.packs();
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&folder).tried("read", &folder)? {
            let name = entry.tried("read", &folder)?.file_name();
            let number: Option<u64> =
                name.to_str().and_then(|name| name.strip_suffix(".pack.zst")).and_then(|n| n.parse().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Reads `archive.json`; tells a missing archive, an empty folder and a foreign one apart.
    pub fn identity(&self) -> Result<Identity> {
        let path = self.identity_file();
        let bytes = match fsio::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.why_missing()),
            Err(error) => return Err(ArchiveError::io("read", &path, &error)),
        };
        let identity: Identity = serde_json::from_slice(&bytes).map_err(|error| {
            ArchiveError::new(ErrorKind::Damaged, format!("{} is damaged: {error}", path.display()))
                .hint("restore this file from a backup; it names the archive and its format")
        })?;
        if identity.format != FORMAT || identity.features != 0 {
            return Err(ArchiveError::new(
                ErrorKind::Unusable,
                format!(
                    "the archive has format {} and features {:#x}, this version knows format {FORMAT}",
                    identity.format, identity.features
                ),
            )
            .hint("use the gatepost version that wrote it"));
        }
        Ok(identity)
    }

    fn why_missing(&self) -> ArchiveError {
        let root = self.root.display();
        match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                ArchiveError::new(ErrorKind::Unusable, format!("there is no archive at {root}"))
                    .hint("check `[archive] path` (or --archive); `gatepost once` makes a new one")
            }
            Err(error) => ArchiveError::io("read", &self.root, &error),
            Ok(_) => {
                if self.is_as_good_as_empty() {
                    ArchiveError::new(
                        ErrorKind::Unusable,
                        format!("{root} is an empty folder: an unmounted volume looks like that"),
                    )
                    .hint("mount the volume; if this really is to become a new archive, say --create-archive once")
                } else {
                    ArchiveError::new(
                        ErrorKind::Unusable,
                        format!("{root} holds files, but no archive (archive.json is missing)"),
                    )
                    .hint("name an archive's folder, or a path that does not exist yet")
                }
            }
        }
    }

    /// Only what an interrupted attempt to make an archive leaves, or nothing (`lost+found` is a fresh volume's).
    pub fn is_as_good_as_empty(&self) -> bool {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return false };
        entries.flatten().all(|entry| {
            let name = entry.file_name();
            let is_empty_dir = || std::fs::read_dir(entry.path()).is_ok_and(|mut inside| inside.next().is_none());
            match name.to_str() {
                Some("lost+found") => true,
                Some("packs" | "spool" | "torn") => is_empty_dir(),
                Some(name) => HALF_MADE.contains(&name),
                None => false,
            }
        })
    }

    /// Removes what an attempt left that was interrupted: only what such an attempt makes. A folder with
    /// anything else in it is not ours, and is refused.
    fn remove_half_made(&self) -> Result<()> {
        let absent_is_fine = |result: io::Result<()>, path: &Path| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ArchiveError::io("remove", path, &error)),
            _ => Ok(()),
        };
        for name in HALF_MADE {
            let path = self.root.join(name);
            absent_is_fine(fsio::remove_file(&path), &path)?;
        }
        for folder in [self.packs(), self.spool(), self.torn()] {
            absent_is_fine(fsio::remove_dir(&folder), &folder)?;
        }
        Ok(())
    }

    /// Makes a new archive: where nothing is, prepared beside its place and renamed; in an empty folder
    /// (`into_empty`), which may be a mount point, in its place. `archive.json` comes last: without it there
    /// is no archive.
    pub fn create(&self, fs: &Fs, into_empty: bool, now: Timestamp) -> Result<Identity> {
        let parent = match self.root.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let identity = Identity { format: FORMAT, features: 0, archive: uuid::Uuid::new_v4(), created: now };
        if into_empty {
            self.remove_catalogue_of(self)?;
            self.remove_half_made()?;
            self.fill(fs, self, &identity)?;
            self.make_name_durable(fs)?;
            return Ok(identity);
        }
        fs.create_dir_all(&parent).tried("create", &parent)?;
        let mut name = std::ffi::OsString::from(".");
        name.push(self.root.file_name().unwrap_or("archive".as_ref()));
        name.push(".new");
        let prepared = Layout::new(&parent.join(name), None);
        self.remove_catalogue_of(&prepared)?;
        if prepared.root.exists() {
            prepared.remove_half_made()?;
            fsio::remove_dir(&prepared.root).tried("remove", &prepared.root)?;
        }
        fs.create_dir(&prepared.root).tried("create", &prepared.root)?;
        self.fill(fs, &prepared, &identity)?;
        fs.rename(&prepared.root, &self.root).tried("create", &self.root)?;
        self.make_name_durable(fs)?;
        Ok(identity)
    }

    /// Makes the files of a new archive in `place`.
    fn fill(&self, fs: &Fs, place: &Layout, identity: &Identity) -> Result<()> {
        for folder in [place.packs(), place.spool(), place.torn()] {
            fs.create_dir(&folder).tried("create", &folder)?;
        }
        let catalogue = if self.catalogue_is_inside() {
            // Under whatever name it has in there.
            match self.catalogue.strip_prefix(&self.root) {
                Ok(inside) => place.root.join(inside),
                Err(_) => place.catalogue.clone(),
            }
        } else {
            self.catalogue.clone()
        };
        let mut json = serde_json::to_vec_pretty(identity)
            .map_err(|error| ArchiveError::new(ErrorKind::Failed, error.to_string()))?;
        json.push(b'\n');
        let making = place.root.join(MAKING);
        fs.write_durably(&making, &json).tried("write", &making)?;
        drop(Catalogue::create(&catalogue, identity.archive)?);
        fs.rename(&making, &place.identity_file()).tried("write", &place.identity_file())?;
        fs.sync_dir(&place.root).tried("sync", &place.root)
    }

    /// Makes the names durable by which the archive is found. Before its first commit, whoever made it: the
    /// process that did may have ended before its own sync.
    pub(super) fn make_name_durable(&self, fs: &Fs) -> Result<()> {
        for folder in self.root.ancestors().skip(1) {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            match fs.sync_dir(folder) {
                // Not ours to read, or of a kind that knows no sync: no name in it is of our making.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::PermissionDenied
                            | io::ErrorKind::InvalidInput
                            | io::ErrorKind::Unsupported
                            | io::ErrorKind::ReadOnlyFilesystem
                    ) => {}
                done => done.tried("sync", folder)?,
            }
        }
        Ok(())
    }

    /// A catalogue elsewhere is made before the archive gets its place. One that belongs to the interrupted
    /// attempt in `prepared` never was an archive's and goes; any other one is somebody's and stays.
    fn remove_catalogue_of(&self, prepared: &Layout) -> Result<()> {
        if self.catalogue_is_inside() || !self.catalogue.exists() {
            return Ok(());
        }
        let interrupted = [prepared.root.join(MAKING), prepared.identity_file()]
            .iter()
            .find_map(|path| serde_json::from_slice::<Identity>(&fsio::read(path).ok()?).ok())
            .map(|identity| identity.archive);
        let nobodys = match interrupted {
            Some(archive) => Catalogue::was_never_used(&self.catalogue, archive)?,
            None => false,
        };
        if !nobodys {
            return Err(ArchiveError::new(
                ErrorKind::Unusable,
                format!("a new archive cannot use the catalogue {}: it is another one's", self.catalogue.display()),
            )
            .hint("move that file away, or correct `[archive] path` and `catalogue`"));
        }
        // The database first: SQLite throws a log away that stands beside none.
        for suffix in ["", "-wal", "-shm"] {
            let mut path = self.catalogue.clone().into_os_string();
            path.push(suffix);
            let path = PathBuf::from(path);
            match fsio::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(ArchiveError::io("remove", &path, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What `archive.json` is called until everything else is there.
const MAKING: &str = "archive.making.json";

/// Files that a half-made archive may hold.
const HALF_MADE: [&str; 7] = [
    "archive.json",
    MAKING,
    ".archive.making.json.tmp",
    "catalogue.sqlite3",
    "catalogue.sqlite3-wal",
    "catalogue.sqlite3-shm",
    "catalogue.sqlite3-journal",
];

/// The one writer's lock, held until dropped.
pub struct Lock {
    _file: File,
    holder: PathBuf,
}

impl Lock {
    /// `holder` says who takes it; it is what the next one is told.
    pub fn take(layout: &Layout, holder: &str) -> Result<Lock> {
        let path = layout.lock();
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = fsio::patiently(|| options.open(&path)).tried("open", &path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let who = std::fs::read_to_string(layout.lock_holder()).unwrap_or_default();
                let who = if who.trim().is_empty() { "another process".to_owned() } else { who.trim().to_owned() };
                return Err(ArchiveError::new(
                    ErrorKind::Locked,
                    format!("the archive {} is in use by {who}", layout.root.display()),
                )
                .hint("wait for it to end; reading commands (list, show, export, status) work meanwhile"));
            }
            Err(TryLockError::Error(error)) => return Err(ArchiveError::io("lock", &path, &error)),
        }
        // Beside the lock and not in it: on Windows a locked file cannot be read by others.
        let holder_file = layout.lock_holder();
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // The words beside the lock are a courtesy; without space for them the lock holds all the same.
        if let Ok(mut file) = fsio::patiently(|| options.open(&holder_file)) {
            let _ = io::Write::write_all(&mut file, holder.as_bytes());
        }
        Ok(Lock { _file: file, holder: holder_file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fsio::remove_file(&self.holder);
    }
}
