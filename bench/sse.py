"""Follows one streamed answer as it arrives: when tokens came, how it ended, what it counted."""

from typing import Any

import orjson

_FIELD = b"data:"
_DONE = b"[DONE]"
# Inside a JSON string the quotes would be escaped, so these bytes can only be the field itself.
_UNFINISHED = b'"finish_reason":null'


class StreamMeter:
    """Fed with chunks of any cut and the time of each, all on the caller's clock.

    A time belongs to an event, and an event counts as tokens when it brings text. Only the first
    events, the last and those of unfamiliar spelling are parsed: the rest are looked through.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._answer_id: str | None = None
        self.first_s: float | None = None
        self.last_s: float | None = None
        self.worst_gap_s = 0.0
        self.token_events = 0
        self.finish_reason: str | None = None
        self.done = False
        self.fault: str | None = None
        self.prompt_tokens: int | None = None
        self.output_tokens: int | None = None

    def feed(self, chunk: bytes, now_s: float) -> None:
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.startswith(_FIELD):
                self._event(line[len(_FIELD) :].strip(), now_s)

    def outcome(self, asked_tokens: int, *, exactly: bool = True) -> str:
        """`ok`, or the name of the first thing that was wrong with the whole answer.

        Unless `exactly`, the answer may also have fewer tokens than asked.
        """
        if self.fault:
            return self.fault
        if self.finish_reason is None:
            return "no_finish_reason"
        if not self.done:
            return "no_done"
        if self.output_tokens is None:
            return "no_usage"
        whole = self.output_tokens == asked_tokens or (
            not exactly and self.output_tokens < asked_tokens
        )
        return "ok" if whole else "wrong_token_count"

    def tpot_s(self) -> float | None:
        """Mean time per output token after the first."""
        gaps = (self.output_tokens or 0) - 1
        if self.first_s is None or self.last_s is None or gaps < 1:
            return None
        return (self.last_s - self.first_s) / gaps

    def _event(self, payload: bytes, now_s: float) -> None:
        if self.done:
            self._fail("event_after_done")
        elif payload == _DONE:
            self.done = True
        elif self.first_s is not None and _UNFINISHED in payload:
            self._token(now_s)
        else:
            self._parse(payload, now_s)

    def _token(self, now_s: float) -> None:
        self.token_events += 1
        if self.last_s is not None:
            self.worst_gap_s = max(self.worst_gap_s, now_s - self.last_s)
        self.first_s = now_s if self.first_s is None else self.first_s
        self.last_s = now_s

    def _parse(self, payload: bytes, now_s: float) -> None:
        try:
            event = orjson.loads(payload)
        except orjson.JSONDecodeError:
            self._fail("not_json")
            return
        try:
            self._read(event, now_s)
        except (AttributeError, TypeError):
            self._fail("unexpected_shape")

    def _read(self, event: dict[str, Any], now_s: float) -> None:
        if event.get("error"):
            self._fail(f"error_event:{error_name(event)}")
        self._same_answer(event.get("id"))
        for choice in event.get("choices") or ():
            if _text(choice):
                self._token(now_s)
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if usage := event.get("usage"):
            self.prompt_tokens = usage.get("prompt_tokens")
            self.output_tokens = usage.get("completion_tokens")

    def _same_answer(self, answer_id: str | None) -> None:
        """An answer pieced together from two attempts shows by its two ids."""
        self._answer_id = self._answer_id or answer_id
        if answer_id and answer_id != self._answer_id:
            self._fail("mixed_answers")

    def _fail(self, fault: str) -> None:
        self.fault = self.fault or fault


def error_name(body: Any) -> str:
    """The code of an OpenAI error object, or its type, or `unknown`."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return "unknown"
    return str(error.get("code") or error.get("type") or "unknown")


def _text(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or choice
    return any(delta.get(name) for name in ("content", "text", "reasoning_content", "reasoning"))
