"""The designs there are, and what each offers to whoever starts it.

A design is a package with a `README.md` (the chapter) and two modules: `processes` (see `DesignProcesses`) and `capacity`,
whose `estimate(**assumptions)` is the back-of-envelope calculation (see `Estimate`). Nothing of a design is imported
before it is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from designs.building_blocks.estimation import Row
from designs.building_blocks.knobs import Knobs
from designs.building_blocks.processes import ProcessSpec


class UnknownDesign(ValueError):
    """There is no design of that name. The message lists those there are."""


class DesignProcesses(Protocol):
    """What the module `<design>/processes.py` offers."""

    KNOBS: type[Knobs]

    def needs(self, knobs: Knobs) -> frozenset[str]:
        """Which servers must run beside it: a subset of {"redis", "kafka", "cassandra", "traces"}."""

    def processes(
        self,
        knobs: Knobs,
        *,
        data_dir: Path,
        ports: Callable[[], int],
        servers: Mapping[str, str],
        replicas: int,
        env: Mapping[str, str],
    ) -> list[ProcessSpec]:
        """The processes of one run.

        `servers` says where those that it needs are, as lines of an environment such as REDIS_URL, and under NAMESPACE what this
        run's own part of Kafka and Cassandra is called. Writes `<data_dir>/api_key` (mode 0600) where the design wants a key of its
        clients.
        """


class Estimate(Protocol):
    """What `<design>/capacity.py` answers."""

    def rows(self) -> Sequence[Row]:
        """In the order in which an interview asks for the figures."""


@dataclass(frozen=True, slots=True)
class Design:
    """One question of the book. `module` is its package, such as `designs.url_shortener`."""

    name: str
    title: str
    question: str
    module: str

    def processes(self) -> DesignProcesses:
        return cast(DesignProcesses, importlib.import_module(f"{self.module}.processes"))

    def estimate(self) -> Callable[..., Estimate]:
        """Takes the assumptions by name, all with defaults; `ValueError` with a sentence for one that can't be."""
        return cast(Callable[..., Estimate], importlib.import_module(f"{self.module}.capacity").estimate)

    def chapter(self) -> Path:
        spec = importlib.util.find_spec(self.module)
        if spec is None or spec.origin is None:
            raise UnknownDesign(f"the package {self.module} of {self.name} is not installed")
        return Path(spec.origin).parent / "README.md"


DESIGNS: dict[str, Design] = {
    "url_shortener": Design(
        name="url_shortener",
        title="URL shortener",
        question="Turn long URLs into short codes, redirect in a millisecond, count the clicks, and never hand out a code twice.",
        module="designs.url_shortener",
    ),
    "rate_limiter": Design(
        name="rate_limiter",
        title="Rate limiter",
        question="Say of each request whether it may pass, for many servers by one limit, within a millisecond and exactly.",
        module="designs.rate_limiter",
    ),
}


def design_named(name: str) -> Design:
    """`url-shortener` and `url_shortener` alike. Raises `UnknownDesign`."""
    design = DESIGNS.get(name.replace("-", "_"))
    if design is None:
        raise UnknownDesign(f"there is no design {name!r}; the designs are {', '.join(DESIGNS)}")
    return design
