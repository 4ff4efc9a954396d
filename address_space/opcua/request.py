"""One service request: its header off the wire, its body by a reader or by asyncua's decoder within bounds."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from asyncua.common.utils import NotEnoughData, ServiceError

from address_space import clock
from address_space.opcua.auditing import entry_text
from address_space.opcua.untyped import ua
from address_space.opcua.wire import DecodeError, Reader, decode, numeric_identifier, unpack_u16

_MOST_DECODED = 1 << 20
_TAIL = struct.Struct("<qII")
_PLAIN_TAIL = struct.Struct("<qIIiI3s")
"""Timestamp, RequestHandle, ReturnDiagnostics, AuditEntryId, TimeoutHint, AdditionalHeader of nearly every request."""

DECODING = (DecodeError, struct.error, NotEnoughData, IndexError, UnicodeDecodeError, ua.UaError, ValueError)
"""What readers and decoders raise on octets that are no such thing."""


@dataclass(slots=True)
class Request:
    """One service request.

    Attributes:
        type_id: numeric id of the request's binary encoding (631 is Read).
        data: the whole message; `position` is where the body begins, after the request header.
        handle: RequestHandle, comes back in the answer.
        request_id: of the secure channel, comes back in the answer.
        diagnostics: ReturnDiagnostics mask.
        timeout_hint: milliseconds after which the client gives up; 0 never.
        received: FILETIME ticks of reception.
        told: Timestamp of the header, by the client's clock; 0 for none.
        token: AuthenticationToken on the wire.
        audit_entry: AuditEntryId, for the audit of what the request does.
    """

    type_id: int
    data: bytes
    position: int
    handle: int
    request_id: int
    diagnostics: int
    timeout_hint: int
    received: int
    told: int
    token: bytes
    audit_entry: str = ""

    def reader(self) -> Reader:
        """A reader at the body."""
        return Reader(self.data, self.position)

    def decode(self, kind: Any) -> Any:
        """The body as an asyncua class, for services that are rare and small.

        Raises:
            ServiceError: BadRequestTooLarge above 1 MiB; objects take far more memory and time than octets.
                BadEncodingLimitsExceeded when it nests too deep.
            DecodeError: when it is no such thing, or of too many pieces.
        """
        if len(self.data) - self.position > _MOST_DECODED:
            raise ServiceError(ua.StatusCodes.BadRequestTooLarge)
        return decode(kind, self.data, self.position)[0]


def parse(data: bytes, position: int, request_id: int, token: bytes) -> Request:
    """The request of a message.

    Args:
        data: the message.
        position: where it begins.
        request_id: of the secure channel.
        token: AuthenticationToken of the connection's session, which nearly every request has; empty without one.

    Raises:
        Exception: one of `DECODING` when the header is malformed.
    """
    now = clock.now()
    if token and data.startswith(token, position + 4) and data.startswith(b"\x01\x00", position):
        tail = position + 4 + len(token)
        told, handle, diagnostics, audit, hint, additional = _PLAIN_TAIL.unpack_from(data, tail)
        if audit <= 0 and additional == b"\0\0\0":
            type_id = unpack_u16(data, position + 2)[0]
            return Request(type_id, data, tail + 27, handle, request_id, diagnostics, hint, now, told, token)
    if data[position] == 1 and data[position + 1] == 0:
        type_id = int(unpack_u16(data, position + 2)[0])
        reader = Reader(data, position + 4)
    else:
        reader = Reader(data, position)
        type_id = numeric_identifier(reader.node_id()) or 0
    sent = reader.node_id()
    told, handle, diagnostics = _TAIL.unpack_from(data, reader.position)
    reader.position += 16
    entry = entry_text(reader.octets())
    hint = reader.u32()
    reader.extension_object()
    return Request(type_id, data, reader.position, handle, request_id, diagnostics, hint, now, told, sent, entry)
