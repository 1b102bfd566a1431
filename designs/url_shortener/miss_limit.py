"""A limit on misses per client: whoever asks for many unknown codes is looking for other people's links.

Only misses count, so a popular office address behind one NAT is not slowed by its hits. Kept per replica and bounded; exact
limits over replicas are the rate limiter's chapter.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from designs.building_blocks.client_address import network_of, parse_node

MAX_CLIENTS = 50_000


class MissLimit:
    """A token bucket per client: `per_minute` misses at once, refilled evenly (Turner, 1986). 0 means no limit.

    A client is an IPv4 address or the /64 of an IPv6 one, in which a host may choose a new address for each request.
    """

    def __init__(self, per_minute: int, clock_s: Callable[[], float], max_clients: int = MAX_CLIENTS) -> None:
        self._per_minute = per_minute
        self._clock_s = clock_s
        self._max_clients = max_clients
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()  # network -> (misses not refilled yet, as of)

    def wait_s(self, client: str) -> float:
        """0 when the client may miss again, else the seconds until then."""
        if not self._per_minute or not self._spent:
            return 0.0
        over = self._level(_network(client)) + 1 - self._per_minute
        return max(0.0, over * 60 / self._per_minute)

    def missed(self, client: str) -> None:
        """Count one miss."""
        if not self._per_minute:
            return
        network = _network(client)
        self._spent[network] = (self._level(network) + 1, self._clock_s())
        self._spent.move_to_end(network)
        if len(self._spent) > self._max_clients:
            self._spent.popitem(last=False)  # the client that has been quiet longest

    def _level(self, network: str) -> float:
        level, as_of_s = self._spent.get(network, (0.0, 0.0))
        return max(0.0, level - (self._clock_s() - as_of_s) * self._per_minute / 60)


def _network(client: str) -> str:
    address = parse_node(client)
    return network_of(address) if address is not None else client
