"""Catalogue and units: what an address says of its point, checked against the published facts where they are."""

from __future__ import annotations

import json
import math
import os
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from address_space import catalogue, units
from address_space.address import parse
from address_space.catalogue import CatalogueError, ValueType, VariableKind, classify

BAY = "dso1/north/PS01/MV1/F05"


@pytest.mark.parametrize(
    ("address", "cdc", "value_type", "kind", "quantity"),
    [
        ("QA1/XCBR1/Pos", "DPC", ValueType.INT32, VariableKind.MULTI_STATE, None),
        ("_/MMXU1/A/phsB", "CMV", ValueType.DOUBLE, VariableKind.ANALOG, "current"),
        ("_/MMXU1/A/phsB/ang", "ANG", ValueType.DOUBLE, VariableKind.ANALOG, "angle"),
        ("_/MMXU1/PPV/phsBC", "CMV", ValueType.DOUBLE, VariableKind.ANALOG, "voltage"),
        ("_/MMXU1/TotW", "MV", ValueType.DOUBLE, VariableKind.ANALOG, "active power"),
        ("_/MMTR1/SupWh", "BCR", ValueType.DOUBLE, VariableKind.ANALOG, "active energy"),
        ("_/MMTR1/SupWh/actVal", "RAW", ValueType.INT64, VariableKind.DATA, None),
        ("_/PTRC1/Tr", "ACT", ValueType.BOOLEAN, VariableKind.TWO_STATE, None),
        ("_/PTRC1/Str/dirGeneral", "DIR", ValueType.INT32, VariableKind.MULTI_STATE, None),
        ("_/RREC1/AutoRecSt", "ENS", ValueType.INT32, VariableKind.MULTI_STATE, None),
        ("QA1/XCBR1/OpCnt", "INS", ValueType.INT32, VariableKind.BASE_ANALOG, None),
        ("_/GGIO1/Ind12", "SPS", ValueType.BOOLEAN, VariableKind.TWO_STATE, None),
        ("IED1/LPHD1/PhyNam/serNum", "VSS", ValueType.STRING, VariableKind.DATA, None),
        ("_/SFPI1/FltInd", "ACD", ValueType.BOOLEAN, VariableKind.TWO_STATE, None),
        ("_/twLOSS1/LosPct", "MV", ValueType.DOUBLE, VariableKind.ANALOG, "percent"),
        ("TA1/STMP1/Tmp", "MV", ValueType.DOUBLE, VariableKind.ANALOG, "temperature"),
    ],
)
def test_an_address_says_what_its_point_is(
    address: str, cdc: str, value_type: ValueType, kind: VariableKind, quantity: str | None
) -> None:
    found = classify(parse(f"{BAY}/{address}"))
    assert (found.cdc.name, found.cdc.value_type, found.cdc.kind, found.quantity) == (cdc, value_type, kind, quantity)


def test_containers_are_no_points() -> None:
    assert classify(parse(f"{BAY}/_/MMXU1/A")).cdc.container


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("_/XXXX1/Pos", "no logical-node class 'XXXX'"),
        ("_/XCBR1/Posi", "XCBR has no data object 'Posi'"),
        ("_/MMXU1/A/phsX", "WYE has no part 'phsX'"),
        ("QA1", "not a data object"),
        ("QA1/XCBR1", "not a data object"),
    ],
)
def test_unknown_parts_are_named(address: str, says: str) -> None:
    with pytest.raises(CatalogueError, match=says):
        classify(parse(f"{BAY}/{address}"))


def test_states_have_labels() -> None:
    assert dict(catalogue.enumeration("DpStatusKind")) == {0: "intermediate-state", 1: "off", 2: "on", 3: "bad-state"}
    assert dict(catalogue.enumeration("AutoReclosingKind"))[12] == "NotReady"
    assert catalogue.enumeration("NoSuchKind") == ()


def test_every_quantity_has_a_canonical_unit_and_every_class_a_known_cdc() -> None:
    for ln_class in catalogue.ln_classes():
        for name in catalogue.data_objects(ln_class):
            quantity = catalogue.quantity_of(ln_class, name)
            if quantity is not None:
                assert units.canonical(quantity).factor == 1.0


def test_the_catalogue_holds_every_published_name_and_cdc() -> None:
    folder = os.environ.get("TWIN_REFERENCE_DATA")
    if not folder:
        pytest.skip("TWIN_REFERENCE_DATA is not set: the published names are not at hand")
    facts = json.loads((Path(folder) / "ln_facts.json").read_text("utf-8"))
    for ln_class, entry in facts.items():
        have = catalogue.data_objects(ln_class)
        for name, fact in entry["dos"].items():
            assert have[name] == (fact["cdc"], fact["enum"]), f"{ln_class}.{name}"


@pytest.mark.parametrize(
    ("symbol", "unit_id"),
    [
        ("V", 5655636),
        ("A", 4279632),
        ("W", 5723220),
        ("var", 4469812),
        ("VA", 4469814),
        ("Wh", 5720146),
        ("kvarh", 19251),
        ("kVAh", 4405049),
        ("Hz", 4740186),
        ("1", 4404786),
        ("%", 20529),
        ("degC", 4408652),
        ("K", 4932940),
        ("Pa", 5259596),
        ("bar", 4342098),
        ("kg/m3", 4934993),
        ("ohm", 5195853),
        ("s", 5457219),
        ("h", 4740434),
        ("min", 5065038),
        ("deg", 17476),
        ("C", 4411221),
        ("A2s", 4731698),
        ("m", 5067858),
        ("m/s", 5067859),
        ("dB", 12878),
        ("ppm", 13625),
        ("W/s", -1),
    ],
)
def test_unit_ids_are_those_of_unece(symbol: str, unit_id: int) -> None:
    assert units.unit(symbol).unit_id == unit_id


def test_units_convert_within_their_quantity_only() -> None:
    assert units.conversion(units.unit("kW"), units.unit("W")) == (1000.0, 0.0)
    gain, bias = units.conversion(units.unit("K"), units.unit("degC"))
    assert 300 * gain + bias == pytest.approx(26.85)
    gain, bias = units.conversion(units.unit("varh"), units.canonical("reactive energy"))
    assert 1500 * gain + bias == pytest.approx(1.5)
    with pytest.raises(units.UnitError, match="kW is active power, V is voltage"):
        units.conversion(units.unit("kW"), units.unit("V"))
    with pytest.raises(units.UnitError):
        units.unit("kX")


def test_every_unit_code_of_61850_and_dlms_is_known() -> None:
    for symbol in (*units.FROM_61850.values(), *units.FROM_DLMS.values()):
        assert units.unit(symbol).quantity


@given(
    st.integers(-(2**31), 2**31),
    st.decimals("0.000001", 100_000, places=6, allow_nan=False),
    st.sampled_from((1, -1)),
)
def test_a_decimal_scale_gives_the_number_that_is_nearest_to_the_decimal_result(
    raw: int, scale: Decimal, sign: int
) -> None:
    numerator, denominator = units.as_fraction(float(sign * scale))
    assume(abs(raw * numerator) < 2**53)
    assert raw * numerator / denominator == float(raw * sign * scale)


@pytest.mark.parametrize(
    ("gain", "fraction"),
    [
        (0.1, (1, 10)),
        (0.1 * 3, (3, 10)),
        (-0.25, (-1, 4)),
        (1e-12, (1, 1e12)),
        (1000.0, (1000, 1)),
        (1 / 3.6, (5, 18)),
        (math.pi, (math.pi, 1)),
        (0.0, (0, 1)),
        (5e-324, (5e-324, 1)),
        (1.7e308, (1.7e308, 1)),
        (12865.300837, (12865300837, 10**6)),
    ],
)
def test_a_gain_is_taken_as_a_fraction_where_it_is_one(gain: float, fraction: tuple[float, float]) -> None:
    assert units.as_fraction(gain) == fraction
