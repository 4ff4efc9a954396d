"""ACSE: association and release APDUs (AARQ, AARE, RLRQ, RLRE) and the xDLMS initiate APDUs inside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

from twin_gateway.drivers.dlms.axdr import read_length, read_octets, write_length
from twin_gateway.drivers.dlms.errors import MalformedApduError

AARQ, AARE, RLRQ, RLRE = 0x60, 0x61, 0x62, 0x63
INITIATE_REQUEST, INITIATE_RESPONSE, CONFIRMED_SERVICE_ERROR = 0x01, 0x08, 0x0E

_OID = b"\x60\x85\x74\x05\x08"
LONG_NAMES, SHORT_NAMES, LONG_NAMES_CIPHERED, SHORT_NAMES_CIPHERED = 1, 2, 3, 4
"""Application contexts: logical and short names, without and with ciphering."""


class Mechanism(IntEnum):
    """Authentication mechanism names."""

    NONE = 0
    LLS = 1
    HLS_GMAC = 5
    HLS_ECDSA = 7


PROVED = frozenset({Mechanism.HLS_GMAC, Mechanism.HLS_ECDSA})
"""Mechanisms with passes 3 and 4: each side proves what it knows."""


class Conformance(IntFlag):
    """Bits of the conformance block that matter here (bit n of the standard is 1 << 23 - n)."""

    GENERAL_PROTECTION = 0x400000
    GENERAL_BLOCK_TRANSFER = 0x200000
    READ = 0x100000
    WRITE = 0x080000
    PRIORITY = 0x4000
    BLOCK_TRANSFER_GET = 0x1000
    BLOCK_TRANSFER_SET = 0x0800
    BLOCK_TRANSFER_ACTION = 0x0400
    MULTIPLE_REFERENCES = 0x0200
    INFORMATION_REPORT = 0x0100
    PARAMETERIZED_ACCESS = 0x20
    GET = 0x10
    SET = 0x08
    SELECTIVE_ACCESS = 0x04
    EVENT_NOTIFICATION = 0x02
    ACTION = 0x01


NOTHING = Conformance(0)
"""Conformance before anything is negotiated."""
PROPOSED = (
    Conformance.BLOCK_TRANSFER_GET
    | Conformance.BLOCK_TRANSFER_SET
    | Conformance.BLOCK_TRANSFER_ACTION
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.GET
    | Conformance.SET
    | Conformance.SELECTIVE_ACCESS
    | Conformance.EVENT_NOTIFICATION
    | Conformance.ACTION
)
"""What this client is able to do with logical names; block transfer and protection in general only when asked for."""
PROPOSED_SHORT = (
    Conformance.READ | Conformance.WRITE | Conformance.PARAMETERIZED_ACCESS | Conformance.MULTIPLE_REFERENCES
)
"""The same with short names."""


def _tlv(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + write_length(len(content)) + content


def _members(apdu: bytes, tag: int) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each member of a BER APDU.

    Raises:
        MalformedApduError: another APDU, or lengths that do not add up.
    """
    if not apdu or apdu[0] != tag:
        raise MalformedApduError(f"ACSE APDU 0x{tag:02x} expected, got {apdu[:4].hex() or 'nothing'}")
    length, at = read_length(apdu, 1)
    end = at + length
    if end > len(apdu):
        raise MalformedApduError("ACSE APDU is truncated")
    while at < end:
        member = apdu[at]
        content, at = read_octets(apdu, at + 1)
        if at > end:
            raise MalformedApduError("ACSE member is longer than its APDU")
        yield member, content


def _inner(content: bytes, tags: tuple[int, ...]) -> bytes:
    """Content of the one TLV inside a member."""
    if not content or content[0] not in tags:
        raise MalformedApduError("unexpected type inside an ACSE member")
    octets, _ = read_octets(content, 1)
    return octets


def _oid_arc(oid: bytes, branch: int) -> int:
    """Last arc of a DLMS object identifier 2.16.756.5.8.branch.n.

    Raises:
        MalformedApduError: any other object identifier.
    """
    if len(oid) != 7 or not oid.startswith(_OID) or oid[5] != branch:
        raise MalformedApduError("unknown object identifier")
    return oid[6]


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """AARQ.

    Attributes:
        context: application context (LONG_NAMES, LONG_NAMES_CIPHERED).
        title: client system title, empty without ciphering.
        mechanism: authentication mechanism.
        secret: password (LLS) or challenge (HLS); never shown.
        user_information: initiate request, plain or ciphered.
    """

    context: int
    mechanism: Mechanism
    user_information: bytes
    title: bytes = b""
    secret: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """The APDU."""
        out = b"\xa1\x09\x06\x07" + _OID + bytes((1, self.context))
        if self.title:
            out += _tlv(0xA6, _tlv(0x04, self.title))
        if self.mechanism:
            out += b"\x8a\x02\x07\x80\x8b\x07" + _OID + bytes((2, self.mechanism))
            out += _tlv(0xAC, _tlv(0x80, self.secret))
        out += _tlv(0xBE, _tlv(0x04, self.user_information))
        return _tlv(AARQ, out)

    @classmethod
    def decode(cls, apdu: bytes) -> AssociationRequest:
        """The request inside an APDU.

        Raises:
            MalformedApduError: not an AARQ, or one that lacks its context.
        """
        context, title, mechanism, secret, user = 0, b"", 0, b"", b""
        for tag, content in _members(apdu, AARQ):
            if tag == 0xA1:
                context = _oid_arc(_inner(content, (0x06,)), 1)
            elif tag == 0xA6:
                title = _inner(content, (0x04,))
            elif tag == 0x8B:
                mechanism = _oid_arc(content, 2)
            elif tag == 0xAC:
                secret = _inner(content, (0x80, 0x81))
            elif tag == 0xBE:
                user = _inner(content, (0x04,))
        if mechanism not in set(Mechanism):
            raise MalformedApduError(f"authentication mechanism {mechanism} is not supported")
        return cls(context, Mechanism(mechanism), user, title, secret)


@dataclass(frozen=True, slots=True)
class AssociationResponse:
    """AARE.

    Attributes:
        result: 0 accepted, 1 rejected permanently, 2 rejected transiently.
        diagnostic: result-source-diagnostic (0 none, 13 authentication failed, 14 authentication required).
        context: application context.
        title: server system title, empty without ciphering.
        challenge: StoC of HLS, else empty.
        user_information: initiate response or confirmed-service-error, plain or ciphered.
    """

    result: int
    diagnostic: int = 0
    context: int = LONG_NAMES
    title: bytes = b""
    challenge: bytes = field(default=b"", repr=False)
    mechanism: int = 0
    user_information: bytes = b""

    def encode(self) -> bytes:
        """The APDU."""
        out = b"\xa1\x09\x06\x07" + _OID + bytes((1, self.context))
        out += b"\xa2\x03\x02\x01" + bytes((self.result,)) + b"\xa3\x05\xa1\x03\x02\x01" + bytes((self.diagnostic,))
        if self.title:
            out += _tlv(0xA4, _tlv(0x04, self.title))
        if self.challenge:
            out += b"\x88\x02\x07\x80\x89\x07" + _OID + bytes((2, self.mechanism))
            out += _tlv(0xAA, _tlv(0x80, self.challenge))
        if self.user_information:
            out += _tlv(0xBE, _tlv(0x04, self.user_information))
        return _tlv(AARE, out)

    @classmethod
    def decode(cls, apdu: bytes) -> AssociationResponse:
        """The response inside an APDU.

        Raises:
            MalformedApduError: not an AARE, or one without a result.
        """
        result, diagnostic, context, title, challenge, mechanism, user = -1, 0, LONG_NAMES, b"", b"", 0, b""
        for tag, content in _members(apdu, AARE):
            if tag == 0xA1:
                context = _oid_arc(_inner(content, (0x06,)), 1)
            elif tag == 0xA2:
                result = int.from_bytes(_inner(content, (0x02,)), "big")
            elif tag == 0xA3:
                # The source of the diagnostic (service user or provider) wraps the integer.
                diagnostic = int.from_bytes(_inner(_inner(content, (0xA1, 0xA2)), (0x02,))[:4], "big")
            elif tag == 0xA4:
                title = _inner(content, (0x04,))
            elif tag == 0x89:
                mechanism = _oid_arc(content, 2)
            elif tag == 0xAA:
                challenge = _inner(content, (0x80, 0x81))
            elif tag == 0xBE:
                user = _inner(content, (0x04,))
        if result < 0:
            raise MalformedApduError("association response without a result")
        return cls(result, diagnostic, context, title, challenge, mechanism, user)


@dataclass(frozen=True, slots=True)
class InitiateRequest:
    """xDLMS initiate request: proposed conformance, our largest APDU, dedicated key (empty: none)."""

    conformance: int
    pdu_size: int
    dedicated_key: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """The APDU."""
        key = b"\x01" + write_length(len(self.dedicated_key)) + self.dedicated_key if self.dedicated_key else b"\x00"
        return b"\x01" + key + b"\x00\x00\x06" + _conformance(self.conformance) + self.pdu_size.to_bytes(2, "big")

    @classmethod
    def decode(cls, apdu: bytes) -> InitiateRequest:
        """The request inside an APDU.

        Raises:
            MalformedApduError: not an initiate request.
        """
        if apdu[:1] != b"\x01":
            raise MalformedApduError("initiate request expected")
        at, key = 1, b""
        if apdu[at : at + 1] == b"\x01":
            key, at = read_octets(apdu, at + 1)
        else:
            at += 1
        for _ in range(2):  # response-allowed and quality of service: a flag, and a value when the flag is set
            at += 2 if apdu[at : at + 1] == b"\x01" else 1
        conformance, at = _read_conformance(apdu, at + 1)
        return cls(conformance, int.from_bytes(apdu[at : at + 2], "big"), key)


@dataclass(frozen=True, slots=True)
class InitiateResponse:
    """xDLMS initiate response: negotiated conformance, largest APDU the meter takes (octets), short name."""

    conformance: int
    pdu_size: int
    name: int = 0x0007

    def encode(self) -> bytes:
        """The APDU."""
        head = b"\x08\x00\x06" + _conformance(self.conformance) + self.pdu_size.to_bytes(2, "big")
        return head + self.name.to_bytes(2, "big")

    @classmethod
    def decode(cls, apdu: bytes) -> InitiateResponse:
        """The response inside an APDU.

        Raises:
            MalformedApduError: not an initiate response.
        """
        if apdu[:1] != b"\x08":
            raise MalformedApduError("initiate response expected")
        at = 3 if apdu[1:2] == b"\x01" else 2
        conformance, at = _read_conformance(apdu, at + 1)
        name = int.from_bytes(apdu[at + 2 : at + 4], "big") if len(apdu) >= at + 4 else 0x0007
        return cls(conformance, int.from_bytes(apdu[at : at + 2], "big"), name)


def _conformance(bits: int) -> bytes:
    return b"\x5f\x1f\x04\x00" + bits.to_bytes(3, "big")


def _read_conformance(apdu: bytes, at: int) -> tuple[int, int]:
    # Old meters leave out the second octet of the tag.
    at += 2 if apdu[at : at + 2] == b"\x5f\x1f" else 1
    if len(apdu) < at + 7 or apdu[at] != 4:
        raise MalformedApduError("initiate APDU is truncated")
    return int.from_bytes(apdu[at + 2 : at + 5], "big"), at + 5


def release_request(user_information: bytes = b"") -> bytes:
    """RLRQ, normal release; a ciphered association repeats its (ciphered) initiate request in it."""
    return _tlv(RLRQ, b"\x80\x01\x00" + (_tlv(0xBE, _tlv(0x04, user_information)) if user_information else b""))


def release_response(user_information: bytes = b"") -> bytes:
    """RLRE, normal release."""
    return _tlv(RLRE, b"\x80\x01\x00" + (_tlv(0xBE, _tlv(0x04, user_information)) if user_information else b""))
