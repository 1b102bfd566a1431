"""The routes for operators and for the workbench. The limiter is never down: without a store each rule's on_store_down decides."""

from __future__ import annotations

from designs.building_blocks.operations import operations_router

operations = operations_router(lambda _: False)
