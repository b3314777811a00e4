//! The forward pass of a decoder over a batch of sequences, each with as many new tokens as it likes.

use std::ops::Range;

use super::{
    kernel::{
        Activations, Heads, Isa, Matrix, PAGE, Pool, Queries, add, add_row, attention, geglu, rms_norm, rotate_halves,
        rotate_neighbours, swiglu,
    },
    pages::{Memory, Pages},
    rope::Rope,
};

/// The weights of a model, packed for this processor.
#[derive(Debug)]
pub(super) struct Decoder {
    pub(super) embedding: Matrix,
    /// What each number of an embedding is multiplied with.
    pub(super) embedding_scale: f32,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Vec<f32>,
    /// The embedding when absent.
    pub(super) output: Option<Matrix>,
    pub(super) heads: Heads,
    pub(super) epsilon: f32,
    pub(super) pairs: Pairs,
    pub(super) gate: Gate,
    /// What scores of the attention are multiplied with.
    pub(super) attention_scale: f32,
    /// The rotations of the layers, all of the same dimensions.
    pub(super) ropes: Vec<Rope>,
    pub(super) isa: Isa,
}

/// Which numbers of a head are turned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pairs {
    /// Neighbours: models converted as llama.
    Neighbours,
    /// A number and the one half a head on.
    Halves,
}

/// What the gate of the feed-forward part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// SwiGLU.
    Silu,
    /// GeGLU, with the tanh form of GELU.
    Gelu,
}

/// The weights of a layer.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: Vec<f32>,
    pub(super) query: Dense,
    pub(super) key: Dense,
    pub(super) value: Dense,
    /// Norms of each head of queries and keys.
    pub(super) query_norm: Option<Vec<f32>>,
    pub(super) key_norm: Option<Vec<f32>>,
    pub(super) output: Matrix,
    /// Of what the attention gives, before it is added.
    pub(super) after_attention: Option<Vec<f32>>,
    pub(super) feed_norm: Vec<f32>,
    pub(super) gate: Matrix,
    pub(super) up: Matrix,
    pub(super) down: Matrix,
    /// Of what the feed-forward part gives, before it is added.
    pub(super) after_feed: Option<Vec<f32>>,
    /// Positions a token looks back on, itself among them; all when absent.
    pub(super) window: Option<usize>,
    /// Which of the model's rotations is its own.
    pub(super) rope: usize,
}

/// A matrix, and what is added to its results.
#[derive(Debug)]
pub(super) struct Dense {
    pub(super) weight: Matrix,
    pub(super) bias: Option<Vec<f32>>,
}

/// New tokens of one sequence.
#[derive(Debug)]
pub(super) struct Part<'a> {
    /// What the sequence remembers; the tokens are added to it.
    pub(super) memory: &'a mut Memory,
    pub(super) tokens: &'a [u32],
    /// Which scores are wanted.
    pub(super) scores: Scores,
}

/// The tokens of a part after which scores are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scores {
    None,
    Last,
    All,
}

/// The numbers of a batch on their way; their memory is used again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    hidden: Vec<f32>,
    normed: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    mixed: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    inputs: Activations,
    scores: Vec<f32>,
    /// For each row, and each rotation of the model, its cosines and sines.
    angles: Vec<f32>,
}

impl Decoder {
    /// Numbers of a page of all layers.
    pub(super) fn page_numbers(&self) -> usize {
        self.layers.len() * self.heads.page()
    }

    /// Tokens it knows.
    pub(super) fn vocabulary(&self) -> usize {
        self.embedding.rows()
    }

    /// Bytes of its weights in memory.
    pub(super) fn bytes(&self) -> usize {
        let layer = |layer: &Layer| {
            [
                &layer.query.weight,
                &layer.key.weight,
                &layer.value.weight,
                &layer.output,
                &layer.gate,
                &layer.up,
                &layer.down,
            ]
            .map(Matrix::bytes)
            .iter()
            .sum::<usize>()
        };
        self.embedding.bytes()
            + self.output.as_ref().map_or(0, Matrix::bytes)
            + self.layers.iter().map(layer).sum::<usize>()
    }

    /// Reads the tokens of all parts and gives the scores of the parts that want some, one row of the vocabulary each.
    /// A part gives the same scores whatever stands beside it.
    pub(super) fn read<'s>(
        &self,
        parts: &mut [Part<'_>],
        pages: &Pages,
        scratch: &'s mut Scratch,
        pool: &mut Pool,
    ) -> &'s mut [f32] {
        let rows: usize = parts.iter().map(|part| part.tokens.len()).sum();
        let width = self.embedding.cols();
        scratch.hidden.resize(rows * width, 0.0);
        let tokens = parts.iter().flat_map(|part| part.tokens);
        for (token, hidden) in tokens.zip(scratch.hidden.chunks_exact_mut(width)) {
            self.embedding.row(*token as usize, hidden);
            for number in hidden {
                *number *= self.embedding_scale;
            }
        }
        scratch.angles.clear();
        for part in &mut *parts {
            part.memory.grow(part.tokens.len(), pages);
            let start = part.memory.len();
            for position in start..start + part.tokens.len() {
                self.ropes.iter().for_each(|rope| rope.turn(position, &mut scratch.angles));
            }
        }
        for (at, layer) in self.layers.iter().enumerate() {
            self.attend(at, layer, parts, scratch, pool);
            self.feed(layer, scratch, pool);
        }
        for part in &mut *parts {
            part.memory.filled(part.tokens.len());
        }
        self.score(parts, scratch, pool)
    }

    fn attend(&self, at: usize, layer: &Layer, parts: &mut [Part<'_>], scratch: &mut Scratch, pool: &mut Pool) {
        let Scratch { hidden, normed, query, key, value, mixed, inputs, angles, .. } = scratch;
        let (isa, heads) = (self.isa, self.heads);
        self.norm(hidden, &layer.attention_norm, inputs, pool);
        let rows = inputs.rows();
        let dense = [(&layer.query, &mut *query), (&layer.key, &mut *key), (&layer.value, &mut *value)];
        multiply(dense.map(|(dense, out)| (&dense.weight, out)), inputs, isa, pool);
        for (dense, out) in [(&layer.query, &mut *query), (&layer.key, &mut *key), (&layer.value, &mut *value)] {
            if let Some(bias) = &dense.bias {
                add_row(isa, out, bias);
            }
        }
        norm_heads(isa, self.epsilon, query, layer.query_norm.as_deref(), normed);
        norm_heads(isa, self.epsilon, key, layer.key_norm.as_deref(), normed);

        for number in query.iter_mut() {
            *number *= self.attention_scale;
        }
        let page = at * heads.page()..(at + 1) * heads.page();
        let mut row = 0;
        for part in &mut *parts {
            let start = part.memory.len();
            for position in start..start + part.tokens.len() {
                let turned = self.ropes[layer.rope].dimensions();
                let angles = &angles[(row * self.ropes.len() + layer.rope) * turned..][..turned];
                self.rotate(row_mut(query, row, heads.queries()), angles);
                self.rotate(row_mut(key, row, heads.keys()), angles);
                let kept = row * heads.keys()..(row + 1) * heads.keys();
                if let Some((numbers, slot)) = part.memory.slot(position) {
                    heads.keep(&mut numbers[page.clone()], slot, &key[kept.clone()], &value[kept]);
                }
                row += 1;
            }
        }
        let sequences = of_rows(parts, |part, rows| Queries {
            rows,
            start: part.memory.len(),
            pages: part.memory.pages().iter().map(|whole| &whole.numbers()[page.clone()]).collect(),
        });
        mixed.resize(rows * heads.queries(), 0.0);
        attention(isa, pool, heads, layer.window, &sequences, query, mixed);
        let width = heads.queries();
        inputs.fill(rows, width, isa, pool, |row, out| out.copy_from_slice(&mixed[row * width..][..width]));
        multiply([(&layer.output, normed)], inputs, isa, pool);
        norm_heads(isa, self.epsilon, normed, layer.after_attention.as_deref(), query);
        add(isa, hidden, normed);
    }

    /// Turns the first numbers of each head by `angles`, cosines and then sines.
    fn rotate(&self, heads: &mut [f32], angles: &[f32]) {
        let (cos, sin) = angles.split_at(angles.len() / 2);
        let rotate = match self.pairs {
            Pairs::Neighbours => rotate_neighbours,
            Pairs::Halves => rotate_halves,
        };
        if angles.len() == self.heads.width {
            rotate(self.isa, heads, cos, sin);
        } else {
            for head in heads.chunks_exact_mut(self.heads.width) {
                rotate(self.isa, &mut head[..angles.len()], cos, sin);
            }
        }
    }

    fn feed(&self, layer: &Layer, scratch: &mut Scratch, pool: &mut Pool) {
        let Scratch { hidden, normed, gate, up, inputs, .. } = scratch;
        self.norm(hidden, &layer.feed_norm, inputs, pool);
        let (rows, width) = (inputs.rows(), layer.down.cols());
        multiply([(&layer.gate, &mut *gate), (&layer.up, &mut *up)], inputs, self.isa, pool);
        inputs.fill(rows, width, self.isa, pool, |row, out| {
            let of_row = row * width..(row + 1) * width;
            out.copy_from_slice(&gate[of_row.clone()]);
            match self.gate {
                Gate::Silu => swiglu(self.isa, out, &up[of_row]),
                Gate::Gelu => geglu(self.isa, out, &up[of_row]),
            }
        });
        multiply([(&layer.down, normed)], inputs, self.isa, pool);
        norm_heads(self.isa, self.epsilon, normed, layer.after_feed.as_deref(), up);
        add(self.isa, hidden, normed);
    }

    fn score<'s>(&self, parts: &[Part<'_>], scratch: &'s mut Scratch, pool: &mut Pool) -> &'s mut [f32] {
        let Scratch { hidden, inputs, scores, .. } = scratch;
        let width = self.embedding.cols();
        // Only the rows that are asked for: the vocabulary is the largest matrix.
        let wanted = of_rows(parts, |part, rows| match part.scores {
            Scores::None => rows.end..rows.end,
            Scores::Last => rows.end - 1..rows.end,
            Scores::All => rows,
        });
        let wanted: Vec<_> = wanted.into_iter().flatten().collect();
        for (to, &from) in wanted.iter().enumerate() {
            hidden.copy_within(from * width..(from + 1) * width, to * width);
        }
        if wanted.is_empty() {
            return &mut [];
        }
        self.norm(&hidden[..wanted.len() * width], &self.norm, inputs, pool);
        multiply([(self.output.as_ref().unwrap_or(&self.embedding), scores)], inputs, self.isa, pool);
        scores
    }

    /// Each row normed and made ready for products.
    fn norm(&self, hidden: &[f32], weight: &[f32], inputs: &mut Activations, pool: &mut Pool) {
        let width = weight.len();
        inputs.fill(hidden.len() / width, width, self.isa, pool, |row, out| {
            rms_norm(self.isa, &hidden[row * width..][..width], weight, self.epsilon, out);
        });
    }
}

/// Norms of each run of numbers that `weight` has, where there is one; `scratch` is written to.
fn norm_heads(isa: Isa, epsilon: f32, numbers: &mut [f32], weight: Option<&[f32]>, scratch: &mut Vec<f32>) {
    let Some(weight) = weight else { return };
    scratch.resize(numbers.len(), 0.0);
    let scratch = &mut scratch[..numbers.len()];
    for (from, to) in numbers.chunks_exact(weight.len()).zip(scratch.chunks_exact_mut(weight.len())) {
        rms_norm(isa, from, weight, epsilon, to);
    }
    numbers.copy_from_slice(scratch);
}

/// Pages that reading so many tokens of one sequence takes.
pub(super) fn pages_of(tokens: usize) -> usize {
    tokens.div_ceil(PAGE)
}

/// The products of each matrix, all with the same inputs.
fn multiply<const N: usize>(products: [(&Matrix, &mut Vec<f32>); N], inputs: &Activations, isa: Isa, pool: &mut Pool) {
    let sized = products.map(|(matrix, out)| {
        out.resize(inputs.rows() * matrix.rows(), 0.0);
        (matrix, &mut out[..])
    });
    Matrix::multiply_all(sized, inputs, isa, pool);
}

fn row_mut(numbers: &mut [f32], row: usize, width: usize) -> &mut [f32] {
    &mut numbers[row * width..(row + 1) * width]
}

/// What `make` makes of each part and its rows in the batch.
fn of_rows<'p, 'm, T>(parts: &'p [Part<'m>], mut make: impl FnMut(&'p Part<'m>, Range<usize>) -> T) -> Vec<T> {
    let mut next = 0;
    let each = parts.iter().map(|part| {
        let rows = next..next + part.tokens.len();
        next = rows.end;
        make(part, rows)
    });
    each.collect()
}
