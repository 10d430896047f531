//! Manifests: what each run of an export wrote, described in `MANIFEST.md`. Written and read line by line, so that an
//! export may hold any number of messages.

use std::fmt;
use std::io::{self, BufReader, Read, Write as _};
use std::path::Path;

use jiff::Timestamp;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::super::error::{ArchiveError, ErrorKind, Result};
use super::super::record::{Folder, Head};
use super::Format;
use super::output::{Exported, Summed};
use crate::base::digest::{Digest, Hasher};
use crate::base::fsio;

pub(super) const SUMS: &str = "SHA256SUMS";
/// Version of the manifest; another number is another meaning.
pub const MANIFEST_VERSION: u32 = 2;
/// A line of a manifest is never longer; a file that has such a one is none.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The manifest of the n-th run.
pub(super) fn file_name(run: u32) -> String {
    match run {
        1 => "manifest.json".into(),
        run => format!("manifest-{run:04}.json"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Export,
    /// A person's whole record, with pages to read.
    Record,
}

/// What a manifest says before its entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub gatepost_export: u32,
    pub kind: Kind,
    pub archive: uuid::Uuid,
    /// Everything up to this commit was looked at.
    pub head: Head,
    pub time: Timestamp,
    pub gatepost: String,
    pub run: u32,
    /// The manifest of the run before.
    pub previous: Option<Previous>,
    pub format: Format,
    /// `Bcc` is shown to everybody.
    pub envelope: bool,
    /// What was asked for, in words.
    pub selection: String,
    pub filter: serde_json::Value,
    pub search: Option<String>,
}

impl About {
    /// Why a run like this one cannot go on with what another began.
    pub fn differs_from(&self, other: &About) -> Option<String> {
        if other.archive != self.archive {
            return Some("it holds an export of another archive".into());
        }
        let shown = |about: &About| {
            let kind = match about.kind {
                Kind::Export => about.format.as_str(),
                Kind::Record => "a record",
            };
            let envelope = if about.envelope { ", with the envelope" } else { "" };
            format!("{kind} of {}{envelope}", about.selection)
        };
        let same =
            |about: &About| (about.kind, about.format, about.envelope, about.filter.clone(), about.search.clone());
        (same(self) != same(other)).then(|| format!("it holds another export: {}", shown(other)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    pub file: String,
    pub sha256: Digest,
}

/// One message of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntry {
    pub id: u64,
    /// The item whose variant of the message this is.
    pub item: u64,
    pub person: String,
    pub folder: Folder,
    /// Why it was filed there.
    pub because: String,
    /// From the export's folder, with `/`.
    pub file: String,
    /// Within the zip file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Within the mbox file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    pub message_id: Option<String>,
    pub date: Option<Timestamp>,
    /// When the gateway had it; without that, the message's own date or the time of download.
    pub received: Timestamp,
    /// Of the bytes that `sha256_exported` is of.
    pub size: u64,
    pub sha256_original: Digest,
    pub sha256_exported: Digest,
    /// Of the bytes that a reader of mboxrd gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256_unquoted: Option<Digest>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub quoted_lines: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub newline_added: bool,
    /// Of the message as an IMAP server sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256_crlf: Option<Digest>,
    pub redacted: bool,
    /// The rights-protected message beside the clear copy of the same number.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl ManifestEntry {
    /// What tells it from every other: the same message in the same folder of the same person, with these bytes.
    pub(super) fn key(&self) -> Digest {
        key(&self.person, self.folder, self.id, self.sha256_original, self.protected)
    }
}

pub(super) fn key(person: &str, folder: Folder, id: u64, original: Digest, protected: bool) -> Digest {
    Digest::of(format!("{person}\n{} {id} {original} {protected}", folder.as_str()).as_bytes())
}

/// A file with many messages, as it is after the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub file: String,
    pub size: u64,
    pub sha256: Digest,
    /// That this run put into it.
    pub messages: u64,
}

/// A page of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    pub file: String,
    pub size: u64,
    pub sha256: Digest,
}

/// What an earlier run exported and is filed there no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    pub id: u64,
    pub person: String,
    pub folder: Folder,
    pub file: String,
    pub sha256_original: Digest,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
}

/// What could not be exported, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportFailure {
    pub id: u64,
    pub person: String,
    pub folder: Folder,
    pub why: String,
    /// The archive's bytes are not what they were.
    pub damaged: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    pub entries: u64,
    pub bytes: u64,
    pub redacted: u64,
    pub withdrawn: u64,
    pub failed: u64,
}

/// A manifest on its way to its file.
pub(super) struct Writer {
    out: Summed,
    first: bool,
    sums: Sums,
}

impl Writer {
    pub fn begin(temporary: &Path, about: &About) -> Result<Writer> {
        let mut out = Summed::create(temporary)?;
        let head = json(&serde_json::to_string_pretty(about))?;
        // The structure's own closing brace goes to the end of the file.
        out.put(head.trim_end().trim_end_matches('}').trim_end().as_bytes())?;
        let mut writer = Writer { out, first: true, sums: Sums::default() };
        writer.array("entries")?;
        Ok(writer)
    }

    fn array(&mut self, name: &str) -> Result<()> {
        self.first = true;
        self.out.put(format!(",\n  \"{name}\": [").as_bytes())
    }

    fn end_array(&mut self) -> Result<()> {
        let end = if self.first { "]" } else { "\n  ]" };
        self.out.put(end.as_bytes())
    }

    fn line(&mut self, text: &str) -> Result<()> {
        let comma = if std::mem::take(&mut self.first) { "" } else { "," };
        self.out.put(format!("{comma}\n    {text}").as_bytes())
    }

    /// `text` is the entry as JSON on one line.
    pub fn entry(&mut self, text: &str, size: u64, redacted: bool) -> Result<()> {
        self.sums.entries += 1;
        self.sums.bytes += size;
        self.sums.redacted += u64::from(redacted);
        self.line(text)
    }

    fn all<T: Serialize>(&mut self, name: &str, lines: &[T]) -> Result<()> {
        self.end_array()?;
        self.array(name)?;
        lines.iter().try_for_each(|line| self.line(&json(&serde_json::to_string(line))?))
    }

    pub fn finish(mut self, name: &Path, rest: &Rest<'_>) -> Result<(u64, Digest)> {
        self.all("containers", rest.containers)?;
        self.all("documents", rest.documents)?;
        self.all("withdrawn", rest.withdrawn)?;
        self.all("failed", rest.failed)?;
        self.end_array()?;
        self.sums.withdrawn = rest.withdrawn.len() as u64;
        self.sums.failed = rest.failed.len() as u64;
        let sums = json(&serde_json::to_string(&self.sums))?;
        self.out.put(format!(",\n  \"totals\": {sums},\n  \"complete\": true\n}}\n").as_bytes())?;
        self.out.flush().exported("write", name)?;
        self.out.finish(name)
    }
}

/// What stands in a manifest behind its entries.
pub(super) struct Rest<'a> {
    pub containers: &'a [Container],
    pub documents: &'a [Document],
    pub withdrawn: &'a [Withdrawn],
    pub failed: &'a [ExportFailure],
}

pub(super) fn json(text: &serde_json::Result<String>) -> Result<String> {
    match text {
        Ok(text) => Ok(text.clone()),
        Err(error) => Err(ArchiveError::new(ErrorKind::Failed, error.to_string())),
    }
}

/// A part of a manifest, as it is read.
#[derive(Debug)]
pub(super) enum Part {
    /// Comes first: from here on it is known whose manifest it is.
    About,
    Entry(Box<ManifestEntry>),
    Container(Container),
    Document(Document),
    Withdrawn(Withdrawn),
    Failed(ExportFailure),
}

/// What was read of a manifest beside its parts.
#[derive(Debug)]
pub(super) struct Manifest {
    pub about: About,
    pub totals: Option<Sums>,
    pub complete: bool,
    pub sha256: Digest,
}

/// Why a manifest cannot be read: it is none, or what was done with its parts failed.
#[derive(Debug)]
pub(super) enum Unread {
    /// There is no such file.
    Missing,
    No(String),
    Error(ArchiveError),
}

impl Unread {
    /// For whom nothing can be done without it.
    pub fn into_error(self, path: &Path) -> ArchiveError {
        let why = match self {
            Unread::Error(error) => return error,
            Unread::Missing => "it is missing".to_owned(),
            Unread::No(why) => why,
        };
        let what = format!("{} is not a manifest that this version can go on with: {why}", path.display());
        ArchiveError::new(ErrorKind::Unusable, what).hint("name a folder that does not exist yet")
    }
}

/// Calls what is done with each part of a manifest.
type With<'a> = dyn FnMut(&About, Part) -> Result<()> + 'a;

/// Reads a manifest and calls `with` with each of its parts, in their order. Nothing of it is believed to be ours:
/// it may be anybody's file.
pub(super) fn read(path: &Path, with: &mut With<'_>) -> std::result::Result<Manifest, Unread> {
    let no = |error: io::Error| Unread::No(error.to_string());
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(Unread::No("it is no ordinary file".into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unread::Missing),
        Err(error) => return Err(no(error)),
    }
    let source = Source { file: fsio::open(path).map_err(no)?, hasher: Hasher::new(), line: 0 };
    let mut source = BufReader::with_capacity(256 * 1024, source);
    let mut error = None;
    let mut deserializer = serde_json::Deserializer::from_reader(&mut source);
    let read = (&mut deserializer).deserialize_map(Whole { with, error: &mut error });
    let read = read.and_then(|whole| deserializer.end().map(|()| whole));
    match (error, read) {
        (Some(error), _) => Err(Unread::Error(error)),
        (None, Ok((about, totals, complete))) => {
            Ok(Manifest { about, totals, complete, sha256: source.into_inner().hasher.finish() })
        }
        (None, Err(error)) => Err(Unread::No(error.to_string())),
    }
}

/// Only what a manifest says of itself.
pub(super) fn read_about(path: &Path) -> std::result::Result<About, Unread> {
    let mut found = None;
    let read = read(path, &mut |about, _| {
        found = Some(about.clone());
        Err(ArchiveError::new(ErrorKind::Failed, "enough is read"))
    });
    match (found, read) {
        (Some(about), _) => Ok(about),
        (None, Err(unread)) => Err(unread),
        (None, Ok(manifest)) => Ok(manifest.about),
    }
}

/// A manifest's bytes, summed up, in lines that are not too long to be held.
struct Source {
    file: std::fs::File,
    hasher: Hasher,
    line: usize,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        for piece in buffer[..n].split_inclusive(|byte| *byte == b'\n') {
            self.line += piece.len();
            if self.line > LINE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it has a line that is too long"));
            }
            if piece.ends_with(b"\n") {
                self.line = 0;
            }
        }
        Ok(n)
    }
}

struct Whole<'a, 'w> {
    with: &'a mut With<'w>,
    error: &'a mut Option<ArchiveError>,
}

impl<'de> Visitor<'de> for Whole<'_, '_> {
    type Value = (About, Option<Sums>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a manifest of an export")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        use serde::de::Error as _;
        let Whole { with, error } = self;
        let mut head = serde_json::Map::new();
        let mut about: Option<About> = None;
        let (mut totals, mut complete) = (None, false);
        while let Some(name) = map.next_key::<String>()? {
            let known = matches!(name.as_str(), "entries" | "containers" | "documents" | "withdrawn" | "failed");
            if !known {
                match (&about, name.as_str()) {
                    (Some(_), "totals") => totals = Some(map.next_value()?),
                    (Some(_), "complete") => complete = map.next_value()?,
                    (Some(_), _) => _ = map.next_value::<IgnoredAny>()?,
                    // Few and short: it is our own that we go on with, and the lines have their limit.
                    (None, _) if head.len() < 64 => _ = head.insert(name, map.next_value()?),
                    (None, _) => return Err(A::Error::custom("it has too many members before its entries")),
                }
                continue;
            }
            if about.is_none() {
                let read = read_head(std::mem::take(&mut head)).map_err(A::Error::custom)?;
                call(with, error, &read, Part::About)?;
                about = Some(read);
            }
            let Some(about) = &about else { continue };
            let mut put = |part| call::<A::Error>(with, error, about, part);
            match name.as_str() {
                "entries" => map.next_value_seed(Each(&mut |entry| put(Part::Entry(Box::new(entry)))))?,
                "containers" => map.next_value_seed(Each(&mut |one| put(Part::Container(one))))?,
                "documents" => map.next_value_seed(Each(&mut |one| put(Part::Document(one))))?,
                "withdrawn" => map.next_value_seed(Each(&mut |one| put(Part::Withdrawn(one))))?,
                _ => map.next_value_seed(Each(&mut |one| put(Part::Failed(one))))?,
            }
        }
        match about {
            Some(about) => Ok((about, totals, complete)),
            None => Err(A::Error::custom("it has no entries")),
        }
    }
}

fn read_head(head: serde_json::Map<String, serde_json::Value>) -> std::result::Result<About, String> {
    match head.get("gatepost_export").map(serde_json::Value::as_u64) {
        None => return Err("it is not one of gatepost's".into()),
        Some(version) if version != Some(u64::from(MANIFEST_VERSION)) => {
            return Err(format!("it is one of another version of gatepost (this one writes {MANIFEST_VERSION})"));
        }
        Some(_) => {}
    }
    serde_json::from_value(serde_json::Value::Object(head)).map_err(|error| error.to_string())
}

/// An error of what is done with the parts goes past the parser, which has words only.
fn call<E: serde::de::Error>(
    with: &mut With<'_>,
    error: &mut Option<ArchiveError>,
    about: &About,
    part: Part,
) -> std::result::Result<(), E> {
    with(about, part).map_err(|failed| {
        *error = Some(failed);
        E::custom("stopped")
    })
}

/// Reads a list one by one.
struct Each<'a, T, E>(&'a mut dyn FnMut(T) -> std::result::Result<(), E>);

impl<'de, T: DeserializeOwned, E: fmt::Display> DeserializeSeed<'de> for Each<'_, T, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: DeserializeOwned, E: fmt::Display> Visitor<'de> for Each<'_, T, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        use serde::de::Error as _;
        while let Some(one) = seq.next_element::<T>()? {
            (self.0)(one).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
