"""The tables of a report as plain data: knobs, statuses, percentiles that are missing and why, conditions.

The page and the Markdown read the same rows, so they can't disagree. A percentile the record does not have stays empty and is
given its reason; none is made up.
"""

from __future__ import annotations

from loadtests.number_format import count, enumeration, number
from loadtests.result import LatencySummary, Result

# Ten samples have to lie beyond a percentile before it says more than the luck of a few requests.
SAMPLES_NEEDED = {"p50_ms": 20, "p90_ms": 100, "p99_ms": 1_000, "p999_ms": 10_000, "max_ms": 1}
PERCENTILES = {"p50": "p50_ms", "p90": "p90_ms", "p99": "p99_ms", "p99.9": "p999_ms", "max": "max_ms"}


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
            had = enumeration([f"{name} has {count(samples)}" for name, samples in short.items()])
            sentences.append(f"{label} needs {count(SAMPLES_NEEDED[field])} samples; {had}.")
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
