"""A grid model as an OpenDSS circuit: the independent engine that power flows by phase are compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import opendssdirect

from twin_gateway.grid.arrays import nominal_power, phase_numbers
from twin_gateway.grid.model import CimClass, Equipment, Grid, LineData, LoadData, Position, ShuntData, TransformerData
from twin_gateway.grid.pgm import source_impedance, winding_letters

_MODEL = {"power": 1, "impedance": 2, "current": 5}


class DssCircuit:
    """An OpenDSS circuit of a grid in one switching state.

    Loads keep their model between 0.5 and 1.5 of the nominal voltage: the engine's own default turns those above 1.05
    into constant impedances.
    """

    def __init__(self, grid: Grid, positions: Mapping[str, Position] | None = None, *, tolerance: float = 1e-9) -> None:
        self.grid = grid
        self.bus = {address: f"n{index}" for index, address in enumerate(grid.nodes)}
        self._names: dict[str, str] = {}
        self._run("clear")
        sources = list(grid.of(CimClass.SOURCE))
        for index, item in enumerate(sources):
            self._source(item, first=index == 0)
        for index, item in enumerate(grid.equipment.values()):
            self._names[item.address] = f"e{index}"
        places = {**grid.normal_positions(), **(positions or {})}
        for item in grid.equipment.values():
            if item.cim_class == CimClass.LINE:
                self._line(item)
            elif item.cim_class == CimClass.TRANSFORMER:
                self._transformer(item)
            elif item.cim_class in (CimClass.LOAD, CimClass.SHUNT, CimClass.GENERATOR):
                self._injection(item)
            elif item.is_switch and len(item.nodes) == 2 and places[item.address] == Position.CLOSED:
                self._switch(item)
        levels = " ".join(str(v / 1e3) for v in sorted({n.nominal for n in grid.nodes.values()}, reverse=True))
        self._run(f"set voltagebases=[{levels}]")
        self._run("calcvoltagebases")
        self._run(f"set mode=snap tolerance={tolerance} maxiterations=100 controlmode=off")

    def solve(self) -> bool:
        """Solve; whether it converged."""
        opendssdirect.Solution.Solve()
        return bool(opendssdirect.Solution.Converged())

    def supplied(self) -> complex:
        """W + j var that the sources deliver."""
        p, q = opendssdirect.Circuit.TotalPower()
        return -1e3 * complex(p, q)

    def losses(self) -> complex:
        """W + j var of lines and transformers."""
        p, q = opendssdirect.Circuit.Losses()
        return complex(p, q)

    def voltage(self, address: str) -> np.ndarray:
        """V from phase to earth at a node, complex, shape (3,); NaN for phases that are not there."""
        result = np.full(3, np.nan, complex)
        if opendssdirect.Circuit.SetActiveBus(self.bus[address]) < 0:
            return result
        values = np.array(opendssdirect.Bus.Voltages()).reshape(-1, 2)
        for phase, (re, im) in zip(opendssdirect.Bus.Nodes(), values, strict=True):
            if phase <= 3:
                result[phase - 1] = complex(re, im)
        return result

    def load(self, address: str, power: complex) -> None:
        """Change the power of a load, W + j var."""
        self._run(f"edit load.{self._names[address]} kw={power.real / 1e3} kvar={power.imag / 1e3}")

    def _run(self, command: str) -> None:
        opendssdirect.Text.Command(command)

    def _at(self, item: Equipment, terminal: int = 0, phases: list[int] | None = None) -> str:
        numbers = phase_numbers(item.phases) if phases is None else phases
        return self.bus[item.nodes[terminal]] + "".join(f".{number + 1}" for number in numbers)

    def _source(self, item: Equipment, *, first: bool) -> None:
        nominal = self.grid.nodes[item.nodes[0]].nominal
        positive, zero = source_impedance(item, nominal)
        positive, zero = positive or 1e-7j, zero or 1e-7j
        head = "new circuit.grid" if first else f"new vsource.{self.bus[item.nodes[0]]}"
        data = item.data
        self._run(
            f"{head} bus1={self.bus[item.nodes[0]]} basekv={nominal / 1e3} pu={data.voltage} angle={data.angle} "
            f"z1=[{positive.real} {positive.imag}] z0=[{zero.real} {zero.imag}]"
        )

    def _line(self, item: Equipment) -> None:
        data = item.data
        assert isinstance(data, LineData)
        ends = f"bus1={self._at(item)} bus2={self._at(item, 1)} phases={len(phase_numbers(item.phases))} length=1"
        head = f"new line.{self._names[item.address]} {ends} units=none"
        farad = 1e9 / (2 * np.pi * 60)  # nF at the engine's 60 Hz
        count = len(phase_numbers(item.phases))
        if data.phase_impedance or count < 3:
            z = np.array(data.phase_impedance or [complex(data.r, data.x)], complex).reshape(count, count)
            c = np.array(data.phase_susceptance or np.diag([data.b] * count).ravel()).reshape(count, count) * farad
            self._run(f"{head} rmatrix={_matrix(z.real)} xmatrix={_matrix(z.imag)} cmatrix={_matrix(c)}")
        else:
            r0, x0 = (data.r, data.x) if data.r0 is None else (data.r0, data.x0)
            c1 = data.b * farad
            self._run(f"{head} r1={data.r} x1={data.x} r0={r0} x0={x0} c1={c1} c0={c1}")

    def _switch(self, item: Equipment) -> None:
        ends = f"bus1={self._at(item)} bus2={self._at(item, 1)} phases={len(phase_numbers(item.phases))}"
        name = self._names[item.address]
        self._run(f"new line.{name} {ends} r1=1e-7 x1=0 r0=1e-7 x0=0 c1=0 c0=0 length=1 units=none")

    def _transformer(self, item: Equipment) -> None:
        data, name = item.data, self._names[item.address]
        assert isinstance(data, TransformerData)
        first, second = winding_letters(data.connection)
        ohmic = 100 * data.pk / data.s
        leakage = 100 * np.sqrt(data.uk**2 - (data.pk / data.s) ** 2)
        no_load = 100 * data.p0 / data.s
        exciting = 100 * np.sqrt(max(max(data.i0, data.p0 / data.s) ** 2 - (data.p0 / data.s) ** 2, 0.0))
        common = f"xhl={leakage} %rs=[{ohmic / 2} {ohmic / 2}] %noloadloss={no_load} %imag={exciting}"
        if len(phase_numbers(item.phases)) == 3 and not data.phase_taps:
            kinds = " ".join("delta" if letters == "D" else "wye" for letters in (first, second))
            lead = "lead" if first[0] != second[0] and data.clock == 11 else "lag"
            # An impedance to earth needs a neutral that is not at earth already.
            star = self.bus[item.nodes[1]] + (".1.2.3.4" if data.grounding else "")
            self._run(
                f"new transformer.{name} phases=3 windings=2 buses=[{self.bus[item.nodes[0]]} {star}] "
                f"conns=[{kinds}] kvs=[{data.u1 / 1e3} {data.u2 / 1e3}] kvas=[{data.s / 1e3} {data.s / 1e3}] "
                f"taps=[{data.tap} 1] leadlag={lead} {common}"
            )
            if data.grounding:
                earth = f"wdg=2 rneut={data.grounding.real} xneut={data.grounding.imag}"
                self._run(f"edit transformer.{name} {earth}")
            return
        taps = data.phase_taps or (data.tap,) * len(phase_numbers(item.phases))
        for phase, tap in zip(phase_numbers(item.phases), taps, strict=True):
            ends = f"{self._at(item, 0, [phase])} {self._at(item, 1, [phase])}"
            volts = f"{data.u1 / 1e3 / np.sqrt(3)} {data.u2 / 1e3 / np.sqrt(3)}"
            kva = f"{data.s / 3e3} {data.s / 3e3}"
            self._run(
                f"new transformer.{name}_{phase} phases=1 windings=2 buses=[{ends}] conns=[wye wye] kvs=[{volts}] "
                f"kvas=[{kva}] mintap=0.5 taps=[{tap} 1] {common}"
            )

    def _injection(self, item: Equipment) -> None:
        data, name = item.data, self._names[item.address]
        nominal = self.grid.nodes[item.nodes[0]].nominal / 1e3
        delta = isinstance(data, LoadData | ShuntData) and data.delta
        model = _MODEL[data.model] if isinstance(data, LoadData) else 1
        power = nominal_power(item)
        parts = [place for place in range(3) if power[place]]
        if len(parts) == 3 and np.allclose(power, power[0]):
            groups = [("", self.bus[item.nodes[0]], 3, power.sum(), nominal)]
        else:
            groups = []
            for place in parts:
                phases = [place, (place + 1) % 3] if delta else [place]
                volts = nominal if delta else nominal / np.sqrt(3)
                tail = "" if len(parts) == 1 else f"_{place}"
                groups.append((tail, self._at(item, 0, phases), 1, power[place], volts))
        for tail, bus, phases, drawn, volts in groups:
            place = f"bus1={bus} phases={phases} kv={volts} conn={'delta' if delta else 'wye'}"
            if isinstance(data, ShuntData):
                self._run(f"new capacitor.{name}{tail} {place} kvar={-drawn.imag / 1e3}")
            else:
                self._run(
                    f"new load.{name}{tail} {place} kw={drawn.real / 1e3} kvar={drawn.imag / 1e3} model={model} "
                    "vminpu=0.5 vmaxpu=1.5"
                )


def _matrix(values: np.ndarray) -> str:
    return "[" + "|".join(" ".join(repr(float(v)) for v in row[: index + 1]) for index, row in enumerate(values)) + "]"
