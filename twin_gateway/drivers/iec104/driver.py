"""The 104 driver: the controlling station of one link, on the driver contract."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from address_space.addcause import AddCause
from address_space.ports import Outcome, Verb
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import (
    BoundPoint,
    DeviceCommand,
    DiscoveredPoint,
    Link,
    LinkLost,
    LinkService,
    PointChange,
)
from twin_gateway.drivers.iec104.apci import Limits
from twin_gateway.drivers.iec104.codec import Asdu, Information, decode, encode
from twin_gateway.drivers.iec104.commands import (
    CommandRefusedError,
    Key,
    Pending,
    build,
    key_of,
    refusal,
    stamp_now,
    unknown_outcome,
)
from twin_gateway.drivers.iec104.config import Iec104Config, common_address_of
from twin_gateway.drivers.iec104.intake import Intake
from twin_gateway.drivers.iec104.link import Connection
from twin_gateway.drivers.iec104.points import PointIndex
from twin_gateway.drivers.iec104.times import Zone
from twin_gateway.drivers.iec104.types import BROADCAST, BY_NAME, MAX_ADDRESS, MONITOR, AsduError, Cause

log = logging.getLogger(__name__)
_LAST_MONITOR_TYPE = 40
_GENERAL = 20  # QOI: station interrogation
_GENERAL_COUNTERS = 5  # QCC: general request, no freeze
_LONGEST_INTERROGATION = 60  # in answer time-outs
_INITIALISED, _INTERROGATION, _COUNTERS, _CLOCK = (
    BY_NAME[name].number for name in ("M_EI_NA_1", "C_IC_NA_1", "C_CI_NA_1", "C_CS_NA_1")
)


class Iec104Driver:
    """One association with a controlled station; see `drivers.contract.Driver` for the obligations."""

    def __init__(self, name: str, config: Iec104Config, points: Sequence[BoundPoint]) -> None:
        self._name, self._config = name, config
        self._zone = Zone(config.time_zone)
        self._points = {point.row: point for point in points}
        self._index = PointIndex(config, self._points.values())
        self._limits = Limits(k=config.k, w=config.w, t1=config.t1, t2=config.t2, t3=config.t3)
        self._link: Link | None = None
        self._connection: Connection | None = None
        self._intake: Intake | None = None
        self._pending: dict[Key, Pending] = {}
        self._selected: dict[Key, Asdu] = {}
        self._unfinished: dict[Key, Asdu] = {}  # confirmed commands whose termination may still come
        self._renew: set[int] = set()  # stations to be interrogated again
        self._wake = asyncio.Event()

    # -- contract -----------------------------------------------------------------------------------------------

    async def run(self, link: Link) -> None:
        """Connect, start data transfer, interrogate, deliver. Raises LinkLost or OSError when the association ends."""
        loop = asyncio.get_running_loop()
        config = self._config
        started: asyncio.Future[None] = loop.create_future()
        closed: asyncio.Future[str] = loop.create_future()
        intake = Intake(link, self._index, self._zone, config.common_address)

        def on_started(_connection: Connection, on: bool) -> None:
            if on and not started.done():
                intake.begin(config.common_address)
                link.up()
                started.set_result(None)

        def on_closed(_connection: Connection, reason: str) -> None:
            if not closed.done():
                closed.set_result(reason)

        def make() -> Connection:
            return Connection(
                controlling=True,
                limits=self._limits,
                on_asdus=self._on_asdus,
                on_started=on_started,
                on_closed=on_closed,
            )

        self._link, self._intake = link, intake
        connection: Connection | None = None
        keeping: asyncio.Task[None] | None = None
        try:
            try:
                async with asyncio.timeout(config.t0):
                    _, connection = await loop.create_connection(make, config.host, config.port)
            except TimeoutError:
                raise LinkLost(f"no connection to {config.host}:{config.port} within t0 ({config.t0:g} s)") from None
            # The endpoint itself ends a connection whose STARTDT is not confirmed within t1.
            await asyncio.wait((started, closed), return_when=asyncio.FIRST_COMPLETED)
            if started.done():
                self._connection = connection
                keeping = loop.create_task(self._keep(connection, link))
                await asyncio.wait((keeping, closed), return_when=asyncio.FIRST_COMPLETED)
                if keeping.done():
                    keeping.result()
            raise LinkLost(closed.result() if closed.done() else "the association ended")
        finally:
            self._connection = None
            if keeping is not None:
                keeping.cancel()
                with suppress(asyncio.CancelledError, LinkLost):
                    await keeping
            if connection is not None:
                connection.close()
                if connection.unexpected:
                    link.count("unexpected_control_frames", connection.unexpected)
            intake.close()
            self._intake = None
            self._give_up(LinkLost(closed.result() if closed.done() else "the link was closed"))

    async def execute(self, command: DeviceCommand) -> Outcome:
        """Send a command and await the device's confirmation (and termination where the binding asks for it)."""
        connection, link = self._connection, self._link
        if connection is None or link is None or not connection.started:
            text = f"{self._name} is not connected"
            cause = AddCause.ABORTION_BY_COMMUNICATION_LOSS
            return Outcome(StatusCode.BadNoCommunication, cause, "link", text, command.command_id)
        try:
            request = self._request(command)
            octets = encode(request)
        except CommandRefusedError as refused:
            return replace(refused.outcome, command_id=command.command_id)
        except AsduError as problem:
            return Outcome(
                StatusCode.BadOutOfRange, AddCause.INCONSISTENT_PARAMETERS, "device", str(problem), command.command_id
            )
        key = key_of(request)
        if key in self._pending:
            text = "a command to the same object is still waiting for its answer"
            cause = AddCause.COMMAND_ALREADY_IN_EXECUTION
            return Outcome(StatusCode.BadResourceUnavailable, cause, "device", text, command.command_id)
        pending = Pending(request)
        if not connection.send_now(octets):
            text = "the send window is closed: the device has not acknowledged earlier frames"
            return Outcome(StatusCode.BadResourceUnavailable, AddCause.NONE, "link", text, command.command_id)
        self._pending[key] = pending
        link.count("commands")
        try:
            async with asyncio.timeout(command.timeout):
                return await self._outcome(command, key, pending)
        except TimeoutError:
            link.count("timeouts")
            return unknown_outcome(f"no answer within {command.timeout:g} s", command)
        except LinkLost as lost:
            return unknown_outcome(f"the link was lost ({lost})", command)
        finally:
            del self._pending[key]
            pending.withdraw()

    async def update(self, change: PointChange) -> None:
        """Add and remove points; new ones get their value by an interrogation."""
        for gone in change.removed:
            self._points.pop(gone.row, None)
        for new in change.added:
            self._points[new.row] = new
        self._index = PointIndex(self._config, self._points.values())
        if self._intake is not None:
            self._intake.flush()
            self._intake.index = self._index
        if change.added:
            self._renew |= {common_address_of(self._config, point.fields) for point in change.added}
            self._wake.set()

    async def discover(self) -> Sequence[DiscoveredPoint]:
        """Everything the stations answer to a general interrogation. Raises ConnectionError without an association."""
        connection, intake, link = self._connection, self._intake, self._link
        if connection is None or intake is None or link is None:
            raise ConnectionError(f"{self._name} is not connected")
        found: dict[int, int] = {}
        intake.found = found
        try:
            for station in self._config.common_address:
                while (other := self._pending.get((_INTERROGATION, station, 0))) is not None:
                    await asyncio.wait((other.terminated,))
                await self._interrogate(connection, link, station)
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
        """General interrogation, or clock synchronisation, of every station of the link."""
        connection, link = self._connection, self._link
        if connection is None or link is None or not connection.started:
            text = f"{self._name} is not connected"
            return Outcome(StatusCode.BadNoCommunication, AddCause.ABORTION_BY_COMMUNICATION_LOSS, "link", text)
        job = "interrogation" if service is LinkService.INTERROGATE else "clock"
        problems = []
        try:
            for station in self._config.common_address:
                problem = await self._job(connection, link, job, station)
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

    # -- what comes in ------------------------------------------------------------------------------------------

    def _on_asdus(self, _connection: Connection, asdus: list[bytes]) -> None:
        intake, link = self._intake, self._link
        if intake is None or link is None:
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
            self._on_control(octets, intake, link)
        if monitor:
            intake.feed(monitor)

    def _on_control(self, octets: bytes, intake: Intake, link: Link) -> None:
        try:
            asdu = decode(octets, datetime.now(UTC).year)
        except AsduError as problem:
            link.count("asdu_errors")
            log.debug("%s: %s", self._name, problem)
            return
        if asdu.type == _INITIALISED and asdu.cause == Cause.INITIALISED:
            link.count("initialisations")
            stations = set(self._config.common_address)
            self._renew |= stations if asdu.common_address == BROADCAST else stations & {asdu.common_address}
            self._wake.set()
            return
        key = key_of(asdu)
        pending = self._pending.get(key)
        if pending is not None and pending.take(asdu):
            if asdu.type == _INTERROGATION and asdu.cause == Cause.ACTIVATION_TERM:
                intake.end(asdu.common_address)
            return
        if asdu.cause == Cause.ACTIVATION_TERM and self._unfinished.pop(key, None) is not None:
            if asdu.negative:
                text = f"{asdu.name} {asdu.common_address}/{key[2]} was confirmed but ended negatively"
                link.event("command", text, severity=600)
            return
        link.count("unexpected_asdus")

    def _give_up(self, problem: LinkLost) -> None:
        for pending in self._pending.values():
            pending.fail(problem)
        self._selected.clear()
        self._unfinished.clear()

    # -- commands -----------------------------------------------------------------------------------------------

    def _request(self, command: DeviceCommand) -> Asdu:
        """The ASDU to be sent; raises CommandRefusedError."""
        control = command.point.control or {}
        if command.verb is not Verb.OPERATE and control.get("model") == "direct-normal":
            text = "the object is operated directly, there is nothing to select or to cancel"
            raise CommandRefusedError(text, StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED)
        if command.verb is not Verb.CANCEL:
            return build(self._config, command, self._config.originator, self._zone)
        for request in self._selected.values():
            if key_of(request)[1:] == (self._station_of(command.point), int(control.get("ioa", 0))):
                return request._replace(cause=Cause.DEACTIVATION)
        raise CommandRefusedError("nothing is selected", StatusCode.BadInvalidState, AddCause.OBJECT_NOT_SELECTED)

    def _station_of(self, point: BoundPoint) -> int:
        own = (point.control or {}).get("common_address", point.fields.get("common_address"))
        return common_address_of(self._config, {"common_address": own})

    async def _outcome(self, command: DeviceCommand, key: Key, pending: Pending) -> Outcome:
        answer = await pending.confirmed
        refused = refusal(answer, command)
        if command.verb is Verb.SELECT and refused is None:
            self._selected[key] = pending.request
        else:
            self._selected.pop(key, None)
        if refused is not None:
            return refused
        text = "the device confirmed"
        if command.verb is Verb.OPERATE:
            if not (command.point.control or {}).get("termination") and not pending.terminated.done():
                self._unfinished[key] = pending.request
            elif (await pending.terminated).negative:
                text = "the device confirmed the command but ended it negatively"
                return Outcome(StatusCode.Bad, AddCause.UNKNOWN, "device", text, command.command_id, sent=True)
            else:
                text = "the device confirmed and terminated the command"
        return Outcome(StatusCode.Good, text=text, command_id=command.command_id, sent=True)

    # -- interrogations and clock -------------------------------------------------------------------------------

    async def _keep(self, connection: Connection, link: Link) -> None:
        """Interrogate every station, then repeat what is configured, until cancelled."""
        config, loop = self._config, asyncio.get_running_loop()
        self._renew.clear()
        for station in config.common_address:
            await self._interrogate(connection, link, station)
        due: dict[str, float] = {}
        now = loop.time()
        if config.gi_interval:
            due["interrogation"] = now + config.gi_interval
        if config.counter_interval:
            due["counters"] = now
        if config.clock_sync:
            due["clock"] = now
        intervals = {
            "interrogation": config.gi_interval or 0.0,
            "counters": config.counter_interval or 0.0,
            "clock": config.clock_sync or 0.0,
        }
        while True:
            renew, self._renew = self._renew, set()
            self._wake.clear()
            for station in sorted(renew):
                await self._interrogate(connection, link, station)
            for job in [job for job, at in due.items() if at <= loop.time()]:
                due[job] = loop.time() + intervals[job]
                for station in config.common_address:
                    await self._job(connection, link, job, station)
            if self._renew:
                continue
            wait = min(due.values()) - loop.time() if due else None
            with suppress(TimeoutError):
                async with asyncio.timeout(None if wait is None else max(0.0, wait)):
                    await self._wake.wait()

    async def _job(self, connection: Connection, link: Link, job: str, station: int) -> str:
        match job:
            case "interrogation":
                return await self._interrogate(connection, link, station)
            case "counters":
                request = Asdu(_COUNTERS, Cause.ACTIVATION, station, (Information(0, _GENERAL_COUNTERS),))
                return await self._ask(connection, link, request, terminates=True)
            case _:
                stamp = Information(0, time=stamp_now(self._zone))
                request = Asdu(_CLOCK, Cause.ACTIVATION, station, (stamp,))
                return await self._ask(connection, link, request, terminates=False)

    async def _interrogate(self, connection: Connection, link: Link, station: int) -> str:
        request = Asdu(_INTERROGATION, Cause.ACTIVATION, station, (Information(0, _GENERAL),))
        try:
            return await self._ask(connection, link, request, terminates=True)
        finally:
            if self._intake is not None:
                self._intake.end(station)

    async def _ask(self, connection: Connection, link: Link, request: Asdu, *, terminates: bool) -> str:
        """Send a system command and see it through; what goes wrong is counted and told, the link stays.

        Returns:
            What went wrong, empty when all is well.
        """
        key = key_of(request)
        if key in self._pending:
            return f"{request.name} of station {request.common_address} is under way already"
        what = f"{request.name} of station {request.common_address}"
        pending = Pending(request)
        if not connection.send(encode(request._replace(originator=self._config.originator))):
            link.count("unsent_requests")
            return f"{what} could not be sent"
        self._pending[key] = pending
        patience = self._config.answer_timeout
        try:
            async with asyncio.timeout(patience):
                answer = await pending.confirmed
            if answer.negative or answer.cause >= Cause.UNKNOWN_TYPE:
                link.count("refused_requests")
                problem = f"{what} was refused (cause {answer.cause})"
                link.event("refused", problem, severity=300)
                return problem
            if terminates:
                await self._terminated(pending, patience)
        except TimeoutError:
            link.count("timeouts")
            problem = f"{what} was not answered within {patience:g} s"
            link.event("timeout", problem, severity=300)
            return problem
        finally:
            del self._pending[key]
            pending.withdraw()
        return ""

    async def _terminated(self, pending: Pending, patience: float) -> None:
        """Wait for the end of an interrogation as long as its answers keep coming. Raises TimeoutError."""
        for _ in range(_LONGEST_INTERROGATION):
            heard = self._intake.answered_at if self._intake is not None else 0.0
            await asyncio.wait((pending.terminated,), timeout=patience)
            if pending.terminated.done():
                await pending.terminated
                return
            if self._intake is None or self._intake.answered_at <= heard:
                break
        raise TimeoutError
