"""Clients of services on this machine speak plain HTTP, and trust nobody: to load who is trusted takes longer than many requests.

>>> httpx2.Client(base_url="http://127.0.0.1:8000", verify=TRUSTS_NOBODY)
"""

from __future__ import annotations

import ssl

TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without certificates; a server with TLS is refused
