//! How long a server asks to wait: seconds, milliseconds or a date. Pure functions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// The time that `headers` ask to wait, in milliseconds. A date is told from the server's own clock where it is known.
pub(super) fn retry_after_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &HeaderName| text(name)?.parse::<f64>().ok();
    let ms = number(&HeaderName::from_static("retry-after-ms"));
    if let Some(ms) = ms.or_else(|| number(&RETRY_AFTER).map(|seconds| seconds * 1000.0)) {
        return (ms >= 0.0).then_some(ms as u64);
    }
    let until = http_date(text(&RETRY_AFTER)?)?;
    let now = text(&DATE).and_then(http_date).or_else(|| now.duration_since(UNIX_EPOCH).ok())?;
    Some(until.saturating_sub(now).as_millis() as u64)
}

/// Time since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT` (IMF-fixdate, RFC 9110 section 5.6.7).
fn http_date(text: &str) -> Option<Duration> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<_> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = parts.as_slice() else { return None };
    let clock: Vec<u64> = time.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let ([hour, minute, second], month) = (clock.as_slice(), MONTHS.iter().position(|name| name == month)?) else {
        return None;
    };
    let (year, day) = (year.parse().ok()?, day.parse().ok()?);
    // 60 is a leap second. Numbers out of range are of no date, and could be too large to count with.
    if !(0..=9999).contains(&year) || !(1..=31).contains(&day) || *hour > 23 || *minute > 59 || *second > 60 {
        return None;
    }
    let days = days_since_1970(year, month as i64 + 1, day);
    let seconds = u64::try_from(days).ok()? * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Duration::from_secs(seconds))
}

/// Days of the Gregorian calendar, with the year begun in March so that the leap day is its last
/// (H. Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn wait(pairs: &[(&'static str, &'static str)]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        // 784111777 is the date of the RFC's example.
        retry_after_ms(&headers, UNIX_EPOCH + Duration::from_secs(784_111_777))
    }

    #[test]
    fn the_wait_is_read_from_either_header() {
        assert_eq!(wait(&[("retry-after", "2")]), Some(2000));
        assert_eq!(wait(&[("retry-after-ms", "150"), ("retry-after", "9")]), Some(150));
        assert_eq!((wait(&[("retry-after", "-1")]), wait(&[("retry-after", "soon")]), wait(&[])), (None, None, None));
    }

    #[test]
    fn a_date_is_told_from_the_clock_of_the_server() {
        let date = "Sun, 06 Nov 1994 08:49:40 GMT";
        assert_eq!(wait(&[("retry-after", date)]), Some(3000));
        assert_eq!(wait(&[("retry-after", date), ("date", "Sun, 06 Nov 1994 08:49:30 GMT")]), Some(10_000));
        assert_eq!(wait(&[("retry-after", "Sat, 05 Nov 1994 08:49:40 GMT")]), Some(0), "it is over");
        assert_eq!(
            wait(&[("retry-after", "Thu, 29 Feb 2024 00:00:00 GMT")]),
            Some((1_709_164_800 - 784_111_777) * 1000)
        );
        for none in [
            "Sun, 06 Foo 1994 08:49:40 GMT",
            "Sun, 06 Nov 9223372036854775807 08:49:40 GMT",
            "Sun, 9223372036854775807 Nov 1994 08:49:40 GMT",
            "Sun, 06 Nov 1994 9223372036854775807:49:40 GMT",
        ] {
            assert_eq!(wait(&[("retry-after", none)]), None);
        }
    }
}
