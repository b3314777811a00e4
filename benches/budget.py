"""Whether a budget holds, by `benches/src/budget`: it has no peer that runs in process and survives a kill."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(size: str) -> None:
    build = ["cargo", "build", "--quiet", "--workspace", "--all-features", "--bin", "bench-budget"]
    subprocess.run(build, cwd=ROOT, check=True)
    subprocess.run([ROOT / "target/debug/bench-budget", size], check=True)
