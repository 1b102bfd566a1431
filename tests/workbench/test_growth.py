import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from designs.url_shortener.backends.sqlite import SqliteLinkStore
from designs.url_shortener.codes import code_source, next_code
from designs.url_shortener.knobs import ShortenerKnobs
from workbench import growth
from workbench.bench import MAX_LINKS, UnknownBench, bench_command, parsed_sizes
from workbench.growth import CREATE, HOT, UNIFORM, Growth, Phase, Turn, codes_at, disk, fill, grow_and_measure, table, verdicts
from workbench.processes import UNPINNED, cpu_plan

ONE_LEASE = 1_000


def rows(folder: Path, select: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "links.db")) as db:
        return db.execute(select).fetchall()


def test_a_file_is_grown_step_by_step_to_exactly_so_many_links(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, 30))
    first = rows(tmp_path, "SELECT code, url FROM links")
    asyncio.run(fill(tmp_path, 70))
    grown = rows(tmp_path, "SELECT code, url FROM links")
    assert len(grown) == 70
    assert len({url for _, url in grown}) == 70
    assert set(first) < set(grown)


def test_a_service_that_goes_on_from_there_never_meets_a_code_that_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "LEASE_SIZE", 100)
    asyncio.run(fill(tmp_path, 250))
    taken = {code for (code,) in rows(tmp_path, "SELECT code FROM links")}

    async def next_codes() -> list[str]:
        store = SqliteLinkStore(tmp_path / "links.db")
        try:
            key = growth.ShortenerSettings(code_key=growth.SecretStr((tmp_path / "code_key").read_text())).derived_key("codes")
            source = code_source(ShortenerKnobs(), store.lease_range, None, key)
            return [await next_code(source, "", 0) for _ in range(ONE_LEASE)]
        finally:
            await store.close()

    assert not taken & set(asyncio.run(next_codes()))
    assert rows(tmp_path, "SELECT next FROM ranges WHERE name = 'links'") == [(300 + ONE_LEASE,)]


def test_codes_are_picked_by_their_place_in_the_file(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, 20))
    in_order = [code for (code,) in rows(tmp_path, "SELECT code FROM links ORDER BY code")]
    assert codes_at(tmp_path / "links.db", [19, 0, 7, 7]) == [in_order[19], in_order[0], in_order[7], in_order[7]]


def test_the_size_on_disk_counts_what_the_log_still_held(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, 500))
    used, links = disk(tmp_path / "links.db")
    assert links == 500
    assert used == (tmp_path / "links.db").stat().st_size


@pytest.mark.skipif(cpu_plan() == UNPINNED, reason="CPU clocks of other processes are read on Linux")
def test_every_size_is_asked_the_same_and_each_process_is_weighed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "SETTLE_S", 0.01)
    phases = (Phase(("clicks=batched",), (Turn(CREATE, 10), Turn(HOT, 40), Turn(UNIFORM, 30))),)
    measured = grow_and_measure(tmp_path, (60, 120), 1, phases)
    assert {what: sorted(by_size) for what, by_size in measured.cpu_us.items()} == {
        what: [60, 120] for what in (CREATE, HOT, UNIFORM)
    }
    assert all(len(us) == 1 and us[0] > 0 for by_size in measured.cpu_us.values() for us in by_size.values())
    # Two turns of a block that does not count, and two of the one that does.
    assert {size: there - size for size, (_, there) in measured.disk_bytes.items()} == {60: 40, 120: 40}
    assert all(memory["service"] > 10 and memory["store"] > 1 for memory in measured.rss_mb.values())


def made_up(redirect_us: float, service_mb: float) -> Growth:
    cpu_us = {what: {10: [20.0] * 6, 1_000: [us] * 6} for what, us in ((CREATE, 90.0), (HOT, 20.0), (UNIFORM, redirect_us))}
    memory = {"service": service_mb, "worker": 70.0, "store": 9.0}
    return Growth(cpu_us, {10: memory, 1_000: memory}, {10: (4_096, 10), 1_000: (204_800, 1_000)})


@pytest.mark.parametrize(
    ("redirect_us", "service_mb", "missed"),
    [(21.0, 100.0, []), (23.0, 100.0, [UNIFORM]), (21.0, 151.0, ["service process"]), (30.0, 200.0, [UNIFORM, "service process"])],
)
def test_each_requirement_has_a_sentence_that_says_whether_it_is_met(
    redirect_us: float, service_mb: float, missed: list[str]
) -> None:
    sentences = verdicts(made_up(redirect_us, service_mb))
    assert len(sentences) == 4
    broken = [sentence for sentence in sentences if sentence.startswith("MISSED")]
    assert [word in sentence for word, sentence in zip(missed, broken, strict=True)] == [True] * len(missed)


def test_the_table_has_a_row_per_size_with_bytes_per_link() -> None:
    columns, lines = table(made_up(21.0, 100.0))
    assert len(lines) == 2
    shown = [dict(zip(columns, line, strict=True)) for line in lines]
    assert [row["links"] for row in shown] == ["10", "1,000"]
    assert [row["disk per link, B"] for row in shown] == ["410", "205"]
    assert json.dumps(shown).count('"service memory, MB": "100"') == 2


def test_sizes_are_read_from_words() -> None:
    assert parsed_sizes("1000,10,10_000 10") == [10, 1_000, 10_000]


@pytest.mark.parametrize("words", ["10", "ten,20", "0,5", f"10,{MAX_LINKS + 1}", "5,5"])
def test_sizes_that_compare_nothing_are_refused(words: str) -> None:
    with pytest.raises(UnknownBench, match=f"--links {words}"):
        parsed_sizes(words)


def test_a_bench_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownBench, match="the benches are redirect, growth"):
        bench_command("speed")
    with pytest.raises(UnknownBench, match="belongs to growth"):
        bench_command("redirect", links="10,20")
