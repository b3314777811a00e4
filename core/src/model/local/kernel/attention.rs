//! Attention with grouped queries over pages of 16-bit keys and values.
//!
//! The softmax is kept as it grows (Milakov and Gimelshein, arXiv 1805.02867), so no score is kept, and several queries
//! share the reading of a page.

use std::ops::Range;

use half::f16;

#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
use super::{
    Isa, Out, Pool,
    math::{exp, sum},
    portable::Portable,
    product::{Float, Floats},
};
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};

/// Positions of a page at most.
pub(in super::super) const PAGE: usize = 32;

/// Queries of one sequence that share the reading of its pages.
const ROWS: usize = 16;

/// The sizes of an attention.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Heads {
    /// Heads of keys and values.
    pub(in super::super) shared: usize,
    /// Heads of queries for each of them.
    pub(in super::super) each: usize,
    /// Numbers of a head.
    pub(in super::super) width: usize,
}

impl Heads {
    /// Numbers of the queries of a row.
    pub(in super::super) fn queries(&self) -> usize {
        self.shared * self.each * self.width
    }

    /// Numbers of the keys, and of the values, of a row.
    pub(in super::super) fn keys(&self) -> usize {
        self.shared * self.width
    }

    /// Numbers of a page of one layer: for each shared head its keys, a row a number of the head, and then its values, a
    /// row a position.
    pub(in super::super) fn page(&self) -> usize {
        2 * PAGE * self.keys()
    }

    /// The keys and values of a shared head in a page of a layer.
    fn of(&self, head: usize) -> Range<usize> {
        let both = 2 * PAGE * self.width;
        head * both..(head + 1) * both
    }

    /// Keeps the keys and values of a row in slot `slot` of a page of a layer.
    pub(in super::super) fn keep(&self, page: &mut [f16], slot: usize, keys: &[f32], values: &[f32]) {
        for head in 0..self.shared {
            let from = head * self.width..(head + 1) * self.width;
            let (kept_keys, kept_values) = page[self.of(head)].split_at_mut(PAGE * self.width);
            let places = kept_keys.iter_mut().skip(slot).step_by(PAGE);
            places.zip(&keys[from.clone()]).for_each(|(place, number)| *place = half(*number));
            let kept = kept_values[slot * self.width..][..self.width].iter_mut();
            kept.zip(&values[from]).for_each(|(place, number)| *place = half(*number));
        }
    }
}

/// In 16 bits, which hold no more than 65,504: an infinity would spoil what does not look at it.
fn half(number: f32) -> f16 {
    f16::from_f32(number.clamp(-65_504.0, 65_504.0))
}

/// The queries of one sequence in a batch, and what they look at.
#[derive(Debug)]
pub(in super::super) struct Queries<'a> {
    /// The rows of the batch.
    pub(in super::super) rows: Range<usize>,
    /// The position of the first of them; each sees itself and all before it.
    pub(in super::super) start: usize,
    /// The pages of the layer, from position 0 on.
    pub(in super::super) pages: Vec<&'a [f16]>,
}

/// What `queries`, scaled and turned, make of the values they look at. Where there is a `window`, each sees at most so
/// many positions.
pub(in super::super) fn attention(
    isa: Isa,
    pool: &mut Pool,
    heads: Heads,
    window: Option<usize>,
    sequences: &[Queries<'_>],
    queries: &[f32],
    out: &mut [f32],
) {
    let cols = heads.queries();
    assert_eq!(queries.len(), out.len());
    let mut tasks = Vec::new();
    for sequence in sequences {
        for first in sequence.rows.clone().step_by(ROWS) {
            let rows = first..(first + ROWS).min(sequence.rows.end);
            tasks.extend((0..heads.shared).map(|head| (sequence, rows.clone(), head)));
        }
    }
    let out = Out::new(out, cols);
    pool.run(tasks.len(), &|at| {
        let (sequence, rows, head) = &tasks[at];
        let (width, group) = (heads.width, heads.each * heads.width);
        let first = head * group;
        let mut group_queries = Vec::with_capacity(rows.len() * heads.each);
        for row in rows.clone() {
            let end = sequence.start + row - sequence.rows.start + 1;
            let sees = window.map_or(0, |window| end.saturating_sub(window))..end;
            let numbers = queries[row * cols + first..][..group].chunks_exact(width);
            group_queries.extend(numbers.map(|numbers| Query::new(numbers, sees.clone())));
        }
        let mut results = vec![0.0; rows.len() * group];
        let (Some(oldest), Some(newest)) = (group_queries.first(), group_queries.last()) else { return };
        for page in oldest.sees.start / PAGE..newest.sees.end.div_ceil(PAGE) {
            let (keys, values) = sequence.pages[page][heads.of(*head)].split_at(PAGE * width);
            attend(isa, &mut group_queries, page * PAGE, keys, values, &mut results);
        }
        for (query, result) in group_queries.iter().zip(results.chunks_exact_mut(width)) {
            query.finish(result);
        }
        for (row, result) in rows.clone().zip(results.chunks_exact(group)) {
            out.put(row, first, result);
        }
    });
}

/// A query on its way through the pages.
#[derive(Clone, Debug)]
pub(in super::super) struct Query<'a> {
    numbers: &'a [f32],
    /// The positions it looks at.
    sees: Range<usize>,
    /// Of the scores so far.
    largest: f32,
    /// Of the weights so far.
    sum: f32,
}

impl<'a> Query<'a> {
    pub(in super::super) fn new(numbers: &'a [f32], sees: Range<usize>) -> Self {
        Self { numbers, sees, largest: f32::NEG_INFINITY, sum: 0.0 }
    }

    /// Divides the weighted sum of the values by the sum of the weights.
    pub(in super::super) fn finish(&self, result: &mut [f32]) {
        let inverse = 1.0 / self.sum;
        for number in result {
            *number *= inverse;
        }
    }

    /// Makes weights of the scores of the page that begins at position `first`, and gives what the result so far must be
    /// multiplied with.
    #[inline(always)]
    fn weigh<const FUSED: bool>(&mut self, first: usize, scores: &mut [f32; PAGE]) -> f32 {
        let seen = self.sees.start.saturating_sub(first)..self.sees.end.saturating_sub(first).min(PAGE);
        if seen.is_empty() {
            scores.fill(0.0);
            return 1.0;
        }
        let is_seen = |i: usize| seen.start <= i && i < seen.end;
        let mut lanes: [f32; PAGE] = std::array::from_fn(|i| if is_seen(i) { scores[i] } else { f32::NEG_INFINITY });
        let mut half = PAGE / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = if lanes[i] > lanes[i + half] { lanes[i] } else { lanes[i + half] };
            }
            half /= 2;
        }
        let largest = if self.largest > lanes[0] { self.largest } else { lanes[0] };
        for (i, score) in scores.iter_mut().enumerate() {
            *score = if is_seen(i) { exp::<FUSED>(*score - largest) } else { 0.0 };
        }
        // What was added up so far was relative to a smaller largest score.
        let shrink = if self.sum > 0.0 { exp::<FUSED>(self.largest - largest) } else { 0.0 };
        self.largest = largest;
        self.sum = self.sum * shrink + sum(*scores);
        shrink
    }
}

/// Goes on with the attention of `queries` to the page that begins at position `first`. `keys` has a row a number of the
/// head, with the numbers of [`PAGE`] positions; `values` has a row a position. What lies at positions that are not seen
/// must be numbers. A query gives the same whatever stands beside it.
pub(in super::super) fn attend<F: Float>(
    isa: Isa,
    queries: &mut [Query<'_>],
    first: usize,
    keys: &[F],
    values: &[F],
    results: &mut [f32],
) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn avx2<F: Float>(queries: &mut [Query<'_>], first: usize, keys: &[F], values: &[F], results: &mut [f32]) {
        // SAFETY: this function is called where the processor has the instructions.
        unsafe { lines::<Avx2, F>(queries, first, keys, values, results) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma")]
    fn avx512<F: Float>(queries: &mut [Query<'_>], first: usize, keys: &[F], values: &[F], results: &mut [f32]) {
        // SAFETY: this function is called where the processor has the instructions.
        unsafe { lines::<Avx512, F>(queries, first, keys, values, results) }
    }

    match isa {
        // SAFETY: every processor has these.
        Isa::Portable => unsafe { lines::<Portable, F>(queries, first, keys, values, results) },
        // SAFETY: an `Isa` of this kind is made only where the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni => unsafe { avx2(queries, first, keys, values, results) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(queries, first, keys, values, results) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::NeonDot => unsafe { lines::<Neon<false>, F>(queries, first, keys, values, results) },
    }
}

/// # Safety
/// The processor has the instructions of `S`. So below.
#[inline(always)]
unsafe fn lines<S: Floats, F: Float>(
    queries: &mut [Query<'_>],
    first: usize,
    keys: &[F],
    values: &[F],
    results: &mut [f32],
) {
    let mut at = 0;
    // SAFETY: as the caller promises.
    unsafe {
        while S::LANES >= 16 && at + 8 <= queries.len() {
            group::<S, F, 8>(queries, at, first, keys, values, results);
            at += 8;
        }
        while at + 4 <= queries.len() {
            group::<S, F, 4>(queries, at, first, keys, values, results);
            at += 4;
        }
        match queries.len() - at {
            3 => group::<S, F, 3>(queries, at, first, keys, values, results),
            2 => group::<S, F, 2>(queries, at, first, keys, values, results),
            1 => group::<S, F, 1>(queries, at, first, keys, values, results),
            _ => {}
        }
    }
}

/// `M` queries from `at` on.
#[inline(always)]
unsafe fn group<S: Floats, F: Float, const M: usize>(
    queries: &mut [Query<'_>],
    at: usize,
    first: usize,
    keys: &[F],
    values: &[F],
    results: &mut [f32],
) {
    let queries = &mut queries[at..at + M];
    let width = queries[0].numbers.len();
    let (start, end) = queries
        .iter()
        .fold((usize::MAX, 0), |(start, end), query| (start.min(query.sees.start.max(first)), end.max(query.sees.end)));
    if start >= end.min(first + PAGE) {
        return;
    }
    let seen = (end - first).min(PAGE);
    let results = &mut results[at * width..(at + M) * width];
    assert!(queries.iter().all(|query| query.numbers.len() == width));
    assert!(keys.len() == width * PAGE && values.len() == width * PAGE);
    // SAFETY: as the caller promises; the sizes are those of the assertions.
    unsafe {
        let mut scores = [[0.0; PAGE]; M];
        for column in (0..PAGE).step_by(2 * S::LANES) {
            let mut sums = [[S::splat(0.0); 2]; M];
            for number in 0..width {
                let keys = keys.as_ptr().add(number * PAGE + column);
                let keys = [F::load::<S>(keys), F::load::<S>(keys.add(S::LANES))];
                for m in 0..M {
                    let query = S::splat(*queries[m].numbers.as_ptr().add(number));
                    sums[m] =
                        [S::multiply_add(keys[0], query, sums[m][0]), S::multiply_add(keys[1], query, sums[m][1])];
                }
            }
            for m in 0..M {
                let to = scores[m].as_mut_ptr().add(column);
                S::store(sums[m][0], to);
                S::store(sums[m][1], to.add(S::LANES));
            }
        }
        let mut shrink = [1.0; M];
        for m in 0..M {
            let query = &mut queries[m];
            shrink[m] = if S::FUSED {
                query.weigh::<true>(first, &mut scores[m])
            } else {
                query.weigh::<false>(first, &mut scores[m])
            };
        }
        let (values, results) = (values.as_ptr(), results.as_mut_ptr());
        let mut column = 0;
        while column + 2 * S::LANES <= width {
            add_values::<S, F, M, 2>(&scores, shrink, seen, values.add(column), results.add(column), width);
            column += 2 * S::LANES;
        }
        while column + S::LANES <= width {
            add_values::<S, F, M, 1>(&scores, shrink, seen, values.add(column), results.add(column), width);
            column += S::LANES;
        }
        for column in column..width {
            for m in 0..M {
                let result = &mut *results.add(m * width + column);
                *result *= shrink[m];
                for (position, weight) in scores[m][..seen].iter().enumerate() {
                    *result += weight * (*values.add(position * width + column)).number();
                }
            }
        }
    }
}

/// Adds the weighted values of the first `seen` positions to `V` registers of each of `M` results.
#[inline(always)]
unsafe fn add_values<S: Floats, F: Float, const M: usize, const V: usize>(
    weights: &[[f32; PAGE]; M],
    shrink: [f32; M],
    seen: usize,
    values: *const F,
    results: *mut f32,
    width: usize,
) {
    // SAFETY: as the caller promises: `V` registers fit in what is left of a row.
    unsafe {
        let mut sums: [[S::Numbers; V]; M] = std::array::from_fn(|m| {
            let shrink = S::splat(shrink[m]);
            std::array::from_fn(|v| S::multiply(S::load(results.add(m * width + v * S::LANES)), shrink))
        });
        for position in 0..seen {
            let values: [_; V] = std::array::from_fn(|v| F::load::<S>(values.add(position * width + v * S::LANES)));
            for m in 0..M {
                let weight = S::splat(*weights[m].get_unchecked(position));
                for v in 0..V {
                    sums[m][v] = S::multiply_add(values[v], weight, sums[m][v]);
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                S::store(*sum, results.add(m * width + v * S::LANES));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What each of `queries` makes of the values it sees, in 64 bits.
    fn expected(query: &[f32], sees: Range<usize>, keys: &[f32], values: &[f32]) -> Vec<f64> {
        let width = query.len();
        let row = |numbers: &[f32], position: usize| numbers[position * width..][..width].to_vec();
        let score = |position: usize| {
            row(keys, position).iter().zip(query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
        };
        let scores: Vec<_> = sees.clone().map(score).collect();
        let largest = scores.iter().copied().fold(f64::MIN, f64::max);
        let weights: Vec<_> = scores.iter().map(|score| (score - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let number = |i: usize| {
            sees.clone().zip(&weights).map(|(at, w)| w / sum * f64::from(values[at * width + i])).sum::<f64>()
        };
        (0..width).map(number).collect()
    }

    fn whole<F: Float>(
        isa: Isa,
        numbers: &[f32],
        sees: &[Range<usize>],
        keys: &[Vec<F>],
        values: &[Vec<F>],
        width: usize,
    ) -> Vec<f32> {
        let mut queries: Vec<_> =
            numbers.chunks(width).zip(sees).map(|(numbers, sees)| Query::new(numbers, sees.clone())).collect();
        let mut results = vec![0.0; numbers.len()];
        for (page, (keys, values)) in keys.iter().zip(values).enumerate() {
            attend(isa, &mut queries, page * PAGE, keys, values, &mut results);
        }
        queries.iter().zip(results.chunks_mut(width)).for_each(|(query, result)| query.finish(result));
        results
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn pages_and_groups_are_attention_at_once(
            width in prop::sample::select(vec![2_usize, 8, 24, 40, 64, 80]),
            sees in prop::collection::vec((0..70_usize, 1..70_usize), 1..14),
            seed: u32,
        ) {
            let sees: Vec<_> = sees.into_iter().map(|(end, window)| end.saturating_sub(window) .. end + 1).collect();
            let mut state = seed;
            let mut noise = |count: usize, size: f32| -> Vec<f32> {
                let mut next = || {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    // Numbers that 16 bits hold.
                    f16::from_f32((f32::from((state >> 16) as u16) / 32768.0 - 1.0) * size).to_f32()
                };
                (0..count).map(|_| next()).collect()
            };
            let (numbers, keys, values) = (noise(sees.len() * width, 2.0), noise(96 * width, 3.0), noise(96 * width, 2.0));
            let turned = keys.chunks(PAGE * width).map(|page| {
                let number = |at: usize| page[at % PAGE * width + at / PAGE];
                (0..page.len()).map(number).collect::<Vec<_>>()
            });
            let (turned, rows): (Vec<_>, Vec<_>) = (turned.collect(), values.chunks(PAGE * width).map(<[f32]>::to_vec).collect());
            let halves = |pages: &[Vec<f32>]| -> Vec<Vec<f16>> {
                pages.iter().map(|page| page.iter().map(|number| f16::from_f32(*number)).collect()).collect()
            };
            for isa in Isa::all() {
                let together = whole(isa, &numbers, &sees, &turned, &rows, width);
                prop_assert_eq!(&whole(isa, &numbers, &sees, &halves(&turned), &halves(&rows), width), &together);
                for (at, sees) in sees.iter().enumerate() {
                    let (numbers, result) = (&numbers[at * width..][..width], &together[at * width..][..width]);
                    prop_assert_eq!(&whole(isa, numbers, std::slice::from_ref(sees), &turned, &rows, width)[..], result);
                    for (got, expected) in result.iter().zip(expected(numbers, sees.clone(), &keys, &values)) {
                        prop_assert!((f64::from(*got) - expected).abs() < 1e-4, "{isa:?} {got} {expected}");
                    }
                }
            }
        }
    }
}
