"""What is measured, in words: how each figure is called, in which unit, and whether less of it is better."""

from __future__ import annotations

from dataclasses import dataclass

BENEFITS = ("_hits", "_counted", "allowed")  # endings of counted work of which more is better


@dataclass(frozen=True, slots=True)
class Figure:
    """How a figure is spoken of. `cost` is False where more is better."""

    title: str
    noun: str
    unit: str
    verb: str = "needs"
    less: str = "less"
    more: str = "more"
    cost: bool = True
    noisy: bool = False


def figure(name: str) -> Figure:
    """The measuring's own figures by name; any other is counted work, per request, and its name says what is counted."""
    if name == "cpu_us_per_request":
        return Figure("CPU per request, all processes", "CPU per request", "us", "uses")
    if name.startswith("cpu_us_per_request_"):
        role = name.removeprefix("cpu_us_per_request_")
        return Figure(f"CPU per request, {role}", f"{role} CPU per request", "us", "uses")
    if name == "rss_mb":
        return Figure("memory, all processes", "memory", "MB", "holds")
    if name.startswith("latency_"):
        which = name.removeprefix("latency_").removesuffix("_ms")
        return Figure(
            f"{which} latency, from the intended start",
            f"{which} latency",
            "ms",
            "has",
            "lower",
            "higher",
            noisy=True,
        )
    if name == "failed_per_100":
        return Figure("failed requests per 100", "failed requests per 100", "per 100", "has", "fewer")
    words = name.replace("_", " ").replace("redis", "Redis")
    if name.endswith("_ratio"):
        return Figure(words, words, "", "has", "lower", "higher", cost="hit" not in name)
    # What a client answers from its own cache is planned, but never sent.
    noun = f"{words} per planned request" if name == "requests_sent" else f"{words} per request"
    return Figure(noun, noun, "per request", "has", "fewer", cost=not name.endswith(BENEFITS))
