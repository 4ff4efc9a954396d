"""The connection to the broker: paho-mqtt driven by the running event loop, one client object a connection.

paho keeps what it could not send and sends it again by itself, with limits of its own that do not hold everywhere (no
limit at all for QoS 0 against a stalled broker). Here it never holds more than the window: QoS 1 only, nothing is
handed to it beyond `room`, and with the connection its client object and buffers go. What was not acknowledged is given
back to the owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl
from collections.abc import Callable
from typing import Any, Protocol

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import MessageType, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from twin_gateway.mqtt import settings as options
from twin_gateway.mqtt.client import abandon, describe, make_client, open_client, plain, send_without_delay
from twin_gateway.mqtt.counters import MirrorCounters
from twin_gateway.mqtt.quick import MAX_PACKET, acknowledgements, packet_length, publish_packet
from twin_gateway.mqtt.settings import MqttSettings, SecretError

log = logging.getLogger(__name__)

_TICK = 0.5
_FAREWELL = 1.0
_STABLE = 30.0
_REFUSED = {"Bad user name or password", "Not authorized", "Client identifier not valid", "Banned"}
_UNSUPPORTED = "Unsupported protocol version"
_NO_LIMIT = 268_435_455


class BrokerError(Exception):
    """The connection could not be made, or ended."""


class BrokerRefusedError(BrokerError):
    """The broker answered and does not want us: credentials, client id."""


class NoVersion5Error(BrokerError):
    """The broker does not speak the MQTT version of the attempt, as far as can be seen."""


class Owner(Protocol):
    """Who uses the link; called from the event loop, must not block."""

    def link_up(self) -> None:
        """The broker is there; nothing of what it may remember is relied upon."""
        ...

    def link_room(self) -> None:
        """Messages were acknowledged."""
        ...

    def link_down(self, unacknowledged: list[Any]) -> None:
        """The connection ended; these tokens were not acknowledged, oldest first."""
        ...


class BrokerLink:
    """Keeps one connection to one broker.

    Args:
        settings: where the broker is.
        client_id: of this gateway.
        will: topic and payload that the broker publishes, retained, when we vanish.
        farewell: makes the payload for the same topic when we leave in good order.
        owner: see `Owner`.
        counters: where connections and messages are counted.
    """

    def __init__(
        self,
        settings: MqttSettings,
        owner: Owner,
        counters: MirrorCounters,
        *,
        client_id: str,
        will: tuple[str, bytes],
        farewell: Callable[[], bytes],
    ) -> None:
        self.max_payload = _NO_LIMIT
        self._settings = settings
        self._client_id = client_id
        self._will = will
        self._farewell = farewell
        self._owner = owner
        self._counters = counters
        self._loop: asyncio.AbstractEventLoop
        self._client: Client | None = None
        self._window = settings.window
        self._tokens: dict[int, Any] = {}
        self._progress = 0.0
        self._up = False
        self._corked = False
        self._writing = False
        self._quick = False
        # One buffer for good: of a new one for every read, small things that stay would take a piece each time.
        self._input = memoryview(bytearray(MAX_PACKET))
        self._packet_id = 0
        self._connack: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[str] | None = None
        self._reason = ""
        self._moved = asyncio.Event()
        self._refusals: set[int] = set()

    # ---- for the owner --------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Messages that may be published now."""
        if not self._up or self._ended is None or self._ended.done():
            return 0
        return self._window - len(self._tokens)

    def publish(self, messages: list[tuple[str, bytes, bool, Any]]) -> None:
        """Send messages (topic, payload, retained, token) with QoS 1; at most `room`."""
        client = self._client
        if client is None or not messages:
            return
        if not self._tokens:
            self._progress = self._loop.time()
        self._corked = True
        try:
            if self._quick:
                self._publish_quick(client, messages)
            else:
                for topic, payload, retain, token in messages:
                    self._tokens[client.publish(topic, payload, 1, retain).mid] = token
            client.loop_write()
        finally:
            self._corked = False
        self._counters.published += len(messages)
        self._counters.in_flight = len(self._tokens)
        self._watch_writable(client)

    def _publish_quick(self, client: Client, messages: list[tuple[str, bytes, bool, Any]]) -> None:
        version_5 = client.protocol == MQTTProtocolVersion.MQTTv5
        packets = []
        for topic, payload, retain, token in messages:
            self._packet_id = packet_id = self._packet_id % 0xFFFF + 1
            self._tokens[packet_id] = token
            packets.append(publish_packet(topic, payload, packet_id, retain=retain, version_5=version_5))
        # In paho's own queue, so that its packets and ours never get into each other.
        client._packet_queue(MessageType.PUBLISH, b"".join(packets), self._packet_id, 1)

    async def run(self) -> None:
        """Connect, and connect again, until cancelled; then leave in good order."""
        self._loop = asyncio.get_running_loop()
        settings, counters = self._settings, self._counters
        delay, said = settings.reconnect_min, ""
        while True:
            pause = delay
            try:
                await self._connect_any()
                said = ""
                began = self._loop.time()
                reason = await self._stay()
            except BrokerError as error:
                counters.failures += 1
                reason = str(error)
                level = logging.WARNING if reason != said else logging.DEBUG
                log.log(level, "MQTT broker %s:%d: %s", settings.host, settings.broker_port, reason)
                said = reason
                if isinstance(error, BrokerRefusedError):
                    pause = max(delay, settings.refused_delay)
            else:
                counters.disconnects += 1
                log.warning("MQTT broker %s:%d lost: %s", settings.host, settings.broker_port, reason)
                if self._loop.time() - began > _STABLE:
                    pause = delay = settings.reconnect_min
            counters.last_error = reason
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
            delay = min(delay * 2, settings.reconnect_max)

    # ---- connecting -----------------------------------------------------------------------------------------------

    async def _connect_any(self) -> None:
        wanted = self._settings.protocol
        if wanted is not options.Protocol.AUTO:
            await self._connect(wanted)
            return
        try:
            await self._connect(options.Protocol.V5)
        except NoVersion5Error:
            log.info("MQTT broker %s does not take MQTT 5, trying 3.1.1", self._settings.host)
            await self._connect(options.Protocol.V311)

    async def _connect(self, version: options.Protocol) -> None:
        """Raises BrokerError when there is no connection in the end."""
        settings = self._settings
        try:
            client = make_client(settings, self._client_id, self._will, version)
        except (SecretError, OSError, ssl.SSLError) as error:
            raise BrokerError(f"cannot connect: {error}") from None
        self._connack = self._loop.create_future()
        self._ended = self._loop.create_future()
        self._reason = ""
        work = self._loop.run_in_executor(None, open_client, client, settings)
        try:
            # Name look-up, TCP and TLS each have their own limit; this one is for all of them together.
            await asyncio.wait_for(asyncio.shield(work), 4 * settings.connect_timeout)
        except (OSError, TimeoutError, ValueError) as error:
            abandon(work, client)
            raise BrokerError(f"no connection: {describe(error)}") from None
        except asyncio.CancelledError:
            abandon(work, client)
            raise
        sock = client.socket()
        if sock is None:
            raise NoVersion5Error("the broker closed the connection at once")
        send_without_delay(sock)
        self._client = client
        # Only now: until here callbacks would come from the executor's thread.
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write
        self._loop.add_reader(sock.fileno(), self._readable, client)
        self._watch_writable(client)
        try:
            await asyncio.wait_for(self._connack, settings.connect_timeout)
        except TimeoutError:
            self._drop(client)
            raise BrokerError("the broker took the connection but does not answer") from None
        except asyncio.CancelledError:
            self._drop(client)
            raise
        except BrokerError:
            self._drop(client)
            raise
        self._counters.protocol = version.value
        self._counters.connects += 1
        self._counters.connected = True
        self._counters.last_error = ""
        log.info("MQTT broker %s:%d connected, MQTT %s", settings.host, settings.broker_port, version.value)
        # TLS sockets cannot be peeked into; there every packet goes through paho.
        self._quick = not isinstance(sock, ssl.SSLSocket)
        self._up = True
        self._owner.link_up()

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        future = self._connack
        if future is None or future.done():
            return
        if reason.is_failure:
            text = str(reason)
            if text == _UNSUPPORTED:
                future.set_exception(NoVersion5Error(f"the broker refuses: {text}"))
            elif text in _REFUSED:
                who = f"user {self._settings.user!r}" if self._settings.user else "no user"
                future.set_exception(BrokerRefusedError(f"the broker refuses us ({who}): {text}"))
            else:
                future.set_exception(BrokerError(f"the broker refuses: {text}"))
            return
        granted = vars(properties) if properties is not None else {}
        if granted.get("MaximumQoS") == 0:
            future.set_exception(BrokerError("the broker offers no QoS 1"))
            return
        if granted.get("RetainAvailable") == 0:
            future.set_exception(BrokerError("the broker keeps no retained messages"))
            return
        self._window = max(1, min(self._settings.window, int(granted.get("ReceiveMaximum", 65_535))))
        # Topic, properties and header of the packet stay below 300 bytes beside the root.
        limit = int(granted.get("MaximumPacketSize", _NO_LIMIT))
        self.max_payload = max(0, limit - 512 - len(self._settings.root))
        future.set_result(None)

    # ---- while connected ------------------------------------------------------------------------------------------

    async def _stay(self) -> str:
        """Until the connection ends; returns why."""
        client, ended = self._client, self._ended
        if client is None or ended is None:
            return self._reason
        try:
            while not ended.done():
                client.loop_misc()
                if self._tokens and self._loop.time() - self._progress > self._settings.ack_timeout:
                    self._reason = f"nothing acknowledged for {self._settings.ack_timeout:g} s"
                    self._drop(client)
                    break
                await asyncio.wait([ended], timeout=_TICK)
            return self._reason
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leave(client), _FAREWELL)
            raise
        finally:
            self._drop(client)

    async def _leave(self, client: Client) -> None:
        """Say that we are gone, wait for the acknowledgement, disconnect."""
        while self.room <= 0:
            if self._ended is None or self._ended.done():
                return
            self._moved.clear()
            await self._moved.wait()
        self.publish([(self._will[0], self._farewell(), True, None)])
        while self._tokens and client.socket() is not None:
            self._moved.clear()
            await self._moved.wait()
        client.disconnect()
        client.loop_write()

    def _drop(self, client: Client) -> None:
        """Close the connection, whatever state it is in; harmless when it is closed."""
        sock = client.socket()
        if sock is not None:
            # paho has no public way to close without sending first; an end of file in both directions does it.
            with contextlib.suppress(OSError):
                plain(sock).shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(Exception):  # the same nonsense may be what the connection is dropped for
                for _ in range(self._window + 2):
                    if client.socket() is None:
                        break
                    client.loop_read()
            if client.socket() is not None:
                self._on_socket_close(client, None, sock)
                client.on_socket_close = client.on_socket_unregister_write = None
                sock.close()
                self._finish("closed by us")
        if self._client is client:
            self._client = None
            self._lost()

    def _lost(self) -> None:
        tokens, self._tokens = [token for token in self._tokens.values() if token is not None], {}
        was_up, self._up = self._up, False
        self._counters.connected = False
        self._counters.in_flight = 0
        if was_up:
            self._owner.link_down(tokens)

    def _readable(self, client: Client) -> None:
        before = self._counters.acknowledged
        sock = client.socket()
        try:
            if self._up and self._quick:
                self._read_quick(client, plain(sock))
            else:
                client.loop_read()
            # What TLS has decrypted already does not make the socket readable again.
            while isinstance(sock, ssl.SSLSocket) and client.socket() is not None and sock.pending():
                client.loop_read()
        except Exception as error:
            # paho decodes with struct, indices and enumerations; what they raise on nonsense is not documented.
            self._reason = f"the broker sent something unreadable ({error!r})"
            self._drop(client)
            return
        if self._counters.acknowledged != before and self._up:
            self._progress = self._loop.time()
            self._counters.in_flight = len(self._tokens)
            self._moved.set()
            self._owner.link_room()

    def _read_quick(self, client: Client, sock: socket.socket) -> None:
        """Take the acknowledgements off the socket; anything else is left there for paho."""
        try:
            data = bytes(self._input[: sock.recv_into(self._input, 0, socket.MSG_PEEK)])
            found, used = acknowledgements(data)
            if used:
                sock.recv_into(self._input, used)
        except BlockingIOError:
            return
        except OSError:
            client.loop_read()  # meets the same error and ends the connection
            return
        for packet_id, code in found:
            self._acknowledged(packet_id, code)
        try:
            length = packet_length(data[used : used + 5]) if len(data) > used else None
        except ValueError as error:
            self._reason = f"the broker sent {error}"
            self._drop(client)
            return
        if not data or (length is not None and len(data) - used >= length):
            client.loop_read()  # exactly one packet, or the end
        elif not used:
            # A piece of a packet: the loop would call at once again and again until the rest is there.
            self._loop.remove_reader(sock.fileno())
            self._loop.call_later(0.01, self._read_again, client, sock)

    def _read_again(self, client: Client, sock: socket.socket) -> None:
        if client.socket() is sock:
            self._loop.add_reader(sock.fileno(), self._readable, client)

    def _writable(self, client: Client) -> None:
        client.loop_write()

    def _on_publish(
        self, _client: Client, _data: object, mid: int, reason: ReasonCode, _properties: Properties
    ) -> None:
        self._acknowledged(mid, reason.value)

    def _acknowledged(self, packet_id: int, code: int) -> None:
        if self._tokens.pop(packet_id, self) is self:
            return  # not ours: nothing may be concluded from it
        self._counters.acknowledged += 1
        if code >= 0x80:
            self._counters.refused += 1
            if code not in self._refusals:
                self._refusals.add(code)
                log.error("MQTT broker %s does not take a message: reason code 0x%02X", self._settings.host, code)

    def _on_disconnect(
        self, _client: Client, _data: object, flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        text = str(reason)
        if not self._reason:
            self._reason = f"the broker says: {text}" if flags.is_disconnect_packet_from_server else text
        self._finish(text)

    def _finish(self, text: str) -> None:
        if self._connack is not None and not self._connack.done():
            # Brokers without MQTT 5 close, often without a word.
            self._connack.set_exception(NoVersion5Error("the broker closed the connection instead of answering"))
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(text)
        self._moved.set()

    # ---- the socket -----------------------------------------------------------------------------------------------

    def _on_socket_close(self, _client: Client, _data: object, sock: Any) -> None:
        self._loop.remove_reader(sock.fileno())
        if self._writing:
            self._writing = False
            self._loop.remove_writer(sock.fileno())

    def _on_register_write(self, client: Client, _data: object, _sock: Any) -> None:
        if not self._corked:
            self._watch_writable(client)

    def _on_unregister_write(self, _client: Client, _data: object, sock: Any) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(sock.fileno())

    def _watch_writable(self, client: Client) -> None:
        sock = client.socket()
        if not self._writing and sock is not None and client.want_write():
            self._writing = True
            self._loop.add_writer(sock.fileno(), self._writable, client)
