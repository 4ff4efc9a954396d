"""Mutated octets into every decoder of DLMS: nothing but the codec's own errors, no growth, no hang.

20 000 mutations unless TWIN_FUZZ_FRAMES says otherwise (200 000 for a long run); the seed is TWIN_FUZZ_SEED or 1.
"""

import os
import random
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from twin_gateway.drivers.dlms import association, block_transfer, obis
from twin_gateway.drivers.dlms.acse import (
    AssociationRequest,
    AssociationResponse,
    InitiateRequest,
    InitiateResponse,
    Mechanism,
)
from twin_gateway.drivers.dlms.association import Limits
from twin_gateway.drivers.dlms.axdr import Tag, decode, encode
from twin_gateway.drivers.dlms.block_transfer import GeneralBlock
from twin_gateway.drivers.dlms.ciphering import Ciphering, Counter, Key, Protection, counter_of
from twin_gateway.drivers.dlms.clock import decode_date_time
from twin_gateway.drivers.dlms.errors import DlmsError
from twin_gateway.drivers.dlms.hdlc import LLC_RESPONSE, Address, Frame, FrameReader, Parameters, information_control
from twin_gateway.drivers.dlms.hdlc_line import HdlcLine
from twin_gateway.drivers.dlms.logical_names import LogicalNameAssociation
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.short_names import ShortNameAssociation
from twin_gateway.drivers.dlms.suite1 import Agreement, AgreementKeys, SigningKeys
from twin_gateway.drivers.dlms.wrapper import Deframer, frame

FRAMES = int(os.environ.get("TWIN_FUZZ_FRAMES", "20000"))
SEED = int(os.environ.get("TWIN_FUZZ_SEED", "1"))
EK, AK = Key(bytes(range(16))), Key(bytes(range(0xD0, 0xE0)))
OURS, THEIRS = b"TWG\0\0\0\0\1", b"SIM\0\0\0\0\1"
ENERGY = Attribute(3, obis.parse("1-0:1.8.0"), 2)


_CURVE = [ec.derive_private_key(number, ec.SECP256R1()) for number in (11, 12)]
_PROTECTIONS = [
    Protection(1, False, SigningKeys(own, other.public_key()), AgreementKeys(own, other.public_key()))
    for own, other in (_CURVE, reversed(_CURVE))
]
_DEDICATED = Key(b"\7" * 16)


def ciphering(title, peer, protection):
    cipher = Ciphering(title, EK, AK, Counter(1), _DEDICATED, protection=protection)
    cipher.peer_title = peer
    return cipher


METER = ciphering(THEIRS, OURS, _PROTECTIONS[1])
_ROW = encode(Tag.STRUCTURE, [encode(Tag.OCTET_STRING, bytes(12)), encode(Tag.UINT32, 7), encode(Tag.FLOAT64, 1.5)])
_ROWS = encode(Tag.ARRAY, [_ROW] * 5)
_COMPACT = b"\x13\x02\x02\x12\x09\x06\x00\x07\x01a\x00\x08\x00"[:12]
_GET = b"\xc4\x01\xc1\x00" + _ROWS
_AARE = AssociationResponse(0, 14, 3, THEIRS, bytes(16), 5, METER.protect(InitiateResponse(0x1E1F, 1024).encode()))
_LLC = LLC_RESPONSE + _GET
_I = information_control(0, 0, True)

SEEDS = [
    _GET,
    _ROWS,
    _COMPACT,
    b"\xc4\x02\xc1\x00\x00\x00\x00\x01\x00\x14" + bytes(20),
    b"\xc4\x03\xc1\x02\x00" + _ROW + b"\x01\x04",
    b"\xc5\x01\xc1\x00",
    b"\xc5\x02\xc1\x00\x00\x00\x01",
    b"\xc7\x01\xc1\x00\x01\x00" + _ROW,
    b"\xc7\x02\xc1\x00\x00\x00\x00\x01\x05" + bytes(5),
    b"\xd8\x01\x06\x00\x00\x00\x09",
    b"\x0c\x02\x00" + _ROW + b"\x01\x04",
    b"\x0c\x01\x02\x00\x00\x01\x05" + bytes(5),
    b"\x0d\x01\x00",
    _AARE.encode(),
    AssociationResponse(1, 13).encode(),
    AssociationRequest(
        3, Mechanism.HLS_GMAC, InitiateRequest(0x1E1F, 1024, bytes(16)).encode(), OURS, bytes(16)
    ).encode(),
    GeneralBlock(False, True, 5, 1, 0, _GET[:30]).encode(),
    GeneralBlock(True, False, 5, 2, 0, _GET[30:]).encode(),
    METER.protect_specific(_GET),
    METER.protect_specific(_GET, dedicated=True),
    METER.protect_general(_GET),
    METER.protect_general(_GET, dedicated=True),
    METER.protect_agreed(_GET, METER.protection.agreement),
    METER.protect_agreed(_GET, AgreementKeys(_CURVE[1], _CURVE[0].public_key(), Agreement.STATIC)),
    Frame(Address(16), Address(1), _I, _LLC).encode(),
    Frame(Address(16), Address(1), _I, _LLC[:40], True).encode(),
    Frame(Address(16), Address(1), 0x73, Parameters(512, 512, 3, 3).encode()).encode(),
    Frame(Address(16), Address(1), 0x11).encode(),
    frame(1, 16, _GET),
]


def mutate(chance, octets):
    """One to four changes: bits, octets, cuts, repetitions, pieces of other seeds, lengths made huge."""
    data = bytearray(octets)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(7):
            case 0 if place < len(data):
                data[place] ^= 1 << chance.randrange(8)
            case 1 if place < len(data):
                data[place] = chance.choice((0, 1, 2, 0x13, 0x7E, 0x7F, 0x80, 0x81, 0x84, 0xFE, 0xFF))
            case 2:
                del data[place:]
            case 3:
                data[place:place] = data[: chance.randrange(1, 20)]
            case 4:
                other = chance.choice(SEEDS)
                data[place:place] = other[chance.randrange(len(other)) :]
            case 5:
                data[place:place] = b"\x84\xff\xff\xff\xff"
            case _:
                del data[place : place + chance.randrange(1, 5)]
    return bytes(data)


def associations(octets):
    """Every service is answered with the octets, again and again."""
    for kind in (LogicalNameAssociation, ShortNameAssociation):
        cipher = ciphering(OURS, THEIRS, _PROTECTIONS[0]) if octets[:1] > b"\xc7" or octets[:1] == b"\x61" else None
        service = kind(Mechanism.HLS_ECDSA if cipher else Mechanism.NONE, b"", cipher, limits=Limits(value_octets=5000))
        yield service.open()
        service = kind(Mechanism.NONE, b"", cipher, limits=Limits(value_octets=5000, block_window=3, list_items=2))
        # As if everything had been negotiated, and the names were known.
        service.conformance = ~service.conformance
        service.pdu_size = 200
        if isinstance(service, ShortNameAssociation):
            service.names[3, ENERGY.logical_name] = 0x1000, 0
        yield service.get(ENERGY)
        yield service.get_many([ENERGY, ENERGY])
        yield service.set(ENERGY, encode(Tag.OCTET_STRING, bytes(500)))
        yield service.action(ENERGY, encode(Tag.OCTET_STRING, bytes(500)))


def run(steps, octets):
    """Drives the steps of a service; it must come to an end."""
    try:
        next(steps)
        for _ in range(1000):
            steps.send(octets)
        steps.close()
    except (StopIteration, DlmsError):
        return
    raise AssertionError(f"no end of answers {octets.hex()}")


def decoders(octets):
    line = HdlcLine(Address(16), Address(1), Parameters(512, 512, 3, 3))
    line.open()
    if len(octets) % 2:
        line.feed(Frame(Address(16), Address(1), 0x73, Parameters(512, 512, 3, 3).encode()).encode())
        line.send(bytes(600))
    reader = FrameReader()
    yield lambda: decode(octets)
    yield lambda: AssociationResponse.decode(octets)
    yield lambda: AssociationRequest.decode(octets)
    yield lambda: InitiateRequest.decode(octets)
    yield lambda: InitiateResponse.decode(octets)
    yield lambda: GeneralBlock.decode(octets)
    yield lambda: Parameters.decode(octets)
    yield lambda: decode_date_time(octets[:12])
    yield lambda: ciphering(OURS, THEIRS, _PROTECTIONS[0]).unprotect(octets)
    yield lambda: counter_of(octets)
    yield lambda: Deframer(4096).feed(octets)
    yield lambda: reader.feed(octets)
    yield lambda: line.feed(octets)


@pytest.mark.timeout(1200)
def test_mutated_octets_only_ever_raise_dlms_errors(monkeypatch):
    # What is passed over is bounded; how far does not matter here, and hundreds of times take long.
    monkeypatch.setattr(association, "MOST_PASSED", 10)
    monkeypatch.setattr(block_transfer, "MOST_PASSED", 10)
    chance = random.Random(SEED)
    slowest = 0.0
    for number in range(FRAMES):
        octets = mutate(chance, SEEDS[number % len(SEEDS)])
        started = time.perf_counter()
        for step in decoders(octets):
            try:
                step()
            except DlmsError:
                pass
            except Exception as error:
                raise AssertionError(f"{type(error).__name__} {error} from {octets.hex()}") from error
        if number % 8 == 0:
            for steps in associations(octets):
                try:
                    run(steps, octets)
                except AssertionError:
                    raise
                except Exception as error:
                    raise AssertionError(f"{type(error).__name__} {error} from {octets.hex()}") from error
        slowest = max(slowest, time.perf_counter() - started)
    assert slowest < 2.0


def test_a_stream_of_noise_is_never_kept():
    chance = random.Random(SEED)
    reader = FrameReader()
    for _ in range(200):
        reader.feed(b"\x7e\xa7\xff" + chance.randbytes(3000))
        assert len(reader._buffer) <= 2050
    assert reader.damaged > 0
