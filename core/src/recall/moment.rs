//! Points in time, as people write them.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use jiff::{Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};

/// A point in time, to the millisecond. In JSON a text as of RFC 3339 (`2024-05-01T10:00:00Z`); read also from a date
/// (`2024-05-01`: its beginning), a date and time without a zone (both in UTC), and milliseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

/// From the year -9999 to 9999, as jiff has it.
const RANGE: std::ops::RangeInclusive<i64> = -377_705_023_201_000..=253_402_207_200_999;

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(*RANGE.end()).min(*RANGE.end()))
    }

    /// From milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// `Invalid` for a time before the year -9999 or after 9999.
    pub fn from_millis(ms: i64) -> Result<Self> {
        if RANGE.contains(&ms) {
            return Ok(Self(ms));
        }
        Err(Error::invalid("a time is between the years -9999 and 9999; give milliseconds since 1970").with("ms", ms))
    }

    /// So many milliseconds later; the year 9999 at most.
    #[must_use]
    pub fn after_millis(self, ms: u64) -> Self {
        let later = i64::try_from(ms).ok().and_then(|ms| self.0.checked_add(ms));
        Self(later.unwrap_or(*RANGE.end()).min(*RANGE.end()))
    }

    /// Milliseconds since the Unix epoch.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads a time: RFC 3339, a date, or a date and a time without a zone (UTC).
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let zoned = text.parse::<Timestamp>().ok();
        let local = || {
            let at = text.parse::<civil::DateTime>().ok()?;
            at.to_zoned_datetime(TimeZone::UTC).ok().map(|at| at.timestamp())
        };
        let at = zoned.or_else(local).ok_or_else(|| {
            Error::invalid("this is no time; write it as 2024-05-01 or 2024-05-01T10:00:00Z").with("time", shown(text))
        })?;
        Self::from_millis(at.as_millisecond())
    }
}

fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(40)]
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_millisecond(self.0) {
            Ok(at) => at.fmt(f),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Moment;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as 2024-05-01T10:00:00Z, or milliseconds since 1970")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Moment, E> {
                Moment::parse(text).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, ms: i64) -> std::result::Result<Moment, E> {
                Moment::from_millis(ms).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, ms: u64) -> std::result::Result<Moment, E> {
                Moment::from_millis(i64::try_from(ms).unwrap_or(i64::MAX)).map_err(E::custom)
            }
            fn visit_f64<E: de::Error>(self, ms: f64) -> std::result::Result<Moment, E> {
                // A program in JavaScript has no other numbers.
                if ms.fract() == 0.0 {
                    self.visit_i64(ms as i64)
                } else {
                    Err(E::custom("a time in whole milliseconds"))
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, ms) in [
            ("2024-05-01", 1_714_521_600_000),
            ("2024-05-01T10:00:00Z", 1_714_557_600_000),
            ("2024-05-01 10:00", 1_714_557_600_000),
            ("2024-05-01T12:00:00.250+02:00", 1_714_557_600_250),
            ("1952-01-01", -568_080_000_000),
        ] {
            assert_eq!(Moment::parse(text).unwrap().as_millis(), ms, "{text}");
        }
        for bad in ["", "yesterday", "2024-13-01", "20240501x"] {
            assert!(Moment::parse(bad).is_err(), "{bad}");
        }
        let read: Vec<Moment> = serde_json::from_str("[1714521600000, 1714521600000.0, \"2024-05-01\"]").unwrap();
        assert!(read.iter().all(|at| *at == read[0]));
        assert_eq!(serde_json::to_string(&read[0]).unwrap(), "\"2024-05-01T00:00:00Z\"");
    }

    proptest! {
        #[test]
        fn a_moment_comes_back(ms in RANGE) {
            let moment = Moment::from_millis(ms).unwrap();
            let json = serde_json::to_string(&moment).unwrap();
            prop_assert_eq!(serde_json::from_str::<Moment>(&json).unwrap(), moment);
        }

        #[test]
        fn any_text_is_a_time_or_an_error(text in "\\PC{0,40}") {
            let _ = Moment::parse(&text);
        }
    }
}
