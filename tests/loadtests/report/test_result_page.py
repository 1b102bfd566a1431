"""The published schema: in date, whole, and true of a real record."""

from __future__ import annotations

import json
from pathlib import Path

from loadtests import result as schema
from loadtests.manifest import REPOSITORY
from loadtests.report.result_page import records, result_page, result_schema, type_told
from loadtests.result import Ratio, Record, SafetyCheck, Variant

FOLDER = Path(REPOSITORY) / "loadtests"


def test_the_published_schema_is_in_date() -> None:
    assert (FOLDER / "RESULT.md").read_text(encoding="utf-8") == result_page(), "make docs regenerates it"
    assert (FOLDER / "result.schema.json").read_text(encoding="utf-8") == result_schema(), "make docs regenerates it"


def test_every_record_and_every_field_is_described() -> None:
    page = result_page()
    declared = {each for each in vars(schema).values() if isinstance(each, type) and issubclass(each, Record)} - {Record}
    assert set(records()) == declared
    for record in declared:
        assert page.count(f"\n## {record.__name__}\n") == 1
        section = page.split(f"\n## {record.__name__}\n")[1].split("\n## ")[0]
        assert all(f"\n| `{name}` | " in section for name in record.model_fields)


def test_the_machine_readable_schema_knows_every_field_and_nothing_else_is_allowed() -> None:
    told = json.loads(result_schema())
    assert told["properties"].keys() == schema.Result.model_fields.keys()
    assert told["additionalProperties"] is False
    assert told["$defs"].keys() == {record.__name__ for record in records()} - {"Result"}


def test_a_type_is_said_in_words() -> None:
    assert type_told(float | None) == "number or null"
    assert type_told(dict[str, list[SafetyCheck]]) == "object of list of [SafetyCheck](#safetycheck)"
    assert type_told(list[tuple[float, float]]) == "list of [number, number]"
    assert type_told(Ratio.model_fields["blocks"].annotation) == "integer"
    assert type_told(SafetyCheck.model_fields["verdict"].annotation) == "`valid` or `invalid` or `unknown`"
    assert type_told(Variant.model_fields["knobs"].annotation) == "object of text or integer or number or true or false"


def test_the_raw_samples_are_described_where_they_are_written() -> None:
    assert "<v>_latency_intended_ms" in result_page()
    assert "np.load" in result_page()
