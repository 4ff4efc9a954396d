"""The DLMS/COSEM driver: one association with one meter, polled; clock, load profiles, disconnector."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from address_space.addcause import AddCause
from address_space.ports import Outcome
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import (
    BoundPoint,
    DeviceCommand,
    DiscoveredPoint,
    Link,
    LinkLost,
    PointChange,
)
from twin_gateway.drivers.dlms import disconnector, obis
from twin_gateway.drivers.dlms.acse import Conformance, Mechanism
from twin_gateway.drivers.dlms.association import Association, Limits
from twin_gateway.drivers.dlms.axdr import Tag, Value, encode
from twin_gateway.drivers.dlms.ciphering import Ciphering, Key
from twin_gateway.drivers.dlms.config import DlmsConfig, disconnector_of
from twin_gateway.drivers.dlms.counters import CounterStore, StoredCounter, counter_key
from twin_gateway.drivers.dlms.discovery import discovered, registers
from twin_gateway.drivers.dlms.errors import (
    INVOCATION_COUNTER_ERROR,
    AccessError,
    DlmsError,
    SecurityError,
    ServiceError,
)
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.pace import pace_of
from twin_gateway.drivers.dlms.profile import (
    BUFFER,
    CAPTURE_OBJECTS,
    Columns,
    LastRows,
    columns_of,
    profiles_of,
    ranges,
    rows_to_batch,
)
from twin_gateway.drivers.dlms.reading import Reading, zone_time
from twin_gateway.drivers.dlms.services import by_range
from twin_gateway.drivers.dlms.session import Peer, Progress, ReplyTimeoutError, Session, SessionClosedError

_log = logging.getLogger(__name__)

_MECHANISMS = {"none": Mechanism.NONE, "lls": Mechanism.LLS, "hls-gmac": Mechanism.HLS_GMAC}
_FAILURES_ALLOWED = 3
"""Polls in a row that may fail as a whole before the association counts as broken."""
_READ_BACK_EVERY = 0.5
_CLOCK = Attribute(obis.CLOCK, obis.CLOCK_LN, 2)


class DlmsDriver:
    """One meter. See the contract of drivers.

    Attributes:
        clock_error: seconds that the meter's clock is ahead (negative: behind); None while unknown.
    """

    def __init__(self, name: str, config: DlmsConfig, points: Sequence[BoundPoint]) -> None:
        self._name = name
        self._config = config
        self._zone = ZoneInfo(config.time_zone)
        self._points = {point.row: point for point in points}
        self._reading = self._new_reading()
        self._changed = asyncio.Event()
        self._link: Link | None = None
        self._session: Session | None = None
        self._counter: StoredCounter | None = None
        self._columns: dict[bytes, Columns] = {}
        self._last_rows: LastRows | None = None
        self._told: dict[str, str] = {}
        self._clock_told = False
        self._odd: dict[str, int] = {}
        self.clock_error: float | None = None
        keys = config.keys
        self._keys = (
            (Key(_octets(keys.encryption)), Key(_octets(keys.authentication)))
            if keys is not None and config.security == "hls-gmac"
            else None
        )

    def _new_reading(self) -> Reading:
        return Reading(self._points.values(), self._zone, self._config.deviation_sign)

    # --- the association -----------------------------------------------------------------------------------------

    async def run(self, link: Link) -> None:
        """Associates and polls until the association ends.

        Raises:
            LinkLost: always, with the reason, unless cancelled.
        """
        try:
            session = await self._associate(link)
        except (DlmsError, OSError) as error:
            if isinstance(error, ReplyTimeoutError):
                link.count("timeouts")
            raise LinkLost(_refusal_text(error)) from error
        self._link, self._session, self._odd = link, session, {}
        try:
            self._reading.forget_scalers()
            self._columns.clear()
            link.up()
            await self._serve(session, link)
        except (SessionClosedError, ReplyTimeoutError) as error:
            if isinstance(error, ReplyTimeoutError):
                link.count("timeouts")
            raise LinkLost(str(error)) from error
        except ServiceError as error:
            if error.service_error == INVOCATION_COUNTER_ERROR:
                self._forward(error, link)
            raise LinkLost(str(error)) from error
        except DlmsError as error:
            raise LinkLost(str(error)) from error
        finally:
            self._session = None
            self._count_oddities(session, link)
            await session.close()

    async def _associate(self, link: Link) -> Session:
        """A session with an association; a counter that the meter finds too low is moved forward once."""
        try:
            return await self._open(link)
        except ServiceError as error:
            if error.service_error != INVOCATION_COUNTER_ERROR or not self._forward(error, link):
                raise
        return await self._open(link)

    async def _open(self, link: Link) -> Session:
        config = self._config
        association = Association(
            mechanism=_MECHANISMS[config.security],
            password=config.password.get_secret_value().encode() if config.password else b"",
            ciphering=await self._ciphering(link),
            dedicated_for_hls=config.hls_key == "dedicated",
            limits=Limits(list_items=config.list_items),
        )
        return await Session.connect(
            Peer(config.host, config.port, config.client_sap, config.logical_device),
            association,
            pace=pace_of(config.host, config.parallel, config.request_gap),
            answer_within=config.timeout,
        )

    async def _ciphering(self, link: Link) -> Ciphering | None:
        if self._keys is None:
            return None
        encryption, authentication = self._keys
        title = self._config.title(self._name)
        if self._counter is None:
            # Beside the links' own directories: one journal for all of them. Links that share a key and a system title
            # must draw from one counter, and a thousand meters are to cost one sync at the start.
            store = CounterStore.shared(link.data_directory.parent / "dlms-counters.journal")
            self._counter = store.counter(counter_key(title, encryption))
        await self._counter.ensure()
        dedicated = Key(secrets.token_bytes(16)) if self._config.dedicated_key else None
        return Ciphering(title, encryption, authentication, self._counter, dedicated)

    def _forward(self, error: ServiceError, link: Link) -> bool:
        """Follows a meter that wants a higher counter; some name the last they saw, some the next they expect."""
        link.count("counter_errors")
        if self._counter is None or error.expected_counter is None:
            return False
        moved = self._counter.forward(error.expected_counter + 1)
        if moved:
            link.event("counter", f"Meter {self._name} wanted a higher invocation counter; moved forward")
        return moved

    # --- polling -------------------------------------------------------------------------------------------------

    async def _serve(self, session: Session, link: Link) -> None:
        config, loop = self._config, asyncio.get_running_loop()
        next_poll = next_clock = next_profile = loop.time()
        failures = 0
        while True:
            now = loop.time()
            if self._changed.is_set():
                self._changed.clear()
                next_poll = next_profile = now
            if now >= next_poll:
                failures = 0 if await self._poll(session, link) else failures + 1
                if failures >= _FAILURES_ALLOWED:
                    raise LinkLost(f"{failures} readings in a row failed")
                # A slow meter loses readings rather than falling behind for ever.
                next_poll += config.poll * max(1, -(-(loop.time() - next_poll) // config.poll))
            if now >= next_clock or now - session.last_exchange >= config.keep_alive:
                await self._check_clock(session, link)
                next_clock = loop.time() + config.clock_check
            if now >= next_profile:
                await self._read_profiles(session, link)
                next_profile = loop.time() + config.profile_poll
            idle = session.last_exchange + config.keep_alive
            await self._pause(session, min(next_poll, next_clock, next_profile, idle) - loop.time())

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

    async def _poll(self, session: Session, link: Link) -> bool:
        """One reading of all registers; whether the meter answered anything usable."""
        reading = self._reading
        if not reading.attributes:
            return True
        try:
            missing = reading.missing_scalers()
            if missing:
                reading.take_scalers(missing, await session.do(session.association.get_many(missing)))
            values = await session.do(session.association.get_many(reading.attributes))
        except DlmsError as error:
            self._count_error(error, link)
            return False
        if reading is not self._reading:
            return True  # the points changed meanwhile; the rows of the old reading may be gone
        link.publish(reading.batch(values, datetime.now(UTC)))
        link.count("polls")
        self._tell_problems(reading, link)
        self._count_oddities(session, link)
        refused = [value for value in values if isinstance(value, DlmsError)]
        if refused:
            link.count("refused_attributes", len(refused))
        return len(refused) < len(values) or all(isinstance(value, AccessError) for value in refused)

    def _count_error(self, error: DlmsError, link: Link) -> None:
        """Counts an error that costs one reading; raises what ends the association."""
        if isinstance(error, ServiceError) and error.service_error == INVOCATION_COUNTER_ERROR:
            raise error
        link.count("security_errors" if isinstance(error, SecurityError) else "apdu_errors")
        _log.debug("meter %s: %s", self._name, error)

    def _tell_problems(self, reading: Reading, link: Link) -> None:
        if reading.problems == self._told:
            return
        for address, text in reading.problems.items():
            if self._told.get(address) != text:
                link.event("mapping", f"{address} does not fit the meter: {text}", severity=500, address=address)
        self._told = dict(reading.problems)

    def _count_oddities(self, session: Session, link: Link) -> None:
        seen = session.oddities
        if seen == self._odd:
            return
        for name, number in seen.items():
            before = self._odd.get(name, 0)
            if number > before:
                link.count(name, number - before)
            if number and not before:
                _log.info("meter %s: first of %s in this association (%d)", self._name, name, number)
        self._odd = seen

    # --- clock ---------------------------------------------------------------------------------------------------

    async def _check_clock(self, session: Session, link: Link) -> None:
        """Reads the meter's clock; the middle of question and answer is what it is compared with."""
        asked = datetime.now(UTC)
        try:
            value = await session.do(session.association.get(_CLOCK))
        except DlmsError as error:
            if not isinstance(error, AccessError):
                self._count_error(error, link)
            # It answered: that is all a keep-alive wants.
            session.last_exchange = asyncio.get_running_loop().time()
            return
        answered = datetime.now(UTC)
        time = zone_time(value, self._zone, self._config.deviation_sign)
        if time is None or time.utc is None:
            link.count("clock_unreadable")
            return
        self.clock_error = (time.utc - (asked + (answered - asked) / 2)).total_seconds()
        link.count("clock_reads")
        wrong = abs(self.clock_error) > self._config.clock_tolerance
        if wrong:
            link.count("clock_skewed")
        if wrong != self._clock_told:
            self._clock_told = wrong
            state = f"is {self.clock_error:+.0f} s off" if wrong else "is right again"
            link.event("D02", f"The clock of meter {self._name} {state}", severity=500 if wrong else 300)

    # --- load profiles -------------------------------------------------------------------------------------------

    async def _read_profiles(self, session: Session, link: Link) -> None:
        for name, points in profiles_of(list(self._points.values())).items():
            try:
                await self._read_profile(session, link, name, points)
            except DlmsError as error:
                self._count_error(error, link)
                link.count("profile_errors")

    async def _read_profile(self, session: Session, link: Link, name: bytes, points: list[BoundPoint]) -> None:
        service = session.association
        columns = self._columns.get(name)
        if columns is None:
            objects = await session.do(service.get(Attribute(obis.PROFILE, name, CAPTURE_OBJECTS)))
            columns = self._columns[name] = columns_of(objects, points)
            for point in columns.missing:
                text = f"{point.address}: profile {obis.text(name)} does not capture {point.fields['obis']}"
                link.event("mapping", text, severity=500, address=point.address)
        if columns.clock < 0 or not columns.points:
            return
        if self._last_rows is None:
            name_of_file = re.sub(r"[^A-Za-z0-9_.-]", "_", self._name)
            self._last_rows = LastRows(link.data_directory / f"dlms-profiles-{name_of_file}.json")
        now = datetime.now(UTC)
        known = self._last_rows.get(name)
        start = known if known is not None else now - timedelta(seconds=self._config.profile_depth)
        # The meter may be ahead of us: rows that it has written already belong in, too.
        end = now + timedelta(seconds=max(0.0, self.clock_error or 0.0) + 1.0)
        scales = [self._reading.scale_for(point) for _, point in columns.points]
        sign = self._config.deviation_sign
        selective = bool(service.conformance & Conformance.SELECTIVE_ACCESS)
        for first, last in ranges(start, end) if selective else [(start, end)]:
            # Without selective access the whole buffer comes, and what is known is left out here.
            zone = self._zone
            bounds = by_range(first.astimezone(zone), last.astimezone(zone), sign) if selective else b""
            rows = await session.do(service.get(Attribute(obis.PROFILE, name, BUFFER), bounds))
            batch, known, bad = rows_to_batch(rows, columns, scales, zone=zone, sign=sign, after=known)
            if bad:
                link.count("profile_rows_unreadable", bad)
            if len(batch.rows):
                link.publish(batch)
                link.count("profile_rows", len(batch.rows))
            if known is not None:
                self._last_rows.put(name, known)

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
        progress = Progress()
        try:
            async with asyncio.timeout(command.timeout):
                # A command that has left takes its answer's time-out from the command, not from the polling.
                step = session.association.action(disconnector.method(name, wanted), encode(Tag.INT8, 0))
                await session.do(step, within=command.timeout, command=progress, turn=command.send_within)
                return await self._read_back(session, command, name, wanted)
        except DlmsError as error:
            return disconnector.of_error(command, error, sent=progress.sent)
        except (OSError, TimeoutError) as error:
            if progress.sent:
                return disconnector.unknown(command, str(error) or "no answer in time")
            text = f"not sent: {error or 'the association was busy too long'}"
            cause = AddCause.ABORTION_BY_COMMUNICATION_LOSS
            return Outcome(StatusCode.BadNoCommunication, cause, "link", text, command.command_id)

    async def _read_back(self, session: Session, command: DeviceCommand, name: bytes, wanted: int) -> Outcome:
        """Reads the control state until it has followed or the time of the command is nearly over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(command.timeout / 2, 10.0)
        state: int | None = None
        while True:
            try:
                value: Value = await session.do(
                    session.association.get(disconnector.control_state(name)), command=Progress()
                )
                state = value if isinstance(value, int) and not isinstance(value, bool) else None
            except DlmsError:
                state = None
            if state in {wanted, disconnector.READY} or loop.time() + _READ_BACK_EVERY > deadline:
                break
            await asyncio.sleep(_READ_BACK_EVERY)
        if state is not None:
            self._publish_position(name, state)
        return disconnector.after_read_back(command, wanted, state)

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
        self._columns.clear()
        self._changed.set()

    def read_now(self) -> None:
        """Reads everything as soon as the association is free, without waiting for the next poll."""
        self._changed.set()

    async def discover(self) -> Sequence[DiscoveredPoint]:
        """The meter's object list, registers with their unit.

        Raises:
            ConnectionError: no association, or the meter does not give its list.
        """
        session = self._session
        if session is None:
            raise LinkLost(f"no association with meter {self._name}")
        service = session.association
        try:
            objects = await session.do(service.get(Attribute(obis.ASSOCIATION, obis.ASSOCIATION_LN, 2)))
            scalers = await session.do(service.get_many(registers(objects)))
        except (DlmsError, TimeoutError) as error:
            raise LinkLost(f"the object list cannot be read: {error}") from error
        return discovered(objects, scalers)


def _octets(secret: SecretStr) -> bytes:
    return bytes.fromhex(secret.get_secret_value())


def _refusal_text(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, ServiceError) and error.service_error == INVOCATION_COUNTER_ERROR:
        return f"{text}; the meter's counter cannot be followed"
    return text
