"""llama.cpp's own server with many slots. Runs in an environment of its own; prints {"figure", "peer", "value"}.

    python peers_batching.py FILE THREADS STREAMS PREFIX OWN DECODE

Every request has PREFIX tokens that all have in common, OWN tokens of its own, and asks for DECODE tokens.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import xllamacpp

file, threads, streams, prefix, own, decode = sys.argv[1], *map(int, sys.argv[2:])
before = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
params = xllamacpp.CommonParams()
params.model.path, params.n_parallel, params.warmup, params.port = file, streams, False, 0
params.n_ctx, params.n_threads_http = streams * (prefix + own + decode + 8), streams + 4
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
server = xllamacpp.Server(params)


def words(count: int, run: int) -> list[int]:
    return [1000 + (i * 37 + run * 11) % 20_000 for i in range(count)]


def ask(run: int) -> tuple[float, int]:
    body = {"prompt": words(prefix, 0) + words(own, run + 1), "n_predict": decode, "temperature": 0, "ignore_eos": True,
            "cache_prompt": True}
    request = urllib.request.Request(server.listening_address + "/completion", json.dumps(body).encode(),
                                     {"content-type": "application/json"})
    reply = json.load(urllib.request.urlopen(request))
    return reply["timings"]["prompt_ms"], reply["tokens_predicted"]


begun = time.perf_counter()
with ThreadPoolExecutor(streams) as pool:
    replies = list(pool.map(ask, range(streams)))
whole = time.perf_counter() - begun
after = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
name = f"llama.cpp server of xllamacpp {version('xllamacpp')}"
for figure, value in (("aggregate", sum(tokens for _, tokens in replies) / whole), ("seconds", whole),
                      ("memory-many", (int(after.split()[1]) - int(before.split()[1])) / 1024)):
    print(json.dumps({"figure": figure, "peer": name, "value": value}), flush=True)
