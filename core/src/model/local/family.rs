//! Decoders of GGUF files: checks that a file is one of a family that is known, whole and consistent, and packs its
//! weights.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    ops::Range,
    panic::resume_unwind,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use candle_core::{
    Device,
    quantized::{GgmlDType, ggml_file::qtensor_from_ggml},
};
use half::f16;

use super::{
    decoder::{Decoder, Dense, Gate, Layer, Pairs, Turns},
    gguf::{Gguf, TensorInfo, corrupt},
    kernel::{Heads, Isa, Matrix, Quantised},
};
use crate::error::{Error, ErrorKind, Result};

/// Positions at most: their angles are kept in memory.
const MAX_POSITIONS: u64 = 1 << 17;

/// Numbers of a head at most, twice those of any model: their angles are kept for every position.
const WIDEST_HEAD: u64 = 512;

/// The architectures there are, by their names in GGUF files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Llama,
    Qwen2,
    Qwen3,
    Gemma3,
    Phi3,
}

impl Family {
    fn of(gguf: &Gguf) -> Result<Self> {
        match gguf.text("general.architecture")? {
            "llama" => Ok(Self::Llama),
            "qwen2" => Ok(Self::Qwen2),
            "qwen3" => Ok(Self::Qwen3),
            "gemma3" => Ok(Self::Gemma3),
            "phi3" => Ok(Self::Phi3),
            other => {
                let message = format!(
                    "the file holds a model of architecture \"{other}\"; supported are llama (Llama, SmolLM, Mistral), \
                     qwen2, qwen3, gemma3 and phi3"
                );
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma3 => "gemma3",
            Self::Phi3 => "phi3",
        }
    }

    /// Whether every head of queries and keys has a norm.
    fn norms_heads(self) -> bool {
        matches!(self, Self::Qwen3 | Self::Gemma3)
    }
}

/// What the metadata says of the model, checked.
#[derive(Debug)]
struct Shapes {
    family: Family,
    layers: u64,
    width: u64,
    heads: u64,
    kv_heads: u64,
    /// Numbers of a head.
    head: u64,
    hidden: u64,
    vocabulary: u64,
    rope_base: f32,
    norm_epsilon: f32,
    /// Positions that tokens of some layers look back on.
    window: Option<u64>,
}

/// Tokens that fit: what the model was made for.
pub(super) fn context_length(gguf: &Gguf) -> Result<u64> {
    let family = Family::of(gguf)?;
    Ok(gguf.integer(&format!("{}.context_length", family.name()))?.clamp(1, MAX_POSITIONS))
}

/// Loads the weights of `path`, whose head is `gguf`, for up to `positions` tokens. With `full_precision` weights take
/// 32 bits each, and nothing is rounded.
pub(super) fn load(gguf: &Gguf, path: &Path, positions: u64, full_precision: bool) -> Result<Decoder> {
    let shapes = Shapes::of(gguf)?;
    shapes.check_tensors(gguf)?;
    let file = File::open(path).map_err(|e| corrupt("the file cannot be opened again").caused_by(e))?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let weights = Weights { gguf, file: &file, full_precision, threads };
    let (head, positions) = (shapes.head as usize, positions as usize);
    let mut turns = vec![Turns::new(head, positions, shapes.rope_base)];
    if shapes.family == Family::Gemma3 {
        // Layers with a window turn by a base of their own, which files do not tell.
        turns.push(Turns::new(head, positions, 10_000.0));
    }
    Ok(Decoder {
        embedding: weights.matrix("token_embd.weight")?,
        embedding_scale: if shapes.family == Family::Gemma3 { (shapes.width as f32).sqrt() } else { 1.0 },
        layers: weights.layers(&shapes)?,
        norm: weights.numbers("output_norm.weight")?,
        output: gguf.tensors.contains_key("output.weight").then(|| weights.matrix("output.weight")).transpose()?,
        heads: Heads { shared: shapes.kv_heads as usize, each: (shapes.heads / shapes.kv_heads) as usize, width: head },
        epsilon: shapes.norm_epsilon,
        pairs: if shapes.family == Family::Llama { Pairs::Neighbours } else { Pairs::Halves },
        gate: if shapes.family == Family::Gemma3 { Gate::Gelu } else { Gate::Silu },
        turns,
        isa: Isa::detect(),
    })
}

/// The tensors of a file.
#[derive(Clone, Copy)]
struct Weights<'a> {
    gguf: &'a Gguf,
    file: &'a File,
    full_precision: bool,
    /// Threads that read a matrix.
    threads: usize,
}

impl<'a> Weights<'a> {
    /// All layers; each thread takes one after the other.
    fn layers(&self, shapes: &Shapes) -> Result<Vec<Layer>> {
        let (alone, next) = (Self { threads: 1, ..*self }, AtomicU64::new(0));
        let take = || {
            let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
            let numbers = numbers.take_while(|at| *at < shapes.layers);
            numbers.map(|at| Ok((at, alone.layer(shapes, at)?))).collect::<Result<Vec<_>>>()
        };
        let layers = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(take)).collect();
            let done = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            done.collect::<Result<Vec<_>>>()
        })?;
        let layers: BTreeMap<_, _> = layers.into_iter().flatten().collect();
        Ok(layers.into_values().collect())
    }

    fn layer(&self, shapes: &Shapes, at: u64) -> Result<Layer> {
        let name = |part: &str| format!("blk.{at}.{part}.weight");
        let family = shapes.family;
        let [query, key, value] = if family == Family::Phi3 {
            // One matrix holds all three, one after the other.
            let (queries, keys) = (shapes.query_width() as usize, shapes.kv_width() as usize);
            let all = name("attn_qkv");
            let part = |weights: &Self, rows: Range<usize>| {
                Ok::<_, Error>(Dense { weight: weights.rows(&all, Some(rows))?, bias: None })
            };
            [
                part(self, 0..queries)?,
                part(self, queries..queries + keys)?,
                part(self, queries + keys..queries + 2 * keys)?,
            ]
        } else {
            [self.dense(at, "attn_q")?, self.dense(at, "attn_k")?, self.dense(at, "attn_v")?]
        };
        let hidden = shapes.hidden as usize;
        let (gate, up) = if family == Family::Phi3 {
            let both = name("ffn_up");
            (self.rows(&both, Some(0..hidden))?, self.rows(&both, Some(hidden..2 * hidden))?)
        } else {
            (self.matrix(&name("ffn_gate"))?, self.matrix(&name("ffn_up"))?)
        };
        let norm_if = |there: bool, part: &str| there.then(|| self.numbers(&name(part))).transpose();
        // Of six layers of Gemma 3, five look back on a window only.
        let local = family == Family::Gemma3 && !(at + 1).is_multiple_of(6);
        Ok(Layer {
            query_norm: norm_if(family.norms_heads(), "attn_q_norm")?,
            key_norm: norm_if(family.norms_heads(), "attn_k_norm")?,
            after_attention: norm_if(family == Family::Gemma3, "post_attention_norm")?,
            after_feed: norm_if(family == Family::Gemma3, "post_ffw_norm")?,
            attention_norm: self.numbers(&name("attn_norm"))?,
            query,
            key,
            value,
            output: self.matrix(&name("attn_output"))?,
            feed_norm: self.numbers(&name("ffn_norm"))?,
            gate,
            up,
            down: self.matrix(&name("ffn_down"))?,
            window: shapes.window.filter(|_| local || family == Family::Phi3).map(|window| window as usize),
            turns: usize::from(local),
        })
    }

    fn dense(&self, layer: u64, part: &str) -> Result<Dense> {
        let weight = self.matrix(&format!("blk.{layer}.{part}.weight"))?;
        let bias = format!("blk.{layer}.{part}.bias");
        let bias = self.gguf.tensors.contains_key(&bias).then(|| self.numbers(&bias)).transpose()?;
        Ok(Dense { weight, bias })
    }

    fn matrix(&self, name: &str) -> Result<Matrix> {
        self.rows(name, None)
    }

    /// Some rows of a matrix, or all.
    fn rows(&self, name: &str, rows: Option<Range<usize>>) -> Result<Matrix> {
        let info = self.info(name)?;
        let (cols, all) = (info.dims[0] as usize, info.dims[1] as usize);
        let rows = rows.unwrap_or(0..all);
        let row_bytes = info.size / all as u64;
        let read = |some: Range<usize>, bytes: &mut [u8]| {
            self.read(name, info.offset + (rows.start + some.start) as u64 * row_bytes, bytes)
        };
        if let Some(kind) = quantised(info.dtype).filter(|_| !self.full_precision) {
            return Matrix::read(kind, rows.len(), cols, self.threads, read);
        }
        let mut bytes = vec![0; row_bytes as usize * rows.len()];
        read(0..rows.len(), &mut bytes)?;
        Ok(if info.dtype == GgmlDType::F16 && !self.full_precision {
            Matrix::half(rows.len(), cols, &halves(&bytes))
        } else {
            Matrix::float(rows.len(), cols, &floats(info.dtype, vec![rows.len(), cols], &bytes, name)?)
        })
    }

    fn numbers(&self, name: &str) -> Result<Vec<f32>> {
        let info = self.info(name)?;
        let mut bytes = vec![0; info.size as usize];
        self.read(name, info.offset, &mut bytes)?;
        floats(info.dtype, info.dims.iter().rev().map(|&dim| dim as usize).collect(), &bytes, name)
    }

    fn info(&self, name: &str) -> Result<&'a TensorInfo> {
        self.gguf.tensors.get(name).ok_or_else(|| corrupt(format!("tensor \"{name}\" is missing")))
    }

    /// Reads what lies at `offset` of the tensor data. The head was checked: every tensor lies inside the file.
    fn read(&self, name: &str, offset: u64, bytes: &mut [u8]) -> Result<()> {
        read_at(self.file, self.gguf.data_offset + offset, bytes)
            .map_err(|e| corrupt(format!("tensor \"{name}\" cannot be read; download the file again")).caused_by(e))
    }
}

#[cfg(unix)]
fn read_at(file: &File, at: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut at: u64, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, bytes, at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (at, bytes) = (at + count as u64, &mut bytes[count..]);
    }
    Ok(())
}

/// The kind that has a kernel of its own.
fn quantised(dtype: GgmlDType) -> Option<Quantised> {
    Some(match dtype {
        GgmlDType::Q4_0 => Quantised::Q4_0,
        GgmlDType::Q4_1 => Quantised::Q4_1,
        GgmlDType::Q5_0 => Quantised::Q5_0,
        GgmlDType::Q5_1 => Quantised::Q5_1,
        GgmlDType::Q8_0 => Quantised::Q8_0,
        GgmlDType::Q4K => Quantised::Q4K,
        GgmlDType::Q5K => Quantised::Q5K,
        GgmlDType::Q6K => Quantised::Q6K,
        _ => return None,
    })
}

fn halves(bytes: &[u8]) -> Vec<f16> {
    bytes.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes)).collect()
}

/// The weights as candle reads them, in 32 bits.
fn floats(dtype: GgmlDType, dims: Vec<usize>, bytes: &[u8], name: &str) -> Result<Vec<f32>> {
    let read = qtensor_from_ggml(dtype, bytes, dims, &Device::Cpu)
        .and_then(|tensor| tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1());
    read.map_err(|e| corrupt(format!("tensor \"{name}\" cannot be loaded; download the file again")).caused_by(e))
}

impl Shapes {
    fn of(gguf: &Gguf) -> Result<Self> {
        let family = Family::of(gguf)?;
        let key = |key: &str| format!("{}.{key}", family.name());
        let number = |name: &str| gguf.integer(&key(name));
        let (width, heads) = (number("embedding_length")?, number("attention.head_count")?);
        let head = match gguf.integer_if_any(&key("attention.key_length"))? {
            Some(head) => head,
            None if heads > 0 && width.is_multiple_of(heads) => width / heads,
            None => return Err(unfit()),
        };
        let shapes = Self {
            family,
            layers: number("block_count")?,
            width,
            heads,
            kv_heads: gguf.integer_if_any(&key("attention.head_count_kv"))?.unwrap_or(heads),
            head,
            hidden: number("feed_forward_length")?,
            vocabulary: gguf.texts("tokenizer.ggml.tokens")?.len() as u64,
            rope_base: gguf.float_if_any(&key("rope.freq_base"))?.unwrap_or(10_000.0) as f32,
            norm_epsilon: gguf.float_if_any(&key("attention.layer_norm_rms_epsilon"))?.unwrap_or(1e-5) as f32,
            window: gguf.integer_if_any(&key("attention.sliding_window"))?.filter(|window| *window > 0),
        };
        shapes.check_heads(gguf)?;
        if gguf.integer_if_any(&key("expert_count"))?.unwrap_or(0) > 1 {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "mixtures of experts are not supported; take a dense model",
            ));
        }
        let scaling = gguf.text_if_any(&key("rope.scaling.type"))?.unwrap_or("none");
        let factors =
            ["rope_freqs.weight", "rope_factors_long.weight"].iter().any(|name| gguf.tensors.contains_key(*name));
        if scaling != "none" || factors {
            let message = "the model scales its positions, which is not supported and would give wrong answers; take \
                           one without rope scaling";
            return Err(Error::new(ErrorKind::Unsupported, message).with("scaling", scaling));
        }
        Ok(shapes)
    }

    fn check_heads(&self, gguf: &Gguf) -> Result<()> {
        let sizes = [self.layers, self.width, self.heads, self.kv_heads, self.head, self.hidden];
        let fits = sizes.iter().all(|size| (1..1 << 24).contains(size))
            && self.heads.is_multiple_of(self.kv_heads)
            && self.head.is_multiple_of(2)
            && self.head <= WIDEST_HEAD;
        if !fits {
            return Err(unfit());
        }
        let rotated =
            gguf.integer_if_any(&format!("{}.rope.dimension_count", self.family.name()))?.unwrap_or(self.head);
        if rotated != self.head {
            let message =
                format!("{rotated} of {} dimensions are rotated; only models that rotate all are supported", self.head);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(())
    }

    fn query_width(&self) -> u64 {
        self.head * self.heads
    }

    fn kv_width(&self) -> u64 {
        self.head * self.kv_heads
    }

    /// Every tensor that is asked for is there, with the shape it must have.
    fn check_tensors(&self, gguf: &Gguf) -> Result<()> {
        let expect = |name: &str, dims: &[u64]| match gguf.tensors.get(name) {
            None => Err(corrupt(format!("tensor \"{name}\" is missing; expected one of shape {dims:?}"))),
            Some(tensor) if tensor.dims != dims => {
                Err(corrupt(format!("tensor \"{name}\" has the shape {:?}; expected {dims:?}", tensor.dims)))
            }
            Some(_) => Ok(()),
        };
        let (width, queries, keys) = (self.width, self.query_width(), self.kv_width());
        expect("token_embd.weight", &[width, self.vocabulary])?;
        expect("output_norm.weight", &[width])?;
        if gguf.tensors.contains_key("output.weight") {
            expect("output.weight", &[width, self.vocabulary])?;
        }
        for layer in 0..self.layers {
            let part = |part: &str, dims: &[u64]| expect(&format!("blk.{layer}.{part}.weight"), dims);
            let bias = |part: &str, dims: &[u64]| {
                let name = format!("blk.{layer}.{part}.bias");
                if gguf.tensors.contains_key(&name) { expect(&name, dims) } else { Ok(()) }
            };
            part("attn_norm", &[width])?;
            if self.family == Family::Phi3 {
                part("attn_qkv", &[width, queries + 2 * keys])?;
                part("ffn_up", &[width, 2 * self.hidden])?;
            } else {
                part("attn_q", &[width, queries])?;
                part("attn_k", &[width, keys])?;
                part("attn_v", &[width, keys])?;
                bias("attn_q", &[queries])?;
                bias("attn_k", &[keys])?;
                bias("attn_v", &[keys])?;
                part("ffn_gate", &[width, self.hidden])?;
                part("ffn_up", &[width, self.hidden])?;
            }
            if self.family.norms_heads() {
                part("attn_q_norm", &[self.head])?;
                part("attn_k_norm", &[self.head])?;
            }
            if self.family == Family::Gemma3 {
                part("post_attention_norm", &[width])?;
                part("post_ffw_norm", &[width])?;
            }
            part("attn_output", &[queries, width])?;
            part("ffn_norm", &[width])?;
            part("ffn_down", &[self.hidden, width])?;
        }
        Ok(())
    }
}

fn unfit() -> Error {
    corrupt("the sizes of the attention do not fit together; expected heads that share keys evenly")
}
