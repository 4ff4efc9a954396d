"""References, CDC table, scaling, SCL files and aliases."""

import os
from pathlib import Path

import pytest
from open61850.mms.types import PrimitiveType, StructureType

from address_space.catalogue import CDCS
from twin_gateway.drivers.iec61850.compare import compare, text_of
from twin_gateway.drivers.iec61850.config import SPEC, Iec61850Config
from twin_gateway.drivers.iec61850.errors import ModelError
from twin_gateway.drivers.iec61850.model import LogicalNode, Model
from twin_gateway.drivers.iec61850.points import Reference, points_of, resolve, scaling
from twin_gateway.drivers.iec61850.scl import read_scl
from twin_gateway.drivers.registry import protocol

BAY = Path(__file__).parents[3] / "mappings" / "demo" / "scl" / "F07Q1.cid"


@pytest.fixture
def bay():
    return read_scl(BAY)


def source(model, text, cdc=""):
    return resolve(model, Reference.parse(text), cdc)


P = PrimitiveType
F, INT, Q, T = P("float", 32), P("integer", 32), P("bit-string", -13), P("utc-time")


def struct(**parts):
    return StructureType(list(parts.items()))


def model_of(**constraints):
    return Model("IED", {"IEDLD0": {"XXXX1": LogicalNode("IEDLD0", "XXXX1", struct(**constraints))}})


STAMPS = {"q": Q, "t": T}
CASES = {
    "SPS": ("ST", struct(stVal=P("boolean"), **STAMPS), "stVal"),
    "DPS": ("ST", struct(stVal=P("bit-string", 2), **STAMPS), "stVal"),
    "INS": ("ST", struct(stVal=INT, **STAMPS), "stVal"),
    "ENS": ("ST", struct(stVal=P("integer", 8), **STAMPS), "stVal"),
    "SEC": ("ST", struct(cnt=P("unsigned", 32), sev=INT, t=T), "cnt"),
    "ACT": ("ST", struct(general=P("boolean"), **STAMPS), "general"),
    "ACD": ("ST", struct(general=P("boolean"), dirGeneral=INT, **STAMPS), "general"),
    "DIR": ("ST", struct(general=P("boolean"), dirGeneral=INT, **STAMPS), "dirGeneral"),
    "BCR": ("ST", struct(actVal=P("integer", 64), **STAMPS), "actVal"),
    "MV": ("MX", struct(instMag=struct(f=F), mag=struct(i=INT, f=F), **STAMPS), "mag$f"),
    "SAV": ("MX", struct(instMag=struct(i=INT), **STAMPS), "instMag$i"),
    "CMV": ("MX", struct(cVal=struct(mag=struct(f=F), ang=struct(f=F)), **STAMPS), "cVal$mag$f"),
    "ANG": ("MX", struct(cVal=struct(mag=struct(f=F), ang=struct(f=F)), **STAMPS), "cVal$ang$f"),
    "BSC": ("ST", struct(valWTr=struct(posVal=P("integer", 8), transInd=P("boolean")), **STAMPS), "valWTr$posVal"),
    "APC": ("MX", struct(mxVal=struct(f=F), **STAMPS), "mxVal$f"),
    "ASG": ("SP", struct(setMag=struct(f=F)), "setMag$f"),
    "ING": ("SG", struct(setVal=INT), "setVal"),
    "SPG": ("SP", struct(setVal=P("boolean")), "setVal"),
    "ORG": ("SP", struct(setSrcRef=P("visible-string", -129)), "setSrcRef"),
}


@pytest.mark.parametrize("cdc", CASES)
def test_primary_attribute_follows_the_cdc_table(cdc):
    constraint, kind, expected = CASES[cdc]
    found = source(model_of(**{constraint: struct(Do=kind)}), "LD0/XXXX1.Do", cdc)
    assert found.value == f"IEDLD0/XXXX1${constraint}$Do${expected}"
    if "q" in dict(kind.components):
        assert found.quality == f"IEDLD0/XXXX1${constraint}$Do$q"
        assert found.time == f"IEDLD0/XXXX1${constraint}$Do$t"


@pytest.mark.parametrize("name", ["LD0/XCBR1.Pos", "F07Q1LD0/XCBR1.Pos"])
def test_logical_device_may_be_named_with_or_without_the_ied(bay, name):
    assert source(bay, name, "DPC").value == "F07Q1LD0/XCBR1$ST$Pos$stVal"


def test_phase_is_a_point_of_its_own(bay):
    found = source(bay, "LD0/MMXU1.A.phsB", "CMV")
    assert found.value == "F07Q1LD0/MMXU1$MX$A$phsB$cVal$mag$f"
    assert found.quality == "F07Q1LD0/MMXU1$MX$A$phsB$q"
    assert found.object == "F07Q1LD0/MMXU1$MX$A$phsB"


def test_single_attribute_finds_quality_and_time_above_it(bay):
    found = source(bay, "LD0/MMXU1.A.phsB.cVal.ang.f", "ANG")
    assert found.value == "F07Q1LD0/MMXU1$MX$A$phsB$cVal$ang$f"
    assert found.time == "F07Q1LD0/MMXU1$MX$A$phsB$t"


@pytest.mark.parametrize(
    ("text", "cdc"),
    [
        ("XCBR1.Pos", ""), ("LD0/XCBR1", ""), ("LD0/XCBR1.Nix", ""), ("LD1/XCBR1.Pos", ""), ("LD0/XCBR9.Pos", ""),
        ("LD0/XCBR1.Pos", "SPS"), ("LD0/MMXU1.A", "CMV"), ("LD0/XCBR1.Pos", "MV"), ("LD0/XCBR1.Loc.t", "SPS"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_an_error_that_says_so(bay, text, cdc):
    with pytest.raises(ModelError):
        source(bay, text, cdc)


def test_boolean_feeds_a_double_point_as_off_and_on(bay):
    found = source(bay, "LD0/GGIO1.Ind1", "DPS")
    assert scaling(found, {}, "DPS", None) == (1.0, 1.0)


def test_units_of_the_device_become_canonical(bay):
    assert scaling(source(bay, "LD0/MMXU1.TotW", "MV"), bay.constants, "MV", "active power") == (1000.0, 0.0)
    assert scaling(source(bay, "LD0/MMTR1.SupWh", "BCR"), bay.constants, "BCR", "active energy") == (100.0, 0.0)
    assert scaling(source(bay, "LD0/MMTR1.SupWh", "RAW"), bay.constants, "RAW", None) == (1.0, 0.0)


def test_unit_of_another_quantity_is_an_error(bay):
    with pytest.raises(ModelError, match="voltage"):
        scaling(source(bay, "LD0/MMXU1.PhV.phsA", "CMV"), bay.constants, "CMV", "current")


def test_integer_form_is_scaled():
    model = model_of(
        MX=struct(Do=struct(mag=struct(i=INT), **STAMPS)),
        CF=struct(Do=struct(units=struct(SIUnit=INT, multiplier=INT), sVC=struct(scaleFactor=F, offset=F))),
    )
    found = source(model, "LD0/XXXX1.Do", "MV")
    base = "IEDLD0/XXXX1$CF$Do$"
    constants = {f"{base}sVC$scaleFactor": 0.1, f"{base}sVC$offset": 5.0, f"{base}units$SIUnit": 23}
    constants[f"{base}units$multiplier"] = 0
    assert scaling(found, constants, "MV", "temperature") == (0.1, 5.0)
    kelvin = constants | {f"{base}units$SIUnit": 6}
    gain, bias = scaling(found, kelvin, "MV", "temperature")
    assert (gain, round(bias, 6)) == (0.1, -268.15)
    percent = constants | {f"{base}units$SIUnit": 1, f"{base}units$multiplier": -2}
    assert scaling(found, percent, "MV", "percent") == pytest.approx((0.1, 5.0))


@pytest.mark.parametrize("refused", ["sVC$scaleFactor", "sVC$offset", "units$multiplier"])
def test_point_whose_scale_the_device_has_and_does_not_give_is_not_taken_as_it_is(refused):
    model = model_of(
        MX=struct(Do=struct(mag=struct(i=INT), **STAMPS)),
        CF=struct(Do=struct(units=struct(SIUnit=INT, multiplier=INT), sVC=struct(scaleFactor=F, offset=F))),
    )
    base = "IEDLD0/XXXX1$CF$Do$"
    constants = {f"{base}{name}": 1 for name in ("sVC$scaleFactor", "sVC$offset", "units$multiplier")}
    del constants[f"{base}{refused}"]
    with pytest.raises(ModelError, match="scale of the value is not known"):
        scaling(source(model, "LD0/XXXX1.Do", "MV"), constants, "MV", "temperature")


def test_offer_of_the_demo_bay_is_complete(bay):
    offered = {point.reference: point for point in points_of(bay, "LD0")}
    assert points_of(bay, "F07Q1LD0") == points_of(bay, "LD0")
    assert offered["LD0/MMXU1.PhV.phsA"].path == ("PhV", "phsA")
    assert (offered["LD0/CSWI1.Pos"].cdc, offered["LD0/CSWI1.Pos"].controllable) == ("DPC", True)
    assert not offered["LD0/XCBR1.Pos"].controllable  # status-only
    assert offered["LD0/LPHD1.PhyNam.serNum"].cdc == "VSS"
    for reference, point in offered.items():
        assert point.cdc in CDCS
        assert source(bay, reference, point.cdc).value


def test_models_are_compared(bay):
    other = read_scl(BAY.with_name("F06Q1.cid"))
    assert compare(bay, bay, {}) == []
    assert len(compare(bay, other, {})) > 1
    renamed = Model("F07Q1", {"F07Q1LD0": dict(bay.nodes["F07Q1LD0"])}, dict(bay.data_sets), bay.blocks)
    del renamed.nodes["F07Q1LD0"]["XSWI2"]
    renamed.data_sets["F07Q1LD0/LLN0$Status"] = bay.data_sets["F07Q1LD0/LLN0$Status"][:-1]
    last = bay.data_sets["F07Q1LD0/LLN0$Status"][-1]
    found = compare(bay, renamed, {"F07Q1LD0/LLN0$DC$NamPlt$configRev": "2"})
    assert [text_of(of) for of in found] == [
        "logical node F07Q1LD0/XSWI2 is missing in the device",
        f"data set F07Q1LD0/LLN0$Status: member {last} is missing in the device",
        "F07Q1LD0/LLN0$DC$NamPlt$configRev is 2, not 1",
    ]


def test_data_sets_that_a_gateway_has_made_are_no_differences(bay):
    made = "F07Q1LD0/LLN0$twg0123abcd_1"
    other = Model("F07Q1", bay.nodes, {**bay.data_sets, made: []}, bay.blocks)
    block = "F07Q1LD0/LLN0$BR$brStatus01"
    live = {f"{block}$DatSet": made, f"{block}$ConfRev": 10_001}
    assert compare(bay, other, live) == []
    live[f"{block}$DatSet"] = "F07Q1LD0/LLN0$Measurement"
    assert [of.item for of in compare(bay, other, live)] == [f"{block}$DatSet", f"{block}$ConfRev"]


@pytest.mark.parametrize("text", ["", "<SCL", "<html/>", "<SCL/>", '<SCL xmlns="http://www.iec.ch/61850/2003/SCL"/>'])
def test_file_that_is_no_scl_is_an_error(tmp_path, text):
    path = tmp_path / "bad.scd"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"bad\.scd"):
        read_scl(path)
    with pytest.raises(ModelError, match="cannot read"):
        read_scl(tmp_path / "none.scd")


def test_entity_bomb_is_refused(tmp_path):
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 20}">' for n in range(1, 12))
    (tmp_path / "bomb.scd").write_text(f'<!DOCTYPE SCL [<!ENTITY e0 "ha">{entities}]><SCL>&e11;</SCL>')
    with pytest.raises(ModelError):
        read_scl(tmp_path / "bomb.scd")


@pytest.mark.skipif(
    "TWIN_REFERENCE_DATA" not in os.environ, reason="TWIN_REFERENCE_DATA does not name the reference data"
)
@pytest.mark.parametrize("name", ["openscd_valid2007B4.scd", "own_feeder_bay.cid", "robidev_open_substation.scd"])
def test_files_of_others_are_read(name):
    import xml.etree.ElementTree as ET

    path = Path(os.environ["TWIN_REFERENCE_DATA"]) / "scl" / name
    count = 0
    for ied in ET.parse(path).getroot().iterfind("{*}IED"):
        model = read_scl(path, ied.get("name"))
        for domain in model.nodes:
            for point in points_of(model, domain):
                assert resolve(model, Reference.parse(point.reference), point.cdc).value
                count += 1
    assert count > 20


def test_aliases_go_both_ways():
    assert protocol("iec61850") is SPEC
    config = Iec61850Config(host="10.4.7.11", ied="F07Q1")
    for reference in ("LD0/XCBR1.Pos", "F07Q1LD0/XCBR1.Pos"):
        found = SPEC.source(config, {"ref": reference})
        assert found == "F07Q1/LD0/XCBR1.Pos"
        assert SPEC.unalias(SPEC.alias("ied-f07", config, found)) == (None, found)
    assert SPEC.source(Iec61850Config(host="10.4.7.11"), {"ref": "LD0/XCBR1.Pos"}) == "10.4.7.11/LD0/XCBR1.Pos"
    assert SPEC.source(Iec61850Config(host="h", port=1102), {"ref": "LD0/XCBR1.Pos"}) == "h:1102/LD0/XCBR1.Pos"
    assert SPEC.unalias("ps01-rtu/1/4001") is None


def test_silence_must_be_noticed_in_time():
    assert SPEC.check_device(Iec61850Config(host="h")) == ()
    assert SPEC.check_device(Iec61850Config(host="h", idle=10.0))
