"""`designs docs`: regenerates what in the documents is made from the code and from recorded measurements.

A document is written by hand, but for sections between two markers, which are made anew each time:

    <!-- generated: NAME -->
    <!-- end -->

    knobs               the design's knobs, and what each turn trades
    capacity            the back-of-envelope estimate for all presets, side by side
    tree                the design's files, each with the first sentence of its docstring
    claims              all claims, each with its verdict and the command that measures it again
    measured KNOB.MIX   one recorded comparison, and what it says of its claims
    bench NAME          one recorded bench, and what it says of its claims
    across FIGURE,... KNOB.MIX...   figures of one knob under several mixes

A chapter's sections are about its design, those of the README about the first design unless NAME begins with another one. The
pages of workloads and of results are made whole. No number in a section is typed by hand, and none depends on the day it is
regenerated.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from designs.building_blocks.knobs import knob_table
from loadtests.manifest import REPOSITORY
from loadtests.report.number_format import number
from workbench.catalogue import DESIGNS, Design
from workbench.claims import how, review
from workbench.comparison import MARGIN, workload_of
from workbench.markdown import markdown_table, prose
from workbench.measurements import BenchRecord, NoRecord, read_bench, read_comparison
from workbench.recorded_sections import across_section, bench_section, claims_section, measured_section
from workbench.terminal import say, say_aside

OPENING = re.compile(r"^<!-- generated: (?P<name>.+?) -->$", re.MULTILINE)
CLOSING = re.compile(r"^<!-- end -->$", re.MULTILINE)
SECTION = re.compile(r"(?P<opening>^<!-- generated: (?P<name>[^\n]+?) -->\n)(?P<body>.*?)(?P<closing>^<!-- end -->$)", re.M | re.S)

MakeSection = Callable[[str], list[str]]  # NAME -> the lines of the section


class DocumentError(ValueError):
    """A document that can't be regenerated. The message says which and why."""


def docs_command(check: bool, root: Path = REPOSITORY) -> int:
    """Rewrite what is out of date. With `check` change nothing, name it, and answer 1 if there is any."""
    found = {path: stale_sections(path, root) for path in documents(root)}
    for path, (text, stale) in found.items():
        where = path.relative_to(root)
        if check:
            for name in stale:
                say_aside(f"designs: {where}: {name} is out of date; make docs regenerates it")
        elif stale:
            path.write_text(text, encoding="utf-8")
            say(f"{where}  regenerated: {', '.join(stale)}")
    if not any(stale for _, stale in found.values()):
        say(f"{len(found)} documents are in date")
        return 0
    return 1 if check else 0


def documents(root: Path) -> list[Path]:
    """Every document that has something generated in it. Raises `DocumentError` where there is no checkout of the project."""
    by_hand = [root / "README.md", *(_chapter(design, root) for design in DESIGNS.values())]
    missing = [path for path in by_hand if not path.exists()]
    if missing:
        raise DocumentError(
            f"there is no {missing[0].relative_to(root)}; the documents are regenerated in a checkout of the project"
        )
    return [*by_hand, *whole_pages(root)]


def whole_pages(root: Path) -> dict[Path, Callable[[], str]]:
    """Pages in which nothing is written by hand, and what makes each."""
    pages: dict[Path, Callable[[], str]] = {}
    for name in DESIGNS:
        pages[root / "loadtests" / name / "WORKLOADS.md"] = _made_by(f"loadtests.{name}.mixes", "workloads_page")
    pages[root / "loadtests" / "RESULT.md"] = _made_by("loadtests.report.result_page", "result_page")
    pages[root / "loadtests" / "result.schema.json"] = _made_by("loadtests.report.result_page", "result_schema")
    pages[root / "loadtests" / "faults" / "FAULTS.md"] = _made_by("loadtests.faults.page", "faults_page")
    pages[root / "workbench" / "museum" / "README.md"] = _made_by("workbench.museum.page", "museum_page")
    pages[root / "loadtests" / "check" / "check.schema.json"] = _made_by("loadtests.report.check_page", "check_schema")
    dashboards = root / "ops" / "grafana" / "dashboards"
    pages[dashboards / "overview.json"] = _made_by("workbench.ops_overview", "overview")
    for name in DESIGNS:
        pages[dashboards / f"{name}.json"] = _made_by(f"workbench.ops_{name}", name)
    return pages


def _made_by(module: str, function: str) -> Callable[[], str]:
    """Loaded when the page is made."""
    return lambda: str(getattr(importlib.import_module(module), function)())


def stale_sections(path: Path, root: Path) -> tuple[str, list[str]]:
    """(the document as it should be, the names of what in it is out of date)."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    make = whole_pages(root).get(path)
    if make is not None:
        page = make()
        return page, [] if page == text else ["the page"]
    usual = next((each for each in DESIGNS.values() if path == _chapter(each, root)), next(iter(DESIGNS.values())))
    try:
        return regenerated(text, lambda name: section(name, usual, path.parent, root))
    except DocumentError as error:
        raise DocumentError(f"{path.relative_to(root)}: {error}") from None


def regenerated(text: str, make: MakeSection) -> tuple[str, list[str]]:
    """The text with every section made anew, and the names of those that changed."""
    stale: list[str] = []

    def anew(found: re.Match[str]) -> str:
        body = "\n".join(["", *make(found["name"]), "", ""])
        if found["body"] != body:
            stale.append(found["name"])
        return f"{found['opening']}{body}{found['closing']}"

    sections = list(SECTION.finditer(text))
    nested = next((each["name"] for each in sections if OPENING.search(each["body"])), None)
    opened, closed = [each["name"] for each in OPENING.finditer(text)], len(CLOSING.findall(text))
    if nested or len(sections) != len(opened):
        raise DocumentError(f"the section {nested or opened[-1]!r} has no <!-- end -->")
    if closed != len(sections):
        raise DocumentError("an <!-- end --> belongs to no section")
    return SECTION.sub(anew, text), stale


def section(name: str, usual: Design, folder: Path, root: Path) -> list[str]:
    """The lines of one section in a document of `folder`; raises `DocumentError`, `NoRecord` or `BadRecord`."""
    words = name.split()
    design = usual
    if words[0] in DESIGNS:
        design, words = DESIGNS[words[0]], words[1:]
    match words:
        case ["knobs"]:
            return knobs_section(design)
        case ["capacity"]:
            return capacity_section(design)
        case ["tree"]:
            return tree_section(design, folder, root)
        case ["claims"]:
            return claims_section(design.name, review(design).judged, MARGIN)
        case ["measured", what]:
            return recorded_section(design, what)
        case ["bench", what]:
            return recorded_section(design, f"bench-{what}")
        case ["across", figures, *runs] if runs:
            return across_runs(design, figures.split(","), runs)
        case _:
            raise DocumentError(
                f"there is no section {name!r}; the sections are knobs, capacity, tree, claims, measured KNOB.MIX, "
                "across FIGURE,... KNOB.MIX... and bench NAME"
            )


def recorded_section(design: Design, name: str) -> list[str]:
    """The record of one run, and what it says of its claims. A run that is claimed and not recorded yet says how to record it."""
    mine = [judged for judged in review(design).judged if judged.claim.run.name == name]
    try:
        record = (
            read_bench(design.name, name.removeprefix("bench-"))
            if name.startswith("bench-")
            else read_comparison(design.name, name)
        )
    except NoRecord:
        if mine:
            return [f"Not recorded yet; {how(design, name)} does it."]
        raise
    if isinstance(record, BenchRecord):
        return bench_section(record, mine)
    knob, baseline = record.manifest.knob, record.baseline
    return measured_section(record, lambda other: workload_of(design).card(knob, baseline, other), mine)


def across_runs(design: Design, figures: Sequence[str], names: Sequence[str]) -> list[str]:
    """One knob under several mixes, as far as they are recorded."""
    results, missing = [], []
    for name in names:
        try:
            results.append(read_comparison(design.name, name))
        except NoRecord:
            missing.append(f"Not recorded yet; {how(design, name)} does it.")
    table = across_section(figures, results) if results else []
    return [*table, *([""] if table and missing else []), *missing]


def knobs_section(design: Design) -> list[str]:
    rows = [
        [f"`{row.name}`", f"`{row.default}`", ", ".join(f"`{choice}`" for choice in row.choices), prose(row.description)]
        for row in knob_table(design.processes().KNOBS)
    ]
    return markdown_table(["knob", "default", "alternatives", "what it trades"], rows)


def capacity_section(design: Design) -> list[str]:
    """Assumptions first, as far as any preset changes one; then what follows."""
    module = importlib.import_module(f"{design.module}.capacity")
    presets: Mapping[str, Mapping[str, float | str]] = module.PRESETS
    usual = {name: each.default for name, each in inspect.signature(module.estimate).parameters.items()}
    changed = [name for name in usual if any(name in preset for preset in presets.values())]
    assumed = [[name.replace("_", " "), *(_said({**usual, **preset}[name]) for preset in presets.values())] for name in changed]
    columns = [module.estimate(**preset).rows() for preset in presets.values()]
    follows = [[f"**{rows[0].figure}**", *(row.value for row in rows)] for rows in zip(*columns, strict=True)]
    return markdown_table(["", *presets], [[prose(cell) for cell in row] for row in [*assumed, *follows]])


def _said(assumption: float | str) -> str:
    return assumption if isinstance(assumption, str) else number(assumption)


def tree_section(design: Design, folder: Path, root: Path) -> list[str]:
    """Files of the design and of its load tests, empty ones left out, those of a folder before those of its folders."""
    package = _chapter(design, root).parent
    rows = []
    for top in (package, root / "loadtests" / design.name):
        paths = sorted(top.rglob("*.py"), key=lambda path: (len(path.relative_to(top).parts), path))
        for path in paths:
            said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            if said:
                shown = path.relative_to(package if top == package else root)
                rows.append([f"[`{shown}`]({os.path.relpath(path, folder)})", prose(first_sentence(said))])
    return markdown_table(["file", "what it is for"], rows)


def first_sentence(docstring: str) -> str:
    """Up to the first full stop, else the whole first paragraph."""
    paragraph = " ".join(docstring.strip().split("\n\n")[0].split())
    ending = re.search(r"[.?!](?=\s|$)", paragraph)
    return paragraph[: ending.end()] if ending else paragraph


def _chapter(design: Design, root: Path) -> Path:
    return root.joinpath(*design.module.split("."), "README.md")
