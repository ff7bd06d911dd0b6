"""The Grafana dashboard: as its generator writes it, and about what there is."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observability.conftest import (
    GRAFANA,
    documented_metrics,
    metrics_in,
    needs_promtool,
    promtool,
)

DASHBOARD = GRAFANA / "dashboards" / "adasplit.json"


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("make_dashboard", GRAFANA / "make_dashboard.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def queries() -> dict[str, str]:
    """Every query of the dashboard, by its panel; Grafana's variables have values."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        .replace("$__rate_interval", "1m")
        .replace("$pool", "default")
        for panel in panels
        for target in panel.get("targets", ())
    }


def test_the_dashboard_is_what_its_generator_writes() -> None:
    assert DASHBOARD.read_text(encoding="utf-8") == generator().dashboard()


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 20
    places: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not mine & places, panel["title"]
        assert at["x"] + at["w"] <= 24
        places |= mine


@pytest.mark.parametrize("panel", queries())
def test_a_panel_asks_for_metrics_that_are_documented(panel: str) -> None:
    named = metrics_in(queries()[panel])
    assert named <= documented_metrics()
    assert named or "process_" in queries()[panel] or "ALERTS" in queries()[panel]


@needs_promtool
def test_prometheus_can_parse_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": query}
        for number, query in enumerate(queries().values())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)


def test_what_is_provisioned_is_where_grafana_looks() -> None:
    provisioning = GRAFANA / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    asked = {panel["datasource"]["uid"] for panel in panels if "datasource" in panel}
    assert asked == {source["uid"]}
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "adasplit.yml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
