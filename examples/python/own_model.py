"""A chat model and an embedder of your own, called by triune as if they were its own.

    python examples/python/own_model.py

The model answers sums, by computing them; it refuses what it cannot answer, and the router goes to the next model.
Nothing has to be downloaded.
"""

from __future__ import annotations

import ast
import asyncio
import hashlib
import operator
import tempfile
from collections.abc import AsyncIterator

import triune

OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


class Calculator:
    """Knows arithmetic, and nothing else. Free, local, and perfect at it."""

    profile: triune.ModelProfile = {"id": "calculator", "context_length": 1000, "quality": 1.0}

    async def chat(self, request: triune.ChatRequest) -> str:
        try:
            return f"{self.value(ast.parse(request.prompt, mode='eval').body):g}"
        except (SyntaxError, KeyError, ZeroDivisionError):
            raise triune.RejectedError("only sums such as 6 * 7 can be answered") from None

    def value(self, node: ast.AST) -> float:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return node.value
        if isinstance(node, ast.BinOp):
            return float(OPERATIONS[type(node.op)](self.value(node.left), self.value(node.right)))
        raise KeyError(node)


class Reverser:
    """Says anything backwards, word by word. It has a price, so that it is asked last."""

    profile: triune.ModelProfile = {
        "id": "reverser",
        "context_length": 1000,
        "price": triune.price(input=0.10, output=0.40),
    }

    async def chat(self, request: triune.ChatRequest) -> AsyncIterator[str]:
        for word in reversed(request.prompt.split()):
            yield word[::-1] + " "


class Trigrams:
    """An embedder without a model: counts hashed groups of three letters. Texts that share words are near."""

    profile: triune.Profile = {"id": "trigrams", "dimensions": 256, "max_tokens": 10_000}

    def embed(self, texts: list[str]) -> list[list[float]]:
        return [self.vector(f"  {text.lower()} ") for text in texts]

    def vector(self, text: str) -> list[float]:
        counts = [0.0] * 256
        for i in range(len(text) - 2):
            counts[hashlib.blake2b(text[i : i + 3].encode(), digest_size=1).digest()[0]] += 1
        return counts


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with triune.AsyncTriune.open(
            folder, config={"discover": False}, models=[Calculator(), Reverser()], embedder=Trigrams()
        ) as mind:
            for prompt in ("6 * 7", "hello world", "(1 + 2) / 4"):
                reply = await mind.generate(prompt, max_tokens=20)
                tried = ", ".join(f"{attempt.model} {attempt.code or 'ok'}" for attempt in reply.attempts)
                print(f"{prompt!r} -> {reply.text!r} by {reply.model} (${reply.cost_usd:.9f}; tried: {tried})")

            await mind.recall.store_many(["a canteen that wastes food", "a garden without water", "a leaking roof"])
            [hit] = await mind.recall.query("food waste in canteens", k=1)
            print(f"nearest: {hit.text!r}, meaning {hit.why.meaning:.2f}")

            stream = mind.stream("was it a cat I saw", model="reverser")
            async for piece in stream:
                print(piece, end="", flush=True)
            print(f"<- {stream.reply.usage.output_tokens} tokens")


asyncio.run(main())
