"""Tasks: functions as bodies, and runs that go on in another process."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path
from typing import Any

import pytest

import triune

from .conftest import CONFIG, Echo, Opened


def nothing() -> str:
    return "nothing"


def whole(call: triune.TaskCall) -> dict[str, Any]:
    return {"task": call.task, "input": call.input, "results": call.results, "attempt": call.attempt}


async def by_name(a: int, b: int = 1) -> int:
    return a + b


def test_bodies_of_all_kinds_in_the_order_of_the_plan(opened: Opened) -> None:
    report = opened(Echo()).parallel.run(
        [
            triune.Task.value("five", 5),
            triune.Task("whole", whole, after=["five"], input="in", timeout=10),
            triune.Task("nothing", nothing),
            triune.Task("by-name", by_name, input={"a": 2}),
            triune.Task("lambda", lambda call: call.results["five"] * 2, after=["five"]),
            triune.Task.prompt("prompt", "say {{ results.five }}", after=["five"], max_tokens=9),
            triune.Task.engine("engine", "gate", {"do": "check", "artifact": {"content": "x"}}),
        ],
        concurrency=4,
    )
    assert report.state == "succeeded", report
    assert len(report) == 7 and [result.task for result in report][:3] == ["five", "whole", "nothing"]
    assert report["whole"].value == {"task": "whole", "input": "in", "results": {"five": 5}, "attempt": 1}
    values = report.values
    assert (values["nothing"], values["by-name"], values["lambda"], values["prompt"]) == ("nothing", 3, 10, "SAY 5")
    assert values["engine"]["passed"]


def test_functions_may_call_the_mind_they_belong_to(opened: Opened) -> None:
    mind = opened(Echo())
    report = mind.parallel.run([triune.Task("a", lambda call: mind.generate(call.task).text)])
    assert report["a"].value == "A"


def test_failing_tasks_are_tried_again_and_skip_those_after(opened: Opened) -> None:
    attempts: list[int] = []

    def third_time(call: triune.TaskCall) -> str:
        attempts.append(call.attempt)
        if call.attempt < 3:
            raise RuntimeError("not yet")
        return "at last"

    def never() -> None:
        raise RuntimeError("never")

    mind = opened()
    report = mind.parallel.run(
        [
            triune.Task("third", third_time, retries=2),
            triune.Task("never", never),
            triune.Task("after", nothing, after=["never"]),
        ]
    )
    assert (attempts, report["third"].value) == ([1, 2, 3], "at last")
    assert (report["never"].outcome, report["after"].outcome) == ("failed", "skipped")


def test_plans_are_checked(opened: Opened) -> None:
    mind = opened()
    order = mind.parallel.validate([triune.Task("b", nothing, after=["a"]), triune.Task.value("a", 1)])
    assert order == ["a", "b"]
    with pytest.raises(triune.InvalidError):
        mind.parallel.validate([triune.Task("a", nothing, after=["b"]), triune.Task("b", nothing, after=["a"])])
    first, second = (lambda: 1), (lambda: 2)
    first.__qualname__ = second.__qualname__ = "same"
    with pytest.raises(triune.InvalidError, match='"same"'):
        mind.parallel.run([triune.Task("a", first), triune.Task("b", second)])
    mind.function(second, name="other")
    report = mind.parallel.run([triune.Task("a", first), triune.Task("b", second)])
    assert (report["a"].value, report["b"].value) == (1, 2)


async def test_runs_at_once_call_their_own_functions_of_one_name(folder: str) -> None:
    async with triune.AsyncTriune.open(folder, config=CONFIG) as mind:
        both_started = asyncio.Barrier(2)

        async def answer(number: int) -> Any:
            async def body() -> int:
                return number

            async def wait() -> None:
                await both_started.wait()

            tasks = [triune.Task("wait", wait), triune.Task("body", body, after=["wait"])]
            return (await mind.parallel.run(tasks))["body"].value

        assert await asyncio.gather(answer(1), answer(2)) == [1, 2]


def test_a_plan_does_not_take_the_place_of_what_was_registered(opened: Opened) -> None:
    mind = opened()

    def named() -> str:
        return "registered"

    def other() -> str:
        return "of the plan"

    other.__qualname__ = "named"
    mind.register_function(named, name="named")
    assert mind.parallel.run([triune.Task("a", other)])["a"].value == "of the plan"
    assert mind.parallel.run([triune.Task("a", {"function": "named"})])["a"].value == "registered"


def test_bodies_are_let_go_at_the_end_of_their_run(opened: Opened) -> None:
    mind = opened()

    class Large:
        def __call__(self, call: triune.TaskCall) -> int:
            return 1

    body = Large()
    gone = weakref.ref(body)
    assert mind.parallel.run([triune.Task("a", body)])["a"].value == 1
    del body
    gc.collect()
    assert gone() is None
    assert mind.parallel.run([triune.Task("b", {"function": "Large"})])["b"].code == "NOT_FOUND"


def test_what_has_no_json_form_fails_the_task(opened: Opened) -> None:
    report = opened().parallel.run([triune.Task("object", lambda: object())])
    assert report["object"].code == "INVALID" and "JSON" in str(report["object"].error)


def test_a_killed_run_goes_on_in_another_process(folder: str, tmp_path: Path) -> None:
    program = """
        import os, sys, triune
        folder, notes, die = sys.argv[1:]

        def note(word):
            with open(notes, "a") as file:
                print(word, file=file, flush=True)
            return word

        def first(): return note("first")
        def second():
            mind.recall.store("a note of the second")
            if die == "die":
                os.kill(os.getpid(), 9)
            return note("second")

        mind = triune.open(folder, config={"discover": False, "parallel": {"lease_ms": 1000}}, functions=[first, second])
        if die == "die":
            mind.parallel.run([triune.Task("first", first), triune.Task("second", second, after=["first"])], run="r1")
        else:
            print(mind.parallel.unfinished())
            report = mind.parallel.resume("r1")
            print(len(mind.recall.query("note", k=10)))
            print(report.state, report["first"].restored, report["second"].restored, report.values)
    """
    notes = tmp_path / "notes"

    def run(die: str) -> subprocess.CompletedProcess[str]:
        code = textwrap.dedent(program)
        return subprocess.run(
            [sys.executable, "-c", code, folder, str(notes), die], capture_output=True, text=True, timeout=120
        )

    assert run("die").returncode == -9
    second = run("live")
    assert second.returncode == 0, second.stderr
    assert second.stdout.splitlines() == [
        "['r1']",
        "1",
        "succeeded True False {'first': 'first', 'second': 'second'}",
    ]
    assert notes.read_text().split() == ["first", "second"], "the finished task was not done again"
    # What the killed attempt stored went with it: the "1" above.
    assert os.path.isdir(folder)
