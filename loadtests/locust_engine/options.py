"""The options of this project's Locust files, and what follows from them: which mix, and whether users or a plan make the load."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from loadtests.locust_engine.guard import refusal, replicas
from loadtests.locust_engine.open_loop import OpenLoopUser, walk_alone, why_unplannable
from loadtests.locust_engine.shapes import add_shape_option, install_shape
from loadtests.workload import Mix

PLAN_S = 30.0  # of an open loop without --run-time


def add_options(parser: Any, mixes: Mapping[str, Mix], default: str) -> None:
    """For Locust's `init_command_line_parser` event. Not on the page: they are read once, when Locust starts."""
    parser.add_argument(
        "--mix",
        choices=sorted(mixes),
        default=os.environ.get("DESIGNS_MIX") or default,
        help="who asks for what; see WORKLOADS.md",
        include_in_web_ui=False,
    )
    add_shape_option(parser)
    parser.add_argument("--open-loop", action="store_true", help="walk a plan of requests", include_in_web_ui=False)
    parser.add_argument("--plan-rate", type=float, help="requests/s of the plan, else the mix's own", include_in_web_ui=False)
    parser.add_argument("--plan-seed", type=int, default=1, help="draws the same plan again", include_in_web_ui=False)


def mix_for_users(environment: Any, mixes: Mapping[str, Mix], walker: type[OpenLoopUser]) -> Mix | None:
    """The mix that users live by; None where `walker` walks its plan alone. Ends the process when the load must not run."""
    options = environment.parsed_options
    if options.mix not in mixes:  # a default from the environment is not checked against the choices
        sys.exit(f"there is no mix {options.mix!r}; the mixes are {', '.join(mixes)}")
    mix = mixes[options.mix]
    urls = replicas(environment.host)
    if urls and (reason := refusal(urls)):
        sys.exit(reason)
    if options.open_loop:
        if reason := why_unplannable(mix):
            sys.exit(reason)
        walker.mix, walker.seed = mix, options.plan_seed
        walker.rate_per_s = options.plan_rate or mix.rate_per_s
        walk_alone(environment, walker, PLAN_S)
        return None
    install_shape(environment)
    return mix
