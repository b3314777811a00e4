"""Writes core/tests/fixtures/llama_cpp.json: what llama.cpp makes of 200 texts (token numbers) and of 8 prompts (the
five likeliest next tokens), with the weights as they are in the file and with the same weights in f32.

    pip install xllamacpp gguf
    python tests/parity/llama_cpp.py SmolLM2-135M-Instruct.Q4_1.gguf
    python tests/parity/llama_cpp.py $(python benches/gemma.py) gemma.json
"""

import hashlib
import json
import pathlib
import sys
import tempfile

import xllamacpp
from reference import in_f32, likeliest, serve, tokens
from texts import LONG, PROMPTS, TOKENIZER_TEXTS

model = pathlib.Path(sys.argv[1])
name = sys.argv[2] if len(sys.argv) > 2 else "llama_cpp.json"
# Another one that is longer than Gemma's window.
asked = PROMPTS if name == "llama_cpp.json" else [*PROMPTS, 2 * LONG[-1]]
as_is = serve(model)
with tempfile.TemporaryDirectory() as folder:
    in_f32(model, pathlib.Path(folder) / "f32.gguf")
    exact = serve(pathlib.Path(folder) / "f32.gguf", exactly=True)
    prompts = [tokens(as_is, prompt, special=True, begin=True) for prompt in asked]
    fixture = {
        "made_by": f"llama.cpp of xllamacpp {xllamacpp.__version__}",
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "texts": [{"text": text, "tokens": tokens(as_is, text, special=False)} for text in TOKENIZER_TEXTS],
        "prompts": [
            {"tokens": prompt, "quantised": likeliest(as_is, prompt), "exact": likeliest(exact, prompt)}
            for prompt in prompts
        ],
    }
path = pathlib.Path(__file__).parents[2] / "core/tests/fixtures" / name
path.write_text(json.dumps(fixture, ensure_ascii=True, separators=(",", ":")) + "\n")
print(path.stat().st_size, "bytes")
