"""llama.cpp on the files of `inference`. Runs in an environment of its own; prints {"figure", "value", "note"}.

    python peers_inference.py speed FILE THREADS PROMPT DECODE   load, prefill, decode, peak memory of one process
    python peers_inference.py first FILE THREADS                 a fresh process to its first token
    python peers_inference.py say FILE PROMPTS COUNT OUT         greedy tokens and the five likeliest of each
    python peers_inference.py read FILE TEXT COUNT OUT           log-probability of each of the first tokens of a text
    python peers_inference.py tokens FILE TEXTS OUT              token numbers of each text
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import llama_cpp
import numpy as np
from llama_cpp import Llama

NAME = f"llama-cpp-python {llama_cpp.__version__}"


def show(figure: str, value: float) -> None:
    print(json.dumps({"figure": figure, "peer": NAME, "value": value}), flush=True)


def load(path: str, threads: int, context: int = 1024, **more: object) -> Llama:
    return Llama(path, n_ctx=context, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False, **more)


def peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def words(count: int, run: int) -> list[int]:
    """Token numbers that both sides read; which ones makes no difference to the time."""
    return [1000 + (i * 37 + run * 11) % 20_000 for i in range(count)]


def speed(path: str, threads: str, prompt: str, decode: str) -> None:
    before = peak_mb()
    begun = time.perf_counter()
    model = load(path, int(threads))
    show("load", (time.perf_counter() - begun) * 1e3)
    prefill, each = 1e9, 1e9
    for run in range(3):
        model.reset()
        begun = time.perf_counter()
        model.eval(words(int(prompt), run))
        prefill = min(prefill, time.perf_counter() - begun)
        model.reset()
        model.eval(words(32, run))
        begun = time.perf_counter()
        for token in words(int(decode), run + 1):
            model.eval([token])
        each = min(each, time.perf_counter() - begun)
        if run == 0:
            show("memory-1", peak_mb() - before)
    show("prefill", int(prompt) / prefill)
    show("decode", int(decode) / each)


def first(path: str, threads: str) -> None:
    begun = time.perf_counter()
    model = load(path, int(threads))
    model.eval(words(32, 0))
    int(np.argmax(model.scores[model.n_tokens - 1]))
    show("cold-start", (time.perf_counter() - begun) * 1e3)


def likeliest(scores: np.ndarray) -> list[list[float]]:
    scores = scores.astype(np.float64)
    top = np.argsort(-scores)[:5]
    total = math.log(np.exp(scores - scores.max()).sum()) + scores.max()
    return [[int(token), float(scores[token] - total)] for token in top]


def say(path: str, prompts: str, count: str, out: str) -> None:
    # Scores of all tokens are kept, a MiB each of a large vocabulary.
    model, said = load(path, 2, context=512, logits_all=True), []
    for prompt in json.loads(Path(prompts).read_text()):
        model.reset()
        tokens = model.tokenize(prompt.encode(), add_bos=True, special=False)
        model.eval(tokens)
        steps = []
        for _ in range(int(count)):
            top = likeliest(model.scores[model.n_tokens - 1])
            steps.append(top)
            model.eval([int(top[0][0])])
        said.append({"prompt": tokens, "steps": steps})
    Path(out).write_text(json.dumps(said))


def read(path: str, text: str, count: str, out: str) -> None:
    model = load(path, 2, logits_all=True)
    tokens = model.tokenize(Path(text).read_bytes(), add_bos=True, special=False)[: int(count)]
    model.eval(tokens)
    logprobs = []
    for scores, token in zip(model.scores, tokens[1:]):
        row = scores.astype(np.float64)
        logprobs.append(float(row[token] - row.max() - math.log(np.exp(row - row.max()).sum())))
    Path(out).write_text(json.dumps({"tokens": tokens, "logprobs": logprobs}))


def tokens(path: str, texts: str, out: str) -> None:
    model = load(path, 1, vocab_only=True)
    found = [model.tokenize(text.encode(), add_bos=False, special=False) for text in json.loads(Path(texts).read_text())]
    Path(out).write_text(json.dumps(found))


{"speed": speed, "first": first, "say": say, "read": read, "tokens": tokens}[sys.argv[1]](*sys.argv[2:])
