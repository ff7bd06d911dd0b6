"""What a dashboard counts."""

from prometheus_client import Counter, Histogram

LOOKS = Counter("adasplit_dashboard_looks_total", "Looks at the pool.", ["pool", "found"])
LOOK_SECONDS = Histogram("adasplit_dashboard_look_seconds", "How long a look took.", ["pool"])
PRESSES = Counter(
    "adasplit_dashboard_presses_total",
    "Jobs that somebody asked to delete or to run again.",
    ["pool", "kind", "outcome"],
)
