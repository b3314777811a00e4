"""Writes core/tests/fixtures/families/: a tiny model of each architecture with random weights, and what llama.cpp makes
of texts (token numbers) and prompts (the five likeliest next tokens, with the weights of the file in f32).

    pip install xllamacpp gguf tokenizers sentencepiece
    python tests/parity/families.py
"""

import io
import json
import pathlib
import tempfile

import gguf
import numpy
import sentencepiece
import tokenizers
import xllamacpp
from gguf import GGMLQuantizationType as Type
from reference import in_f32, likeliest, serve, tokens
from texts import BASE, LONG

FOLDER = pathlib.Path(__file__).parents[2] / "core/tests/fixtures/families"
WIDTH, HEADS, SHARED, HIDDEN, LAYERS = 32, 4, 2, 64, 3
TEXTS = [text for text in BASE if text]


def byte_level(pre):
    """Merges learnt without any cut, so that a wrong cut shows."""
    learnt = tokenizers.Tokenizer(tokenizers.models.BPE())
    learnt.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=440, initial_alphabet=alphabet, max_token_length=8, show_progress=False)
    # Many seams between letters, digits, marks and spaces of all kinds.
    seams = ["12", "1234", "a1", " a", "  a", "\n a", "\n\n", " \n", "'s", "'S x", "x'll", "é1", "!a", " !", "!\n", "a\n", "\t\tx", "中1", "1 2"]
    learnt.train_from_iterator(BASE + LONG + seams * 40, trainer)
    model = json.loads(learnt.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in model["merges"]]
    control = ["<|begin|>", "<|im_end|>"]
    kinds = [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * len(pieces)

    def write(writer):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(control + pieces)
        writer.add_token_types(kinds)
        writer.add_token_merges(merges)
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)

    return len(kinds), write


def by_score(space_first, control=()):
    """SentencePiece BPE with tokens of bytes, and with runs of newlines and spaces that are found before it."""
    model, texts = io.BytesIO(), [line for text in BASE + LONG for line in text.split("\n") if "\0" not in line]
    defined = ["\n", "\n\n", "  ", "   "]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type="bpe", vocab_size=760, byte_fallback=True,
        character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False,
        minloglevel=2, max_sentence_length=20_000)
    learnt = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    kind = lambda i: (gguf.TokenType.UNKNOWN if learnt.is_unknown(i) else gguf.TokenType.CONTROL if learnt.is_control(i)
                      else gguf.TokenType.BYTE if learnt.is_byte(i) else gguf.TokenType.NORMAL)
    ids = range(learnt.vocab_size())

    def write(writer):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        added = defined + list(control)
        writer.add_token_list([learnt.id_to_piece(i) for i in ids] + added)
        writer.add_token_scores([learnt.get_score(i) for i in ids] + [-1000.0] * len(added))
        writer.add_token_types([kind(i) for i in ids] + [gguf.TokenType.USER_DEFINED] * len(defined)
                               + [gguf.TokenType.CONTROL] * len(control))
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_add_space_prefix(space_first)

    return len(ids) + len(defined) + len(control), write


def build(path, arch, vocabulary, kind, *, head=8, layers=LAYERS, bias=False, norms=False, fused=False, after=False,
          tied=True, factors=(), seed=0, **metadata):
    size, write_vocabulary = vocabulary
    writer, random = gguf.GGUFWriter(path, arch), numpy.random.default_rng(seed)
    queries, keys = HEADS * head, SHARED * head
    numbers = {"block_count": layers, "context_length": 4096, "embedding_length": WIDTH, "feed_forward_length": HIDDEN,
               "attention.head_count": HEADS, "attention.head_count_kv": SHARED, "attention.key_length": head,
               "attention.value_length": head, "attention.layer_norm_rms_epsilon": 1e-5}
    for key, value in {**numbers, **metadata}.items():
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)]
        add(key if key.startswith("general.") else f"{arch}.{key}", value)
    write_vocabulary(writer)

    def matrix(name, rows, cols, spread):
        weights = (random.standard_normal((rows, cols)) * spread).astype(numpy.float32)
        writer.add_tensor(name, gguf.quants.quantize(weights, kind), raw_dtype=kind)

    def vector(name, count, middle=0.0):
        writer.add_tensor(name, (middle + 0.3 * random.standard_normal(count)).astype(numpy.float32))

    matrix("token_embd.weight", size, WIDTH, 0.4)
    vector("output_norm.weight", WIDTH, 1.0)
    if not tied:
        matrix("output.weight", size, WIDTH, 0.4)
    for name, values in factors:
        writer.add_tensor(name, numpy.array(values, numpy.float32))
    for layer in range(layers):
        part = lambda name: f"blk.{layer}.{name}.weight"
        vector(part("attn_norm"), WIDTH, 1.0)
        vector(part("ffn_norm"), WIDTH, 1.0)
        if fused:
            matrix(part("attn_qkv"), queries + 2 * keys, WIDTH, 0.3)
            matrix(part("ffn_up"), 2 * HIDDEN, WIDTH, 0.3)
        else:
            for name, rows in [("attn_q", queries), ("attn_k", keys), ("attn_v", keys), ("ffn_gate", HIDDEN), ("ffn_up", HIDDEN)]:
                matrix(part(name), rows, WIDTH, 0.3)
        matrix(part("attn_output"), WIDTH, queries, 0.3)
        matrix(part("ffn_down"), WIDTH, HIDDEN, 0.3)
        if bias:
            for name, count in [("attn_q", queries), ("attn_k", keys), ("attn_v", keys)]:
                vector(f"blk.{layer}.{name}.bias", count)
        if norms:
            vector(part("attn_q_norm"), head, 1.0)
            vector(part("attn_k_norm"), head, 1.0)
        if after:
            vector(part("post_attention_norm"), WIDTH, 1.0)
            vector(part("post_ffw_norm"), WIDTH, 1.0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def files():
    """Name, architecture, vocabulary, type of the weights, and what else it has."""
    stretch = {"rope.scaling.original_context_length": 64}
    spm, plain_spm = by_score(True), by_score(False)
    yield "llama3", "llama", byte_level("llama-bpe"), Type.Q4_0, dict(
        tied=False, factors=[("rope_freqs.weight", [1.0, 1.5, 4.0, 8.0])], **{"rope.freq_base": 500_000.0, "rope.dimension_count": 8})
    yield "mistral", "llama", spm, Type.Q4_1, dict(tied=False, **{"rope.freq_base": 1_000_000.0, "rope.dimension_count": 8})
    yield "llama-linear", "llama", byte_level("gpt-2"), Type.F16, {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
    yield "qwen2", "qwen2", byte_level("qwen2"), Type.Q5_0, dict(bias=True)
    yield "qwen2-yarn", "qwen2", byte_level("qwen2"), Type.Q5_1, dict(
        bias=True, **{"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}, **stretch)
    yield "qwen3", "qwen3", byte_level("qwen2"), Type.Q8_0, dict(norms=True, head=16, **{"rope.freq_base": 1_000_000.0})
    # Seven layers: of six, the last looks back on everything.
    yield "gemma3", "gemma3", plain_spm, Type.Q4_0, dict(
        norms=True, after=True, head=16, layers=7,
        **{"rope.freq_base": 1_000_000.0, "attention.sliding_window": 8, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0})
    yield "phi3", "phi3", by_score(True, ["<|endoftext|>", "<|end|>"]), Type.Q8_0, dict(
        fused=True, tied=False, factors=[("rope_factors_long.weight", [1.0, 2.0, 5.0]), ("rope_factors_short.weight", [1.0, 1.1, 1.2])],
        **{"general.name": "Phi-3 tiny", "rope.dimension_count": 6, "rope.scaling.attn_factor": 1.19,
           "rope.scaling.original_context_length": 512, "attention.sliding_window": 2047})


FOLDER.mkdir(exist_ok=True)
families = []
for name, arch, vocabulary, kind, more in files():
    path = FOLDER / f"{name}.gguf"
    build(path, arch, vocabulary, kind, seed=len(families) + 1, **more)
    pick = numpy.random.default_rng(7)
    prompts = [[int(token) for token in pick.integers(3, vocabulary[0], count)] for count in (1, 2, 9, 30, 70)]
    contexts = [256, 2048] if arch == "phi3" else [256]
    with tempfile.TemporaryDirectory() as folder:
        in_f32(path, pathlib.Path(folder) / "f32.gguf")
        servers = {context: serve(pathlib.Path(folder) / "f32.gguf", exactly=True, context=context) for context in contexts}
        server = servers[contexts[0]]
        families.append({
            "name": name,
            "texts": [tokens(server, text, special=False) for text in TEXTS],
            "prompts": [{"context": context, "tokens": prompt, "exact": likeliest(server, prompt)}
                        for context, server in servers.items() for prompt in prompts],
        })
    print(name, path.stat().st_size, "bytes")
fixture = {"made_by": f"llama.cpp of xllamacpp {xllamacpp.__version__}", "texts": TEXTS, "families": families}
path = FOLDER / "llama_cpp.json"
path.write_text(json.dumps(fixture, ensure_ascii=True, separators=(",", ":")) + "\n")
print(path.stat().st_size, "bytes")
