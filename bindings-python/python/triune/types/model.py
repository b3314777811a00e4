"""Chats with models: what is asked and what is answered."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

from .._json import NANO_USD, present, read, read_list
from ._money import Costed, Priced

Role = Literal["system", "user", "assistant", "tool"]
CacheFor = Literal["5m", "1h"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool the model wants called."""

    id: str
    """Identifies the call in the answer to it."""
    name: str
    arguments: Any
    """Its input."""
    extra_content: Any = None
    """What its provider wants to have back with it as it came, such as the signature of a thought."""

    def to_json(self) -> dict[str, Any]:
        # Arguments may be null, which `present` would leave out.
        call = {"id": self.id, "name": self.name, "arguments": self.arguments}
        return call | present(extra_content=self.extra_content)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class ImageInput:
    """An image given to a model."""

    url: str
    """An `https:` or `data:` URL."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat."""

    role: Role
    content: str = ""
    images: tuple[ImageInput, ...] = ()
    """Images that go with it; the model must have the capability."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Tools the model called in it (role `assistant`)."""
    tool_call_id: str | None = None
    """The call it answers (role `tool`)."""
    cache: CacheFor | None = None
    """Asks the provider to keep everything up to the end of this message for requests that begin in the same way: for
    five minutes or an hour from the last use. At most 4 messages of a request."""

    def to_json(self) -> dict[str, Any]:
        return present(
            role=self.role,
            content=self.content,
            images=[{"url": image.url} for image in self.images] or None,
            tool_calls=[call.to_json() for call in self.tool_calls] or None,
            tool_call_id=self.tool_call_id,
            cache=self.cache,
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        images = tuple(ImageInput(image["url"]) for image in data.get("images", ()))
        calls = tuple(ToolCall.from_json(call) for call in data.get("tool_calls", ()))
        return read(cls, data, images=images, tool_calls=calls)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a chat model of yours is asked."""

    messages: list[Message]
    """The chat so far; the last message is what is answered."""
    tools: list[dict[str, Any]]
    """Tools it may call: name, description and parameters, a JSON schema."""
    tool_choice: str | dict[str, str]
    """Whether it calls some: `"auto"`, `"none"`, `"required"` or `{"tool": name}`."""
    parallel_tool_calls: bool | None
    """Whether it may call more than one at once; None where nothing was asked for."""
    response_format: dict[str, Any]
    """The form the answer must have: `{"type": "text" | "json_object" | "json_schema" | "regex" | "grammar", ...}`."""
    sampling: dict[str, Any]
    """How tokens are chosen: `temperature`, `max_tokens`, `stop` and so on; None where nothing was asked for."""

    @property
    def prompt(self) -> str:
        """The text of the last message."""
        return self.messages[-1].content if self.messages else ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data, messages=read_list(Message.from_json, data["messages"]))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written."""

    input_tokens: int = 0
    """Tokens of the request, cached ones included."""
    cached_tokens: int = 0
    """Tokens of the request that the provider had cached."""
    output_tokens: int = 0
    """Tokens of the answer, thoughts included."""
    cache_write_tokens: int = 0
    """Tokens of the request that the provider put into its cache for some minutes."""
    cache_write_1h_tokens: int = 0
    """Tokens of the request that the provider put into its cache for an hour or longer."""
    image_input_tokens: int = 0
    """Tokens of the request that are images."""
    reasoning_tokens: int = 0
    """Tokens of the answer that the model thought and did not say."""
    image_output_tokens: int = 0
    """Tokens of the answer that are images."""
    images: int = 0
    """Images made, where images are priced each."""
    tier: Literal["standard", "batch", "flex", "priority"] = "standard"
    """How the provider served the call."""

    def to_json(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The log-probability of one token of an answer."""

    token: str
    logprob: float
    """Natural, before temperature and filters."""
    top: list[tuple[str, float]]
    """The likeliest tokens in its place, likeliest first."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data, top=[(token, logprob) for token, logprob in data["top"]])


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one model."""

    model: str
    code: str | None
    """The error code when it failed."""
    message: str | None
    latency_ms: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class RouteStep:
    """A model to try."""

    model: str
    max_cost_nano_usd: int
    """The most the call can cost on it, in billionths of a dollar."""
    reason: str
    """Why it stands here."""

    @property
    def max_cost_usd(self) -> float:
        """The most the call can cost on it in dollars, for display."""
        return self.max_cost_nano_usd / NANO_USD

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A model not to try, and why."""

    model: str
    reason: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """The models to try for a request, best first, and those passed over."""

    steps: list[RouteStep]
    passed_over: list[PassedOver]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        steps = read_list(RouteStep.from_json, data["steps"])
        return cls(steps, read_list(PassedOver.from_json, data["passed_over"]))


@dataclass(frozen=True, slots=True)
class Reply(Costed):
    """A generated answer, and what it took."""

    id: str
    """Identifies the reply in the ledger."""
    text: str
    model: str
    """The model that answered."""
    finish_reason: str
    """`stop`, `length`, `tool_calls` or `content_filter`."""
    usage: Usage
    cost_nano_usd: int
    reference_cost_nano_usd: int
    """What the same tokens would have cost on the reference model."""
    saved_nano_usd: int
    latency_ms: int
    tool_calls: list[ToolCall] = field(default_factory=list)
    """Tools the model wants called."""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    """Log-probabilities, when asked for."""
    attempts: list[Attempt] = field(default_factory=list)
    """Every model tried, failed ones first."""
    route: RoutePlan = field(default_factory=lambda: RoutePlan([], []))
    """Why these models, in this order."""
    alternatives: list[Reply] = field(default_factory=list)
    """The other answers, where more than one was asked for, each with what it took."""
    cache_hit: Literal["exact", "semantic"] | None = None
    """How the answer was found, when it had been given before: no model was asked, and it cost nothing."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(
            cls,
            data,
            alternatives=read_list(Reply.from_json, data.get("alternatives")),
            usage=read(Usage, data["usage"]),
            tool_calls=read_list(ToolCall.from_json, data["tool_calls"]),
            logprobs=read_list(TokenLogprob.from_json, data["logprobs"]),
            attempts=read_list(Attempt.from_json, data["attempts"]),
            route=RoutePlan.from_json(data["route"]),
        )


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One generated image: the bytes of the file, or where the provider keeps it."""

    data: bytes = field(repr=False)
    """The bytes of the file; empty when the provider gave an address only."""
    url: str | None = field(repr=False)
    """Where the provider keeps it."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(b64decode(data["base64"]), data["url"])


@dataclass(frozen=True, slots=True)
class ImageReply(Priced):
    """Generated images, and what they took."""

    id: str
    """Identifies the reply in the ledger."""
    images: list[GeneratedImage]
    """As many as were asked for."""
    model: str
    """The model that made them."""
    usage: Usage
    """Tokens read and written, as far as the provider counts them."""
    cost_nano_usd: int
    latency_ms: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        images = read_list(GeneratedImage.from_json, data["images"])
        return read(cls, data, images=images, usage=read(Usage, data["usage"]))


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A chat model there is."""

    id: str
    provider: str
    local: bool
    """Whether prompts stay in this process."""
    context_length: int
    price: dict[str, Any]
    """Nano-dollars for a million tokens, see `triune.price`; kinds of tokens without a price of their own are left out."""
    capabilities: dict[str, bool]
    quality: float | None
    latency_ms: int | None
    key: str | None = None
    """The name of the provider's key that pays for it, never the key itself."""
    ends: str | None = None
    """The day on which its provider ends it, as far as known."""
    priced_on: str | None = None
    """Of which day its price is, where it comes from a table."""
    rate_limit: dict[str, int] | None = None
    """What it may be asked in a minute."""
    first_token_timeout_ms: int | None = None
    """Longest time until it begins to answer, where that is not the router's."""
    revision: str | None = None
    """What else its answers depend on: kept answers are given again by the same revision only."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)
