"""What a process does with its memory once all is made that stays."""

import subprocess
import sys

SETTLED = """
import gc
from common.memory import give_back_large_pieces, settle
give_back_large_pieces()
made = [[] for _ in range(1000)]
settle()
looked_through = {id(each) for each in gc.get_objects()}
print(any(id(each) in looked_through for each in made), gc.isenabled(), gc.get_threshold()[0])
ring = []
ring.append(ring)
number = id(ring)
del ring
gc.collect()
print(any(id(each) == number for each in gc.get_objects()))
"""


def test_the_collector_leaves_alone_what_stays_and_still_finds_what_comes_later() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SETTLED], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout.split() == ["False", "True", "10000", "False"], ran.stderr
