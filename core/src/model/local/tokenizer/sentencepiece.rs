//! SentencePiece BPE: neighbours are merged by the score of what they become, and what is no piece is written byte by
//! byte. The algorithm is that of `llm_tokenizer_spm` in llama.cpp, so that tokens are equal. It differs in one thing:
//! text never becomes a control token or the token of a byte, however it is merged.

use std::{cmp::Ordering, collections::BinaryHeap};

use super::{
    Pieces,
    slots::{Slots, hash},
};
use crate::error::Result;

/// What pieces have for a space.
pub(super) const SPACE: char = '\u{2581}';

/// The merges of a vocabulary.
#[derive(Debug)]
pub(super) struct SentencePiece {
    /// Of every token.
    scores: Vec<f32>,
    /// Tokens by their bytes.
    slots: Slots,
    /// Tokens of the bytes.
    bytes: Box<[u32; 256]>,
    /// Whether a space is set before a text that begins, or goes on after a special token.
    pub(super) space_first: bool,
}

/// A run of bytes of the text, among others.
#[derive(Clone, Copy, Debug)]
struct Symbol {
    start: usize,
    /// The start, once it was merged into the one before.
    end: usize,
    before: usize,
    next: usize,
}

/// No symbol.
const END: usize = usize::MAX;

/// Two symbols that may become one.
#[derive(Debug)]
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Bytes of both, by which a pair is known of which one was merged elsewhere.
    size: usize,
}

impl Ord for Pair {
    /// The highest score first, and of equal ones that further to the left.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Pair {}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl SentencePiece {
    /// `ordinary` says which of the pieces text may become; `bytes` are the tokens of single bytes.
    pub(super) fn new(
        pieces: &Pieces,
        mut scores: Vec<f32>,
        ordinary: impl Fn(usize) -> bool,
        bytes: Box<[u32; 256]>,
        space_first: bool,
    ) -> Result<Self> {
        // One zero, not two.
        for score in &mut scores {
            *score += 0.0;
        }
        let mut slots = Slots::new(pieces.len());
        // The last of equal pieces counts, so it is found first.
        for token in (0..pieces.len()).rev().filter(|&token| ordinary(token)) {
            let piece = pieces.get(token as u32);
            slots.insert(hash(piece), token as u32, |other| pieces.get(other) == piece)?;
        }
        Ok(Self { scores, slots, bytes, space_first })
    }

    /// Adds the tokens of `text`, which begins or goes on `after_special`.
    pub(super) fn encode(&self, pieces: &Pieces, text: &str, after_special: bool, tokens: &mut Vec<u32>) {
        let first = if self.space_first && after_special { " " } else { "" };
        let text = [first, text].concat().replace(SPACE, " ");
        let mut symbols: Vec<_> = text
            .char_indices()
            .enumerate()
            .map(|(at, (start, c))| {
                let end = start + c.len_utf8();
                Symbol { start, end, before: at.wrapping_sub(1), next: if end == text.len() { END } else { at + 1 } }
            })
            .collect();
        let text = text.as_bytes();
        let mut pairs = BinaryHeap::new();
        let add = |symbols: &[Symbol], pairs: &mut BinaryHeap<Pair>, left: usize, right: usize| {
            let (Some(first), Some(second)) = (symbols.get(left), symbols.get(right)) else { return };
            let both = &text[first.start..second.end];
            if let Some(token) = self.token(pieces, both) {
                pairs.push(Pair { score: self.scores[token as usize], left, right, size: both.len() });
            }
        };
        for right in 1..symbols.len() {
            add(&symbols, &mut pairs, right - 1, right);
        }
        while let Some(Pair { left, right, size, .. }) = pairs.pop() {
            let (first, second) = (symbols[left], symbols[right]);
            let merged = first.start == first.end || second.start == second.end;
            if merged || second.end - first.start != size {
                continue;
            }
            symbols[left] = Symbol { end: second.end, next: second.next, ..first };
            symbols[right].end = second.start;
            if let Some(next) = symbols.get_mut(second.next) {
                next.before = left;
            }
            add(&symbols, &mut pairs, first.before, left);
            add(&symbols, &mut pairs, left, second.next);
        }
        for symbol in symbols.iter().filter(|symbol| symbol.start < symbol.end) {
            let symbol = &text[symbol.start..symbol.end];
            match self.token(pieces, symbol) {
                Some(token) => tokens.push(token),
                None => tokens.extend(symbol.iter().map(|&byte| self.bytes[usize::from(byte)])),
            }
        }
    }

    fn token(&self, pieces: &Pieces, bytes: &[u8]) -> Option<u32> {
        self.slots.find(hash(bytes), |token| pieces.get(token) == bytes)
    }
}
