"""Keyword arguments that many calls share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict

from .._json import NANO_USD


class CallOptions(TypedDict, total=False):
    """What every call takes."""

    timeout: float | None
    """Seconds the call may take; then it is stopped with TimedOutError."""
    tenant: str | None
    """Who the call is for. Budgets, caches and the ledger keep tenants apart."""
    budget_usd: float | None
    """What the call may spend in all, in dollars; then OverBudgetError."""
    priority: Literal["interactive", "normal", "background"] | None
    """Which of the calls that wait for the same local model goes first. Default `normal`. Nobody waits forever: 10
    seconds of waiting count as one priority higher."""


class Needs(TypedDict, total=False):
    """What a model must offer to serve a request. Absent keys ask for nothing."""

    model: str | None
    """This model and no other."""
    local_only: bool
    """The prompt must not leave this process."""
    min_quality: float | None
    """At least this quality, 0 to 1; a model of unknown quality does not qualify."""
    max_cost_usd: float | None
    """The call may cost at most this many dollars."""
    max_latency_ms: int | None
    """The model's usual latency may be at most this."""


class GenerateOptions(Needs, CallOptions, total=False):
    """What `generate` and `stream` take beside the prompt."""

    system: str | None
    """Instructions before the prompt."""
    tools: Sequence[Any]
    """Tools the model may call: functions, or `{"name": ..., "description": ..., "parameters": JSON schema}`. The calls
    it wants are in the reply; you run them."""
    response_format: Mapping[str, Any] | Literal["text", "json_object"] | None
    """`"json_object"`, or a JSON schema: `{"type": "json_schema", "name": ..., "schema": {...}}`. Local models also keep to
    a regular expression, `{"type": "regex", "pattern": "[0-9]+"}`, and to a grammar in the Lark dialect of llguidance,
    `{"type": "grammar", "lark": "start: ..."}`."""
    temperature: float | None
    """0 takes the likeliest token; 1 samples from the model's distribution. 0 to 2."""
    top_p: float | None
    """Samples from the likeliest tokens that together have this probability. Above 0, up to 1."""
    top_k: int | None
    """Samples from this many likeliest tokens."""
    min_p: float | None
    """Drops tokens less likely than this part of the likeliest one. 0 to 1."""
    repetition_penalty: float | None
    """Divides the score of tokens that were said already; 1 is off. Above 0, up to 2."""
    logit_bias: Mapping[int, float] | None
    """What is added to the scores of tokens, by their numbers in the model that answers: name it in `model`. -100 to 100;
    -100 rules a token out."""
    seed: int | None
    """Makes sampling repeatable."""
    stop: Sequence[str]
    """Texts that end the answer; they are not part of it. At most 8."""
    max_tokens: int | None
    """Tokens to write at most."""
    logprobs: int | None
    """Log-probabilities wanted: of the chosen token and of this many likeliest ones. At most 20."""


class SolveOptions(Needs, CallOptions, total=False):
    """What `creative.solve` takes beside the problem."""

    constraints: Sequence[str | Mapping[str, Any]]
    """What a solution must meet: words for a judge, or checks by code: `{"max_words": 100}`, `{"min_words": 5}`,
    `{"mentions": "rain"}`, `{"avoids": "plastic"}`, `{"max_amount": 500}`."""
    ideas: int
    """Ideas wanted, 1 to 100. Default 6."""
    max_tokens: int
    """Tokens of one idea at most. Default 120."""
    seed: int | None
    """Makes sampling repeatable on local models."""
    namespace: str
    """Where ideas are remembered, so that novelty is against all that was seen. Default `ideas`."""


class Profile(TypedDict, total=False):
    """What an embedder of yours is."""

    id: Required[str]
    """Its name. A namespace keeps to the embedder its first vector came from."""
    dimensions: Required[int]
    """Length of every vector."""
    max_tokens: Required[int]
    """Tokens of a text that are read; the rest is cut off."""
    local: bool
    """Whether texts stay in this process. Default true."""
    price: Mapping[str, int]
    """What it costs, see `triune.price`. Default: nothing."""


class ModelProfile(TypedDict, total=False):
    """What a chat model of yours is: the facts that routing and budgets go by."""

    id: Required[str]
    """The name it is routed, priced and reported by."""
    context_length: Required[int]
    """Tokens of request and answer together, at most."""
    provider: str
    """Whose model it is. Default `host`."""
    local: bool
    """Whether prompts stay in this process. Default true."""
    price: Mapping[str, int]
    """What it costs, see `triune.price`. Default: nothing."""
    capabilities: Mapping[str, bool]
    """What it can do beyond text: `tools`, `json_schema`, `grammar`, `images`, `logprobs`. Default: none of them."""
    quality: float | None
    """How good its answers are, 0 to 1."""
    latency_ms: int | None
    """Time to a usual answer."""
    rate_limit: Mapping[str, int] | None
    """What it may be asked in a minute: `requests_per_minute`, `tokens_per_minute`. Default: no limit."""
    first_token_timeout_ms: int | None
    """Longest time until it begins to answer, where that is not the router's."""


def price(*, input: float, output: float, cached: float | None = None) -> dict[str, int]:
    """The price of a model from dollars for a million tokens.

    >>> price(input=0.15, output=0.60)
    {'input': 150000000, 'cached': 150000000, 'output': 600000000}
    """
    usd = {"input": input, "cached": input if cached is None else cached, "output": output}
    return {kind: round(amount * NANO_USD) for kind, amount in usd.items()}
