"""Knobs: what of a design can be turned, declared once.

A design's knobs are one frozen pydantic model. The service reads it from the environment, the command line from
`name=value` words, the comparison varies it, the chapter prints it as a table, and the tests run over its variants. A closed
choice is a `Literal`, its trade-off stands in `Field(description=...)`, and the numbers worth trying in `examples`.

A knob changes behaviour. Where things are (addresses, folders, secrets) is a setting; see `settings.py`.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError


class KnobError(ValueError):
    """A knob that does not exist, or a value it can't take. The message is one sentence for the person who turned it."""


class Knobs(BaseModel):
    """Base of every design's knobs: frozen, and a misspelt name is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


K = TypeVar("K", bound=Knobs)


@dataclass(frozen=True, slots=True)
class KnobRow:
    """One row of the knob table. `choices` are the alternatives of a closed choice, else the examples worth trying."""

    name: str
    default: str
    choices: tuple[str, ...]
    closed: bool
    description: str


def parse_assignments(model: type[K], assignments: Iterable[str], start: Mapping[str, Any] | None = None) -> K:
    """Knobs from words such as `store=sqlite`; what is not named keeps the value in `start`, else the default."""
    values: dict[str, Any] = dict(start or {})
    for word in assignments:
        name, equals, value = word.partition("=")
        if not equals:
            raise KnobError(f"{word!r} is not an assignment: write knob=value, for example {_example(model)}")
        values[name.strip().replace("-", "_")] = value.strip()
    return build(model, values)


def knobs_from_environment(model: type[K], prefix: str, environment: Mapping[str, str]) -> K:
    """Knobs from variables such as `URL_SHORTENER_KNOB_STORE=sqlite`; any unknown name under the prefix is refused."""
    values = {name[len(prefix) :].lower(): value for name, value in environment.items() if name.startswith(prefix)}
    return build(model, values)


def knobs_to_environment(knobs: Knobs, prefix: str) -> dict[str, str]:
    """The inverse of `knobs_from_environment`: what to hand to another process of the same design."""
    return {f"{prefix}{name.upper()}": _plain(value) for name, value in knobs.model_dump().items()}


def build(model: type[K], values: Mapping[str, Any]) -> K:
    """A validated model, or a `KnobError` that says what would have been right."""
    for name in values:
        if name not in model.model_fields:
            raise KnobError(f"there is no knob {name!r}; the knobs are {', '.join(model.model_fields)}")
    try:
        return model.model_validate({name: _as_declared(model, name, value) for name, value in values.items()})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise KnobError(f"{where}={values.get(where)}: {said}" if where else said) from None


def knob_table(model: type[Knobs]) -> list[KnobRow]:
    """The declaration as rows, in the order declared."""
    rows = []
    for name, field in model.model_fields.items():
        choices = _choices(field.annotation)
        examples = tuple(_plain(example) for example in field.examples or ())
        rows.append(KnobRow(name, _plain(field.default), choices or examples, bool(choices), field.description or ""))
    return rows


def _as_declared(model: type[Knobs], name: str, value: Any) -> Any:
    """A word from outside as the choice it names: pydantic does not take "301" for `Literal[301]`."""
    annotation = model.model_fields[name].annotation
    if isinstance(value, str) and get_origin(annotation) is Literal:
        return next((choice for choice in get_args(annotation) if str(choice) == value), value)
    return value


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(_plain(choice) for choice in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(choice for part in get_args(annotation) for choice in _choices(part))
    return ("true", "false") if annotation is bool else ()


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _example(model: type[Knobs]) -> str:
    name, field = next(iter(model.model_fields.items()))
    return f"{name}={_plain(field.default)}"
