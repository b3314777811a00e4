"""The functions of a mind: bodies of tasks, and tools of agents, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import _host
from ._native import Mind
from ._requests import function_name
from .errors import InvalidError
from .types import Task


class Functions:
    """Knows which function has which name."""

    def __init__(self, native: Mind) -> None:
        self._native = native
        self._by_name: dict[str, Callable[..., Any]] = {}

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
        self._native.register_function(spec, call)
        self._by_name[name] = run
        return name

    def bodies(self, tasks: Iterable[Task], /) -> list[tuple[Task, Mapping[str, Any]]]:
        """The tasks with their bodies in JSON form; functions among them are registered."""
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
        for name, run in plan.items():
            if self._by_name.get(name) != run:
                self.add(run, name)
        return made

    def _name(self, run: Callable[..., Any]) -> str | None:
        return next((name for name, known in self._by_name.items() if known == run), None)
