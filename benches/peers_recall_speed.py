"""The peers of recall_speed.py. Runs in an environment of its own; prints one JSON line for each thing measured.

    peers_recall_speed.py PEER VECTORS COUNT QUERIES        PEER: hnswlib, usearch, chroma

Rates are queries per second of processor time of one thread, the best of three rounds, at several settings of each
peer's own effort; what is found is compared with an exact search.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np

DIMENSIONS, ASKED, ROUNDS = 384, 1000, 3


def show(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def read(path: str, count: int, queries: int) -> tuple[Any, Any, Any]:
    everything = np.fromfile(path, dtype=np.float32).reshape(-1, DIMENSIONS)
    stored, asked = everything[:count], everything[-ASKED:][:queries]
    exact = np.argpartition(-(asked @ stored.T), 10, axis=1)[:, :10]
    return stored, asked, exact


def measure(peer: str, effort: int, ask: Callable[[Any], Any], asked: Any, exact: Any) -> None:
    best, hits = 1e9, 0
    for _ in range(ROUNDS):
        found = []
        begun = time.process_time()
        for query in asked:
            found.append(ask(query))
        best = min(best, (time.process_time() - begun) / len(asked))
        hits = sum(len(set(map(int, one)) & set(map(int, other))) for one, other in zip(found, exact))
    show(figure="search", peer=peer, effort=effort, recall=hits / (10 * len(asked)), cpu_ms=best * 1e3, n=len(asked))


def hnswlib(stored: Any, asked: Any, exact: Any) -> None:
    import hnswlib
    from importlib.metadata import version

    name = f"hnswlib {version('hnswlib')}"
    index = hnswlib.Index(space="ip", dim=DIMENSIONS)
    begun = time.process_time()
    index.init_index(max_elements=len(stored), M=16, ef_construction=128)
    index.set_num_threads(1)
    index.add_items(stored, num_threads=1)
    show(figure="build", peer=name, cpu_s=time.process_time() - begun)
    for effort in (20, 40, 60, 80, 100, 130, 160, 200, 300):
        index.set_ef(effort)
        measure(name, effort, lambda query: index.knn_query(query, k=10, num_threads=1)[0][0], asked, exact)
    kept = {percent: (np.arange(len(stored), dtype=np.uint32) * np.uint32(2654435761) >> 8) % (100 // percent) == 0 for percent in (10, 1)}
    for percent, mask in kept.items():
        index.set_ef(100)
        begun = time.process_time()
        for query in asked[:30]:
            index.knn_query(query, k=10, num_threads=1, filter=lambda item: bool(mask[item]))
        show(figure="filter", peer=name, percent=percent, cpu_ms=(time.process_time() - begun) / 30 * 1e3)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "index")
        index.save_index(path)
        fresh = hnswlib.Index(space="ip", dim=DIMENSIONS)
        begun = time.perf_counter()
        fresh.load_index(path)
        fresh.knn_query(asked[0], k=10)
        show(figure="open", peer=name, ms=(time.perf_counter() - begun) * 1e3)


def usearch(stored: Any, asked: Any, exact: Any) -> None:
    from importlib.metadata import version

    from usearch.index import Index

    name = f"usearch {version('usearch')}"
    index = Index(ndim=DIMENSIONS, metric="ip", dtype="f32", connectivity=16, expansion_add=128)
    begun = time.process_time()
    index.add(np.arange(len(stored)), stored, threads=1)
    show(figure="build", peer=name, cpu_s=time.process_time() - begun)
    for effort in (40, 80, 160, 320):
        index.expansion_search = effort
        measure(name, effort, lambda query: index.search(query, 10, threads=1).keys, asked, exact)


def chroma(stored: Any, asked: Any, exact: Any) -> None:
    import chromadb

    name = f"chromadb {chromadb.__version__}"
    with tempfile.TemporaryDirectory() as folder:
        client = chromadb.PersistentClient(folder, settings=chromadb.Settings(anonymized_telemetry=False))
        collection = client.create_collection("bench", configuration={"hnsw": {"space": "ip", "ef_construction": 128, "num_threads": 1}})
        begun = time.process_time()
        kept = {percent: (np.arange(len(stored), dtype=np.uint32) * np.uint32(2654435761) >> 8) % (100 // percent) == 0 for percent in (10, 1)}
        for start in range(0, len(stored), 5000):
            ids = range(start, min(start + 5000, len(stored)))
            facts = [{f"p{percent}": bool(mask[i]) for percent, mask in kept.items()} for i in ids]
            collection.add(ids=[str(i) for i in ids], embeddings=stored[ids.start : ids.stop], metadatas=facts)
        show(figure="build", peer=name, cpu_s=time.process_time() - begun)
        for effort in (50, 100, 200, 300):
            collection.modify(configuration={"hnsw": {"ef_search": effort}})
            measure(name, effort, lambda query: collection.query(query_embeddings=[query], n_results=10, include=[])["ids"][0], asked, exact)
        for percent in kept:
            begun = time.process_time()
            for query in asked[:20]:
                collection.query(query_embeddings=[query], n_results=10, include=[], where={f"p{percent}": True})
            show(figure="filter", peer=name, percent=percent, cpu_ms=(time.process_time() - begun) / 20 * 1e3)
        begun = time.perf_counter()
        for i in range(20):
            collection.add(ids=[f"new{i}"], embeddings=[asked[i]])
            collection.query(query_embeddings=[asked[i]], n_results=1, include=[])
        show(figure="insert", peer=name, ms=(time.perf_counter() - begun) / 20 * 1e3)


if __name__ == "__main__":
    peer, path, count, queries = sys.argv[1:]
    {"hnswlib": hnswlib, "usearch": usearch, "chroma": chroma}[peer](*read(path, int(count), int(queries)))
