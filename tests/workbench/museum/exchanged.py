"""What the tests of flaws share: parts exchanged for as long as a test runs, and an emptied Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from designs.building_blocks.redis_connection import Client, connect
from workbench.museum.exhibit import Exhibit, exhibits, place

Scene: TypeAlias = Callable[[Exhibit, Path, str], Awaitable[bool]]  # answers whether the promise held
SCENES: dict[str, Scene] = {}  # by the name of the exhibit


def shows(name: str) -> Callable[[Scene], Scene]:
    """The exhibit of this name breaks the promise that the scene is about."""

    def note(scene: Scene) -> Scene:
        SCENES[name] = scene
        return scene

    return note


def shown(design: str) -> list[str]:
    """The names of the exhibits of this design."""
    return [exhibit.name for exhibit in exhibits().values() if exhibit.design == design]


def exchange(exhibit: Exhibit, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the launcher does, and taken back at the end of the test."""
    found = [(*place(old), getattr(*place(new))) for old, new in exhibit.swaps.items()]
    for owner, attribute, part in found:
        monkeypatch.setattr(owner, attribute, part)


@asynccontextmanager
async def redis_client(redis_url: str) -> AsyncIterator[Client]:
    async with connect(redis_url, 5.0) as client:
        await client.flushdb()
        yield client
