"""Local models beside llama.cpp on the same file, one after the other in one run. See run.py for the form of a line."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import first
import gemma

ROOT = first.ROOT
OURS = ROOT / "target" / "debug" / "bench-inference"
THEIRS = ROOT / "benches" / "peers_inference.py"
# Figures where less is better.
LESS = {"load", "memory-1", "cold-start"}


def main(size: str) -> None:
    full = size == "full"
    build = ["cargo", "build", "--quiet", "--workspace", "--all-features", "--bin", "bench-inference"]
    subprocess.run(build, cwd=ROOT, check=True)
    python = first.peer_python()
    models = {**files(), "gemma": str(gemma.fetch(python))}
    for name, file in models.items():
        for threads in ("1", "2") if full else ("2",):
            speed(name, file, threads, python, full)
    for name, file in models.items():
        with tempfile.TemporaryDirectory() as folder:
            agreement(name, file, Path(folder), python, full)


def files() -> dict[str, str]:
    """The models that triune itself can get."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    models = Path(os.environ.get("TRIUNE_MODELS") or cache / "triune" / "models")
    return {"smollm2": str(next(models.glob("smollm2-135m/*.gguf")))}


def run(*command: str | Path) -> dict[str, Any]:
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {line["figure"]: line for line in lines}


def show(figure: str, value: float, unit: str, peer: str | None, theirs: float | None, n: int, note: str, less: bool) -> None:
    ratio = None if not theirs else round(theirs / value if less else value / theirs, 3)
    print(json.dumps({"figure": figure, "value": round(value, 4), "unit": unit, "peer": peer,
                      "peer_value": theirs and round(theirs, 4), "ratio": ratio, "n": n, "note": note}), flush=True)


def speed(name: str, file: str, threads: str, python: Path, full: bool) -> None:
    prompt, decode = ("512", "128") if full else ("512", "48")
    ours = run(OURS, "speed", file, threads, prompt, decode) | run(OURS, "first", file, threads)
    theirs = run(python, THEIRS, "speed", file, threads, prompt, decode) | run(python, THEIRS, "first", file, threads)
    peer = theirs["load"]["peer"]
    note = f"{threads} thread{'s' if threads != '1' else ''} each side"
    rows = [("prefill", f"prefill-{name}", "tokens/s", int(prompt)), ("decode", f"decode-{name}", "tokens/s", int(decode)),
            ("load", "load", "ms", 1), ("cold-start", "cold-start", "ms", 1), ("memory-1", "memory-1", "MiB", 1)]
    for key, figure, unit, n in rows:
        show(figure, ours[key]["value"], unit, peer, theirs[key]["value"], n, f"{name}, {note}", key in LESS)
    show("prefix-hit", ours["prefix-hit"]["value"], "of cold", None, None, int(prompt),
         "time to the first token of a prompt that was read before", True)


def agreement(name: str, file: str, folder: Path, python: Path, full: bool) -> None:
    sys.path.insert(0, str(ROOT / "tests" / "parity"))
    from texts import BASE, LONG

    prompts = [text for text in BASE if len(text) > 11][: 50 if full else 8]
    read = "1000" if full else "400"
    (folder / "prompts").write_text(json.dumps(prompts))
    subprocess.run([python, THEIRS, "say", file, folder / "prompts", "64" if full else "16", folder / "said"], check=True)
    found = run(OURS, "said", file, folder / "said")
    for figure in ("logprob-difference", "logprob-difference-mean", "logprob-within", "greedy-splits"):
        show(figure, found[figure]["value"], "", None, None, len(prompts),
             f"{name}, five likeliest tokens of each step", True)

    (folder / "text").write_text(" ".join((ROOT / part).read_text() for part in ("README.md", "docs/architecture.md")))
    subprocess.run([python, THEIRS, "read", file, folder / "text", read, folder / "read"], check=True)
    found = run(OURS, "read", file, folder / "read")
    show("perplexity-difference", found["perplexity-difference"]["value"], "", None, None, int(read),
         f"{name}, ours {found['perplexity']['value']:.3f}, theirs {found['perplexity-theirs']['value']:.3f}", True)

    # One seed: both models have the same texts.
    pick, alphabet = random.Random(7), "".join(BASE + LONG)
    texts = [pick.choice(BASE) + "".join(pick.choices(alphabet, k=pick.randrange(40))) + pick.choice(BASE)
             for _ in range(10_000 if full else 1000)]
    (folder / "texts").write_text(json.dumps(texts))
    subprocess.run([python, THEIRS, "tokens", file, folder / "texts", folder / "tokens"], check=True)
    found = run(OURS, "tokens", file, folder / "texts", folder / "tokens")
    show("tokenizer-equal", found["tokenizer-equal"]["value"], "", None, None, len(texts), f"{name}, texts with equal tokens", False)
