"""The lab's server: no key ends by itself, however slow the machine is."""

from lab.server import server


async def test_a_key_outlives_its_time() -> None:
    async with server() as connection:
        await connection.command("SET", "soon", "gone", "PX", 1)
        await connection.command("ZADD", "set", 1, "member")
        await connection.command("PEXPIRE", "set", 1)
        began_ms = await milliseconds(connection)
        while await milliseconds(connection) < began_ms + 5:
            pass
        assert await connection.command("GET", "soon") == b"gone"
        looked = await connection.command("EVAL", "return redis.call('ZCARD', 'set')", 0)
        assert looked == 1


async def milliseconds(connection: object) -> int:
    seconds, micro = await connection.command("TIME")  # type: ignore[attr-defined]  # a connection
    return int(seconds) * 1000 + int(micro) // 1000
