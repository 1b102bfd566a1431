"""What keeps the house in order without anybody watching: directions of imports, and imports nobody should make."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for package in ("designs", "loadtests", "workbench") for path in (ROOT / package).rglob("*.py"))
# Names that say nothing about what is in the file.
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}


def names_in(path: Path) -> set[str]:
    """Every name the module imports or mentions."""
    tree = ast.parse(path.read_text("utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return names | {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom | ast.Import) for alias in node.names}


def test_the_import_contracts_hold() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_uses_middleware_that_doubles_the_cost_of_a_request_and_breaks_its_context(path: Path) -> None:
    assert "BaseHTTPMiddleware" not in names_in(path)
    assert '.middleware("http")' not in path.read_text("utf-8")


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.name != "__init__.py"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_module_is_named_for_its_idea_and_opens_with_what_it_is_for(path: Path) -> None:
    assert path.stem not in NAMES_THAT_SAY_NOTHING
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


def test_a_driver_is_imported_by_its_backend_alone() -> None:
    """So that a design can be read, and run in memory, without it. The building block that brings a driver counts as it.

    The load may have it, and so may the programs of a bench that run in environments of their own.
    """
    block = ROOT / "designs" / "building_blocks" / "redis_connection.py"
    apart = (ROOT / "loadtests", ROOT / "workbench" / "limiter_bench" / "peers")
    for path in SOURCES:
        if path.parent.name == "backends" or path == block or any(path.is_relative_to(folder) for folder in apart):
            continue
        for node in ast.parse(path.read_text("utf-8")).body:
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            brought = ("redis", f"designs.building_blocks.{block.stem}")
            assert not any(module in brought or module.startswith("redis.") for module in modules), path
