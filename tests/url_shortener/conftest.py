from __future__ import annotations

import pytest

from designs.url_shortener import guards, redis_parts

PATIENCE_S = 30.0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is late: for tests of what is answered, which a busy machine must not turn into tests of an outage."""
    monkeypatch.setattr(guards, "STORE_DEADLINE_S", PATIENCE_S)
    monkeypatch.setattr(redis_parts, "REDIRECT_DEADLINE_S", PATIENCE_S)
    monkeypatch.setattr(redis_parts, "REQUEST_DEADLINE_S", PATIENCE_S)
