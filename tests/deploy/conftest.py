"""What the checks of the deployment's files look at: compose files as compose would read them."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.architecture.conftest import ROOT

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def with_defaults(text: str) -> str:
    """What compose makes of a text when nothing is set."""
    return _VARIABLE.sub(lambda found: found[2] or "", text)


def read_compose(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load(with_defaults(text_of(name))))


def seconds(text: str) -> float:
    """A duration of compose's or HAProxy's."""
    found = re.fullmatch(r"(\d+)(ms|s|m|h)", text)
    assert found, text
    return int(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}[found[2]]


def option(command: str, name: str) -> str:
    """The value of an option of a command line."""
    found = re.search(rf"{name}[ =](\S+)", command)
    assert found, f"{name} in {command}"
    return found[1]


@pytest.fixture(scope="session")
def compose() -> Mapping[str, Any]:
    return read_compose("docker-compose.yml")


@pytest.fixture(scope="session")
def services(compose: Mapping[str, Any]) -> Mapping[str, dict[str, Any]]:
    return dict(compose["services"])
