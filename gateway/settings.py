"""The gateway's settings: those of every process, and what only the door needs."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from common.settings import Settings
from gateway.keys import ApiKeys
from gateway.limits import KeyLimits
from gateway.shares import Shares


class GatewaySettings(Settings):
    """Built once in `__main__`; frozen."""

    host: str = "127.0.0.1"
    """Address that the gateway listens on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port that the gateway listens on."""
    api_keys: SecretStr = SecretStr("")
    """Who may ask: `name:key` or `name:SHA-256`, with commas between; not set: everybody."""
    key_weights: str = ""
    """What share of its class each API key has beside others: `name:4,…`, `*` the rest; else 1."""
    key_priorities: str = ""
    """The most urgent priority that each API key may use: `name:-10,…`, `*` the rest; else 0."""
    key_limits: str = ""
    """What each API key may use: `name:jobs=8/requests=600/tokens=100000,…`, `*` the rest."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    """Longest request body; a longer one is refused."""
    max_unsent_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    """Answer bytes kept for a client that reads slowly; with more its job is cancelled."""
    client_stall_s: float = Field(default=60.0, gt=0)
    """A client that takes nothing for so long while bytes wait for it has its job cancelled."""
    tokenizer: Path | None = None
    """A `tokenizer.json`; without it tokens are estimated from bytes."""
    bytes_per_token: float = Field(default=4.0, ge=1.0, le=16.0)
    """Where the estimate starts; it then follows the usage that units report."""
    redis_patience_s: float = Field(default=2.0, gt=0)
    """How long a request waits for Redis to come back before it is refused."""
    linger_s: float = Field(default=1.0, ge=0)
    """After SIGTERM, how long it goes on to accept: balancers meanwhile see it not ready."""
    drain_s: float = Field(default=30.0, ge=0)
    """How long open answers may go on after that."""
    trim_s: float = Field(default=1.0, gt=0)
    """Time between two cuts of the reply stream behind what was read."""
    watch_s: float = Field(default=1.0, gt=0)
    """Time between two looks at the pool."""
    recover_s: float = Field(default=2.0, gt=0)
    """Time between two looks for open requests whose jobs Redis has forgotten."""

    def shares(self) -> Shares:
        """What each key may have."""
        return Shares.parse(self.key_weights, self.key_priorities)

    def limits(self) -> KeyLimits:
        """What each key may use."""
        return KeyLimits.parse(self.key_limits)

    @model_validator(mode="after")
    def _shares_and_limits_can_be_read(self) -> Self:
        self.shares()
        self.limits()
        return self

    @model_validator(mode="after")
    def _a_body_fits_into_the_queue(self) -> Self:
        if self.max_queue_bytes < self.max_body_bytes:
            raise ValueError("max_queue_bytes must not be less than max_body_bytes")
        return self

    @field_validator("api_keys")
    @classmethod
    def _keys_are_pairs(cls, keys: SecretStr) -> SecretStr:
        ApiKeys(keys.get_secret_value())
        return keys
