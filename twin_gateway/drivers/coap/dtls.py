"""DTLS 1.2 of one association with OpenSSL: octets in, octets out; a pre-shared key or certificates; no I/O.

The library is pyOpenSSL on the OpenSSL that `cryptography` brings along; both may be used together with this gateway's
licence. DTLS with a pre-shared key is the one thing pyOpenSSL has no call for, so it is set at the library below it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from pydantic import SecretStr

from twin_gateway.drivers.tls import TlsConfig

MTU = 1280
"""Largest datagram of a handshake, octets: what every IPv6 path carries, less its heads."""

_ffi: Any = getattr(SSL, "_ffi")  # noqa: B009 - below what the library declares
_lib: Any = getattr(SSL, "_lib")  # noqa: B009 - as above
_DTLS_1_2 = 0xFEFD
_RECORD_HEAD = 13
_LARGEST = 65_535
# The suites that RFC 7252 9.1.3 and RFC 7925 name, those with longer tags first.
_PSK_SUITES = b"PSK-AES128-GCM-SHA256:PSK-AES128-CCM:PSK-CHACHA20-POLY1305:PSK-AES128-CCM8:@SECLEVEL=0"
_PSK_CALLBACK = "unsigned int (*)(SSL *, const char *, char *, unsigned int, unsigned char *, unsigned int)"
_CERTIFICATE_SUITES = b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES128-CCM8"


class DtlsError(ConnectionError):
    """The handshake was refused, or the other side ended the association; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Security:
    """What an association is protected with: `identity` and `key`, or `tls` with the name in the certificate."""

    identity: str = ""
    key: SecretStr | None = None
    tls: TlsConfig | None = None
    host: str = ""


class Session:
    """The client's side of one association.

    Attributes:
        established: the handshake is over, both sides have proved their keys.
    """

    def __init__(self, security: Security) -> None:
        """Prepare; reads the certificate files where there are some: call it outside the event loop then.

        Raises:
            OSError: a file is missing or unusable.
        """
        self._callback: Any = None  # the library keeps no reference of its own
        self.established = False
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_min_proto_version(_DTLS_1_2)
        context.set_options(SSL.OP_NO_RENEGOTIATION)  # a lost association begins with a new one
        if security.key is not None:
            context.set_cipher_list(_PSK_SUITES)
            self._set_key(context, security.identity, security.key)
        elif security.tls is not None:
            context.set_cipher_list(_CERTIFICATE_SUITES)
            _set_certificates(context, security.tls)
        self._connection = SSL.Connection(context, None)
        self._connection.set_connect_state()
        self._connection.set_ciphertext_mtu(MTU)
        if security.tls is not None:
            self._check_name(security.host if security.tls.server_name is None else security.tls.server_name)

    def _set_key(self, context: Any, name: str, secret: SecretStr) -> None:
        identity, key = name.encode(), bytes.fromhex(secret.get_secret_value())
        if not hasattr(_lib, "SSL_CTX_set_psk_client_callback"):
            raise DtlsError("the installed version of cryptography has no pre-shared keys")

        def told(_ssl: Any, _hint: Any, to: Any, most: int, key_to: Any, most_key: int) -> int:
            if len(identity) >= most or len(key) > most_key:
                return 0
            _ffi.memmove(to, identity + b"\0", len(identity) + 1)
            _ffi.memmove(key_to, key, len(key))
            return len(key)

        self._callback = _ffi.callback(_PSK_CALLBACK, told)
        _lib.SSL_CTX_set_psk_client_callback(context._context, self._callback)

    def _check_name(self, name: str) -> None:
        if not name:
            return
        parameters = _lib.SSL_get0_param(self._connection._ssl)
        if ":" in name or name.replace(".", "").isdigit():
            packed = ipaddress.ip_address(name).packed
            set_name = _lib.X509_VERIFY_PARAM_set1_ip(parameters, packed, len(packed))
        else:
            set_name = _lib.X509_VERIFY_PARAM_set1_host(parameters, name.encode(), len(name))
            self._connection.set_tlsext_host_name(name.encode())
        if set_name != 1:
            raise DtlsError(f"{name!r} is no name that a certificate can be checked against")

    def start(self) -> None:
        """Begin the handshake; what is to be sent is in `outgoing`."""
        self._shake()

    def receive(self, datagram: bytes) -> list[bytes]:
        """Take what came in; returns what was protected inside.

        Raises:
            DtlsError: the other side refused the handshake or ended the association.
        """
        if not datagram:
            return []
        self._connection.bio_write(datagram)
        if not self.established:
            self._shake()
            if not self.established:
                return []
        found: list[bytes] = []
        try:
            while True:
                found.append(self._connection.recv(_LARGEST))
        except SSL.WantReadError:
            return found
        except SSL.ZeroReturnError:
            raise DtlsError("the device ended the DTLS association") from None
        except SSL.Error as error:
            raise DtlsError(f"DTLS: {_say(error)}") from error

    def send(self, octets: bytes) -> None:
        """Protect octets; the datagram is in `outgoing`.

        Raises:
            DtlsError: there is no association any more.
        """
        if not self.established:
            raise DtlsError("there is no DTLS association")
        try:
            self._connection.send(octets)
        except SSL.Error as error:
            raise DtlsError(f"DTLS: {_say(error)}") from error

    def outgoing(self) -> Iterator[bytes]:
        """Datagrams to be sent now: whole records, as many as fit one."""
        try:
            octets = self._connection.bio_read(1 << 20)
        except SSL.WantReadError:
            return
        begin = at = 0
        while at + _RECORD_HEAD <= len(octets):
            following = at + _RECORD_HEAD + int.from_bytes(octets[at + 11 : at + 13], "big")
            if following - begin > MTU and at > begin:
                yield octets[begin:at]
                begin = at
            at = following
        if begin < len(octets):
            yield octets[begin:]

    def wait(self) -> float | None:
        """Seconds until the handshake has to be helped on by `late`; None when nothing is awaited."""
        waiting: float | None = self._connection.DTLSv1_get_timeout()
        return waiting

    def late(self) -> None:
        """No answer came in time: what was sent last goes out once more.

        Raises:
            DtlsError: too often.
        """
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error as error:
            raise DtlsError(f"DTLS: {_say(error)}") from error

    def close(self) -> None:
        """Say that the association ends."""
        if self.established:
            self.established = False
            try:
                self._connection.shutdown()
            except SSL.Error:
                return  # it has ended already

    def _shake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            raise DtlsError(f"the DTLS handshake failed: {_say(error)}") from error
        self.established = True


def _set_certificates(context: Any, tls: TlsConfig) -> None:
    try:
        context.load_verify_locations(tls.ca)
        context.use_certificate_chain_file(tls.certificate)
        context.use_privatekey(serialization.load_pem_private_key(Path(tls.key).read_bytes(), None))
        context.check_privatekey()
        if tls.crl is not None:
            store = context.get_cert_store()
            store.load_locations(tls.crl)
            store.set_flags(4)  # X509_V_FLAG_CRL_CHECK: a certificate without a revocation list is refused
    except (SSL.Error, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise OSError(f"tls: the certificate, key, ca or crl cannot be used: {_say(error)}") from error
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)


def _say(error: BaseException) -> str:
    found = error.args[0] if error.args else None
    if isinstance(found, list) and found:
        return "; ".join(str(each[-1]) for each in found[:3])
    return str(error) or type(error).__name__
