//! A tiny model of the llama architecture, made up in memory, so that tests need no download.

use std::{collections::HashMap, io::Cursor, sync::Arc};

use candle_core::{
    Device, Tensor,
    quantized::{GgmlDType, QTensor, gguf_file},
};
use gguf_file::Value;

use super::{family, gguf::Gguf, resident::MemoryBudget, scheduler::Writer, weights::Checkpoint};

const TEMPLATE: &str = "{% for m in messages %}{% if m['role'] == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}\
{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// The characters of bytes 0 to 255 in a byte-level vocabulary.
fn byte_chars() -> Vec<String> {
    let mut next = 0x100;
    let chars = (0..=u8::MAX).map(|byte| {
        let itself = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let c = if itself { u32::from(byte) } else { next };
        next += u32::from(!itself);
        char::from_u32(c).unwrap().to_string()
    });
    chars.collect()
}

/// Numbers that look random and are always the same.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(next).collect()
}

/// The bytes of a whole GGUF file: 2 layers, width 32, 260 tokens, a context of 64.
pub(super) fn tiny_file() -> Vec<u8> {
    tiny_file_of(64)
}

/// The same with another context.
pub(super) fn tiny_file_of(context: u32) -> Vec<u8> {
    tiny_file_with(context, TEMPLATE, &[])
}

/// The same with another chat template, and with more `controls` from token 260 on.
pub(super) fn tiny_file_with(context: u32, template: &str, controls: &[&str]) -> Vec<u8> {
    let mut tokens = vec!["<|endoftext|>".to_owned(), "<|im_start|>".to_owned(), "<|im_end|>".to_owned()];
    tokens.extend(byte_chars());
    tokens.push("\u{120}t".into());
    tokens.extend(controls.iter().map(ToString::to_string));
    let vocabulary = tokens.len();
    let is_control = |token| token < 3 || token >= vocabulary - controls.len();
    let kinds = (0..vocabulary).map(|token| Value::I32(if is_control(token) { 3 } else { 1 })).collect();
    let text = |text: &str| Value::String(text.into());
    let metadata = [
        ("general.architecture", text("llama")),
        ("llama.block_count", Value::U32(2)),
        ("llama.context_length", Value::U32(context)),
        ("llama.embedding_length", Value::U32(32)),
        ("llama.feed_forward_length", Value::U32(64)),
        ("llama.attention.head_count", Value::U32(4)),
        ("llama.attention.head_count_kv", Value::U32(2)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.dimension_count", Value::U32(8)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("smollm")),
        ("tokenizer.ggml.tokens", Value::Array(tokens.iter().map(|token| text(token)).collect())),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
        ("tokenizer.ggml.merges", Value::Array(vec![text("\u{120} t")])),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
        ("tokenizer.ggml.eos_token_id", Value::U32(2)),
        ("tokenizer.chat_template", text(template)),
    ];
    let mut tensors: Vec<(String, QTensor)> = Vec::new();
    let mut add = |name: String, rows: usize, width: usize| {
        let norm = rows == 0;
        let values = if norm { vec![1.0; width] } else { numbers(tensors.len() as u64 + 7, rows * width) };
        let tensor = Tensor::new(values, &Device::Cpu).unwrap();
        let tensor = if norm { tensor } else { tensor.reshape((rows, width)).unwrap() };
        let dtype = if norm { GgmlDType::F32 } else { GgmlDType::Q8_0 };
        tensors.push((name, QTensor::quantize(&tensor, dtype).unwrap()));
    };
    add("token_embd.weight".into(), vocabulary, 32);
    add("output_norm.weight".into(), 0, 32);
    for layer in 0..2 {
        let shapes = [
            ("attn_norm", 0, 32),
            ("attn_q", 32, 32),
            ("attn_k", 16, 32),
            ("attn_v", 16, 32),
            ("attn_output", 32, 32),
            ("ffn_norm", 0, 32),
            ("ffn_gate", 64, 32),
            ("ffn_up", 64, 32),
            ("ffn_down", 32, 64),
        ];
        for (part, rows, width) in shapes {
            add(format!("blk.{layer}.{part}.weight"), rows, width);
        }
    }
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: HashMap<_, _> = tensors.into_iter().collect();
    let mut sorted: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    sorted.sort_by_key(|(name, _)| *name);
    let mut bytes = Cursor::new(Vec::new());
    gguf_file::write(&mut bytes, &metadata, &sorted).unwrap();
    bytes.into_inner()
}

pub(super) fn tiny_gguf() -> Gguf {
    tiny_gguf_of(TEMPLATE, &[])
}

pub(super) fn tiny_gguf_of(template: &str, controls: &[&str]) -> Gguf {
    let bytes = tiny_file_with(64, template, controls);
    Gguf::read(&bytes[..], bytes.len() as u64).unwrap()
}

/// What writes, with a context of 512.
pub(super) fn tiny_writer() -> Writer {
    let bytes = tiny_file_of(512);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    std::fs::write(&path, &bytes).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    Writer {
        decoder: family::load(&checkpoint, 512, false).unwrap(),
        tokenizer: Arc::new(checkpoint.tokenizer().unwrap()),
        held: MemoryBudget::default().hold(0),
    }
}
