"""A workload as a file that people write: who asks a service for what, in TOML, checked before anything is sent.

    name = "reads"
    who = "Readers of the shop's front page."
    rate_per_s = 200
    keys = 1000
    zipf_s = 1.0
    headers = { Authorization = "Bearer {env:SHOP_TOKEN}" }

    [[setup]]                                   # once for each key, before the load
    method = "PUT"
    path = "/items/{key}"
    body = { title = "item {key}" }

    [[request]]
    name = "read"
    weight = 95
    path = "/items/{key}"
    expect = [200]

    [[request]]
    name = "order"
    weight = 5
    method = "POST"
    path = "/orders/{seed}-{side}-{serial}"
    body = { item = "{key}" }
    expect = ["2xx"]
    then = { request = "read", after_s = 0.5 }

The blanks are those of `request_template`; any other text in braces stays as it is in a body and is refused elsewhere. A header
value may hold a secret by the name of its environment variable. What is wrong is said in one sentence, without the secret.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from loadtests.declared.request_syntax import (
    expected_status,
    header_templates,
    is_field_value,
    one_line,
    path_template,
    sendable_body,
    statuses_of,
)
from loadtests.declared.request_template import secret_names
from loadtests.generator.arrivals import MAX_JOURNEY

MAX_KEYS = 1_000_000
MAX_REQUESTS = 256
MAX_SETUP_STEPS = 16
MAX_FILE_BYTES = 16 << 20


class BadWorkloadFile(ValueError):
    """The file can't be used. The message names the place, what is wrong and what would be right."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Name = Annotated[str, AfterValidator(one_line)]
PathTemplate = Annotated[str, AfterValidator(path_template)]
Headers = Annotated[dict[str, str], AfterValidator(header_templates)]
Status = Annotated[Any, AfterValidator(expected_status)]  # 200 or "2xx"
Body = Annotated[JsonValue, AfterValidator(sendable_body)]


class Call(Part):
    """One request as it is written down."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    path: PathTemplate = Field(description="for example /items/{key}")
    headers: Headers = {}
    body: Body = Field(default=None, description="text as it is, or a table that is sent as JSON")
    expect: list[Status] | None = Field(default=None, description='statuses that are right, such as 201 or "2xx"', min_length=1)

    def body_text(self) -> str | None:
        if self.body is None or isinstance(self.body, str):
            return self.body
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":"))

    def all_headers(self, shared: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """The body's type, then the headers of the whole file, then its own: later ones take the place of earlier ones."""
        if self.body is not None:
            yield "Content-Type", "text/plain; charset=utf-8" if isinstance(self.body, str) else "application/json"
        yield from shared.items()
        yield from self.headers.items()

    def expected(self) -> frozenset[int] | None:
        """None when nothing was said."""
        if self.expect is None:
            return None
        return frozenset(status for each in self.expect for status in statuses_of(each))


class Next(Part):
    """The request that follows, when the one before got the answer that was expected."""

    request: Name
    after_s: float = Field(default=0.0, ge=0, le=60, allow_inf_nan=False)


class Request(Call):
    """One kind of request of the load. `weight` 0: only ever sent after another."""

    name: Name = ""
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    then: Next | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, written: Any) -> Any:
        if isinstance(written, dict) and "name" not in written and "path" in written:
            return {"name": f"{written.get('method', 'GET')} {written['path']}", **written}
        return written


class WorkloadFile(Part):
    """The whole file."""

    name: Name = Field(description="what a report calls this load")
    who: str = Field(min_length=1, description="a sentence that says who sends these requests")
    rate_per_s: float = Field(gt=0, le=100_000, description="requests per second, planned ahead")
    keys: int = Field(default=1, ge=1, le=MAX_KEYS)
    zipf_s: float = Field(default=0.0, ge=0, le=10, description="0: all keys equally popular; about 1: as in web traffic")
    headers: Headers = {}
    setup: list[Call] = Field(default=[], max_length=MAX_SETUP_STEPS)
    request: list[Request] = Field(
        min_length=1, max_length=MAX_REQUESTS, description="write at least one [[request]] with its path"
    )

    @model_validator(mode="after")
    def _whole(self) -> WorkloadFile:
        names = [each.name for each in self.request]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two requests are called {twice!r}; give each a name of its own")
        if not any(each.weight for each in self.request):
            raise ValueError("at least one request needs a weight above 0")
        if self.keys * len(self.setup) > MAX_KEYS:
            raise ValueError(f"{self.keys:,} keys times {len(self.setup)} steps of setup are more than {MAX_KEYS:,} requests")
        following = {each.name: each.then.request for each in self.request if each.then is not None}
        for name in following.values():
            if name not in names:
                raise ValueError(f"no request is called {name!r}, which is to follow another; the requests are {', '.join(names)}")
        for name in following:
            steps = 1
            while name in following:
                name, steps = following[name], steps + 1
                if steps > MAX_JOURNEY:
                    raise ValueError(f"the requests that follow {name!r} go on for more than {MAX_JOURNEY} steps, or for ever")
        return self

    def secrets(self, environment: Mapping[str, str]) -> dict[str, str]:
        """What its headers read from the environment. `BadWorkloadFile` for a variable that is not set, or fits no header."""
        found: dict[str, str] = {}
        for fields in [self.headers, *(call.headers for call in [*self.setup, *self.request])]:
            for header, value in fields.items():
                for name in secret_names(value):
                    if not environment.get(name):
                        raise BadWorkloadFile(f"the header {header} reads the environment variable {name}, which is not set")
                    if not is_field_value(environment[name]):
                        raise BadWorkloadFile(f"the environment variable {name} holds what no header may: a line end, or not ASCII")
                    found[name] = environment[name]
        return found


def read_workload_file(path: Path) -> WorkloadFile:
    """`BadWorkloadFile` when there is no such file, no TOML in it, or no workload in that."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadWorkloadFile(f"{path} is larger than {MAX_FILE_BYTES:,} bytes")
        written = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadWorkloadFile(f"{path} can't be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise BadWorkloadFile(f"{path} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise BadWorkloadFile(f"{path} is not TOML: {error}") from None
    try:
        return WorkloadFile.model_validate(written)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadWorkloadFile(f"{path}: {_sentence(first, written)}") from None


def _sentence(mistake: Mapping[str, Any], written: Mapping[str, Any]) -> str:
    """A mistake with its place in the words of the file: "request 2 (order): weight should be greater than or equal to 0"."""
    place = list(mistake["loc"])
    part: type[Part] = WorkloadFile
    words = []
    if len(place) > 1 and place[0] in ("request", "setup") and isinstance(place[1], int):
        part = Request if place[0] == "request" else Call
        entry = written[place[0]][place[1]]
        name = entry.get("name", "") if isinstance(entry, Mapping) else ""
        words = [f"{place[0]} {place[1] + 1}" + (f" ({name})" if isinstance(name, str) and name else "")]
        place = place[2:]
    if len(place) > 1 and place[0] == "then":
        part, words, place = Next, [*words, "then"], place[1:]
    where = "".join(f"{word}: " for word in words)
    field = str(place[0]) if place else ""
    said = str(mistake["msg"]).removeprefix("Value error, ")
    if mistake["type"] == "missing":
        meant = part.model_fields[field].description
        return f"{where}{field} is missing" + (f": {meant}" if meant else "")
    if mistake["type"] == "extra_forbidden":
        return f"{where}there is no {field!r} here; there is {', '.join(part.model_fields)}"
    if mistake["type"] == "invalid-json-value":
        said = "JSON has no dates; write them as text"
    if mistake["type"] == "model_type":
        said = "should be a table"
    if mistake["type"] == "list_type" and not words and field in ("request", "setup"):
        said = f"is a list: write [[{field}]], in two pairs of brackets"
    if field == "headers" and len(place) > 1:
        field = f"headers: {place[1]}"
    said = said.replace(" after validation", "").replace("a valid ", "a ").replace("a integer", "an integer")
    if said.startswith(("Input ", "is ")):
        return f"{where}{field} {said.removeprefix('Input ')}"
    return f"{where}{field + ': ' if field else ''}{said}"
