//! Durations and sizes as people write them: a number and a unit.
//!
//! A bare number is refused, zero included: `every = 300` reads as minutes to one administrator and as
//! milliseconds to another, and nobody notices the difference before the mailbox is full.

use std::time::Duration;

/// Longer than any schedule, short enough that adding it to a date never overflows.
const DURATION_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// Why a value was refused and how it would be right; both are ready for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadUnit {
    pub what: String,
    pub hint: String,
}

/// `"300s"`, `"5m"`, `"1h 30m"`, `"7days"`.
pub fn parse_duration(text: &str) -> Result<Duration, BadUnit> {
    let trimmed = text.trim();
    if let Some(number) = bare_number(trimmed) {
        return Err(BadUnit {
            what: format!("{text:?} has no unit"),
            hint: format!("for seconds write \"{number}s\""),
        });
    }
    let hint = || "write a number with a unit: \"300s\", \"5m\", \"1h 30m\", \"7days\"".to_owned();
    match humantime::parse_duration(trimmed) {
        Ok(duration) if duration > DURATION_MAX => {
            Err(BadUnit { what: format!("{text:?} is longer than a hundred years"), hint: hint() })
        }
        Ok(duration) => Ok(duration),
        Err(_) => Err(BadUnit { what: format!("{text:?} is not a duration"), hint: hint() }),
    }
}

/// Bytes: `"64MiB"`, `"1 GB"`, `"512k"`. `MiB` is 1024 × 1024, `MB` and `M` are 1000 × 1000.
pub fn parse_size(text: &str) -> Result<u64, BadUnit> {
    let trimmed = text.trim();
    if let Some(number) = bare_number(trimmed) {
        let hint = format!("for mebibytes write \"{number}MiB\", for bytes \"{number}B\"");
        return Err(BadUnit { what: format!("{text:?} has no unit"), hint });
    }
    trimmed.parse::<bytesize::ByteSize>().map(|size| size.as_u64()).map_err(|_| BadUnit {
        what: format!("{text:?} is not a size"),
        hint: "write a number with a unit: \"24MiB\", \"1GiB\", \"512KiB\"".to_owned(),
    })
}

fn bare_number(text: &str) -> Option<&str> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (digits && text.parse::<f64>().is_ok()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, seconds) in [("300s", 300), ("5m", 300), (" 5min ", 300), ("1h 30m", 5400), ("0s", 0)] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
    }

    #[test]
    fn sizes_as_people_write_them() {
        const MIB: u64 = 1024 * 1024;
        for (text, bytes) in [
            ("64MiB", 64 * MIB),
            ("1 GiB", 1024 * MIB),
            ("1.5MiB", 3 * MIB / 2),
            ("2MB", 2_000_000),
            ("512k", 512_000),
            ("512Ki", 512 * 1024),
            ("7B", 7),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn a_bare_number_is_refused_even_zero() {
        let bad = parse_duration("300").unwrap_err();
        assert_eq!((bad.what.as_str(), bad.hint.as_str()), ("\"300\" has no unit", "for seconds write \"300s\""));
        assert!(parse_duration("0").is_err());
        assert_eq!(parse_size("24").unwrap_err().what, "\"24\" has no unit");
        assert!(parse_size("0").is_err());
    }

    #[test]
    fn nonsense_is_named_and_answered_with_an_example() {
        for text in ["", "soon", "s", "-5s", "5 parsecs", "200000years"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["", "big", "MiB", "-5MiB", "5 floppies"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
