"""AsyncTriune: every call is awaited."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar, Unpack

from . import _requests as ask
from ._async_engines import AsyncCreative, AsyncGates, AsyncParallel, AsyncRecall, AsyncRouter, AsyncTeam
from ._handle import Config, Handle, Parts, config_parts, opening
from ._json import dumps, loads, read
from ._native import Mind, Work
from ._streams import AsyncEventStream, AsyncTextStream
from .protocols import ChatModel, Embedder
from .types import (
    Agent,
    CallOptions,
    CreativeSolution,
    GenerateOptions,
    Health,
    Hit,
    ImageReply,
    LocalStatistics,
    Reply,
    RunReport,
    SolveOptions,
    Task,
)

T = TypeVar("T")


class AsyncTriune(Handle):
    """Models, memory, tasks, ideas and a team, in one process and one folder, for asyncio. Made by `AsyncTriune.open`.

    Cancelling a task that awaits a call stops the work of the call. Coroutines of yours run on the event loop that
    awaits the calls.
    """

    recall: AsyncRecall
    """The memory."""
    parallel: AsyncParallel
    """Tasks in parallel."""
    creative: AsyncCreative
    """Ideas, measured."""
    gate: AsyncGates
    """Checks on what was generated."""
    router: AsyncRouter
    """Which model serves a request, and what it cost."""

    def __init__(
        self, native: Mind, functions: Iterable[Callable[..., Any]] = (), parts: Parts | None = None
    ) -> None:
        """Use `AsyncTriune.open`."""
        super().__init__(native, functions, parts)
        self.recall = AsyncRecall(self._do)
        self.parallel = AsyncParallel(self._do, self._functions)
        self.creative = AsyncCreative(self._do)
        self.gate = AsyncGates(self._do)
        self.router = AsyncRouter(self._do)

    @staticmethod
    def open(
        url: str | os.PathLike[str],
        *,
        config: Config | None = None,
        models: Iterable[str | ChatModel] = (),
        embedder: str | Embedder | None = None,
        functions: Iterable[Callable[..., Any]] = (),
    ) -> Opening:
        """Opens a folder: `async with AsyncTriune.open(url) as mind`, or `mind = await AsyncTriune.open(url)`.

        The parameters are those of `triune.open`.
        """
        return Opening(*opening(url, config, models, embedder), functions)

    def team(self, agents: int | Sequence[Agent] | None = None) -> AsyncTeam:
        """See `Triune.team`."""
        return AsyncTeam(self._do, agents)

    async def generate(self, prompt: ask.Prompt, **options: Unpack[GenerateOptions]) -> Reply:
        """See `Triune.generate`."""
        rest, call = ask.split(options)
        return await self._do(ask.generate(prompt, **rest), call)

    def stream(self, prompt: ask.Prompt, **options: Unpack[GenerateOptions]) -> AsyncTextStream:
        """See `Triune.stream`: `async for piece in mind.stream(...)`."""
        rest, call = ask.split(options)
        feed = self._native.stream(dumps(ask.generate_body(prompt, **rest)), *ask.limits(**call))
        return AsyncTextStream(feed, self)

    async def embed(
        self, texts: Sequence[str], *, query: bool = False, **call: Unpack[CallOptions]
    ) -> list[list[float]]:
        """See `Triune.embed`."""
        return await self._do(ask.embed(texts, query), call)

    async def generate_image(
        self, prompt: str, *, size: str | None = None, count: int = 1, **call: Unpack[CallOptions]
    ) -> ImageReply:
        """See `Triune.generate_image`."""
        return await self._do(ask.generate_image(prompt, size, count), call)

    async def call(self, engine: str, request: Mapping[str, Any] | Any, **call: Unpack[CallOptions]) -> Any:
        """See `Triune.call`."""
        return await self._do(ask.call(engine, request), call)

    async def backup(self, to: str | os.PathLike[str], **call: Unpack[CallOptions]) -> None:
        """See `Triune.backup`."""
        await self._do(ask.backup(to), call)

    def events(self) -> AsyncEventStream:
        """See `Triune.events`: `async for event in mind.events()`."""
        return AsyncEventStream(self._native.events())

    async def local_statistics(self) -> dict[str, LocalStatistics]:
        """What the models in this process did and hold, by their names: load, cache hits, tokens a second, memory."""
        return await self._do(ask.local_statistics(), CallOptions())

    async def health(self) -> dict[str, Health]:
        """See `Triune.health`."""
        return {name: read(Health, health) for name, health in loads(await self._native.health().start()).items()}

    async def reload(self, config: Config) -> None:
        """See `Triune.reload`."""
        await self._native.reload(*config_parts(config)).start()

    async def close(self) -> None:
        """See `Triune.close`."""
        await self._native.close().start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def store_knowledge(self, content: str, **options: Unpack[ask.StoreOptions]) -> str:
        """`recall.store`."""
        return await self.recall.store(content, **options)

    async def recall_knowledge(
        self, query: str, top: int = 10, filter: ask.Filter | None = None, **options: Unpack[ask.RecallOptions]
    ) -> list[Hit]:
        """`recall.query`."""
        asked, call = ask.split(options)
        return await self._do(ask.query(query, top, {"filter": filter, **asked}), call)

    async def coordinate_parallel_tasks(
        self,
        tasks: Iterable[Task],
        *,
        run: str | None = None,
        concurrency: int | None = None,
        **call: Unpack[CallOptions],
    ) -> RunReport:
        """`parallel.run`."""
        return await self.parallel.run(tasks, run=run, concurrency=concurrency, **call)

    async def generate_creative_solution(self, problem: str, **options: Unpack[SolveOptions]) -> CreativeSolution:
        """`creative.solve`."""
        rest, call = ask.split(options)
        return await self._do(ask.solve(problem, **rest), call)

    async def _do(self, request: ask.Request[T], call: CallOptions) -> T:
        text, limits = ask.written(request), ask.limits(**call)
        if request.engine == ask.FOLDER:
            return request.read(loads(await self._native.folder(text, *limits).start()))
        reply = await self._native.call(request.engine, text, *limits).start()
        return request.read(loads(reply))


class Opening:
    """A folder on its way to be opened: await it, or enter it."""

    def __init__(self, work: Work[Mind], parts: Parts, functions: Iterable[Callable[..., Any]]) -> None:
        self._work, self._parts, self._functions = work, parts, functions
        self._mind: AsyncTriune | None = None

    async def _open(self) -> AsyncTriune:
        self._mind = AsyncTriune(await self._work.start(), self._functions, self._parts)
        return self._mind

    def __await__(self) -> Generator[Any, None, AsyncTriune]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncTriune:
        return await self._open()

    async def __aexit__(self, *_: object) -> None:
        if self._mind is not None:
            await self._mind.close()
