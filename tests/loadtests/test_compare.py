"""The comparison as a whole, against two real servers in processes of their own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from loadtests.compare import Progress, compare
from loadtests.cpu_clock import Unreadable
from loadtests.open_loop import run
from loadtests.result import Result, SafetyCheck
from loadtests.schedule import Rules
from loadtests.workload import Exchange, Mix, Target

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the clocks are Linux's")

MIX = Mix(name="reads", who="readers", ratios={"get": 0.9, "put": 0.1}, keys=50, zipf_s=1.0, rate_per_s=200)
UNDISTURBED = Rules(1e9, 1e9, 1e9, 1e9, 1e9, 1e9)  # this test is about folding, not about the machine it runs on

SERVER = """
import asyncio, sys

class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        sum(range(int(sys.argv[1])))
        self.transport.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")

async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@contextmanager
def server(name: str, work: int) -> Iterator[Target]:
    process = subprocess.Popen([sys.executable, "-S", "-c", SERVER, str(work)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        yield Target(name, {"work": work}, [url], "", [], {"service": [process.pid]})
    finally:
        process.kill()
        process.communicate()


class Counting:
    """A workload that remembers what it was told."""

    mixes: Mapping[str, Mix] = {"reads": MIX}
    default_mix: Mapping[str, str] = {"": "reads"}

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.seeded: list[str] = []
        self.seen: dict[str, list[Exchange]] = {}

    async def seed(self, target: Target, mix: Mix, seed: int) -> None:
        self.seeded.append(target.name)
        self.seen[target.name] = []

    def encode(self, target: Target, op: str, key: int, serial: int) -> tuple[int, bytes]:
        return 0, b"GET /%d HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" % key

    def observe(self, target: Target, exchanges: Sequence[Exchange]) -> None:
        self.seen[target.name].extend(exchanges)

    async def counters(self, target: Target) -> Mapping[str, float]:
        return {"rounds_seen": float(len(self.seen[target.name]))}

    async def check(self, target: Target) -> Sequence[SafetyCheck]:
        verdict = "invalid" if target.name == self.broken else "valid"
        return [SafetyCheck(name="nothing is lost", verdict=verdict, counts={"asked": len(self.seen[target.name])})]  # type: ignore[arg-type]

    def card(self, knob: str, baseline: str, other: str) -> tuple[str, ...]:
        return ("cpu_us_per_request",)


def compared(
    targets: Sequence[Target],
    workload: Counting,
    *,
    blocks: int,
    rules: Rules = UNDISTURBED,
    steps: list[Progress] | None = None,
    round_s: float = 0.05,
) -> Result:
    return run(
        compare(
            targets,
            workload,
            MIX,
            design="nothing",
            knob="work",
            rate_per_s=200,
            blocks=blocks,
            round_s=round_s,
            seed=3,
            rules=rules,
            settle_s=0.01,
            versions={"server": "1"},
            command="compare nothing work",
            progress=(steps if steps is not None else []).append,
        )
    )


def test_a_server_that_works_more_is_found_and_the_record_is_complete() -> None:
    workload, steps = Counting(), list[Progress]()
    with server("idle", 0) as idle, server("busy", 50_000) as busy:
        result = compared([idle, busy], workload, blocks=6, steps=steps, round_s=0.12)

    assert result.headline.startswith("busy uses")
    assert result.comparisons[0][0].primary
    assert result.comparisons[0][0].verdict == "more"
    assert result.paid[0] == result.headline
    assert result.safety_verdict() == "valid"
    assert [block.order for block in result.blocks[:2]] == [["idle", "busy", "busy", "idle"], ["busy", "idle", "idle", "busy"]]
    assert {variant.name: variant.statuses.keys() for variant in result.variants} == {"idle": {"200"}, "busy": {"200"}}
    assert result.variants[0].requests == result.variants[1].requests
    assert result.noise_floor.blocks == 6
    assert result.manifest.versions["server"] == "1"
    assert result.manifest.blocks_rejected == 0
    assert Result.model_validate_json(result.model_dump_json()) == result

    asked = {name: [(e.op, e.key, e.serial) for e in exchanges] for name, exchanges in workload.seen.items()}
    assert asked["idle"] == asked["busy"], "both saw the same requests, warm-up included"
    assert [serial for _, _, serial in asked["idle"]] == list(range(len(asked["idle"])))
    assert workload.seeded == ["idle", "busy"]
    assert [step.phase for step in steps] == ["seed"] * 2 + ["warm-up"] * 2 + ["block"] * 7 + ["check"] * 2
    assert steps[-1].blocks_accepted == 6
    assert steps[-1].ratio == result.comparisons[0][0].ratio


def test_a_broken_promise_overrides_the_headline() -> None:
    with server("idle", 0) as idle, server("busy", 0) as busy:
        result = compared([idle, busy], Counting(broken="busy"), blocks=1)

    assert result.headline.startswith("wrong: busy broke “nothing is lost”")
    assert result.safety_verdict() == "invalid"


def test_when_every_block_is_void_the_record_says_so_and_claims_nothing() -> None:
    never = Rules(1e9, 0.0, 1e9, 1e9, 1e9, 1e9)
    with server("idle", 0) as idle, server("busy", 0) as busy:
        result = compared([idle, busy], Counting(), blocks=1, rules=never)

    assert result.headline == "inconclusive: machine too noisy, 2 of 2 blocks were void (mostly: generator busy)"
    assert result.comparisons == [[]]
    assert result.manifest.blocks_rejected == 2
    assert result.manifest.notes[0].startswith("machine too noisy")
    assert Result.model_validate_json(result.model_dump_json()) == result


def test_three_variants_are_each_compared_with_the_first() -> None:
    with ExitStack() as stack:
        targets = [stack.enter_context(server(name, 0)) for name in ("a", "b", "c")]
        result = compared(targets, Counting(), blocks=1)

    assert len(result.comparisons) == 2
    assert sorted(result.blocks[0].order) == ["a", "a", "b", "b", "c", "c"]
    assert set(result.safety) == {"a", "b", "c"}


def test_a_variant_whose_process_ends_stops_the_comparison_with_a_sentence() -> None:
    with server("idle", 0) as idle, server("gone", 0) as gone:
        pass
    with pytest.raises(Unreadable, match="is not running"):
        compared([idle, gone], Counting(), blocks=1)


def test_variants_need_names_of_their_own() -> None:
    target = Target("same", {}, ["http://127.0.0.1:1"], "", [], {})
    for targets in ([target], [target, target]):
        with pytest.raises(ValueError, match="two or more variants"):
            compared(targets, Counting(), blocks=1)


def test_a_variant_elsewhere_is_refused() -> None:
    targets = [Target(name, {}, ["http://192.0.2.1:80"], "", [], {}) for name in ("a", "b")]
    with pytest.raises(ValueError, match="load goes to"):
        asyncio.run(
            compare(targets, Counting(), MIX, design="", knob="", rate_per_s=1, blocks=1, round_s=1, seed=1),
        )
