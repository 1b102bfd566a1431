"""`designs docs`: regenerates what in the documents is made from the code and from recorded measurements.

A document is written by hand, but for sections between two markers, which are made anew each time:

    <!-- generated: NAME -->
    <!-- end -->

    knobs               the design's knobs, and what each turn trades
    capacity            the back-of-envelope estimate for all presets, side by side
    tree                the design's files, each with the first sentence of its docstring
    claims              all recorded comparisons, a line each
    measured KNOB.MIX   one recorded comparison
    bench NAME          one recorded bench

A chapter's sections are about its design, those of the README about the first design unless NAME begins with another one. The
page of workloads is made whole. No number in a section is typed by hand, and none depends on the day it is regenerated.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from designs.building_blocks.knobs import knob_table
from loadtests.manifest import REPOSITORY
from loadtests.number_format import change, interval, number
from loadtests.report_verdict import safety_findings
from loadtests.result import Comparison, Result
from workbench.catalogue import DESIGNS, Design
from workbench.comparison import workload_of
from workbench.measurements import BenchRecord, read_bench, read_comparison, recorded_comparisons
from workbench.terminal import say, say_aside

OPENING = re.compile(r"^<!-- generated: (?P<name>.+?) -->$", re.MULTILINE)
CLOSING = re.compile(r"^<!-- end -->$", re.MULTILINE)
SECTION = re.compile(r"(?P<opening>^<!-- generated: (?P<name>[^\n]+?) -->\n)(?P<body>.*?)(?P<closing>^<!-- end -->$)", re.M | re.S)
UNITS_SHOWN = ("us", "ms", "MB")

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
    paths = [root / "README.md"]
    for design in DESIGNS.values():
        paths += [_chapter(design, root), _workloads(design, root)]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise DocumentError(
            f"there is no {missing[0].relative_to(root)}; the documents are regenerated in a checkout of the project"
        )
    return paths


def stale_sections(path: Path, root: Path) -> tuple[str, list[str]]:
    """(the document as it should be, the names of what in it is out of date)."""
    text = path.read_text(encoding="utf-8")
    design = next((each for each in DESIGNS.values() if path in (_chapter(each, root), _workloads(each, root))), None)
    if design is not None and path == _workloads(design, root):
        page: str = importlib.import_module(f"loadtests.{design.name}.mixes").workloads_page()
        return page, [] if page == text else ["the page"]
    usual = design or next(iter(DESIGNS.values()))
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
            return claims_section(recorded_comparisons(design.name))
        case ["measured", what]:
            result = read_comparison(design.name, what)
            return measured_section(result, lambda other: workload_of(design).card(result.manifest.knob, result.baseline, other))
        case ["bench", what]:
            return bench_section(read_bench(design.name, what))
        case _:
            raise DocumentError(
                f"there is no section {name!r}; the sections are knobs, capacity, tree, claims, measured KNOB.MIX and bench NAME"
            )


def knobs_section(design: Design) -> list[str]:
    rows = [
        [f"`{row.name}`", f"`{row.default}`", ", ".join(f"`{choice}`" for choice in row.choices), prose(row.description)]
        for row in knob_table(design.processes().KNOBS)
    ]
    return markdown_table(["knob", "default", "alternatives", "what it trades"], rows)


def capacity_section(design: Design) -> list[str]:
    """Assumptions first, as far as any preset changes one; then what follows."""
    module = importlib.import_module(f"{design.module}.capacity")
    presets: Mapping[str, Mapping[str, float]] = module.PRESETS
    usual = {name: each.default for name, each in inspect.signature(module.estimate).parameters.items()}
    changed = [name for name in usual if any(name in preset for preset in presets.values())]
    assumed = [[name.replace("_", " "), *(number({**usual, **preset}[name]) for preset in presets.values())] for name in changed]
    columns = [module.estimate(**preset).rows() for preset in presets.values()]
    follows = [[f"**{rows[0].figure}**", *(row.value for row in rows)] for rows in zip(*columns, strict=True)]
    return markdown_table(["", *presets], [[prose(cell) for cell in row] for row in [*assumed, *follows]])


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


def claims_section(results: Iterable[Result]) -> list[str]:
    rows = [
        [f"`{result.manifest.knob}`", prose(result.headline), result.safety_verdict(), f"`{result.manifest.command}`"]
        for result in results
    ]
    return markdown_table(["knob", "what was found", "safety", "see for yourself"], rows)


def measured_section(result: Result, card: Callable[[str], Sequence[str]]) -> list[str]:
    """A recorded comparison. `card` names the figures that matter, for one of the other variants."""
    shown = card_figures(result, card)
    names = [variant.name for variant in result.variants]
    by_figure = [{comparison.figure: comparison for comparison in found} for found in result.comparisons]
    rows = []
    for figure in shown:
        sides = [found.get(figure) for found in by_figure]
        known = next(side for side in sides if side is not None)
        title = f"**{known.title}**" if known.primary else known.title
        rows.append([prose(title), value(known, known.baseline), *(_other_cell(result, side) for side in sides)])
    manifest = result.manifest
    rejected = f" and {manifest.blocks_rejected} rejected" if manifest.blocks_rejected else ""
    where = conditions_sentence(manifest.machine, manifest.versions, manifest.commit, manifest.dirty)
    return [
        f"**{prose(_sentence(result.headline))}**",
        "",
        *markdown_table(["", *map(prose, names)], rows),
        "",
        f"- {prose(safety_sentence(result))}",
        f"- {prose(_sentence(result.noise_sentence))}",
        "- "
        + prose(
            f"{result.noise_floor.blocks} blocks counted{rejected}, turns of {number(manifest.round_s)} s at "
            f"{number(manifest.rate_per_s)} requests/s of the mix {manifest.mix}, {_day(manifest.started_at)}. "
            f"{where} {_capital(manifest.pinning)}."
        ),
        "",
        "```sh",
        manifest.command,
        "```",
    ]


def card_figures(result: Result, card: Callable[[str], Sequence[str]]) -> list[str]:
    """The primary figure, then those on the cards of all other variants, as far as they were measured."""
    measured = {comparison.figure for found in result.comparisons for comparison in found}
    on_cards = [figure for variant in result.variants[1:] for figure in card(variant.name)]
    return [figure for figure in dict.fromkeys([result.manifest.primary_figure, *on_cards]) if figure in measured]


def value(comparison: Comparison, figure: float) -> str:
    return f"{number(figure)} {comparison.unit}" if comparison.unit in UNITS_SHOWN else number(figure)


def _other_cell(result: Result, side: Comparison | None) -> str:
    """The other variant's figure, and what may be said of the difference."""
    if side is None:
        return ""
    shown = value(side, side.other)
    if side.ratio is None or side.verdict == "count":
        return shown
    if side.verdict == "same":
        return f"{shown} (no difference above {number(result.manifest.margin * 100)} %)"
    said = f"{change(side.ratio.estimate)} {interval(side.ratio)}".strip()
    return f"{shown} (inconclusive: {said})" if side.verdict == "inconclusive" else f"{shown} ({said})"


def safety_sentence(result: Result) -> str:
    """ "Safety: valid: no code names two links; ..."; what is broken or unknown comes first, with its counts."""
    told = []
    for finding in safety_findings(result):
        if finding.verdict == "valid":
            told.append(finding.invariant)
        else:
            told.append(f"{finding.variants}: {finding.verdict}: {finding.invariant} ({finding.counts})")
    return f"Safety: {result.safety_verdict()}: {'; '.join(dict.fromkeys(told)) or 'nothing was checked'}."


def bench_section(record: BenchRecord) -> list[str]:
    return [
        *(f"- {prose(_sentence(each))}" for each in record.sentences),
        "",
        *markdown_table([prose(each) for each in record.columns], [[prose(cell) for cell in row] for row in record.rows]),
        "",
        f"{_day(record.recorded_at)}. {prose(conditions_sentence(record.machine, record.versions, record.commit, record.dirty))}",
        "",
        "```sh",
        record.command,
        "```",
    ]


def conditions_sentence(machine: Mapping[str, str], versions: Mapping[str, str], commit: str, dirty: bool) -> str:
    where = f"{machine.get('cpu', 'unknown CPU')}, {machine.get('cpus', '?')} CPUs, {machine.get('kernel', 'unknown kernel')}"
    load = machine.get("load_average_before", "unknown")
    changes = " with uncommitted changes" if dirty else ""
    return f"{where}, {versions.get('python', 'unknown Python')}, commit {commit[:10]}{changes}; load average before {load}."


def first_sentence(docstring: str) -> str:
    """Up to the first full stop, else the whole first paragraph."""
    paragraph = " ".join(docstring.strip().split("\n\n")[0].split())
    ending = re.search(r"[.?!](?=\s|$)", paragraph)
    return paragraph[: ending.end()] if ending else paragraph


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Cells are Markdown already; a bar inside one would end it."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    return [line(header), f"|{'---|' * len(header)}", *(line(row) for row in rows)]


def prose(text: str) -> str:
    """Text in one line that no reader of Markdown takes for a tag. Code in backticks and emphasis stay what they are."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _day(moment: str) -> str:
    return moment[:10]


def _chapter(design: Design, root: Path) -> Path:
    return root.joinpath(*design.module.split("."), "README.md")


def _workloads(design: Design, root: Path) -> Path:
    return root / "loadtests" / design.name / "WORKLOADS.md"
