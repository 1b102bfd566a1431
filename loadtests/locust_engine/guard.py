"""What each Locust file of this project holds to: whom it may load, and when its figures do not count.

Nothing here imports Locust, whose environment is handed in.

    DESIGNS_API_KEY       the key that programs send
    DESIGNS_URLS          the replicas, separated by commas; without it, --host alone
    DESIGNS_ALLOW_REMOTE  1: load a machine other than this one, with its owner's consent
"""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any
from urllib.parse import urlsplit


def api_key() -> str:
    return os.environ.get("DESIGNS_API_KEY", "")


def replicas(host: str | None) -> tuple[str, ...]:
    """The URLs to load. Those of the environment come before `host`, which is the first of them."""
    listed = tuple(url.strip().rstrip("/") for url in os.environ.get("DESIGNS_URLS", "").split(",") if url.strip())
    return listed or ((host.rstrip("/"),) if host else ())


def allowed(url: str) -> bool:
    """May this machine be loaded? Loopback always; anything else only with DESIGNS_ALLOW_REMOTE=1."""
    name = urlsplit(url).hostname or ""
    if os.environ.get("DESIGNS_ALLOW_REMOTE") == "1" or name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def refusal(urls: tuple[str, ...]) -> str:
    """Why this load is not run; "" when it may."""
    if not urls:
        return "say what to load: --host http://127.0.0.1:<port>"
    for url in urls:
        if not allowed(url):
            return f"{url} is not this machine; with its owner's consent, set DESIGNS_ALLOW_REMOTE=1"
    return "" if api_key() else "set DESIGNS_API_KEY to the key of the service's API"


def begin_now(**_: Any) -> None:
    """For Locust's `init` event: --run-time counts from here, and not from when the imports began."""
    import gevent

    gevent.get_hub().loop.update_now()


def why_void(environment: Any) -> str:
    """Why the figures of this run do not count; "" when they do."""
    runner = environment.runner
    if runner.cpu_warning_emitted or runner.worker_cpu_warning_emitted:
        return "Locust itself was short of CPU, so its figures are its own; take fewer users or more worker processes"
    if environment.parsed_options.headless and runner.stats.total.num_requests == 0:
        return "not one request was made, so nothing failed either"
    return ""


def fail_a_void_run(environment: Any, **_: Any) -> None:
    """For Locust's `quitting` event. A worker's figures are judged by its master."""
    if environment.runner is None or environment.parsed_options.worker or environment.process_exit_code:
        return
    if reason := why_void(environment):
        print(f"this run does not count: {reason}", file=sys.stderr)
        environment.process_exit_code = 1
