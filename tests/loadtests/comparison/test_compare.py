"""The comparison as a whole, against two real servers in processes of their own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from loadtests.comparison.compare import Progress, compare
from loadtests.comparison.experiment import Experiment
from loadtests.comparison.schedule import MeasuredBlock, Rules
from loadtests.cpu_clock import Unreadable
from loadtests.generator.open_loop import run
from loadtests.result import Result, SafetyCheck
from loadtests.workload import Exchange, Mix, Target
from tests.loadtests.no_history import NoHistory

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


class Counting(NoHistory):
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

    def encode(self, target: Target, exchange: Exchange, before: Exchange | None) -> tuple[int, bytes]:
        return 0, b"GET /%d HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" % exchange.key

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
    mix: Mix = MIX,
    rules: Rules = UNDISTURBED,
    steps: list[Progress] | None = None,
    round_s: float = 0.05,
    control: bool = False,
    renew: Callable[[], Sequence[Target]] | None = None,
    keep: Callable[[Sequence[MeasuredBlock]], None] = lambda blocks: None,
) -> Result:
    experiment = Experiment(
        design="nothing",
        knob="work",
        variants=[target.name for target in targets],
        mix=mix,
        rate_per_s=200,
        round_s=round_s,
        blocks=blocks,
        seed=3,
        margin=0.05,
        primary="cpu_us_per_request",
        command="compare nothing work",
        fresh=renew is not None,
        control=control,
        warm_up_s=0.05,
        lead_in_s=0.02,
        settle_s=0.01,
        rules=rules,
    )
    return run(
        compare(
            experiment,
            targets,
            workload,
            renew=renew,
            versions={"server": "1"},
            progress=(steps if steps is not None else []).append,
            keep=keep,
        )
    )


def test_a_server_that_works_more_is_found_and_the_record_is_complete() -> None:
    workload, steps = Counting(), list[Progress]()
    with server("idle", 0) as idle, server("busy", 50_000) as busy:
        result = compared([idle, busy], workload, blocks=6, steps=steps, round_s=0.12)

    assert result.headline.startswith("busy uses")
    (primary,) = (comparison for comparison in result.comparisons[0] if comparison.primary)
    assert primary.verdict == "more"
    assert result.variants[0].figures["rounds_seen"] == 1.0, "what the workload counts of a round is read after it was observed"
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
    assert workload.seeded == ["idle", "busy"], "once, since nobody starts them anew"
    assert any("state was not reset" in note for note in result.manifest.notes)
    assert result.manifest.rules["steal_ratio"] == 1e9
    assert result.variants[0].steadiness is not None
    assert [step.phase for step in steps] == ["seed"] * 2 + ["warm-up"] * 2 + ["block"] * 7 + ["check"] * 2
    assert len(result.ratio_functions) == 1
    assert steps[-1].blocks_accepted == 6
    assert steps[-1].ratio == primary.ratio


def test_each_block_starts_every_variant_anew_and_judges_what_the_last_one_promised() -> None:
    workload, steps, kept = Counting(), list[Progress](), list[MeasuredBlock]()
    with ExitStack() as running:
        stack = running.enter_context(ExitStack())
        pids: list[int] = []

        def start() -> list[Target]:
            stack.close()
            started = [stack.enter_context(server(name, 0)) for name in ("a", "b")]
            pids.extend(pid for target in started for pid in target.pids["service"])
            return started

        result = compared(start(), workload, blocks=3, mix=replace(MIX, touch="get"), renew=start, steps=steps, keep=kept.extend)

    assert len(set(pids)) == 6, "three blocks of two processes"
    assert workload.seeded == ["a", "b"] * 3
    assert [step.phase for step in steps if step.phase in ("start", "check")] == ["check", "check", "start"] * 2 + ["check"] * 2
    assert [exchange.key for exchange in workload.seen["a"][: MIX.keys]] == list(range(MIX.keys)), "every key is touched once"
    serials = [exchange.serial for exchange in workload.seen["a"]]
    assert serials == list(range(len(serials))), "serials begin anew with the data"
    (check,) = result.safety["a"]
    assert check.counts["asked"] > 2 * len(serials), "the counts of all blocks are added up"
    assert any("new processes and the same seeded data, every key asked for once" in note for note in result.manifest.notes)
    assert [block.index for block in kept] == [0, 1, 2]


def test_a_second_copy_of_the_baseline_is_the_noise_floor_and_no_variant() -> None:
    with ExitStack() as stack:
        targets = [stack.enter_context(server(name, work)) for name, work in (("a", 0), ("b", 20_000), ("a (again)", 0))]
        result = compared(targets, Counting(), blocks=6, control=True)

    assert [variant.name for variant in result.variants] == ["a", "b"]
    assert len(result.comparisons) == 1
    assert result.noise_sentence.startswith("A second copy of the baseline")
    assert result.noise_floor.blocks == 6
    assert "a (again)" in result.blocks[0].figures


def test_fresh_blocks_need_somebody_who_starts_them() -> None:
    targets = [Target(name, {}, ["http://127.0.0.1:1"], "", [], {}) for name in ("a", "b")]
    experiment = Experiment("", "", ["a", "b"], MIX, 1, 1, 1, 1, 0.05, "cpu_us_per_request", fresh=True)
    with pytest.raises(ValueError, match="starts its variants anew"):
        asyncio.run(compare(experiment, targets, Counting()))


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
        compared(targets, Counting(), blocks=1)
