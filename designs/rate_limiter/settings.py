"""Where the rate limiter finds things, and its secrets: `RATE_LIMITER_*` (its server: `REDIS_URL`), or files of these names."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from designs.building_blocks.api_keys import checked_pairs, owners_of
from designs.building_blocks.settings import Settings
from designs.rate_limiter.load_shedder import PRIORITIES, Priority

VERSION = "1.0"
EXAMPLE_RULES = Path(__file__).with_name("rules.example.yaml")


class LimiterSettings(Settings):
    """Settings of every replica."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="RATE_LIMITER_", hide_input_in_errors=True)

    redis_url: SecretStr | None = Field(default=None, validation_alias=AliasChoices("REDIS_URL", "redis_url"))
    rules: Path = Field(
        default=EXAMPLE_RULES, description="the rule file; read again when it changes. Without it those of the demo"
    )
    api_keys: SecretStr = Field(default=SecretStr(""), description="caller:key pairs, comma separated; who may ask")
    admin_key: SecretStr | None = Field(default=None, description="opens the operator's routes; without it they are closed")
    priorities: str = Field(
        default="",
        description="caller:class pairs, comma separated; critical, high, normal or low (shed=priority). Others are normal",
    )
    pk_key: SecretStr | None = Field(
        default=None, description="with it RateLimit says whose quota it is, by a hash that only who has this key can make; keep it"
    )
    grpc_host: str = Field(default="127.0.0.1", description="where Envoy's rate limit service listens")
    grpc_port: int | None = Field(default=None, ge=1, le=65_535, description="its port; without one it is not started")
    grpc_key: SecretStr | None = Field(default=None, description="what a caller of it sends as: authorization: Bearer <key>")
    process_name: str = Field(default="replica-1", description="unique among the processes of the design")
    fault_file: Path | None = Field(
        default=None, description="for tests of failure: clock and store as wrong as it says; without it nothing is wrapped"
    )

    @field_validator("api_keys")
    @classmethod
    def _pairs(cls, keys: SecretStr) -> SecretStr:
        checked_pairs(keys.get_secret_value())
        return keys

    @field_validator("priorities")
    @classmethod
    def _classes(cls, pairs: str) -> str:
        for pair in filter(None, pairs.split(",")):
            name, _, priority = pair.partition(":")
            if not name or priority not in PRIORITIES:
                raise ValueError(f"priorities holds caller:class pairs, each class one of {', '.join(PRIORITIES)}")
        return pairs

    @property
    def limits_file(self) -> Path:
        return self.data_dir / "limits.db"

    def callers(self) -> dict[bytes, str]:
        """sha256 of an API key -> whose it is."""
        return owners_of(self.api_keys.get_secret_value())

    def priorities_by_key(self) -> dict[bytes, Priority]:
        """sha256 of a key -> the class of whose it is. The operator's is critical."""
        said = dict(pair.split(":", 1) for pair in self.priorities.split(",") if pair)
        found: dict[bytes, Priority] = {key: said.get(name, "normal") for key, name in self.callers().items()}  # type: ignore[misc]
        if self.admin_key is not None:
            found[hashlib.sha256(self.admin_key.get_secret_value().encode()).digest()] = "critical"
        return found

    def partition_key(self) -> bytes | None:
        """The key of `pk`, at any length of the secret."""
        return hashlib.sha256(self.pk_key.get_secret_value().encode()).digest() if self.pk_key is not None else None
