"""The command `capacity-test`: what it refuses, and what it tells on the way."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec

import pytest
from typer.testing import CliRunner

from loadtests.capacity.find import StepDone
from tests.loadtests.sample_capacity import open_step, sample_variant
from workbench.capacity_test import step_line, turned
from workbench.catalogue import Design, design_named
from workbench.cli import app
from workbench.cli_words import ExitCode
from workbench.comparison import workload_of


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--slo", "fast"], "'fast' is no objective: write a percentile, <, and a limit with its unit, for example p99<50ms"),
        (["--slo", "p95<1ms"], "there is no percentile p95"),
        (["--vary", "cache"], "--vary cache: write a knob and its values, for example cache=none,aside"),
        (["--vary", "colour=red,blue"], "there is no knob 'colour'"),
        (["--vary", "cache=none,shiny"], "cache=shiny: Input should be"),
        (["--mix", "storm"], "there is no mix 'storm'"),
        (["cache=shiny"], "cache=shiny: Input should be"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_before_anything_starts(words: list[str], sentence: str) -> None:
    shown = CliRunner().invoke(app, ["capacity-test", "url_shortener", *words])
    assert shown.exit_code == ExitCode.USAGE
    assert sentence in shown.stderr


def test_without_scipy_the_command_says_so_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def without_scipy(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "scipy" else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_scipy)
    shown = CliRunner().invoke(app, ["capacity-test", "url_shortener"])
    assert shown.exit_code == ExitCode.MISSING
    assert "scipy is not installed" in shown.stderr


def test_the_varied_value_wins_over_what_was_asked_for_and_that_over_the_mix() -> None:
    design: Design = design_named("url_shortener")
    mix = workload_of(design).mixes["expiring"]

    assert turned(design, mix, []).model_dump()["cache_ttl_s"] == 0.1
    assert turned(design, mix, ["cache_ttl_s=9"]).model_dump()["cache_ttl_s"] == 9
    assert turned(design, mix, ["cache_ttl_s=9"], "cache_ttl_s", "20").model_dump()["cache_ttl_s"] == 20


def test_each_step_is_told_in_a_line() -> None:
    closed = sample_variant().closed[1]
    assert step_line(StepDone("clients", "toy", closed, 1, 9)) == "toy  2 clients  2,980/s  0.651 ms"
    assert step_line(StepDone("knee", "toy", open_step(4_000, 30), 2, 9)) == "toy  4,000/s  pass: p99 was 30 ms"
    assert step_line(StepDone("check", "toy", None, 2, 9)) == "check toy"
