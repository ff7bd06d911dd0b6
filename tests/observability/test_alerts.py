"""The alerts: accepted by Prometheus, tried one by one, documented, and about what there is."""

from typing import Any

import pytest
import yaml

from tests.observability.conftest import (
    PROMETHEUS,
    ROOT,
    documented_metrics,
    metrics_in,
    needs_promtool,
    promtool,
)


def _read(name: str) -> Any:
    return yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))


ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in _read("alerts.yml")["groups"] for rule in group["rules"]
}


@needs_promtool
def test_prometheus_accepts_the_configuration_and_the_rules() -> None:
    said = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert f"{len(ALERTS)} rules found" in said


@needs_promtool
def test_each_alert_fires_when_it_should_and_a_fleet_that_works_raises_none() -> None:
    assert "SUCCESS" in promtool("test", "rules", PROMETHEUS / "alerts_test.yml")


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    fired = {
        case["alertname"]
        for test in _read("alerts_test.yml")["tests"]
        for case in test.get("alert_rule_test", ())
        if case["exp_alerts"]
    }
    assert fired == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_documented_and_looks_at_what_there_is(name: str) -> None:
    rule = ALERTS[name]
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"| `{name}` |" in operations
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["summary"]
    named = metrics_in(rule["expr"])
    assert named <= documented_metrics()
    assert named or "up{" in rule["expr"]
