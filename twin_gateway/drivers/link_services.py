"""What people ask of a link beside commands and its simple services: files of the device, and lists read of it."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from address_space.addcause import AddCause
from address_space.ports import Outcome
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DeviceFile, DeviceLine, DeviceTable, FileServingDriver, TableServingDriver

if TYPE_CHECKING:
    from twin_gateway.drivers.contract import Driver

log = logging.getLogger(__name__)

LISTING_S = 120.0
FETCHING_S = 3600.0
ANSWER_S = 5.0
"""A person is not kept waiting longer for a file; its end is an event."""


class LinkServices(ABC):
    """Part of the link supervisor: passes on with time-outs, refuses while the link is not up.

    Attributes:
        driver, reason: as of the link supervisor.
    """

    driver: Driver
    reason: str

    def __init__(self) -> None:
        self._fetching: set[asyncio.Task[Outcome]] = set()

    async def list_files(self, path: str) -> tuple[Outcome, Sequence[DeviceFile]]:
        """Files in a folder of the device, empty for all."""
        if not isinstance(self.driver, FileServingDriver):
            return _not_supported(self, "files"), ()
        if self.state != "up":
            return _down(self), ()
        try:
            async with asyncio.timeout(LISTING_S):
                return await self.driver.list_files(path)
        except TimeoutError:
            return _too_long(LISTING_S), ()

    async def read_table(self, table: DeviceTable, about: str) -> tuple[Outcome, Sequence[DeviceLine]]:
        """Read a list of the device; `about` narrows it."""
        if not isinstance(self.driver, TableServingDriver):
            return _not_supported(self, str(table)), ()
        if self.state != "up":
            return _down(self), ()
        try:
            async with asyncio.timeout(LISTING_S):
                return await self.driver.read_table(table, about)
        except TimeoutError:
            return _too_long(LISTING_S), ()

    async def fetch_file(self, name: str) -> Outcome:
        """Begin to fetch a file; what came of it if that is known within `ANSWER_S`, else Good: it is under way.

        Its end is an event in either case.
        """
        task = asyncio.get_running_loop().create_task(self._fetch(name))
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)
        await asyncio.wait((task,), timeout=ANSWER_S)
        if task.done():
            return task.result()
        return Outcome(StatusCode.Good, text=f"{name} is being fetched; events tell how far it is", sent=True)

    async def _fetch(self, name: str) -> Outcome:
        if not isinstance(self.driver, FileServingDriver):
            return _not_supported(self, "files")
        if self.state != "up":
            return _down(self)
        try:
            async with asyncio.timeout(FETCHING_S):
                outcome = await self.driver.fetch_file(name)
        except TimeoutError:
            outcome = _too_long(FETCHING_S)
        except Exception as error:  # whoever asked may have left: nobody else would say what came of it
            log.exception("link %s: file %s", self.name, name)
            reason = f"it could not be fetched: {type(error).__name__}: {error}"
            outcome = Outcome(StatusCode.BadInternalError, AddCause.UNKNOWN, "link", reason, sent=True)
        text = f"File {name} was fetched: {outcome.text}" if outcome.good else f"File {name}: {outcome.text}"
        self.event("file", text, severity=200 if outcome.good else 400)
        return outcome

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the device."""

    @property
    @abstractmethod
    def state(self) -> str:
        """State of the link."""

    @abstractmethod
    def event(self, code: str, text: str, *, severity: int = 400, address: str = "") -> None:
        """Put an event into the journal."""


def _not_supported(link: LinkServices, what: str) -> Outcome:
    text = f"the protocol of link {link.name} has no {what}"
    return Outcome(StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED, "link", text)


def _down(link: LinkServices) -> Outcome:
    text = f"Link {link.name} is {link.state}: {link.reason}".rstrip(": ")
    return Outcome(StatusCode.BadNoCommunication, AddCause.ABORTION_BY_COMMUNICATION_LOSS, "link", text)


def _too_long(seconds: float) -> Outcome:
    text = f"the service took longer than {seconds:g} s"
    return Outcome(StatusCode.BadTimeout, AddCause.TIME_LIMIT_OVER, "device", text, sent=True)
