//! Models of the llama architecture: checks that a file is one, whole and consistent, and packs its weights.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use candle_core::{
    Device,
    quantized::{GgmlDType, ggml_file::qtensor_from_ggml},
};
use half::f16;

use super::{
    decoder::{Decoder, Layer, Turns},
    gguf::{Gguf, TensorInfo, corrupt},
    kernel::{Heads, Isa, Matrix, Quantised},
};
use crate::error::{Error, ErrorKind, Result};

/// Positions at most: their angles are kept in memory.
const MAX_POSITIONS: u64 = 1 << 17;

/// What the metadata says of the model, checked.
#[derive(Debug)]
struct Shapes {
    layers: u64,
    width: u64,
    heads: u64,
    kv_heads: u64,
    hidden: u64,
    vocabulary: u64,
    rope_base: f32,
    norm_epsilon: f32,
}

/// Tokens that fit: what the model was made for.
pub(super) fn context_length(gguf: &Gguf) -> Result<u64> {
    Ok(gguf.integer("llama.context_length")?.clamp(1, MAX_POSITIONS))
}

/// Loads the weights of `path`, whose head is `gguf`, for up to `positions` tokens. With `full_precision` weights take
/// 32 bits each, and nothing is rounded.
pub(super) fn load(gguf: &Gguf, path: &Path, positions: u64, full_precision: bool) -> Result<Decoder> {
    let shapes = Shapes::of(gguf)?;
    shapes.check_tensors(gguf)?;
    let file = File::open(path).map_err(|e| corrupt("the file cannot be opened again").caused_by(e))?;
    let mut weights = Weights { gguf, file, full_precision };
    let layer = |weights: &mut Weights<'_>, at: u64| {
        let name = |part: &str| format!("blk.{at}.{part}.weight");
        Ok(Layer {
            attention_norm: weights.numbers(&name("attn_norm"))?,
            query: weights.matrix(&name("attn_q"))?,
            key: weights.matrix(&name("attn_k"))?,
            value: weights.matrix(&name("attn_v"))?,
            output: weights.matrix(&name("attn_output"))?,
            feed_norm: weights.numbers(&name("ffn_norm"))?,
            gate: weights.matrix(&name("ffn_gate"))?,
            up: weights.matrix(&name("ffn_up"))?,
            down: weights.matrix(&name("ffn_down"))?,
        })
    };
    let head = shapes.head() as usize;
    Ok(Decoder {
        embedding: weights.matrix("token_embd.weight")?,
        layers: (0..shapes.layers).map(|at| layer(&mut weights, at)).collect::<Result<_>>()?,
        norm: weights.numbers("output_norm.weight")?,
        output: gguf.tensors.contains_key("output.weight").then(|| weights.matrix("output.weight")).transpose()?,
        heads: Heads { shared: shapes.kv_heads as usize, each: (shapes.heads / shapes.kv_heads) as usize, width: head },
        epsilon: shapes.norm_epsilon,
        turns: Turns::new(head, positions as usize, shapes.rope_base),
        isa: Isa::detect(),
    })
}

/// The tensors of a file, one at a time.
struct Weights<'a> {
    gguf: &'a Gguf,
    file: File,
    full_precision: bool,
}

impl<'a> Weights<'a> {
    fn matrix(&mut self, name: &str) -> Result<Matrix> {
        let (info, bytes) = self.bytes(name)?;
        let [cols, rows] = [info.dims[0] as usize, info.dims[1] as usize];
        let quantised = quantised(info.dtype).filter(|_| !self.full_precision);
        Ok(match (quantised, info.dtype) {
            (Some(kind), _) => Matrix::quantised(kind, rows, cols, &bytes),
            (None, GgmlDType::F16) if !self.full_precision => Matrix::half(rows, cols, &halves(&bytes)),
            _ => Matrix::float(rows, cols, &floats(info, &bytes, name)?),
        })
    }

    fn numbers(&mut self, name: &str) -> Result<Vec<f32>> {
        let (info, bytes) = self.bytes(name)?;
        floats(info, &bytes, name)
    }

    fn bytes(&mut self, name: &str) -> Result<(&'a TensorInfo, Vec<u8>)> {
        let gguf = self.gguf;
        let info = gguf.tensors.get(name).ok_or_else(|| corrupt(format!("tensor \"{name}\" is missing")))?;
        let unreadable = |e| corrupt(format!("tensor \"{name}\" cannot be read; download the file again")).caused_by(e);
        // The head was checked: every tensor lies inside the file.
        let mut bytes = vec![0; info.size as usize];
        self.file.seek(SeekFrom::Start(gguf.data_offset + info.offset)).map_err(unreadable)?;
        self.file.read_exact(&mut bytes).map_err(unreadable)?;
        Ok((info, bytes))
    }
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
fn floats(info: &TensorInfo, bytes: &[u8], name: &str) -> Result<Vec<f32>> {
    let dims = info.dims.iter().rev().map(|&dim| dim as usize).collect();
    let read = qtensor_from_ggml(info.dtype, bytes, dims, &Device::Cpu)
        .and_then(|tensor| tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1());
    read.map_err(|e| corrupt(format!("tensor \"{name}\" cannot be loaded; download the file again")).caused_by(e))
}

impl Shapes {
    fn of(gguf: &Gguf) -> Result<Self> {
        let architecture = gguf.text("general.architecture")?;
        if architecture != "llama" {
            let message = format!(
                "the file holds a model of architecture \"{architecture}\"; \"llama\" is supported (Llama, SmolLM, \
                 Mistral and other models converted as llama)"
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let number = |key: &str| gguf.integer(&format!("llama.{key}"));
        let shapes = Self {
            layers: number("block_count")?,
            width: number("embedding_length")?,
            heads: number("attention.head_count")?,
            kv_heads: gguf
                .integer_if_any("llama.attention.head_count_kv")?
                .map_or_else(|| number("attention.head_count"), Ok)?,
            hidden: number("feed_forward_length")?,
            vocabulary: gguf.texts("tokenizer.ggml.tokens")?.len() as u64,
            rope_base: gguf.float_if_any("llama.rope.freq_base")?.unwrap_or(10_000.0) as f32,
            norm_epsilon: gguf.float_if_any("llama.attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5) as f32,
        };
        shapes.check_heads(gguf)?;
        if gguf.integer_if_any("llama.expert_count")?.unwrap_or(0) > 1 {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "mixtures of experts are not supported; take a dense model",
            ));
        }
        let scaling = gguf.text_if_any("llama.rope.scaling.type")?.unwrap_or("none");
        if scaling != "none" || gguf.tensors.contains_key("rope_freqs.weight") {
            let message = "the model scales its positions, which is not supported and would give wrong answers; take \
                           one without rope scaling";
            return Err(Error::new(ErrorKind::Unsupported, message).with("scaling", scaling));
        }
        Ok(shapes)
    }

    fn check_heads(&self, gguf: &Gguf) -> Result<()> {
        let fits = self.layers > 0
            && self.heads > 0
            && self.kv_heads > 0
            && self.width.is_multiple_of(self.heads)
            && self.heads.is_multiple_of(self.kv_heads)
            && (self.width / self.heads).is_multiple_of(2);
        if !fits {
            return Err(corrupt(
                "the sizes of the attention do not fit together; expected heads that divide the width",
            ));
        }
        let rotated = gguf.integer_if_any("llama.rope.dimension_count")?.unwrap_or(self.head());
        if rotated != self.head() {
            let message = format!(
                "{rotated} of {} dimensions are rotated; only models that rotate all are supported",
                self.head()
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(())
    }

    fn head(&self) -> u64 {
        self.width / self.heads
    }

    /// Every tensor that candle will ask for is there, with the shape it must have: candle computes with what it gets.
    fn check_tensors(&self, gguf: &Gguf) -> Result<()> {
        let expect = |name: &str, dims: &[u64]| match gguf.tensors.get(name) {
            None => Err(corrupt(format!("tensor \"{name}\" is missing; expected one of shape {dims:?}"))),
            Some(tensor) if tensor.dims != dims => {
                Err(corrupt(format!("tensor \"{name}\" has the shape {:?}; expected {dims:?}", tensor.dims)))
            }
            Some(_) => Ok(()),
        };
        let kv_width = self.head() * self.kv_heads;
        expect("token_embd.weight", &[self.width, self.vocabulary])?;
        expect("output_norm.weight", &[self.width])?;
        if gguf.tensors.contains_key("output.weight") {
            expect("output.weight", &[self.width, self.vocabulary])?;
        }
        for layer in 0..self.layers {
            let part = |part: &str, dims: &[u64]| expect(&format!("blk.{layer}.{part}.weight"), dims);
            part("attn_norm", &[self.width])?;
            part("attn_q", &[self.width, self.width])?;
            part("attn_k", &[self.width, kv_width])?;
            part("attn_v", &[self.width, kv_width])?;
            part("attn_output", &[self.width, self.width])?;
            part("ffn_norm", &[self.width])?;
            part("ffn_gate", &[self.width, self.hidden])?;
            part("ffn_up", &[self.width, self.hidden])?;
            part("ffn_down", &[self.hidden, self.width])?;
        }
        Ok(())
    }
}
