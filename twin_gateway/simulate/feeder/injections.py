"""Injections: what can be done to the field from outside, by name, with checked arguments."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic import Field as Member

from twin_gateway.grid.model import CimClass, Position
from twin_gateway.simulate.feeder.circuit import FaultKind
from twin_gateway.simulate.feeder.field import Field
from twin_gateway.simulate.feeder.field_settings import FieldError
from twin_gateway.simulate.feeder.processes import Processes
from twin_gateway.simulate.feeder.wiring import WiringError


class InjectionError(ValueError):
    """An injection that makes no sense here; the message says why."""


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InjectFault(_Order):
    """A fault on a line (in its middle) or another piece of equipment."""

    do: Literal["fault"]
    line: str
    kind: FaultKind = FaultKind.THREE_PHASE
    temporary: bool = False


class ClearFault(_Order):
    """One fault taken away, or all."""

    do: Literal["clear"]
    line: str = ""


class MoveSwitch(_Order):
    """A switch worked by hand, at the place itself."""

    do: Literal["move"]
    switch: str
    position: Literal["open", "closed"]


class StickSwitch(_Order):
    """A switch that does not move: commands are confirmed (`still`) or refused (`refuse`); `free` ends it."""

    do: Literal["stick"]
    switch: str
    how: Literal["still", "refuse", "free"] = "still"


class LoseDevice(_Order):
    """A device off the network."""

    do: Literal["lose"]
    device: str


class RestoreDevice(_Order):
    """A device back on the network."""

    do: Literal["restore"]
    device: str


class SetClock(_Order):
    """A wrong clock: seconds it is ahead, and whether the device says that it is synchronised."""

    do: Literal["clock"]
    device: str
    offset: float
    synchronised: bool = True


class Lie(_Order):
    """A fault passage indicator that shows what is not so; `normal` ends it."""

    do: Literal["lie"]
    indicator: str
    shows: Literal["on", "off", "normal"]


class BypassMeter(_Order):
    """A share of the load that flows past a meter, 0 to 1."""

    do: Literal["bypass"]
    meter: str
    share: Annotated[float, Member(ge=0.0, le=1.0)]


class ForceValue(_Order):
    """A point that its device tells as given, whatever the field says; without a value it tells the truth again."""

    do: Literal["value"]
    address: str
    value: bool | float | str | None = None
    quality: str = ""


class SetIsland(_Order):
    """A generator that keeps its part of the grid alive when the source is lost."""

    do: Literal["island"]
    generator: str
    on: bool = True


class Reset(_Order):
    """Everything as at the start."""

    do: Literal["reset"]


class Status(_Order):
    """What has been injected and how the field stands."""

    do: Literal["status"]


Order = (
    InjectFault
    | ClearFault
    | MoveSwitch
    | StickSwitch
    | LoseDevice
    | RestoreDevice
    | SetClock
    | Lie
    | BypassMeter
    | ForceValue
    | SetIsland
    | Reset
    | Status
)
_ORDERS: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Member(discriminator="do")])


class Injector:
    """Carries injections out on a field and its simulators."""

    def __init__(self, field: Field, processes: Processes) -> None:
        self.field, self.processes = field, processes

    async def carry_out(self, raw: object) -> dict[str, Any]:
        """Do what an order says; members of the answer.

        Raises:
            InjectionError: the order is malformed or makes no sense here.
        """
        try:
            order = _ORDERS.validate_python(raw)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise InjectionError(problems) from error
        self.field.advance(time.time())
        try:
            return await self._do(order)
        except (FieldError, WiringError) as error:
            raise InjectionError(str(error)) from error

    async def _do(self, order: Order) -> dict[str, Any]:
        field, processes = self.field, self.processes
        match order:
            case InjectFault(line=line, kind=kind, temporary=temporary):
                equipment = self._equipment(line)
                field.inject(equipment, kind, temporary=temporary)
                return {"equipment": equipment}
            case ClearFault(line=line):
                return {"cleared": field.clear(self._equipment(line) if line else "")}
            case MoveSwitch(switch=switch, position=position):
                name = _one(switch, field.positions, "switch")
                field.switch(name, Position.OPEN if position == "open" else Position.CLOSED)
                return {"switch": name}
            case StickSwitch(switch=switch, how=how):
                return self._stick(_one(switch, field.positions, "switch"), how)
            case LoseDevice(device=device):
                await processes.silence(device, silent=True)
            case RestoreDevice(device=device):
                await processes.silence(device, silent=False)
            case SetClock(device=device, offset=offset, synchronised=synchronised):
                self._clock(device, offset, synchronised)
            case Lie(indicator=indicator, shows=shows):
                name = _one(indicator, field.indicators, "indicator")
                if shows == "normal":
                    field.lies.pop(name, None)
                else:
                    field.lies[name] = shows == "on"
                return {"indicator": name}
            case BypassMeter(meter=meter, share=share):
                name = _one(meter, field.meters, "meter")
                field.meter(name).bypass = share
                return {"meter": name}
            case ForceValue(address=address, value=value, quality=quality):
                name = _one(address, processes.wiring.wires, "point")
                if value is None and not quality:
                    processes.release(name)
                else:
                    processes.force(name, self._present(name) if value is None else value, quality)
                return {"address": name}
            case SetIsland(generator=generator, on=on):
                field.set_island(_one(generator, field.grid.equipment, "equipment"), on)
            case Reset():
                await self._reset()
            case Status():
                return self._status()
        return {}

    def _present(self, address: str) -> float | int | bool:
        shown = self.processes.shown(address)
        if shown is None:
            raise InjectionError(f"say the value of {address} too: it stands in its device's own file")
        return shown

    def _equipment(self, text: str) -> str:
        """A line by its address or its site, or any other equipment by its address."""
        equipment = self.field.grid.equipment
        lines = [item.address for item in self.field.grid.of(CimClass.LINE)]
        of_site = [name for name in lines if name.split("/")[2] == text or name.startswith(f"{text}/")]
        return of_site[0] if len(of_site) == 1 else _one(text, equipment, "equipment")

    def _stick(self, switch: str, how: str) -> dict[str, Any]:
        (self.field.stuck.discard if how == "free" else self.field.stuck.add)(switch)
        rating = self.field.grid.equipment[switch].data
        command = str(getattr(rating, "command", ""))
        wire = self.processes.wiring.wires.get(command)
        if wire is not None:
            names = {"iec104": ("stuck", "refuse"), "iec61850": ("jammed", "interlocked")}.get(wire.protocol, ())
            for name, wanted in zip(names, (how == "still", how == "refuse"), strict=False):
                self.processes.trouble(wire.device, f"{name} {switch}", {**wire.order, name: wanted})
        return {"switch": switch}

    def _clock(self, device: str, offset: float, synchronised: bool) -> None:
        processes, protocol = self.processes, self.processes.protocol_of(device)
        match protocol:
            case "iec104":
                for common in processes.stations_of(device):
                    processes.trouble(device, f"clock {common}", {"common_address": common, "clock": offset})
            case "iec61850":
                processes.trouble(device, "clock", {"clock": offset, "synchronised": synchronised})
            case "dlms":
                processes.trouble(device, "clock", {"meter": device, "clock": offset})
            case _:
                processes.trouble(device, "clock", {"device": device, "clock": offset})

    async def _reset(self) -> None:
        processes = self.processes
        for address in list(processes.forced):
            processes.release(address)
        for device in list(processes.silent):
            await processes.silence(device, silent=False)
        for switch in list(self.field.stuck):
            self._stick(switch, "free")
        processes.forget_troubles()
        self.field.reset()

    def _status(self) -> dict[str, Any]:
        field = self.field
        return {
            "faults": {name: str(fault.kind) for name, fault in field.faults.items()},
            "energised": sorted(field.state.energised),
            "stuck": sorted(field.stuck),
            "silent": sorted(self.processes.silent),
            "lies": dict(field.lies),
            "forced": sorted(self.processes.forced),
            "bypassed": {name: meter.bypass for name, meter in field.meters.items() if meter.bypass},
            "indicators": sorted(name for name in field.indicators if field.shows(name)),
            "reclosing": {name: int(one.reclosing) for name, one in field.protections.items()},
            "open": sorted(name for name, position in field.positions.items() if position != 2),
        }


def _one(text: str, known: Iterable[str], what: str) -> str:
    """The one known address that a text means: whole, or its end.

    Raises:
        InjectionError: none or several.
    """
    names = list(known)
    if text in names:
        return text
    found = [name for name in names if name.endswith(f"/{text}") or f"/{text}/" in name]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InjectionError(f"there is no {what} {text}")
    raise InjectionError(f"{text} may be {', '.join(found[:4])}{' …' if len(found) > 4 else ''}")
