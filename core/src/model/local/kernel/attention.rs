//! Attention with grouped queries over pages of 16-bit keys and values.

use std::ops::Range;

use half::{f16, slice::HalfFloatSliceExt};

use super::{
    Isa, Out, Pool,
    math::{PAGE, Softmax, attend},
};

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
            places.zip(&keys[from.clone()]).for_each(|(place, number)| *place = f16::from_f32(*number));
            kept_values[slot * self.width..][..self.width].convert_from_f32_slice(&values[from]);
        }
    }
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
        task(isa, heads, window, sequence, rows.clone(), *head, queries, &out);
    });
}

#[expect(clippy::too_many_arguments, reason = "one call, of the lines above")]
fn task(
    isa: Isa,
    heads: Heads,
    window: Option<usize>,
    sequence: &Queries<'_>,
    rows: Range<usize>,
    head: usize,
    queries: &[f32],
    out: &Out<'_>,
) {
    let (width, cols) = (heads.width, heads.queries());
    let group = head * heads.each * width..(head + 1) * heads.each * width;
    let position = |row: usize| sequence.start + row - sequence.rows.start;
    // The first position a row sees.
    let from = |row: usize| window.map_or(0, |window| (position(row) + 1).saturating_sub(window));

    let mut results = vec![0.0; rows.len() * group.len()];
    let mut states = vec![Softmax::new(); rows.len() * heads.each];
    let (mut keys, mut values) = (vec![0.0; PAGE * width], vec![0.0; PAGE * width]);
    for page in from(rows.start) / PAGE..=position(rows.end - 1) / PAGE {
        let first = page * PAGE;
        let (kept_keys, kept_values) = sequence.pages[page][heads.of(head)].split_at(PAGE * width);
        kept_keys.convert_to_f32_slice(&mut keys);
        kept_values.convert_to_f32_slice(&mut values);
        for (at, row) in rows.clone().enumerate() {
            let seen = from(row).saturating_sub(first)..(position(row) + 1).saturating_sub(first).min(PAGE);
            if seen.is_empty() {
                continue;
            }
            for each in 0..heads.each {
                let query = &queries[row * cols + group.start + each * width..][..width];
                let result = &mut results[at * group.len() + each * width..][..width];
                let state = &mut states[at * heads.each + each];
                attend(isa, query, &keys, &values, &seen, state, result);
            }
        }
    }
    for (result, state) in results.chunks_exact_mut(width).zip(states) {
        state.finish(result);
    }
    for (row, result) in rows.zip(results.chunks_exact(group.len())) {
        out.put(row, group.start, result);
    }
}
