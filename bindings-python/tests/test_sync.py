"""Triune: calls that wait."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import triune

from .conftest import CONFIG, Echo, Letters, Opened, Words


def test_generates_with_a_model_of_the_host(opened: Opened) -> None:
    reply = opened(Echo()).generate("ada", system="Be loud.", max_tokens=9)
    assert (reply.text, reply.model, reply.finish_reason) == ("ADA", "echo", "stop")
    assert (reply.cost_nano_usd, reply.cost_usd) == (0, 0.0)
    assert reply.usage.output_tokens == 1, "one token in three bytes, where the model does not count"
    assert reply.attempts[0].model == "echo" and reply.route.steps[0].model == "echo"


def test_costs_are_exact(opened: Opened) -> None:
    class Paid(Echo):
        profile: triune.ModelProfile = {
            "id": "paid",
            "context_length": 4096,
            "price": triune.price(input=0.15, output=0.60),
        }

        def chat(self, request: triune.ChatRequest) -> triune.protocols.AnswerDict:  # type: ignore[override]
            usage = triune.Usage(input_tokens=1000, output_tokens=10)
            return {"text": "done", "usage": usage, "finish_reason": "length"}

    mind = opened(Paid())
    reply = mind.generate("x", tenant="acme")
    assert reply.cost_nano_usd == 1000 * 150 + 10 * 600
    assert reply.cost_usd == pytest.approx(0.000156)
    assert (reply.usage.input_tokens, reply.finish_reason) == (1000, "length")
    [entry] = mind.router.ledger(of_tenant="acme")
    assert (entry.id, entry.cost_nano_usd) == (reply.id, reply.cost_nano_usd)
    assert mind.router.totals().calls == 1
    with pytest.raises(triune.OverBudgetError, match="budget"):
        mind.generate("x", budget_usd=0.000001, max_tokens=100)


def test_tasks_are_named_budgets_kept_and_the_past_is_replayed(folder: str) -> None:
    class Paid(Echo):
        profile: triune.ModelProfile = {
            "id": "paid",
            "context_length": 4096,
            "price": triune.price(input=0.15, output=0.60),
        }

        def chat(self, request: triune.ChatRequest) -> triune.protocols.AnswerDict:  # type: ignore[override]
            return {"text": "done", "usage": triune.Usage(input_tokens=1000, output_tokens=10)}

    budget = {"tag": "sum", "period": "day", "limit_usd": 0.001, "soft_usd": 0.0005}
    config = {**CONFIG, "router": {"budgets": [budget]}}
    with triune.open(folder, config=config, models=[Paid()]) as mind:
        mind.generate("x", tag="sum", max_tokens=10)
        [entry] = mind.router.ledger(tag="sum")
        assert (entry.tag, entry.failed) == ("sum", False)
        assert entry.decision is not None
        assert mind.router.ledger(tag="other") == []
        [state] = mind.router.budgets()
        assert (state.period, state.spent_nano_usd, state.limit_nano_usd) == ("day", 156_000, 1_000_000)
        with pytest.raises(triune.OverBudgetError, match="budget"):
            mind.generate("x", tag="sum", max_tokens=3000)
        assert mind.router.totals_by("tag")["sum"].cost_nano_usd == 156_000
        replay = mind.router.replay(always="gpt-4o")
        assert (replay.calls, replay.replayed_cost_nano_usd) == (1, 1000 * 2500 + 10 * 10_000)
        assert mind.router.price_warnings() == []
        with pytest.raises(triune.InvalidError, match="tag"):
            mind.generate("x", tag="")


def test_streams_from_plain_and_asynchronous_iterators(opened: Opened) -> None:
    class Plain(Echo):
        def chat(self, request: triune.ChatRequest) -> Iterator[str]:  # type: ignore[override]
            yield from request.prompt.split(" ")

    mind = opened(Plain())
    stream = mind.stream("a b c")
    with pytest.raises(triune.InvalidError, match="to its end"):
        _ = stream.reply
    assert list(stream) == ["a", "b", "c"]
    assert (stream.reply.text, stream.reply.model) == ("abc", "echo")
    mind.register_model(Words())
    assert list(mind.stream("a b c", model="words")) == ["a ", "b ", "c "]
    assert mind.stream("x y", model="words").read().text == "x y "


def test_leaving_a_stream_stops_the_model(opened: Opened) -> None:
    words = Words()
    for piece in opened(words).stream("a b c d e f g h"):
        assert piece == "a "
        break
    until(lambda: words.stopped)
    assert len(words.said) < 4


def test_coroutines_work_without_an_event_loop(opened: Opened) -> None:
    async def double(n: int) -> int:
        return 2 * n

    class Later(Echo):
        async def chat(self, request: triune.ChatRequest) -> str:  # type: ignore[override]
            return request.prompt + "!"

    mind = opened(Later())
    assert mind.generate("hi").text == "hi!"
    report = mind.parallel.run([triune.Task("double", double, input={"n": 21})])
    assert report["double"].value == 42


def test_chats_and_tools_reach_the_model(opened: Opened) -> None:
    seen: list[triune.ChatRequest] = []

    class Tools:
        profile: triune.ModelProfile = {"id": "tools", "context_length": 4096, "capabilities": {"tools": True}}

        def chat(self, request: triune.ChatRequest) -> triune.protocols.AnswerDict:
            seen.append(request)
            return {"tool_calls": [triune.ToolCall("1", "weather", {"city": "Paris"}, {"signature": "s"})]}

    def weather(city: str) -> str:
        """The weather of a city.

        More words.
        """
        return "sun"

    mind = opened(Tools())
    messages: list[Any] = [triune.Message("system", "Be brief."), {"role": "user", "content": "Paris?"}]
    reply = mind.generate(messages, tools=[weather], temperature=0.5)
    assert reply.tool_calls == [triune.ToolCall("1", "weather", {"city": "Paris"}, {"signature": "s"})]
    assert reply.finish_reason == "tool_calls"
    [request] = seen
    assert [message.role for message in request.messages] == ["system", "user"]
    assert request.prompt == "Paris?" and request.sampling["temperature"] == 0.5
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    assert request.tools == [
        {"name": "weather", "description": "The weather of a city.", "parameters": parameters}
    ]


def test_recalls_what_was_stored(opened: Opened) -> None:
    mind = opened(embedder=Letters())
    ada = mind.recall.store("Ada moved to Paris in 2024", metadata={"user": "ada"})
    bob, cyd = mind.recall.store_many(["Bob likes tea", {"content": "Cyd sails", "metadata": {"user": "cyd"}}])
    hits = mind.recall.query("Paris Ada", k=1)
    assert [hit.id for hit in hits] == [ada]
    assert hits[0].why.meaning is not None and hits[0].why.words is not None and hits[0].metadata == {"user": "ada"}
    only = mind.recall_knowledge("sails", filter={"eq": ["user", "cyd"]})
    assert [hit.id for hit in only] == [cyd]
    item = mind.recall.get(bob)
    assert item is not None and item.text == "Bob likes tea"
    assert mind.recall.relate("Ada", "knows", "Bob")
    [near] = mind.recall.neighbours("Ada")
    assert (near.name, near.relation.kind) == ("Bob", "knows")
    assert mind.recall.forget(bob) == 1 and mind.recall.get(bob) is None
    assert "default" in mind.recall.namespaces()
    [vector] = mind.embed(["abc"])
    assert sum(x * x for x in vector) == pytest.approx(1)


def test_an_embedder_that_breaks_its_word_is_told(opened: Opened) -> None:
    class Wrong(Letters):
        def embed(self, texts: list[str]) -> list[list[float]]:
            return [[1.0, 2.0] for _ in texts]

    with pytest.raises(triune.HostError, match="27 finite numbers"):
        opened(embedder=Wrong()).embed(["a"])


def test_gates_and_engines_of_the_host(opened: Opened) -> None:
    class NoShouting:
        name = "no-shouting"

        def check(self, artifact: triune.Artifact) -> list[triune.Finding]:
            lines = enumerate(artifact.content.splitlines(), 1)
            return [triune.Finding("do not shout", number) for number, line in lines if line.isupper()]

    class Adder:
        name = "adder"

        async def call(self, request: dict[str, int]) -> dict[str, int]:
            return {"sum": request["a"] + request["b"]}

    mind = opened()
    mind.register_gate(NoShouting())
    mind.register_engine(Adder())
    check = mind.gate.check("fine\nLOUD", gates=["no-shouting"])
    assert not check.passed and check.verdicts[0].findings == [triune.Finding("do not shout", 2)]
    assert mind.gate.check("quiet", gates=["no-shouting"]).passed
    assert mind.call("adder", {"a": 1, "b": 2}) == {"sum": 3}
    task = triune.Task.engine("add", "adder", {"a": 3, "b": 4})
    assert mind.parallel.run([task])["add"].value == {"sum": 7}
    assert mind.health()["recall"].ok


def test_the_interpreter_is_released_while_a_call_waits(opened: Opened) -> None:
    release, counted = threading.Event(), 0

    class Waits(Echo):
        def chat(self, request: triune.ChatRequest) -> str:
            assert release.wait(30)
            return "done"

    def count() -> None:
        nonlocal counted
        for _ in range(1000):
            counted += 1
        release.set()

    mind = opened(Waits())
    threading.Thread(target=count).start()
    assert mind.generate("x").text == "done" and counted == 1000


def test_a_signal_interrupts_a_waiting_call_and_its_work(opened: Opened) -> None:
    started, stopped = threading.Event(), threading.Event()

    class Endless(Echo):
        async def chat(self, request: triune.ChatRequest) -> str:  # type: ignore[override]
            started.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                stopped.set()
                raise
            return "too late"

    def interrupt() -> None:
        assert started.wait(30)
        os.kill(os.getpid(), signal.SIGINT)

    mind = opened(Endless())
    # Shells have what they start in the background ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            mind.generate("x")
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.wait(10), "the coroutine of the model was cancelled"


def test_a_closed_mind_says_so(opened: Opened, folder: str) -> None:
    mind = opened(Echo())
    events = mind.events()
    mind.close()
    mind.close()
    with pytest.raises(triune.CancelledError, match="closed"):
        mind.generate("x")
    with pytest.raises(triune.CancelledError, match="closed"):
        list(events)
    with triune.open(folder, config={"discover": False}, models=[Echo()]) as again:
        assert again.generate("x").text == "X"


def test_metrics_and_events(opened: Opened) -> None:
    mind = opened(Echo())
    events = iter(mind.events())
    mind.generate("x")
    types = {next(events)["type"] for _ in range(3)}
    assert "spent" in types and "routed" in types
    metrics = mind.metrics()
    assert metrics.models["echo"].attempts == 1 and metrics.events["spent"] == 1


def test_a_listener_that_falls_behind_knows_how_much_it_missed(opened: Opened) -> None:
    mind = opened()
    events = mind.events()
    assert events.missed == 0
    mind.recall.store_many(f"item {i}" for i in range(4_200))
    assert next(iter(events))["type"] == "stored"
    assert events.missed >= 4_200 - 4_096


def test_images_need_a_model_and_come_as_bytes(opened: Opened) -> None:
    with pytest.raises(triune.NotFoundError, match="image_model"):
        opened(Echo()).generate_image("a cat", size="512x512", count=2)
    with pytest.raises(triune.InvalidError, match="count of 1 to 10"):
        opened(Echo()).generate_image("a cat", count=0)
    images = [{"base64": "aGk=", "url": None}, {"base64": "", "url": "https://example.com/a.png"}]
    usage = {"input_tokens": 3, "cached_tokens": 0, "output_tokens": 5}
    reply = triune.ImageReply.from_json(
        {"id": "1", "images": images, "model": "m", "usage": usage, "cost": 2_000_000_000, "latency_ms": 7}
    )
    assert [(image.data, image.url) for image in reply.images] == [(b"hi", None), (b"", "https://example.com/a.png")]
    assert reply.cost_usd == 2.0 and "example.com" not in repr(reply.images[1])


def until(condition: object, seconds: float = 10) -> None:
    """Waits for what other threads do."""
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def test_queries_have_a_method_of_their_own_and_a_reranker_has_the_last_word(tmp_path: Path) -> None:
    class Prompted:
        profile = {"id": "prompted", "dimensions": 2, "max_tokens": 64}

        def embed(self, texts: list[str]) -> list[list[float]]:
            return [[1.0, 0.0] for _ in texts]

        async def embed_queries(self, texts: list[str]) -> list[list[float]]:
            return [[0.0, 1.0] for _ in texts]

    class Length:
        name = "length"

        def rerank(self, query: str, texts: list[str]) -> list[float]:
            assert query == "tea"
            return [float(-len(text)) for text in texts]

    class Odd:
        name = "odd"

        async def rerank(self, query: str, texts: list[str]) -> list[float]:
            return [1.0]

    with triune.open(tmp_path, config={"discover": False}, embedder=Prompted()) as mind:
        assert mind.embed(["a"]) == [[1.0, 0.0]] and mind.embed(["a"], query=True) == [[0.0, 1.0]]
        mind.recall.store_many(["short tea", "a longer text on tea"])
        assert mind.recall.query("tea")[0].why.meaning == 0.0
        with pytest.raises(triune.NotFoundError, match="reranker"):
            mind.recall.query("tea", rerank=5)
        mind.set_reranker(Length())
        [hit] = mind.recall.query("tea", k=1, rerank=5)
        assert (hit.text, hit.score) == ("short tea", -9.0) and hit.why.fused is not None
        assert mind.recall.query("tea")[0].why.fused is None
        mind.set_reranker(Odd())
        with pytest.raises(triune.HostError):
            mind.recall.query("tea", rerank=5)
