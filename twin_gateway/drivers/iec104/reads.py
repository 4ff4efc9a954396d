"""The read command (C_RD_NA_1): single objects on request, and those that no interrogation answers again and again."""

from __future__ import annotations

import asyncio
import heapq
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from address_space import clock
from address_space.addcause import AddCause
from address_space.ports import Outcome
from address_space.quality import StatusCode, status_of
from twin_gateway.drivers.contract import BoundPoint, DeviceLine, Link
from twin_gateway.drivers.iec104.codec import Asdu, Information, encode
from twin_gateway.drivers.iec104.columns import Columns
from twin_gateway.drivers.iec104.config import common_address_of
from twin_gateway.drivers.iec104.points import PointIndex
from twin_gateway.drivers.iec104.times import NO_TIME
from twin_gateway.drivers.iec104.types import BY_NAME, MAX_ADDRESS, TYPES, AsduError, Cause

READ = BY_NAME["C_RD_NA_1"].number
_OBJECT = re.compile(r"(\d{1,5})/(\d{1,8})")
_MOST_STATION = 65_534
_LEAST_S = 0.1


class Answer(NamedTuple):
    """What a station answered to a read command; `refusal` says why there is no value, else it is empty."""

    refusal: str = ""
    type: str = ""
    value: float = 0.0
    status: int = StatusCode.Good
    time_ms: int | None = None


class Reads:
    """Read commands of one association.

    Args:
        send: sends an ASDU; False when it does not leave.
        patience: seconds within which an answer must come.
        originator: ORG octet of what is sent.

    Attributes:
        waiting: objects that are waited for, (common address << 24 | object address) -> the answer.
    """

    def __init__(self, send: Callable[[bytes], bool], patience: float, originator: int = 0) -> None:
        self.waiting: dict[int, asyncio.Future[Answer]] = {}
        self._send, self._patience, self._originator = send, patience, originator

    def came(self, columns: Columns) -> None:
        """Objects have been received; those with the cause `requested` answer."""
        for at in np.flatnonzero(columns.cause & 0x3F == Cause.REQUEST).tolist():
            key = int(columns.common_address[at]) << 24 | int(columns.address[at])
            waiting = self.waiting.get(key)
            if waiting is not None and not waiting.done():
                moment = int(columns.time[at])
                waiting.set_result(
                    Answer(
                        "",
                        TYPES[int(columns.type[at])].name,
                        float(columns.value[at]),
                        status_of(int(columns.quality[at])),
                        None if moment == NO_TIME else moment,
                    )
                )

    def mirrored(self, asdu: Asdu) -> bool:
        """A read command that comes back is a refusal; False when nobody waits for it."""
        waiting = self.waiting.get(asdu.common_address << 24 | asdu.objects[0].address)
        if asdu.type != READ or waiting is None or waiting.done():
            return False
        if asdu.negative or asdu.cause >= Cause.UNKNOWN_TYPE:
            waiting.set_result(Answer(f"the station refuses to read it (cause {asdu.cause})"))
        return True  # a mere confirmation, which the standard does not know, says nothing yet

    async def read(self, common_address: int, address: int) -> Answer:
        """Ask for one object. Raises TimeoutError without an answer, ConnectionError when it cannot be sent."""
        key = common_address << 24 | address
        known = self.waiting.get(key)
        if known is not None:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(known)
        request = Asdu(READ, Cause.REQUEST, common_address, (Information(address),), originator=self._originator)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.waiting[key] = answer
        try:
            if not self._send(encode(request)):
                raise ConnectionError("the link does not take more at present")
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(answer)
        finally:
            del self.waiting[key]
            if not answer.done():  # whoever has joined is told as well; nobody having done so is no fault
                answer.set_exception(TimeoutError())
                answer.exception()

    async def ask(self, about: str) -> tuple[Outcome, Sequence[DeviceLine]]:
        """One object, `station/address`, for a person: value, type and quality as lines."""
        match = _OBJECT.fullmatch(about)
        if match is None or int(match[1]) > _MOST_STATION or int(match[2]) > MAX_ADDRESS:
            return Outcome(StatusCode.BadInvalidArgument, gate="link", text=f"{about!r} is no station/address"), ()
        try:
            answer = await self.read(int(match[1]), int(match[2]))
        except TimeoutError:
            text = f"{about} was not answered within {self._patience:g} s"
            return Outcome(StatusCode.BadTimeout, AddCause.TIME_LIMIT_OVER, "device", text, sent=True), ()
        except ConnectionError as problem:
            return Outcome(StatusCode.BadNoCommunication, AddCause.NONE, "link", str(problem)), ()
        except AsduError as problem:
            return Outcome(StatusCode.BadInvalidArgument, gate="link", text=str(problem)), ()
        if answer.refusal:
            return Outcome(StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED, "device", answer.refusal, sent=True), ()
        when = "" if answer.time_ms is None else clock.iso(clock.from_unix_ns(answer.time_ms * 1_000_000))
        line = DeviceLine(f"{about} {answer.type}", f"{answer.value:g}", f"{StatusCode(answer.status).name} {when}")
        return Outcome(StatusCode.Good, text="the station answered", sent=True), (line,)

    def fail(self, problem: Exception) -> None:
        """The connection is lost: nobody will answer."""
        for waiting in self.waiting.values():
            if not waiting.done():
                waiting.set_exception(problem)
                waiting.exception()  # whoever waits sees it; nobody waiting is no fault

    async def keep(self, config: Any, index: Callable[[], PointIndex], link: Link) -> None:
        """Read every object whose points have a `read` interval, one after the other, until cancelled.

        What does not answer is a time-out of the link and the last error of its point, and is asked again when due.
        """
        loop = asyncio.get_running_loop()
        due: list[tuple[float, int]] = []
        wanted: dict[int, tuple[float, str]] = {}
        seen: PointIndex | None = None
        while True:
            if seen is not (seen := index()):
                wanted = _wanted(config, seen.points)
                for key in wanted.keys() - {key for _, key in due}:
                    heapq.heappush(due, (loop.time(), key))
            if not due or due[0][0] > loop.time():
                # points may be added at any time; a second is soon enough to notice
                await asyncio.sleep(min(1.0, due[0][0] - loop.time()) if due else 1.0)
                continue
            _, key = heapq.heappop(due)
            if key not in wanted:
                continue
            interval, address = wanted[key]
            heapq.heappush(due, (loop.time() + interval, key))
            try:
                answer = await self.read(key >> 24, key & MAX_ADDRESS)
            except (TimeoutError, ConnectionError) as problem:
                link.count("timeouts" if isinstance(problem, TimeoutError) else "unsent_requests")
                link.error(f"not read: {str(problem) or f'no answer within {self._patience:g} s'}", address)
                continue
            link.count("reads")
            if answer.refusal:
                link.count("refused_requests")
                link.error(answer.refusal, address)


def _wanted(config: Any, points: Iterable[BoundPoint]) -> dict[int, tuple[float, str]]:
    """Object -> (shortest interval of its points, address of that point)."""
    wanted: dict[int, tuple[float, str]] = {}
    for point in points:
        interval = point.fields.get("read")
        if interval is None:
            continue
        key = common_address_of(config, point.fields) << 24 | int(point.fields["ioa"])
        if key not in wanted or interval < wanted[key][0]:
            wanted[key] = (max(_LEAST_S, float(interval)), point.address)
    return wanted
