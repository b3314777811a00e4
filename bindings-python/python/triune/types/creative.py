"""Ideas, measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from .._json import read, read_list
from ._money import Costed


@dataclass(frozen=True, slots=True)
class Idea:
    """One idea."""

    text: str
    model: str
    """The model it is from."""
    operator: str
    """The prompt variation it is from."""
    novelty: float | None
    """1 minus the highest cosine with any idea seen before it; None for the very first."""
    feasibility: float | None
    """Share of the constraints it meets, 0 to 1; None when none could be checked."""
    violated: list[str]
    """The constraints it does not meet."""
    unchecked: list[str]
    """The constraints nobody could check."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class CreativeSolution(Costed):
    """Ideas for a problem, best first."""

    solutions: list[Idea]
    novelty_index: float | None
    """Mean novelty of the ideas; None when none has one."""
    feasibility_score: float | None
    """Mean feasibility of the ideas; None when none has one."""
    creativity_score: float | None
    """Geometric mean of the two; None unless both are there."""
    repeats: int
    """Answers that were dropped as repeats of another idea."""
    cost_nano_usd: int
    saved_nano_usd: int
    notes: list[str]
    """What the numbers do not say: a judge that was refused, constraints nobody checked."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data, solutions=read_list(Idea.from_json, data["solutions"]))
