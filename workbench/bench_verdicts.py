"""How a bench ends: its table, a sentence for each requirement, and a record of both for the documents.

The sentence of a requirement begins with "met: " or "MISSED: ", and `claims` reads the record by these words. A sentence that
begins otherwise is a remark, of which nothing is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loadtests.manifest import Conditions
from workbench.measurements import record_bench
from workbench.terminal import say, show_table

MET, MISSED = "met", "MISSED"


def met_or_missed(met: bool, requirement: str) -> str:
    return f"{MET if met else MISSED}: {requirement}"


def all_met(sentences: Iterable[str]) -> bool:
    return not any(sentence.startswith(f"{MISSED}: ") for sentence in sentences)


def conclude(
    design: str,
    name: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    sentences: Sequence[str],
    *,
    record: bool,
    around: Conditions | None = None,
    options: str = "",
) -> int:
    """Print all of it, and with `record` keep it as `record_bench` does. The exit code: 0 when no requirement is missed, else 1."""
    show_table(columns, rows)
    for sentence in sentences:
        say(sentence)
    if record:
        say(f"recorded  {record_bench(design, name, columns, rows, sentences, around, options=options)}")
    return 0 if all_met(sentences) else 1
