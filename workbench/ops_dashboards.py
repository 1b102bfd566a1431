"""Which dashboards there are, and where their files lie. `designs docs` regenerates them."""

from __future__ import annotations

from workbench.ops_overview import overview
from workbench.ops_url_shortener import url_shortener

FOLDER = "ops/grafana/dashboards"


def dashboards() -> dict[str, str]:
    """Path from the repository's root -> the text of the file."""
    return {f"{FOLDER}/overview.json": overview(), f"{FOLDER}/url_shortener.json": url_shortener()}
