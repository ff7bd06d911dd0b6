"""Attacks on the door, byte by byte, and what comes of them."""

import gzip
import re

import pytest

from tests.security.conftest import (
    ADMIN_KEY,
    LAST,
    OTHER_KEY,
    Door,
    chat,
    get,
    post,
    statuses,
)

CHUNKED = "transfer-encoding: chunked"
EMPTY_CHUNK = b"0\r\n\r\n"
SMUGGLED = b"GET /v1/state HTTP/1.1\r\nhost: x\r\n\r\n"

# Each refused connection is closed: the request behind it is never read as one.
LYING_LENGTHS = {
    "length and chunks": post(EMPTY_CHUNK + SMUGGLED, "content-length: 6", CHUNKED),
    "chunks and length": post(EMPTY_CHUNK + SMUGGLED, CHUNKED, "content-length: 6"),
    "two lengths": post(b"{}" + SMUGGLED, "content-length: 2", "content-length: 40"),
    "the same length twice": post(b"{}", "content-length: 2", "content-length: 2"),
    "a list of lengths": post(b"{}", "content-length: 2, 2"),
    "a negative length": post(b"{}", "content-length: -1"),
    "a length with a sign": post(b"{}", "content-length: +2"),
    "a hexadecimal length": post(b"{}", "content-length: 0x2"),
    "a length beyond 64 bits": post(b"{}", "content-length: 99999999999999999999"),
    "a space before the colon": post(EMPTY_CHUNK, "transfer-encoding : chunked"),
    "chunks by another name": post(EMPTY_CHUNK, "transfer-encoding: xchunked"),
    "chunks that are not last": post(EMPTY_CHUNK, "transfer-encoding: chunked, identity"),
    "a chunk beyond 64 bits": post(b"ffffffffffffffffff\r\n{}\r\n" + EMPTY_CHUNK, CHUNKED),
    "a chunk of another length": post(b"2\r\n{}{}\r\n" + EMPTY_CHUNK, CHUNKED),
    "a chunk with a sign": post(b"+2\r\n{}\r\n" + EMPTY_CHUNK, CHUNKED),
    "bare line ends": post(b"{}").replace(b"\r\n", b"\n"),
}

BROKEN_HEADS = {
    "a folded header": get("/healthz", "x-a: b\r\n continued: c"),
    "a line end in a header": get("/healthz", "x-a: b\rc: d"),
    "a NUL in a header": get("/healthz", "x-a: b\0c"),
    "a NUL in a name": get("/healthz", "x\0a: b"),
    "no name": get("/healthz", ": b"),
    "a space in a name": get("/healthz", "x a: b"),
    "a NUL in the path": get("/healthz\0"),
    "a path that is no ASCII": get("/health\xe4"),
    "a path without a slash": get("healthz"),
    "an unknown method": get("/healthz").replace(b"GET", b"FOO", 1),
    "a method in lower case": get("/healthz").replace(b"GET", b"get", 1),
    "a tunnel": b"CONNECT 10.0.0.1:80 HTTP/1.1\r\nhost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown version": get("/healthz").replace(b"HTTP/1.1", b"HTTP/1.7", 1),
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("attack", LYING_LENGTHS | BROKEN_HEADS)
def test_what_is_not_plain_http_is_refused_and_the_connection_closed(
    door: Door, attack: str
) -> None:
    answers = door.ask((LYING_LENGTHS | BROKEN_HEADS)[attack], LAST)
    assert statuses(answers) == [400]
    assert b'"code":"bad_http"' in answers
    assert b"connection: close" in answers


EXCESS = [
    (post(b"{}" * 60_000), 413),
    (post(b"", "content-length: 999999999", "expect: 100-continue"), 413),
    (post(b"1d4c0\r\n" + b" " * 120_000 + b"\r\n" + EMPTY_CHUNK, CHUNKED), 413),
    (get("/" + "a" * 5000), 431),
    (get("/healthz", "x-a: " + "a" * 5000), 431),
    (get("/healthz", *[f"x-{n}: a" for n in range(600)]), 431),
    (post(gzip.compress(b"{" * 10_000_000), "content-encoding: gzip"), 415),
    (post(b"2\r\n{}\r\n" + EMPTY_CHUNK, "transfer-encoding: gzip, chunked"), 415),
    (post(chat(), "content-type: text/plain"), 415),
    (post(b'{"a":' * 20_000), 400),
    (post(b"[" * 5000 + b"]" * 5000), 400),
    (post(chat(x=1)[:-1] + b',"x":2}'), 400),
    (post(b'{"model":"m","prompt":"\\ud800"}', path="/v1/completions"), 400),
    (post(b"\xff\xfe{\x00}\x00"), 400),
    (post(chat(messages=[{"role": "user", "content": [{"image_url": "http://x/"}]}])), 400),
    (post(chat(), "x-adasplit-class: \xb2\xe9"), 400),
    (post(chat(), "x-adasplit-class: short", "x-adasplit-class: long"), 400),
    (post(chat(), "x-adasplit-timeout-s: 1e400"), 400),
    (post(chat(), "x-adasplit-priority: " + "1" * 3900), 400),
    (post(chat(model="m\\r\\nx-injected: yes")), 404),
    (get("/v1/jobs/job-" + "0" * 31 + "*"), 404),
    (get("/v1/jobs/%2e%2e%2fstate"), 404),
    (get("/v1/jobs/job-%00"), 404),
    (get("/v1/jobs/" + "x" * 3000), 404),
]


@pytest.mark.parametrize(("attack", "status"), EXCESS)
def test_what_asks_too_much_is_refused_for_what_it_is(
    door: Door, attack: bytes, status: int
) -> None:
    answers = door.ask(attack, LAST)
    assert statuses(answers)[0] == status
    assert not re.search(rb"^x-injected", answers, re.MULTILINE)
    assert door.alive()


@pytest.mark.parametrize(
    "path",
    [
        "//v1/state", "/v1//state", "/v1/./state", "/v1/x/../state", "/V1/state", "/v1/state/",
        "/%2f/v1/state", "/v1/%73tate/", "/v1/state%00", "/v1/state;x", "/metrics/",
        "/.//metrics", "/v1/chat/completions/..;/state", "/v1/state%20", "*",
    ],
)  # fmt: skip
def test_no_spelling_of_a_path_gets_around_the_gate(door: Door, path: str) -> None:
    """Not with somebody's key, and not with none, whatever the method."""
    for method in ("GET", "POST", "OPTIONS", "HEAD", "PUT"):
        with_key = get(path).replace(b"GET", method.encode(), 1)
        without = re.sub(rb"authorization: [^\r]*\r\n", b"", with_key)
        assert statuses(door.ask(without, LAST))[0] == 401
        assert statuses(door.ask(with_key, LAST))[0] in {404, 405}


@pytest.mark.parametrize(
    "path", ["/v1/state", "/v1/%73tate", "/v1%2fstate", "http://evil.example/v1/state"]
)
def test_a_path_is_judged_as_it_is_served(door: Door, path: str) -> None:
    assert statuses(door.ask(get(path), LAST)) == [401, 200]
    assert statuses(door.ask(get(path, key=ADMIN_KEY), LAST)) == [200, 200]


def test_a_body_longer_than_declared_is_no_second_request(door: Door) -> None:
    assert 200 not in statuses(door.ask(post(b"{}" + b"\0{}", "content-length: 2"), LAST))


def test_a_body_shorter_than_declared_takes_its_rest_from_what_follows(door: Door) -> None:
    # What follows is a part of the body, then, and not answered as a request of its own.
    assert statuses(door.ask(post(b"{", f"content-length: {1 + len(LAST)}"), LAST, LAST)) == [
        400, 200,
    ]  # fmt: skip


def test_headers_behind_the_body_are_no_headers(door: Door) -> None:
    body = b"%x\r\n%s\r\n" % (len(chat(model="other")), chat(model="other"))
    trailers = b"0\r\nx-adasplit-class: medium\r\nauthorization: Bearer x\r\n\r\n"
    assert statuses(door.ask(post(body + trailers, CHUNKED), LAST)) == [404, 200]


@pytest.mark.parametrize(
    ("begun", "piece"),
    [(b"2;", b"x" * 1000), (b"", b"1\r\n \r\n" * 200), (b"2\r\n{}\r\n0\r\nx: ", b"y" * 1000)],
    ids=["extensions of chunks", "many small chunks", "trailers"],
)
def test_framing_that_outweighs_its_body_is_refused(door: Door, begun: bytes, piece: bytes) -> None:
    assert statuses(door.ask(post(b"", CHUNKED), begun, *[piece] * 5000)) == [400]
    assert door.alive()


def test_requests_in_a_row_are_answered_in_a_row(door: Door) -> None:
    assert statuses(door.ask(get() + post(b"{") + get("/nowhere") + LAST)) == [200, 400, 404, 200]


def test_a_crowd_of_requests_in_one_packet_is_not_kept(door: Door) -> None:
    assert len(statuses(door.ask(get("/healthz") * 1000, LAST))) < 20
    assert door.alive()


def test_an_offer_of_another_protocol_is_passed_over(door: Door) -> None:
    upgrade = ("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMA")
    assert statuses(door.ask(get("/v1/models", *upgrade), LAST)) == [200, 200]
    body = chat(model="other")
    assert statuses(door.ask(post(body, *upgrade), LAST)) == [404, 200]
    chunk = b"%x\r\n%s\r\n" % (len(body), body)
    head, rest = post(b"", CHUNKED, *upgrade), chunk + EMPTY_CHUNK
    assert statuses(door.ask(head, rest, LAST)) == [404, 200]
    websocket = ("connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13")
    assert statuses(door.ask(get("/v1/models", *websocket), LAST)) == [200, 200]


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("authorization: Bearer ",),
        ("authorization: Basic a2V5LW9mLWFubg==",),
        ("authorization: Bearer key-of-ann key-of-ann",),
        ("authorization: Bearer key-of-ann", "authorization: Bearer key-of-ann"),
        ("authorization: Bearer \xe9\xff",),
        ("authorization: Bearer key-of-an%6e",),
        ("x-forwarded-for: 127.0.0.1", "x-api-key: key-of-ann"),
        ("cookie: authorization=key-of-ann",),
    ],
)
def test_nothing_but_one_right_key_is_a_key(door: Door, headers: tuple[str, ...]) -> None:
    given = "".join(f"{line}\r\n" for line in headers).encode("latin-1")
    asked = b"GET /v1/models?api_key=key-of-ann HTTP/1.1\r\nhost: x\r\n" + given + b"\r\n"
    assert statuses(door.ask(asked, LAST)) == [401, 200]


def test_a_foreign_job_is_as_unknown_as_none(door: Door) -> None:
    (job,) = [f"job-{number:032x}" for number in (7,)]
    door.redis.hset(door.store.keys.job(job), mapping={"state": "queued", "owner": "ann"})
    door.redis.expire(door.store.keys.job(job), 60)
    unknown = job.replace("7", "8")
    for method in (b"GET", b"DELETE"):
        told = [
            door.ask(get(f"/v1/jobs/{each}", key=OTHER_KEY).replace(b"GET", method, 1), LAST)
            for each in (job, unknown)
        ]
        assert [statuses(each) for each in told] == [[404, 200], [404, 200]]
        assert told[0].replace(job.encode(), b"") == told[1].replace(unknown.encode(), b"")


def test_what_is_refused_sends_nothing_to_redis(door: Door) -> None:
    """Every attack again, while a spy reads what Redis is asked."""
    attacks = [*LYING_LENGTHS.values(), *BROKEN_HEADS.values(), *[each for each, _ in EXCESS]]
    attacks += [post(chat(model="other")), post(b"{}"), get("/v1/state"), get("/nowhere")]
    with door.redis.monitor() as spy:
        for attack in attacks:
            assert statuses(door.ask(attack, LAST))[:1] != [200]
        door.redis.echo("the end")
        seen = []
        for command in spy.listen():
            if "the end" in command["command"]:
                break
            seen.append(command["command"])
    # The gateway's one read that waits for answers goes on.
    asked = [line for line in seen if door.pool in line and not line.startswith("XREAD ")]
    assert asked == []
