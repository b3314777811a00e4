"""Writes core/tests/fixtures/llama_cpp.json: what llama.cpp makes of 200 texts (token numbers) and of 8 prompts (the
five likeliest next tokens).

    pip install xllamacpp
    python tests/parity/llama_cpp.py SmolLM2-135M-Instruct.Q4_1.gguf
"""

import hashlib
import json
import pathlib
import sys
import urllib.request

import xllamacpp
from texts import PROMPTS, TOKENIZER_TEXTS

model = pathlib.Path(sys.argv[1])
params = xllamacpp.CommonParams()
params.model.path = str(model)
params.n_ctx, params.n_parallel, params.cpuparams.n_threads, params.warmup = 2048, 1, 1, False
server = xllamacpp.Server(params)


def post(path, body):
    request = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(), {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request))


def tokens(text, special):
    return post("/tokenize", {"content": text, "add_special": False, "parse_special": special})["tokens"]


def likeliest(prompt):
    body = {"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": 5, "cache_prompt": False}
    top = post("/completion", body)["completion_probabilities"][0]["top_logprobs"]
    return [[entry["id"], round(entry["logprob"], 5)] for entry in top]


prompts = [tokens(prompt, True) for prompt in PROMPTS]
fixture = {
    "made_by": f"llama.cpp of xllamacpp {xllamacpp.__version__}",
    "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
    "texts": [{"text": text, "tokens": tokens(text, False)} for text in TOKENIZER_TEXTS],
    "prompts": [{"tokens": prompt, "top": likeliest(prompt)} for prompt in prompts],
}
path = pathlib.Path(__file__).parents[2] / "core/tests/fixtures/llama_cpp.json"
path.write_text(json.dumps(fixture, ensure_ascii=True, separators=(",", ":")) + "\n")
print(path.stat().st_size, "bytes")
