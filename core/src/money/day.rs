//! Days and months as budgets and prices know them: in UTC.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::error::{Error, Result};

/// Milliseconds of a day; UTC as computers count it has no leap seconds.
const DAY_MS: u64 = 86_400_000;

/// A day in UTC, as text `2026-11-22`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    /// Days since 1970-01-01.
    since_epoch: i64,
}

impl Day {
    /// The day of `ms` milliseconds after the Unix epoch.
    pub const fn of_ms(ms: u64) -> Self {
        Self { since_epoch: (ms / DAY_MS) as i64 }
    }

    /// The day it is.
    pub fn today() -> Self {
        Self::of(SystemTime::now())
    }

    /// The day of `time`; the first one there is for a time before the Unix epoch.
    pub fn of(time: SystemTime) -> Self {
        Self::of_ms(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64)
    }

    /// Days from `earlier` to this one; negative when that is later.
    pub const fn days_since(self, earlier: Self) -> i64 {
        self.since_epoch - earlier.since_epoch
    }

    /// Its first millisecond since the Unix epoch; 0 for a day before that.
    pub const fn start_ms(self) -> u64 {
        if self.since_epoch < 0 { 0 } else { self.since_epoch as u64 * DAY_MS }
    }

    /// Year, month from 1 to 12, day of the month from 1: Howard Hinnant's `civil_from_days`
    /// (howardhinnant.github.io/date_algorithms.html), whose years begin in March.
    const fn civil(self) -> (i64, i64, i64) {
        let days = self.since_epoch + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + (month <= 2) as i64;
        (year, month, day)
    }

    /// The inverse of `civil`.
    const fn of_civil(year: i64, month: i64, day: i64) -> Self {
        let year = year - (month <= 2) as i64;
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let march_month = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * march_month + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Self { since_epoch: era * 146_097 + day_of_era - 719_468 }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Day {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let none = || Error::invalid("a day is year-month-day, such as 2026-11-22");
        let mut parts = text.splitn(3, '-').map(|part| part.parse::<u16>().map(i64::from));
        let mut next = || parts.next().and_then(Result::ok).ok_or_else(none);
        let (year, month, day) = (next()?, next()?, next()?);
        let read = Self::of_civil(year, month, day);
        // There is no 30th of February: it would be read as another day.
        if read.civil() == (year, month, day) { Ok(read) } else { Err(none()) }
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|e: Error| D::Error::custom(e.message()))
    }
}

/// How long a limit on spending is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// A day in UTC.
    Day,
    /// A calendar month in UTC.
    Month,
    /// As long as the folder is kept.
    #[default]
    Total,
}

impl Period {
    /// When the period that holds `ms` began, in milliseconds since the Unix epoch.
    pub const fn start_ms(self, ms: u64) -> u64 {
        let day = Day::of_ms(ms);
        match self {
            Self::Day => day.start_ms(),
            Self::Month => {
                let (year, month, _) = day.civil();
                Day::of_civil(year, month, 1).start_ms()
            }
            Self::Total => 0,
        }
    }

    /// When the period that holds `ms` is over and the next begins; none for one without end.
    pub const fn end_ms(self, ms: u64) -> Option<u64> {
        match self {
            Self::Day => Some(self.start_ms(ms) + DAY_MS),
            Self::Month => {
                let (year, month, _) = Day::of_ms(ms).civil();
                let (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                Some(Day::of_civil(year, month, 1).start_ms())
            }
            Self::Total => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(day: &str) -> u64 {
        day.parse::<Day>().unwrap().start_ms()
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (text, days) in [("1970-01-01", 0), ("2000-02-29", 11_016), ("2026-11-22", 20_779), ("1969-12-31", -1)] {
            let day: Day = text.parse().unwrap();
            assert_eq!((day.since_epoch, day.to_string()), (days, text.to_owned()));
        }
        for text in ["2026-02-29", "2026-13-01", "2026-11", "", "2026-11-22T00:00", "-1-01-01"] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }

    #[test]
    fn periods_begin_and_end_at_midnight_in_utc() {
        let last = ms("2024-02-29") + DAY_MS - 1;
        assert_eq!((Period::Day.start_ms(last), Period::Day.end_ms(last)), (ms("2024-02-29"), Some(ms("2024-03-01"))));
        assert_eq!(Period::Day.start_ms(last + 1), ms("2024-03-01"));
        assert_eq!(Period::Month.start_ms(last), ms("2024-02-01"));
        assert_eq!(Period::Month.end_ms(ms("2026-12-05")), Some(ms("2027-01-01")));
        assert_eq!((Period::Total.start_ms(last), Period::Total.end_ms(last)), (0, None));
    }

    proptest! {
        #[test]
        fn a_day_is_read_as_it_is_written(days in 0_i64..3_000_000) {
            let day = Day { since_epoch: days };
            prop_assert_eq!(day.to_string().parse::<Day>().unwrap(), day);
        }

        #[test]
        fn a_period_holds_the_moment_it_is_asked_for(ms in 0_u64..4_000_000_000_000) {
            for period in [Period::Day, Period::Month] {
                prop_assert!(period.start_ms(ms) <= ms && ms < period.end_ms(ms).unwrap());
            }
        }
    }
}
