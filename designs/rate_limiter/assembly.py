"""The composition root: which backends stand behind the port, as knobs and settings ask. Only here do core and backends meet."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog

from designs.building_blocks.dependencies import keep_watch
from designs.building_blocks.fault_hooks import FaultHooks
from designs.building_blocks.steady_clock import steady_clock
from designs.building_blocks.telemetry import Telemetry
from designs.rate_limiter.headers import headers_of
from designs.rate_limiter.knobs import LimiterKnobs
from designs.rate_limiter.limiter import Limiter
from designs.rate_limiter.metrics import observe_replica
from designs.rate_limiter.replica import Replica
from designs.rate_limiter.rule_file import Outcome, RuleFile
from designs.rate_limiter.settings import LimiterSettings
from designs.rate_limiter.store_parts import StoreParts

log = structlog.get_logger()


def wall_clock_us() -> int:
    return time.time_ns() // 1000


def assemble(
    knobs: LimiterKnobs, settings: LimiterSettings, telemetry: Telemetry, clock_us: Callable[[], int] | None = None
) -> Replica:
    """Choose the backends and put the replica together; nothing is started. Raises ValueError for what can't be done without."""
    # What is counted in this process alone goes by its own clock; what others count in too, by the time of day, or the store's.
    wall_us, own_us = clock_us or wall_clock_us, clock_us or steady_clock()
    hooks = FaultHooks.open(settings.fault_file) if settings.fault_file is not None else None
    if hooks is not None:
        wall_us, own_us = hooks.clock_us(wall_us), hooks.clock_us(own_us)
        telemetry.observe_faults(hooks)
    rule_file = RuleFile(
        settings.rules, knobs.algorithm, knobs.on_store_down, leased=knobs.store == "local_lease", tell=_tell_of_rules
    )
    stores = StoreParts(knobs, settings, telemetry, wall_us, own_us, hooks)
    limiter = Limiter(stores.store, stores.fallback, rule_file.rules)
    replica = Replica(
        knobs,
        settings,
        telemetry,
        limiter,
        rule_file,
        partial(headers_of, style=knobs.headers, pk_key=settings.partition_key(), clock_us=wall_us),
        settings.callers(),
        settings.admin_key.get_secret_value() if settings.admin_key is not None else None,
        stores.memories,
        lease=stores.lease,
        breakers=stores.breakers,
        dependencies={stores.server.name: stores.server},
        probes={stores.server.name: stores.probe},
        before=[stores.warm_up],
        background=[telemetry.loop_lag.watch, rule_file.watch, lambda: keep_watch(stores.server, stores.probe)],
        close=[stores.close],
    )
    if settings.grpc_port is not None:
        replica.start_envoy = _envoy(replica, settings, settings.grpc_port)
    telemetry.dependencies.extend(replica.dependencies.values())
    observe_replica(replica)
    return replica


def _envoy(replica: Replica, settings: LimiterSettings, port: int) -> Callable[[], Awaitable[Any]]:
    """Envoy's rate limit service, to be started with the replica."""
    try:
        from designs.rate_limiter import envoy_service
    except ModuleNotFoundError as error:
        raise ValueError(f"setting RATE_LIMITER_GRPC_PORT needs the extra system-designs[grpc]: {error}") from None
    key = settings.grpc_key.get_secret_value() if settings.grpc_key is not None else ""
    return lambda: envoy_service.serve(replica.limiter, settings.grpc_host, port, tell=replica.tell, secret=key)


def _tell_of_rules(outcome: Outcome, what: str) -> None:
    if outcome == "refused":
        log.error("rules_refused", reason=what)
    else:
        log.info("rules_loaded", version=what)
