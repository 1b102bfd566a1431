"""One block after the other, each on variants in the same state; see `compare` for what a block is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from loadtests.comparison.experiment import Experiment
from loadtests.comparison.rounds import RoundTaker, Strikes
from loadtests.comparison.schedule import Round, Turn
from loadtests.generator.open_loop import LoadGenerator
from loadtests.result import SafetyCheck
from loadtests.workload import Target, Workload

Phase = Literal["start", "seed", "warm-up", "block", "check"]


class BlockTaker:
    """Measures one block after the other, each on variants in the same state."""

    def __init__(
        self,
        experiment: Experiment,
        targets: Sequence[Target],
        workload: Workload,
        renew: Callable[[], Sequence[Target]] | None,
        load: Callable[[Target], LoadGenerator],
        tell: Callable[[Phase, str], None],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        strikes: Strikes | None = None,
    ) -> None:
        self._strikes = strikes
        self.safety: dict[str, list[Sequence[SafetyCheck]]] = {target.name: [] for target in targets}
        self._experiment = experiment
        self._targets = targets
        self._workload = workload
        self._renew = renew if experiment.fresh else None
        self._load = load
        self._tell = tell
        self._clock = clock
        self._sleep = sleep
        self._generators: list[LoadGenerator] = []
        self._rounds: RoundTaker | None = None
        self._used = False

    async def begin(self) -> list[Round]:
        """Seed and warm up the targets there are. Returns the warm-up rounds, which do not count."""
        for target in self._targets:
            self._generators.append(self._load(target))
        rounds = RoundTaker(
            self._targets, self._generators, self._workload, self._experiment, self._clock, self._sleep, self._strikes
        )
        for variant, target in enumerate(self._targets):
            self._tell("seed", target.name)
            await self._workload.seed(target, self._experiment.mix, self._experiment.seed)
            await rounds.touch(variant)
        warm_up = []
        for variant, target in enumerate(self._targets):
            self._tell("warm-up", target.name)
            warm_up.append(await rounds.warm_up(variant))
        self._rounds, self._used = rounds, False
        return warm_up

    async def take(self, index: int, turns: Sequence[Turn]) -> list[Round]:
        """One block. What an earlier block left behind is judged and swept away first."""
        if self._used and self._renew is not None:
            await self.finish()
            await self.close()
            self._tell("start", "")
            self._targets = self._renew()
            await self.begin()
        assert self._rounds is not None, "begin comes first"
        self._used = True
        return [await self._rounds.measure(variant, plan_index) for variant, plan_index in turns]

    async def finish(self) -> None:
        """Judge what each variant has promised since it was seeded."""
        for target in self._targets:
            self._tell("check", target.name)
            self.safety[target.name].append(await self._workload.check(target))

    async def close(self) -> None:
        for generator in self._generators:
            await generator.close()
        self._generators.clear()
