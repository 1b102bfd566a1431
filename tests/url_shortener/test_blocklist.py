from __future__ import annotations

import os
from pathlib import Path

import pytest

from designs.url_shortener.blocklist import CHECK_EVERY_S, Blocklist, parse_hosts
from tests.url_shortener.test_miss_limit import Seconds


def test_a_list_has_one_host_a_line_in_any_spelling() -> None:
    text = "# phishing\nBad.Example\n  evil.example.  # since May\n\nbücher.example\n"
    assert parse_hosts(text) == {"bad.example", "evil.example", "xn--bcher-kva.example"}


def test_a_change_of_the_file_is_seen_at_the_next_check_and_not_looked_for_in_between(tmp_path: Path) -> None:
    file, clock = tmp_path / "hosts", Seconds()
    file.write_text("bad.example\n")
    blocked = Blocklist(file, clock)
    assert blocked() == {"bad.example"}
    file.write_text("bad.example\nworse.example\n")
    clock.now_s += CHECK_EVERY_S / 2
    assert blocked() == {"bad.example"}
    clock.now_s += CHECK_EVERY_S / 2
    assert blocked() == {"bad.example", "worse.example"}


@pytest.mark.parametrize("damage", ["gone", "not text", "no host"])
def test_a_list_that_cannot_be_read_leaves_the_last_one_in_force(tmp_path: Path, damage: str) -> None:
    file, clock = tmp_path / "hosts", Seconds()
    file.write_text("bad.example\n")
    blocked = Blocklist(file, clock)
    assert blocked() == {"bad.example"}
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(b"\xff\xfe" if damage == "not text" else b"a" * 64 + "é.example".encode())
    clock.now_s += CHECK_EVERY_S
    assert blocked() == {"bad.example"}
    file.write_text("other.example\n")
    os.utime(file, ns=(1, 1))
    clock.now_s += CHECK_EVERY_S
    assert blocked() == {"other.example"}


def test_a_list_that_is_not_there_yet_blocks_nothing_until_it_comes(tmp_path: Path) -> None:
    file, clock = tmp_path / "hosts", Seconds()
    blocked = Blocklist(file, clock)
    assert blocked() == frozenset()
    file.write_text("bad.example")
    clock.now_s += CHECK_EVERY_S
    assert blocked() == {"bad.example"}
