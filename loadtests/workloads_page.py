"""The page `WORKLOADS.md` of a design, made from its mixes: a section per mix, then what the operations are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loadtests.workload import Mix


@dataclass(frozen=True, slots=True)
class PageWords:
    """What differs between designs. `shows_instead`: what a mix shows that no knob names."""

    title: str
    key: str
    touched: str
    untouched: str
    shows_instead: Callable[[Mix], str]
    client: str = ""


def page_of(words: PageWords, mixes: Mapping[str, Mix], default_mix: Mapping[str, str], ops: Mapping[str, str]) -> str:
    lines = [
        f"# {words.title}",
        "",
        "Each mix says who asks, what for, and how unevenly. A comparison draws its plan of requests from one mix and one seed",
        "and replays it on both variants; `designs load` lets Locust users live by the same ratios. Made from `mixes.py`.",
        "",
    ]
    for mix in mixes.values():
        whole = sum(mix.ratios.values())
        shares = ", ".join(f"{op} {100 * ratio / whole:.3g} %" for op, ratio in mix.ratios.items())
        knobs = ", ".join(f"`{knob}`" for knob, name in default_mix.items() if name == mix.name and knob)
        lines += [
            f"## {mix.name}",
            "",
            mix.who,
            "",
            f"- {'Begins with' if mix.then else 'Requests'}: {shares}",
            *(f"- Then: {op} is followed by {next_op} after {pause_s:g} s" for op, (next_op, pause_s) in mix.then.items()),
            *([f"- Clients: {mix.clients}, {words.client}"] if mix.clients else []),
            f"- Keys: {mix.keys:,} {words.key}{'s' * (mix.keys > 1)}, {popularity(mix)}",
            f"- Rate: {mix.rate_per_s:g} requests/s, Poisson arrivals, unless told otherwise",
            *([f"- Replicas: {mix.replicas} of each variant"] if mix.replicas > 1 else []),
            f"- Runs with: {', '.join(f'`{name}={value}`' for name, value in mix.knobs.items()) or 'the knobs as they are'}",
            f"- Before it: {words.touched if mix.touch else words.untouched}",
            f"- Shows: {knobs or words.shows_instead(mix)}",
            "",
        ]
    lines += ["## The requests", ""]
    lines += [f"- {op}: {what}" for op, what in ops.items()]
    return "\n".join(lines) + "\n"


def popularity(mix: Mix) -> str:
    """The key popularity in words: what share of the requests the most popular key gets."""
    if mix.keys == 1:
        return "in every request"
    if mix.zipf_s == 0:
        return "all equally popular"
    top = 1 / sum(rank**-mix.zipf_s for rank in range(1, mix.keys + 1))
    return f"Zipf with s = {mix.zipf_s:g}: the most popular one gets {100 * top:.2g} % of the requests"
