"""The grid as the sequence of one feeder sees it (the protocol `View`), over the eye on the whole grid."""

from __future__ import annotations

from collections.abc import Callable

from twin_gateway.functions.flisr.observe import GridEye
from twin_gateway.grid.model import Position


class FeederView:
    """The `View` of one feeder's sequence."""

    def __init__(
        self,
        eye: GridEye,
        feeder: str,
        region: Callable[[str], frozenset[str]],
        feeding: Callable[[str], frozenset[str]],
        now: Callable[[], float],
    ) -> None:
        self._feeding = feeding
        self._eye = eye
        self._feeder = eye.network.grid.feeders[feeder]
        self._region = region
        self._now = now

    def position(self, switch: str) -> Position:
        """See `View`."""
        return self._eye.position(switch)

    def reachable(self, switch: str) -> bool:
        """See `View`."""
        return self._eye.reachable(switch)

    def local(self, switch: str) -> bool:
        """See `View`."""
        return self._eye.switch_points.any_true(switch, "local")

    def tag(self, switch: str) -> str:
        """See `View`."""
        return self._eye.peoples_tag(switch)

    def tagged(self, switch: str) -> str:
        """See `View`."""
        tags = self._eye.tags.at(switch)
        return str(tags[0]) if tags else ""

    def available(self, switch: str, *, opening: bool) -> str:
        """See `View`."""
        eye = self._eye
        zones = self._eye.zones_of(switch)
        near = {switch, *(earth for earth, at in eye.network.earthing.items() if not zones.isdisjoint(at))}
        state = eye.state(switch, {each: eye.position(each) for each in near}, self._now())
        if state.can_open if opening else state.can_close:
            return ""
        return ", ".join(state.reasons) or "not available"

    def current_zero(self, switch: str) -> bool | None:
        """See `View`; where the switch has no measurement, that of the feeder's head counts."""
        own = self._eye.current_zero(switch)
        return self._eye.current_zero(self._feeder.head) if own is None else own

    def dead(self, subject: str) -> bool | None:
        """See `View`."""
        return self._eye.dead(self._eye.target(subject))

    def infeed(self, subject: str) -> bool:
        """See `View`."""
        return self._eye.infeed(self._eye.target(subject))

    def earthed(self, subject: str) -> str:
        """See `View`."""
        return self._eye.earthed(self._eye.target(subject))

    def reclose_blocked(self, feeder: str) -> bool | None:
        """See `View`; where there is no recloser by declaration, it is blocked."""
        item = self._eye.network.grid.feeders[feeder]
        if item.reclosing == "none":
            return True
        reading = self._eye.read(item.reclose_block) if item.reclose_block else None
        if reading is None:
            return None
        if item.reclose_block.endswith("/Mod"):
            return reading.good and reading.value == 5
        return reading.good and reading.value is True

    def same_source(self, switch: str) -> bool | None:
        """See `View`."""
        eye = self._eye
        number = eye.network.switch_index.get(switch)
        if number is None:
            return None
        for row in eye.switch_points.rows(switch)["synchronous"]:
            reading = eye.reading(row)
            if reading.good and reading.value is True:
                return True
        one, other = (eye.reach(zone, switch) for zone in eye.network.switches[number].zones)
        sources = [{zone for zone in side if eye.network.zones[zone].source} for side in (one, other)]
        return bool(sources[0]) and sources[0] == sources[1]

    def scheme(self, feeder: str) -> int | None:
        """See `View`."""
        point = self._eye.network.grid.feeders[feeder].scheme
        reading = self._eye.read(point) if point else None
        return int(reading.value) if reading and reading.usable and isinstance(reading.value, int | float) else None

    def head_closed(self, feeder: str) -> bool | None:
        """See `View`."""
        position = self._eye.position(self._eye.network.grid.feeders[feeder].head)
        return None if position is Position.UNKNOWN else position is Position.CLOSED

    def target_zone(self, switch: str) -> str:
        """See `View`."""
        return self._eye.target_zone(switch)

    def feeding(self, switch: str) -> frozenset[str]:
        """See `View`."""
        return self._feeding(switch)

    def fingerprint(self, feeder: str) -> str:
        """See `View`."""
        return self._eye.fingerprint(self._region(feeder), feeder)
