"""A made-up but plausible comparison, the same on every call, for whatever shows or reads a `Result`.

The numbers are drawn from a seed, not measured: they belong in tests and nowhere else.
"""

from __future__ import annotations

import math
from random import Random

from loadtests.result import (
    Band,
    Block,
    Comparison,
    LatencySummary,
    Manifest,
    QuantileRatio,
    Ratio,
    Result,
    SafetyCheck,
    Steadiness,
    Variant,
)

PRIMARY = "cpu_us_per_request"
# name -> (CPU-us per request by role, store round trips a request, median latency in ms, stale reads)
QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
SIDES: dict[str, tuple[dict[str, float], float, float, int]] = {
    "cache=none": ({"service": 118.0, "store": 31.0}, 1.0, 0.86, 0),
    "cache=aside": ({"service": 79.0, "store": 13.0}, 0.18, 0.52, 37),
    "cache=refresh-ahead": ({"service": 84.0, "store": 15.0}, 0.21, 0.5, 4),
}


def sample_result(
    names: tuple[str, ...] = ("cache=none", "cache=aside"),
    *,
    blocks: int = 10,
    unsafe: bool = False,
    headline: str | None = None,
) -> Result:
    """`names` are the variants, the baseline first; a name that is no side of `SIDES` borrows the numbers of one.

    `unsafe` makes the last variant break one invariant. Below 6 blocks the intervals are open, as they are in a real run.
    """
    rng = Random(7)
    sides = {name: SIDES.get(name, list(SIDES.values())[i % len(SIDES)]) for i, name in enumerate(names)}
    drawn = [_block(rng, i, names, sides, rejected=i == 3) for i in range(blocks + 1)]
    accepted = [block for block in drawn if block.accepted]
    variants = [_variant(rng, name, sides[name], 1_194 * len(accepted)) for name in names]
    comparisons = [_comparisons(variants[0], other, accepted) for other in variants[1:]]
    sentences = {c.figure: c.sentence for c in comparisons[-1]}
    return Result(
        headline=headline or sentences[PRIMARY],
        baseline=names[0],
        variants=variants,
        comparisons=comparisons,
        noise_floor=_ratio([rng.gauss(0.004, 0.028) for _ in accepted]),
        noise_sentence="The baseline against itself: CPU per request -1 % [-3, +1]; differences below 1.4 % stay unseen.",
        bought=[c.sentence for c in comparisons[-1] if c.verdict == "less" and "_per_request_" not in c.figure],
        paid=[
            f"{names[-1]} gave 37 stale answers in 11,940 reads, none older than 2 s",
            f"{names[-1]} holds 14 MB more memory",
        ],
        safety={name: _safety(sides[name][3], unsafe and name == names[-1]) for name in names},
        blocks=drawn,
        ratio_functions=[_ratio_function(rng, len(accepted), lean=0.12 * i) for i, _ in enumerate(names[1:])],
        bands=[Band(name="store stopped for 2 s", variant=names[-1], start_s=31.0, end_s=33.0)],
        manifest=Manifest(
            design="url_shortener",
            knob="cache",
            mix="redirects",
            mix_description="People follow links that others shared: 99 redirects for each new link, a few links very popular",
            seed=42,
            plan_hash="5f1c9a7be2d04c3f8a6b17d2e9c05f4471aa38e6f0d29b7c4e81536afc902d7e",
            rate_per_s=300.0,
            round_s=2.0,
            blocks_planned=blocks,
            blocks_rejected=1,
            margin=0.05,
            experiment_hash="c2f0a4d1998e",
            rules={"lag_p99_ms": 2.0, "generator_cpu": 0.8, "steal": 0.01},
            primary_figure=PRIMARY,
            started_at="2025-06-01T09:30:00Z",
            duration_s=97.4,
            command="designs compare url_shortener cache=none,aside --mix redirects --blocks 10 --seed 42",
            commit="0f3c2ab97d1e5b64",
            dirty=False,
            versions={"python": "3.11.7", "fastapi": "0.165.0", "uvicorn": "0.54.0", "redis-server": "6.2.14"},
            machine={"cpu": "AMD EPYC", "cpus": "2", "kernel": "Linux 6.18", "memory": "8 GB", "load average": "0.9"},
            pinning="services and stores on CPU 0, generator on CPU 1",
            notes=["block 3 was measured again"],
        ),
    )


def large_result() -> Result:
    """What the page must be able to carry: four variants, twenty blocks, twenty more figures, curves of all points there can be."""
    names = ("cache=none", "cache=aside", "cache=refresh-ahead", "cache=write-behind")
    result = sample_result(names, blocks=20)
    rng = Random(11)

    def grown(variant: Variant) -> Variant:
        points = [(0.1 * 1.04**i * rng.uniform(1.0, 1.01), (i + 1) / 200) for i in range(200)]
        latency = variant.latency_intended.model_copy(update={"ecdf": points})
        slices = [(0.375 * i + rng.random() / 9, rng.random(), 9 * rng.random(), 300 * rng.random()) for i in range(240)]
        return variant.model_copy(update={"latency_intended": latency, "latency_sent": latency, "over_time": slices})

    def more(comparisons: list[Comparison]) -> list[Comparison]:
        copies = [comparisons[0].model_copy(update={"figure": f"count_{i}", "title": f"count {i} per request"}) for i in range(20)]
        return [*copies, *comparisons]

    counted = {name: {f"count_{i}": rng.random() for i in range(20)} for name in names}
    blocks = [
        block.model_copy(update={"figures": {name: {**counted[name], **block.figures[name]} for name in names}})
        for block in result.blocks
    ]
    return result.model_copy(
        update={"variants": list(map(grown, result.variants)), "comparisons": list(map(more, result.comparisons)), "blocks": blocks}
    )


def _block(
    rng: Random,
    index: int,
    names: tuple[str, ...],
    sides: dict[str, tuple[dict[str, float], float, float, int]],
    *,
    rejected: bool,
) -> Block:
    order = [*names, *reversed(names)]
    weather = math.exp(rng.gauss(0.0, 0.08))  # a slow minute slows every variant of the block
    figures = {}
    for name in names:
        roles, trips, median_ms, _ = sides[name]
        wobble = weather * math.exp(rng.gauss(0.0, 0.35 if rejected else 0.03))
        parts = {f"cpu_us_per_request_{role}": us * wobble for role, us in roles.items()}
        figures[name] = {
            "store_round_trips": trips,
            PRIMARY: sum(parts.values()),
            **parts,
            "latency_p50_ms": median_ms * wobble * math.exp(rng.gauss(0.0, 0.07)),
            "latency_p99_ms": 6.0 * median_ms * math.exp(rng.gauss(0.0, 0.45)),
        }
    return Block(
        index=index,
        order=order if index % 2 == 0 else [*reversed(names), *names],
        accepted=not rejected,
        rejected_because="generator lag p99 3.4 ms, allowed 2 ms" if rejected else "",
        figures=figures,
    )


def _variant(rng: Random, name: str, side: tuple[dict[str, float], float, float, int], requests: int) -> Variant:
    roles, trips, median_ms, _ = side
    parts = {f"cpu_us_per_request_{role}": us for role, us in roles.items()}
    sent = sorted(median_ms * math.exp(rng.gauss(0.0, 0.42)) for _ in range(requests))
    intended = sorted(ms + (rng.uniform(0.0, 48.0) if rng.random() < 0.012 else rng.expovariate(20.0)) for ms in sent)
    return Variant(
        name=name,
        knobs={"cache": name.removeprefix("cache="), "store": "redis", "cache_ttl_s": 2.0},
        requests=requests,
        statuses={"307": round(requests * 0.99), "201": requests - round(requests * 0.99) - 3, "404": 3},
        figures={"store_round_trips": trips, PRIMARY: sum(parts.values()), **parts},
        latency_intended=_latency(intended),
        latency_sent=_latency(sent),
        over_time=[
            (
                i * 4.4 + (0.0 if i % 2 else 0.7),
                median_ms * math.exp(rng.gauss(0.0, 0.12)),
                median_ms * 5.0 * math.exp(rng.gauss(0.0, 0.4)),
                300.0 + rng.gauss(0.0, 9.0),
            )
            for i in range(20)
        ],
        steadiness=Steadiness(change_per_block=0.001, low=-0.002, high=0.004, steady=True),
    )


def _ratio_function(rng: Random, blocks: int, lean: float) -> list[QuantileRatio]:
    """Quicker in the body and slower in the tail, as a cache is whose misses cost more: the curve crosses "equal"."""
    functions = []
    for q in QUANTILES:
        depth = -math.log10(1.0 - q)
        logs = [rng.gauss(-0.5 + lean + 0.28 * depth, 0.05 + 0.09 * depth) for _ in range(blocks)]
        functions.append(QuantileRatio(q=q, ratio=_ratio(logs)))
    return functions


def _latency(samples_ms: list[float]) -> LatencySummary:
    count = len(samples_ms)

    def at(quantile: float, needed: int = 1) -> float | None:
        return samples_ms[min(count - 1, int(quantile * count))] if count >= needed else None

    # Even steps through the body, then ever finer ones, so that the tail keeps its points.
    fractions = [i / 100 for i in range(1, 90)] + [1.0 - 0.1 * 0.93**i for i in range(110)]
    points = {min(count, math.ceil(f * count)) for f in fractions} | {count}
    return LatencySummary(
        samples=count,
        p50_ms=at(0.5),
        p90_ms=at(0.9),
        p99_ms=at(0.99, 1_000),
        p999_ms=at(0.999, 10_000),
        max_ms=samples_ms[-1] if samples_ms else None,
        ecdf=[(samples_ms[k - 1], k / count) for k in sorted(points)] if samples_ms else [],
    )


def _ratio(logs: list[float]) -> Ratio:
    """The middle and the outer values stand in for the estimator, which has tests of its own."""
    ordered, n = sorted(logs), len(logs)
    mean = sum(ordered) / n
    sd = math.sqrt(sum((x - mean) ** 2 for x in ordered) / max(1, n - 1))
    half = 2.26 * sd / math.sqrt(n)
    return Ratio(
        estimate=math.exp(mean),
        low=math.exp(mean - half) if n >= 6 else None,
        high=math.exp(mean + half) if n >= 6 else None,
        confidence=0.951,
        blocks=n,
        sd_log=sd,
    )


def _comparisons(baseline: Variant, other: Variant, accepted: list[Block]) -> list[Comparison]:
    titles = {
        "store_round_trips": ("Store round trips per request", "round trips", "store round trips per request"),
        PRIMARY: ("CPU per request, all processes", "us", "CPU per request"),
        "cpu_us_per_request_service": ("CPU per request, service", "us", "service CPU per request"),
        "cpu_us_per_request_store": ("CPU per request, store", "us", "store CPU per request"),
        "latency_p50_ms": ("Latency p50, from the planned start (noisy)", "ms", "p50 latency (noisy)"),
        "latency_p99_ms": ("Latency p99, from the planned start (noisy)", "ms", "p99 latency (noisy)"),
    }
    rows = []
    for figure, (title, unit, noun) in titles.items():
        a, b = ([block.figures[v.name][figure] for block in accepted] for v in (baseline, other))
        ratio = _ratio([math.log(y / x) for x, y in zip(a, b, strict=True)])
        settled = ratio.low is not None and ratio.high is not None and not ratio.low <= 1.0 <= ratio.high
        change = f"{abs(1 - ratio.estimate) * 100:.0f} % {'less' if ratio.estimate < 1 else 'more'} {noun}"
        if ratio.low is not None and ratio.high is not None:
            ends = sorted(abs(1 - end) * 100 for end in (ratio.low, ratio.high))
            change += f" [{ends[0]:.0f}, {ends[1]:.0f}]"
        rows.append(
            Comparison(
                figure=figure,
                title=title,
                unit=unit,
                baseline=sorted(a)[len(a) // 2],
                other=sorted(b)[len(b) // 2],
                ratio=ratio,
                verdict=("less" if ratio.estimate < 1 else "more") if settled else "inconclusive",
                sentence=f"{other.name} uses {change}" if settled else f"inconclusive on {noun}",
                primary=figure == PRIMARY,
            )
        )
    rows.insert(
        1,
        Comparison(
            figure="stale_reads",
            title="Stale answers",
            unit="count",
            baseline=0.0,
            other=37.0,
            ratio=None,
            verdict="count",
            sentence=f"{other.name} gave 37 stale answers, {baseline.name} none",
        ),
    )
    return rows


def _safety(stale: int, broken: bool) -> list[SafetyCheck]:
    return [
        SafetyCheck(
            name="no acknowledged link is lost",
            verdict="invalid" if broken else "valid",
            counts={"acknowledged": 118, "lost": 2 if broken else 0},
            detail="k3Jd9a and Zp01xQ were acknowledged and answer 404" if broken else "",
        ),
        SafetyCheck(name="no code names two links", verdict="valid", counts={"codes": 118, "duplicates": 0}),
        SafetyCheck(name="no answer is staler than the TTL", verdict="valid", counts={"stale": stale, "too_stale": 0}),
    ]
