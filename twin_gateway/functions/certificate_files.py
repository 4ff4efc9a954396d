"""Until when a certificate file is valid."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

MAX_SIZE = 1 << 20


def expiry(path: Path) -> float:
    """End of validity of the first certificate in a PEM or DER file, s since 1970.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no certificate.
    """
    if path.stat().st_size > MAX_SIZE:
        raise ValueError("larger than any certificate")
    data = path.read_bytes()
    load = x509.load_pem_x509_certificate if b"-----BEGIN" in data else x509.load_der_x509_certificate
    return load(data).not_valid_after_utc.timestamp()
