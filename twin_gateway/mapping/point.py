"""One point as the mapping files say it: an address, what it is, and where its device has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from address_space.point import Point, PointProfile
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.mapping.alarm_rule import AlarmRule

Role = Literal["read", "command", "backup", "verify"]


@dataclass(slots=True)
class MappedPoint:
    """One binding of one address to one device.

    Attributes:
        address: canonical text of the technological address.
        profile: what the point table keeps; gain and bias hold scale, offset and unit conversion.
        fields: validated protocol fields.
        control: validated control fields; None when this binding does not command.
        source: the protocol point inside the device, as `ProtocolSpec.source` packs it.
        quantity: physical quantity of an analog point; None where the catalogue does not know.
        unit: symbol of the unit that the device delivers after scale; None when the driver knows it by itself.
        role: `read` for the binding that gives the value, also when it commands; the others as in the format.
        rank: 0 for the best source, 1 for the first backup, …
        share: the same protocol point may feed other addresses too.
        names: (LocaleId, readable name); an empty LocaleId for a name without a language.
        aliases: alias texts given in the file (protocol aliases come by themselves).
        group: bindings of one address from one list have the same number; 0 for a point with a single binding.
        file, line, col: where the point is written; for a point of a template, where the template is used.
        alarm: its alarm rule; None for none.
    """

    address: str
    profile: PointProfile
    fields: dict[str, Any]
    control: dict[str, Any] | None
    source: int | str
    quantity: str | None
    unit: str | None
    role: Role
    rank: int
    share: bool
    names: tuple[tuple[str, str], ...]
    aliases: tuple[str, ...]
    file: str
    line: int
    col: int
    group: int = 0
    alarm: AlarmRule | None = None

    def point(self, device: str) -> Point:
        """The point as the point table takes it."""
        if not self.names:
            return Point(self.address, self.profile, device, self.source, "", self.aliases)
        further = tuple((locale, name) for locale, name in self.names if locale)
        return Point(self.address, self.profile, device, self.source, self.display_name, self.aliases, further)

    @property
    def display_name(self) -> str:
        """The name for those who ask for no language: the plain one, else the English, else the first; may be empty."""
        names = dict(self.names)
        return names.get("") or names.get("en") or next(iter(names.values()), "")

    def bound(self, row: int) -> BoundPoint:
        """The point as the driver takes it, once it has a row in the table."""
        profile = self.profile
        return BoundPoint(
            row,
            self.address,
            profile.cdc,
            profile.value_type,
            self.fields,
            self.control,
            self.quantity,
            self.unit,
            profile.stale_after or None,
        )
