"""Who may ask, and for what."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from gateway.keys import ApiKeys
from gateway.settings import GatewaySettings

KEYS = f"ann:key-of-ann, bob:{hashlib.sha256(b'key-of-bob').hexdigest()}"


@pytest.fixture
async def guarded(redis_url: str, start_at: Any) -> AsyncIterator[Any]:
    async with start_at(redis_url, api_keys=SecretStr(KEYS)) as bench:
        yield bench


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("authorization", "owner"),
    [
        (b"Bearer key-of-ann", "ann"),
        (b"bearer  key-of-ann ", "ann"),
        (b"Bearer key-of-bob", "bob"),
        (b"Basic key-of-ann", None),
        (b"key-of-ann", None),
        (b"Bearer key-of-an", None),
        (b"Bearer ann:key-of-ann", None),
        (b"Bearer " + hashlib.sha256(b"key-of-bob").hexdigest().encode(), None),
        (b"Bearer \xff", None),
        (b"", None),
    ],
)
def test_a_key_is_its_holders(authorization: bytes, owner: str | None) -> None:
    assert ApiKeys(KEYS).owner(authorization) == owner


def test_without_keys_everybody_may_ask() -> None:
    assert ApiKeys("").owner(b"") == ""


@pytest.mark.parametrize("wrong", ["secret", "ann:", ":secret", "ann:key,secret"])
def test_a_key_without_a_name_is_refused_and_not_quoted(wrong: str) -> None:
    with pytest.raises(ValidationError) as error:
        GatewaySettings(api_keys=SecretStr(wrong), _env_file=None)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("headers", [{}, bearer("wrong"), {"authorization": "key-of-ann"}])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/state", "/v1/jobs/x", "/v1/nowhere"])
async def test_without_a_right_key_nothing_is_told(
    guarded: Any, path: str, headers: dict[str, str]
) -> None:
    answer = await guarded.client.get(path, headers=headers)
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")


async def test_the_pages_for_operators_need_no_key(guarded: Any) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await guarded.client.get(path)).status_code == 200


async def test_a_job_is_its_owners_alone(guarded: Any) -> None:
    client = guarded.client
    assert (await guarded.post()).status_code == 401
    asked = guarded.post(headers=bearer("key-of-ann"))
    job = await guarded.unit.claim()
    assert (await client.get(f"/v1/jobs/{job.id}", headers=bearer("key-of-ann"))).status_code == 200
    for method in ("GET", "DELETE"):
        answer = await client.request(method, f"/v1/jobs/{job.id}", headers=bearer("key-of-bob"))
        assert answer.status_code == 404
    await guarded.unit.answer(job, b"{}")
    assert (await asked).status_code == 200
