"""Checked by mypy, never run: the types a program gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, assert_type

import triune


class Host:
    profile: triune.ModelProfile = {"id": "host", "context_length": 1}

    async def chat(self, request: triune.ChatRequest) -> str:
        return request.prompt


class Streams:
    profile: triune.ModelProfile = {"id": "host", "context_length": 1}

    async def chat(self, request: triune.ChatRequest) -> AsyncIterator[str]:
        yield request.prompt


def sync(mind: triune.Triune) -> None:
    reply = mind.generate("x", max_cost_usd=0.01, timeout=3)
    assert_type(reply, triune.Reply)
    assert_type(reply.cost_usd, float)
    assert_type(reply.cost_nano_usd, int)
    for piece in mind.stream("x"):
        assert_type(piece, str)
    assert_type(mind.recall.store("x"), str)
    hits = mind.recall.query("x")
    assert_type(hits, list[triune.Hit])
    assert_type(hits[0].why, triune.Why)
    assert_type(mind.recall.get("x"), triune.Item | None)
    report = mind.parallel.run([triune.Task("a", len), triune.Task.prompt("b", "x", after=["a"])])
    assert_type(report["a"], triune.TaskResult)
    assert_type(mind.creative.solve("x").solutions, list[triune.Idea])
    assert_type(mind.team(agents=3).run(triune.Epic("x")), triune.EpicReport)
    assert_type(mind.gate.check("x", kind="python"), triune.Check)
    assert_type(mind.router.totals().saved_usd, float)
    assert_type(mind.metrics(), triune.Metrics)
    assert_type(mind.call("x", {}), Any)
    assert_type(mind.events().missed, int)
    for event in mind.events():
        assert_type(event, dict[str, Any])

    @mind.function
    def add(a: int, b: int) -> int:
        return a + b

    assert_type(add(1, 2), int)

    @mind.function(name="other")
    def other(a: int) -> int:
        return a

    assert_type(other(1), int)
    mind.generate("x", quality=1)  # type: ignore[call-arg]
    triune.open("x", models=["smollm2-135m", Host()])
    triune.open("x", models=[3])  # type: ignore[list-item]


async def asynchronous() -> None:
    async with triune.AsyncTriune.open("x", models=[Host(), Streams()]) as mind:
        assert_type(mind, triune.AsyncTriune)
        assert_type(await mind.generate("x"), triune.Reply)
        stream = mind.stream("x")
        async for piece in stream:
            assert_type(piece, str)
        assert_type(stream.reply, triune.Reply)
        assert_type(await mind.recall.query("x"), list[triune.Hit])
        async for event in mind.events():
            assert_type(event, dict[str, Any])
    assert_type(await triune.AsyncTriune.open("x"), triune.AsyncTriune)
