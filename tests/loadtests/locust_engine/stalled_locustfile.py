"""Two kinds of Locust users who ask the same: `Planned` by a plan, `Waiting` each when it has its answer."""

from typing import Any

from locust import FastHttpUser, constant, task

from loadtests.locust_engine.open_loop import OpenLoopUser
from tests.loadtests.locust_engine.test_open_loop import DURATION_S, MIX


class Planned(OpenLoopUser):
    mix = MIX
    rate_per_s = MIX.rate_per_s
    duration_s = DURATION_S
    concurrency = 8  # fewer than 1 % of the requests can be sent into the stall

    def ask(self, op: str, key: int, serial: int) -> None:
        self.client.get(f"/{key}", name="/[key]")


class Waiting(FastHttpUser):
    wait_time: Any = constant(0)

    @task
    def look(self) -> None:
        self.client.get("/0", name="/[key]")
