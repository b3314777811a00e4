//! Which words a text has with a small letter and which with a capital.

use std::collections::HashSet;

use super::tokens::{Shape, Token};

/// The words of a text, by hash: those with small letters, and those with a capital within a sentence.
#[derive(Debug, Default)]
pub(super) struct Seen {
    lower: HashSet<u64>,
    capital: HashSet<u64>,
}

impl Seen {
    pub(super) fn read(text: &str, tokens: &[Token]) -> Self {
        let mut seen = Self::default();
        for token in tokens {
            match token.shape {
                Shape::Lower => seen.lower.insert(hash(token.text(text))),
                Shape::Capital | Shape::Upper if !token.first => seen.capital.insert(hash(token.text(text))),
                _ => false,
            };
        }
        seen
    }

    /// Whether `word` stands somewhere without a capital.
    pub(super) fn small(&self, word: &str) -> bool {
        self.lower.contains(&hash(word))
    }

    /// Whether `word` stands somewhere with a capital that no sentence begins with.
    pub(super) fn capital(&self, word: &str) -> bool {
        self.capital.contains(&hash(word))
    }
}

/// Where FNV-1a begins.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a of a word in small letters.
fn hash(word: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    if word.is_ascii() {
        return word.bytes().fold(BASIS, |hash, byte| mix(hash, byte.to_ascii_lowercase()));
    }
    let mut buffer = [0; 4];
    word.chars().flat_map(char::to_lowercase).fold(BASIS, |hash, c| c.encode_utf8(&mut buffer).bytes().fold(hash, mix))
}
