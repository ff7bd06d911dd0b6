"""The gateway's settings: those of every process, and what only the door needs."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from common.api_keys import ApiKeys
from common.server import is_loopback
from common.settings import Settings
from gateway.bounds import Bounds
from gateway.keyring import KeySource
from gateway.limits import KeyLimits
from gateway.shares import Shares


class GatewaySettings(Settings):
    """Built once in `__main__`; frozen."""

    host: str = "127.0.0.1"
    """Address that the gateway listens on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port that the gateway listens on."""
    api_keys: SecretStr = SecretStr("")
    """Who may ask: `name:key` or `name:SHA-256`, with commas between."""
    api_keys_file: Path | None = None
    """A file with more of them, one a line; read again when it changes."""
    admin_keys: SecretStr = SecretStr("")
    """Who may see `/v1/state` and `/metrics`; not set: who may ask sees the one, all the other."""
    admin_keys_file: Path | None = None
    """A file with more of them, one a line; read again when it changes."""
    allow_anonymous: bool = False
    """Whether everybody may ask, from anywhere, when there are no API keys."""
    key_weights: str = ""
    """What share of its class each API key has beside others: `name:4,…`, `*` the rest; else 1."""
    key_priorities: str = ""
    """The most urgent priority that each API key may use: `name:-10,…`, `*` the rest; else 0."""
    key_limits: str = ""
    """What each API key may use: `name:jobs=8/requests=600/tokens=100000,…`, `*` the rest."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    """Longest request body; a longer one is refused."""
    max_bodies_bytes: int = Field(default=256 * 1024 * 1024, ge=1024)
    """Bytes of bodies that are on their way in at a time; more are refused."""
    body_timeout_s: float = Field(default=60.0, gt=0)
    """How long a body may take to come."""
    max_head_bytes: int = Field(default=32 * 1024, ge=1024)
    """Longest request line and headers, together; longer ones are refused."""
    head_timeout_s: float = Field(default=10.0, gt=0)
    """How long request line and headers may take to come, from the connection on."""
    keep_alive_s: float = Field(default=75.0, ge=1)
    """How long a connection may stay idle after an answer."""
    max_connections: int = Field(default=4096, ge=1)
    """Connections at a time; more are refused."""
    max_json_depth: int = Field(default=128, ge=4, le=250)
    """How deep a body may be nested."""
    max_json_objects: int = Field(default=100_000, ge=16)
    """Objects and lists that a body may have."""
    max_messages: int = Field(default=2048, ge=1)
    """Messages that a chat may have."""
    max_prompts: int = Field(default=64, ge=1)
    """Prompts that one completion may have: each is a sequence of its own on the unit."""
    max_text_chars: int = Field(default=4_000_000, ge=1)
    """Longest text of a prompt, in characters."""
    max_name_chars: int = Field(default=512, ge=16)
    """Longest model, role, user or stop string, in characters."""
    max_n: int = Field(default=16, ge=1)
    """Most answers that a request may ask for with `n`: each is a sequence on the unit."""
    max_best_of: int = Field(default=16, ge=1)
    """Most that a request may ask for with `best_of`."""
    max_output_tokens: int = Field(default=131_072, ge=1)
    """Most that a request may ask for with `max_tokens` and the like."""
    media_urls: bool = False
    """Whether messages may name pictures, sounds and films by URLs that units then fetch."""
    refused_fields: str = "ec_transfer_params,kv_transfer_params"
    """Fields of a body that are refused: by these two, vLLM connects to hosts that they name."""
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

    @property
    def bounds(self) -> Bounds:
        """What a request's body may hold."""
        tokens = ("max_tokens", "max_completion_tokens", "min_tokens")
        return Bounds(
            numbers={"n": self.max_n, "best_of": self.max_best_of}
            | dict.fromkeys(tokens, self.max_output_tokens),
            messages=self.max_messages,
            prompts=self.max_prompts,
            name_chars=self.max_name_chars,
            text_chars=self.max_text_chars,
            objects=self.max_json_objects,
            depth=self.max_json_depth,
            refused_fields=frozenset(filter(None, self.refused_fields.replace(" ", "").split(","))),
            media_urls=self.media_urls,
        )

    @model_validator(mode="after")
    def _a_body_fits_into_the_queue(self) -> Self:
        if self.max_queue_bytes < self.max_body_bytes:
            raise ValueError("max_queue_bytes must not be less than max_body_bytes")
        return self

    @property
    def key_sources(self) -> tuple[KeySource, KeySource]:
        """Of API keys and of admin keys."""
        return (
            KeySource(self.api_keys.get_secret_value(), self.api_keys_file),
            KeySource(self.admin_keys.get_secret_value(), self.admin_keys_file),
        )

    @field_validator("api_keys", "admin_keys")
    @classmethod
    def _keys_are_pairs(cls, keys: SecretStr) -> SecretStr:
        ApiKeys(keys.get_secret_value())
        return keys

    @model_validator(mode="after")
    def _open_to_others_only_when_told(self) -> Self:
        api, admin = (source.read() for source in self.key_sources)
        if not (api or self.allow_anonymous or is_loopback(self.host)):
            raise ValueError(
                f"without API keys the gateway does not listen on {self.host}: "
                "set api_keys or api_keys_file, or allow_anonymous=true to let everybody in"
            )
        if admin and not api:
            raise ValueError("admin_keys are set and api_keys are not")
        return self
