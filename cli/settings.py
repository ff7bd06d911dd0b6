"""The settings that the command line reads; those of the processes it starts pass through."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError

from cli.failure import CannotDo
from common.server import is_loopback
from common.settings import Settings, first_mistake


class CliSettings(Settings):
    """What all processes share, and what `adasplit up` checks before it starts them."""

    host: str = "127.0.0.1"
    """Address that the gateway listens on, and with it all that `adasplit up` starts."""
    port: int = 8000
    """Port that the gateway listens on."""
    dashboard_host: str = "127.0.0.1"
    """Address that the dashboard listens on."""
    dashboard_port: int = 8080
    """Port that the dashboard listens on; 0 is no dashboard."""
    units: str = ""
    """Units to use instead of simulated ones: `unit-1=http://127.0.0.1:8001,…`."""
    tokenizer: Path | None = None
    """A tokenizer file, which the gateway reads."""
    drain_s: float = Field(default=30.0, ge=0)
    """How long gateways and dispatchers go on with what is open; `up` waits a little longer."""
    api_keys: SecretStr = SecretStr("")
    """The keys that the gateway asks for; the printed request then names one."""
    api_keys_file: Path | None = None
    """A file with more of them."""
    allow_anonymous: bool = False
    """Whether the gateway lets everybody in when there are no keys."""
    api_key: SecretStr | None = None
    """The key that `adasplit status` shows to the gateway."""

    @property
    def names_redis(self) -> bool:
        """Whether somebody said which Redis to use."""
        return "redis_url" in self.model_fields_set

    @property
    def needs_key(self) -> bool:
        """Whether others could reach a gateway that nobody has given keys."""
        keys = self.api_keys.get_secret_value() or self.api_keys_file
        return not (keys or self.allow_anonymous or is_loopback(self.host))


def read_settings(**given: str | int) -> CliSettings:
    """The settings of the environment, with what the command line gave. Raises CannotDo."""
    try:
        return CliSettings(**given)  # type: ignore[arg-type]  # pydantic converts what it validates
    except ValidationError as error:
        raise CannotDo(first_mistake(error)) from None
