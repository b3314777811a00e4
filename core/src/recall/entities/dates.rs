//! Dates as they are written, to ISO 8601 as far as they are known.

use super::{
    tokens::{Shape, Token},
    words::among,
};

const MONTHS: &[(&str, u32)] = &[
    ("april", 4),
    ("aug", 8),
    ("august", 8),
    ("dec", 12),
    ("december", 12),
    ("feb", 2),
    ("february", 2),
    ("jan", 1),
    ("january", 1),
    ("jul", 7),
    ("july", 7),
    ("jun", 6),
    ("june", 6),
    ("mar", 3),
    ("march", 3),
    ("may", 5),
    ("nov", 11),
    ("november", 11),
    ("oct", 10),
    ("october", 10),
    ("sep", 9),
    ("sept", 9),
    ("september", 9),
];

const WEEKDAYS: &[&str] = &["friday", "monday", "saturday", "sunday", "thursday", "tuesday", "wednesday"];

/// Words before a number that make it a year.
const BEFORE_YEAR: &[&str] = &[
    "a", "after", "an", "and", "around", "autumn", "before", "began", "between", "born", "by", "c.", "ca.", "circa",
    "during", "early", "ended", "fall", "from", "her", "his", "in", "its", "late", "mid", "my", "of", "our", "spring",
    "summer", "the", "their", "till", "to", "until", "winter", "year",
];

/// A date and how far it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Date {
    /// As in ISO 8601, without what is not known: `1967-06-25`, `1967-06`, `1967`, `--06-25`, `1960s`.
    pub(super) iso: String,
    /// Tokens it takes.
    pub(super) tokens: usize,
}

/// The year a token is, 1000 to 2099.
pub(super) fn year(text: &str, token: &Token) -> Option<u32> {
    let word = token.text(text);
    let year = (token.shape == Shape::Number && word.len() == 4).then(|| word.parse::<u32>().ok())??;
    (1000..2100).contains(&year).then_some(year)
}

/// The years of `2005-2006` and `2005-06`.
fn years(word: &str) -> Option<(u32, u32)> {
    let (from, to) = word.split_once('-')?;
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if from.len() != 4 || !matches!(to.len(), 2 | 4) || !digits(from) || !digits(to) {
        return None;
    }
    let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
    let to = if to < 100 { from / 100 * 100 + to } else { to };
    ((1000..2100).contains(&from) && to > from).then_some((from, to))
}

fn month(lower: &str) -> Option<u32> {
    let lower = lower.trim_end_matches('.');
    MONTHS.binary_search_by(|(name, _)| (*name).cmp(lower)).ok().map(|at| MONTHS[at].1)
}

/// The day of a month that a token is: `5`, `5th`.
fn day(text: &str, token: &Token) -> Option<u32> {
    let word = token.text(text);
    if token.shape != Shape::Number {
        return None;
    }
    let digits = ["st", "nd", "rd", "th"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
    let day = (digits.len() <= 2).then(|| digits.parse::<u32>().ok())??;
    (1..=31).contains(&day).then_some(day)
}

/// The date that begins at the first of `tokens`, if one does. `before` is the token before it.
pub(super) fn date(text: &str, tokens: &[Token], before: Option<&Token>) -> Option<Date> {
    let token = tokens.first()?;
    let found = |iso: String, tokens: usize| Some(Date { iso, tokens });
    if token.shape == Shape::Number {
        let word = token.text(text);
        if let [year, month, day] = word.split('-').collect::<Vec<_>>()[..]
            && [year.len(), month.len(), day.len()] == [4, 2, 2]
            && [year, month, day].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()))
        {
            return found(word.to_owned(), 1);
        }
        if let Some(day) = day(text, token) {
            let of = usize::from(tokens.get(1).is_some_and(|next| next.text(text) == "of"));
            if let Some(month) = tokens.get(1 + of).filter(|next| next.spaced).and_then(|next| named_month(text, next))
            {
                return match year_after(text, tokens, 2 + of) {
                    Some((of_year, more)) => found(format!("{of_year:04}-{month:02}-{day:02}"), 2 + of + more),
                    None => found(format!("--{month:02}-{day:02}"), 2 + of),
                };
            }
        }
        if let Some(decade) = word.strip_suffix('s').filter(|digits| digits.len() == 4 && digits.ends_with('0')) {
            return (decade.parse::<u32>().is_ok()).then(|| Date { iso: word.to_owned(), tokens: 1 });
        }
        if let Some((from, to)) = years(word) {
            return found(format!("{from:04}/{to:04}"), 1);
        }
        if word.len() <= 4 && ["th", "st", "nd", "rd"].iter().any(|end| word.ends_with(end)) {
            let century = tokens.get(1).is_some_and(|next| matches!(next.text(text), "century" | "centuries"));
            return century.then(|| Date { iso: format!("{word} century"), tokens: 2 });
        }
        let year = year(text, token)?;
        let lower = before.map(|before| before.text(text).to_lowercase()).unwrap_or_default();
        let owned = before.is_some_and(|before| before.owner || before.is_name() && !before.first);
        let named = owned && tokens.get(1).is_some_and(|next| next.spaced && next.shape == Shape::Lower);
        let told = named || among(BEFORE_YEAR, &lower) || matches!(lower.as_str(), "" | "," | "(" | "since");
        let joined = tokens.get(1).is_some_and(|next| !next.spaced && matches!(next.text(text), "%" | "°"));
        // `1829–1830`, `from 1829 to 1830`, `between 1829 and 1830`.
        let link = tokens.get(1).map_or("", |next| next.text(text));
        let linked = matches!(link, "–" | "-" | "--" | "—")
            || link == "to" && lower == "from"
            || link == "until" && lower == "from"
            || link == "and" && lower == "between";
        if told
            && linked
            && let Some(to) = tokens.get(2).and_then(|to| self::year(text, to)).filter(|to| *to > year)
        {
            return found(format!("{year:04}/{to:04}"), 3);
        }
        return (told && !joined).then(|| Date { iso: format!("{year:04}"), tokens: 1 });
    }
    let month = named_month(text, token)?;
    if let Some((year, taken)) = year_after(text, tokens, 1) {
        return found(format!("{year:04}-{month:02}"), 1 + taken);
    }
    if let Some(day) = tokens.get(1).filter(|next| next.spaced).and_then(|next| day(text, next)) {
        return match year_after(text, tokens, 2) {
            Some((of_year, more)) => found(format!("{of_year:04}-{month:02}-{day:02}"), 2 + more),
            None => found(format!("--{month:02}-{day:02}"), 2),
        };
    }
    // `May` and `March` at the beginning of a sentence are other words.
    let word = token.text(text);
    (!token.first && (word.len() > 3 || word == "May")).then(|| Date { iso: format!("--{month:02}"), tokens: 1 })
}

/// The year at `at`, a comma before it or not, and the tokens it takes.
fn year_after(text: &str, tokens: &[Token], at: usize) -> Option<(u32, usize)> {
    let comma = usize::from(tokens.get(at)?.text(text) == ",");
    year(text, tokens.get(at + comma)?).map(|year| (year, comma + 1))
}

fn named_month(text: &str, token: &Token) -> Option<u32> {
    if !token.is_name() || token.owner {
        return None;
    }
    month(&token.text(text).to_ascii_lowercase())
}

/// Whether a word, in small letters, is a day of the week or a month.
pub(super) fn recurs(lower: &str) -> bool {
    among(WEEKDAYS, lower.trim_end_matches('s')) || month(lower).is_some()
}
