"""The command line, as Python runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "triune", *arguments], capture_output=True, text=True, timeout=120)


def test_wrong_use_is_told() -> None:
    done = run("no-such-command")
    assert done.returncode == 2 and "no-such-command" in done.stderr
    done = run("bench-model", __file__)
    assert done.returncode == 3 and "GGUF" in done.stderr, "3: what was read is damaged"


def test_a_model_is_measured() -> None:
    done = run("bench-model", "smollm2-135m", "--tokens", "4", "--json")
    if "triune models pull" in done.stderr and not os.environ.get("TRIUNE_MODELS") and not os.environ.get("CI"):
        pytest.skip("the model is not there; get it with `triune models pull smollm2-135m`")
    assert done.returncode == 0, done.stderr
    figures = {line["figure"]: line for line in map(json.loads, done.stdout.splitlines())}
    for name in ("load", "first token", "prefill", "decode", "decode of 8", "decode of 32", "weights", "remembered"):
        assert figures[name]["value"] > 0, name
    assert figures["decode"]["unit"] == "tokens/s"
    # The file has 94 MiB.
    assert 80 < figures["weights"]["value"] < 140
