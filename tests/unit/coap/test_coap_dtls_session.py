"""The DTLS session without sockets: what it sends, and what damaged datagrams do to it."""

import random

import pytest
from pydantic import SecretStr

from twin_gateway.drivers.coap.dtls import MTU, DtlsError, Security, Session
from twin_gateway.drivers.tls import TlsConfig


def session() -> Session:
    made = Session(Security("gateway", SecretStr("00112233445566778899aabbccddeeff")))
    made.start()
    return made


def test_the_handshake_begins_with_one_datagram_and_is_helped_on() -> None:
    made = session()
    (hello,) = made.outgoing()
    assert hello[0] == 22, "a handshake record"
    assert len(hello) <= MTU
    wait = made.wait()
    assert wait is not None
    assert 0.5 < wait <= 1.0
    assert not made.established
    with pytest.raises(DtlsError, match="no DTLS association"):
        made.send(b"x")


def test_the_key_is_in_no_text_of_the_session() -> None:
    security = Security("gateway", SecretStr("00112233445566778899aabbccddeeff"))
    assert "0011" not in repr(security)


def test_damaged_datagrams_are_dropped_or_end_the_handshake() -> None:
    source = random.Random(1)
    (hello,) = session().outgoing()
    ended = 0
    for _ in range(300):
        made = session()
        octets = bytearray(hello)
        for _ in range(source.randrange(1, 5)):
            octets[source.randrange(len(octets))] = source.randrange(256)
        try:
            assert made.receive(bytes(octets[: source.randrange(1, len(octets) + 1)])) == []
        except DtlsError as error:
            assert str(error)
            ended += 1
        assert not made.established
    assert ended < 300


def test_an_empty_datagram_says_nothing() -> None:
    assert session().receive(b"") == []


def test_files_that_are_missing_are_named(tmp_path: object) -> None:
    files = TlsConfig(ca=f"{tmp_path}/ca.pem", certificate=f"{tmp_path}/c.pem", key=f"{tmp_path}/k.pem")
    with pytest.raises(OSError, match="tls: the certificate, key, ca or crl cannot be used"):
        Session(Security(tls=files, host="127.0.0.1"))
