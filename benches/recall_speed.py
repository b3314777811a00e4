"""How fast recall finds vectors, and which part of the true nearest, beside hnswlib, and in the full form usearch, Chroma,
qdrant-edge, LanceDB and sqlite-vec. See run.py for the form of a line.

The vectors are all-MiniLM-L6-v2's of 117,659 entries of WordNet ("headword: definition"), the queries definitions alone: near
neighbours are not near, which is hard for every index. They are made once, by triune, and kept in .cache/recall. Entries are
stored with their text, their words and three facts.
A rate is one of processor time of one thread, so that other work on the machine hits nobody; `search` figures compare
rates at the same recall, between the two nearest settings of the peer.
"""

from __future__ import annotations

import array
import json
import os
import random
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
VECTORS = CACHE / "recall" / "vectors.f32"
TEXTS = CACHE / "recall" / "texts.txt"
OURS = ROOT / "target" / "debug" / "bench-recall-speed"
THEIRS = ROOT / "benches" / "peers_recall_speed.py"
PEERS = ["numpy", "hnswlib", "usearch", "chromadb", "qdrant-edge-py", "lancedb", "sqlite-vec", "apsw"]
WORDNET = Path("/usr/share/wordnet")
ASKED = 1000


def main(size: str) -> None:
    full = size == "full"
    subprocess.run(["cargo", "build", "--quiet", "--workspace", "--all-features", "--bin", OURS.name], cwd=ROOT, check=True)
    embed()
    python = peer_python()
    sizes = {"10k": 10_000, "100k": 100_000}
    queries = 1000 if full else 300
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        for name, count in sizes.items():
            folder = Path(work) / name
            built = lines(OURS, "build", VECTORS, TEXTS, count, folder)
            peers = {peer: lines(python, THEIRS, peer, VECTORS, count, queries) for peer in peers_of(name, full)}
            searches = {}
            for index in ("scan", "ivf", "arroy") if full else ("scan", "ivf"):
                for line in lines(OURS, "search", VECTORS, count, queries, folder, index, 0.99):
                    searches[line["figure"], index, line.get("percent")] = line
            show_recall(name, searches)
            show_speed(name, searches, peers)
            if name == "100k":
                asked = lines(OURS, "query", VECTORS, TEXTS, count, queries, folder)
                show_rest(built, asked, lines(OURS, "open", VECTORS, folder), lines(OURS, "insert", VECTORS, folder), peers)


def peers_of(name: str, full: bool) -> list[str]:
    # Peers take minutes to build at 100,000: the short form asks hnswlib alone there.
    return ["hnswlib", "usearch", "chroma", "qdrant", "lancedb", "sqlite"] if full else ["hnswlib"] if name == "100k" else ["hnswlib", "chroma"]


def lines(*command: Any) -> list[dict[str, Any]]:
    environment = {**os.environ, "ANONYMIZED_TELEMETRY": "False"}
    output = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def show(figure: str, value: float, unit: str, n: int, note: str, peer: str | None = None, theirs: float | None = None, less: bool = False) -> None:
    ratio = None if not theirs else round(theirs / value if less else value / theirs, 3)
    print(json.dumps({"figure": figure, "value": round(value, 5), "unit": unit, "peer": peer,
                      "peer_value": theirs and round(theirs, 5), "ratio": ratio, "n": n, "note": note}), flush=True)


def show_recall(name: str, searches: dict[Any, dict[str, Any]]) -> None:
    for (figure, index, percent), line in searches.items():
        if figure == "search":
            kept = "" if percent == 100 else f", filter keeps {percent} %"
            show("ann-recall10", line["recall"], "", line["n"], f"{index}, {name}{kept}; {line['cpu_ms']:.4f} ms a query")


def show_speed(name: str, searches: dict[Any, dict[str, Any]], peers: dict[str, list[dict[str, Any]]]) -> None:
    ours = min((searches["search", index, 100] for index in ("scan", "ivf")), key=lambda line: line["cpu_ms"] if line["recall"] >= 0.985 else 1e9)
    for peer, found in peers.items():
        settings = sorted(((line["recall"], line["cpu_ms"], line["peer"]) for line in found if line["figure"] == "search"))
        theirs = at_recall(settings, ours["recall"])
        figure = f"search-{name}" if peer == "hnswlib" else f"search-{name}-{peer}"
        note = f"recall@10 {ours['recall']:.4f}, {ours['index']}, from LMDB; without the text of what is found"
        if theirs is None:
            note += f"; {peer} finds {settings[-1][0]:.4f} at most"
        show(figure, 1e3 / ours["cpu_ms"], "queries per CPU s", ours["n"], note, settings[0][2], theirs and 1e3 / theirs)


def at_recall(settings: list[tuple[float, float, str]], recall: float) -> float | None:
    """Milliseconds of the peer at this recall, between its two nearest settings; none when it does not reach it."""
    for (low, fast, _), (high, slow, _) in zip(settings, settings[1:]):
        if low <= recall <= high:
            return fast + (slow - fast) * (recall - low) / max(high - low, 1e-9)
    return settings[0][1] if recall < settings[0][0] else None


def show_rest(built: Any, asked: Any, opened: Any, inserted: Any, peers: Any) -> None:
    ours = {line["figure"]: line for line in [*built, *opened, *inserted]}
    theirs = {(peer, line["figure"], line.get("percent")): line for peer, found in peers.items() for line in found}

    def of(peer: str, figure: str, field: str, percent: int | None = None) -> float | None:
        line = theirs.get((peer, figure, percent))
        return line and line[field]

    build = ours["build"]["cpu_s"] + ours["store"]["cpu_s"]
    show("build-s", build, "CPU s", 1, "100k: stored durably, with words and records, and the lists built", "hnswlib", of("hnswlib", "build", "cpu_s"), True)
    for peer in peers:
        value = of(peer, "open", "ms")
        if value:
            show("open-ms", ours["open"]["ms"], "ms", 1, "100k: open and first query", peer, value, True)
    show("memory-mb", ours["memory"]["mb"], "MiB", 1, "100k: anonymous memory that opening and 1,000 queries add")
    queries = {line.get("percent"): line for line in asked if line["figure"] == "query"}
    for percent in (10, 1):
        line = queries[percent]
        note = f"100k, recall@10 {line['recall']:.4f}; a whole query by vector with a filter on metadata, records read"
        for peer in peers:
            value = of(peer, "filter", "cpu_ms", percent)
            if value or peer == "hnswlib":
                show(f"filter-{percent}", line["cpu_ms"], "CPU ms", line["n"], note, peer, value, True)
    note = f"100k, recall@10 {queries[100]['recall']:.4f}; a whole query by vector, records read"
    show("query-ms", queries[100]["cpu_ms"], "CPU ms", queries[100]["n"], note)
    hybrid = next(line for line in asked if line["figure"] == "hybrid")
    note = f"100k: words, vector and a filter that keeps 10 %, one after the other; {hybrid['cpu_ms']:.3f} ms of processor time"
    for part in ("p50", "p99"):
        show(f"hybrid-{part}-ms", hybrid[f"{part}_ms"], "ms", hybrid["n"], note)
    insert = ours["insert"]
    note = f"100k: stored durably, then found by the next query, which {insert['missed']} of {insert['n']} were not"
    for peer in ("chroma", "qdrant", "lancedb", "sqlite"):
        value = of(peer, "insert", "ms")
        if value or peer == "chroma":
            show("insert-visible-ms", insert["ms"], "ms", insert["n"], note, peer, value, True)
    note = f"batches of 1,000, one caller, vectors given; {ours['store']['cpu_s']:.1f} s of processor time"
    show("store-durable-per-s", ours["store"]["per_second"], "items/s", 100_000, note)


def embed() -> None:
    """Makes the vectors, unless they are there."""
    texts = entries()
    # Definitions alone are asked: their entries are not stored.
    texts, asked = texts[:-ASKED], texts[-ASKED:]
    everything = [f"{word}: {definition}" for word, definition in texts] + [definition for _, definition in asked]
    VECTORS.parent.mkdir(parents=True, exist_ok=True)
    TEXTS.write_text("\n".join(everything) + "\n")
    done = VECTORS.stat().st_size // (384 * 4) if VECTORS.exists() else 0
    if done >= len(everything):
        return
    print(f"embedding {len(everything) - done} texts, once", file=sys.stderr)
    import triune

    with tempfile.TemporaryDirectory() as folder, triune.open(folder) as mind, VECTORS.open("ab") as out:
        for start in range(done, len(everything), 512):
            for vector in mind.embed(everything[start : start + 512]):
                array.array("f", vector).tofile(out)


def entries() -> list[tuple[str, str]]:
    if not WORDNET.exists():
        sys.exit(f"there is no WordNet in {WORDNET}; install Debian's package wordnet-base, or name its folder here")
    found = []
    for part in ("noun", "verb", "adj", "adv"):
        for line in (WORDNET / f"data.{part}").read_text(encoding="latin1").splitlines():
            if not line.startswith("  "):
                head, gloss = line.split("|", 1)
                found.append((head.split()[4].replace("_", " ").split("(")[0], gloss.split('; "')[0].strip()))
    random.Random(1).shuffle(found)
    return found


def peer_python() -> Path:
    """The Python of the peers' own environment."""
    folder = CACHE / "bench" / "recall"
    python, stamp = folder / "bin" / "python", folder / "installed"
    if not stamp.exists() or stamp.read_text() != "\n".join(PEERS):
        print("installing the peers, once", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
        stamp.write_text("\n".join(PEERS))
    return python
