"""Six questions to ask of any benchmark, answered for one comparison: Brendan Gregg's "Benchmarking Checklist" (2018-06-30).

Promises. All six are asked each time, in Gregg's order, and answered from the record alone. Where CPU was not recorded, the
limits are said to be not known. The tone says what the answer does to the reader's trust.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from loadtests.report.block_chart import block_ratio
from loadtests.report.cpu_split import cpu_by_role
from loadtests.report.number_format import count, enumeration, number, percentage
from loadtests.report.tables import sent, steadiness
from loadtests.result import Result

BUSY_CORE = 0.7  # above this share of one core, waiting in line grows faster than the load


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


@dataclass(frozen=True, slots=True)
class Answer:
    question: str
    short: str
    text: str
    tone: Literal["good", "caution", "bad"]


def _why_not_double(result: Result) -> Answer:
    question = "Why not double?"
    parts = []
    for variant in result.variants:
        cpu_us = variant.figures.get("cpu_us_per_request", 0.0)
        if cpu_us > 0:
            role, share_us = max(cpu_by_role(variant).items(), key=lambda item: item[1], default=("", 0.0))
            most = f", {percentage(share_us / cpu_us)} of it in the {role}" if role else ""
            spends = f"{variant.name} spends {number(cpu_us)} us of CPU a request{most}"
            parts.append(f"{spends}: one core ends at about {count(_round2(1e6 / cpu_us))}/s.")
    if not parts:
        return Answer(
            question, "Not known", "CPU per request was not recorded, so what limits each variant is not known.", "caution"
        )
    held = f"The load was held at {count(result.manifest.rate_per_s)}/s, equal for all; throughput is not the result here."
    return Answer(question, "CPU is the limit that was counted", " ".join([held, *parts]), "good")


def _did_it_break_limits(result: Result) -> Answer:
    question = "Did it break limits?"
    shares = {v.name: v.figures.get("cpu_us_per_request", 0.0) * result.manifest.rate_per_s / 1e6 for v in result.variants}
    name, share = max(shares.items(), key=lambda item: item[1])
    rejected = [block for block in result.blocks if not block.accepted]
    why = f" Blocks left out, for a limit fixed beforehand: {len(rejected)} of {len(result.blocks)}" if rejected else ""
    reasons = list(dict.fromkeys(block.rejected_because for block in rejected if block.rejected_because))
    why += (f": {'; '.join(reasons)}." if reasons else ".") if why else " No block broke a limit of the machine or the generator."
    filled = f"At most {percentage(share)} of one core was filled ({name})." if share > 0 else "CPU was not recorded."
    if share > BUSY_CORE:
        return Answer(
            question,
            "Near one",
            f"{filled} Above {percentage(BUSY_CORE)}, latency shows the queue rather than the design.{why}",
            "bad",
        )
    return Answer(question, "No" if share > 0 else "Not known", filled + why, "caution" if rejected or share == 0 else "good")


def _did_it_error(result: Result) -> Answer:
    question = "Did it error?"
    total = sum(sent(v) for v in result.variants)
    failed = {v.name: sum(n for s, n in v.statuses.items() if s == "error" or s.startswith("5")) for v in result.variants}
    refused = {v.name: sum(n for s, n in v.statuses.items() if s.startswith("4")) for v in result.variants}
    tail = (
        f" 4xx, counted as answers: {enumeration([f'{count(n)} ({name})' for name, n in refused.items()])}."
        if any(refused.values())
        else ""
    )
    spared = {v.name: v.statuses.get("not sent", 0) for v in result.variants}
    if any(spared.values()):
        why = "the client held the answer or the step before failed"
        tail += f" Never sent, as {why}: {enumeration([f'{count(n)} ({name})' for name, n in spared.items()])}."
    if not any(failed.values()):
        return Answer(question, "No", f"None of {count(total)} requests ended in a 5xx or without an answer.{tail}", "good")
    share = sum(failed.values()) / max(1, total)
    by_variant = enumeration([f"{count(n)} ({name})" for name, n in failed.items()])
    text = f"5xx or no answer: {by_variant}, {percentage(share)} of all. Quick errors flatter latency."
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
    moving = [v for v in result.variants if v.steadiness is not None and not v.steadiness.steady]
    known = [v for v in result.variants if v.steadiness is not None]
    if known:
        primary = f"{result.manifest.primary_figure.replace('_', ' ')} over the blocks"
        parts.append(f"Warm-up, {primary}: {enumeration([f'{v.name} {steadiness(v)}' for v in known])}.")
    text = f"{' '.join(parts)} {result.noise_sentence.rstrip('.')}. The seed and plan hash below replay the same requests."
    low, high = result.noise_floor.low, result.noise_floor.high
    if low is None or high is None:
        return Answer(question, "Too few blocks to say", f"{text} Below 6 blocks no 95 % interval exists.", "caution")
    if not low <= 1.0 <= high:
        return Answer(
            question, "Doubtful", f"{text} The baseline differs from itself: something besides the knob moved.", "caution"
        )
    if moving:
        return Answer(question, "Not settled", f"{text} A figure that still moves has no single value to come back to.", "caution")
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
        spared = variant.statuses.get("not sent", 0)
        missing |= sent(variant) + spared < 0.9 * planned
        kept = f", {count(spared)} the client had no reason to send" if spared else ""
        parts.append(f"{variant.name}: {count(sent(variant))} requests sent{kept}, about {count(planned)} planned.")
    work = [c for comparisons in result.comparisons for c in comparisons if not c.primary and c.unit not in ("us", "ms")]
    parts += [f"Counted work: {c.sentence.rstrip('.')}." for c in work[:2]]
    checks = sum(len(checks) for checks in result.safety.values())
    parts.append(f"{checks} checks judged the history of the same requests.")
    return Answer(question, "Not all of it" if missing else "Yes", " ".join(parts), "bad" if missing else "good")


def _round2(value: float) -> float:
    """Two significant digits: a prediction should not look more exact than it is."""
    return round(value, 1 - math.floor(math.log10(value)))
