"""What is fixed before a comparison runs, and its hash, so that nobody can choose the rule, margin or figure that suits the result.

`experiment.json` holds it beside a run's report, and the report prints its hash. The limits of the rules are those of `Rules`
before they are calibrated to the machine of the day; the manifest gives the calibrated ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import orjson

from loadtests.comparison.schedule import Rules
from loadtests.workload import Mix

LEAD_IN_S = 0.5
WARM_UP_S = 1.0
SETTLE_S = 0.15


@dataclass(frozen=True, slots=True)
class Experiment:
    """`fresh`: each block starts its variants anew; else all blocks measure the same processes, whose state goes on."""

    design: str
    knob: str
    variants: Sequence[str]
    mix: Mix
    rate_per_s: float
    round_s: float
    blocks: int
    seed: int
    margin: float
    primary: str
    command: str = ""
    fresh: bool = False
    control: bool = False  # the last variant is a second copy of the first
    faults: Sequence[str] = ()  # schedules of faults that strike in every round, the same for each variant
    warm_up_s: float = WARM_UP_S  # a round of each variant that does not count, at the start of what is fresh
    lead_in_s: float = LEAD_IN_S  # load before each round that does not count
    settle_s: float = SETTLE_S  # rest before and after a round, for work that goes on after the answers
    rules: Rules = field(default_factory=Rules)

    def document(self) -> str:
        """The experiment file: JSON with sorted keys. The command is left out, since it says the same again."""
        held = asdict(self)
        del held["command"]
        if held["mix"]["replicas"] == 1:
            del held["mix"]["replicas"]  # so that experiments from before mixes had it keep their hash
        return orjson.dumps(held, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode() + "\n"

    @property
    def hash(self) -> str:
        """SHA-256 of the experiment file."""
        return hashlib.sha256(self.document().encode()).hexdigest()
