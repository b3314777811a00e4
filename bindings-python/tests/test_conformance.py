"""The cases that Rust, Python and Node all pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import triune
from triune.errors import BY_CODE

FILES = sorted((Path(__file__).resolve().parents[2] / "tests" / "conformance").glob("*.json"))
CASES = [(file, case) for file in FILES for case in json.loads(file.read_text())["cases"]]


class Scripted:
    """Answers as the case says."""

    def __init__(self, script: dict[str, Any]) -> None:
        self.script = script
        self.profile: triune.ModelProfile = script["profile"]

    def chat(self, request: triune.ChatRequest) -> triune.protocols.AnswerDict:
        if code := self.script.get("error"):
            raise BY_CODE[code]("as the case says")
        usage = triune.Usage(self.script["input_tokens"], 0, self.script["output_tokens"])
        return {"text": self.script["text"], "usage": usage}


def compare(expected: Any, found: Any, at: str = "reply") -> None:
    """Whether `found` has all that `expected` asks for."""
    if expected == {"$any": True}:
        return
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            assert key in found, f"{at}.{key} is absent"
            compare(value, found[key], f"{at}.{key}")
    elif isinstance(expected, list) and isinstance(found, list):
        assert len(expected) == len(found), f"{at} has {len(found)} entries, not {len(expected)}"
        for i, (one, other) in enumerate(zip(expected, found, strict=True)):
            compare(one, other, f"{at}[{i}]")
    elif isinstance(expected, bool) or isinstance(found, bool) or not isinstance(expected, int | float):
        assert expected == found and type(expected) is type(found), f"{at} is {found}, not {expected}"
    else:
        assert isinstance(found, int | float), f"{at} is {found}, not {expected}"
        assert abs(expected - found) <= 1e-6, f"{at} is {found}, not {expected}"


def refuses(expected: dict[str, str], act: Any) -> None:
    with pytest.raises(triune.TriuneError) as caught:
        act()
    assert caught.value.code == expected["code"], caught.value
    assert expected.get("message", "") in str(caught.value)


def test_there_are_cases() -> None:
    assert FILES and all(json.loads(file.read_text())["cases"] for file in FILES)
    assert len(CASES) >= 40


@pytest.mark.parametrize(("file", "case"), CASES, ids=[f"{file.stem}: {case['name']}" for file, case in CASES])
def test_case(file: Path, case: dict[str, Any], folder: str) -> None:
    models = [Scripted(script) for script in case.get("models", [])]

    def opened() -> triune.Triune:
        return triune.open(case.get("url", folder), config=case["config"], models=models)

    if "open_error" in case:
        refuses(case["open_error"], opened)
        return
    with opened() as mind:
        for step in case["steps"]:
            if "error" in step:
                refuses(step["error"], lambda step=step: mind.call(step["engine"], step["request"]))
            else:
                compare(step["expect"], mind.call(step["engine"], step["request"]))
