"""An estimate of one figure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    figure: str
    value: str
    how: str


@dataclass(frozen=True)
class Estimate:
    reads_per_s: float

    def rows(self) -> list[Row]:
        return [Row("reads", f"{self.reads_per_s:g} /s", "reads a day / 86,400")]


def estimate(*, reads_per_day: float = 86_400.0) -> Estimate:
    if reads_per_day < 0:
        raise ValueError(f"reads_per_day={reads_per_day} must be 0 or above")
    return Estimate(reads_per_day / 86_400)
