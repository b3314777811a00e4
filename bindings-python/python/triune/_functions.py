"""The functions of a mind: bodies of tasks, and tools of agents, by name."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from . import _host
from ._json import loads
from ._native import Mind
from ._requests import Plan, function_name
from .errors import InvalidError, NotFoundError
from .types import Task


class Functions:
    """Knows which function has which name, and which one is the body of which task of a run at work."""

    def __init__(self, native: Mind) -> None:
        self._native = native
        self._lock = threading.Lock()
        self._named: dict[str, tuple[Callable[..., Any], _host.Call]] = {}
        """Those that were registered by name."""
        self._runs: dict[str, list[dict[str, _host.Call]]] = {}
        """Bodies of the runs at work, by task: two runs may have bodies of one name. A list, for a run is asked for
        again before it is known that it ended."""
        self._lent: dict[str, int] = {}
        """Names that are known only as long as runs need them, and how many do."""
        self._handles: dict[str, Callable[[str], Any]] = {}
        """What the native half calls, and refers to weakly."""

    def add(
        self,
        run: Callable[..., Any],
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> str:
        """Registers `run`; answers its name."""
        if not callable(run):
            raise InvalidError(f"a function is callable; {type(run).__name__} is not")
        name = name or function_name(run, None)
        spec, call = _host.function(run, name, description, parameters)
        with self._lock:
            self._tell(name, spec)
            self._named[name] = (run, call)
        return name

    def plan(self, tasks: Iterable[Task]) -> Plan:
        """The tasks with their bodies in JSON form: functions among them by name."""
        made: list[tuple[Task, Mapping[str, Any]]] = []
        plan: dict[str, Callable[..., Any]] = {}
        for task in tasks:
            if not callable(task.body):
                made.append((task, task.body))
                continue
            name = self._name(task.body) or function_name(task.body, task.name)
            if plan.setdefault(name, task.body) != task.body:
                raise InvalidError(
                    f'two functions of the plan are called "{name}"; name one of them: mind.function(run, name=...)'
                )
            made.append((task, {"function": name}))
        return made

    @contextlib.contextmanager
    def lent(self, run: str | None, tasks: Iterable[Task]) -> Iterator[tuple[str, Plan]]:
        """An id for the run, and its plan. The functions in it can be called until the run has ended."""
        run = run or _fresh_run()
        plan = self.plan(tasks)
        bodies: dict[str, _host.Call] = {}
        specs: dict[str, str] = {}
        for task, body in plan:
            if callable(task.body) and self._name(task.body) is None:
                name = body["function"]
                specs[name], bodies[task.name] = _host.function(task.body, name, None, None)
        with self._lock:
            self._runs.setdefault(run, []).append(bodies)
        lent: list[str] = []
        try:
            with self._lock:
                for name, spec in specs.items():
                    # A plan never takes the place of what was registered by this name: `_find` knows both.
                    if name not in self._named:
                        if name not in self._lent:
                            self._tell(name, spec)
                        self._lent[name] = self._lent.get(name, 0) + 1
                        lent.append(name)
            yield run, plan
        finally:
            with self._lock:
                self._runs[run].remove(bodies)
                if not self._runs[run]:
                    del self._runs[run]
                for name in lent:
                    self._lent[name] -= 1
                    if self._lent[name] == 0:
                        del self._lent[name]
                        if name not in self._named:
                            self._native.unregister_function(name)
                            del self._handles[name]

    def _tell(self, name: str, spec: str) -> None:
        handle = partial(self._call, name)
        self._native.register_function(spec, handle)
        self._handles[name] = handle

    def _call(self, name: str, text: str) -> Any:
        given = loads(text)
        return self._find(name, given)(given)

    def _find(self, name: str, given: Any) -> _host.Call:
        with self._lock:
            if _host.is_task_call(given):
                for bodies in self._runs.get(given["run"], ()):
                    if given["task"] in bodies:
                        return bodies[given["task"]]
            if name in self._named:
                return self._named[name][1]
        raise NotFoundError(f'no function is called "{name}"; register it with mind.function')

    def _name(self, run: Callable[..., Any]) -> str | None:
        return next((name for name, (known, _) in list(self._named.items()) if known == run), None)


def _fresh_run() -> str:
    """A fresh id; later ones sort behind earlier ones, as those of the engine do (UUID version 7)."""
    random = bytearray(os.urandom(10))
    random[0] = random[0] & 0x0F | 0x70
    random[2] = random[2] & 0x3F | 0x80
    return f"{time.time_ns() // 1_000_000:012x}{random.hex()}"
