"""slowapi in the process of the bench: a decorated endpoint and its own handler of refusals, called without a server around them.

It knows synchronous storages only, so its client is redis-py's synchronous one.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from starlette.requests import Request
from starlette.responses import Response

from workbench.limiter_bench.peers.line_protocol import CLIENT, Decide, serve

WITH_HEADERS = ", headers"


async def opened(url: str, how: str, limit: int, period_s: int) -> Decide:
    """`how` is a strategy of limits; with ", headers" each answer carries them."""
    limiter = Limiter(
        key_func=_key,
        strategy=how.removesuffix(WITH_HEADERS),
        headers_enabled=how.endswith(WITH_HEADERS),
        storage_uri=url,
        storage_options=CLIENT,
    )

    @limiter.limit(f"{limit} per {period_s} second")  # type: ignore[untyped-decorator, unused-ignore]
    async def endpoint(request: Request) -> Response:
        return Response()

    app = SimpleNamespace(state=SimpleNamespace(limiter=limiter))

    async def decide(key: str) -> bool:
        scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/b", "headers": [], "client": (key, 0), "app": app}
        request = Request(scope)
        try:
            await endpoint(request=request)
        except RateLimitExceeded as refusal:
            _rate_limit_exceeded_handler(request, refusal)
            return False
        return True

    return decide


def _key(request: Request) -> str:
    return request.client.host if request.client else ""


if __name__ == "__main__":
    serve(opened)
