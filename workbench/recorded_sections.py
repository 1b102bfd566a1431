"""The sections of a document that are made from recorded measurements: claims with their verdicts, comparisons, benches.

Every number comes from a record and stands beside the command that makes it again. What a run could not settle is said as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from designs.building_blocks.claims import SAFETY
from loadtests.report.number_format import change, enumeration, interval, number
from loadtests.report.verdict import safety_findings, verdict
from loadtests.result import Comparison, Result, Variant
from workbench.claims import Judged
from workbench.markdown import capital, full_sentence, markdown_table, prose
from workbench.measurements import BenchRecord

UNITS_SHOWN = ("us", "ms", "MB")
VERDICTS = {
    "holds": "holds",
    "contradicted": "**contradicted**",
    "unsettled": "not settled by this run",
    "not measured": "not measured",
}


def claims_section(design: str, judged: Iterable[Judged], margin: float) -> list[str]:
    """A row per claim, grouped by run; the first row of a group has the command that measures the run again."""
    rows, run = [], ""
    for each in judged:
        again = "" if each.claim.run.name == run else f"`designs claims {design} {each.claim.run.name}`"
        run = each.claim.run.name
        rows.append([prose(each.claim.sentence), prose(measured(each, margin)), VERDICTS[each.outcome], again])
    return markdown_table(["claim", "measured", "verdict", "measure it again"], rows)


def measured(judged: Judged, margin: float) -> str:
    """The figure of a claim as its record has it: "store reads per request: 0.96 → 0.16 (−84 % [−93, −66])"."""
    compared = judged.comparison
    if compared is None:
        return judged.said if judged.claim.figure == SAFETY else judged.said.rpartition(": ")[2]
    # The verdict is the claim's own here: an interval across 1 can still lie below what was promised at most.
    other = other_value(compared, margin).replace("(inconclusive: ", "(")
    return f"{compared.title}: {value(compared, compared.baseline)} → {other}"


def claims_lines(judged: Sequence[Judged]) -> list[str]:
    """What a run says of its claims: one line when all hold, else those that don't. The list of claims has them all."""
    if not judged:
        return []
    rest = [each for each in judged if each.outcome != "holds"]
    kept = len(judged) - len(rest)
    told = f"{kept} of {len(judged)} claims hold:" if rest else f"All {kept} claims about this run hold."
    return [told, "", *(f"- {VERDICTS[each.outcome]}: {prose(each.claim.sentence)}" for each in rest), *([""] if rest else [])]


def measured_section(result: Result, card: Callable[[str], Sequence[str]], judged: Sequence[Judged] = ()) -> list[str]:
    """A recorded comparison, with what it says of its claims. `card` names the figures that matter, for another variant."""
    shown = card_figures(result, card)
    names = [variant.name for variant in result.variants]
    by_figure = [{compared.figure: compared for compared in found} for found in result.comparisons]
    rows = []
    for figure in shown:
        sides = [found.get(figure) for found in by_figure]
        known = next(side for side in sides if side is not None)
        title = f"**{known.title}**" if known.primary else known.title
        cells = [other_value(side, result.manifest.margin) if side is not None else "" for side in sides]
        rows.append([prose(title), value(known, known.baseline), *cells])
    lines = [f"**{prose(full_sentence(line))}**" for line in verdict(result).lines]
    return [
        *(lines if len(lines) == 1 else [f"- {line}" for line in lines]),
        "",
        *claims_lines(judged),
        *markdown_table(["", *map(prose, names)], rows),
        "",
        f"- {prose(safety_sentence(result))}",
        f"- {prose(full_sentence(result.noise_sentence))}",
        *(f"- {prose(each)}" for each in unsteady(result.variants)),
        f"- {prose(run_sentence(result))}",
        "",
        "```sh",
        result.manifest.command,
        "```",
    ]


def across_section(figures: Sequence[str], results: Sequence[Result]) -> list[str]:
    """Figures of one knob under several mixes: how the answer changes with the load. A row per figure and mix."""
    names = [variant.name for variant in results[0].variants]
    rows = []
    for figure in figures:
        for result in results:
            by_figure = [{compared.figure: compared for compared in found} for found in result.comparisons]
            sides = [found.get(figure) for found in by_figure]
            known = next((side for side in sides if side is not None), None)
            if known is None:
                continue
            cells = [other_value(side, result.manifest.margin) if side is not None else "" for side in sides]
            rows.append([prose(known.title), f"`{result.manifest.mix}`", value(known, known.baseline), *cells])
    return markdown_table(["", "mix", *map(prose, names)], rows)


def bench_section(record: BenchRecord, judged: Sequence[Judged] = ()) -> list[str]:
    where = conditions_sentence(record.machine, record.versions, record.commit, record.dirty)
    return [
        *claims_lines(judged),
        *(f"- {prose(full_sentence(each))}" for each in record.sentences),
        "",
        *markdown_table([prose(each) for each in record.columns], [[prose(cell) for cell in row] for row in record.rows]),
        "",
        f"{_day(record.recorded_at)}. {prose(where)}",
        "",
        "```sh",
        record.command,
        "```",
    ]


def card_figures(result: Result, card: Callable[[str], Sequence[str]]) -> list[str]:
    """The primary figure, then those on the cards of all other variants, as far as they were measured."""
    found = {compared.figure for side in result.comparisons for compared in side}
    on_cards = [figure for variant in result.variants[1:] for figure in card(variant.name)]
    return [figure for figure in dict.fromkeys([result.manifest.primary_figure, *on_cards]) if figure in found]


def value(compared: Comparison, figure: float) -> str:
    return f"{number(figure)} {compared.unit}" if compared.unit in UNITS_SHOWN else number(figure)


def other_value(side: Comparison, margin: float) -> str:
    """The other variant's figure, and what may be said of the difference."""
    shown = value(side, side.other)
    if side.ratio is None or side.verdict == "count":
        return shown
    if side.verdict == "same":
        return f"{shown} (no difference above {number(margin * 100)} %)"
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


def unsteady(variants: Iterable[Variant]) -> list[str]:
    """A sentence for the variants whose primary figure rose or fell over the blocks by more than the margin."""
    moved = [
        f"{variant.name} ({change(1 + variant.steadiness.change_per_block)} a block)"
        for variant in variants
        if variant.steadiness is not None and not variant.steadiness.steady
    ]
    return [f"Not steady from block to block: {enumeration(moved)}."] if moved else []


def run_sentence(result: Result) -> str:
    """The conditions of a comparison."""
    manifest = result.manifest
    rejected = f" and {manifest.blocks_rejected} rejected" if manifest.blocks_rejected else ""
    struck = f" while {enumeration(manifest.faults)} struck" if manifest.faults else ""
    where = conditions_sentence(manifest.machine, manifest.versions, manifest.commit, manifest.dirty)
    return (
        f"{result.noise_floor.blocks} blocks counted{rejected}, turns of {number(manifest.round_s)} s at "
        f"{number(manifest.rate_per_s)} requests/s of the mix {manifest.mix}{struck}, {_day(manifest.started_at)}. "
        f"{where} {capital(manifest.pinning)}."
    )


def conditions_sentence(machine: Mapping[str, str], versions: Mapping[str, str], commit: str, dirty: bool) -> str:
    where = f"{machine.get('cpu', 'unknown CPU')}, {machine.get('cpus', '?')} CPUs, {machine.get('kernel', 'unknown kernel')}"
    load = machine.get("load_average_before", "unknown")
    changes = " with uncommitted changes" if dirty else ""
    return f"{where}, {versions.get('python', 'unknown Python')}, commit {commit[:10]}{changes}; load average before {load}."


def _day(moment: str) -> str:
    return moment[:10]
