//! Names to one form, by which two mentions are the same entity.

use unicode_normalization::UnicodeNormalization;

/// Bytes of a normal name at most: with what else is in a key, it fits a key of LMDB.
pub(in crate::recall) const MAX_NAME: usize = 96;

/// Titles before a name, without full stop.
#[rustfmt::skip]
pub(super) const TITLES: &[&str] = &[
    "adm", "admiral", "archbishop", "aunt", "baron", "baroness", "bishop", "capt", "captain", "chairman",
    "chancellor", "chief", "coach", "col", "colonel", "commander", "congressman", "count", "countess", "dame",
    "doctor", "dr", "duchess", "duke", "earl", "emperor", "empress", "father", "fr", "gen", "general", "gov",
    "governor", "judge", "justice", "king", "lady", "lieutenant", "lord", "lt", "madame", "maj", "major", "mayor",
    "minister", "miss", "mister", "mr", "mrs", "ms", "mx", "pope", "pres", "president", "prince", "princess", "prof",
    "professor", "queen", "rep", "rev", "reverend", "saint", "sen", "senator", "sergeant", "sgt", "sheikh", "sir",
    "sister", "sultan", "tsar", "uncle", "viscount",
];

/// Titles that are no part of a name; `king` or `saint` may be.
#[rustfmt::skip]
const DROPPED: &[&str] = &[
    "adm", "admiral", "capt", "captain", "col", "colonel", "congressman", "doctor", "dr", "gen", "general", "gov",
    "governor", "lieutenant", "lt", "maj", "miss", "mister", "mr", "mrs", "ms", "mx", "prof", "professor", "rep",
    "rev", "reverend", "sen", "senator", "sergeant", "sgt", "sir",
];

/// Short names of what has a longer one everywhere.
const SAME: &[(&str, &str)] = &[
    ("america", "united states"),
    ("britain", "united kingdom"),
    ("eu", "european union"),
    ("great britain", "united kingdom"),
    ("nyc", "new york city"),
    ("u k", "united kingdom"),
    ("u s", "united states"),
    ("u s a", "united states"),
    ("uk", "united kingdom"),
    ("un", "united nations"),
    ("united states of america", "united states"),
    ("us", "united states"),
    ("usa", "united states"),
    ("ussr", "soviet union"),
];

/// The normal form of a name: small letters without accents, one space between words, no marks, no article, no title
/// such as `Dr.` before it and no possessive `'s` at its end. Empty when nothing is left.
pub(in crate::recall) fn normal(name: &str) -> String {
    let name = name.trim_end();
    let owner =
        ["'s", "’s", "'S", "’S"].iter().find_map(|tail| name.strip_suffix(tail)).filter(|owner| owner.len() > 1);
    let name = owner.unwrap_or(name);
    let mut plain = String::with_capacity(name.len());
    if name.is_ascii() {
        fold(&mut plain, name.chars().map(|c| c.to_ascii_lowercase()));
    } else {
        let letters = name.nfkd().filter(|c| !is_accent(*c)).nfc().flat_map(char::to_lowercase);
        fold(&mut plain, letters.filter(|c| !is_accent(*c)));
    }
    let mut rest = plain.as_str();
    for article in ["the ", "a ", "an "] {
        rest = rest.strip_prefix(article).unwrap_or(rest);
    }
    while let Some((first, after)) = rest.split_once(' ') {
        if DROPPED.binary_search(&first).is_err() {
            break;
        }
        rest = after;
    }
    if let Ok(at) = SAME.binary_search_by(|(short, _)| (*short).cmp(rest)) {
        rest = SAME[at].1;
    }
    rest[..rest.floor_char_boundary(MAX_NAME)].trim_end().to_owned()
}

/// Letters and digits stay, `&` becomes `and`, apostrophes vanish, all else parts words.
fn fold(into: &mut String, letters: impl Iterator<Item = char>) {
    let mut gap = false;
    for c in letters {
        if c.is_alphanumeric() || c == '+' || c == '#' {
            if gap && !into.is_empty() {
                into.push(' ');
            }
            gap = false;
            into.push(c);
        } else if c == '&' {
            into.push_str(if into.is_empty() { "and" } else { " and" });
            gap = true;
        } else if !matches!(c, '\'' | '’') {
            gap = true;
        }
    }
}

fn is_accent(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}
