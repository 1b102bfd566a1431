import pytest

# A contract is imported by tests and is no test file itself, so its assertions would fail without saying on what.
pytest.register_assert_rewrite("tests.building_blocks.dead_letter_contract")
