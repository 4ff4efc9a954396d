"""The part of a scripted 104 station that offers files: directory, sections, checksums, and what goes wrong."""

import struct

from twin_gateway.drivers.iec104.file_codec import (
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
from twin_gateway.drivers.iec104.times import encode_cp56

SEGMENT, SECTION = 200, 1000


def encode_directory(directory):
    """F_DR_TA_1 of lines whose addresses follow each other."""
    head = struct.pack("<BBBBH", 126, 0x80 | len(directory.entries), directory.cause, 0, directory.common_address)
    octets = head + directory.entries[0].address.to_bytes(3, "little")
    for entry in directory.entries:
        status = entry.last << 5 | entry.folder << 6 | entry.active << 7
        octets += struct.pack("<H", entry.name) + entry.length.to_bytes(3, "little") + bytes((status,))
        octets += encode_cp56(entry.time.ms, entry.time.flags)
    return octets


class OfferedFiles:
    """Files by (object address, NOF); use `answer` for what a scripted station receives of types 120 to 126.

    Attributes:
        wrong_sections: how many sections are sent with a wrong checksum before they are right.
        wrong_file: the checksum of the whole file is wrong.
        silent: nothing is answered any more.
        verdicts: qualifiers of what was acknowledged, in order.
        calls: select and call qualifiers received, in order.
    """

    def __init__(self, files, stamp, station=1):
        self.files, self.stamp, self.station = files, stamp, station
        self.wrong_sections, self.wrong_file, self.silent, self.refuses = 0, False, False, False
        self.announces = None  # length that is said instead of the true one
        self.verdicts, self.calls, self.sent = [], [], []
        self._next = 0

    def directory(self, cause=5):
        entries = [
            Entry(ioa, name, len(data), False, False, False, self.stamp)
            for (ioa, name), data in sorted(self.files.items())
        ]
        entries[-1] = entries[-1]._replace(last=True)
        parts = []
        for entry in entries:  # one ASDU for each run of addresses
            if parts and parts[-1][-1].address + 1 == entry.address and len(parts[-1]) < 3:
                parts[-1].append(entry)
            else:
                parts.append([entry])
        return [encode_directory(Directory(self.station, tuple(part), cause)) for part in parts]

    def answer(self, octets):
        """The ASDUs to be sent for one that came."""
        message = decode_file(octets, 2026)
        if self.silent:
            return []
        asked = (message.address, message.name)
        reply = FileMessage(FileType.FILE_READY, self.station, message.address, message.name)
        if message.type == FileType.ACKNOWLEDGE:
            self.verdicts.append(message.qualifier)
            return self._acknowledged(message, reply)
        self.calls.append(message.qualifier)
        match message.qualifier:
            case Call.DIRECTORY:
                return self.directory()
            case Call.SELECT_FILE if asked not in self.files:
                return [encode_file(message._replace(cause=47, negative=True))]
            case Call.SELECT_FILE:
                length = len(self.files[asked]) if self.announces is None else self.announces
                return [encode_file(reply._replace(length=length, qualifier=0x80 * self.refuses))]
            case Call.FILE:
                self._next = 0
                return [self._ready(reply, self.files[asked])]
            case Call.SECTION:
                return list(self._section(reply, self.files[asked]))
        return []

    def _ready(self, reply, data):
        part = data[self._next : self._next + SECTION]
        number = self._next // SECTION + 1
        return encode_file(reply._replace(type=FileType.SECTION_READY, section=number, length=len(part)))

    def _section(self, reply, data):
        part, number = data[self._next : self._next + SECTION], self._next // SECTION + 1
        for start in range(0, len(part), SEGMENT):
            piece = part[start : start + SEGMENT]
            yield encode_file(reply._replace(type=FileType.SEGMENT, section=number, data=piece))
        wrong = self.wrong_sections > 0
        self.wrong_sections -= wrong
        sum_of = (checksum(part) + wrong) & 0xFF
        yield encode_file(reply._replace(type=FileType.LAST, section=number, qualifier=Last.SECTION, checksum=sum_of))

    def _acknowledged(self, message, reply):
        data = self.files[message.address, message.name]
        match message.qualifier & 0x0F:
            case Verdict.SECTION_TAKEN:
                self._next += SECTION
            case Verdict.SECTION_REFUSED:
                return [self._ready(reply, data)]
            case _:
                return []
        if self._next < len(data):
            return [self._ready(reply, data)]
        sum_of = (checksum(data) + self.wrong_file) & 0xFF
        number = (len(data) - 1) // SECTION + 1
        return [encode_file(reply._replace(type=FileType.LAST, section=number, qualifier=Last.FILE, checksum=sum_of))]
