"""Tasks in parallel, with a journal: the process is killed in the middle, and another one goes on where it was.

    python examples/python/tasks.py

Counts the words of Python's own standard library, one task a module. Nothing has to be downloaded.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from pathlib import Path

import triune

MODULES = ["argparse", "ast", "datetime", "doctest", "inspect", "pathlib", "subprocess", "tarfile", "threading", "typing"]
LIBRARY = Path(sysconfig.get_paths()["stdlib"])


def count(call: triune.TaskCall) -> dict[str, int]:
    """The ten most frequent words of one module."""
    if call.input == os.environ.get("DIE_AT"):
        os.kill(os.getpid(), signal.SIGKILL)
    print(f"  process {os.getpid()} counts {call.input}", flush=True)
    path = LIBRARY / f"{call.input}.py"
    text = path.read_text() if path.exists() else "".join(p.read_text() for p in (LIBRARY / call.input).glob("*.py"))
    return dict(Counter(word for word in text.split() if word.isidentifier()).most_common(10))


def add_up(call: triune.TaskCall) -> list[tuple[str, int]]:
    """The five most frequent words of all."""
    total: Counter[str] = Counter()
    for words in call.results.values():
        total.update(words)
    return total.most_common(5)


def run(folder: str) -> triune.RunReport:
    tasks = [triune.Task(name, count, input=name) for name in MODULES]
    tasks.append(triune.Task("add up", add_up, after=MODULES))
    # A process that is silent for a second is taken for dead; usually one waits longer.
    settings = {"discover": False, "parallel": {"lease_ms": 1000}}
    with triune.open(folder, config=settings) as mind:
        # The same tasks under the same id: a first run starts, an interrupted one goes on.
        return mind.parallel.run(tasks, run="words", concurrency=2)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(sys.argv[1])
        sys.exit()
    with tempfile.TemporaryDirectory() as kept:
        print("one process, killed at its sixth module:")
        killed = subprocess.run([sys.executable, __file__, kept], env={**os.environ, "DIE_AT": MODULES[5]})
        assert killed.returncode == -signal.SIGKILL
        print("another one goes on:")
        report = run(kept)
        restored = [result.task for result in report.tasks if result.restored]
        print(f"{report.state}; on disk before the kill, so not done again: {', '.join(restored)}")
        print("most frequent words:", ", ".join(f"{word} {times}" for word, times in report["add up"].value))
        assert report.state == "succeeded" and restored
