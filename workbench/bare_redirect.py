"""The least a redirect can cost in this stack: an ASGI application that looks a code up in a dict. Measured, never used.

`python -m workbench.bare_redirect --port N`: codes k000 to k099, served like the real service (uvicorn, uvloop, httptools).
"""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from workbench.asgi_process import serve_on_port

LINKS = {f"/k{number:03d}": f"https://example.org/{number}".encode() for number in range(100)}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    url = LINKS.get(scope["path"], b"")
    headers = [(b"location", url), (b"content-length", b"0"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 302 if url else 404, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    serve_on_port(app, __doc__)
