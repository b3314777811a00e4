//! One query in one snapshot: candidates by meaning and by words, filtered, fused, explained.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use roaring::RoaringBitmap;

use super::{
    Filter, Hit, RecallConfig, Why,
    fuse::{self, Candidate, best_first},
    index::{Query, Snapshot},
    namespace::Namespace,
    rows::{self, Facts, Posting, Record, WordStatistics, item_of},
    words,
};
use crate::{context::Context, error::Result, store::Read};

/// Candidates by each signal at least.
const DEPTH: usize = 100;
/// The filter is asked about so many times more of the nearest than are wanted before it is asked about all.
const LENIENT: usize = 4;
/// Rows between two looks at the deadline.
const CHECK_EVERY: usize = 4_096;

/// A query, ready to be looked up.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) terms: Vec<String>,
    /// Of length 1; none to search by words alone.
    pub(super) vector: Option<Vec<f32>>,
    pub(super) filter: Option<Filter>,
    pub(super) top: usize,
}

/// BM25 of an item, and which terms of the query it has, one bit each.
#[derive(Clone, Copy, Debug, Default)]
struct Shared {
    score: f64,
    terms: u128,
}

const _: () = assert!(words::MAX_QUERY_TERMS <= 128, "a term of the query is a bit of a u128");

/// The hits, best first.
pub(super) fn search(
    cx: &Context,
    config: &RecallConfig,
    read: &Read<'_>,
    (name, namespace): (&str, &Namespace),
    lookup: &Lookup,
) -> Result<Vec<Hit>> {
    let search = Search { cx, config, read, namespace, lookup, admitted: RefCell::default() };
    let depth = DEPTH.max(lookup.top);
    let shared = search.by_words()?;
    let mut by_words: Vec<(f64, u32)> = shared.iter().map(|(item, shared)| (shared.score, *item)).collect();
    let mut items: BTreeSet<u32> = search.best(&mut by_words, depth)?.into_iter().collect();
    let meaning = match &lookup.vector {
        Some(vector) => {
            let mut vectors = Snapshot::open(cx, config, read, namespace)?;
            items.extend(search.by_meaning(&mut vectors, vector, depth)?);
            let items: Vec<u32> = items.iter().copied().collect();
            vectors.cosines(vector, &items)?.into_iter().map(|(cosine, item)| (item, f64::from(cosine))).collect()
        }
        None => HashMap::new(),
    };
    let mut candidates = Vec::with_capacity(items.len());
    for item in items {
        let words = shared.get(&item).map(|shared| shared.score);
        candidates.push(Candidate { item, meaning: meaning.get(&item).copied(), words, score: 0.0 });
    }
    fuse::fuse(config, &mut candidates);
    candidates.truncate(lookup.top);
    let mut hits = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        if let Some(hit) = search.hit(name, &candidate, &shared)? {
            hits.push(hit);
        }
    }
    // Equal scores go by id, which is the same in every process and after every reload.
    hits.sort_by(|a, b| best_first(a.score, b.score).then_with(|| a.item.id.cmp(&b.item.id)));
    Ok(hits)
}

struct Search<'a> {
    cx: &'a Context,
    config: &'a RecallConfig,
    read: &'a Read<'a>,
    namespace: &'a Namespace,
    lookup: &'a Lookup,
    /// Items the filter was asked about.
    admitted: RefCell<HashMap<u32, bool>>,
}

impl Search<'_> {
    /// BM25 of every item that shares a word with the query.
    fn by_words(&self) -> Result<BTreeMap<u32, Shared>> {
        let tables = self.read.tables;
        let statistics: WordStatistics =
            tables.words.get_json(self.read.txn, &self.namespace.prefix())?.unwrap_or_default();
        let average = (statistics.total_length as f64 / statistics.items.max(1) as f64).max(1.0);
        let (k1, b) = (self.config.bm25_k1, self.config.bm25_b);
        let mut found: HashMap<u32, Shared> = HashMap::new();
        let mut postings: Vec<(u32, Posting)> = Vec::new();
        for (at, term) in self.lookup.terms.iter().enumerate() {
            postings.clear();
            for row in tables.postings.prefix(self.read.txn, &rows::postings_prefix(self.namespace, term))? {
                let (key, value) = row?;
                postings.push((item_of(key)?, Posting::from_bytes(value)?));
                if postings.len().is_multiple_of(CHECK_EVERY) {
                    self.cx.check()?;
                }
            }
            let frequency = postings.len() as f64;
            let rarity = (1.0 + (statistics.items as f64 - frequency + 0.5).max(0.0) / (frequency + 0.5)).ln();
            for (item, posting) in &postings {
                let count = f64::from(posting.count);
                let length = f64::from(posting.length) / average;
                let shared = found.entry(*item).or_default();
                shared.score += rarity * count / (count + k1 * (1.0 - b + b * length));
                shared.terms |= 1 << at;
            }
        }
        Ok(found.into_iter().collect())
    }

    /// The items nearest to the query that meet the filter.
    fn by_meaning(&self, vectors: &mut Snapshot<'_, '_>, vector: &[f32], depth: usize) -> Result<Vec<u32>> {
        let query = Query { vector, admitted: None, wanted: depth };
        if self.lookup.filter.is_none() {
            return Ok(vectors.nearest(&query)?.into_iter().map(|(_, item)| item).collect());
        }
        // Asked about the nearest first: most filters leave enough of them.
        let near = vectors.nearest(&Query { wanted: depth.saturating_mul(LENIENT), ..query })?;
        let looked_at = near.len() as u64;
        let mut met = Vec::with_capacity(depth);
        for (_, item) in near {
            if met.len() == depth {
                break;
            }
            if self.admits(item)? {
                met.push(item);
            }
        }
        if met.len() == depth || looked_at == self.namespace.vectors {
            return Ok(met);
        }
        let admitted = self.admitted_items()?;
        let near = vectors.nearest(&Query { admitted: Some(&admitted), ..query })?;
        Ok(near.into_iter().map(|(_, item)| item).collect())
    }

    /// All items that meet the filter.
    fn admitted_items(&self) -> Result<RoaringBitmap> {
        let mut admitted = RoaringBitmap::new();
        let Some(filter) = &self.lookup.filter else { return Ok(admitted) };
        for (at, row) in self.read.tables.items.prefix(self.read.txn, &self.namespace.prefix())?.enumerate() {
            let (key, value) = row?;
            let facts: Facts = self.read.tables.items.parse(value)?;
            if filter.matches(&facts.metadata) {
                admitted.insert(item_of(key)?);
            }
            if at % CHECK_EVERY == 0 {
                self.cx.check()?;
            }
        }
        Ok(admitted)
    }

    /// The `depth` best items that meet the filter. It is asked about the best first, and no longer than needed.
    fn best(&self, scores: &mut [(f64, u32)], depth: usize) -> Result<Vec<u32>> {
        let order = |a: &(f64, u32), b: &(f64, u32)| best_first(a.0, b.0).then(a.1.cmp(&b.1));
        if self.lookup.filter.is_none() && scores.len() > depth {
            scores.select_nth_unstable_by(depth, order);
        }
        let asked = if self.lookup.filter.is_none() { depth.min(scores.len()) } else { scores.len() };
        let scores = &mut scores[..asked];
        scores.sort_unstable_by(order);
        let mut best = Vec::with_capacity(depth.min(scores.len()));
        for (at, (_, item)) in scores.iter().enumerate() {
            if best.len() == depth {
                break;
            }
            if at % CHECK_EVERY == 0 {
                self.cx.check()?;
            }
            if self.admits(*item)? {
                best.push(*item);
            }
        }
        Ok(best)
    }

    fn admits(&self, item: u32) -> Result<bool> {
        let Some(filter) = &self.lookup.filter else { return Ok(true) };
        if let Some(known) = self.admitted.borrow().get(&item) {
            return Ok(*known);
        }
        let facts: Option<Facts> = self.read.tables.items.get_json(self.read.txn, &self.namespace.item_key(item))?;
        let admitted = facts.is_some_and(|facts| filter.matches(&facts.metadata));
        self.admitted.borrow_mut().insert(item, admitted);
        Ok(admitted)
    }

    fn hit(&self, name: &str, candidate: &Candidate, shared: &BTreeMap<u32, Shared>) -> Result<Option<Hit>> {
        let key = self.namespace.item_key(candidate.item);
        let Some(record) = self.read.tables.items.get_json::<Record>(self.read.txn, &key)? else { return Ok(None) };
        let bits = shared.get(&candidate.item).map_or(0, |shared| shared.terms);
        let terms = self.lookup.terms.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
        let terms = terms.map(|(_, term)| term.clone()).collect();
        let why = Why { meaning: candidate.meaning, words: candidate.words, terms, fused: None };
        Ok(Some(Hit { score: candidate.score, why, item: record.into_item(name) }))
    }
}
