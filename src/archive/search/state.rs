//! Where the index stands: opening it, knowing whether it is whole, and how far it has come.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tantivy::Index;
use tantivy::index::SegmentComponent;

use super::schema;
use crate::archive::error::{ArchiveError, ErrorKind, Result, Tried as _};
use crate::archive::read::Reader;
use crate::archive::record::Head;
use crate::archive::{Catalogue, Layout};
use crate::base::fsio;

/// Up to where the archive is indexed: the payload of the index's own commit, so that both are durable in one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub version: String,
    pub archive: uuid::Uuid,
    /// The archive's head when it was read; an archive without this commit is another one, or an older copy.
    pub head: Head,
    /// Items up to this one are indexed.
    pub item: u64,
    /// Up to where decodings of older items were taken over: pack and offset.
    pub decoded: (u64, u64),
}

/// How far the index is behind the archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Items that are indexed.
    pub indexed: u64,
    /// Items, and new decodings of older ones, that are not.
    pub behind: u64,
}

pub fn folder(layout: &Layout) -> PathBuf {
    layout.catalogue.with_extension("index")
}

/// Cheap: reads one small file and asks the catalogue.
pub fn standing(layout: &Layout) -> Result<Standing> {
    let catalogue = Catalogue::of(layout)?;
    let archive = layout.identity()?.archive;
    let mark = mark_in(&folder(layout)).filter(|mark| mark.fits(&catalogue, archive).unwrap_or(false));
    let (item, decoded) = mark.map_or((0, (0, 0)), |mark| (mark.item, mark.decoded));
    let last = catalogue.last_item()?;
    let again = catalogue.decoded_after(item, decoded)?.len() as u64;
    Ok(Standing { indexed: item, behind: last.saturating_sub(item) + again })
}

impl Mark {
    /// Whether an index of this mark can be gone on with.
    pub fn fits(&self, catalogue: &Catalogue, archive: uuid::Uuid) -> Result<bool> {
        let known = self.head.seq == 0 || catalogue.commit_hash(self.head.seq)? == Some(self.head.hash);
        Ok(self.version == schema::version() && self.archive == archive && known)
    }

    /// Where an archive stands now.
    pub fn now(reader: &Reader) -> Result<Mark> {
        // In this order: what is committed in between is seen as new once more, never passed over.
        let head = reader.head()?;
        let decoded = reader.catalogue.last_decoded()?;
        let item = reader.catalogue.last_item()?;
        Ok(Mark { version: schema::version(), archive: reader.archive_id(), head, item, decoded })
    }
}

/// What the index says of itself, without opening it.
fn mark_in(folder: &Path) -> Option<Mark> {
    #[derive(Deserialize)]
    struct Meta {
        payload: Option<String>,
    }
    let meta: Meta = serde_json::from_slice(&fsio::read(&folder.join("meta.json")).ok()?).ok()?;
    serde_json::from_str(&meta.payload?).ok()
}

/// An index that is whole and belongs to this state of the archive, or why it has to be built anew.
pub enum Opened {
    Whole(Box<Index>, Mark),
    /// There is none.
    Missing,
    /// In words for people.
    Unfit(String),
}

pub fn open(layout: &Layout, reader: &Reader) -> Result<Opened> {
    let folder = folder(layout);
    match std::fs::symlink_metadata(&folder) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Opened::Missing),
        Err(error) => return Err(ArchiveError::io("read", &folder, &error)),
    }
    let mark = match mark_in(&folder) {
        Some(mark) if mark.fits(&reader.catalogue, reader.archive_id())? => mark,
        Some(mark) if mark.version != schema::version() => {
            return Ok(Opened::Unfit("it is of another version of gatepost".into()));
        }
        Some(_) => return Ok(Opened::Unfit("it is of another state of the archive".into())),
        None => return Ok(Opened::Unfit("it was not finished, or is damaged".into())),
    };
    let index = match open_index(&folder) {
        Ok(index) => index,
        Err(error) => return Ok(Opened::Unfit(format!("it is damaged ({error})"))),
    };
    match check(&index, &folder) {
        Ok(()) => Ok(Opened::Whole(Box::new(index), mark)),
        Err(damage) => Ok(Opened::Unfit(format!("it is damaged ({damage})"))),
    }
}

fn open_index(folder: &Path) -> std::result::Result<Index, String> {
    // The library does not expect rubbish everywhere.
    let opened = std::panic::catch_unwind(|| Index::open_in_dir(folder));
    let index = opened.map_err(|_| "it cannot be opened".to_owned())?.map_err(|error| error.to_string())?;
    if index.schema() != schema::schema().0 {
        return Err("its fields are other ones".into());
    }
    Ok(schema::with_tokenizer(index))
}

/// Which files were found whole, by name: length and time of the last change. Reading all of a large index for each
/// search would be slow; a file that changed since is read again.
const CHECKED: &str = "checked.json";

/// Every file of the index is there and has its checksum.
fn check(index: &Index, folder: &Path) -> std::result::Result<(), String> {
    use SegmentComponent::{Delete, FastFields, FieldNorms, Positions, Postings, Store, Terms};
    let known: BTreeMap<String, (u64, u128)> =
        fsio::read(&folder.join(CHECKED)).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
    let mut found = BTreeMap::new();
    for segment in index.searchable_segment_metas().map_err(|error| error.to_string())? {
        let mut parts = vec![Postings, Positions, Terms, FastFields, FieldNorms, Store];
        if segment.has_deletes() {
            parts.push(Delete);
        }
        for part in parts {
            let path = segment.relative_path(part);
            let name = path.display().to_string();
            let of_file = |error: &dyn std::fmt::Display| format!("{name}: {error}");
            let metadata = std::fs::metadata(folder.join(&path)).map_err(|error| of_file(&error))?;
            let changed = metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            let seen = (metadata.len(), changed.map_or(0, |at| at.as_nanos()));
            if known.get(&name) != Some(&seen) {
                let directory = index.directory();
                let is_whole =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| directory.validate_checksum(&path)));
                match is_whole {
                    Ok(Ok(true)) => {}
                    Ok(Ok(false)) => return Err(of_file(&"its checksum is another one")),
                    Ok(Err(error)) => return Err(of_file(&error)),
                    Err(_) => return Err(of_file(&"it cannot be read")),
                }
            }
            found.insert(name, seen);
        }
    }
    if found != known {
        // A courtesy to the next one; who may only read does without.
        let _ = write_privately(&folder.join(CHECKED), &serde_json::to_vec(&found).unwrap_or_default());
    }
    Ok(())
}

/// Forgets what was found whole: all files are read again.
pub fn distrust(layout: &Layout) {
    let _ = fsio::remove_file(&folder(layout).join(CHECKED));
}

/// A new, empty index in the place of whatever is there.
pub fn create(layout: &Layout) -> Result<Index> {
    let folder = folder(layout);
    match fsio::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(ArchiveError::io("remove", &folder, &error));
        }
        _ => {}
    }
    #[cfg_attr(windows, allow(unused_mut))]
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    // On Windows the name is free when the last reader of what was there has let go.
    fsio::patiently(|| builder.create(&folder)).tried("create", &folder)?;
    let index = Index::builder().schema(schema::schema().0).settings(schema::settings()).create_in_dir(&folder);
    Ok(schema::with_tokenizer(index.map_err(failed)?))
}

pub fn write_privately(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    io::Write::write_all(&mut fsio::patiently(|| options.open(path))?, bytes)
}

/// Held by the one who writes the index, until dropped.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// `None`: another process writes it.
    pub fn take(layout: &Layout) -> Result<Option<Lock>> {
        let path = layout.catalogue.with_extension("index.lock");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = fsio::patiently(|| options.open(&path)).tried("open", &path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(ArchiveError::io("lock", &path, &error)),
        }
    }
}

/// An error of the index: never one of the archive.
pub fn failed(error: tantivy::TantivyError) -> ArchiveError {
    use tantivy::TantivyError;
    use tantivy::directory::error::OpenWriteError;
    let io = match &error {
        TantivyError::IoError(io) => Some(io.clone()),
        TantivyError::OpenWriteError(OpenWriteError::IoError { io_error, .. }) => Some(io_error.clone()),
        _ => None,
    };
    match io {
        Some(io) => ArchiveError::of_io(format!("the index cannot be written: {io}"), &io),
        None => ArchiveError::new(ErrorKind::Failed, format!("the index gave an error: {error}"))
            .hint("the archive is not touched by this; `gatepost index --rebuild` makes the index anew"),
    }
}
