"""Certificate of the server, secrets of its clients, settings that would be unsafe."""

from __future__ import annotations

import datetime
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
from asyncua.common.utils import ServiceError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from peers.opcua.certificates import application

from address_space.opcua.endpoints import POLICY_OF_URI
from address_space.opcua.identity import proves
from address_space.opcua.security import CertificateError, decrypt_secret, load_or_make, same_certificate
from address_space.opcua.settings import ServerSettings, SettingsError

URI = "urn:host:twin-gateway"
OAEP = "http://www.w3.org/2001/04/xmlenc#rsa-oaep"
NONCE = bytes(range(32))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pki")
    load_or_make(made, URI, "twin-gateway", ("gateway.example.org", "192.0.2.7"))
    return made


def test_the_certificate_is_made_once_for_uri_and_hosts(directory: Path) -> None:
    first = load_or_make(directory, URI, "twin-gateway", ())
    names = first.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [URI]
    assert {"gateway.example.org", "localhost"} <= set(names.get_values_for_type(x509.DNSName))
    assert {"192.0.2.7", "127.0.0.1"} <= {str(each) for each in names.get_values_for_type(x509.IPAddress)}
    usage = first.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.data_encipherment
    assert first.key.key_size >= 2048
    assert first.certificate.not_valid_after_utc > datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=365)
    assert load_or_make(directory, URI, "twin-gateway", ()).certificate == first.certificate


def test_the_key_is_for_its_owner_only(directory: Path) -> None:
    key_file = load_or_make(directory, URI, "twin-gateway", ()).key_file
    assert key_file.stat().st_mode & 0o777 == 0o600
    key_file.chmod(0o644)
    try:
        with pytest.raises(CertificateError, match="0600"):
            load_or_make(directory, URI, "twin-gateway", ())
    finally:
        key_file.chmod(0o600)


def test_a_certificate_of_another_application_is_refused(directory: Path) -> None:
    with pytest.raises(CertificateError, match="is not for urn:other"):
        load_or_make(directory, "urn:other", "twin-gateway", ())


def test_a_key_of_another_certificate_is_refused(directory: Path, tmp_path: Path) -> None:
    load_or_make(tmp_path, URI, "twin-gateway", ())
    own = tmp_path / "own"
    (own / "certificate.der").write_bytes((directory / "own" / "certificate.der").read_bytes())
    with pytest.raises(CertificateError, match="is not the key"):
        load_or_make(tmp_path, URI, "twin-gateway", ())
    (own / "certificate.der").write_bytes(b"nothing")
    with pytest.raises(CertificateError, match="cannot read"):
        load_or_make(tmp_path, URI, "twin-gateway", ())


def secret(directory: Path, password: bytes, nonce: bytes = NONCE, length: int | None = None) -> tuple[object, bytes]:
    identity = load_or_make(directory, URI, "twin-gateway", ())
    plain = struct.pack("<I", len(password) + len(nonce) if length is None else length) + password + nonce
    scheme = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)
    public = identity.key.public_key()
    return identity.key, b"".join(public.encrypt(plain[at : at + 190], scheme) for at in range(0, len(plain), 190))


def test_a_password_is_decrypted_also_over_many_blocks(directory: Path) -> None:
    for password in (b"s3cret", b"long" * 100, b""):
        key, octets = secret(directory, password)
        assert decrypt_secret(key, OAEP, octets, NONCE) == password


def test_a_replayed_or_damaged_secret_is_refused(directory: Path) -> None:
    key, octets = secret(directory, b"s3cret")
    with pytest.raises(ServiceError):
        decrypt_secret(key, OAEP, octets, bytes(32))
    with pytest.raises(ServiceError):
        decrypt_secret(key, OAEP, octets[:-1] + b"x", NONCE)
    with pytest.raises(ServiceError):
        decrypt_secret(key, OAEP, b"", NONCE)
    _, wrong = secret(directory, b"s3cret", length=7)
    with pytest.raises(ServiceError):
        decrypt_secret(key, OAEP, wrong, NONCE)


def test_weak_padding_is_refused(directory: Path) -> None:
    key, octets = secret(directory, b"s3cret")
    with pytest.raises(ServiceError):
        decrypt_secret(key, "http://www.w3.org/2001/04/xmlenc#rsa-1_5", octets, NONCE)


def test_a_certificate_of_a_service_is_that_of_the_channel_as_a_whole() -> None:
    own, other = application("own").der, application("other").der
    assert same_certificate(own, own)
    assert same_certificate(own + other, own)
    for sent in (own[:1], own[:-1], other + own, other, b"", None):
        assert not same_certificate(sent, own)


def test_a_user_certificate_with_an_unknown_kind_of_key_proves_nothing() -> None:
    rsa_key, unknown = bytes.fromhex("06092a864886f70d010101"), bytes.fromhex("06092a864886f70d010163")
    odd = x509.load_der_x509_certificate(application("own").der.replace(rsa_key, unknown))
    signature = SimpleNamespace(Signature=b"x" * 256, Algorithm=None)
    for policy in POLICY_OF_URI:
        assert not proves(odd, policy, b"signed", signature)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "gateway.example.org", "::"])
def test_no_security_is_for_loopback_only(host: str, tmp_path: Path) -> None:
    assert ServerSettings("https://example.org", tmp_path, host=host).modes() == ("SignAndEncrypt",)
    with pytest.raises(SettingsError, match="loopback"):
        ServerSettings("https://example.org", tmp_path, host=host, security=("None",)).modes()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_loopback_offers_both(host: str, tmp_path: Path) -> None:
    assert set(ServerSettings("https://example.org", tmp_path, host=host).modes()) == {"None", "SignAndEncrypt"}


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no security mode"):
        ServerSettings("https://example.org", tmp_path, security=("Encrypt",)).modes()
