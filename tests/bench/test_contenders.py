"""What the systems of a comparison are called, and what is started for them."""

from pathlib import Path

import pytest

from bench.contenders import SCALED, Contender, read_contender, read_contenders
from bench.spec import SpecError
from cli.program import Layout

LAYOUT = Layout(port=7000, unit_port=7001, admin_port=7100, simulated=4)


def read(text: str, units: int = 4) -> Contender:
    return read_contender(text, {}, units)


def test_a_system_is_named_by_its_text_or_by_what_stands_before_it() -> None:
    assert read("static:1/3") == Contender("static:1/3", "static", {}, (1, 3))
    assert read("static") == Contender("static", "static", {}, (2, 2))
    named = read("AdaSplit 64/8=adasplit:worker_concurrency_limit_short=64,qhap_interval_s=1")
    assert named.name == "AdaSplit 64/8"
    assert named.settings == {"worker_concurrency_limit_short": "64", "qhap_interval_s": "1"}
    assert read("vllm=http://host:1/v1") == Contender("vllm", "url", url="http://host:1")
    assert read("http://host:1?a=b").url == "http://host:1?a=b"


def test_settings_for_all_come_before_those_of_one() -> None:
    found = read_contenders(
        ["fifo", "static:2/2:worker_concurrency_limit=4"], ["worker_concurrency_limit=9"], 4
    )
    limits = [one.settings["worker_concurrency_limit"] for one in found]
    assert limits == ["9", "4"]
    assert found[1].partition == (2, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("best", "there is no best"),
        ("static:1/2", "4 units cannot be divided so"),
        ("static:0/4", "cannot be divided so"),
        ("adasplit:seats=3", "there is no setting seats"),
        ("adasplit:fast", "fast stands where setting=value should"),
        ("fifo:1/3", "stands where setting=value should"),
    ],
)
def test_what_is_no_system_is_refused(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        read(text)


def test_two_systems_of_one_name_are_refused() -> None:
    with pytest.raises(SpecError, match="two systems are called fifo"):
        read_contenders(["fifo", "fifo"], [], 4)


def test_a_faster_life_shortens_the_policy_s_times_and_nothing_else() -> None:
    one = read("adasplit:qhap_cooldown_s=10,worker_concurrency_limit_short=64")
    assert one.environment(1) == {
        "ADASPLIT_QHAP_COOLDOWN_S": "10",
        "ADASPLIT_WORKER_CONCURRENCY_LIMIT_SHORT": "64",
    }
    fast = one.environment(5)
    assert fast["ADASPLIT_QHAP_COOLDOWN_S"] == "2"
    assert fast["ADASPLIT_QHAP_INTERVAL_S"] == "0.1"
    assert fast["ADASPLIT_RASP_STEAL_COOLDOWN_S"] == "0.4"
    assert fast["ADASPLIT_WORKER_CONCURRENCY_LIMIT_SHORT"] == "64"
    assert not {"lease_s", "heartbeat_s", "alive_s"} & set(SCALED)


def test_each_kind_becomes_one_program_over_the_same_units() -> None:
    static = read("static:1/3").front(LAYOUT, Path("logs"))
    assert static.command[1:6] == ("-m", "baseline", "--policy", "static", "--short")
    assert static.command.count("--unit") == 4
    ours = read("adasplit").front(LAYOUT, Path("logs"))
    assert "unit-4=http://127.0.0.1:7004" in ours.command
    assert static.ready_url == ours.ready_url == "http://127.0.0.1:7000/readyz"
    pages = read("adasplit").metrics(LAYOUT)
    assert pages[:2] == ("http://127.0.0.1:7100/metrics", "http://127.0.0.1:7101/metrics")
    assert len(pages) == 6
    assert read("fifo").metrics(LAYOUT) == ()
