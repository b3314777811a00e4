"""Knowledge: what is stored and what is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from .._json import read


@dataclass(frozen=True, slots=True)
class Item:
    """Stored knowledge."""

    id: str
    text: str
    metadata: dict[str, Any]
    namespace: str
    stored_ms: int
    """When it was stored, in milliseconds since the Unix epoch."""
    truncated: bool = False
    """Whether the embedder read only its beginning."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class Why:
    """The parts of a score."""

    meaning: float | None
    """Cosine of query and item, -1 to 1; None when one has no vector."""
    words: float | None
    """BM25 of the query's words in the item; None when no word is shared."""
    terms: list[str]
    """The words shared, stemmed."""
    fused: float | None = None
    """The score that meaning and words gave, where a reranker gave another; None when there was no reranking."""


@dataclass(frozen=True, slots=True)
class Hit(Item):
    """An item that was found."""

    score: float = 0.0
    """Higher is better; comparable within one answer only."""
    why: Why = Why(None, None, [])
    """What the score is made of."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data, why=read(Why, data["why"]))


@dataclass(frozen=True, slots=True)
class Relation:
    """A kept relation: `from_` -`kind`-> `to`."""

    from_: str
    kind: str
    to: str
    weight: float
    """How strong it is."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data, from_=data["from"])


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Something near."""

    name: str
    hops: int
    """Steps away."""
    relation: Relation
    """The relation by which it was reached."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data, relation=Relation.from_json(data["relation"]))
