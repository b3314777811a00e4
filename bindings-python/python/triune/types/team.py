"""Epics and the team that does them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from .._json import NANO_USD, present, read, read_list
from ._money import Costed
from .gate import ArtifactKind, Verdict
from .options import Needs


@dataclass(frozen=True, slots=True)
class Agent:
    """A worker of the team."""

    name: str
    """Unique in the team."""
    role: str = ""
    skills: Sequence[str] = ()
    """What it is good at; tasks are given by their similarity to it."""
    instructions: str = ""
    """Instructions for its model."""
    model: str | None = None
    """This model and no other."""
    tools: Sequence[str] = ()
    """Names of the functions it may call."""

    def to_json(self) -> dict[str, Any]:
        return present(
            name=self.name,
            role=self.role,
            skills=list(self.skills),
            instructions=self.instructions,
            model=self.model,
            tools=list(self.tools),
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class Epic:
    """Work to do."""

    title: str
    description: str = ""
    requirements: Sequence[str] = ()
    """What must be there in the end; at least one."""
    agents: Sequence[Agent] = ()
    """Who works on it. When empty, the team makes agents with roles that cover common skills."""
    team_size: int | None = None
    """How many agents, when `agents` is empty."""
    needs: Needs = field(default_factory=Needs)
    """What the models must offer."""
    max_tokens: int | None = None
    """Tokens of one task's answer at most."""
    id: str | None = None
    """With the id of an epic that was interrupted, that one goes on. A fresh one when absent."""

    def with_id(self, id: str) -> Self:
        """The same epic under an id of yours, by which it can be resumed."""
        return replace(self, id=id)

    def to_json(self) -> dict[str, Any]:
        from .._requests import needs_body

        return present(
            id=self.id,
            title=self.title,
            description=self.description,
            requirements=list(self.requirements),
            agents=[agent.to_json() for agent in self.agents],
            team_size=self.team_size,
            needs=needs_body(**self.needs),
            max_tokens=self.max_tokens,
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        given = {name: value for name, value in data["needs"].items() if value not in (None, False)}
        max_cost = given.pop("max_cost", None)
        if max_cost is not None:
            given["max_cost_usd"] = max_cost / NANO_USD
        needs = Needs(**{name: given[name] for name in Needs.__annotations__ if name in given})  # type: ignore[typeddict-item]
        return read(cls, data, needs=needs, agents=read_list(Agent.from_json, data["agents"]))


@dataclass(frozen=True, slots=True)
class Planner:
    """Who made a plan: `model`, `rules` (and why not a model) or `caller`."""

    by: Literal["model", "rules", "caller"] = "caller"
    model: str | None = None
    because: str | None = None

    def __str__(self) -> str:
        detail = self.model or self.because
        return f"{self.by} ({detail})" if detail else self.by

    def to_json(self) -> dict[str, Any]:
        return present(by=self.by, model=self.model, because=self.because)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class EpicTask:
    """A task of an epic."""

    name: str
    description: str
    requirements: Sequence[int] = ()
    """Indexes of the requirements it serves, from 0."""
    after: Sequence[str] = ()
    """Tasks whose results it needs."""
    agent: str | None = None
    """The agent it is given to; the best one when absent."""
    produces: ArtifactKind = "text"
    """What kind of thing it makes; its gates go by that."""

    def to_json(self) -> dict[str, Any]:
        return present(
            name=self.name,
            description=self.description,
            requirements=list(self.requirements),
            after=list(self.after),
            agent=self.agent,
            produces=self.produces,
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class EpicPlan:
    """A plan of an epic. Edit it with `dataclasses.replace` before it is run."""

    epic: Epic
    tasks: Sequence[EpicTask]
    planner: Planner = Planner()

    def to_json(self) -> dict[str, Any]:
        tasks = [task.to_json() for task in self.tasks]
        return {"epic": self.epic.to_json(), "tasks": tasks, "planner": self.planner.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        tasks = read_list(EpicTask.from_json, data["tasks"])
        return cls(Epic.from_json(data["epic"]), tasks, Planner.from_json(data["planner"]))


@dataclass(frozen=True, slots=True)
class TaskReport(Costed):
    """One task in the report of an epic."""

    task: str
    agent: str
    outcome: Literal["succeeded", "failed", "skipped", "cancelled"]
    result: str
    """What it made."""
    model: str | None
    """The model that made it."""
    gates: list[Verdict]
    """What the gates said."""
    error: str | None
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    saved_nano_usd: int
    attempts: int
    """Over all processes."""
    restored: bool
    """Whether it had finished before this process took the epic over."""
    latency_ms: int
    notes: list[str] = field(default_factory=list)
    """What was not done as asked."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data, gates=read_list(Verdict.from_json, data["gates"]))


@dataclass(frozen=True, slots=True)
class EpicReport(Costed):
    """What came of an epic. Tokens and money are those of its planning and its tasks, as the ledger has them."""

    epic: str
    """Its id."""
    title: str
    outcome: str
    """`succeeded`, `failed` or `cancelled`."""
    planner: Planner
    tasks: list[TaskReport]
    """In the order of the plan."""
    agents: int
    """Agents that worked."""
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    reference_cost_nano_usd: int
    saved_nano_usd: int
    latency_ms: int
    """Time this process worked on it."""
    namespace: str
    """The namespace of the memory it left behind."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        tasks = read_list(TaskReport.from_json, data["tasks"])
        return read(cls, data, tasks=tasks, planner=Planner.from_json(data["planner"]))
