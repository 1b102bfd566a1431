"""What a capacity test says in sentences: the headline, what was found of each variant, and what a reader must know beside it.

Nothing is measured here: each sentence is read from the record. A bound that was not found is said to be missing, never made up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from loadtests.capacity.result import CapacityManifest, CapacityVariant, Interval, Knee, ScalabilityFit
from loadtests.report.number_format import count, enumeration, number, percentage
from loadtests.result import SafetyCheck
from loadtests.workload import Mix

STEAL_NOTED = 0.01
LITTLE_NOTED = 0.05
DISAGREEMENT = 1.5  # the highest first failure against the lowest last pass: beyond this no single rate is named
NOT_ABSOLUTE = (
    "the generator shares the machine with the service, so kappa holds some of its contention: sigma and kappa may be compared "
    "between variants of one run, and are no property of the service alone"
)
ENDED = {
    "void": "the generator was late or busy each time",
    "floor": "below it a step carries too few requests for its percentile",
    "ceiling": "more is not planned",
    "steps": "the steps were used up",
}


def headline(variants: Sequence[CapacityVariant], safety: Mapping[str, Sequence[SafetyCheck]], objective: str) -> str:
    """The knee of each variant. A broken promise comes first: speed does not excuse it."""
    broken = [f"{name} breaks “{check.name}”" for name, checks in safety.items() for check in checks if check.verdict == "invalid"]
    found = "; ".join(f"{variant.name} {serves(variant.knee)} within {objective}" for variant in variants)
    return f"Not safe: {enumeration(broken)}; {found}" if broken else found


def lead(manifest: CapacityManifest) -> str:
    """What was asked of the service, in a sentence or two."""
    return (
        f"{manifest.mix_description.rstrip('.')}. The highest rate at which {manifest.objective} from the planned start, "
        f"{manifest.repeats} searches; and throughput with {manifest.clients[0]} to {manifest.clients[-1]} clients."
    )


def serves(knee: Knee) -> str:
    """ "serves 4,300 requests/s [4,100, 4,560]": the median of the last rates to pass, and the whole spread."""
    if knee.estimate_per_s is None:
        lowest = min((bracket.first_fail_per_s for bracket in knee.brackets if bracket.first_fail_per_s), default=None)
        return f"serves no rate tried, down to {count(round(lowest))}/s," if lowest else "was not measured: every step was void"
    estimate = count(round(knee.estimate_per_s))
    if knee.low_per_s is not None and knee.high_per_s is not None:
        if knee.high_per_s > DISAGREEMENT * knee.low_per_s:
            between = f"between {count(round(knee.low_per_s))} and {count(round(knee.high_per_s))} requests/s"
            return f"serves somewhere {between} (the searches disagree: too noisy to name one rate)"
        return f"serves {estimate} requests/s [{count(round(knee.low_per_s))}, {count(round(knee.high_per_s))}]"
    if knee.high_per_s is not None:
        return f"serves {estimate} requests/s, though not in every repetition,"
    return f"serves at least {estimate} requests/s"


def findings(variant: CapacityVariant, objective: str) -> list[str]:
    """Three to five sentences about one variant."""
    said = [
        knee_sentence(variant.knee, objective),
        f"Clients that wait for their answers got most out of it at {count(variant.most_at_clients)}: "
        f"{count(round(variant.most_per_s))} requests/s. From its CPU time, one core that is always busy would do "
        f"{count(round(variant.one_core_per_s))}.",
        f"The limit there was {variant.limiter.what}: {variant.limiter.sentence}.",
        fit_sentence(variant.fit, variant.no_fit_because),
        littles_law_sentence(variant),
    ]
    return [sentence for sentence in said if sentence]


def knee_sentence(knee: Knee, objective: str) -> str:
    passed = [bracket.last_pass_per_s for bracket in knee.brackets if bracket.last_pass_per_s is not None]
    failed = [bracket.first_fail_per_s for bracket in knee.brackets if bracket.first_fail_per_s is not None]
    searches = f"In {len(knee.brackets)} search{'es' if len(knee.brackets) > 1 else ''}"
    parts = []
    if passed:
        parts.append(f"the last rate to meet {objective} was {_from_to(passed)}")
    if failed:
        parts.append(
            f"the first to miss it {_from_to(failed)}" if passed else f"every rate missed {objective}, the first {_from_to(failed)}"
        )
    if not parts:
        return f"{searches} no step was valid."
    short = Counter(bracket.ended for bracket in knee.brackets if bracket.ended != "found")
    why = "".join(f"; {times} of them ended early, {ENDED[ended]}" for ended, times in short.items())
    return f"{searches} {' and '.join(parts)} requests/s{why}."


def fit_sentence(found: ScalabilityFit | None, why_not: str) -> str:
    if found is None:
        return f"No scalability law: {why_not}." if why_not else ""
    parameters = f"sigma {spanned(found.sigma)}, kappa {spanned(found.kappa)}"
    if found.peak_clients is None or found.peak_per_s is None:
        return f"Scalability law: {parameters}; no peak found up to {count(found.most_clients)} clients."
    where = f"a peak at {spanned(found.peak_clients)} clients"
    beyond = f", beyond the {count(found.most_clients)} tried" if found.peak_clients.estimate > found.most_clients else ""
    return f"Scalability law: {parameters}; {where}{beyond}, {count(round(found.peak_per_s))} requests/s."


def littles_law_sentence(variant: CapacityVariant) -> str:
    """How far throughput times response is from the clients that were there; it should be them."""
    ratios = [step.littles_law_clients / step.clients for step in variant.closed]
    if not ratios:
        return ""
    low, high = min(ratios), max(ratios)
    ends = percentage(low) if percentage(low) == percentage(high) else f"{percentage(low)} to {percentage(high)}"
    well = (
        "as Little's law wants"
        if max(abs(low - 1), abs(high - 1)) < LITTLE_NOTED
        else "so the generator itself kept clients waiting"
    )
    return f"Throughput times response was {ends} of the clients, {well}."


def spanned(interval: Interval) -> str:
    """`0.82 [0.75, 0.91]`; a value far below what can be told from 0 reads as 0."""
    return f"{small(interval.estimate)} [{small(interval.low)}, {small(interval.high)}]"


def small(value: float) -> str:
    return "0" if abs(value) < 1e-6 else number(value)


def notes(variants: Sequence[CapacityVariant], safety: Mapping[str, Sequence[SafetyCheck]], mix: Mix) -> list[str]:
    found = [NOT_ABSOLUTE]
    for variant in variants:
        usages = [step.usage for step in variant.closed] + [step.usage for step in variant.open]
        void = Counter(reason.partition(":")[0] for reason in _void_reasons(variant))
        if void:
            told = enumeration([f"{times} because {why}" for why, times in void.items()])
            found.append(f"{variant.name}: {void.total()} of {len(usages)} steps were void, {told}")
        stolen = max((usage.steal_ratio for usage in usages), default=0.0)
        if stolen > STEAL_NOTED:
            found.append(f"{variant.name}: the hypervisor gave away up to {percentage(stolen)} of the CPU time in a step")
        unknown = [check.name for check in safety.get(variant.name, ()) if check.verdict == "unknown"]
        if unknown:
            found.append(f"{variant.name}: not established: {', '.join(unknown)}")
    if mix.then or mix.clients:
        found.append("closed steps send single requests of clients nobody remembers; open steps follow the whole mix")
    if mix.clients:
        found.append("a planned rate counts what clients want; some of it they answer from their own caches")
    return found


def _void_reasons(variant: CapacityVariant) -> list[str]:
    closed = [step.void_because for step in variant.closed if step.void_because]
    return closed + [step.because for step in variant.open if step.outcome == "void"]


def _from_to(rates_per_s: Sequence[float]) -> str:
    low, high = count(round(min(rates_per_s))), count(round(max(rates_per_s)))
    return low if low == high else f"{low} to {high}"
