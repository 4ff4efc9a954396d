"""System commands of one started connection: interrogations, counters, clock, test, delay; each with its answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

from twin_gateway.drivers.contract import Link, LinkLost
from twin_gateway.drivers.iec104.codec import Asdu, Information, decode, encode
from twin_gateway.drivers.iec104.commands import Key, Pending, key_of, stamp_now
from twin_gateway.drivers.iec104.config import Iec104Config
from twin_gateway.drivers.iec104.counters import FREEZES, qualifiers
from twin_gateway.drivers.iec104.file_codec import FILE_TYPES
from twin_gateway.drivers.iec104.file_transfer import FileTransfer
from twin_gateway.drivers.iec104.files import StationFiles
from twin_gateway.drivers.iec104.gauges import Gauges
from twin_gateway.drivers.iec104.intake import Intake
from twin_gateway.drivers.iec104.link import Connection
from twin_gateway.drivers.iec104.reads import READ, Reads
from twin_gateway.drivers.iec104.times import Zone
from twin_gateway.drivers.iec104.types import BROADCAST, BY_NAME, AsduError, Cause

log = logging.getLogger(__name__)
GENERAL = 20
"""QOI: station interrogation."""
_LONGEST_INTERROGATION = 60  # in answer time-outs
_MINUTE_MS = 60_000
INITIALISED, INTERROGATION, COUNTERS, CLOCK, DELAY, TEST = (
    BY_NAME[name].number for name in ("M_EI_NA_1", "C_IC_NA_1", "C_CI_NA_1", "C_CS_NA_1", "C_CD_NA_1", "C_TS_TA_1")
)
_COUNTED = {
    INTERROGATION: "interrogations",
    COUNTERS: "counter_interrogations",
    CLOCK: "clock_commands",
    DELAY: "delay_acquisitions",
    TEST: "test_commands",
}


class Association:
    """User data transfer on one connection, from its start to its loss.

    Attributes:
        connection: what it runs on.
        pending: requests and commands that wait for answers.
        selected: selections that were confirmed.
        unfinished: confirmed commands whose termination may still come.
        renew: stations to be interrogated again; `wake` after adding to it.
        interrogated: the first interrogation of every station is over.
        reads, transfer, files: read commands, file transfer and what people want of it.
    """

    def __init__(
        self, config: Iec104Config, connection: Connection, link: Link, intake: Intake, gauges: Gauges
    ) -> None:
        self._config, self._link, self._intake, self._gauges = config, link, intake, gauges
        self._zone = Zone(config.time_zone, summer_bit=config.summer_bit)
        self.connection = connection
        self.pending: dict[Key, Pending] = {}
        self.selected: dict[Key, Asdu] = {}
        self.unfinished: dict[Key, Asdu] = {}
        self.renew: set[int] = set()
        self._woken = asyncio.Event()
        self._test_counter = 0
        self.interrogated = asyncio.Event()
        patience, originator = config.answer_timeout, config.originator
        self.reads = intake.reads = Reads(connection.send, patience, originator)
        self.transfer = FileTransfer(connection.send, patience, originator)
        self.files = StationFiles(link, self.transfer, self._zone, config.common_address)
        self._jobs: dict[str, Callable[[int], Awaitable[str]]] = {
            "interrogation": self.interrogate,
            "counters": self.counters,
            "clock": self.set_clock,
            "test": self.test,
        }

    def wake(self) -> None:
        """There is something in `renew`."""
        self._woken.set()

    def give_up(self, problem: LinkLost) -> None:
        """The connection is lost: nobody will answer."""
        for pending in self.pending.values():
            pending.fail(problem)
        self.selected.clear()
        self.unfinished.clear()
        self.reads.fail(problem)
        self.transfer.fail(problem)

    # -- what comes in ------------------------------------------------------------------------------------------

    def take(self, octets: bytes) -> None:
        """An ASDU that is no process information."""
        link = self._link
        try:
            if octets[0] in FILE_TYPES:
                if not self.transfer.take(octets):
                    link.count("unexpected_asdus")
                return
            asdu = decode(octets, datetime.now(UTC).year)
        except AsduError as problem:
            self._intake.book.undecoded((octets,), 1, link)
            log.debug("%s: %s", link.name, problem)
            return
        if asdu.type == INITIALISED and asdu.cause == Cause.INITIALISED:
            link.count("initialisations")
            stations = set(self._config.common_address)
            self.renew |= stations if asdu.common_address == BROADCAST else stations & {asdu.common_address}
            self.wake()
            return
        if self._config.originator and asdu.originator not in (0, self._config.originator):
            link.count("foreign_answers")  # of another controlling station's command
            return
        if asdu.type == READ and self.reads.mirrored(asdu):
            return
        key = key_of(asdu)
        pending = self.pending.get(key)
        if pending is not None and pending.take(asdu):
            if asdu.type == INTERROGATION and asdu.cause == Cause.ACTIVATION_TERM:
                self._intake.end(asdu.common_address)
            return
        if asdu.cause == Cause.ACTIVATION_TERM and self.unfinished.pop(key, None) is not None:
            if asdu.negative:
                text = f"{asdu.name} {asdu.common_address}/{key[2]} was confirmed but ended negatively"
                link.event("command", text, severity=600)
            return
        link.count("unexpected_asdus")

    # -- what is repeated ---------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Interrogate every station, then repeat what is configured, until cancelled."""
        config, loop = self._config, asyncio.get_running_loop()
        for station in config.common_address:
            await self.interrogate(station)
        self.interrogated.set()
        now = loop.time()
        intervals: dict[str, float] = {}
        due: dict[str, float] = {}
        for job, interval, first in (
            ("interrogation", config.gi_interval, config.gi_interval),
            ("counters", config.counter_interval, 0.0),
            ("clock", config.clock_sync, 0.0),
            ("test", config.test_interval, config.test_interval),
        ):
            if interval:
                intervals[job], due[job] = interval, now + (first or 0.0)
        while True:
            renew, self.renew = self.renew, set()
            self._woken.clear()
            for station in sorted(renew):
                await self.interrogate(station)
            for job in [job for job, at in due.items() if at <= loop.time()]:
                due[job] = loop.time() + intervals[job]
                for station in config.common_address:
                    await self.job(job, station)
            if self.renew:
                continue
            wait = min(due.values()) - loop.time() if due else None
            with suppress(TimeoutError):
                async with asyncio.timeout(None if wait is None else max(0.0, wait)):
                    await self._woken.wait()

    async def job(self, name: str, station: int) -> str:
        """One of `interrogation`, `counters`, `clock`, `test`: what went wrong, empty when all is well."""
        return await self._jobs[name](station)

    async def interrogate(self, station: int) -> str:
        """General interrogation, to its end."""
        began = time.monotonic()
        try:
            problem, _ = await self.ask(INTERROGATION, station, Information(0, GENERAL), terminates=True)
            if not problem:
                self._gauges.set(self._link, "gi_ms", round((time.monotonic() - began) * 1000))
            return problem
        finally:
            self._intake.end(station)

    async def counters(self, station: int) -> str:
        """Counter interrogation as configured: freezing or resetting first, then reading the groups, to its end."""
        config = self._config
        freeze = FREEZES[config.counter_freeze]
        for qualifier, terminates in qualifiers(config.counter_groups, freeze, read=config.counter_read):
            problem, answer = await self.ask(COUNTERS, station, Information(0, qualifier), terminates=terminates)
            if problem:
                return problem
            if not terminates and answer is not None:
                self.unfinished[key_of(answer)] = answer  # some stations end it nevertheless
        return ""

    async def set_clock(self, station: int) -> str:
        """Set the clock, after acquiring the delay of the line where that is configured."""
        if self._config.delay_acquisition:
            await self.acquire_delay(station)
        stamp = stamp_now(self._zone)
        problem, answer = await self.ask(CLOCK, station, Information(0, time=stamp), terminates=False)
        told = answer.objects[0].time if answer is not None else None
        if not problem and told is not None and told.ms is not None and told != stamp and stamp.ms is not None:
            # The confirmation may carry the time that the station had before.
            self._gauges.set(self._link, "clock_answer_ms", told.ms - stamp.ms)
        return problem

    async def test(self, station: int) -> str:
        """Test command with time tag: whether the station's application answers, not its connection only."""
        self._test_counter = (self._test_counter + 1) & 0xFFFF
        item = Information(0, self._test_counter, time=stamp_now(self._zone))
        began = time.monotonic()
        problem, answer = await self.ask(TEST, station, item, terminates=False)
        if not problem and answer is not None:
            if answer.objects[0].value != item.value:
                self._link.count("test_errors")
                return f"station {station} answered the test command with another counter"
            self._gauges.set(self._link, "test_ms", round((time.monotonic() - began) * 1000))
        return problem

    async def acquire_delay(self, station: int) -> str:
        """Measure the delay of the line (C_CD_NA_1) and load it into the station (IEC 60870-5-5, 6.13)."""
        sent = time.time_ns() // 1_000_000 % _MINUTE_MS
        problem, answer = await self.ask(DELAY, station, Information(0, sent), terminates=False)
        if problem or answer is None:
            return problem
        there_and_back = (time.time_ns() // 1_000_000 - int(answer.objects[0].value)) % _MINUTE_MS
        if there_and_back >= _MINUTE_MS // 2:  # the station's time lies after ours: nothing that could be a delay
            self._link.count("delay_errors")
            return f"station {station} answered the delay acquisition with a time in the future"
        delay = there_and_back // 2
        self._gauges.set(self._link, "delay_ms", delay)
        item = Information(0, delay)
        load = Asdu(DELAY, Cause.SPONTANEOUS, station, (item,), originator=self._config.originator)
        return "" if self._send(load) else f"the delay of station {station} could not be sent"

    # -- asking -------------------------------------------------------------------------------------------------

    def _send(self, asdu: Asdu) -> bool:
        if self.connection.send(encode(asdu)):
            return True
        self._link.count("unsent_requests")
        return False

    async def ask(self, kind: int, station: int, item: Information, *, terminates: bool) -> tuple[str, Asdu | None]:
        """Send a system command and see it through; what goes wrong is counted and told, the link stays.

        Returns:
            What went wrong, empty when all is well; and the confirmation when there was one.
        """
        link, counted = self._link, _COUNTED.get(kind, "requests")
        asdu = Asdu(kind, Cause.ACTIVATION, station, (item,), originator=self._config.originator)
        key, what = key_of(asdu), f"{asdu.name} of station {station}"
        if key in self.pending:
            return f"{what} is under way already", None
        pending = Pending(asdu)
        if not self._send(asdu):
            return f"{what} could not be sent", None
        self.pending[key] = pending
        patience = self._config.answer_timeout
        try:
            async with asyncio.timeout(patience):
                answer = await pending.confirmed
            if answer.negative or answer.cause >= Cause.UNKNOWN_TYPE:
                link.count("refused_requests")
                link.count(f"{counted}_refused")
                problem = f"{what} was refused (cause {answer.cause})"
                link.event("refused", problem, severity=300)
                return problem, answer
            if terminates:
                await self._terminated(pending, patience)
        except TimeoutError:
            link.count("timeouts")
            link.count(f"{counted}_unanswered")
            problem = f"{what} was not answered within {patience:g} s"
            link.event("timeout", problem, severity=300)
            return problem, None
        finally:
            del self.pending[key]
            pending.withdraw()
        link.count(f"{counted}_confirmed")
        return "", answer

    async def _terminated(self, pending: Pending, patience: float) -> None:
        """Wait for the end of an interrogation as long as its answers keep coming. Raises TimeoutError."""
        for _ in range(_LONGEST_INTERROGATION):
            heard = self._intake.answered_at
            await asyncio.wait((pending.terminated,), timeout=patience)
            if pending.terminated.done():
                await pending.terminated
                return
            if self._intake.answered_at <= heard:
                break
        raise TimeoutError
