"""The click worker is killed again and again while clicks pour in: at least once from the queue is still once in the counts."""

from __future__ import annotations

import random
import time
from collections import Counter
from functools import partial

import redis

from designs.url_shortener.backends.redis_streams import CLICKS
from tests.processes.driving import metric, wait_until
from tests.url_shortener.processes.driving import Api, Visitors, address_of, running, stored_clicks

KILLS = 5
CLICKS_PER_KILL = 4_000
LINKS = 20
SEED = 20_260_117


def test_every_click_is_counted_once_however_often_the_worker_is_killed_while_it_counts() -> None:
    rng = random.Random(SEED)
    answered: Counter[str] = Counter()
    in_the_middle = 0
    delivered_again: list[bytes] = []
    with running(click_flush_ms=10) as design, Api(design.urls[0], design.api_key) as api:
        assert design.redis is not None
        worker = address_of(design, "click-worker")
        codes = list(api.create_many([f"https://example.org/{number}" for number in range(LINKS)]))

        def counted() -> int:
            return sum(stored_clicks(design.data_dir).values())

        def reached(moment: int) -> bool:
            return counted() > moment

        with redis.Redis.from_url(design.redis.url) as server:
            for lap in range(KILLS):
                moment = lap * CLICKS_PER_KILL + rng.randrange(CLICKS_PER_KILL // 2)
                with Visitors(design.urls, codes, limit=CLICKS_PER_KILL) as visitors:
                    wait_until(partial(reached, moment), f"more than {moment} clicks are counted", poll_s=0.0)
                    if lap % 2:  # anywhere; else right behind a commit, where a batch is counted and not acknowledged
                        time.sleep(rng.random() / 50)
                    design.supervisor.kill("click-worker")
                    in_the_middle += counted() < (lap + 1) * CLICKS_PER_KILL
                    visitors.wait()
                answered.update(seen.code for seen in visitors.seen if seen.status == 302)
                delivered_again += [fields[b"b"] for _, fields in server.xrange(CLICKS, count=4)]
                design.supervisor.restart("click-worker")
            for body in delivered_again:  # as by a replica that did not hear that its batch had arrived
                server.xadd(CLICKS, {"b": body})

            wait_until(lambda: api.metric("sd_clicks_buffered") == 0, "the replica has sent its clicks")
            wait_until(lambda: metric(worker, "sd_queue_depth", queue="clicks") == 0, "the queue drains")

        assert answered.total() == KILLS * CLICKS_PER_KILL
        assert api.metric("sd_clicks_total", outcome="accepted") == answered.total()
        assert {code: api.clicks(code) for code in codes} == answered
        assert in_the_middle > KILLS // 2
        assert delivered_again
        assert metric(worker, "sd_click_batches_repeated_total") > 0
        assert metric(worker, "sd_queue_depth", queue="clicks_dead") == 0
        assert metric(worker, "sd_clicks_dead_lettered_total") == 0
