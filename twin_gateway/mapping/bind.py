"""From one point line to a mapped point: fields checked, unit and deadband worked out, CDC against protocol type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from address_space import units
from address_space.catalogue import PointClass, VariableKind
from address_space.point import PointProfile
from twin_gateway.mapping.alarm_rule import ALARM_FIELDS, AlarmRule, RuleError, make_rule
from twin_gateway.mapping.field_error import FieldError, kind_of
from twin_gateway.mapping.fields import COMMON, Check, NotTextError, point_table
from twin_gateway.mapping.lines import Line
from twin_gateway.mapping.model import Former, MappedDevice
from twin_gateway.mapping.place import PlaceError, Places
from twin_gateway.mapping.point import MappedPoint, Role
from twin_gateway.mapping.problem import did_you_mean, nearest
from twin_gateway.mapping.read import BROKEN, Source

_TWO_WAY = frozenset(("SPS", "SPC", "DPS", "DPC", "ACT", "ACD", "SPG"))
_FEW: Final = 8
_NOTHING: dict[str, Any] = {}
_SCALARS = frozenset((str, int, float, bool))
SHARED: Final = frozenset(("unit", "scale", "offset", "deadband", "stale_after", "invert", "display_unit"))
"""Fields that make the profile: few different combinations, so each is checked once."""

Extra = tuple[tuple[str, Any, type], ...]
Shared = tuple[PointProfile, str | None]


class Binder:
    """Turns the raw points of one device into mapped points and reports what is wrong with them.

    With `sound` False the device section itself is wrong: its points are checked as far as that goes, none comes out.
    """

    def __init__(
        self, device: MappedDevice, places: Places, profiles: dict[Any, Shared], *, sound: bool = True
    ) -> None:
        self.sound = sound
        self.device = device
        self.spec = device.spec
        self.table = point_table(device.spec)
        self.places = places
        self.profiles = profiles
        self.former: list[Former] = []
        self._required = self.table.required
        self._meant: set[str | None] = set()
        self._checks = self.table.protocol
        self._cdcs, self._check, self._source = device.spec.cdcs, device.spec.check, device.spec.source

    def bind(self, levels: tuple[str, ...], line: Line, role: Role = "read", rank: int = 0) -> MappedPoint | None:
        """The mapped point of a line, None when something is wrong with it (and reported)."""
        try:
            address, tail, point_class = self.places.complete(levels, line.key)
        except PlaceError as error:
            self._report(line, (line.source, line.at), error.code, str(error), error.hint)
            self._fields(line)
            return None
        own, extra, rest, good = self._fields(line)
        control = rest.get("control")
        cdc = point_class.cdc
        if control is not None and not cdc.controllable:
            hint = "commands go to the control function, as in CSWI1/Pos" if cdc.name == "DPS" else ""
            what = f"{tail} is {_a(cdc.name)}: it cannot be commanded"
            self._report(line, line.locate_key("control"), "TG508", what, hint)
            good = False
        key = (id(point_class), control is not None, extra)
        shared = self.profiles.get(key)
        if shared is None:
            shared = self._profile(line, point_class, tail, extra, controllable=control is not None)
            if shared is not None:
                self.profiles[key] = shared
        if shared is None or not good:
            return None
        cdcs = self._cdcs(own)
        if cdcs is not None and cdc.name not in cdcs:
            name = "type" if "type" in own else next(iter(own), "")
            what = f"{own.get('type', own.get(name, name))} cannot give {_a(cdc.name)}, which {tail} is"
            hint = f"it gives {', '.join(sorted(cdcs))}" if len(cdcs) <= _FEW else ""
            self._report(line, line.locate(name), "TG501", what, hint)
            return None
        if not self.sound:
            return None
        config = self.device.config
        faults = self._check(config, own if control is None else {**own, "control": control})
        if faults:
            for name, message in faults:
                self._report(line, line.locate(name), "TG207", message)
            return None
        row, col = line.source.where(line.at)
        profile, unit = shared
        alarm = None
        if "alarm" in rest:
            alarm = self._rule(line, rest["alarm"], profile, tail)
            if alarm is None:
                return None
        aliases = rest.get("aliases", ())
        if "was" in rest:
            source, at = line.locate("was")
            place = source.name, *source.where(at)
            self.former += [Former(item.address, address, item.until, *place) for item in rest["was"]]
            aliases = (*aliases, *(f"was:{item.address}" for item in rest["was"] if not item.over))
        return MappedPoint(
            address,
            profile,
            own,
            control,
            self._source(config, own),
            point_class.quantity,
            unit,
            role,
            rank,
            rest.get("share", False),
            rest.get("display_name", ()),
            aliases,
            line.source.name,
            row,
            col,
            alarm=alarm,
        )

    def _fields(self, line: Line) -> tuple[dict[str, Any], Extra, dict[str, Any], bool]:
        """Protocol fields checked; common fields that many points share, unchecked; other fields checked; all well?"""
        own: dict[str, Any] = {}
        extra: Extra = ()
        rest = _NOTHING
        self._meant.clear()
        good = True
        checks = self._checks
        fields = line.fields
        for name, value in fields.items():
            check = checks.get(name)
            if value is None or value is BROKEN:
                good = good and value is None
            elif check is not None:
                try:
                    own[name] = check(value)
                except FieldError as error:
                    fixed = self._again(line, name, value, error, check)
                    if fixed is BROKEN:
                        good = False
                    else:
                        own[name] = fixed
            elif name in SHARED and value.__class__ in _SCALARS:
                extra = (*extra, (name, value, value.__class__))
            else:
                if rest is _NOTHING:
                    rest = {}
                good = self._rest(line, name, value, rest) and good
        for name in self._required:
            if name not in own and fields.get(name) is None:
                good = False
                if name in self._meant:
                    continue
                self._report(line, (line.source, line.at), "TG202", f"'{name}' is missing")
        return own, extra, rest, good

    def _rest(self, line: Line, name: str, value: Any, rest: dict[str, Any]) -> bool:
        """One of the rarer fields; False when it is wrong."""
        if name in ("control", "alarm"):
            inner = self._control(line, value) if name == "control" else self._alarm(line, value)
            if inner is not None:
                rest[name] = inner
            return inner is not None
        check = COMMON.get(name)
        if check is None:
            what = f"no field '{name}' for {self.spec.name} points"
            self._report(line, line.locate_key(name), "TG201", what, did_you_mean(name, self.table.known))
            self._meant.add(nearest(name, self.table.known))
            return False
        try:
            rest[name] = check(value)
        except FieldError as error:
            fixed = self._again(line, name, value, error, check)
            if fixed is BROKEN:
                return False
            rest[name] = fixed
        return True

    def _again(self, line: Line, name: str, value: Any, error: FieldError, check: Check, *, inside: str = "") -> Any:
        """Report a field that is wrong; for a number where text is wanted take what is written instead."""
        source, at = line.locate(name, inside)
        if isinstance(error, NotTextError) and not isinstance(value, bool):
            try:
                return check(source.plain_text(at, value))
            except FieldError as second:
                error = second
        self._report(
            line, (source, at), error.code, f"{name}.{inside}: {error}" if inside else f"{name}: {error}", error.hint
        )
        return BROKEN

    def _control(self, line: Line, value: Any) -> dict[str, Any] | None:
        """The control fields from the short form (a model) or the mapping form."""
        checks = self.table.control
        if not self.spec.control_models:
            what = f"{self.spec.name} points cannot be commanded"
            self._report(line, line.locate_key("control"), "TG508", what)
            return None
        if type(value) is str:
            given: dict[str, Any] = {"model": value}
        elif isinstance(value, dict):
            given = value
        else:
            what = f"control: a model or a mapping expected, not {kind_of(value)}"
            self._report(line, line.locate("control"), "TG203", what)
            return None
        out = self._members(line, "control", given, checks, inside=given is value)
        good = out is not None
        for name in self.table.control_required:
            if given.get(name) is None:
                self._report(line, line.locate_key("control"), "TG202", f"control: '{name}' is missing")
                good = False
        return out if good else None

    def _members(
        self, line: Line, field: str, given: Mapping[str, Any], checks: Mapping[str, Check], *, inside: bool = True
    ) -> dict[str, Any] | None:
        """The members of a field checked one by one; None when one of them is wrong (and reported)."""
        out: dict[str, Any] = {}
        good = True
        for name, item in given.items():
            if item is None or item is BROKEN:
                good = good and item is None
                continue
            check = checks.get(name)
            if check is None:
                hint = did_you_mean(name, tuple(checks))
                self._report(line, line.locate_key(field, name), "TG201", f"no field '{name}' in {field}", hint)
                good = False
                continue
            try:
                out[name] = check(item)
            except FieldError as error:
                fixed = self._again(line, field, item, error, check, inside=name if inside else "")
                good = good and fixed is not BROKEN
                out[name] = fixed
        return out if good else None

    def _alarm(self, line: Line, value: Any) -> dict[str, Any] | None:
        """The fields of an alarm rule, each by itself; `_rule` makes a rule of them."""
        if not isinstance(value, dict):
            what = f"alarm: a mapping expected, not {kind_of(value)}"
            self._report(line, line.locate("alarm"), "TG203", what, "as in {hi: 22 kV} or {normal: false}")
            return None
        return self._members(line, "alarm", value, ALARM_FIELDS)

    def _rule(self, line: Line, fields: Mapping[str, Any], profile: PointProfile, tail: str) -> AlarmRule | None:
        try:
            return make_rule(fields, profile, tail)
        except RuleError as error:
            where = line.locate("alarm", error.inside) if error.inside else line.locate_key("alarm")
            name = f"alarm.{error.inside}" if error.inside else "alarm"
            self._report(line, where, error.code, f"{name}: {error}", error.hint)
            return None

    def _profile(
        self, line: Line, point_class: PointClass, tail: str, extra: Extra, *, controllable: bool
    ) -> Shared | None:
        """The profile of a point and the unit its device delivers; None when its common fields are wrong."""
        common: dict[str, Any] = {}
        for name, value, _ in extra:
            try:
                common[name] = COMMON[name](value)
            except FieldError as error:
                common[name] = self._again(line, name, value, error, COMMON[name])
        if BROKEN in common.values():
            return None
        try:
            profile = make_profile(point_class, tail, common, controllable=controllable)
        except ProfileError as error:
            self._report(line, line.locate(error.field), error.code, f"{error.field}: {error}", error.hint)
            return None
        unit: units.Unit | None = common.get("unit")
        return profile, unit.symbol if unit is not None else None

    def _report(self, line: Line, place: tuple[Source, int], code: str, message: str, hint: str = "") -> None:
        source, at = place
        own = source is line.source and source.where(at)[0] == source.where(line.at)[0]
        if line.used and not own:
            hint = f"{hint}; {line.used}" if hint else line.used
        source.report(at, code, message, hint)


class ProfileError(ValueError):
    """Unit, deadband and the like do not fit the kind of value; `field` names the culprit."""

    def __init__(self, name: str, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.field = name
        self.code = code
        self.hint = hint


def make_profile(point_class: PointClass, tail: str, common: dict[str, Any], *, controllable: bool) -> PointProfile:
    """The profile of a point from the catalogue and the common fields of its line.

    `unit` is what the device delivers after scale and offset; published is the canonical unit or `display_unit`; a
    deadband is in published units.

    Raises:
        ProfileError: when a field does not fit the kind of value or the quantity.
    """
    cdc = point_class.cdc
    if cdc.value_type is None:
        raise ProfileError("unit", "TG409", f"{tail} has no value of its own")
    analog = cdc.kind is VariableKind.ANALOG
    if not analog:
        for name in ("unit", "display_unit", "scale", "offset", "deadband"):
            if name in common:
                raise ProfileError(name, "TG509", f"{tail} is {_a(cdc.name)}, not a measured value")
    if common.get("invert") and cdc.name not in _TWO_WAY:
        raise ProfileError("invert", "TG509", f"{tail} is {_a(cdc.name)}, which has no opposite")
    delivered: units.Unit | None = common.get("unit")
    shown: units.Unit | None = common.get("display_unit")
    quantity = point_class.quantity
    for name, unit in (("unit", delivered), ("display_unit", shown)):
        if unit is None:
            continue
        if quantity is None:
            quantity = unit.quantity
        if unit.quantity != quantity:
            canonical = units.canonical(quantity).symbol
            raise ProfileError(
                name, "TG503", f"'{unit.symbol}' is {unit.quantity}, but {tail} is {quantity}", f"as in '{canonical}'"
            )
    canonical_unit = units.canonical(quantity) if analog and quantity is not None else None
    published = shown or canonical_unit
    gain, bias = float(common.get("scale", 1.0)), float(common.get("offset", 0.0))
    arriving = delivered or canonical_unit
    if arriving is not None and published is not None:
        by, plus = units.conversion(arriving, published)
        gain, bias = gain * by, bias * by + plus
    return PointProfile(
        cdc.name,
        cdc.value_type,
        cdc.kind,
        point_class.enumeration,
        published,
        gain,
        bias,
        _deadband(common.get("deadband"), published, tail),
        float(common.get("stale_after", 0.0)),
        bool(common.get("invert", False)),
        controllable,
    )


def _deadband(given: tuple[float, units.Unit | None] | None, published: units.Unit | None, tail: str) -> float:
    if given is None:
        return 0.0
    number, unit = given
    if unit is None:
        if published is not None and published.symbol != "1" and number != 0:
            raise ProfileError("deadband", "TG504", f"{number:g} of what", f"'{number:g} {published.symbol}'?")
        return number
    if published is None:
        raise ProfileError("deadband", "TG503", f"the unit of {tail} is not known here", "say unit, or a bare number")
    if unit.quantity != published.quantity:
        what = f"'{unit.symbol}' is {unit.quantity}, but {tail} is {published.quantity}"
        raise ProfileError("deadband", "TG503", what, f"as in '{published.symbol}'")
    # A difference: the offset between temperature scales does not matter.
    return number * units.conversion(unit, published)[0]


def _a(cdc: str) -> str:
    """The CDC with its article: `an MV`, `a DPC`."""
    return f"{'an' if cdc[0] in 'AEFHILMNORSX' else 'a'} {cdc}"
