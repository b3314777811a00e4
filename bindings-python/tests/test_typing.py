"""What type checkers see is what there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def check(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_surface_is_typed() -> None:
    check("mypy", "--strict", "python", "tests/typing")


def test_the_stub_is_what_the_native_half_has() -> None:
    check("mypy.stubtest", "triune._native")
