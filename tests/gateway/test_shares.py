"""What share a key has, and how urgent its requests may be."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from gateway.settings import GatewaySettings
from gateway.shares import Shares

CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture
async def shared(redis_url: str, start_at: Any) -> AsyncIterator[Any]:
    async with start_at(
        redis_url,
        api_keys=SecretStr("ann:key-of-ann,bob:key-of-bob"),
        key_weights="ann:4,*:2",
        key_priorities="ann:-3",
        worker_concurrency_limit=1,
    ) as bench:
        yield bench


def test_a_key_that_is_not_named_has_what_the_rest_has() -> None:
    shares = Shares.parse("ann:4, *:2", "ann:-3,*:1")
    assert [shares.weight(name) for name in ("ann", "bob", "")] == [4, 2, 2]
    assert [shares.priority(name, -5) for name in ("ann", "bob", "")] == [-3, 1, 1]
    assert shares.priority("ann", 5000) == 100


def test_without_settings_all_are_alike_and_nobody_is_urgent() -> None:
    shares = Shares.parse("", "")
    assert (shares.weight("ann"), shares.priority("ann", -1), shares.priority("ann", 7)) == (
        1,
        0,
        7,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"key_weights": "ann"},
        {"key_weights": "ann:0"},
        {"key_weights": "ann:1.5"},
        {"key_weights": ":2"},
        {"key_priorities": "ann:soon"},
        {"key_priorities": "ann:-101"},
    ],
)
def test_shares_that_cannot_be_read_stop_the_start(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        GatewaySettings(_env_file=None, **wrong)


@pytest.mark.parametrize(
    ("key", "header", "body", "priority"),
    [
        ("ann", None, None, None),
        ("ann", "-2", None, "-2"),
        ("ann", "-9", None, "-3"),
        ("ann", None, 5, "5"),
        ("ann", "0", 5, None),
        ("bob", "-2", None, None),
        ("bob", "4", -4, "4"),
    ],
)
async def test_a_request_gets_the_priority_that_its_key_may_use(
    shared: Any, key: str, header: str | None, body: int | None, priority: str | None
) -> None:
    headers = {"authorization": f"Bearer key-of-{key}"}
    if header is not None:
        headers["x-adasplit-priority"] = header
    asked = shared.post(CHAT if body is None else CHAT | {"priority": body}, headers=headers)
    job = await shared.unit.claim()
    known = await shared.views.job(job.id)
    assert (known["owner"], known.get("priority")) == (key, priority)
    assert known["weight"] == {"ann": "4", "bob": "2"}[key]
    await shared.unit.answer(job, b"{}")
    assert (await asked).headers.get("x-adasplit-priority") == priority


@pytest.mark.parametrize("wrong", ["soon", "1.5", "", "--1"])
async def test_a_priority_that_is_no_number_is_refused(shared: Any, wrong: str) -> None:
    headers = {"authorization": "Bearer key-of-ann", "x-adasplit-priority": wrong}
    answer = await shared.post(CHAT, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "x-adasplit-priority"


async def test_a_jobs_position_counts_those_whose_turn_comes_first(shared: Any) -> None:
    async def ask(key: str) -> str:
        before = set(shared.gateway._mailboxes._open)
        shared.post(CHAT, headers={"authorization": f"Bearer key-of-{key}"})
        await shared.seen(lambda: set(shared.gateway._mailboxes._open) - before)
        (job,) = set(shared.gateway._mailboxes._open) - before

        async def queued() -> Any:
            return (await shared.views.job(job)).get("state") == "queued"

        await shared.until(queued)
        return str(job)

    jobs = [await ask("ann") for _ in range(3)] + [await ask("bob")]
    told = []
    for job, key in zip(jobs, ("ann", "ann", "ann", "bob"), strict=True):
        answer = await shared.client.get(
            f"/v1/jobs/{job}", headers={"authorization": f"Bearer key-of-{key}"}
        )
        told.append(answer.json()["position"])
    assert told == [0, 2, 3, 1]
