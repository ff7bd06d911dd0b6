"""`adasplit units`: what the units are at, and taking one out of service and back."""

import asyncio
import json
import time
from typing import Annotated, Self

import typer
from rich.console import Console

from cli.failure import CannotDo
from cli.page import page, unit_state
from cli.reading import no_redis, settings_for_redis
from cli.settings import CliSettings
from common.connection import BadRedisUrl, Connection, RedisUnavailable
from common.models import PoolView, UnitView
from common.state import state_of
from common.store import Store
from common.views import Views

_LOOK_EVERY_S = 0.25
_NOT_YET = 3
"""Exit code of `drain` when jobs still run as its time is over."""

_RedisUrl = Annotated[str, typer.Option(help="The pool's Redis; else ADASPLIT_REDIS_URL.")]
_Unit = Annotated[str, typer.Argument(metavar="UNIT", help="The unit's name, as in the list.")]


def units_app() -> typer.Typer:
    app = typer.Typer(
        help="List the units; take one out of service and back.", invoke_without_command=True
    )
    app.callback()(units)
    app.command()(drain)
    app.command()(resume)
    return app


def units(
    context: typer.Context,
    *,
    redis_url: _RedisUrl = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the units; take one out of service and back."""
    if context.invoked_subcommand is None:
        asyncio.run(_list(settings_for_redis(redis_url), as_json=as_json))


def drain(
    unit: _Unit,
    *,
    wait: Annotated[bool, typer.Option(help="Wait until nothing runs there.")] = True,
    timeout_s: Annotated[float, typer.Option(min=0, help="Wait no longer than this.")] = 600.0,
    redis_url: _RedisUrl = "",
) -> None:
    """Let a unit take no more jobs, from now on until `resume`, also when it restarts meanwhile.

    What runs there goes on. With --no-wait the command returns at once; else when nothing is left,
    or with exit code 3 when jobs still run after --timeout-s: the unit drains on all the same.
    """
    limit_s = timeout_s if wait else None
    if not asyncio.run(_drain(settings_for_redis(redis_url), unit, limit_s)):
        raise typer.Exit(_NOT_YET)


def resume(unit: _Unit, *, redis_url: _RedisUrl = "") -> None:
    """Let a drained unit take jobs again, at once."""
    asyncio.run(_resume(settings_for_redis(redis_url), unit))


class _Pool:
    """The pool that a command works on. Entering raises CannotDo when the URL is none."""

    def __init__(self, settings: CliSettings) -> None:
        self._settings = settings

    async def __aenter__(self) -> Self:
        settings = self._settings
        try:
            self._connection = Connection.from_url(settings.redis_url, settings.redis_timeout_s)
        except (BadRedisUrl, ValueError) as error:
            raise CannotDo(str(error)) from None
        self.store = Store(self._connection, settings)
        self.views = Views(self._connection, settings)
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        await self._connection.aclose()
        if isinstance(error, RedisUnavailable):
            raise no_redis(error) from None

    async def unit(self, name: str) -> UnitView:
        """Raises CannotDo, with the names that there are."""
        view = await self.views.pool()
        for unit in view.units:
            if unit.name == name:
                return unit
        known = ", ".join(unit.name for unit in view.units) or "none"
        raise CannotDo(f"there is no unit {name}; there is: {known}")


async def _list(settings: CliSettings, *, as_json: bool) -> None:
    async with _Pool(settings) as pool:
        view = await pool.views.pool()
    policy = settings.under(view.overrides)
    if as_json:
        print(json.dumps(state_of(settings.pool, view, policy)["units"], indent=2))
        return
    console = Console()
    console.print(page(view, policy, f"AdaSplit  pool {settings.pool}", console.width))


async def _drain(settings: CliSettings, name: str, limit_s: float | None) -> bool:
    """Answers whether nothing runs there any more; True as well when nobody waits for that."""
    async with _Pool(settings) as pool:
        unit = await pool.unit(name)
        _warn_of_the_last(await pool.views.pool(), unit)
        await pool.store.set_draining(name, draining=True)
        if limit_s is None:
            print(f"{name} takes no more jobs; {unit.in_flight} still run there")
            return True
        return await _watch(pool, name, limit_s)


async def _watch(pool: _Pool, name: str, limit_s: float) -> bool:
    end_s = time.monotonic() + limit_s
    console = Console()
    with console.status("") as line:
        while (unit := await pool.unit(name)).in_flight and time.monotonic() < end_s:
            line.update(f"{name} is draining: {unit.short} short, {unit.long} long jobs still run")
            await asyncio.sleep(_LOOK_EVERY_S)
    if unit.in_flight:
        print(f"{name} is not drained after {limit_s:g} s: {unit.in_flight} jobs still run there")
        return False
    print(f"{name} is drained; `adasplit units resume {name}` takes it back")
    return True


def _warn_of_the_last(view: PoolView, unit: UnitView) -> None:
    others = [one for one in view.units if one.alive and not one.draining and one.name != unit.name]
    if not others:
        print(f"warning: {unit.name} is the last unit that takes jobs; new ones will wait")


async def _resume(settings: CliSettings, name: str) -> None:
    async with _Pool(settings) as pool:
        unit = await pool.unit(name)
        if not unit.draining:
            print(f"{name} was not draining; it is {unit_state(unit).plain}")
            return
        await pool.store.set_draining(name, draining=False)
        print(f"{name} takes jobs again" if unit.alive else f"{name} will take jobs when it lives")
