//! From a path to the mail below it: which file is what is seen by its place (a Maildir's `cur` and `new`) and its first
//! bytes; names decide only where those say nothing.

use std::fs::{self, File, FileType, Metadata, ReadDir};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::copy::{Copied, Copy};
use super::mbox::{self, Kind};
use super::names;
use super::{Container, Found, Options, Skip, Stop, Taker};
use crate::base::bytes::WINDOW;
use crate::mail::words;

/// Folders within folders beyond this are no mail store.
const DEPTH_MAX: usize = 100;
/// So much of a file shows what it is.
const HEAD_BYTES: usize = 8 * 1024;

/// Why a path cannot be imported at all; both are ready for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub what: String,
    pub hint: String,
}

/// Looks at a path before anything is begun.
pub fn refusal(root: &Path) -> Option<Refusal> {
    let refused = |what: String, hint: &str| Some(Refusal { what, hint: hint.to_owned() });
    let shown = root.display();
    let found = match fs::metadata(root) {
        Ok(found) => found,
        Err(error) => return refused(format!("cannot read {shown}: {error}"), "name a file or a folder with mail"),
    };
    if found.is_dir() {
        return match fs::read_dir(root) {
            Ok(_) => None,
            Err(error) => refused(format!("cannot read the folder {shown}: {error}"), READABLE),
        };
    }
    if !found.is_file() {
        return refused(format!("{shown} is neither a file nor a folder"), "name a file or a folder with mail");
    }
    match head_of(root) {
        Err(error) => refused(format!("cannot read {shown}: {error}"), READABLE),
        Ok(head) => match what_is(root, &head) {
            What::Skip(Skip::Outlook) => refused(format!("{shown} is in a format of Outlook's"), OUTLOOK),
            What::Skip(Skip::Packed) => refused(format!("{shown} is packed"), "unpack it first, and name the folder"),
            What::Skip(Skip::Empty) => None,
            What::Skip(_) => refused(
                format!("{shown} is no mail and no mbox"),
                "a mail (.eml) begins with header lines, an mbox with a line `From sender date`; name the folder of a \
                 Maildir",
            ),
            What::Mail | What::Mbox => None,
        },
    }
}

const READABLE: &str = "run it as a user who may read it";
const OUTLOOK: &str = "export it from Outlook as eml, or let Thunderbird or `readpst -r` make mbox files of it, and import \
                       those";

/// The first level of the folders below `root`, as [`walk`] names them: folders, and mbox files beside them.
pub fn first_level(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root)? {
        let (entry, kind) = entry.and_then(|entry| entry.file_type().map(|kind| (entry, kind)))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() {
            names.push(names::of_tree(&name).to_owned());
        } else if kind.is_file() && head_of(&entry.path()).is_ok_and(|head| mbox::is_mbox(&head)) {
            names.push(names::of_mbox(&name).to_owned());
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Hands over all mail below `root`, in the order in which the file system names it.
pub fn walk(root: &Path, options: &Options, taker: &mut dyn Taker) -> Result<(), Stop> {
    let mut walk = Walk { options, taker };
    match fs::metadata(root) {
        Err(error) => walk.taker.failed(root, error.to_string()),
        Ok(found) if found.is_dir() => walk.tree(root)?,
        Ok(_) => {
            let name = lossy(root.file_name());
            // The folder is the file's name where that names one: a mail's does not.
            walk.file(root, &name, Folder::OfFile)?;
        }
    }
    Ok(())
}

/// Where a file lies.
#[derive(Clone, Copy)]
enum Folder<'a> {
    In(&'a str),
    /// It was named itself.
    OfFile,
}

struct Walk<'a> {
    options: &'a Options,
    taker: &'a mut dyn Taker,
}

/// A folder that is being read.
struct Level {
    entries: ReadDir,
    path: PathBuf,
    /// From the root, with `/`.
    place: String,
    folder: String,
    is_maildir: bool,
}

impl Walk<'_> {
    fn tree(&mut self, root: &Path) -> Result<(), Stop> {
        let mut levels = Vec::new();
        self.enter(root.to_owned(), String::new(), String::new(), &mut levels)?;
        while let Some(level) = levels.last_mut() {
            if self.taker.is_gone() {
                return Err(Stop::Taken);
            }
            let entry = match level.entries.next() {
                None => {
                    levels.pop();
                    continue;
                }
                Some(Ok(entry)) => entry,
                Some(Err(error)) => {
                    let path = level.path.clone();
                    self.taker.failed(&path, error.to_string());
                    levels.pop();
                    continue;
                }
            };
            let path = entry.path();
            let name = lossy(path.file_name());
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) => {
                    self.taker.failed(&path, error.to_string());
                    continue;
                }
            };
            let place = names::within(&level.place, &name);
            if kind.is_dir() {
                if level.is_maildir && matches!(name.as_str(), "cur" | "new" | "tmp") || name.ends_with(".mozmsgs") {
                    // The first two were read when the Maildir was entered; the third holds halves, and `.mozmsgs` copies.
                    continue;
                }
                let own = if level.is_maildir && name.starts_with('.') {
                    names::of_maildir(&name)
                } else {
                    names::of_tree(&name).to_owned()
                };
                let folder = names::within(&level.folder, &own);
                if levels.len() >= DEPTH_MAX {
                    self.taker.failed(&path, format!("it lies more than {DEPTH_MAX} folders deep"));
                    continue;
                }
                self.enter(path, place, folder, &mut levels)?;
            } else if self.is_file(kind, &path) {
                if level.is_maildir {
                    self.taker.skipped(Skip::Other, &path);
                } else {
                    let folder = level.folder.clone();
                    self.file(&path, &place, Folder::In(&folder))?;
                }
            }
        }
        Ok(())
    }

    fn is_file(&mut self, kind: FileType, path: &Path) -> bool {
        if kind.is_symlink() {
            self.taker.skipped(Skip::Link, path);
        } else if !kind.is_file() {
            self.taker.skipped(Skip::Special, path);
        }
        kind.is_file()
    }

    /// Begins a folder; of a Maildir its mails are read at once.
    fn enter(&mut self, path: PathBuf, place: String, folder: String, levels: &mut Vec<Level>) -> Result<(), Stop> {
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) => {
                self.taker.failed(&path, error.to_string());
                return Ok(());
            }
        };
        let is_dir = |name: &str| fs::symlink_metadata(path.join(name)).is_ok_and(|found| found.is_dir());
        // Thunderbird's Maildirs have no `new`.
        let is_maildir = is_dir("cur") && (is_dir("new") || is_dir("tmp"));
        if is_maildir {
            for part in ["cur", "new"] {
                if is_dir(part) {
                    self.maildir(&path.join(part), &place, &folder)?;
                }
            }
        }
        levels.push(Level { entries, path, place, folder, is_maildir });
        Ok(())
    }

    fn maildir(&mut self, part: &Path, place: &str, folder: &str) -> Result<(), Stop> {
        let entries = match fs::read_dir(part) {
            Ok(entries) => entries,
            Err(error) => {
                self.taker.failed(part, error.to_string());
                return Ok(());
            }
        };
        for entry in entries {
            let (path, kind) = match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
                Ok(found) => found,
                Err(error) => {
                    self.taker.failed(part, error.to_string());
                    continue;
                }
            };
            if kind.is_dir() || !self.is_file(kind, &path) {
                continue;
            }
            let name = lossy(path.file_name());
            let (unique, flags) = maildir_name(&name);
            if name.starts_with('.') {
                self.taker.skipped(Skip::Other, &path);
            } else if flags.contains('T') {
                self.taker.skipped(Skip::Deleted, &path);
            } else {
                let place = names::within(place, unique);
                let delivered = delivered(unique);
                self.mail(&path, place, folder, Container::Maildir, delivered)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, place: &str, folder: Folder<'_>) -> Result<(), Stop> {
        let head = match head_of(path) {
            Ok(head) => head,
            Err(error) => {
                self.taker.failed(path, error.to_string());
                return Ok(());
            }
        };
        match what_is(path, &head) {
            What::Skip(why) => self.taker.skipped(why, path),
            What::Mail => {
                let folder = match folder {
                    Folder::In(folder) => folder,
                    Folder::OfFile => "",
                };
                self.mail(path, place.to_owned(), folder, Container::Eml, None)?;
            }
            What::Mbox => {
                let name = lossy(path.file_name());
                let own = names::of_mbox(&name);
                let folder = match folder {
                    // Apple's `Sent.mbox/mbox`.
                    Folder::In(folder) if own == "mbox" && !folder.is_empty() => folder.to_owned(),
                    Folder::In(folder) => names::within(folder, own),
                    Folder::OfFile => own.to_owned(),
                };
                self.mbox(path, place, &folder)?;
            }
        }
        Ok(())
    }

    /// A file with one mail in it.
    fn mail(
        &mut self,
        path: &Path,
        place: String,
        folder: &str,
        container: Container,
        delivered: Option<Timestamp>,
    ) -> Result<(), Stop> {
        let (mail, found) = match copied(path, self.options)? {
            Ok(Read::Mail(read)) => *read,
            Ok(Read::Skip(why)) => {
                self.taker.skipped(why, path);
                return Ok(());
            }
            Err(why) => {
                self.taker.failed(path, why);
                return Ok(());
            }
        };
        self.taker.file();
        let date = delivered.or_else(|| came_in(&mail)).or_else(|| modified(&found));
        self.taker.mail(Found { place, folder: folder.to_owned(), file: path.to_owned(), container, date, mail })
    }

    fn mbox(&mut self, path: &Path, place: &str, folder: &str) -> Result<(), Stop> {
        let opened = File::open(path).and_then(|file| file.metadata().map(|found| (file, found)));
        let opened = opened.and_then(|(file, found)| {
            let kind = Kind::of(&file, found.len(), self.options.quoting)?;
            Ok((file, found, kind))
        });
        let (file, before, kind) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.taker.failed(path, error.to_string());
                return Ok(());
            }
        };
        let taker = &mut *self.taker;
        let mut take = |date: Option<Timestamp>, mail: Result<Copied, u64>| {
            let mail = match mail {
                Ok(mail) => mail,
                Err(bytes) => {
                    taker.failed(path, too_long(bytes));
                    return Ok(());
                }
            };
            if mail.len == 0 {
                taker.skipped(Skip::Empty, path);
                return Ok(());
            }
            if is_expunged(&mail) {
                taker.skipped(Skip::Deleted, path);
                return Ok(());
            }
            let date = date.or_else(|| came_in(&mail)).or_else(|| modified(&before));
            let (place, folder) = (place.to_owned(), folder.to_owned());
            let container = Container::Mbox(kind.quoting);
            taker.mail(Found { place, folder, file: path.to_owned(), container, date, mail })
        };
        let done = mbox::read(&file, before.len(), kind, self.options, &mut take)?;
        self.taker.file();
        match done {
            Ok(true) if !is_as_before(&file, &before) => self.taker.failed(path, CHANGED_MBOX.into()),
            Ok(true) => {}
            Ok(false) => self.taker.failed(path, "it does not begin with a line `From sender date`".into()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.taker.failed(path, "it became shorter while it was read".into());
            }
            Err(error) => self.taker.failed(path, error.to_string()),
        }
        Ok(())
    }
}

const CHANGED: &str = "it changed while it was read";
const CHANGED_MBOX: &str = "it changed while it was read; what was read of it is imported, import the rest when nothing \
                            writes to it";

fn too_long(bytes: u64) -> String {
    format!("a mail of {bytes} bytes is longer than a mail may be")
}

enum Read {
    Mail(Box<(Copied, Metadata)>),
    Skip(Skip),
}

/// A whole file. The inner error is why it cannot be had.
fn copied(path: &Path, options: &Options) -> Result<Result<Read, String>, Stop> {
    let opened = File::open(path).and_then(|file| file.metadata().map(|found| (file, found)));
    let (mut file, before) = match opened {
        Ok(opened) => opened,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if !before.is_file() {
        return Ok(Ok(Read::Skip(Skip::Special)));
    }
    let mut copy = Copy::new(options);
    let mut buffer = vec![0; WINDOW];
    loop {
        let n = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if copy.len() == 0
            && let Some(why) = foreign(&buffer[..n])
        {
            return Ok(Ok(Read::Skip(why)));
        }
        copy.put(&buffer[..n])?;
        if copy.is_too_long() {
            return Ok(Err(too_long(copy.len().max(before.len()))));
        }
    }
    if copy.len() != before.len() || !is_as_before(&file, &before) {
        return Ok(Err(CHANGED.into()));
    }
    if copy.len() == 0 {
        return Ok(Ok(Read::Skip(Skip::Empty)));
    }
    Ok(Ok(Read::Mail(Box::new((copy.finish()?, before)))))
}

fn is_as_before(file: &File, before: &Metadata) -> bool {
    let modified = |found: &Metadata| found.modified().ok();
    file.metadata().is_ok_and(|now| now.len() == before.len() && modified(&now) == modified(before))
}

enum What {
    Mail,
    Mbox,
    Skip(Skip),
}

/// By the first bytes of a file, and by its name.
fn what_is(path: &Path, head: &[u8]) -> What {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    if ending == "msf" {
        return What::Skip(Skip::Other);
    }
    if head.is_empty() {
        return What::Skip(Skip::Empty);
    }
    if let Some(why) = foreign(head) {
        return What::Skip(why);
    }
    if mbox::is_mbox(head) {
        return What::Mbox;
    }
    match ending.as_str() {
        "msg" if !mbox::begins_a_field(head) => What::Skip(Skip::Outlook),
        "pst" | "ost" => What::Skip(Skip::Outlook),
        // Whatever is in it: it was kept as a mail, and may have to be looked at by a person.
        "eml" => What::Mail,
        // A file that says it is one and is not: the reader tells.
        "mbox" | "mbx" | "mboxrd" | "mboxo" | "mboxcl" | "mboxcl2" => What::Mbox,
        // Names without an ending, or of digits only: mail programs that number their mails.
        "" | "mail" | "mai" | "mime" | "msg" | "822" => by_header(head),
        ending if ending.bytes().all(|byte| byte.is_ascii_digit()) => by_header(head),
        _ => What::Skip(Skip::Other),
    }
}

fn by_header(head: &[u8]) -> What {
    if mbox::begins_a_field(head) { What::Mail } else { What::Skip(Skip::Other) }
}

/// Formats that are known by their first bytes.
fn foreign(head: &[u8]) -> Option<Skip> {
    const OUTLOOK: [&[u8]; 2] = [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"!BDN"];
    const PACKED: [&[u8]; 6] =
        [b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh", b"7z\xbc\xaf\x27\x1c"];
    if OUTLOOK.iter().any(|magic| head.starts_with(magic)) {
        return Some(Skip::Outlook);
    }
    PACKED.iter().any(|magic| head.starts_with(magic)).then_some(Skip::Packed)
}

fn head_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// The part of a name that stays, and the flags. Windows allows no colon, so that copies have other characters there
/// (`;`, `!`, and those that file systems put in its place).
fn maildir_name(name: &str) -> (&str, &str) {
    let separators = [":2,", ";2,", "!2,", "\u{f03a}2,", "\u{f022}2,"];
    let found = separators.iter().filter_map(|separator| name.rfind(separator).map(|at| (at, separator.len()))).max();
    match found {
        Some((at, len)) => (&name[..at], &name[at + len..]),
        None => (name, ""),
    }
}

/// Names in a Maildir begin with the second of delivery.
fn delivered(unique: &str) -> Option<Timestamp> {
    let digits = unique.split('.').next()?;
    let second: i64 = digits.parse().ok().filter(|second| (100_000_000..10_000_000_000).contains(second))?;
    Timestamp::from_second(second).ok()
}

/// When the last server took it in, else when it was written, as its header says.
fn came_in(mail: &Copied) -> Option<Timestamp> {
    let received = mail.values("received").next().and_then(|value| {
        let date = value.rsplit(|byte| *byte == b';').next()?;
        (date.len() < value.len()).then(|| words::date(date)).flatten()
    });
    received.or_else(|| mail.values("date").next().and_then(words::date))
}

fn modified(found: &Metadata) -> Option<Timestamp> {
    Timestamp::try_from(found.modified().ok()?).ok()
}

/// Thunderbird marks a mail before it clears it away (nsMsgMessageFlags::Expunged).
fn is_expunged(mail: &Copied) -> bool {
    let status = mail.values("x-mozilla-status").next();
    let status = status.and_then(|value| u32::from_str_radix(String::from_utf8_lossy(value).trim(), 16).ok());
    status.is_some_and(|status| status & 0x0008 != 0)
}

fn lossy(name: Option<&std::ffi::OsStr>) -> String {
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
