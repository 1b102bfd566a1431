"""Claims on a made-up run, and records that keep them or not: for the tests of what judges claims."""

from pathlib import Path
from typing import Any

from designs.building_blocks.claims import MET, SAFETY, VALID, Bench, Claim, Run, less, more
from loadtests.comparison.rounds import plan_hash
from loadtests.manifest import Conditions
from loadtests.result import Comparison, Result
from tests.loadtests.sample_result import sample_result
from workbench.catalogue import DESIGNS
from workbench.claims import wanted_experiment, wanted_knobs
from workbench.comparison import command_line
from workbench.measurements import record_bench, record_comparison

DESIGN = DESIGNS["url_shortener"]
RUN = Run("cache", ("none", "aside"), "redirects", rate_per_s=300.0, blocks=10, round_s=2.0)
GROWTH = Bench("growth", about_s=60)
CHEAPER = Claim("A cache saves CPU", RUN, "aside", "cpu_us_per_request", less(0.2))
SAFE = Claim("A cache keeps its promises", RUN, "", SAFETY, VALID)
SMALL = Claim("It stays small", GROWTH, "", "it stays small", MET)
DEARER = Claim("A cache costs CPU", RUN, "aside", "cpu_us_per_request", more())
AROUND = Conditions("0f3c2ab97d1e5b64", False, {"python": "CPython 3.11.7"}, {"cpu": "AMD EPYC", "cpus": "2"})


def result_of(run: Run = RUN, *, unsafe: bool = False, **changed: Any) -> Result:
    """What the run might have found: 39 % less CPU with the second value. `changed` are fields of the manifest."""
    result = sample_result(tuple(f"{run.knob}={value}" for value in run.values), unsafe=unsafe)
    experiment = wanted_experiment(DESIGN, run)
    facts = {
        "knob": run.knob,
        "mix": run.mix,
        "command": command_line(experiment, run.values, run.assignments),
        "plan_hash": plan_hash(experiment),
        "blocks_planned": run.blocks,
        **changed,
    }
    turned = zip(result.variants, wanted_knobs(DESIGN, run), strict=True)
    return result.model_copy(
        update={
            "manifest": result.manifest.model_copy(update=facts),
            "variants": [variant.model_copy(update={"knobs": knobs}) for variant, knobs in turned],
        }
    )


def with_comparison(result: Result, **changed: Any) -> Result:
    """The same result, but the primary figure of the second variant is changed."""
    compared = [comparison.model_copy(update=changed) if comparison.primary else comparison for comparison in result.comparisons[0]]
    return result.model_copy(update={"comparisons": [compared]})


def primary(result: Result) -> Comparison:
    return next(comparison for comparison in result.comparisons[0] if comparison.primary)


def record_run(folder: Path, result: Result | None = None) -> Path:
    return record_comparison(result or result_of(), folder)


def record_growth(folder: Path, sentence: str = "met: it stays small: 2 MB", options: str = "") -> Path:
    return record_bench(DESIGN.name, "growth", ["links", "MB"], [["10", "2"]], [sentence], AROUND, folder, options)
