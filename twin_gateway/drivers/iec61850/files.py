"""File services of MMS (ISO 9506-2 annex D, IEC 61850-8-1 23): directory with continuation, open, read, close."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from open61850.ber import encode_tlv, encode_unsigned, make_tag

from address_space import clock
from twin_gateway.drivers.contract import DeviceFile, Link
from twin_gateway.drivers.device_files import FileRefused, FileStore, Progress, Reception

from .association import Association
from .errors import MmsError, MmsProtocolError
from .tlv import fields

OPEN, READ, CLOSE, DIRECTORY = 72, 73, 74, 77
"""Numbers of the services, also in what a server says it supports."""
MAX_FILES = 10_000
_GRAPHIC = 0x19
_EMPTY_PIECES = 16
_SAVE = 256 << 10
"""Octets that are written to the disk at a time."""
_MAX_NUMBER = 5
_TIME = re.compile(rb"(\d{14})(?:[.,](\d{1,6})\d*)?Z?\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def directory_request(path: str, after: str | None) -> bytes:
    """FileDirectory; `after` continues behind that name."""
    content = b"" if not path else encode_tlv(0xA0, _name(path))
    if after is not None:
        content += encode_tlv(0xA1, _name(after))
    return encode_tlv(make_tag(DIRECTORY, constructed=True), content)


def open_request(name: str, position: int) -> bytes:
    """FileOpen at a position."""
    content = encode_tlv(0xA0, _name(name)) + encode_tlv(0x81, encode_unsigned(position))
    return encode_tlv(make_tag(OPEN, constructed=True), content)


def _name(name: str) -> bytes:
    try:
        return encode_tlv(_GRAPHIC, name.encode("latin-1"))
    except UnicodeEncodeError:
        raise FileRefused(f"{name!r} has characters that no name of a file has here") from None


def directory_response(content: bytes) -> tuple[list[DeviceFile], bool]:
    """(files, whether more follow); MmsProtocolError when it is none."""
    found: list[DeviceFile] = []
    more = False
    for tag, start, stop in fields(content):
        if tag == 0xA0:
            found += [_entry(content, inner, end) for inner, end in _entries(content, start, stop)]
        elif tag == 0x81:
            more = any(content[start:stop])
    return found, more


def _entries(content: bytes, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Offsets of the entries; the tag of the list is explicit, some devices leave the sequence inside it out."""
    for tag, inner, end in fields(content, start, stop):
        if tag != 0x30:
            raise MmsProtocolError(f"directory entry with tag 0x{tag:02X}")
        if inner < end and content[inner] == 0x30:
            yield from ((begin, finish) for _, begin, finish in fields(content, inner, end))
        elif inner < end:
            yield inner, end


def _entry(content: bytes, start: int, stop: int) -> DeviceFile:
    name, size, modified = "", -1, 0
    for tag, inner, end in fields(content, start, stop):
        if tag == 0xA0:
            parts = [content[begin:finish].decode("latin-1") for _, begin, finish in fields(content, inner, end)]
            name = "/".join(parts)
        elif tag == 0xA1:
            size, modified = _attributes(content, inner, end)
    if not name:
        raise MmsProtocolError("directory entry without a name")
    return DeviceFile(name, size, modified)


def _attributes(content: bytes, start: int, stop: int) -> tuple[int, int]:
    size, modified = -1, 0
    for tag, inner, end in fields(content, start, stop):
        if tag == 0x80:
            size = _number(content, inner, end)
        elif tag == 0x81:
            modified = file_time(content[inner:end])
    return size, modified


def _number(content: bytes, start: int, stop: int) -> int:
    if not 0 < stop - start <= _MAX_NUMBER:
        raise MmsProtocolError(f"number of {stop - start} octets")
    return int.from_bytes(content[start:stop], "big")


def file_time(text: bytes) -> int:
    """FILETIME ticks of a GeneralizedTime `20260102030405.678Z`; 0 when it is none."""
    found = _TIME.match(text)
    if found is None:
        return 0
    try:
        whole = datetime.strptime(found[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return 0
    micros = int((found[2] or b"0").ljust(6, b"0"))
    return clock.from_datetime(whole.replace(microsecond=micros))


def open_response(content: bytes) -> tuple[bytes, int, int]:
    """(identity of the open file, size, time of the last change); MmsProtocolError when it is none."""
    identity, size, modified = b"", -1, 0
    for tag, start, stop in fields(content):
        if tag == 0x80:
            identity = content[start:stop]
        elif tag == 0xA1:
            size, modified = _attributes(content, start, stop)
    if not 0 < len(identity) <= _MAX_NUMBER:
        raise MmsProtocolError("opened a file without an identity")
    return identity, size, modified


def read_response(content: bytes) -> tuple[bytes, bool]:
    """(octets, whether more follow); MmsProtocolError when it is none."""
    piece, more = None, True
    for tag, start, stop in fields(content):
        if tag == 0x80:
            piece = content[start:stop]
        elif tag == 0x81:
            more = any(content[start:stop])
    if piece is None:
        raise MmsProtocolError("read of a file without octets")
    return piece, more


async def directory(link: Association, path: str) -> tuple[list[DeviceFile], bool]:
    """(files of a folder, whether the list was cut at `MAX_FILES`).

    Raises:
        MmsProtocolError: the list is none or does not move on.
        MmsError: as `Association.request`.
    """
    found: list[DeviceFile] = []
    seen: set[str] = set()
    after: str | None = None
    while True:
        answer = await link.request(directory_request(path, after))
        page, more = directory_response(answer.content)
        fresh = [file for file in page if file.name not in seen]
        seen.update(file.name for file in fresh)
        found += [file for file in fresh if not _CONTROL.search(file.name)]
        if not more or not page:
            return found[:MAX_FILES], len(found) > MAX_FILES
        if not fresh:
            raise MmsProtocolError("the list of files does not move on")
        if len(seen) >= MAX_FILES:
            return found[:MAX_FILES], True
        after = page[-1].name


async def fetch(link: Association, field: Link, name: str, store: FileStore) -> tuple[str, int]:
    """Bring a file to the store; (where it is now, octets that were received this time).

    Raises:
        FileRefused: name, size or room are not accepted, or the device sends something else than it has announced.
        OSError: it cannot be kept.
        MmsError: as `Association.request`; what is here is kept for the next time.
    """
    identity, size, modified = open_response((await link.request(open_request(name, 0))).content)
    file = DeviceFile(name, size, modified)
    reception: Reception | None = None
    try:
        reception = await asyncio.to_thread(store.begin, file)
        if reception.resumed:
            with contextlib.suppress(MmsError):
                await link.request(encode_tlv(make_tag(CLOSE), identity))
            identity, size, modified = open_response((await link.request(open_request(name, reception.octets))).content)
            if (size, modified) != (file.size, file.modified):
                raise FileRefused(f"{name} has changed meanwhile")
        try:
            received = await _receive(link, identity, reception, Progress(field, file))
            if reception.resumed and 0 <= file.size != reception.octets:
                raise FileRefused("the device does not go on where it was asked to")
        except FileRefused:
            if not reception.resumed:
                raise
            # it began at the start, or was another one: the whole anew
            reception.restart()
            with contextlib.suppress(MmsError):
                await link.request(encode_tlv(make_tag(CLOSE), identity))
            identity, _, _ = open_response((await link.request(open_request(name, 0))).content)
            received = await _receive(link, identity, reception, Progress(field, file))
        target = await asyncio.to_thread(reception.finish)
        return str(target), received
    except FileRefused:
        if reception is not None:
            reception.discard()
        raise
    finally:
        if reception is not None:
            reception.close()
        with contextlib.suppress(MmsError):
            await link.request(encode_tlv(make_tag(CLOSE), identity))


async def _receive(link: Association, identity: bytes, reception: Reception, progress: Progress) -> int:
    """Read to the end; octets received."""
    pieces: list[bytes] = []
    held = received = empty = 0
    more = True
    try:
        while more:
            piece, more = read_response((await link.request(encode_tlv(make_tag(READ), identity))).content)
            empty = 0 if piece else empty + 1
            if empty > _EMPTY_PIECES:
                raise MmsProtocolError("the device sends a file without octets")
            pieces.append(piece)
            held += len(piece)
            received += len(piece)
            if held >= _SAVE:
                whole, pieces, held = b"".join(pieces), [], 0
                await reception.add(whole)
            progress.tell(reception.octets + held)
    finally:
        if pieces:
            await reception.add(b"".join(pieces))
    return received
