"""Grid models from CIM RDF/XML: what is taken and how, what is refused with its line, what is left out and counted."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from unit.grid.cim_feeder import BODY, equipment, grid_of, node, obj, read, xml

from twin_gateway.grid.cim import read_cim
from twin_gateway.grid.model import (
    CimClass,
    Feeder,
    GeneratorData,
    LineData,
    LoadData,
    Position,
    ShuntData,
    SourceData,
    SwitchRating,
    TransformerData,
)
from twin_gateway.grid.write import write_grid
from twin_gateway.grid.yaml_grid import read_grid

REFERENCE = os.environ.get("TWIN_REFERENCE_DATA")
reference = pytest.mark.skipif(REFERENCE is None, reason="TWIN_REFERENCE_DATA does not say where the CIM files are")
P = "ieee/west/F1"


def test_the_container_chain_gives_the_place_and_the_mrid_an_alias(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, BODY)
    assert set(grid.nodes) == {f"{P}/MV1/_/CN{name}" for name in "abc"}
    assert set(grid.equipment) == {f"{P}/MV1/_/{name}" for name in ("SRCs1", "QA1", "WBl1", "LDd1")}
    assert grid.aliases()["mrid:l1"] == f"{P}/MV1/_/WBl1"
    assert grid.nodes[f"{P}/MV1/_/CNb"].nominal == 4160.0


def test_a_phase_matrix_is_put_in_the_order_of_the_phases_and_multiplied_by_the_length(tmp_path: Path) -> None:
    item = grid_of(tmp_path, BODY).equipment[f"{P}/MV1/_/WBl1"]
    assert item.phases == "BC"
    assert isinstance(item.data, LineData)
    assert item.data.phase_impedance == pytest.approx((0.2 + 0.4j, 0.05 + 0.1j, 0.05 + 0.1j, 0.15 + 0.35j))
    assert item.data.phase_susceptance == pytest.approx((2e-6, -0.5e-6, -0.5e-6, 2e-6))
    assert (item.data.r, item.data.x, item.data.length) == pytest.approx((0.125, 0.275, 0.5))


def test_one_phase_of_a_delta_load_is_the_pair_that_begins_with_it(tmp_path: Path) -> None:
    item = grid_of(tmp_path, BODY).equipment[f"{P}/MV1/_/LDd1"]
    assert item.phases == "BC"
    assert item.data == LoadData(
        230e3, 132e3, customers=3, delta=True, model="impedance", p_phases=(230e3,), q_phases=(132e3,)
    )


def test_sources_and_switches_have_their_data(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, BODY)
    source, breaker = grid.equipment[f"{P}/MV1/_/SRCs1"].data, grid.equipment[f"{P}/MV1/_/QA1"].data
    assert isinstance(source, SourceData)
    assert isinstance(breaker, SwitchRating)
    assert (source.voltage, source.angle) == pytest.approx((1.02, math.degrees(0.5)))
    assert (breaker.i_max, breaker.position) == (400.0, f"{P}/MV1/_/QA1/XCBR1/Pos")
    assert grid.normal_positions() == {f"{P}/MV1/_/QA1": Position.CLOSED}


def test_what_is_left_out_is_counted_and_listed(tmp_path: Path) -> None:
    reading = read(tmp_path, BODY)
    assert reading.left["Location"] == 1
    assert reading.taken["EnergyConsumerPhase"] == 1
    left = next(problem for problem in reading.problems if problem.code == "TG726")
    assert "1 Location" in left.message
    assert left.severity == "warning"
    assert sum((reading.taken + reading.left).values()) == xml(BODY).count("rdf:about")


def test_the_head_terminal_makes_a_feeder(tmp_path: Path) -> None:
    body = BODY.replace(
        "<cim:Feeder.NormalEnergizingSubstation",
        '<cim:Feeder.NormalHeadTerminal rdf:resource="#_QA1T1"/><cim:Feeder.NormalEnergizingSubstation',
    )
    assert grid_of(tmp_path, body).feeders == {P: Feeder(P, f"{P}/MV1/_/QA1")}


def test_a_bay_in_a_voltage_level_gives_its_levels(tmp_path: Path) -> None:
    bay = obj(
        "VoltageLevel", "v1", name="MV3", VoltageLevel__Substation="#_ps", VoltageLevel__BaseVoltage="#_mv"
    ) + obj("Bay", "f05", name="F05", Bay__VoltageLevel="#_v1")
    body = BODY + bay
    before, after = body.split('<cim:Breaker rdf:about="#_QA1">')
    body = before + '<cim:Breaker rdf:about="#_QA1">' + after.replace('"#_feeder"', '"#_f05"', 1)
    assert "ieee/west/ps/MV3/F05/QA1" in grid_of(tmp_path, body).equipment


def test_equipment_of_one_name_gets_part_of_its_identity_each(tmp_path: Path) -> None:
    body = BODY + "".join(
        equipment("Breaker", identity, ("a", "b")).replace(">" + identity + "<", ">twin<", 1)
        for identity in ("deadbeef01", "cafecafe02")
    )
    names = {address.rpartition("/")[2] for address in grid_of(tmp_path, body).equipment}
    assert {"QAtwin_deadbeef", "QAtwin_cafecafe"} <= names
    assert "QAtwin" not in names


def test_names_are_escaped(tmp_path: Path) -> None:
    body = BODY.replace("<cim:IdentifiedObject.name>b</", "<cim:IdentifiedObject.name>Über.1</")
    assert f"{P}/MV1/_/CN~C3~9Cber~2E1" in grid_of(tmp_path, body).nodes


def transformer() -> str:
    ends = "".join(
        obj(
            "PowerTransformerEnd",
            f"t1e{number}",
            PowerTransformerEnd__PowerTransformer="#_t1",
            PowerTransformerEnd__ratedS="500000",
            PowerTransformerEnd__ratedU=volts,
            PowerTransformerEnd__connectionKind=f"#WindingConnection.{kind}",
            PowerTransformerEnd__phaseAngleClock=clock,
            TransformerEnd__grounded=grounded,
            TransformerEnd__endNumber=str(number),
            TransformerEnd__Terminal=f"#_t1T{number}",
            TransformerEnd__BaseVoltage=f"#_{base}",
        )
        for number, volts, kind, clock, grounded, base in (
            (1, "4160", "D", "0", "false", "mv"),
            (2, "480", "Y", "11", "true", "lv"),
        )
    )
    mesh = obj(
        "TransformerMeshImpedance",
        "t1z",
        TransformerMeshImpedance__r="0.346112",
        TransformerMeshImpedance__x="0.692224",
        TransformerMeshImpedance__FromTransformerEnd="#_t1e1",
        TransformerMeshImpedance__ToTransformerEnd="#_t1e2",
    )
    tap = obj(
        "RatioTapChanger",
        "t1r",
        RatioTapChanger__TransformerEnd="#_t1e2",
        RatioTapChanger__stepVoltageIncrement="0.625",
        TapChanger__neutralStep="0",
        TapChanger__step="8",
    )
    return node("d") + equipment("PowerTransformer", "t1", ("c", "d"), "") + ends + mesh + tap


def test_a_transformer_by_its_ends(tmp_path: Path) -> None:
    data = grid_of(tmp_path, BODY + transformer()).equipment[f"{P}/MV1/_/TAt1"].data
    assert isinstance(data, TransformerData)
    assert (data.u1, data.u2, data.s, data.connection, data.clock) == (4160.0, 480.0, 500e3, "Dyn", 11)
    assert data.uk == pytest.approx(math.hypot(0.01, 0.02))
    assert data.pk == pytest.approx(5000.0)
    assert data.tap == pytest.approx(1 / 1.05)


def tank(phase: str, step: int) -> str:
    ends = "".join(
        obj(
            "TransformerTankEnd",
            f"r{phase}{number}",
            TransformerTankEnd__orderedPhases=f"#OrderedPhaseCodeKind.{phase}N",
            TransformerTankEnd__TransformerTank=f"#_r{phase}",
            TransformerEnd__endNumber=str(number),
            TransformerEnd__grounded="true",
            TransformerEnd__Terminal=f"#_rT{number}",
            TransformerEnd__BaseVoltage="#_mv",
        )
        for number in (1, 2)
    )
    tap = obj(
        "RatioTapChanger",
        f"r{phase}t",
        RatioTapChanger__TransformerEnd=f"#_r{phase}2",
        RatioTapChanger__stepVoltageIncrement="0.625",
        TapChanger__step=str(step),
        TapChanger__TapChangerControl="#_control",
    )
    own = obj(
        "TransformerTank",
        f"r{phase}",
        TransformerTank__PowerTransformer="#_r",
        TransformerTank__TransformerTankInfo="#_ti",
    )
    return own + ends + tap


def bank(*taps: tuple[str, int]) -> str:
    info = obj("TransformerTankInfo", "ti") + "".join(
        obj(
            "TransformerEndInfo",
            f"ti{number}",
            TransformerEndInfo__TransformerTankInfo="#_ti",
            TransformerEndInfo__endNumber=str(number),
            TransformerEndInfo__ratedU="2400",
            TransformerEndInfo__ratedS="1666000",
        )
        for number in (1, 2)
    )
    test = obj(
        "ShortCircuitTest",
        "sc",
        ShortCircuitTest__EnergisedEnd="#_ti1",
        ShortCircuitTest__GroundedEnds="#_ti2",
        ShortCircuitTest__leakageImpedance="0.0345738",
        ShortCircuitTest__loss="1.666",
        TransformerTest__basePower="1666000",
    )
    tanks = "".join(tank(phase, step) for phase, step in taps)
    return node("r2") + equipment("PowerTransformer", "r", ("c", "r2"), "") + tanks + info + test


def test_a_bank_of_tanks_has_a_step_for_each_phase(tmp_path: Path) -> None:
    item = grid_of(tmp_path, BODY + bank(("A", 10), ("B", 8), ("C", 11))).equipment[f"{P}/MV1/_/TAr"]
    assert isinstance(item.data, TransformerData)
    assert item.phases == "ABC"
    assert item.data.phase_taps == pytest.approx((1 / 1.0625, 1 / 1.05, 1 / 1.06875))
    assert (item.data.u1, item.data.s) == pytest.approx((2400 * math.sqrt(3), 3 * 1666e3))
    assert (item.data.connection, item.data.uk) == ("YNyn", pytest.approx(0.01, rel=1e-4))
    assert item.data.pk / item.data.s == pytest.approx(0.001)


def test_a_single_tank_has_the_numbers_of_a_bank_of_three(tmp_path: Path) -> None:
    reading = read(tmp_path, BODY + bank(("B", 4)))
    assert reading.grid is not None
    item = reading.grid.equipment[f"{P}/MV1/_/TAr"]
    assert isinstance(item.data, TransformerData)
    assert (item.phases, item.data.tap, item.data.phase_taps) == ("B", pytest.approx(1 / 1.025), ())
    assert item.data.u1**2 / item.data.s == pytest.approx(2400**2 / 1666e3)
    assert any("control" in problem.message for problem in reading.problems if problem.code == "TG727")


def test_capacitors_and_generators_are_taken_at_the_voltage_of_their_node(tmp_path: Path) -> None:
    body = (
        BODY
        + equipment(
            "LinearShuntCompensator",
            "k1",
            ("c",),
            LinearShuntCompensator__bPerSection="0.0347",
            ShuntCompensator__sections="2",
        )
        + equipment(
            "PowerElectronicsConnection",
            "pv",
            ("c",),
            "",
            PowerElectronicsConnection__p="4000",
            PowerElectronicsConnection__q="0",
            PowerElectronicsConnection__ratedS="5000",
        )
    )
    grid = grid_of(tmp_path, body)
    shunt, plant = grid.equipment[f"{P}/MV1/_/CAk1"].data, grid.equipment[f"{P}/MV1/_/GPpv"].data
    assert isinstance(shunt, ShuntData)
    assert shunt.q == pytest.approx(2 * 0.0347 * 4160**2)
    assert plant == GeneratorData(4000.0, 0.0, 5000.0)


def test_a_neutral_conductor_is_eliminated(tmp_path: Path) -> None:
    body = BODY.replace("#SinglePhaseKind.C", "#SinglePhaseKind.N")
    item = grid_of(tmp_path, body).equipment[f"{P}/MV1/_/WBl1"]
    assert item.phases == "B"
    assert isinstance(item.data, LineData)
    own, mutual, neutral = 0.4 + 0.8j, 0.1 + 0.2j, 0.3 + 0.7j
    assert item.data.phase_impedance[0] == pytest.approx((own - mutual**2 / neutral) * 0.5)


def test_profiles_in_two_files_make_one_model(tmp_path: Path) -> None:
    first, second = tmp_path / "eq.xml", tmp_path / "ssh.xml"
    first.write_text(xml(BODY.replace("  <cim:Switch.normalOpen>false</cim:Switch.normalOpen>\n", "")))
    second.write_text(xml(obj("Breaker", "QA1", Switch__normalOpen="true")))
    reading = read_cim([first, second], grid="ieee")
    assert reading.grid is not None, reading.problems
    assert reading.grid.normal_positions() == {f"{P}/MV1/_/QA1": Position.OPEN}


def test_a_grid_from_cim_is_written_as_yaml_and_read_again(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, BODY + transformer() + bank(("A", 10), ("B", 8), ("C", 11)))
    path = tmp_path / "grid.yaml"
    path.write_text(write_grid(grid), "utf-8")
    again, problems = read_grid([path])
    assert problems == []
    assert again == grid


@reference
@pytest.mark.parametrize(
    ("name", "nodes", "lines", "loads", "kilowatts", "switches"),
    [("IEEE13", 22, 11, 16, 3471.0, 5), ("IEEE123", 130, 118, 91, 3490.0, 8)],
)
def test_the_reference_feeders_are_read_whole(
    tmp_path: Path, *, name: str, nodes: int, lines: int, loads: int, kilowatts: float, switches: int
) -> None:
    reading = read_cim([Path(str(REFERENCE), "cim", f"cim_{name}.xml")], grid="ieee")
    grid = reading.grid
    assert grid is not None, reading.problems
    assert len(grid.nodes) == nodes
    assert len(list(grid.of(CimClass.LINE))) == lines
    assert len(list(grid.of(CimClass.LOAD))) == loads
    assert len(list(grid.switches())) == switches
    total = sum(item.data.p for item in grid.of(CimClass.LOAD) if isinstance(item.data, LoadData))
    assert total / 1000.0 == pytest.approx(kilowatts)
    path = tmp_path / "grid.yaml"
    path.write_text(write_grid(grid), "utf-8")
    again, problems = read_grid([path])
    assert problems == []
    assert again == grid


@reference
def test_the_regulators_of_the_reference_feeder_stand_where_the_file_says() -> None:
    grid = read_cim([Path(str(REFERENCE), "cim", "cim_IEEE13.xml")], grid="ieee").grid
    assert grid is not None
    regulator = grid.equipment["ieee/Small/ieee13nodeckt/MV2/_/TAReg"].data
    assert isinstance(regulator, TransformerData)
    assert [round((1 / tap - 1) / 0.00625) for tap in regulator.phase_taps] == [10, 8, 11]
