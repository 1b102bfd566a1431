"""The rate limiter with everything that has metrics of its own, and rules that a little traffic is enough to show."""

from __future__ import annotations

from typing import Any

from designs.building_blocks.knobs import build
from designs.rate_limiter.knobs import LimiterKnobs
from designs.rate_limiter.processes import rules_of
from workbench.catalogue import design_named
from workbench.launch import RunningDesign

BAD_RULES = "domains: {demo: {rules: [{name: per-user, quota: 0}]}}\n"


def running_limiter(*, replicas: int = 1, env: dict[str, str] | None = None, **knobs: Any) -> RunningDesign:
    """To be entered. Leases, sheds and traces, unless told otherwise."""
    chosen = build(LimiterKnobs, {"store": "local_lease", "shed": "priority", "traces": 1, **knobs})
    return RunningDesign(design_named("rate_limiter"), chosen, replicas=replicas, env=env, faults=True)


def try_out(design: RunningDesign, quota: int) -> None:
    """From now on the rule in shadow mode would refuse from the `quota`-th request of a user on."""
    rules = rules_of(design.data_dir)
    text = rules.read_text()
    assert text.count("quota: 50_000") == 1
    rules.write_text(text.replace("quota: 50_000", f"quota: {quota}"))
