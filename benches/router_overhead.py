"""What the router takes: one decision, and what the whole pipeline adds to a stream, 64 at once, beside litellm's Router.
What is added is told from the plainest client of each language: a socket here, httpx there. See run.py for the form of a
line.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from router_faults import OURS, THEIRS, build, output, peer_python

# Milliseconds from token to token of the server: fifty a second, as providers have it.
TOKEN_MS = "20"
AT_ONCE = "64"


def main(size: str) -> None:
    full = size == "full"
    build()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    embedder = Path(os.environ.get("TRIUNE_MODELS") or cache / "triune" / "models") / "all-minilm-l6-v2"
    lines = [*output([OURS, "decision", "100000" if full else "20000"]), *output([OURS, "learned", "1000", embedder])]
    for line in map(json.loads, lines):
        value = round(line["value"], 2)
        print(json.dumps({**line, "value": value, "peer": None, "peer_value": None, "ratio": None}), flush=True)
    with subprocess.Popen([OURS, "serve", TOKEN_MS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin and server.stdout
        url = server.stdout.readline().strip()
        tail = [url, AT_ONCE, "8" if full else "3"]
        ours = clients([OURS, "streams", *tail])
        theirs = clients([peer_python(), THEIRS, "streams", *tail])
        server.stdin.close()
    added = ours["router"]["p50_ms"] - ours["plain"]["p50_ms"]
    peer = theirs["litellm"]["p50_ms"] - theirs["httpx"]["p50_ms"]
    sides = ", ".join(f"{name} {line['p50_ms']:.1f}/{line['p99_ms']:.1f}" for name, line in {**ours, **theirs}.items())
    print(json.dumps({
        "figure": "added-latency", "value": round(added, 3), "unit": "ms", "peer": f"litellm {theirs['litellm']['version']} Router",
        "peer_value": round(peer, 3), "ratio": round(added / peer, 4), "n": ours["router"]["n"],
        "note": f"{AT_ONCE} streams at once of 60 tokens, {TOKEN_MS} ms apart; median whole stream minus that of the plain "
                f"client; the ratio is ours / theirs; ms p50/p99: {sides}",
    }), flush=True)


def clients(command: list[Any]) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in output(command) if line.startswith("{")]
    return {line["client"]: line for line in lines}
