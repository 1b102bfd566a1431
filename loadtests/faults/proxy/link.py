"""One direction of one connection: the toxics that lie in its way, in the order in which they were added. Pure; no sockets.

    received -> stage of toxic 1 -> stage of toxic 2 -> ... -> pop() -> written

Promises: bytes come out in order and unchanged, as far as the toxics let them; toxics may come, change and go at any moment, and
what is in flight is affected as on a real line: an added toxic lies behind the others and meets what they still hold, a removed
one passes on at once all it held. After an end nothing comes out.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.faults.proxy.stages import ITEM_OVERHEAD, Item, Stage, make_stage
from loadtests.faults.proxy.toxics import Attributes, Toxic


@dataclass(frozen=True, slots=True)
class Striking:
    """A toxic that does spoil this connection, with the seed of what it draws."""

    toxic: Toxic
    seed: float


class Link:
    """`offer` what is received, `advance` to now, `pop` what is to be written; seconds of any one clock."""

    def __init__(self, toxics: Sequence[Striking] = (), now_s: float = 0.0) -> None:
        self._toxics: list[Toxic] = []
        self._stages: list[Stage[Attributes]] = []
        self._out: deque[Item] = deque()
        self._out_held = 0
        self._ended = False
        self.set_toxics(now_s, toxics)

    def offer(self, now_s: float, item: Item) -> None:
        """What one side sent: bytes, or how its stream ended."""
        self._pass_on(0, now_s, item)
        self.advance(now_s)

    def advance(self, now_s: float) -> None:
        """Let out what is due by now. Each stage is told when an item left the one before, not when somebody looked."""
        for position, stage in enumerate(self._stages):
            for at_s, item in stage.take(now_s):
                self._pass_on(position + 1, at_s, item)

    def pop(self) -> Item | None:
        """The next thing to write, or how to end; None: nothing is due."""
        if not self._out:
            return None
        item = self._out.popleft()
        self._out_held -= len(item) + ITEM_OVERHEAD
        return item

    @property
    def has_more(self) -> bool:
        return bool(self._out)

    @property
    def next_due_s(self) -> float:
        """When `advance` will next let something out or on; infinite for not before something is offered or changed."""
        return min((stage.next_due_s for stage in self._stages), default=math.inf)

    @property
    def held(self) -> int:
        """Bytes of memory in flight, about."""
        return sum(stage.held for stage in self._stages) + self._out_held

    def set_toxics(self, now_s: float, toxics: Sequence[Striking]) -> None:
        """From now on these, in this order. Those that were there keep their place, as Toxiproxy's do, and their state."""
        self.advance(now_s)
        wanted = {striking.toxic.name: striking for striking in toxics}
        for position in reversed(range(len(self._toxics))):
            if self._toxics[position].name not in wanted:
                self._remove(position, now_s)
        for position, striking in enumerate(toxics):
            if position == len(self._toxics) or self._toxics[position].name != striking.toxic.name:
                self._toxics.insert(position, striking.toxic)
                self._stages.insert(position, make_stage(striking.toxic.attributes, now_s, random.Random(striking.seed)))
            elif self._toxics[position].attributes != striking.toxic.attributes:
                self._change(position, striking, now_s)
        self.advance(now_s)

    def _remove(self, position: int, now_s: float) -> None:
        del self._toxics[position]
        stage = self._stages.pop(position)
        for _, _, item in stage.queue:
            self._pass_on(position, now_s, item)
        if stage.closes_when_removed:
            self._pass_on(position, now_s, "close")

    def _change(self, position: int, striking: Striking, now_s: float) -> None:
        stage = make_stage(striking.toxic.attributes, now_s, random.Random(striking.seed))
        stage.inherit(self._stages[position])
        self._toxics[position], self._stages[position] = striking.toxic, stage

    def _pass_on(self, position: int, at_s: float, item: Item) -> None:
        if position < len(self._stages):
            self._stages[position].offer(at_s, item)
        elif not self._ended:
            self._ended = not isinstance(item, bytes)
            self._out.append(item)
            self._out_held += len(item) + ITEM_OVERHEAD
