"""Parts written in Python, wrapped so that JSON texts go in and come out."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeAlias

from ._json import dumps, loads, read
from ._schema import describe, takes_task_call
from .errors import HostError, InvalidError
from .protocols import ChatModel, Embedder, Engine, Gate, Reranker, Route
from .types import Artifact, ChatRequest, Finding, TaskCall, ToolCall, Usage, Verdict

Part: TypeAlias = tuple[str, Callable[[str], Any]]
"""A profile, description or name, and the callable that does the work."""

Call: TypeAlias = Callable[[Any], Any]
"""A function that takes what JSON held, and answers a JSON text, now or later."""

_TASK_CALL = {"run", "task", "attempt", "input", "results"}


def is_task_call(given: Any) -> bool:
    """Whether a function is called as the body of a task."""
    return isinstance(given, dict) and given.keys() == _TASK_CALL


def chat_model(model: ChatModel) -> Part:
    profile = dumps(_member(model, "profile", "chat"), "the profile of the model")

    def chat(text: str) -> Any:
        return _then(model.chat(ChatRequest.from_json(loads(text))), _answer)

    return profile, chat


def embedder(part: Embedder) -> Part:
    profile = dumps({"local": True, **_member(part, "profile", "embed")}, "the profile of the embedder")

    def embed(text: str) -> Any:
        asked = loads(text)
        queries = getattr(part, "embed_queries", None) if asked["query"] else None
        vectors = (queries or part.embed)(asked["texts"])
        return _then(vectors, lambda vectors: dumps({"vectors": vectors}, "the vectors"))

    return profile, embed


def router(route: Route) -> Callable[[str], Any]:
    if not callable(route):
        raise InvalidError("a router is a function that takes a request and models, and answers names of models")

    def choose(text: str) -> Any:
        asked = loads(text)
        return _then(route(asked["request"], asked["models"]), lambda chosen: dumps(list(chosen), "the choice of the router"))

    return choose


def reranker(part: Reranker) -> Part:
    name = _member(part, "name", "rerank")

    def rerank(text: str) -> Any:
        asked = loads(text)
        scores = part.rerank(asked["query"], asked["texts"])
        return _then(scores, lambda scores: dumps({"scores": scores}, "the scores"))

    return name, rerank


def engine(part: Engine) -> Part:
    name = _member(part, "name", "call")

    def call(text: str) -> Any:
        return _then(part.call(loads(text)), lambda reply: dumps(reply, f'the reply of engine "{name}"'))

    return name, call


def gate(part: Gate) -> Part:
    name = _member(part, "name", "check")

    def check(text: str) -> Any:
        return _then(part.check(Artifact.from_json(loads(text))), _verdict)

    return name, check


def function(
    run: Callable[..., Any], name: str, description: str | None, parameters: Mapping[str, Any] | None
) -> tuple[str, Call]:
    """A function of the host, and its description. It is given a TaskCall, nothing, or its parameters by name: see `mind.function`."""
    spec = describe(run, name, description, parameters)
    whole, nothing = takes_task_call(run), not inspect.signature(run).parameters

    def call(given: Any) -> Any:
        is_task = is_task_call(given)
        if nothing:
            answer = run()
        elif whole is not None and (is_task or whole):
            answer = run(TaskCall(**given) if is_task else TaskCall("", name, 1, given, {}))
        else:
            by_name = given["input"] if is_task else given
            if not isinstance(by_name, dict):
                raise InvalidError(f'function "{name}" takes its parameters by name; give it a dict as input')
            answer = run(**by_name)
        return _then(answer, lambda result: dumps(result, f'what function "{name}" returned'))

    return dumps(spec), call


def _member(part: Any, fact: str, method: str) -> Any:
    if not hasattr(part, fact) or not callable(getattr(part, method, None)):
        kind = type(part).__name__
        raise InvalidError(f"{kind} is not a part of this kind: it needs a `{fact}` and a method `{method}`")
    return getattr(part, fact)


def _then(answer: Any, step: Callable[[Any], Any]) -> Any:
    """`step` of the answer, now or once it is there."""
    return _later(answer, step) if inspect.isawaitable(answer) else step(answer)


async def _later(answer: Awaitable[Any], step: Callable[[Any], Any]) -> Any:
    return step(await answer)


def _answer(answer: Any) -> Any:
    """A whole answer as a text, or an iterator over texts."""
    if isinstance(answer, str | Mapping):
        return _piece(answer)
    if isinstance(answer, AsyncIterator):
        return _pieces_later(answer)
    if isinstance(answer, Iterator):
        return _pieces(answer)
    raise HostError(f"a model answers a str, a dict or an iterator of these, not {type(answer).__name__}")


def _pieces(answer: Iterator[Any]) -> Iterator[str]:
    try:
        for piece in answer:
            yield _piece(piece)
    finally:
        if hasattr(answer, "close"):
            answer.close()


async def _pieces_later(answer: AsyncIterator[Any]) -> AsyncIterator[str]:
    try:
        async for piece in answer:
            yield _piece(piece)
    finally:
        if hasattr(answer, "aclose"):
            await answer.aclose()


def _piece(piece: Any) -> str:
    if isinstance(piece, str):
        return dumps({"text": piece})
    if not isinstance(piece, Mapping):
        raise HostError(f"a piece of an answer is a str or a dict, not {type(piece).__name__}")
    given = {name: value for name, value in piece.items() if value is not None}
    if isinstance(given.get("usage"), Usage):
        given["usage"] = given["usage"].to_json()
    if "tool_calls" in given:
        given["tool_calls"] = [c.to_json() if isinstance(c, ToolCall) else c for c in given["tool_calls"]]
    return dumps(given, "the answer of the model")


def _verdict(said: Any) -> str:
    if isinstance(said, Verdict):
        return dumps({"passed": said.passed, "findings": [_finding(finding) for finding in said.findings]})
    if isinstance(said, bool) or said is None:
        return dumps({"passed": said is not False})
    findings = [said] if isinstance(said, str) else list(said)
    wrong = [_finding(finding) for finding in findings if finding]
    return dumps({"passed": not wrong, "findings": wrong}, "the findings of the gate")


def _finding(finding: Any) -> dict[str, Any]:
    if isinstance(finding, str):
        finding = Finding(finding)
    elif isinstance(finding, Mapping):
        finding = read(Finding, finding)
    return {"message": finding.message, "line": finding.line}
