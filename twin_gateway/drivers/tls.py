"""TLS towards field devices by IEC 62351-3: what mapping files say of it, the context it makes, why it fails."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class TlsConfig(BaseModel):
    """TLS by IEC 62351-3: both sides show a certificate.

    Attributes:
        ca: file with the certificates that the device's may be signed by.
        certificate, key: files with ours.
        crl: file with the revocation lists of these authorities; a device's certificate without one is then refused.
        server_name: name in the device's certificate; None takes the host, empty checks no name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca: str
    certificate: str
    key: str
    crl: str | None = None
    server_name: str | None = None

    @property
    def certificates(self) -> tuple[Path, ...]:
        """Files whose expiry is of interest."""
        return Path(self.certificate), Path(self.ca)


def client_context(config: TlsConfig) -> ssl.SSLContext:
    """A context for one device: TLS 1.2 or later, its certificate and ours checked against the named authorities only.

    Reads files: call it outside the event loop.

    Raises:
        OSError: a file is missing or unusable; the message names the field and says what is wrong in one sentence.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for what, path in (
        ("ca", config.ca),
        ("certificate", config.certificate),
        ("key", config.key),
        ("crl", config.crl),
    ):
        if path is not None:
            _readable(what, Path(path))
    _load(context, "ca", config.ca)
    if not context.cert_store_stats()["x509"]:
        raise OSError(f"tls.ca: {config.ca} holds no certificate")
    if config.crl is not None:
        _load_crl(context, config.crl)
    _load_own(context, config)
    context.check_hostname = config.server_name != ""
    return context


def _readable(what: str, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"tls.{what}: there is no file {path}")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise OSError(f"tls.{what}: {path} cannot be read: {error.strerror or error}") from error


def _load(context: ssl.SSLContext, what: str, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise OSError(f"tls.{what}: {path} holds nothing that can be used (PEM is expected): {error}") from error


def _load_crl(context: ssl.SSLContext, path: str) -> None:
    before = context.cert_store_stats()
    _load(context, "crl", path)
    after = context.cert_store_stats()
    if after["x509"] != before["x509"]:
        # it would be trusted, which nobody has asked for
        raise OSError(f"tls.crl: {path} holds certificates; only revocation lists belong there")
    if after["crl"] == before["crl"]:
        raise OSError(f"tls.crl: {path} holds no revocation list")
    context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF


def _load_own(context: ssl.SSLContext, config: TlsConfig) -> None:
    for what, path, words in (("certificate", config.certificate, b"CERTIFICATE"), ("key", config.key, b"PRIVATE KEY")):
        if words not in Path(path).read_bytes():
            raise OSError(f"tls.{what}: {path} holds no {words.decode().lower()} in PEM")
    try:
        # Without a password the library would ask for one on the terminal.
        context.load_cert_chain(config.certificate, config.key, password=_no_password)
    except ValueError as error:
        raise OSError(f"tls.key: {config.key} {error}") from error
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            text = f"tls.key: {config.key} does not belong to the certificate {config.certificate}"
            raise OSError(text) from error
        text = f"tls: the certificate {config.certificate} or its key {config.key} cannot be used: {error}"
        raise OSError(text) from error


def _no_password() -> str:
    raise ValueError("is protected by a password; give one that is not, readable by the gateway only")


_VERIFY = re.compile(r"certificate verify failed: (?P<why>.*?)\.?(?: \(_ssl|$)")
_ALERT = re.compile(r"alert[ _](?P<why>[a-z][a-z _]*)", re.IGNORECASE)
_OF_CERTIFICATE = re.compile(r"certificate|unknown ca|access denied")
_OTHERS = (
    (re.compile(r"WRONG_VERSION_NUMBER|HTTP_REQUEST|record layer failure"), "the device does not speak TLS there"),
    (re.compile(r"UNSUPPORTED_PROTOCOL|NO_PROTOCOLS_AVAILABLE"), "the device has no version of TLS that is accepted"),
    (re.compile(r"NO_SHARED_CIPHER|NO_CIPHERS_AVAILABLE"), "the device has no cipher suite that is accepted"),
    (re.compile(r"DECRYPTION_FAILED|UNEXPECTED_EOF"), "the device broke it off; it may refuse our certificate"),
    (re.compile(r"CA_MD_TOO_WEAK|EE_KEY_TOO_SMALL|CA_KEY_TOO_SMALL"), "a certificate is too weak"),
)  # fmt: skip


def why(text: str) -> str:
    """What the TLS library says of a failed connection, as one sentence for people; other texts stay as they are."""
    found = _VERIFY.search(text)
    if found:
        return f"TLS: the device's certificate is refused: {found['why']}"
    if "SSL" not in text and "TLS" not in text:
        return text
    found = _ALERT.search(text)
    if found:
        alert = found["why"].replace("_", " ").strip().lower()
        what = "refuses our certificate" if _OF_CERTIFICATE.search(alert) else "ended the handshake"
        return f"TLS: the device {what}: {alert}"
    for pattern, sentence in _OTHERS:
        if pattern.search(text):
            return f"TLS: {sentence}"
    return text
