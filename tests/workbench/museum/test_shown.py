"""An exhibit as it is shown: real processes, real faults, the bad variant beside the right one. The others run by `make museum`."""

from __future__ import annotations

from workbench.museum.exhibit import chosen
from workbench.museum.run import lines_of, show_all


def test_the_checker_catches_the_bad_variant_and_passes_the_right_one() -> None:
    (showing,) = show_all(chosen(["check_then_increment"]))
    assert showing.as_it_must_be, "\n".join(lines_of(showing))
