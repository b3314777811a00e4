//! One query in one snapshot: candidates by meaning and by words, filtered, fused, blended, explained.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use roaring::RoaringBitmap;

use super::{
    Hit, PassageRange, RecallConfig, Why,
    admission::Admission,
    associate,
    blend::{self, Known},
    diversity, facts,
    fuse::{self, Candidate, best_first},
    index::{Query, Snapshot},
    lexical::{Lexical, Scores, Term},
    names,
    namespace::Namespace,
    past::{self, Version},
    question::{Question, TIME_TERMS},
    record::Record,
    rows::{malformed, range_of},
    slots::SlotReader,
    words,
};
use crate::{context::Context, error::Result, store::Read};

/// Candidates by each signal at least.
const DEPTH: usize = 100;
/// So many times more by meaning than are wanted where nothing else counts.
const ALONE: usize = 3;
/// From such a part of the vectors on that may be found, the nearest of all are looked at before those that may be found
/// alone: so many times more than should be needed.
const LENIENT: f64 = 0.5;
const MORE: f64 = 1.3;
/// Steps in a session from a candidate to what is a candidate with it.
const REACH: usize = 2;
/// The words of so many of the best items, so many of them, count with this weight when the query is asked again
/// (pseudo-relevance feedback, Rocchio 1971): in a conversation the answer often has not one word of the question.
const FEEDBACK_ITEMS: usize = 3;
const FEEDBACK_TERMS: usize = 8;
const FEEDBACK_WEIGHT: f32 = 0.3;

/// A query, ready to be looked up.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) question: Question,
    /// Of length 1; none to search by words alone.
    pub(super) vector: Option<Vec<f32>>,
    pub(super) admission: Admission,
    pub(super) top: usize,
    pub(super) diversity: f64,
    pub(super) half_life_ms: Option<u64>,
}

/// The hits, best first.
pub(super) fn search(
    cx: &Context,
    config: &RecallConfig,
    read: &Read<'_>,
    (name, namespace): (&str, &Namespace),
    lookup: &Lookup,
) -> Result<Vec<Hit>> {
    let vectors = match &lookup.vector {
        Some(vector) => Some((Snapshot::open(cx, config, read, namespace)?, vector.as_slice())),
        None => None,
    };
    let admitted = facts::admitted(cx, read, namespace, &lookup.admission)?;
    let mut search = Search {
        cx,
        config,
        read,
        namespace,
        lookup,
        admitted,
        slots: SlotReader::new(read),
        vectors,
        cosines: HashMap::new(),
        nearest: Vec::new(),
        past: HashMap::new(),
    };
    search.hits(name)
}

struct Search<'a, 't> {
    cx: &'a Context,
    config: &'a RecallConfig,
    read: &'a Read<'t>,
    namespace: &'a Namespace,
    lookup: &'a Lookup,
    /// The items that may be found; none when all may.
    admitted: Option<RoaringBitmap>,
    slots: SlotReader<'t>,
    vectors: Option<(Snapshot<'a, 't>, &'a [f32])>,
    cosines: HashMap<u32, f64>,
    /// The items nearest to the query.
    nearest: Vec<u32>,
    /// Versions that were replaced after the time that is asked for, by the number they had.
    past: HashMap<u32, Past>,
}

/// The candidates, and what they were found by.
struct Round {
    scores: Scores,
    items: BTreeSet<u32>,
    ranked: Vec<Candidate>,
}

struct Past {
    version: Version,
    words: words::Words,
}

impl<'t> Search<'_, 't> {
    fn hits(&mut self, name: &str) -> Result<Vec<Hit>> {
        let depth = self.depth();
        let lexical = Lexical::open(self.cx, self.config, self.read, self.namespace)?;
        let asked = self.lookup.question.terms.iter().map(|term| lexical.term(term, 1.0));
        let mut terms = asked.collect::<Result<Vec<_>>>()?;
        self.nearest = self.by_meaning(depth)?;
        self.look_into_the_past(depth)?;
        let mut round = self.rank(&lexical, &terms, depth)?;
        let asked = terms.len();
        if self.namespace.linked && asked > 0 {
            let more = self.feedback(&lexical, &terms, &round.ranked)?;
            if !more.is_empty() {
                terms.extend(more);
                round = self.rank(&lexical, &terms, depth)?;
            }
        }
        let ranked = self.associate(&lexical, &terms, round)?;
        let ranked = self.one_an_item(ranked)?;
        let chosen = self.choose(ranked)?;
        let mut hits = Vec::with_capacity(chosen.len());
        for candidate in chosen {
            hits.extend(self.hit(name, &candidate, &terms[..asked])?);
        }
        if self.lookup.diversity == 0.0 {
            // Equal scores go by id, which is the same in every process and after every reload.
            hits.sort_by(|a, b| best_first(a.score, b.score).then_with(|| a.item.id.cmp(&b.item.id)));
        }
        Ok(hits)
    }

    /// So many candidates by each signal.
    fn depth(&self) -> usize {
        let Lookup { question, admission, top, diversity, half_life_ms, .. } = self.lookup;
        let by_meaning_alone = question.terms.is_empty()
            && question.phrases.is_empty()
            && question.window.is_none()
            && question.named == 0
            && !question.asks_when
            && admission.as_of.is_none()
            && half_life_ms.is_none()
            && *diversity == 0.0
            && !self.namespace.linked
            && !self.namespace.weighed;
        // Then nothing changes the order of the nearest.
        if by_meaning_alone { (top * ALONE).min(DEPTH.max(*top)) } else { DEPTH.max(*top) }
    }

    /// The candidates by `terms` and by meaning, and what is next to them in their sessions, best first.
    fn rank(&mut self, lexical: &Lexical<'_, 't>, terms: &[Term], depth: usize) -> Result<Round> {
        let scores = lexical.scores(terms, &mut self.slots)?;
        let may_be = scores.items.iter().filter(|item| self.admits(**item));
        let mut by_words: Vec<(f64, u32)> = may_be.map(|item| (f64::from(scores.of(*item)), *item)).collect();
        let mut items: BTreeSet<u32> = best(&mut by_words, depth).collect();
        items.extend(&self.nearest);
        if self.namespace.linked {
            self.add_neighbours(&mut items)?;
        }
        let ranked = self.weigh(lexical, terms, &scores, &items)?;
        Ok(Round { scores, items, ranked })
    }

    /// `items` and versions of the past, scored, best first.
    fn weigh(
        &mut self,
        lexical: &Lexical<'_, 't>,
        terms: &[Term],
        scores: &Scores,
        items: &BTreeSet<u32>,
    ) -> Result<Vec<Candidate>> {
        self.compare(items)?;
        let all: BTreeSet<u32> = items.iter().chain(self.past.keys()).copied().collect();
        let mut candidates: Vec<Candidate> = Vec::with_capacity(all.len());
        for item in all {
            let words = self.words_of(lexical, terms, scores, item);
            let meaning = self.cosines.get(&item).copied();
            candidates.push(Candidate { item, meaning, words, score: 0.0, boosts: Vec::new() });
        }
        fuse::fuse(self.config, &mut candidates);
        let known = self.known(&candidates)?;
        let decay = self.lookup.half_life_ms.map(|half| (self.lookup.admission.now.as_millis(), half));
        blend::blend(&mut candidates, &known, (&self.lookup.question, self.namespace.linked, decay));
        fuse::sort(&mut candidates);
        Ok(candidates)
    }

    /// Adds what the best of `round` lead to over the things they mention, when the question names something that is
    /// known.
    fn associate(&mut self, lexical: &Lexical<'_, 't>, terms: &[Term], mut round: Round) -> Result<Vec<Candidate>> {
        let named = names::asked(self.read, self.namespace, &self.lookup.question.text)?;
        if named.is_empty() || self.lookup.admission.as_of.is_some() {
            return Ok(round.ranked);
        }
        let best = round.ranked.iter().take(associate::SEEDS).map(|candidate| (candidate.item, candidate.score));
        let best: Vec<_> = best.collect();
        let admits = |item| self.admits(item);
        let mut links = names::Stored { read: self.read, namespace: self.namespace, admits };
        let associated = associate::walk(&best, &named, &mut links)?;
        if associated.is_empty() {
            return Ok(round.ranked);
        }
        let before = round.items.len();
        round.items.extend(associated.keys());
        if round.items.len() > before {
            round.ranked = self.weigh(lexical, terms, &round.scores, &round.items)?;
        }
        blend::associate(&mut round.ranked, &associated);
        fuse::sort(&mut round.ranked);
        Ok(round.ranked)
    }

    fn words_of(&self, lexical: &Lexical<'_, 't>, terms: &[Term], scores: &Scores, item: u32) -> Option<f64> {
        let score = match self.past.get(&item) {
            Some(past) => lexical.score_of(terms, &past.words),
            None => scores.of(item),
        };
        (score > 0.0).then_some(f64::from(score))
    }

    /// What is before and after `items` in their sessions.
    fn add_neighbours(&mut self, items: &mut BTreeSet<u32>) -> Result<()> {
        let mut edge: Vec<u32> = items.iter().copied().collect();
        for _ in 0..REACH {
            let mut next = Vec::new();
            for item in edge {
                let slot = self.slots.get(self.read, self.namespace, item)?;
                for neighbour in slot.before.into_iter().chain(slot.after) {
                    if self.admits(neighbour) && items.insert(neighbour) {
                        next.push(neighbour);
                    }
                }
            }
            edge = next;
        }
        Ok(())
    }

    /// Compares the query with those of `items` that were not yet.
    fn compare(&mut self, items: &BTreeSet<u32>) -> Result<()> {
        let Some((vectors, vector)) = &mut self.vectors else { return Ok(()) };
        let new: Vec<u32> = items.iter().copied().filter(|item| !self.cosines.contains_key(item)).collect();
        for (cosine, item) in vectors.cosines(vector, &new)? {
            self.cosines.insert(item, f64::from(cosine));
        }
        Ok(())
    }

    /// What is known of `candidates` beside their signals.
    fn known(&mut self, candidates: &[Candidate]) -> Result<HashMap<u32, Known>> {
        let question = &self.lookup.question;
        let mut known = HashMap::with_capacity(candidates.len());
        for candidate in candidates {
            let item = candidate.item;
            if let Some(past) = self.past.get(&item) {
                let slot = past.version.record.slot();
                known.insert(item, Known { slot, ..Known::default() });
                continue;
            }
            let slot = self.slots.get(self.read, self.namespace, item)?;
            let tells_time = question.asks_when && self.terms_of(item)?.iter().any(|term| tells_time(term));
            let phrases = if question.phrases.is_empty() { 0 } else { self.phrases_in(item)? };
            known.insert(item, Known { slot, tells_time, phrases });
        }
        Ok(known)
    }

    fn phrases_in(&mut self, item: u32) -> Result<usize> {
        let Some((record, passage)) = self.record_of(item)? else { return Ok(0) };
        let text = match passage {
            Some(PassageRange { start, end }) => record.text.get(start..end).unwrap_or_default(),
            None => &record.text,
        };
        let text = text.to_lowercase();
        Ok(self.lookup.question.phrases.iter().filter(|phrase| text.contains(phrase.as_str())).count())
    }

    /// The words of an item.
    fn terms_of(&self, item: u32) -> Result<Vec<&'t str>> {
        let mut terms = names::of_item(self.read, self.namespace, item)?;
        terms.retain(|term| !names::is_name(term));
        Ok(terms)
    }

    /// The words that tell most in the best items, beside those of the query.
    fn feedback(&mut self, lexical: &Lexical<'_, 't>, asked: &[Term], ranked: &[Candidate]) -> Result<Vec<Term>> {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for candidate in ranked.iter().filter(|c| !self.past.contains_key(&c.item)).take(FEEDBACK_ITEMS) {
            for term in self.terms_of(candidate.item)? {
                if !asked.iter().any(|asked| asked.text == term) && !words::is_weak(term) {
                    *times.entry(term).or_default() += 1;
                }
            }
        }
        let mut terms = Vec::with_capacity(times.len());
        for (term, times) in times {
            let term = lexical.term(term, FEEDBACK_WEIGHT)?;
            terms.push((f64::from(lexical.rarity_of(&term)) * times as f64, term));
        }
        terms.sort_by(|a, b| best_first(a.0, b.0).then_with(|| a.1.text.cmp(&b.1.text)));
        terms.truncate(FEEDBACK_TERMS);
        Ok(terms.into_iter().map(|(_, term)| term).collect())
    }

    /// The items nearest to the query that may be found.
    fn by_meaning(&mut self, depth: usize) -> Result<Vec<u32>> {
        let Some((vectors, vector)) = &mut self.vectors else { return Ok(Vec::new()) };
        let query = Query { vector, admitted: None, wanted: depth };
        let found = match &self.admitted {
            None => vectors.nearest(&query)?,
            Some(admitted) => nearest_admitted(vectors, &query, admitted, self.namespace)?,
        };
        self.cosines.extend(found.iter().map(|(cosine, item)| (*item, f64::from(*cosine))));
        Ok(found.into_iter().map(|(_, item)| item).collect())
    }

    /// Finds the versions that were there at the time that is asked for and are no more: the best by meaning and by words.
    fn look_into_the_past(&mut self, depth: usize) -> Result<()> {
        let Some(as_of) = self.lookup.admission.as_of.filter(|_| self.namespace.has_past) else { return Ok(()) };
        let mut found: Vec<(f64, f64, u32, Past)> = Vec::new();
        past::each(self.read, self.namespace, |item, version| {
            self.cx.check()?;
            let there = version.replaced_ms as i64 > as_of.as_millis();
            if there && self.lookup.admission.admits(&version.record) {
                let words = words::of_text(&version.record.text);
                let shared = self.lookup.question.terms.iter().filter(|term| words.has(term)).count();
                let cosine = self.vectors.as_ref().map_or(-1.0, |(_, vector)| version.cosine(vector));
                found.push((cosine + shared as f64, cosine, item, Past { version, words }));
            }
            Ok(())
        })?;
        found.sort_by(|a, b| best_first(a.0, b.0).then(a.2.cmp(&b.2)));
        found.truncate(depth);
        for (_, cosine, item, past) in found {
            if self.vectors.is_some() && !past.version.vectors.is_empty() {
                self.cosines.insert(item, cosine);
            }
            self.past.insert(item, past);
        }
        Ok(())
    }

    fn admits(&self, item: u32) -> bool {
        self.admitted.as_ref().is_none_or(|admitted| admitted.contains(item))
    }

    /// The record of the item that `item` is, or is a passage of; and where that passage is.
    fn record_of(&mut self, item: u32) -> Result<Option<(Record, Option<PassageRange>)>> {
        let parent = self.slots.get(self.read, self.namespace, item)?.parent;
        let key = self.namespace.item_key(parent.unwrap_or(item));
        let Some(stored) = self.read.tables.items.get(self.read.txn, &key)? else { return Ok(None) };
        let passage = match parent {
            Some(_) => {
                let key = self.namespace.item_key(item);
                let range = self.read.tables.passages.get(self.read.txn, &key)?.ok_or_else(|| malformed("passages"))?;
                let range = range_of(range)?;
                Some(PassageRange { start: range.start, end: range.end })
            }
            None => None,
        };
        Ok(Some((Record::from_bytes(stored)?, passage)))
    }

    /// Of the passages of an item only the best.
    fn one_an_item(&mut self, ranked: Vec<Candidate>) -> Result<Vec<Candidate>> {
        let (mut seen, mut best) = (HashSet::new(), Vec::with_capacity(ranked.len()));
        for candidate in ranked {
            let parent = match self.past.get(&candidate.item) {
                Some(_) => None,
                None => self.slots.get(self.read, self.namespace, candidate.item)?.parent,
            };
            if seen.insert(parent.unwrap_or(candidate.item)) {
                best.push(candidate);
            }
        }
        Ok(best)
    }

    /// As many as are wanted.
    fn choose(&mut self, mut ranked: Vec<Candidate>) -> Result<Vec<Candidate>> {
        let Lookup { top, diversity, .. } = *self.lookup;
        if diversity == 0.0 {
            ranked.truncate(top);
            return Ok(ranked);
        }
        let items: Vec<u32> = ranked.iter().map(|candidate| candidate.item).collect();
        let vectors = match &mut self.vectors {
            Some((vectors, _)) => vectors.rows(&items)?,
            None => HashMap::new(),
        };
        Ok(diversity::choose(ranked, &vectors, diversity, top))
    }

    fn hit(&mut self, name: &str, candidate: &Candidate, terms: &[Term]) -> Result<Option<Hit>> {
        let (mut record, passage, terms) = if let Some(past) = self.past.get(&candidate.item) {
            let terms = terms.iter().filter(|term| past.words.has(&term.text));
            (past.version.record.clone(), None, terms.map(|term| term.text.clone()).collect())
        } else {
            let Some((record, passage)) = self.record_of(candidate.item)? else { return Ok(None) };
            let terms = terms.iter().filter(|term| term.is_in(candidate.item));
            (record, passage, terms.map(|term| term.text.clone()).collect())
        };
        if let Some(PassageRange { start, end }) = passage {
            let text = record.text.get(start..end).ok_or_else(|| malformed("passages"))?;
            record.text = text.to_string();
        }
        let mut boosts = BTreeMap::new();
        for (name, more) in &candidate.boosts {
            *boosts.entry((*name).to_owned()).or_insert(0.0) += more;
        }
        let why = Why { meaning: candidate.meaning, words: candidate.words, terms, boosts, fused: None };
        Ok(Some(Hit { score: candidate.score, why, passage, item: record.into_item(name) }))
    }
}

/// The nearest of the items that are `admitted`.
fn nearest_admitted(
    vectors: &mut Snapshot<'_, '_>,
    query: &Query<'_>,
    admitted: &RoaringBitmap,
    namespace: &Namespace,
) -> Result<Vec<(f32, u32)>> {
    let kept = (admitted.len() as f64 / namespace.vectors.max(1) as f64).min(1.0);
    if kept >= LENIENT {
        // Most may be found: nearly as many of the nearest as are wanted are among them, whatever the index.
        let wanted = (query.wanted as f64 / kept * MORE).ceil() as usize;
        let mut near = vectors.nearest(&Query { wanted, ..*query })?;
        let all = near.len() as u64 == namespace.vectors;
        near.retain(|(_, item)| admitted.contains(*item));
        near.truncate(query.wanted);
        if near.len() == query.wanted || all {
            return Ok(near);
        }
    }
    vectors.nearest(&Query { admitted: Some(admitted), ..*query })
}

/// The `depth` best items.
fn best(scores: &mut [(f64, u32)], depth: usize) -> impl Iterator<Item = u32> {
    let order = |a: &(f64, u32), b: &(f64, u32)| best_first(a.0, b.0).then(a.1.cmp(&b.1));
    if scores.len() > depth {
        scores.select_nth_unstable_by(depth, order);
    }
    scores.iter().take(depth).map(|(_, item)| *item)
}

/// Whether a term tells when something was.
fn tells_time(term: &str) -> bool {
    let year = term.len() == 4 && term.parse::<u16>().is_ok_and(|year| (1800..2200).contains(&year));
    year || TIME_TERMS.contains(&term)
}
