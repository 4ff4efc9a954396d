"""Files of 104 stations for people: names, lists, and fetching into the link's folder."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence

from address_space import clock
from address_space.addcause import AddCause
from address_space.ports import Outcome
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DeviceFile, Link
from twin_gateway.drivers.device_files import FileRefused, FileStore, Progress, Reception
from twin_gateway.drivers.iec104.file_codec import LONGEST_FILE, Directory, Entry
from twin_gateway.drivers.iec104.file_transfer import FileTransfer, TransferError
from twin_gateway.drivers.iec104.times import Stamp, TagFlag, Zone
from twin_gateway.drivers.iec104.types import MAX_ADDRESS

_KINDS = {1: "transparent", 2: "disturbance", 3: "events", 4: "values"}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_NAME = re.compile(r"(\d{1,5})/(\d{1,8})\.([a-z]+|\d{1,5})")
_FOLDER = re.compile(r"(\d{1,5})(?:/(\d{1,8}))?/?")


def name_of(common_address: int, entry: Entry) -> str:
    """What a file is called: `station/object address.kind`, a folder `station/object address/`."""
    if entry.folder:
        return f"{common_address}/{entry.address}/"
    return f"{common_address}/{entry.address}.{_KINDS.get(entry.name, entry.name)}"


def place_of(name: str) -> tuple[int, int, int] | None:
    """(common address, object address, NOF) of a name; None when it is none."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    kind = _NUMBERS.get(match[3], int(match[3]) if match[3].isdecimal() else 0)
    common, address = int(match[1]), int(match[2])
    return (common, address, kind) if kind and kind <= 0xFFFF and address <= MAX_ADDRESS else None


class StationFiles:
    """Lists and fetches for the stations of one link; made for each association.

    Args:
        link: whose folder, events and counters.
        transfer: the procedures on the wire.
        zone: of the stations' clocks.
        stations: their common addresses.
    """

    def __init__(self, link: Link, transfer: FileTransfer, zone: Zone, stations: Sequence[int]) -> None:
        self._link, self._transfer, self._zone, self._stations = link, transfer, zone, tuple(stations)
        transfer.announced = self._announced

    async def list(self, path: str) -> tuple[Outcome, Sequence[DeviceFile]]:
        """Files of all stations, or of `station` or `station/folder`."""
        match = _FOLDER.fullmatch(path)
        if path and (match is None or int(match[1]) not in self._stations):
            return _none(StatusCode.BadNoMatch, f"there is no station {path!r} on this link"), ()
        stations = self._stations if match is None else (int(match[1]),)
        folder = int(match[2] or 0) if match is not None else 0
        found: list[DeviceFile] = []
        for station in stations:
            try:
                entries = await self._transfer.directory(station, folder)
            except TransferError as problem:
                self._link.count("file_errors")
                status = StatusCode.Bad if problem.supported else StatusCode.BadNotSupported
                return _none(status, f"station {station}: {problem}", sent=True), found
            except ConnectionError as lost:
                return _none(StatusCode.BadNoCommunication, f"the link was lost ({lost})", sent=True), found
            found.extend(self._file(station, entry) for entry in entries)
        return Outcome(StatusCode.Good, text=f"{len(found)} files", sent=True), found

    async def fetch(self, name: str) -> Outcome:
        """Fetch a file into `<data_directory>/files/<link>/`; the text says where it is. The link tells its end."""
        place = place_of(name)
        if place is None or place[0] not in self._stations:
            return _none(StatusCode.BadNoMatch, f"{name!r} is no file of this link (station/address.kind)")
        receptions: list[Reception] = []

        async def begin(length: int) -> Callable[[bytes], Awaitable[None]]:
            file = DeviceFile(name, length if length else -1)
            reception = await asyncio.to_thread(FileStore(self._link, largest=LONGEST_FILE).begin, file)
            receptions.append(reception)
            progress = Progress(self._link, file)

            async def add(piece: bytes) -> None:
                await reception.add(piece)
                progress.tell(reception.octets)

            return add

        try:
            octets = await self._transfer.fetch(*place, begin)
            path = await asyncio.to_thread(receptions[0].finish)
        except (FileRefused, OSError) as problem:
            self._link.count("file_errors")
            lost = isinstance(problem, ConnectionError)
            text = f"it could not be fetched: {problem}"
            return _none(StatusCode.BadNoCommunication if lost else StatusCode.Bad, text, sent=True)
        finally:
            for reception in receptions:
                await asyncio.to_thread(reception.discard)  # of a finished one nothing is left
        self._link.count("files")
        return Outcome(StatusCode.Good, text=f"{octets} octets in {path}", sent=True)

    def _file(self, station: int, entry: Entry) -> DeviceFile:
        return DeviceFile(name_of(station, entry), entry.length, ticks_of(entry.time, self._zone))

    def _announced(self, directory: Directory) -> None:
        """A station says by itself what it has: a new disturbance record."""
        for entry in directory.entries:
            text = f"Station {directory.common_address} offers file {name_of(directory.common_address, entry)}"
            self._link.event("file", f"{text} ({entry.length} octets)", severity=300)


def ticks_of(stamp: Stamp, zone: Zone) -> int:
    """FILETIME ticks of a time tag in a station's zone; 0 when it is no time."""
    if stamp.ms is None:
        return 0
    return clock.from_unix_ns(zone.to_utc(stamp.ms, summer=bool(stamp.flags & TagFlag.SUMMER)) * 1_000_000)


def _none(status: StatusCode, text: str, *, sent: bool = False) -> Outcome:
    return Outcome(status, AddCause.NONE, "device" if sent else "link", text, sent=sent)
