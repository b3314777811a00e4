"""The engines as Triune shows them. AsyncTriune has the same in `_async_engines.py`."""

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
    """Makes a request and waits for the reply."""

    def __call__(self, request: ask.Request[T], call: CallOptions, /) -> T: ...


class Recall:
    """The memory: knowledge by meaning, by words and by relations."""

    def __init__(self, do: Do) -> None:
        self._do = do

    def store(self, content: str, **options: Unpack[ask.StoreOptions]) -> str:
        """Keeps a text; answers its id once it is on disk.

        It is embedded unless its `vector` is given; without an embedder it is found by its words. A long text is found by
        its passages. A known `id` puts the new text in the place of the old, which stays in the history.
        """
        item, call = ask.split(options)
        return self._do(ask.store(content, item), call)

    def store_many(
        self, items: Iterable[ask.Knowledge], *, namespace: str = "default", **call: Unpack[CallOptions]
    ) -> list[str]:
        """Keeps much in one transaction; answers the ids in order.

        Each item is a text, or a dict with `content` and, as wanted, the options of `store`.
        """
        return self._do(ask.store_many(items, namespace), call)

    def query(self, query: str, *, k: int = 10, **options: Unpack[ask.QueryOptions]) -> list[Hit]:
        """Finds up to `k` items, best first.

        Filters are dicts: `{"eq": ["user", "ada"]}`, `{"in": ["user", ["ada", "bob"]]}`, `{"prefix": ["path", "a/"]}`,
        `{"range": {"key": "year", "min": 2020}}`, `{"exists": "user"}`, `{"and": [...]}`, `{"or": [...]}`,
        `{"not": {...}}`. With `rerank`, so many of the best items, and at least `k`, are read by the reranker (the setting
        `reranker`, or `mind.set_reranker`), whose scores then decide. What is true no more is left out unless
        `valid_at`, `as_of` or `include_ended` ask for it.
        """
        asked, call = ask.split(options)
        return self._do(ask.query(query, k, asked), call)

    def context(
        self, query: str, token_budget: int, *, k: int = 20, **options: Unpack[ask.QueryOptions]
    ) -> RecallContext:
        """The best passages for a prompt, of `token_budget` tokens at most (about: a token is taken for four characters)."""
        asked, call = ask.split(options)
        return self._do(ask.context(query, token_budget, k, asked), call)

    def history(self, id: str, *, namespace: str = "default", **call: Unpack[CallOptions]) -> list[ItemVersion]:
        """All versions of an item, and of what it says anew or is said anew by, the oldest first."""
        return self._do(ask.history(id, namespace), call)

    def get(self, id: str, *, namespace: str = "default", **call: Unpack[CallOptions]) -> Item | None:
        """One item, or None."""
        return self._do(ask.get(id, namespace), call)

    def forget(
        self,
        ids: str | Iterable[str] = (),
        *,
        filter: ask.Filter | None = None,
        all: bool = False,
        namespace: str = "default",
        **call: Unpack[CallOptions],
    ) -> int:
        """Forgets these items, those that meet the filter, or all; answers how many."""
        return self._do(ask.forget(ids, filter, all, namespace), call)

    def relate(
        self,
        from_: str,
        kind: str,
        to: str,
        *,
        weight: float = 1.0,
        namespace: str = "default",
        **call: Unpack[CallOptions],
    ) -> bool:
        """Keeps a relation between names, or ids of items; answers whether it is new."""
        return self._do(ask.relate(from_, kind, to, weight, namespace), call)

    def neighbours(
        self,
        of: str,
        *,
        kind: str | None = None,
        hops: int = 1,
        k: int = 10,
        namespace: str = "default",
        **call: Unpack[CallOptions],
    ) -> list[Neighbour]:
        """What is up to `hops` (1 to 5) relations away, nearest first."""
        return self._do(ask.neighbours(of, kind, hops, k, namespace), call)

    def path(
        self, from_: str, to: str, *, hops: int = 5, namespace: str = "default", **call: Unpack[CallOptions]
    ) -> list[Relation] | None:
        """A shortest way between two names, of at most `hops` steps (1 to 5); None when there is none."""
        return self._do(ask.path(from_, to, hops, namespace), call)

    def rank(
        self, seeds: str | Iterable[str], *, k: int = 10, namespace: str = "default", **call: Unpack[CallOptions]
    ) -> list[tuple[str, float]]:
        """The `k` names nearest to `seeds` by personalised PageRank, with their rank; the ranks of all sum to 1."""
        return self._do(ask.rank(seeds, k, namespace), call)

    def subgraph(
        self,
        of: str,
        *,
        kind: str | None = None,
        hops: int = 1,
        k: int = 10,
        namespace: str = "default",
        **call: Unpack[CallOptions],
    ) -> list[Relation]:
        """The relations among a name and the `k` names near it, the strongest first."""
        return self._do(ask.subgraph(of, kind, hops, k, namespace), call)

    def namespaces(self, **call: Unpack[CallOptions]) -> list[str]:
        """The namespaces there are, those of the tenant of the call."""
        return self._do(ask.namespaces(), call)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        namespace: str | None = None,
        vectors: bool = False,
        **call: Unpack[CallOptions],
    ) -> ExportReport:
        """Writes a namespace, or all of the tenant's, into a file: a line of JSON for each item, version and relation.

        All is as it is at this moment. With `vectors`, reading them in again embeds nothing.
        """
        return self._do(ask.export(path, namespace, vectors), call)

    def import_(
        self, path: str | os.PathLike[str], *, namespace: str | None = None, **call: Unpack[CallOptions]
    ) -> ImportReport:
        """Reads lines of JSON in from a file, as `export` writes them or as `store` takes them.

        All of them go into `namespace` when it is given. What is there just so is left alone: an import that was interrupted
        is simply made again. An error tells the line; what is before it stays.
        """
        return self._do(ask.import_(path, namespace), call)

    def statistics(self, *, namespace: str = "default", **call: Unpack[CallOptions]) -> NamespaceStatistics:
        """What a namespace holds, and how much room that takes. All of its rows are passed by: a second for a million or so.

        NotFoundError for an unknown one.
        """
        return self._do(ask.statistics(namespace), call)

    def reembed(self, *, namespace: str = "default", **call: Unpack[CallOptions]) -> int:
        """Embeds all texts of a namespace by the embedder there is, in the place of the one that made its vectors; how many.

        Until they are all embedded it is found by its words. Interrupted, it goes on where it was when it is called again;
        `statistics` tell how far it is.
        """
        return self._do(ask.reembed(namespace), call)


class Parallel:
    """Tasks in parallel, in a journal: a run whose process died goes on where it was."""

    def __init__(self, do: Do, functions: Functions) -> None:
        self._do, self._functions = do, functions

    def run(
        self,
        tasks: Iterable[Task],
        *,
        run: str | None = None,
        concurrency: int | None = None,
        **call: Unpack[CallOptions],
    ) -> RunReport:
        """Runs tasks to their end, each after those it waits for, `concurrency` at once.

        A task that failed is told in the report; it is no exception. With the id of a run that was interrupted, that
        run goes on: the tasks must be the same, and finished ones are not run again.
        """
        with self._functions.lent(run, tasks) as (id, plan):
            return self._do(ask.run(plan, id, concurrency), call)

    def resume(self, run: str, **call: Unpack[CallOptions]) -> RunReport:
        """Goes on with an interrupted run by the plan in its journal. Functions must be registered before."""
        return self._do(ask.resume(run), call)

    def validate(self, tasks: Iterable[Task], **call: Unpack[CallOptions]) -> list[str]:
        """Checks a plan; answers the names in an order in which the tasks can run."""
        return self._do(ask.validate(self._functions.plan(tasks)), call)

    def get(self, run: str, **call: Unpack[CallOptions]) -> RunReport:
        """A run as it is in the journal."""
        return self._do(ask.get_run(run), call)

    def unfinished(self, **call: Unpack[CallOptions]) -> list[str]:
        """Ids of runs that have not ended, oldest first."""
        return self._do(ask.unfinished_runs(), call)


class Creative:
    """Ideas from several prompts and models, measured and ranked."""

    def __init__(self, do: Do) -> None:
        self._do = do

    def solve(self, problem: str, **options: Unpack[SolveOptions]) -> CreativeSolution:
        """Ideas for a problem: those that meet every checked constraint before others, then by novelty."""
        rest, call = ask.split(options)
        return self._do(ask.solve(problem, **rest), call)


class Team:
    """Agents that do epics. Made by `mind.team`."""

    def __init__(self, do: Do, agents: int | Sequence[Agent] | None) -> None:
        self._do, self._agents = do, agents

    def plan(self, epic: Epic, **call: Unpack[CallOptions]) -> EpicPlan:
        """The tasks of an epic, each with its agent: to be looked at, edited and run."""
        return self._do(ask.plan_epic(epic, self._agents), call)

    def run(self, work: Epic | EpicPlan, **call: Unpack[CallOptions]) -> EpicReport:
        """Runs an epic or a plan to its end; with the id of an epic that was interrupted, goes on with it."""
        return self._do(ask.run_epic(work, self._agents), call)

    def resume(self, epic: str, **call: Unpack[CallOptions]) -> EpicReport:
        """Goes on with an epic that was interrupted."""
        return self._do(ask.resume_epic(epic), call)

    def unfinished(self, **call: Unpack[CallOptions]) -> list[str]:
        """Ids of epics that have not ended, oldest first."""
        return self._do(ask.unfinished_epics(), call)


class Gates:
    """Checks on what was generated."""

    def __init__(self, do: Do) -> None:
        self._do = do

    def check(
        self,
        content: str,
        *,
        kind: ArtifactKind = "text",
        schema: Mapping[str, Any] | None = None,
        name: str = "",
        gates: Sequence[str] = (),
        **call: Unpack[CallOptions],
    ) -> Check:
        """Checks `content` by all gates, or by those named. Its text is data; it is never run."""
        return self._do(ask.check(content, kind, schema, name, gates), call)


class Router:
    """Which model serves a request, and what it cost."""

    def __init__(self, do: Do) -> None:
        self._do = do

    def route(self, prompt: ask.Prompt, **options: Unpack[GenerateOptions]) -> RoutePlan:
        """The decision only: the models that would be tried, in order, and why. Nothing is called."""
        rest, call = ask.split(options)
        return self._do(ask.route(prompt, **rest), call)

    def models(self, **call: Unpack[CallOptions]) -> list[ModelInfo]:
        """The chat models there are."""
        return self._do(ask.models(), call)

    def ledger(
        self, *, limit: int | None = None, **options: Unpack[LedgerOptions]
    ) -> list[LedgerEntry]:
        """What calls cost and saved, newest first, at most `limit` (default 100)."""
        of, call = ask.split(options)
        return self._do(ask.ledger(limit, **of), call)

    def totals_by(self, by: LedgerGroup, **options: Unpack[LedgerOptions]) -> dict[str, LedgerTotals]:
        """Sums of the ledger by tenant, tag, model, key or day; those of none are under the empty text."""
        of, call = ask.split(options)
        return self._do(ask.totals_by(by, **of), call)

    def replay(
        self,
        *,
        always: str | None = None,
        models: Sequence[ModelProfile] | None = None,
        **options: Unpack[LedgerOptions],
    ) -> Replay:
        """What past calls would have cost with another policy: `always` one model, by its id or its name in the price table,
        or else as the router decides now, among `models` or those there are."""
        of, call = ask.split(options)
        return self._do(ask.replay(always, models, **of), call)

    def explain(self, reply_id: str, /, **call: Unpack[CallOptions]) -> str:
        """Why the reply with this id is of the model it is of, what else could have been asked, and what it cost: in words."""
        return self._do(ask.explain(reply_id), call)

    def feedback(
        self, reply_id: str, /, score: float, *, shadow_score: float | None = None, **call: Unpack[CallOptions]
    ) -> None:
        """Tells how good a reply was, 0 to 1, once, within the setting `router.learning.judge_days`; with `shadow_score` also
        how good the answer was of the model that was asked beside it, see `shadowed`. NotFoundError when it cannot be judged:
        `router.learning.enabled` must be set when it is asked for."""
        self._do(ask.feedback(reply_id, score, shadow_score), call)

    def shadowed(self, *, limit: int = 100, **call: Unpack[CallOptions]) -> list[Shadowed]:
        """The newest replies of the tenant that a second model answered too, for the setting `router.learning.shadow`, and
        that were not judged: tell how good both answers are by `feedback`."""
        return self._do(ask.shadowed(limit), call)

    def forget(self, reply_id: str | None = None, /, **call: Unpack[CallOptions]) -> int:
        """Removes what is kept of a reply to learn from, or of all replies of the tenant: prompts, answers and judgements.
        Says of how many. What was learned from them stays until `train` is called."""
        return self._do(ask.forget_judged(reply_id), call)

    def train(self, records: Iterable[JudgedPrompt] = (), /, **call: Unpack[CallOptions]) -> int:
        """Learns anew from `records` and all feedback so far: what to expect of models, how much to doubt answers, and what
        aims cost. Says how many there were."""
        return self._do(ask.train(records), call)

    def evaluate(
        self, records: Iterable[JudgedPrompt], /, *, retention: float = 1.0, **call: Unpack[CallOptions]
    ) -> Evaluation:
        """How choosing by what was learned does on `records` that were not learned from, and what it saves at `retention`
        of the best single model's quality. Nothing is called."""
        return self._do(ask.evaluate(records, retention), call)

    def calibrate_cache(
        self, pairs: Iterable[tuple[str, str, bool]], /, *, false_hits: float = 0.0, **call: Unpack[CallOptions]
    ) -> float | None:
        """The least likeness at which an answer may be given again, for the setting `router.cache.semantic`: of pairs of
        requests, and whether one answer serves both, at most the part `false_hits` of those at least so alike are wrong.
        None when no likeness is that safe."""
        return self._do(ask.calibrate_cache(pairs, false_hits), call)

    def cascade(
        self, *, min_retention: float | None = None, confidence: float | None = None, **call: Unpack[CallOptions]
    ) -> Calibration:
        """How much an answer may be doubted before a dearer model is asked, so that `min_retention` of its quality is kept
        with `confidence`, as far as judged answers show; by default those of `router.learning`."""
        return self._do(ask.cascade(min_retention, confidence), call)

    def budgets(self, **call: Unpack[CallOptions]) -> list[BudgetState]:
        """How the budgets of the settings stand, in their order."""
        return self._do(ask.budgets(), call)

    def price_warnings(self, **call: Unpack[CallOptions]) -> list[PriceWarning]:
        """Which models there are that their providers end within 30 days or have ended, and whose prices are older than 90 days."""
        return self._do(ask.price_warnings(), call)

    def totals(self, *, of_tenant: str | None = None, **call: Unpack[CallOptions]) -> LedgerTotals:
        """Sums of the ledger, of one tenant or of all."""
        return self._do(ask.totals(of_tenant), call)
