"""Run the proxy: `python -m loadtests.faults.proxy --control-port 8474 [--seed S]`; SIGTERM ends it.

The control port and every proxy listen on 127.0.0.1. Nothing is proxied until a client of the control port says so.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys

STOP_WITHIN_S = 2


def main() -> int:
    parser = argparse.ArgumentParser(prog="loadtests.faults.proxy", description=__doc__)
    parser.add_argument("--control-port", type=int, default=8474, help="where the HTTP API listens (127.0.0.1)")
    parser.add_argument("--seed", type=int, default=0, help="draws which connections a toxicity below 1 spoils, jitter and slices")
    parser.add_argument("--any-upstream", action="store_true", help="forward to other machines too")
    arguments = parser.parse_args()
    if not 1 <= arguments.control_port <= 65_535:
        parser.error(f"--control-port lies between 1 and 65535, not at {arguments.control_port}")
    serving = serve(arguments.control_port, arguments.seed, any_upstream=arguments.any_upstream)
    if sys.platform == "win32":
        asyncio.run(serving)
    else:
        import uvloop

        uvloop.run(serving)
    return 0


async def serve(control_port: int, seed: int, *, any_upstream: bool) -> None:
    """Until a signal ends it. The control port answers as soon as it listens."""
    import uvicorn

    from loadtests.faults.proxy.addresses import LOOPBACK
    from loadtests.faults.proxy.control import create_control
    from loadtests.faults.proxy.proxies import Proxies

    proxies = Proxies(seed=seed, any_upstream=any_upstream)
    config = uvicorn.Config(
        create_control(proxies),
        host=LOOPBACK,
        port=control_port,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_WITHIN_S,
    )
    gc.freeze()  # what was imported is never garbage
    try:
        await uvicorn.Server(config).serve()
    finally:
        proxies.close()


if __name__ == "__main__":
    sys.exit(main())
