//! Files of an export: private, summed up while they are written, whole under their final names.
//!
//! Must never: follow a link out of the export's folder, or put a file under its final name before it is whole.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::super::error::{ArchiveError, ErrorKind, Result};
use crate::base::bytes::WINDOW;
use crate::base::digest::{Digest, Hasher};
use crate::base::fsio;

/// Adds to an I/O error what was tried in the export's folder, and what can be done about it there.
pub(super) trait Exported<T> {
    fn exported(self, tried: &str, path: &Path) -> Result<T>;
}

impl<T> Exported<T> for io::Result<T> {
    fn exported(self, tried: &str, path: &Path) -> Result<T> {
        self.map_err(|error| failed(tried, path, &error))
    }
}

pub(super) fn failed(tried: &str, path: &Path, error: &io::Error) -> ArchiveError {
    let what = format!("cannot {tried} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ArchiveError::new(ErrorKind::NoSpace, what)
                .hint("make room there; the same command goes on where this one stopped")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ArchiveError::new(ErrorKind::Unusable, what).hint("name a folder that you may read and write")
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            ArchiveError::new(ErrorKind::Unusable, what).hint("name a folder that does not exist yet")
        }
        _ => ArchiveError::new(ErrorKind::Failed, what)
            .hint("see the system's log for this disk; the same command goes on where this one stopped"),
    }
}

/// A private file that is summed up while it is written.
pub(super) struct Summed {
    file: BufWriter<File>,
    path: PathBuf,
    hasher: Hasher,
    size: u64,
}

impl Summed {
    /// In the place of whatever stands there.
    pub fn create(path: &Path) -> Result<Summed> {
        let file = BufWriter::with_capacity(WINDOW, create(path)?);
        Ok(Summed { file, path: path.to_owned(), hasher: Hasher::new(), size: 0 })
    }

    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).exported("write", &self.path)
    }

    /// Has it on the disk, and puts it under its name.
    pub fn finish(mut self, name: &Path) -> Result<(u64, Digest)> {
        self.file.flush().exported("write", &self.path)?;
        self.file.get_ref().sync_all().exported("write", &self.path)?;
        drop(self.file);
        fsio::rename(&self.path, name).exported("write", name)?;
        Ok((self.size, self.hasher.finish()))
    }
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A new private file in the place of whatever stands there.
pub(super) fn create(path: &Path) -> Result<File> {
    match fsio::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", path, &error)),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).exported("create", path)
}

/// The path of a file that a manifest or one of our names tells, which has only ordinary parts.
pub(super) fn inside(dir: &Path, file: &str) -> PathBuf {
    file.split('/').fold(dir.to_owned(), |path, part| path.join(part))
}

/// Why such a path cannot be believed to lie within the folder; `None`: it does.
pub(super) fn strange_path(file: &str) -> Option<&'static str> {
    let parts = || file.split('/');
    if file.is_empty() || parts().any(str::is_empty) {
        return Some("is no path within the folder");
    }
    if parts().any(|part| matches!(part, "." | "..")) {
        return Some("leads out of the folder");
    }
    // A backslash and a colon are parts of names here and lead elsewhere on Windows; none of our names has them.
    if file.contains(['\\', ':']) || file.chars().any(char::is_control) {
        return Some("is not a path that an export has");
    }
    None
}

pub(super) fn make_dir(path: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path).exported("create", path)
}

/// Makes the folders of an export, and sees to it that they are folders and no links to elsewhere.
#[derive(Default)]
pub(super) struct Folders {
    /// What was looked at last: files come one folder after the other.
    last: Option<PathBuf>,
}

impl Folders {
    /// `folder` is given from `dir`, with `/`.
    pub fn make(&mut self, dir: &Path, folder: &str) -> Result<PathBuf> {
        let whole = inside(dir, folder);
        if self.last.as_deref() == Some(&whole) {
            return Ok(whole);
        }
        let mut path = dir.to_owned();
        for part in folder.split('/') {
            path.push(part);
            match std::fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => {
                    let what = format!("{} is in the way: it is no folder", path.display());
                    return Err(ArchiveError::new(ErrorKind::Unusable, what).hint("name a folder that is not used yet"));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => make_dir(&path)?,
                Err(error) => return Err(failed("read", &path, &error)),
            }
        }
        self.last = Some(whole.clone());
        Ok(whole)
    }
}

/// Size and SHA-256 of the next `limit` bytes, or of all there are.
pub(super) fn sum(file: &mut dyn Read, limit: u64) -> io::Result<(u64, Digest)> {
    let mut hasher = Hasher::new();
    let size = each(file, limit, &mut |bytes| {
        hasher.update(bytes);
        Ok(())
    })?;
    Ok((size, hasher.finish()))
}

/// Calls `with` with the next `limit` bytes, or with all there are; says how many that were.
pub(super) fn each(file: &mut dyn Read, limit: u64, with: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    let mut buffer = vec![0u8; WINDOW.min(usize::try_from(limit.max(1)).unwrap_or(WINDOW))];
    let mut size = 0;
    while size < limit {
        let most = buffer.len().min(usize::try_from(limit - size).unwrap_or(buffer.len()));
        match file.read(&mut buffer[..most]) {
            Ok(0) => break,
            Ok(n) => {
                with(&buffer[..n])?;
                size += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(size)
}

/// Whether a file is there with this content; a link is none.
pub(super) fn is_same(path: &Path, size: u64, sha256: Digest) -> Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_file() && found.len() == size => {}
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("read", path, &error)),
    }
    let mut file = fsio::open(path).exported("read", path)?;
    Ok(sum(&mut file, u64::MAX).exported("read", path)?.1 == sha256)
}

/// Gives a file the time at which its message was received.
pub(super) fn date_file(file: &File, at: Timestamp) {
    // A file system that does not take the time leaves the file as good as it was.
    let _ = file.set_modified(at.into());
}

/// Has everything that was written to this file system on the disk, where the system can do that at once. A call for
/// each of a hundred thousand files would take longer than the export; what a power cut takes is found by
/// `verify-export` and written again by the next run.
pub(super) fn sync_all_of(dir: &Path) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        let folder = File::open(dir).exported("read", dir)?;
        rustix::fs::syncfs(&folder).map_err(io::Error::from).exported("write", dir)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = dir;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_elsewhere_are_known() {
        for good in ["a.eml", "anna@corp.example/inbox/2026-11/00000001.eml", "a/.Sent/cur/1.2,S=3", "%2e%2e/x"] {
            assert_eq!(strange_path(good), None, "{good}");
        }
        for bad in
            ["", "/etc/passwd", "a//b", "..", "../x", "a/../x", "a/.", "./a", "a/", "c:/x", "a\\..\\x", "a\nb", "a\0b"]
        {
            assert!(strange_path(bad).is_some(), "{bad:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_no_folder_and_no_file_of_an_export() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, elsewhere) = (folder.path().join("out"), folder.path().join("elsewhere"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, dir.join("anna")).unwrap();
        assert!(Folders::default().make(&dir, "anna/inbox").unwrap_err().what.contains("no folder"));
        assert!(Folders::default().make(&dir, "bob/inbox").unwrap().is_dir());
        std::fs::write(elsewhere.join("x"), "x").unwrap();
        std::os::unix::fs::symlink(elsewhere.join("x"), dir.join("x")).unwrap();
        assert!(!is_same(&dir.join("x"), 1, Digest::of(b"x")).unwrap());
        assert!(is_same(&elsewhere.join("x"), 1, Digest::of(b"x")).unwrap());
    }
}
