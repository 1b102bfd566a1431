"""An open-loop user inside Locust: sends when the plan says, however slow the answers are. For teams that stay with Locust.

Locust's users wait for an answer before they ask again, so a service that stalls is asked less while it stalls, and the stall
hardly shows in the percentiles. Here one user walks a plan and hands each request, when it is due, to one of `concurrency`
greenlets; what Locust counts, in its tables and on its page, is the time from the *intended* start.

>>> class Reader(OpenLoopUser):
...     mix = Mix("reads", "readers", ratios={"read": 1.0}, keys=100, zipf_s=1.0, rate_per_s=600)
...     rate_per_s, duration_s = 600.0, 10.0
...
...     def ask(self, op, key, serial):
...         self.client.get(f"/{key}", name="/[key]")

The run ends with the plan's last answer. Only for a single process: one user walks the plan. It costs about twice the CPU time
of a closed-loop user and several times that of `loadtests.generator.open_loop`; see how late it says it was.
"""

from __future__ import annotations

import time
from typing import Any

import gevent
from gevent.pool import Pool
from locust import FastHttpUser, task
from locust.exception import StopUser

from loadtests.generator.arrivals import make_plan
from loadtests.locust_engine.latencies import Latencies
from loadtests.workload import Mix

CONCURRENCY = 128
TIMEOUT_S = 5.0
LEAD_S = 0.1


class FromIntendedStart:
    """Stands between a client and Locust's `request` event: the time counts from when the greenlet's request was due."""

    def __init__(self, event: Any, latencies: Latencies) -> None:
        self._event = event
        self._latencies = latencies

    def fire(self, **meta: Any) -> None:
        from_intended_s = time.perf_counter() - gevent.getcurrent().intended_s
        if meta.get("exception") is None:
            self._latencies.answered(from_intended_s, meta["response_time"] / 1e3)
        else:
            self._latencies.failed += 1
        self._event.fire(**{**meta, "response_time": from_intended_s * 1e3})


class OpenLoopUser(FastHttpUser):
    """A subclass says `mix`, `rate_per_s`, `duration_s`, and in `ask` what a step of the plan is: one request by `self.client`."""

    abstract = True
    fixed_count = 1
    concurrency = CONCURRENCY
    network_timeout = TIMEOUT_S
    connection_timeout = TIMEOUT_S

    mix: Mix
    rate_per_s: float
    duration_s: float
    seed: int = 1

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.latencies = Latencies()
        self.client.request_event = FromIntendedStart(self.client.request_event, self.latencies)
        # A redirect is an answer. Asking for that in each request (allow_redirects) would change this same setting for the other
        # greenlets, some of which would then follow a redirect to somebody else's machine.
        agent: Any = self.client.client
        agent.redirect_response_codes = frozenset()
        self._told = False

    def ask(self, op: str, key: int, serial: int) -> None:
        """Make the one request of a step. `key` is 0 .. mix.keys-1; `serial` counts the steps from 0. Group it by `name=`."""
        raise NotImplementedError

    @task
    def walk_the_plan(self) -> None:
        plan = make_plan(self.mix, self.rate_per_s, self.duration_s, self.seed)
        latencies, pool = self.latencies, Pool(self.concurrency)
        latencies.planned = len(plan)
        start_s = time.perf_counter() + LEAD_S
        for serial, (due_s, op_index, key) in enumerate(zip(plan.intended_s, plan.op_indexes, plan.keys, strict=True)):
            intended_s = start_s + due_s
            wait_s = intended_s - time.perf_counter()
            if wait_s > 0:
                gevent.sleep(wait_s)
            pool.spawn(self._step, intended_s, pool.full(), plan.ops[op_index], key, serial)
        pool.join()
        self._tell()
        if self.environment.parsed_options is None or self.environment.parsed_options.headless:
            self.environment.runner.quit()
        else:
            self.environment.runner.stop()
        raise StopUser

    def on_stop(self) -> None:
        self._tell()

    def _step(self, intended_s: float, waited: bool, op: str, key: int, serial: int) -> None:
        if waited:
            self.latencies.in_line += 1
        else:
            self.latencies.lateness_s.append(time.perf_counter() - intended_s)
        gevent.getcurrent().intended_s = intended_s
        self.ask(op, key, serial)

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            print(self.latencies.table(self.rate_per_s, self.concurrency), flush=True)


def why_unplannable(mix: Mix) -> str:
    """Why this user cannot walk a plan of the mix; "" when it can. A greenlet knows nothing of those before it."""
    if mix.then or mix.clients:
        return f"the mix {mix.name} has steps that follow others; compare it, or let Locust's users wait for their answers"
    return ""


def walk_alone(environment: Any, user_class: type[OpenLoopUser], default_s: float) -> None:
    """Make this user the only one, and its plan as long as --run-time. To be called on Locust's `init` event.

    Locust's own clock would start before the seeding is done, and cut off whoever still waits for an answer.
    """
    options = environment.parsed_options
    user_class.duration_s = float(options.run_time or default_s)
    options.run_time, options.num_users = None, 1
    environment.user_classes = [user_class]
