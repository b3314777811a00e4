"""What is told to models about functions."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

import pytest

import triune
from triune._schema import describe, takes_task_call


class Place(TypedDict, total=False):
    city: str
    zip: int


def book(
    place: Place,
    nights: Annotated[int, "How long."] = 1,
    kind: Literal["single", "double"] = "single",
    extras: list[str] | None = None,
    notes: dict[str, float] = {},  # noqa: B006
    anything: Any = None,
) -> str:
    """Books a room
    for some nights.

    Not for models.
    """
    return f"{place} {nights} {kind} {extras} {notes} {anything}"


def test_the_schema_comes_from_annotations() -> None:
    spec = describe(book, "book")
    assert spec["description"] == "Books a room for some nights."
    assert spec["parameters"] == {
        "type": "object",
        "properties": {
            "place": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "zip": {"type": "integer"}},
                "required": [],
            },
            "nights": {"type": "integer", "description": "How long."},
            "kind": {"enum": ["single", "double"]},
            "extras": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
            "notes": {"type": "object", "additionalProperties": {"type": "number"}},
            "anything": {},
        },
        "required": ["place"],
    }


def test_an_annotation_without_a_schema_is_refused() -> None:
    def when(moment: complex) -> None: ...

    with pytest.raises(triune.InvalidError, match="`moment`"):
        describe(when, "when")
    assert describe(when, "when", parameters={"type": "object"})["parameters"] == {"type": "object"}


def test_who_takes_a_task_call() -> None:
    def yes(call: triune.TaskCall) -> None: ...
    def no(call: str) -> None: ...
    def none() -> None: ...
    def two(a, b) -> None: ...  # type: ignore[no-untyped-def]

    class Callable:
        def __call__(self, call: triune.TaskCall) -> None: ...

    assert [takes_task_call(f) for f in (yes, Callable())] == [True, True]
    assert takes_task_call(lambda call: None) is False, "only a task can tell"
    assert [takes_task_call(f) for f in (no, none, two)] == [None, None, None]
