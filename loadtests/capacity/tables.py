"""The steps of a capacity test as rows of text, the same for the terminal, the page and the Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from loadtests.capacity.result import CapacityManifest, CapacityResult, CapacityVariant, ClosedStep, Interval, OpenStep
from loadtests.capacity.words import ENDED, small
from loadtests.report.number_format import count, enumeration, number, percentage
from loadtests.result import SafetyCheck

CLOSED_COLUMNS = ("clients", "requests/s", "lowest to highest", "mean ms", "X times R", "CPU us a request", "CPU", "generator CPU")
OPEN_COLUMNS = ("planned /s", "in time /s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "in flight", "CPU", "verdict")
STEP_COLUMNS = ("variant", "step", "requests/s", "response ms", "CPU us a request", "service CPU", "verdict")


def closed_rows(variant: CapacityVariant) -> list[list[str]]:
    """One row for each number of clients: medians over the repetitions that count. Matches `CLOSED_COLUMNS`."""
    rows = []
    for clients, steps in by_clients(variant).items():
        found = [step.throughput_per_s for step in steps]
        rows.append(
            [
                count(clients),
                count(round(statistics.median(found))),
                f"{count(round(min(found)))} to {count(round(max(found)))}",
                number(_middle(step.mean_response_ms for step in steps)),
                number(_middle(step.littles_law_clients for step in steps)),
                by_role([step.usage.cpu_us_per_request for step in steps], number),
                by_role([step.usage.cpu_ratio for step in steps], percentage),
                percentage(_middle(step.usage.generator_cpu_ratio for step in steps)),
            ]
        )
    return rows


def open_rows(variant: CapacityVariant) -> list[list[str]]:
    """One row for each step, by rate. Matches `OPEN_COLUMNS`."""
    return [
        [
            count(round(step.planned_per_s)),
            count(round(step.achieved_per_s)),
            *(_ms(value) for value in (step.p50_ms, step.p90_ms, step.p99_ms, step.p999_ms)),
            count(step.in_flight_most),
            percentage(sum(step.usage.cpu_ratio.values())),
            f"{step.outcome}: {step.because}",
        ]
        for step in by_rate(variant)
    ]


def step_rows(result: CapacityResult) -> list[list[str]]:
    """Both kinds of step in one table for a terminal. Matches `STEP_COLUMNS`."""
    rows = []
    for variant in result.variants:
        for clients, steps in by_clients(variant).items():
            void = [step.void_because for step in steps if step.void_because]
            rows.append(
                [
                    variant.name,
                    f"{count(clients)} clients",
                    count(round(_middle(step.throughput_per_s for step in steps))),
                    number(_middle(step.mean_response_ms for step in steps)),
                    number(_middle(sum(step.usage.cpu_us_per_request.values()) for step in steps)),
                    percentage(_middle(sum(step.usage.cpu_ratio.values()) for step in steps)),
                    f"void: {void[0]}" if void else "",
                ]
            )
        for step in by_rate(variant):
            rows.append(
                [
                    variant.name,
                    f"{count(round(step.planned_per_s))}/s planned",
                    count(round(step.achieved_per_s)),
                    _ms(step.objective_ms),
                    number(sum(step.usage.cpu_us_per_request.values())),
                    percentage(sum(step.usage.cpu_ratio.values())),
                    f"{step.outcome}: {step.because}",
                ]
            )
    return rows


def bracket_rows(variant: CapacityVariant) -> list[list[str]]:
    """One row for each search: its number, last pass, first fail, why, and how many steps it took."""
    rows = []
    for number_of_search, bracket in enumerate(variant.knee.brackets, start=1):
        void = f", {bracket.void_steps} void" if bracket.void_steps else ""
        early = "" if bracket.ended == "found" else f" (ended early: {ENDED[bracket.ended]})"
        rows.append(
            [
                str(number_of_search),
                _rate(bracket.last_pass_per_s),
                _rate(bracket.first_fail_per_s),
                (bracket.first_fail_because or "nothing failed") + early,
                f"{bracket.steps}{void}",
            ]
        )
    return rows


def fit_rows(variant: CapacityVariant) -> list[list[str]]:
    """The scalability law: parameter, estimate, 95 % interval. No row where nothing was fitted."""
    found = variant.fit
    if found is None:
        return []
    rows = [
        ["lambda: requests/s of one client", count(round(found.lambda_per_s.estimate)), _span(found.lambda_per_s)],
        ["sigma: contention", small(found.sigma.estimate), _span(found.sigma)],
        ["kappa: crosstalk", small(found.kappa.estimate), _span(found.kappa)],
    ]
    if found.peak_clients is None or found.peak_per_s is None:
        return [*rows, ["peak", "no peak found", f"up to {count(found.most_clients)} clients"]]
    peak = found.peak_clients
    return [
        *rows,
        ["peak: clients", number(peak.estimate), _span(peak)],
        ["peak: requests/s", count(round(found.peak_per_s)), ""],
    ]


def knob_rows(variants: Sequence[CapacityVariant]) -> list[list[str]]:
    """Knob, then its value in each variant; those that differ first."""
    names = list(dict.fromkeys(name for variant in variants for name in variant.knobs))
    rows = [[name, *(str(variant.knobs.get(name, "")) for variant in variants)] for name in names]
    return sorted(rows, key=lambda row: len(set(row[1:])) == 1)


def promise_rows(safety: Mapping[str, Sequence[SafetyCheck]]) -> list[tuple[str, str, str, str, str]]:
    """(verdict, invariant, whose, counts, detail), the worst first; variants with one verdict on one invariant share a row.

    Counts stand side by side where they differ, `lost 0 / 2`; `whose` is empty where it is everybody's.
    """
    together: dict[tuple[str, str], dict[str, SafetyCheck]] = {}
    for name, checks in safety.items():
        for check in checks:
            together.setdefault((check.verdict, check.name), {})[name] = check
    rows = []
    for (verdict, invariant), by_name in together.items():
        labels = dict.fromkeys(label for check in by_name.values() for label in check.counts)
        sides = {label: [count(check.counts.get(label, 0)) for check in by_name.values()] for label in labels}
        counts = ", ".join(
            f"{label.replace('_', ' ')} {' / '.join(found if len(set(found)) > 1 else found[:1])}" for label, found in sides.items()
        )
        whose = "" if len(by_name) == len(safety) else enumeration(list(by_name))
        detail = "; ".join(dict.fromkeys(check.detail for check in by_name.values() if check.detail))
        rows.append((verdict, invariant, whose, counts, detail))
    return sorted(rows, key=lambda row: ("invalid", "unknown", "valid").index(row[0]))


def conditions(manifest: CapacityManifest) -> dict[str, str]:
    """The manifest as label -> text, in the order a reader asks for it."""
    return {
        "design": manifest.design,
        "mix": f"{manifest.mix}: {manifest.mix_description}",
        "objective": f"{manifest.objective}, from the planned start",
        "steps": (
            f"{number(manifest.step_s)} s each with {', '.join(map(str, manifest.clients))} clients, {manifest.repeats} times in "
            f"shuffled order; open steps half as long again, or what the percentile needs"
        ),
        "searches": f"{manifest.repeats}, each until its bracket is {number(manifest.resolution * 100)} % wide",
        "connections": f"{manifest.connections_per_url} for each address",
        "seed": str(manifest.seed),
        "started": manifest.started_at,
        "took": f"{number(manifest.duration_s)} s",
        "commit": manifest.commit + (" with uncommitted changes" if manifest.dirty else ""),
        "pinning": manifest.pinning,
        **{label.replace("_", " "): value for label, value in manifest.machine.items()},
        **manifest.versions,
    }


def by_clients(variant: CapacityVariant) -> dict[int, list[ClosedStep]]:
    """Clients -> the repetitions that count; where all were void, those, so that no row is missing."""
    found: dict[int, list[ClosedStep]] = {}
    for clients in sorted({step.clients for step in variant.closed}):
        steps = [step for step in variant.closed if step.clients == clients]
        found[clients] = [step for step in steps if not step.void_because] or steps
    return found


def by_rate(variant: CapacityVariant) -> list[OpenStep]:
    return sorted(variant.open, key=lambda step: step.planned_per_s)


def by_role(figures: Sequence[dict[str, float]], said: Callable[[float], str]) -> str:
    """`service 120, store 31`: the median of each role, the largest first."""
    medians = {role: statistics.median(each.get(role, 0.0) for each in figures) for role in figures[0]}
    return ", ".join(f"{role} {said(value)}" for role, value in sorted(medians.items(), key=lambda pair: -pair[1]))


def _middle(values: Iterable[float]) -> float:
    return statistics.median(values)


def _ms(value: float | None) -> str:
    return "too few" if value is None else number(value)


def _rate(per_s: float | None) -> str:
    return "none" if per_s is None else count(round(per_s))


def _span(interval: Interval) -> str:
    return f"[{small(interval.low)}, {small(interval.high)}]"
