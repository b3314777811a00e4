//! `config.json` of a chat model, as the metadata of a GGUF file.

use std::{collections::BTreeMap, f64::consts::TAU};

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::{
    super::{family::GEMMA3_27B_LAYERS, gguf::Value},
    corrupt,
};
use crate::error::{Error, ErrorKind, Result};

/// What it says, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    model_type: String,
    pub(super) vocab_size: u64,
    hidden_size: u64,
    intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    max_position_embeddings: u64,
    rms_norm_eps: f64,
    hidden_act: Option<String>,
    /// What Gemma has in its place; files may have both, and then this one counts.
    hidden_activation: Option<String>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Map<String, Json>>,
    /// Since version 5 of transformers, in place of the two before it.
    rope_parameters: Option<Map<String, Json>>,
    rope_local_base_freq: Option<f64>,
    partial_rotary_factor: Option<f64>,
    original_max_position_embeddings: Option<u64>,
    sliding_window: Option<u64>,
    sliding_window_pattern: Option<u64>,
    /// The same, as later versions of transformers name it; files may have both.
    #[serde(rename = "_sliding_window_pattern")]
    window_pattern: Option<u64>,
    layer_types: Option<Vec<String>>,
    #[serde(default)]
    use_sliding_window: bool,
    tie_word_embeddings: Option<bool>,
    query_pre_attn_scalar: Option<f64>,
    final_logit_softcapping: Option<f64>,
    attn_logit_softcapping: Option<f64>,
    #[serde(rename = "quantization_config")]
    quantization: Option<Json>,
    pub(super) bos_token_id: Option<Json>,
    pub(super) eos_token_id: Option<Json>,
}

impl Config {
    /// The architecture, by its name in GGUF files.
    fn architecture(&self) -> Result<&'static str> {
        match self.model_type.as_str() {
            "llama" | "mistral" => Ok("llama"),
            "qwen2" => Ok("qwen2"),
            "qwen3" => Ok("qwen3"),
            "gemma3_text" => Ok("gemma3"),
            "phi3" => Ok("phi3"),
            other => Err(unsupported(format!(
                "the folder holds a model of type \"{other}\"; supported are \"llama\", \"mistral\", \"qwen2\", \"qwen3\", \
                 \"gemma3_text\" and \"phi3\""
            ))),
        }
    }

    fn is_gemma(&self) -> bool {
        self.model_type == "gemma3_text"
    }

    /// Whether norms multiply with one more than they say.
    pub(super) fn norms_are_from_one(&self) -> bool {
        self.is_gemma()
    }

    /// Whether the scores are products with the embedding.
    pub(super) fn is_tied(&self) -> bool {
        self.tie_word_embeddings.unwrap_or(self.is_gemma())
    }

    /// The metadata that the loader asks for.
    pub(super) fn metadata(&self) -> Result<BTreeMap<String, Value>> {
        let architecture = self.architecture()?;
        self.check()?;
        let mut all = BTreeMap::from([("general.architecture".to_owned(), Value::Text(architecture.into()))]);
        let mut set = |key: &str, value: Value| drop(all.insert(format!("{architecture}.{key}"), value));
        for (key, number) in [
            ("block_count", self.num_hidden_layers),
            ("context_length", self.max_position_embeddings),
            ("embedding_length", self.hidden_size),
            ("feed_forward_length", self.intermediate_size),
            ("attention.head_count", self.num_attention_heads),
            ("attention.head_count_kv", self.num_key_value_heads.unwrap_or(self.num_attention_heads)),
            ("attention.key_length", self.head()?),
            ("rope.dimension_count", self.rotated()?),
        ] {
            set(key, integer(number)?);
        }
        set("attention.layer_norm_rms_epsilon", Value::Float(self.rms_norm_eps));
        set("rope.freq_base", Value::Float(self.rope_base("full_attention")));
        if self.is_gemma() {
            set("rope.freq_base_swa", Value::Float(self.rope_base_of_windows()));
            set("attention.sliding_window_pattern", integer(self.full_every()?)?);
        }
        // The others have windows in none of their layers, or in all.
        if let Some(window) = self.sliding_window.filter(|_| self.is_gemma() || architecture == "phi3") {
            set("attention.sliding_window", integer(window)?);
        }
        self.add_scaling(&mut set)?;
        Ok(all)
    }

    /// What would change the answers, and is not computed.
    fn check(&self) -> Result<()> {
        if self.quantization.is_some() {
            return Err(unsupported(
                "the weights in the folder are quantised in a form of transformers; take the original model, or a GGUF file",
            ));
        }
        if self.use_sliding_window {
            return Err(unsupported(
                "windows over some layers of Qwen are not supported; set use_sliding_window to false",
            ));
        }
        if self.final_logit_softcapping.is_some() || self.attn_logit_softcapping.is_some() {
            return Err(unsupported("scores that are capped (softcapping) are not supported"));
        }
        let wanted = if self.is_gemma() { "gelu_pytorch_tanh" } else { "silu" };
        let act = self.hidden_activation.as_deref().or(self.hidden_act.as_deref());
        if let Some(other) = act.filter(|act| *act != wanted) {
            return Err(unsupported(format!("gates of the kind \"{other}\" are not supported; \"{wanted}\" is")));
        }
        // The largest Gemma 3 divides by another number, as the loader knows.
        let by = if self.is_gemma() && self.num_hidden_layers == GEMMA3_27B_LAYERS {
            self.hidden_size / self.num_attention_heads.max(1)
        } else {
            self.head()?
        };
        if self.query_pre_attn_scalar.is_some_and(|scalar| !is(scalar, by as f64)) {
            return Err(unsupported("a query_pre_attn_scalar other than the width of a head is not supported"));
        }
        Ok(())
    }

    fn head(&self) -> Result<u64> {
        let divided = self.hidden_size.checked_div(self.num_attention_heads);
        let head = self.head_dim.or(divided).filter(|head| (1..=1 << 12).contains(head));
        head.ok_or_else(unfit)
    }

    /// Numbers of a head that are turned.
    fn rotated(&self) -> Result<u64> {
        let part = self.partial_rotary_factor.or_else(|| number(self.rope("full_attention")?, "partial_rotary_factor"));
        let (head, part) = (self.head()?, part.unwrap_or(1.0));
        if (0.0..=1.0).contains(&part) { Ok((head as f64 * part) as u64) } else { Err(unfit()) }
    }

    /// How positions of a kind of layers are turned, where the file says so.
    fn rope(&self, layers: &str) -> Option<&Map<String, Json>> {
        let all = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref())?;
        Some(all.get(layers).and_then(Json::as_object).unwrap_or(all))
    }

    fn rope_base(&self, layers: &str) -> f64 {
        let stated = self.rope(layers).and_then(|rope| number(rope, "rope_theta"));
        // Models that leave it out mean what their class has.
        self.rope_theta.or(stated).unwrap_or(if self.is_gemma() { 1_000_000.0 } else { 10_000.0 })
    }

    fn rope_base_of_windows(&self) -> f64 {
        let rope = self.rope_parameters.as_ref().and_then(|all| all.get("sliding_attention")?.as_object());
        let stated = rope.and_then(|rope| number(rope, "rope_theta"));
        self.rope_local_base_freq.or(stated).unwrap_or(10_000.0)
    }

    /// One of so many layers looks back on all positions.
    fn full_every(&self) -> Result<u64> {
        let Some(types) = &self.layer_types else {
            return Ok(self.window_pattern.or(self.sliding_window_pattern).unwrap_or(6));
        };
        let is_full = |kind: &String| kind == "full_attention";
        let every = types.iter().position(is_full).map_or(0, |at| at + 1);
        let regular =
            types.iter().enumerate().all(|(at, kind)| is_full(kind) == (every > 0 && (at + 1).is_multiple_of(every)));
        if regular { Ok(every as u64) } else { Err(unsupported("layer_types without a pattern are not supported")) }
    }

    /// The kind of the scaling.
    fn scaling(&self) -> Option<(&str, &Map<String, Json>)> {
        let rope = self.rope("full_attention")?;
        let kind = rope.get("rope_type").or_else(|| rope.get("type"))?.as_str()?;
        (kind != "default").then_some((kind, rope))
    }

    fn original_context(&self, rope: &Map<String, Json>) -> u64 {
        let stated = rope.get("original_max_position_embeddings").and_then(Json::as_u64);
        stated.or(self.original_max_position_embeddings).unwrap_or(self.max_position_embeddings).max(2)
    }

    fn add_scaling(&self, set: &mut impl FnMut(&str, Value)) -> Result<()> {
        let Some((kind, rope)) = self.scaling() else { return Ok(()) };
        let original = self.original_context(rope);
        let attention = number(rope, "attention_factor");
        match kind {
            "linear" => set("rope.scaling.factor", Value::Float(number(rope, "factor").unwrap_or(1.0))),
            // Its factors are a tensor.
            "llama3" => return Ok(()),
            "yarn" => {
                let factor = number(rope, "factor").unwrap_or(1.0);
                let told = |name: &str, usual: f64| number(rope, name).is_none_or(|value| is(value, usual));
                if !told("beta_fast", 32.0) || !told("beta_slow", 1.0) || rope.contains_key("mscale") {
                    return Err(unsupported(
                        "YaRN with numbers of its own (beta_fast, beta_slow, mscale) is not supported",
                    ));
                }
                set("rope.scaling.factor", Value::Float(factor));
                set("rope.scaling.original_context_length", integer(original)?);
                if let Some(attention) = attention {
                    // The loader multiplies with what is usual.
                    let usual = 1.0 + 0.1 * factor.max(1.0).ln();
                    set("rope.scaling.attn_factor", Value::Float(attention / usual));
                }
            }
            "longrope" | "su" => {
                let scale = self.max_position_embeddings as f64 / original as f64;
                let usual = if scale > 1.0 { (1.0 + scale.ln() / (original as f64).ln()).sqrt() } else { 1.0 };
                set("rope.scaling.attn_factor", Value::Float(attention.unwrap_or(usual)));
                set("rope.scaling.original_context_length", integer(original)?);
                set("rope.scaling.type", Value::Text("longrope".into()));
                return Ok(());
            }
            // The loader refuses it, and says what it knows.
            _ => {}
        }
        set("rope.scaling.type", Value::Text(kind.into()));
        Ok(())
    }

    /// Tensors that speeds of the rotation are divided by, which a GGUF file has and a folder has not.
    pub(super) fn rope_factors(&self) -> Result<Vec<(&'static str, Vec<f32>)>> {
        match self.scaling() {
            Some(("llama3", rope)) => Ok(vec![("rope_freqs.weight", self.llama3_factors(rope)?)]),
            Some(("longrope" | "su", rope)) => {
                let list = |key: &str| {
                    let list = rope.get(key).and_then(Json::as_array);
                    let numbers = list.and_then(|list| list.iter().map(|one| Some(one.as_f64()? as f32)).collect());
                    numbers
                        .ok_or_else(|| corrupt(format!("config.json has no {key} in rope_scaling; expected numbers")))
                };
                Ok(vec![
                    ("rope_factors_long.weight", list("long_factor")?),
                    ("rope_factors_short.weight", list("short_factor")?),
                ])
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Slow pairs are divided, fast ones left, those between mixed: `_compute_llama3_parameters` of transformers.
    fn llama3_factors(&self, rope: &Map<String, Json>) -> Result<Vec<f32>> {
        let get = |key: &str| {
            number(rope, key)
                .ok_or_else(|| corrupt(format!("config.json has no {key} in rope_scaling; expected a number")))
        };
        let (factor, low, high) = (get("factor")?, get("low_freq_factor")?, get("high_freq_factor")?);
        let (original, count) = (self.original_context(rope) as f64, self.rotated()?);
        let base = self.rope_base("full_attention");
        let of = |pair: u64| {
            let wave = TAU / base.powf(-2.0 * pair as f64 / count as f64);
            let kept = (original / wave - low) / (high - low);
            match wave {
                wave if wave < original / high => 1.0,
                wave if wave > original / low => factor,
                _ => 1.0 / ((1.0 - kept) / factor + kept),
            }
        };
        Ok((0..count / 2).map(|pair| of(pair) as f32).collect())
    }

    /// The name in a GGUF file of a tensor; none of one that no supported model has.
    pub(super) fn tensor(&self, name: &str) -> Option<String> {
        match name {
            "model.embed_tokens.weight" => return Some("token_embd.weight".into()),
            "model.norm.weight" => return Some("output_norm.weight".into()),
            "lm_head.weight" => return Some("output.weight".into()),
            _ => {}
        }
        let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
        layer.parse::<u32>().ok()?;
        let (part, kind) = rest.rsplit_once('.')?;
        let part = match part {
            "input_layernorm" => "attn_norm",
            "self_attn.q_proj" => "attn_q",
            "self_attn.k_proj" => "attn_k",
            "self_attn.v_proj" => "attn_v",
            "self_attn.qkv_proj" => "attn_qkv",
            "self_attn.o_proj" => "attn_output",
            "self_attn.q_norm" => "attn_q_norm",
            "self_attn.k_norm" => "attn_k_norm",
            "post_attention_layernorm" if self.is_gemma() => "post_attention_norm",
            "pre_feedforward_layernorm" | "post_attention_layernorm" => "ffn_norm",
            "post_feedforward_layernorm" => "post_ffw_norm",
            "mlp.gate_proj" => "ffn_gate",
            "mlp.up_proj" | "mlp.gate_up_proj" => "ffn_up",
            "mlp.down_proj" => "ffn_down",
            _ => return None,
        };
        Some(format!("blk.{layer}.{part}.{kind}"))
    }
}

fn is(number: f64, other: f64) -> bool {
    (number - other).abs() < 1e-6
}

fn number(rope: &Map<String, Json>, key: &str) -> Option<f64> {
    rope.get(key)?.as_f64()
}

fn integer(number: u64) -> Result<Value> {
    i64::try_from(number)
        .map(Value::Integer)
        .map_err(|_| corrupt("config.json has a size above 2^63; expected a smaller one"))
}

fn unfit() -> Error {
    corrupt("the sizes in config.json do not fit together; expected heads that divide the width")
}

fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}
