"""Trust list folders on disk: trusted, issuers, revocation lists, rejected; read again when they change."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from address_space.opcua.trust_check import MALFORMED, TrustList, split_chain, thumbprint, to_der
from address_space.whole_files import write_whole

Kind = Literal["trusted", "issuer", "rejected"]
Stamp = tuple[tuple[str, int, int], ...]
"""Name, time and size of each file of the trust lists."""
MOST_FILES: Final = 2_000
"""Files read of one folder; what is more is reported as a problem."""
LARGEST_FILE: Final = 1 << 20
_FOLDERS: dict[str, str] = {"trusted": "trusted/certs", "issuer": "issuers/certs", "rejected": "rejected"}
_LISTS: dict[str, str] = {"trusted": "trusted/crl", "issuer": "issuers/crl"}
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_PEM = b"-----BEGIN"


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """A certificate in a folder."""

    kind: Kind
    path: Path
    certificate: x509.Certificate


@dataclass(frozen=True, slots=True)
class StoredRevocations:
    """A revocation list in a folder."""

    kind: Kind
    path: Path
    revocations: x509.CertificateRevocationList


@dataclass(slots=True)
class Contents:
    """Everything in the folders, and what could not be read (path and why)."""

    certificates: list[StoredCertificate] = field(default_factory=list)
    revocations: list[StoredRevocations] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def of(self, kind: Kind) -> list[StoredCertificate]:
        """Certificates of one folder."""
        return [each for each in self.certificates if each.kind == kind]

    def lists(self) -> TrustList:
        """What validation needs of it."""
        return TrustList(
            tuple(each.certificate for each in self.of("trusted")),
            tuple(each.certificate for each in self.of("issuer")),
            tuple(each.revocations for each in self.revocations),
        )


class TrustStore:
    """The folders below one directory.

    `trusted/certs`, `trusted/crl`, `issuers/certs`, `issuers/crl` and `rejected`, DER or PEM. Other programs may
    change them at any time; `lists()` notices that.

    Args:
        directory: is made with mode 0700 when it is missing.
        most_rejected: files kept in `rejected`; the oldest go first.
    """

    def __init__(self, directory: Path, *, most_rejected: int = 100) -> None:
        self.directory = directory
        self._most_rejected = most_rejected
        self._stamp: Stamp | None = None
        self._lists = TrustList()
        self.problems: list[str] = []

    def make(self) -> None:
        """Make the folders.

        Raises:
            OSError: when they cannot be made.
        """
        # One by one: folders on the way to a wanted one would be open to everybody.
        for name in ("", "trusted", "issuers", *_FOLDERS.values(), *_LISTS.values()):
            (self.directory / name).mkdir(parents=True, exist_ok=True, mode=0o700)

    # ---- reading ---------------------------------------------------------------------------------------------------

    def lists(self) -> TrustList:
        """What is trusted now; the files are read only when a name, size or time of one has changed."""
        stamp = self.stamp()
        if stamp != self._stamp:
            contents = self.read(rejected=False)
            # The stamp last: another thread that sees it sees the lists as well.
            self._lists, self.problems = contents.lists(), contents.problems
            self._stamp = stamp
        return self._lists

    def stamp(self) -> Stamp:
        """Changes whenever a file of the trust lists does."""
        found = []
        for name in (_FOLDERS["trusted"], _FOLDERS["issuer"], *_LISTS.values()):
            for path in self._files(name):
                try:
                    status = path.stat()
                except OSError:
                    continue  # removed meanwhile
                found.append((f"{name}/{path.name}", status.st_mtime_ns, status.st_size))
        return tuple(found)

    def read(self, *, rejected: bool = True) -> Contents:
        """Everything in the folders."""
        contents = Contents()
        kinds: tuple[Kind, ...] = ("trusted", "issuer", "rejected") if rejected else ("trusted", "issuer")
        for kind in kinds:
            for path, data in self._octets(_FOLDERS[kind], contents.problems):
                try:
                    contents.certificates.append(StoredCertificate(kind, path, read_certificate(data)))
                except ValueError as error:
                    contents.problems.append(f"{path}: {error}")
            if kind in _LISTS:
                for path, data in self._octets(_LISTS[kind], contents.problems):
                    try:
                        contents.revocations.append(StoredRevocations(kind, path, read_revocations(data)))
                    except ValueError as error:
                        contents.problems.append(f"{path}: {error}")
        return contents

    def updated_at(self) -> float:
        """When the trust lists were last changed, seconds since 1970; 0 when they are empty and untouched."""
        newest = 0.0
        for name in (_FOLDERS["trusted"], _FOLDERS["issuer"], *_LISTS.values()):
            try:
                newest = max(newest, (self.directory / name).stat().st_mtime)
            except OSError:
                continue
        return newest

    def _files(self, name: str) -> list[Path]:
        try:
            with os.scandir(self.directory / name) as entries:
                names = sorted(each.name for each in entries if not each.name.startswith(".") and each.is_file())
        except FileNotFoundError:
            return []
        return [self.directory / name / each for each in names[:MOST_FILES]]

    def _octets(self, name: str, problems: list[str]) -> Iterator[tuple[Path, bytes]]:
        files = self._files(name)
        if len(files) == MOST_FILES:
            problems.append(f"{self.directory / name}: only the first {MOST_FILES} files count")
        for path in files:
            try:
                if path.stat().st_size > LARGEST_FILE:
                    problems.append(f"{path}: larger than {LARGEST_FILE >> 20} MiB")
                    continue
                yield path, path.read_bytes()
            except OSError as error:
                problems.append(f"{path}: {error.strerror}")

    # ---- changing --------------------------------------------------------------------------------------------------

    def add(self, kind: Kind, certificate: x509.Certificate) -> Path:
        """Put a certificate into a folder; from `rejected` it is gone when it is trusted.

        Raises:
            OSError: when it cannot be written.
        """
        return self._add(kind, [certificate])[0]

    def _add(self, kind: Kind, certificates: Sequence[x509.Certificate]) -> list[Path]:
        paths = [self.directory / _FOLDERS[kind] / file_name(each) for each in certificates]
        for path, certificate in zip(paths, certificates, strict=True):
            write_whole(path, to_der(certificate))
        if kind != "rejected":
            for stored in self.read().of("rejected"):
                if stored.certificate in certificates:
                    stored.path.unlink(missing_ok=True)
        return paths

    def add_revocations(self, kind: Kind, revocations: x509.CertificateRevocationList) -> Path:
        """Put a revocation list beside the trusted or the issuer certificates; an older one of the issuer goes.

        Raises:
            OSError: when it cannot be written.
        """
        path = self._write_revocations(kind, revocations)
        for each in self.read(rejected=False).revocations:
            if each.kind == kind and each.revocations.issuer == revocations.issuer and each.path != path:
                each.path.unlink(missing_ok=True)
        return path

    def _write_revocations(self, kind: Kind, revocations: x509.CertificateRevocationList) -> Path:
        der = revocations.public_bytes(serialization.Encoding.DER)
        stem = _UNSAFE.sub("_", revocations.issuer.rfc4514_string())[:60]
        path = self.directory / _LISTS[kind] / f"{stem} [{sha256(der).hexdigest()[:16].upper()}].crl"
        write_whole(path, der)
        return path

    def reject(self, certificate: x509.Certificate) -> bool:
        """Keep what was refused, for an administrator to look at; False when it is there already."""
        path = self.directory / _FOLDERS["rejected"] / file_name(certificate)
        if path.exists():
            return False
        write_whole(path, to_der(certificate), durable=False)
        kept = sorted(self._rejected(), key=lambda each: each[0])
        for _, old in kept[: max(0, len(kept) - self._most_rejected)]:
            old.unlink(missing_ok=True)
        return True

    def _rejected(self) -> Iterator[tuple[int, Path]]:
        with os.scandir(self.directory / _FOLDERS["rejected"]) as entries:
            for each in entries:
                try:
                    yield each.stat().st_mtime_ns, Path(each.path)
                except OSError:
                    continue  # removed meanwhile

    def remove(
        self, certificate: x509.Certificate, kinds: tuple[Kind, ...] = ("trusted", "issuer", "rejected")
    ) -> list[Path]:
        """Take a certificate out of folders; the files that are gone."""
        removed = []
        for each in self.read().certificates:
            if each.kind in kinds and each.certificate == certificate:
                each.path.unlink(missing_ok=True)
                removed.append(each.path)
        return removed

    def replace(self, kind: Kind, certificates: list[x509.Certificate] | None, lists: list[bytes] | None) -> None:
        """Make certificates and revocation lists (DER) of a folder exactly these; None leaves them.

        New files are written before old ones go, so that nothing that stays is missing for a moment.

        Raises:
            OSError, ValueError: when something cannot be written or is no revocation list.
        """
        contents = self.read(rejected=False)
        if certificates is not None:
            kept = set(self._add(kind, certificates))
            for stored in contents.of(kind):
                if stored.path not in kept:
                    stored.path.unlink(missing_ok=True)
        if lists is not None:
            written = {self._write_revocations(kind, read_revocations(each)) for each in lists}
            for former in contents.revocations:
                if former.kind == kind and former.path not in written:
                    former.path.unlink(missing_ok=True)

    def find(
        self, text: str, *, kinds: tuple[Kind, ...] = ("trusted", "issuer", "rejected")
    ) -> list[StoredCertificate]:
        """Certificates whose SHA-1 thumbprint or SHA-256 fingerprint begins with `text`, or whose common name it is."""
        wanted = text.replace(":", "").replace(" ", "").upper()
        found = []
        for each in self.read().certificates:
            if each.kind not in kinds:
                continue
            marks = (thumbprint(each.certificate), each.certificate.fingerprint(hashes.SHA256()).hex().upper())
            if common_name(each.certificate) == text or (
                len(wanted) >= 6 and any(mark.startswith(wanted) for mark in marks)
            ):
                found.append(each)
        return found


def read_certificate(data: bytes) -> x509.Certificate:
    """A certificate, DER or PEM.

    Raises:
        ValueError: when it is none.
    """
    if not data.lstrip().startswith(_PEM):
        return split_chain(data)[0]
    try:
        return x509.load_pem_x509_certificate(data)
    except MALFORMED as error:
        raise ValueError(f"no certificate: {error}") from error


def read_revocations(data: bytes) -> x509.CertificateRevocationList:
    """A revocation list, DER or PEM.

    Raises:
        ValueError: when it is none.
    """
    pem = data.lstrip().startswith(_PEM)
    try:
        return x509.load_pem_x509_crl(data) if pem else x509.load_der_x509_crl(data)
    except MALFORMED as error:
        raise ValueError(f"no revocation list: {error}") from error


def common_name(certificate: x509.Certificate) -> str:
    """The common name of the subject, or the whole subject without one."""
    try:
        names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return str(names[0].value) if names else certificate.subject.rfc4514_string()
    except ValueError:
        return "unreadable"


def file_name(certificate: x509.Certificate) -> str:
    """`common_name [THUMBPRINT].der`, as Part 12 recommends for certificate stores."""
    return f"{_UNSAFE.sub('_', common_name(certificate))[:60]} [{thumbprint(certificate)}].der"
