import re
from pathlib import Path

import pytest

from loadtests.manifest import Conditions
from loadtests.result import Result
from tests.loadtests.sample_result import sample_result
from workbench.catalogue import DESIGNS
from workbench.measurements import (
    BadRecord,
    BenchRecord,
    NoRecord,
    betrays,
    compact,
    read_bench,
    read_comparison,
    record_bench,
    record_comparison,
    record_name,
    recorded_comparisons,
    records_of,
)

AROUND = Conditions("0f3c2ab97d1e5b64", False, {"python": "CPython 3.11.7"}, {"cpu": "AMD EPYC", "cpus": "2"})


def kept(folder: Path, sentences: list[str]) -> Path:
    return record_bench("url_shortener", "growth", ["links", "us"], [["10", "1.5"]], sentences, AROUND, folder)


def test_a_record_of_a_comparison_says_all_that_was_found_under_which_conditions(tmp_path: Path) -> None:
    result = sample_result()
    path = record_comparison(result, tmp_path)
    assert path.name == "cache.redirects.json"
    read = read_comparison("url_shortener", "cache.redirects", tmp_path)
    kept_fields = ("headline", "comparisons", "noise_floor", "noise_sentence", "bought", "paid", "safety", "manifest")
    assert [getattr(read, field) for field in kept_fields] == [getattr(result, field) for field in kept_fields]
    assert [variant.figures for variant in read.variants] == [variant.figures for variant in result.variants]
    assert [variant.latency_intended.p99_ms for variant in read.variants] == [v.latency_intended.p99_ms for v in result.variants]


def test_a_record_leaves_out_what_only_charts_need() -> None:
    small = compact(sample_result())
    assert small.blocks == []
    assert small.ratio_functions == []
    assert all(variant.over_time == [] and variant.latency_intended.ecdf == [] for variant in small.variants)
    assert len(small.model_dump_json()) < len(sample_result().model_dump_json()) / 3
    assert small.noise_floor.blocks == 10


def test_a_newer_run_takes_the_place_of_the_older(tmp_path: Path) -> None:
    record_comparison(sample_result(headline="the older"), tmp_path)
    record_comparison(sample_result(headline="the newer"), tmp_path)
    kept(tmp_path, ["a bench is no comparison"])
    assert [result.headline for result in recorded_comparisons("url_shortener", tmp_path)] == ["the newer"]


def test_a_bench_is_kept_with_its_table_its_verdicts_and_its_conditions(tmp_path: Path) -> None:
    kept(tmp_path, ["met: it stays small"])
    record = read_bench("url_shortener", "growth", tmp_path)
    assert (record.columns, record.rows, record.sentences) == (["links", "us"], [["10", "1.5"]], ["met: it stays small"])
    assert (record.command, record.commit, record.machine["cpu"]) == ("designs bench growth", AROUND.commit, "AMD EPYC")


@pytest.mark.parametrize(
    "telling",
    [
        "data in /tmp/growth-1/links.db",
        "/home/somebody/designs",
        f"{Path.cwd()}/results",
        "Authorization: Bearer 0123456789abcdef",
        "redis://:secret@127.0.0.1:6379/0",
    ],
)
def test_a_place_on_the_machine_or_a_secret_is_not_recorded(tmp_path: Path, telling: str) -> None:
    with pytest.raises(BadRecord, match="nothing was recorded"):
        kept(tmp_path, [telling])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "harmless", ["GET /api/v1/links/{code}", "https://example.org/home/page", "loadtests/url_shortener/mixes.py"]
)
def test_routes_urls_and_the_files_of_the_project_may_be_named(tmp_path: Path, harmless: str) -> None:
    assert kept(tmp_path, [harmless]).exists()


def test_a_missing_record_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(NoRecord, match="designs compare url_shortener cache --mix mixed --record"):
        read_comparison("url_shortener", "cache.mixed", tmp_path)
    with pytest.raises(NoRecord, match="designs bench growth --record"):
        read_bench("url_shortener", "growth", tmp_path)


def test_a_record_of_another_version_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = kept(tmp_path, [])
    path.write_text(path.read_text().replace('"sentences"', '"verses"'))
    with pytest.raises(BadRecord, match=r"bench-growth\.json is no record of this version"):
        read_bench("url_shortener", "growth", tmp_path)


@pytest.mark.parametrize(
    "path", [path for design in DESIGNS for path in sorted(records_of(design).glob("*"))], ids=lambda path: path.stem
)
def test_every_record_can_be_read_and_tells_nothing_of_the_machine_but_its_kind(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert path.suffix == ".json"
    assert betrays(text) == ""
    assert not re.search(r'"kernel": "[^"]*-', text)
    record = (BenchRecord if path.stem.startswith("bench-") else Result).model_validate_json(text)
    if isinstance(record, Result):
        assert path.stem == record_name(record)
        assert record.manifest.command.startswith("designs compare ")
