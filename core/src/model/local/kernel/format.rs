//! The block formats of GGUF files, and the two forms weights are packed in.
//!
//! Source of the formats: `ggml-quants.c` and `ggml-common.h` of llama.cpp.

use half::f16;

/// Weights that share a scale, and activations too.
pub(super) const BLOCK: usize = 32;
/// Rows that are packed together: as many as the widest registers multiply at once.
pub(super) const TILE: usize = 16;
/// Columns whose quants lie side by side, row after row of a tile.
pub(super) const GROUP: usize = 4;

/// A quantised type of a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Quantised {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

/// How the quants of a packed block are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quants {
    /// 0 to 15, two in a byte: groups 0 to 3 in the low halves, 4 to 7 in the high ones.
    Nibble,
    /// 0 to 31: four bits as of `Nibble`, then a byte for the fifth bits of those columns that lie at the same place of
    /// their groups, that of the first group lowest.
    Five,
    /// 0 to 63: the same with two bits of four groups in a byte; every 16 quants have a scale of their own.
    Six,
    /// -128 to 127, each in a byte.
    Eight,
}

/// What a quant of 0 stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zero {
    /// Minus so many scales.
    Offset(i32),
    /// A number that each block has.
    Stored,
}

/// How a type is packed: tiles of [`TILE`] rows, each a sequence of blocks, each block its quants, its scales (one a
/// row) and, where stored, its zeros.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) quants: Quants,
    /// Scales and zeros have 32 bits instead of 16: where the file has a product of two numbers.
    pub(super) wide: bool,
    pub(super) zero: Zero,
}

impl Layout {
    pub(super) const fn quant_bytes(&self) -> usize {
        match self.quants {
            Quants::Nibble => TILE * BLOCK / 2,
            Quants::Five => TILE * BLOCK / 8 * 5,
            Quants::Six => TILE * BLOCK / 8 * 6,
            Quants::Eight => TILE * BLOCK,
        }
    }

    /// Bytes of a scale or zero.
    pub(super) const fn number_bytes(&self) -> usize {
        if self.wide { 4 } else { 2 }
    }

    /// Bytes of the scales of one block and tile.
    pub(super) const fn scale_bytes(&self) -> usize {
        match self.quants {
            Quants::Six => 2 * TILE * self.number_bytes(),
            _ => TILE * self.number_bytes(),
        }
    }

    /// Bytes of one block of a tile.
    pub(super) const fn block_bytes(&self) -> usize {
        let zeros = match self.zero {
            Zero::Offset(_) => 0,
            Zero::Stored => TILE * self.number_bytes(),
        };
        self.quant_bytes() + self.scale_bytes() + zeros
    }
}

impl Quantised {
    pub(super) const fn layout(self) -> Layout {
        let (quants, wide, zero) = match self {
            Self::Q4_0 => (Quants::Nibble, false, Zero::Offset(8)),
            Self::Q4_1 => (Quants::Nibble, false, Zero::Stored),
            Self::Q5_0 => (Quants::Five, false, Zero::Offset(16)),
            Self::Q5_1 => (Quants::Five, false, Zero::Stored),
            Self::Q8_0 => (Quants::Eight, false, Zero::Offset(0)),
            Self::Q4K => (Quants::Nibble, true, Zero::Stored),
            Self::Q5K => (Quants::Five, true, Zero::Stored),
            Self::Q6K => (Quants::Six, true, Zero::Offset(32)),
        };
        Layout { quants, wide, zero }
    }

    /// Weights of one block of the file.
    pub(in super::super) const fn file_block(self) -> usize {
        match self {
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
            _ => BLOCK,
        }
    }

    /// Bytes of one block of the file.
    pub(in super::super) const fn file_bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of a row of the file.
    pub(in super::super) const fn row_bytes(self, cols: usize) -> usize {
        cols / self.file_block() * self.file_bytes()
    }

    /// The blocks of 32 weights that one block of the file holds.
    #[inline(always)]
    pub(super) fn unpack(self, bytes: &[u8], mut take: impl FnMut(usize, Block)) {
        match self {
            Self::Q4_0 => take(0, Block::halves(nibbles(&bytes[2..18]), &bytes[..2])),
            Self::Q4_1 => take(0, Block::halves(nibbles(&bytes[4..20]), &bytes[..4])),
            Self::Q5_0 => take(0, Block::halves(fives(&bytes[2..22]), &bytes[..2])),
            Self::Q5_1 => take(0, Block::halves(fives(&bytes[4..24]), &bytes[..4])),
            Self::Q8_0 => take(0, Block::halves(std::array::from_fn(|i| bytes[2 + i]), &bytes[..2])),
            Self::Q4K => q4k(bytes, take),
            Self::Q5K => q5k(bytes, take),
            Self::Q6K => q6k(bytes, take),
        }
    }
}

/// 32 weights: quant x scale + zero, the scale of a half each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// As the layout of its type keeps them: of nibbles only the first 16 bytes, which have quants 0 to 15 in their low
    /// halves and 16 to 31 in their high ones; after these four or eight bytes of fifth and sixth bits, if any.
    pub(super) quants: [u8; BLOCK],
    /// The bytes of the numbers; where the layout is not wide, of two each.
    pub(super) scales: [[u8; 4]; 2],
    pub(super) zero: [u8; 4],
}

impl Block {
    fn new(quants: [u8; BLOCK], scales: [f32; 2], zero: f32) -> Self {
        Self { quants, scales: scales.map(f32::to_le_bytes), zero: zero.to_le_bytes() }
    }

    /// Of a scale, and perhaps a zero, in 16 bits each.
    fn halves(quants: [u8; BLOCK], numbers: &[u8]) -> Self {
        let half = |at: usize| numbers.get(at..at + 2).map_or([0; 4], |half| [half[0], half[1], 0, 0]);
        Self { quants, scales: [half(0); 2], zero: half(2) }
    }
}

fn number(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Nibbles as files and packed blocks keep them.
fn nibbles(bytes: &[u8]) -> [u8; BLOCK] {
    let mut quants = [0; BLOCK];
    quants[..16].copy_from_slice(bytes);
    quants
}

/// The fifth bits, 32 of them, and the nibbles.
fn fives(bytes: &[u8]) -> [u8; BLOCK] {
    let bits = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let mut quants = nibbles(&bytes[4..]);
    for (within, high) in quants[16..20].iter_mut().enumerate() {
        // Every fourth bit from `within` on, moved together.
        let mut every = bits >> within & 0x1111_1111;
        every = (every | every >> 3) & 0x0303_0303;
        every = (every | every >> 6) & 0x000f_000f;
        *high = (every | every >> 12) as u8;
    }
    quants
}

/// The four or eight bytes of the high bits of a block, of which `high` has `BITS` for each quant.
fn high_bits<const BITS: usize>(quants: &mut [u8; BLOCK], high: impl Fn(usize) -> u8) {
    for (at, byte) in quants[16..16 + 4 * BITS].iter_mut().enumerate() {
        let groups = 8 / BITS;
        let first = at / GROUP * groups;
        *byte = (0..groups).map(|group| high((first + group) * GROUP + at % GROUP) << (BITS * group)).sum();
    }
}

/// Scale and minimum number `i` of the twelve bytes that hold eight of each in six bits.
fn scale_and_minimum(bytes: &[u8], i: usize) -> (f32, f32) {
    let (scale, minimum) = if i < 4 {
        (bytes[i] & 63, bytes[i + 4] & 63)
    } else {
        (bytes[i + 4] & 15 | bytes[i - 4] >> 6 << 4, bytes[i + 4] >> 4 | bytes[i] >> 6 << 4)
    };
    (f32::from(scale), f32::from(minimum))
}

fn q4k(bytes: &[u8], mut take: impl FnMut(usize, Block)) {
    let (d, least) = (number(bytes, 0), number(bytes, 2));
    let (scales, quants) = bytes[4..].split_at(12);
    for i in 0..8 {
        let part = &quants[i / 2 * 32..][..32];
        let (scale, minimum) = scale_and_minimum(scales, i);
        let (first, second) = part.split_at(16);
        let mut quants = [0; BLOCK];
        for ((quant, first), second) in quants.iter_mut().zip(first).zip(second) {
            *quant = if i % 2 == 0 { first & 15 | second << 4 } else { first >> 4 | second & 0xf0 };
        }
        take(i, Block::new(quants, [d * scale; 2], -least * minimum));
    }
}

fn q5k(bytes: &[u8], mut take: impl FnMut(usize, Block)) {
    let (d, least) = (number(bytes, 0), number(bytes, 2));
    let (scales, rest) = bytes[4..].split_at(12);
    let (high, quants) = rest.split_at(32);
    for i in 0..8 {
        let part = &quants[i / 2 * 32..][..32];
        let (scale, minimum) = scale_and_minimum(scales, i);
        let nibble = |l: usize| if i % 2 == 0 { part[l] & 15 } else { part[l] >> 4 };
        let mut quants = std::array::from_fn(|l| if l < 16 { nibble(l) | nibble(l + 16) << 4 } else { 0 });
        high_bits::<1>(&mut quants, |l| high[l] >> i & 1);
        take(i, Block::new(quants, [d * scale; 2], -least * minimum));
    }
}

fn q6k(bytes: &[u8], mut take: impl FnMut(usize, Block)) {
    let (low, rest) = bytes.split_at(128);
    let (high, rest) = rest.split_at(64);
    let d = number(rest, 16);
    for i in 0..8 {
        // Two halves of 128 weights, of which each has four runs of 32.
        let (half, run) = (i / 4, i % 4);
        let low = &low[half * 64 + run % 2 * 32..][..32];
        let high = &high[half * 32..][..32];
        let nibble = |l: usize| if run < 2 { low[l] & 15 } else { low[l] >> 4 };
        let mut quants = std::array::from_fn(|l| if l < 16 { nibble(l) | nibble(l + 16) << 4 } else { 0 });
        high_bits::<2>(&mut quants, |l| high[l] >> (2 * run) & 3);
        let scale = |part: usize| d * f32::from(rest[half * 8 + run * 2 + part].cast_signed());
        take(i, Block::new(quants, [scale(0), scale(1)], 0.0));
    }
}
