"""The routes for operators and for the workbench: this service is down when the store can't be read, since no redirect is known."""

from __future__ import annotations

from designs.building_blocks.operations import operations_router
from designs.url_shortener.guards import READS

operations = operations_router(lambda failing: READS in failing["store"])
