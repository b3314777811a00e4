"""AsyncTriune: calls that are awaited, and what cancelling them stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

import triune

from .conftest import CONFIG, Echo, Letters, Slow, Words


@pytest.fixture
async def mind(folder: str) -> AsyncIterator[triune.AsyncTriune]:
    async with triune.AsyncTriune.open(folder, config=CONFIG, embedder=Letters()) as mind:
        yield mind


async def test_opens_by_await_too(folder: str) -> None:
    async with await triune.AsyncTriune.open(folder, config=CONFIG, models=[Echo()]) as mind:
        assert (await mind.generate("ada")).text == "ADA"


async def test_has_what_triune_has(mind: triune.AsyncTriune) -> None:
    def public(part: type) -> set[str]:
        return {name for name in dir(part) if not name.startswith("_")}

    assert public(triune.AsyncTriune) == public(triune.Triune)
    for engine in ("recall", "parallel", "creative", "gate", "router"):
        twin = triune.Triune.__annotations__[engine].replace("triune.", "")
        from triune import _async_engines, _engines

        ours, theirs = getattr(_engines, twin), getattr(_async_engines, "Async" + twin)
        assert public(ours) == public(theirs)
        for name in public(ours):
            assert getattr(ours, name).__annotations__ == getattr(theirs, name).__annotations__, (engine, name)


async def test_stores_and_recalls(mind: triune.AsyncTriune) -> None:
    id = await mind.store_knowledge("Ada moved to Paris in 2024")
    [hit] = await mind.recall.query("Paris", k=1)
    assert hit.id == id
    assert (await mind.health())["recall"].ok


async def test_coroutines_run_on_the_loop_that_awaits(mind: triune.AsyncTriune) -> None:
    here = asyncio.get_running_loop()

    class Where(Echo):
        async def chat(self, request: triune.ChatRequest) -> str:  # type: ignore[override]
            return str(asyncio.get_running_loop() is here)

    mind.register_model(Where())
    assert (await mind.generate("x")).text == "True"


async def test_cancelling_the_task_cancels_the_coroutine_of_the_host(mind: triune.AsyncTriune) -> None:
    slow = Slow()
    mind.register_model(slow)
    task = asyncio.create_task(mind.generate("x"))
    await slow.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(slow.cancelled.wait(), 10)


async def test_a_timeout_is_both_errors_and_stops_the_work(mind: triune.AsyncTriune) -> None:
    slow = Slow()
    mind.register_model(slow)
    with pytest.raises(triune.TimedOutError) as caught:
        await mind.generate("x", timeout=0.1)
    assert isinstance(caught.value, TimeoutError) and caught.value.code == "TIMEOUT" and caught.value.retryable
    await asyncio.wait_for(slow.cancelled.wait(), 10)


async def test_cancelling_a_run_cancels_its_tasks(mind: triune.AsyncTriune) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def forever() -> None:
        started.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    run = asyncio.create_task(mind.parallel.run([triune.Task("forever", forever)]))
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await asyncio.wait_for(cancelled.wait(), 10)


async def test_leaving_a_stream_stops_the_model(mind: triune.AsyncTriune) -> None:
    words = Words()
    mind.register_model(words)
    async for piece in mind.stream("a b c d e f g h"):
        assert piece == "a "
        break
    await until(lambda: words.stopped)
    assert len(words.said) < 4


async def test_a_stream_to_its_end(mind: triune.AsyncTriune) -> None:
    mind.register_model(Words())
    stream = mind.stream("a b c")
    assert [piece async for piece in stream] == ["a ", "b ", "c "]
    assert stream.reply.text == "a b c "


async def test_a_cancelled_read_stops_the_stream(mind: triune.AsyncTriune) -> None:
    slow = Slow()
    mind.register_model(slow)

    async def read() -> None:
        async for _ in mind.stream("x"):
            pass

    task = asyncio.create_task(read())
    await slow.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(slow.cancelled.wait(), 10)


async def test_a_thousand_calls_at_once(mind: triune.AsyncTriune) -> None:
    class Later:
        profile: triune.ModelProfile = {"id": "later", "context_length": 4096}
        at_once = most = 0

        async def chat(self, request: triune.ChatRequest) -> str:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            await asyncio.sleep(0.2)
            self.at_once -= 1
            return request.prompt

    model = Later()
    mind.register_model(model)
    started = time.monotonic()
    replies = await asyncio.gather(*(mind.generate(str(i)) for i in range(1000)))
    seconds = time.monotonic() - started
    assert [reply.text for reply in replies] == [str(i) for i in range(1000)]
    print(f"1000 calls at once: {seconds:.2f} s, {model.most} in the model at the same time")
    assert model.most > 50, "calls run side by side"


async def test_events_while_work_goes_on(mind: triune.AsyncTriune) -> None:
    seen: list[str] = []

    async def listen() -> None:
        async for event in mind.events():
            seen.append(event["type"])

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0)
    await mind.parallel.run([triune.Task.value("a", 1)])
    await until(lambda: "run_finished" in seen)
    assert seen.index("run_started") < seen.index("task_finished")
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener


async def test_two_loops_one_after_the_other(folder: str) -> None:
    """A mind may be used from another loop later: coroutines follow."""

    def elsewhere(mind: triune.AsyncTriune) -> str:
        return asyncio.run(mind.generate("x")).text

    class Later(Echo):
        async def chat(self, request: triune.ChatRequest) -> str:  # type: ignore[override]
            await asyncio.sleep(0)
            return "there"

    async with triune.AsyncTriune.open(folder, config=CONFIG, models=[Later()]) as mind:
        assert await asyncio.to_thread(elsewhere, mind) == "there"
        assert (await mind.generate("x")).text == "there"


async def until(condition: object, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.005)
