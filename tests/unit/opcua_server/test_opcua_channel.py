"""The secure channel against asyncua's client half of it: policies, modes, renewal, and what ends a channel."""

from __future__ import annotations

import itertools
import secrets
import struct
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.connection import SecureConnection, TransportLimits
from asyncua.common.utils import Buffer
from asyncua.crypto import security_policies as stock
from asyncua.ua.ua_binary import header_from_binary, struct_from_binary, struct_to_binary
from cryptography.hazmat.primitives import serialization

from address_space.opcua import channel as subject
from address_space.opcua.channel import ChannelLimits, SecureChannel
from address_space.opcua.channel_keys import ChannelKeys, derive
from address_space.opcua.security import ApplicationIdentity, load_or_make
from address_space.opcua.wire import ProtocolError

POLICIES = {
    "Basic256Sha256": stock.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": stock.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": stock.SecurityPolicyAes256Sha256RsaPss,
}
MODES = {"Sign": ua.MessageSecurityMode.Sign, "SignAndEncrypt": ua.MessageSecurityMode.SignAndEncrypt}
CODES = ua.StatusCodes


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> tuple[ApplicationIdentity, ApplicationIdentity]:
    """Of server and client."""
    made = [load_or_make(tmp_path_factory.mktemp(name), f"urn:{name}", name, ()) for name in ("server", "client")]
    return made[0], made[1]


class Server:
    """What the channel asks of the server."""

    def __init__(self, identity: ApplicationIdentity | None) -> None:
        self.policies = [
            stock.SecurityPolicyFactory(policy, mode, identity.certificate, identity.key)
            for policy in POLICIES.values()
            for mode in MODES.values()
            if identity is not None
        ]
        self.trusted = 0
        self.asked: list[bytes] = []
        self._numbers = itertools.count(7)

    def check_client_certificate(self, der: bytes) -> int:
        self.asked.append(der)
        return self.trusted

    def get_new_channel_id(self) -> int:
        return next(self._numbers)


def respond(type_id: int, handle: int) -> bytes:
    return struct.pack("<HHqIIB", 1, type_id, 0, handle, 0, 0) + b"\xff\xff\xff\xff\0\0\0"


class Pair:
    """A channel and asyncua's client of it."""

    def __init__(self, policy: Any, server: Server, *, lifetime: int = 60_000) -> None:
        self.server, self.lifetime = server, lifetime
        self.channel = SecureChannel(server, ChannelLimits(8192, 1 << 20, 200, (400, 3_600_000)))
        self.client = SecureConnection(policy, TransportLimits(max_send_buffer=8192, max_recv_buffer=8192))
        self.policy = policy
        self._requests = itertools.count(1)

    def opening(self, kind: Any = ua.SecurityTokenRequestType.Issue, **fields: Any) -> bytes:
        request = ua.OpenSecureChannelRequest()
        request.Parameters.RequestType = kind
        request.Parameters.SecurityMode = self.policy.Mode
        request.Parameters.RequestedLifetime = self.lifetime
        request.Parameters.ClientNonce = secrets.token_bytes(self.policy.secure_channel_nonce_length)
        for name, value in fields.items():
            setattr(request.Parameters, name, value)
        self.nonce = request.Parameters.ClientNonce
        kinds = {"message_type": ua.MessageType.SecureOpen, "request_id": next(self._requests)}
        return bytes(self.client.message_to_binary(struct_to_binary(request), **kinds))

    def open(self, kind: Any = ua.SecurityTokenRequestType.Issue) -> Any:
        answer = self.channel.answer_open(self.opening(kind), respond)
        response = struct_from_binary(ua.OpenSecureChannelResponse, self.heard([answer]).body())
        self.client.set_channel(response.Parameters, kind, self.nonce)
        return response.Parameters

    def renew(self) -> Any:
        return self.open(ua.SecurityTokenRequestType.Renew)

    def said(self, body: bytes, request_id: int = 0) -> list[bytes]:
        octets = bytes(self.client.message_to_binary(body, request_id=request_id or next(self._requests)))
        frames = []
        while octets:
            size = struct.unpack_from("<I", octets, 4)[0]
            frames.append(octets[:size])
            octets = octets[size:]
        return frames

    def heard(self, chunks: Any) -> Any:
        message = None
        for chunk in chunks:
            assert len(chunk) == struct.unpack_from("<I", chunk, 4)[0] <= 8192
            buffer = Buffer(chunk)
            message = self.client.receive_from_header_and_body(header_from_binary(buffer), buffer)
        return message

    def ask(self, body: bytes, request_id: int = 9) -> bytes:
        message = None
        for frame in self.said(body, request_id):
            message = self.channel.receive(frame)
        assert message is not None
        assert message.request_id == request_id
        return message.data[message.position :]


@pytest.fixture(params=[(policy, mode) for policy in POLICIES for mode in MODES], ids="-".join)
def pair(request: pytest.FixtureRequest, identities: tuple[ApplicationIdentity, ApplicationIdentity]) -> Pair:
    policy, mode = request.param
    return secured(identities, policy, mode)


def secured(
    identities: tuple[ApplicationIdentity, ApplicationIdentity],
    policy: str = "Basic256Sha256",
    mode: str = "SignAndEncrypt",
) -> Pair:
    server, client = identities
    made = POLICIES[policy](server.certificate, client.certificate, client.key, MODES[mode])
    return Pair(made, Server(server))


@pytest.fixture
def one(identities: tuple[ApplicationIdentity, ApplicationIdentity]) -> Pair:
    """An open channel that signs and encrypts."""
    made = secured(identities)
    made.open()
    return made


def status(error: pytest.ExceptionInfo[ProtocolError]) -> str:
    return str(ua.StatusCode(error.value.status).name)


def test_messages_of_any_length_go_both_ways(pair: Pair) -> None:
    pair.open()
    for size in (1, 15, 16, 17, 100, 8191, 8192, 8193, 50_000):
        body = secrets.token_bytes(size)
        assert pair.ask(body) == body
        assert bytes(pair.heard(pair.channel.chunks(5, body)).body()) == body


def test_an_answer_takes_as_few_chunks_as_can_be(pair: Pair) -> None:
    pair.open()
    room = pair.channel.room
    assert room > 8192 - 24 - 32 - 16 - 1
    assert len(list(pair.channel.chunks(1, bytes(room)))) == 1
    assert next(len(chunk) for chunk in pair.channel.chunks(2, bytes(3 * room))) > 8192 - 16
    assert len(list(pair.channel.chunks(3, bytes(3 * room)))) == 3


def test_nothing_of_an_encrypted_message_is_readable(one: Pair) -> None:
    body = b"the breaker of feeder F05 " * 20
    [chunk] = one.channel.chunks(1, body)
    assert all(body[start : start + 8] not in chunk for start in range(0, 200, 8))


def test_the_certificate_is_checked_once_when_the_channel_is_opened(one: Pair) -> None:
    one.renew()
    assert one.server.asked == [one.policy.host_certificate]


def test_an_untrusted_certificate_leaves_the_channel_closed(
    identities: tuple[ApplicationIdentity, ApplicationIdentity],
) -> None:
    pair = secured(identities)
    pair.server.trusted = CODES.BadCertificateUntrusted
    with pytest.raises(ProtocolError) as error:
        pair.open()
    assert status(error) == "BadCertificateUntrusted"
    assert not pair.channel.open


def test_answers_have_the_old_token_until_the_client_uses_the_new_one(one: Pair) -> None:
    first = one.channel._token.number
    renewed = one.renew().SecurityToken
    assert renewed.TokenId != first
    [chunk] = one.channel.chunks(1, b"still")
    assert struct.unpack_from("<I", chunk, 12)[0] == first
    assert bytes(one.heard([chunk]).body()) == b"still"
    one.client.revolve_tokens()
    assert one.ask(b"new") == b"new"
    [chunk] = one.channel.chunks(2, b"now")
    assert struct.unpack_from("<I", chunk, 12)[0] == renewed.TokenId
    assert bytes(one.heard([chunk]).body()) == b"now"


def test_what_was_under_way_with_the_old_token_is_taken_for_a_quarter_more(
    one: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = subject.time.monotonic()
    opening = one.opening(ua.SecurityTokenRequestType.Renew)
    late = [one.said(b"one")[0], one.said(b"two")[0]]
    one.channel.answer_open(opening, respond)
    monkeypatch.setattr(subject.time, "monotonic", lambda: now + 74)
    message = one.channel.receive(late[0])
    assert message is not None
    monkeypatch.setattr(subject.time, "monotonic", lambda: now + 76)
    with pytest.raises(ProtocolError) as error:
        one.channel.receive(late[1])
    assert status(error) == "BadSecureChannelTokenUnknown"


def test_a_channel_that_is_not_renewed_expires(one: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    now = subject.time.monotonic()
    frame = one.said(b"late")[0]
    assert not one.channel.expired
    monkeypatch.setattr(subject.time, "monotonic", lambda: now + 76)
    assert one.channel.expired
    with pytest.raises(ProtocolError) as error:
        one.channel.receive(frame)
    assert status(error) == "BadSecureChannelTokenUnknown"


def test_every_changed_octet_is_noticed(pair: Pair) -> None:
    pair.open()
    [frame] = pair.said(b"operate the breaker")
    for place in range(8, len(frame)):
        damaged = frame[:place] + bytes((frame[place] ^ 1,)) + frame[place + 1 :]
        with pytest.raises(ProtocolError):
            pair.channel.receive(damaged)
    # The octets of type and size are signed as well; the transport reads them before.
    with pytest.raises(ProtocolError):
        pair.channel.receive(b"MSGC" + frame[4:])
    message = pair.channel.receive(frame)
    assert message is not None


def test_a_message_sent_again_is_noticed(one: Pair) -> None:
    [frame] = one.said(b"once")
    one.channel.receive(frame)
    with pytest.raises(ProtocolError) as error:
        one.channel.receive(frame)
    assert status(error) == "BadSequenceNumberInvalid"


def test_sequence_numbers_wrap_where_part_6_lets_them(one: Pair) -> None:
    one.channel._received = one.client._sequence_number = (1 << 32) - 1025
    one.ask(b"last")
    one.client._sequence_number = 0
    assert one.ask(b"first again") == b"first again"


def test_a_message_of_another_channel_is_refused(one: Pair) -> None:
    one.client.security_token.ChannelId += 1
    with pytest.raises(ProtocolError) as error:
        one.ask(b"x")
    assert status(error) == "BadTcpSecureChannelUnknown"


def test_a_message_larger_than_told_is_refused_while_it_comes(one: Pair) -> None:
    one.channel.limits.message = 20_000
    frames = one.said(bytes(60_000))
    with pytest.raises(ProtocolError) as error:
        for frame in frames[:3]:
            one.channel.receive(frame)
    assert status(error) == "BadTcpMessageTooLarge"


def test_an_aborted_message_is_forgotten_and_the_channel_goes_on(identities: Any) -> None:
    pair = secured(identities, mode="Sign")
    pair.open()
    first, *_ = pair.said(bytes(20_000), 3)
    assert pair.channel.receive(first) is None
    pair.client._sequence_number -= 2
    assert pair.channel.pending
    keys: ChannelKeys = pair.channel._token.receiving
    plain = struct.pack("<IIIi", pair.channel._received + 1, 3, CODES.BadRequestTooLarge, -1)
    head = struct.pack("<4sIII", b"MSGA", 16 + len(plain) + 32, pair.channel.number, pair.channel._token.number)
    assert pair.channel.receive(keys.secure(head, plain)) is None
    assert not pair.channel.pending
    pair.client._sequence_number = pair.channel._received
    assert pair.ask(b"next") == b"next"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": ua.SecurityTokenRequestType.Renew}, "BadRequestTypeInvalid"),
        ({"SecurityMode": ua.MessageSecurityMode.None_}, "BadSecurityModeRejected"),
        ({"ClientNonce": b"short"}, "BadNonceInvalid"),
    ],
    ids=["renewed before it is there", "no mode of the policy", "a short nonce"],
)
def test_a_wrong_opening_is_refused_with_the_reason(identities: Any, fields: dict[str, Any], reason: str) -> None:
    pair = secured(identities)
    with pytest.raises(ProtocolError) as error:
        pair.channel.answer_open(pair.opening(**fields), respond)
    assert status(error) == reason
    assert not pair.channel.open


def test_a_nonce_is_new_each_time(one: Pair) -> None:
    with pytest.raises(ProtocolError) as error:
        one.channel.answer_open(one.opening(ua.SecurityTokenRequestType.Renew, ClientNonce=one.nonce), respond)
    assert status(error) == "BadNonceInvalid"


def test_a_policy_that_is_not_offered_is_refused(identities: Any) -> None:
    pair = secured(identities)
    pair.server.policies.clear()
    with pytest.raises(ProtocolError) as error:
        pair.open()
    assert status(error) == "BadSecurityPolicyRejected"


def test_an_opening_for_another_server_is_refused(identities: Any) -> None:
    server, client = identities
    pair = Pair(POLICIES["Basic256Sha256"](client.certificate, client.certificate, client.key, 3), Server(server))
    with pytest.raises(ProtocolError) as error:
        pair.channel.answer_open(pair.opening(), respond)
    assert status(error) == "BadCertificateInvalid"


def test_an_opening_that_costs_many_private_key_operations_is_refused_before_the_first(
    identities: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = secured(identities)
    frame = pair.opening()
    # Anybody can encrypt for the server: the blocks of a large frame would all be decrypted.
    large = frame + frame[-256:] * 200
    monkeypatch.setattr(stock.DecryptorRsa, "decrypt", lambda *_: pytest.fail("decrypted"))
    with pytest.raises(ProtocolError) as error:
        pair.channel.answer_open(large[:4] + struct.pack("<I", len(large)) + large[8:], respond)
    assert status(error) == "BadTcpMessageTooLarge"


def test_another_client_cannot_renew_the_channel(identities: Any, one: Pair, tmp_path: Path) -> None:
    server, _ = identities
    other = load_or_make(tmp_path, "urn:other", "other", ())
    thief = Pair(POLICIES["Basic256Sha256"](server.certificate, other.certificate, other.key, 3), one.server)
    thief.client.security_token.ChannelId = one.channel.number
    thief.client._sequence_number = one.client._sequence_number
    with pytest.raises(ProtocolError) as error:
        one.channel.answer_open(thief.opening(ua.SecurityTokenRequestType.Renew), respond)
    assert status(error) == "BadSecurityChecksFailed"


def test_damaged_openings_end_as_protocol_errors(identities: Any) -> None:
    pair = secured(identities)
    frame = pair.opening()
    for place in range(8, len(frame), 7):
        fresh = SecureChannel(pair.server, pair.channel.limits)
        damaged = frame[:place] + bytes((frame[place] ^ 0x81,)) + frame[place + 1 :]
        with pytest.raises(ProtocolError):
            fresh.answer_open(damaged, respond)
        assert not fresh.open


def test_without_security_discovery_works_where_no_policy_is_offered() -> None:
    pair = Pair(stock.SecurityPolicyNone(), Server(None))
    pair.open()
    for size in (1, 50_000):
        assert pair.ask(bytes(size)) == bytes(size)
        assert len(pair.heard(pair.channel.chunks(1, bytes(size))).body()) == size
    pair.renew()
    assert pair.ask(b"go on") == b"go on"


def test_keys_are_those_of_p_sha256() -> None:
    # Test vector of the TLS working group for P_SHA256, label and seed joined.
    secret = bytes.fromhex("9bbe436ba940f017b17652849a71db35")
    seed = b"test label" + bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c")
    assert derive(secret, seed, 32).hex() == "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a"


def test_the_key_of_a_client_certificate_is_public_and_of_a_known_size(identities: Any) -> None:
    server, client = identities
    pair = secured(identities)
    own = client.certificate.public_bytes(serialization.Encoding.DER)
    assert subject.first_certificate(own + own) == own
    with pytest.raises(ProtocolError) as error:
        subject._check_key(b"0\x82\x00\x05abcde")
    assert status(error) == "BadCertificateInvalid"
    assert pair.server.policies
    assert server.certificate != client.certificate
