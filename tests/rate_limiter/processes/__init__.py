import pytest

pytest.register_assert_rewrite("tests.rate_limiter.processes.driving")
