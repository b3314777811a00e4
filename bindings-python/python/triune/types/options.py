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
    target_saving: float | None
    """Spend this part less than the best single model would, between 0 and 1, and get the best quality that this buys. Over
    many requests, and only once something was learned: see the setting `router.learning`."""
    min_retention: float | None
    """Keep this part of the best single model's quality, between 0 and 1, at the least cost. As for `target_saving`."""
    confidence: float | None
    """The chance that `min_retention` is kept, between 0 and 1. Default 0.9."""


class GenerateOptions(Needs, CallOptions, total=False):
    """What `generate` and `stream` take beside the prompt."""

    system: str | None
    """Instructions before the prompt."""
    tools: Sequence[Any]
    """Tools the model may call: functions, or `{"name": ..., "description": ..., "parameters": JSON schema}`. The calls
    it wants are in the reply; you run them."""
    tool_choice: Mapping[Literal["tool"], str] | Literal["auto", "none", "required"] | None
    """Whether it calls some: as it likes (`"auto"`), none, at least one, or the one of a name, `{"tool": name}`."""
    parallel_tool_calls: bool | None
    """Whether it may call more than one at once. Default: as the model likes."""
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
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None
    """How long the model may reason before it answers; needs the capability `reasoning`, but for `"none"`."""
    tag: str | None
    """Your name of the task, such as "summarise": what the router learns, budgets and the ledger go by. 1 to 64 bytes."""
    n: int | None
    """Answers wanted, 1 to 64; the others are the `alternatives` of the reply. Each is billed for the whole prompt, which a
    local model reads once. Not for streams. Default 1."""


class Outcome(TypedDict, total=False):
    """How one model did on a prompt."""

    quality: Required[float]
    """How good its answer is, 0 to 1."""
    cost_usd: float
    """What it cost, in dollars. Default 0."""
    answer: str
    """The answer, where doubting answers is learned from it."""
    agreement: float
    """The part of the model's other answers that came to the same, 0 to 1, where it was asked for more than one."""


class JudgedPrompt(TypedDict, total=False):
    """A prompt, and what models made of it."""

    prompt: Required[str]
    outcomes: Required[Mapping[str, Outcome]]
    """By the ids of the models. One is enough to learn from; to be compared on, a record has those of all models."""
    tag: str
    """Your name of the task."""
    embedding: Sequence[float]
    """The vector of the prompt. All records that have one have it from the same embedder."""


class LedgerFilter(TypedDict, total=False):
    """Which entries of the ledger. Absent keys are for all."""

    of_tenant: str | None
    """Of this tenant."""
    tag: str | None
    """Of this task."""
    model: str | None
    """Of this model."""
    key: str | None
    """Paid with the key of this name."""
    since_ms: int | None
    """From this time on, in milliseconds since the Unix epoch."""
    until_ms: int | None
    """Before this time, in milliseconds since the Unix epoch."""


class LedgerOptions(LedgerFilter, CallOptions, total=False):
    """What calls take that look at a part of the ledger."""


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
    price: Mapping[str, Any]
    """What it costs, see `triune.price`. Default: nothing."""
    key: str | None
    """The name of the provider's key that pays for it, never the key itself."""


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
    price: Mapping[str, Any]
    """What it costs, see `triune.price`. Default: nothing."""
    capabilities: Mapping[str, bool]
    """What it can do beyond text: `tools`, `json_schema`, `grammar`, `images`, `logprobs`,
    `reasoning`, `fixed_sampling`. Default: none of them."""
    quality: float | None
    """How good its answers are, 0 to 1."""
    latency_ms: int | None
    """Time to a usual answer."""
    rate_limit: Mapping[str, int] | None
    """What it may be asked in a minute: `requests_per_minute`, `tokens_per_minute`. Default: no limit."""
    first_token_timeout_ms: int | None
    """Longest time until it begins to answer, where that is not the router's."""


def price(
    *,
    input: float,
    output: float,
    cached: float | None = None,
    cache_write: float | None = None,
    cache_write_1h: float | None = None,
    reasoning: float | None = None,
    image_input: float | None = None,
    image_output: float | None = None,
    per_image: float | None = None,
    above: Mapping[int, Mapping[str, Any]] | None = None,
    batch: Mapping[str, Any] | None = None,
    flex: Mapping[str, Any] | None = None,
    priority: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The price of a model from dollars for a million tokens; `per_image` is for one image made.

    A kind of token without a price of its own costs what the kind does that it is part of. `above` has what requests
    of more than so many tokens cost, `batch`, `flex` and `priority` what calls cost that are served so; each of them is
    a price from this function.

    >>> price(input=0.15, output=0.60, cached=0.075)
    {'input': 150000000, 'output': 600000000, 'cached': 75000000}
    >>> price(input=1, output=5, above={200_000: price(input=2, output=7.5)})["above"]
    [{'tokens': 200000, 'input': 2000000000, 'output': 7500000000}]
    """
    usd = {
        "input": input,
        "output": output,
        "cached": cached,
        "cache_write": cache_write,
        "cache_write_1h": cache_write_1h,
        "reasoning": reasoning,
        "image_input": image_input,
        "image_output": image_output,
        "per_image": per_image,
    }
    nano: dict[str, Any] = {kind: round(amount * NANO_USD) for kind, amount in usd.items() if amount is not None}
    if above:
        nano["above"] = [{"tokens": tokens, **long} for tokens, long in sorted(above.items())]
    served = {"batch": batch, "flex": flex, "priority": priority}
    return nano | {how: dict(tier) for how, tier in served.items() if tier is not None}
