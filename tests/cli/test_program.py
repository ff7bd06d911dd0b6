"""What `adasplit up` is going to run."""

import pytest

from cli.program import START_ORDER, STOP_ORDER, Layout


def test_a_layout_has_a_process_for_every_part() -> None:
    names = [program.name for program in Layout(simulated=2, gateways=2).programs()]
    assert names == [
        "simulator-unit-1", "simulator-unit-2", "scaler",
        "dispatcher-unit-1", "dispatcher-unit-2", "gateway-1", "gateway-2", "dashboard",
    ]  # fmt: skip


def test_given_units_are_not_simulated() -> None:
    programs = Layout(units={"gpu-a": "http://10.0.0.7:8001"}).programs()
    names = [program.name for program in programs]
    assert names == ["scaler", "dispatcher-gpu-a", "gateway-1", "dashboard"]
    assert programs[1].command[-4:] == ("--unit", "gpu-a", "--url", "http://10.0.0.7:8001")


def test_only_several_gateways_share_their_port() -> None:
    def shared(gateways: int) -> set[str]:
        programs = Layout(gateways=gateways).programs()
        return {program.stage for program in programs if "--share-port" in program.command}

    assert (shared(1), shared(2)) == (set(), {"gateways"})


def test_the_usual_ports_are_those_of_the_documentation() -> None:
    assert list(Layout().ports()) == [8000, 8001, 8002, 8003, 8004, *range(9100, 9105), 8080]


def test_too_many_units_for_their_ports_are_noticed() -> None:
    with pytest.raises(ValueError, match="port 9100 is wanted by unit-1100 and by the scaler"):
        Layout(simulated=1100).ports()


def test_every_stage_that_starts_also_stops() -> None:
    assert sorted(stage for stages in START_ORDER for stage in stages) == sorted(STOP_ORDER)
