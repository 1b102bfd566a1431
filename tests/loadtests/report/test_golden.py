"""One fixed record and what the report makes of it, word by word: whoever changes the report sees in review what readers will see.

`python -m tests.loadtests.report.test_golden` writes the golden files anew, from the record that lies beside them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.report.card import render_card
from loadtests.report.markdown import render_markdown
from loadtests.report.page import render_page
from loadtests.result import Result
from tests.loadtests.report.test_page import Page

GOLDEN = Path(__file__).parent / "golden"


def record() -> Result:
    return Result.model_validate_json((GOLDEN / "result.json").read_text(encoding="utf-8"))


def read_page() -> str:
    """The words of the page in their order, a line each."""
    texts = [" ".join(data.split()) for tag, data in Page(render_page(record())).texts if tag not in ("script", "style")]
    return "\n".join(text for text in texts if text) + "\n"


MADE = {
    "page.txt": read_page,
    "report.md": lambda: render_markdown(record()),
    "card.txt": lambda: render_card(record(), 100),
}


@pytest.mark.parametrize("name", MADE)
def test_the_report_of_a_fixed_record_is_word_by_word_the_one_that_was_reviewed(name: str) -> None:
    assert MADE[name]() == (GOLDEN / name).read_text(encoding="utf-8")


if __name__ == "__main__":
    for name, make in MADE.items():
        (GOLDEN / name).write_text(make(), encoding="utf-8")
