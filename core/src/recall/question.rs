//! What a question asks for: words, speakers, phrases and times.

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date, tz::TimeZone};
use unicode_segmentation::UnicodeSegmentation;

use super::{Moment, namespace::Namespace, speakers, words};
use crate::{error::Result, store::Read};

/// A question, taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Question {
    /// Its terms, without the names of speakers.
    pub(super) terms: Vec<String>,
    /// What is embedded: the question without the names of speakers, which say nothing about what was said.
    pub(super) text: String,
    /// The numbers of the speakers it names, see [`speakers`].
    pub(super) speakers: Vec<u32>,
    /// How many different names of speakers there are in it.
    pub(super) named: usize,
    /// Whether it asks for a time.
    pub(super) asks_when: bool,
    /// From when until when what it asks for was, in milliseconds since the Unix epoch.
    pub(super) window: Option<(i64, i64)>,
    /// What stands between quotation marks, in small letters.
    pub(super) phrases: Vec<String>,
}

impl Question {
    /// A question in a namespace whose speakers are not known.
    pub(super) fn new(text: &str, now: Moment) -> Self {
        let plain = words::plain_words(text);
        Self {
            terms: words::of_query(text),
            text: text.to_owned(),
            speakers: Vec::new(),
            named: 0,
            asks_when: asks_when(&plain),
            window: window(&plain, now),
            phrases: phrases(text),
        }
    }

    /// A question to `namespace`.
    pub(super) fn to(read: &Read<'_>, namespace: &Namespace, text: &str, now: Moment) -> Result<Self> {
        let mut question = Self::new(text, now);
        let spans: Vec<(usize, &str)> = text.unicode_word_indices().collect();
        let plain: Vec<String> = spans.iter().map(|(_, word)| words::plain_words(word).join(" ")).collect();
        let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
        let (mut at, mut kept, mut from) = (0, String::new(), 0);
        let mut names: Vec<&[&str]> = Vec::new();
        while at < plain.len() {
            let (numbers, length) = speakers::named(read, namespace, &plain[at..])?;
            if length == 0 {
                at += 1;
                continue;
            }
            let name = &plain[at..at + length];
            if !names.contains(&name) {
                names.push(name);
            }
            question.speakers.extend(numbers);
            kept.push_str(&text[from..spans[at].0]);
            let (last, word) = spans[at + length - 1];
            from = last + word.len();
            at += length;
        }
        kept.push_str(&text[from..]);
        question.named = names.len();
        question.speakers.sort_unstable();
        question.speakers.dedup();
        let terms = words::of_query(&kept);
        // A question of nothing but names asks for them.
        if question.named > 0 && !terms.is_empty() {
            (question.terms, question.text) = (terms, kept);
        }
        Ok(question)
    }
}

/// Words by which a question asks for a time, and words that tell one.
fn asks_when(plain: &[String]) -> bool {
    let begins = |words: &[&str]| plain.windows(words.len()).any(|window| window.iter().eq(words.iter()));
    plain.iter().any(|word| word == "when")
        || [&["what", "date"][..], &["what", "year"], &["which", "year"]].iter().any(|words| begins(words))
        || begins(&["how", "long", "ago"])
}

/// Words of a text that tell when something was, stemmed.
pub(super) const TIME_TERMS: &[&str] = &[
    "yesterday",
    "today",
    "tomorrow",
    "tonight",
    "last",
    "next",
    "ago",
    "week",
    "weekend",
    "month",
    "year",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "januari",
    "februari",
    "march",
    "april",
    "june",
    "juli",
    "august",
    "septemb",
    "octob",
    "novemb",
    "decemb",
    "morn",
    "afternoon",
    "even",
    "night",
    "day",
    "recent",
    "sinc",
];

fn phrases(text: &str) -> Vec<String> {
    let text = text.replace(['\u{201c}', '\u{201d}', '\u{201e}'], "\"");
    let phrases = text.split('"').skip(1).step_by(2).map(|phrase| phrase.trim().to_lowercase());
    let mut phrases: Vec<String> = phrases.filter(|phrase| !phrase.is_empty()).take(8).collect();
    if !text.matches('"').count().is_multiple_of(2) {
        // The last mark is never closed.
        phrases.pop();
    }
    phrases
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

fn month_of(word: &str) -> Option<i8> {
    let found =
        MONTHS.iter().position(|month| *month == word || word.len() >= 3 && word != "mar" && month[..3] == *word);
    found.map(|at| at as i8 + 1)
}

fn year_of(word: &str) -> Option<i16> {
    let year: i16 = (word.len() == 4).then(|| word.parse().ok()).flatten()?;
    (1800..=2199).contains(&year).then_some(year)
}

fn day_of(word: &str) -> Option<i8> {
    let digits = ["st", "nd", "rd", "th"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
    let day: i8 = digits.parse().ok()?;
    (1..=31).contains(&day).then_some(day)
}

/// From when until when a question asks for, as far as rules tell: a year, a month and a year, a day, `yesterday`, `last
/// week` and their like, in UTC and as seen from `now`.
fn window(plain: &[String], now: Moment) -> Option<(i64, i64)> {
    let today = Timestamp::from_millisecond(now.as_millis()).ok()?.to_zoned_datetime(TimeZone::UTC).date();
    let word = |at: usize| plain.get(at).map_or("", String::as_str);
    for at in 0..plain.len() {
        let (this, next) = (word(at), word(at + 1));
        let found = if let Some(month) = month_of(this) {
            let before = at.checked_sub(1).and_then(|at| day_of(word(at)));
            let (day, year) = match (before, day_of(next)) {
                (Some(day), _) => (Some(day), year_of(next)),
                (None, Some(day)) => (Some(day), year_of(word(at + 2))),
                (None, None) => (None, year_of(next)),
            };
            // "may" and "march" are words, too.
            if day.is_none() && year.is_none() { None } else { month_window(today, year, month, day) }
        } else if let Some(year) = year_of(this) {
            let first = Date::new(year, 1, 1).ok()?;
            Some((first, first.checked_add(1.year()).ok()?))
        } else {
            relative(today, this, next)
        };
        if let Some((from, to)) = found {
            return Some((begin(from)?, begin(to)?));
        }
    }
    None
}

fn begin(date: Date) -> Option<i64> {
    Some(date.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

fn month_window(today: Date, year: Option<i16>, month: i8, day: Option<i8>) -> Option<(Date, Date)> {
    // Without a year the last one is meant.
    let year = year.unwrap_or_else(|| if month > today.month() { today.year() - 1 } else { today.year() });
    let first = Date::new(year, month, day.unwrap_or(1)).ok()?;
    let last = if day.is_some() { first.checked_add(1.day()) } else { first.checked_add(1.month()) };
    Some((first, last.ok()?))
}

fn relative(today: Date, this: &str, next: &str) -> Option<(Date, Date)> {
    let days = |from: i64, to: i64| Some((today.checked_add(from.days()).ok()?, today.checked_add(to.days()).ok()?));
    let weekday = i64::from(today.weekday().to_monday_zero_offset());
    let of_month = i64::from(today.day()) - 1;
    match (this, next) {
        ("today", _) => days(0, 1),
        ("yesterday", _) => days(-1, 0),
        ("tomorrow", _) => days(1, 2),
        ("this", "week") => days(-weekday, 7 - weekday),
        ("last", "week") => days(-weekday - 7, -weekday),
        ("this", "month") => days(-of_month, 31),
        ("last", "month") => {
            let first = today.checked_add((-of_month).days()).ok()?;
            Some((first.checked_sub(1.month()).ok()?, first))
        }
        ("last" | "this", "year") => {
            let year = today.year() - i16::from(this == "last");
            Some((Date::new(year, 1, 1).ok()?, Date::new(year + 1, 1, 1).ok()?))
        }
        ("last", day) => {
            let wanted = DAYS.iter().position(|name| *name == day)? as i64;
            let back = (weekday - wanted - 1).rem_euclid(7) + 1;
            days(-back, 1 - back)
        }
        _ => None,
    }
}

/// Days of slack on both sides of a window: what was said lies near what it is about.
pub(super) const SLACK_MS: i64 = SignedDuration::from_hours(24).as_millis() as i64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(text: &str) -> Option<(String, String)> {
        let now = Moment::parse("2024-05-15T12:00:00Z").unwrap();
        let (from, to) = Question::new(text, now).window?;
        let date = |ms| Moment::from_millis(ms).unwrap().to_string()[..10].to_owned();
        Some((date(from), date(to)))
    }

    #[test]
    fn times_are_understood() {
        for (text, from, to) in [
            ("What happened in 2021?", "2021-01-01", "2022-01-01"),
            ("What did Ada do in May 2023?", "2023-05-01", "2023-06-01"),
            ("Who called on 8 May 2023?", "2023-05-08", "2023-05-09"),
            ("Who called on May 8th, 2023?", "2023-05-08", "2023-05-09"),
            ("What was said on December 24?", "2023-12-24", "2023-12-25"),
            ("What did I eat yesterday?", "2024-05-14", "2024-05-15"),
            ("Where was I last week?", "2024-05-06", "2024-05-13"),
            ("Where was I last Friday?", "2024-05-10", "2024-05-11"),
            ("Where was I last month?", "2024-04-01", "2024-05-01"),
            ("Where was I last year?", "2023-01-01", "2024-01-01"),
        ] {
            assert_eq!(asked(text), Some((from.to_owned(), to.to_owned())), "{text}");
        }
        for text in ["May I march?", "What is 12 plus 9000?", "When did it begin?"] {
            assert_eq!(asked(text), None, "{text}");
        }
    }

    #[test]
    fn phrases_and_questions_for_a_time_are_seen() {
        let question = Question::new("When did she say \u{201c}Never Again\u{201d} and \"so", Moment::now());
        assert!(question.asks_when);
        assert_eq!(question.phrases, ["never again"]);
        assert!(!Question::new("Where is it?", Moment::now()).asks_when);
    }

    #[test]
    fn terms_of_time_are_stems() {
        for term in TIME_TERMS {
            assert_eq!(words::of_query(term), [*term], "{term}");
        }
    }

    proptest! {
        #[test]
        fn any_question_is_taken_apart(text in "\\PC{0,80}|(last|may|31|30|feb|2023|week|\"| ){0,12}") {
            let question = Question::new(&text, Moment::now());
            if let Some((from, to)) = question.window {
                prop_assert!(from < to);
            }
        }
    }
}
