"""The physics of the demo: one substation, two feeders, two ring-main units, two streets of customers. Pure.

    110 kV -- E01.QB1 -- E01.QA1 -- TA1 --+-- F06.QB1/QA1 == L-N06 == RMU0217.C01 --+-- T01 -- TS0217 -- 9 customers
                                          |                                         +-- C02 == L-N07 ==+
                                          |                 RMU0218.C01 ===============================+
                                          |                    +-- T01 -- TS0218 -- 9 customers
                                          |                    +-- C02 (normally open) == L-N08 ==+
                                          +-- F07.QB1/QA1 == L-N09 == factory ====================+

Everything follows from the positions of the switches, the tap, the loads and the weather: voltages and flows are the
solved network, energies are integrals of power, temperatures lag behind load. What is read out carries technological
addresses and published units, so that the mapping files alone say which device tells it. Heat is faster than in life,
so that it can be watched.
"""

from __future__ import annotations

import cmath
import math
import random
from collections.abc import Mapping

from twin_gateway.demo.customers import Customer, Energy, street
from twin_gateway.demo.network import Branch, Network, State

PLACE = "dso1/north"
OPEN, CLOSED = 1, 2
NOMINAL_V = 20_000.0 / math.sqrt(3.0)
LOW_V_RATIO = 410.0 / 20_000.0
HIGH_V_RATIO = 110.0 / 20.0
PICKUP_A = 600.0
TAP_MIDDLE, TAP_LAST, TAP_STEP = 9, 17, 0.0125
_PHASES = tuple(zip("ABC", (1.004, 0.999, 0.997), strict=True))
_PAIRS = ("AB", "BC", "CA")
_CABLE = 0.206 + 0.122j
_TRANSFORMER_VA = 400e3
_TRANSFORMER_OHM = 11.0 + 38.0j
_IRON_W = 430.0

_E01, _F06, _F07 = (f"{PLACE}/PS01/{bay}" for bay in ("HV1/E01", "MV1/F06", "MV1/F07"))
_R217, _R218 = (f"{PLACE}/RMU{number}/MV1" for number in ("0217", "0218"))


def _breaker(equipment: str) -> str:
    return f"{equipment}/XCBR1/Pos"


def _isolator(equipment: str) -> str:
    return f"{equipment}/XSWI1/Pos"


START: Mapping[str, int] = {
    _breaker(f"{_E01}/QA1"): CLOSED,
    _isolator(f"{_E01}/QB1"): CLOSED,
    **{_breaker(f"{bay}/QA1"): CLOSED for bay in (_F06, _F07)},
    **{_isolator(f"{bay}/QB1"): CLOSED for bay in (_F06, _F07)},
    **{_isolator(f"{bay}/QC1"): OPEN for bay in (_F06, _F07)},
    **{_isolator(f"{rmu}/C01/QB1"): CLOSED for rmu in (_R217, _R218)},
    _isolator(f"{_R217}/C02/QB1"): CLOSED,
    _isolator(f"{_R218}/C02/QB1"): OPEN,
    **{_isolator(f"{rmu}/{bay}/QC1"): OPEN for rmu in (_R217, _R218) for bay in ("C01", "C02", "T01")},
    **{_breaker(f"{rmu}/T01/QA1"): CLOSED for rmu in (_R217, _R218)},
}
"""Every switch by the address of its position, as it stands at the start: 1 open, 2 closed."""

NETWORK = Network(
    "grid",
    [
        Branch("E01", "grid", "ta1", switches=(_isolator(f"{_E01}/QB1"), _breaker(f"{_E01}/QA1"))),
        Branch("TA1", "ta1", "bus", 0.08 + 1.92j),
        Branch("F06", "bus", "n06", switches=(_isolator(f"{_F06}/QB1"), _breaker(f"{_F06}/QA1"))),
        Branch("L-N06", "n06", "n06end", 3.1 * _CABLE),
        Branch("RMU0217/C01", "n06end", "r217", switches=(_isolator(f"{_R217}/C01/QB1"),)),
        Branch("RMU0217/T01", "r217", "t217", switches=(_breaker(f"{_R217}/T01/QA1"),)),
        Branch("TS0217", "t217", "lv217", _TRANSFORMER_OHM),
        Branch("RMU0217/C02", "r217", "n07", switches=(_isolator(f"{_R217}/C02/QB1"),)),
        Branch("L-N07", "n07", "n07end", 1.8 * _CABLE),
        Branch("RMU0218/C01", "n07end", "r218", switches=(_isolator(f"{_R218}/C01/QB1"),)),
        Branch("RMU0218/T01", "r218", "t218", switches=(_breaker(f"{_R218}/T01/QA1"),)),
        Branch("TS0218", "t218", "lv218", _TRANSFORMER_OHM),
        Branch("RMU0218/C02", "r218", "n08", switches=(_isolator(f"{_R218}/C02/QB1"),)),
        Branch("L-N08", "n08", "factory", 4.2 * _CABLE),
        Branch("F07", "bus", "n09", switches=(_isolator(f"{_F07}/QB1"), _breaker(f"{_F07}/QA1"))),
        Branch("L-N09", "n09", "factory", 1.5 * _CABLE),
    ],
)


class Feeder:
    """The state of the grid and how it goes on.

    Attributes:
        positions: of every switch by address: 0 travelling, 1 open, 2 closed.
        tap: of the tap changer of TA1, 1 to 17.
        customers: of each low-voltage area.
        state: the network as last solved.
    """

    def __init__(self, seed: int = 1) -> None:
        self.positions: dict[str, int] = dict(START)
        self.tap = TAP_MIDDLE
        self.customers: dict[str, list[Customer]] = {"0217": street("0217"), "0218": street("0218", (2, 8))}
        self.energy = {name: Energy(drawn=start) for name, start in _COUNTED.items()}
        self.state: State = NETWORK.solve(0.0, lambda _name: False, {})
        self._noise = random.Random(seed)  # noqa: S311 - weather and appetite, not secrets
        self._frequency, self._gust, self._damp = 50.0, 3.0, 58.0
        self._air = 12.0
        self._heat = {"TA1": 52.0, "TS0217": 38.0, "TS0218": 36.0, "L-N06": 15.0, "L-N07": 15.0}
        self._load = {"other": 3.4e6, "factory": 1.5e6}

    # -- what happens ------------------------------------------------------------------------------------------------

    def move(self, address: str, position: int) -> None:
        """A switch or the tap changer has moved.

        Raises:
            KeyError: there is none of that address.
        """
        if address == TAP:
            self.tap = max(1, min(TAP_LAST, position))
        elif address in DISCONNECTORS:
            area, number = DISCONNECTORS[address]
            self.customers[area][number].connected = position == CLOSED
        elif address in self.positions:
            self.positions[address] = position
        else:
            raise KeyError(address)

    def closed(self, address: str) -> bool:
        """Whether a switch lets current through; while it travels it does not."""
        return self.positions[address] == CLOSED

    def step(self, seconds: float, hour: float) -> None:
        """Go on for some time at an hour of the day (0 to 24)."""
        noise = self._noise
        before = self.state.voltage
        for area, customers in self.customers.items():
            volts = abs(before[f"lv{area[1:]}"]) * LOW_V_RATIO
            for customer in customers:
                customer.step(volts, hour, seconds, noise)
        for name, (usual, restless) in _LOADS.items():
            self._load[name] += (usual - self._load[name]) * 0.02 * seconds + noise.gauss(0.0, restless * usual)
        self.state = NETWORK.solve(self._source_volts(), self.closed, self._loads())
        self._count(seconds)
        self._weather(seconds, hour)
        self._warm(seconds)

    def _source_volts(self) -> float:
        return NOMINAL_V * 1.02 * (1.0 + TAP_STEP * (self.tap - TAP_MIDDLE))

    def _loads(self) -> dict[str, complex]:
        loads = {"bus": complex(self._load["other"], 0.25 * self._load["other"])}
        loads["factory"] = complex(self._load["factory"], 0.33 * self._load["factory"])
        for area in self.customers:
            loads[f"t{area[1:]}"] = complex(_IRON_W, 3.0 * _IRON_W)
            loads[f"lv{area[1:]}"] = self.street_power(area)
        return loads

    def street_power(self, area: str) -> complex:
        """W and var at the low-voltage side of the transformer: all customers and the losses of the street."""
        customers = self.customers[area]
        return complex(
            sum(customer.power + customer.loss for customer in customers),
            sum(customer.reactive for customer in customers),
        )

    def _count(self, seconds: float) -> None:
        for name in _FLOW_COUNTED:
            power = self.state.flows[name].power
            self.energy[name].count(power.real, power.imag, seconds)
        for area in self.customers:
            power = self.street_power(area)
            self.energy[f"TS{area}"].count(power.real, power.imag, seconds)

    def _weather(self, seconds: float, hour: float) -> None:
        noise, root = self._noise, math.sqrt(seconds)
        self._frequency += (50.0 - self._frequency) * 0.05 * seconds + noise.gauss(0.0, 0.004) * root
        self._gust = abs(self._gust + (3.5 - self._gust) * 0.05 * seconds + noise.gauss(0.0, 0.25) * root)
        self._damp = min(99.0, max(20.0, self._damp + (58.0 - self._damp) * 0.01 * seconds + noise.gauss(0, 0.2)))
        self._air = 12.0 + 6.0 * math.cos((hour - 15.0) * math.pi / 12.0) + 0.1 * self._gust

    def _warm(self, seconds: float) -> None:
        flows = self.state.flows
        aim = {
            "TA1": self._air + 14.0 + 38.0 * (abs(flows["TA1"].power) / 10e6) ** 1.6,
            "L-N06": 10.0 + 0.02 * flows["L-N06"].current ** 2,
            "L-N07": 10.0 + 0.02 * flows["L-N07"].current ** 2,
        }
        for area in self.customers:
            used = abs(flows[f"TS{area}"].power) / _TRANSFORMER_VA
            live = self.state.voltage[f"lv{area[1:]}"] != 0
            aim[f"TS{area}"] = self._air + (8.0 if live else 0.0) + 45.0 * used**1.6
        for name, wanted in aim.items():
            fade = math.exp(-seconds / _HEAT_S[name])
            self._heat[name] = wanted + (self._heat[name] - wanted) * fade

    # -- what can be read --------------------------------------------------------------------------------------------

    def readings(self) -> dict[str, float]:
        """Everything measured, by address in published units (V, A, W, var, Wh, Cel, ...); states are 0 or 1."""
        found: dict[str, float] = {}
        self._substation(found)
        for rmu, number in ((_R217, "0217"), (_R218, "0218")):
            self._ring(found, rmu, f"RMU{number}")
        for area, customers in self.customers.items():
            self._sum_meter(found, area)
            for customer in customers:
                self._meter(found, f"{PLACE}/{customer.site}/LV1/_/M1", customer)
        self._sensors(found)
        return found

    def _substation(self, found: dict[str, float]) -> None:
        bus = abs(self.state.voltage["bus"])
        found |= {f"{PLACE}/PS01/MV1/_/_/MMXU1/PPV/phs{pair}": bus * math.sqrt(3.0) for pair in _PAIRS}
        found[f"{PLACE}/PS01/MV1/_/_/MMXU1/Hz"] = self._frequency if bus else 0.0
        source = self._source_volts() / (1.0 + TAP_STEP * (self.tap - TAP_MIDDLE)) * HIGH_V_RATIO
        found |= {f"{_E01}/_/MMXU1/PPV/phs{pair}": source * math.sqrt(3.0) for pair in _PAIRS}
        self._flow(found, _E01, "E01", 1.0 / HIGH_V_RATIO)
        found[f"{_E01}/_/MMTR1/SupWh"] = self.energy["E01"].drawn
        found |= dict.fromkeys((f"{_E01}/QA1/CILO1/EnaOpn", f"{_E01}/QA1/CILO1/EnaCls"), 1.0)
        for bay, name in ((_F06, "F06"), (_F07, "F07")):
            self._flow(found, bay, name)
            self._bay(found, bay, name)

    def _bay(self, found: dict[str, float], bay: str, name: str) -> None:
        """What only a bay with an IED tells: voltages, factor, energy, interlocking."""
        power, volts = self.state.flows[name].power, abs(self.state.voltage["bus"])
        ied = f"{bay}/IED1"
        found |= {f"{bay}/_/MMXU1/PhV/phs{phase}": volts * by for phase, by in _PHASES}
        found[f"{bay}/_/MMXU1/TotPF"] = power.real / abs(power) if power else 1.0
        found[f"{bay}/_/MMXU1/Hz"] = self._frequency if volts else 0.0
        energy = self.energy[name]
        found[f"{bay}/_/MMTR1/SupWh"], found[f"{bay}/_/MMTR1/DmdWh"] = energy.drawn, energy.given
        found[f"{ied}/PTOC1/Str"] = float(self.state.flows[name].current > PICKUP_A)
        main, isolator, earth = (
            self.positions[address]
            for address in (_breaker(f"{bay}/QA1"), _isolator(f"{bay}/QB1"), _isolator(f"{bay}/QC1"))
        )
        cable_dead = self.state.voltage["n06" if name == "F06" else "n09"] == 0
        released = {
            "QA1/CILO1/EnaOpn": True,
            "QA1/CILO1/EnaCls": isolator != 0 and earth == OPEN,
            "QB1/CILO1/EnaOpn": main == OPEN,
            "QB1/CILO1/EnaCls": main == OPEN and earth == OPEN,
            "QC1/CILO1/EnaOpn": True,
            "QC1/CILO1/EnaCls": main == OPEN and isolator == OPEN and cable_dead,
        }
        found |= {f"{bay}/{function}": float(yes) for function, yes in released.items()}

    def _flow(self, found: dict[str, float], bay: str, branch: str, scale: float = 1.0) -> None:
        flow = self.state.flows[branch]
        found[f"{bay}/_/MMXU1/TotW"], found[f"{bay}/_/MMXU1/TotVAr"] = flow.power.real, flow.power.imag
        found |= {f"{bay}/_/MMXU1/A/phs{phase}": flow.current * by * scale for phase, by in _PHASES}

    def _ring(self, found: dict[str, float], place: str, name: str) -> None:
        voltage, number = self.state.voltage, name[-3:]
        cables = {"0217": ("n06end", "n07"), "0218": ("n07end", "n08")}[name[-4:]]
        for bay, node in zip(("C01", "C02", "T01"), (*cables, f"t{number}"), strict=True):
            self._flow(found, f"{place}/{bay}", f"{name}/{bay}")
            volts = abs(voltage[node])
            found |= {f"{place}/{bay}/_/MMXU1/PhV/phs{phase}": volts * by for phase, by in _PHASES}
            found[f"{place}/{bay}/_/SVPI1/Prs"] = float(volts > 0.1 * NOMINAL_V)

    def _sum_meter(self, found: dict[str, float], area: str) -> None:
        volts = abs(self.state.voltage[f"lv{area[1:]}"]) * LOW_V_RATIO
        # Without voltage nothing flows, whatever the customers drew a moment ago.
        power = self.street_power(area) if volts else 0j
        current = abs(power) / 3.0 / volts if volts else 0.0
        meter = f"{PLACE}/TS{area}/LV1/_/M0"
        energy = self.energy[f"TS{area}"]
        # This meter is turned round: what goes into the street is supply.
        turned = Energy(energy.given, energy.drawn, energy.reactive_given, energy.reactive_drawn)
        _registers(found, meter, ([volts] * 3, [current] * 3), power, turned, self._frequency)

    def _meter(self, found: dict[str, float], meter: str, customer: Customer) -> None:
        # A meter sits in front of its disconnector: it has voltage while the street has.
        power = complex(customer.power, customer.reactive)
        _registers(found, meter, (customer.volts, customer.amperes), power, customer.energy, self._frequency)

    def _sensors(self, found: dict[str, float]) -> None:
        heat, air = self._heat, self._air
        found[f"{_E01}/TA1/STMP1/Tmp"] = heat["TA1"]
        found[f"{_E01}/TA1/SPTR1/HPTmpClc"] = heat["TA1"] + 0.4 * (heat["TA1"] - air)
        gas = _E01 + "/QA1/SIMG1/"
        # The density of enclosed gas stays; pressure follows temperature.
        found[gas + "Den"], found[gas + "Tmp"] = 41.2, air + 2.0
        found[gas + "Pres"] = 640_000.0 * (273.15 + air + 2.0) / 293.15
        for area in self.customers:
            bay = f"{PLACE}/TS{area}/MV1/T01"
            found[f"{bay}/TA1/STMP1/Tmp"] = heat[f"TS{area}"]
            low = self.street_power(area) if self.state.voltage[f"lv{area[1:]}"] else 0j
            found[f"{bay}/TA1/YPTR1/LodFact"] = abs(low) / _TRANSFORMER_VA * 100.0
            meter = f"{PLACE}/TS{area}/LV1/_/M0/MMXU1/A"
            found |= {f"{bay}/TA1/MMXU1/A/phs{phase}": found[f"{meter}/phs{phase}"] for phase in "ABC"}
            room = f"{PLACE}/RMU{area}/LV1/_/S1/MMET1/"
            found[room + "EnvTmp"], found[room + "EnvHum"] = air + 3.0, min(99.0, self._damp + 4.0)
        for line in ("L-N06", "L-N07"):
            found[f"{PLACE}/{line}/MV1/_/WB1/STMP1/Tmp"] = heat[line]
        outside = f"{PLACE}/PS01/LV1/_/S1/MMET1/"
        found[outside + "EnvTmp"], found[outside + "EnvHum"] = air, self._damp
        found[outside + "HorWdSpd"] = self._gust
        found[f"{PLACE}/PS01/LV1/_/BA1/ZBAT1/Vol"] = 110.4 + 0.05 * (self._gust - 3.5)


def _registers(  # noqa: PLR0917 - private, each argument another kind of value
    found: dict[str, float],
    meter: str,
    phases: tuple[list[float], list[float]],
    power: complex,
    energy: Energy,
    frequency: float,
) -> None:
    volts = phases[0]
    for phase, volt, ampere in zip("ABC", *phases, strict=True):
        found[f"{meter}/MMXU1/PhV/phs{phase}"] = volt
        found[f"{meter}/MMXU1/A/phs{phase}"] = ampere
    found[f"{meter}/MMXU1/TotW"] = power.real
    found[f"{meter}/MMXU1/TotPF"] = abs(math.cos(cmath.phase(power))) if power else 1.0
    found[f"{meter}/MMXU1/Hz"] = frequency if any(volts) else 0.0
    found[f"{meter}/MMTR1/DmdWh"], found[f"{meter}/MMTR1/SupWh"] = energy.drawn, energy.given
    # Reactive energy is published in kvarh: there is no smaller unit with a code.
    found[f"{meter}/MMTR1/DmdVArh"] = energy.reactive_drawn / 1000.0
    found[f"{meter}/MMTR1/SupVArh"] = energy.reactive_given / 1000.0


TAP = f"{_E01}/TA1-LTC1/YLTC1/TapPos"
"""Address of the tap position."""
DISCONNECTORS: Mapping[str, tuple[str, int]] = {
    f"{PLACE}/SP{area}{number:02}/LV1/_/M1/XSWI1/Pos": (area, number - 1)
    for area in ("0217", "0218")
    for number in range(1, 10)
}
"""Disconnectors in meters: address -> area and number of the customer."""
_LOADS = {"other": (3.4e6, 0.002), "factory": (1.5e6, 0.006)}
_FLOW_COUNTED = ("E01", "F06", "F07")
_COUNTED = {"E01": 9.1e9, "F06": 1.2e9, "F07": 2.9e9, "TS0217": 4.1e8, "TS0218": 4.4e8}
_HEAT_S = {"TA1": 300.0, "TS0217": 180.0, "TS0218": 180.0, "L-N06": 120.0, "L-N07": 120.0}
