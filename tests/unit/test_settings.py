"""The settings: from the environment and a .env file, checked against one another."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from common.settings import Settings, first_mistake, shown
from gateway.settings import GatewaySettings


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to stand in; the environment has no settings in any test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_setting_comes_from_its_prefixed_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADASPLIT_WORKER_CONCURRENCY_LIMIT", "5")
    monkeypatch.setenv("ADASPLIT_RASP_STEAL_COOLDOWN_S", "2.5")
    monkeypatch.setenv("POOL", "not-ours")
    settings = Settings()
    assert settings.worker_concurrency_limit == 5
    assert settings.rasp_steal_cooldown_s == 2.5
    assert settings.pool == "default"


def test_a_dotenv_file_is_read_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, no_surroundings: Path
) -> None:
    (no_surroundings / ".env").write_text("ADASPLIT_POOL=from-file\nADASPLIT_LEASE_S=30\nOTHER=1\n")
    monkeypatch.setenv("ADASPLIT_LEASE_S", "40")
    settings = Settings()
    assert (settings.pool, settings.lease_s) == ("from-file", 40.0)


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADASPLIT_WORKER_CONCURRENCY_LIMIT_LONG", "")
    assert Settings().worker_concurrency_limit_long is None


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"renew_s": 7.5, "lease_s": 15.0}, "renew_s must be less than half of lease_s"),
        ({"heartbeat_s": 2.5, "alive_s": 5.0}, "heartbeat_s must be less than half of alive_s"),
        ({"lease_s": 0}, "lease_s"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"qhap_min_short": 0}, "qhap_min_short"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(numbers: dict[str, float], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings.model_validate(numbers)


@pytest.mark.parametrize("numbers", [{"renew_s": 7.4}, {"heartbeat_s": 2.4}])
def test_numbers_that_just_fit_are_taken(numbers: dict[str, float]) -> None:
    Settings.model_validate(numbers)


@pytest.mark.parametrize("pool", ["", "a b", "a{b}", "a:b", "x" * 65])
def test_a_pool_whose_name_would_spoil_a_key_is_refused(pool: str) -> None:
    with pytest.raises(ValidationError, match="pool"):
        Settings(pool=pool)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().pool = "other"  # type: ignore[misc]  # what the test is about


def test_every_setting_says_what_it_is() -> None:
    fields = Settings.model_fields
    assert [name for name in fields if not fields[name].description] == []


def test_every_time_says_its_unit() -> None:
    floats = [name for name, field in Settings.model_fields.items() if field.annotation is float]
    ratios = ("_margin", "_weight", "_share")
    assert [name for name in floats if not name.endswith(("_s", *ratios))] == []


def test_what_is_shown_of_the_settings_has_neither_secrets_nor_defaults() -> None:
    settings = GatewaySettings(
        redis_url="rediss://ann:canary@redis:6380/0?password=canary",
        trace_endpoint="https://ann:canary@traces/v1",
        api_keys=SecretStr("ann:canary"),
        pool="mine",
    )
    assert shown(settings) == (
        "redis_url=rediss://redis:6380/0 pool=mine trace_endpoint=https://traces/v1 "
        "api_keys=**********"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"renew_s": 20}, "renew_s must be less than half of lease_s"),
        ({"max_attempts": 0}, "setting max_attempts: Input should be"),
    ],
)
def test_the_first_mistake_is_said_as_it_is(given: dict[str, float], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate(given)
    assert first_mistake(refused.value).startswith(said)
