"""Security of the benchmarks' OPC UA client: SignAndEncrypt by Basic256Sha256, RSA by asyncua, chunks by the keys."""

from __future__ import annotations

import secrets
import struct
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.common.connection import SecureConnection, TransportLimits
from asyncua.common.utils import Buffer
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.ua.ua_binary import header_from_binary, nodeid_to_binary, struct_from_binary, struct_to_binary
from cryptography import x509

from address_space.opcua.channel_keys import NONCE, ChannelKeys
from address_space.opcua.security import ApplicationIdentity, load_or_make

_URI = "urn:bench:client"
_MODE = ua.MessageSecurityMode.SignAndEncrypt
_HEAD = struct.Struct("<4sI")


def client_identity(directory: Path) -> ApplicationIdentity:
    """Certificate and key of the client, made at the first call."""
    return load_or_make(directory / "client", _URI, "bench", ("127.0.0.1",))


class Secured:
    """One channel and session of a client.

    Args:
        identity: of the client.
        server: DER certificate of the server.
    """

    def __init__(self, identity: ApplicationIdentity, server: bytes) -> None:
        certificate = x509.load_der_x509_certificate(server)
        policy: Any = SecurityPolicyBasic256Sha256
        self._policy = policy(certificate, identity.certificate, identity.key, _MODE)
        self._connection = SecureConnection(self._policy, TransportLimits())
        self._nonce = secrets.token_bytes(NONCE)
        self._sending: ChannelKeys
        self._receiving: ChannelKeys

    def opening(self) -> bytes:
        """The OPN chunk."""
        request = ua.OpenSecureChannelRequest()
        request.Parameters.RequestType = ua.SecurityTokenRequestType.Issue
        request.Parameters.SecurityMode = _MODE
        request.Parameters.RequestedLifetime = ua.UInt32(3_600_000)
        request.Parameters.ClientNonce = ua.ByteString(self._nonce)
        kind: Any = ua.MessageType.SecureOpen
        return self._connection.message_to_binary(struct_to_binary(request), message_type=kind, request_id=1)

    def opened(self, frame: bytes) -> tuple[int, int]:
        """SecureChannelId and TokenId of the answer (without its first eight octets)."""
        buffer = Buffer(_HEAD.pack(b"OPNF", 8 + len(frame)) + frame)
        message = self._connection.receive_from_header_and_body(header_from_binary(buffer), buffer)
        answer: Any = struct_from_binary(ua.OpenSecureChannelResponse, message.body())
        other, uri = bytes(answer.Parameters.ServerNonce), self._policy.URI
        self._sending = ChannelKeys(uri, other, self._nonce, encrypts=True)
        self._receiving = ChannelKeys(uri, self._nonce, other, encrypts=True)
        token = answer.Parameters.SecurityToken
        return int(token.ChannelId), int(token.TokenId)

    def chunk(self, kind: bytes, head: bytes, part: bytes) -> bytes:
        """A chunk; `head` is channel, token, sequence and request number."""
        plain = head[8:] + part
        return self._sending.secure(_HEAD.pack(kind, 16 + self._sending.size_of(len(plain))) + head[:8], plain)

    def body(self, frame: bytes, kind: bytes) -> bytes:
        """Body of a chunk that came without its first eight octets."""
        return self._receiving.open(_HEAD.pack(kind, 8 + len(frame)) + frame, 16)[8:]

    def create_session(self, port: int) -> bytes:
        """Body of the CreateSession request."""
        parameters: Any = ua.CreateSessionParameters()
        parameters.ClientDescription.ApplicationUri = _URI
        parameters.ClientDescription.ApplicationType = ua.ApplicationType.Client
        parameters.EndpointUrl = f"opc.tcp://127.0.0.1:{port}/"
        parameters.SessionName = "bench"
        parameters.ClientNonce = secrets.token_bytes(NONCE)
        parameters.ClientCertificate = self._policy.host_certificate
        parameters.RequestedSessionTimeout = 600_000.0
        return struct_to_binary(parameters)

    def session_created(self, answer: bytes) -> tuple[bytes, bytes]:
        """AuthenticationToken on the wire, and the body of the ActivateSession request."""
        made: Any = struct_from_binary(ua.CreateSessionResult, Buffer(answer))
        parameters: Any = ua.ActivateSessionParameters()
        signed = self._policy.peer_certificate + made.ServerNonce
        parameters.ClientSignature.Signature = self._policy.asymmetric_cryptography.signature(signed)
        parameters.ClientSignature.Algorithm = self._policy.AsymmetricSignatureURI
        parameters.UserIdentityToken = ua.AnonymousIdentityToken(PolicyId=ua.String("anonymous"))
        return nodeid_to_binary(made.AuthenticationToken), struct_to_binary(parameters)
