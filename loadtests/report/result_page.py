"""The schema of `result.json`, made from the records themselves: a page for people and a JSON Schema for machines.

Both are generated into the repository, so that a change of a field shows up in review; `designs docs --check` fails when either is
out of date.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from loadtests.comparison import samples
from loadtests.result import SCHEMA_VERSION, Record, Result

WORDS = {str: "text", int: "integer", float: "number", bool: "true or false", type(None): "null"}

OPENING = f"""# What a run leaves behind

<!-- Generated from loadtests/result.py by `designs docs`; do not edit. -->

`designs compare` writes a folder for each run:

| file | what it is |
|---|---|
| `index.html` | the report, one file that opens without a network |
| `report.md` | the same report for a pull request, without its charts |
| `result.json` | the record that both are made from; this page describes it |
| `samples.npz` | each single latency, for whoever doubts a percentile |
| `experiment.json` | what was fixed before the run; its SHA-256 is `manifest.experiment_hash` |

This is schema {SCHEMA_VERSION}. A record says its own in `schema_version`; a field that is renamed, removed or given another
meaning raises it, a field that is added with a default does not. [`result.schema.json`](result.schema.json) is the same as JSON
Schema.
Units are the ends of names (`_ms`, `_us`, `_s`, `_mb`); a ratio is `other / baseline`, so 0.8 means 20 % less. No field is left
out of a file: what was not measured is `null`, or empty.

`designs diff RUN RUN` compares two records of the same experiment.
"""

CODE = """```python
import json
import numpy as np

result = json.load(open("result.json"))
samples = np.load("samples.npz")
for v, name in enumerate(samples["variants"]):
    latency_ms = samples[f"{v}_latency_intended_ms"]
    print(name, np.quantile(latency_ms, [0.5, 0.99], method="inverted_cdf"))
    for block in np.unique(samples[f"{v}_block"]):
        print(block, np.median(latency_ms[samples[f"{v}_block"] == block]))
```
"""


def result_page() -> str:
    """`RESULT.md`: a table for each record, the outermost first, then the raw samples."""
    parts = [OPENING]
    for record in records():
        parts.append(f"## {record.__name__}\n\n{_cell(_docstring(record))}\n")
        rows = ["| field | type | meaning |", "|---|---|---|"]
        for name, field in record.model_fields.items():
            meaning = field.description or ""
            if field.examples:
                meaning = f"{meaning} (e.g. `{field.examples[0]}`)".strip()
            rows.append(f"| `{name}` | {type_told(field.annotation)} | {_cell(meaning)} |")
        parts.append("\n".join(rows) + "\n")
    parts += ["## The raw samples\n", _samples_told() + "\n", CODE]
    return "\n".join(parts)


def result_schema() -> str:
    """`result.schema.json`: JSON Schema 2020-12 of a record as it is written."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Result.model_json_schema(mode="serialization")}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def records() -> list[type[Record]]:
    """`Result`, then every record it holds, in the order a reader meets them."""
    found: list[type[Record]] = [Result]
    for record in found:  # grows while it is walked
        for field in record.model_fields.values():
            found += [inner for inner in _records_in(field.annotation) if inner not in found]
    return found


def type_told(kind: Any) -> str:
    """A type in words: `dict[str, list[float]]` -> "object of list of number"."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(type_told(each) for each in inside)
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in inside)
    if origin is list:
        return f"list of {type_told(inside[0])}"
    if origin is tuple:
        return f"[{', '.join(type_told(each) for each in inside)}]"
    if origin is dict:
        return f"object of {type_told(inside[1])}"
    if isinstance(kind, type) and issubclass(kind, Record):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    return WORDS[kind]


def _records_in(kind: Any) -> Iterator[type[Record]]:
    if isinstance(kind, type) and issubclass(kind, Record):
        yield kind
    for inner in get_args(kind):
        yield from _records_in(inner)


def _docstring(record: type[Record]) -> str:
    return " ".join((inspect.getdoc(record) or "").split())


def _samples_told() -> str:
    """What the module that writes them says of them, below its first line; the columns stay code."""
    return (inspect.getdoc(samples) or "").partition("\n")[2].strip("\n")


def _cell(text: str) -> str:
    """Text that ends no table row and is no tag, in the words of JSON."""
    return re.sub(r"\bNone\b", "null", " ".join(text.split())).replace("|", "\\|").replace("<", "&lt;")
