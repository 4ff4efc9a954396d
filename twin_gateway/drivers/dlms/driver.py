"""The DLMS/COSEM driver: one association with one meter, polled; clock, load profiles, disconnector."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from address_space.addcause import AddCause
from address_space.ports import Outcome
from address_space.quality import StatusCode
from twin_gateway.drivers.capture import Flow
from twin_gateway.drivers.contract import (
    BoundPoint,
    DeviceCommand,
    DiscoveredPoint,
    Link,
    LinkLost,
    LinkService,
    PointChange,
    Stray,
)
from twin_gateway.drivers.dlms import disconnector, obis, unmapped
from twin_gateway.drivers.dlms.axdr import Value
from twin_gateway.drivers.dlms.clock import zone_time
from twin_gateway.drivers.dlms.clock_watch import ClockWatch
from twin_gateway.drivers.dlms.config import DlmsConfig, Push, disconnector_of
from twin_gateway.drivers.dlms.contact import Contact, Site
from twin_gateway.drivers.dlms.discovery import MeterObject, discovered, objects_of, profiles, registers
from twin_gateway.drivers.dlms.errors import (
    INVOCATION_COUNTER_ERROR,
    AccessError,
    DlmsError,
    ServiceError,
)
from twin_gateway.drivers.dlms.identity import Identity, tell_drops
from twin_gateway.drivers.dlms.logs import LogReader
from twin_gateway.drivers.dlms.notification import Notification, overtaken
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.opening import Opener
from twin_gateway.drivers.dlms.pace import Pace, pace_of
from twin_gateway.drivers.dlms.positions import Positions, file_of
from twin_gateway.drivers.dlms.profile import ProfileReader
from twin_gateway.drivers.dlms.push import PushReceiver, push_time
from twin_gateway.drivers.dlms.reading import Reading
from twin_gateway.drivers.dlms.session import ReplyTimeoutError, Session, SessionClosedError
from twin_gateway.drivers.strays import StrayBook

_log = logging.getLogger(__name__)

_FAILURES_ALLOWED = 3
"""Polls in a row that may fail as a whole before the association counts as broken."""
_BACKLOG_S = 0.0
"""Wait between two pieces of the past; readings that are due and other meters at the host come in between anyway."""
_SAVE_EVERY_S = 1.0
_PUSHES_KNOWN = 16
"""Pushes of so many different contents are told apart; a meter has some push setups."""
_OBJECT_LIST = Attribute(obis.ASSOCIATION, obis.ASSOCIATION_LN, 2)


class _Notes:
    """Hands connection and octets to the link, and the connection to whoever listens for pushes as well."""

    def __init__(self, link: Link, push: PushReceiver | None) -> None:
        self._push = push
        self._link = link
        self.traffic = link.traffic

    def connected(self, flow: Flow) -> None:
        """See contract.Link."""
        self._link.connected(flow)
        if self._push is not None:
            self._push.own_flow(flow)


class DlmsDriver:
    """One meter. See the contract of drivers."""

    def __init__(self, name: str, config: DlmsConfig, points: Sequence[BoundPoint]) -> None:
        self._name = name
        self._config = config
        self._zone = ZoneInfo(config.time_zone)
        self._points = {point.row: point for point in points}
        self._reading = self._new_reading()
        self._changed = asyncio.Event()
        self._link: Link | None = None
        self._session: Session | None = None
        self._contact: Contact | None = None
        self._pace: Pace | None = None
        self._clock = ClockWatch()
        self._identity: Identity | None = None
        self._positions: Positions | None = None
        self._profiles: ProfileReader | None = None
        self._logs: LogReader | None = None
        self._push: PushReceiver | None = None
        self._push_link: Link | None = None
        self._last_pushes: dict[frozenset[Attribute], Notification] = {}
        self._waiting_for_poll: list[asyncio.Future[bool]] = []
        self._told: dict[str, str] = {}
        self._odd: dict[str, int] = {}
        self._opener = Opener(name, config)
        self._strays = StrayBook()

    def _new_reading(self) -> Reading:
        return Reading(self._points.values(), self._zone, self._config.deviation_sign)

    @property
    def clock_error(self) -> float | None:
        """Seconds that the meter's clock is ahead (negative: behind); None while unknown."""
        return self._clock.error

    def _positions_of(self, link: Link) -> Positions:
        if self._positions is None:
            self._positions = Positions(file_of(link.data_directory, "profiles", self._name))
        return self._positions

    def _identity_of(self, contact: Contact) -> Identity:
        if self._identity is None:
            self._identity = Identity(file_of(contact.link.data_directory, "meter", self._name))
        return self._identity

    def _readers(self, link: Link) -> tuple[ProfileReader, LogReader]:
        positions = self._positions_of(link)
        if self._profiles is None:
            self._profiles = ProfileReader(positions, lambda: self._reading)
        if self._logs is None:
            self._logs = LogReader(positions)
        return self._profiles, self._logs

    # --- the association -----------------------------------------------------------------------------------------

    async def run(self, link: Link) -> None:
        """Associates and polls until the association ends.

        Raises:
            LinkLost: always, with the reason, unless cancelled.
        """
        try:
            if self._config.push is not None:
                receiver = await self._listen(link, self._config.push)
                if self._config.push.only:
                    await receiver.only(link)
            await self._run(link)
        except DlmsError as error:
            raise LinkLost(str(error)) from error
        except asyncio.CancelledError:
            self.retire()
            raise

    async def _run(self, link: Link) -> None:
        if self._pace is None:
            self._pace = pace_of(self._config.host, self._config.parallel, self._config.request_gap)
        try:
            session = await self._opener.open(link, self._pace, _Notes(link, self._push))
        except (DlmsError, OSError) as error:
            # From here on it shares a quarter of the places with the others that do not answer.
            self._pace.suspect = True
            if isinstance(error, ReplyTimeoutError):
                link.count("timeouts")
            raise LinkLost(_refusal_text(error)) from error
        self._link, self._session, self._odd = link, session, {}
        self._contact = contact = Contact(self._name, self._config, link, self._zone, session)
        try:
            self._reading.forget_scalers()
            for reader in self._readers(link):
                reader.forget_columns()
            link.up()
            await self._learn(contact)
            # Not before: a concentrator may associate in the place of a meter that is dead.
            self._pace.suspect = False
            await self._serve(contact)
        except (SessionClosedError, ReplyTimeoutError) as error:
            if isinstance(error, ReplyTimeoutError):
                self._pace.suspect = True
                link.count("timeouts")
            raise LinkLost(str(error)) from error
        except ServiceError as error:
            self._opener.follow(error, link)
            raise LinkLost(str(error)) from error
        except DlmsError as error:
            raise LinkLost(str(error)) from error
        finally:
            self._session = self._contact = None
            self._count_oddities(session, link)
            await session.close()

    # --- polling -------------------------------------------------------------------------------------------------

    async def _serve(self, contact: Contact) -> None:
        config, loop, session, link = self._config, asyncio.get_running_loop(), contact.session, contact.link
        next_poll = next_clock = next_profile = next_log = loop.time()
        failures = 0
        while True:
            now = loop.time()
            if self._changed.is_set():
                self._changed.clear()
                next_poll = next_profile = now
            if now >= next_poll:
                waiting, self._waiting_for_poll = self._waiting_for_poll, []
                answered = await self._poll(contact)
                for reading in waiting:
                    if not reading.done():
                        reading.set_result(answered)
                failures = 0 if answered else failures + 1
                if failures >= _FAILURES_ALLOWED:
                    raise LinkLost(f"{failures} readings in a row failed")
                if self._push is not None and not self._push.hears:
                    await self._push.open(link)
                # A slow meter loses readings rather than falling behind for ever.
                next_poll += config.poll * max(1, -(-(loop.time() - next_poll) // config.poll))
            if now >= next_clock or now - session.last_exchange >= config.keep_alive:
                await self._clock.check(contact)
                next_clock = loop.time() + config.clock_check
            profiles, logs = self._readers(link)
            if now >= next_log:
                more = await logs.read(contact)
                next_log = loop.time() + (_BACKLOG_S if more else config.log_poll)
            if now >= next_profile:
                more = await profiles.read(contact, list(self._points.values()))
                next_profile = loop.time() + (_BACKLOG_S if more else config.profile_poll)
                if profiles.waits:
                    next_profile = min(next_profile, next_poll)  # the scalers come with it
            due = [next_poll, next_clock, next_profile, next_log, session.last_exchange + config.keep_alive]
            if self._positions_of(link).flush(link.kept_until()):
                due.append(loop.time() + _SAVE_EVERY_S)
            await self._pause(session, min(due) - loop.time())

    async def _pause(self, session: Session, seconds: float) -> None:
        """Waits, but not beyond a change of points or the end of the connection."""
        if session.closed.done():
            raise SessionClosedError(session.reason)
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((changed, session.closed), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        if session.closed.done():
            raise SessionClosedError(session.reason)

    async def _poll(self, contact: Contact) -> bool:
        """One reading of all registers; whether the meter answered anything usable."""
        reading, session, link = self._reading, contact.session, contact.link
        if not reading.attributes:
            return True
        try:
            missing = reading.missing_scalers()
            if missing:
                reading.scalers.take(missing, await session.do(session.association.get_many(missing)))
                if self._push is not None:
                    self._push.keep_scalers(reading.scalers.kept())
            values = await session.do(session.association.get_many(reading.attributes))
        except DlmsError as error:
            contact.failed(error)
            return False
        if reading is not self._reading:
            return True  # the points changed meanwhile; the rows of the old reading may be gone
        link.publish(reading.batch(values, datetime.now(UTC)))
        link.count("polls")
        if reading.drops:
            tell_drops(contact, reading.take_drops())
        self._tell_problems(reading, link)
        self._count_oddities(session, link)
        refused = [value for value in values if isinstance(value, DlmsError)]
        if refused:
            link.count("refused_attributes", len(refused))
            for address, refusal in reading.refusals(values):
                link.error(str(refusal), address)
        return len(refused) < len(values) or all(isinstance(value, AccessError) for value in refused)

    def _tell_problems(self, reading: Reading, link: Link) -> None:
        if reading.problems == self._told:
            return
        for address, text in reading.problems.items():
            if self._told.get(address) != text:
                link.event("mapping", f"{address} does not fit the meter: {text}", severity=500, address=address)
                link.error(text, address)
        self._told = dict(reading.problems)

    def _count_oddities(self, session: Session, link: Link) -> None:
        seen = session.oddities
        if seen == self._odd:
            return
        for name, number in seen.items():
            if name == "trailing_octets" and self._config.trailing_octets == "expected":
                continue
            before = self._odd.get(name, 0)
            if number > before:
                link.count(name, number - before)
            if number and not before:
                _log.info("meter %s: first of %s in this association (%d)", self._name, name, number)
        self._odd = seen

    # --- what the meter sends unasked ----------------------------------------------------------------------------

    async def _listen(self, link: Link, push: Push) -> PushReceiver:
        if self._push is None:
            cipher = await self._opener.hearing()
            path = file_of(link.data_directory, "push", self._name)
            self._push = PushReceiver(self._config, push, path, cipher, self._pushed, strays=self._strays)
            self._reading.restore_scalers(self._push.scalers)
        self._push_link = link
        await self._push.open(link)
        return self._push

    async def _learn(self, contact: Contact) -> None:
        """What is read once in an association, beside the registers: which meter it is, and what it pushes."""
        identity = self._identity_of(contact)
        if await identity.check(contact):
            # Another meter: its rows begin anew, and its registers may count in other units.
            self._positions_of(contact.link).forget()
            self._reading.forget_scalers(another_meter=True)
            self._profiles = self._logs = None
            identity.keep()
        if self._push is not None:
            cipher = contact.session.association.ciphering
            title = cipher.peer_title if cipher is not None else b""
            await self._push.learn(contact, title, identity.device_name)

    def _pushed(self, notification: Notification, values: Mapping[Attribute, Value]) -> None:
        """Takes what the meter has sent; it was authentic and its columns are known."""
        link = self._push_link
        if link is None:
            return
        site = Site(self._name, self._config, link, self._zone)
        time = zone_time(push_time(notification, values), self._zone, self._config.deviation_sign)
        batch, unscaled = self._reading.pushed(values, time, datetime.now(UTC))
        what = frozenset(values)
        last = self._last_pushes.get(what)
        if last is not None and overtaken(notification, last):
            link.count("pushes_overtaken")
            batch = replace(batch, late=True)  # newer values of the same registers are shown already
        elif last is not None or len(self._last_pushes) < _PUSHES_KNOWN:
            self._last_pushes[what] = notification
        if len(batch.rows) or batch.texts:
            link.publish(batch)
        if unscaled:
            link.count("push_unscaled", unscaled)
            link.error("values were pushed whose scaler is not known yet; it is read with the next association")
        tell_drops(site, self._reading.take_drops())
        if self._profiles is not None:
            self._profiles.pushed_among(site, values)

    def retire(self) -> None:
        """The link ends for good: what the meter pushes is not heard any more."""
        if self._push is not None:
            self._push.close()

    # --- commands, changes, discovery ----------------------------------------------------------------------------

    async def execute(self, command: DeviceCommand) -> Outcome:
        """Disconnects or reconnects, and answers when the control state has followed."""
        session = self._session
        if session is None or session.closed.done():
            text = f"no association with meter {self._name}"
            cause = AddCause.ABORTION_BY_COMMUNICATION_LOSS
            return Outcome(StatusCode.BadNoCommunication, cause, "link", text, command.command_id)
        wanted = disconnector.wanted_state(command)
        if isinstance(wanted, Outcome):
            return wanted
        name = disconnector_of(command.point.fields, command.point.control or {})
        return await disconnector.operate(session, command, name, wanted, self._publish_position)

    def _publish_position(self, name: bytes, state: int) -> None:
        if self._link is not None:
            batch = self._reading.position_batch(name, state)
            if len(batch.rows):
                self._link.publish(batch)

    async def update(self, change: PointChange) -> None:
        """Adds and removes points; what is new is read at once, the association stays."""
        for point in change.removed:
            self._points.pop(point.row, None)
        for point in change.added:
            self._points[point.row] = point
        fresh = self._new_reading()
        fresh.adopt(self._reading)
        self._reading = fresh
        if self._profiles is not None:
            self._profiles.forget_columns()
        unmapped.forget(self._strays, change.added)
        self._changed.set()

    async def _next_poll(self) -> bool:
        """Waits for the end of the next reading of all registers; whether it brought anything."""
        reading: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting_for_poll.append(reading)
        try:
            # As many requests as a reading may take, each of which has its own time-out.
            async with asyncio.timeout(self._config.timeout * 4):
                return await reading
        except TimeoutError:
            return False

    def read_now(self) -> None:
        """Reads everything as soon as the association is free, without waiting for the next poll."""
        self._changed.set()

    async def serve(self, service: LinkService) -> Outcome:
        """Reads everything at once, or sets the meter's clock within the limits of the device section."""
        contact = self._contact
        if contact is None:
            text = f"no association with meter {self._name}"
            return Outcome(StatusCode.BadNoCommunication, AddCause.ABORTION_BY_COMMUNICATION_LOSS, "link", text)
        if service is LinkService.INTERROGATE:
            self.read_now()
            if await self._next_poll():
                return Outcome(StatusCode.Good, text="all registers were read", sent=True)
            text = "the meter did not answer with anything usable"
            return Outcome(StatusCode.BadTimeout, AddCause.TIME_LIMIT_OVER, "device", text, sent=True)
        if service is not LinkService.SYNCHRONISE:
            return Outcome(StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED, "link", f"a meter cannot {service}")
        try:
            refused = await self._clock.set(contact)
        except (OSError, TimeoutError, DlmsError) as error:
            text = f"no answer of the meter ({error}); whether its clock was set is unknown"
            return Outcome(StatusCode.BadTimeout, AddCause.TIME_LIMIT_OVER, "device", text, sent=True)
        if refused:
            return Outcome(StatusCode.BadUserAccessDenied, AddCause.NO_ACCESS_AUTHORITY, "device", refused)
        return Outcome(StatusCode.Good, text=f"set; the clock is {self.clock_error or 0.0:+.1f} s off now", sent=True)

    @property
    def unmapped_count(self) -> int:
        """Objects of the meter, and meters, that are listed."""
        return len(self._strays)

    @property
    def unmapped_dropped(self) -> int:
        """What had to make room in the list."""
        return self._strays.dropped

    def unmapped(self) -> Sequence[Stray]:
        """Meters that push and nobody knows; and objects that the meter listed when somebody looked last."""
        return self._strays.list()

    async def read_unmapped(self) -> None:
        """Ask the meter for its list of objects. Raises ConnectionError when it does not give it."""
        try:
            unmapped.renew(self._strays, await self.objects(), self._points.values())
        except DlmsError as error:
            raise LinkLost(f"the object list cannot be read: {error}") from error

    async def discover(self) -> Sequence[DiscoveredPoint]:
        """What of the meter's object list may become points, with access rights, units and profiles.

        Raises:
            ConnectionError: no association, or the meter does not give its list.
        """
        session = self._session
        if session is None:
            raise LinkLost(f"no association with meter {self._name}")
        try:
            objects = await self.objects()
            scalers = await session.do(session.association.get_many(registers(objects)))
            columns = await session.do(session.association.get_many(profiles(objects)))
        except (DlmsError, TimeoutError) as error:
            raise LinkLost(f"the object list cannot be read: {error}") from error
        return discovered(objects, scalers, columns)

    async def objects(self) -> list[MeterObject]:
        """All objects of the meter, with their access rights.

        Raises:
            ConnectionError: no association.
            DlmsError: the meter does not give its list.
        """
        session = self._session
        if session is None:
            raise LinkLost(f"no association with meter {self._name}")
        return objects_of(await session.do(session.association.get(_OBJECT_LIST)))


def _refusal_text(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, ServiceError) and error.service_error == INVOCATION_COUNTER_ERROR:
        return f"{text}; the meter's counter cannot be followed"
    return text
