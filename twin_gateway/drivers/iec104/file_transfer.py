"""File transfer in monitor direction as the controlling station sees it: the directory, and one file at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

from twin_gateway.drivers.iec104.file_codec import (
    CHECKSUM_FAILED,
    LONGEST_FILE,
    NAMES,
    Call,
    Directory,
    Entry,
    FileMessage,
    FileType,
    Last,
    Verdict,
    checksum,
    decode_file,
    encode_file,
)
from twin_gateway.drivers.iec104.types import AsduError, Cause

MOST_ENTRIES = 1000
"""Lines of a directory that are taken."""
_QUEUE = 64
_TRIES = 3
"""How often a section is taken whose checksum is wrong."""
_REFUSALS: dict[int, str] = {
    Cause.UNKNOWN_TYPE: "it knows no file transfer",
    Cause.UNKNOWN_CAUSE: "it does not know the cause",
    Cause.UNKNOWN_COMMON_ADDRESS: "it does not know the common address",
    Cause.UNKNOWN_OBJECT_ADDRESS: "it has no such file",
}


class TransferError(OSError):
    """The station refuses, breaks the procedure or says nothing; the message says what in one sentence.

    Attributes:
        supported: the station knows file transfer, as far as it said.
    """

    def __init__(self, text: str, *, supported: bool = True) -> None:
        super().__init__(text)
        self.supported = supported


Piece = Callable[[bytes], Awaitable[None]]
"""Takes one section that has arrived whole."""


class FileTransfer:
    """The procedures; not for two at once on one link.

    Args:
        send: sends an ASDU; False when it does not leave.
        patience: seconds of silence after which the station is given up.
        originator: ORG octet of what is sent.

    Attributes:
        announced: called with the lines of a directory that came unasked; may be None.
    """

    def __init__(self, send: Callable[[bytes], bool], patience: float, originator: int = 0) -> None:
        self.announced: Callable[[Directory], None] | None = None
        self._send_octets, self._patience, self._originator = send, patience, originator
        self._busy = asyncio.Lock()
        self._about: tuple[int, int, int] | None = None  # common address, object address, name of file
        self._arrived: asyncio.Queue[FileMessage | Directory | Exception] = asyncio.Queue(_QUEUE)
        self._section = bytearray()
        self._room = 0  # octets that the open section may still bring
        self._open = 0  # number of the open section

    # -- what comes in ------------------------------------------------------------------------------------------

    def take(self, octets: bytes) -> bool:
        """Take an ASDU of file transfer; False when nobody waits for it. Raises AsduError when it is none."""
        message = decode_file(octets, datetime.now(UTC).year)
        if isinstance(message, Directory):
            if message.cause == Cause.SPONTANEOUS and self.announced is not None:
                self.announced(message)
                return True
            if self._about is None or self._about[0] != message.common_address or self._about[2]:
                return False
            return self._put(message)
        if self._about != (message.common_address, message.address, message.name):
            return False
        if message.type != FileType.SEGMENT:
            return self._put(message)
        if message.section != self._open or len(message.data) > self._room:
            self._room = -1  # more than announced, or of another section: the checksum need not be looked at
            return False
        self._section += message.data
        self._room -= len(message.data)
        return True

    def fail(self, problem: Exception) -> None:
        """The link is gone: whoever waits is told."""
        if self._about is not None:
            while self._arrived.full():
                self._arrived.get_nowait()
            self._arrived.put_nowait(problem)

    def _put(self, message: FileMessage | Directory) -> bool:
        try:
            self._arrived.put_nowait(message)
        except asyncio.QueueFull:
            return False
        return True

    # -- procedures ---------------------------------------------------------------------------------------------

    async def directory(self, common_address: int, folder: int = 0) -> list[Entry]:
        """What a station offers, at most `MOST_ENTRIES`.

        Args:
            common_address: the station.
            folder: object address of a folder; 0 for the station's first.

        Raises:
            TransferError: it refuses or says nothing.
            ConnectionError: the link is lost.
        """
        entries: list[Entry] = []
        async with self._busy:
            self._begin(common_address, folder, 0)
            try:
                self._call(Call.DIRECTORY, cause=Cause.REQUEST)
                while True:
                    message = await self._next("the directory")
                    if isinstance(message, FileMessage):
                        raise _refused(message)
                    if message.negative:
                        raise TransferError("the station refuses its directory")
                    entries.extend(message.entries[: MOST_ENTRIES - len(entries)])
                    if not message.entries or message.entries[-1].last or len(entries) >= MOST_ENTRIES:
                        return entries
            finally:
                self._about = None

    async def fetch(
        self, common_address: int, address: int, name: int, begin: Callable[[int], Awaitable[Piece]]
    ) -> int:
        """Fetch one file, section by section.

        Args:
            common_address: the station.
            address: object address of the file.
            name: NOF of the file.
            begin: called with its length when the station has it ready; gives what takes the sections in order.

        Returns:
            Octets that have come.

        Raises:
            TransferError: it refuses, breaks the procedure or says nothing.
            ConnectionError: the link is lost.
        """
        async with self._busy:
            self._begin(common_address, address, name)
            done = False
            try:
                self._call(Call.SELECT_FILE)
                ready = await self._expect(FileType.FILE_READY)
                if not ready.ready:
                    raise TransferError("the station does not have the file ready")
                take = await begin(ready.length)
                self._call(Call.FILE)
                total = await self._sections(ready.length, take)
                done = True
                return total
            finally:
                if not done:
                    # what is under way is ended, if there still is somebody to be told
                    with suppress(TransferError):
                        self._call(Call.DEACTIVATE_FILE)
                self._about = None
                self._section.clear()

    async def _sections(self, length: int, take: Piece) -> int:
        total, sum_of_file, tries = 0, 0, 0
        while True:
            message = await self._expect(FileType.SECTION_READY, FileType.LAST)
            if message.type == FileType.LAST:
                if message.qualifier != Last.FILE:
                    raise TransferError(f"the station ended the transfer (qualifier {message.qualifier})")
                if message.checksum != sum_of_file or (length and total != length):
                    self._acknowledge(Verdict.FILE_REFUSED | CHECKSUM_FAILED << 4, message.section)
                    raise TransferError(
                        f"the checksum or the length of the file is wrong: {total} octets instead of {length}"
                    )
                self._acknowledge(Verdict.FILE_TAKEN, message.section)
                return total
            if not message.ready:
                raise TransferError(f"the station does not have section {message.section} ready")
            piece = await self._one(message, LONGEST_FILE if not length else length - total)
            if piece is None:
                tries += 1
                if tries >= _TRIES:
                    raise TransferError(f"section {message.section} came {tries} times with a wrong checksum")
                continue
            tries = 0
            await take(piece)
            total += len(piece)
            sum_of_file = (sum_of_file + checksum(piece)) & 0xFF

    async def _one(self, ready: FileMessage, left: int) -> bytes | None:
        """One section; None when its checksum or length is wrong, which the station has been told."""
        if ready.length > left:
            raise TransferError(f"section {ready.section} announces {ready.length} octets where {left} are left")
        self._section.clear()
        self._open, self._room = ready.section, ready.length or left
        self._call(Call.SECTION, ready.section)
        last = await self._expect(FileType.LAST)
        piece, overrun = bytes(self._section), self._room < 0
        self._section.clear()
        self._room = 0
        if last.qualifier != Last.SECTION:
            raise TransferError(f"the station ended section {ready.section} (qualifier {last.qualifier})")
        if overrun or (ready.length and len(piece) != ready.length) or checksum(piece) != last.checksum:
            self._acknowledge(Verdict.SECTION_REFUSED | CHECKSUM_FAILED << 4, ready.section)
            return None
        self._acknowledge(Verdict.SECTION_TAKEN, ready.section)
        return piece

    # -- messages -----------------------------------------------------------------------------------------------

    def _begin(self, common_address: int, address: int, name: int) -> None:
        while not self._arrived.empty():
            self._arrived.get_nowait()
        self._section.clear()
        self._room = self._open = 0
        self._about = (common_address, address, name)

    async def _expect(self, *kinds: FileType) -> FileMessage:
        """The next message of one of these kinds; a segment's silence counts as silence only while none comes."""
        message = await self._next(" or ".join(NAMES[kind] for kind in kinds))
        if isinstance(message, Directory) or message.type not in kinds:
            if isinstance(message, FileMessage) and message.type == FileType.CALL:
                raise _refused(message)
            raise TransferError(f"{NAMES[message.type] if isinstance(message, FileMessage) else 'a directory'} came")
        return message

    async def _next(self, what: str) -> FileMessage | Directory:
        while True:
            had = len(self._section)
            try:
                async with asyncio.timeout(self._patience):
                    message = await self._arrived.get()
            except TimeoutError:
                if len(self._section) > had:
                    continue  # segments keep coming
                raise TransferError(f"{what} did not come within {self._patience:g} s") from None
            if isinstance(message, Exception):
                raise message
            return message

    def _call(self, what: Call, section: int = 0, *, cause: int = Cause.FILE) -> None:
        self._send(FileType.CALL, what, section, cause)

    def _acknowledge(self, verdict: int, section: int) -> None:
        self._send(FileType.ACKNOWLEDGE, verdict, section, Cause.FILE)

    def _send(self, kind: FileType, qualifier: int, section: int, cause: int) -> None:
        if self._about is None:
            raise TransferError("nothing is under way")
        common, address, name = self._about
        message = FileMessage(
            kind, common, address, name, section, qualifier=qualifier, cause=cause, originator=self._originator
        )
        try:
            sent = self._send_octets(encode_file(message))
        except AsduError as problem:
            raise TransferError(f"it cannot be asked for: {problem}") from problem
        if not sent:
            raise TransferError("the link does not take more at present")


def _refused(message: FileMessage) -> TransferError:
    known = _REFUSALS.get(message.cause)
    text = f"the station refuses: {known or f'cause {message.cause}, qualifier {message.qualifier}'}"
    return TransferError(text, supported=message.cause != Cause.UNKNOWN_TYPE)
