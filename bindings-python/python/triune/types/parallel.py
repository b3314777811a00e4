"""Tasks in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from .._json import read, read_list

Outcome = Literal["succeeded", "failed", "skipped", "cancelled"]


@dataclass(frozen=True, slots=True)
class TaskCall:
    """What a function is given when it is the body of a task."""

    run: str
    task: str
    attempt: int
    """1 for the first attempt."""
    input: Any
    """The input of the task."""
    results: dict[str, Any]
    """Results of the tasks it waited for, by name."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a plan.

    `body` is a function, `def` or `async def`, that takes one TaskCall, or nothing, and returns what has a JSON form.
    The journal knows it by its name, so that a run that was interrupted can go on: who resumes the run must register
    it by that name before (`mind.function`), or run the same plan under the same run id. A function may be called
    again after a crash or a retry: what it does must bear repetition.

    Calls of the mind that a body makes are a part of the run: they end with it, spend from its budget, and what they
    store can be read once the task has succeeded, in one commit with its result.

    Other bodies are made by `Task.prompt`, `Task.engine` and `Task.value`.
    """

    name: str
    """Unique in the plan."""
    body: Callable[..., Any] | Mapping[str, Any]
    after: Sequence[str] = ()
    """Names of the tasks that must have succeeded before."""
    input: Any = None
    """What it is given; has a JSON form."""
    retries: int = 0
    """Attempts after the first, on errors that may go away and on exceptions of your function."""
    timeout: float | None = None
    """Seconds one attempt may take. Default: `parallel.timeout_ms` of the settings."""

    @classmethod
    def prompt(cls, name: str, prompt: str, *, after: Sequence[str] = (), input: Any = None, retries: int = 0,
               timeout: float | None = None, **options: Any) -> Self:
        """A task that asks a model; its result is the text of the answer.

        The prompt is a Jinja template over `input` and `results`: `"Summarise: {{ results.fetch }}"`. `options` are
        those of `generate`.
        """
        from .._requests import generate_body

        body = {"prompt": generate_body(prompt, **options)}
        return cls(name, body, after, input, retries, timeout)

    @classmethod
    def engine(cls, name: str, engine: str, request: Any, *, after: Sequence[str] = (), input: Any = None,
               retries: int = 0, timeout: float | None = None) -> Self:
        """A task that calls an engine by name; its result is the reply. Texts in the request are templates."""
        return cls(name, {"engine": {"name": engine, "request": request}}, after, input, retries, timeout)

    @classmethod
    def value(cls, name: str, value: Any) -> Self:
        """A constant for the tasks after it."""
        return cls(name, {"value": value})


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The end of a task."""

    task: str
    outcome: Outcome
    """`skipped` when a task before it failed."""
    value: Any
    """Its result; None unless it succeeded."""
    code: str | None
    """The error code when it failed."""
    error: str | None
    """The error in words when it failed, or why it was skipped."""
    attempts: int
    """Attempts made, over all processes."""
    latency_ms: int
    restored: bool
    """Whether it had finished before this process took the run over."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run and its tasks, in the order of the plan.

    `report["fetch"]` is the result of the task `fetch`; iterating gives the tasks.
    """

    run: str
    """Its id."""
    state: Literal["running", "succeeded", "failed", "cancelled"]
    """`running` when it has not ended; if no process works on it, it was interrupted and can be resumed."""
    latency_ms: int
    tasks: list[TaskResult] = field(default_factory=list)
    """The tasks that ended."""

    def __iter__(self) -> Iterator[TaskResult]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, task: str) -> TaskResult:
        for result in self.tasks:
            if result.task == task:
                return result
        raise KeyError(task)

    @property
    def values(self) -> dict[str, Any]:
        """The results of the tasks that succeeded, by name."""
        return {result.task: result.value for result in self.tasks if result.outcome == "succeeded"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data, tasks=read_list(TaskResult.from_json, data["tasks"]))
