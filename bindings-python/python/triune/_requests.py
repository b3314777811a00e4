"""Requests of every call, and how the replies are read: shared by Triune and AsyncTriune, which differ in the call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from . import _json
from ._json import nano_usd, present, read_list
from ._schema import describe
from .errors import InvalidError
from .types import (
    Agent,
    BudgetState,
    Calibration,
    CallOptions,
    Check,
    CreativeSolution,
    Epic,
    EpicPlan,
    EpicReport,
    Evaluation,
    ExportReport,
    Hit,
    ImageReply,
    ImportReport,
    Item,
    ItemVersion,
    JudgedPrompt,
    LedgerEntry,
    LedgerTotals,
    LocalStatistics,
    Message,
    ModelInfo,
    NamespaceStatistics,
    Neighbour,
    Outcome,
    PriceWarning,
    RecallContext,
    Relation,
    Replay,
    Reply,
    RoutePlan,
    RunReport,
    Shadowed,
    Task,
)

T = TypeVar("T")
FOLDER = "\0folder"
"""In the place of an engine: what is asked of the folder as a whole. No engine has such a name."""
Prompt: TypeAlias = str | Sequence[Message | Mapping[str, Any]]
Filter: TypeAlias = Mapping[str, Any]
Vector: TypeAlias = Sequence[float]
Knowledge: TypeAlias = str | Mapping[str, Any]
Time: TypeAlias = datetime | date | str
"""A time; a text is an ISO date, or date and time (in UTC without a zone)."""
Span: TypeAlias = float | timedelta
"""Seconds, or a timedelta."""
Plan: TypeAlias = Sequence[tuple[Task, Mapping[str, Any]]]
"""Tasks, and their bodies in JSON form."""


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """A request to an engine, and how its reply is read."""

    engine: str
    body: Any
    read: Callable[[Any], T]


def split(options: Mapping[str, Any]) -> tuple[dict[str, Any], CallOptions]:
    """Keyword arguments of a call, apart from those that every call takes."""
    call = CallOptions()
    rest = {}
    for name, value in options.items():
        if name in CallOptions.__annotations__:
            call[name] = value  # type: ignore[literal-required]
        else:
            rest[name] = value
    return rest, call


def limits(
    timeout: float | None = None,
    tenant: str | None = None,
    budget_usd: float | None = None,
    priority: str | None = None,
) -> tuple[float | None, str | None, int | None, str | None]:
    """CallOptions in the form of the native half."""
    return (None if timeout is None else timeout * 1000, tenant, nano_usd(budget_usd), priority)


# Router


def needs_body(
    *,
    model: str | None = None,
    local_only: bool = False,
    min_quality: float | None = None,
    max_cost_usd: float | None = None,
    max_latency_ms: int | None = None,
    target_saving: float | None = None,
    min_retention: float | None = None,
    confidence: float | None = None,
) -> dict[str, Any]:
    return present(
        model=model,
        local_only=local_only or None,
        min_quality=min_quality,
        max_cost=nano_usd(max_cost_usd),
        max_latency_ms=max_latency_ms,
        target_saving=target_saving,
        min_retention=min_retention,
        confidence=confidence,
    )


def generate_body(
    prompt: Prompt,
    *,
    system: str | None = None,
    tools: Sequence[Any] = (),
    tool_choice: Mapping[str, str] | str | None = None,
    parallel_tool_calls: bool | None = None,
    response_format: Mapping[str, Any] | str | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    logit_bias: Mapping[int, float] | None = None,
    seed: int | None = None,
    stop: Sequence[str] = (),
    max_tokens: int | None = None,
    logprobs: int | None = None,
    reasoning_effort: str | None = None,
    tag: str | None = None,
    n: int | None = None,
    **needs: Any,
) -> dict[str, Any]:
    sampling = present(
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        logit_bias=logit_bias,
        seed=seed,
        stop=[stop] if isinstance(stop, str) else list(stop) or None,
        max_tokens=max_tokens,
        logprobs=logprobs,
        reasoning_effort=reasoning_effort,
    )
    form = {"type": response_format} if isinstance(response_format, str) else response_format
    return present(
        prompt=prompt if isinstance(prompt, str) else [_message(message) for message in prompt],
        system=system,
        needs=needs_body(**needs),
        tools=[_tool(tool) for tool in tools] or None,
        tool_choice=tool_choice,
        parallel_tool_calls=parallel_tool_calls,
        response_format=form,
        sampling=sampling,
        tag=tag,
        n=n,
    )


def _message(message: Message | Mapping[str, Any]) -> Mapping[str, Any]:
    return message.to_json() if isinstance(message, Message) else message


def _tool(tool: Any) -> Mapping[str, Any]:
    if isinstance(tool, Mapping):
        return tool
    if not callable(tool):
        raise InvalidError("a tool is a function, or a dict with name, description and parameters")
    return describe(tool, function_name(tool, None))


def generate(prompt: Prompt, **options: Any) -> Request[Reply]:
    return Request("router", {"do": "generate", **generate_body(prompt, **options)}, Reply.from_json)


def route(prompt: Prompt, **options: Any) -> Request[RoutePlan]:
    return Request("router", {"do": "route", **generate_body(prompt, **options)}, RoutePlan.from_json)


def embed(texts: Sequence[str], query: bool) -> Request[list[list[float]]]:
    return Request("router", {"do": "embed", "texts": list(texts), "query": query}, lambda data: list(data["vectors"]))


def generate_image(prompt: str, size: str | None, count: int) -> Request[ImageReply]:
    return Request("router", present(do="image", prompt=prompt, size=size, count=count), ImageReply.from_json)


def _entries(of_tenant: str | None = None, **rest: Any) -> dict[str, Any]:
    """LedgerFilter in the form of the engine."""
    return present(tenant=of_tenant, **rest)


def ledger(limit: int | None, **of: Any) -> Request[list[LedgerEntry]]:
    body = {"do": "ledger", **_entries(limit=limit, **of)}
    return Request("router", body, lambda data: read_list(LedgerEntry.from_json, data))


def totals_by(by: str, **of: Any) -> Request[dict[str, LedgerTotals]]:
    body = {"do": "groups", "by": by, "of": _entries(**of)}
    return Request("router", body, lambda data: {one["group"]: LedgerTotals.from_json(one["totals"]) for one in data})


def replay(always: str | None, models: Sequence[Mapping[str, Any]] | None, **of: Any) -> Request[Replay]:
    profiles = None if models is None else list(models)
    body = present(do="replay", model=always, models=profiles, of=_entries(**of))
    return Request("router", body, Replay.from_json)


def budgets() -> Request[list[BudgetState]]:
    return Request("router", {"do": "budgets"}, lambda data: read_list(BudgetState.from_json, data))


def explain(reply_id: str) -> Request[str]:
    return Request("router", {"do": "explain", "id": reply_id}, lambda data: str(data["text"]))


def feedback(reply_id: str, score: float, shadow_score: float | None) -> Request[None]:
    body = present(do="feedback", id=reply_id, score=score, shadow_score=shadow_score)
    return Request("router", body, lambda _: None)


def shadowed(limit: int) -> Request[list[Shadowed]]:
    body = {"do": "shadowed", "limit": limit}
    return Request("router", body, lambda data: read_list(Shadowed.from_json, data))


def forget_judged(reply_id: str | None) -> Request[int]:
    return Request("router", present(do="forget", id=reply_id), lambda data: int(data["replies"]))


def train(records: Iterable[JudgedPrompt]) -> Request[int]:
    body = {"do": "train", "records": [_judged(record) for record in records]}
    return Request("router", body, lambda data: int(data["records"]))


def evaluate(records: Iterable[JudgedPrompt], retention: float) -> Request[Evaluation]:
    body = {"do": "evaluate", "records": [_judged(record) for record in records], "retention": retention}
    return Request("router", body, Evaluation.from_json)


def calibrate_cache(pairs: Iterable[tuple[str, str, bool]], false_hits: float) -> Request[float | None]:
    body = {"do": "calibrate_cache", "pairs": [list(pair) for pair in pairs], "false_hits": false_hits}
    return Request("router", body, lambda data: data["threshold"])


def cascade(min_retention: float | None, confidence: float | None) -> Request[Calibration]:
    body = {"do": "calibrate", **present(min_retention=min_retention, confidence=confidence)}
    return Request("router", body, Calibration.from_json)


def _judged(record: JudgedPrompt) -> dict[str, Any]:
    def outcome(given: Outcome) -> dict[str, Any]:
        rest: dict[str, Any] = {name: value for name, value in given.items() if name != "cost_usd"}
        return present(cost=nano_usd(given.get("cost_usd")), **rest)

    return {**record, "outcomes": {model: outcome(given) for model, given in record["outcomes"].items()}}


def price_warnings() -> Request[list[PriceWarning]]:
    return Request("router", {"do": "price_warnings"}, lambda data: read_list(PriceWarning.from_json, data))


def totals(tenant: str | None) -> Request[LedgerTotals]:
    return Request("router", present(do="totals", tenant=tenant), LedgerTotals.from_json)


def models() -> Request[list[ModelInfo]]:
    return Request("router", {"do": "models"}, lambda data: read_list(ModelInfo.from_json, data))


def local_statistics() -> Request[dict[str, LocalStatistics]]:
    return Request(
        "router",
        {"do": "local_statistics"},
        lambda data: {model: LocalStatistics.from_json(one) for model, one in data["models"].items()},
    )


# Recall


class StoreOptions(CallOptions, total=False):
    """Options of `recall.store`."""

    metadata: Mapping[str, Any] | None
    """Facts about it; filters work on them."""
    namespace: str | None
    """Keeps knowledge apart. Default `default`."""
    id: str | None
    """A known id puts the new text in the place of the old. Default: a fresh one."""
    vector: Vector | None
    """Its vector; embedded when absent."""
    session: str | None
    """The conversation or document it is part of: items of a session help each other to be found."""
    speaker: str | None
    """Who said it. A question that names the speaker finds it sooner."""
    valid_from: Time | None
    """Since when it is true."""
    valid_to: Time | None
    """Until when it is true, itself not included."""
    ttl: Span | None
    """Seconds, or a timedelta, until it is forgotten."""
    importance: float | None
    """How much it matters, 0 to 1."""
    relations: Iterable[Mapping[str, Any]] | None
    """Relations it tells of, each with `kind` and `to` and, as wanted, `from` (default: the item) and `weight`."""
    supersedes: str | None
    """The id of what is true no more, since this item says it anew: it gets an end, and stays in the history."""
    duplicates: Literal["keep", "merge", "refuse"] | None
    """What becomes of it when its text is there already under another id. Default `keep`."""


class RecallOptions(CallOptions, total=False):
    """Options of `recall_knowledge`."""

    namespace: str | None
    """Where to look. Default `default`."""
    vector: Vector | None
    """The vector of the query; embedded when absent."""
    rerank: int | None
    """So many of the best items, and at least as many as are wanted, are read by the reranker. Default 0: none."""
    session: str | None
    """Only items of this session."""
    speaker: str | None
    """Only items of this speaker."""
    valid_at: Time | None
    """What was true at this time. Default: at the time of `as_of`, or now."""
    as_of: Time | None
    """What was known at this time."""
    include_ended: bool | None
    """Also what is true no more, or not yet."""
    diversity: float | None
    """How much hits are to differ from each other, 0 to 1. Default 0."""
    half_life: Span | None
    """Seconds, or a timedelta, after which an item has lost half of what age can take: a fifth of its score."""


class QueryOptions(RecallOptions, total=False):
    """Options of `recall.query`, without how many are wanted."""

    filter: Filter | None
    """Only items whose metadata meets it."""


def time(value: Time) -> str:
    """A time as the engine reads it. A datetime without a zone is of this machine's, as everywhere in Python."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat()
    return value.isoformat() if isinstance(value, date) else value


def milliseconds(value: Span) -> int:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not 0 <= seconds < 1e15:
        raise InvalidError("a time is a finite number of seconds, 0 or more")
    return round(seconds * 1000)


def facts(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of an item or a query in the form of the engine."""
    body: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        if name in ("valid_from", "valid_to", "valid_at", "as_of"):
            body[name] = time(value)
        elif name in ("ttl", "half_life"):
            body[f"{name}_ms"] = milliseconds(value)
        elif name == "relations":
            body[name] = list(value)
        else:
            body[name] = value
    return body


def store(content: str, options: Mapping[str, Any]) -> Request[str]:
    return Request("recall", {"do": "store", "content": content, **facts(options)}, lambda data: str(data["id"]))


def store_many(items: Iterable[Knowledge], namespace: str) -> Request[list[str]]:
    given = [{"content": item} if isinstance(item, str) else facts(item) for item in items]
    body = {"do": "store_many", "items": [{"namespace": namespace, **item} for item in given]}
    return Request("recall", body, lambda data: list(data["ids"]))


def query(text: str, k: int, options: Mapping[str, Any]) -> Request[list[Hit]]:
    body = {"do": "query", "query": text, "top": k, **facts(options)}
    return Request("recall", body, lambda data: read_list(Hit.from_json, data["hits"]))


def context(text: str, token_budget: int, k: int, options: Mapping[str, Any]) -> Request[RecallContext]:
    body = {"do": "context", "query": {"query": text, "top": k, **facts(options)}, "token_budget": token_budget}
    return Request("recall", body, RecallContext.from_json)


def history(id: str, namespace: str) -> Request[list[ItemVersion]]:
    body = {"do": "history", "id": id, "namespace": namespace}
    return Request("recall", body, lambda data: read_list(ItemVersion.from_json, data["versions"]))


def get(id: str, namespace: str) -> Request[Item | None]:
    return Request(
        "recall",
        {"do": "get", "id": id, "namespace": namespace},
        lambda data: Item.from_json(data["item"]) if data["item"] else None,
    )


def forget(ids: str | Iterable[str], filter: Filter | None, all: bool, namespace: str) -> Request[int]:
    listed = [ids] if isinstance(ids, str) else list(ids)
    body = present(do="forget", ids=listed, filter=filter, all=all or None, namespace=namespace)
    return Request("recall", body, lambda data: int(data["forgotten"]))


def relate(from_: str, kind: str, to: str, weight: float, namespace: str) -> Request[bool]:
    body = {"do": "relate", "from": from_, "kind": kind, "to": to, "weight": weight, "namespace": namespace}
    return Request("recall", body, lambda data: bool(data["new"]))


def neighbours(of: str, kind: str | None, hops: int, k: int, namespace: str) -> Request[list[Neighbour]]:
    body = present(do="neighbours", of=of, kind=kind, hops=hops, top=k, namespace=namespace)
    return Request("recall", body, lambda data: read_list(Neighbour.from_json, data["neighbours"]))


def path(from_: str, to: str, hops: int, namespace: str) -> Request[list[Relation] | None]:
    body = {"do": "path", "from": from_, "to": to, "hops": hops, "namespace": namespace}
    return Request(
        "recall", body, lambda data: None if data["path"] is None else read_list(Relation.from_json, data["path"])
    )


def rank(seeds: str | Iterable[str], k: int, namespace: str) -> Request[list[tuple[str, float]]]:
    listed = [seeds] if isinstance(seeds, str) else list(seeds)
    body = {"do": "rank", "seeds": listed, "top": k, "namespace": namespace}
    return Request("recall", body, lambda data: [(str(name), float(rank)) for name, rank in data["ranked"]])


def subgraph(of: str, kind: str | None, hops: int, k: int, namespace: str) -> Request[list[Relation]]:
    body = present(do="subgraph", of=of, kind=kind, hops=hops, top=k, namespace=namespace)
    return Request("recall", body, lambda data: read_list(Relation.from_json, data["relations"]))


def namespaces() -> Request[list[str]]:
    return Request("recall", {"do": "namespaces"}, lambda data: list(data["namespaces"]))


def backup(to: str | os.PathLike[str]) -> Request[None]:
    return Request(FOLDER, {"do": "backup", "to": os.fspath(to)}, lambda data: None)


def export(to: str | os.PathLike[str], namespace: str | None, vectors: bool) -> Request[ExportReport]:
    body = present(do="export", to=os.fspath(to), namespace=namespace, vectors=vectors)
    return Request(FOLDER, body, ExportReport.from_json)


def import_(path: str | os.PathLike[str], namespace: str | None) -> Request[ImportReport]:
    body = {"do": "import", "from": os.fspath(path)} | present(namespace=namespace)
    return Request(FOLDER, body, ImportReport.from_json)


def statistics(namespace: str) -> Request[NamespaceStatistics]:
    body = {"do": "statistics", "namespace": namespace}
    return Request("recall", body, lambda data: NamespaceStatistics.from_json(data["statistics"]))


def reembed(namespace: str) -> Request[int]:
    return Request("recall", {"do": "reembed", "namespace": namespace}, lambda data: int(data["reembedded"]))


# Parallel


def function_name(function: Callable[..., Any], otherwise: str | None) -> str:
    """The name of a function: its qualified name where that is one, or else `otherwise`."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    name = str(name).rpartition("<locals>.")[2]
    if "<" not in name:
        return name
    if otherwise is None:
        raise InvalidError("a lambda has no name of its own; name it: mind.function(run, name=...)")
    return otherwise


def _tasks(plan: Plan) -> list[dict[str, Any]]:
    return [
        present(
            name=task.name,
            do=body,
            after=list(task.after) or None,
            input=task.input,
            retries=task.retries or None,
            timeout_ms=None if task.timeout is None else round(task.timeout * 1000),
        )
        for task, body in plan
    ]


def run(plan: Plan, run: str, concurrency: int | None) -> Request[RunReport]:
    body = present(do="run", tasks=_tasks(plan), run=run, concurrency=concurrency)
    return Request("parallel", body, RunReport.from_json)


def resume(run: str) -> Request[RunReport]:
    return Request("parallel", {"do": "resume", "run": run}, RunReport.from_json)


def validate(plan: Plan) -> Request[list[str]]:
    body = {"do": "validate", "tasks": _tasks(plan)}
    return Request("parallel", body, lambda data: list(data["order"]))


def get_run(run: str) -> Request[RunReport]:
    return Request("parallel", {"do": "get", "run": run}, RunReport.from_json)


def unfinished_runs() -> Request[list[str]]:
    return Request("parallel", {"do": "unfinished"}, lambda data: list(data["runs"]))


# Creative


def solve(
    problem: str,
    *,
    constraints: Sequence[str | Mapping[str, Any]] = (),
    ideas: int | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    namespace: str | None = None,
    **needs: Any,
) -> Request[CreativeSolution]:
    body = present(
        do="solve",
        problem=problem,
        constraints=list(constraints),
        ideas=ideas,
        needs=needs_body(**needs),
        max_tokens=max_tokens,
        seed=seed,
        namespace=namespace,
    )
    return Request("creative", body, CreativeSolution.from_json)


# Team


def with_team(epic: Epic, agents: int | Sequence[Agent] | None) -> dict[str, Any]:
    """The epic with the agents of a team, where it names none of its own."""
    body = epic.to_json()
    if agents is None or epic.agents or epic.team_size is not None:
        return body
    if isinstance(agents, int):
        return {**body, "team_size": agents}
    return {**body, "agents": [agent.to_json() for agent in agents]}


def plan_epic(epic: Epic, agents: int | Sequence[Agent] | None) -> Request[EpicPlan]:
    return Request("team", {"do": "plan", "epic": with_team(epic, agents)}, EpicPlan.from_json)


def run_epic(work: Epic | EpicPlan, agents: int | Sequence[Agent] | None) -> Request[EpicReport]:
    if isinstance(work, EpicPlan):
        body: dict[str, Any] = {"do": "run_plan", "plan": work.to_json()}
    else:
        body = {"do": "run", "epic": with_team(work, agents)}
    return Request("team", body, EpicReport.from_json)


def resume_epic(epic: str) -> Request[EpicReport]:
    return Request("team", {"do": "resume", "epic": epic}, EpicReport.from_json)


def unfinished_epics() -> Request[list[str]]:
    return Request("team", {"do": "unfinished"}, lambda data: list(data["epics"]))


# Gate


def check(
    content: str, kind: str, schema: Mapping[str, Any] | None, name: str, gates: Sequence[str]
) -> Request[Check]:
    artifact = present(content=content, kind=kind, schema=schema, name=name)
    return Request("gate", {"do": "check", "artifact": artifact, "gates": list(gates)}, Check.from_json)


def call(engine: str, body: Any) -> Request[Any]:
    return Request(engine, body, lambda data: data)


def written(request: Request[Any]) -> str:
    return _json.dumps(request.body)
