"""The policy's numbers: defaults, limits of a class, live overrides."""

import pytest
from pydantic import ValidationError

from common.keys import JobClass
from common.policy import Policy
from common.settings import Settings


def test_the_defaults_are_the_published_rules() -> None:
    policy = Policy()
    assert policy.worker_concurrency_limit == 8
    assert policy.long_threshold_tokens == 4096
    assert (policy.qhap_scale_up_above, policy.qhap_scale_down_below) == (10, 2)
    assert (policy.qhap_min_short, policy.qhap_min_long) == (1, 1)
    assert (policy.qhap_interval_s, policy.qhap_cooldown_s) == (0.5, 5.0)
    assert policy.rasp_steal_cooldown_s == 2.0
    assert policy.rasp_steal
    assert policy.rasp_long_takes_short
    assert policy.starvation_bound_s == 60.0


@pytest.mark.parametrize(
    ("numbers", "job_class", "limit"),
    [
        ({}, "short", 8),
        ({"worker_concurrency_limit": 4}, "long", 4),
        ({"worker_concurrency_limit_short": 64}, "short", 64),
        ({"worker_concurrency_limit_short": 64}, "long", 8),
        ({"worker_concurrency_limit_long": 2, "worker_concurrency_limit": 5}, "long", 2),
    ],
)
def test_a_class_has_its_own_limit_or_the_general_one(
    numbers: dict[str, int], job_class: JobClass, limit: int
) -> None:
    assert Policy.model_validate(numbers).limit(job_class) == limit


def test_a_live_override_replaces_its_number_and_no_other() -> None:
    policy = Policy(qhap_min_short=2).with_overrides({"qhap_cooldown_s": "1.5", "unknown": "x"})
    assert (policy.qhap_cooldown_s, policy.qhap_min_short) == (1.5, 2)


def test_overrides_of_settings_answer_a_policy() -> None:
    settings = Settings(_env_file=None, worker_concurrency_limit=3)
    policy = settings.with_overrides({"rasp_steal": "off", "lease_s": "1"})
    assert (policy.rasp_steal, policy.worker_concurrency_limit) == (False, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("qhap_min_short", "0"),
        ("worker_concurrency_limit", "many"),
        ("worker_concurrency_limit", "9" * 400),
        ("rasp_steal", "perhaps"),
        ("qhap_cooldown_s", "inf"),
        ("qhap_cooldown_s", "nan"),
        ("qhap_cooldown_s", "1e300"),
        ("starvation_bound_s", "-1"),
        ("adaptive_backlog_s", "inf"),
        ("prefill_1k_tokens_s", "1e-320"),
    ],
)
def test_a_wrong_override_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Policy().with_overrides({name: value})


def test_a_policy_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Policy().qhap_min_short = 3  # type: ignore[misc]  # what the test is about


def test_every_number_says_what_it_is() -> None:
    undocumented = [
        name for name in tuple(Policy.model_fields) if not Policy.model_fields[name].description
    ]
    assert undocumented == []
