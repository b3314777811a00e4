"""The kill test of `tests/kill.rs`, printed as figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(_size: str) -> None:
    command = ["cargo", "test", "--workspace", "--all-features", "--quiet", "--test", "kill"]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for line in output.stdout.splitlines():
        if line.startswith("{"):
            print(line)
    if output.returncode != 0:
        sys.exit("the kill test failed:\n" + output.stdout)
