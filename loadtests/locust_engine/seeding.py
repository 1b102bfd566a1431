"""Data made once for all of Locust's processes: where the test is started it is made, and the workers are told.

If each worker made its own, there would be as many times more keys as there are workers, and each worker's popular keys would be
others: a cache would see another popularity than the mix says.

The data travels among the options, which Locust sends to a worker with each change of its users, before the worker's own
`test_start`. A message of our own would be lost by a worker that joins later: it could come before that worker listens.
"""

from __future__ import annotations

import http.client
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from gevent import GreenletExit
from locust.exception import StopTest
from locust.runners import MasterRunner, WorkerRunner

SEED_TIMEOUT_S = 30.0

Data = Mapping[str, Any]  # of what MessagePack can carry: strings, numbers, lists, dicts


@contextmanager
def connection_to(url: str) -> Iterator[http.client.HTTPConnection]:
    """For what is asked while the data is made. Requests on it are no part of what Locust counts."""
    parts = urlsplit(url)
    connection_class = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connection_class(parts.hostname or "", parts.port, timeout=SEED_TIMEOUT_S)
    try:
        yield connection
    finally:
        connection.close()


class SeedOnce:
    """`make` makes the data, or raises `StopTest`; `take` is handed it in each process that runs users, and may raise it too.

    >>> events.test_start.add_listener(SeedOnce(make, take).on_test_start)
    """

    def __init__(self, make: Callable[[Any], Data], take: Callable[[Data], None]) -> None:
        self._make = make
        self._take = take

    def on_test_start(self, environment: Any, **_: Any) -> None:
        runner, options = environment.runner, environment.parsed_options
        try:
            if not isinstance(runner, WorkerRunner):
                options.seeded = dict(self._make(environment))
            if not isinstance(runner, MasterRunner):
                self._take(options.seeded)
        except StopTest as stopped:
            environment.process_exit_code = 1  # else a run without requests would count as one without failures
            if isinstance(runner, MasterRunner) and options.headless:
                # A local runner ends when it hears of it; a master would log it and wait for ever.
                logging.getLogger(__name__).error(stopped)
                runner.quit()
                raise GreenletExit from None
            raise
