"""The link supervisor: connect, back-off with jitter, health, flap damping; one for every driver and every device."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from address_space import clock
from address_space.addcause import AddCause
from address_space.events import Event, EventJournal
from address_space.point import Batch
from address_space.ports import Outcome
from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.drivers.capture import CaptureRing, Flow
from twin_gateway.drivers.contract import (
    DeviceCommand,
    Driver,
    LinkService,
    PointChange,
    RetiringDriver,
    ServingDriver,
)
from twin_gateway.drivers.link_services import LinkServices
from twin_gateway.drivers.spread import Spread
from twin_gateway.drivers.tls import why

log = logging.getLogger(__name__)


class LinkState(StrEnum):
    """What is known of a link."""

    DOWN = "down"
    CONNECTING = "connecting"
    UP = "up"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waiting times between attempts, seconds: doubled from `first` to `most`, each spread by a quarter both ways.

    A link that was up for `steady` seconds starts again from `first`; one that flaps waits `most` each time.
    """

    first: float = 1.0
    most: float = 30.0
    steady: float = 10.0


FLAPS_ALLOWED = 5
FLAP_WINDOW_S = 600.0
ERRORS_KEPT = 1000
LAST_RESORT_S = 5.0
SERVICE_S = 120.0
UPDATE_S = 120.0


class LinkSupervisor(LinkServices):
    """Runs one driver for ever and tells the table, the events and its own counters how the link does.

    Attributes:
        address: address of the link's place, `<grid>/_sys/<gateway>/_/_/<link>`.
        counters: connects, losses, samples and whatever the driver counts.
        reason: why the link is down, one sentence; empty while it is up.
        flapping: lost more than five times within the last ten minutes.
        last_errors: address of a point (empty for the link) -> time and text of its last error; the latest 1 000.
        ring: the last octets on the wire.
        kept: says until when (ticks) what was published is on disk; without a history nothing is waited for.
        certificates: files of its TLS whose expiry is supervised.
        way: what it shares with other links, see `DeviceConfig`.
        announces: it tells of losses by events of its own; False while the supervision of devices does so.
        sheds: points of it have been retired; what a driver had under way for them is left out.
    """

    def __init__(
        self,
        name: str,
        driver: Driver,
        *,
        table: PointTable,
        events: EventJournal,
        address: str,
        data_directory: Path,
        backoff: Backoff | None = None,
        on_state: Callable[[LinkSupervisor], None] | None = None,
        spread: Spread | None = None,
    ) -> None:
        super().__init__()
        self._name = name
        self.driver = driver
        self.address = address
        self.counters: Counter[str] = Counter()
        self.reason = "not connected yet"
        self.flapping = False
        self.announces = True
        self.sheds = False
        self.certificates: tuple[Path, ...] = ()
        self.way = ""
        self.last_change = clock.now()
        self._table = table
        self._events = events
        self._data_directory = data_directory
        self._backoff = backoff or Backoff()
        self._on_state = on_state
        self._spread = spread
        self._state = LinkState.DOWN
        self._losses: deque[float] = deque(maxlen=FLAPS_ALLOWED + 1)
        self._announced = False
        self._fault = ""
        self._calm: asyncio.TimerHandle | None = None
        self.last_errors: dict[str, tuple[int, str]] = {}
        self.ring = CaptureRing()
        self.kept: Callable[[], int] = clock.now

    # ---- what the driver may use (contract.Link) ------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the device."""
        return self._name

    @property
    def data_directory(self) -> Path:
        """Where the driver may keep small durable things; made when first asked for."""
        self._data_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._data_directory

    @property
    def state(self) -> LinkState:
        """State of the link."""
        return self._state

    def up(self) -> None:
        """The device answers."""
        if self._state is LinkState.UP:
            return
        self.counters["connects"] += 1
        self.reason = ""
        # The points stay as they are until the device has delivered them anew.
        self._change(LinkState.UP)
        if not self.flapping:
            self._tell_up()

    def _tell_up(self) -> None:
        log.info("link %s is up", self._name)
        if self._announced and self.announces:
            self._events.append(Event("D01", f"Link {self._name} is up", 300, self.address, state="inactive"))
        self._announced = False

    def publish(self, batch: Batch) -> None:
        """Put samples into the table."""
        if self.sheds:
            batch = self._table.without_retired(batch)
        self.counters["samples"] += len(batch.rows) + len(batch.texts)
        self._table.ingest(batch)

    def event(
        self,
        code: str,
        text: str,
        *,
        severity: int = 400,
        address: str = "",
        source_time: int = 0,
        time_quality: str | None = None,
    ) -> None:
        """Put an event into the journal, about the link unless an address is given."""
        where = address or self.address
        self._events.append(Event(code, text, severity, where, source_time=source_time, time_quality=time_quality))

    def count(self, counter: str, by: int = 1) -> None:
        """Add to a counter of the link."""
        self.counters[counter] += by

    def kept_until(self) -> int:
        """Ticks: what was published before is on disk, as far as anything is kept."""
        return self.kept()

    def error(self, text: str, address: str = "") -> None:
        """Note the last error of a point, or of the link."""
        known = self.last_errors
        if address not in known and len(known) >= ERRORS_KEPT:
            del known[next(iter(known))]
        known.pop(address, None)
        known[address] = (clock.now(), text)

    @property
    def last_error(self) -> str:
        """The latest of the last errors, with the address of its point; empty before the first."""
        if not self.last_errors:
            return ""
        address = next(reversed(self.last_errors))
        text = self.last_errors[address][1]
        return f"{address}: {text}" if address else text

    def connected(self, flow: Flow) -> None:
        """Say between whom the octets go from now on."""
        self.ring.connected(flow)

    def traffic(self, sent: bool, octets: bytes) -> None:
        """Keep octets in the capture ring."""
        self.ring.add(sent, octets)

    # ---- what the gateway uses ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the link until cancelled."""
        wait = self._backoff.first
        loop = asyncio.get_running_loop()
        try:
            while True:
                if self._spread is not None:
                    await self._spread.turn()
                self._change(LinkState.CONNECTING)
                began = loop.time()
                reason = await self._attempt()
                was_up = self._state is LinkState.UP
                if was_up and loop.time() - began >= self._backoff.steady:
                    wait = self._backoff.first
                self._lost(reason, was_up=was_up)
                if self.flapping:
                    wait = self._backoff.most
                # Not for secrets: jitter keeps a thousand meters from knocking at once.
                await asyncio.sleep(wait * random.uniform(0.75, 1.25))  # noqa: S311
                wait = min(wait * 2, self._backoff.most)
        finally:
            if self._calm is not None:
                self._calm.cancel()
            if isinstance(self.driver, RetiringDriver):
                self.driver.retire()
            self._change(LinkState.STOPPED)
            self._table.link_lost(self._name)

    async def _attempt(self) -> str:
        """One run of the driver; why it ended.

        It is a task of its own: a group of tasks inside gives an error priority over a cancellation of the same
        moment, and leaves the count of cancellations raised (Python 3.11), so only from outside is it sure who ended.
        """
        running = asyncio.create_task(self.driver.run(self))
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            raise
        try:
            running.result()
        except asyncio.CancelledError:
            return "the driver gave up"
        except (OSError, TimeoutError) as error:
            return why(str(error)) or type(error).__name__
        except Exception as error:  # a fault of one driver must not take the others down
            self.counters["driver_faults"] += 1
            reason = f"driver fault: {type(error).__name__}: {error}"
            if reason != self._fault:  # it may come again with every attempt
                log.exception("link %s: the driver failed", self._name)
            self._fault = reason
            return reason
        return "the association ended"

    def _lost(self, reason: str, *, was_up: bool) -> None:
        self.reason = reason
        self._change(LinkState.DOWN)
        self._table.link_lost(self._name)
        if was_up:
            self.counters["losses"] += 1
            self._note_flap()
        else:
            self.counters["attempts_failed"] += 1
        if self._announced:
            log.debug("link %s still down: %s", self._name, reason)
            return
        self._announced = True
        log.warning("link %s is down: %s", self._name, reason)
        if self.announces:
            text = f"Link {self._name} is down: {reason}"
            self._events.append(Event("D01", text, 700, self.address, state="active"))

    def _note_flap(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._losses.append(now)
        flapping = len(self._losses) > FLAPS_ALLOWED and now - self._losses[0] < FLAP_WINDOW_S
        if flapping and not self.flapping:
            text = f"Link {self._name} is degraded (flapping): lost {len(self._losses)} times within ten minutes"
            log.warning("%s", text)
            if self.announces:
                self._events.append(Event("D01", text, 700, self.address, state="active"))
            self._announced = True
        self.flapping = flapping
        if self._calm is not None:
            self._calm.cancel()
        self._calm = loop.call_at(self._losses[0] + FLAP_WINDOW_S, self._calmed) if flapping else None

    def _calmed(self) -> None:
        """No more than five losses are left within ten minutes."""
        self.flapping, self._calm = False, None
        if self._state is LinkState.UP:
            self._tell_up()

    def _change(self, state: LinkState) -> None:
        if state is self._state:
            return
        self._state = state
        self.last_change = clock.now()
        if self._on_state is not None:
            self._on_state(self)

    async def execute(self, command: DeviceCommand) -> Outcome:
        """Pass a command to the driver; without an association it is refused here and never waits for one."""
        if self._state is not LinkState.UP:
            text = f"Link {self._name} is {self._state}: {self.reason}".rstrip(": ")
            return Outcome(
                StatusCode.BadNoCommunication, AddCause.ABORTION_BY_COMMUNICATION_LOSS, "link", text, command.command_id
            )
        try:
            async with asyncio.timeout(command.timeout + LAST_RESORT_S):
                return await self.driver.execute(command)
        except TimeoutError:
            # The driver has its own, shorter time-out; this is the last resort, so the frame may well be out.
            text = "No answer from the device in time; the outcome is unknown and the command is not repeated"
            return Outcome(
                StatusCode.BadTimeout, AddCause.TIME_LIMIT_OVER, "device", text, command.command_id, sent=True
            )

    async def update(self, change: PointChange) -> None:
        """Let the driver have other points, as of its `update`; TimeoutError when it takes too long."""
        async with asyncio.timeout(UPDATE_S):
            await self.driver.update(change)

    async def serve(self, service: LinkService) -> Outcome:
        """Ask the driver for a service; BadNotSupported when it has none, refused while the link is not up."""
        if not isinstance(self.driver, ServingDriver):
            text = f"the protocol of link {self._name} has no service to {service}"
            return Outcome(StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED, "link", text)
        if self._state is not LinkState.UP:
            text = f"Link {self._name} is {self._state}: {self.reason}".rstrip(": ")
            return Outcome(StatusCode.BadNoCommunication, AddCause.ABORTION_BY_COMMUNICATION_LOSS, "link", text)
        try:
            async with asyncio.timeout(SERVICE_S):
                return await self.driver.serve(service)
        except TimeoutError:
            text = f"the service took longer than {SERVICE_S:g} s"
            return Outcome(StatusCode.BadTimeout, AddCause.TIME_LIMIT_OVER, "device", text, sent=True)
