"""Our session and associations against pydlms-client's simulator: HDLC, short names, blocks, suite 1."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from peers.wire_notes import WireNotes

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.axdr import Tag, encode
from twin_gateway.drivers.dlms.ciphering import Ciphering, Counter, Key
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.errors import AccessError
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.opening import association_of, peer_of, protection_of
from twin_gateway.drivers.dlms.pace import pace_of
from twin_gateway.drivers.dlms.session import Session

pytestmark = pytest.mark.timeout(60)

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
KEYS = {"authentication": AK.hex(), "encryption": EK.hex()}


def at(code, class_id=3, number=2):
    return Attribute(class_id, obis.parse(code), number)


ENERGY, VOLTAGE, PROFILE = at("1-0:1.8.0"), at("1-0:32.7.0"), at("1-0:99.1.0", 7)
NOTE, ECHO = at("0-0:96.50.0", 1), at("0-0:96.50.0", 1, 1)
TEXT = bytes(range(256)) * 12


COUNTER = Counter(1)
"""One for all tests: nobody uses a number twice with these keys."""


@pytest.fixture(scope="module")
def station_peers():
    """Starts meters, all in one process; returns the port of each."""
    script = Path(__file__).with_name("pydlms_station.py")
    process = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(asked):
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline().split()[1])

    yield start
    process.kill()
    process.wait(10)
    process.stdin.close()
    process.stdout.close()


@pytest.fixture
def station(station_peers):
    """Starts a meter and gives an opener of sessions to it."""

    @contextlib.asynccontextmanager
    async def start(peer=None, *, notes=None, dedicated=False, **config):
        port = station_peers(peer or {})
        settings = {"timeout": 5.0, "hdlc": {"retry_after": 0.3}} | config
        settings["hdlc"] = {"retry_after": 0.3} | settings["hdlc"]
        model = DlmsConfig(host="127.0.0.1", port=port, **settings)
        cipher = None
        if model.ciphered:
            key = Key(b"\x07" * 16) if dedicated else None
            protection = await protection_of(model)
            cipher = Ciphering(b"TWG\0\0\0\0\1", Key(EK), Key(AK), COUNTER, key, protection=protection)
        session = await Session.connect(
            peer_of(model), association_of(model, cipher), pace=pace_of("x", 8, 0.0), answer_within=5.0, notes=notes
        )
        try:
            yield session, session.association
        finally:
            await session.close()

    return start


async def read_all(session, service):
    """What every combination has to do."""
    assert await session.do(service.get(ENERGY)) == 12345678
    values = await session.do(service.get_many([ENERGY, at("1-0:99.9.0"), VOLTAGE]))
    assert values[0] == 12345678 and values[2] == 2301
    assert isinstance(values[1], AccessError) and values[1].code == 4
    rows = await session.do(service.get(PROFILE))
    assert len(rows) == 96 and rows[95][1] == 1000 + 95 * 7


@pytest.mark.parametrize("referencing", ["logical", "short"])
@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize("security", ["none", "lls", "hls-gmac"])
async def test_registers_lists_and_long_values_are_read(station, referencing, framing, security):
    more = {"lls": {"client": 32, "password": "12345678"}, "hls-gmac": {"keys": KEYS}}.get(security, {})
    peer = {"hdlc": framing == "hdlc"} | ({"short": True} if referencing == "short" else {})
    config = {"security": security, "framing": framing, "referencing": referencing} | more
    async with station(peer, **config) as (session, service):
        await read_all(session, service)


@pytest.mark.parametrize("window", [1, 3, 7])
async def test_long_requests_go_out_in_hdlc_windows(station, window):
    hdlc = {"window": window, "frame_octets": 64}
    peer = {"hdlc": True, "window": window, "pdu": 8000}
    async with station(peer, framing="hdlc", hdlc=hdlc) as (session, service):
        await session.do(service.set(NOTE, encode(Tag.OCTET_STRING, TEXT)))
        assert await session.do(service.get(NOTE)) == TEXT


@pytest.mark.parametrize(("physical", "octets"), [(None, 1), (17, 2), (17, 4), (1000, 4)])
async def test_server_addresses_have_one_two_or_four_octets(station, physical, octets):
    hdlc = {"physical_device": physical, "address_octets": octets}
    async with station({"hdlc": True}, framing="hdlc", hdlc=hdlc) as (session, service):
        assert await session.do(service.get(VOLTAGE)) == 2301


@pytest.mark.parametrize("security", ["none", "hls-gmac"])
async def test_set_and_action_go_in_blocks_both_ways(station, security):
    more = {"keys": KEYS} if security != "none" else {}
    async with station({"pdu": 300}, security=security, pdu_size=400, **more) as (session, service):
        await session.do(service.set(NOTE, encode(Tag.OCTET_STRING, TEXT)))
        assert await session.do(service.get(NOTE)) == TEXT
        assert await session.do(service.action(ECHO, encode(Tag.OCTET_STRING, TEXT))) == TEXT


@pytest.mark.parametrize("window", [1, 4, 63])
@pytest.mark.parametrize("security", ["none", "hls-gmac"])
async def test_general_blocks_carry_requests_and_answers(station, window, security):
    more = {"keys": KEYS} if security != "none" else {}
    async with station({"pdu": 300, "gbt": window}, security=security, pdu_size=300, block_window=window, **more) as (
        session,
        service,
    ):
        await session.do(service.set(NOTE, encode(Tag.OCTET_STRING, TEXT)))
        assert await session.do(service.get(NOTE)) == TEXT
        assert await session.do(service.action(ECHO, encode(Tag.OCTET_STRING, TEXT))) == TEXT
        assert session.oddities["repeated_blocks"] == 0


@pytest.mark.parametrize("window", [1, 4])
async def test_general_blocks_lost_on_either_way_are_sent_again(station, window):
    peer = {"pdu": 300, "gbt": window, "lose": [13, 15], "miss": [3]}
    async with station(peer, pdu_size=300, block_window=window, timeout=0.5) as (session, service):
        await session.do(service.set(NOTE, encode(Tag.OCTET_STRING, TEXT)), within=0.5)
        assert await session.do(service.action(ECHO, encode(Tag.OCTET_STRING, TEXT)), within=0.5) == TEXT
        assert session.oddities["repeated_blocks"] > 0


@pytest.fixture(scope="module")
def curve_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves")
    for name in ("client", "meter"):
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{name}.pem").write_bytes(public)
    return folder


def curve_keys(folder: Path):
    own, theirs = str(folder / "client.key"), str(folder / "meter.pem")
    return {"signing": own, "meter_signing": theirs, "agreement": own, "meter_agreement": theirs}


@pytest.mark.parametrize("general", [False, True])
async def test_suite_1_associates_by_signatures_and_reads(station, curve_files, general):
    config = {"security": "hls-ecdsa", "client": 2, "keys": KEYS, "curve_keys": curve_keys(curve_files)}
    async with station({"ecdsa": str(curve_files)}, general_ciphering=general, **config) as (session, service):
        await read_all(session, service)


@pytest.mark.parametrize("scheme", ["one-pass", "static"])
async def test_suite_1_agrees_on_a_key_for_each_message(station, curve_files, scheme):
    config = {"security": "hls-ecdsa", "client": 2, "keys": KEYS, "curve_keys": curve_keys(curve_files)}
    peer = {"ecdsa": str(curve_files)}
    async with station(peer, key_agreement=scheme, **config) as (session, service):
        await read_all(session, service)


async def test_general_glo_ciphering_of_suite_0(station):
    async with station({}, security="hls-gmac", keys=KEYS, general_ciphering=True) as (session, service):
        await read_all(session, service)


@pytest.mark.parametrize("security", ["none", "hls-gmac"])
async def test_short_names_are_written_and_their_methods_invoked(station, security):
    more = {"keys": KEYS} if security != "none" else {}
    switch = at("0-0:96.3.10", 70)
    async with station({"short": True}, security=security, referencing="short", **more) as (session, service):
        await session.do(service.set(NOTE, encode(Tag.OCTET_STRING, b"hello")))
        assert await session.do(service.get(NOTE)) == b"hello"
        assert await session.do(service.get(switch)) is True
        await session.do(service.action(at("0-0:96.3.10", 70, 1), encode(Tag.INT8, 0)))
        assert await session.do(service.get(switch)) is False
        with pytest.raises(AccessError):
            await session.do(service.set(at("1-0:99.9.0"), encode(Tag.INT8, 0)))


@pytest.mark.parametrize(("referencing", "general"), [("logical", False), ("logical", True), ("short", False)])
async def test_a_dedicated_key_protects_everything_after_the_initiate(station, referencing, general):
    config = {"security": "hls-gmac", "keys": KEYS, "hls_key": "dedicated", "general_ciphering": general}
    peer = {"short": True} if referencing == "short" else {}
    async with station(peer, dedicated=True, referencing=referencing, **config) as (session, service):
        await read_all(session, service)


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_the_capture_has_the_octets_but_never_the_password(station, framing):
    notes = WireNotes()
    config = {"security": "lls", "client": 32, "password": "12345678", "framing": framing}
    async with station({"hdlc": framing == "hdlc"}, notes=notes, **config) as (session, service):
        await session.do(service.get(VOLTAGE))
    records = notes.ring.records()
    assert {record.sent for record in records} == {True, False}
    whole = b"".join(record.octets for record in records)
    assert VOLTAGE.logical_name in whole and b"12345678" not in whole and b"********" in whole
    assert records[0].flow.remote[0] == "127.0.0.1"
