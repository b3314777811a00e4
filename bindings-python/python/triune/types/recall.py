"""Knowledge: what is stored and what is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
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
    session: str | None = None
    """The conversation or document it is part of."""
    speaker: str | None = None
    """Who said it."""
    valid_from: datetime | None = None
    """Since when it is true."""
    valid_to: datetime | None = None
    """Until when it is true, itself not included."""
    expires: datetime | None = None
    """When it is forgotten."""
    importance: float | None = None
    """How much it matters, 0 to 1."""
    supersedes: str | None = None
    """The id of what it says anew."""
    superseded_by: str | None = None
    """The id of what says it anew."""
    duplicate_of: str | None = None
    """The id of the item whose text is the same, or nearly."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data, **_times(data))


def _times(data: Mapping[str, Any]) -> dict[str, datetime]:
    names = ("valid_from", "valid_to", "expires", "replaced")
    return {name: datetime.fromisoformat(data[name]) for name in names if data.get(name) is not None}


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
    boosts: Mapping[str, float] = field(default_factory=dict)
    """What else was added to the score, by name: `neighbours` (what is before and after it in its session), `speaker`,
    `time`, `phrase`, `importance`, `decay`, `graph`."""


@dataclass(frozen=True, slots=True)
class PassageRange:
    """A part of the text of an item, in bytes of UTF-8."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hit(Item):
    """An item that was found."""

    score: float = 0.0
    """Higher is better; comparable within one answer only."""
    why: Why = Why(None, None, [])
    """What the score is made of."""
    passage: PassageRange | None = None
    """Where in the text of a long item the passage is that was found; its text is then `text`, and `get` gives the
    whole."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        passage = data.get("passage")
        parsed = read(PassageRange, passage) if passage else None
        return read(cls, data, why=read(Why, data["why"]), passage=parsed, **_times(data))


@dataclass(frozen=True, slots=True)
class ItemVersion(Item):
    """A version of an item."""

    replaced: datetime | None = None
    """When another one took its place; None for the one there is."""


@dataclass(frozen=True, slots=True)
class RecallContext:
    """The best passages for a prompt."""

    text: str
    """The passages, one after the other, each below a line that names its source."""
    tokens: int
    """About how many tokens it has."""
    hits: list[Hit]
    """What is in it, best first."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data, hits=[Hit.from_json(hit) for hit in data["hits"]])


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written by an export."""

    namespaces: int
    items: int
    versions: int
    """Versions of items that were replaced."""
    relations: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What was read by an import."""

    stored: int
    """Items that were stored."""
    unchanged: int
    """Items that were there already, just as in the file."""
    vectors: int
    """Items of those stored whose vector was taken from the file."""
    versions: int
    """Versions of items that were replaced."""
    relations: int
    """Relations, those that were there already too."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class IndexStatistics:
    """Which index serves a namespace, and how far it is."""

    kind: str
    """`exact` (all are compared), `scan`, `ivf` or `arroy`."""
    coded: int
    """Vectors that have a code; the others are compared exactly."""
    due: bool
    """Whether something of it is to be built in the background, or is being built."""


@dataclass(frozen=True, slots=True)
class Reembedding:
    """How far embedding the texts of a namespace by another embedder is."""

    embedder: str
    done: int
    """Texts, and passages of long ones, that it has embedded."""
    of: int
    """Those there are."""


@dataclass(frozen=True, slots=True)
class NamespaceStatistics:
    """What a namespace holds, and how much room that takes."""

    tenant: str
    """Whose it is; empty for none."""
    namespace: str
    items: int
    vectors: int
    """Vectors: of items, and of passages of long ones."""
    dimensions: int
    """Length of the vectors; 0 when there are none."""
    embedder: str | None
    """What made the vectors; None when there are none."""
    relations: int
    terms: int
    """Different words."""
    entities: int
    """Different people, places and things that texts mention, by rules."""
    bytes: dict[str, int]
    """Bytes by what they are of: `items`, `history`, `vectors`, `words`, `facts`, `relations`, `index`."""
    oldest_ms: int | None
    """When the oldest item was stored, in milliseconds since the Unix epoch."""
    newest_ms: int | None
    """When the newest item was stored."""
    index: IndexStatistics
    reembedding: Reembedding | None
    """How far embedding its texts by another embedder is; None when that is not under way."""
    max_items: int | None
    """Items it may hold; None for no limit."""
    max_bytes: int | None
    """Bytes it may hold; None for no limit."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        again = data["reembedding"]
        return read(
            cls,
            data,
            index=read(IndexStatistics, data["index"]),
            reembedding=None if again is None else read(Reembedding, again),
        )


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
