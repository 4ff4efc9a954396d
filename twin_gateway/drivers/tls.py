"""TLS towards field devices by IEC 62351-3: what mapping files say of it, and the context it makes."""

from __future__ import annotations

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


def client_context(config: TlsConfig) -> ssl.SSLContext:
    """A context for one device: TLS 1.2 or later, its certificate and ours checked against the named authorities only.

    Reads files: call it outside the event loop.

    Raises:
        OSError: a file is missing or unusable (`ssl.SSLError` is one); the message names what the file was to hold.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for what, path in (
        ("ca", config.ca),
        ("certificate", config.certificate),
        ("key", config.key),
        ("crl", config.crl),
    ):
        if path is not None and not Path(path).is_file():
            raise FileNotFoundError(f"tls.{what}: there is no file {path}")
    try:
        context.load_verify_locations(config.ca)
        if config.crl is not None:
            context.load_verify_locations(config.crl)
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        # Without a password the library would ask for one on the terminal.
        context.load_cert_chain(config.certificate, config.key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise OSError(f"tls: the certificate, key, ca or crl cannot be used: {error}") from error
    context.check_hostname = config.server_name != ""
    return context


def _no_password() -> str:
    raise ValueError("the key is protected by a password; give one that is not, readable by the gateway only")
