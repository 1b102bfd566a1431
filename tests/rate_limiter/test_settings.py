"""Where a replica finds things: callers and their classes, and keys that no output shows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from designs.building_blocks.settings import redacted
from designs.rate_limiter.rule_file import parse_rules
from designs.rate_limiter.settings import EXAMPLE_RULES, LimiterSettings

EDGE, SHOP, ADMIN = "edge-key-0123456789", "shop-key-0123456789", "operator-key-012345678"


def settings(**values: object) -> LimiterSettings:
    return LimiterSettings.model_validate({"api_keys": f"edge:{EDGE},shop:{SHOP}", **values})


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def test_a_caller_has_the_class_that_is_said_of_it_and_else_a_normal_one_and_the_operator_comes_first() -> None:
    found = settings(priorities="shop:critical", admin_key=ADMIN).priorities_by_key()
    assert found == {digest(EDGE): "normal", digest(SHOP): "critical", digest(ADMIN): "critical"}
    assert settings().priorities_by_key() == {digest(EDGE): "normal", digest(SHOP): "normal"}


@pytest.mark.parametrize("priorities", ["shop", "shop:", ":high", "shop:vip", "shop:high,edge"])
def test_classes_that_are_none_are_refused_with_those_there_are(priorities: str) -> None:
    with pytest.raises(ValidationError, match="each class one of critical, high, normal, low"):
        settings(priorities=priorities)


def test_whose_quota_it_is_is_hashed_with_a_key_of_its_own_or_not_at_all() -> None:
    assert settings().partition_key() is None
    keys = {settings(pk_key=key).partition_key() for key in ("one", "two", "three" * 100)}
    assert len(keys) == 3
    assert all(key is not None and len(key) == 32 for key in keys)


def test_without_a_file_the_rules_are_those_of_the_example() -> None:
    assert settings().rules == EXAMPLE_RULES
    assert parse_rules(EXAMPLE_RULES.read_text("utf-8")).domains.keys() == {"demo"}


def test_no_key_is_printed(tmp_path: Path) -> None:
    secrets = {"admin_key": ADMIN, "pk_key": "pk-0123456789", "grpc_key": "grpc-0123456789", "redis_url": "redis://:word@h:1/0"}
    printed = str(redacted(settings(data_dir=tmp_path, **secrets)))
    assert "redis://h:1/0" in printed
    for secret in (EDGE, SHOP, ADMIN, "pk-0123456789", "grpc-0123456789", "word"):
        assert secret not in printed
