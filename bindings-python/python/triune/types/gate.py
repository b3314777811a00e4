"""Checks on what was generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from .._json import read, read_list

ArtifactKind = Literal["text", "json", "rust", "python", "javascript"]


@dataclass(frozen=True, slots=True)
class Artifact:
    """Something that was generated: what a gate of yours checks. It is data, and never run."""

    content: str
    kind: ArtifactKind = "text"
    name: str = ""
    """What it is called in reports."""
    schema: dict[str, Any] | None = None
    """JSON schema it must fit (kind `json`)."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    message: str
    line: int | None = None
    """The line, from 1, where that is known."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says."""

    gate: str
    passed: bool
    """Whether the artifact may go on."""
    findings: list[Finding]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return read(cls, data, findings=read_list(Finding.from_json, data["findings"]))


@dataclass(frozen=True, slots=True)
class Check:
    """What all gates say."""

    passed: bool
    """Whether every gate passed it."""
    verdicts: list[Verdict]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["passed"], read_list(Verdict.from_json, data["verdicts"]))
