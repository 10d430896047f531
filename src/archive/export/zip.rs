//! Zip files of eml files: `mail-0001.zip`, `mail-0002.zip` …, each an export folder of its own with a manifest and
//! sums, and small enough for memory sticks, for mail programs of twenty years ago, and for us: what a zip file holds
//! is kept in memory until it is whole.
//!
//! A volume is written in the work folder and gets its name when it is whole; an interrupted run begins its last volume
//! again.

use std::fs::File;
use std::io::{BufWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use super::super::error::{ArchiveError, ErrorKind, Result};
use super::Format;
use super::manifest::{About, ManifestEntry, Rest, SUMS, Writer, file_name, json};
use super::output::{Exported, create, failed, sum};
use super::render::Rendered;
use super::state::State;
use crate::base::bytes::WINDOW;
use crate::base::digest::Digest;
use crate::base::fsio;

/// When a volume is full.
#[derive(Clone, Copy, Debug)]
pub struct VolumeLimits {
    /// Of the messages, before they are compressed.
    pub bytes: u64,
    pub messages: u64,
}

impl Default for VolumeLimits {
    fn default() -> VolumeLimits {
        // Below 4 GiB and 65,535 files a zip file needs no ZIP64, which not every program opens.
        VolumeLimits { bytes: 3 << 30, messages: 50_000 }
    }
}

/// A member of this size needs ZIP64; compressed, noise may be a little larger.
const LARGE: u64 = 0xFFFF_FFFF - (64 << 20);

pub(super) struct Volumes {
    dir: PathBuf,
    work: PathBuf,
    limits: VolumeLimits,
    open: Option<Open>,
}

struct Open {
    file: String,
    path: PathBuf,
    zip: ZipWriter<BufWriter<File>>,
    messages: u64,
    bytes: u64,
}

impl Volumes {
    pub fn new(dir: &Path, work: &Path, limits: VolumeLimits) -> Volumes {
        Volumes { dir: dir.to_owned(), work: work.to_owned(), limits, open: None }
    }

    /// Puts a message into the volume that is open, and opens one when there is none; the volume's name.
    pub fn put(&mut self, state: &State, member: &str, received: Timestamp, message: &Rendered) -> Result<String> {
        if self.open.is_none() {
            let path = self.work.join("mail.zip");
            let zip = ZipWriter::new(BufWriter::with_capacity(WINDOW, create(&path)?));
            self.open = Some(Open { file: next_name(state)?, path, zip, messages: 0, bytes: 0 });
        }
        let Some(open) = &mut self.open else { return Err(ArchiveError::new(ErrorKind::Failed, "no volume is open")) };
        let Open { path, zip, .. } = open;
        zip.start_file(member, options(received, message.size)).map_err(|error| zipped(path, error))?;
        message.each(&mut |bytes| zip.write_all(bytes).exported("write", path))?;
        open.messages += 1;
        open.bytes += message.size;
        Ok(open.file.clone())
    }

    /// Whether the next message begins another volume.
    pub fn is_full(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.messages >= self.limits.messages || open.bytes >= self.limits.bytes)
    }

    /// Has the volume that is open whole and under its name.
    pub fn close(&mut self, state: &State, about: &About) -> Result<()> {
        let Some(Open { file, path, mut zip, .. }) = self.open.take() else { return Ok(()) };
        let (name, temporary) = (file_name(1), self.work.join("member.tmp"));
        let own = About { format: Format::Eml, run: 1, previous: None, ..about.clone() };
        let mut manifest = Writer::begin(&self.work.join("member.part"), &own)?;
        each_member(state, &file, &mut |entry| {
            let text = json(&serde_json::to_string(&entry))?;
            manifest.entry(&text, entry.size, entry.redacted)
        })?;
        let rest = Rest { containers: &[], documents: &[], withdrawn: &[], failed: &[] };
        let (size, sha256) = manifest.finish(&temporary, &rest)?;
        zip.start_file(SUMS, options(about.time, 0)).map_err(|error| zipped(&path, error))?;
        each_member(state, &file, &mut |entry| put_sum(&mut zip, &path, &entry.file, entry.sha256_exported))?;
        put_sum(&mut zip, &path, &name, sha256)?;
        zip.start_file(&name, options(about.time, size)).map_err(|error| zipped(&path, error))?;
        let mut manifest = fsio::open(&temporary).exported("read", &temporary)?;
        std::io::copy(&mut manifest, &mut zip).exported("write", &path)?;
        drop(manifest);
        let out = zip.finish().map_err(|error| zipped(&path, error))?;
        let mut out = out.into_inner().map_err(|error| failed("write", &path, error.error()))?;
        out.sync_all().exported("write", &path)?;
        out.rewind().exported("read", &path)?;
        let (size, sha256) = sum(&mut out, u64::MAX).exported("read", &path)?;
        drop(out);
        let whole = self.dir.join(&file);
        fsio::rename(&path, &whole).exported("write", &whole)?;
        state.container_is_whole(&file, size, sha256)?;
        state.note()
    }
}

/// The messages of a volume, as the manifest within it names them.
fn each_member(state: &State, file: &str, with: &mut dyn FnMut(ManifestEntry) -> Result<()>) -> Result<()> {
    state.each_done(Some(file), &mut |text, _, _| {
        let mut entry: ManifestEntry =
            serde_json::from_str(text).map_err(|error| ArchiveError::new(ErrorKind::Failed, error.to_string()))?;
        entry.file = entry.member.take().unwrap_or_default();
        with(entry)
    })
}

fn put_sum(zip: &mut ZipWriter<BufWriter<File>>, path: &Path, file: &str, sha256: Digest) -> Result<()> {
    zip.write_all(format!("{sha256}  {file}\n").as_bytes()).exported("write", path)
}

fn zipped(path: &Path, error: zip::result::ZipError) -> ArchiveError {
    match error {
        zip::result::ZipError::Io(error) => failed("write", path, &error),
        error => ArchiveError::new(ErrorKind::Failed, format!("cannot write {}: {error}", path.display())),
    }
}

/// The same for the same message on every host.
fn options(at: Timestamp, size: u64) -> SimpleFileOptions {
    let at = at.to_zoned(TimeZone::UTC);
    let part = |part: i8| u8::try_from(part).unwrap_or(0);
    let year = u16::try_from(at.year()).unwrap_or(0);
    let time = DateTime::from_date_and_time(
        year,
        part(at.month()),
        part(at.day()),
        part(at.hour()),
        part(at.minute()),
        part(at.second()),
    );
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(6))
        .last_modified_time(time.unwrap_or_default())
        .unix_permissions(0o600)
        .system(System::Unix)
        .large_file(size >= LARGE)
}

/// Numbers go on over all runs.
fn next_name(state: &State) -> Result<String> {
    let before = state.containers_before()?.into_iter().map(|container| container.file);
    let now = state.containers()?.into_iter().map(|(file, ..)| file);
    let last = before.chain(now).filter_map(|file| number(&file)).max();
    Ok(format!("mail-{:04}.zip", last.unwrap_or(0) + 1))
}

fn number(file: &str) -> Option<u32> {
    file.strip_prefix("mail-")?.strip_suffix(".zip")?.parse().ok()
}
