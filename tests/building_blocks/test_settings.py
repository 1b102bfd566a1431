from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from designs.building_blocks.settings import SecretUnreadable, Settings, redacted
from designs.url_shortener.settings import ShortenerSettings


def test_settings_are_printed_without_their_secrets() -> None:
    settings = ShortenerSettings.model_validate(
        {
            "redis_url": "redis://:redis-password@127.0.0.1:6379/3",
            "api_keys": "alice:alice-key-0123456789",
            "admin_key": "operator-key-0123456789",
            "code_key": "code-key-0123456789-0123456789-01",
        }
    )
    for printed in (str(redacted(settings)), str(settings), repr(settings), str(settings.model_dump())):
        for secret in ("redis-password", "alice-key", "operator-key", "code-key-"):
            assert secret not in printed
    assert redacted(settings)["redis_url"] == "redis://127.0.0.1:6379/3"


def test_an_error_in_a_setting_does_not_show_what_was_set() -> None:
    for wrong in ({"code_key": "short-secret"}, {"code_key": "x" * 32, "api_keys": "alice:short-secret"}):
        with pytest.raises(ValidationError) as refused:
            ShortenerSettings.model_validate(wrong)
        assert "short-secret" not in str(refused.value)


def test_settings_are_read_when_they_are_built_and_not_when_they_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("LOG_LEVEL", "debug")
    assert Settings().log_level == "debug"
    assert Settings().redis_url == SecretStr("redis://127.0.0.1:1/0")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(ValidationError):
        Settings()


def test_a_design_reads_its_own_names_and_the_shared_name_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("URL_SHORTENER_CODE_KEY", "x" * 32)
    monkeypatch.setenv("URL_SHORTENER_API_KEYS", "alice:alice-key-0123456789,bob:bob-key-0123456789ab")
    settings = ShortenerSettings.model_validate({})
    assert settings.redis_url == SecretStr("redis://127.0.0.1:1/0")
    assert sorted(settings.owners().values()) == ["alice", "bob"]
    assert all(len(digest) == 32 for digest in settings.owners())


def test_keys_derived_for_two_purposes_or_from_two_secrets_differ_and_stay() -> None:
    one, other = [ShortenerSettings.model_validate({"code_key": letter * 32}) for letter in "ab"]
    keys = [one.derived_key("codes"), one.derived_key("visitors"), other.derived_key("codes")]
    assert len({*keys}) == 3
    assert keys[0] == one.derived_key("codes")
    assert {len(key) for key in keys} == {32}


@pytest.mark.parametrize("keys", ["alice", "alice:", ":alice-key-0123456789", "alice:short"])
def test_api_keys_that_are_no_pairs_or_too_short_are_refused(keys: str) -> None:
    with pytest.raises(ValidationError, match="owner:key pairs"):
        ShortenerSettings.model_validate({"code_key": "x" * 32, "api_keys": keys})


def test_a_setting_may_be_a_file_in_the_folder_of_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url_shortener_code_key").write_text("x" * 32 + "\n")
    (tmp_path / "redis_url").write_text("redis://:redis-password@127.0.0.1:1/0")
    (tmp_path / "something_else").write_text("of another process")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    monkeypatch.delenv("REDIS_URL", raising=False)
    settings = ShortenerSettings.model_validate({})
    assert settings.code_key == SecretStr("x" * 32)
    assert settings.redis_url == SecretStr("redis://:redis-password@127.0.0.1:1/0")
    assert "redis-password" not in repr(settings)


def test_the_environment_stands_above_a_secrets_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "redis_url").write_text("redis://127.0.0.1:1/0")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:2/0")
    assert Settings().redis_url == SecretStr("redis://127.0.0.1:2/0")


def test_a_secret_that_can_not_be_read_is_a_sentence_that_does_not_show_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "redis_url").write_bytes(b"\xffsecret")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    with pytest.raises(SecretUnreadable, match=r"a secret in .* can't be read: ") as refused:
        Settings()
    assert "secret'" not in str(refused.value)


def test_without_a_folder_of_secrets_nothing_is_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path / "none"))
    assert Settings().data_dir == Path("data")
