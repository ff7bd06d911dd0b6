"""The settings of a dispatcher."""

from pydantic import Field, SecretStr

from common.settings import Settings


class DispatcherSettings(Settings):
    """What a dispatcher needs beyond the common settings."""

    unit: str = Field(default="unit-1", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """The unit's name: its consumer in the groups, and part of its keys."""
    unit_url: str = Field(
        default="http://127.0.0.1:8001", pattern=r"^https?://[^/?#@\s]+(/[^?#@\s]*)?$"
    )
    """The unit's base URL; no user, password, query: it is shown, and `unit_api_key` is not."""
    unit_api_key: SecretStr | None = None
    """The unit's own key, when it has one."""
    flush_interval_s: float = Field(default=0.003, ge=0)
    """What a unit sends in this time travels in one batch; a single stream waits for nobody."""
    claim_poll_s: float = Field(default=2.0, gt=0)
    """Longest time between two looks of a unit with free slots: backs up lost wake-ups."""
    probe_s: float = Field(default=2.0, gt=0)
    """Time between two looks at the unit's health and load."""
    unit_backoff_longest_s: float = Field(default=30.0, gt=0)
    """Longest time that a failing unit is left alone before it is probed again."""
    connect_timeout_s: float = Field(default=3.0, gt=0)
    """How long a connection to the unit may take."""
    first_byte_timeout_s: float = Field(default=120.0, gt=0)
    """How long a unit may take to the first byte of a streamed answer."""
    whole_answer_timeout_s: float = Field(default=300.0, gt=0)
    """How long a unit may take for an answer that is not streamed."""
    between_chunk_timeout_s: float = Field(default=60.0, gt=0)
    """How long a unit may stay silent inside a streamed answer."""
    drain_s: float = Field(default=30.0, ge=0)
    """How long running jobs may go on after SIGTERM; the rest is requeued."""
