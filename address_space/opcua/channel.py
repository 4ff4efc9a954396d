"""Server side of one secure channel: opening and renewing, tokens, sequence numbers, chunks to messages and back."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from asyncua.crypto.security_policies import SecurityPolicyNone
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa

from address_space import clock
from address_space.opcua.auditing import entry_text
from address_space.opcua.channel_keys import ENCRYPTING_KEYS, NONCE, ChannelKeys, ChunkError
from address_space.opcua.untyped import ua
from address_space.opcua.wire import DecodeError, ProtocolError, Reader

_NONE, _SIGN, _ENCRYPT = 1, 2, 3
_ISSUE, _RENEW = 0, 1
_HEADER = struct.Struct("<3scII")
_SYMMETRIC = struct.Struct("<IIII")
_FRAME = struct.Struct("<3scIIIII")
_HEAD = struct.Struct("<3scIII")
_SEQUENCE = struct.Struct("<II")
_TOKEN = struct.Struct("<IIIqI")
_OVERHEAD = 24
_HEAD_SIZE = 16
_WRAP_FROM = (1 << 32) - 1024 - 1
_WRAP_BELOW = 1024
_GRACE = 1.25
"""A token is taken for a quarter of its lifetime more, for what is under way while it is renewed (Part 4, 5.6.2)."""
_KEY_BITS = range(2048, 4097)
_MOST_CERTIFICATES = 16_384
_MOST_BLOCKS = 16
"""Encrypted blocks of an OPN; request, nonce and the signature of a key of 4096 bits take up to five."""
_codes = ua.StatusCodes


class Message(NamedTuple):
    """One whole message: the body begins at `position` of `data`."""

    data: bytes
    position: int
    request_id: int


class Policies(Protocol):
    """What a channel asks of the server."""

    @property
    def policies(self) -> Sequence[Any]:
        """Factories of asyncua of the policies offered."""
        ...

    def check_client_certificate(self, der: bytes) -> int:
        """StatusCode of trust in a client's application certificate, 0 for Good."""
        ...

    def get_new_channel_id(self) -> int:
        """An id that no other channel has."""
        ...


@dataclass(slots=True)
class ChannelLimits:
    """Bounds of one channel, as negotiated.

    Attributes:
        chunk: octets of the largest chunk sent.
        message: octets of the largest message taken.
        chunks: chunks of the largest message taken.
        lifetimes: shortest and longest lifetime of a token, milliseconds.
    """

    chunk: int
    message: int
    chunks: int
    lifetimes: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Token:
    """One security token: its keys, when it ends and until when messages may come with it (monotonic seconds)."""

    number: int
    ends: float
    until: float
    receiving: ChannelKeys | None = None
    sending: ChannelKeys | None = None


class SecureChannel:
    """One channel, closed at first.

    Attributes:
        policy: asyncua's security policy with the asymmetric part (certificates, RSA) for channel and session.
        limits: bounds; the connection fills in what it negotiates.
        number: SecureChannelId; 0 while it is not open.
        audit_entry: AuditEntryId of the newest OPN.
    """

    def __init__(self, server: Policies, limits: ChannelLimits) -> None:
        self.policy: Any = SecurityPolicyNone()  # type: ignore[no-untyped-call]  # asyncua
        self.limits = limits
        self.number = 0
        self.audit_entry = ""
        self._server = server
        self._mode = _NONE
        self._token = _Token(0, 0.0, 0.0)
        self._coming: _Token | None = None
        self._former: _Token | None = None
        self._numbers = itertools.count(1)
        self._sent = 0
        self._received: int | None = None
        self._parts: list[bytes] = []
        self._parts_size = self._parts_request = 0
        self._client_nonce = b""

    # ---- state -----------------------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether messages may come."""
        return self.number != 0

    @property
    def expired(self) -> bool:
        """Whether it was not renewed in time."""
        newest = self._coming or self._token
        return self.open and time.monotonic() > newest.until

    @property
    def pending(self) -> int:
        """Octets of a message of which not all chunks have come."""
        return self._parts_size

    @property
    def room(self) -> int:
        """Octets of a message that go into one chunk."""
        keys = self._token.sending
        return self.limits.chunk - _OVERHEAD - (keys.overhead if keys is not None else 0)

    # ---- receiving -------------------------------------------------------------------------------------------------

    def receive(self, frame: bytes) -> Message | None:
        """Take a MSG or CLO chunk; the whole message when this was its last chunk.

        Raises:
            ProtocolError: when the channel is no longer to be trusted.
        """
        channel, number = _SYMMETRIC.unpack_from(frame, 8)[:2] if len(frame) >= _OVERHEAD else (0, 0)
        if channel != self.number or not channel:
            raise ProtocolError(_codes.BadTcpSecureChannelUnknown, "a message of another secure channel")
        token = self._token
        if number != token.number or time.monotonic() > token.until:
            token = self._other_token(number)
        keys = token.receiving
        if keys is None:
            data, position = frame, _OVERHEAD
        else:
            try:
                data, position = keys.open(frame, _HEAD_SIZE), 8
            except ChunkError as error:
                raise ProtocolError(_codes.BadSecurityChecksFailed, str(error)) from error
            if len(data) < position:
                raise ProtocolError(_codes.BadSecurityChecksFailed, "a chunk without a sequence header")
        if token is self._coming:
            # The first message with the new token: from now on answers have it as well.
            self._change()
        sequence, request_id = _SEQUENCE.unpack_from(data, position - 8)
        self._check_sequence(sequence)
        kind = frame[3]
        if kind == 0x46 and not self._parts:
            return Message(data, position, request_id)
        return self._part(kind, data[position:], request_id)

    def _change(self) -> None:
        if self._coming is not None:
            self._former, self._token, self._coming = self._token, self._coming, None

    def _other_token(self, number: int) -> _Token:
        for token in (self._coming, self._former):
            if token is not None and token.number == number and time.monotonic() <= token.until:
                return token
        raise ProtocolError(_codes.BadSecureChannelTokenUnknown, "the secure channel was not renewed")

    def _check_sequence(self, sequence: int) -> None:
        former = self._received
        if former is not None and sequence != former + 1 and not (former >= _WRAP_FROM and sequence < _WRAP_BELOW):
            raise ProtocolError(_codes.BadSequenceNumberInvalid, f"sequence number {sequence} after {former}")
        self._received = sequence

    def _part(self, kind: int, body: bytes, request_id: int) -> Message | None:
        parts = self._parts
        if parts and request_id != self._parts_request:
            raise ProtocolError(_codes.BadTcpMessageTypeInvalid, "a message begins before the last one has ended")
        if kind == 0x41:
            # An aborted message is forgotten, the channel goes on (Part 6, 6.7.3).
            self._forget()
            return None
        if kind not in {0x43, 0x46}:
            raise ProtocolError(_codes.BadTcpMessageTypeInvalid, f"{kind:#x} is no kind of chunk")
        self._parts_size += len(body)
        if self._parts_size > self.limits.message or len(parts) >= self.limits.chunks:
            raise ProtocolError(_codes.BadTcpMessageTooLarge, "a message larger than the server takes")
        parts.append(body)
        self._parts_request = request_id
        if kind == 0x43:
            return None
        whole = b"".join(parts)
        self._forget()
        return Message(whole, 0, request_id)

    def _forget(self) -> None:
        self._parts = []
        self._parts_size = self._parts_request = 0

    # ---- sending ---------------------------------------------------------------------------------------------------

    def chunks(self, request_id: int, body: bytes) -> Iterator[bytes]:
        """The chunks of a message, as few as possible."""
        if self._coming is not None and time.monotonic() > self._token.ends:
            self._change()
        token = self._token
        keys, room = token.sending, self.room
        size = len(body)
        for start in range(0, size, room):
            part = body[start : start + room] if size > room else body
            self._sent = self._sent + 1 & 0xFFFF_FFFF or 1
            kind = b"F" if start + room >= size else b"C"
            if keys is None:
                total = _OVERHEAD + len(part)
                yield _FRAME.pack(b"MSG", kind, total, self.number, token.number, self._sent, request_id) + part
            else:
                plain = _SEQUENCE.pack(self._sent, request_id) + part
                total = _HEAD_SIZE + keys.size_of(len(plain))
                yield keys.secure(_HEAD.pack(b"MSG", kind, total, self.number, token.number), plain)

    # ---- opening and renewing --------------------------------------------------------------------------------------

    def answer_open(self, frame: bytes, respond: Callable[[int, int], bytes]) -> bytes:
        """Open or renew by an OPN chunk; returns the chunk to answer with.

        Args:
            frame: the chunk.
            respond: makes type id and response header of a response, given its type id and the request's handle.

        Raises:
            ProtocolError: with the reason for which it stays closed.
        """
        self.audit_entry = ""
        try:
            return self._answer_open(frame, respond)
        except (DecodeError, struct.error, IndexError, ValueError, TypeError, InvalidSignature, ua.UaError) as error:
            raise ProtocolError(_codes.BadSecurityChecksFailed, "the secure channel's checks failed") from error

    def _answer_open(self, frame: bytes, respond: Callable[[int, int], bytes]) -> bytes:
        if frame[3] != 0x46:
            raise ProtocolError(_codes.BadTcpMessageTypeInvalid, "OPN has one chunk")
        reader = Reader(frame, 8)
        channel, uri = reader.u32(), reader.text() or ""
        certificate, thumbprint = reader.octets() or b"", reader.octets() or b""
        if channel != self.number:
            raise ProtocolError(_codes.BadTcpSecureChannelUnknown, "an OPN of another secure channel")
        policy = self.policy if self.open else self._policy_of(uri, certificate)
        if uri != policy.URI:
            raise ProtocolError(_codes.BadSecurityPolicyRejected, "a channel keeps its policy")
        data, position = _opened(policy, frame, reader.position, thumbprint)
        if self.open:
            self._check_same(certificate)
        elif uri in ENCRYPTING_KEYS and (status := self._server.check_client_certificate(certificate)):
            raise ProtocolError(status, "the client's certificate is not trusted")
        sequence, request_id = _SEQUENCE.unpack_from(data, position)
        self._check_sequence(sequence)
        reader = Reader(data, position + 8)
        if reader.node_id() not in {b"\x01\x00\xbe\x01", b"\x02\x00\x00\xbe\x01\x00\x00"}:
            raise ProtocolError(_codes.BadServiceUnsupported, "OPN carries nothing but OpenSecureChannel")
        handle, self.audit_entry = _request_header(reader)
        reader.u32()
        kind, mode, nonce, lifetime = reader.u32(), reader.u32(), reader.octets() or b"", reader.u32()
        self._check_request(policy, kind, mode, nonce)
        token, answer = self._issue(policy, mode, nonce, lifetime)
        body = respond(449, handle) + answer
        if not self.open:
            self.policy = policy
            self._mode = mode
            self.number = struct.unpack_from("<I", answer, 4)[0]
            self._token = token
        else:
            self._coming = token
        self._client_nonce = nonce
        self._sent = self._sent + 1 & 0xFFFF_FFFF or 1
        return _asymmetric(policy, self.number, _SEQUENCE.pack(self._sent, request_id) + body)

    def _policy_of(self, uri: str, certificate: bytes) -> Any:
        """A policy for a client; None is always there, for discovery (sessions are refused where it is not offered)."""
        factory = next((each for each in self._server.policies if each.matches(uri)), None)
        if factory is None:
            if uri == SecurityPolicyNone.URI:
                return self.policy
            raise ProtocolError(_codes.BadSecurityPolicyRejected, f"{uri!r} is not offered")
        if uri in ENCRYPTING_KEYS:
            _check_key(certificate)
            return factory.create(certificate)
        return factory.create(None)

    def _check_same(self, certificate: bytes) -> None:
        own = self.policy.peer_certificate or b""
        if not certificate.startswith(own):
            raise ProtocolError(_codes.BadSecurityChecksFailed, "a channel is renewed with the certificate it has")

    def _check_request(self, policy: Any, kind: int, mode: int, nonce: bytes) -> None:
        if kind not in {_ISSUE, _RENEW} or (kind == _RENEW) != self.open:
            raise ProtocolError(_codes.BadRequestTypeInvalid, "a channel is issued once and renewed later")
        secured = policy.URI in ENCRYPTING_KEYS
        if self.open:
            offered = mode == self._mode
        elif secured:
            offered = any(each.matches(policy.URI, mode) for each in self._server.policies)
        else:
            offered = mode == _NONE
        if not offered:
            raise ProtocolError(_codes.BadSecurityModeRejected, f"mode {mode} is not offered with this policy")
        if secured and (len(nonce) != NONCE or nonce == self._client_nonce):
            raise ProtocolError(_codes.BadNonceInvalid, "a nonce has 32 octets and is new each time")

    def _issue(self, policy: Any, mode: int, nonce: bytes, wanted: int) -> tuple[_Token, bytes]:
        """A new token, and the body of the response."""
        shortest, longest = self.limits.lifetimes
        lifetime = min(max(wanted, shortest), longest)
        number = next(self._numbers)
        now = time.monotonic()
        ends, until = now + lifetime / 1000, now + lifetime * _GRACE / 1000
        channel = self.number or self._server.get_new_channel_id()
        own, receiving, sending = b"", None, None
        uri = policy.URI
        if uri in ENCRYPTING_KEYS:
            own, encrypts = secrets.token_bytes(NONCE), mode == _ENCRYPT
            receiving = ChannelKeys(uri, own, nonce, encrypts=encrypts)
            sending = ChannelKeys(uri, nonce, own, encrypts=encrypts)
            policy.Mode = ua.MessageSecurityMode(mode)
        answer = _TOKEN.pack(0, channel, number, clock.now(), lifetime) + struct.pack("<i", len(own)) + own
        return _Token(number, ends, until, receiving, sending), answer

    def close(self) -> None:
        """No message is taken any more."""
        self.number = 0
        self._token = _Token(0, 0.0, 0.0)
        self._coming = self._former = None
        self._forget()


def _request_header(reader: Reader) -> tuple[int, str]:
    """RequestHandle and AuditEntryId of the request header."""
    reader.node_id()
    reader.i64()
    handle = reader.u32()
    reader.u32()
    entry = entry_text(reader.octets())
    reader.u32()
    reader.extension_object()
    return handle, entry


def _check_key(certificate: bytes) -> None:
    """A key that costs no more than the policies allow: RSA of 2048 to 4096 bits."""
    if not certificate or len(certificate) > _MOST_CERTIFICATES:
        raise ProtocolError(_codes.BadCertificateInvalid, "no certificate, or too many of them")
    try:
        key = x509.load_der_x509_certificate(first_certificate(certificate)).public_key()
    except Exception as error:  # the parser and unknown key types fail in many ways
        raise ProtocolError(_codes.BadCertificateInvalid, "the client's certificate cannot be read") from error
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size not in _KEY_BITS:
        raise ProtocolError(_codes.BadCertificatePolicyCheckFailed, "RSA keys have 2048 to 4096 bits")


def first_certificate(chain: bytes) -> bytes:
    """The first DER certificate of a chain."""
    if len(chain) > 4 and chain[0] == 0x30 and chain[1] == 0x82:
        return chain[: 4 + int.from_bytes(chain[2:4], "big")]
    return chain


def _opened(policy: Any, frame: bytes, start: int, thumbprint: bytes) -> tuple[bytes, int]:
    """The chunk without its asymmetric security, and where its sequence header begins."""
    if policy.URI not in ENCRYPTING_KEYS:
        return frame, start
    if thumbprint != hashlib.sha1(policy.host_certificate, usedforsecurity=False).digest():
        raise ProtocolError(_codes.BadCertificateInvalid, "the request is for another certificate")
    crypto = policy.asymmetric_cryptography
    blocks, rest = divmod(len(frame) - start, crypto.Decryptor.encrypted_block_size())
    if blocks > _MOST_BLOCKS:
        # Each costs a private-key operation on the loop, and nobody has proved anything yet.
        raise ProtocolError(_codes.BadTcpMessageTooLarge, f"OPN has no more than {_MOST_BLOCKS} encrypted blocks")
    if rest or not blocks:
        raise ProtocolError(_codes.BadSecurityChecksFailed, "no whole blocks")
    plain = bytes(crypto.decrypt(frame[start:]))
    size = crypto.vsignature_size()
    crypto.verify(frame[:start] + plain[:-size], plain[-size:])
    return bytes(crypto.remove_padding(plain[:-size])), 0


def _asymmetric(policy: Any, channel: int, plain: bytes) -> bytes:
    """An OPN chunk."""
    secured = policy.URI in ENCRYPTING_KEYS
    fields: list[bytes] = [policy.URI.encode(), b"", b""]
    if secured:
        fields[1] = b"".join((policy.host_certificate, *policy.host_certificate_chain))
        fields[2] = hashlib.sha1(policy.peer_certificate, usedforsecurity=False).digest()
    head = b"".join(struct.pack("<i", len(field) or -1) + field for field in fields)
    if not secured:
        return _HEADER.pack(b"OPN", b"F", 12 + len(head) + len(plain), channel) + head + plain
    crypto = policy.asymmetric_cryptography
    padded = plain + crypto.padding(len(plain))
    blocks = (len(padded) + crypto.signature_size()) // crypto.plain_block_size()
    head = _HEADER.pack(b"OPN", b"F", 12 + len(head) + blocks * crypto.encrypted_block_size(), channel) + head
    return head + bytes(crypto.encrypt(padded + crypto.signature(head + padded)))
