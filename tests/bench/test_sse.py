"""Measuring one streamed answer from its bytes alone."""

import orjson
import pytest

from bench.sse import StreamMeter


def event(text: str | None = None, finish: str | None = None, answer_id: str = "a") -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return _line({"id": answer_id, "choices": [choice]})


def usage(output_tokens: int) -> bytes:
    counted = {"prompt_tokens": 7, "completion_tokens": output_tokens}
    return _line({"id": "a", "choices": [], "usage": counted})


def _line(found: object) -> bytes:
    return b"data: " + orjson.dumps(found) + b"\n\n"


ROLE = _line({"id": "a", "choices": [{"delta": {"role": "assistant", "content": ""}}]})
DONE = b"data: [DONE]\n\n"
WHOLE = [ROLE, event(" one"), event(" two"), event(" three", "length"), usage(3), DONE]


def fed(chunks: list[bytes], times_s: list[float] | None = None) -> StreamMeter:
    meter = StreamMeter()
    for at_s, chunk in zip(times_s or range(len(chunks)), chunks, strict=True):
        meter.feed(chunk, at_s)
    return meter


def test_a_whole_answer_is_ok_and_counted() -> None:
    meter = fed(WHOLE)
    assert meter.outcome(3) == "ok"
    assert (meter.prompt_tokens, meter.output_tokens, meter.token_events) == (7, 3, 3)
    assert meter.finish_reason == "length"


def test_the_first_token_is_the_first_text_and_not_the_role() -> None:
    assert fed(WHOLE, [1, 2, 2.5, 4.5, 9, 9]).first_s == 2


def test_gaps_and_tpot_lie_between_the_first_and_the_last_text() -> None:
    meter = fed(WHOLE, [1, 2, 2.5, 4.5, 9, 9])
    assert meter.worst_gap_s == 2
    assert meter.tpot_s() == 1.25


def test_bytes_may_be_cut_anywhere() -> None:
    whole = b"".join(WHOLE)
    for size in (1, 2, 3, 7, 50):
        meter = fed([whole[at : at + size] for at in range(0, len(whole), size)])
        assert meter.outcome(3) == "ok"
        assert meter.token_events == 3


def test_everything_may_come_at_once_with_carriage_returns() -> None:
    meter = fed([b"".join(WHOLE).replace(b"\n", b"\r\n")])
    assert meter.outcome(3) == "ok"
    assert meter.worst_gap_s == 0


def test_comments_and_other_fields_are_no_events() -> None:
    meter = fed([b": ping\n\nevent: x\n", *WHOLE])
    assert meter.outcome(3) == "ok"


def test_a_completion_without_chat_is_followed_too() -> None:
    choices = [{"text": " one", "finish_reason": None}], [{"text": " two", "finish_reason": "stop"}]
    meter = fed([*(_line({"id": "a", "choices": one}) for one in choices), usage(2), DONE])
    assert meter.outcome(2) == "ok"
    assert meter.token_events == 2


def test_one_token_has_no_tpot() -> None:
    meter = fed([event(" one", "length"), usage(1), DONE])
    assert meter.outcome(1) == "ok"
    assert meter.tpot_s() is None


@pytest.mark.parametrize(
    ("chunks", "outcome"),
    [
        ([], "no_finish_reason"),
        (WHOLE[:3], "no_finish_reason"),
        (WHOLE[:-1], "no_done"),
        ([*WHOLE[:-1], b"data: [DONE]"], "no_done"),
        ([*WHOLE[:-2], DONE], "no_usage"),
        ([*WHOLE[:-2], usage(2), DONE], "wrong_token_count"),
        ([*WHOLE[:2], _line({"error": {"code": "unit_failed"}})], "error_event:unit_failed"),
        (
            [*WHOLE[:2], _line({"error": {"type": "server_error"}}), DONE],
            "error_event:server_error",
        ),
        ([*WHOLE[:2], _line({"error": "lost"})], "error_event:unknown"),
        ([*WHOLE[:2], b"data: {half\n\n"], "not_json"),
        ([b"data: [1]\n\n"], "unexpected_shape"),
        ([*WHOLE, event(" late")], "event_after_done"),
        ([*WHOLE[:3], event(" four", "stop", answer_id="b"), usage(3), DONE], "mixed_answers"),
    ],
)
def test_an_answer_that_is_not_whole_has_a_name(chunks: list[bytes], outcome: str) -> None:
    assert fed(chunks).outcome(3) == outcome


def test_text_that_looks_like_a_field_is_text() -> None:
    meter = fed([ROLE, event(" one"), event('"finish_reason":null'), *WHOLE[3:]])
    assert meter.outcome(3) == "ok"
