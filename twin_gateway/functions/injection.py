"""Injections by OPC UA: faults and other troubles for a simulated field. Only where the configuration names a field."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from address_space import clock
from address_space.ports import Argument, AuditRecord, Caller, MethodResult, MethodSpec, Right
from address_space.quality import StatusCode
from twin_gateway.functions.contract import TwinContext
from twin_gateway.injecting import InjectingError, inject

_BOOLEAN, _DOUBLE, _STRING = 1, 11, 12
_OUTPUTS = (Argument("text", _STRING, "what was done, or why not"),)


class InjectionSettings(BaseModel):
    """Where the simulated field takes injections.

    Attributes:
        host: of the field; simulations stay on this machine.
        control: port of the field's control port; 0: there is no simulated field, and no method is offered.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", pattern=r"^(127\.0\.0\.1|localhost)$")
    control: int = Field(default=0, ge=0, le=65_535)


@dataclass(frozen=True, slots=True)
class _Method:
    """One method: its arguments, and how they become an order."""

    name: str
    inputs: tuple[Argument, ...]
    order: Callable[..., dict[str, Any]]
    description: str


def _text(name: str, description: str) -> Argument:
    return Argument(name, _STRING, description)


_LINE = _text("line", "a line, as L08, or the address of other medium-voltage equipment")
_SWITCH = _text("switch", "address of a switch, or its end: RMU06/MV1/C05/QB1")
_DEVICE = _text("device", "name of the device in the mapping")
_ADDRESS = _text("address", "address of a data point")


def _force(address: str, value: float, quality: str) -> dict[str, Any]:
    return {"do": "value", "address": address, "value": value, "quality": quality}


_METHODS: Mapping[str, _Method] = {
    method.name: method
    for method in (
        _Method(
            "InjectFault",
            (
                _LINE,
                _text("kind", "three-phase, phase-phase or phase-earth; empty for three-phase"),
                Argument("temporary", _BOOLEAN, "it goes away once it has no voltage"),
            ),
            lambda line, kind, temporary: {
                "do": "fault",
                "line": line,
                "kind": kind or "three-phase",
                "temporary": temporary,
            },
            "A fault in the simulated field; protection, recloser and indicators do the rest.",
        ),
        _Method(
            "ClearFault",
            (_text("line", "one fault; empty for all"),),
            lambda line: {"do": "clear", "line": line},
            "Repairs a fault of the simulated field.",
        ),
        _Method(
            "MoveSwitch",
            (_SWITCH, Argument("closed", _BOOLEAN, "its new position")),
            lambda switch, closed: {"do": "move", "switch": switch, "position": "closed" if closed else "open"},
            "Works a switch of the simulated field by hand.",
        ),
        _Method(
            "StickSwitch",
            (_SWITCH, _text("how", "still (confirms commands), refuse, or free")),
            lambda switch, how: {"do": "stick", "switch": switch, "how": how or "still"},
            "Lets a switch of the simulated field not move.",
        ),
        _Method(
            "LoseLink",
            (_DEVICE,),
            lambda device: {"do": "lose", "device": device},
            "Takes a simulated device off the network.",
        ),
        _Method(
            "RestoreLink",
            (_DEVICE,),
            lambda device: {"do": "restore", "device": device},
            "Brings a simulated device back on the network.",
        ),
        _Method(
            "SetClockOffset",
            (
                _DEVICE,
                Argument("offset", _DOUBLE, "seconds that its clock is ahead"),
                Argument("synchronised", _BOOLEAN, "whether it says that it is synchronised"),
            ),
            lambda device, offset, synchronised: {
                "do": "clock",
                "device": device,
                "offset": offset,
                "synchronised": synchronised,
            },
            "Sets the clock of a simulated device wrong.",
        ),
        _Method(
            "LieIndicator",
            (_text("indicator", "fault passage indicator, or its bay"), _text("shows", "on, off or normal")),
            lambda indicator, shows: {"do": "lie", "indicator": indicator, "shows": shows},
            "Lets a fault passage indicator of the simulated field lie.",
        ),
        _Method(
            "BypassMeter",
            (_text("meter", "address of a meter, or its site"), Argument("share", _DOUBLE, "0 to 1")),
            lambda meter, share: {"do": "bypass", "meter": meter, "share": share},
            "Lets a share of the load flow past a simulated meter.",
        ),
        _Method(
            "ForceValue",
            (
                _ADDRESS,
                Argument("value", _DOUBLE, "number in published units; states are 0 and 1"),
                _text("quality", "good, invalid, questionable, old, …; empty for good"),
            ),
            _force,
            "Lets a simulated device tell a value whatever the field says.",
        ),
        _Method(
            "ReleaseValue",
            (_ADDRESS,),
            lambda address: {"do": "value", "address": address},
            "Lets a forced point tell the truth again.",
        ),
        _Method(
            "SetIsland",
            (_text("generator", "address of a generator"), Argument("on", _BOOLEAN, "keeps its part alive")),
            lambda generator, on: {"do": "island", "generator": generator, "on": on},
            "Lets a generator of the simulated field keep its part alive when the source is lost.",
        ),
        _Method(
            "ResetSimulation",
            (),
            lambda: {"do": "reset"},
            "The simulated field as at its start.",
        ),
    )
}


class Injection:
    """The methods on the area object; nothing without a control port."""

    name = "injection"

    def __init__(self, context: TwinContext, settings: InjectionSettings) -> None:
        self._context, self._settings = context, settings

    def specs(self) -> Sequence[MethodSpec]:
        """The methods, where a field is named."""
        if not self._settings.control:
            return ()
        owner = self._context.place
        return [
            MethodSpec(owner, method.name, method.inputs, _OUTPUTS, Right.OPERATE, method.description)
            for method in _METHODS.values()
        ]

    async def call(self, owner: str, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        """Hand an injection to the field; audited before it takes effect."""
        method = _METHODS.get(name)
        if method is None:
            return MethodResult(StatusCode.BadMethodInvalid, ("",), f"there is no injection {name}")
        # A client may leave a text out; the field then says what it misses.
        order = method.order(*("" if argument is None else argument for argument in arguments))
        record = AuditRecord(
            clock.now(), "simulation.injected", caller.user, caller.client, owner, text=name, details=order
        )
        await self._context.audit.append(record)
        try:
            answer = await inject(order, host=self._settings.host, port=self._settings.control)
        except InjectingError as error:
            return MethodResult(StatusCode.BadInvalidArgument, (str(error),), str(error))
        return MethodResult(StatusCode.Good, (" ".join(map(str, answer.values())) or "done",))

    async def run(self) -> None:
        """Nothing to compute."""
        await asyncio.Event().wait()


def make_injection(context: TwinContext, settings: InjectionSettings) -> Injection:
    """The injections of a gateway on a simulated field."""
    return Injection(context, settings)
