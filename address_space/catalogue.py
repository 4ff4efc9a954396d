"""The catalogue: logical-node class -> data object -> common data class, primary attribute, OPC UA type, quantity."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import cache, lru_cache
from importlib import resources

from address_space.address import Address


class CatalogueError(ValueError):
    """The address names a function or data object that the catalogue does not have; the message says which."""


class ValueType(IntEnum):
    """Type of a point's value; the numbers are those of the OPC UA built-in types."""

    BOOLEAN = 1
    INT32 = 6
    UINT32 = 7
    INT64 = 8
    DOUBLE = 11
    STRING = 12


class VariableKind(Enum):
    """The OPC UA VariableType that shows a point."""

    TWO_STATE = "TwoStateDiscreteType"
    MULTI_STATE = "MultiStateValueDiscreteType"
    ANALOG = "AnalogUnitType"
    BASE_ANALOG = "BaseAnalogType"
    DATA = "BaseDataVariableType"


@dataclass(frozen=True, slots=True)
class CommonDataClass:
    """One CDC of IEC 61850-7-3 as this service shows it.

    Attributes:
        name: `DPC`, `MV`, …
        attribute: primary attribute, dotted (`stVal`, `mag.f`); empty for classes that are containers.
        value_type: type of the primary attribute; None for containers.
        kind: OPC UA VariableType.
        children: sub-objects that are points of their own -> their CDC (`phsA` -> `CMV`).
        controllable: whether commands exist for it.
    """

    name: str
    attribute: str
    value_type: ValueType | None
    kind: VariableKind
    children: tuple[tuple[str, str], ...] = ()
    controllable: bool = False

    @property
    def container(self) -> bool:
        """Whether the class is an Object with point children rather than a point."""
        return self.value_type is None


_PHASES = tuple((name, "CMV") for name in ("phsA", "phsB", "phsC", "neut", "net", "res"))
_PHASE_PHASE = tuple((name, "CMV") for name in ("phsAB", "phsBC", "phsCA"))
_SEQUENCE = tuple((name, "CMV") for name in ("c1", "c2", "c3"))
_ACTIVATION = tuple((name, "SPS") for name in ("phsA", "phsB", "phsC", "neut"))
_HARMONIC = tuple((name, "HMVI") for name in ("phsAHar", "phsBHar", "phsCHar", "neutHar"))
_ANGLE = (("ang", "ANG"),)
_RAW_COUNT = (("actVal", "RAW"),)


def _table() -> dict[str, CommonDataClass]:
    bool_, int_, uint, float_, text = (
        ValueType.BOOLEAN,
        ValueType.INT32,
        ValueType.UINT32,
        ValueType.DOUBLE,
        ValueType.STRING,
    )
    two, multi, analog = VariableKind.TWO_STATE, VariableKind.MULTI_STATE, VariableKind.ANALOG
    count, data = VariableKind.BASE_ANALOG, VariableKind.DATA
    rows = (
        CommonDataClass("SPS", "stVal", bool_, two),
        CommonDataClass("SPC", "stVal", bool_, two, controllable=True),
        CommonDataClass("DPS", "stVal", int_, multi),
        CommonDataClass("DPC", "stVal", int_, multi, controllable=True),
        CommonDataClass("ENS", "stVal", int_, multi),
        CommonDataClass("ENC", "stVal", int_, multi, controllable=True),
        CommonDataClass("INS", "stVal", int_, count),
        CommonDataClass("INC", "stVal", int_, count, controllable=True),
        CommonDataClass("SEC", "cnt", uint, count),
        CommonDataClass("ORG", "setSrcRef", text, data),
        CommonDataClass("ACT", "general", bool_, two, _ACTIVATION),
        CommonDataClass("ACD", "general", bool_, two, (*_ACTIVATION, ("dirGeneral", "DIR"))),
        CommonDataClass("BCR", "actVal", float_, analog, _RAW_COUNT),
        CommonDataClass("MV", "mag.f", float_, analog),
        CommonDataClass("SAV", "instMag.f", float_, analog),
        CommonDataClass("CMV", "cVal.mag.f", float_, analog, _ANGLE),
        CommonDataClass("WYE", "", None, data, _PHASES),
        CommonDataClass("DEL", "", None, data, _PHASE_PHASE),
        CommonDataClass("SEQ", "", None, data, _SEQUENCE),
        CommonDataClass("HMV", "", None, data, (("har", "HMVI"),)),
        CommonDataClass("HWYE", "", None, data, _HARMONIC),
        CommonDataClass("HDEL", "", None, data, tuple((n, "HMVI") for n in ("phsABHar", "phsBCHar", "phsCAHar"))),
        CommonDataClass("HST", "", None, data, (("hstVal", "HMVI"),)),
        CommonDataClass("BSC", "valWTr.posVal", int_, count, (("transInd", "SPS"),), controllable=True),
        CommonDataClass("ISC", "valWTr.posVal", int_, count, (("transInd", "SPS"),), controllable=True),
        CommonDataClass("APC", "mxVal.f", float_, analog, controllable=True),
        CommonDataClass("BAC", "mxVal.f", float_, analog, controllable=True),
        CommonDataClass("SPG", "setVal", bool_, two),
        CommonDataClass("ING", "setVal", int_, count),
        CommonDataClass("ENG", "setVal", int_, multi),
        CommonDataClass("ASG", "setMag.f", float_, analog),
        CommonDataClass("VSG", "setVal", text, data),
        CommonDataClass("VSS", "stVal", text, data),
        CommonDataClass(
            "LPL", "", None, data, tuple((n, "VSS") for n in ("vendor", "swRev", "configRev", "d", "ldNs"))
        ),
        CommonDataClass(
            "DPL",
            "",
            None,
            data,
            tuple((n, "VSS") for n in ("vendor", "hwRev", "swRev", "serNum", "model", "location", "name", "owner")),
        ),
        # Not CDCs of the standard but types of single attributes that may be points of their own.
        CommonDataClass("ANG", "", float_, analog),
        CommonDataClass("RAW", "", ValueType.INT64, data),
        CommonDataClass("DIR", "", int_, multi),
        CommonDataClass("HMVI", "cVal.mag.f", float_, analog),
    )
    return {row.name: row for row in rows}


CDCS: dict[str, CommonDataClass] = _table()
"""Every CDC the service shows, by name."""


@dataclass(frozen=True, slots=True)
class PointClass:
    """What the catalogue knows of a point from its address alone.

    Attributes:
        cdc: the common data class of the point itself (`CMV` for `A/phsB`).
        enumeration: name of the enumeration of a multi-state point; None otherwise.
        quantity: physical quantity (`units.canonical` gives its unit); None where the catalogue does not know.
    """

    cdc: CommonDataClass
    enumeration: str | None
    quantity: str | None


@cache
def _classes() -> dict[str, dict[str, tuple[str, str | None]]]:
    text = resources.files("address_space").joinpath("catalogue.txt").read_text("utf-8")
    groups: dict[str, dict[str, tuple[str, str | None]]] = {}
    classes: dict[str, dict[str, tuple[str, str | None]]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, *entries = line.split()
        objects: dict[str, tuple[str, str | None]] = {}
        for entry in entries:
            if entry.startswith("+"):
                objects.update(groups[entry[1:]])
            else:
                data_object, cdc, *enumeration = entry.split(":")
                objects[data_object] = (cdc, enumeration[0] if enumeration else None)
        if name.startswith("="):
            groups[name[1:]] = objects
        else:
            classes[name] = objects
    return classes


@cache
def _enumerations() -> dict[str, tuple[tuple[int, str], ...]]:
    text = resources.files("address_space").joinpath("enumerations.txt").read_text("utf-8")
    table: dict[str, tuple[tuple[int, str], ...]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, *entries = line.split()
        table[name] = tuple((int(value), label) for value, label in (entry.split("=", 1) for entry in entries))
    return table


def enumeration(name: str | None) -> tuple[tuple[int, str], ...]:
    """(value, label) pairs of an enumeration; empty when the catalogue has no labels for it."""
    return () if name is None else _enumerations().get(name, ())


def enumerations() -> tuple[str, ...]:
    """Names of the enumerations that have labels."""
    return tuple(_enumerations())


def ln_classes() -> frozenset[str]:
    """Names of all logical-node classes."""
    return frozenset(_classes())


def data_objects(ln_class: str) -> dict[str, tuple[str, str | None]]:
    """Data objects of a class -> (CDC, enumeration or None); empty for an unknown class."""
    return _classes().get(ln_class, {})


def _find(ln_class: str, name: str) -> tuple[str, str | None] | None:
    objects = data_objects(ln_class)
    # Data objects that may occur many times carry an instance number: GGIO Ind -> Ind1, Ind2, …
    return objects.get(name) or objects.get(name.rstrip("0123456789"))


@lru_cache(maxsize=65536)
def _classify(ln_class: str, path: tuple[str, ...]) -> PointClass:
    if not data_objects(ln_class):
        raise CatalogueError(f"the catalogue has no logical-node class {ln_class!r}")
    found = _find(ln_class, path[0])
    if found is None:
        raise CatalogueError(f"{ln_class} has no data object {path[0]!r}")
    name, enum = found
    if name in {"DPC", "DPS"}:
        enum = "DpStatusKind"
    if name not in CDCS:
        raise CatalogueError(f"{path[0]} of {ln_class} is a {name}, which is not shown as a point")
    quantity = quantity_of(ln_class, path[0])
    return _descend(CDCS[name], path, enum, quantity)


def _descend(cdc: CommonDataClass, path: tuple[str, ...], enum: str | None, quantity: str | None) -> PointClass:
    for attribute in path[1:]:
        if attribute.isdigit() and cdc.name == "HMVI":
            continue
        child = dict(cdc.children).get(attribute)
        if child is None:
            raise CatalogueError(f"{'/'.join(path)}: {cdc.name} has no part {attribute!r} that is a point")
        cdc = CDCS[child]
        if child == "ANG":
            quantity = "angle"
        enum = "FaultDirectionKind" if child == "DIR" else None
    return PointClass(cdc, enum, quantity if cdc.kind is VariableKind.ANALOG else None)


def classify(address: Address) -> PointClass:
    """CDC, enumeration and quantity of the point at an address.

    Raises:
        CatalogueError: when the address is no data object, or class, data object or part are not in the catalogue.
    """
    function = address.function
    if function is None or not address.path:
        raise CatalogueError(f"{address} is a {address.kind}, not a data object")
    return _classify(function.ln_class, address.path)


# Quantities by data-object name; where a name means different things in different classes the class comes first.
_QUANTITY_OF_CLASS: dict[tuple[str, str], str] = {
    ("STMP", "Tmp"): "temperature",
    ("SIMG", "Pres"): "pressure",
    ("SIML", "Pres"): "pressure",
    ("SIMG", "Den"): "density",
    ("LOSS", "LosWh"): "active energy",
    ("LOSS", "SusWh"): "active energy",
    ("LOSS", "TotWh"): "active energy",
    ("LOSS", "LosPct"): "percent",
    ("LOSS", "LosW"): "active power",
    ("SUPV", "Avl"): "percent",
    ("SUPV", "TmOfs"): "time",
    ("HLTH", "HealthIdx"): "percent",
    ("SCBR", "AccmAbr"): "percent",
    ("SCBR", "SwA"): "current",
    ("SPDC", "AcuPaDsch"): "level",
    ("SPDC", "AppPaDsch"): "charge",
    ("SPDC", "UhfPaDsch"): "level",
    ("RFLO", "FltDiskm"): "length",
    ("MENV", "Snd"): "level",
}
_QUANTITIES: dict[str, str] = {
    name: quantity
    for quantity, names in {
        "voltage": "PhV PPV PNV PPV Vol V SeqV NeutVol CtlV VolPsGnd VolNgGnd HPhV HRmsPPV HRmsPhV DelV VolSpt V1Clc "
        "V2Clc DifVClc AvPhVPhs MaxPhVPhs MinPhVPhs AvPPVPhs MaxPPVPhs MinPPVPhs ExtVol IntnVol CelVolHi CelVolLo",
        "current": "A Amp SeqA LodA CircA FltA RstA HA HRmsA MotA ColA LkgA AvAPhs MaxAPhs MinAPhs AmpSpt ReqA ColAEFN",
        "active power": "TotW W Watt AvWPhs MaxWPhs MinWPhs WSpt ReqW HW WRef WMaxSpt WMinSpt AvlUpW AvlDnW",
        "reactive power": "TotVAr VAr VolAmpr AvVArPhs MaxVArPhs MinVArPhs VArSpt ReqVAr HVAr",
        "apparent power": "TotVA VA VolAmp AvVAPhs MaxVAPhs MinVAPhs HVA MaxVA",
        "active energy": "DmdWh SupWh TotWh InWh OutWh SocWh EffWh StcWh LifeWh ChaWhTot DschWhTot",
        "reactive energy": "DmdVArh SupVArh TotVArh",
        "apparent energy": "TotVAh",
        "frequency": "Hz Hz1Clc Hz2Clc DifHzClc",
        "frequency rate": "HzRte",
        "ratio": "TotPF PF PwrFact PFSpt AvPFPhs MaxPFPhs MinPFPhs",
        "percent": "LosPct ThdA ThdPhV ThdPPV ThdAmp ThdVol TddA ImbA ImbV ImbPPV HumVal EnvHum AbrPrt "
        "ActAbr AccmAbr LevPct",
        "temperature": "Tmp EnvTmp HPTmpClc CoreTmp BotTmp EnclTmp HeatSinkTmp IntnTmp ExtTmp HyTmp "
        "DewPt RisTmp H2OTmp",
        "pressure": "Pres EnvPres HyPres",
        "density": "Den",
        "resistance": "Z Imp FltZ FltX FltR Ris React RisPsGnd RisNgGnd AbsReact",
        "length": "FltDiskm",
        "speed": "OpSpdCls OpSpdOpn HorWdSpd VerWdSpd WdGustSpd",
        "time": "OpTmCls OpTmOpn AuxSwTmCls AuxSwTmOpn RctTmCls RctTmOpn MotTm",
        "angle": "DifAngClc PhAng HorWdDir",
        "I2t": "SumSwARs",
        "concentration": "H2ppm N2ppm COppm CO2ppm CH4ppm C2H2ppm C2H4ppm C2H6ppm O2ppm H2O",
    }.items()
    for name in names.split()
}


def quantity_of(ln_class: str, data_object: str) -> str | None:
    """Physical quantity of a measured data object; None where the catalogue does not know."""
    return _QUANTITY_OF_CLASS.get((ln_class, data_object)) or _QUANTITIES.get(data_object)
