"""The engines as AsyncTriune shows them: those of `_engines.py`, awaited."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, Unpack

from . import _requests as ask
from ._functions import Functions
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
    GenerateOptions,
    Hit,
    ImportReport,
    Item,
    ItemVersion,
    JudgedPrompt,
    LedgerEntry,
    LedgerGroup,
    LedgerOptions,
    LedgerTotals,
    ModelInfo,
    ModelProfile,
    NamespaceStatistics,
    Neighbour,
    RecallContext,
    Relation,
    PriceWarning,
    Replay,
    RoutePlan,
    RunReport,
    Shadowed,
    SolveOptions,
    Task,
)
from .types.gate import ArtifactKind

T = TypeVar("T")


class Do(Protocol):
    """Makes a request and awaits the reply."""

    async def __call__(self, request: ask.Request[T], call: CallOptions, /) -> T: ...


class AsyncRecall:
    """The memory: knowledge by meaning, by words and by relations."""

    def __init__(self, do: Do) -> None:
        self._do = do

    async def store(self, content: str, **options: Unpack[ask.StoreOptions]) -> str:
        """See `Recall.store`."""
        item, call = ask.split(options)
        return await self._do(ask.store(content, item), call)

    async def store_many(
        self, items: Iterable[ask.Knowledge], *, namespace: str = "default", **call: Unpack[CallOptions]
    ) -> list[str]:
        """See `Recall.store_many`."""
        return await self._do(ask.store_many(items, namespace), call)

    async def query(self, query: str, *, k: int = 10, **options: Unpack[ask.QueryOptions]) -> list[Hit]:
        """See `Recall.query`."""
        asked, call = ask.split(options)
        return await self._do(ask.query(query, k, asked), call)

    async def context(
        self, query: str, token_budget: int, *, k: int = 20, **options: Unpack[ask.QueryOptions]
    ) -> RecallContext:
        """See `Recall.context`."""
        asked, call = ask.split(options)
        return await self._do(ask.context(query, token_budget, k, asked), call)

    async def history(self, id: str, *, namespace: str = "default", **call: Unpack[CallOptions]) -> list[ItemVersion]:
        """See `Recall.history`."""
        return await self._do(ask.history(id, namespace), call)

    async def get(self, id: str, *, namespace: str = "default", **call: Unpack[CallOptions]) -> Item | None:
        """See `Recall.get`."""
        return await self._do(ask.get(id, namespace), call)

    async def forget(
        self,
        ids: str | Iterable[str] = (),
        *,
        filter: ask.Filter | None = None,
        all: bool = False,
        namespace: str = "default",
        **call: Unpack[CallOptions],
    ) -> int:
        """See `Recall.forget`."""
        return await self._do(ask.forget(ids, filter, all, namespace), call)

    async def relate(
        self,
        from_: str,
        kind: str,
        to: str,
        *,
        weight: float = 1.0,
        namespace: str = "default",
        **call: Unpack[CallOptions],
    ) -> bool:
        """See `Recall.relate`."""
        return await self._do(ask.relate(from_, kind, to, weight, namespace), call)

    async def neighbours(
        self,
        of: str,
        *,
        kind: str | None = None,
        hops: int = 1,
        k: int = 10,
        namespace: str = "default",
        **call: Unpack[CallOptions],
    ) -> list[Neighbour]:
        """See `Recall.neighbours`."""
        return await self._do(ask.neighbours(of, kind, hops, k, namespace), call)

    async def path(
        self, from_: str, to: str, *, hops: int = 5, namespace: str = "default", **call: Unpack[CallOptions]
    ) -> list[Relation] | None:
        """See `Recall.path`."""
        return await self._do(ask.path(from_, to, hops, namespace), call)

    async def rank(
        self, seeds: str | Iterable[str], *, k: int = 10, namespace: str = "default", **call: Unpack[CallOptions]
    ) -> list[tuple[str, float]]:
        """See `Recall.rank`."""
        return await self._do(ask.rank(seeds, k, namespace), call)

    async def subgraph(
        self,
        of: str,
        *,
        kind: str | None = None,
        hops: int = 1,
        k: int = 10,
        namespace: str = "default",
        **call: Unpack[CallOptions],
    ) -> list[Relation]:
        """See `Recall.subgraph`."""
        return await self._do(ask.subgraph(of, kind, hops, k, namespace), call)

    async def namespaces(self, **call: Unpack[CallOptions]) -> list[str]:
        """See `Recall.namespaces`."""
        return await self._do(ask.namespaces(), call)

    async def export(
        self,
        path: str | os.PathLike[str],
        *,
        namespace: str | None = None,
        vectors: bool = False,
        **call: Unpack[CallOptions],
    ) -> ExportReport:
        """See `Recall.export`."""
        return await self._do(ask.export(path, namespace, vectors), call)

    async def import_(
        self, path: str | os.PathLike[str], *, namespace: str | None = None, **call: Unpack[CallOptions]
    ) -> ImportReport:
        """See `Recall.import_`."""
        return await self._do(ask.import_(path, namespace), call)

    async def statistics(self, *, namespace: str = "default", **call: Unpack[CallOptions]) -> NamespaceStatistics:
        """See `Recall.statistics`."""
        return await self._do(ask.statistics(namespace), call)

    async def reembed(self, *, namespace: str = "default", **call: Unpack[CallOptions]) -> int:
        """See `Recall.reembed`."""
        return await self._do(ask.reembed(namespace), call)


class AsyncParallel:
    """Tasks in parallel, in a journal: a run whose process died goes on where it was."""

    def __init__(self, do: Do, functions: Functions) -> None:
        self._do, self._functions = do, functions

    async def run(
        self,
        tasks: Iterable[Task],
        *,
        run: str | None = None,
        concurrency: int | None = None,
        **call: Unpack[CallOptions],
    ) -> RunReport:
        """See `Parallel.run`."""
        with self._functions.lent(run, tasks) as (id, plan):
            return await self._do(ask.run(plan, id, concurrency), call)

    async def resume(self, run: str, **call: Unpack[CallOptions]) -> RunReport:
        """See `Parallel.resume`."""
        return await self._do(ask.resume(run), call)

    async def validate(self, tasks: Iterable[Task], **call: Unpack[CallOptions]) -> list[str]:
        """See `Parallel.validate`."""
        return await self._do(ask.validate(self._functions.plan(tasks)), call)

    async def get(self, run: str, **call: Unpack[CallOptions]) -> RunReport:
        """See `Parallel.get`."""
        return await self._do(ask.get_run(run), call)

    async def unfinished(self, **call: Unpack[CallOptions]) -> list[str]:
        """See `Parallel.unfinished`."""
        return await self._do(ask.unfinished_runs(), call)


class AsyncCreative:
    """Ideas from several prompts and models, measured and ranked."""

    def __init__(self, do: Do) -> None:
        self._do = do

    async def solve(self, problem: str, **options: Unpack[SolveOptions]) -> CreativeSolution:
        """See `Creative.solve`."""
        rest, call = ask.split(options)
        return await self._do(ask.solve(problem, **rest), call)


class AsyncTeam:
    """Agents that do epics. Made by `mind.team`."""

    def __init__(self, do: Do, agents: int | Sequence[Agent] | None) -> None:
        self._do, self._agents = do, agents

    async def plan(self, epic: Epic, **call: Unpack[CallOptions]) -> EpicPlan:
        """See `Team.plan`."""
        return await self._do(ask.plan_epic(epic, self._agents), call)

    async def run(self, work: Epic | EpicPlan, **call: Unpack[CallOptions]) -> EpicReport:
        """See `Team.run`."""
        return await self._do(ask.run_epic(work, self._agents), call)

    async def resume(self, epic: str, **call: Unpack[CallOptions]) -> EpicReport:
        """See `Team.resume`."""
        return await self._do(ask.resume_epic(epic), call)

    async def unfinished(self, **call: Unpack[CallOptions]) -> list[str]:
        """See `Team.unfinished`."""
        return await self._do(ask.unfinished_epics(), call)


class AsyncGates:
    """Checks on what was generated."""

    def __init__(self, do: Do) -> None:
        self._do = do

    async def check(
        self,
        content: str,
        *,
        kind: ArtifactKind = "text",
        schema: Mapping[str, Any] | None = None,
        name: str = "",
        gates: Sequence[str] = (),
        **call: Unpack[CallOptions],
    ) -> Check:
        """See `Gates.check`."""
        return await self._do(ask.check(content, kind, schema, name, gates), call)


class AsyncRouter:
    """Which model serves a request, and what it cost."""

    def __init__(self, do: Do) -> None:
        self._do = do

    async def route(self, prompt: ask.Prompt, **options: Unpack[GenerateOptions]) -> RoutePlan:
        """See `Router.route`."""
        rest, call = ask.split(options)
        return await self._do(ask.route(prompt, **rest), call)

    async def models(self, **call: Unpack[CallOptions]) -> list[ModelInfo]:
        """See `Router.models`."""
        return await self._do(ask.models(), call)

    async def ledger(
        self, *, limit: int | None = None, **options: Unpack[LedgerOptions]
    ) -> list[LedgerEntry]:
        """See `Router.ledger`."""
        of, call = ask.split(options)
        return await self._do(ask.ledger(limit, **of), call)

    async def totals_by(self, by: LedgerGroup, **options: Unpack[LedgerOptions]) -> dict[str, LedgerTotals]:
        """See `Router.totals_by`."""
        of, call = ask.split(options)
        return await self._do(ask.totals_by(by, **of), call)

    async def replay(
        self,
        *,
        always: str | None = None,
        models: Sequence[ModelProfile] | None = None,
        **options: Unpack[LedgerOptions],
    ) -> Replay:
        """See `Router.replay`."""
        of, call = ask.split(options)
        return await self._do(ask.replay(always, models, **of), call)

    async def explain(self, reply_id: str, /, **call: Unpack[CallOptions]) -> str:
        """See `Router.explain`."""
        return await self._do(ask.explain(reply_id), call)

    async def feedback(
        self, reply_id: str, /, score: float, *, shadow_score: float | None = None, **call: Unpack[CallOptions]
    ) -> None:
        """See `Router.feedback`."""
        await self._do(ask.feedback(reply_id, score, shadow_score), call)

    async def shadowed(self, *, limit: int = 100, **call: Unpack[CallOptions]) -> list[Shadowed]:
        """See `Router.shadowed`."""
        return await self._do(ask.shadowed(limit), call)

    async def forget(self, reply_id: str | None = None, /, **call: Unpack[CallOptions]) -> int:
        """See `Router.forget`."""
        return await self._do(ask.forget_judged(reply_id), call)

    async def train(self, records: Iterable[JudgedPrompt] = (), /, **call: Unpack[CallOptions]) -> int:
        """See `Router.train`."""
        return await self._do(ask.train(records), call)

    async def evaluate(
        self, records: Iterable[JudgedPrompt], /, *, retention: float = 1.0, **call: Unpack[CallOptions]
    ) -> Evaluation:
        """See `Router.evaluate`."""
        return await self._do(ask.evaluate(records, retention), call)

    async def calibrate_cache(
        self, pairs: Iterable[tuple[str, str, bool]], /, *, false_hits: float = 0.0, **call: Unpack[CallOptions]
    ) -> float | None:
        """See `Router.calibrate_cache`."""
        return await self._do(ask.calibrate_cache(pairs, false_hits), call)

    async def cascade(
        self, *, min_retention: float | None = None, confidence: float | None = None, **call: Unpack[CallOptions]
    ) -> Calibration:
        """See `Router.cascade`."""
        return await self._do(ask.cascade(min_retention, confidence), call)

    async def budgets(self, **call: Unpack[CallOptions]) -> list[BudgetState]:
        """See `Router.budgets`."""
        return await self._do(ask.budgets(), call)

    async def price_warnings(self, **call: Unpack[CallOptions]) -> list[PriceWarning]:
        """See `Router.price_warnings`."""
        return await self._do(ask.price_warnings(), call)

    async def totals(self, *, of_tenant: str | None = None, **call: Unpack[CallOptions]) -> LedgerTotals:
        """See `Router.totals`."""
        return await self._do(ask.totals(of_tenant), call)
