"""What Triune and AsyncTriune have in common: all that does not wait."""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, overload

from . import _host, _loop
from ._functions import Functions
from ._json import dumps, loads
from ._native import Mind, Work, ending
from .protocols import ChatModel, Embedder, Engine, Gate, Reranker, Route
from .types import Metrics

F = TypeVar("F", bound=Callable[..., Any])
Config = Mapping[str, Any] | str | os.PathLike[str]

_open: weakref.WeakSet[Handle] = weakref.WeakSet()


Parts = dict[tuple[str, str], Callable[[str], Any]]
"""Parts of the host by kind and name. The native half refers to them weakly, so that a mind which its own parts refer
to can be collected."""


def opening(
    url: str | os.PathLike[str], config: Config | None, models: Iterable[str | ChatModel], embedder: str | Embedder | None
) -> tuple[Work[Mind], Parts]:
    """The work of opening a folder, and the parts that the mind will have to keep."""
    given = list(models)
    own = [(model, _host.chat_model(model)) for model in given if not isinstance(model, str)]
    parts: Parts = {("model", _name(model)): chat for model, (_, chat) in own}
    own_embedder = None if embedder is None or isinstance(embedder, str) else _host.embedder(embedder)
    if own_embedder is not None:
        parts["embedder", ""] = own_embedder[1]
    work = Mind.open(
        os.fspath(url),
        *config_parts(config),
        [model for model in given if isinstance(model, str)],
        [part for _, part in own],
        embedder if isinstance(embedder, str) else None,
        own_embedder,
    )
    return work, parts


def config_parts(config: Config | None) -> tuple[str | None, str | None]:
    """Settings as JSON, or the path of a file of them."""
    if config is None:
        return None, None
    return (dumps(config, "the settings"), None) if isinstance(config, Mapping) else (None, os.fspath(config))


def _name(model: ChatModel) -> str:
    return str(model.profile.get("id"))


class Handle:
    """An open mind."""

    def __init__(
        self, native: Mind, functions: Iterable[Callable[..., Any]] = (), parts: Parts | None = None
    ) -> None:
        self._native = native
        self._parts: Parts = parts or {}
        self._replaced: deque[object] = deque(maxlen=64)
        self._functions = Functions(native)
        for run in functions:
            self._functions.add(run)
        if not _open:
            # Registered when first needed, so that it runs before what was imported earlier is taken down.
            atexit.unregister(_close_all)
            atexit.register(_close_all)
        _open.add(self)

    def _keep(self, key: tuple[str, str], part: Any) -> None:
        # The engine refers to parts weakly; calls on their way may still have the one that this replaces.
        if key in self._parts:
            self._replaced.append(self._parts[key])
        self._parts[key] = part

    def metrics(self) -> Metrics:
        """What happened so far in this process: events, model calls, latencies and money."""
        return Metrics.from_json(loads(self._native.metrics()))

    def register_model(self, model: ChatModel) -> None:
        """Adds a chat model of yours, or puts it in the place of the one with its id."""
        part = _host.chat_model(model)
        self._native.register_model(*part)
        self._keep(("model", _name(model)), part[1])

    def set_embedder(self, embedder: Embedder) -> None:
        """Sets the embedder."""
        part = _host.embedder(embedder)
        self._native.set_embedder(*part)
        self._keep(("embedder", ""), part[1])

    def set_router(self, route: Route) -> None:
        """Has `route` choose the models from now on: it is given the request and the models that meet its needs, and
        answers the names of those to try, best first, or dicts with `model` and `reason`. Requests on their way keep the
        models they have."""
        call = _host.router(route)
        self._native.set_router(call)
        self._keep(("router", ""), call)

    def set_reranker(self, reranker: Reranker) -> None:
        """Sets the reranker, which reads the best hits of a query that asks for it (`rerank=20`)."""
        part = _host.reranker(reranker)
        self._native.set_reranker(*part)
        self._keep(("reranker", ""), part[1])

    def register_engine(self, engine: Engine) -> None:
        """Adds an engine of yours. ConflictError for the name of an engine of triune."""
        name, call = _host.engine(engine)
        self._native.register_engine(name, call)
        self._keep(("engine", name), call)

    def register_gate(self, gate: Gate) -> None:
        """Adds a gate of yours."""
        name, check = _host.gate(gate)
        self._native.register_gate(name, check)
        self._keep(("gate", name), check)

    def register_function(
        self,
        run: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> str:
        """Adds a function, a tool for agents or the body of a task; answers its name.

        `name` is by default its qualified name, `description` the first paragraph of its docstring, and `parameters`,
        a JSON schema, comes from its annotations. It is given its parameters by name: what the model chose, or the
        `input` of the task. A function with one parameter annotated TaskCall, or with one parameter without annotation
        where it is the body of a task, is given the TaskCall. What it returns must have a JSON form.
        """
        return self._functions.add(run, name, description, parameters)

    @overload
    def function(
        self,
        run: F,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> F: ...
    @overload
    def function(
        self,
        run: None = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Callable[[F], F]: ...
    def function(
        self,
        run: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Any:
        """`register_function` as a decorator: `@mind.function`, or `@mind.function(name="fetch")`."""

        def add(run: F) -> F:
            self._functions.add(run, name, description, parameters)
            return run

        return add if run is None else add(run)


def _close_all() -> None:
    """Closes what is open before the interpreter goes, so that no thread of triune looks for it afterwards."""
    for mind in list(_open):
        with contextlib.suppress(Exception):
            mind._native.close().wait()
    ending()
    _loop.end()
