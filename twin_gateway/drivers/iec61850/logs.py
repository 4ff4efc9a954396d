"""Logs of a device (IEC 61850-7-2 17, MMS journals): listed and read, entry by entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from open61850.ber import BerError, encode_tlv, make_tag
from open61850.data import decode_data
from open61850.mms.pdu import ObjectName, encode_object_name

from address_space import clock
from twin_gateway.drivers.contract import DeviceLine

from . import services
from .association import Association
from .errors import MmsProtocolError
from .shown import flattened, shown
from .tlv import check_depth, fields
from .values import entry_ticks

READ_JOURNAL = 65
JOURNALS = 8
"""Object class of journals in GetNameList."""
MAX_ENTRIES = 5_000
MAX_VALUES = 50_000
_EPOCH_1984 = clock.UNIX_EPOCH_TICKS + 441_763_200 * clock.TICKS_PER_SECOND
_DAY = 86_400 * clock.TICKS_PER_SECOND
_MAX_IDENTITY = 64


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry: its EntryID, when it was made (FILETIME ticks and the octets themselves), what it says."""

    identity: bytes
    time: int
    stamp: bytes
    values: tuple[tuple[str, str], ...]


def time_of_entry(ticks: int) -> bytes:
    """TimeOfEntry: milliseconds of the day and days since 1984; times before that are its first moment."""
    since = max(0, ticks - _EPOCH_1984)
    days, rest = divmod(since, _DAY)
    return (rest // 10_000).to_bytes(4, "big") + min(days, 0xFFFF).to_bytes(2, "big")


def read_request(log: ObjectName, *, since: int | None, after: LogEntry | None = None) -> bytes:
    """ReadJournal from a moment on (FILETIME ticks; None from the first entry on), behind `after` on further pages."""
    content = encode_tlv(0xA0, encode_object_name(log))
    if since is not None and after is None:
        content += encode_tlv(0xA1, encode_tlv(0x80, time_of_entry(since)))
    elif after is not None:
        content += encode_tlv(0xA5, encode_tlv(0x80, after.stamp) + encode_tlv(0x81, after.identity))
    return encode_tlv(make_tag(READ_JOURNAL, constructed=True), content)


def read_response(content: bytes) -> tuple[list[LogEntry], bool]:
    """(entries, whether more follow).

    Raises:
        MmsProtocolError: it is none, or has more in it than any sound one.
    """
    found: list[LogEntry] = []
    more, room = False, MAX_VALUES
    try:
        for tag, start, stop in fields(content):
            if tag == 0xA0:
                for entry, inner, end in fields(content, start, stop):
                    if entry != 0x30:
                        raise MmsProtocolError(f"log entry with tag 0x{entry:02X}")
                    found.append(_entry(content, inner, end))
                    room -= len(found[-1].values)
                    if room < 0 or len(found) > MAX_VALUES:
                        raise MmsProtocolError(f"more than {MAX_VALUES} values in one part of a log")
            elif tag == 0x81:
                more = any(content[start:stop])
    except (BerError, ValueError, OverflowError) as error:
        raise MmsProtocolError(f"log that cannot be read: {error}") from error
    return found, more


def _entry(content: bytes, start: int, stop: int) -> LogEntry:
    identity, stamp = b"", b""
    values: tuple[tuple[str, str], ...] = ()
    for tag, inner, end in fields(content, start, stop):
        if tag == 0x80:
            identity = content[inner:end]
        elif tag == 0xA2:
            for part, begin, finish in fields(content, inner, end):
                if part == 0x80:
                    stamp = content[begin:finish]
                elif part == 0xA2:  # data; its variables, an event without them says nothing more
                    values = tuple(_variables(content, begin, finish))
                elif part == 0x83:
                    values = (("annotation", content[begin:finish].decode("utf-8", "replace")),)
    if len(identity) > _MAX_IDENTITY or len(stamp) not in {4, 6}:
        raise MmsProtocolError("log entry without identity or time")
    return LogEntry(identity, entry_ticks(stamp), stamp, values)


def _variables(content: bytes, start: int, stop: int) -> Iterator[tuple[str, str]]:
    for tag, inner, end in fields(content, start, stop):
        if tag != 0xA1:
            continue
        for _, begin, finish in fields(content, inner, end):
            name, text = "", ""
            for part, at, to in fields(content, begin, finish):
                if part == 0x80:
                    name = content[at:to].decode("latin-1")
                elif part == 0xA1:
                    check_depth(content, at, to)
                    text = ", ".join(
                        shown(leaf)
                        for kind, first, last in fields(content, at, to)
                        for leaf in flattened(decode_data(kind, content[first:last]))
                    )
            yield name, text


async def logs(link: Association, domains: list[str]) -> list[str]:
    """The logs of logical devices, `domain/LN$log` (MmsError as `Association.request`)."""
    return [f"{domain}/{name}" for domain in domains for name in await services.names(link, JOURNALS, domain)]


async def log(link: Association, name: ObjectName, since: int | None) -> tuple[list[DeviceLine], bool]:
    """(a line for each value of each entry since a moment, whether the log was cut at `MAX_ENTRIES`).

    Raises:
        MmsProtocolError: the log does not move on.
        MmsError: as `Association.request`.
    """
    lines: list[DeviceLine] = []
    count = 0
    last: LogEntry | None = None
    while True:
        entries, more = read_response((await link.request(read_request(name, since=since, after=last))).content)
        for entry in entries:
            when = clock.iso(entry.time) if entry.time else ""
            lines += [DeviceLine(what, text, f"{when} {entry.identity.hex()}".strip()) for what, text in entry.values]
        count += len(entries)
        if not more or not entries:
            return lines, False
        if last is not None and (entries[-1].identity, entries[-1].stamp) == (last.identity, last.stamp):
            raise MmsProtocolError("the log does not move on")
        if count >= MAX_ENTRIES or len(lines) >= MAX_VALUES:
            return lines, True
        last = entries[-1]
