"""Where the URL shortener finds things, and its secrets: `URL_SHORTENER_*` (servers: `REDIS_URL`), or files of these names."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from designs.building_blocks.api_keys import checked_pairs, owners_of
from designs.building_blocks.client_address import TrustedProxies, parse_proxies
from designs.building_blocks.settings import Settings
from designs.url_shortener.urls import host_of

VERSION = "1.0"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]", "[::ffff:7f00:1]"})


class ShortenerSettings(Settings):
    """Settings of every process of the design."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="URL_SHORTENER_", hide_input_in_errors=True)

    redis_url: SecretStr | None = Field(default=None, validation_alias=AliasChoices("REDIS_URL", "redis_url"))
    kafka_bootstrap: str | None = Field(default=None, validation_alias=AliasChoices("KAFKA_BOOTSTRAP", "kafka_bootstrap"))
    kafka_brokers_at: str | None = Field(
        default=None,
        description="reach the one broker there is at this host:port, whatever it says of itself: through a tunnel or a proxy",
    )
    cassandra_hosts: str | None = Field(default=None, validation_alias=AliasChoices("CASSANDRA_HOSTS", "cassandra_hosts"))
    namespace: str = Field(
        default="url_shortener",
        pattern=r"^[a-z][a-z0-9_]{0,39}$",
        description="name of the keyspace in Cassandra, and what the topics in Kafka start with",
    )
    replication_factor: int = Field(
        default=1, ge=1, le=9, description="copies of each record in Kafka and Cassandra; 3 where it matters"
    )
    api_keys: SecretStr = Field(default=SecretStr(""), description="owner:key pairs, comma separated; who may create links")
    admin_key: SecretStr | None = Field(default=None, description="opens the operator's routes; without it they are closed")
    code_key: SecretStr = Field(description="at least 32 characters; codes and visitor hashes depend on it, so keep it")
    public_url: str = Field(
        default="http://127.0.0.1:8000", description="what short links start with; the Host header is not trusted"
    )
    trusted_proxies: str = Field(
        default="",
        description="networks of proxies, comma separated, whose X-Forwarded-For says who visits; without it nobody is believed",
    )
    blocklist: Path | None = Field(default=None, description="file of blocked hosts, one a line; read again when it changes")
    process_name: str = Field(default="replica-1", description="unique among the processes of the design")
    fault_file: Path | None = Field(
        default=None, description="for tests of failure: clock and store as wrong as it says; without it nothing is wrapped"
    )

    @field_validator("code_key")
    @classmethod
    def _long_enough(cls, key: SecretStr) -> SecretStr:
        if len(key.get_secret_value()) < 32:
            raise ValueError("code_key has fewer than 32 characters; make one with: openssl rand -hex 32")
        return key

    @field_validator("api_keys")
    @classmethod
    def _pairs(cls, keys: SecretStr) -> SecretStr:
        checked_pairs(keys.get_secret_value())
        return keys

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, proxies: str) -> str:
        parse_proxies(proxies)
        return proxies

    @field_validator("public_url")
    @classmethod
    def _absolute(cls, url: str) -> str:
        try:
            host = host_of(url)
        except ValueError:
            host = ""
        if not host or not url.startswith(("http://", "https://")):
            raise ValueError("public_url is an absolute URL such as https://sho.rt")
        return url

    @property
    def links_file(self) -> Path:
        return self.data_dir / "links.db"

    @property
    def clicks_file(self) -> Path:
        return self.data_dir / "clicks.db"

    def owners(self) -> dict[bytes, str]:
        """sha256 of an API key -> its owner."""
        return owners_of(self.api_keys.get_secret_value())

    def proxies(self) -> TrustedProxies:
        return parse_proxies(self.trusted_proxies)

    def own_hosts(self) -> frozenset[str]:
        """Hosts that lead back here, in the form that `urls.canonical_url` compares."""
        host = host_of(self.public_url)
        return LOOPBACK if host in LOOPBACK else frozenset({host})

    def derived_key(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose, from `code_key` (BLAKE2b as a key derivation, RFC 7693)."""
        secret = hashlib.sha256(self.code_key.get_secret_value().encode()).digest()
        return hashlib.blake2b(purpose.encode(), key=secret, digest_size=32).digest()
