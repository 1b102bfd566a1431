import pytest

from workbench.fault_injection.links import at_address


@pytest.mark.parametrize(
    ("url", "moved"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:20001/0"),
        ("redis://:p%40ss@127.0.0.1:6379/3?protocol=3", "redis://:p%40ss@127.0.0.1:20001/3?protocol=3"),
        ("rediss://user:secret@[::1]:6379", "rediss://user:secret@127.0.0.1:20001"),
    ],
)
def test_the_way_through_a_proxy_keeps_user_password_and_database(url: str, moved: str) -> None:
    assert at_address(url, "127.0.0.1:20001") == moved
