"""The settings of a baseline: of AdaSplit's those that mean the same here."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.policy import Policy


class BaselineSettings(Policy, BaseSettings):
    """Slots, bounds of the queues and the threshold are the policy's; read once, at the start."""

    model_config = SettingsConfigDict(
        env_prefix="ADASPLIT_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        env_ignore_empty=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on."""
    units: str = ""
    """Units when none is given on the command line: `unit-1=http://127.0.0.1:8001,…`."""
    unit_api_key: str = ""
    """The units' own key, when they have one."""
    bytes_per_token: float = Field(default=4.0, gt=0)
    """How a prompt's tokens are estimated from its text."""
    max_body_bytes: int = Field(default=8 * 1024**2, gt=0)
    """Longest request body; a longer one is refused."""
    request_timeout_s: float = Field(default=600.0, gt=0)
    """From submit to the end of the answer."""
    connect_timeout_s: float = Field(default=3.0, gt=0)
    """How long a connection to a unit may take."""
    drain_s: float = Field(default=30.0, ge=0)
    """How long open answers may go on after SIGTERM."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error."""
