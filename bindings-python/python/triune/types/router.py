"""The ledger: what every call cost and saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from .._json import read
from ._money import Costed


@dataclass(frozen=True, slots=True)
class LedgerEntry(Costed):
    """One call."""

    id: str
    """The id of the reply."""
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

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class LedgerTotals(Costed):
    """Sums of the ledger."""

    calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_nano_usd: int
    reference_cost_nano_usd: int
    saved_nano_usd: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)
