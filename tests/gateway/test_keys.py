"""Who may ask, and for what."""

import hashlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from common.api_keys import ApiKeys, BadKeys
from gateway.keyring import KeyRing, KeySource
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
    assert ApiKeys(KEYS).holder(authorization) == owner


def test_no_keys_are_false() -> None:
    assert not ApiKeys(" ,\n# none: yet\n")


def test_a_name_has_two_keys_while_they_change_and_a_key_has_one_name() -> None:
    both = ApiKeys("ann:old\nann:new  # from Monday on")
    assert both.holder(b"Bearer old") == both.holder(b"Bearer new") == "ann"
    with pytest.raises(BadKeys):
        ApiKeys("ann:same,bob:same")


@pytest.mark.parametrize("wrong", ["secret", "ann:", ":secret", "ann:key,secret"])
def test_a_key_without_a_name_is_refused_and_not_quoted(wrong: str) -> None:
    with pytest.raises(ValidationError) as error:
        GatewaySettings(api_keys=SecretStr(wrong), _env_file=None)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("headers", [{}, bearer("wrong"), {"authorization": "key-of-ann"}])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/state", "/v1/jobs/x", "/v1/nowhere", "/x"])
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
    asked = guarded.post(headers=bearer("key-of-ann") | {"x-adasplit-name": "mine"})
    job = await guarded.unit.claim()

    async def named() -> bool:
        answer = await client.get("/v1/jobs/mine", headers=bearer("key-of-ann"))
        return bool(answer.status_code == 200)

    await guarded.until(named)
    assert (await client.get(f"/v1/jobs/{job.id}", headers=bearer("key-of-ann"))).status_code == 200
    for method, name in itertools.product(("GET", "DELETE"), (job.id, "mine")):
        answer = await client.request(method, f"/v1/jobs/{name}", headers=bearer("key-of-bob"))
        assert answer.status_code == 404
    await guarded.unit.answer(job, b"{}")
    assert (await asked).status_code == 200


def test_without_keys_others_are_let_in_only_when_that_is_said(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        GatewaySettings(host=host, _env_file=None)
    for host in ("0.0.0.0", "::", "10.0.0.1", "gateway.example"):
        with pytest.raises(ValidationError, match="allow_anonymous=true"):
            GatewaySettings(host=host, _env_file=None)
        GatewaySettings(host=host, allow_anonymous=True, _env_file=None)
        GatewaySettings(host=host, api_keys=SecretStr(KEYS), _env_file=None)
    keys = tmp_path / "keys"
    keys.write_text("# nobody yet\n")
    with pytest.raises(ValidationError, match="allow_anonymous=true"):
        GatewaySettings(host="0.0.0.0", api_keys_file=keys, _env_file=None)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example"])
async def test_without_keys_a_web_page_cannot_reach_it_under_its_own_name(
    bench: Any, start: Any, host: str
) -> None:
    for path in ("/v1/models", "/v1/state", "/metrics", "/v1/chat/completions"):
        answer = await bench.client.post(path, headers={"host": host}, json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")
    async with start(allow_anonymous=True) as open_to_all:
        answer = await open_to_all.client.get("/v1/models", headers={"host": host})
        assert answer.status_code == 200


@pytest.mark.parametrize("host", ["localhost:8000", "[::1]:8000", "127.0.0.1", "10.1.2.3:80"])
async def test_names_of_this_machine_and_addresses_reach_it(bench: Any, host: str) -> None:
    assert (await bench.client.get("/v1/models", headers={"host": host})).status_code == 200


async def test_admin_keys_see_the_pool_and_ask_for_nothing(redis_url: str, start_at: Any) -> None:
    keys = {"api_keys": SecretStr(KEYS), "admin_keys": SecretStr("ops:key-of-ops")}
    async with start_at(redis_url, **keys) as bench:
        for path in ("/v1/state", "/metrics"):
            for headers in ({}, bearer("key-of-ann"), bearer("wrong")):
                answer = await bench.client.get(path, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
            assert (await bench.client.get(path, headers=bearer("key-of-ops"))).status_code == 200
        assert (await bench.post(headers=bearer("key-of-ops"))).status_code == 401
        models = await bench.client.get("/v1/models", headers=bearer("key-of-ops"))
        assert models.status_code == 401


async def test_a_file_of_keys_is_read_again_when_it_changes(
    redis_url: str, start_at: Any, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("ann:first\n")
    async with start_at(redis_url, api_keys_file=keys) as bench:

        async def status(key: str) -> int:
            answer = await bench.client.get("/v1/models", headers=bearer(key))
            return int(answer.status_code)

        async def changed() -> bool:
            return await status("second") == 200

        assert (await status("first"), await status("second")) == (200, 401)
        keys.write_text("ann:second  # given out today\n")
        await bench.until(changed)
        assert await status("first") == 401
        # Neither a mistake nor an empty file opens the door or closes it.
        for wrong in ("secret-without-name", ""):
            keys.write_text(wrong)
            bench.gateway._keys.look()
            assert await status("second") == 200
        keys.unlink()
        bench.gateway._keys.look()
        assert await status("second") == 200


async def test_a_job_follows_the_name_not_the_key(
    redis_url: str, start_at: Any, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("ann:old\nbob:other\n")
    async with start_at(redis_url, api_keys_file=keys) as bench:
        asked = bench.post(headers=bearer("old"))
        job = await bench.unit.claim()
        keys.write_text("ann:new\nbob:other\n")
        bench.gateway._keys.look()
        path = f"/v1/jobs/{job.id}"
        for key, status in (("old", 401), ("other", 404), ("new", 200)):
            assert (await bench.client.get(path, headers=bearer(key))).status_code == status
        await bench.unit.answer(job, b"{}")
        assert (await asked).status_code == 200


@pytest.mark.parametrize("emptied", ["api", "admin"])
def test_a_file_that_lost_its_last_key_opens_nothing(tmp_path: Path, emptied: str) -> None:
    files = {name: tmp_path / name for name in ("api", "admin")}
    for name, file in files.items():
        file.write_text(f"ann:key-of-{name}\n")
    ring = KeyRing(KeySource("", files["api"]), KeySource("", files["admin"]))
    files[emptied].write_text("# nobody\n")
    ring.look()
    assert ring.api.holder(b"Bearer key-of-api") == "ann"
    assert ring.admin.holder(b"Bearer key-of-admin") == "ann"
