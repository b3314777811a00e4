"""What the body of a task asks for is a part of its run: its budget, its tenant, its end, its commit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import triune

from .conftest import CONFIG, Opened, Paid, Slow


def test_a_body_spends_from_the_budget_of_its_run(opened: Opened) -> None:
    mind = opened(Paid())

    def spend() -> str:
        mind.generate("x", max_tokens=1, budget_usd=1000)
        list(mind.stream("x", max_tokens=1))
        return "overspent"

    report = mind.parallel.run([triune.Task("spend", spend)], budget_usd=1.5, tenant="ada")
    assert (report["spend"].outcome, report["spend"].code) == ("failed", "OVER_BUDGET")
    assert mind.router.totals(of_tenant="ada").cost_usd == mind.router.totals().cost_usd == 1.0


async def test_a_coroutine_spends_from_the_budget_of_its_run(folder: str) -> None:
    async with triune.AsyncTriune.open(folder, config=CONFIG, models=[Paid()]) as mind:

        async def spend() -> str:
            await mind.generate("x", max_tokens=1)
            await asyncio.create_task(mind.generate("x", max_tokens=1))
            return "overspent"

        both = [triune.Task("spend", spend)]
        report, other = await asyncio.gather(
            mind.parallel.run(both, budget_usd=1.5), mind.parallel.run(both, budget_usd=2.5)
        )
        assert (report["spend"].code, other["spend"].value) == ("OVER_BUDGET", "overspent")


def test_an_engine_and_a_model_spend_from_the_budget_of_their_call(opened: Opened) -> None:
    mind = opened(Paid())

    class Asking:
        name = "asking"

        def call(self, request: Any) -> str:
            return mind.generate("x", max_tokens=1, model="paid").text

    class Cascade:
        profile: triune.ModelProfile = {"id": "cascade", "context_length": 4096}

        def chat(self, request: triune.ChatRequest) -> Any:
            yield mind.generate("x", max_tokens=1, model="paid").text

    mind.register_engine(Asking())
    mind.register_model(Cascade())
    calls: list[Callable[[], Any]] = [
        lambda: mind.call("asking", {}, budget_usd=0.5),
        lambda: mind.generate("x", model="cascade", budget_usd=0.5),
    ]
    for call in calls:
        with pytest.raises(triune.OverBudgetError):
            call()
    assert mind.call("asking", {}) == "x"


async def test_the_end_of_a_run_ends_what_its_bodies_ask_for(folder: str) -> None:
    slow = Slow()
    ended: list[type[BaseException]] = []
    done = threading.Event()
    async with triune.AsyncTriune.open(folder, config=CONFIG, models=[slow]) as mind:
        native = mind._native

        def asks() -> None:
            try:
                # As Triune does it: this body is a plain function, on a thread.
                native.call("router", '{"do": "generate", "prompt": "x"}').wait()
            except BaseException as error:
                ended.append(type(error))
                raise
            finally:
                done.set()

        run = asyncio.create_task(mind.parallel.run([triune.Task("asks", asks)]))
        await slow.started.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await asyncio.wait_for(slow.cancelled.wait(), 10)
        assert await asyncio.to_thread(done.wait, 10)
        assert ended == [triune.CancelledError]


def test_what_a_body_stores_is_kept_with_its_result_or_not_at_all(opened: Opened) -> None:
    mind = opened()

    def good() -> bool:
        mind.recall.store("kept", id="kept")
        return mind.recall.get("kept") is None

    def bad() -> None:
        mind.recall.store("lost", id="lost")
        raise RuntimeError("after it")

    report = mind.parallel.run([triune.Task("good", good), triune.Task("bad", bad)])
    assert (report["good"].value, report["bad"].outcome) == (True, "failed")
    assert mind.recall.get("kept") is not None and mind.recall.get("lost") is None


def test_another_mind_and_what_a_body_left_behind_are_no_part_of_the_run(opened: Opened, tmp_path: Any) -> None:
    mind = opened(Paid())
    left: list[Callable[[], Any]] = []
    with triune.open(tmp_path / "other", config=CONFIG, models=[Paid()]) as other:

        def body() -> str:
            import contextvars

            context = contextvars.copy_context()
            left.append(lambda: context.run(mind.generate, "x", max_tokens=1))
            return other.generate("x", max_tokens=1).text

        assert mind.parallel.run([triune.Task("a", body)], budget_usd=0.5)["a"].value == "x"
        with pytest.raises(triune.CancelledError):
            left[0]()
        assert mind.generate("x", max_tokens=1).cost_usd == 1.0
