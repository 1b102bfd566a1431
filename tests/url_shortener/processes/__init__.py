import pytest

pytest.register_assert_rewrite("tests.url_shortener.processes.driving")
