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
    shadow: bool = False
    """Whether the model was asked beside the one that answered, see the setting `router.learning.shadow`; it is `failed`
    too, since its answer was not given out."""
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
    cache_hit: Literal["exact", "semantic"] | None = None
    """How the answer was found, when it had been given before: no model was asked."""
    decision: dict[str, Any] | None = None
    """What the choice of the model was made from, in the engine's own form."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The cascade, calibrated: how much an answer may be doubted before a dearer model is asked."""

    threshold: float | None
    """A dearer model is asked where the doubt is at least this; None when it is asked always, or never."""
    min_retention: float
    confidence: float
    retention: float
    """The part of the dearer model's quality that was kept on the judged answers."""
    strong_share: float
    """The part of them on which the dearer model was asked."""
    labels: int
    """How many there were."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class Shadowed:
    """A reply of which two models' answers are kept, both to be judged."""

    id: str
    """The id of the reply."""
    prompt: str
    """What was asked."""
    model: str
    """The model that answered."""
    text: str
    """What it answered."""
    shadow_model: str
    """The model that was asked beside it."""
    shadow_text: str
    """What that one answered."""
    tag: str | None = None
    """Your name of the task."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class PairReport:
    """The choice between the cheapest and the best model, by the measures of RouteLLM."""

    cheap: float
    """Mean quality of the cheapest model alone."""
    strong: float
    """Mean quality of the best model alone."""
    apgr: float
    """Average performance gap recovered: .5 is a coin, 1 the best model at the price of none."""
    cpt50: float
    """Percent of calls to the best model that recover half of the gap."""
    cpt80: float
    """Percent of calls to the best model that recover four fifths of it."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How choosing by what was learned does on judged prompts."""

    records: int
    """Records that have the outcomes of all models; the others are not compared."""
    models: list[str]
    best_model: str
    """The model that is best alone."""
    best_quality: float
    """Its mean quality."""
    best_cost_usd: float
    """Its mean cost."""
    cost_usd_at_retention: float | None
    """The least mean cost at which the stated part of its quality is kept; None when no choice keeps it."""
    saving: float | None
    """The part of its cost that this saves; negative when choosing costs more."""
    tradeoffs: list[dict[str, float]]
    """The choices this is taken from: `lambda`, `quality` and `cost_usd` of each, best quality first."""
    pair: PairReport | None
    """None where the cheapest model is the best."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        choices, pair = data["choices"], data["pair"]
        at_retention = choices["cost_at_retention"]
        return cls(
            records=data["records"],
            models=data["models"],
            best_model=data["models"][choices["best"]],
            best_quality=choices["best_quality"],
            best_cost_usd=choices["best_cost"] / NANO_USD,
            cost_usd_at_retention=None if at_retention is None else at_retention / NANO_USD,
            saving=choices["saving"],
            tradeoffs=[
                {"lambda": point["lambda"], "quality": point["quality"], "cost_usd": point["cost"] / NANO_USD}
                for point in choices["tradeoffs"]
            ],
            pair=None if pair is None else PairReport.from_json(pair),
        )


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
