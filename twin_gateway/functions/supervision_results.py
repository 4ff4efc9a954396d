"""What the supervision publishes: `twSUPV1` of devices, bays, sites, area and grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from address_space import clock
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.results import Value
from twin_gateway.functions.slices import Slices
from twin_gateway.functions.supervision_devices import Device, DeviceIndex, SupervisedLink
from twin_gateway.twin.rules import DeviceState
from twin_gateway.twin.supervision.rollup import Member, Roll, function_of, places_above, roll_up

FUNCTION = "twSUPV1"
_S = DeviceState
ROLL_S = 30.0
_TOGETHER = 40
_DEVICE = ("St", "StRsn", "Avl", "MTBF", "TmOfs", "LastChg", "CntAlm", "FrzCnt", "ConfRevOk", "SwRevOk", "SerNumOk")
_METER = ("St", "StRsn", "Avl", "TmOfs", "LastChg")
_COUNTS = {
    "UnkCnt": (_S.UNKNOWN, _S.INITIALISING),
    "OkCnt": (_S.OK,),
    "DegCnt": (_S.DEGRADED,),
    "TestCnt": (_S.TEST,),
    "LocCnt": (_S.LOCAL,),
    "FltCnt": (_S.FAULT,),
    "UnrCnt": (_S.UNREACHABLE,),
}
_PLACE = ("St", "StRsn", "Avl", "CntAlm", "LastChg", "OldAlm", "DevCnt", *_COUNTS)
_REVISION_RESULTS = {"configRev": "ConfRevOk", "swRev": "SwRevOk", "serNum": "SerNumOk"}


class SupervisionResults:
    """Adds the result points and writes those that have changed.

    Args:
        context: see `TwinContext`.
        index: the devices.
        links: by name.
        commands: (commands sent, commands that failed) since the start.
        monotonic, wall: clocks, s.

    Attributes:
        places: place -> devices below it, for every place with a summary.
    """

    def __init__(
        self,
        context: TwinContext,
        index: DeviceIndex,
        *,
        links: Mapping[str, SupervisedLink],
        commands: Callable[[], tuple[int, int]],
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._context, self._index, self._links = context, index, links
        self._commands, self._now, self._wall = commands, monotonic, wall
        self._addresses: set[str] = set()
        self._published: dict[str, Value] = {}
        self._changed_at: dict[str, tuple[DeviceState, str]] = {}
        self._counts: Counter[str] = Counter()
        self._rolls: dict[str, tuple[Roll, float]] = {}
        self._seen: dict[str, DeviceState] = {}
        self._since: dict[float, str] = {}
        self.places: dict[str, list[Device]] = {}
        self.prepare()

    def prepare(self) -> list[str]:
        """Add result points of devices and of the places above them; what is there already is left. Returns all."""
        self._addresses = {link.address for link in self._links.values()}
        results: list[str] = []
        places: dict[str, list[Device]] = {}
        for device in self._index.order:
            names = _METER if self._brief(device) else _DEVICE
            results += [f"{function_of(device.place, FUNCTION)}/{name}" for name in names]
            if device.place not in self._addresses:
                for place in places_above(device.place):
                    places.setdefault(place, []).append(device)
        # A connection point with its one meter needs no summary of its own.
        self.places = {
            place: devices
            for place, devices in places.items()
            if place.count("/") < 2 or len(devices) > 1 or not devices[0].meter
        }
        self.places.setdefault(self._context.place, [])
        self._rolls.clear()
        for place in self.places:
            results += [f"{function_of(place, FUNCTION)}/{name}" for name in _PLACE]
        results.append(f"{function_of(self._context.place, FUNCTION)}/CmdFailPct")
        self._context.results.add(results)
        return results

    def renew(self, gone: Iterable[Device]) -> None:
        """Publish what there is now; results that nobody computes any more are retired."""
        before = set(self.places)
        over = self._published.keys() - set(self.prepare())
        for place in before - set(self.places):
            self._changed_at.pop(place, None)
        for device in gone:
            self._seen.pop(device.place, None)
        for address in over:
            del self._published[address]
        self._context.results.remove(over)

    def _brief(self, device: Device) -> bool:
        return device.meter and device.place not in self._addresses

    def publish_devices(self, devices: Iterable[Device]) -> None:
        """Write what has changed of some devices since the last time."""
        values: dict[str, Value] = {}
        for device in devices:
            if self._seen.get(device.place) is not device.state.state:
                self._seen[device.place] = device.state.state
                for place in places_above(device.place):
                    self._rolls.pop(place, None)
            head = f"{function_of(device.place, FUNCTION)}/"
            values |= {head + name: value for name, value in self._of_device(device).items()}
        self._write(values)

    async def publish_places(self) -> None:
        """Count alarms, and write what has changed of the places since the last time."""
        counts: Counter[str] = Counter()
        oldest: dict[str, float] = {}
        slices = Slices()
        for alarm in list(self._context.alarms.active()):
            await slices.pause()
            for place in with_places_above(alarm.address):
                counts[place] += 1
                oldest[place] = min(oldest.get(place, alarm.since), alarm.since)
        # Since when an alarm stands, on the wall clock: worked out once, or it would change by itself.
        shown = {oldest[place] for place in self.places if place in oldest}
        self._since = {since: self._since.get(since) or self._clock_text(since) for since in shown}
        values: dict[str, Value] = {}
        for place in counts.keys() | self._counts.keys():
            device = self._index.devices.get(place)
            await slices.pause()
            if device is not None and not self._brief(device):
                values[f"{function_of(place, FUNCTION)}/CntAlm"] = counts[place]
        self._counts = counts
        for place, devices in list(self.places.items()):
            if len(values) > _TOGETHER:
                await slices.pause()
                self._write(values)
                values = {}
            await slices.pause()
            head = f"{function_of(place, FUNCTION)}/"
            values |= {head + name: value for name, value in self._of_place(place, devices, oldest).items()}
        sent, failed = self._commands()
        values[f"{function_of(self._context.place, FUNCTION)}/CmdFailPct"] = 100.0 * failed / sent if sent else None
        self._write(values)

    def _write(self, values: Mapping[str, Value]) -> None:
        missing = object()
        new = {address: value for address, value in values.items() if self._published.get(address, missing) != value}
        self._published |= new
        if new:
            self._context.results.write(new)

    def _clock_text(self, since: float) -> str:
        return clock.iso(clock.from_unix(round(self._wall() - (self._now() - since))))

    def _of_device(self, device: Device) -> dict[str, Value]:
        link = self._links.get(device.link)
        timed = self._index.devices[link.address].clock if link is not None else device.clock
        offset = timed.offset
        availability = device.member.availability if device.member is not None else None
        values: dict[str, Value] = {
            "St": int(device.state.state),
            "StRsn": device.state.reason,
            "Avl": None if availability is None else round(availability, 2),
            "TmOfs": None if offset is None else round(offset, 3),
            "LastChg": clock.iso(device.changed) if device.changed else "",
        }
        if self._brief(device):
            return values
        mtbf = device.ledger.mtbf_h()
        values |= {
            "MTBF": None if mtbf is None else round(mtbf, 1),
            "CntAlm": self._counts[device.place],
            "FrzCnt": device.frozen,
        }
        matches = {line.item: line.matches for line in device.differences}
        return values | {result: matches.get(item) for item, result in _REVISION_RESULTS.items()}

    def _of_place(self, place: str, devices: Sequence[Device], oldest: Mapping[str, float]) -> dict[str, Value]:
        roll, due = self._rolls.get(place, (None, 0.0))
        if roll is None or self._now() >= due:
            roll = roll_up(members(devices))
            # Availability moves slowly; not all places need be worked out in the same second.
            self._rolls[place] = (roll, self._now() + ROLL_S + hash(place) % 16)
        state, changed = self._changed_at.get(place, (None, ""))
        if state is not roll.state:
            changed = clock.iso(clock.now())
            self._changed_at[place] = (roll.state, changed)
        values: dict[str, Value] = {
            "St": int(roll.state),
            "StRsn": roll.reason,
            "Avl": None if roll.availability is None else round(roll.availability, 2),
            "CntAlm": self._counts[place],
            "LastChg": changed,
            "OldAlm": self._since[oldest[place]] if place in oldest else "",
            "DevCnt": len(devices),
        }
        return values | {name: sum(roll.counts[state] for state in states) for name, states in _COUNTS.items()}


def members(devices: Iterable[Device]) -> list[Member]:
    """Devices as the roll-up takes them."""
    return [device.member or Member(device.place, device.state.state, device.critical) for device in devices]


def with_places_above(address: str) -> list[str]:
    """What an alarm about an address is counted at: the equipment place, and the places above it."""
    parts = address.split("/")
    if len(parts) < 6:
        return [address, *places_above(address)]
    equipment = "/".join(parts[:6])
    return [equipment, *places_above(equipment)]
