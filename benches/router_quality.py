"""What the learned router is worth on recorded answers of real models (TRIUNE_DATA/router), beside the figures of RouteLLM
and of the scripts in the reference. See run.py for the form of a line.

This file prepares records; everything that is measured is learned and decided by the shipped Rust code
(`triune::router::learn`), on vectors of triune's own embedder, which are kept in .cache/bench.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "bench" / "router"
OURS = ROOT / "target" / "debug" / "bench-router-quality"
CHEAP, STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"

# Figures of others on the whole sets, of which the data here is a part: not measured in this run.
ROUTELLM, SCRIPT = "RouteLLM (published, whole set)", "script of the reference (whole set)"
PEERS = {
    "gsm8k-cascade-apgr": (SCRIPT, 0.777, "APGR", False),
    "gsm8k-cascade-cpt50": (SCRIPT, 16.5, "% strong calls", True),
    "gsm8k-cascade-cpt80": (SCRIPT, 38.0, "% strong calls", True),
    "gsm8k-prompt-apgr": (ROUTELLM, 0.622, "APGR", False),
    "mmlu-prompt-apgr": (ROUTELLM, 0.603, "APGR", False),
    "mmlu-tag-apgr": ("script of the reference (whole set; RouteLLM takes no tag)", 0.645, "APGR", False),
    "nine-models-saving": (SCRIPT, 52.0, "% saved", False),
    "nine-models-saving-tag": (SCRIPT, 78.0, "% saved", False),
    "retention-violations": (SCRIPT, 10.0, "% of splits", True),
    "retention-strong-calls": (SCRIPT, 36.8, "% strong calls", True),
    "learned-decision-p99-us": (None, None, "us", True),
}


def main(size: str) -> None:
    data = Path(os.environ.get("TRIUNE_DATA") or ROOT.parent / "shared" / "data") / "router"
    if not data.is_dir():
        sys.exit(f"there are no recorded answers in {data}; set TRIUNE_DATA to the folder that has `router`")
    build = ["cargo", "build", "--quiet", "--workspace", "--all-features", "--bin", "bench-router-quality"]
    subprocess.run(build, cwd=ROOT, check=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    for name, records in {"gsm8k": gsm8k(data), "mmlu": mmlu(data), "nine": nine_models(data)}.items():
        (CACHE / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        embed(name, [record["prompt"] for record in records])
    measure = subprocess.Popen(
        [OURS, "measure", CACHE, "20" if size == "full" else "4"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    for line in measure.stdout or []:
        show(json.loads(line))
    if measure.wait():
        sys.exit(measure.returncode)


def show(line: dict[str, Any]) -> None:
    peer, theirs, unit, less = PEERS[line["figure"]]
    value = line["value"]
    ratio = None if not theirs or not value else round(theirs / value if less else value / theirs, 3)
    print(json.dumps({"figure": line["figure"], "value": round(value, 3), "unit": unit, "peer": peer, "peer_value": theirs,
                      "ratio": ratio, "n": line["n"], "note": line["note"]}), flush=True)


def rows(path: Path) -> list[dict[str, str]]:
    csv.field_size_limit(1 << 30)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contaminated(path: Path) -> set[str]:
    """Prompts that RouteLLM leaves out, since its training data has them."""
    return {json.loads(line)["eval_prompt"] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}


def pair(row: dict[str, str], tag: str | None) -> dict[str, Any]:
    cheap: dict[str, Any] = {"quality": float(row[CHEAP] == "True")}
    if f"{CHEAP}_response" in row:
        cheap["answer"] = row[f"{CHEAP}_response"]
    record: dict[str, Any] = {"prompt": row["prompt"], "outcomes": {"mixtral-8x7b": cheap, "gpt-4": {"quality": float(row[STRONG] == "True")}}}
    return record if tag is None else record | {"tag": tag}


def gsm8k(data: Path) -> list[dict[str, Any]]:
    leave = contaminated(data / "gsm8k_contaminated.jsonl")
    return [pair(row, None) for row in rows(data / "gsm8k_responses.csv") if row["prompt"] not in leave]


def mmlu(data: Path) -> list[dict[str, Any]]:
    leave = contaminated(data / "mmlu_contaminated.jsonl")
    files = sorted((data / "mmlu").glob("mmlu_*.csv"))
    found = ((row, file.stem.removeprefix("mmlu_")) for file in files for row in rows(file))
    return [pair(row, subject) for row, subject in found if row["prompt"] not in leave]


def nine_models(data: Path) -> list[dict[str, Any]]:
    """Costs are the price of a million tokens in nano-dollars, as the reference weighs them."""
    folder = data / "llmrouter"
    models = json.loads((folder / "default_llm.json").read_text(encoding="utf-8"))
    # Only at line feeds: questions have other line separators in them.
    queries = filter(None, (folder / "default_query_train.jsonl").read_text(encoding="utf-8").split("\n"))
    tasks = {query["query"]: query["task_name"] for query in map(json.loads, queries)}
    return [
        {
            "prompt": row["question"],
            "tag": tasks[row["question"]],
            "outcomes": {
                model: {"quality": score, "cost": round(models[model]["input_price"] * 1e9)}
                for model, score in row["scores"].items()
            },
        }
        for row in json.loads((folder / "train.json").read_text(encoding="utf-8"))
    ]


def embed(name: str, prompts: list[str]) -> None:
    """Vectors of the prompts, made once: some minutes for all sets."""
    texts = json.dumps(prompts)
    stamp, out = CACHE / f"{name}.sha256", CACHE / f"{name}.f32"
    print_of = hashlib.sha256(texts.encode()).hexdigest()
    if out.exists() and stamp.exists() and stamp.read_text() == print_of:
        return
    print(f"embedding {len(prompts)} prompts of {name}, once", file=sys.stderr)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    folder = Path(os.environ.get("TRIUNE_MODELS") or cache / "triune" / "models") / "all-minilm-l6-v2"
    (CACHE / f"{name}.texts").write_text(texts)
    subprocess.run([OURS, "embed", folder, CACHE / f"{name}.texts", out], check=True, stdout=sys.stderr)
    stamp.write_text(print_of)
