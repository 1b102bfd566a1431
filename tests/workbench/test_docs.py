"""The documents are part of the code: what is generated in them is in date, and what they name exists."""

import re
import shlex
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from designs.building_blocks.knobs import knob_table
from loadtests.manifest import REPOSITORY
from workbench.bench import BENCHES
from workbench.catalogue import DESIGNS, Design, design_named
from workbench.claims import NoClaims, claims_of, runs_of
from workbench.cli import app
from workbench.comparison import workload_of
from workbench.docs import (
    DocumentError,
    docs_command,
    documents,
    first_sentence,
    knobs_section,
    regenerated,
    section,
    tree_section,
)
from workbench.measurements import NoRecord
from workbench.remeasure import chosen_runs

DESIGN = DESIGNS["url_shortener"]
CHAPTER_FOLDER = REPOSITORY / "designs" / "url_shortener"
# Made by a run, or examples of what one makes: no document promises that they are there before.
MADE_BY_RUNS = ("results/", "data/", ".venv/", "result.json", "experiment.json", "report.md")


def small_tree(folder: Path, chapter: str) -> Path:
    """A checkout with nothing but documents; the first design's chapter holds this text, and the others' next to none."""
    for path in documents(REPOSITORY):
        copy = folder / path.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    (folder / "README.md").write_text("# A book\n")
    for name in DESIGNS:
        (folder / "designs" / name / "README.md").write_text(chapter if name == DESIGN.name else "# Another chapter\n")
    return folder


def test_the_documents_are_in_date() -> None:
    assert docs_command(check=True) == 0


def test_a_stale_section_is_found_and_regenerated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = small_tree(tmp_path, "# Chapter\n\n<!-- generated: knobs -->\nof last year\n<!-- end -->\n\nBy hand.\n")
    chapter = root / "designs" / "url_shortener" / "README.md"
    before = chapter.read_text()
    assert docs_command(check=True, root=root) == 1
    told = capsys.readouterr().err
    assert told == "designs: designs/url_shortener/README.md: knobs is out of date; make docs regenerates it\n"
    assert chapter.read_text() == before
    assert docs_command(check=False, root=root) == 0
    assert docs_command(check=True, root=root) == 0
    text = chapter.read_text()
    assert "of last year" not in text
    assert text.startswith("# Chapter\n\n<!-- generated: knobs -->\n\n| knob |")
    assert text.endswith("\n\n<!-- end -->\n\nBy hand.\n")


def test_a_stale_page_of_workloads_is_found_and_regenerated(tmp_path: Path) -> None:
    root = small_tree(tmp_path, "")
    page = root / "loadtests" / "url_shortener" / "WORKLOADS.md"
    page.write_text(page.read_text().replace("## hot", "## cold"))
    assert docs_command(check=True, root=root) == 1
    assert docs_command(check=False, root=root) == 0
    assert page.read_text() == (REPOSITORY / "loadtests" / "url_shortener" / "WORKLOADS.md").read_text()


def test_sections_are_made_anew_and_all_else_stays() -> None:
    text = "a\n<!-- generated: one -->\n\nONE\n\n<!-- end -->\nb\n<!-- generated: two -->\n<!-- end -->\nc"
    assert regenerated(text, lambda name: [name.upper()]) == (
        "a\n<!-- generated: one -->\n\nONE\n\n<!-- end -->\nb\n<!-- generated: two -->\n\nTWO\n\n<!-- end -->\nc",
        ["two"],
    )


@given(
    parts=st.lists(st.tuples(st.text("ab\n", max_size=9), st.text("xyz ", min_size=1, max_size=4).filter(str.strip)), max_size=5)
)
def test_what_was_regenerated_is_in_date(parts: list[tuple[str, str]]) -> None:
    def make(name: str) -> list[str]:
        return [name.upper(), name]

    text = "".join(f"{prose}\n<!-- generated: {name.strip()} -->\n{prose}\n<!-- end -->\n" for prose, name in parts)
    anew, stale = regenerated(text, make)
    assert len(stale) == len(parts)
    assert regenerated(anew, make) == (anew, [])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<!-- generated: knobs -->\n", "'knobs' has no <!-- end -->"),
        ("<!-- generated: knobs -->\n<!-- generated: tree -->\n<!-- end -->\n", "'knobs' has no <!-- end -->"),
        ("<!-- end -->\n", "belongs to no section"),
    ],
)
def test_a_marker_without_its_other_half_is_a_sentence(text: str, complaint: str) -> None:
    with pytest.raises(DocumentError, match=complaint):
        regenerated(text, lambda name: [name])


def test_an_unknown_section_and_a_missing_record_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"designs/url_shortener/README\.md: there is no section 'poem'; the sections are"):
        docs_command(check=True, root=small_tree(tmp_path, "<!-- generated: poem -->\n<!-- end -->\n"))
    with pytest.raises(NoRecord, match="designs compare url_shortener cache --mix nowhere --record"):
        section("measured cache.nowhere", DESIGN, CHAPTER_FOLDER, REPOSITORY)


def test_a_run_that_is_claimed_and_not_recorded_yet_says_how_to_record_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("workbench.measurements.records_of", lambda design: tmp_path)
    monkeypatch.setattr("workbench.claims.records_of", lambda design: tmp_path)
    again = "`designs claims url_shortener ids.create`"
    assert section("measured ids.create", DESIGN, CHAPTER_FOLDER, REPOSITORY) == [f"Not recorded yet; {again} does it."]
    assert section("across store_reads ids.create", DESIGN, CHAPTER_FOLDER, REPOSITORY) == [f"Not recorded yet; {again} does it."]
    rows = section("claims", DESIGN, CHAPTER_FOLDER, REPOSITORY)[2:]
    assert len(rows) == len(claims_of(DESIGN))
    assert all(" | not measured | " in row for row in rows)


@pytest.mark.parametrize("design", DESIGNS.values(), ids=lambda design: str(design.name))
def test_every_run_is_shown_in_its_chapter(design: Design) -> None:
    sections = re.findall(r"^<!-- generated: (?:measured|across|bench) (.+) -->$", design.chapter().read_text(), re.M)
    shown = {word for words in sections for word in words.split()}
    assert [name for name in runs_of(claims_of(design)) if name.removeprefix("bench-") not in shown] == []


@pytest.mark.parametrize("design", DESIGNS.values(), ids=lambda design: str(design.name))
def test_no_measured_number_is_typed_into_a_chapter(design: Design) -> None:
    [measured] = re.findall(r"^## \d+\. The options, measured$.*?(?=^## )", design.chapter().read_text(), re.M | re.S)
    by_hand = re.sub(r"^<!-- generated: .*?^<!-- end -->$", "", measured, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"[^\s]*\d[\d.,]*[ \N{NO-BREAK SPACE}]?(?:%|us\b|ms\b|MB\b|times\b|req)", by_hand) == []


def test_a_tree_without_its_documents_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"there is no README\.md"):
        docs_command(check=True, root=tmp_path)


def test_the_table_of_knobs_has_each_with_what_it_trades() -> None:
    rows = knob_table(DESIGN.processes().KNOBS)
    lines = knobs_section(DESIGN)[2:]
    assert len(lines) == len(rows)
    for row, line in zip(rows, lines, strict=True):
        assert line.startswith(f"| `{row.name}` | `{row.default}` | ")
        assert all(f"`{choice}`" in line for choice in row.choices)


def test_the_presets_stand_side_by_side() -> None:
    lines = section("capacity", DESIGN, CHAPTER_FOLDER, REPOSITORY)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in cells}) == 1
    assert ["links per month", "3,000,000,000"] in [row[:2] for row in cells]
    assert ["**writes**", "1,157 /s"] in [row[:2] for row in cells]


@pytest.mark.parametrize("folder", [CHAPTER_FOLDER, REPOSITORY])
def test_the_tree_links_each_file_from_where_the_document_is(folder: Path) -> None:
    lines = tree_section(DESIGN, folder, REPOSITORY)[2:]
    links = [re.search(r"\]\(([^)]+)\)", line) for line in lines]
    files = {(folder / link[1]).resolve() for link in links if link}
    assert CHAPTER_FOLDER / "codes.py" in files
    assert CHAPTER_FOLDER / "backends" / "sqlite.py" in files
    assert all(file.exists() for file in files)
    assert len(files) == len(lines)


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("One request costs 1.5 us. Two cost more.", "One request costs 1.5 us."),
        ("No full stop\n\nA second paragraph.", "No full stop"),
        ("Over two\nlines. And on.", "Over two lines."),
    ],
)
def test_of_a_docstring_the_first_sentence_is_shown(docstring: str, sentence: str) -> None:
    assert first_sentence(docstring) == sentence


# -- what the documents name ----------------------------------------------------------------------------------------------


def named_paths(document: Path) -> Iterator[str]:
    """Targets of links, and words in backticks that look like a file or folder of the project."""
    text = document.read_text(encoding="utf-8")
    yield from (target.split("#")[0] for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)\s]+)\)", text))
    for word in re.findall(r"`([^`\s]+)`", text):
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)*(/|\.(py|md|toml|yml|json|lock))", word) and not word.startswith(MADE_BY_RUNS):
            yield word


def exists(path: str, document: Path) -> bool:
    """From the document, from the root, or for a bare name anywhere in the project."""
    if (document.parent / path).exists() or (REPOSITORY / path).exists():
        return True
    return "/" not in path and any(any((REPOSITORY / top).rglob(path)) for top in ("designs", "loadtests", "workbench", "tests"))


def named_commands(document: Path) -> Iterator[list[str]]:
    """Every `designs ...` and `make ...`, in backticks or on a line of a code block, as words."""
    text = document.read_text(encoding="utf-8")
    block = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    lines = [line.strip() for each in block.findall(text) for line in each.splitlines()]
    lines += [" ".join(words.split()) for words in re.findall(r"`([^`]+)`", block.sub("", text))]
    for line in lines:
        if re.match(r"(designs|make) ", line):
            yield shlex.split(line, comments=True)


@cache
def commands_there_are() -> dict[str, Any]:
    return dict(getattr(typer.main.get_command(app), "commands", {}))


def is_command(words: list[str]) -> bool:
    """Does the command line take it? Nothing is run. A command alone, and `knob` or `knob=value`, stand for any of its design."""
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
        return all(word in targets for word in words[1:] if "=" not in word)
    commands = commands_there_are()
    name, arguments = words[1], [word for word in words[2:] if word != "knob=value"]
    if name not in commands or not arguments:
        return name in commands
    named = next((DESIGNS[word] for word in (each.replace("-", "_") for each in arguments) if word in DESIGNS), DESIGN)
    any_knob = next(row.name for row in knob_table(named.processes().KNOBS) if row.closed)
    arguments = [any_knob if word == "knob" else word for word in arguments]
    try:
        asked = commands[name].make_context(name, arguments).params
    except Exception as error:
        if hasattr(error, "exit_code"):  # what the command line says of words it does not take
            return False
        raise
    if name == "bench":
        return asked["name"] in BENCHES
    if name == "claims":
        design = design_named(asked["design"])
        try:
            return bool(chosen_runs(design, runs_of(claims_of(design)), asked["runs"] or ()))
        except NoClaims:
            return False
    if not asked.get("design"):
        return True
    rows = {row.name: row for row in knob_table(design_named(asked["design"]).processes().KNOBS)}
    turned = asked.get("assignments") or (asked.get("words") if name in ("run", "load") else None) or ()
    values = [(knob, value) for knob, _, value in (word.partition("=") for word in turned)]
    if name == "compare":
        values += [(asked["knob"], value) for value in asked["values"] or rows.get(asked["knob"], rows[any_knob]).choices]
    return asked.get("mix") in (None, "", *workload_of(named).mixes) and all(
        knob in rows and (not rows[knob].closed or value in rows[knob].choices) for knob, value in values
    )


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("designs compare url_shortener clicks sync redis_streams --blocks 8 --record", True),
        ("designs compare url_shortener clicks sync carrier-pigeon", False),
        ("designs compare url_shortener colour", False),
        ("designs run url-shortener cache=none --replicas 2", True),
        ("designs run url-shortener colour=red", False),
        ("designs run url-shortener --colour", False),
        ("designs fly", False),
        ("designs bench growth --links 10000,1000000", True),
        ("designs bench speed", False),
        ("designs compare url_shortener knob", True),
        ("designs compare url_shortener cache none aside --set store=tape", False),
        ("designs compare url_shortener cache --mix cocktail", False),
        ("designs claims url_shortener ids bench-growth", True),
        ("designs claims url_shortener cache.cocktail", False),
        ("designs compare rate_limiter algorithm gcra fixed_window --mix edges", True),
        ("designs compare rate_limiter algorithm gcra --mix redirects", False),
        ("designs compare rate_limiter cache none aside", False),
        ("designs check rate_limiter knob=value --faults redis_kill", True),
        ("designs bench leases", True),
        ("make docs", True),
        ("make claims D=url_shortener", True),
        ("make coffee", False),
    ],
)
def test_a_command_that_is_none_would_be_found(line: str, right: bool) -> None:
    assert is_command(line.split()) == right


@pytest.mark.parametrize("document", documents(REPOSITORY), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_path_a_document_names_exists(document: Path) -> None:
    assert [path for path in named_paths(document) if not exists(path, document)] == []


@pytest.mark.parametrize("document", documents(REPOSITORY), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_command_a_document_names_is_a_real_one(document: Path) -> None:
    assert [shlex.join(words) for words in named_commands(document) if not is_command(words)] == []
