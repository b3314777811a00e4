"""JSON texts, in which everything crosses to the native half."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from .errors import InvalidError

T = TypeVar("T")

loads = json.loads


def dumps(value: object, what: str = "the request") -> str:
    """`value` as JSON. InvalidError, naming `what`, when it has no JSON form."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidError(f"{what} cannot be written as JSON: {error}") from error


def _plain(value: object) -> object:
    """Arrays and numbers of numpy and the like, by their own conversion."""
    convert = getattr(value, "tolist", None)
    if callable(convert):
        return convert()
    raise TypeError(f"{type(value).__name__} has no JSON form")


NANO_USD = 1_000_000_000


def nano_usd(usd: float | None) -> int | None:
    """Dollars as the integer that triune computes with."""
    if usd is None:
        return None
    nano = usd * NANO_USD
    if not abs(nano) < 9.0e18:
        raise InvalidError("an amount of money is a finite number of dollars below nine billion")
    return round(nano)


def present(**values: object) -> dict[str, Any]:
    """Those of `values` that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def read(kind: type[T], data: Mapping[str, Any], **parsed: Any) -> T:
    """A dataclass from the members of `data` that it has fields for.

    Money has another name here: `cost` becomes `cost_nano_usd`. `parsed` are fields that are read already.
    """
    values = dict(parsed)
    for field in fields(kind):  # type: ignore[arg-type]
        name = field.name.removesuffix("_nano_usd")
        if field.name not in values and name in data:
            values[field.name] = data[name]
    return kind(**values)


def read_list(read_one: Callable[[Any], T], data: Any) -> list[T]:
    """A list of what `read_one` reads."""
    return [read_one(one) for one in data or ()]
