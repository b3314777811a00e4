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
class LocalStatistics:
    """What a model in this process did so far, and holds now."""

    loaded: bool
    """Whether its weights are in memory; a model that is not loaded is loaded by the next request."""
    waiting: int
    """Answers that wait for their turn."""
    running: int
    """Answers that are being written."""
    tokens_read: int
    """Tokens that were read, those written among them."""
    tokens_found: int
    """Tokens that need not be read, since answers before them began in the same way."""
    tokens_written: int
    tokens_drafted: int
    """Tokens that were guessed from what the answer repeats, to be checked several in a step."""
    tokens_accepted: int
    """Guesses that were right."""
    tokens_per_s: float
    """Tokens written a second by all answers together, over the last second of work."""
    preempted: int
    """Answers that had to make way for others and were read again."""
    weight_bytes: int
    memory_bytes: int
    """Bytes of what is remembered of tokens that were read."""
    kept_bytes: int
    """Of these, bytes that are kept for answers to come, those in use among them."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


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
