"""The keys that count now: those of the settings, and those of files that may change meanwhile."""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from common.api_keys import ApiKeys, BadKeys, read_keys
from common.duty import sleep_or_stop

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class KeySource:
    """Keys given as text, and a file with more of them."""

    text: str
    file: Path | None

    def read(self) -> ApiKeys:
        """Raises BadKeys."""
        return ApiKeys(self.text + "\n" + read_keys(self.file))

    def version(self) -> tuple[int, int, int] | None:
        """What differs when the file has changed; None while it cannot be seen."""
        try:
            stat = self.file.stat() if self.file else None
        except OSError:
            return None
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat else None


class KeyRing:
    """`api` keys ask for work, `admin` keys look at the whole pool. Raises BadKeys."""

    def __init__(self, api: KeySource, admin: KeySource) -> None:
        self._sources = (api, admin)
        self._seen = self._versions()
        self.api, self.admin = api.read(), admin.read()

    async def run(self, stop: asyncio.Event) -> None:
        """Look about once a second whether a file has changed."""
        while not await sleep_or_stop(stop, _LOOK_EVERY_S):
            self.look()

    def look(self) -> None:
        """Read the files again when one has changed; what cannot be read changes no key."""
        versions = self._versions()
        if versions == self._seen:
            return
        api, admin = self._sources
        try:
            new_api, new_admin = api.read(), admin.read()
        except BadKeys as error:
            log.warning("kept the old keys error=%s", error)
        else:
            if (self.api and not new_api) or (self.admin and not new_admin):
                # A file that lost its last key must not open to everybody what it closed.
                log.warning("kept the old keys error=no key is left")
            else:
                self.api, self.admin = new_api, new_admin
                log.info("read the keys again")
        self._seen = versions

    def _versions(self) -> list[tuple[int, int, int] | None]:
        return [source.version() for source in self._sources]
