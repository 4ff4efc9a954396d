"""The 61850 driver: associate, read the model, deliver by reports and polls, command, until the association ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Sequence
from pathlib import Path

from address_space import clock
from address_space.addcause import AddCause
from address_space.ports import Outcome
from address_space.quality import StatusCode
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
from twin_gateway.drivers.device_files import FileStore
from twin_gateway.drivers.tls import client_context

from . import data_sets
from .association import Association, Peer
from .compare import compare, read_revisions, summary
from .config import Iec61850Config
from .delivered import DeliveredEntries
from .device_services import DeviceServices, ServedDevice
from .discovery import read_model
from .entries import EntryStore
from .errors import MmsConnectionError, MmsError, MmsTimeout, ModelError
from .model import Model
from .points import points_of
from .report import ReportDecoder
from .scl import read_scl
from .session import Session
from .unmapped import UnmappedMembers, reported

_SAVE_EVERY = 1.0
_GOODBYE = 1.5
_FIRST_RETRY, _LAST_RETRY = 5.0, 80.0
_CERTIFICATE_WARNING = 30 * 86_400.0
"""Seconds before the end of a certificate at which it is told, as of those in files."""


def _kept_until(link: Link) -> int:
    """Ticks: what was published before is on disk, and whoever keeps nothing has had some time to pass it on."""
    return min(link.kept_until(), clock.now() - round(_SAVE_EVERY * clock.TICKS_PER_SECOND))


def _offered(model: Model) -> list[DiscoveredPoint]:
    return [
        DiscoveredPoint({"ref": point.reference}, ".".join((point.function, *point.path)), point.cdc)
        for domain in model.nodes
        for point in points_of(model, domain)
    ]


class Iec61850Driver(ServedDevice):
    """Driver of one IED; see `twin_gateway.drivers.contract.Driver` for its obligations."""

    def __init__(self, name: str, config: Iec61850Config, points: Sequence[BoundPoint]) -> None:
        super().__init__()
        self._name = name
        self._config = config
        self._points = {point.row: point for point in points}
        self._session: Session | None = None
        self._control_numbers = itertools.count(1)
        self._told: set[tuple[str, str]] = set()
        self._entries: EntryStore | None = None
        self._delivered: dict[str, DeliveredEntries] = {}
        self._unmapped = UnmappedMembers()

    async def run(self, link: Link) -> None:
        """Associate and deliver until the association ends.

        Raises:
            LinkLost: with the reason, always when it is not cancelled.
        """
        try:
            await self._run(link)
        except MmsError as error:
            raise LinkLost(str(error)) from error

    async def _run(self, link: Link) -> None:
        config = self._config
        tls = await asyncio.to_thread(client_context, config.tls) if config.tls is not None else None
        name = config.tls.server_name if config.tls is not None else None
        entries = self._entries
        if entries is None:
            path = link.data_directory / f"{self._name}.entries.json"
            entries = self._entries = await asyncio.to_thread(EntryStore, path)
        session: Session | None = None

        def on_report(buffer: bytes, start: int, stop: int) -> None:
            if session is not None:
                session.on_report(buffer, start, stop)

        def on_read() -> None:
            if session is not None:
                session.on_read()

        association = await Association.connect(
            Peer(config.host, config.endpoint_port, tls, name or None),
            on_report,
            on_read,
            timeout=config.connect_timeout,
            request_timeout=config.timeout,
            link=link,
        )
        tasks: list[asyncio.Task[object]] = []
        orderly = False
        try:
            link.up()
            self._look_at_certificate(link, association.peer_valid_until)
            watch = asyncio.create_task(association.watch(idle=config.idle, timeout=config.timeout))
            tasks.append(watch)
            model = await read_model(association, config.ied or "")
            await self._compare(link, association, model)
            self._session = session = Session(
                association,
                model,
                link=link,
                config=config,
                decoder=ReportDecoder(),
                entries=entries,
                delivered=self._delivered,
                counter=self._control_numbers,
                told=self._told,
            )
            store = FileStore(link, largest=config.largest_file, room=config.file_room)
            self.services = DeviceServices(association, model, link, store)
            tasks.append(asyncio.create_task(self._save(link, entries)))
            await session.arrange(self._points.values())
            ours = data_sets.prefix(link.name, str(link.data_directory))
            self._unmapped.learn(await asyncio.to_thread(reported, model, ours))
            self._unmapped.renew(session.mapped)
            tasks.append(asyncio.create_task(self._poll(session)))
            tasks.append(asyncio.create_task(self._scan(session)))
            tasks.append(asyncio.create_task(self._take_free(session)))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done() and task is not watch:
                    await task
            raise LinkLost(await watch)
        except asyncio.CancelledError:
            orderly = True
            raise
        finally:
            self._session = self.services = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if session is not None:
                session.stop()
            await self._end(link, association, session, entries, orderly=orderly)

    async def _end(
        self, link: Link, association: Association, session: Session | None, entries: EntryStore, *, orderly: bool
    ) -> None:
        """Give the blocks back and close; bounded, also when the driver is being cancelled."""
        with contextlib.suppress(TimeoutError, MmsError):
            async with asyncio.timeout(_GOODBYE):
                if session is not None and not association.closed.done():
                    await session.release()
                await association.close()
        with contextlib.suppress(MmsError):
            await association.close()
        try:
            # on the loss of the link what is not on disk yet waits for the next association
            due = entries.all() if orderly else entries.due(clock.now(), _kept_until(link))
            if due is not None:
                await asyncio.to_thread(entries.write, due)
        except OSError as error:
            link.event("G02", f"cannot keep the entry ids of {self._name}: {error}", severity=600)

    async def _save(self, link: Link, entries: EntryStore) -> None:
        while True:
            await asyncio.sleep(_SAVE_EVERY)
            try:
                due = entries.due(clock.now(), _kept_until(link))
                if due is not None:
                    await asyncio.to_thread(entries.write, due)
            except OSError as error:
                link.count("store_errors")
                self._tell(link, "G02", f"cannot keep the entry ids of {self._name}: {error}")

    async def _scan(self, session: Session) -> None:
        while True:
            await asyncio.sleep(self._config.integrity)
            with contextlib.suppress(MmsTimeout):
                await session.scan()

    @staticmethod
    async def _take_free(session: Session) -> None:
        """Ask again, ever less often, for report blocks that were not free: it may be our own lost association."""
        wait = _FIRST_RETRY
        while True:
            await asyncio.sleep(wait)
            wait = _FIRST_RETRY if await session.take_free() else min(2 * wait, _LAST_RETRY)

    async def _poll(self, session: Session) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._config.poll
        while True:
            await asyncio.sleep(max(0.0, due - loop.time()))
            await session.poll()
            due = max(due + self._config.poll, loop.time())

    async def _compare(self, link: Link, association: Association, model: Model) -> None:
        """Compare the live model with the SCL file: the list is kept, and told once."""
        if self._config.scl is None:
            return
        try:
            expected = await asyncio.to_thread(read_scl, Path(self._config.scl), self._config.ied)
        except ModelError as error:
            self._tell(link, "D03", f"no comparison with the SCL file: {error}")
            return
        model.ied = model.ied or expected.ied
        live = await read_revisions(association, expected, model)
        found = await asyncio.to_thread(compare, expected, model, live)
        self.differences = found
        link.count("model_differences", len(found))
        if found:
            self._tell(link, "D03", summary(found))

    def _look_at_certificate(self, link: Link, until: float | None) -> None:
        """Tell once that the device's own certificate is about to expire."""
        if until is not None and until - time.time() < _CERTIFICATE_WARNING:
            when = time.strftime("%Y-%m-%d", time.gmtime(until))
            self._tell(link, "D09", f"the certificate of the device itself expires on {when}")

    def _tell(self, link: Link, code: str, text: str) -> None:
        if ("", text) not in self._told:
            self._told.add(("", text))
            link.event(code, text, severity=600)

    async def execute(self, command: DeviceCommand) -> Outcome:
        """Carry out a command and await the device's own answer. Never raises for a refusal."""
        session = self._session
        if session is None:
            text = "no association with the device"
            return Outcome(
                StatusCode.BadNoCommunication,
                AddCause.ABORTION_BY_COMMUNICATION_LOSS,
                "link",
                text,
                command.command_id,
            )
        target = session.control_of(command.point.row)
        if target is None:
            text = "the device's model has nothing to operate there"
            return Outcome(StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED, "device", text, command.command_id)
        control = command.point.control or {}
        outcome = await session.controls.execute(
            command,
            target,
            limit=float(control.get("timeout") or command.timeout),
            feedback=bool(control.get("feedback", True)),
        )
        if not outcome.good:
            session.note(outcome.text, command.point.address)
        return outcome

    async def serve(self, service: LinkService) -> Outcome:
        """A general interrogation of all report blocks, with a reading of what no block brings."""
        if service is not LinkService.INTERROGATE:
            text = "61850 devices take their time from SNTP or PTP, not from their clients"
            return Outcome(StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED, "link", text)
        session = self._session
        if session is None:
            text = "no association with the device"
            return Outcome(StatusCode.BadNoCommunication, AddCause.ABORTION_BY_COMMUNICATION_LOSS, "link", text)
        try:
            await session.interrogate()
        except MmsError as error:
            return Outcome(StatusCode.Bad, AddCause.UNKNOWN, "device", str(error), sent=True)
        return Outcome(StatusCode.Good, text="all report blocks interrogated, the rest read", sent=True)

    async def update(self, change: PointChange) -> None:
        """Add and remove points without reconnecting; only what delivers added ones is asked for its values."""
        for point in change.removed:
            self._points.pop(point.row, None)
        for point in change.added:
            self._points[point.row] = point
        session = self._session
        if session is None:
            return
        try:
            await session.arrange(self._points.values(), fresh={point.row for point in change.added})
            self._unmapped.renew(session.mapped)
        except MmsConnectionError:
            return  # the association has ended; the next one starts with these points
        except MmsError as error:  # half arranged: the next association starts with these points
            session.abort(f"its points could not be arranged anew: {error}")

    @property
    def unmapped_count(self) -> int:
        """Members listed."""
        return len(self._unmapped)

    @property
    def unmapped_dropped(self) -> int:
        """Members that found no room in the list."""
        return self._unmapped.dropped

    def unmapped(self) -> Sequence[Stray]:
        """Members of the device's data sets that no point takes."""
        return self._unmapped.list()

    async def read_unmapped(self) -> None:
        """Read their values. Raises ConnectionError when the device does not answer."""
        session = self._session
        if session is None:
            return
        try:
            await session.read_unmapped(self._unmapped)
        except MmsError as error:
            raise LinkLost(str(error)) from error

    async def discover(self) -> Sequence[DiscoveredPoint]:
        """Every point that the device offers.

        Raises:
            ConnectionError: there is no association.
        """
        session = self._session
        if session is None:
            raise LinkLost(f"no association with {self._name}")
        return await asyncio.to_thread(_offered, session.model)  # thousands of data objects take their time
