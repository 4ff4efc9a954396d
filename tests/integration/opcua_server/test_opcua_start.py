"""Starting: keys and certificates are judged by what they hold, and a start that fails leaves nothing running."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from asyncua import Client
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from peers.opcua.rig import AUTHORITY, POSITION, grid

from address_space.opcua import push
from address_space.opcua.server import GatewayServer
from address_space.opcua.settings import ServerSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")


def server(directory: Path, port: int = 0) -> GatewayServer:
    return GatewayServer(grid(), ServerSettings(AUTHORITY, directory / "pki", port=port))


async def test_key_and_certificate_are_read_by_what_they_hold_not_by_their_names(tmp_path: Path) -> None:
    first = server(tmp_path)
    await first.start()
    await first.stop()
    own = tmp_path / "pki" / "own"
    key_file, certificate_file = own / "private_key.pem", own / "certificate.der"
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    certificate = x509.load_der_x509_certificate(certificate_file.read_bytes())
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    second = server(tmp_path)
    await second.start()
    try:
        async with Client(second.url) as client:
            assert await client.get_node(f"ns=2;s={POSITION}").read_value() == 2
        assert second.identity is not None
        assert second.identity.certificate == certificate
    finally:
        await second.stop()


async def leaves_nothing(made: GatewayServer, error: str) -> None:
    tasks = asyncio.all_tasks()
    with pytest.raises(OSError, match=error):
        await made.start()
    assert asyncio.all_tasks() == tasks
    assert (made.internal, made.port, made.table.journal.cursors) == (None, 0, ())


async def test_a_start_that_fails_for_its_port_leaves_nothing_running(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        made = server(tmp_path, taken.getsockname()[1])
        await leaves_nothing(made, "address already in use")
    await made.start()
    await made.stop()


async def test_a_start_that_fails_with_its_port_open_closes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def fail(_: object) -> None:
        opened.append(made.port)
        raise OSError("the trust list cannot be read")

    made = server(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(push, "fill_properties", fail)
        await leaves_nothing(made, "the trust list cannot be read")
    assert opened[0] > 0
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", opened[0])
    await made.start()
    await made.stop()
