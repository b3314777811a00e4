"""Two writers and four readers in six processes, in one folder: the test of `tests/processes.rs`, for ten minutes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(size: str) -> None:
    command = ["cargo", "test", "--workspace", "--all-features", "--quiet", "--test", "processes"]
    environment = {**os.environ, "TRIUNE_PROCESSES_S": "600" if size == "full" else "40"}
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
    for line in output.stdout.splitlines():
        if line.startswith("{"):
            print(line)
    if output.returncode != 0:
        sys.exit("the processes disagreed:\n" + output.stdout)
