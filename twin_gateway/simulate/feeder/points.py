"""What each technological address shows of the field: one reader per address, in published units. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from address_space.address import FILLER, Address, parse
from twin_gateway.grid.model import CimClass, Equipment, Quantity
from twin_gateway.simulate.feeder.field import Field, switch_of_position
from twin_gateway.simulate.feeder.meters import MeterState
from twin_gateway.simulate.feeder.protection import Protection
from twin_gateway.simulate.feeder.switchgear import BreakerCondition

Value = float | int | bool
Reader = Callable[[], Value]

_ORDER = (
    CimClass.BREAKER,
    CimClass.RECLOSER,
    CimClass.LOAD_BREAK_SWITCH,
    CimClass.DISCONNECTOR,
    CimClass.TRANSFORMER,
    CimClass.LOAD,
    CimClass.GENERATOR,
    CimClass.LINE,
)
"""What a measurement of a bay sits at, the first that the bay has."""
_QUANTITIES = {
    "TotW": Quantity.P,
    "TotVAr": Quantity.Q,
    "A": Quantity.I,
    "PhV": Quantity.V,
    "PPV": Quantity.U,
}
_PICOCOULOMB = 1e-12
"""What the level of partial discharge is told against, in dB."""


def readers(field: Field, addresses: Iterable[str]) -> dict[str, Reader]:
    """Readers of those addresses that the physics has something to say of."""
    builder = _Builder(field)
    found: dict[str, Reader] = {}
    for text in addresses:
        reader = builder.reader(text)
        if reader is not None:
            found[text] = reader
    return found


class _Builder:
    """Finds out what an address is about."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.grid = field.grid
        self.positions = switch_of_position(self.grid)
        self.bays = self._main_equipment()
        self.blocks = {feeder.reclose_block: name for name, feeder in self.grid.feeders.items() if feeder.reclose_block}
        self.protection = {
            point: (name, parse(point).path[0])
            for name, feeder in self.grid.feeders.items()
            for point in (*feeder.trip, *feeder.start, *feeder.breaker_failure, feeder.reclosing)
            if point not in {"", "none"}
        }

    def _main_equipment(self) -> dict[str, Equipment]:
        found: dict[str, Equipment] = {}
        for cim_class in _ORDER:
            for item in self.grid.of(cim_class):
                place = parse(item.address).place
                if len(place) == 6 and place[4] != FILLER:
                    found.setdefault("/".join(place[:5]), item)
        return found

    def reader(self, text: str) -> Reader | None:
        """The reader of one address; None when the physics does not know it."""
        field, address = self.field, parse(text)
        switch = self.positions.get(text)
        if switch is not None:
            return lambda: int(field.positions[switch])
        if text in self.grid.indicators:
            return lambda: field.shows(text)
        if text in self.blocks:
            protection = field.protections[self.blocks[text]]
            return lambda: protection.blocked
        measured = self.grid.measurements.get(text)
        if measured is not None:
            return self._measured(
                measured.quantity, measured.equipment, measured.terminal, measured.phase, measured.direction
            )
        function = address.function
        if function is None or not address.path:
            return None
        place = "/".join((*address.place, *[FILLER] * (6 - len(address.place))))
        equipment = "/".join(address.place) if len(address.place) == 6 else ""
        meter = field.meters.get(equipment)
        if meter is not None:
            found = self._meter(meter, address)
            if found is not None:
                return found
        if equipment in field.breakers:
            found = self._breaker(field.breakers[equipment], f"{function.ln_class}/{address.path[0]}")
            if found is not None:
                return found
        protection_reader = self._protection(text, address)
        if protection_reader is not None:
            return protection_reader
        return self._by_class(function.ln_class, address, place, equipment)

    # -- measured values ---------------------------------------------------------------------------------------------

    def _measured(self, quantity: Quantity, equipment: str, terminal: int, phase: str, direction: int) -> Reader:
        field, item = self.field, self.grid.equipment[equipment]
        node = item.nodes[terminal - 1] if terminal <= len(item.nodes) else item.nodes[0]
        if len(item.nodes) == 1 and quantity in {Quantity.P, Quantity.Q, Quantity.I}:
            return self._of_load(quantity, item, phase)
        index = "ABC".find(phase[:1]) if phase else -1
        match quantity:
            case Quantity.P:
                return lambda: field.power(equipment, terminal).real * direction
            case Quantity.Q:
                return lambda: field.power(equipment, terminal).imag * direction
            case Quantity.I:
                if index < 0:
                    return lambda: float(field.phase_currents(equipment, terminal).mean())
                return lambda: float(field.phase_currents(equipment, terminal)[index])
            case Quantity.V:
                if index < 0:
                    return lambda: float(field.phase_voltages(node).mean())
                return lambda: float(field.phase_voltages(node)[index])
        return lambda: float(field.phase_voltages(node).mean()) * math.sqrt(3.0)

    def _of_load(self, quantity: Quantity, item: Equipment, phase: str) -> Reader:
        """A load draws nothing from a dead node."""
        field, node = self.field, item.nodes[0]
        row = field.loads.rows.get(item.address)
        if row is None:
            return lambda: 0.0
        loads = field.loads

        def power() -> complex:
            return complex(loads.power[row].sum() * loads.factor[row]) if field.is_live(node) else 0j

        match quantity:
            case Quantity.P:
                return lambda: power().real
            case Quantity.Q:
                return lambda: power().imag
        index = max("ABC".find(phase[:1]), 0)
        return lambda: abs(power()) / 3.0 / max(float(field.phase_voltages(node)[index]), 1.0)

    def _bay_value(self, address: Address, place: str) -> Reader | None:
        """A measured value that the grid model does not name: at the main equipment of its bay, first terminal."""
        bay = "/".join(place.split("/")[:5])
        item = self.grid.equipment.get("/".join(address.place)) or self.bays.get(bay)
        if item is None:
            return self._site_value(address)
        name, phase = address.path[0], address.path[-1].removeprefix("phs") if len(address.path) > 1 else ""
        quantity = {
            "TotW": Quantity.P,
            "TotVAr": Quantity.Q,
            "A": Quantity.I,
            "PhV": Quantity.V,
            "PPV": Quantity.U,
        }.get(name)
        if quantity is not None:
            return self._measured(quantity, item.address, 1, phase, 1)
        field = self.field
        if name == "TotPF":
            return lambda: _factor(field.power(item.address, 1))
        if name == "Hz":
            return lambda: field.weather.frequency if field.is_live(item.nodes[0]) else 0.0
        return None

    def _site_value(self, address: Address) -> Reader | None:
        """A measured value of a voltage level as a whole: at its busbar."""
        field = self.field
        level = "/".join(address.place[:4]) + "/"
        node = next((name for name in self.grid.nodes if name.startswith(level)), None)
        if node is None:
            return None
        match address.path:
            case ("Hz",):
                return lambda: field.weather.frequency if field.is_live(node) else 0.0
            case ("PPV", *_):
                return lambda: float(field.phase_voltages(node).mean()) * math.sqrt(3.0)
            case ("PhV", *rest):
                index = max("ABC".find(rest[0][3:4]), 0) if rest else 0
                return lambda: float(field.phase_voltages(node)[index])
        return None

    def _meter(self, meter: MeterState, address: Address) -> Reader | None:
        path = address.path
        index = "ABC".find(path[-1][3:4]) if len(path) > 1 else -1
        match path[0]:
            case "TotW":
                return lambda: meter.total.real
            case "TotVAr":
                return lambda: meter.total.imag
            case "TotPF":
                return lambda: _factor(meter.total)
            case "PhV" if index >= 0:
                return lambda: float(meter.volts[index])
            case "A" if index >= 0:
                return lambda: float(meter.amperes[index])
            case "W" if index >= 0:
                return lambda: float(meter.power[index].real)
            case "Hz":
                return lambda: self.field.weather.frequency if meter.volts.max() > 1.0 else 0.0
            case "DmdWh":
                return lambda: meter.drawn
            case "SupWh":
                return lambda: meter.given
            # Reactive energy is published in kvarh: there is no smaller unit with a code.
            case "DmdVArh":
                return lambda: meter.reactive_drawn / 1000.0
            case "SupVArh":
                return lambda: meter.reactive_given / 1000.0
            case "Pos":
                return lambda: 2 if meter.connected else 1
        return None

    # -- protection and switchgear -----------------------------------------------------------------------------------

    def _protection(self, text: str, address: Address) -> Reader | None:
        known = self.protection.get(text)
        name = known[0] if known else self._feeder_of(address)
        if name is None or address.function is None:
            return None
        return _of_protection(self.field.protections[name], f"{address.function.ln_class}/{address.path[0]}")

    def _feeder_of(self, address: Address) -> str | None:
        bay = "/".join(address.place[:5])
        return bay if bay in self.field.protections else None

    def _breaker(self, breaker: BreakerCondition, name: str) -> Reader | None:
        table: dict[str, Reader] = {
            "XCBR/OpCnt": lambda: breaker.operations,
            "SCBR/AccmAbr": lambda: breaker.wear,
            "SCBR/ActAbr": lambda: breaker.last_wear,
            "SCBR/AbrWrn": lambda: breaker.wear >= 80.0,
            "SCBR/AbrAlm": lambda: breaker.wear >= 100.0,
            "SCBR/SwA": lambda: breaker.switched,
            "SCBR/OpTmOpn": lambda: breaker.opening_time,
            "SCBR/OpTmCls": lambda: breaker.closing_time,
            "SCBR/ColA": lambda: breaker.coil,
            "SCBR/Tmp": lambda: breaker.gas_temperature,
            "SOPM/MotTm": lambda: breaker.motor_time,
            "SOPM/MotStrNum": lambda: breaker.motor_starts,
            "SIMG/Pres": lambda: breaker.gas_pressure,
            "SIMG/Tmp": lambda: breaker.gas_temperature,
            "SIMG/Den": lambda: breaker.gas_density,
            "SPDC/AcuPaDsch": lambda: 20.0 * math.log10(breaker.discharge / _PICOCOULOMB),
        }
        return table.get(name)

    # -- everything else ---------------------------------------------------------------------------------------------

    def _by_class(self, ln_class: str, address: Address, place: str, equipment: str) -> Reader | None:
        field, data = self.field, address.path[0]
        match ln_class:
            case "MMXU" | "MMXN":
                return self._bay_value(address, place)
            case "SFPI":
                return self._indicator(place, data)
            case "SVPI":
                node = self._cable_node(place)
                if node is None:
                    return None
                if data == "Abs":
                    return lambda: not field.is_live(node)
                return (lambda: field.is_live(node)) if data in {"Prs", "VPres"} else None
            case "STMP" | "SPTR":
                return self._warmth(address, place, equipment)
            case "YPTR" if data == "LodFact":
                transformer = self._transformer(place, equipment)
                return partial(self._load_share, transformer) if transformer else None
            case "MMET" | "THUM" | "TTMP" | "MENV":
                return self._weather(data)
        return None

    def _load_share(self, transformer: str) -> float:
        return 100.0 * self.field.weather.load.get(transformer, 0.0)

    def _indicator(self, place: str, data: str) -> Reader | None:
        """Other data objects of a fault passage indicator whose FltInd the grid model names."""
        name = f"{place}/SFPI1/FltInd"
        indicator = self.field.indicators.get(name)
        if indicator is None:
            return None
        table: Mapping[str, Reader] = {
            "FltCnt": lambda: indicator.count,
            "FltPerm": lambda: indicator.passed and bool(self.field.faults),
            "Str": lambda: indicator.passed,
            "Op": lambda: indicator.passed,
        }
        return table.get(data)

    def _cable_node(self, place: str) -> str | None:
        """The node of a cubicle's cable: the end of its switch that belongs to another site."""
        item = self.bays.get("/".join(place.split("/")[:5]))
        if item is None:
            return None
        site = "/".join(place.split("/")[:3]) + "/"
        return next((node for node in item.nodes if not node.startswith(site)), item.nodes[-1])

    def _transformer(self, place: str, equipment: str) -> str | None:
        if equipment in self.field.weather.heat:
            return equipment
        item = self.bays.get("/".join(place.split("/")[:5]))
        return item.address if item is not None and item.address in self.field.weather.heat else None

    def _warmth(self, address: Address, place: str, equipment: str) -> Reader | None:
        field, data = self.field, address.path[0]
        if data not in {"Tmp", "HPTmpClc"}:
            return None
        where = self._transformer(place, equipment)
        if where is None:
            item = self.bays.get("/".join(place.split("/")[:5]))
            if item is None:
                return lambda: field.weather.air + 3.0
            field.weather.watch_joint(item.address, field.state)
            return lambda: field.weather.joints[item.address]
        more = 12.0 if data == "HPTmpClc" else 0.0
        return lambda: field.weather.heat[where] + more

    def _weather(self, data: str) -> Reader | None:
        weather = self.field.weather
        table: Mapping[str, Reader] = {
            "EnvTmp": lambda: weather.air,
            "TmpSv": lambda: weather.air + 4.0,
            "EnvHum": lambda: weather.damp,
            "HumSv": lambda: weather.damp,
            "HorWdSpd": lambda: weather.gust,
        }
        return table.get(data)


def _factor(power: complex) -> float:
    return power.real / abs(power) if power else 1.0


def _of_protection(protection: Protection, name: str) -> Reader | None:
    table: Mapping[str, Reader] = {
        "PTOC/Str": lambda: protection.started,
        "PTRC/Str": lambda: protection.started,
        "PTOC/Op": lambda: protection.operated,
        "PTRC/Op": lambda: protection.operated,
        "PTRC/Tr": lambda: protection.operated,
        "PSDE/Str": lambda: protection.standing_earth,
        "RBRF/OpEx": lambda: protection.failed,
        "RREC/AutoRecSt": lambda: int(protection.reclosing),
        "RREC/OpCls": lambda: protection.closing,
        "RREC/Blk": lambda: protection.blocked,
    }
    return table.get(name)
