"""Settings: where things are and what is secret, never how the design behaves (that is a knob).

Every design shares the addresses of the servers; each adds its own under its prefix. Secrets are `SecretStr`, so that neither
a log line nor a traceback shows them, and `redacted` is the only way settings are printed. A setting comes from the environment,
or from the file of its name in the folder of secrets, which neither an inspection of the container nor a crash report shows.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict, SettingsError

SECRETS_DIR = "/run/secrets"  # where container engines put them; the variable SECRETS_DIR names another folder


class SecretUnreadable(RuntimeError):
    """The file of a secret is there, and this process may not read it."""


class SecretFiles(SecretsSettingsSource):
    """`<folder>/url_shortener_code_key` holds what the variable URL_SHORTENER_CODE_KEY would. Raises `SecretUnreadable`."""

    def __call__(self) -> dict[str, Any]:
        try:
            return super().__call__()
        except (OSError, SettingsError) as error:
            raise SecretUnreadable(f"a secret in {self.secrets_dir} can't be read: {error.__cause__ or error}") from None


class Settings(BaseSettings):
    """What every design may need to find. Read from the environment and the secrets when built, never at import time."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    redis_url: SecretStr | None = Field(default=None, description="redis://[:password@]host:port/db")
    kafka_bootstrap: str | None = Field(default=None, description="host:port of a broker; several with commas between them")
    cassandra_hosts: str | None = Field(default=None, description="host:port of a node; several with commas between them")
    data_dir: Path = Field(default=Path("data"), description="folder of the SQLite files")
    traces_endpoint: str | None = Field(default=None, description="OTLP over HTTP, e.g. http://127.0.0.1:4318/v1/traces")
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given, then the environment, then the secrets, where there is a folder of them."""
        folder = Path(os.environ.get("SECRETS_DIR") or SECRETS_DIR)
        files = (SecretFiles(settings_cls, secrets_dir=folder),) if folder.is_dir() else ()
        return init_settings, env_settings, *files

    @field_validator("kafka_bootstrap", "cassandra_hosts")
    @classmethod
    def _are_addresses(cls, addresses: str | None) -> str | None:
        if addresses is not None:
            parse_addresses(addresses)
        return addresses

    @field_validator("redis_url")
    @classmethod
    def _is_redis_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url.get_secret_value())
            database = parts.path.strip("/") or "0"
            right = parts.scheme in ("redis", "rediss") and parts.hostname and parts.port != 0 and database.isdigit()
        except ValueError:
            right = False
        if not right:
            raise ValueError("write it as redis://[:password@]host:port/database, for example redis://127.0.0.1:6379/0")
        return url


def parse_addresses(text: str) -> list[tuple[str, int]]:
    """(host, port) of each address. Raises ValueError.

    >>> parse_addresses("one:9042,[::1]:9043")
    [('one', 9042), ('::1', 9043)]
    """
    addresses = []
    for word in text.split(","):
        host, _, port = word.strip().rpartition(":")
        if not host or not port.isdecimal() or not 1 <= int(port) <= 65_535:
            raise ValueError("write it as host:port, several with commas between them, for example 127.0.0.1:9092")
        addresses.append((host.removeprefix("[").removesuffix("]"), int(port)))
    return addresses


def redacted(settings: Settings) -> dict[str, str]:
    """Settings as printable text: secrets as stars, and addresses without their password."""
    shown = {}
    for name, value in settings.model_dump().items():
        if name.endswith("_url") and isinstance(value, SecretStr):
            parts = urlsplit(value.get_secret_value())
            shown[name] = f"{parts.scheme}://{parts.hostname}:{parts.port}{parts.path}"
        else:
            shown[name] = str(value)
    return shown
