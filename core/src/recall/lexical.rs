//! The ranking by words: BM25 (Robertson and Zaragoza 2009, with the idf of Lucene, which is never negative).

use super::{
    RecallConfig,
    namespace::Namespace,
    postings::{self, Posting},
    rows::WordStatistics,
    slots::SlotReader,
    words::Words,
};
use crate::{context::Context, error::Result, store::Read};

/// What a word of the item before or after it in its session counts for: what is talked about is not said anew in each.
const NEIGHBOUR: f32 = 0.3;

/// A term of a query, and the items that have it.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) text: String,
    weight: f32,
    postings: Vec<Posting>,
}

impl Term {
    pub(super) fn is_in(&self, item: u32) -> bool {
        self.postings.binary_search_by_key(&item, |posting| posting.item).is_ok()
    }
}

/// The ranking by words of one namespace, in one snapshot.
pub(super) struct Lexical<'a, 't> {
    cx: &'a Context,
    read: &'a Read<'t>,
    namespace: &'a Namespace,
    statistics: WordStatistics,
    k1: f32,
    b: f32,
}

/// BM25 by item; 0 for items that share no word.
#[derive(Debug, Default)]
pub(super) struct Scores {
    /// By the number of the item.
    dense: Vec<f32>,
    /// The items whose score is not 0.
    pub(super) items: Vec<u32>,
}

impl Scores {
    pub(super) fn of(&self, item: u32) -> f32 {
        self.dense.get(item as usize).copied().unwrap_or(0.0)
    }

    fn add(&mut self, item: u32, score: f32) {
        if let Some(of) = self.dense.get_mut(item as usize) {
            if *of == 0.0 && score > 0.0 {
                self.items.push(item);
            }
            *of += score;
        }
    }
}

impl<'a, 't> Lexical<'a, 't> {
    pub(super) fn open(
        cx: &'a Context,
        config: &RecallConfig,
        read: &'a Read<'t>,
        namespace: &'a Namespace,
    ) -> Result<Self> {
        let statistics = read.tables.words.get_json(read.txn, &namespace.prefix())?.unwrap_or_default();
        Ok(Self { cx, read, namespace, statistics, k1: config.bm25_k1 as f32, b: config.bm25_b as f32 })
    }

    /// A term with its postings.
    pub(super) fn term(&self, text: &str, weight: f32) -> Result<Term> {
        self.cx.check()?;
        let postings = postings::of_term(self.read, self.namespace, text)?;
        Ok(Term { text: text.to_owned(), weight, postings })
    }

    /// How much a term tells that is in so many items.
    pub(super) fn rarity(&self, items: usize) -> f32 {
        let (all, with) = (self.statistics.items as f64, items as f64);
        (1.0 + (all - with + 0.5).max(0.0) / (with + 0.5)).ln() as f32
    }

    pub(super) fn rarity_of(&self, term: &Term) -> f32 {
        self.rarity(term.postings.len())
    }

    /// What a term adds to the score of an item of `length` words that has it `count` times.
    fn gain(&self, rarity: f32, count: f32, length: f32) -> f32 {
        let average = (self.statistics.total_length as f32 / self.statistics.items.max(1) as f32).max(1.0);
        rarity * count / (count + self.k1 * (1.0 - self.b + self.b * length / average))
    }

    /// BM25 of `terms` in a text that is not stored.
    pub(super) fn score_of(&self, terms: &[Term], words: &Words) -> f32 {
        let count = |term: &Term| words.terms.binary_search_by(|(known, _)| known.as_str().cmp(&term.text)).ok();
        let gain = |term: &Term| {
            let times = f32::from(words.terms.get(count(term)?)?.1);
            Some(self.gain(self.rarity_of(term) * term.weight, times, words.length as f32))
        };
        terms.iter().filter_map(gain).sum()
    }

    /// BM25 of `terms`. In a namespace of sessions the words of neighbours count, too.
    pub(super) fn scores(&self, terms: &[Term], slots: &mut SlotReader<'t>) -> Result<Scores> {
        if terms.is_empty() {
            return Ok(Scores::default());
        }
        // Numbers that nobody writes to are pages that the system does not give.
        let mut scores = Scores { dense: vec![0.0; self.namespace.next as usize], items: Vec::new() };
        let mut counts: Vec<f32> =
            if self.namespace.linked { vec![0.0; self.namespace.next as usize] } else { Vec::new() };
        for term in terms {
            self.cx.check()?;
            let rarity = self.rarity_of(term) * term.weight;
            if self.namespace.linked {
                self.with_neighbours(term, rarity, &mut counts, slots, &mut scores)?;
                continue;
            }
            for posting in &term.postings {
                let gain = self.gain(rarity, f32::from(posting.count), f32::from(posting.length));
                scores.add(posting.item, gain);
            }
        }
        Ok(scores)
    }

    fn with_neighbours(
        &self,
        term: &Term,
        rarity: f32,
        counts: &mut [f32],
        slots: &mut SlotReader<'t>,
        scores: &mut Scores,
    ) -> Result<()> {
        let mut counted = Vec::with_capacity(term.postings.len() * 2);
        let mut count = |item: u32, more: f32| {
            if let Some(of) = counts.get_mut(item as usize) {
                if *of == 0.0 {
                    counted.push(item);
                }
                *of += more;
            }
        };
        for posting in &term.postings {
            let times = f32::from(posting.count);
            count(posting.item, times);
            let slot = slots.get(self.read, self.namespace, posting.item)?;
            for neighbour in slot.before.into_iter().chain(slot.after) {
                count(neighbour, NEIGHBOUR * times);
            }
        }
        for item in counted {
            let length = slots.get(self.read, self.namespace, item)?.length as f32;
            let times = std::mem::take(&mut counts[item as usize]);
            scores.add(item, self.gain(rarity, times, length));
        }
        Ok(())
    }
}
