"""The local embedder (all-MiniLM-L6-v2) beside onnxruntime on the same weights, and beside sentence-transformers in the full
form. See run.py for the form of a line.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "bench"
OURS = ROOT / "target" / "debug" / "bench-embed"
THEIRS = ROOT / "benches" / "peers_embed.py"
PEERS = {"onnx": ["onnxruntime", "onnx", "numpy", "tokenizers", "safetensors"], "sentence": ["sentence-transformers"]}
WORDS = ["tree", "river", "stone", "light", "house", "green", "water", "night"]


def main(size: str) -> None:
    full = size == "full"
    build = ["cargo", "build", "--quiet", "--workspace", "--all-features", "--bin", "bench-embed"]
    subprocess.run(build, cwd=ROOT, check=True)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    folder = Path(os.environ.get("TRIUNE_MODELS") or cache / "triune" / "models") / "all-minilm-l6-v2"
    onnx = [peer_python("onnx"), THEIRS, "onnx"]
    with tempfile.TemporaryDirectory() as work:
        speed(Path(work), folder, onnx, full)
        agreement(Path(work), folder, onnx, full)
    cold(folder, onnx, "onnxruntime")
    if full:
        cold(folder, [peer_python("sentence"), THEIRS, "sentence"], "sentence-transformers")


def peer_python(name: str) -> Path:
    """The Python of a peer's own environment; that of sentence-transformers takes gigabytes."""
    folder = CACHE / name
    python, stamp = folder / "bin" / "python", folder / "installed"
    if not stamp.exists() or stamp.read_text() != "\n".join(PEERS[name]):
        print(f"installing {PEERS[name][0]}, once", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS[name]], check=True)
        stamp.write_text("\n".join(PEERS[name]))
    return python


def run(*command: str | Path) -> dict[str, Any]:
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {line["figure"]: line for line in lines}


def show(figure: str, value: float, unit: str, peer: str | None, theirs: float | None, n: int, note: str, less: bool = False) -> None:
    ratio = None if not theirs else round(theirs / value if less else value / theirs, 3)
    print(json.dumps({"figure": figure, "value": round(value, 7), "unit": unit, "peer": peer,
                      "peer_value": theirs and round(theirs, 7), "ratio": ratio, "n": n, "note": note}), flush=True)


def speed(work: Path, folder: Path, onnx: list[Any], full: bool) -> None:
    """Both sides in turns, the best of each: what else the machine does then hits both."""
    cores = len(os.sched_getaffinity(0))
    for tokens, count in ((20, 512 if full else 128), (128, 128 if full else 32)):
        texts = [" ".join(WORDS[(i + j * j) % len(WORDS)] for j in range(tokens - 2)) for i in range(count)]
        (work / "texts").write_text(json.dumps(texts))
        for precision in ("f32", "int8"):
            best: dict[str, dict[str, float]] = {"ours": {}, "theirs": {}}
            peer = None
            for _ in range(3 if full else 2):
                found = {"ours": run(OURS, "speed", folder, precision, work / "texts"),
                         "theirs": run(*onnx, "speed", folder, precision, work / "texts")}
                peer = found["theirs"]["rate"]["peer"]
                for side, lines in found.items():
                    rate, alone = lines["rate"]["value"], lines["alone"]["value"]
                    best[side] = {"rate": max(rate, best[side].get("rate", 0)), "alone": min(alone, best[side].get("alone", alone))}
            note = f"{tokens} tokens a text, {cores} threads each side"
            ours, theirs = best["ours"], best["theirs"]
            show(f"embed-{precision}-{tokens}", ours["rate"], "texts/s", peer, theirs["rate"], count, f"{note}; batches of 32 there")
            show(f"embed-{precision}-{tokens}-alone", ours["alone"], "ms", peer, theirs["alone"], 15, f"{note}; one text a call", True)


def agreement(work: Path, folder: Path, onnx: list[Any], full: bool) -> None:
    texts, source = real_texts(512 if full else 24)
    (work / "texts").write_text(json.dumps(texts))
    vectors = {}
    for side, command in (("ours", [OURS]), ("theirs", onnx)):
        for precision in ("f32", "int8"):
            run(*command, "vectors", folder, precision, work / "texts", work / "out")
            vectors[side, precision] = json.loads((work / "out").read_text())
    exact = vectors["theirs", "f32"]
    least = {key: min(sum(a * b for a, b in zip(one, other)) for one, other in zip(found, exact)) for key, found in vectors.items()}
    note = f"least cosine with the f32 vectors of onnxruntime; {source}"
    show("embed-cosine-f32", least["ours", "f32"], "", None, None, len(texts), note)
    show("embed-cosine-int8", least["ours", "int8"], "", "onnxruntime, its own int8", least["theirs", "int8"], len(texts), note)


def real_texts(count: int) -> tuple[list[str], str]:
    data = os.environ.get("TRIUNE_DATA")
    corpus = Path(data or "absent") / "recall" / "scifact" / "corpus.jsonl.gz"
    if corpus.exists():
        with gzip.open(corpus, "rt") as lines:
            return [json.loads(line)["text"] for line, _ in zip(lines, range(count))], "abstracts of SciFact"
    sys.path.insert(0, str(ROOT / "tests" / "parity"))
    from texts import EMBEDDING_TEXTS

    return EMBEDDING_TEXTS[:count], "the texts of tests/parity"


def cold(folder: Path, theirs: list[Any], name: str) -> None:
    """From the start of a process to its first vector and its end."""

    def first(*command: str | Path) -> tuple[float, float, str]:
        best, line = 1e9, {}
        for _ in range(3):
            begun = time.perf_counter()
            line = run(*command, "first", folder, "f32")["memory"]
            best = min(best, time.perf_counter() - begun)
        return best * 1e3, line["value"], line.get("peer", "")

    (our_ms, our_mb, _), (their_ms, their_mb, peer) = first(OURS), first(*theirs)
    show(f"embed-cold-start-{name}", our_ms, "ms", peer, their_ms, 3, "process start to first vector; ours without Python", True)
    show(f"embed-memory-{name}", our_mb, "MiB", peer, their_mb, 1, "peak of a process that embedded one text", True)
