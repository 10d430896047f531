//! A log file of its own for each day (UTC), of which so many days are kept.
//!
//! `tracing-appender` does the same and leaves the file's mode to the process's mask; what is logged is for its owner alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use tracing_subscriber::fmt::MakeWriter;

use crate::base::clock::Clock;

/// `gatepost.log` becomes `gatepost.2026-01-31.log`.
pub struct DailyFile {
    folder: PathBuf,
    stem: String,
    extension: String,
    keep_days: u32,
    clock: Box<dyn Clock>,
    current: Mutex<(Date, File)>,
}

impl DailyFile {
    /// Opens the day's file, and removes the ones that are too old.
    pub fn open(path: &Path, keep_days: u32, clock: Box<dyn Clock>) -> io::Result<DailyFile> {
        let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let stem = text(path.file_stem()).ok_or_else(|| io::Error::other("it has no name"))?;
        let extension = text(path.extension()).unwrap_or_else(|| "log".to_owned());
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        let day = day(&*clock);
        let file = open(&folder.join(name(&stem, day, &extension)))?;
        let opened = DailyFile { folder, stem, extension, keep_days, clock, current: Mutex::new((day, file)) };
        opened.prune(day);
        Ok(opened)
    }

    /// Removes files of this log whose day is over for too long. Others are left alone.
    fn prune(&self, today: Date) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let first = today.checked_sub(jiff::Span::new().days(i64::from(self.keep_days))).unwrap_or(Date::MIN);
        for entry in entries.flatten() {
            let found = entry.file_name();
            let Some(found) = found.to_str() else { continue };
            let day = found
                .strip_prefix(&self.stem)
                .and_then(|rest| rest.strip_prefix('.'))
                .and_then(|rest| rest.strip_suffix(&self.extension))
                .and_then(|rest| rest.strip_suffix('.'));
            let day = day.filter(|day| day.len() == 10).and_then(|day| day.parse::<Date>().ok());
            if day.is_some_and(|day| day < first) {
                // It is tried again on the next day.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn day(clock: &dyn Clock) -> Date {
    clock.now().to_zoned(TimeZone::UTC).date()
}

fn name(stem: &str, day: Date, extension: &str) -> String {
    format!("{stem}.{day}.{extension}")
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The file while a line is written.
pub struct Line<'a>(MutexGuard<'a, (Date, File)>);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.1.flush()
    }
}

impl<'w> MakeWriter<'w> for DailyFile {
    type Writer = Line<'w>;

    fn make_writer(&'w self) -> Line<'w> {
        let today = day(&*self.clock);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != today {
            // Without a new file the old one goes on: a line in the wrong file is better than none.
            if let Ok(file) = open(&self.folder.join(name(&self.stem, today, &self.extension))) {
                *current = (today, file);
                self.prune(today);
            }
        }
        Line(current)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::clock::FixedClock;

    struct Shared(Arc<FixedClock>);

    impl Clock for Shared {
        fn now(&self) -> jiff::Timestamp {
            self.0.now()
        }
    }

    #[test]
    fn each_day_has_its_file_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| std::fs::write(dir.path().join(name), "x").unwrap();
        for name in ["gatepost.2026-02-20.log", "gatepost.2026-02-26.log", "gatepost.notes.log", "other.2020-01-01.log"]
        {
            put(name);
        }
        let clock = Arc::new(FixedClock::at("2026-03-01T23:59:00Z".parse().unwrap()));
        let log = DailyFile::open(&dir.path().join("gatepost.log"), 3, Box::new(Shared(clock.clone()))).unwrap();
        log.make_writer().write_all(b"one\n").unwrap();
        clock.advance(jiff::SignedDuration::from_mins(2));
        log.make_writer().write_all(b"two\n").unwrap();
        let mut names: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expected =
            ["gatepost.2026-03-01.log", "gatepost.2026-03-02.log", "gatepost.notes.log", "other.2020-01-01.log"];
        assert_eq!(names, expected);
        assert_eq!(std::fs::read_to_string(dir.path().join(expected[1])).unwrap(), "two\n");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(dir.path().join(expected[0])).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
