"""The tests of the scripts fail when a script is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.scripts import load_scripts
from tests.lua.mutants import MUTANTS, VARIABLE

FOLDER = Path(__file__).parent
_SOME_FAILED = 1


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_noticed(name: str) -> None:
    mutant = MUTANTS[name]
    # Were it not there any more, the run would fail for that alone.
    assert load_scripts()[mutant.script].text.count(mutant.old) == 1
    tests = FOLDER / f"{mutant.caught_by}.py"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(tests), "-q", "-x", "-k", "fake"),
            *("-p", "no:cacheprovider", "--tb=line"),
        ],
        env=os.environ | {VARIABLE: name},
        cwd=FOLDER.parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == _SOME_FAILED, done.stdout
    assert " passed" in done.stdout or " failed" in done.stdout or " error" in done.stdout
