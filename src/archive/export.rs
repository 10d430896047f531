//! Export as a folder of `.eml` files with a manifest and SHA-256 sums.
//!
//! `DIR/<person>/<folder>/<number>.eml`, `DIR/manifest.json`, `DIR/SHA256SUMS` (for `sha256sum -c`).
//!
//! Must never: show a `Bcc` to somebody else than the sender without being told to and saying so, leave a
//! half-written file under a final name, or write into a folder that is not an export of this very kind.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{ArchiveError, ErrorKind, Result, Tried as _};
use super::read::{Entry, Filter, Reader};
use super::record::{Folder, Head};
use super::redact::WithoutBcc;
use crate::base::bytes::WINDOW;
use crate::base::digest::{Digest, Hasher};

#[derive(Clone, Copy, Debug)]
pub struct ExportOptions {
    /// Show `Bcc` to everybody.
    pub envelope: bool,
    /// Goes into the manifest.
    pub now: Timestamp,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct ExportReport {
    pub exported: u64,
    /// Of these: were there already, with the same content.
    pub kept: u64,
    /// Of these: without a `Bcc` that the archive holds.
    pub redacted: u64,
    pub bytes: u64,
    /// Messages that could not be exported, and why; they are not in the manifest.
    pub failed: Vec<ExportFailure>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ExportFailure {
    pub id: u64,
    pub person: String,
    pub folder: Folder,
    pub why: String,
    /// The archive's bytes are not what they were.
    pub damaged: bool,
}

/// One file of an export.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ManifestEntry {
    pub id: u64,
    pub person: String,
    pub folder: Folder,
    /// From the export's folder, with `/`.
    pub file: String,
    pub message_id: Option<String>,
    pub date: Option<Timestamp>,
    /// Of the file.
    pub size: u64,
    pub sha256_original: Digest,
    pub sha256_exported: Digest,
    pub redacted: bool,
    /// The rights-protected message beside the clear copy of the same number.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
}

/// What the manifest says before its entries.
#[derive(Serialize)]
struct About<'a> {
    gatepost_export: u32,
    archive: uuid::Uuid,
    head: Head,
    time: Timestamp,
    gatepost: &'static str,
    envelope: bool,
    filter: &'a Filter,
    /// False while the export is being written.
    complete: bool,
}

/// What is read back of a manifest, to tell whether a folder is ours to go on in.
#[derive(Deserialize)]
struct Found {
    gatepost_export: u32,
    archive: uuid::Uuid,
    envelope: bool,
    filter: serde_json::Value,
}

const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";

/// Exports what fits the filter. An export that was interrupted, or is older, is brought up to date by
/// the same call; another kind of export needs another folder.
pub fn export(reader: &Reader, filter: &Filter, dir: &Path, options: ExportOptions) -> Result<ExportReport> {
    let mut about = About {
        gatepost_export: 1,
        archive: reader.archive_id(),
        head: reader.head()?,
        time: options.now,
        gatepost: env!("CARGO_PKG_VERSION"),
        envelope: options.envelope,
        filter,
        complete: false,
    };
    prepare(dir, &about)?;
    // First an empty manifest, so that an interrupted export is known as one.
    let mut manifest = Manifest::begin(dir, &about)?;
    manifest.finish(dir, false)?;
    about.complete = true;
    manifest = Manifest::begin(dir, &about)?;
    let mut report = ExportReport::default();
    reader.list(filter, &mut |entry| {
        match write_one(reader, &entry, dir, options.envelope) {
            Ok(lines) => {
                report.exported += 1;
                report.kept += u64::from(lines.iter().all(|(_, kept)| *kept));
                report.redacted += u64::from(lines.iter().any(|(line, _)| line.redacted));
                for (line, _) in lines {
                    report.bytes += line.size;
                    manifest.add(&line)?;
                }
                Ok(())
            }
            // One message that cannot be had does not keep the others back.
            Err(Failure::Message(error)) => {
                report.failed.push(ExportFailure {
                    id: entry.id,
                    person: entry.person,
                    folder: entry.folder,
                    damaged: error.kind == ErrorKind::Damaged,
                    why: error.what,
                });
                Ok(())
            }
            Err(Failure::Output(error)) => Err(error),
        }
    })?;
    manifest.finish(dir, true)?;
    Ok(report)
}

/// The folder is made, or is an export of the same kind.
fn prepare(dir: &Path, about: &About<'_>) -> Result<()> {
    let refused = |why: &str| {
        ArchiveError::new(ErrorKind::Unusable, format!("cannot export to {}: {why}", dir.display()))
            .hint("name a folder that does not exist yet")
    };
    let mut entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return make_dir(dir, true),
        Err(error) => return Err(ArchiveError::io("read", dir, &error)),
    };
    if entries.next().is_none() {
        return Ok(());
    }
    let manifest = match File::open(dir.join(MANIFEST)) {
        Ok(manifest) => manifest,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(refused("it holds files that are no export of gatepost"));
        }
        Err(error) => return Err(ArchiveError::io("read", &dir.join(MANIFEST), &error)),
    };
    let found: Found = serde_json::from_reader(io::BufReader::new(manifest))
        .map_err(|error| refused(&format!("its {MANIFEST} is not one of gatepost's ({error})")))?;
    let filter = serde_json::to_value(about.filter).unwrap_or_default();
    if found.gatepost_export != 1 || found.archive != about.archive {
        return Err(refused("it holds an export of another archive"));
    }
    if found.envelope != about.envelope || found.filter != filter {
        return Err(refused("it holds an export with other options"));
    }
    Ok(())
}

enum Failure {
    /// This message cannot be exported.
    Message(ArchiveError),
    /// Nothing can be written.
    Output(ArchiveError),
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Failure {
        Failure::Output(error)
    }
}

/// A message, and the rights-protected one beside it when there is one.
fn write_one(
    reader: &Reader,
    entry: &Entry,
    dir: &Path,
    envelope: bool,
) -> std::result::Result<Vec<(ManifestEntry, bool)>, Failure> {
    let twin = reader.item(entry.item).map_err(Failure::Message)?.message.and_then(|message| message.twin);
    let mut lines = vec![write_file(reader, entry, None, dir, envelope)?];
    if let Some(twin) = twin {
        lines.push(write_file(reader, entry, Some(twin.sha256), dir, envelope)?);
    }
    Ok(lines)
}

/// `protected` is the SHA-256 of the protected message, when it is that which is written.
fn write_file(
    reader: &Reader,
    entry: &Entry,
    protected: Option<Digest>,
    dir: &Path,
    envelope: bool,
) -> std::result::Result<(ManifestEntry, bool), Failure> {
    let person = safe_name(&entry.person);
    let name = match protected {
        Some(_) => format!("{:08}.protected.eml", entry.id),
        None => format!("{:08}.eml", entry.id),
    };
    let file = format!("{person}/{}/{name}", entry.folder.as_str());
    let folder = dir.join(&person).join(entry.folder.as_str());
    make_dir(&folder, true)?;
    let path = folder.join(&name);
    let temporary = folder.join(".gatepost-export.tmp");
    let redact = !envelope && !reader.is_sender(entry.id, &entry.person)?;
    let out = Summed::create(&temporary)?;
    let bytes = |out: &mut dyn Write| match protected {
        Some(_) => reader.twin_bytes(entry.item, out),
        None => reader.original_bytes(entry.item, out),
    };
    // The output's own error is kept in `Summed`; without one, the message is at fault.
    let (out, written) = if redact {
        let mut filter = WithoutBcc::new(out);
        match bytes(&mut filter) {
            Ok(()) => {
                let (out, redacted) = filter.finish().tried("write", &temporary)?;
                (Some(out), Ok(redacted))
            }
            Err(error) => (None, Err(error)),
        }
    } else {
        let mut out = out;
        match bytes(&mut out) {
            Ok(()) => (Some(out), Ok(false)),
            Err(error) => (None, Err(error)),
        }
    };
    let (out, redacted) = match (out, written) {
        (Some(out), Ok(redacted)) => (out, redacted),
        (_, Err(error)) => {
            // What stands in the temporary file is not a message; nobody may take it for one.
            let _ = std::fs::remove_file(&temporary);
            return Err(match error.kind {
                ErrorKind::NoSpace | ErrorKind::Locked => Failure::Output(error),
                ErrorKind::Unusable | ErrorKind::Damaged | ErrorKind::Failed => Failure::Message(error),
            });
        }
        (None, Ok(_)) => return Err(Failure::Output(ArchiveError::new(ErrorKind::Failed, "an export without output"))),
    };
    let (size, sha256) = out.finish(&temporary)?;
    let kept = is_same(&path, size, sha256)?;
    if kept {
        std::fs::remove_file(&temporary).tried("remove", &temporary)?;
    } else {
        std::fs::rename(&temporary, &path).tried("write", &path)?;
    }
    let line = ManifestEntry {
        id: entry.id,
        person: entry.person.clone(),
        folder: entry.folder,
        file,
        message_id: entry.message_id.clone(),
        date: entry.date,
        size,
        sha256_original: protected.unwrap_or(entry.sha256),
        sha256_exported: sha256,
        redacted,
        protected: protected.is_some(),
    };
    Ok((line, kept))
}

fn is_same(path: &Path, size: u64, sha256: Digest) -> Result<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(ArchiveError::io("read", path, &error)),
    };
    if file.metadata().tried("read", path)?.len() != size {
        return Ok(false);
    }
    let mut hasher = Hasher::new();
    let mut buffer = vec![0u8; WINDOW];
    loop {
        match io::Read::read(&mut file, &mut buffer).tried("read", path)? {
            0 => return Ok(hasher.finish() == sha256),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// A private file under a temporary name, summed up while it is written.
struct Summed {
    file: BufWriter<File>,
    hasher: Hasher,
    size: u64,
}

impl Summed {
    fn create(path: &Path) -> Result<Summed> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ArchiveError::io("remove", path, &error));
            }
            _ => {}
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = BufWriter::with_capacity(WINDOW, options.open(path).tried("create", path)?);
        Ok(Summed { file, hasher: Hasher::new(), size: 0 })
    }

    fn finish(mut self, path: &Path) -> Result<(u64, Digest)> {
        self.file.flush().tried("write", path)?;
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

fn make_dir(path: &Path, parents: bool) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(parents).create(path).tried("create", path)
}

/// The manifest and the sums, written line by line, so that an export may hold any number of messages.
struct Manifest {
    json: Summed,
    sums: Summed,
    first: bool,
}

impl Manifest {
    fn temporary(dir: &Path, name: &str) -> PathBuf {
        dir.join(format!(".{name}.tmp"))
    }

    fn begin(dir: &Path, about: &About<'_>) -> Result<Manifest> {
        let path = Manifest::temporary(dir, MANIFEST);
        let mut json = Summed::create(&path)?;
        let head = serde_json::to_string_pretty(about)
            .map_err(|error| ArchiveError::new(ErrorKind::Failed, error.to_string()))?;
        // The structure's own closing brace goes to the end of the file.
        let open = head.trim_end().trim_end_matches('}').trim_end();
        json.write_all(format!("{open},\n  \"entries\": [").as_bytes()).tried("write", &path)?;
        Ok(Manifest { json, sums: Summed::create(&Manifest::temporary(dir, SUMS))?, first: true })
    }

    fn add(&mut self, entry: &ManifestEntry) -> Result<()> {
        let line =
            serde_json::to_string(entry).map_err(|error| ArchiveError::new(ErrorKind::Failed, error.to_string()))?;
        let comma = if self.first { "" } else { "," };
        self.first = false;
        self.json.write_all(format!("{comma}\n    {line}").as_bytes()).tried("write", Path::new(MANIFEST))?;
        // Safe names have neither backslash nor line break, which `sha256sum` would want escaped.
        let sum = format!("{}  {}\n", entry.sha256_exported, entry.file);
        self.sums.write_all(sum.as_bytes()).tried("write", Path::new(SUMS))
    }

    /// Puts both in place; the sums first, so that a complete manifest never stands beside old ones.
    fn finish(mut self, dir: &Path, with_sums: bool) -> Result<()> {
        self.json.write_all(b"\n  ]\n}\n").tried("write", Path::new(MANIFEST))?;
        for (name, file, wanted) in [(SUMS, self.sums, with_sums), (MANIFEST, self.json, true)] {
            let temporary = Manifest::temporary(dir, name);
            let mut file = file.file;
            file.flush().tried("write", &temporary)?;
            file.get_ref().sync_all().tried("sync", &temporary)?;
            drop(file);
            if wanted {
                std::fs::rename(&temporary, dir.join(name)).tried("write", &dir.join(name))?;
            } else {
                std::fs::remove_file(&temporary).tried("remove", &temporary)?;
            }
        }
        Ok(())
    }
}

/// A folder name for a person's id that every file system takes, different for different ids also where
/// case does not count.
fn safe_name(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    for (at, character) in id.char_indices() {
        let last = at + character.len_utf8() == id.len();
        let plain = !character.is_control()
            && !character.is_uppercase()
            && !matches!(character, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*' | '%')
            // Windows drops them from the end; a leading dot hides, and makes `..`.
            && !(matches!(character, '.' | ' ') && (at == 0 || last));
        if plain {
            name.push(character);
        } else {
            let mut bytes = [0u8; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                name.push_str(&format!("%{byte:02x}"));
            }
        }
    }
    // Windows keeps device names for itself, whatever follows their first dot.
    let stem = name.split('.').next().unwrap_or_default();
    let numbered = |device: &str| {
        stem.strip_prefix(device)
            .is_some_and(|rest| matches!(rest.as_bytes(), [b'0'..=b'9']) || matches!(rest, "¹" | "²" | "³"))
    };
    let device =
        matches!(stem, "con" | "prn" | "aux" | "nul" | "conin$" | "conout$") || numbered("com") || numbered("lpt");
    if device {
        name = format!("%{:02x}{}", name.as_bytes()[0], &name[1..]);
    }
    const NAME_BYTES_MAX: usize = 150;
    if name.is_empty() {
        name.push('%');
    } else if name.len() > NAME_BYTES_MAX {
        let mut end = NAME_BYTES_MAX - 33;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name = format!("{}%{}", &name[..end], &Digest::of(id.as_bytes()).to_string()[..32]);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::super::test_support::*;
    use super::*;

    const OPTIONS: ExportOptions = ExportOptions { envelope: false, now: Timestamp::UNIX_EPOCH };

    #[derive(Deserialize)]
    struct Written {
        complete: bool,
        entries: Vec<ManifestEntry>,
    }

    fn manifest(dir: &Path) -> Written {
        serde_json::from_slice(&std::fs::read(dir.join(MANIFEST)).unwrap()).unwrap()
    }

    #[test]
    fn an_export_is_exact_and_hides_bcc_from_all_but_the_sender() {
        let fixture = Fixture::new(SMALL);
        let reader = Reader::open(&fixture.layout).unwrap();
        let dir = fixture.folder.path().join("out");
        let report = export(&reader, &Filter::default(), &dir, OPTIONS).unwrap();
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        let written = manifest(&dir);
        assert!(written.complete && written.entries.len() as u64 == report.exported);
        assert_eq!(report.redacted * 2, report.exported);
        let sums = std::fs::read_to_string(dir.join(SUMS)).unwrap();
        for entry in &written.entries {
            let bytes = std::fs::read(dir.join(&entry.file)).unwrap();
            let original = &fixture.mails[entry.id as usize - 1].original;
            assert_eq!(entry.sha256_original, Digest::of(original));
            assert_eq!((entry.sha256_exported, entry.size), (Digest::of(&bytes), bytes.len() as u64));
            assert!(sums.contains(&format!("{}  {}\n", entry.sha256_exported, entry.file)));
            assert_eq!(entry.redacted, entry.person == BOB);
            assert_eq!(entry.redacted, bytes != *original);
            assert_eq!(entry.redacted, !String::from_utf8_lossy(&bytes).contains("secret-"));
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
                assert_eq!(mode(&dir.join(&entry.file)), 0o600);
                assert_eq!(mode(dir.join(&entry.file).parent().unwrap()), 0o700);
            }
        }
        // Again: everything is kept, and nothing else lies about.
        let again = export(&reader, &Filter::default(), &dir, OPTIONS).unwrap();
        assert_eq!((again.exported, again.kept), (report.exported, report.exported));
        let names = |dir: &Path| {
            let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&dir), [SUMS, ANNA, BOB, MANIFEST]);
        assert!(names(&dir.join(ANNA).join("sent")).iter().all(|name| name.to_str().unwrap().ends_with(".eml")));
        // Another kind of export, or somebody's folder, is left alone.
        let options = ExportOptions { envelope: true, ..OPTIONS };
        assert!(export(&reader, &Filter::default(), &dir, options).is_err());
        let person = Filter { person: Some(BOB.into()), ..Filter::default() };
        assert!(export(&reader, &person, &dir, OPTIONS).is_err());
        let full = fixture.folder.path().join("full");
        let report = export(&reader, &person, &full, options).unwrap();
        assert_eq!(report.redacted, 0);
        for entry in manifest(&full).entries {
            assert_eq!(entry.sha256_exported, entry.sha256_original);
        }
        std::fs::remove_file(full.join(MANIFEST)).unwrap();
        let error = export(&reader, &person, &full, options).unwrap_err();
        assert!(error.what.contains("no export of gatepost"), "{error}");
    }

    #[test]
    fn a_message_that_cannot_be_had_does_not_keep_the_others_back() {
        let fixture = Fixture::new(SMALL);
        let reader = Reader::open(&fixture.layout).unwrap();
        let chunk = reader.item(1).unwrap().chunks[0];
        let place = reader.catalogue.chunk(&chunk.sha256).unwrap().unwrap();
        let mut pack = fixture.pack(place.pack);
        pack[place.offset as usize + 100] ^= 1;
        fixture.put_pack(place.pack, &pack);
        let reader = Reader::open(&fixture.layout).unwrap();
        let dir = fixture.folder.path().join("out");
        let report = export(&reader, &Filter::default(), &dir, OPTIONS).unwrap();
        assert!(!report.failed.is_empty() && report.failed.iter().all(|failure| failure.damaged));
        assert!(report.exported > report.failed.len() as u64);
        assert_eq!(manifest(&dir).entries.len() as u64, report.exported);
    }

    #[test]
    fn names_are_safe_everywhere_and_stay_different() {
        for (id, name) in [
            ("anna@corp.example", "anna@corp.example"),
            ("Anna", "%41nna"),
            ("nul.x@corp.example", "%6eul.x@corp.example"),
            ("com1", "%63om1"),
            ("common", "common"),
            ("..", "%2e%2e"),
            ("a/b\\c", "a%2fb%5cc"),
            ("ends. ", "ends.%20"),
            ("", "%"),
        ] {
            assert_eq!(safe_name(id), name);
        }
        let long = safe_name(&"ä".repeat(500));
        assert!(long.len() <= 150 && long != safe_name(&"ä".repeat(501)));
    }
}
