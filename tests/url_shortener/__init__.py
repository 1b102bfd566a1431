import pytest

# Contracts and the things tests are built with are no test files themselves: without this their assertions fail without a word.
for _name in ("link_store_contract", "click_store_contract", "click_queue_contract", "visitor_counter_contract", "replicas"):
    pytest.register_assert_rewrite(f"tests.url_shortener.{_name}")
