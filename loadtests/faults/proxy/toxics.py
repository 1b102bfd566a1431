"""What can be wrong with a connection, and how that is said: the seven toxics of Toxiproxy, their attributes and bounds.

`{"type": "latency", "stream": "downstream", "toxicity": 1.0, "attributes": {"latency": 100, "jitter": 20}}`

Stricter than Toxiproxy in one way: an attribute that a toxic does not have, or a value that means nothing, is refused. A fault
that silently does nothing is worse than none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Stream = Literal["upstream", "downstream"]
MAX_NAME = 200  # characters
HOUR_MS = 3_600_000

Milliseconds: TypeAlias = Annotated[float, Field(ge=0, le=HOUR_MS, allow_inf_nan=False)]
Microseconds: TypeAlias = Annotated[float, Field(ge=0, le=HOUR_MS * 1000, allow_inf_nan=False)]
Bytes: TypeAlias = Annotated[int, Field(ge=0, le=1 << 53)]


class ToxicRefused(ValueError):
    """This is no toxic. The message says why, in Toxiproxy's words where it has some."""


class Attributes(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Latency(Attributes):
    """Everything arrives `latency` +/- `jitter` ms later, in order."""

    latency: Milliseconds = 0
    jitter: Milliseconds = 0


class Bandwidth(Attributes):
    """No more than `rate` KB/s (of 1,000 bytes) pass. 0: nothing passes until the toxic is removed, and then all of it."""

    rate: Annotated[float, Field(ge=0, le=10_000_000, allow_inf_nan=False)] = 0


class SlowClose(Attributes):
    """The end of the stream arrives `delay` ms later."""

    delay: Milliseconds = 0


class Timeout(Attributes):
    """Data is dropped, and the connection closed after `timeout` ms; 0: not before the toxic is removed."""

    timeout: Milliseconds = 0


class ResetPeer(Attributes):
    """`timeout` ms after the next data (or end) came, both sides are reset; that data does not pass."""

    timeout: Milliseconds = 0


class Slicer(Attributes):
    """Data arrives in slices of `average_size` +/- `size_variation` bytes, each `delay` us after the one before."""

    average_size: Annotated[int, Field(ge=1, le=1 << 31)]
    size_variation: Bytes = 0
    delay: Microseconds = 0

    @model_validator(mode="after")
    def _a_slice_holds_something(self) -> Slicer:
        if self.size_variation >= self.average_size:
            raise ValueError("size_variation is to be smaller than average_size")
        return self


class LimitData(Attributes):
    """`bytes` bytes pass, then the connection is closed."""

    bytes: Bytes = 0


KINDS: Mapping[str, type[Attributes]] = {
    "latency": Latency,
    "bandwidth": Bandwidth,
    "slow_close": SlowClose,
    "timeout": Timeout,
    "reset_peer": ResetPeer,
    "slicer": Slicer,
    "limit_data": LimitData,
}


@dataclass(frozen=True, slots=True)
class Toxic:
    """One toxic of one proxy. `toxicity` is the share of connections it spoils, each wholly or not at all."""

    name: str
    type: str
    stream: Stream
    toxicity: float
    attributes: Attributes

    def as_json(self) -> dict[str, Any]:
        attributes = {key: _as_integer(value) for key, value in self.attributes.model_dump().items()}
        return {
            "attributes": attributes,
            "name": self.name,
            "type": self.type,
            "stream": self.stream,
            "toxicity": _as_integer(self.toxicity),
        }


class _Body(BaseModel):
    """What a request to add a toxic says, before its type is known; unknown fields are ignored, as Toxiproxy does."""

    model_config = ConfigDict(strict=True)

    type: str = ""
    name: str = ""
    stream: str = ""
    toxicity: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)
    attributes: dict[str, Any] | None = None


class _Change(BaseModel):
    model_config = ConfigDict(strict=True)

    toxicity: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    attributes: dict[str, Any] | None = None


def parse_toxic(body: bytes) -> Toxic:
    """The toxic a request describes; its name is `<type>_<stream>` unless it has another. `ToxicRefused`."""
    wanted = _parse(_Body, body)
    stream = wanted.stream or "downstream"
    if stream not in get_args(Stream):
        raise ToxicRefused("stream was invalid, can be either upstream or downstream")
    if wanted.type not in KINDS:
        raise ToxicRefused("invalid toxic type")
    name = wanted.name or f"{wanted.type}_{stream}"
    refuse_bad_name(name)
    attributes = _attributes(KINDS[wanted.type], wanted.attributes or {})
    return Toxic(name, wanted.type, "upstream" if stream == "upstream" else "downstream", wanted.toxicity, attributes)


def parse_change(toxic: Toxic, body: bytes) -> Toxic:
    """The toxic with the attributes and toxicity a request names changed, and all else as it was. `ToxicRefused`."""
    change = _parse(_Change, body)
    attributes = _attributes(type(toxic.attributes), {**toxic.attributes.model_dump(), **(change.attributes or {})})
    toxicity = toxic.toxicity if change.toxicity is None else change.toxicity
    return replace(toxic, attributes=attributes, toxicity=toxicity)


def refuse_bad_name(name: str) -> None:
    """A name is part of a path. ValueError when it could not be."""
    if not name.isprintable() or "/" in name or len(name) > MAX_NAME:
        raise ToxicRefused(f"bad request body: a name is printable, without a slash, of at most {MAX_NAME} characters")


def sentence(error: ValidationError) -> str:
    """The first thing that is wrong, in one line, without the value: it is the caller's."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def _parse(model: type[Any], body: bytes) -> Any:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise ToxicRefused(f"bad request body: {sentence(error)}") from error


def _attributes(kind: type[Attributes], values: Mapping[str, Any]) -> Attributes:
    try:
        return kind.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise ToxicRefused(f"bad request body: attributes.{sentence(error)}") from error


def _as_integer(value: float) -> float:
    """Clients of typed languages read these as integers, so 100.0 is written as 100."""
    return int(value) if value == int(value) else value
