"""What must hold before anything is started; each failure is one line."""

from pathlib import Path
from urllib.parse import urlsplit

from cli.failure import CannotDo
from cli.program import Layout
from common.connection import BadRedisUrl, Connection, RedisUnavailable
from common.server import PortTaken, listen


def read_units(pairs: list[str]) -> dict[str, str]:
    """`name=url` pairs as a mapping. Raises CannotDo."""
    units: dict[str, str] = {}
    for pair in filter(None, (pair.strip() for pair in pairs)):
        name, equals, url = pair.partition("=")
        if not (name and equals and urlsplit(url).scheme in {"http", "https"}):
            raise CannotDo(f"not a unit: {pair}; a unit is given as unit-1=http://127.0.0.1:8001")
        if name in units:
            raise CannotDo(f"two units are called {name}")
        units[name] = url
    return units


def check_tokenizer(path: Path | None) -> None:
    if path is not None and not path.exists():
        raise CannotDo(f"ADASPLIT_TOKENIZER names {path}, and there is no such file")


def check_ports(layout: Layout) -> None:
    """Listen on every port for a moment. Not shared, so that a stranger's shared port shows too."""
    try:
        ports = layout.ports()
    except ValueError as error:
        raise CannotDo(str(error)) from None
    for port, (what, option) in ports.items():
        if not 0 < port < 2**16:
            raise CannotDo(f"there is no port {port} for {what}; {option} gives another")
        try:
            listen(layout.host_of(port), port).close()
        except PortTaken as error:
            raise CannotDo(f"{error} (wanted for {what}; {option} gives another)") from None


async def check_redis(url: str) -> None:
    try:
        connection = Connection.from_url(url)
    except (BadRedisUrl, ValueError) as error:
        raise CannotDo(str(error)) from None
    try:
        await connection.command("PING")
    except RedisUnavailable as error:
        raise CannotDo(f"Redis does not answer: {error}") from None
    finally:
        await connection.aclose()
