use std::{fmt::Write as _, path::PathBuf, time::Duration};

use proptest::prelude::*;
use serde_json::{Map, json};

use super::{
    super::{
        LocalConfig, LocalModel, MemoryBudget, family,
        gguf::Value,
        tokenizer::Tokenizer,
        weights::{Checkpoint, Weights},
    },
    *,
};
use crate::{
    context::Context,
    model::{ChatModel, ChatRequest, Sampling, collect},
};

/// The tiny models of `tests/parity/families.py`, and what their `config.json` has beside the sizes.
fn families() -> Vec<(&'static str, Json)> {
    let stretched = [1.0, 1.5, 4.0, 8.0];
    vec![
        (
            "llama3",
            json!({"model_type": "llama", "rope_scaling": {"type": "longrope", "short_factor": stretched,
                "long_factor": stretched, "attention_factor": 1.0}}),
        ),
        ("mistral", json!({"model_type": "mistral"})),
        ("llama-linear", json!({"model_type": "llama", "rope_scaling": {"rope_type": "linear", "factor": 4.0}})),
        ("qwen2", json!({"model_type": "qwen2", "rope_parameters": {"rope_type": "default"}})),
        (
            "qwen2-yarn",
            json!({"model_type": "qwen2",
                "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}}),
        ),
        ("qwen3", json!({"model_type": "qwen3"})),
        (
            "gemma3",
            json!({"model_type": "gemma3_text", "sliding_window": 8, "query_pre_attn_scalar": 16,
                "hidden_activation": "gelu_pytorch_tanh", "rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
        ),
        (
            "phi3",
            json!({"model_type": "phi3", "sliding_window": 2047, "partial_rotary_factor": 0.75,
                "original_max_position_embeddings": 512,
                "rope_scaling": {"type": "longrope", "attention_factor": 1.19_f32,
                    "long_factor": [1.0, 2.0, 5.0], "short_factor": [1.0, 1.1_f32, 1.2_f32]}}),
        ),
    ]
}

type Json = serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/families/{name}.gguf"))
}

/// A folder with the same model as a GGUF file.
struct Twin {
    folder: tempfile::TempDir,
    gguf: Checkpoint,
}

impl Twin {
    fn new(name: &str, special: &Json) -> Self {
        let (folder, gguf) = (tempfile::tempdir().unwrap(), Checkpoint::open(&fixture(name)).unwrap());
        let twin = Self { folder, gguf };
        let mut config = twin.sizes();
        config.extend(special.as_object().unwrap().clone());
        twin.write("config.json", &Json::Object(config).to_string());
        twin.write("tokenizer.json", &twin.tokenizer().to_string());
        twin.write(
            "tokenizer_config.json",
            &json!({"bos_token": twin.text(0), "eos_token": {"content": twin.text(1)}}).to_string(),
        );
        twin.write_weights();
        twin
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn head(&self) -> &Gguf {
        &self.gguf.head
    }

    fn of_architecture(&self, key: &str) -> u64 {
        let architecture = self.head().text("general.architecture").unwrap();
        self.head().integer(&format!("{architecture}.{key}")).unwrap()
    }

    fn rope_base(&self) -> f64 {
        let architecture = self.head().text("general.architecture").unwrap();
        self.head().float_if_any(&format!("{architecture}.rope.freq_base")).unwrap().unwrap_or(10_000.0)
    }

    /// The text of the begin or the end token.
    fn text(&self, which: usize) -> String {
        let key = ["tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"][which];
        self.head().texts("tokenizer.ggml.tokens").unwrap()[self.head().integer(key).unwrap() as usize].to_owned()
    }

    fn sizes(&self) -> Map<String, Json> {
        let size = |key: &str| self.of_architecture(key);
        let sizes = json!({
            "vocab_size": self.head().texts("tokenizer.ggml.tokens").unwrap().len(),
            "hidden_size": size("embedding_length"),
            "intermediate_size": size("feed_forward_length"),
            "num_hidden_layers": size("block_count"),
            "num_attention_heads": size("attention.head_count"),
            "num_key_value_heads": size("attention.head_count_kv"),
            "head_dim": size("attention.key_length"),
            "max_position_embeddings": size("context_length"),
            "rms_norm_eps": 1e-5_f32,
            "rope_theta": self.rope_base(),
            "tie_word_embeddings": !self.head().tensors.contains_key("output.weight"),
        });
        sizes.as_object().unwrap().clone()
    }

    /// The name that transformers has for a tensor.
    fn name(&self, name: &str) -> String {
        let gemma = self.head().text("general.architecture").unwrap() == "gemma3";
        let phi = self.head().text("general.architecture").unwrap() == "phi3";
        let Some(rest) = name.strip_prefix("blk.") else {
            return match name {
                "token_embd.weight" => "model.embed_tokens.weight".into(),
                "output_norm.weight" => "model.norm.weight".into(),
                "output.weight" => "lm_head.weight".into(),
                other => panic!("{other}"),
            };
        };
        let mut parts = rest.split('.');
        let (layer, part, kind) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let part = match part {
            "attn_norm" => "input_layernorm",
            "attn_q" => "self_attn.q_proj",
            "attn_k" => "self_attn.k_proj",
            "attn_v" => "self_attn.v_proj",
            "attn_qkv" => "self_attn.qkv_proj",
            "attn_output" => "self_attn.o_proj",
            "attn_q_norm" => "self_attn.q_norm",
            "attn_k_norm" => "self_attn.k_norm",
            "ffn_norm" if gemma => "pre_feedforward_layernorm",
            "ffn_norm" | "post_attention_norm" => "post_attention_layernorm",
            "post_ffw_norm" => "post_feedforward_layernorm",
            "ffn_gate" => "mlp.gate_proj",
            "ffn_up" if phi => "mlp.gate_up_proj",
            "ffn_up" => "mlp.up_proj",
            "ffn_down" => "mlp.down_proj",
            other => panic!("{other}"),
        };
        format!("model.layers.{layer}.{part}.{kind}")
    }

    /// The tensors as transformers has them, in two files and an index.
    fn write_weights(&self) {
        let weights = Weights { checkpoint: &self.gguf, full_precision: true, threads: 1 };
        let architecture = self.head().text("general.architecture").unwrap();
        let (mut heads, mut data, mut index) = ([Map::new(), Map::new()], [vec![], vec![]], Map::new());
        let tensors = self.head().tensors.iter().filter(|(name, _)| !name.starts_with("rope_"));
        for (at, (name, info)) in tensors.enumerate() {
            let mut numbers = weights.numbers(name).unwrap();
            if architecture == "llama" && (name.contains("attn_q.") || name.contains("attn_k.")) {
                numbers = apart(&numbers, info.dims[0] as usize, self.of_architecture("attention.key_length") as usize);
            }
            if architecture == "gemma3" && name.ends_with("norm.weight") {
                for number in &mut numbers {
                    *number -= 1.0;
                }
            }
            let (file, shape) = (at % 2, info.dims.iter().rev().collect::<Vec<_>>());
            let begin = data[file].len();
            data[file].extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            let place = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data[file].len()]});
            heads[file].insert(self.name(name), place);
            index.insert(self.name(name), json!(format!("part-{file}.safetensors")));
        }
        for (file, (head, data)) in heads.into_iter().zip(data).enumerate() {
            let head = Json::Object(head).to_string();
            let bytes = [&(head.len() as u64).to_le_bytes()[..], head.as_bytes(), &data].concat();
            fs::write(self.path().join(format!("part-{file}.safetensors")), bytes).unwrap();
        }
        self.write("model.safetensors.index.json", &json!({"weight_map": index}).to_string());
    }

    /// The same tokenizer as the library has it.
    fn tokenizer(&self) -> Json {
        let texts = self.head().texts("tokenizer.ggml.tokens").unwrap();
        let kinds = self.head().integers_if_any("tokenizer.ggml.token_type").unwrap().unwrap();
        // Those of Phi-3 swallow the white space after them.
        let phi = self.head().text("general.architecture").unwrap() == "phi3";
        let swallows = |text: &str| phi && !["<unk>", "<s>", "<|endoftext|>"].contains(&text);
        let added: Vec<_> = texts
            .iter()
            .zip(kinds)
            .enumerate()
            .filter(|(_, (_, kind))| [2, 3, 4].contains(*kind))
            .map(|(token, (text, &kind))| {
                json!({"id": token, "content": text, "single_word": false, "lstrip": false, "rstrip": swallows(text),
                "normalized": false, "special": kind != 4})
            })
            .collect();
        let vocabulary: Map<_, _> =
            texts.iter().zip(kinds).enumerate().map(|(token, (text, _))| (text.to_owned(), json!(token))).collect();
        let mut model = json!({"type": "BPE", "vocab": vocabulary, "unk_token": null, "byte_fallback": false});
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let cut = |pattern: &str| {
            let split =
                json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
            json!({"type": "Sequence", "pretokenizers": [split, bytes]})
        };
        let marks = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}NUMBERS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        let (normalizer, pre) = match self.head().text("tokenizer.ggml.pre").unwrap() {
            "qwen2" => (json!({"type": "NFC"}), cut(&marks.replace("NUMBERS", ""))),
            "llama-bpe" => {
                model["ignore_merges"] = json!(true);
                (Json::Null, cut(&marks.replace("NUMBERS", "{1,3}")))
            }
            "gpt-2" => (
                Json::Null,
                json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}),
            ),
            _ => {
                model["byte_fallback"] = json!(true);
                let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
                let first = json!({"type": "Prepend", "prepend": "\u{2581}"});
                let first =
                    self.head().bool_if_any("tokenizer.ggml.add_space_prefix").unwrap().unwrap().then_some(first);
                (
                    json!({"type": "Sequence", "normalizers": first.into_iter().chain([space]).collect::<Vec<_>>()}),
                    Json::Null,
                )
            }
        };
        model["merges"] = match self.head().texts("tokenizer.ggml.merges") {
            Ok(merges) => merges.iter().map(Json::from).collect(),
            Err(_) => json!(self.merges()),
        };
        json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
            "pre_tokenizer": pre, "post_processor": null, "decoder": null, "model": model})
    }

    /// Merges of a vocabulary by score, as transformers makes them: every way to make a piece, best pieces first.
    fn merges(&self) -> Vec<[&str; 2]> {
        let texts = self.head().texts("tokenizer.ggml.tokens").unwrap();
        let kinds = self.head().integers_if_any("tokenizer.ggml.token_type").unwrap().unwrap();
        let scores = self.head().floats("tokenizer.ggml.scores").unwrap();
        let is_piece: BTreeSet<_> =
            texts.iter().zip(kinds).filter(|(_, kind)| **kind == 1).map(|(text, _)| text).collect();
        let mut pieces: Vec<_> = (0..texts.len()).filter(|&token| kinds[token] == 1).collect();
        pieces.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let ways = pieces.into_iter().flat_map(|token| {
            let text = &texts[token];
            text.char_indices()
                .skip(1)
                .map(|(at, _)| {
                    let (a, b) = text.split_at(at);
                    [a, b]
                })
                .collect::<Vec<_>>()
        });
        ways.filter(|way| way.iter().all(|part| is_piece.contains(part))).collect()
    }
}

/// Rows whose numbers are turned together half a head from each other, of such that are side by side.
fn apart(numbers: &[f32], cols: usize, head: usize) -> Vec<f32> {
    let rows: Vec<_> = numbers.chunks_exact(cols).collect();
    let heads = rows.chunks_exact(head);
    heads.flat_map(|rows| (0..head).flat_map(|row| rows[2 * (row % (head / 2)) + row / (head / 2)].to_vec())).collect()
}

#[test]
fn a_folder_gives_the_scores_of_the_converted_file() {
    for (name, special) in families() {
        let twin = Twin::new(name, &special);
        let vocabulary = twin.head().texts("tokenizer.ggml.tokens").unwrap().len() as u32;
        for context in [256, 2048] {
            let exact = LocalConfig::default().full_precision().context_length(context).threads(1);
            let file = LocalModel::load("file", &fixture(name), &exact).unwrap();
            let folder = LocalModel::load("folder", twin.path(), &exact).unwrap();
            let rounded = LocalConfig::default().context_length(context).threads(1);
            let rounded = LocalModel::load("rounded", twin.path(), &rounded).unwrap();
            for count in [1, 9, 70] {
                let tokens: Vec<u32> = (0..count).map(|at| (at * 37 + 11) % vocabulary).collect();
                let wanted = file.next_logprobs(&tokens, 20).unwrap();
                let found = folder.next_logprobs(&tokens, 20).unwrap();
                for ((token, wanted), (found_token, found)) in wanted.iter().zip(&found) {
                    // Two that are as likely may change places.
                    assert!((wanted - found).abs() < 1e-3, "{name}, {token} {found_token}: {wanted} {found}");
                }
                let rounded = rounded.next_logprobs(&tokens, 5).unwrap();
                let furthest = wanted.iter().zip(&rounded).map(|(a, b)| (a.1 - b.1).abs()).fold(0.0, f32::max);
                assert!(furthest < 0.8, "{name}, rounded: {furthest}");
            }
        }
    }
}

#[test]
fn what_weights_take_is_known_from_the_head() {
    for (name, special) in families() {
        let twin = Twin::new(name, &special);
        for checkpoint in [Checkpoint::open(&fixture(name)).unwrap(), Checkpoint::open(twin.path()).unwrap()] {
            for full_precision in [false, true] {
                let decoder = family::load(&checkpoint, 64, full_precision).unwrap();
                assert_eq!(checkpoint.packed_bytes(full_precision), decoder.bytes() as u64, "{name} {full_precision}");
            }
        }
    }
}

#[test]
fn a_tokenizer_json_gives_the_tokens_of_the_converted_file() {
    let texts = [
        "",
        "Hello, world!",
        "  two  spaces\n\nand lines\t",
        "don't I'LL 12345 6.5",
        "naïve café 中文 😀",
        "e\u{301}",
        "<s>[INST] a </s>",
        "def f(x):\n    return x + 1\n",
        " <|im_end|>",
    ];
    for (name, special) in families() {
        let twin = Twin::new(name, &special);
        let (file, folder) =
            (Tokenizer::new(twin.head()).unwrap(), Checkpoint::open(twin.path()).unwrap().tokenizer().unwrap());
        for text in texts {
            assert_eq!(folder.encode_plain(text).unwrap(), file.encode_plain(text).unwrap(), "{name}: {text:?}");
            let (wanted, mut found) =
                (file.encode_prompt(text, None).unwrap(), folder.encode_prompt(text, None).unwrap());
            // The tokenizer of the twin sets nothing before a text.
            if wanted.len() > found.len() {
                found.insert(0, wanted[0]);
            }
            assert_eq!(found, wanted, "{name}: {text:?}");
        }
        assert_eq!(folder.names(), file.names(), "{name}");
        let controls: BTreeSet<_> = folder.controls().map(|(token, _)| token).collect();
        for (_, text) in folder.controls().take(300) {
            let tokens = folder.encode_plain(&format!("a{text}a")).unwrap();
            assert!(tokens.iter().all(|token| !controls.contains(token)), "{name}: {text:?}");
        }
        for token in 0..file.len() as u32 {
            assert_eq!(folder.bytes(token), file.bytes(token), "{name}: {token}");
        }
    }
}

#[tokio::test]
async fn a_folder_answers_by_its_template_and_its_end_tokens() {
    let (name, special) = families().swap_remove(3);
    let twin = Twin::new(name, &special);
    let mut template = String::new();
    write!(template, "{{% for m in messages %}}{}{{{{ m.content }}}}{}{{% endfor %}}", twin.text(0), twin.text(1))
        .unwrap();
    twin.write("chat_template.jinja", &template);
    twin.write("generation_config.json", r#"{"eos_token_id": [1, 7]}"#);
    let folder = LocalModel::load("folder", twin.path(), &LocalConfig::default().threads(1)).unwrap();
    let ends: BTreeSet<_> = Checkpoint::open(twin.path()).unwrap().tokenizer().unwrap().end_tokens().collect();
    assert!(ends.is_superset(&[1, 7].into()), "{ends:?}");
    let request = ChatRequest {
        sampling: Sampling { max_tokens: Some(4), seed: Some(1), ..Sampling::default() },
        ..ChatRequest::user("hi")
    };
    assert_eq!(folder.count_tokens(&request).unwrap(), 2 + folder.tokenize("hi").unwrap().len() as u64);
    let reply = collect(folder.chat(&Context::new(), request).await.unwrap()).await.unwrap();
    assert!((1..=4).contains(&reply.usage.output_tokens));
    assert_eq!(
        folder.bytes(),
        fs::read_dir(twin.path())
            .unwrap()
            .flatten()
            .filter(|file| file.path().extension().is_some_and(|ending| ending == "safetensors"))
            .map(|file| file.metadata().unwrap().len())
            .sum::<u64>()
    );
}

/// Its weights are read when someone asks, leave when nobody does, and are the same when they are read again.
#[tokio::test]
async fn the_weights_of_a_folder_come_and_go() {
    let (name, special) = families().swap_remove(3);
    let twin = Twin::new(name, &special);
    twin.write("chat_template.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}");
    let (config, budget) = (LocalConfig::default().threads(1), MemoryBudget::default());
    let ask = async |model: &LocalModel| {
        let sampling = Sampling { max_tokens: Some(16), temperature: Some(0.0), ..Sampling::default() };
        let request = ChatRequest { sampling, ..ChatRequest::user("hi") };
        collect(model.chat(&Context::new(), request).await?).await
    };
    let loaded = |model: &LocalModel| model.local_statistics().unwrap().loaded;
    let eager = LocalModel::load("eager", twin.path(), &config).unwrap();
    let wanted = ask(&eager).await.unwrap();
    assert!(wanted.usage.output_tokens > 0);

    let lazy = LocalModel::open_within("lazy", twin.path(), &config.idle_unload_s(0), &budget).unwrap();
    assert!(!loaded(&lazy) && lazy.local_statistics().unwrap().weight_bytes == 0, "opening reads no weights");
    for _ in 0..2 {
        let found = ask(&lazy).await.unwrap();
        assert_eq!((&found.text, found.usage.output_tokens), (&wanted.text, wanted.usage.output_tokens));
        for _ in 0..2000 {
            if !loaded(&lazy) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!loaded(&lazy), "nobody has asked for ten seconds");
    }
    // Cut off meanwhile: what would be read is not what was opened.
    let part = twin.path().join("part-1.safetensors");
    let bytes = fs::read(&part).unwrap();
    fs::write(&part, &bytes[..bytes.len() - 64]).unwrap();
    assert_eq!(ask(&lazy).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn gemma_says_spaces_and_may_be_saved_twice() {
    let (name, special) = families().swap_remove(6);
    assert_eq!(name, "gemma3");
    let mut special = special.as_object().unwrap().clone();
    for key in ["sliding_window_pattern", "_sliding_window_pattern"] {
        special.insert(key.into(), json!(6));
    }
    special.insert("hidden_act".into(), json!("gelu"));
    let twin = Twin::new(name, &Json::Object(special));
    let mut tokenizer = twin.tokenizer();
    let texts = twin.head().texts("tokenizer.ggml.tokens").unwrap();
    let spaces = texts.iter().position(|text| text.contains('\u{2581}')).unwrap();
    tokenizer["added_tokens"].as_array_mut().unwrap().push(json!({"id": spaces, "content": &texts[spaces],
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false}));
    twin.write("tokenizer.json", &tokenizer.to_string());
    let tokenizer = Checkpoint::open(twin.path()).unwrap().tokenizer().unwrap();
    assert_eq!(tokenizer.bytes(spaces as u32), texts[spaces].replace('\u{2581}', " ").as_bytes());
}

#[test]
fn what_is_not_sound_or_not_supported_is_told() {
    let refusal = |special: Json, spoil: &dyn Fn(&Twin)| {
        let (name, own) = families().swap_remove(3);
        let mut all = own.as_object().unwrap().clone();
        all.extend(special.as_object().unwrap().clone());
        let twin = Twin::new(name, &Json::Object(all));
        spoil(&twin);
        LocalModel::load("folder", twin.path(), &LocalConfig::default()).unwrap_err()
    };
    let sound = |_: &Twin| ();
    for (special, named) in [
        (json!({"model_type": "mamba"}), "\"qwen3\""),
        (json!({"quantization_config": {}}), "quantised"),
        (json!({"hidden_act": "relu"}), "relu"),
        (json!({"use_sliding_window": true}), "use_sliding_window"),
        (json!({"rope_parameters": {"rope_type": "dynamic"}}), "dynamic"),
        (json!({"final_logit_softcapping": 30.0}), "softcapping"),
    ] {
        let error = refusal(special, &sound);
        assert!(error.kind() == ErrorKind::Unsupported && error.message().contains(named), "{named}: {error}");
    }
    for (special, kind) in [
        (json!({"num_attention_heads": 0, "head_dim": null}), ErrorKind::Corrupt),
        (json!({"head_dim": u64::MAX}), ErrorKind::Corrupt),
        (json!({"vocab_size": 9}), ErrorKind::Corrupt),
        (json!({"vocab_size": 1 << 24}), ErrorKind::Corrupt),
        (json!({"tie_word_embeddings": false}), ErrorKind::Corrupt),
        (json!({"num_hidden_layers": 4}), ErrorKind::Corrupt),
        // The third layer has tensors that nobody would ask for.
        (json!({"num_hidden_layers": 2}), ErrorKind::Unsupported),
    ] {
        let error = refusal(special.clone(), &sound);
        assert_eq!(error.kind(), kind, "{special}: {error}");
    }
    let index = |file: &str| json!({"weight_map": {"a": file}}).to_string();
    let error = refusal(json!({}), &|twin| twin.write("model.safetensors.index.json", &index("../a.safetensors")));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let error = refusal(json!({}), &|twin| fs::remove_file(twin.path().join("part-1.safetensors")).unwrap());
    assert!(error.kind() == ErrorKind::NotFound && error.message().contains("part-1.safetensors"), "{error}");
    // Its second merge makes what is no token.
    let cut = json!({"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {"a": 0, "aa": 1},
        "merges": [["a", "a"], ["aa", "a"]]}});
    let error = refusal(json!({}), &|twin| twin.write("tokenizer.json", &cut.to_string()));
    assert!(error.kind() == ErrorKind::Corrupt && error.message().contains("tokenizer.json"), "{error}");
    for file in ["config.json", "tokenizer.json"] {
        let error = refusal(json!({}), &|twin| fs::remove_file(twin.path().join(file)).unwrap());
        assert!(error.kind() == ErrorKind::NotFound && error.message().contains(file), "{error}");
        assert_eq!(refusal(json!({}), &|twin| twin.write(file, "{")).kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn factors_of_llama_3_are_those_of_transformers() {
    let (name, _) = families().swap_remove(0);
    // As in Llama 3.2.
    let scaling = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192});
    let twin = Twin::new(
        name,
        &json!({"model_type": "llama", "head_dim": 64, "rope_theta": 500_000.0, "rope_scaling": scaling}),
    );
    let config: Config = required(twin.path(), "config.json").unwrap();
    let factors = config.rope_factors().unwrap();
    let [(name, factors)] = factors.as_slice() else { panic!("{factors:?}") };
    assert_eq!((*name, factors.len()), ("rope_freqs.weight", 32));
    let near = |at: usize, wanted: f32| assert!((factors[at] - wanted).abs() < 1e-3, "{at}: {} {wanted}", factors[at]);
    for (at, wanted) in [(0, 1.0), (14, 1.0), (15, 1.651_329), (16, 3.292_262), (17, 9.666_729), (18, 32.0), (31, 32.0)]
    {
        near(at, wanted);
    }
    assert!(matches!(config.metadata().unwrap()["llama.rope.freq_base"], Value::Float(500_000.0)));
}

proptest! {
    #[test]
    fn a_changed_config_never_panics(at in 0_usize..400, text in "[0-9]{1,19}|-|null|\\{|\\}|\\[|\"|e|,|:", cut in 0_usize..20) {
        let mut config = json!({
            "model_type": "llama", "vocab_size": 9, "hidden_size": 8, "intermediate_size": 9, "num_hidden_layers": 1,
            "num_attention_heads": 2, "rms_norm_eps": 1e-5, "max_position_embeddings": 64, "layer_types": ["full_attention"],
            "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192},
        })
        .to_string();
        let at = at % config.len();
        config.replace_range(at..(at + cut).min(config.len()), &text);
        if let Ok(config) = serde_json::from_str::<Config>(&config) {
            if let Ok(metadata) = config.metadata() {
                prop_assert!(metadata.contains_key("general.architecture"));
            }
            let factors = config.rope_factors().unwrap_or_default();
            prop_assert!(factors.iter().all(|(_, factors)| factors.len() <= 1 << 12));
            config.tensor(&text);
        }
    }
}
