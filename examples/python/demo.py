"""The demonstration: a team of 20 agents does an epic on a local model, remembers it, and survives a kill.

    python examples/python/demo.py

Nothing is simulated: each text comes from SmolLM2-135M on this machine, each number from the ledger. It is a very small
model: look at what the machine does around it, not at its prose.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

import triune

AGENTS = 20
EPIC = triune.Epic(
    title="A school garden",
    description="Plan a vegetable garden that pupils of a primary school build and run themselves.",
    requirements=[
        "List five vegetables that grow well in raised beds and say why.",
        "Describe how pupils share the watering through a week.",
        "Write a short note to parents that asks for old tools.",
        "Name three risks in the garden and how to avoid each.",
        "Suggest how the harvest is used in the school kitchen.",
    ],
    max_tokens=80,
)
# The same work under a fixed id, so that another process can go on with it.
KILLED = dataclasses.replace(EPIC, id="school-garden")
# Where the output is no terminal, its width is not known.
console = Console(width=None if sys.stdout.isatty() else 140)


class Progress:
    """The tasks of an epic as a table that follows the events."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.planner = ""
        self.started = time.monotonic()

    def see(self, event: dict[str, Any]) -> None:
        kind, task = event["type"], event.get("task", "")
        if kind == "epic_planned":
            self.planner = event["planner"]
        elif kind == "task_assigned":
            self.rows[task] = {"agent": event["agent"], "state": "waiting", "seconds": ""}
        elif kind == "task_started" and task in self.rows:
            self.rows[task]["state"] = f"working (attempt {event['attempt']})" if event["attempt"] > 1 else "working"
        elif kind == "task_finished" and task in self.rows:
            self.rows[task] |= {"state": event["outcome"], "seconds": f"{event['latency_ms'] / 1000:.1f}"}

    def table(self) -> Table:
        table = Table(title=f"{EPIC.title} · {time.monotonic() - self.started:.0f} s", title_justify="left")
        for column in ("task", "agent", "state", "seconds"):
            table.add_column(column)
        for task, row in self.rows.items():
            style = {"succeeded": "green", "working": "yellow"}.get(row["state"].split(" ")[0], "dim")
            table.add_row(task, row["agent"], f"[{style}]{row['state']}[/]", row["seconds"])
        return table


async def follow(mind: triune.AsyncTriune, progress: Progress, live: Live) -> None:
    async for event in mind.events():
        progress.see(event)
        live.update(progress.table())


async def run(folder: str, epic: triune.Epic) -> triune.EpicReport:
    """Runs an epic, or goes on with it, and shows it live."""
    async with triune.AsyncTriune.open(folder) as mind:
        progress = Progress()
        with Live(progress.table(), console=console, refresh_per_second=4) as live:
            watcher = asyncio.create_task(follow(mind, progress, live))
            report = await mind.team(agents=AGENTS).run(epic)
            await asyncio.sleep(0.1)
            watcher.cancel()
            live.update(progress.table())
        return report


def show(report: triune.EpicReport) -> None:
    table = Table(title=f"Report: {report.title}, {report.outcome}", title_justify="left")
    for column in ("task", "agent", "outcome", "redone?", "tokens in/out", "cost", "saved", "result"):
        table.add_column(column, overflow="ellipsis", no_wrap=column != "result")
    for task in report.tasks:
        redone = "[cyan]no: it was finished[/]" if task.restored else ""
        tokens = f"{task.input_tokens}/{task.output_tokens}"
        cost, saved = f"${task.cost_usd:.6f}", f"${task.saved_usd:.6f}"
        result = " ".join(task.result.split())
        table.add_row(task.task, task.agent, task.outcome, redone, tokens, cost, saved, result[:80] + "…")
    console.print(table)
    console.print(
        f"{report.agents} of {AGENTS} agents worked {report.latency_ms / 1000:.1f} s · planned by {report.planner} · "
        f"{report.input_tokens}+{report.output_tokens} tokens · cost ${report.cost_usd:.6f} · "
        f"saved ${report.saved_usd:.6f} against the reference model\n"
    )


async def ask_memory(folder: str, report: triune.EpicReport) -> None:
    question = "What is dangerous in the garden?"
    async with triune.AsyncTriune.open(folder) as mind:
        console.print(f"[bold]The memory it left behind, asked:[/] {question}")
        for hit in await mind.recall.query(question, k=2, namespace=report.namespace):
            text = " ".join(hit.text.split())[:160]
            console.print(f"  {hit.score:.2f} (meaning {hit.why.meaning:.2f}) [dim]{hit.metadata}[/]\n       {text}…")
    console.print()


def kill_in_the_middle(folder: str) -> set[str]:
    """Runs the epic in another process and kills it after two finished tasks. Returns those."""
    child = subprocess.Popen([sys.executable, __file__, "--child", folder], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    finished: set[str] = set()
    for line in child.stdout:
        event = json.loads(line)
        if event["type"] == "task_finished" and event["outcome"] == "succeeded":
            finished.add(event["task"])
            console.print(f"  finished: {event['task']}")
        if len(finished) == 2:
            break
    child.send_signal(signal.SIGKILL)
    if child.wait() != -signal.SIGKILL or len(finished) != 2:
        sys.exit(f"it was not killed in the middle: {len(finished)} tasks finished, exit code {child.returncode}")
    return finished


async def child(folder: str) -> None:
    async with triune.AsyncTriune.open(folder) as mind:

        async def tell() -> None:
            async for event in mind.events():
                print(json.dumps(event), flush=True)

        telling = asyncio.create_task(tell())
        await mind.team(agents=AGENTS).run(KILLED)
        telling.cancel()


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="triune-demo-") as kept:
        console.rule(f"1. An epic of {len(EPIC.requirements)} requirements on {AGENTS} agents")
        first = os.path.join(kept, "first")
        report = await run(first, EPIC)
        show(report)
        await ask_memory(first, report)

        console.rule("2. The same, killed by SIGKILL in the middle")
        second = os.path.join(kept, "second")
        finished = kill_in_the_middle(second)
        console.print(f"  [red]killed[/] after {len(finished)} finished tasks\n")

        console.rule("3. Started again: it goes on")
        report = await run(second, KILLED)
        show(report)
        not_redone = [task.task for task in report.tasks if task.restored]
        console.print(f"Not redone: {', '.join(not_redone)}")
        if not finished.issubset(not_redone) or report.outcome != "succeeded":
            sys.exit(f"the run did not go on where it was killed: {', '.join(finished)} had finished")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        asyncio.run(child(sys.argv[2]))
    else:
        asyncio.run(main())
