"""The real models, where `triune models pull` has got them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import triune

CACHE = Path(
    os.environ.get("TRIUNE_MODELS")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "triune" / "models"
)


def test_generates_and_recalls_by_meaning(folder: str) -> None:
    names = ("smollm2-135m", "all-minilm-l6-v2")
    absent = [name for name in names if not (CACHE / name).is_dir()]
    if absent:
        print(f"not run: {absent} is not in {CACHE}; get it with `triune models pull`", file=sys.stderr)
        assert "CI" not in os.environ, "CI pulls the models before the tests"
        pytest.skip("no models")
    with triune.open(folder, models=[names[0]], embedder=names[1]) as mind:
        mind.recall.store_many(["The cat sleeps on the sofa.", "Paris is the capital of France."])
        [hit] = mind.recall.query("Which pet is napping on the couch?", k=1)
        assert "cat" in hit.text and hit.why.meaning is not None and hit.why.meaning > 0.2
        reply = mind.generate("Say hello.", max_tokens=12, temperature=0)
        assert reply.text and reply.cost_nano_usd == 0 and reply.saved_nano_usd > 0
        assert 0 < reply.usage.output_tokens <= 12
        stream = mind.stream("Say hello.", max_tokens=12, temperature=0)
        assert "".join(stream) == reply.text == stream.reply.text, "greedy decoding repeats"
