"""Live overrides, right and wrong ones."""

import logging

import pytest

from common.policy import Policy
from scaler.live_policy import LivePolicy


def test_an_override_replaces_its_setting() -> None:
    policy = LivePolicy(Policy(), "p").under({"qhap_scale_up_above": "3", "unknown": "x"})
    assert policy.qhap_scale_up_above == 3


def test_a_wrong_override_leaves_its_setting_and_the_others_hold() -> None:
    overrides = {"qhap_min_short": "0", "qhap_scale_up_above": "3"}
    policy = LivePolicy(Policy(), "p").under(overrides)
    assert (policy.qhap_min_short, policy.qhap_scale_up_above) == (1, 3)


def test_a_wrong_override_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    live = LivePolicy(Policy(), "p")
    with caplog.at_level(logging.WARNING):
        for value in ("soon", "soon", "later"):
            live.under({"qhap_cooldown_s": value})
    said = [record.getMessage() for record in caplog.records]
    assert [line.rpartition("=")[2] for line in said] == ["'soon'", "'later'"]
