"""The peers of recall_speed.py. Runs in an environment of its own; prints one JSON line for each thing measured.

    peers_recall_speed.py PEER VECTORS COUNT QUERIES        PEER: hnswlib, usearch, chroma, qdrant, lancedb, sqlite

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
# Parts of the items that a filter keeps.
PERCENTS = (10, 1)


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


def kept(count: int, percent: int) -> Any:
    """Which items a filter keeps: any may be in, for their numbers are mixed."""
    return (np.arange(count, dtype=np.uint32) * np.uint32(2654435761) >> 8) % (100 // percent) == 0


def filtered(peer: str, percent: int, ask: Callable[[Any], Any], asked: Any, stored: Any) -> None:
    """The same with a filter, which may leave other items than the nearest of all."""
    mask = kept(len(stored), percent)
    scores = np.where(mask, asked @ stored.T, -np.inf)
    exact = np.argpartition(-scores, 10, axis=1)[:, :10]
    begun = time.process_time()
    found = [ask(query) for query in asked]
    took = (time.process_time() - begun) / len(asked)
    hits = sum(len(set(map(int, one)) & set(map(int, other))) for one, other in zip(found, exact))
    show(figure="filter", peer=peer, percent=percent, recall=hits / (10 * len(asked)), cpu_ms=took * 1e3)


def inserted(peer: str, add: Callable[[int, Any], None], ask: Callable[[Any], Any], asked: Any, count: int) -> None:
    """One item after the other, each found by the next query."""
    begun = time.perf_counter()
    for number, query in enumerate(asked[:20]):
        add(count + number, query)
        ask(query)
    show(figure="insert", peer=peer, ms=(time.perf_counter() - begun) / 20 * 1e3)


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
    for effort in (20, 40, 60, 80, 100, 130, 160, 200, 300, 500, 800):
        index.set_ef(effort)
        measure(name, effort, lambda query: index.knn_query(query, k=10, num_threads=1)[0][0], asked, exact)
    index.set_ef(100)
    for percent in PERCENTS:
        mask = kept(len(stored), percent)
        filtered(name, percent, lambda query: index.knn_query(query, k=10, num_threads=1, filter=lambda item: bool(mask[item]))[0][0], asked[:30], stored)
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
    for effort in (40, 80, 160, 320, 640):
        index.expansion_search = effort
        measure(name, effort, lambda query: index.search(query, 10, threads=1).keys, asked, exact)


def chroma(stored: Any, asked: Any, exact: Any) -> None:
    import chromadb

    name = f"chromadb {chromadb.__version__}"
    with tempfile.TemporaryDirectory() as folder:
        client = chromadb.PersistentClient(folder, settings=chromadb.Settings(anonymized_telemetry=False))
        collection = client.create_collection("bench", configuration={"hnsw": {"space": "ip", "ef_construction": 128, "num_threads": 1}})
        begun = time.process_time()
        masks = {f"p{percent}": kept(len(stored), percent) for percent in PERCENTS}
        for start in range(0, len(stored), 5000):
            ids = range(start, min(start + 5000, len(stored)))
            facts = [{key: bool(mask[i]) for key, mask in masks.items()} for i in ids]
            collection.add(ids=[str(i) for i in ids], embeddings=stored[ids.start : ids.stop], metadatas=facts)
        show(figure="build", peer=name, cpu_s=time.process_time() - begun)
        for effort in (50, 100, 200, 300, 600):
            collection.modify(configuration={"hnsw": {"ef_search": effort}})
            measure(name, effort, lambda query: collection.query(query_embeddings=[query], n_results=10, include=[])["ids"][0], asked, exact)
        for percent in PERCENTS:
            where = {f"p{percent}": True}
            filtered(name, percent, lambda query: collection.query(query_embeddings=[query], n_results=10, include=[], where=where)["ids"][0], asked[:20], stored)

        def add(number: int, query: Any) -> None:
            collection.add(ids=[str(number)], embeddings=[query])

        inserted(name, add, lambda query: collection.query(query_embeddings=[query], n_results=1, include=[]), asked, len(stored))


def qdrant(stored: Any, asked: Any, exact: Any) -> None:
    from importlib.metadata import version

    import qdrant_edge as edge

    name = f"qdrant-edge {version('qdrant-edge-py')}"
    vectors = edge.EdgeVectorParams(size=DIMENSIONS, distance=edge.Distance.Dot)
    hnsw = edge.HnswIndexConfig(m=16, ef_construct=128, full_scan_threshold=10, max_indexing_threads=1)
    optimizers = edge.EdgeOptimizersConfig(default_segment_number=1, max_segment_size=10_000_000, indexing_threshold=1_000)
    masks = {f"p{percent}": kept(len(stored), percent) for percent in PERCENTS}
    with tempfile.TemporaryDirectory() as folder:
        shard = edge.EdgeShard.create(folder, edge.EdgeConfig(vectors=vectors, hnsw_config=hnsw, optimizers=optimizers, max_search_threads=1))
        begun = time.process_time()
        for key in masks:
            shard.update(edge.UpdateOperation.create_field_index(key, edge.PayloadSchemaType.Integer))
        for start in range(0, len(stored), 1000):
            ids = range(start, min(start + 1000, len(stored)))
            points = [edge.Point(i, stored[i].tolist(), {key: int(mask[i]) for key, mask in masks.items()}) for i in ids]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.optimize()
        show(figure="build", peer=name, cpu_s=time.process_time() - begun)

        def ask(query: Any, effort: int, wanted: int = 10, only: Any = None) -> list[Any]:
            nearest = edge.Query.Nearest(query.tolist())
            request = edge.SearchRequest(query=nearest, limit=wanted, filter=only, params=edge.SearchParams(hnsw_ef=effort))
            return [point.id for point in shard.search(request)]

        for effort in (32, 64, 128, 200, 300, 600):
            measure(name, effort, lambda query: ask(query, effort), asked, exact)
        for percent in PERCENTS:
            only = edge.Filter(must=[edge.FieldCondition(key=f"p{percent}", match=edge.MatchValue(1))])
            filtered(name, percent, lambda query: ask(query, 200, only=only), asked[:100], stored)

        def add(number: int, query: Any) -> None:
            shard.update(edge.UpdateOperation.upsert_points([edge.Point(number, query.tolist())]))
            # Without this it may be lost with the machine.
            shard.flush()

        inserted(name, add, lambda query: ask(query, 200, 1), asked, len(stored))
        shard.close()
        begun = time.perf_counter()
        shard = edge.EdgeShard.load(folder)
        ask(asked[0], 100)
        show(figure="open", peer=name, ms=(time.perf_counter() - begun) * 1e3)


def lance(stored: Any, asked: Any, exact: Any) -> None:
    import lancedb
    import pyarrow

    name = f"lancedb {lancedb.__version__}"
    masks = {f"p{percent}": kept(len(stored), percent) for percent in PERCENTS}
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        flat = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(stored.reshape(-1)), DIMENSIONS)
        columns = {"id": pyarrow.array(range(len(stored)), pyarrow.int64()), "vector": flat, **{key: pyarrow.array(mask) for key, mask in masks.items()}}
        table = lancedb.connect(folder).create_table("bench", pyarrow.table(columns))
        table.create_index(metric="dot", index_type="IVF_HNSW_SQ", num_partitions=max(1, len(stored) // 20_000), m=16, ef_construction=128)
        for key in masks:
            table.create_scalar_index(key, index_type="BITMAP")
        show(figure="build", peer=name, cpu_s=time.process_time() - begun)

        def ask(query: Any, effort: int, wanted: int = 10, only: str | None = None) -> list[int]:
            search = table.search(query).metric("dot").nprobes(100).ef(effort).refine_factor(3).limit(wanted).select(["id", "_distance"])
            search = search.where(only, prefilter=True) if only else search
            return search.to_arrow()["id"].to_pylist()

        for effort in (50, 100, 200, 400):
            measure(name, effort, lambda query: ask(query, effort), asked[:100], exact)
        for percent in PERCENTS:
            filtered(name, percent, lambda query: ask(query, 200, only=f"p{percent} = true"), asked[:30], stored)

        def add(number: int, query: Any) -> None:
            table.add([{"id": number, "vector": query.tolist(), **{key: False for key in masks}}])

        inserted(name, add, lambda query: ask(query, 200, 1), asked, len(stored))
        begun = time.perf_counter()
        table = lancedb.connect(folder).open_table("bench")
        ask(asked[0], 100)
        show(figure="open", peer=name, ms=(time.perf_counter() - begun) * 1e3)


def sqlite(stored: Any, asked: Any, exact: Any) -> None:
    # Python's own sqlite3 may be built without extensions.
    import apsw
    import sqlite_vec

    name = f"sqlite-vec {sqlite_vec.__version__}"
    masks = {f"p{percent}": kept(len(stored), percent) for percent in PERCENTS}
    with tempfile.TemporaryDirectory() as folder:

        def connect() -> Any:
            database = apsw.Connection(os.path.join(folder, "bench.db"))
            database.enable_load_extension(True)
            sqlite_vec.load(database)
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = full")
            return database

        database = connect()
        begun = time.process_time()
        keys = ", ".join(f"{key} boolean" for key in masks)
        database.execute(f"create virtual table bench using vec0(vector float[{DIMENSIONS}] distance_metric=cosine, {keys})")
        insert = f"insert into bench(rowid, vector, {', '.join(masks)}) values (?, ?{', ?' * len(masks)})"
        rows = ((i, vector.tobytes(), *(bool(mask[i]) for mask in masks.values())) for i, vector in enumerate(stored))
        with database:
            database.executemany(insert, rows)
        show(figure="build", peer=name, cpu_s=time.process_time() - begun)

        def ask(query: Any, only: str = "", wanted: int = 10) -> list[int]:
            select = f"select rowid from bench where vector match ? and k = ?{only}"
            return [row[0] for row in database.execute(select, (query.tobytes(), wanted))]

        measure(name, 0, ask, asked[:50], exact)
        for percent in PERCENTS:
            filtered(name, percent, lambda query: ask(query, f" and p{percent} = true"), asked[:20], stored)

        def add(number: int, query: Any) -> None:
            database.execute(insert, (number, query.tobytes(), *(False for _ in masks)))

        inserted(name, add, lambda query: ask(query, wanted=1), asked, len(stored))
        database.close()
        begun = time.perf_counter()
        database = connect()
        ask(asked[0])
        show(figure="open", peer=name, ms=(time.perf_counter() - begun) * 1e3)


if __name__ == "__main__":
    peer, path, count, queries = sys.argv[1:]
    peers = {"hnswlib": hnswlib, "usearch": usearch, "chroma": chroma, "qdrant": qdrant, "lancedb": lance, "sqlite": sqlite}
    peers[peer](*read(path, int(count), int(queries)))
