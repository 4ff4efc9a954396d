"""OSCORE by the test vectors of RFC 8613 appendix C."""

from pathlib import Path

import aiocoap
import pytest
from aiocoap.message import Direction

from twin_gateway.drivers.coap.config import OscoreConfig
from twin_gateway.drivers.coap.oscore import OscoreError, SecurityContext

SECRET = "0102030405060708090a0b0c0d0e0f10"
SALT = "9e7ca92223786340"
REQUEST = "44015d1f00003974396c6f63616c686f737483747631"


def context(folder: Path, sender: str, recipient: str, **more: str) -> SecurityContext:
    return SecurityContext(OscoreConfig(sender_id=sender, recipient_id=recipient, secret=SECRET, **more), folder)


def request(octets: str = REQUEST) -> aiocoap.Message:
    message = aiocoap.Message.decode(bytes.fromhex(octets))
    message.direction = Direction.OUTGOING
    return message


@pytest.mark.parametrize(
    ("made", "sender_key", "recipient_key", "common_iv"),
    [
        (
            {"sender": "", "recipient": "01", "salt": SALT},
            "f0910ed7295e6ad4b54fc793154302ff",
            "ffb14e093c94c9cac9471648b4f98710",
            "4622d4dd6d944168eefb54987c",
        ),
        (
            {"sender": "00", "recipient": "01"},
            "321b26943253c7ffb6003b0b64d74041",
            "e57b5635815177cd679ab4bcec9d7dda",
            "be35ae297d2dace910c52e99f9",
        ),
        (
            {"sender": "", "recipient": "01", "salt": SALT, "id_context": "37cbf3210017a2d3"},
            "af2a1300a5e95788b356336eeecd2b92",
            "e39a0c7c77b43f03b4b39ab9a268699f",
            "2ca58fb85ff1b81c0b7181b85e",
        ),
    ],
    ids=["C.1.1", "C.2.1", "C.3.1"],
)
def test_keys_are_derived(
    made: dict[str, str], sender_key: str, recipient_key: str, common_iv: str, tmp_path: Path
) -> None:
    keys = context(tmp_path, **made)
    assert keys.sender_key.hex() == sender_key
    assert keys.recipient_key.hex() == recipient_key
    assert keys.common_iv.hex() == common_iv


@pytest.mark.parametrize(
    ("made", "plain", "protected"),
    [
        (
            {"sender": "", "recipient": "01", "salt": SALT},
            REQUEST,
            "44025d1f00003974396c6f63616c686f7374620914ff612f1092f1776f1c1668b3825e",
        ),
        (
            {"sender": "00", "recipient": "01"},
            "440171c30000b932396c6f63616c686f737483747631",
            "440271c30000b932396c6f63616c686f737463091400ff4ed339a5a379b0b8bc731fffb0",
        ),
        (
            {"sender": "", "recipient": "01", "salt": SALT, "id_context": "37cbf3210017a2d3"},
            "44012f8eef9bbf7a396c6f63616c686f737483747631",
            "44022f8eef9bbf7a396c6f63616c686f73746b19140837cbf3210017a2d3ff72cd7273fd331ac45cffbe55c3",
        ),
    ],
    ids=["C.4", "C.5", "C.6"],
)
def test_requests_are_protected(made: dict[str, str], plain: str, protected: str, tmp_path: Path) -> None:
    keys = context(tmp_path, **made)
    keys.sender_sequence_number = 20
    inner = request(plain)
    outer, _ = keys.protected(inner)
    outer.mtype, outer.mid, outer.token = inner.mtype, inner.mid, inner.token
    assert outer.encode().hex() == protected


@pytest.mark.parametrize(
    "answer",
    [
        "64445d1f0000397490ffdbaad1e9a7e7b2a813d3c31524378303cdafae119106",
        "64445d1f00003974920100ff4d4c13669384b67354b2b6175ff4b8658c666a6cf88e",
    ],
    ids=["C.7", "C.8"],
)
def test_responses_are_opened(answer: str, tmp_path: Path) -> None:
    keys = context(tmp_path, "", "01", salt=SALT)
    keys.sender_sequence_number = 20
    _, bound = keys.protected(request())
    inner = keys.opened(aiocoap.Message.decode(bytes.fromhex(answer)), bound)
    assert inner.code == aiocoap.CONTENT
    assert inner.payload == b"Hello World!"


def test_a_changed_response_is_refused(tmp_path: Path) -> None:
    keys = context(tmp_path, "", "01", salt=SALT)
    keys.sender_sequence_number = 20
    _, bound = keys.protected(request())
    octets = bytearray.fromhex("64445d1f0000397490ffdbaad1e9a7e7b2a813d3c31524378303cdafae119106")
    octets[-1] ^= 1
    with pytest.raises(OscoreError, match="not the device's"):
        keys.opened(aiocoap.Message.decode(bytes(octets)), bound)
