"""The sixteen faults of FailoverBench against triune's router and litellm's, in one run. The full form takes the published
times, the short one a fifth of them. See run.py for the form of a line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = ROOT / "target" / "debug" / "bench-router"
THEIRS = ROOT / "benches" / "peers_router.py"
PEERS = ["litellm==1.106.2", "httpx"]


def main(size: str) -> None:
    build()
    command = [OURS, "faults", "1.0" if size == "full" else "0.2", peer_python(), THEIRS]
    [line] = [json.loads(line) for line in output(command) if line.startswith("{")]
    line["ratio"] = round(line["value"] / max(line["peer_value"], 1), 3)
    print(json.dumps(line), flush=True)


def build() -> None:
    command = ["cargo", "build", "--quiet", "--workspace", "--all-features", "--bin", "bench-router"]
    subprocess.run(command, cwd=ROOT, check=True)


def output(command: list[str | Path]) -> list[str]:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def peer_python() -> Path:
    folder = ROOT / ".cache" / "bench" / "litellm"
    python, stamp = folder / "bin" / "python", folder / "installed"
    if not stamp.exists() or stamp.read_text() != "\n".join(PEERS):
        print(f"installing {PEERS[0]}, once", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
        stamp.write_text("\n".join(PEERS))
    return python
