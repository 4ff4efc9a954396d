"""What a command is about: the control binding of a data object and the points its gates look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from address_space.address import Address, parse
from address_space.point import PointProfile
from address_space.ports import Outcome
from address_space.table import PointTable
from twin_gateway.drivers.contract import BoundPoint, DeviceCommand

SBO_MODELS = frozenset({"sbo-normal", "sbo-enhanced"})
_BREAKING_CLASSES = frozenset({"XCBR"})


class CommandLink(Protocol):
    """What the desk needs of a link: pass a command on."""

    @property
    def name(self) -> str:
        """Name of the link."""
        ...

    async def execute(self, command: DeviceCommand) -> Outcome:
        """The device's own answer."""
        ...


@dataclass(frozen=True, slots=True)
class ControlTarget:
    """One commanded data object.

    Attributes:
        point: the binding with `control`.
        link: where the command goes.
        profile: scale and inversion of the command's own binding; it may be another device than the value's.
        absent: gates whose points the mapping says do not exist (`Loc`, `CILO`, `Pos`).
        local: rows that say local control is taken (Loc, LocKey).
        station: rows that say the control authority is with the station (LocSta), where some device delivers them.
        release_open, release_close: rows of CILO.EnaOpn and CILO.EnaCls.
        mode: rows of Beh.
        position: row whose value follows the command; -1 where there is none.
        breaks_load: an opening command is an emergency means (a breaker stands at this equipment).
    """

    address: Address
    point: BoundPoint
    link: CommandLink
    profile: PointProfile
    absent: frozenset[str] = frozenset()
    local: tuple[int, ...] = ()
    station: tuple[int, ...] = ()
    release_open: tuple[int, ...] = ()
    release_close: tuple[int, ...] = ()
    mode: tuple[int, ...] = ()
    position: int = -1
    breaks_load: bool = False
    control: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """Control model, `direct-normal` where the mapping does not say."""
        return str(self.control.get("model", "direct-normal"))

    @property
    def needs_selection(self) -> bool:
        """Whether a selection must stand before operate."""
        return self.model in SBO_MODELS

    @property
    def takes_selection(self) -> bool:
        """Whether a selection makes sense; where the model is the device's own (`device`), the device decides."""
        return self.needs_selection or self.model == "device"

    @property
    def bay(self) -> str:
        """The first five place levels: one command at a time within them."""
        return "/".join(self.address.place[:5])


def build_target(
    table: PointTable, point: BoundPoint, link: CommandLink, profile: PointProfile | None = None
) -> ControlTarget:
    """Find the points that the gates of a data object look at, in its own function, equipment, bay and IED.

    Without a profile of the command's own binding, that of the value counts.
    """
    address = parse(point.address)
    control = dict(point.control or {})
    return ControlTarget(
        address,
        point,
        link,
        profile or table.profile(point.row),
        frozenset(control.get("absent", ())),
        _local_points(table, address, ("Loc", "LocKey")),
        tuple(row for row in _local_points(table, address, ("LocSta",)) if table.binding(row)[0]),
        _points(table, address, "CILO", "EnaOpn"),
        _points(table, address, "CILO", "EnaCls"),
        _mode_points(table, address),
        table.find(point.address),
        any(True for _ in _functions(table, address, _BREAKING_CLASSES)),
        control,
    )


def _equipment(address: Address) -> str:
    return "/".join(address.place)


def _functions(table: PointTable, address: Address, classes: frozenset[str]) -> list[str]:
    """Function addresses of some classes at the same equipment."""
    node = table.tree.find(_equipment(address))
    if node < 0:
        return []
    found = []
    for child in table.tree.children(node):
        text = table.tree.address(child)
        if int(table.tree.level[child]) == 7:
            function = parse(text).function
            if function is not None and function.ln_class in classes:
                found.append(text)
    return found


def _points(table: PointTable, address: Address, ln_class: str, data_object: str) -> tuple[int, ...]:
    """A data object of a class at the same equipment; of several functions the one with the instance of our own."""
    functions = _functions(table, address, frozenset({ln_class}))
    own = address.function
    same = [text for text in functions if own is not None and text.endswith(f"{ln_class}{own.instance}")]
    return _existing(table, [f"{function}/{data_object}" for function in same or functions])


def _existing(table: PointTable, texts: list[str]) -> tuple[int, ...]:
    return tuple(row for row in (table.find(text) for text in texts) if row >= 0)


def _ied_functions(table: PointTable, address: Address) -> list[str]:
    """LLN0 of the bay and of the IEDs that stand in it."""
    bay = table.tree.find("/".join(address.place[:5]))
    if bay < 0:
        return []
    found = []
    for child in table.tree.children(bay):
        name = table.tree.name(child)
        text = table.tree.address(child)
        if name == "LLN0":
            found.append(text)
        elif name.startswith(("IED", "RTU")):
            found.append(f"{text}/LLN0")
    return found


def _local_points(table: PointTable, address: Address, names: tuple[str, ...]) -> tuple[int, ...]:
    functions = _functions(table, address, frozenset({"CSWI", "XCBR", "XSWI"})) + _ied_functions(table, address)
    return _existing(table, [f"{function}/{name}" for function in functions for name in names])


def _mode_points(table: PointTable, address: Address) -> tuple[int, ...]:
    own = "/".join(address.text.split("/")[:7])
    return _existing(table, [f"{own}/Beh", *(f"{function}/Beh" for function in _ied_functions(table, address))])
