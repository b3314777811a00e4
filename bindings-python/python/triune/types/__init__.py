"""What goes into triune and what comes out: plain, frozen dataclasses.

Amounts of money are exact integers in nano-dollars (`cost_nano_usd`: a billionth of a dollar), with a float in dollars
for display beside them (`cost_usd`). Times are milliseconds where the name ends in `_ms`, and seconds otherwise.
"""

from .creative import CreativeSolution, Idea
from .gate import Artifact, Check, Finding, Verdict
from .model import (
    Attempt,
    ChatRequest,
    GeneratedImage,
    ImageInput,
    ImageReply,
    Message,
    ModelInfo,
    PassedOver,
    Reply,
    RoutePlan,
    RouteStep,
    TokenLogprob,
    ToolCall,
    Usage,
)
from .monitor import Event, Health, Latency, LocalStatistics, Metrics, ModelMetrics
from .options import CallOptions, GenerateOptions, LedgerFilter, LedgerOptions, ModelProfile, Needs, Profile, SolveOptions, price
from .parallel import RunReport, Task, TaskCall, TaskResult
from .recall import Hit, Item, Neighbour, Relation, Why
from .router import BudgetState, LedgerEntry, LedgerGroup, LedgerTotals, ModelReplay, Period, PriceWarning, Replay
from .team import Agent, Epic, EpicPlan, EpicReport, EpicTask, Planner, TaskReport

__all__ = [
    "Agent",
    "Artifact",
    "Attempt",
    "CallOptions",
    "ChatRequest",
    "Check",
    "CreativeSolution",
    "Epic",
    "EpicPlan",
    "EpicReport",
    "EpicTask",
    "Event",
    "Finding",
    "GenerateOptions",
    "Health",
    "GeneratedImage",
    "Hit",
    "Idea",
    "ImageInput",
    "ImageReply",
    "Item",
    "Latency",
    "LedgerEntry",
    "LedgerTotals",
    "LocalStatistics",
    "Message",
    "Metrics",
    "ModelInfo",
    "ModelMetrics",
    "ModelProfile",
    "Needs",
    "Neighbour",
    "PassedOver",
    "Planner",
    "Profile",
    "Relation",
    "Reply",
    "RoutePlan",
    "RouteStep",
    "RunReport",
    "SolveOptions",
    "Task",
    "TaskCall",
    "TaskReport",
    "TaskResult",
    "TokenLogprob",
    "ToolCall",
    "Usage",
    "Verdict",
    "Why",
    "price",
]
