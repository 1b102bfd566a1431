"""Made-up but plausible checks, the same on every call. Their numbers come from a formula: they belong in tests alone."""

from __future__ import annotations

import math

from loadtests.check.record import CheckRecord, NodeState, PolicyFigure, Slice
from loadtests.result import Band, SafetyCheck

SECONDS = 30.0
STRIKES = (
    ("Redis answers nothing", "redis", 2.0, 7.0),
    ("click-worker is killed", "click-worker", 5.5, 6.3),
    ("click-worker is killed", "click-worker", 11.0, 11.9),
    ("answers of Redis come in pieces of 16 bytes, for replica-2 alone", "redis@replica-2", 13.0, 20.0),
    ("connections to Redis are reset, for replica-2 alone", "redis@replica-2", 15.0, 16.5),
    ("replica-2 is killed", "replica-2", 18.0, 19.4),
    ("click-worker is killed", "click-worker", 24.0, 25.1),
)
STATES = (
    (0.0, "replica-1", "ready", "closed"),
    (0.0, "replica-2", "ready", "closed"),
    (0.0, "click-worker", "ready", ""),
    (2.3, "replica-1", "degraded", "open"),
    (2.4, "replica-2", "degraded", "open"),
    (2.5, "click-worker", "down", ""),
    (5.6, "click-worker", "gone", ""),
    (6.2, "replica-1", "degraded", "half-open"),
    (6.4, "replica-1", "degraded", "open"),
    (6.6, "click-worker", "down", ""),
    (7.3, "click-worker", "ready", ""),
    (7.6, "replica-1", "ready", "closed"),
    (7.7, "replica-2", "ready", "closed"),
    (11.1, "click-worker", "gone", ""),
    (12.1, "click-worker", "ready", ""),
    (15.2, "replica-2", "degraded", "half-open"),
    (16.8, "replica-2", "ready", "closed"),
    (18.1, "replica-2", "gone", ""),
    (19.5, "replica-2", "ready", "closed"),
    (24.1, "click-worker", "gone", ""),
    (25.3, "click-worker", "ready", ""),
)
CHECKS = (
    SafetyCheck(
        name="no two links share a code",
        verdict="valid",
        counts={"links_made": 402, "links_seeded": 150, "creates_undecided": 3, "duplicate_codes": 0},
    ),
    SafetyCheck(
        name="no acknowledged link is lost",
        verdict="valid",
        counts={"links_acknowledged": 552, "links_asked_for_again": 552, "lost": 0, "wrong_target": 0, "refused_under_load": 0},
    ),
    SafetyCheck(
        name="no answer is older than the staleness bound",
        verdict="valid",
        counts={"edits_acknowledged": 288, "stale_answers": 37, "worst_stale_ms": 1_620, "bound_ms": 2_000, "beyond_bound": 0},
    ),
    SafetyCheck(
        name="no link is opened more often than its cap allows",
        verdict="valid",
        counts={"capped_links": 40, "admitted": 160, "over_the_cap": 0},
    ),
    SafetyCheck(
        name="every click is counted once or declared lost",
        verdict="valid",
        counts={
            "clicks_accepted": 4_102,
            "clicks_stored": 4_081,
            "declared_drops": 4,
            "lost_with_a_killed_replica": 17,
            "counted_twice": 0,
            "lost_undeclared": 0,
        },
    ),
)
BROKEN = {
    "no two links share a code": SafetyCheck(
        name="no two links share a code",
        verdict="invalid",
        counts={"links_made": 402, "links_seeded": 150, "creates_undecided": 3, "duplicate_codes": 1},
        detail="for example 3kP0aZq",
        witness=[
            "4.112 s  client 17  create https://example.org/u/4242 -> replica-1: 201 3kP0aZq at 4.119 s, ok",
            "9.870 s  client 3   create https://example.org/u/9731 -> replica-2: 201 3kP0aZq at 9.878 s, ok",
        ],
    ),
    "every click is counted once or declared lost": SafetyCheck(
        name="every click is counted once or declared lost",
        verdict="unknown",
        counts={"clicks_accepted": 4_102, "clicks_stored": 0},
        detail="the queue was not empty in time, or a count could not be read",
    ),
}


def sample_check(*, broken: bool = False) -> CheckRecord:
    """A run under two schedules of faults that held; `broken`: one check is invalid, another unknown."""
    checks = [BROKEN.get(check.name, check) if broken else check for check in CHECKS]
    return CheckRecord(
        verdict="invalid" if broken else "valid",
        headline=(
            "url_shortener is invalid: no two links share a code; broken over 4,983 operations while faults struck 7 times"
            if broken
            else "url_shortener is valid: all 5 checks hold over 4,983 operations while faults struck 7 times"
        ),
        design="url_shortener",
        knobs={"ids": "hash" if broken else "lease", "cache": "aside", "cache_ttl_s": 2, "clicks": "batched", "blocklist": False},
        mix="everything",
        mix_description="Everything a client can ask of the design, at once",
        rate_per_s=200.0,
        seconds=SECONDS,
        replicas=2,
        seed=7,
        plan_hash="5f1c9a7be2d04c3f8a6b17d2e9c05f4471aa38e6f0d29b7c4e81536afc902d7e",
        schedules=["redis_black_hole", "worker_kill_loop"],
        checks=checks,
        operations={
            "redirect": {"ok": 4_102, "info": 5, "fail": 3},
            "create": {"ok": 402, "info": 3},
            "edit": {"ok": 288, "fail": 0},
            "claim_alias": {"ok": 61, "fail": 119},
        },
        bands=[Band(name=name, variant=target, start_s=start_s, end_s=end_s) for name, target, start_s, end_s in STRIKES],
        slices=[_slice(i) for i in range(150)],
        states=[NodeState(at_s=at_s, node=node, state=state, breaker=breaker) for at_s, node, state, breaker in STATES],  # type: ignore[arg-type]
        policy=[
            PolicyFigure(
                name="redirect p99 under redis_black_hole",
                value=61.4,
                unit="ms",
                bound=75.0,
                sentence="redirect under redis_black_hole: p99 61.4 ms, within the 75 ms of its deadline and slack",
            ),
            PolicyFigure(
                name="recovery after redis_black_hole",
                value=1.42 if broken else 0.7,
                unit="s",
                bound=1.2,
                sentence="recovery after redis_black_hole: all ready again, breakers closed",
            ),
            PolicyFigure(
                name="breaker opened", value=4, unit="", sentence="circuit breakers opened 4 times: replica-1 2 and replica-2 2"
            ),
            PolicyFigure(
                name="redirect p99 under worker_kill_loop",
                value=None,
                unit="ms",
                bound=75.0,
                sentence="redirect under worker_kill_loop: too few for a p99 (9 of 9 answered)",
            ),
        ],
        history="history.jsonl",
        started_at="2026-01-02T03:04:05+00:00",
        duration_s=41.2,
        command=f"designs check url_shortener{' ids=hash' if broken else ''} --faults redis_black_hole,worker_kill_loop --seed 7",
        commit="0123456789abcdef",
        dirty=False,
        versions={"python": "CPython 3.11.9", "redis-server": "7.2.5"},
        machine={"cpu": "a CPU", "cpus": "2", "load_average_before": "0.4"},
        notes=["replica-2 was ready again 1.4 s after it was killed"],
    )


def calm_check() -> CheckRecord:
    """A run in which nothing was broken, asked nothing and measured nothing: the least a record can hold."""
    empty = {"schedules": [], "checks": [], "operations": {}, "bands": [], "slices": [], "states": [], "policy": [], "notes": []}
    return sample_check().model_copy(update={**empty, "verdict": "unknown", "headline": "Nothing was checked"})


def _slice(i: int) -> Slice:
    at_s = round(0.2 * i, 3)
    requests = round(40 + 6 * math.sin(i) + 4 * math.cos(2.3 * i))
    black_hole, killed = 2.0 <= at_s < 7.0, 18.0 <= at_s < 19.4
    p50_ms = 1.6 + 0.3 * math.sin(0.7 * i) + (24 if black_hole and i % 7 else 0)
    failed = requests // 2 if killed else 1 if black_hole and i % 5 == 0 else 0
    silent = 18.4 <= at_s < 18.9
    return Slice(
        at_s=at_s,
        requests=requests,
        failed=requests if silent else failed,
        p50_ms=None if silent else p50_ms,
        max_ms=None if silent else p50_ms * (3 + 2 * math.sin(1.7 * i) ** 2) + (30 if black_hole else 0),
    )
