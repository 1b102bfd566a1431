from __future__ import annotations

import importlib
import pkgutil

import opentelemetry.semconv._incubating.attributes as incubating
import opentelemetry.semconv.attributes as stable
import pytest

from designs.building_blocks import trace_attributes
from designs.building_blocks.trace_attributes import MESSAGING_SYSTEM, of_batch, of_call

OURS = {name: value for name, value in vars(trace_attributes).items() if name.isupper() and isinstance(value, str)}


def conventional() -> dict[str, str]:
    """Attribute -> name of its constant, of all that the conventions have."""
    found = {}
    for package in (incubating, stable):
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            constants = vars(importlib.import_module(module.name))
            found |= {value: name for name, value in constants.items() if name.isupper() and isinstance(value, str)}
    return found


@pytest.fixture(scope="module")
def conventions() -> dict[str, str]:
    return conventional()


@pytest.mark.parametrize("name", OURS)
def test_every_attribute_has_the_name_that_the_conventions_give_it(name: str, conventions: dict[str, str]) -> None:
    assert OURS[name] in conventions


def test_a_call_is_one_of_a_queue_or_of_a_database_by_its_verb() -> None:
    assert of_call("kafka", "publish", "publish") == {
        "messaging.system": "kafka",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
    }
    assert of_call("redis", "get", "shared_get") == {"db.system.name": "redis", "db.operation.name": "shared_get"}
    assert of_batch("redis", "clicks", "count", "process")[MESSAGING_SYSTEM] == "redis"
