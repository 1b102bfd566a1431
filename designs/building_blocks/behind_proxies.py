"""The client in the place of its proxy: for what is behind, a connection comes from whom trusted proxies vouch for."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from designs.building_blocks.client_address import TrustedProxies, client_address


class BehindProxies:
    """ASGI middleware. Where nobody knows the client (`client_address`), the connection's own address stays."""

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            peer = scope.get("client")
            address = client_address(peer[0] if peer else None, scope["headers"], self._proxies)
            if address is not None and (peer is None or str(address) != peer[0]):
                scope = {**scope, "client": (str(address), 0)}  # the port is the proxy's, and says nothing
        await self._app(scope, receive, send)
