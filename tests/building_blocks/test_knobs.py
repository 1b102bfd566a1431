from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from designs.building_blocks.knobs import (
    KnobError,
    Knobs,
    build,
    knob_table,
    knobs_from_environment,
    knobs_to_environment,
    parse_assignments,
)

PREFIX = "TOY_KNOB_"


class ToyKnobs(Knobs):
    """A knob of each kind."""

    store: Literal["disk", "memory"] = Field(default="disk", description="Who keeps it.")
    status: Literal[301, 302] = 302
    entries: int = Field(default=10, ge=1, le=1000, examples=[1, 10, 100])
    share: float = Field(default=0.5, ge=0, le=1)
    shared: bool = False
    partner: Literal["a", "b"] | None = None

    @model_validator(mode="after")
    def _refuse_the_impossible(self) -> ToyKnobs:
        if self.store == "memory" and self.shared:
            raise ValueError("what is in memory can't be shared; use store=disk")
        return self


toys = st.builds(
    ToyKnobs,
    store=st.just("disk"),
    status=st.sampled_from([301, 302]),
    entries=st.integers(1, 1000),
    share=st.floats(0, 1),
    shared=st.booleans(),
)


@given(toys)
def test_knobs_survive_the_way_through_the_environment_of_another_process(knobs: ToyKnobs) -> None:
    environment = {"PATH": "/bin", **knobs_to_environment(knobs.model_copy(update={"partner": "b"}), PREFIX)}
    assert knobs_from_environment(ToyKnobs, PREFIX, environment) == knobs.model_copy(update={"partner": "b"})


def test_words_turn_knobs_and_what_is_not_named_stays() -> None:
    turned = parse_assignments(ToyKnobs, ["store=memory", "status=301", " entries = 5 ", "shared=false"])
    assert turned == ToyKnobs(store="memory", status=301, entries=5)
    assert parse_assignments(ToyKnobs, [], {"share": 0.25}).share == 0.25
    assert parse_assignments(ToyKnobs, ["share=1"], {"share": 0.25, "entries": 3}) == ToyKnobs(share=1, entries=3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["store"], "write knob=value, for example store=disk"),
        (["stroe=disk"], "there is no knob 'stroe'; the knobs are store, status"),
        (["store=floppy"], "store=floppy: Input should be 'disk' or 'memory'"),
        (["status=404"], "status=404"),
        (["entries=0"], "entries=0: Input should be greater than or equal to 1"),
        (["entries=many"], "entries=many"),
        (["share=nan"], "share=nan"),
        (["store=memory", "shared=true"], "what is in memory can't be shared; use store=disk"),
        (["="], "there is no knob ''"),
    ],
)
def test_a_word_that_turns_nothing_is_refused_in_one_sentence(words: list[str], says: str) -> None:
    with pytest.raises(KnobError) as refused:
        parse_assignments(ToyKnobs, words)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "pydantic" not in str(refused.value)


def test_a_misspelt_name_in_the_environment_is_refused_and_other_names_are_none_of_our_business() -> None:
    with pytest.raises(KnobError, match="there is no knob 'stroe'"):
        knobs_from_environment(ToyKnobs, PREFIX, {"TOY_KNOB_STROE": "disk"})
    assert knobs_from_environment(ToyKnobs, PREFIX, {"OTHER_KNOB_STORE": "x", "TOY_STORE": "x"}) == ToyKnobs()


def test_knobs_can_not_be_turned_while_something_runs_with_them() -> None:
    knobs: Any = ToyKnobs()
    with pytest.raises(ValidationError, match="frozen"):
        knobs.store = "memory"


def test_the_table_has_a_row_per_knob_with_its_choices_or_its_examples() -> None:
    rows = {row.name: row for row in knob_table(ToyKnobs)}
    assert list(rows) == list(ToyKnobs.model_fields)
    assert (rows["store"].choices, rows["store"].closed, rows["store"].default) == (("disk", "memory"), True, "disk")
    assert (rows["status"].choices, rows["status"].closed) == (("301", "302"), True)
    assert (rows["entries"].choices, rows["entries"].closed) == (("1", "10", "100"), False)
    assert (rows["shared"].choices, rows["shared"].closed, rows["shared"].default) == (("true", "false"), True, "false")
    assert rows["partner"].choices == ("a", "b")
    assert rows["store"].description == "Who keeps it."
    for row in rows.values():
        for choice in row.choices:
            build(ToyKnobs, {row.name: choice})  # what the table offers can be turned to
