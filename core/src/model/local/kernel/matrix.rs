//! Weight matrices, packed for products with many activations at once.

use std::{ops::Range, panic::resume_unwind, thread::ScopedJoinHandle};

use half::{bf16, f16};

use super::{
    Activations, Isa, Out, Pool,
    aligned::Aligned,
    format::{BLOCK, Block, GROUP, Layout, Quantised, Quants, TILE, Zero},
    product::Float,
};

/// Bytes that are read at once while weights are packed.
const NEAR: usize = 1 << 17;

/// A matrix of weights: `rows` results of `cols` inputs each.
///
/// Quantised weights are as exact as in the file. They are packed in tiles of sixteen rows whose numbers lie side by side,
/// so that one instruction multiplies as many rows as the processor can.
#[derive(Debug)]
pub(in super::super) struct Matrix {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) data: Data,
}

#[derive(Debug)]
pub(super) enum Data {
    /// Tiles, see [`Layout`].
    Quantised(Quantised, Aligned<u8>),
    /// Tiles: column after column, the sixteen rows of each.
    Half(Aligned<f16>),
    /// As `Half`.
    Brain(Aligned<bf16>),
    /// As `Half`.
    Float(Aligned<f32>),
}

impl Matrix {
    /// Packs weights of a file, row after row. `bytes` has exactly `rows` x `cols` weights and `cols` is a multiple of
    /// the type's block.
    #[cfg_attr(not(test), allow(dead_code, reason = "files are read part by part; this is for weights that are made"))]
    pub(in super::super) fn quantised(kind: Quantised, rows: usize, cols: usize, bytes: &[u8]) -> Self {
        let row_bytes = kind.row_bytes(cols);
        assert_eq!(bytes.len(), rows * row_bytes, "a matrix has as many weights as its size says");
        let copy = |rows: Range<usize>, to: &mut [u8]| {
            to.copy_from_slice(&bytes[rows.start * row_bytes..rows.end * row_bytes]);
            Ok::<_, std::convert::Infallible>(())
        };
        let Ok(matrix) = Self::read(kind, rows, cols, 2, copy);
        matrix
    }

    /// Packs weights of a file. `read` writes the bytes of some rows to where it is told; `cols` is a multiple of the
    /// type's block. So many threads read and pack, a part at a time that stays near the processor.
    ///
    /// # Errors
    /// Those of `read`.
    pub(in super::super) fn read<E: Send>(
        kind: Quantised,
        rows: usize,
        cols: usize,
        threads: usize,
        read: impl Fn(Range<usize>, &mut [u8]) -> Result<(), E> + Sync,
    ) -> Result<Self, E> {
        let (row_bytes, tile_bytes) = (kind.row_bytes(cols), cols / BLOCK * kind.layout().block_bytes());
        let tiles = rows.div_ceil(TILE);
        let mut data = Aligned::new(tiles * tile_bytes);
        let each = tiles.div_ceil(threads.max(1)).max(1);
        let near = (NEAR / (row_bytes * TILE)).clamp(1, each);
        let pack = |first: usize, data: &mut [u8]| {
            let mut bytes = vec![0; near * TILE * row_bytes];
            for (at, data) in data.chunks_mut(near * tile_bytes).enumerate() {
                let first = (first + at * near) * TILE;
                let rows = first..(first + data.len() / tile_bytes * TILE).min(rows);
                let bytes = &mut bytes[..rows.len() * row_bytes];
                read(rows, bytes)?;
                for (tile, rows) in data.chunks_exact_mut(tile_bytes).zip(bytes.chunks(row_bytes * TILE)) {
                    pack_tile(kind, tile, row_bytes, rows);
                }
            }
            Ok(())
        };
        if threads <= 1 {
            pack(0, &mut data)?;
        } else {
            std::thread::scope(|scope| {
                let parts = data.chunks_mut(each * tile_bytes).enumerate();
                let parts: Vec<_> = parts.map(|(at, data)| scope.spawn(move || pack(at * each, data))).collect();
                let done = |part: ScopedJoinHandle<'_, _>| part.join().unwrap_or_else(|panic| resume_unwind(panic));
                parts.into_iter().try_for_each(done)
            })?;
        }
        Ok(Self { rows, cols, data: Data::Quantised(kind, data) })
    }

    /// Packs 16-bit weights, row after row.
    pub(in super::super) fn half(rows: usize, cols: usize, weights: &[f16]) -> Self {
        Self { rows, cols, data: Data::Half(tiles(rows, cols, weights)) }
    }

    /// The same of those with the range of 32 bits.
    pub(in super::super) fn brain(rows: usize, cols: usize, weights: &[bf16]) -> Self {
        Self { rows, cols, data: Data::Brain(tiles(rows, cols, weights)) }
    }

    /// Packs 32-bit weights, row after row.
    pub(in super::super) fn float(rows: usize, cols: usize, weights: &[f32]) -> Self {
        Self { rows, cols, data: Data::Float(tiles(rows, cols, weights)) }
    }

    pub(in super::super) fn rows(&self) -> usize {
        self.rows
    }

    pub(in super::super) fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes that one would take in memory: of that kind, or of numbers of so many bytes each.
    pub(in super::super) fn packed_bytes(kind: Option<Quantised>, each: usize, rows: usize, cols: usize) -> usize {
        let tiles = rows.div_ceil(TILE);
        kind.map_or(tiles * TILE * cols * each, |kind| tiles * (cols / BLOCK) * kind.layout().block_bytes())
    }

    /// Bytes it takes in memory.
    pub(in super::super) fn bytes(&self) -> usize {
        match &self.data {
            Data::Quantised(_, data) => data.len(),
            Data::Half(data) => data.len() * 2,
            Data::Brain(data) => data.len() * 2,
            Data::Float(data) => data.len() * 4,
        }
    }

    /// Writes the weights of `row` to `out`.
    pub(in super::super) fn row(&self, row: usize, out: &mut [f32]) {
        match &self.data {
            Data::Float(data) => row_of(data, self.cols, row, out),
            Data::Half(data) => row_of(data, self.cols, row, out),
            Data::Brain(data) => row_of(data, self.cols, row, out),
            Data::Quantised(kind, data) => {
                let (tile, lane) = (row / TILE, row % TILE);
                let layout = kind.layout();
                let tile_bytes = self.cols / BLOCK * layout.block_bytes();
                let tile = &data[tile * tile_bytes..][..tile_bytes];
                for (out, block) in out.chunks_exact_mut(BLOCK).zip(tile.chunks_exact(layout.block_bytes())) {
                    let parts = Parts::of(&layout, block);
                    let zero = parts.zero(lane);
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = parts.quant(lane, i) as f32 * parts.scale(lane, i) + zero;
                    }
                }
            }
        }
    }

    /// Multiplies each row of `inputs` with each row of the matrix: `out` becomes `inputs.rows()` x `rows` numbers. Every
    /// number is computed in the same order whatever stands beside it, so a row gives the same alone and in a batch.
    pub(in super::super) fn multiply(&self, inputs: &Activations, out: &mut [f32], isa: Isa, pool: &mut Pool) {
        Self::multiply_all([(self, out)], inputs, isa, pool);
    }

    /// The same for several matrices at once, so that threads meet less often.
    pub(in super::super) fn multiply_all<const N: usize>(
        products: [(&Self, &mut [f32]); N],
        inputs: &Activations,
        isa: Isa,
        pool: &mut Pool,
    ) {
        for (matrix, out) in &products {
            assert!(inputs.cols() == matrix.cols && out.len() == inputs.rows() * matrix.rows, "sizes of a product fit");
        }
        let products = products.map(|(matrix, out)| (matrix, Out::new(out, matrix.rows)));
        let tiles = |matrix: &Self| matrix.rows.div_ceil(TILE);
        let all: usize = products.iter().map(|(matrix, _)| tiles(matrix)).sum();
        // Pieces small enough that threads end together, large enough that taking one costs nothing.
        let piece = all.div_ceil(pool.threads() * 4).clamp(1, 128);
        let pieces = products.iter().map(|(matrix, _)| tiles(matrix).div_ceil(piece)).sum();
        pool.run(pieces, &|mut at| {
            for (matrix, out) in &products {
                let pieces = tiles(matrix).div_ceil(piece);
                if at < pieces {
                    return isa.multiply(matrix, at * piece..((at + 1) * piece).min(tiles(matrix)), inputs, out);
                }
                at -= pieces;
            }
        });
    }
}

/// Writes the weights of `row` of tiles that are no quants to `out`.
fn row_of<F: Float>(data: &[F], cols: usize, row: usize, out: &mut [f32]) {
    let tile = &data[row / TILE * cols * TILE..][..cols * TILE];
    out.iter_mut().zip(tile.chunks_exact(TILE)).for_each(|(out, column)| *out = column[row % TILE].number());
}

/// Column after column of each tile of rows; rows that are missing are zeros.
fn tiles<T: Copy + Default>(rows: usize, cols: usize, weights: &[T]) -> Aligned<T> {
    assert_eq!(weights.len(), rows * cols, "a matrix has as many weights as its size says");
    let mut tiles = Aligned::new(rows.next_multiple_of(TILE) * cols);
    for (row, weights) in weights.chunks_exact(cols).enumerate() {
        let tile = &mut tiles[row / TILE * TILE * cols..][..TILE * cols];
        tile.iter_mut().skip(row % TILE).step_by(TILE).zip(weights).for_each(|(to, from)| *to = *from);
    }
    tiles
}

/// Packs the rows of a tile. A block of every row, then the next one: the places of the tile are written one after the
/// other, and each has been read by the cache once.
fn pack_tile(kind: Quantised, tile: &mut [u8], row_bytes: usize, rows: &[u8]) {
    match kind {
        Quantised::Q4_0 => pack_tile_of(Quantised::Q4_0, tile, row_bytes, rows),
        Quantised::Q4_1 => pack_tile_of(Quantised::Q4_1, tile, row_bytes, rows),
        Quantised::Q5_0 => pack_tile_of(Quantised::Q5_0, tile, row_bytes, rows),
        Quantised::Q5_1 => pack_tile_of(Quantised::Q5_1, tile, row_bytes, rows),
        Quantised::Q8_0 => pack_tile_of(Quantised::Q8_0, tile, row_bytes, rows),
        Quantised::Q4K => pack_tile_of(Quantised::Q4K, tile, row_bytes, rows),
        Quantised::Q5K => pack_tile_of(Quantised::Q5K, tile, row_bytes, rows),
        Quantised::Q6K => pack_tile_of(Quantised::Q6K, tile, row_bytes, rows),
    }
}

/// The same, compiled for each kind, so that sizes are known in the loop.
#[inline(always)]
fn pack_tile_of(kind: Quantised, tile: &mut [u8], row_bytes: usize, rows: &[u8]) {
    let (layout, each, bytes) = (kind.layout(), kind.file_block() / BLOCK, kind.file_bytes());
    for (at, blocks) in tile.chunks_exact_mut(each * layout.block_bytes()).enumerate() {
        for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
            kind.unpack(&row[at * bytes..][..bytes], |part, block| {
                pack(&layout, &mut blocks[part * layout.block_bytes()..][..layout.block_bytes()], lane, &block);
            });
        }
    }
}

/// Writes a block of row `lane` of a tile to its place.
#[inline(always)]
fn pack(layout: &Layout, into: &mut [u8], lane: usize, block: &Block) {
    let (quants, rest) = into.split_at_mut(layout.quant_bytes());
    let (scales, zeros) = rest.split_at_mut(layout.scale_bytes());
    let places = quants.as_chunks_mut::<GROUP>().0;
    for (group, quants) in block.quants.as_chunks::<GROUP>().0[..places.len() / TILE].iter().enumerate() {
        places[group * TILE + lane] = *quants;
    }
    let each = layout.number_bytes();
    let put = |to: &mut [u8], at: usize, number: [u8; 4]| to[at * each..][..each].copy_from_slice(&number[..each]);
    put(scales, lane, block.scales[0]);
    if layout.quants == Quants::Six {
        put(scales, TILE + lane, block.scales[1]);
    }
    if layout.zero == Zero::Stored {
        put(zeros, lane, block.zero);
    }
}

const fn at_group(group: usize, lane: usize, within: usize) -> usize {
    group * TILE * GROUP + lane * GROUP + within
}

/// A packed block, read number by number.
pub(super) struct Parts<'a> {
    layout: &'a Layout,
    quants: &'a [u8],
    scales: &'a [u8],
    zeros: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn of(layout: &'a Layout, block: &'a [u8]) -> Self {
        let (quants, rest) = block.split_at(layout.quant_bytes());
        let (scales, zeros) = rest.split_at(layout.scale_bytes());
        Self { layout, quants, scales, zeros }
    }

    /// Quant `i` of row `lane`, less what a zero is offset by.
    pub(super) fn quant(&self, lane: usize, i: usize) -> i32 {
        let (group, within) = (i / GROUP, i % GROUP);
        let byte = |group: usize| self.quants[at_group(group, lane, within)];
        let nibble = || if group < 4 { byte(group) & 15 } else { byte(group - 4) >> 4 };
        let quant = match self.layout.quants {
            Quants::Eight => return i32::from(byte(group).cast_signed()),
            Quants::Nibble => nibble(),
            Quants::Five => nibble() | (byte(4) >> group & 1) << 4,
            Quants::Six => nibble() | (byte(4 + group / 4) >> (2 * (group % 4)) & 3) << 4,
        };
        match self.layout.zero {
            Zero::Offset(offset) => i32::from(quant) - offset,
            Zero::Stored => i32::from(quant),
        }
    }

    /// The scale of quant `i` of row `lane`.
    pub(super) fn scale(&self, lane: usize, i: usize) -> f32 {
        let second = self.layout.quants == Quants::Six && i >= BLOCK / 2;
        self.number(self.scales, if second { TILE + lane } else { lane })
    }

    /// What a quant of 0 of row `lane` stands for, where it is stored.
    pub(super) fn zero(&self, lane: usize) -> f32 {
        if self.layout.zero == Zero::Stored { self.number(self.zeros, lane) } else { 0.0 }
    }

    fn number(&self, from: &[u8], at: usize) -> f32 {
        if self.layout.wide {
            let bytes = &from[at * 4..][..4];
            f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        } else {
            f16::from_le_bytes([from[at * 2], from[at * 2 + 1]]).to_f32()
        }
    }
}
