"""The real models, where `triune models pull` has got them."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

import triune

CACHE = Path(
    os.environ.get("TRIUNE_MODELS")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "triune" / "models"
)


def present(*names: str) -> None:
    absent = [name for name in names if not (CACHE / name).is_dir()]
    if absent:
        print(f"not run: {absent} is not in {CACHE}; get it with `triune models pull`", file=sys.stderr)
        assert "CI" not in os.environ, "CI pulls the models before the tests"
        pytest.skip("no models")


def test_generates_and_recalls_by_meaning(folder: str) -> None:
    names = ("smollm2-135m", "all-minilm-l6-v2")
    present(*names)
    with triune.open(folder, models=[names[0]], embedder=names[1]) as mind:
        mind.recall.store_many(["The cat sleeps on the sofa.", "Paris is the capital of France."])
        [hit] = mind.recall.query("Which pet is napping on the couch?", k=1)
        assert "cat" in hit.text and hit.why.meaning is not None and hit.why.meaning > 0.2
        reply = mind.generate("Say hello.", max_tokens=12, temperature=0)
        assert reply.text and reply.cost_nano_usd == 0 and reply.saved_nano_usd > 0
        assert 0 < reply.usage.output_tokens <= 12
        stream = mind.stream("Say hello.", max_tokens=12, temperature=0)
        assert "".join(stream) == reply.text == stream.reply.text, "greedy decoding repeats"


def test_a_local_model_keeps_to_a_form_and_is_told_of_tools(folder: str) -> None:
    present("smollm2-135m")
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "maximum": 120}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }

    def weather(city: str) -> str:
        """The weather in a city."""
        return city

    capable = {"source": "smollm2-135m", "capabilities": {"tools": True, "json_schema": True, "grammar": True}}
    with triune.open(folder, config={"discover": False, "models": [capable]}) as mind:
        form = {"type": "json_schema", "name": "person", "schema": schema}
        reply = mind.generate("Tell me about Ada.", response_format=form, max_tokens=90, seed=1)
        person = json.loads(reply.text)
        assert list(person) == ["name", "age"] and isinstance(person["age"], int)
        reply = mind.generate("Which year?", response_format={"type": "regex", "pattern": "19[0-9]{2}"}, seed=1)
        assert re.fullmatch("19[0-9]{2}", reply.text) and reply.finish_reason == "stop"
        grammar = {"type": "grammar", "lark": 'start: "yes" | "no"'}
        assert mind.generate("Is it late?", response_format=grammar, seed=1).text in ("yes", "no")
        reply = mind.generate("Hello!", tools=[weather], max_tokens=12, temperature=0)
        assert reply.text or reply.tool_calls
        with pytest.raises(triune.InvalidError, match="regular expression"):
            mind.generate("x", response_format={"type": "regex", "pattern": "(a"})
