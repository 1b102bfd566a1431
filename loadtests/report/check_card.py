"""The verdict of a check for the terminal: what was judged and counted, the witness of what is wrong, the policy, the faults.

Promises. Lines fit the width they are given, 20 columns at least, and no control character of a record reaches the terminal.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.check.record import CheckRecord
from loadtests.report.check_tables import CheckRow, PolicyRow, check_rows, operation_rows, outcomes_seen, policy_rows, what_was_run
from loadtests.report.check_timeline import band_sentence
from loadtests.report.number_format import count
from loadtests.report.terminal_text import wrapped
from loadtests.report.verdict import MARKS

FAULTS_SHOWN = 12  # a long run has many; the page shows all
POLICY_MARKS = {"within": "✓", "beyond": "✗", "not seen": "?", "": "·"}


def render_check_card(record: CheckRecord, width: int) -> str:
    """Plain text; the page has the same in full."""
    lines = [
        f"{MARKS[record.verdict]} {record.verdict.upper()}",
        *wrapped(record.headline, width),
        *wrapped(what_was_run(record), width),
    ]
    lines += ["", "Checks"]
    for row in check_rows(record):
        lines += _check(row, width)
    if not record.checks:
        lines += wrapped("nothing was checked", width, "  ? ", "    ")
    if record.policy:
        lines += ["", "Failure policy (shown, decides no verdict)"]
        lines += [line for row in policy_rows(record) for line in _policy(row, width)]
    if record.bands:
        lines += ["", "Faults"]
        bands = sorted(record.bands, key=lambda band: band.start_s)
        lines += [line for band in bands[:FAULTS_SHOWN] for line in wrapped(band_sentence(band), width, "  - ", "    ")]
        if len(bands) > FAULTS_SHOWN:
            lines += wrapped(f"{count(len(bands) - FAULTS_SHOWN)} more in the report", width, "    ", "    ")
    if record.operations:
        lines += ["", "Operations"]
        for name, cells in operation_rows(record):
            lines += wrapped(f"{name}: {_outcomes(outcomes_seen(record), cells)}", width, "  - ", "    ")
    return "\n".join(lines) + "\n"


def _check(row: CheckRow, width: int) -> list[str]:
    verdict = "" if row.verdict == "valid" else f"{row.verdict}: "
    counts = ", ".join(f"{each.label} {each.value}" for each in row.counts)
    said = f"{verdict}{row.name}" + (f" ({counts})" if counts else "") + (f"; {row.detail}" if row.detail else "")
    lines = wrapped(said, width, f"  {MARKS[row.verdict]} ", "    ")
    for place, line in enumerate(row.witness, start=1):
        lines += wrapped(line, width, f"    {place}. ", "       ")
    return lines


def _policy(row: PolicyRow, width: int) -> list[str]:
    beyond = f"beyond {row.bound}: " if row.within == "beyond" else ""
    return wrapped(f"{beyond}{row.sentence}", width, f"  {POLICY_MARKS[row.within]} ", "    ")


def _outcomes(outcomes: Sequence[str], cells: Sequence[int]) -> str:
    return ", ".join(f"{outcome} {count(n)}" for outcome, n in zip([*outcomes, "all"], cells, strict=True))
