"""What parts of your own look like. Any object of this form will do: nothing has to be inherited.

Methods may be `def` or `async def`. Plain ones run on a thread where they may block. Coroutines run on the event loop
that awaits an AsyncTriune, or, with a Triune, on a loop of triune in a thread of its own; when triune no longer wants
the answer (a timeout, a cancelled call), they are cancelled. As in any coroutine, do not block in one: await an
AsyncTriune there, instead of calling a Triune.

Calls of a mind that its own parts make while they are called are a part of that call: they end with it, spend from its
budget, and are for its tenant unless they say otherwise. An AsyncTriune serves one event loop at a time: where several
loops await it at once, coroutines run on the one that did last. Open the folder once for each loop instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypedDict

from .types import Artifact, ChatRequest, Finding, ModelProfile, Profile, ToolCall, Usage, Verdict

__all__ = ["Answer", "ChatModel", "Embedder", "Engine", "Gate", "Reranker", "Route", "Vectors"]


class AnswerDict(TypedDict, total=False):
    """Some, or all, of an answer."""

    text: str
    tool_calls: Sequence[ToolCall | Mapping[str, Any]]
    """Tools the model wants called."""
    logprobs: Sequence[Mapping[str, Any]]
    usage: Usage | Mapping[str, int]
    """Tokens read and written; estimated, one in three bytes, when absent."""
    finish_reason: str
    """`stop`, `length`, `tool_calls` or `content_filter`."""


Piece: TypeAlias = str | AnswerDict
Answer: TypeAlias = Piece | Iterator[Piece] | AsyncIterator[Piece]
"""A text, a dict with more than that, or an iterator over pieces of either: a stream."""

Chosen: TypeAlias = Sequence[str | Mapping[str, str]]
Route: TypeAlias = Callable[[dict[str, Any], list[dict[str, Any]]], Chosen | Awaitable[Chosen]]
"""A router: given the request (`needs`, `input_tokens`, `max_output_tokens` and so on) and the models that meet its needs
(`profile`, `breaker` and so on), the names of those to try, best first, or dicts with `model` and `reason`."""

Vectors: TypeAlias = Sequence[Sequence[float]]
"""One vector a text. Arrays of numpy will do."""


class ChatModel(Protocol):
    """Answers chats."""

    @property
    def profile(self) -> ModelProfile:
        """What it is; never changes."""

    def chat(self, request: ChatRequest, /) -> Answer | Awaitable[Answer]:
        """Answers `request`.

        Raise triune's errors where they fit: after a RateLimitedError or UnavailableError the router tries again, and
        then the next model.
        """


class Embedder(Protocol):
    """Turns texts into vectors.

    One that embeds queries in another way than the texts that answer them has a second method, of the same form:
    `embed_queries`. Recall calls it for queries.
    """

    @property
    def profile(self) -> Profile:
        """What it is; never changes."""

    def embed(self, texts: list[str], /) -> Vectors | Awaitable[Vectors]:
        """One vector a text, in order, each `dimensions` long and not all zero. Their length is made 1 by triune."""


class Reranker(Protocol):
    """Scores texts as answers to a query: slower than comparing vectors, and better."""

    @property
    def name(self) -> str:
        """Its name, in errors."""

    def rerank(self, query: str, texts: list[str], /) -> Sequence[float] | Awaitable[Sequence[float]]:
        """One score a text, in order, higher for better answers."""


class Engine(Protocol):
    """Answers requests under a name, from tasks and from `mind.call`."""

    @property
    def name(self) -> str:
        """Letters, digits, `_`, `-`, `.`, `:` and `/`, at most 64."""

    def call(self, request: Any, /) -> Any | Awaitable[Any]:
        """Answers `request`; both have a JSON form."""


class Gate(Protocol):
    """Checks what was generated."""

    @property
    def name(self) -> str:
        """Letters, digits, `_`, `-`, `.`, `:` and `/`, at most 64."""

    def check(
        self, artifact: Artifact, /
    ) -> bool | str | Sequence[Finding | str] | Verdict | Awaitable[bool | str | Sequence[Finding | str] | Verdict]:
        """Whether the artifact may go on: True or an empty answer; or what is wrong with it: False, a text, or findings.

        An artifact that the gate does not apply to passes.
        """
