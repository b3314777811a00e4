"""The JSON schema of a function, from its annotations."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from .errors import InvalidError
from .types.parallel import TaskCall

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def describe(
    run: Callable[..., Any], name: str, description: str | None = None, parameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Name, description and JSON schema of a function. What is not given comes from docstring and annotations."""
    if description is None:
        description = (inspect.getdoc(run) or "").split("\n\n")[0].replace("\n", " ")
    if parameters is None:
        parameters = schema_of(run, name)
    return {"name": name, "description": description, "parameters": dict(parameters)}


def takes_task_call(run: Callable[..., Any]) -> bool | None:
    """Whether the function takes one TaskCall; None when it does not; False when only a task can tell.

    One parameter without annotation takes a TaskCall where the function is the body of a task, and its own value where
    it is a tool.
    """
    parameters = list(inspect.signature(run).parameters.values())
    if len(parameters) != 1 or parameters[0].kind is inspect.Parameter.VAR_KEYWORD:
        return None
    annotation = _hints(run).get(parameters[0].name)
    if annotation is TaskCall:
        return True
    return False if annotation is None else None


def schema_of(run: Callable[..., Any], name: str) -> dict[str, Any]:
    """The schema of an object with the parameters of `run`."""
    if takes_task_call(run):
        return {"type": "object"}
    hints = _hints(run)
    properties, required = {}, []
    for parameter in inspect.signature(run).parameters.values():
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            return {"type": "object"}
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY and takes_task_call(run) is None:
            raise InvalidError(f'function "{name}": parameter `{parameter.name}` cannot be given by name')
        where = f'function "{name}", parameter `{parameter.name}`'
        properties[parameter.name] = schema(hints.get(parameter.name, Any), where)
        if parameter.default is inspect.Parameter.empty:
            required.append(parameter.name)
    made: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        made["required"] = required
    return made


def schema(annotation: Any, where: str) -> dict[str, Any]:
    """The schema of one annotation. InvalidError, naming `where`, when it has none."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (Any, object):
        return {}
    if annotation in _PLAIN:
        return {"type": _PLAIN[annotation]}
    if origin is typing.Annotated:
        texts = [text for text in arguments[1:] if isinstance(text, str)]
        inner = schema(arguments[0], where)
        return {**inner, "description": " ".join(texts)} if texts else inner
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [schema(one, where) for one in arguments]}
    if annotation in (list, Sequence) or origin in (list, Sequence):
        return {"type": "array", **({"items": schema(arguments[0], where)} if arguments else {})}
    if annotation in (dict, Mapping) or origin in (dict, Mapping):
        if arguments and arguments[0] is not str:
            raise InvalidError(f"{where}: the keys of a JSON object are texts")
        return {"type": "object", **({"additionalProperties": schema(arguments[1], where)} if arguments else {})}
    if typing.is_typeddict(annotation):
        hints = typing.get_type_hints(annotation, include_extras=True)
        members = {name: schema(_bare(hint), where) for name, hint in hints.items()}
        return {"type": "object", "properties": members, "required": sorted(annotation.__required_keys__)}
    raise InvalidError(
        f"{where}: {annotation!r} has no JSON schema; use str, int, float, bool, list, dict, Literal, a union of them or "
        "a TypedDict, or give the schema as `parameters`"
    )


def _bare(hint: Any) -> Any:
    """A member of a TypedDict without `Required` or `NotRequired`."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) in (typing.Required, typing.NotRequired) else hint


def _hints(run: Callable[..., Any]) -> dict[str, Any]:
    target = run if inspect.isroutine(run) or inspect.isclass(run) else type(run).__call__
    try:
        return typing.get_type_hints(target, include_extras=True)
    except (NameError, TypeError):
        # Annotations that only a type checker can resolve say nothing here.
        return {}
