"""Triune: every call waits for its answer, with the interpreter released."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar, Unpack

from . import _requests as ask
from ._engines import Creative, Gates, Parallel, Recall, Router, Team
from ._handle import Config, Handle, Parts, config_parts, opening
from ._json import dumps, loads, read
from ._native import Mind
from ._streams import EventStream, TextStream
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


class Triune(Handle):
    """Models, memory, tasks, ideas and a team, in one process and one folder. Made by `triune.open`.

    Calls may be made from many threads. Ctrl-C stops the call that waits, and its work. A folder that is not closed is
    closed at the end of the process; what was acknowledged is on disk in any case.
    """

    recall: Recall
    """The memory."""
    parallel: Parallel
    """Tasks in parallel."""
    creative: Creative
    """Ideas, measured."""
    gate: Gates
    """Checks on what was generated."""
    router: Router
    """Which model serves a request, and what it cost."""

    def __init__(
        self, native: Mind, functions: Iterable[Callable[..., Any]] = (), parts: Parts | None = None
    ) -> None:
        """Use `triune.open`."""
        super().__init__(native, functions, parts)
        self.recall = Recall(self._do)
        self.parallel = Parallel(self._do, self._functions)
        self.creative = Creative(self._do)
        self.gate = Gates(self._do)
        self.router = Router(self._do)

    @classmethod
    def open(
        cls,
        url: str | os.PathLike[str],
        *,
        config: Config | None = None,
        models: Iterable[str | ChatModel] = (),
        embedder: str | Embedder | None = None,
        functions: Iterable[Callable[..., Any]] = (),
    ) -> Self:
        """See `triune.open`."""
        work, parts = opening(url, config, models, embedder)
        return cls(work.wait(), functions, parts)

    def team(self, agents: int | Sequence[Agent] | None = None) -> Team:
        """A team of so many agents, or of these, for epics that name none. Default: `team.agents` of the settings."""
        return Team(self._do, agents)

    def generate(self, prompt: ask.Prompt, **options: Unpack[GenerateOptions]) -> Reply:
        """Text, from the cheapest model that meets the needs. The prompt is a text or a list of messages.

        >>> mind.generate("Say hello.", max_cost_usd=0.01, max_tokens=30).text  # doctest: +SKIP
        """
        rest, call = ask.split(options)
        return self._do(ask.generate(prompt, **rest), call)

    def stream(self, prompt: ask.Prompt, **options: Unpack[GenerateOptions]) -> TextStream:
        """The same, piece by piece. The model starts when the stream is read; leaving the loop stops it."""
        rest, call = ask.split(options)
        return TextStream(self._native.stream(dumps(ask.generate_body(prompt, **rest)), *ask.limits(**call)), self)

    def embed(
        self, texts: Sequence[str], *, query: bool = False, **call: Unpack[CallOptions]
    ) -> list[list[float]]:
        """One vector a text, of length 1. `query` is for texts that are compared with others that may answer them."""
        return self._do(ask.embed(texts, query), call)

    def generate_image(
        self, prompt: str, *, size: str | None = None, count: int = 1, **call: Unpack[CallOptions]
    ) -> ImageReply:
        """Images by the image model of the settings (`image_model`), 1 to 10 of them; `size` such as `1024x1024`."""
        return self._do(ask.generate_image(prompt, size, count), call)

    def call(self, engine: str, request: Mapping[str, Any] | Any, **call: Unpack[CallOptions]) -> Any:
        """Calls any engine by name: the JSON form of everything here, and of engines of yours."""
        return self._do(ask.call(engine, request), call)

    def backup(self, to: str | os.PathLike[str], **call: Unpack[CallOptions]) -> None:
        """Copies the folder, as it is at this moment, into another one that has no store, while it is used.

        `triune restore` puts it back.
        """
        self._do(ask.backup(to), call)

    def events(self) -> EventStream:
        """Events from now on."""
        return EventStream(self._native.events())

    def local_statistics(self) -> dict[str, LocalStatistics]:
        """What the models in this process did and hold, by their names: load, cache hits, tokens a second, memory."""
        return self._do(ask.local_statistics(), CallOptions())

    def health(self) -> dict[str, Health]:
        """How every engine is, by name."""
        return {name: read(Health, health) for name, health in loads(self._native.health().wait()).items()}

    def reload(self, config: Config) -> None:
        """Goes by other settings of `models`, `image_model`, `discover` and `router` from now on: models, their keys and prices,
        budgets, policies. No request is dropped; those on their way keep the models they have.

        `config` is a dict or the path of a TOML file, as for `open`, and holds all settings: InvalidError when others than
        these differ from those that the folder was opened with. Models of yours stay, those named by `models=` of `open` do
        not: name them in `config`.
        """
        self._native.reload(*config_parts(config)).wait()

    def close(self) -> None:
        """Stops what still runs and closes the folder. What was interrupted can go on when it is opened again.

        Closing twice is no error; any other call on a closed mind is a CancelledError.
        """
        self._native.close().wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def store_knowledge(self, content: str, **options: Unpack[ask.StoreOptions]) -> str:
        """`recall.store`."""
        return self.recall.store(content, **options)

    def recall_knowledge(
        self, query: str, top: int = 10, filter: ask.Filter | None = None, **options: Unpack[ask.RecallOptions]
    ) -> list[Hit]:
        """`recall.query`."""
        asked, call = ask.split(options)
        return self._do(ask.query(query, top, {"filter": filter, **asked}), call)

    def coordinate_parallel_tasks(
        self,
        tasks: Iterable[Task],
        *,
        run: str | None = None,
        concurrency: int | None = None,
        **call: Unpack[CallOptions],
    ) -> RunReport:
        """`parallel.run`."""
        return self.parallel.run(tasks, run=run, concurrency=concurrency, **call)

    def generate_creative_solution(self, problem: str, **options: Unpack[SolveOptions]) -> CreativeSolution:
        """`creative.solve`."""
        rest, call = ask.split(options)
        return self._do(ask.solve(problem, **rest), call)

    def _do(self, request: ask.Request[T], call: CallOptions) -> T:
        text, limits = ask.written(request), ask.limits(**call)
        if request.engine == ask.FOLDER:
            return request.read(loads(self._native.folder(text, *limits).wait()))
        reply = self._native.call(request.engine, text, *limits).wait()
        return request.read(loads(reply))


def open(
    url: str | os.PathLike[str],
    *,
    config: Config | None = None,
    models: Iterable[str | ChatModel] = (),
    embedder: str | Embedder | None = None,
    functions: Iterable[Callable[..., Any]] = (),
) -> Triune:
    """Opens a folder, making it when it is not there.

    - `url`: a path, or `lmdb:///path`.
    - `config`: settings as a dict, or the path of a TOML file. The environment (`TRIUNE__...`) goes before them.
    - `models`: chat models: names (a catalogue name, a path of a GGUF file, a hub id) or objects of yours with a
      `profile` and a method `chat`. Default: what `triune models pull` has got.
    - `embedder`: the same for the one embedder: a name, or an object with a `profile` and a method `embed`.
    - `functions`: functions of yours: tools of agents, and bodies of tasks that are resumed.

    >>> with triune.open("./mind") as mind:  # doctest: +SKIP
    ...     mind.recall.store("Ada moved to Paris in 2024")
    """
    return Triune.open(url, config=config, models=models, embedder=embedder, functions=functions)
