"""The trust list as a file object (Part 12, 7.8.2; Part 20): open, read, write, close, and the changes it makes."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from address_space.opcua.standard_methods import Results
from address_space.opcua.trust_check import policy_problem, signed_by, thumbprint, to_der
from address_space.opcua.trust_store import Contents, Kind, TrustStore, read_certificate, read_revocations
from address_space.opcua.untyped import ua

if TYPE_CHECKING:
    from address_space.opcua.session import Session

MOST_OPEN: Final = 10
ACTIVITY_SECONDS: Final = 60.0
"""A file that nobody reads or writes for so long is closed (ActivityTimeout, Part 12, 7.8.2.1)."""
READ, WRITE_ERASE = 1, 6
_TRUSTED_CERTIFICATES, _TRUSTED_CRLS, _ISSUER_CERTIFICATES, _ISSUER_CRLS, _ALL = 1, 2, 4, 8, 15
_codes = ua.StatusCodes


@dataclass(slots=True)
class _Handle:
    session: Session
    writing: bool
    data: bytearray = field(default_factory=bytearray)
    position: int = 0
    used: float = field(default_factory=time.monotonic)


class TrustListFile:
    """The file object of one trust list; several may read, or one write.

    Args:
        store: the folders.
        largest: octets that may be written.
        changed: awaited after the trust list has been changed, with what was done.
        counted: told how many handles are open.
    """

    def __init__(
        self,
        store: TrustStore,
        largest: int,
        changed: Callable[[Session, str], Awaitable[None]],
        counted: Callable[[int], None],
    ) -> None:
        self._store = store
        self._largest = largest
        self._changed = changed
        self._counted = counted
        counted(0)
        self._open: dict[int, _Handle] = {}
        self._numbers = itertools.count(1)

    def _handle(self, session: Session, number: int) -> _Handle | None:
        self._close_idle()
        handle = self._open.get(number)
        if handle is None or handle.session is not session:
            return None
        handle.used = time.monotonic()
        return handle

    def _close_idle(self) -> None:
        idle = time.monotonic() - ACTIVITY_SECONDS
        for number in [number for number, handle in self._open.items() if handle.used < idle]:
            self._end(number)

    def forget(self, session: Session) -> None:
        """Close what a session that has ended left open."""
        for number in [number for number, handle in self._open.items() if handle.session is session]:
            self._end(number)

    def _end(self, number: int) -> None:
        del self._open[number]
        self._counted(len(self._open))

    async def open(self, session: Session, mode: int, masks: int = _ALL) -> Results:
        """Open for reading (1) or for writing anew (6)."""
        if mode not in {READ, WRITE_ERASE}:
            return int(_codes.BadInvalidArgument), ()
        writing = mode == WRITE_ERASE
        self._close_idle()
        if any(handle.writing for handle in self._open.values()) or (writing and self._open):
            return int(_codes.BadNotWritable if writing else _codes.BadNotReadable), ()
        if len(self._open) >= MOST_OPEN:
            return int(_codes.BadResourceUnavailable), ()
        handle = _Handle(session, writing)
        number = next(self._numbers)
        self._open[number] = handle
        self._counted(len(self._open))
        if not writing:
            try:
                contents = await asyncio.to_thread(self._store.read, rejected=False)
            except OSError:
                self._end(number)
                raise
            handle.data += _encode(contents, masks & _ALL)
        return 0, (ua.Variant(number, ua.VariantType.UInt32),)

    async def read(self, session: Session, number: int, length: int) -> Results:
        """The next octets."""
        handle = self._handle(session, number)
        if handle is None or length < 0:
            return int(_codes.BadInvalidArgument), ()
        if handle.writing:
            return int(_codes.BadInvalidState), ()
        part = bytes(handle.data[handle.position : handle.position + length])
        handle.position += len(part)
        return 0, (ua.Variant(part, ua.VariantType.ByteString),)

    async def write(self, session: Session, number: int, data: bytes | None) -> Results:
        """Further octets, kept until CloseAndUpdate."""
        handle = self._handle(session, number)
        if handle is None:
            return int(_codes.BadInvalidArgument), ()
        if not handle.writing:
            return int(_codes.BadInvalidState), ()
        if handle.position + len(data or b"") > self._largest:
            return int(_codes.BadEncodingLimitsExceeded), ()
        end = handle.position + len(data or b"")
        handle.data[handle.position : end] = data or b""
        handle.position = end
        return 0, ()

    async def position(self, session: Session, number: int, to: int | None = None) -> Results:
        """GetPosition, or SetPosition (no further than the end)."""
        handle = self._handle(session, number)
        if handle is None:
            return int(_codes.BadInvalidArgument), ()
        if to is None:
            return 0, (ua.Variant(handle.position, ua.VariantType.UInt64),)
        handle.position = min(to, len(handle.data))
        return 0, ()

    async def close(self, session: Session, number: int) -> Results:
        """Close; what was written is thrown away."""
        if self._handle(session, number) is None:
            return int(_codes.BadInvalidArgument), ()
        self._end(number)
        return 0, ()

    async def close_and_update(self, session: Session, number: int) -> Results:
        """Close, and make the trust list what was written; in force at once."""
        handle = self._handle(session, number)
        if handle is None:
            return int(_codes.BadInvalidArgument), ()
        if not handle.writing:
            return int(_codes.BadInvalidState), ()
        self._end(number)
        try:
            wanted = await asyncio.to_thread(_decode, bytes(handle.data))
        except (ValueError, UnsupportedAlgorithm):
            return int(_codes.BadCertificateInvalid), ()
        await asyncio.to_thread(self._replace, wanted)
        await self._changed(session, "the trust list was replaced")
        return 0, (ua.Variant(False, ua.VariantType.Boolean),)

    def _replace(self, wanted: dict[Kind, tuple[list[x509.Certificate] | None, list[bytes] | None]]) -> None:
        for kind, (certificates, lists) in wanted.items():
            self._store.replace(kind, certificates, lists)

    async def add(self, session: Session, data: bytes | None, trusted: bool) -> Results:
        """AddCertificate: one more that is trusted."""
        self._close_idle()
        if self._open:
            return int(_codes.BadInvalidState), ()
        try:
            certificate = read_certificate(data or b"")
        except (ValueError, UnsupportedAlgorithm):
            return int(_codes.BadCertificateInvalid), ()
        contents = await asyncio.to_thread(self._store.read, rejected=False)
        if not trusted or policy_problem(certificate) or not _has_chain(certificate, contents):
            return int(_codes.BadCertificateInvalid), ()
        await asyncio.to_thread(self._store.add, "trusted", certificate)
        await self._changed(session, f"{thumbprint(certificate)} is trusted")
        return 0, ()

    async def remove(self, session: Session, mark: str | None, trusted: bool) -> Results:
        """RemoveCertificate by its thumbprint, unless others need it for their chains."""
        self._close_idle()
        if self._open:
            return int(_codes.BadInvalidState), ()
        contents = await asyncio.to_thread(self._store.read, rejected=False)
        kind: Kind = "trusted" if trusted else "issuer"
        found = [each.certificate for each in contents.of(kind) if thumbprint(each.certificate) == (mark or "").upper()]
        if not found:
            return int(_codes.BadInvalidArgument), ()
        others = [each.certificate for each in contents.certificates if each.certificate != found[0]]
        elsewhere = sum(each.certificate == found[0] for each in contents.certificates) > 1
        if not elsewhere and any(each.issuer == found[0].subject and signed_by(each, found[0]) for each in others):
            return int(_codes.BadCertificateChainIncomplete), ()
        await asyncio.to_thread(self._store.remove, found[0], (kind,))
        await self._changed(session, f"{thumbprint(found[0])} is removed")
        return 0, ()


def trust_list_size(store: TrustStore) -> int:
    """Octets of the whole trust list as it would be read now."""
    return len(_encode(store.read(rejected=False), _ALL))


def _has_chain(certificate: x509.Certificate, contents: Contents) -> bool:
    return certificate.subject == certificate.issuer or any(
        each.certificate.subject == certificate.issuer and signed_by(certificate, each.certificate)
        for each in contents.certificates
    )


def _encode(contents: Contents, masks: int) -> bytes:
    def certificates(kind: Kind) -> list[bytes]:
        return [to_der(each.certificate) for each in contents.of(kind)]

    def lists(kind: Kind) -> list[bytes]:
        der = serialization.Encoding.DER
        return [each.revocations.public_bytes(der) for each in contents.revocations if each.kind == kind]

    value = ua.TrustListDataType()
    value.SpecifiedLists = masks
    value.TrustedCertificates = certificates("trusted") if masks & _TRUSTED_CERTIFICATES else []
    value.TrustedCrls = lists("trusted") if masks & _TRUSTED_CRLS else []
    value.IssuerCertificates = certificates("issuer") if masks & _ISSUER_CERTIFICATES else []
    value.IssuerCrls = lists("issuer") if masks & _ISSUER_CRLS else []
    return bytes(struct_to_binary(value))


def _decode(data: bytes) -> dict[Kind, tuple[list[x509.Certificate] | None, list[bytes] | None]]:
    """What a written TrustListDataType asks for: certificates and revocation lists of each kind, None for as they are.

    Raises:
        ValueError: when something in it is no certificate or no revocation list, or the policies do not take a key.
    """
    try:
        value = struct_from_binary(ua.TrustListDataType, Buffer(data))
    except Exception as error:  # asyncua's decoder fails in many ways on damaged octets
        raise ValueError(str(error)) from error
    masks = int(value.SpecifiedLists)
    wanted: dict[Kind, tuple[list[x509.Certificate] | None, list[bytes] | None]] = {
        "trusted": (
            _certificates(value.TrustedCertificates) if masks & _TRUSTED_CERTIFICATES else None,
            _lists(value.TrustedCrls) if masks & _TRUSTED_CRLS else None,
        ),
        "issuer": (
            _certificates(value.IssuerCertificates) if masks & _ISSUER_CERTIFICATES else None,
            _lists(value.IssuerCrls) if masks & _ISSUER_CRLS else None,
        ),
    }
    return wanted


def _certificates(given: Sequence[bytes] | None) -> list[x509.Certificate]:
    made = [read_certificate(each) for each in given or ()]
    for each in made:
        problem = policy_problem(each)
        if problem:
            raise ValueError(problem)
    return made


def _lists(given: Sequence[bytes] | None) -> list[bytes]:
    return [read_revocations(each).public_bytes(serialization.Encoding.DER) for each in given or ()]
