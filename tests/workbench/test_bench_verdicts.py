"""How a bench ends: what is printed, what the exit code says, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.bench_verdicts import conclude, met_or_missed

COLUMNS, ROWS = ("links", "us"), [("10", "1.5")]
REMARK = "measured in 8 rounds"


@pytest.mark.parametrize(("met", "code", "word"), [(True, 0, "met"), (False, 1, "MISSED")])
def test_one_missed_requirement_is_an_exit_code_and_a_remark_is_none(
    met: bool, code: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sentences = [met_or_missed(True, "it is quick"), met_or_missed(met, "it is small"), REMARK]
    assert conclude("url_shortener", "growth", COLUMNS, ROWS, sentences, record=False) == code
    assert capsys.readouterr().out.splitlines() == ["10\t1.5", "met: it is quick", f"{word}: it is small", REMARK]


def test_what_was_printed_is_kept_where_a_record_is_wanted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("workbench.measurements.records_of", lambda design: tmp_path)
    conclude("url_shortener", "growth", COLUMNS, ROWS, [REMARK], record=True, options="--links 1,2")
    assert f"recorded  {tmp_path / 'bench-growth.json'}" in capsys.readouterr().out
    kept = json.loads((tmp_path / "bench-growth.json").read_text())
    assert (kept["rows"], kept["sentences"]) == ([["10", "1.5"]], [REMARK])
    assert kept["command"] == "designs bench growth --links 1,2"
