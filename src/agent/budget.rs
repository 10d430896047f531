//! How much of an account may be downloaded in a day. Gmail locks an account for hours that takes more than it allows.
//!
//! Must: what was taken is on stable storage before it is taken, so that no restart takes it twice; the count is the
//! account's (gateway and login), whichever profiles and folders share it, and begins anew with the day in UTC.
//!
//! What is counted are the bytes that came over the connection, listings included. Before a download its announced
//! size stands for them.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::base::clock::Clock;
use crate::base::digest::Digest;
use crate::base::fsio::{self, Fs};
use crate::sources::Listed;

const FORMAT: u32 = 1;
/// What is taken at a time: each costs a write that waits for the disk.
const SHARE_BYTES: u64 = 64 * 1024 * 1024;
/// What listings may take before it is worth a write.
const UNSAVED_BYTES_MAX: u64 = 1024 * 1024;

/// A day's account, and the file's content.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Day {
    format: u32,
    /// For people; the file's name stands for these.
    host: String,
    login: String,
    day: Date,
    bytes: u64,
    /// Mails among them. The first of a day is taken however long it is.
    mails: u64,
}

/// The accounts of this process; one at a time writes an archive, so that no other counts them.
pub struct Budgets {
    place: PathBuf,
    fs: Fs,
    clock: Arc<dyn Clock>,
    days: Mutex<HashMap<PathBuf, Arc<Mutex<Day>>>>,
}

impl Budgets {
    /// `place` is the archive's folder.
    pub fn new(place: &Path, fs: Fs, clock: Arc<dyn Clock>) -> Budgets {
        Budgets { place: place.to_owned(), fs, clock, days: Mutex::default() }
    }

    /// The budget of an account for one session.
    pub fn of(&self, host: &str, login: &str, limit: u64) -> io::Result<Budget> {
        let name = Digest::of(format!("{host}\0{login}").as_bytes()).to_string();
        let file = self.place.join(format!("downloaded-{}.json", &name[..16]));
        let mut days = lock(&self.days);
        let day = match days.get(&file) {
            Some(day) => day.clone(),
            None => {
                let read = read(&file, host, login).map_err(|error| {
                    let file = file.display();
                    io::Error::new(
                        error.kind(),
                        format!("{file}: {error} (without this file the day's count begins anew)"),
                    )
                });
                let day = Arc::new(Mutex::new(read?));
                days.insert(file.clone(), day.clone());
                day
            }
        };
        let (fs, clock) = (self.fs.clone(), self.clock.clone());
        Ok(Budget { limit, day, file, fs, clock, reserved: 0, received: 0, unsaved: 0 })
    }
}

fn read(file: &Path, host: &str, login: &str) -> io::Result<Day> {
    let none =
        Day { format: FORMAT, host: host.to_owned(), login: login.to_owned(), day: Date::MIN, bytes: 0, mails: 0 };
    match fsio::read(file) {
        Ok(bytes) => {
            let day: Day = serde_json::from_slice(&bytes)?;
            if day.format == FORMAT { Ok(day) } else { Err(io::ErrorKind::InvalidData.into()) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(none),
        Err(error) => Err(error),
    }
}

/// What one session takes from an account's day.
pub struct Budget {
    limit: u64,
    day: Arc<Mutex<Day>>,
    file: PathBuf,
    fs: Fs,
    clock: Arc<dyn Clock>,
    /// Taken before it came.
    reserved: u64,
    /// What the session had received when it was last counted.
    received: u64,
    unsaved: u64,
}

impl Budget {
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// How many of the first of these may be downloaded now; 0: the day's budget is used up.
    pub fn take(&mut self, wanted: &[Listed]) -> io::Result<usize> {
        let today = self.clock.now().to_zoned(TimeZone::UTC).date();
        let mut day = lock(&self.day);
        // A clock that was set back does not give the day a second time.
        if today > day.day {
            (day.day, day.bytes, day.mails) = (today, 0, 0);
        }
        let (count, bytes) = share(wanted, self.limit, day.bytes, day.mails);
        if count > 0 {
            let taken = Day { bytes: day.bytes + bytes, mails: day.mails + count as u64, ..day.clone() };
            write(&self.fs, &self.file, &taken)?;
            *day = taken;
            self.reserved += bytes;
            self.unsaved = 0;
        }
        Ok(count)
    }

    /// Puts what really came in the place of what was taken for it. `received`: by this session so far.
    pub fn settle(&mut self, received: u64) -> io::Result<()> {
        let came = received.saturating_sub(self.received);
        let mut day = lock(&self.day);
        let settled = Day { bytes: day.bytes.saturating_sub(self.reserved) + came, ..day.clone() };
        self.unsaved += came;
        if self.reserved > 0 || self.unsaved > UNSAVED_BYTES_MAX {
            write(&self.fs, &self.file, &settled)?;
            self.unsaved = 0;
        }
        *day = settled;
        (self.reserved, self.received) = (0, received);
        Ok(())
    }
}

fn write(fs: &Fs, file: &Path, day: &Day) -> io::Result<()> {
    fs.write_durably(file, &serde_json::to_vec_pretty(day)?)
}

/// How many of the first of `wanted` fit into what is left of a day, a share at a time, and their bytes.
fn share(wanted: &[Listed], limit: u64, bytes: u64, mails: u64) -> (usize, u64) {
    let mut taken = 0u64;
    let mut count = 0;
    for listed in wanted {
        let so_far = bytes.saturating_add(taken);
        let fits = so_far.saturating_add(listed.size) <= limit;
        // Else it would never be downloaded: the first of a day, and what is longer than a whole day's budget.
        let is_first = mails == 0 && count == 0;
        let is_too_long = listed.size > limit && so_far < limit;
        if !(fits || is_first || is_too_long) || (count > 0 && taken.saturating_add(listed.size) > SHARE_BYTES) {
            break;
        }
        taken = taken.saturating_add(listed.size);
        count += 1;
    }
    (count, taken)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::FixedClock;
    use crate::base::fsio::{Fail, How, Plan};

    fn listed(sizes: &[u64]) -> Vec<Listed> {
        let one = |(at, size): (usize, &u64)| Listed {
            native_id: at.to_string(),
            order: Some(at as u64),
            size: *size,
            date: String::new(),
        };
        sizes.iter().enumerate().map(one).collect()
    }

    #[test]
    fn what_fits_into_a_day() {
        let share = |sizes: &[u64], bytes: u64, mails: u64| share(&listed(sizes), 100, bytes, mails);
        assert_eq!(share(&[10, 20, 30], 0, 0), (3, 60));
        assert_eq!(share(&[10, 20, 30], 60, 5), (2, 30));
        assert_eq!(share(&[10], 90, 5), (1, 10));
        assert_eq!(share(&[10], 91, 5), (0, 0));
        assert_eq!(share(&[], 0, 0), (0, 0));
        // What listings took does not keep the first mail of a day back, and one longer than a day comes all the same.
        assert_eq!(share(&[100, 1], 5, 0), (1, 100));
        assert_eq!(share(&[1, 500, 1], 5, 3), (2, 501));
        assert_eq!(share(&[500], 100, 3), (0, 0));
        assert_eq!(super::share(&listed(&[40 << 20, 24 << 20, 1]), u64::MAX, 0, 0), (2, 64 << 20));
    }

    #[test]
    fn a_day_is_counted_across_restarts_and_sessions() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(FixedClock::at("2026-11-24T23:00:00Z".parse().unwrap()));
        let budgets = || Budgets::new(folder.path(), Fs::real(), clock.clone());
        let of = |budgets: &Budgets| budgets.of("imap.example:993", "journal", 100).unwrap();
        let first = budgets();
        let mut budget = of(&first);
        assert_eq!(budget.take(&listed(&[60])).unwrap(), 1);
        // Another profile of the same account, and another process after this one was killed.
        assert_eq!(of(&first).take(&listed(&[50])).unwrap(), 0);
        assert_eq!(of(&budgets()).take(&listed(&[50])).unwrap(), 0);
        // Less came than was announced.
        budget.settle(20).unwrap();
        assert_eq!(of(&budgets()).take(&listed(&[80])).unwrap(), 1);
        // Another account has its own.
        assert_eq!(first.of("imap.example:993", "other", 100).unwrap().take(&listed(&[50])).unwrap(), 1);
        // The next day, and then a clock that is set back.
        clock.advance(jiff::SignedDuration::from_hours(1));
        assert_eq!(of(&first).take(&listed(&[90])).unwrap(), 1);
        clock.advance(jiff::SignedDuration::from_hours(-2));
        assert_eq!(of(&first).take(&listed(&[50])).unwrap(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_not_taken_and_what_cannot_be_read_stops() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(FixedClock::at("2026-11-24T23:00:00Z".parse().unwrap()));
        let fail = Some(Fail { at: 1, for_good: true, how: How::NoSpace });
        let full = Budgets::new(folder.path(), Fs::with_plan(Plan { fail, ..Plan::default() }), clock.clone());
        full.of("h", "l", 100).unwrap().take(&listed(&[1])).unwrap_err();
        let budgets = Budgets::new(folder.path(), Fs::real(), clock.clone());
        assert_eq!(budgets.of("h", "l", 100).unwrap().take(&listed(&[1])).unwrap(), 1);
        let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        std::fs::write(&file, "{").unwrap();
        assert!(Budgets::new(folder.path(), Fs::real(), clock).of("h", "l", 100).is_err());
    }
}
