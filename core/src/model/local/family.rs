//! Decoders of checkpoints: checks that one is of a family that is known, whole and consistent, and packs its weights.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    panic::resume_unwind,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    decoder::{Decoder, Dense, Gate, Layer, Pairs},
    gguf::{Gguf, corrupt},
    kernel::{Heads, Isa},
    rope::{Rope, Scaling},
    weights::{Checkpoint, Weights},
};
use crate::error::{Error, ErrorKind, Result};

/// Positions at most: as many as any of these models was made for.
const MAX_POSITIONS: u64 = 1 << 17;

/// Numbers of a head at most, twice those of any model.
const WIDEST_HEAD: u64 = 512;

/// Architectures that can be loaded, for messages.
const SUPPORTED: &str = "llama (Llama, SmolLM, Mistral), qwen2, qwen3, gemma3 and phi3";

/// Layers of the largest Gemma 3, whose attention is scaled by another rule.
pub(super) const GEMMA3_27B_LAYERS: u64 = 62;

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
                let message = format!("the file holds a model of architecture \"{other}\"; supported are {SUPPORTED}");
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
    /// Numbers of a head that are turned by its position.
    rotated: u64,
    rope_base: f64,
    rope_scaling: Scaling,
    rope_magnitude: f64,
    norm_epsilon: f32,
    /// Positions that tokens of some layers look back on.
    window: Option<u64>,
    /// One of so many layers looks back on all positions; none does where it is 0.
    full_every: u64,
}

/// Tokens that fit: what the model was made for.
pub(super) fn context_length(gguf: &Gguf) -> Result<u64> {
    let family = Family::of(gguf)?;
    Ok(gguf.integer(&format!("{}.context_length", family.name()))?.clamp(1, MAX_POSITIONS))
}

/// Refuses what [`load`] would refuse by the head of the checkpoint alone.
pub(super) fn check(gguf: &Gguf) -> Result<()> {
    Shapes::of(gguf)?.check_tensors(gguf)
}

/// Loads the weights of `checkpoint` for up to `positions` tokens. With `full_precision` weights take 32 bits each, and
/// nothing is rounded.
pub(super) fn load(checkpoint: &Checkpoint, positions: u64, full_precision: bool) -> Result<Decoder> {
    let gguf = &checkpoint.head;
    let shapes = Shapes::of(gguf)?;
    shapes.check_tensors(gguf)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let weights = Weights { checkpoint, full_precision, threads };
    // The converter of llama.cpp lays numbers that are turned together side by side, for this one family.
    let neighbours = shapes.family == Family::Llama && checkpoint.is_converted();
    let head = shapes.head as usize;
    Ok(Decoder {
        embedding: weights.matrix("token_embd.weight")?,
        embedding_scale: if shapes.family == Family::Gemma3 { (shapes.width as f32).sqrt() } else { 1.0 },
        layers: weights.layers(&shapes)?,
        norm: weights.numbers("output_norm.weight")?,
        output: gguf.tensors.contains_key("output.weight").then(|| weights.matrix("output.weight")).transpose()?,
        heads: Heads { shared: shapes.kv_heads as usize, each: (shapes.heads / shapes.kv_heads) as usize, width: head },
        epsilon: shapes.norm_epsilon,
        pairs: if neighbours { Pairs::Neighbours } else { Pairs::Halves },
        gate: if shapes.family == Family::Gemma3 { Gate::Gelu } else { Gate::Silu },
        attention_scale: 1.0 / (shapes.attention_width() as f32).sqrt(),
        ropes: weights.ropes(&shapes, positions)?,
        isa: Isa::detect(),
    })
}

impl Weights<'_> {
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
        let local = shapes.is_local(at);
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
            window: shapes.window.filter(|_| local).map(|window| window as usize),
            rope: usize::from(local && family == Family::Gemma3),
        })
    }

    /// The rotation of layers, and for Gemma 3 that of layers with a window.
    fn ropes(&self, shapes: &Shapes, positions: u64) -> Result<Vec<Rope>> {
        let gguf = &self.checkpoint.head;
        let factors = shapes.rope_factors(gguf, positions)?.map(|name| self.numbers(name)).transpose()?;
        let Shapes { rope_base, rope_scaling, rope_magnitude, .. } = shapes;
        let rotated = shapes.rotated as usize;
        let mut ropes = vec![Rope::new(rotated, *rope_base, factors.as_deref(), rope_scaling, *rope_magnitude)];
        if shapes.family == Family::Gemma3 {
            let base = gguf.float_if_any("gemma3.rope.freq_base_swa")?.unwrap_or(10_000.0);
            ropes.push(Rope::new(rotated, base, None, &Scaling::None, *rope_magnitude));
        }
        Ok(ropes)
    }

    fn dense(&self, layer: u64, part: &str) -> Result<Dense> {
        let weight = self.matrix(&format!("blk.{layer}.{part}.weight"))?;
        let bias = format!("blk.{layer}.{part}.bias");
        let bias = self.checkpoint.head.tensors.contains_key(&bias).then(|| self.numbers(&bias)).transpose()?;
        Ok(Dense { weight, bias })
    }
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
        let (rope_scaling, rope_magnitude) = scaling(gguf, family)?;
        let shapes = Self {
            family,
            layers: number("block_count")?,
            width,
            heads,
            kv_heads: gguf.integer_if_any(&key("attention.head_count_kv"))?.unwrap_or(heads),
            head,
            hidden: number("feed_forward_length")?,
            vocabulary: gguf.texts("tokenizer.ggml.tokens")?.len() as u64,
            rotated: gguf.integer_if_any(&key("rope.dimension_count"))?.unwrap_or(head),
            rope_base: gguf.float_if_any(&key("rope.freq_base"))?.unwrap_or(10_000.0),
            rope_scaling,
            rope_magnitude,
            norm_epsilon: gguf.float_if_any(&key("attention.layer_norm_rms_epsilon"))?.unwrap_or(1e-5) as f32,
            window: gguf.integer_if_any(&key("attention.sliding_window"))?.filter(|window| *window > 0),
            full_every: match family {
                Family::Gemma3 => gguf.integer_if_any(&key("attention.sliding_window_pattern"))?.unwrap_or(6),
                _ => 0,
            },
        };
        shapes.check_heads()?;
        if gguf.integer_if_any(&key("expert_count"))?.unwrap_or(0) > 1 {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "mixtures of experts are not supported; take a dense model",
            ));
        }
        Ok(shapes)
    }

    fn check_heads(&self) -> Result<()> {
        let sizes = [self.layers, self.width, self.heads, self.kv_heads, self.head, self.hidden];
        let fits = sizes.iter().all(|size| (1..1 << 24).contains(size))
            && self.heads.is_multiple_of(self.kv_heads)
            && self.head.is_multiple_of(2)
            && self.head <= WIDEST_HEAD
            && self.rotated.is_multiple_of(2)
            && (1..=self.head).contains(&self.rotated)
            && (self.family != Family::Llama || self.rotated == self.head)
            && self.rope_base > 1.0;
        if fits { Ok(()) } else { Err(unfit()) }
    }

    /// Whether a layer looks back on a window only.
    fn is_local(&self, layer: u64) -> bool {
        let full = self.full_every > 0 && (layer + 1).is_multiple_of(self.full_every);
        self.window.is_some() && matches!(self.family, Family::Gemma3 | Family::Phi3) && !full
    }

    /// What scores of the attention are divided by, squared.
    fn attention_width(&self) -> u64 {
        let largest = self.family == Family::Gemma3 && self.layers == GEMMA3_27B_LAYERS;
        if largest { self.width / self.heads } else { self.head }
    }

    /// The tensor that speeds of the rotation are divided by, for a context of so many positions.
    fn rope_factors(&self, gguf: &Gguf, positions: u64) -> Result<Option<&'static str>> {
        let key = format!("{}.rope.scaling.original_context_length", self.family.name());
        let original = gguf.integer_if_any(&key)?.unwrap_or(context_length(gguf)?);
        let by_length = if positions > original { "rope_factors_long.weight" } else { "rope_factors_short.weight" };
        Ok(["rope_freqs.weight", by_length].into_iter().find(|name| gguf.tensors.contains_key(*name)))
    }

    fn query_width(&self) -> u64 {
        self.head * self.heads
    }

    fn kv_width(&self) -> u64 {
        self.head * self.kv_heads
    }

    /// Every tensor that is asked for is there, with the shape it must have, and there is no other.
    fn check_tensors(&self, gguf: &Gguf) -> Result<()> {
        let mut unknown: BTreeSet<_> = gguf.tensors.keys().map(String::as_str).collect();
        let mut expect = |name: &str, dims: &[u64], needed: bool| match gguf.tensors.get(name) {
            None if needed => Err(corrupt(format!("tensor \"{name}\" is missing; expected one of shape {dims:?}"))),
            Some(tensor) if tensor.dims != dims => {
                Err(corrupt(format!("tensor \"{name}\" has the shape {:?}; expected {dims:?}", tensor.dims)))
            }
            _ => {
                unknown.remove(name);
                Ok(())
            }
        };
        let (width, queries, keys) = (self.width, self.query_width(), self.kv_width());
        expect("token_embd.weight", &[width, self.vocabulary], true)?;
        expect("output_norm.weight", &[width], true)?;
        expect("output.weight", &[width, self.vocabulary], false)?;
        if self.family == Family::Phi3 || self.family == Family::Llama {
            for name in ["rope_freqs", "rope_factors_long", "rope_factors_short"] {
                expect(&format!("{name}.weight"), &[self.rotated / 2], false)?;
            }
        }
        for layer in 0..self.layers {
            let mut part = |part: &str, dims: &[u64]| expect(&format!("blk.{layer}.{part}.weight"), dims, true);
            part("attn_norm", &[width])?;
            part("attn_output", &[queries, width])?;
            part("ffn_norm", &[width])?;
            part("ffn_down", &[self.hidden, width])?;
            if self.family == Family::Phi3 {
                part("attn_qkv", &[width, queries + 2 * keys])?;
                part("ffn_up", &[width, 2 * self.hidden])?;
            } else {
                part("attn_q", &[width, queries])?;
                part("attn_k", &[width, keys])?;
                part("attn_v", &[width, keys])?;
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
            if self.family != Family::Phi3 {
                for (part, dims) in [("attn_q", queries), ("attn_k", keys), ("attn_v", keys)] {
                    expect(&format!("blk.{layer}.{part}.bias"), &[dims], false)?;
                }
            }
            // Speeds of the rotation that old files have, and nobody reads.
            expect(&format!("blk.{layer}.attn_rot_embd.weight"), &[self.rotated / 2], false)?;
        }
        match unknown.first() {
            None => Ok(()),
            Some(name) => {
                let message = format!(
                    "the model has the tensor \"{name}\", which is none of its architecture as it is supported, and without \
                     which it would give wrong answers"
                );
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }
}

/// How the file stretches positions, and what it multiplies cosines and sines with.
fn scaling(gguf: &Gguf, family: Family) -> Result<(Scaling, f64)> {
    let key = |key: &str| format!("{}.{key}", family.name());
    let number = |name: &str| Ok::<_, Error>(gguf.float_if_any(&key(name))?.filter(|number| *number > 0.0));
    let factor = match number("rope.scaling.factor")? {
        Some(factor) => factor,
        None => number("rope.scale_linear")?.unwrap_or(1.0),
    };
    let magnitude = number("rope.scaling.attn_factor")?.unwrap_or(1.0);
    let scaling = match gguf.text_if_any(&key("rope.scaling.type"))?.unwrap_or("linear") {
        "none" => Scaling::None,
        // Of the long form the tensors tell the rest.
        "linear" | "longrope" => Scaling::Linear(factor),
        "yarn" if family != Family::Gemma3 => {
            let original = gguf.integer_if_any(&key("rope.scaling.original_context_length"))?;
            Scaling::Yarn { factor, original_context: original.unwrap_or(context_length(gguf)?).max(1) as f64 }
        }
        other => {
            let message = format!(
                "the model stretches its positions in the way \"{other}\", which would give wrong answers here; \"linear\", \
                 \"longrope\" and, but for gemma3, \"yarn\" are supported"
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    Ok((scaling, magnitude))
}

fn unfit() -> Error {
    corrupt("the sizes of the attention do not fit together; expected heads that share keys evenly")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{gguf::Value, testing},
        *,
    };

    fn with(key: &str, value: Value) -> Gguf {
        let mut gguf = testing::tiny_gguf();
        gguf.metadata.insert(key.into(), value);
        gguf
    }

    fn refusal(gguf: &Gguf) -> Error {
        Shapes::of(gguf).and_then(|shapes| shapes.check_tensors(gguf)).unwrap_err()
    }

    #[test]
    fn what_is_not_supported_is_told_with_what_is() {
        let gguf = testing::tiny_gguf();
        Shapes::of(&gguf).unwrap().check_tensors(&gguf).unwrap();
        let error = refusal(&with("general.architecture", Value::Text("mamba".into())));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("\"mamba\"") && error.message().contains(SUPPORTED), "{error}");
        let error = refusal(&with("llama.rope.scaling.type", Value::Text("su".into())));
        assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("\"su\""), "{error}");
        let error = refusal(&with("llama.expert_count", Value::Integer(8)));
        assert_eq!(error.kind(), ErrorKind::Unsupported);

        let mut gguf = testing::tiny_gguf();
        let extra = gguf.tensors["blk.0.attn_norm.weight"].clone();
        gguf.tensors.insert("blk.0.attn_output.bias".into(), extra);
        let error = refusal(&gguf);
        assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("attn_output.bias"), "{error}");
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        for (key, number) in [("rope.dimension_count", 6), ("attention.head_count_kv", 3), ("attention.key_length", 0)]
        {
            assert_eq!(
                refusal(&with(&format!("llama.{key}"), Value::Integer(number))).kind(),
                ErrorKind::Corrupt,
                "{key}"
            );
        }
        assert_eq!(refusal(&with("llama.rope.freq_base", Value::Float(-1.0))).kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn factors_are_those_of_the_length() {
        let mut gguf = with("llama.rope.scaling.original_context_length", Value::Integer(32));
        let shapes = Shapes::of(&gguf).unwrap();
        assert_eq!(shapes.rope_factors(&gguf, 64).unwrap(), None);
        let extra = gguf.tensors["blk.0.attn_norm.weight"].clone();
        for name in ["rope_factors_long.weight", "rope_factors_short.weight"] {
            gguf.tensors.insert(name.into(), extra.clone());
        }
        assert_eq!(shapes.rope_factors(&gguf, 32).unwrap(), Some("rope_factors_short.weight"));
        assert_eq!(shapes.rope_factors(&gguf, 33).unwrap(), Some("rope_factors_long.weight"));
    }
}
