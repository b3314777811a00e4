"""What happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from .._json import read
from ._money import Costed

Event: TypeAlias = dict[str, Any]
"""One thing that happened: `type` (such as `task_finished`), `at_ms`, `trace`, `tenant`, and what belongs to the type.
Texts of users and keys are never in an event."""


@dataclass(frozen=True, slots=True)
class Health:
    """How an engine is."""

    ok: bool
    """Whether calls can be expected to work."""
    detail: str
    """What is wrong and what to do, or an empty text."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of times in milliseconds; quantiles are within 1 %."""

    count: int
    mean_ms: float
    p50_ms: int
    p95_ms: int
    p99_ms: int
    max_ms: int


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """What one model did."""

    attempts: int
    """Attempts, failed ones included."""
    failures: dict[str, int]
    """Failed attempts by error code."""
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    latency: Latency


@dataclass(frozen=True, slots=True)
class Metrics(Costed):
    """What happened so far in this process."""

    events: dict[str, int]
    """Events by type."""
    models: dict[str, ModelMetrics]
    """Model calls by model id."""
    tasks: dict[str, int]
    """Tasks by outcome."""
    task_latency: Latency
    recall_latency: Latency
    cost_nano_usd: int
    saved_nano_usd: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        models = {
            name: read(ModelMetrics, model, latency=read(Latency, model["latency"]))
            for name, model in data["models"].items()
        }
        tasks, recalls = read(Latency, data["task_latency"]), read(Latency, data["recall_latency"])
        return read(cls, data, models=models, task_latency=tasks, recall_latency=recalls)
