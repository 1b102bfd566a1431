"""Which dashboards there are, and where their files lie. `designs docs` regenerates them."""

from __future__ import annotations

from workbench.ops_overview import overview
from workbench.ops_rate_limiter import rate_limiter
from workbench.ops_url_shortener import url_shortener

FOLDER = "ops/grafana/dashboards"


def dashboards() -> dict[str, str]:
    """Path from the repository's root -> the text of the file."""
    made = {"overview": overview, "url_shortener": url_shortener, "rate_limiter": rate_limiter}
    return {f"{FOLDER}/{name}.json": make() for name, make in made.items()}
