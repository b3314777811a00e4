//! Texts to terms: the words that are indexed and searched.

use std::{collections::HashMap, sync::OnceLock};

use frostem::{Algorithm, Stemmer};
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

/// Bytes of a term at most; longer ones are cut.
const MAX_TERM: usize = 64;
/// Different terms of a query that count; the rest is left out. A query is a question, not a book.
pub(super) const MAX_QUERY_TERMS: usize = 128;

/// Words that say nothing about a text: Lucene's English list. Neither indexed nor searched.
const STOP: &[&str] = &[
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of",
    "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
];

/// Words that make a text a question. Indexed, but left out of a query that has others: they are in many texts and
/// mean nothing there.
const QUESTION: &[&str] = &[
    "who", "whom", "whose", "what", "which", "when", "where", "why", "how", "did", "do", "does", "doing", "done",
    "has", "have", "had", "having", "were", "been", "being", "am", "can", "could", "would", "should", "shall", "may",
    "might", "must", "i", "you", "he", "she", "we", "me", "him", "her", "us", "them", "my", "your", "his", "our",
    "its", "from", "about", "many", "much", "any", "some", "than", "so", "up", "out", "s", "t", "what's", "who's",
    "where's", "when's", "how's", "it's",
];

/// How often each term is in a text, and how many words it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// Term → times in the text, sorted by term.
    pub(super) terms: Vec<(String, u16)>,
    /// Indexed words in the text.
    pub(super) length: u32,
}

impl Words {
    pub(super) fn has(&self, term: &str) -> bool {
        self.terms.binary_search_by(|(known, _)| known.as_str().cmp(term)).is_ok()
    }
}

/// Whether a term is the stem of a word that is left out of queries, and so says little.
pub(super) fn is_weak(term: &str) -> bool {
    static STEMS: OnceLock<Vec<String>> = OnceLock::new();
    let stems = STEMS.get_or_init(|| QUESTION.iter().map(|word| stem(word)).collect());
    term.len() < 3 || stems.iter().any(|stem| stem == term)
}

/// Whether a word is left out of texts or of questions.
pub(super) fn says_little(word: &str) -> bool {
    word.len() < 2 || STOP.contains(&word) || QUESTION.contains(&word)
}

/// The terms of a text to be stored.
pub(super) fn of_text(text: &str) -> Words {
    let mut counts: HashMap<String, u16> = HashMap::new();
    let mut length = 0_u32;
    each_word(text, |word| {
        if !STOP.contains(&word) {
            length = length.saturating_add(1);
            let count = counts.entry(stem(word)).or_default();
            *count = count.saturating_add(1);
        }
    });
    let mut terms: Vec<_> = counts.into_iter().collect();
    terms.sort_unstable();
    Words { terms, length }
}

/// The different terms of a query, in their order.
pub(super) fn of_query(query: &str) -> Vec<String> {
    let (mut strong, mut weak) = (Vec::new(), Vec::new());
    each_word(query, |word| {
        if STOP.contains(&word) {
            return;
        }
        let list = if QUESTION.contains(&word) { &mut weak } else { &mut strong };
        let term = stem(word);
        if list.len() < MAX_QUERY_TERMS && !list.contains(&term) {
            list.push(term);
        }
    });
    if strong.is_empty() { weak } else { strong }
}

/// The words of a text, in their order, plain but not stemmed, and without the `'s` of possession.
pub(super) fn plain_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    each_word(text, |word| words.push(word.strip_suffix("'s").unwrap_or(word).to_owned()));
    words
}

fn each_word(text: &str, mut found: impl FnMut(&str)) {
    // Compatibility forms become one, and Latin, Greek and Cyrillic letters lose their accents; the marks of other
    // scripts are letters in their own right and stay.
    let plain: String = text
        .nfkd()
        .filter(|c| !matches!(c, '\u{300}'..='\u{36f}'))
        .map(|c| if c == '\u{2019}' { '\'' } else { c })
        .nfc()
        .flat_map(char::to_lowercase)
        // The lower case of some letters is a letter and an accent.
        .filter(|c| !matches!(c, '\u{300}'..='\u{36f}' | '\0'))
        .collect();
    for word in plain.unicode_words() {
        found(word);
    }
}

fn stem(word: &str) -> String {
    static STEMMER: OnceLock<Stemmer> = OnceLock::new();
    let stemmer = STEMMER.get_or_init(|| Stemmer::new(Algorithm::English));
    // The stemmer knows words, not hashes and base64: what is too long is cut first.
    let word = &word[..word.floor_char_boundary(MAX_TERM)];
    let stem = stemmer.stem(word);
    let stem = if stem.is_empty() { word } else { &stem };
    stem[..stem.floor_char_boundary(MAX_TERM)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_becomes_stems_with_counts() {
        let words = of_text("The cats’ café: a CAT sleeps; it is Ada's Café");
        let terms: Vec<_> = words.terms.iter().map(|(term, count)| (term.as_str(), *count)).collect();
        assert_eq!(terms, [("ada", 1), ("cafe", 2), ("cat", 2), ("sleep", 1)]);
        assert_eq!(words.length, 6);
    }

    #[test]
    fn question_words_are_left_out_unless_there_is_nothing_else() {
        assert_eq!(of_query("Where does Ada live? Ada!"), ["ada", "live"]);
        assert_eq!(of_query("who?"), ["who"]);
        assert!(of_query("the of ...").is_empty());
    }

    #[test]
    fn other_scripts_have_words_too() {
        assert_eq!(of_query("Москва Tōkyō 東京"), ["москва", "tokyo", "東", "京"]);
    }

    proptest! {
        #[test]
        fn any_text_has_sound_terms(text in "\\PC{0,200}") {
            let words = of_text(&text);
            let sum: u32 = words.terms.iter().map(|(_, count)| u32::from(*count)).sum();
            prop_assert_eq!(sum, words.length);
            for (term, _) in &words.terms {
                prop_assert!(!term.is_empty() && term.len() <= MAX_TERM && !term.contains('\0'));
            }
            prop_assert!(of_query(&text).iter().all(|term| words.terms.iter().any(|(known, _)| known == term)));
        }
    }
}
