"""The baseline: simple routers over the same units, to compare AdaSplit with; no Redis."""
