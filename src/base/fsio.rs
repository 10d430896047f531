//! The file-I/O layer: every write that the archive's safety rests on goes through here.
//!
//! One layer, so that three things are possible for all of it: the n-th operation can fail (once or for
//! good), the program can end at step n, and the operations can be recorded, to be replayed with any
//! part of what was not synced dropped. [`Fs::real`] does none of that and costs nothing.
//!
//! It never decides anything: no retry of a write or a sync, no fallback. A caller that gets an error from one of them must
//! treat everything since its last successful sync as not written. The one thing that is tried again is to open,
//! rename or remove a file on Windows that somebody else holds for a moment ([`patiently`]): nothing has happened then.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::base::bytes::read_file_exact_at;

/// The process's exit code when it was told to end at a step.
pub const EXIT_AT_STEP: i32 = 86;

/// An operation as it is counted, failed and recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    CreateDir(PathBuf),
    Create(PathBuf),
    Write {
        path: PathBuf,
        offset: u64,
        bytes: Vec<u8>,
    },
    SetLen {
        path: PathBuf,
        len: u64,
    },
    Sync(PathBuf),
    SyncDir(PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove(PathBuf),
    /// A place in the program between operations: `catalogue committed`, `gateway deleted` …
    Step(&'static str),
    /// It was told to fail. A failed sync matters to whoever replays the record: what it was to write may
    /// never reach the disk, not even by the next sync that succeeds.
    Failed(Box<Op>),
}

/// Called with each operation just before it is recorded and done, and with its number in the record.
pub type Watch = Arc<dyn Fn(usize, &Op) + Send + Sync>;

/// What goes wrong, and when. Counted from 1 over all operations and steps.
#[derive(Clone, Default)]
pub struct Plan {
    pub exit_at: Option<u64>,
    pub fail: Option<Fail>,
    pub record: bool,
    /// Needs `record`.
    pub watch: Option<Watch>,
}

#[derive(Clone, Debug)]
pub struct Fail {
    pub at: u64,
    /// All later operations fail too (a dead disk), or only this one.
    pub for_good: bool,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// EIO.
    Error,
    /// ENOSPC.
    NoSpace,
    /// Half of the bytes are written, then ENOSPC.
    Short,
}

#[derive(Default)]
struct Faults {
    plan: Plan,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    count: u64,
    failed: bool,
    record: Vec<Op>,
}

/// The file system, as the archive uses it.
#[derive(Clone, Default)]
pub struct Fs {
    faults: Option<Arc<Faults>>,
}

enum Verdict {
    Go,
    Fail(How),
}

impl Fs {
    pub fn real() -> Fs {
        Fs { faults: None }
    }

    pub fn with_plan(plan: Plan) -> Fs {
        Fs { faults: Some(Arc::new(Faults { plan, state: Mutex::default() })) }
    }

    /// The plan that `GATEPOST_FAULT` asks for, for crash tests of the whole program:
    /// `exit:N`, `fail:N:once|forever:EIO|ENOSPC|SHORT`. Anything else is refused by `Err`.
    pub fn from_environment() -> Result<Fs, String> {
        let Ok(text) = std::env::var("GATEPOST_FAULT") else { return Ok(Fs::real()) };
        // `abort-decode:…` belongs to the agent.
        if text.starts_with("abort-decode:") {
            return Ok(Fs::real());
        }
        let mut words = text.split(':');
        let plan = match (words.next(), words.next().and_then(|n| n.parse().ok()), words.next(), words.next()) {
            (Some("exit"), Some(n), None, None) => Plan { exit_at: Some(n), ..Plan::default() },
            (Some("fail"), Some(at), Some(when), Some(how)) => {
                let how = match how {
                    "EIO" => How::Error,
                    "ENOSPC" => How::NoSpace,
                    "SHORT" => How::Short,
                    _ => return Err(format!("GATEPOST_FAULT is not understood: {text}")),
                };
                Plan { fail: Some(Fail { at, for_good: when == "forever", how }), ..Plan::default() }
            }
            _ => return Err(format!("GATEPOST_FAULT is not understood: {text}")),
        };
        Ok(Fs::with_plan(plan))
    }

    /// How many operations and steps were counted, and whether the planned failure happened.
    pub fn counted(&self) -> (u64, bool) {
        self.faults.as_ref().map_or((0, false), |faults| {
            let state = lock(&faults.state);
            (state.count, state.failed)
        })
    }

    /// What was recorded so far.
    pub fn recorded(&self) -> Vec<Op> {
        self.faults.as_ref().map_or_else(Vec::new, |faults| lock(&faults.state).record.clone())
    }

    fn verdict(&self, op: impl FnOnce() -> Op) -> Verdict {
        let Some(faults) = &self.faults else { return Verdict::Go };
        let mut state = lock(&faults.state);
        state.count += 1;
        if faults.plan.exit_at == Some(state.count) {
            std::process::exit(EXIT_AT_STEP);
        }
        if let Some(fail) = &faults.plan.fail
            && (state.count == fail.at || (fail.for_good && state.count > fail.at))
        {
            state.failed = true;
            if faults.plan.record {
                state.record.push(Op::Failed(Box::new(op())));
            }
            return Verdict::Fail(fail.how);
        }
        if faults.plan.record {
            let op = op();
            if let Some(watch) = &faults.plan.watch {
                watch(state.record.len(), &op);
            }
            state.record.push(op);
        }
        Verdict::Go
    }

    fn check(&self, op: impl FnOnce() -> Op) -> io::Result<()> {
        match self.verdict(op) {
            Verdict::Go => Ok(()),
            Verdict::Fail(how) => Err(how.error()),
        }
    }

    /// A place where the process may be told to end, or an operation that is not a file's (a catalogue
    /// transaction) told to fail.
    pub fn step(&self, name: &'static str) -> io::Result<()> {
        self.check(|| Op::Step(name))
    }

    pub fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.check(|| Op::CreateDir(path.to_owned()))?;
        #[cfg_attr(windows, allow(unused_mut))]
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        patiently(|| builder.create(path))
    }

    /// Makes a folder with all that is missing above it, open to whom the process's mask allows.
    pub fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        self.create_dir_all(parent)?;
        self.check(|| Op::CreateDir(path.to_owned()))?;
        match patiently(|| std::fs::create_dir(path)) {
            // Somebody else was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            done => done,
        }
    }

    /// A new file, private to the owner; an error when the name is taken.
    pub fn create(&self, path: &Path) -> io::Result<FsFile> {
        self.check(|| Op::Create(path.to_owned()))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(FsFile { file: patiently(|| options.open(path))?, path: path.to_owned(), fs: self.clone() })
    }

    pub fn open(&self, path: &Path) -> io::Result<FsFile> {
        let file = patiently(|| OpenOptions::new().read(true).write(true).open(path))?;
        Ok(FsFile { file, path: path.to_owned(), fs: self.clone() })
    }

    pub fn open_read_only(&self, path: &Path) -> io::Result<FsFile> {
        Ok(FsFile { file: open(path)?, path: path.to_owned(), fs: self.clone() })
    }

    /// Takes the read-only mark off; nothing happens when there is none.
    pub fn make_writable(&self, path: &Path) -> io::Result<()> {
        let mut permissions = std::fs::metadata(path)?.permissions();
        if !permissions.readonly() {
            return Ok(());
        }
        #[cfg(unix)]
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        // There it opens the file to nobody new.
        #[cfg(windows)]
        #[allow(clippy::permissions_set_readonly_false)]
        permissions.set_readonly(false);
        patiently(|| std::fs::set_permissions(path, permissions.clone()))
    }

    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(|| Op::Rename { from: from.to_owned(), to: to.to_owned() })?;
        rename(from, to)
    }

    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(|| Op::Remove(path.to_owned()))?;
        remove_file(path)
    }

    /// Makes names in a folder durable. Windows has no such call; NTFS journals them.
    pub fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check(|| Op::SyncDir(path.to_owned()))?;
        #[cfg(unix)]
        File::open(path)?.sync_all()?;
        Ok(())
    }

    /// The one durable-write routine for whole small files: a temporary beside it, synced, renamed over
    /// it, the folder synced. After an error the old content stands.
    pub fn write_durably(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".tmp");
        let temporary = folder.join(name);
        match remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = self.create(&temporary)?;
        file.write_at(0, bytes)?;
        file.sync()?;
        drop(file);
        self.rename(&temporary, path)?;
        self.sync_dir(folder)
    }
}

/// An open file of the archive.
pub struct FsFile {
    file: File,
    path: PathBuf,
    fs: Fs,
}

impl FsFile {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let op = || Op::Write { path: self.path.clone(), offset, bytes: bytes.to_owned() };
        match self.fs.verdict(op) {
            Verdict::Go => write_all_at(&self.file, offset, bytes),
            Verdict::Fail(How::Short) => {
                write_all_at(&self.file, offset, &bytes[..bytes.len() / 2])?;
                Err(How::Short.error())
            }
            Verdict::Fail(how) => Err(how.error()),
        }
    }

    pub fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        read_file_exact_at(&self.file, offset, buffer)
    }

    /// Data and length on stable storage.
    pub fn sync(&mut self) -> io::Result<()> {
        self.fs.check(|| Op::Sync(self.path.clone()))?;
        self.file.sync_all()
    }

    pub fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.fs.check(|| Op::SetLen { path: self.path.clone(), len })?;
        self.file.set_len(len)
    }

    pub fn set_read_only(&mut self) -> io::Result<()> {
        let mut permissions = self.file.metadata()?.permissions();
        permissions.set_readonly(true);
        self.file.set_permissions(permissions)
    }
}

/// What a virus scanner, a backup or an indexer holds on Windows is held for moments: an attempt that fails for that is made
/// again, for a few seconds altogether. Only for what has either happened or not: never for a write or a sync. Elsewhere
/// nobody can hold a file, and the first answer is the answer.
pub fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    #[cfg(windows)]
    {
        let end = std::time::Instant::now() + PATIENCE;
        let mut pause = std::time::Duration::from_millis(5);
        loop {
            match attempt() {
                Err(error) if is_held(&error) && std::time::Instant::now() + pause < end => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                done => return done,
            }
        }
    }
    #[cfg(not(windows))]
    attempt()
}

/// Scanners are done with a file in a second at most; what is forbidden for good is told after this.
#[cfg(windows)]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);
#[cfg(windows)]
const PAUSE_MAX: std::time::Duration = std::time::Duration::from_millis(200);

#[cfg(windows)]
fn is_held(error: &io::Error) -> bool {
    // winerror.h: ERROR_ACCESS_DENIED (also of a file whose removal waits for its last reader), ERROR_SHARING_VIOLATION,
    // ERROR_LOCK_VIOLATION, ERROR_USER_MAPPED_FILE.
    matches!(error.raw_os_error(), Some(5 | 32 | 33 | 1224))
}

/// A path for those who hand it to Windows as it is (SQLite): longer ones than 260 characters are understood only in this
/// form. The standard library does so by itself.
pub fn long(path: &Path) -> PathBuf {
    #[cfg(windows)]
    {
        use std::path::{Component, Prefix};
        // SQLite appends up to 12 characters, and wants room of its own.
        const PLAIN_MAX: usize = 200;
        if path.as_os_str().len() > PLAIN_MAX
            && let Ok(whole) = std::path::absolute(path)
            && let Some(Component::Prefix(prefix)) = whole.components().next()
        {
            let (front, rest) = match prefix.kind() {
                Prefix::Disk(_) => (r"\\?\", whole.clone()),
                Prefix::UNC(..) => {
                    let text = whole.to_string_lossy();
                    (r"\\?\UNC\", PathBuf::from(text.trim_start_matches('\\')))
                }
                _ => return whole,
            };
            let mut long = std::ffi::OsString::from(front);
            long.push(rest);
            return long.into();
        }
    }
    path.to_owned()
}

// What is not counted as an operation of the archive, with the same patience.

pub fn open(path: &Path) -> io::Result<File> {
    patiently(|| File::open(path))
}

pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    patiently(|| std::fs::read(path))
}

pub fn read_to_string(path: &Path) -> io::Result<String> {
    patiently(|| std::fs::read_to_string(path))
}

pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    patiently(|| std::fs::rename(from, to))
}

pub fn remove_file(path: &Path) -> io::Result<()> {
    patiently(|| std::fs::remove_file(path))
}

pub fn remove_dir(path: &Path) -> io::Result<()> {
    patiently(|| std::fs::remove_dir(path))
}

pub fn remove_dir_all(path: &Path) -> io::Result<()> {
    patiently(|| std::fs::remove_dir_all(path))
}

#[cfg(unix)]
fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    use std::os::windows::fs::FileExt as _;
    while !bytes.is_empty() {
        match file.seek_write(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                offset += n as u64;
                bytes = &bytes[n..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl How {
    fn error(self) -> io::Error {
        match self {
            How::Error => io::Error::other("input/output error (told to fail)"),
            How::NoSpace | How::Short => io::ErrorKind::StorageFull.into(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(at: u64, for_good: bool, how: How) -> Fs {
        Fs::with_plan(Plan { fail: Some(Fail { at, for_good, how }), ..Plan::default() })
    }

    #[test]
    fn a_durable_write_that_fails_leaves_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        Fs::real().write_durably(&path, b"old").unwrap();
        // create, write, sync, rename, folder sync
        for at in 1..=4 {
            for how in [How::Error, How::NoSpace, How::Short] {
                failing(at, true, how).write_durably(&path, b"new content").unwrap_err();
                assert_eq!(std::fs::read(&path).unwrap(), b"old", "operation {at}");
            }
        }
        failing(6, true, How::Error).write_durably(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[cfg(windows)]
    #[test]
    fn long_paths_are_written_in_the_form_that_windows_takes() {
        let name = "x".repeat(220);
        for (path, long_path) in [
            (format!(r"C:\a/b\..\{name}"), format!(r"\\?\C:\a\{name}")),
            (format!(r"\\server\share\{name}"), format!(r"\\?\UNC\server\share\{name}")),
            (format!(r"\\?\C:\{name}"), format!(r"\\?\C:\{name}")),
            (r"C:\short".to_owned(), r"C:\short".to_owned()),
        ] {
            assert_eq!(long(Path::new(&path)), Path::new(&long_path));
        }
    }

    #[cfg(windows)]
    #[test]
    fn a_file_that_somebody_holds_for_a_moment_is_replaced_and_removed_all_the_same() {
        use std::os::windows::fs::OpenOptionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"old").unwrap();
        let hold_for = |milliseconds| {
            // As a scanner does that lets nobody in.
            let held = OpenOptions::new().read(true).share_mode(0).open(&path).unwrap();
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(milliseconds));
                drop(held);
            })
        };
        let scanner = hold_for(300);
        Fs::real().write_durably(&path, b"new").unwrap();
        scanner.join().unwrap();
        let scanner = hold_for(300);
        assert_eq!(Fs::real().open_read_only(&path).unwrap().len().unwrap(), 3);
        scanner.join().unwrap();
        // For good is for good.
        let held = OpenOptions::new().read(true).share_mode(0).open(&path).unwrap();
        assert!(is_held(&Fs::real().write_durably(&path, b"newer").unwrap_err()));
        drop(held);
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        let scanner = hold_for(300);
        Fs::real().remove(&path).unwrap();
        scanner.join().unwrap();
    }

    #[test]
    fn operations_are_recorded_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let fs = Fs::with_plan(Plan { record: true, ..Plan::default() });
        let path = folder.path().join("a");
        let mut file = fs.create(&path).unwrap();
        file.write_at(3, b"xy").unwrap();
        file.sync().unwrap();
        fs.step("done").unwrap();
        let ops = fs.recorded();
        assert_eq!(ops[1], Op::Write { path: path.clone(), offset: 3, bytes: b"xy".to_vec() });
        assert_eq!(ops[2], Op::Sync(path));
        assert_eq!(ops[3], Op::Step("done"));
        assert_eq!(fs.counted(), (4, false));
    }
}
