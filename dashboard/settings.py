"""The dashboard's settings."""

from ipaddress import ip_address

from pydantic import Field, SecretStr

from common.settings import Settings


class DashboardSettings(Settings):
    """What all processes share, and what only the dashboard needs."""

    dashboard_host: str = "127.0.0.1"
    """Address that the dashboard listens on."""
    dashboard_port: int = Field(default=8080, ge=0, le=65535)
    """Port that the dashboard listens on."""
    dashboard_key: SecretStr = SecretStr("")
    """Who may look and press: a key, or its SHA-256; not set: whoever reaches the dashboard looks,
    and presses only while it listens on loopback."""
    dashboard_look_s: float = Field(default=1.0, ge=0.2, le=10)
    """Time between two looks at the pool, however many people watch."""
    dashboard_history_s: float = Field(default=300.0, ge=30, le=3600)
    """How far back the charts go."""
    dashboard_rq_jobs: int = Field(default=1000, ge=0, le=10_000)
    """Jobs of a class, in each state, that rq-dashboard shows at most; 0 is no rq-dashboard."""

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine reaches the dashboard."""
        if self.dashboard_host == "localhost":
            return True
        try:
            return ip_address(self.dashboard_host).is_loopback
        except ValueError:
            return False
