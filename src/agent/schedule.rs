//! When a profile is due.
//!
//! An interval counts from the end of a cycle. A cron expression is read by the crate `cron`, with crontab's meaning of the
//! days: weekdays are numbered 0 (or 7) for Sunday and 1 for Monday, and where both a day of the month and a weekday are
//! given, either suffices (crontab(5)). Five fields begin with the minutes, six with the seconds, a seventh is the year.
//!
//! Local time has gaps and overlaps. A time that falls into the gap of spring is due right after it, once however many
//! there are. A time within the overlap of autumn is due the first time only, unless the hours begin with `*`: what is due
//! every few minutes stays so.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use cron::TimeUnitSpec as _;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan as _};

/// So many days are looked through for the next time: leap days are at most eight years apart.
const DAYS_MAX: u32 = 9 * 366;

#[derive(Clone, PartialEq)]
pub enum Schedule {
    Every(Duration),
    Cron(Box<Cron>),
}

/// A cron expression in a time zone.
#[derive(Clone)]
pub struct Cron {
    /// As it was written.
    text: String,
    fields: cron::Schedule,
    /// Of a day of the month and a weekday, one suffices.
    either_day: bool,
    any_hour: bool,
    zone: TimeZone,
}

impl PartialEq for Cron {
    fn eq(&self, other: &Cron) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}

/// Why a cron expression was refused, and how it would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCron {
    pub what: String,
    pub hint: &'static str,
}

const FIVE: &str = "five fields as in crontab: minute, hour, day of the month, month, weekday (1 = Monday); for every weekday \
                    at seven \"0 7 * * 1-5\"";

impl Schedule {
    /// The first time that is due after `after`. An interval begins there.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Schedule::Every(every) => {
                let every = SignedDuration::try_from(*every).unwrap_or(SignedDuration::MAX);
                after.checked_add(every).ok()
            }
            Schedule::Cron(cron) => cron.next(after),
        }
    }

    /// The longest time that should pass between two cycles, as far as one can say: what is late beyond it is late.
    pub fn interval(&self, now: Timestamp) -> Duration {
        match self {
            Schedule::Every(every) => *every,
            Schedule::Cron(cron) => {
                let times: Vec<Timestamp> =
                    std::iter::successors(cron.next(now), |at| cron.next(*at)).take(12).collect();
                let gaps = times.windows(2).map(|pair| pair[1].duration_since(pair[0]).unsigned_abs());
                gaps.max().unwrap_or(Duration::from_secs(24 * 60 * 60))
            }
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Every(every) => write!(f, "every {}", humantime::format_duration(*every)),
            Schedule::Cron(cron) => {
                let zone = cron.zone.iana_name().unwrap_or("local time");
                write!(f, "cron {:?} ({zone}; weekdays: 1 = Monday)", cron.text)
            }
        }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Cron {
    pub fn parse(text: &str, zone: TimeZone) -> Result<Cron, BadCron> {
        let mut fields: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if fields.len() == 5 {
            fields.insert(0, "0".into());
        }
        if !(6..=7).contains(&fields.len()) {
            return Err(BadCron { what: format!("{text:?} has {} fields", fields.len()), hint: FIVE });
        }
        let is_open = |field: &str| field.starts_with(['*', '?']);
        let either_day = !is_open(&fields[3]) && !is_open(&fields[5]);
        let any_hour = is_open(&fields[2]);
        fields[5] = weekdays(&fields[5]).ok_or_else(|| BadCron {
            what: format!("{:?} names no weekdays", fields[5]),
            hint: "write numbers (0 or 7 = Sunday, 1 = Monday) or names: \"1-5\", \"mon,thu\", \"*\"",
        })?;
        let parsed = fields
            .join(" ")
            .parse::<cron::Schedule>()
            .map_err(|_| BadCron { what: format!("{text:?} is no cron expression"), hint: FIVE })?;
        let cron = Cron { text: text.trim().to_owned(), fields: parsed, either_day, any_hour, zone };
        // The 30th of February.
        if cron.next(Timestamp::now()).is_none() {
            return Err(BadCron { what: format!("{text:?} is never due"), hint: FIVE });
        }
        Ok(cron)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        // The local times of a day may come before those of the day before, by an hour at most where clocks are set back.
        let first = self.zone.to_datetime(after).date().yesterday().ok()?;
        let days = std::iter::successors(Some(first), |day| day.tomorrow().ok()).take(DAYS_MAX as usize);
        for day in days.filter(|day| self.is_due_on(*day)) {
            let found =
                self.times().flat_map(|time| self.moments(day.to_datetime(time))).filter(|at| *at > after).min();
            // A day's moments come in order, so that the first day with one has the earliest, except around a change of
            // the clocks at midnight, where the next day's first may be the same.
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn is_due_on(&self, day: Date) -> bool {
        let month_day = self.fields.days_of_month().includes(day.day().unsigned_abs().into());
        let weekday = self.fields.days_of_week().includes(day.weekday().to_sunday_one_offset().unsigned_abs().into());
        let is_day = if self.either_day { month_day || weekday } else { month_day && weekday };
        is_day
            && self.fields.months().includes(day.month().unsigned_abs().into())
            && self.fields.years().includes(day.year().unsigned_abs().into())
    }

    /// The times of a day, in order.
    fn times(&self) -> impl Iterator<Item = Time> {
        let (hours, minutes, seconds) = (self.fields.hours(), self.fields.minutes(), self.fields.seconds());
        hours.iter().flat_map(move |hour| {
            minutes.iter().flat_map(move |minute| {
                seconds.iter().filter_map(move |second| Time::new(hour as i8, minute as i8, second as i8, 0).ok())
            })
        })
    }

    /// When a local time is: never twice, unless the hours begin with `*`.
    fn moments(&self, local: DateTime) -> impl Iterator<Item = Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        let (first, second) = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { offset } => (offset.to_timestamp(local).ok(), None),
            // Right after the gap: where the offset before it puts it, less what it lies within the gap.
            AmbiguousOffset::Gap { before, .. } => (before.to_timestamp(local).ok().map(|at| self.gap_end(at)), None),
            AmbiguousOffset::Fold { before, after } => {
                let second = if self.any_hour { after.to_timestamp(local).ok() } else { None };
                (before.to_timestamp(local).ok(), second)
            }
        };
        first.into_iter().chain(second)
    }

    /// The change of the clocks that lies before `at`, which the offset before the gap gave.
    fn gap_end(&self, at: Timestamp) -> Timestamp {
        self.zone.preceding(at + 1.second()).next().map_or(at, |change| change.timestamp())
    }
}

/// A field of weekdays in crontab's numbering, as names; `None` when it is none.
fn weekdays(field: &str) -> Option<String> {
    const NAMES: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let day = |text: &str| -> Option<usize> {
        match text.parse::<usize>() {
            Ok(number) => (number <= 7).then_some(number),
            Err(_) => {
                let text = text.to_lowercase();
                NAMES.iter().position(|name| text.len() >= 3 && text.starts_with(name))
            }
        }
    };
    let mut days = BTreeSet::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<usize>().ok().filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (0, 6),
            Some((from, to)) => {
                let (from, to) = (day(from)?, day(to)?);
                // Names have one number for Sunday, which may end a range too.
                (from, if to < from && to == 0 { 7 } else { to })
            }
            None => (day(range)?, if part.contains('/') { 7 } else { day(range)? }),
        };
        if from > to {
            return None;
        }
        days.extend((from..=to).step_by(step).map(|day| day % 7));
    }
    if days.len() == 7 {
        return Some("*".into());
    }
    Some(days.into_iter().map(|day| NAMES[day]).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(text: &str, zone: &str) -> Cron {
        Cron::parse(text, TimeZone::get(zone).unwrap()).unwrap()
    }

    /// The next `count` times in local time.
    fn times(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let cron = cron(text, zone);
        let first = after.parse::<Timestamp>().unwrap();
        std::iter::successors(cron.next(first), |at| cron.next(*at))
            .take(count)
            .map(|at| at.to_zoned(cron.zone.clone()).strftime("%m-%d %H:%M:%S %:z").to_string())
            .collect()
    }

    #[test]
    fn five_fields_have_crontabs_meaning() {
        // 2026-11-24 is a Tuesday.
        let next = |text: &str| times(text, "UTC", "2026-11-24T12:00:00Z", 1).remove(0);
        assert_eq!(next("*/5 * * * *"), "11-24 12:05:00 +00:00");
        assert_eq!(next("0 7 * * 1"), "11-30 07:00:00 +00:00");
        assert_eq!(next("0 7 * * mon"), "11-30 07:00:00 +00:00");
        assert_eq!(next("0 7 * * 0"), "11-29 07:00:00 +00:00");
        assert_eq!(next("0 7 * * 7"), "11-29 07:00:00 +00:00");
        assert_eq!(next("0 7 * * 5-7"), "11-27 07:00:00 +00:00");
        assert_eq!(next("0 7 * * fri-sun"), "11-27 07:00:00 +00:00");
        assert_eq!(next("0 7 * * 1-5/2"), "11-25 07:00:00 +00:00");
        // The 13th, or a Friday.
        assert_eq!(
            times("0 0 13 * 5", "UTC", "2026-11-24T12:00:00Z", 4),
            ["11-27 00:00:00 +00:00", "12-04 00:00:00 +00:00", "12-11 00:00:00 +00:00", "12-13 00:00:00 +00:00",]
        );
        // A field that begins with * restricts the other.
        assert_eq!(next("0 0 */2 * 1"), "12-07 00:00:00 +00:00");
        assert_eq!(next("0 0 29 2 *"), "02-29 00:00:00 +00:00");
    }

    #[test]
    fn six_fields_begin_with_seconds() {
        assert_eq!(
            times("30 */5 * * * *", "UTC", "2026-11-24T12:00:00Z", 2),
            ["11-24 12:00:30 +00:00", "11-24 12:05:30 +00:00"]
        );
        assert_eq!(times("0 0 9 * * 1 2027", "UTC", "2026-11-24T12:00:00Z", 1), ["01-04 09:00:00 +00:00"]);
    }

    #[test]
    fn a_gap_in_spring_is_run_after_it_and_once() {
        // 2026-03-29: from 02:00 to 03:00.
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            ["03-29 03:00:00 +02:00", "03-30 02:30:00 +02:00"]
        );
        assert_eq!(
            times("*/20 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            ["03-29 03:00:00 +02:00", "03-30 02:00:00 +02:00"]
        );
        assert_eq!(
            times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:20:00Z", 3),
            ["03-29 01:30:00 +01:00", "03-29 03:00:00 +02:00", "03-29 03:30:00 +02:00"]
        );
    }

    #[test]
    fn an_overlap_in_autumn_is_run_once_unless_it_is_any_hour() {
        // 2026-10-25: 02:00 to 03:00 comes twice.
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["10-25 02:30:00 +02:00", "10-26 02:30:00 +01:00"]
        );
        assert_eq!(
            times("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:20:00Z", 4),
            ["10-25 02:30:00 +02:00", "10-25 02:00:00 +01:00", "10-25 02:30:00 +01:00", "10-25 03:00:00 +01:00"]
        );
        assert_eq!(
            times("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", 2),
            ["11-04 01:00:00 -02:00", "11-05 00:00:00 -02:00"]
        );
    }

    #[test]
    fn what_is_no_schedule_is_told() {
        for text in
            ["", "* * * *", "61 * * * *", "0 0 30 2 *", "* * * * 8", "* * * * noday", "0 0 * * 5-2", "a b c d e"]
        {
            assert!(Cron::parse(text, TimeZone::UTC).is_err(), "{text}");
        }
    }

    #[test]
    fn the_interval_of_a_cron_is_its_longest_gap() {
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let of = |text: &str| Schedule::Cron(Box::new(cron(text, "UTC"))).interval(now).as_secs();
        assert_eq!(of("*/5 * * * *"), 300);
        assert_eq!(of("0 7 * * 1-5"), 3 * 24 * 3600);
    }
}
