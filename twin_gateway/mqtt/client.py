"""The paho client of one connection: how it is made, opened and thrown away."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from twin_gateway.mqtt.settings import MqttSettings, Protocol


def make_client(settings: MqttSettings, client_id: str, will: tuple[str, bytes], version: Protocol) -> Client:
    """A client that has done nothing yet, with its Will, credentials and TLS.

    Raises:
        SecretError: the password cannot be read.
        OSError: a certificate or key cannot be read (also ssl.SSLError).
    """
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id,
        clean_session=True if version is Protocol.V311 else None,
        protocol=MQTTProtocolVersion.MQTTv5 if version is Protocol.V5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = settings.connect_timeout
    # The window is kept by the link; paho must never queue (it searches what is queued at every PUBACK).
    client.max_inflight_messages_set(settings.window + 1)
    topic, payload = will
    client.will_set(topic, payload, qos=1, retain=True)
    if settings.user is not None:
        client.username_pw_set(settings.user, settings.read_password())
    if settings.tls is not None:
        tls = settings.tls
        context = ssl.create_default_context(cafile=tls.ca)
        context.sslsocket_class = _ClosedOnRefusal
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
        client.tls_set_context(context)
    return client


def open_client(client: Client, settings: MqttSettings) -> None:
    """Look up, connect, shake hands, send CONNECT; blocks, so for a thread of the executor.

    Raises:
        OSError: no connection (also TLS).
        ValueError: the host name is malformed.
    """
    if client.protocol == MQTTProtocolVersion.MQTTv5:
        # The session is never relied upon: what the broker remembers and what not cannot be told from outside.
        client.connect(settings.host, settings.broker_port, settings.keepalive, clean_start=True)
    else:
        client.connect(settings.host, settings.broker_port, settings.keepalive)


class _ClosedOnRefusal(ssl.SSLSocket):
    """paho forgets a socket whose handshake failed; this one closes itself."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def describe(error: BaseException) -> str:
    """Why there is no connection, for people."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}" if not isinstance(error, ssl.SSLCertVerificationError) else str(error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def plain(sock: Any) -> socket.socket:
    """What paho calls a socket; its websocket wrapper is never used here."""
    assert isinstance(sock, socket.socket)  # noqa: S101 - for the type checker
    return sock


def send_without_delay(sock: Any) -> None:
    """Switch off the gathering of small packets."""
    # A batch is many small sends; waiting for acknowledgements of each would cost 40 ms.
    with contextlib.suppress(OSError):
        plain(sock).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def abandon(work: asyncio.Future[None], client: Client) -> None:
    """Close what an attempt in the executor may still open after nobody waits for it any more."""

    def close(done: asyncio.Future[None]) -> None:
        if not done.cancelled():
            done.exception()
        sock = client.socket()
        if sock is not None:
            sock.close()

    work.add_done_callback(close)
