"""Answers and events, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Self

from ._json import loads
from ._native import Feed
from .errors import InvalidError
from .types import Event, Reply


class _Answer:
    """What a stream of text has read so far."""

    def __init__(self, feed: Feed, mind: object) -> None:
        self._feed = feed
        # What answers may be a part that only the mind keeps.
        self._mind = mind
        self._reply: Reply | None = None

    @property
    def reply(self) -> Reply:
        """The whole answer, once the stream was read to its end."""
        if self._reply is None:
            raise InvalidError("the answer is not complete: read the stream to its end first")
        return self._reply

    def close(self) -> None:
        """Stops the model. Closing twice is no error."""
        self._feed.close()

    def _text(self, piece: str) -> str:
        event = loads(piece)
        if event["type"] == "done":
            self._reply = Reply.from_json(event["reply"])
        return str(event.get("text", ""))


class TextStream(_Answer):
    """The pieces of an answer as they come. Leaving the loop, or closing the stream, stops the model.

    >>> stream = mind.stream("Write a line about rain.")  # doctest: +SKIP
    >>> for piece in stream: print(piece, end="")  # doctest: +SKIP
    >>> stream.reply.cost_usd  # doctest: +SKIP
    """

    def __iter__(self) -> Iterator[str]:
        try:
            while (piece := self._feed.next().wait()) is not None:
                if text := self._text(piece):
                    yield text
        finally:
            self.close()

    def read(self) -> Reply:
        """Reads to the end; the whole answer."""
        for _ in self:
            pass
        return self.reply

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncTextStream(_Answer):
    """The pieces of an answer as they come. Leaving the loop, or closing the stream, stops the model."""

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            while (piece := await self._feed.next().start()) is not None:
                if text := self._text(piece):
                    yield text
        finally:
            self.close()

    async def read(self) -> Reply:
        """Reads to the end; the whole answer."""
        async for _ in self:
            pass
        return self.reply

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class _Events:
    """What a stream of events has told so far."""

    missed: int
    """Events lost so far."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.missed = 0

    def close(self) -> None:
        """Stops listening."""
        self._feed.close()

    def _event(self, text: str) -> Event:
        told = loads(text)
        self.missed = told["missed"]
        event: Event = told["event"]
        return event


class EventStream(_Events):
    """Events from the moment it was made, as they happen; it ends when the mind is closed.

    A listener that falls behind by 4,096 events loses the oldest, and can see how many.
    """

    def __iter__(self) -> Iterator[Event]:
        try:
            while (event := self._feed.next().wait()) is not None:
                yield self._event(event)
        finally:
            self.close()


class AsyncEventStream(_Events):
    """Events from the moment it was made, as they happen; it ends when the mind is closed.

    A listener that falls behind by 4,096 events loses the oldest, and can see how many.
    """

    async def __aiter__(self) -> AsyncIterator[Event]:
        try:
            while (event := await self._feed.next().start()) is not None:
                yield self._event(event)
        finally:
            self.close()

