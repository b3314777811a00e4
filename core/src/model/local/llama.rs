//! Models of the llama architecture: checks that a file is one, whole and consistent, and loads it with candle.

use std::{collections::HashMap, fs::File, path::Path};

use candle_core::{
    Device, Shape, Tensor,
    quantized::gguf_file::{Content, TensorInfo, Value, VersionedMagic},
};
use candle_transformers::models::quantized_llama::{MAX_SEQ_LEN, ModelWeights};

use super::gguf::{Gguf, corrupt};
use crate::error::{Error, ErrorKind, Result};

/// The weights of a model. A clone shares them and has a memory (KV cache) of its own.
#[derive(Clone, Debug)]
pub(super) struct Llama {
    weights: ModelWeights,
    vocabulary: usize,
    read: usize,
}

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

impl Llama {
    /// Loads the weights of `path`, whose head is `gguf`.
    pub(super) fn load(gguf: &Gguf, path: &Path) -> Result<Self> {
        let shapes = Shapes::of(gguf)?;
        shapes.check_tensors(gguf)?;
        let mut file = File::open(path).map_err(|e| corrupt("the file cannot be opened again").caused_by(e))?;
        let weights = ModelWeights::from_gguf(content(gguf, &shapes), &mut file, &Device::Cpu)
            .map_err(|e| corrupt("the weights cannot be loaded; download the file again").caused_by(e))?;
        Ok(Self { weights, vocabulary: shapes.vocabulary as usize, read: 0 })
    }

    /// Tokens that fit: what the model was made for, and what candle's position tables hold.
    pub(super) fn context_length(gguf: &Gguf) -> Result<u64> {
        Ok(gguf.integer("llama.context_length")?.clamp(1, MAX_SEQ_LEN as u64))
    }

    /// Reads `tokens` after what was read before and gives the score of every token that may come next.
    ///
    /// # Errors
    /// `Corrupt` when the scores are no numbers, which damaged weights cause.
    pub(super) fn read(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let scores = self.forward(tokens).map_err(|e| {
            Error::unexpected("the model cannot compute the next token; please report this").caused_by(e)
        })?;
        self.read += tokens.len();
        if scores.len() != self.vocabulary || scores.iter().any(|score| !score.is_finite()) {
            return Err(corrupt("the weights give no numbers; the file is damaged, download it again"));
        }
        Ok(scores)
    }

    fn forward(&mut self, tokens: &[u32]) -> candle_core::Result<Vec<f32>> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        self.weights.forward(&input, self.read)?.squeeze(0)?.to_vec1()
    }
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

/// The checked head in candle's form, so that candle never reads the head itself.
fn content(gguf: &Gguf, shapes: &Shapes) -> Content {
    let whole = [
        ("llama.attention.head_count", shapes.heads),
        ("llama.attention.head_count_kv", shapes.kv_heads),
        ("llama.block_count", shapes.layers),
        ("llama.embedding_length", shapes.width),
        ("llama.rope.dimension_count", shapes.head()),
    ];
    let mut metadata: HashMap<_, _> =
        whole.into_iter().map(|(key, value)| (key.to_owned(), Value::U32(value as u32))).collect();
    metadata.insert("llama.rope.freq_base".into(), Value::F32(shapes.rope_base));
    metadata.insert("llama.attention.layer_norm_rms_epsilon".into(), Value::F32(shapes.norm_epsilon));
    metadata.insert("general.architecture".into(), Value::String("llama".into()));
    let tensor_infos = gguf.tensors.iter().map(|(name, tensor)| {
        let dims: Vec<_> = tensor.dims.iter().rev().map(|&dim| dim as usize).collect();
        let info = TensorInfo { ggml_dtype: tensor.dtype, shape: Shape::from(dims), offset: tensor.offset };
        (name.clone(), info)
    });
    let magic = if gguf.version == 2 { VersionedMagic::GgufV2 } else { VersionedMagic::GgufV3 };
    Content { magic, metadata, tensor_infos: tensor_infos.collect(), tensor_data_offset: gguf.data_offset }
}
