"""Writes the Grafana dashboard: `python deploy/grafana/make_dashboard.py` after a change here."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).parent / "dashboards" / "adasplit.json"
_WIDTH = 24
_HEIGHT = 8
_SOURCE = {"type": "prometheus", "uid": "prometheus"}
_POOL = 'pool="$pool"'
_RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """One panel; `queries` are PromQL by their legends, `unit` is Grafana's word for one."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False
    about: str = ""


def quantile(share: float, metric: str, by: str = "class") -> str:
    buckets = f"sum by ({by}, le) (rate({metric}_bucket{{{_POOL}}}{_RATE}))"
    return f"histogram_quantile({share}, {buckets})"


def percentiles(metric: str) -> dict[str, str]:
    return {f"p{share:.0%} {{{{class}}}}".replace("%", ""): quantile(share, metric)
            for share in (0.5, 0.95)}  # fmt: skip


def rate(metric: str, by: str, more: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{_POOL}{more}}}{_RATE}))"


ROWS: dict[str, list[Panel]] = {
    "Now": [
        Panel(
            "Units that take jobs",
            {"{{role}}": f"max by (role) (adasplit_units{{{_POOL}}})"},
            kind="stat",
            width=6,
        ),
        Panel(
            "Waiting",
            {"{{class}}": f"max by (class) (adasplit_queue_depth_jobs{{{_POOL}}})"},
            kind="stat",
            width=6,
        ),
        Panel(
            "Oldest wait",
            {"{{class}}": f"max by (class) (adasplit_queue_oldest_wait_seconds{{{_POOL}}})"},
            "s",
            "stat",
            6,
        ),
        Panel(
            "Dead letters kept",
            {"": f"max(adasplit_dead_letter_jobs{{{_POOL}}})"},
            kind="stat",
            width=3,
        ),
        Panel(
            "Alerts",
            {"": 'count(ALERTS{alertstate="firing"}) or vector(0)'},
            kind="stat",
            width=3,
        ),
    ],
    "What clients see": [
        Panel("Time to first token", percentiles("adasplit_gateway_ttft_seconds"), "s"),
        Panel("Time per token after it", percentiles("adasplit_gateway_tpot_seconds"), "s"),
        Panel("Whole request", percentiles("adasplit_gateway_e2e_seconds"), "s"),
        Panel(
            "Answers by status",
            {"{{class}} {{code}}": rate("adasplit_gateway_requests_total", "class, code")},
            "reqps",
            stacked=True,
        ),
        Panel(
            "Errors by reason",
            {"{{class}} {{reason}}": rate("adasplit_gateway_errors_total", "class, reason")},
            "reqps",
            stacked=True,
        ),
        Panel(
            "Tokens",
            {"{{kind}} {{class}}": rate("adasplit_tokens_total", "kind, class")},
            about="Where the unit reports usage.",
        ),
    ],
    "Queues and roles": [
        Panel(
            "Waiting jobs",
            {"{{class}}": f"max by (class) (adasplit_queue_depth_jobs{{{_POOL}}})"},
            about="Q-HAP flips a unit to Long above 10 waiting long jobs, back below 2.",
        ),
        Panel("Wait from submit to claim", percentiles("adasplit_queue_wait_seconds"), "s"),
        Panel(
            "Units by role",
            {"{{role}}": f"max by (role) (adasplit_units{{{_POOL}}})"},
            stacked=True,
        ),
        Panel(
            "Flips per minute",
            {"to {{to}}": f"60 * {rate('adasplit_flips_total', 'to')}"},
        ),
        Panel(
            "Steals",
            {"{{why}} {{class}}": rate("adasplit_steals_total", "why, class")},
            "ops",
        ),
        Panel(
            "Prompt tokens, median",
            {"{{class}}": quantile(0.5, "adasplit_gateway_prompt_tokens")},
        ),
    ],
    "Units": [
        Panel(
            "In flight",
            {
                "{{unit}} {{class}}": "max by (unit, class) "
                f"(adasplit_unit_in_flight_jobs{{{_POOL}}})"
            },
            stacked=True,
        ),
        Panel(
            "Load",
            {"{{unit}}": f"max by (unit) (adasplit_unit_load_ratio{{{_POOL}}})"},
            "percentunit",
        ),
        Panel(
            "Role (1 is Long)",
            {"{{unit}}": f'max by (unit) (adasplit_unit_role{{{_POOL}, role="long"}})'},
            kind="state-timeline",
        ),
        Panel(
            "First byte after claim, p95",
            {
                "{{unit}} {{class}}": quantile(
                    0.95, "adasplit_unit_first_byte_seconds", "unit, class"
                )
            },
            "s",
        ),
        Panel(
            "Faults",
            {"{{unit}} {{fault}}": rate("adasplit_unit_faults_total", "unit, fault")},
            "ops",
        ),
        Panel(
            "Given back",
            {"{{reason}}": rate("adasplit_requeued_jobs_total", "reason")},
            "ops",
        ),
    ],
    "Processes and Redis": [
        Panel(
            "Redis calls, p99",
            {
                "{{call}}": "histogram_quantile(0.99, sum by (call, le) "
                f"(rate(adasplit_redis_call_seconds_bucket{_RATE})))"
            },
            "s",
        ),
        Panel(
            "Redis away",
            {
                "{{job}} {{instance}}": "sum by (job, instance) "
                f"(rate(adasplit_redis_outages_total{_RATE}))"
            },
            "ops",
        ),
        Panel(
            "Event loop lag, p99",
            {
                "{{job}} {{instance}}": "histogram_quantile(0.99, sum by (job, instance, le) "
                f"(rate(adasplit_event_loop_lag_seconds_bucket{_RATE})))"
            },
            "s",
        ),
        Panel(
            "CPU",
            {
                "{{job}} {{instance}}": "sum by (job, instance) "
                f"(rate(process_cpu_seconds_total{_RATE}))"
            },
            "percentunit",
        ),
        Panel(
            "Memory",
            {"{{job}} {{instance}}": "sum by (job, instance) (process_resident_memory_bytes)"},
            "bytes",
        ),
        Panel(
            "Parts in a batch",
            {
                "{{unit}}": f"{rate('adasplit_relayed_parts_total', 'unit')} / "
                f"{rate('adasplit_relayed_batches_total', 'unit')}"
            },
            about="How many parts of answers share a round trip.",
        ),
    ],
}


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    custom: dict[str, Any] = {"fillOpacity": 10, "showPoints": "never"}
    if panel.stacked:
        custom |= {"stacking": {"mode": "normal"}, "fillOpacity": 40}
    if panel.kind == "state-timeline":
        custom = {"fillOpacity": 70}
    made: dict[str, Any] = {
        "id": number,
        "title": panel.title,
        "description": panel.about,
        "type": panel.kind,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend,
             "datasource": _SOURCE}
            for place, (legend, query) in enumerate(panel.queries.items())
        ],
    }  # fmt: skip
    if panel.kind == "stat":
        del made["fieldConfig"]["defaults"]["custom"]
    return made


def _panels() -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        place = {"x": 0, "y": y, "w": _WIDTH, "h": 1}
        made.append({"id": len(made) + 1, "type": "row", "title": title, "gridPos": place})
        x, y = 0, y + 1
        for panel in row:
            if x + panel.width > _WIDTH:
                x, y = 0, y + _HEIGHT
            made.append(_panel(panel, len(made) + 1, x, y))
            x += panel.width
        y += _HEIGHT
    return made


def dashboard() -> str:
    """The dashboard as Grafana reads it."""
    pool = {
        "name": "pool",
        "type": "query",
        "datasource": _SOURCE,
        "query": "label_values(adasplit_gateway_live_units, pool)",
        "refresh": 2,
    }
    made = {
        "uid": "adasplit",
        "title": "AdaSplit",
        "tags": ["llm"],
        "schemaVersion": 39,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [pool]},
        "panels": _panels(),
    }
    return json.dumps(made, indent=1) + "\n"


if __name__ == "__main__":
    OUTPUT.write_text(dashboard(), encoding="utf-8")
