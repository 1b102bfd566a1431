"""The declarations: everything an exhibit names is there, and the launcher exchanges what it says and nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import pytest

from designs.building_blocks.knobs import build
from designs.building_blocks.processes import ProcessSpec
from loadtests.faults.named import read_schedule
from loadtests.rate_limiter import promises as rate_limiter
from loadtests.url_shortener import promises as url_shortener
from workbench.catalogue import design_named
from workbench.check import checked_workload
from workbench.museum import serve
from workbench.museum.exhibit import BadSwap, Exhibit, UnknownExhibit, chosen, exchange_parts, exhibits, flawed_start, place
from workbench.museum.page import museum_page

FOLDER = Path(serve.__file__).parent
PROMISES = {
    design: {value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}
    for design, module in (("url_shortener", url_shortener), ("rate_limiter", rate_limiter))
}
PARTS = ("url_shortener_flaws", "rate_limiter_flaws", "building_block_flaws")


def an_exhibit(**fields: object) -> Exhibit:
    known: dict[str, object] = dict.fromkeys(Exhibit.__dataclass_fields__, "")
    known |= {"name": "toy", "design": "url_shortener", "swaps": {}, "knobs": {}, "schedules": (), "seed": 1, "seconds": 1.0}
    return Exhibit(**(known | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("exhibit", exhibits().values(), ids=lambda exhibit: exhibit.name)
def test_an_exhibit_names_checks_schedules_knobs_and_parts_that_there_are(exhibit: Exhibit) -> None:
    assert exhibit.flagged_by in PROMISES[exhibit.design]
    assert exhibit.mix is None or exhibit.mix in checked_workload(design_named(exhibit.design)).mixes
    for word in exhibit.schedules:
        assert read_schedule(word).faults
    build(design_named(exhibit.design).processes().KNOBS, exhibit.knobs)
    assert exhibit.swaps
    for old, new in exhibit.swaps.items():
        assert getattr(*place(old)) is not getattr(*place(new))
        assert old.startswith("designs."), "only parts of the design are exchanged"
        assert new.startswith("workbench.museum."), "and only for parts of the museum"
    for said in (exhibit.title, exhibit.wrong, exhibit.seen_in, exhibit.tempting, exhibit.right_way):
        assert said


@pytest.mark.parametrize("exhibit", exhibits().values(), ids=lambda exhibit: exhibit.name)
def test_a_part_takes_what_the_one_takes_that_it_stands_in_for(exhibit: Exhibit) -> None:
    for old, new in exhibit.swaps.items():
        right, flawed = getattr(*place(old)), getattr(*place(new))
        if callable(right):
            takes = [
                each for each in signature(right).parameters.values() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
            ]
            by_name = {each.name for each in takes if each.kind is each.KEYWORD_ONLY or each.default is not each.empty}
            signature(flawed).bind(*(each for each in takes if each.name not in by_name), **dict.fromkeys(by_name))


def test_every_part_of_the_museum_is_shown() -> None:
    shown = {new for exhibit in exhibits().values() for new in exhibit.swaps.values()}
    text = "".join((FOLDER / f"{name}.py").read_text() for name in PARTS)
    for name in PARTS:
        tree = ast.parse((FOLDER / f"{name}.py").read_text())
        # A part stands in for another, or is what such a part is made of.
        made = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))}
        for part in (part for part in made if not part.startswith("_")):
            assert f"workbench.museum.{name}:{part}" in shown or text.count(part) > 1


def test_an_exhibit_is_found_by_its_name_in_either_spelling() -> None:
    assert [each.name for each in chosen(["hash-prefix", "sticky_negative"])] == ["hash_prefix", "sticky_negative"]
    assert [each.name for each in chosen([])] == [*exhibits()]
    with pytest.raises(UnknownExhibit, match="there is no exhibit 'nothing'; the exhibits are hash_prefix, "):
        chosen(["nothing"])


def test_the_launcher_is_told_what_the_design_would_have_been_told() -> None:
    argv = ("python", "-m", "designs.url_shortener.serve", "service", "--port", "8000")
    spec = ProcessSpec("replica-1", "service", argv, {"A": "b"}, url="http://127.0.0.1:8000")
    flawed = flawed_start(exhibits()["hash_prefix"], spec)
    assert flawed.argv == ("python", "-m", "workbench.museum.serve", "hash_prefix", "--", "service", "--port", "8000")
    assert (flawed.name, flawed.role, flawed.env, flawed.url) == (spec.name, spec.role, spec.env, spec.url)


def test_all_parts_are_found_before_the_first_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(Right=SimpleNamespace(verb="right"), Bad=SimpleNamespace(verb="bad"))
    monkeypatch.setitem(sys.modules, "toy_parts", module)
    with pytest.raises(BadSwap, match=r"there is no toy_parts:Right\.gone to exchange"):
        exchange_parts(
            an_exhibit(swaps={"toy_parts:Right.verb": "toy_parts:Bad.verb", "toy_parts:Right.gone": "toy_parts:Bad.verb"})
        )
    assert module.Right.verb == "right"
    exchange_parts(an_exhibit(swaps={"toy_parts:Right.verb": "toy_parts:Bad.verb"}))
    assert module.Right.verb == "bad"


def test_a_part_of_a_module_that_is_gone_is_named() -> None:
    with pytest.raises(BadSwap, match=r"there is no designs\.gone:Part to exchange"):
        exchange_parts(an_exhibit(swaps={"designs.gone:Part": "designs.gone:Part"}))


def test_the_launcher_refuses_an_exhibit_there_isnt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["serve", "nothing", "--", "service", "--port", "8000"])
    assert serve.main() == 2
    assert capsys.readouterr().err.startswith("error: there is no exhibit 'nothing'")


@pytest.mark.parametrize("design", PROMISES)
def test_the_launcher_does_what_the_design_does_with_the_parts_exchanged(design: str) -> None:
    """In a process of its own, since parts are exchanged for good. That the port is none comes from the design's own start."""
    exhibit = next(each for each in exhibits().values() if each.design == design)
    argv = [sys.executable, "-m", "workbench.museum.serve", exhibit.name, "--", "service", "--port", "0"]
    done = subprocess.run(argv, cwd=FOLDER.parent.parent, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"designs.{design}.serve: error: --port lies between 1 and 65535, not at 0" in done.stderr


def test_the_page_is_in_date() -> None:
    assert (FOLDER / "README.md").read_text() == museum_page(), "make docs regenerates it"
