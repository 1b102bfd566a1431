"""The report of one comparison: a page to show, a Markdown page to paste, a card for the terminal.

A report says first what was found, then what it costs, then how sure that is. It promises to add nothing to the `Result` it
is given: each sentence is read from the record or computed from it here. A run whose safety is invalid is announced as such
before any speed. The page is one file that opens without a network; its tables need no JavaScript; text from the record
(names, notes, commands) is shown and never run.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from loadtests.result import Block, Comparison, LatencySummary, Ratio, Result, SafetyCheck, Variant

TEMPLATE_DIR = Path(__file__).parent / "report_template"
MARKS = {"valid": "✓", "invalid": "✗", "unknown": "?"}
# Ten samples have to lie beyond a percentile before it says more than the luck of a few requests.
SAMPLES_NEEDED = {"p50_ms": 20, "p90_ms": 100, "p99_ms": 1_000, "p999_ms": 10_000, "max_ms": 1}
PERCENTILES = {"p50": "p50_ms", "p90": "p90_ms", "p99": "p99_ms", "p99.9": "p999_ms", "max": "max_ms"}
BUSY_CORE = 0.7  # above this share of one core, waiting in line grows faster than the load


def write_report(result: Result, out_dir: Path) -> Path:
    """Write `index.html`, `report.md` and `result.json` into `out_dir` (made if missing); returns the path of the page."""
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "result.json").write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (out_dir / "report.md").write_text(render_markdown(result), encoding="utf-8")
    page = out_dir / "index.html"
    page.write_text(render_page(result), encoding="utf-8")
    return page


def render_page(result: Result) -> str:
    """The whole page as one HTML string: styles, chart library, script and data inlined."""
    styles = _asset("vendor/uPlot.min.css") + _asset("report.css")
    scripts = [_asset("vendor/uPlot.iife.min.js"), _asset("report.js")]
    scale = ratio_scale(_ratios_shown(result), result.manifest.margin)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE_DIR), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": number,
        "change": change,
        "interval": interval,
        "breakable": breakable,
        "missing_because": missing_because,
    }
    return environment.get_template("index.html.j2").render(
        result=result,
        verdict=verdict(result),
        safety=result.safety_verdict(),
        findings=safety_findings(result),
        marks=MARKS,
        scale=scale,
        percentiles=PERCENTILES,
        missing=missing_percentiles(result),
        block_chart=block_chart(result),
        answers=six_questions(result),
        statuses=statuses_seen(result),
        differing=differing_knobs(result),
        conditions=conditions(result),
        styles=styles,
        scripts=scripts,
        # Nothing but the very bytes named here may run or style the page, whatever a record's text contains.
        policy="default-src 'none'; img-src data:; "
        f"style-src {_csp_hash(styles)}; script-src {' '.join(_csp_hash(script) for script in scripts)}",
        data=result.model_dump_json().replace("<", "\\u003c"),
    )


# --- The verdict ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the page says first, and what it says under it."""

    headline: str
    subline: str


def verdict(result: Result) -> Verdict:
    """The headline. Broken safety comes first, and what was gained in speed second: a wrong answer has no speed."""
    conditions = (
        f"{result.manifest.mix_description.rstrip('.')}. {_count(result.manifest.rate_per_s)} requests/s, "
        f"{sum(block.accepted for block in result.blocks)} blocks, each variant in turn on the same machine."
    )
    safety = result.safety_verdict()
    if safety == "valid":
        return Verdict(result.headline, conditions)
    if safety == "unknown":
        unknown = [f"“{c.name}” ({name})" for name, checks in result.safety.items() for c in checks if c.verdict == "unknown"]
        missing = f": no verdict on {_and(unknown)}" if unknown else ": nothing was checked"
        return Verdict(result.headline, f"Safety is unknown{missing}. {conditions}")
    broken = [f"{name} breaks “{c.name}”" for name, checks in result.safety.items() for c in checks if c.verdict == "invalid"]
    measured = "; ".join(c.sentence for cs in result.comparisons for c in cs if c.primary) or result.headline
    return Verdict(f"Not safe: {_and(broken)}", f"The speed of a wrong answer does not count. Measured: {measured.rstrip('.')}.")


@dataclass(frozen=True, slots=True)
class Finding:
    """One invariant with one verdict, and every variant it was reached for. Counts stand side by side: `lost 0 / 2`."""

    invariant: str
    verdict: Literal["valid", "invalid", "unknown"]
    variants: str
    everywhere: bool
    counts: str
    detail: str


def safety_findings(result: Result) -> list[Finding]:
    """What the checkers found, the worst first; variants with the same verdict on the same invariant share a line."""
    together: dict[tuple[str, str], list[tuple[str, SafetyCheck]]] = {}
    for name, checks in result.safety.items():
        for check in checks:
            together.setdefault((check.verdict, check.name), []).append((name, check))
    findings = []
    for pairs in together.values():
        first = pairs[0][1]
        labels = dict.fromkeys(label for _, check in pairs for label in check.counts)
        sides = {label: _sides([check.counts.get(label, 0) for _, check in pairs]) for label in labels}
        counts = ", ".join(f"{label.replace('_', ' ')} {side}" for label, side in sides.items())
        detail = "; ".join(dict.fromkeys(check.detail for _, check in pairs if check.detail))
        everywhere = len(pairs) == len(result.safety)
        findings.append(Finding(first.name, first.verdict, _and([name for name, _ in pairs]), everywhere, counts, detail))
    return sorted(findings, key=lambda finding: ("invalid", "unknown", "valid").index(finding.verdict))


def _sides(counts: Sequence[int]) -> str:
    """One number where all variants agree, else one for each."""
    return _count(counts[0]) if len(set(counts)) == 1 else " / ".join(map(_count, counts))


def differing_knobs(result: Result) -> dict[str, list[str]]:
    """Knob -> its value in each variant, the knobs that differ first; this is the experiment in one table."""
    names = list(dict.fromkeys(name for variant in result.variants for name in variant.knobs))
    table = {name: [str(variant.knobs.get(name, "")) for variant in result.variants] for name in names}
    return dict(sorted(table.items(), key=lambda item: len(set(item[1])) == 1))


def statuses_seen(result: Result) -> dict[str, list[int]]:
    """Status -> its count in each variant, statuses in order, "error" (no answer at all) last."""
    seen = sorted({status for variant in result.variants for status in variant.statuses}, key=lambda s: (s == "error", s))
    return {status: [variant.statuses.get(status, 0) for variant in result.variants] for status in seen}


def missing_because(summary: LatencySummary, field: str) -> str:
    """What stands in the place of a percentile that the record does not have; empty where it has one."""
    if getattr(summary, field) is not None:
        return ""
    return "too few" if summary.samples < SAMPLES_NEEDED[field] else "overloaded"


def missing_percentiles(result: Result) -> list[str]:
    """Why percentiles are missing, one sentence for each reason."""
    sentences = []
    for label, field in PERCENTILES.items():
        short = {
            v.name: s.samples
            for v in result.variants
            for s in (v.latency_intended, v.latency_sent)
            if missing_because(s, field) == "too few"
        }
        if short:
            had = _and([f"{name} has {_count(samples)}" for name, samples in short.items()])
            sentences.append(f"{label} needs {_count(SAMPLES_NEEDED[field])} samples; {had}.")
    for variant in result.variants:
        if any(missing_because(variant.latency_intended, field) == "overloaded" for field in PERCENTILES.values()):
            why = "its latency would only say how long the run was"
            sentences.append(f"{variant.name} could not keep up with the load: {why}.")
    return sentences


def conditions(result: Result) -> dict[str, str]:
    """The manifest as label -> text, in the order a reader asks for it."""
    m = result.manifest
    return {
        "design, knob": f"{m.design}, {m.knob}",
        "mix": f"{m.mix}: {m.mix_description}",
        "rate": f"{number(m.rate_per_s)} requests/s, planned arrivals",
        "rounds": f"{number(m.round_s)} s each",
        "blocks": f"{m.blocks_planned} planned, {sum(b.accepted for b in result.blocks)} accepted, {m.blocks_rejected} rejected",
        "margin": f"{number(m.margin * 100)} %, fixed before the run",
        "primary figure": m.primary_figure,
        "seed": str(m.seed),
        "plan hash": m.plan_hash,
        "started": m.started_at,
        "took": f"{number(m.duration_s)} s",
        "commit": m.commit + (" with uncommitted changes" if m.dirty else ""),
        "pinning": m.pinning,
        **{label.replace("_", " "): value for label, value in m.machine.items()},
        **m.versions,
    }


# --- Where a ratio stands on its axis -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RatioScale:
    """A logarithmic axis around "equal", so that half and double stand equally far from it.

    Positions are per cent of the axis, 0 the smallest ratio and 100 the largest.
    """

    low_log: float
    high_log: float
    margin: float

    def at(self, ratio: float) -> float:
        """Where this ratio stands; what lies beyond the axis stands at its end."""
        log = math.log(ratio) if ratio > 0 else self.low_log
        share = (log - self.low_log) / (self.high_log - self.low_log)
        return round(2.0 + 96.0 * max(0.0, min(1.0, share)), 2)

    def beyond(self, ratio: float) -> str:
        """An arrow where the axis ends before the ratio does."""
        log = math.log(ratio)
        return "◂" if log < self.low_log else "▸" if log > self.high_log else ""

    @property
    def band(self) -> tuple[float, float]:
        """Both ends of the margin: differences inside it are called none."""
        return self.at(1.0 - self.margin), self.at(1.0 + self.margin)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """The outermost round ratio on either side, where one fits, and "equal" between them."""
        steps = (1.05, 1.1, 1.25, 1.5, 2.0, 4.0)
        down = [(self.at(1 / c), change(1 / c)) for c in steps if -math.log(c) >= self.low_log][-1:]
        up = [(self.at(c), change(c)) for c in steps if math.log(c) <= self.high_log][-1:]
        return [*down, (self.at(1.0), "equal"), *up]


def ratio_scale(ratios: Iterable[float], margin: float) -> RatioScale:
    """The axis that holds all these ratios and the margin; it ends at a third and at three times, lest one giant flatten all."""
    logs = [math.log(ratio) for ratio in ratios if ratio > 0]
    room = 2.0 * math.log1p(margin)
    end = math.log(3.0)
    return RatioScale(max(-end, 1.08 * min(logs, default=0.0) - room), min(end, 1.08 * max(logs, default=0.0) + room), margin)


def _ratios_shown(result: Result) -> list[float]:
    """Every estimate and interval end, and the mirror image of each: in a table of many figures "equal" stays in the middle."""
    shown = [c.ratio for comparisons in result.comparisons for c in comparisons if c.ratio] + [result.noise_floor]
    ends = [value for ratio in shown for value in (ratio.low, ratio.estimate, ratio.high) if value]
    return ends + [1 / value for value in ends]


@dataclass(frozen=True, slots=True)
class Dot:
    """One variant's ratio to the baseline in one block, on the primary figure. Positions in per cent of the plot.

    `place` counts blocks as they were measured: a rejected block and its repetition share an index, not a place.
    """

    place: int
    variant: int
    x: float
    y: float
    accepted: bool
    label: str


@dataclass(frozen=True, slots=True)
class Span:
    """An estimate with its interval, standing beside the dots it came from; variant 0 is the A/A control."""

    variant: int
    x: float
    y: float
    ends: tuple[float, float] | None
    label: str


@dataclass(frozen=True, slots=True)
class BlockChart:
    """The blocks from left to right, then what they add up to, then the A/A control."""

    title: str
    dots: list[Dot]
    spans: list[Span]
    ticks: list[tuple[float, str]]
    band: tuple[float, float]


def block_chart(result: Result) -> BlockChart:
    primary = result.manifest.primary_figure
    ratios = [[block_ratio(block, primary, result.baseline, v.name) for v in result.variants[1:]] for block in result.blocks]
    totals = [next((c for c in comparisons if c.figure == primary), None) for comparisons in result.comparisons]
    ends = [end for c in totals if c and c.ratio for end in (c.ratio.low, c.ratio.high) if end]
    floor = [end for end in (result.noise_floor.low, result.noise_floor.high) if end]
    counted = [r for block, row in zip(result.blocks, ratios, strict=True) for r in row if r and block.accepted]
    scale = ratio_scale(counted + ends + floor, result.manifest.margin)

    def up(ratio: float) -> float:
        return round(100.0 - scale.at(ratio), 2)

    dots = []
    others = max(1, len(result.variants) - 1)
    for place, (block, row) in enumerate(zip(result.blocks, ratios, strict=True)):
        for i, ratio in enumerate(row):
            if ratio is not None:
                aside = (i - (others - 1) / 2) * min(1.6, 50.0 / len(result.blocks) / others)
                x = 14.0 + 60.0 * (place + 0.5) / len(result.blocks) + aside
                why = "" if block.accepted else f", rejected: {block.rejected_because}"
                label = f"block {block.index}, {result.variants[i + 1].name}: {change(ratio)}{why}"
                dots.append(Dot(place, i + 1, round(x, 2), up(ratio), block.accepted, label))
    spans = [
        _span(i + 1, round(76.0 + 14.0 * (i + 0.5) / others, 2), c.ratio, f"{result.variants[i + 1].name}, all blocks", up)
        for i, c in enumerate(totals)
        if c and c.ratio
    ]
    spans.append(_span(0, 95.5, result.noise_floor, f"A/A control, {result.baseline} against itself", up))
    title = next((c.title for c in totals if c), primary)
    ticks = [(100.0 - x, label) for x, label in scale.ticks]
    return BlockChart(title, dots, spans, ticks, (up(1.0 + scale.margin), up(1.0 - scale.margin)))


def _span(variant: int, x: float, ratio: Ratio, label: str, up: Callable[[float], float]) -> Span:
    ends = (up(ratio.high), up(ratio.low)) if ratio.low and ratio.high else None
    return Span(variant, x, up(ratio.estimate), ends, f"{label}: {change(ratio.estimate)} {interval(ratio)}".rstrip())


def block_ratio(block: Block, figure: str, baseline: str, other: str) -> float | None:
    """`other / baseline` in this block; None where one side has no such figure or counted nothing."""
    below, above = (block.figures.get(name, {}).get(figure, 0.0) for name in (baseline, other))
    return above / below if below > 0 and above > 0 else None


# --- Six questions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    question: str
    short: str
    text: str
    tone: Literal["good", "caution", "bad"]


def six_questions(result: Result) -> list[Answer]:
    """Brendan Gregg's "Benchmarking Checklist" (2018-06-30), answered from the record alone."""
    return [
        _why_not_double(result),
        _did_it_break_limits(result),
        _did_it_error(result),
        _does_it_reproduce(result),
        _does_it_matter(result),
        _did_it_even_happen(result),
    ]


def _why_not_double(result: Result) -> Answer:
    question = "Why not double?"
    parts = []
    for variant in result.variants:
        cpu_us = variant.figures.get("cpu_us_per_request", 0.0)
        if cpu_us > 0:
            role, share_us = max(_cpu_by_role(variant).items(), key=lambda item: item[1], default=("", 0.0))
            most = f", {_share(share_us / cpu_us)} of it in the {role}" if role else ""
            spends = f"{variant.name} spends {number(cpu_us)} us of CPU a request{most}"
            parts.append(f"{spends}: one core ends at about {_count(_round2(1e6 / cpu_us))}/s.")
    if not parts:
        return Answer(
            question, "Not known", "CPU per request was not recorded, so what limits each variant is not known.", "caution"
        )
    held = f"The load was held at {_count(result.manifest.rate_per_s)}/s, equal for all; throughput is not the result here."
    return Answer(question, "CPU is the limit that was counted", " ".join([held, *parts]), "good")


def _did_it_break_limits(result: Result) -> Answer:
    question = "Did it break limits?"
    shares = {v.name: v.figures.get("cpu_us_per_request", 0.0) * result.manifest.rate_per_s / 1e6 for v in result.variants}
    name, share = max(shares.items(), key=lambda item: item[1])
    rejected = [block for block in result.blocks if not block.accepted]
    why = f" Blocks left out, for a limit fixed beforehand: {len(rejected)} of {len(result.blocks)}" if rejected else ""
    reasons = list(dict.fromkeys(block.rejected_because for block in rejected if block.rejected_because))
    why += (f": {'; '.join(reasons)}." if reasons else ".") if why else " No block broke a limit of the machine or the generator."
    filled = f"At most {_share(share)} of one core was filled ({name})." if share > 0 else "CPU was not recorded."
    if share > BUSY_CORE:
        return Answer(
            question, "Near one", f"{filled} Above {_share(BUSY_CORE)}, latency shows the queue rather than the design.{why}", "bad"
        )
    return Answer(question, "No" if share > 0 else "Not known", filled + why, "caution" if rejected or share == 0 else "good")


def _did_it_error(result: Result) -> Answer:
    question = "Did it error?"
    total = sum(sum(v.statuses.values()) for v in result.variants)
    failed = {v.name: sum(n for s, n in v.statuses.items() if s == "error" or s.startswith("5")) for v in result.variants}
    refused = {v.name: sum(n for s, n in v.statuses.items() if s.startswith("4")) for v in result.variants}
    tail = (
        f" 4xx, counted as answers: {_and([f'{_count(n)} ({name})' for name, n in refused.items()])}."
        if any(refused.values())
        else ""
    )
    if not any(failed.values()):
        return Answer(question, "No", f"None of {_count(total)} requests ended in a 5xx or without an answer.{tail}", "good")
    share = sum(failed.values()) / max(1, total)
    by_variant = _and([f"{_count(n)} ({name})" for name, n in failed.items()])
    text = f"5xx or no answer: {by_variant}, {_share(share)} of all. Quick errors flatter latency."
    return Answer(question, "Yes", text + tail, "bad" if share > 0.01 else "caution")


def _does_it_reproduce(result: Result) -> Answer:
    question = "Does it reproduce?"
    accepted = [block for block in result.blocks if block.accepted]
    parts = []
    for variant in result.variants[1:]:
        ratios = [block_ratio(b, result.manifest.primary_figure, result.baseline, variant.name) for b in accepted]
        below = sum(ratio < 1 for ratio in ratios if ratio is not None)
        above = sum(ratio > 1 for ratio in ratios if ratio is not None)
        side = "below" if below >= above else "above"
        parts.append(f"{variant.name} came out {side} {result.baseline} in {max(below, above)} of {len(accepted)} blocks.")
    text = f"{' '.join(parts)} {result.noise_sentence.rstrip('.')}. The seed and plan hash below replay the same requests."
    low, high = result.noise_floor.low, result.noise_floor.high
    if low is None or high is None:
        return Answer(question, "Too few blocks to say", f"{text} Below 6 blocks no 95 % interval exists.", "caution")
    if not low <= 1.0 <= high:
        return Answer(
            question, "Doubtful", f"{text} The baseline differs from itself: something besides the knob moved.", "caution"
        )
    return Answer(question, "Within this run", text, "good")


def _does_it_matter(result: Result) -> Answer:
    question = "Does it matter?"
    margin = f"the margin of {number(result.manifest.margin * 100)} %"
    parts, settled = [], False
    for comparison in (c for comparisons in result.comparisons for c in comparisons if c.primary):
        parts.append(f"{comparison.sentence.rstrip('.')}.")
        settled |= comparison.verdict in ("less", "more")
        if comparison.figure == "cpu_us_per_request" and comparison.verdict in ("less", "more"):
            cores = abs(comparison.other - comparison.baseline) * 10_000 / 1e6
            parts.append(f"At 10,000 requests/s that is {number(cores)} cores {comparison.verdict}.")
    load = result.manifest.mix_description.rstrip(".")
    text = f"{' '.join(parts)} Judged against {margin}, fixed before the run, under this load: {load}."
    return Answer(
        question, "Above the noise" if settled else "No effect was settled", text.strip(), "good" if settled else "caution"
    )


def _did_it_even_happen(result: Result) -> Answer:
    question = "Did it even happen?"
    m = result.manifest
    parts, missing = [], False
    for variant in result.variants:
        rounds = sum(block.order.count(variant.name) for block in result.blocks if block.accepted)
        planned = rounds * m.round_s * m.rate_per_s
        missing |= variant.requests < 0.9 * planned
        parts.append(f"{variant.name}: {_count(variant.requests)} requests sent, about {_count(planned)} planned.")
    work = [c for comparisons in result.comparisons for c in comparisons if not c.primary and c.unit not in ("us", "ms")]
    parts += [f"Counted work: {c.sentence.rstrip('.')}." for c in work[:2]]
    checks = sum(len(checks) for checks in result.safety.values())
    parts.append(f"{checks} checks judged the history of the same requests.")
    return Answer(question, "Not all of it" if missing else "Yes", " ".join(parts), "bad" if missing else "good")


def _cpu_by_role(variant: Variant) -> dict[str, float]:
    prefix = "cpu_us_per_request_"
    return {name.removeprefix(prefix): us for name, us in variant.figures.items() if name.startswith(prefix)}


# --- Markdown -----------------------------------------------------------------------------------------------------------


def render_markdown(result: Result) -> str:
    """The page without its charts, for a pull request or a wiki. Text from the record is escaped."""
    said = verdict(result)
    lines = [f"# {_md(said.headline)}", "", _md(said.subline), "", f"Safety: **{result.safety_verdict()}**", ""]
    for title, sentences in (("What you buy", result.bought), ("What you pay", result.paid)):
        lines += [f"## {title}", "", *[f"- {_md(sentence)}" for sentence in sentences or ["nothing this run could see"]], ""]
    lines += ["## Safety", "", *_md_table(["variant", "invariant", "verdict", "counts", "detail"], _safety_rows(result)), ""]
    for variant, comparisons in zip(result.variants[1:], result.comparisons, strict=True):
        lines += [f"## {_md(variant.name)} against {_md(result.baseline)}", ""]
        header = ["figure", "unit", result.baseline, variant.name, "change", "interval", "verdict"]
        lines += [*_md_table(header, [_comparison_cells(c) for c in comparisons]), ""]
    lines += [_md(result.noise_sentence), "", "## Latency, ms", ""]
    rows = [
        [variant.name, clock, _count(summary.samples), *_percentile_cells(summary)]
        for variant in result.variants
        for clock, summary in (("planned start", variant.latency_intended), ("actual send", variant.latency_sent))
    ]
    lines += [*_md_table(["variant", "from", "samples", *PERCENTILES], rows), "", *map(_md, missing_percentiles(result)), ""]
    names = [variant.name for variant in result.variants]
    lines += ["## Statuses", ""]
    lines += [*_md_table(["status", *names], [[s, *map(_count, ns)] for s, ns in statuses_seen(result).items()]), ""]
    lines += ["## Six questions", ""]
    lines += [f"- **{a.question}** {_md(a.short)}. {_md(a.text)}" for a in six_questions(result)]
    lines += ["", "## Conditions", ""]
    lines += _md_table(["knob", *names], [[knob, *values] for knob, values in differing_knobs(result).items()])
    lines += ["", *_md_table(["condition", "value"], [list(pair) for pair in conditions(result).items()]), ""]
    lines += [f"- {_md(note)}" for note in result.manifest.notes]
    lines += ["", "## Repeat it", "", f"    {' '.join(result.manifest.command.split())}", ""]
    return "\n".join(lines)


def _safety_rows(result: Result) -> list[list[str]]:
    return [
        [name, check.name, check.verdict, _counts(check.counts), check.detail]
        for name, checks in result.safety.items()
        for check in checks
    ]


def _comparison_cells(c: Comparison) -> list[str]:
    shown = [change(c.ratio.estimate), interval(c.ratio)] if c.ratio else ["", ""]
    title = f"{c.title} (primary)" if c.primary else c.title
    return [title, c.unit, number(c.baseline), number(c.other), *shown, c.verdict]


def _percentile_cells(summary: LatencySummary) -> list[str]:
    return [missing_because(summary, field) or number(getattr(summary, field)) for field in PERCENTILES.values()]


def _md_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(_md(cell) for cell in cells)} |"

    return [line(header), f"|{'---|' * len(header)}", *(line(row) for row in rows)]


def _md(text: str) -> str:
    escaped = "".join(f"\\{c}" if c in "\\`*_[]|" else c for c in " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# --- The card in the terminal -------------------------------------------------------------------------------------------


def render_card(result: Result, width: int) -> str:
    """The trade-off card as plain text: verdict, what you buy, what you pay, safety, noise floor. Lines fit `width` columns."""
    said = verdict(result)
    lines = [*_wrap(said.headline, width), *_wrap(said.subline, width)]
    sections = [
        ("What you buy", [("+", sentence) for sentence in result.bought] or [("+", "nothing this run could see")]),
        ("What you pay", [("-", sentence) for sentence in result.paid] or [("-", "nothing this run could see")]),
        (f"Safety: {result.safety_verdict().upper()}", _safety_sentences(result)),
        ("Noise floor", [("~", result.noise_sentence)]),
    ]
    for title, sentences in sections:
        lines += ["", title]
        for mark, sentence in sentences:
            lines += _wrap(sentence, width, first=f"  {mark} ", rest="    ")
    return "\n".join(lines) + "\n"


def rich_card(result: Result) -> RenderableType:
    """The same card for a terminal with colours: buy, pay and safety side by side."""
    said = verdict(result)
    colour = {"valid": "green", "invalid": "red", "unknown": "yellow"}[result.safety_verdict()]
    card = Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 1), show_edge=False)
    card.add_column(Text("What you buy", style="bold"), ratio=1)
    card.add_column(Text("What you pay", style="bold"), ratio=1)
    card.add_column(Text(f"Safety: {result.safety_verdict().upper()}", style=f"bold {colour}"), ratio=1)
    card.add_row(
        _paragraphs([("+", sentence) for sentence in result.bought] or [("+", "nothing this run could see")]),
        _paragraphs([("-", sentence) for sentence in result.paid] or [("-", "nothing this run could see")]),
        _paragraphs(_safety_sentences(result)),
    )
    headline = Text(_printable(said.headline), style=f"bold {colour}" if colour == "red" else "bold")
    noise = Text(_printable(result.noise_sentence), style="dim")
    body = Group(headline, Text(_printable(said.subline), style="dim"), Text(), card, Text(), noise)
    title = Text(_printable(f" {result.manifest.design}: {result.manifest.knob} "))
    return Panel(body, title=title, title_align="left", border_style=colour, padding=(1, 2))


def _paragraphs(sentences: Sequence[tuple[str, str]]) -> Table:
    """A hanging indent, so that the marks stand free in front of wrapped sentences."""
    grid = Table.grid(padding=(0, 1))
    for mark, sentence in sentences:
        grid.add_row(Text(mark), Text(_printable(sentence)))
    return grid


def _safety_sentences(result: Result) -> list[tuple[str, str]]:
    told = []
    for finding in safety_findings(result):
        whose = "" if finding.verdict == "valid" and finding.everywhere else f"{finding.variants}: "
        verdict = "" if finding.verdict == "valid" else f"{finding.verdict}, "
        told.append((MARKS[finding.verdict], f"{whose}{verdict}{finding.invariant} ({finding.counts}) {finding.detail}".rstrip()))
    return told or [(MARKS["unknown"], "nothing was checked")]


def _wrap(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(_printable(text), max(20, width), initial_indent=first, subsequent_indent=rest)


def _printable(text: str) -> str:
    """Without control characters: a name in a record must not be able to steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


# --- Numbers in words ---------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """Three significant digits, thousands apart: `0.1824` -> `0.182`, `149.2` -> `149`, `12034` -> `12,034`."""
    if not math.isfinite(value):
        return str(value)
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def change(ratio: float) -> str:
    """A ratio as people say it: `0.62` -> `−38 %`, `1.013` -> `+1.3 %`, `3.2` -> `3.2 ×`, with a space that does not break."""
    return f"{ratio:.3g}\N{NO-BREAK SPACE}×" if ratio >= 2 else f"{_percent(ratio, ratio)}\N{NO-BREAK SPACE}%"


def interval(ratio: Ratio) -> str:
    """The interval in the unit `change` gives its estimate: `[−41, −36]`; empty when there are too few blocks for one."""
    if ratio.low is None or ratio.high is None:
        return ""
    if ratio.estimate >= 2:
        return f"[{ratio.low:.3g}, {ratio.high:.3g}]"
    return f"[{_percent(ratio.low, ratio.estimate)}, {_percent(ratio.high, ratio.estimate)}]"


def breakable(name: str) -> Markup:
    """A name that may wrap where a reader would break it, so that a narrow table need not scroll: `cache=` | `aside`."""
    return Markup("<wbr>").join(re.findall(r"[^=_/.:,]{1,16}[=_/.:,]*|[=_/.:,]+", name))


def _percent(ratio: float, estimate: float) -> str:
    """Signed per cent with as many decimals as the estimate deserves: one below 10 %, none above."""
    decimals = 1 if abs(estimate - 1) < 0.1 else 0
    percent = round((ratio - 1) * 100, decimals)
    sign = "−" if percent < 0 else "+" if percent > 0 else ""
    return f"{sign}{abs(percent):.{decimals}f}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == round(value) else number(value)


def _share(value: float) -> str:
    return f"{value * 100:.2g}\N{NO-BREAK SPACE}%" if value < 0.1 else f"{value * 100:.0f}\N{NO-BREAK SPACE}%"


def _round2(value: float) -> float:
    """Two significant digits: a prediction should not look more exact than it is."""
    return round(value, 1 - math.floor(math.log10(value)))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_count(n)}" for name, n in counts.items())


def _and(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _asset(name: str) -> str:
    return (TEMPLATE_DIR / name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
