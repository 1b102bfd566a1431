"""The tables of a report as plain data: knobs, statuses, percentiles that are missing and why, conditions.

The page and the Markdown read the same rows, so they can't disagree. A percentile the record does not have stays empty and is
given its reason; none is made up.
"""

from __future__ import annotations

from loadtests.report.number_format import count, enumeration, number
from loadtests.result import Band, LatencySummary, Result, Variant

# Ten samples have to lie beyond a percentile before it says more than the luck of a few requests.
SAMPLES_NEEDED = {"p50_ms": 20, "p90_ms": 100, "p99_ms": 1_000, "p999_ms": 10_000, "max_ms": 1}
NO_ANSWERS = ("error", "not sent")
PERCENTILES = {"p50": "p50_ms", "p90": "p90_ms", "p99": "p99_ms", "p99.9": "p999_ms", "max": "max_ms"}


def differing_knobs(result: Result) -> dict[str, list[str]]:
    """Knob -> its value in each variant, the knobs that differ first; this is the experiment in one table."""
    names = list(dict.fromkeys(name for variant in result.variants for name in variant.knobs))
    table = {name: [str(variant.knobs.get(name, "")) for variant in result.variants] for name in names}
    return dict(sorted(table.items(), key=lambda item: len(set(item[1])) == 1))


def statuses_seen(result: Result) -> dict[str, list[int]]:
    """Status -> its count in each variant, statuses in order; no answer at all, then what was never sent, come last."""
    last = {status: place for place, status in enumerate(NO_ANSWERS, start=1)}
    seen = sorted({status for variant in result.variants for status in variant.statuses}, key=lambda s: (last.get(s, 0), s))
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


def sent(variant: Variant) -> int:
    """Requests that left the client: a client whose own cache holds the answer does not ask."""
    return sum(n for status, n in variant.statuses.items() if status != "not sent")


def steadiness(variant: Variant) -> str:
    """How much the primary figure changed from block to block: "+0.2 % a block [−0.1, +0.5], steady"."""
    found = variant.steadiness
    if found is None:
        return "not measured"
    span = "" if found.low is None or found.high is None else f" [{_signed(found.low)}, {_signed(found.high)}]"
    return f"{_signed(found.change_per_block)}\N{NO-BREAK SPACE}% a block{span}, {'steady' if found.steady else 'not steady'}"


def band_told(band: Band) -> str:
    """What was done on purpose, to whom and when."""
    return f"{band.name}: {band.variant or 'all variants'}, {number(band.start_s)} s to {number(band.end_s)} s"


def family_sentence(result: Result) -> str:
    """How the verdicts of several variants are kept honest together; empty where there is only one comparison."""
    others = len(result.variants) - 1
    if others < 2:
        return ""
    return (
        f"{count(others)} variants stand against one baseline: verdicts are adjusted by Holm's method, "
        "so that the chance of any false claim among them stays at 5 %."
    )


def rules(result: Result) -> str:
    """The limits beyond which a block was void: "lag p99 ms 2, generator cpu 0.8"."""
    return ", ".join(f"{name.replace('_', ' ')} {number(limit)}" for name, limit in result.manifest.rules.items())


def conditions(result: Result) -> dict[str, str]:
    """The manifest as label -> text, in the order a reader asks for it; what the record does not say is left out."""
    m = result.manifest
    said = {
        "design, knob": f"{m.design}, {m.knob}",
        "mix": f"{m.mix}: {m.mix_description}",
        "rate": f"{number(m.rate_per_s)} requests/s, planned arrivals",
        "rounds": f"{number(m.round_s)} s each",
        "blocks": f"{m.blocks_planned} planned, {sum(b.accepted for b in result.blocks)} accepted, {m.blocks_rejected} rejected",
        "margin": f"{number(m.margin * 100)} %, fixed before the run",
        "primary figure": m.primary_figure,
        "verdicts": f"Holm's method over {count(len(result.variants) - 1)} variants" if len(result.variants) > 2 else "",
        "a block is void beyond": rules(result),
        "steadiness": "; ".join(f"{v.name} {steadiness(v)}" for v in result.variants) if _any_steadiness(result) else "",
        "seed": str(m.seed),
        "plan hash": m.plan_hash,
        "experiment hash": m.experiment_hash,
        "started": m.started_at,
        "took": f"{number(m.duration_s)} s",
        "commit": m.commit + (" with uncommitted changes" if m.dirty else ""),
        "pinning": m.pinning,
        **{label.replace("_", " "): value for label, value in m.machine.items()},
        **m.versions,
    }
    return {label: text for label, text in said.items() if text}


def _any_steadiness(result: Result) -> bool:
    return any(variant.steadiness is not None for variant in result.variants)


def _signed(share: float) -> str:
    """0.0021 -> "+0.2", 0.00004 -> "0.0"."""
    percent = round(share * 100, 1)
    sign = "−" if percent < 0 else "+" if percent > 0 else ""
    return f"{sign}{abs(percent):.1f}"
