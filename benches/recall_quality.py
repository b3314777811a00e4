"""What recall finds of what is known to be the answer: LoCoMo, SciFact, HotpotQA and the entities of MuSiQue. See run.py for
the form of a line.

Vectors are all-MiniLM-L6-v2's, by triune's own embedder, made once and kept in .cache/recall; no language model is asked.
Constants of the ranking were tuned on conversations 0 to 2 of LoCoMo, on the first 40 questions of HotpotQA and on the
first 300 passages of MuSiQue; figures are of the others where the note says "held out".
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "recall"
OURS = ROOT / "target" / "debug" / "bench-recall-quality"
# What a hundred lines of Python reach, or what was published: ../shared/reference/recall.md.
PEERS = {
    "locomo-turn-r10": ("numpy, all conversations", 0.745),
    "locomo-turn-r5": ("numpy, all conversations", 0.67),
    "locomo-session-r10": ("numpy, all conversations", 0.934),
    "scifact-ndcg10": ("best published with MiniLM", 0.738),
    "scifact-bm25-ndcg10": ("Lucene", 0.679),
    "hotpotqa-r5": ("numpy", 0.83),
    "entity-recall": ("numpy", 0.936),
    "entity-precision": ("numpy", 0.869),
}


def main(size: str) -> None:
    data = Path(os.environ.get("TRIUNE_DATA") or ROOT / ".." / "shared" / "data") / "recall"
    if not data.is_dir():
        raise SystemExit(f"the data is not there: {data}; set TRIUNE_DATA to the folder that has recall/")
    build = ["cargo", "build", "--quiet", "--workspace", "--all-features", "--bin", OURS.name]
    subprocess.run(build, cwd=ROOT, check=True)
    subprocess.run(["make", "--silent", "models"], cwd=ROOT, check=True)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    model = Path(os.environ.get("TRIUNE_MODELS") or cache / "triune" / "models") / "all-minilm-l6-v2"
    runs = [
        ["entities", data],
        ["locomo", data / "locomo", model, CACHE],
        ["scifact", data / "scifact", model, CACHE],
        ["hotpotqa", data / "hotpotqa100", model, CACHE],
    ]
    if size == "full":
        runs.insert(2, ["locomo-tuning", data / "locomo", model, CACHE])
    for run in runs:
        output = subprocess.run([OURS, *map(str, run)], check=True, stdout=subprocess.PIPE, text=True).stdout
        for line in filter(None, output.splitlines()):
            figure = json.loads(line)
            peer, theirs = PEERS.get(figure["figure"], (None, None))
            ratio = round(figure["value"] / theirs, 3) if theirs else None
            print(
                json.dumps(
                    {
                        "figure": figure["figure"],
                        "value": round(figure["value"], 4),
                        "unit": "",
                        "peer": peer,
                        "peer_value": theirs,
                        "ratio": ratio,
                        "n": figure["n"],
                        "note": figure["note"],
                    }
                ),
                flush=True,
            )
