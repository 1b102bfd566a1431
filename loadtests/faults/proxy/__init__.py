"""A TCP proxy that spoils connections on purpose, in the words and with the control port of Shopify's Toxiproxy (2.x).

Follow one chunk of bytes: `connection.py` receives it and stamps it with its arrival, `link.py` passes it through the toxics that
lie in its way (`stages.py`, pure), `connection.py` writes it when it is due. `server.py` is one proxy and `proxies.py` all of
them, `control.py` is the control port, `client.py` speaks to it, and `python -m loadtests.faults.proxy` runs it all as one process.

What it cannot do: lose or reorder packets. It works on streams, and TCP would repair both.
"""
