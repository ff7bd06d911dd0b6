"""The note that a running `adasplit up` leaves for the other commands: where its Redis is."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cli.folders import runtime_folder
from common.private import lives


@dataclass(frozen=True)
class Running:
    """What another terminal needs to know of a running `adasplit up`."""

    pid: int
    redis_url: str
    pool: str
    url: str
    logs: str
    pids: Mapping[str, int]
    api_key: str = ""


def note_path() -> Path:
    return runtime_folder() / "up.json"


def leave_note(running: Running) -> None:
    """Write the note for this user's eyes only: it holds the embedded server's password."""
    path = note_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".up-{running.pid}.json")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(asdict(running), indent=2), encoding="utf-8")
    draft.replace(path)


def remove_note(pid: int) -> None:
    """Remove the note, unless another `adasplit up` has written its own since."""
    running = _read()
    if running and running.pid == pid:
        note_path().unlink(missing_ok=True)


def find_running() -> Running | None:
    """What runs now. A note of somebody who was killed counts for nothing."""
    running = _read()
    return running if running and lives(running.pid) else None


def _read() -> Running | None:
    with suppress(OSError, ValueError, TypeError):
        return Running(**json.loads(note_path().read_text(encoding="utf-8")))
    return None
