"""Mutated inputs: whatever comes, a decoder answers with its own error or a value, in bounded time and memory."""

import json
import os
import random
from collections.abc import Callable

import aiocoap
import cbor2
import pytest

from twin_gateway.drivers.coap import linkformat, objects, payload, tlv
from twin_gateway.drivers.coap.directory import Directory
from twin_gateway.drivers.coap.directory_listener import DirectoryListener
from twin_gateway.drivers.coap.directory_settings import DirectorySettings
from twin_gateway.drivers.coap.payload import Document, PayloadError, Selector

INPUTS = int(os.environ.get("TWIN_FUZZ_FRAMES", "2500"))
"""Mutated inputs for each of the eight decoders, 20 000 in all; 200000 for a long run."""
NOW = 1_700_000_000.0

PACK = [
    {"bn": "/3303/0/", "bt": 1_700_000_000, "bu": "Cel", "n": "5700", "v": 21.5},
    {"n": "5701", "vs": "degC"},
    {"n": "x", "vb": True, "s": 3.5, "t": -5},
    {"n": "y", "vd": "aGk", "ut": 60},
]
LABELS = {"bn": -2, "bt": -3, "bu": -4, "n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "s": 5, "t": 6, "ut": 7, "vd": 8}
SENML_CBOR = cbor2.dumps([{LABELS[key]: value for key, value in record.items()} for record in PACK])
TLVS = (
    b"".join(tlv.encode((3303, 0, number), b"\x41\xac\0\0") for number in (5700, 5601, 5602))
    + tlv.encode((3303, 0, 5701), b"degC")
    + bytes.fromhex("870841007D42010384")
)
LINKS = b'</3303/0>;rt="oma.lwm2m";ct="110 112 11542",</s/1>;obs;title="a \\"b\\"",</.well-known/core>'


def registration() -> bytes:
    message = aiocoap.Message(code=aiocoap.POST, uri="coap://x/rd?ep=node1&lt=60&lwm2m=1.1", payload=LINKS)
    message.mtype, message.mid, message.token, message.remote = aiocoap.CON, 1, b"t", None
    return bytes(message.encode())


def read(form: int | None, *selectors: Selector) -> Callable[[bytes], None]:
    def decode(octets: bytes) -> None:
        try:
            document = Document(octets, form, NOW, asked=(3303, 0))
        except PayloadError:
            return
        for selector in selectors:
            try:
                document.select(selector)
            except PayloadError:
                continue

    return decode


def links(octets: bytes) -> None:
    try:
        linkformat.parse(octets)
    except linkformat.LinkFormatError:
        return


_LISTENER = DirectoryListener(DirectorySettings(rate=10_000, max_endpoints=50), Directory())


def listener(octets: bytes) -> None:
    answers: list[bytes] = []
    number = random.randrange(1 << 16)
    _LISTENER.handle(octets, (f"10.0.{number >> 8}.{number & 255}", 5683), answers.append)
    assert len(answers) <= 1
    assert sum(map(len, answers)) < 1400, "no answer is larger than a datagram"
    assert len(_LISTENER._answers) <= 2_000
    assert len(_LISTENER._budget) <= 2_001
    assert len(_LISTENER._transfers) <= 64


OBJECT = Selector(resource=(3303, 0, 5700))
TARGETS: dict[str, tuple[list[bytes], Callable[[bytes], None]]] = {
    "senml+json": ([json.dumps(PACK).encode()], read(110, OBJECT, Selector(name="x", total=True), Selector())),
    "senml+cbor": ([SENML_CBOR], read(112, OBJECT, Selector(name="x", total=True), Selector())),
    "json": ([b'{"a": [1, {"b": 2.5}], "c": "on"}'], read(50, Selector(pointer="/a/1/b"), Selector(pointer="/c"))),
    "cbor": ([cbor2.dumps({"a": [1, {"b": 2.5}]})], read(60, Selector(pointer="/a/1/b"))),
    "tlv": ([TLVS], read(tlv.TLV, OBJECT, Selector(resource=(3, 0, 7, 0)))),
    "text": ([b"21.5", b"on", "23 °C".encode()], read(payload.TEXT, Selector())),
    "links": ([LINKS], links),
    "directory": ([registration(), bytes.fromhex("40010001bb2e77656c6c2d6b6e6f776e04636f7265")], listener),
}


def mutated(source: random.Random, seeds: list[bytes]) -> bytes:
    """A seed with a few octets changed, taken out, put in or repeated; sometimes octets of chance."""
    if source.random() < 0.02:
        return source.randbytes(source.randrange(80))
    octets = bytearray(source.choice(seeds))
    for _ in range(source.randrange(1, 6)):
        at, kind = source.randrange(len(octets) + 1), source.randrange(5)
        if kind == 0 and at < len(octets):
            octets[at] ^= 1 << source.randrange(8)
        elif kind == 1:
            octets[at:at] = source.choice((b"\xff", b"\0", b"\x7f\xff", b"[", b"{", b'"', b"1e999", b"\x9f", b"\xdf"))
        elif kind == 2:
            del octets[at : at + source.randrange(1, 9)]
        elif kind == 3:
            octets[at:at] = octets[at : at + source.randrange(1, 40)] * source.randrange(1, 20)
        elif at < len(octets):
            octets[at] = source.randrange(256)
    return bytes(octets[:70_000])


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_inputs_are_values_or_errors_of_the_decoder(name: str) -> None:
    seeds, decode = TARGETS[name]
    source = random.Random(f"{name} {INPUTS}")
    for _ in range(INPUTS):
        decode(mutated(source, seeds))


@pytest.mark.parametrize("kind", list(objects.Kind))
def test_octets_of_chance_are_values_or_errors(kind: objects.Kind) -> None:
    source = random.Random(str(kind))
    for _ in range(500):
        try:
            objects.value_of(source.randbytes(source.randrange(12)), kind)
        except objects.ObjectError:
            continue
