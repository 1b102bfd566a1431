"""The exhibits of the rate limiter. THE declaration: the list, the page and the runs are made from it.

`seen_in` names what can be looked up; where it names nobody, nobody is meant. Two classics are no exhibits, since nobody sees them
from outside: a key that is the whole path (the route is the client's to name here), and a promise that a sliding window keeps its
limit in any period (which is a wrong promise and no wrong limiter). They are in `tests/known_bad/rate_limiter.py`.
"""

from __future__ import annotations

from dataclasses import replace

from workbench.museum.exhibit import Exhibit
from workbench.museum.rate_limiter_counts import COUNTS
from workbench.museum.rate_limiter_store import STORE

# Most flaws here are about no deadline, and four limiters at a time keep a small machine busy: what is late is still counted.
PATIENT = {"deadline_ms": "5000"}

EXHIBITS: tuple[Exhibit, ...] = tuple(replace(each, knobs={**PATIENT, **each.knobs}) for each in (*COUNTS, *STORE))
