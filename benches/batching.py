"""Many answers of one local model at once, beside the slots of llama.cpp's server. See run.py for the form of a line."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
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
    for streams in ("1", "8"):
        ours = inference.run(inference.OURS, "schema", file, threads, streams, "256" if full else "96")
        note = (f"time of a token with a schema over without, {streams} at once, {threads} threads; "
                f"{ours['schema-first']['value']:.0f} ms for the first answer with one")
        inference.show("schema-overhead" if streams == "1" else f"schema-overhead-{streams}",
                       ours["schema-overhead"]["value"], "of a token", None, None, int(streams), note, True)
    count = 1000 if full else 100
    with tempfile.NamedTemporaryFile("w", suffix=".json") as schemas:
        json.dump([schema(random.Random(seed), 3) for seed in range(count)], schemas)
        schemas.flush()
        ours = inference.run(inference.OURS, "schemas", file, threads, schemas.name)
    ended = ours["schemas-ended"]["value"]
    inference.show("schemas-fit", ours["schemas-fit"]["value"] / max(ended, 1), "of all", None, None, count,
                   f"of {ended:.0f} answers that ended within 160 tokens, {count} random schemas", False)
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


def schema(rng: random.Random, depth: int) -> dict[str, object]:
    """A random JSON schema with bounds, so that what fits it has an end."""
    least = rng.randrange(4)
    leaves = [
        lambda: {"type": "string", "minLength": least, "maxLength": least + rng.randrange(9)},
        lambda: {"type": "string", "pattern": rng.choice(["^[a-z]{1,4}$", "^[A-Z][0-9]{2}-x$", "^(yes|no)$"])},
        lambda: {"type": "integer", "minimum": -least, "maximum": 50 * least},
        lambda: {"type": "number", "minimum": least / 4, "exclusiveMaximum": least + 1.5},
        lambda: {"enum": rng.sample(["red", 7, None, True, {"a": [1]}, 'é"'], 1 + least)},
        lambda: {"const": least},
        lambda: {"type": ["boolean", "null"]},
        lambda: {"type": "string", "format": rng.choice(["date", "uuid", "ipv4"])},
    ]
    if depth == 0:
        return rng.choice(leaves)()

    def object_() -> dict[str, object]:
        properties = {f"p{at}": schema(rng, depth - 1) for at in range(rng.randrange(5))}
        required = [name for name in properties if rng.random() < 0.5]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    branches = [
        object_,
        object_,
        lambda: {"type": "array", "items": schema(rng, depth - 1), "minItems": least, "maxItems": least + rng.randrange(4)},
        lambda: {"anyOf": [schema(rng, depth - 1) for _ in range(1 + rng.randrange(3))]},
    ]
    return rng.choice(leaves + branches)()


def peer_python() -> Path:
    folder = first.CACHE.parent / "bench-xllamacpp"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        print("installing xllamacpp, once", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", XLLAMACPP], check=True)
        (folder / "installed").touch()
    return python
