"""The 104 driver: the controlling station of one link, on the driver contract."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from address_space.addcause import AddCause
from address_space.ports import Outcome, Verb
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import (
    BoundPoint,
    DeviceCommand,
    DeviceFile,
    DeviceLine,
    DeviceTable,
    DiscoveredPoint,
    Link,
    LinkLost,
    LinkService,
    PointChange,
    Stray,
)
from twin_gateway.drivers.iec104.apci import Limits
from twin_gateway.drivers.iec104.association import INTERROGATION, Association
from twin_gateway.drivers.iec104.codec import Asdu, encode
from twin_gateway.drivers.iec104.commands import (
    CommandRefusedError,
    Key,
    Pending,
    build,
    key_of,
    refusal,
    unknown_outcome,
)
from twin_gateway.drivers.iec104.config import Iec104Config, common_address_of
from twin_gateway.drivers.iec104.continuity import Continuity
from twin_gateway.drivers.iec104.gauges import Gauges
from twin_gateway.drivers.iec104.intake import Intake
from twin_gateway.drivers.iec104.link import Connection
from twin_gateway.drivers.iec104.objects import ObjectBook
from twin_gateway.drivers.iec104.points import PointIndex
from twin_gateway.drivers.iec104.redundancy import Address, Group, GroupSettings, Told
from twin_gateway.drivers.iec104.times import Zone
from twin_gateway.drivers.iec104.types import MAX_ADDRESS, MONITOR, AsduError, Cause
from twin_gateway.drivers.iec104.widths import Widths

_LAST_MONITOR_TYPE = 40
_NO_MONITOR = bytes((_LAST_MONITOR_TYPE + 1,))
_JOBS = {
    LinkService.INTERROGATE: "interrogation",
    LinkService.SYNCHRONISE: "clock",
    LinkService.COUNTERS: "counters",
    LinkService.TEST: "test",
}


class Iec104Driver:
    """One association with a controlled station; see `drivers.contract.Driver` for the obligations."""

    def __init__(self, name: str, config: Iec104Config, points: Sequence[BoundPoint]) -> None:
        self._name, self._config = name, config
        self._zone = Zone(config.time_zone, summer_bit=config.summer_bit)
        self._points = {point.row: point for point in points}
        self._index = PointIndex(config, self._points.values())
        widths = Widths(config.cause_octets, config.common_address_octets, config.object_address_octets)
        self._settings = GroupSettings(
            addresses=(Address(config.host, config.port), *(Address(*each) for each in config.addresses)),
            limits=Limits(k=config.k, w=config.w, t1=config.t1, t2=config.t2, t3=config.t3),
            t0=config.t0,
            widths=None if widths.usual else widths,
            tls=config.tls,
            renew_after=config.tls_reconnect,
        )
        self._book = ObjectBook(self._index, config.common_address)
        self._continuity = Continuity(config.k)
        self._gauges, self._told = Gauges(), Told()
        self._link: Link | None = None
        self._group: Group | None = None
        self._talking: Connection | None = None  # whose octets went to the capture ring last
        self._association: Association | None = None
        self._intake: Intake | None = None

    # -- contract -----------------------------------------------------------------------------------------------

    async def run(self, link: Link) -> None:
        """Connect, start data transfer, interrogate, deliver. Raises LinkLost or OSError when the association ends."""
        self._link = link
        self._intake = intake = Intake(link, self._index, self._zone, self._book, self._continuity)
        self._continuity.repeated = lambda count: link.count("repeated", count)
        self._continuity.stepped = self._stepped
        self._group = group = Group(link, self._settings, self, self._gauges, self._told)
        try:
            await group.run()
        finally:
            self._group = self._talking = None
            intake.close()
            self._intake = None

    @property
    def redundant(self) -> bool:
        """The device is connected more than once."""
        return len(self._settings.addresses) > 1

    @property
    def redundancy_alive(self) -> bool:
        """A connection stands by."""
        return self._group is not None and self._group.standing_by > 0

    async def execute(self, command: DeviceCommand) -> Outcome:
        """Send a command and await the device's confirmation (and termination where the binding asks for it)."""
        outcome = await self._execute(command)
        if not outcome.good and self._link is not None:
            self._link.error(outcome.text, command.point.address)
        return outcome

    async def _execute(self, command: DeviceCommand) -> Outcome:
        association, link = self._association, self._link
        if association is None or link is None or not association.connection.started:
            text = f"{self._name} is not connected"
            cause = AddCause.ABORTION_BY_COMMUNICATION_LOSS
            return Outcome(StatusCode.BadNoCommunication, cause, "link", text, command.command_id)
        try:
            request = self._request(command, association)
            octets = encode(request)
        except CommandRefusedError as refused:
            return replace(refused.outcome, command_id=command.command_id)
        except AsduError as problem:
            return Outcome(
                StatusCode.BadOutOfRange, AddCause.INCONSISTENT_PARAMETERS, "device", str(problem), command.command_id
            )
        key = key_of(request)
        if key in association.pending:
            text = "a command to the same object is still waiting for its answer"
            cause = AddCause.COMMAND_ALREADY_IN_EXECUTION
            return Outcome(StatusCode.BadResourceUnavailable, cause, "device", text, command.command_id)
        pending = Pending(request)
        try:
            left = association.connection.send_now(octets)
        except AsduError as problem:
            cause = AddCause.INCONSISTENT_PARAMETERS
            return Outcome(StatusCode.BadOutOfRange, cause, "device", str(problem), command.command_id)
        if not left:
            link.count("window_closed")
            text = "the send window is closed: the device has not acknowledged earlier frames"
            return Outcome(StatusCode.BadResourceUnavailable, AddCause.NONE, "link", text, command.command_id)
        association.pending[key] = pending
        link.count("commands")
        try:
            async with asyncio.timeout(command.timeout):
                return await self._outcome(command, key, pending, association)
        except TimeoutError:
            link.count("timeouts")
            return unknown_outcome(f"no answer within {command.timeout:g} s", command)
        except LinkLost as lost:
            return unknown_outcome(f"the link was lost ({lost})", command)
        finally:
            del association.pending[key]
            pending.withdraw()

    async def update(self, change: PointChange) -> None:
        """Add and remove points; new ones get their value by an interrogation."""
        for gone in change.removed:
            self._points.pop(gone.row, None)
        for new in change.added:
            self._points[new.row] = new
        self._index = await asyncio.to_thread(PointIndex, self._config, tuple(self._points.values()))
        if self._intake is not None:
            self._intake.flush()
            self._intake.index = self._index
        self._book.renew(self._index)
        if change.added and self._association is not None:
            self._association.renew |= {common_address_of(self._config, point.fields) for point in change.added}
            self._association.wake()

    async def discover(self) -> Sequence[DiscoveredPoint]:
        """Everything the stations answer to a general interrogation. Raises ConnectionError without an association."""
        association, intake = self._association, self._intake
        if association is None or intake is None:
            raise ConnectionError(f"{self._name} is not connected")
        found: dict[int, int] = {}
        intake.found = found
        try:
            for station in self._config.common_address:
                while (other := association.pending.get((INTERROGATION, station, 0))) is not None:
                    await asyncio.wait((other.terminated,))
                await association.interrogate(station)
            intake.flush()
        finally:
            intake.found = None
        return [
            DiscoveredPoint(
                {"ioa": key & MAX_ADDRESS, "type": MONITOR[number].name, "common_address": key >> 24},
                description=MONITOR[number].family.name.replace("_", " ").lower(),
            )
            for key, number in sorted(found.items())
        ]

    async def serve(self, service: LinkService) -> Outcome:
        """General interrogation, clock synchronisation or test command, of every station of the link."""
        association = self._association
        if association is None or not association.connection.started:
            text = f"{self._name} is not connected"
            return Outcome(StatusCode.BadNoCommunication, AddCause.ABORTION_BY_COMMUNICATION_LOSS, "link", text)
        job = _JOBS.get(service)
        if job is None:
            text = f"IEC 60870-5-104 has no service to {service}"
            return Outcome(StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED, "link", text)
        problems = []
        try:
            for station in self._config.common_address:
                problem = await association.job(job, station)
                if problem:
                    problems.append(problem)
        except LinkLost as lost:
            return Outcome(
                StatusCode.BadNoCommunication, AddCause.NONE, "link", f"the link was lost ({lost})", sent=True
            )
        if problems:
            return Outcome(StatusCode.Bad, AddCause.UNKNOWN, "device", "; ".join(problems), sent=True)
        stations = ", ".join(str(station) for station in self._config.common_address)
        return Outcome(StatusCode.Good, text=f"{job} of station {stations} confirmed", sent=True)

    @property
    def unmapped_count(self) -> int:
        """Objects listed."""
        return len(self._book.strays)

    @property
    def unmapped_dropped(self) -> int:
        """Objects that had to make room in the list."""
        return self._book.strays.dropped

    def unmapped(self) -> Sequence[Stray]:
        """What came and no point takes, newest last."""
        return self._book.unmapped()

    async def list_files(self, path: str) -> tuple[Outcome, Sequence[DeviceFile]]:
        """Files of all stations, or of `station` or `station/folder/`."""
        association = self._association
        return _not_connected(self._name) if association is None else await association.files.list(path)

    async def fetch_file(self, name: str) -> Outcome:
        """Fetch `station/address.kind` into the link's folder of files."""
        association = self._association
        return _not_connected(self._name)[0] if association is None else await association.files.fetch(name)

    async def read_table(self, table: DeviceTable, about: str) -> tuple[Outcome, Sequence[DeviceLine]]:
        """What is not mapped, how often objects come, or one object `station/address` by a read command."""
        if table is DeviceTable.OBJECT:
            association = self._association
            return _not_connected(self._name) if association is None else await association.reads.ask(about)
        return self._book.table(table)

    # -- what the connections ask for (redundancy.User) ---------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Commands or requests wait for their answers."""
        return self._association is not None and bool(self._association.pending)

    def begin(self, connection: Connection) -> None:
        """Data transfer has started on a connection."""
        link, intake = self._link, self._intake
        if link is None or intake is None:
            return
        self._association = Association(self._config, connection, link, intake, self._gauges)
        self._continuity.begin()
        intake.begin(self._config.common_address)
        link.up()

    async def use(self, connection: Connection) -> None:
        """Interrogate and repeat what is configured, until cancelled."""
        association = self._association
        if association is None or association.connection is not connection:
            return
        link = self._link
        reading = None if link is None else asyncio.create_task(self._read(association, link))
        try:
            await association.keep()
        finally:
            if reading is not None:
                reading.cancel()
            self._association = None
            association.give_up(LinkLost(connection.reason or "the link was closed"))
            if self._intake is not None:
                self._intake.close()

    async def _read(self, association: Association, link: Link) -> None:
        """Read what no interrogation answers, once the first is over."""
        await association.interrogated.wait()
        await association.reads.keep(self._config, lambda: self._index, link)

    def traffic(self, connection: Connection, sent: bool, octets: bytes) -> None:
        """Octets of one read or write."""
        link = self._link
        if link is None:
            return
        if connection is not self._talking:
            self._talking = connection
            link.connected(connection.flow)
        link.traffic(sent, octets)

    def take(self, connection: Connection, asdus: list[bytes]) -> None:
        """The ASDUs of one read."""
        intake, association = self._intake, self._association
        if intake is None or association is None or association.connection is not connection:
            return
        if max(asdus) < _NO_MONITOR:  # by their first octets: process information and nothing else
            intake.feed(asdus)
            return
        monitor: list[bytes] = []
        for octets in asdus:
            if not octets or octets[0] <= _LAST_MONITOR_TYPE:
                monitor.append(octets)
                continue
            if monitor:
                intake.feed(monitor)
                monitor = []
            intake.flush()  # an answer ends something: what came before it must be out first
            association.take(octets)
        if monitor:
            intake.feed(monitor)

    def kept(self) -> bool:
        """What has been published is on disk: nobody needs it again."""
        link, intake = self._link, self._intake
        return link is not None and intake is not None and intake.kept(link.kept_until())

    def _stepped(self, station: int, seconds: float) -> None:
        """The clock of a station went back: its values are asked for anew, so that none hides behind a later time."""
        link, association = self._link, self._association
        if link is None or association is None:
            return
        link.count("clock_steps")
        link.event("D02", f"The clock of station {station} of {self._name} went back by {seconds:.1f} s", severity=500)
        if station in self._config.common_address:
            association.renew.add(station)
            association.wake()

    # -- commands -----------------------------------------------------------------------------------------------

    def _request(self, command: DeviceCommand, association: Association) -> Asdu:
        """The ASDU to be sent; raises CommandRefusedError."""
        control = command.point.control or {}
        if command.verb is not Verb.OPERATE and control.get("model") == "direct-normal":
            text = "the object is operated directly, there is nothing to select or to cancel"
            raise CommandRefusedError(text, StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED)
        if command.verb is not Verb.CANCEL:
            return build(self._config, command, self._config.originator, self._zone)
        for request in association.selected.values():
            if key_of(request)[1:] == (self._station_of(command.point), int(control.get("ioa", 0))):
                return request._replace(cause=Cause.DEACTIVATION)
        raise CommandRefusedError("nothing is selected", StatusCode.BadInvalidState, AddCause.OBJECT_NOT_SELECTED)

    def _station_of(self, point: BoundPoint) -> int:
        own = (point.control or {}).get("common_address", point.fields.get("common_address"))
        return common_address_of(self._config, {"common_address": own})

    async def _outcome(self, command: DeviceCommand, key: Key, pending: Pending, association: Association) -> Outcome:
        answer = await pending.confirmed
        refused = refusal(answer, command)
        if command.verb is Verb.SELECT and refused is None:
            association.selected[key] = pending.request
        else:
            association.selected.pop(key, None)
        if refused is not None:
            return refused
        text = "the device confirmed"
        if command.verb is Verb.OPERATE:
            if not (command.point.control or {}).get("termination") and not pending.terminated.done():
                association.unfinished[key] = pending.request
            elif (await pending.terminated).negative:
                text = "the device confirmed the command but ended it negatively"
                return Outcome(StatusCode.Bad, AddCause.UNKNOWN, "device", text, command.command_id, sent=True)
            else:
                text = "the device confirmed and terminated the command"
        return Outcome(StatusCode.Good, text=text, command_id=command.command_id, sent=True)


def _not_connected(name: str) -> tuple[Outcome, tuple[()]]:
    cause, text = AddCause.ABORTION_BY_COMMUNICATION_LOSS, f"{name} is not connected"
    return Outcome(StatusCode.BadNoCommunication, cause, "link", text), ()
