"""Association: hostile and broken peers, TLS, limits."""

import asyncio
import contextlib
import datetime
import ipaddress
import json
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from integration.iec61850.bed import Bed, simulator
from open61850.mms import pdu
from open61850.server import protocol
from peers.ports import free_port

from twin_gateway.drivers.iec61850.association import Association, Peer
from twin_gateway.drivers.iec61850.errors import MmsConnectionError, MmsReject, MmsTimeout, ServiceError
from twin_gateway.drivers.iec61850.services import names
from twin_gateway.drivers.iec61850.transport import Cotp


class FakeServer:
    """Accepts an association as a real server does, then answers what the test says."""

    def __init__(self, answer, outstanding=5):
        self.answer = answer
        self.outstanding = outstanding
        self.most = self.open = 0
        self.writers = []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for writer in self.writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _packet(self, reader):
        head = await reader.readexactly(4)
        return await reader.readexactly(int.from_bytes(head[2:], "big") - 4)

    async def _serve(self, reader, writer):
        self.writers.append(writer)
        self.cotp = Cotp()
        self.cotp.tpdu_size = 8192
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._packet(reader)
            writer.write(bytes.fromhex("0300000e09d00001000100c0010d"))
            request = protocol.decode_association_request((await self._packet(reader))[3:])
            accept, _ = protocol.association_accept(
                request, max_pdu_size=65000, max_outstanding=self.outstanding, nesting_level=10
            )
            writer.write(self.cotp.encode(accept))
            while True:
                packet = await self._packet(reader)
                self.open += 1
                self.most = max(self.most, self.open)
                message = protocol.decode_request(pdu.unwrap(packet[3:]))
                if message == "conclude":
                    writer.write(self.cotp.encode(pdu.wrap(protocol.conclude_response())))
                    return
                asyncio.get_running_loop().call_later(0.02, self._reply, writer, message)

    def _reply(self, writer, message):
        self.open -= 1
        found = self.answer(message)
        if found is not None and not writer.is_closing():
            writer.write(found if isinstance(found, bytearray) else self.cotp.encode(found))


def listed(message):
    content = protocol.get_name_list_response(["LD0"], False)
    return pdu.wrap(protocol.confirmed_response(message.invoke_id, message.service, content))


def deep(levels, start=b""):
    for _ in range(levels):
        start = b"\xa2" + protocol.ber.encode_length(len(start)) + start
    return start


HOSTILE = {
    "nested BER in a response": lambda m: pdu.wrap(
        protocol.confirmed_response(m.invoke_id, 4, b"\xa1" + deep(3000)[1:])
    ),
    "nested BER in a notice": lambda m: pdu.wrap(b"\xa3" + deep(3000)[1:]),
    "not a session PDU": lambda m: b"\xff" * 20,
    "no TPKT": lambda m: bytearray(b"GET / HTTP/1.0\r\n\r\n"),
    "truncated MMS PDU": lambda m: pdu.wrap(b"\xa1\x20\x02\x01"),
    "unknown MMS PDU": lambda m: pdu.wrap(b"\xbf\x4d\x00"),
    "reject without an invoke id": lambda m: pdu.wrap(protocol.reject(None)),
    "report without results": lambda m: pdu.wrap(b"\xa3\x09\xa0\x07\xa1\x05\x80\x03RPT"),
    "message without end": lambda m: bytearray((b"\x03\x00\x20\x00\x02\xf0\x00" + bytes(0x2000 - 7)) * 140),
    "disconnect": lambda m: bytearray(b"\x03\x00\x00\x0b\x06\x80\0\1\0\1\0"),
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_nonsense_closes_the_association_with_a_reason(kind):
    async with FakeServer(HOSTILE[kind]) as server:
        link = await Association.connect(Peer("127.0.0.1", server.port))
        with pytest.raises((MmsConnectionError, MmsReject)):
            await names(link, 9)
        reason = await asyncio.wait_for(link.watch(), 12)
        assert reason
        with pytest.raises(MmsConnectionError):
            await names(link, 9)


async def test_no_more_requests_are_in_flight_than_the_server_takes():
    async with FakeServer(listed, outstanding=2) as server:
        link = await Association.connect(Peer("127.0.0.1", server.port))
        assert await asyncio.gather(*(names(link, 9) for _ in range(12))) == [["LD0"]] * 12
        assert server.most == 2
        await link.close()


async def test_error_of_the_server_fails_one_request_only():
    def answer(message):
        if message.invoke_id == 1:
            return pdu.wrap(protocol.confirmed_error(message.invoke_id, 7, 2))
        return listed(message)

    async with FakeServer(answer) as server:
        link = await Association.connect(Peer("127.0.0.1", server.port))
        with pytest.raises(ServiceError):
            await names(link, 9)
        assert await names(link, 9) == ["LD0"]
        await link.close()


async def test_answer_that_never_comes_times_out_and_a_late_one_is_ignored():
    held = []

    def answer(message):
        held.append(listed(message))
        return b"".join(held[:1]) if len(held) == 2 else None

    async with FakeServer(answer) as server:
        link = await Association.connect(Peer("127.0.0.1", server.port), request_timeout=0.2)
        with pytest.raises(MmsTimeout):
            await names(link, 9)
        with pytest.raises(MmsTimeout):
            await names(link, 9)  # what comes now is the answer to the first one
        assert link.stray == 1
        await link.close()


async def test_peer_that_accepts_and_says_nothing_is_given_up():
    async def silent(reader, writer):
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    with pytest.raises(MmsConnectionError, match="within"):
        await Association.connect(Peer("127.0.0.1", server.sockets[0].getsockname()[1]), timeout=0.3)
    await asyncio.sleep(0.05)
    server.close()
    await server.wait_closed()


async def test_refused_port_is_a_connection_error():
    with pytest.raises(MmsConnectionError):
        await Association.connect(Peer("127.0.0.1", free_port()))


async def test_endless_list_of_names_is_given_up():
    def answer(message):
        content = protocol.get_name_list_response(["LD0"], True)
        return pdu.wrap(protocol.confirmed_response(message.invoke_id, message.service, content))

    async with FakeServer(answer) as server:
        link = await Association.connect(Peer("127.0.0.1", server.port))
        assert await names(link, 9) == ["LD0", "LD0"]
        await link.close()


# -- TLS -----------------------------------------------------------------------------------------------------------


def certificate(name, issuer=None):
    """(key, certificate) of a name, signed by an issuer or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signer, ca = issuer or (key, None)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(ca.subject if ca else subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )  # fmt: skip
    if ca is None:
        usage = dict.fromkeys(
            ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "crl_sign", "encipher_only", "decipher_only"), False)  # fmt: skip
        builder = builder.add_extension(x509.KeyUsage(key_cert_sign=True, **usage), critical=True)
    return key, builder.sign(signer, hashes.SHA256())


@pytest.fixture
def tls(tmp_path):
    ca = certificate("ca")
    pairs = {"ca": ca, "server": certificate("server", ca), "client": certificate("client", ca)}
    for name, (key, of) in pairs.items():
        (tmp_path / f"{name}.pem").write_bytes(of.public_bytes(serialization.Encoding.PEM))
        (tmp_path / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return tmp_path


async def front(directory, port):
    """A TLS front of a plain server that asks for a client certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=directory / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(directory / "server.pem", directory / "server.key")

    async def pump(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader, writer):
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)


async def test_tls_with_certificates_of_both_sides(tls, tmp_path):
    ied = await simulator("--still").start()
    server = await front(tls, json.loads(ied.first)["ports"]["F07Q1"])
    port = server.sockets[0].getsockname()[1]
    files = {"ca": str(tls / "ca.pem"), "certificate": str(tls / "client.pem"), "key": str(tls / "client.key")}
    try:
        async with Bed(port, tmp_path / "data", tls=files) as bed:
            await bed.ready()
            assert (await bed.command("operate", "LD0/CSWI1.Pos", 2)).good
        with pytest.raises(MmsConnectionError):
            await Association.connect(Peer("127.0.0.1", port), timeout=0.5)  # not in the clear
        with pytest.raises(MmsConnectionError):
            await Association.connect(Peer("127.0.0.1", port, ssl.create_default_context()), timeout=2)  # not known
    finally:
        await ied.kill()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.3)  # handshakes that are under way end
