"""Writes core/tests/fixtures/llama_cpp.json: what llama.cpp makes of 200 texts (token numbers) and of 8 prompts (the
five likeliest next tokens), with the weights as they are in the file and with the same weights in f32.

    pip install xllamacpp gguf
    python tests/parity/llama_cpp.py SmolLM2-135M-Instruct.Q4_1.gguf
"""

import hashlib
import json
import pathlib
import sys
import tempfile
import urllib.request

import gguf
import numpy
import xllamacpp
from texts import PROMPTS, TOKENIZER_TEXTS


def serve(path, exactly=False):
    """A server with llama.cpp's defaults and one thread; exactly: f32 KV cache, no flash attention, no repacking."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads, params.warmup = 2048, 1, 1, False
    if exactly:
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.no_extra_bufts = True
    return xllamacpp.Server(params)


def post(server, path, body):
    request = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(), {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request))


def tokens(server, text, special):
    return post(server, "/tokenize", {"content": text, "add_special": False, "parse_special": special})["tokens"]


def likeliest(server, prompt):
    body = {"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": 5, "cache_prompt": False}
    top = post(server, "/completion", body)["completion_probabilities"][0]["top_logprobs"]
    return [[entry["id"], round(entry["logprob"], 5)] for entry in top]


def in_f32(source, target):
    """Copies a GGUF file with every weight in f32."""
    reader, writer = gguf.GGUFReader(source), gguf.GGUFWriter(target, "llama")
    array, skipped = gguf.GGUFValueType.ARRAY, ("general.architecture", "general.file_type")
    for field in reader.fields.values():
        if field.name not in skipped and not field.name.startswith("GGUF."):
            inner = field.types[-1] if field.types[0] == array else None
            writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    for tensor in reader.tensors:
        weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, weights.astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


model = pathlib.Path(sys.argv[1])
as_is = serve(model)
with tempfile.TemporaryDirectory() as folder:
    in_f32(model, pathlib.Path(folder) / "f32.gguf")
    exact = serve(pathlib.Path(folder) / "f32.gguf", exactly=True)
    prompts = [tokens(as_is, prompt, True) for prompt in PROMPTS]
    fixture = {
        "made_by": f"llama.cpp of xllamacpp {xllamacpp.__version__}",
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "texts": [{"text": text, "tokens": tokens(as_is, text, False)} for text in TOKENIZER_TEXTS],
        "prompts": [
            {"tokens": prompt, "quantised": likeliest(as_is, prompt), "exact": likeliest(exact, prompt)}
            for prompt in prompts
        ],
    }
path = pathlib.Path(__file__).parents[2] / "core/tests/fixtures/llama_cpp.json"
path.write_text(json.dumps(fixture, ensure_ascii=True, separators=(",", ":")) + "\n")
print(path.stat().st_size, "bytes")
