"""What the tests of alerts and dashboards look at, and Debian's Prometheus if it is there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool comes with Debian's prometheus"
)
needs_prometheus = pytest.mark.skipif(
    not shutil.which("prometheus"), reason="apt-get install prometheus"
)

_METRIC = re.compile(r"\b(adasplit_\w+)")
_SERIES_OF = re.compile(r"_(bucket|sum|count)$")


def promtool(*arguments: str | Path) -> str:
    """What promtool says of files that it accepts."""
    command = [shutil.which("promtool") or "", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def metrics_in(query: str) -> set[str]:
    """The metrics of ours that a query names, as docs/metrics.md lists them."""
    return {_SERIES_OF.sub("", name) for name in _METRIC.findall(query)}


def documented_metrics() -> set[str]:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `(adasplit_\w+)` \|", text, re.MULTILINE))
