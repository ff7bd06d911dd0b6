"""Where the command line keeps files: logs, and what other terminals need to know."""

import os
import shutil
import tempfile
import time
from pathlib import Path

_RUNS_KEPT = 10


def state_folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "adasplit"


def runtime_folder() -> Path:
    """For what is true only while something runs."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    return Path(base) / "adasplit" if base else state_folder()


def new_log_folder() -> Path:
    """A folder for one run's logs; those of the last runs stay, older ones go."""
    runs = state_folder() / "logs"
    folder = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="adasplit-logs-"))
    for old in sorted(runs.iterdir())[:-_RUNS_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder
