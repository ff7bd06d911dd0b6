"""The monitor: scrapes what units and queues say of themselves; shows, records and plots it.

It reads only what is public, the units' `/metrics` and the pool's state as `/v1/state` gives it,
and imports nothing of the processes that it watches.
"""
