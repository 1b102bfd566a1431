"""Every design's Locust file refuses in words what it must not load."""

from __future__ import annotations

import pytest

from tests.loadtests.locust_engine.locust_process import locust
from workbench.catalogue import DESIGNS

KEY = {"DESIGNS_API_KEY": "a-key"}


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize(
    ("options", "environment", "sentence"),
    [
        (("--host", "http://192.0.2.1"), KEY, "is not this machine"),
        (("--host", "http://127.0.0.1:9"), {}, "set DESIGNS_API_KEY"),
        (("--host", "http://127.0.0.1:9", "--mix", "storm"), KEY, "storm"),
        (("--host", "http://127.0.0.1:9"), {**KEY, "DESIGNS_MIX": "storm"}, "there is no mix"),
    ],
)
def test_what_must_not_be_loaded_is_refused_in_words(
    design: str, options: tuple[str, ...], environment: dict[str, str], sentence: str
) -> None:
    ended = locust(design, *options, "-u", "1", "-t", "20s", **environment)
    assert ended.returncode != 0
    assert sentence in ended.stdout + ended.stderr
