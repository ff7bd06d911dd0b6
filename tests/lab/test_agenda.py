"""The agenda: what happens when, without any time passing."""

from collections.abc import Awaitable, Callable

from lab.agenda import EPOCH_MS, Agenda


def noting(
    said: list[tuple[float, str]], agenda: Agenda, word: str
) -> Callable[[], Awaitable[None]]:
    async def note() -> None:
        said.append((agenda.now_s, word))

    return note


async def test_calls_come_in_order_of_time_and_then_of_making() -> None:
    agenda = Agenda()
    said: list[tuple[float, str]] = []
    agenda.at(2, noting(said, agenda, "late"))
    agenda.at(1, noting(said, agenda, "first"))
    agenda.at(1, noting(said, agenda, "second"))
    await agenda.run(lambda: False)
    assert said == [(1, "first"), (1, "second"), (2, "late")]


async def test_a_cancelled_call_does_not_come() -> None:
    agenda = Agenda()
    said: list[tuple[float, str]] = []
    agenda.at(1, noting(said, agenda, "never")).cancel()
    agenda.at(2, noting(said, agenda, "still"))
    await agenda.run(lambda: False)
    assert said == [(2, "still")]


async def test_what_is_due_in_the_past_comes_now() -> None:
    agenda = Agenda()
    said: list[tuple[float, str]] = []

    async def make() -> None:
        agenda.at(1, noting(said, agenda, "made late"))

    agenda.at(5, make)
    await agenda.run(lambda: False)
    assert said == [(5, "made late")]


async def test_it_ends_when_all_is_over() -> None:
    agenda = Agenda()
    said: list[tuple[float, str]] = []
    agenda.at(1, noting(said, agenda, "only"))
    agenda.at(2, noting(said, agenda, "not this"))
    await agenda.run(lambda: bool(said))
    assert said == [(1, "only")]


async def test_scripts_are_given_whole_milliseconds() -> None:
    agenda = Agenda()
    clock: list[int] = []

    async def look() -> None:
        clock.append(agenda.now_ms())

    agenda.at(1.2345678, look)
    await agenda.run(lambda: False)
    assert clock == [EPOCH_MS + 1235]
