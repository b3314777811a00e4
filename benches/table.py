"""Turns lines of figures into rows of docs/benchmarks.md: make bench NAME=first | python benches/table.py"""

from __future__ import annotations

import json
import sys


def cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2g}" if value < 1 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
    return "" if value is None else str(value).replace("|", "/")


print("| figure | triune | unit | peer | its value | ratio | n | note |\n|---|--:|---|---|--:|--:|--:|---|")
for line in sys.stdin:
    if line.startswith("{"):
        figure = json.loads(line)
        keys = ("figure", "value", "unit", "peer", "peer_value", "ratio", "n", "note")
        row = [cell(figure[key]) if key != "ratio" else f"{figure[key]:.2f}" if figure[key] else "" for key in keys]
        print(f"| {' | '.join(row)} |")
