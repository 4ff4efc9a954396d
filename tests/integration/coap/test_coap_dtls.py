"""DTLS against libcoap's servers on OpenSSL and GnuTLS: keys, certificates, what goes wrong, and a proxy."""

import asyncio
import datetime
import ipaddress
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from peers.coap.rig import SERVERS, Recorder, free_port, libcoap, point, running

from address_space.catalogue import ValueType
from twin_gateway.drivers.capture import Carrier
from twin_gateway.drivers.coap.config import CoapConfig
from twin_gateway.drivers.coap.driver import CoapDriver
from twin_gateway.drivers.contract import BoundPoint, LinkLost

KEY = b"secretPSK-16byte"
SECURED = [kind for kind in SERVERS if kind != "notls"]
pytestmark = pytest.mark.skipif("openssl" not in SECURED, reason="libcoap is not installed: apt install libcoap3-bin")


def text_point(row: int, path: str) -> BoundPoint:
    return point(row, path, cdc="VSS", value_type=ValueType.STRING)


def secured(port: int, *points: BoundPoint, **more: Any) -> CoapDriver:
    settings = {"timeout": 2.0, "ack_timeout": 0.3, **more}
    return CoapDriver("sensor", CoapConfig(uri=f"coaps://127.0.0.1:{port}", **settings), points)


def psk(key: bytes = KEY) -> dict[str, Any]:
    return {"psk": {"identity": "gateway", "key": key.hex()}}


@pytest.mark.parametrize("kind", SECURED)
async def test_resources_are_read_and_observed_with_a_pre_shared_key(kind: str, recorder: Recorder) -> None:
    port = free_port()
    async with (
        libcoap(port, "-k", KEY.decode(), "-h", "hint", kind=kind),
        running(secured(port + 1, text_point(1, "/time"), **psk()), recorder),
    ):
        await recorder.until(lambda: 1 in recorder.last and recorder.counters["notifications"] >= 1)
    records = recorder.ring.records()
    assert {record.flow.carrier for record in records} == {Carrier.UDP}
    assert any(b"time" in record.octets for record in records if record.sent), "the capture has the plain requests"


async def test_a_large_answer_comes_in_blocks_over_dtls(recorder: Recorder) -> None:
    port = free_port()
    async with (
        libcoap(port, "-k", KEY.decode(), kind="openssl"),
        running(secured(port + 1, text_point(1, "/example_data"), **psk()), recorder),
    ):
        await recorder.until(lambda: 1 in recorder.last)
    assert len(recorder.last[1][0]) > 1024


async def test_a_wrong_key_ends_in_bounded_time_with_a_sentence(recorder: Recorder) -> None:
    port = free_port()
    async with libcoap(port, "-k", KEY.decode(), kind="openssl"):
        began = time.monotonic()
        with pytest.raises(LinkLost, match="handshake"):
            await secured(port + 1, text_point(1, "/time"), timeout=1.0, **psk(b"another key")).run(recorder)
    assert time.monotonic() - began < 3.0
    assert recorder.ups == 0


async def test_a_silent_peer_ends_in_bounded_time_with_a_sentence(recorder: Recorder) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        began = time.monotonic()
        with pytest.raises(LinkLost, match="no DTLS handshake within 1 s: nobody is there, or the key"):
            await secured(silent.getsockname()[1], text_point(1, "/time"), timeout=1.0, **psk()).run(recorder)
    assert 0.8 < time.monotonic() - began < 3.0


async def test_a_closed_port_is_told_at_once(recorder: Recorder) -> None:
    began = time.monotonic()
    with pytest.raises(LinkLost, match="refused"):
        await secured(free_port(), text_point(1, "/time"), **psk()).run(recorder)
    assert time.monotonic() - began < 1.0


async def test_a_restarted_server_is_associated_with_anew(recorder: Recorder) -> None:
    port = free_port()
    device = secured(port + 1, text_point(1, "/time"), keepalive=0.3, timeout=1.0, **psk())
    async with libcoap(port, "-k", KEY.decode(), kind="openssl"):
        task = asyncio.create_task(device.run(recorder))
        await recorder.until(lambda: 1 in recorder.last)
    async with libcoap(port, "-k", KEY.decode(), kind="openssl"):
        with pytest.raises(LinkLost):
            async with asyncio.timeout(8):
                await task
        recorder.last.clear()
        async with running(device, recorder):
            await recorder.until(lambda: 1 in recorder.last)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server's and a client's certificate."""
    folder = tmp_path_factory.mktemp("certificates")
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])

    def issue(name: str, key: ec.EllipticCurvePrivateKey, *, root: bool = False) -> None:
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
        )
        if not root:
            names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("sensor.example")]
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = made.sign(authority_key, hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    issue("authority", authority_key, root=True)
    issue("server", ec.generate_private_key(ec.SECP256R1()))
    issue("client", ec.generate_private_key(ec.SECP256R1()))
    return folder


def certified(folder: Path, **more: Any) -> dict[str, Any]:
    files = {"ca": "authority.pem", "certificate": "client.pem", "key": "client.key"}
    return {"tls": {**{name: str(folder / file) for name, file in files.items()}, **more}}


def with_certificates(folder: Path) -> tuple[str, ...]:
    return "-c", str(folder / "server.pem"), "-j", str(folder / "server.key"), "-C", str(folder / "authority.pem")


async def test_both_sides_show_certificates(certificates: Path, recorder: Recorder) -> None:
    port = free_port()
    async with (
        libcoap(port, *with_certificates(certificates), kind="openssl"),
        running(secured(port + 1, text_point(1, "/time"), **certified(certificates)), recorder),
    ):
        await recorder.until(lambda: 1 in recorder.last)


async def test_a_certificate_of_another_name_is_refused(certificates: Path, recorder: Recorder) -> None:
    port = free_port()
    async with libcoap(port, *with_certificates(certificates), kind="openssl"):
        device = secured(port + 1, text_point(1, "/time"), **certified(certificates, server_name="other.example"))
        with pytest.raises(LinkLost, match="handshake failed: certificate verify failed"):
            await device.run(recorder)


async def test_requests_go_through_a_forward_proxy(recorder: Recorder) -> None:
    """libcoap is the proxy and another libcoap the device."""
    device_port, proxy_port = free_port(), free_port()
    async with libcoap(device_port, kind="openssl"), libcoap(proxy_port, "-P", ",proxy.example", kind="openssl"):
        config = CoapConfig(
            uri=f"coap://127.0.0.1:{device_port}", proxy=f"coap://127.0.0.1:{proxy_port}", timeout=3.0, ack_timeout=0.3
        )
        async with running(CoapDriver("sensor", config, [text_point(1, "/time")]), recorder):
            await recorder.until(lambda: len(recorder.seen.get(1, [])) >= 2)
    assert recorder.ring.records()[0].flow.remote[1] == proxy_port
