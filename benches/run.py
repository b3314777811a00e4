"""Runs one program of measurements and prints one JSON line a figure.

    make bench                        lists the programs
    make bench NAME=first             short form, within a minute once built
    make bench NAME=first SIZE=full

A line: {"figure", "value", "unit", "peer", "peer_value", "ratio", "n", "note"}; `ratio` is above 1 where triune is
better. Peers are installed from their registries into .cache/bench on first use and measured in the same run.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

PROGRAMS = {
    "first": "load, prefill, decode, embeddings, store, recall, empty task, calls from Python and Node",
    "batching": "many answers of one local model at once, beside the slots of llama.cpp's server",
    "budget": "one dollar, 200 calls at once, faults and 50 kills: what was overspent, and whether the ledger is right",
    "embed": "the local embedder beside onnxruntime and sentence-transformers: speed, agreement, cold start, memory",
    "inference": "local models beside llama.cpp: speed, memory, and whether they agree",
    "recall-processes": "two writers and four readers in six processes, in one folder: do they agree",
    "recall-quality": "what recall finds of what is known to be the answer, on four data sets",
    "recall-speed": "vectors of 10,000 and 100,000 texts, stored and found, beside hnswlib, qdrant-edge, Chroma and others",
    "router-faults": "the sixteen faults of FailoverBench against the router, beside litellm's",
    "router-overhead": "what a decision takes, and what the router adds to a stream, beside litellm's",
    "router-quality": "what the learned router saves on recorded answers of real models, at which quality",
    "kill": "25 SIGKILLs during stores, tasks and generations: what was lost, rerun or miscounted",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?")
    parser.add_argument("--size", choices=["short", "full"], default="short")
    arguments = parser.parse_args()
    if arguments.name is None:
        for name, what in PROGRAMS.items():
            print(f"{name:16} {what}")
        return
    if arguments.name not in PROGRAMS:
        sys.exit(f"no program is called {arguments.name!r}; there are: {', '.join(PROGRAMS)}")
    importlib.import_module(arguments.name.replace("-", "_")).main(arguments.size)


if __name__ == "__main__":
    main()
