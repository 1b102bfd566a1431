"""The exhibits of the URL shortener. THE declaration: the list, the page and the runs are made from it.

`seen_in` names what can be looked up; where it names nobody, nobody is meant.
"""

from __future__ import annotations

from dataclasses import replace

from workbench.museum.exhibit import Exhibit
from workbench.museum.url_shortener_creates import CREATES
from workbench.museum.url_shortener_visits import VISITS

# No flaw here is about a deadline, and four designs at a time keep a small machine busy.
PATIENT = {"cache_deadline_ms": "2000"}

EXHIBITS: tuple[Exhibit, ...] = tuple(replace(each, knobs={**PATIENT, **each.knobs}) for each in (*CREATES, *VISITS))
