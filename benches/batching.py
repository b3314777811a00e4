"""Many answers of one local model at once, beside the slots of llama.cpp's server. See run.py for the form of a line."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import first
import inference

XLLAMACPP = "xllamacpp==2026.10.11549"
THEIRS = inference.ROOT / "benches" / "peers_batching.py"


def main(size: str) -> None:
    full = size == "full"
    build = ["cargo", "build", "--quiet", "--workspace", "--all-features", "--bin", "bench-inference"]
    subprocess.run(build, cwd=inference.ROOT, check=True)
    python, file, threads = peer_python(), inference.files()["smollm2"], "2"
    decode = "64" if full else "32"
    rows = [("aggregate-32", "aggregate", "tokens/s", ["32", "0", "64", decode], False),
            ("shared-prefix-100", "seconds", "s", ["100", "400", "16", "64"] if full else ["24", "400", "16", "16"], True)]
    for figure, key, unit, shape, less in rows:
        ours = inference.run(inference.OURS, "many", file, threads, *shape)
        theirs = inference.run(python, THEIRS, file, threads, *shape)
        streams, prefix, own, written = shape
        note = f"{streams} answers of {written} tokens, {prefix} tokens in common and {own} of their own, {threads} threads"
        peer = theirs[key]["peer"]
        inference.show(figure, ours[key]["value"], unit, peer, theirs[key]["value"], int(streams), note, less)
        if figure == "aggregate-32":
            inference.show("memory-32", ours["memory-many"]["value"], "MiB", peer, theirs["memory-many"]["value"], 32, note, True)
    requests = "10000" if full else "400"
    soak = inference.run(inference.OURS, "soak", file, threads, requests)
    note = (f"requests of all lengths and priorities, three in five given up on the way, that ended wrongly or left "
            f"something behind, in {soak['soak-seconds']['value']:.0f} s; {soak['soak-preempted']['value']:.0f} times an "
            f"answer made way, {soak['soak-leaked-bytes']['value']:.0f} bytes leaked")
    inference.show("soak-lost", soak["soak-lost"]["value"], "requests", None, None, int(requests), note, True)
    copied = inference.run(inference.OURS, "speculative", file, threads, "192" if full else "64")
    note = f"one answer that copies its prompt; {copied['accepted']['value']:.0%} of the guesses were right"
    inference.show("speculative", copied["speculative"]["value"], "tokens/s", "without guesses", copied["plain"]["value"], 3,
                   note, False)


def peer_python() -> Path:
    folder = first.CACHE.parent / "bench-xllamacpp"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        print("installing xllamacpp, once", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", XLLAMACPP], check=True)
        (folder / "installed").touch()
    return python
