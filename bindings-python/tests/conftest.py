"""A folder, models and minds for the tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import triune

CONFIG = {"discover": False}
"""No model of this machine takes part unless a test asks for it."""


class Echo:
    """A model that says the prompt in capitals, by a plain function."""

    profile: triune.ModelProfile = {"id": "echo", "context_length": 4096}

    def chat(self, request: triune.ChatRequest) -> str:
        return request.prompt.upper()


class Words:
    """A model that says the words of the prompt one by one, and knows whether it was stopped."""

    profile: triune.ModelProfile = {"id": "words", "context_length": 4096}

    def __init__(self) -> None:
        self.said: list[str] = []
        self.stopped = False

    async def chat(self, request: triune.ChatRequest) -> AsyncIterator[str]:
        return self._say(request.prompt.split(" "))

    async def _say(self, words: list[str]) -> AsyncIterator[str]:
        try:
            for word in words:
                self.said.append(word)
                yield word + " "
                await asyncio.sleep(0)
        except (asyncio.CancelledError, GeneratorExit):
            self.stopped = True
            raise


class Slow:
    """A model that takes an hour, and knows whether it was cancelled."""

    profile: triune.ModelProfile = {"id": "slow", "context_length": 4096}

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def chat(self, request: triune.ChatRequest) -> str:
        self.started.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "too late"


class Paid:
    """A model that costs a dollar for each token it writes, and writes one."""

    profile: triune.ModelProfile = {
        "id": "paid",
        "context_length": 4096,
        "price": triune.price(input=0.0, output=1_000_000.0),
    }

    def chat(self, request: triune.ChatRequest) -> triune.protocols.AnswerDict:
        return {"text": "x", "usage": triune.Usage(1, 0, 1)}


class Letters:
    """An embedder: how often each letter is in a text. Enough to find texts that share words."""

    profile: triune.Profile = {"id": "letters", "dimensions": 27, "max_tokens": 512}

    def embed(self, texts: list[str]) -> list[list[float]]:
        return [[1.0] + [float(text.lower().count(chr(97 + i))) for i in range(26)] for text in texts]


Opened = Callable[..., triune.Triune]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "mind")


@pytest.fixture
def opened(folder: str) -> Iterator[Opened]:
    minds: list[triune.Triune] = []

    def open_mind(*models: Any, **options: Any) -> triune.Triune:
        minds.append(triune.open(folder, config=CONFIG, models=models, **options))
        return minds[-1]

    yield open_mind
    for mind in minds:
        mind.close()
