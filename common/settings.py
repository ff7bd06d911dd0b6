"""The settings that all processes share; each process adds its own in a subclass."""

from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.policy import Policy


class Settings(Policy, BaseSettings):
    """Where Redis is, which pool this is, and how long things last.

    Built once, in a process's `__main__`, from the environment (`ADASPLIT_` and the name in
    capitals) and a `.env` file; frozen from then on.
    """

    model_config = SettingsConfigDict(
        env_prefix="ADASPLIT_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        env_ignore_empty=True,
    )

    redis_url: str = "redis://127.0.0.1:6379/0"
    """`redis://`, `rediss://` or `unix://`; `redis+sentinel://host:port,…/service/db`;
    `redis+cluster://host:port,…`; the last two with `rediss` for TLS."""
    redis_timeout_s: float = Field(default=5.0, gt=0)
    """How long a quick Redis call may take before it counts as an outage."""
    pool: str = Field(default="default", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """The units that serve one model and share queues."""
    trace_endpoint: str = Field(default="", pattern=r"^(https?://[^/\s]+\S*)?$")
    """Base URL of an OpenTelemetry collector that takes OTLP over HTTP, such as
    `http://127.0.0.1:4318`; not set: no traces."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error."""

    lease_s: float = Field(default=15.0, gt=0)
    """How long a claim is good for without being renewed."""
    renew_s: float = Field(default=5.0, gt=0)
    """Time between two renewals."""
    heartbeat_s: float = Field(default=1.0, gt=0)
    """Time between two heartbeats of a unit or a gateway."""
    alive_s: float = Field(default=5.0, gt=0)
    """A unit or a gateway without a heartbeat for longer is dead."""
    reply_ttl_s: float = Field(default=120.0, gt=0)
    """How long answers wait in Redis for a gateway that is silent: an outage loses none."""
    job_ttl_s: float = Field(default=3600.0, gt=0)
    """How long a job can be read after its outcome."""
    request_timeout_s: float = Field(default=600.0, gt=0)
    """From submit to outcome, unless the request says otherwise."""
    priority_step_s: float = Field(default=30.0, gt=0)
    """Waiting that a step of priority is worth, among the jobs of one API key."""
    max_attempts: int = Field(default=3, ge=1)
    """Attempts after which a job is dead-lettered."""
    events_kept: int = Field(default=20_000, ge=100)
    """About how many events `P:events` holds."""
    dead_kept: int = Field(default=1000, ge=10)
    """About how many dead-lettered jobs `P:dead` holds."""
    dead_bodies_kept: int = Field(default=100, ge=0, le=1000)
    """Of how many of these the body is kept, for `job_ttl_s`, so that they can be run again."""
    dead_bodies_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    """Bytes that these bodies may have together."""

    @model_validator(mode="after")
    def _renew_and_heartbeat_in_time(self) -> Self:
        if self.renew_s >= self.lease_s / 2:
            raise ValueError("renew_s must be less than half of lease_s: one renewal may be lost")
        if self.heartbeat_s >= self.alive_s / 2:
            raise ValueError("heartbeat_s must be less than half of alive_s: one may be lost")
        return self


def first_mistake(error: ValidationError) -> str:
    """What is wrong with settings, in one line: the first mistake, and the setting that has it."""
    first = error.errors()[0]
    name = "_".join(str(part) for part in first["loc"])
    # What a validator of ours says is a sentence already.
    said = first["msg"].removeprefix("Value error, ")
    return f"setting {name}: {said}" if name else said


def shown(settings: BaseSettings) -> str:
    """The settings that are not left at their defaults, without secrets."""
    changed = settings.model_dump(exclude_defaults=True)
    return " ".join(f"{name}={without_password(str(value))}" for name, value in changed.items())


def without_password(url: str) -> str:
    """A URL without user, password and query, where some write a password, too; else what it is."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}" if separator else url
