"""A process that can't start says one sentence about what whoever set it up can put right, and nothing about what is ours."""

from __future__ import annotations

import sqlite3

import pytest
from pydantic import Field

from designs.building_blocks.knobs import KnobError
from designs.building_blocks.serving import complaint
from designs.building_blocks.settings import SecretUnreadable, Settings


class PrintingSettings(Settings):
    """Of some design."""

    sheets: int = Field(ge=1)


def invalid(**values: object) -> Exception:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - pydantic's ValidationError is one
        PrintingSettings.model_validate({"sheets": 1, **values})
    return refused.value


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (invalid(sheets=0), "setting PRESS_SHEETS: Input should be greater than or equal to 1"),
        (invalid(redis_url="nowhere"), "setting REDIS_URL: write it as redis://"),
        (KnobError("there is no knob 'ink'"), "there is no knob 'ink'"),
        (SecretUnreadable("a secret can't be read"), "a secret can't be read"),
        (ValueError("choose one of these"), "choose one of these"),
        (
            PermissionError(13, "Permission denied"),
            "setting PRESS_DATA_DIR: the folder can't be used: [Errno 13] Permission denied",
        ),
        (sqlite3.OperationalError("disk I/O error"), "setting PRESS_DATA_DIR: the folder can't be used: disk I/O error"),
    ],
)
def test_what_can_be_put_right_is_one_sentence(error: Exception, sentence: str) -> None:
    said = complaint(error, "PRESS_")
    assert said is not None
    assert said.startswith(sentence)
    assert "\n" not in said


@pytest.mark.parametrize("error", [KeyError("plate"), AssertionError(), RuntimeError("jam")])
def test_a_mistake_of_ours_is_no_sentence_but_a_traceback(error: Exception) -> None:
    assert complaint(error, "PRESS_") is None
