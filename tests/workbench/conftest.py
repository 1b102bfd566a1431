import pytest

from workbench.catalogue import DESIGNS, Design


@pytest.fixture
def toy_design(monkeypatch: pytest.MonkeyPatch) -> Design:
    """A design small enough to start in no time, in the catalogue as `toy_design`."""
    design = Design("toy_design", "A toy", "What does the workbench need of a design?", "tests.workbench.toy_design")
    monkeypatch.setitem(DESIGNS, design.name, design)
    return design
