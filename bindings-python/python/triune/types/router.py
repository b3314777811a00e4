"""The ledger: what every call cost and saved; and the budgets that bound it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from .._json import NANO_USD, read
from ._money import Costed

Period = Literal["day", "month", "total"]
LedgerGroup = Literal["tenant", "tag", "model", "key", "day"]


@dataclass(frozen=True, slots=True)
class LedgerEntry(Costed):
    """One call, or what a failed attempt of one cost."""

    id: str
    """The id of the reply; attempts that failed before it have the same."""
    at_ms: int
    """When, in milliseconds since the Unix epoch."""
    tenant: str
    """Who it was for; empty for none."""
    model: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_nano_usd: int
    reference_cost_nano_usd: int
    saved_nano_usd: int
    tag: str | None = None
    """Your name of the task."""
    key: str | None = None
    """The name of the key that paid, never the key itself."""
    latency_ms: int = 0
    failed: bool = False
    """Whether it is an attempt without an answer."""
    estimated: bool = False
    """Whether the provider did not say what it took."""
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    image_input_tokens: int = 0
    reasoning_tokens: int = 0
    image_output_tokens: int = 0
    images: int = 0
    tier: Literal["standard", "batch", "flex", "priority"] = "standard"
    """How the provider served it."""
    decision: dict[str, Any] | None = None
    """What the choice of the model was made from, in the engine's own form."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class LedgerTotals(Costed):
    """Sums of the ledger. Failed attempts are apart, but for their cost."""

    calls: int
    """Calls that were answered."""
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_nano_usd: int
    """What all cost, failed attempts too."""
    reference_cost_nano_usd: int
    saved_nano_usd: int
    failed: int = 0
    """Attempts without an answer that cost something."""
    wasted_nano_usd: int = 0
    """What these cost: part of the cost."""
    wasted_tokens: int = 0
    """Tokens that these read and wrote; in none of the other sums."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class ModelReplay:
    """What one model would have done in a replay."""

    calls: int
    cost_nano_usd: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class Replay:
    """What past calls cost, and what they would have cost with another policy. The tokens on another model are estimated
    from how both count the request; how good its answers would have been is not known."""

    calls: int
    """Calls that were decided again."""
    cost_nano_usd: int
    """What they cost."""
    replayed_cost_nano_usd: int
    """What they would have cost."""
    left_out: int
    """Answered calls that could not be decided again; in neither sum."""
    left_out_cost_nano_usd: int
    wasted_nano_usd: int
    """What failed attempts cost; in neither sum."""
    models: dict[str, ModelReplay]
    """Which models would have served, and for how much."""

    @property
    def cost_usd(self) -> float:
        """What they cost in dollars, for display."""
        return self.cost_nano_usd / NANO_USD

    @property
    def replayed_cost_usd(self) -> float:
        """What they would have cost in dollars, for display."""
        return self.replayed_cost_nano_usd / NANO_USD

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        models = {model: ModelReplay.from_json(one) for model, one in data["models"].items()}
        return read(cls, data, models=models)


@dataclass(frozen=True, slots=True)
class BudgetState:
    """How a budget of the settings stands."""

    tenant: str | None
    """Of which tenant's calls; None for all."""
    key: str | None
    tag: str | None
    model: str | None
    period: Period
    limit_nano_usd: int
    """What they may spend."""
    soft_nano_usd: int | None
    """Where it warns."""
    spent_nano_usd: int
    """What they spent in this period."""
    held_nano_usd: int
    """What is held for calls on their way."""
    ends_ms: int | None
    """When the period is over, in milliseconds since the Unix epoch; None without an end."""

    @property
    def left_usd(self) -> float:
        """What may still be spent, in dollars, for display."""
        return (self.limit_nano_usd - self.spent_nano_usd - self.held_nano_usd) / NANO_USD

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class PriceWarning:
    """Something to know of the price of a model: its provider `ends` it soon, or its price is `old`."""

    type: Literal["ends", "old"]
    model: str
    on: str | None = None
    """The day on which its provider ends it."""
    priced_on: str | None = None
    """The day of its price."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)
