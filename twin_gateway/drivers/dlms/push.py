"""What one meter sends unasked: who it is, whether it is authentic and fresh, and what its values belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from address_space.whole_files import sync_file
from twin_gateway.drivers.capture import Carrier, Flow
from twin_gateway.drivers.contract import Link, LinkLost
from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.axdr import Value
from twin_gateway.drivers.dlms.ciphering import GENERAL_GLO, Ciphering, counter_of
from twin_gateway.drivers.dlms.config import DlmsConfig, Push
from twin_gateway.drivers.dlms.contact import Contact
from twin_gateway.drivers.dlms.errors import DlmsError, MalformedApduError, SecurityError
from twin_gateway.drivers.dlms.notification import Notification, assigned, columns_of_setup, parse_notification
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.positions import keep_json, read_json, write_json
from twin_gateway.drivers.dlms.push_listener import PushListener, Sender, listener_at
from twin_gateway.drivers.strays import StrayBook

_ON_DISK_S = 1.0
"""How long after a push its counter is sent to the disk: a power failure lets no older push count twice."""
_NAMES_S = 5.0
"""How long a name may take to become an address."""

Deliver = Callable[[Notification, Mapping[Attribute, Value]], None]


class PushReceiver:
    """The listening half of one device.

    Args:
        config: of the device; its `push` is set.
        path: of the file for what is known of the meter's pushes.
        cipher: our side of the global key, of its own and never used to send; None without security.
        deliver: takes the values of an authentic notification.
        strays: where senders are listed that no device of the process knows.

    Attributes:
        heard: set by every notification that was taken.
        scalers: scaler and unit by attribute, as kept; see Scalers.kept.
    """

    def __init__(
        self,
        config: DlmsConfig,
        push: Push,
        path: Path,
        cipher: Ciphering | None,
        deliver: Deliver,
        *,
        strays: StrayBook | None = None,
    ) -> None:
        self._strays = strays
        self._config = config
        self._push = push
        self._path = path
        self._cipher = cipher
        self._deliver = deliver
        self._link: Link | None = None
        self._own_flow: Flow | None = None
        self._listener: PushListener | None = None
        self._recognised = False
        self._refusal_told = False
        self._allowance = float(push.rate)
        self._allowance_at = 0.0
        self._flood_told = False
        self.heard = asyncio.Event()
        self._sync: asyncio.TimerHandle | None = None
        kept = read_json(path, "what the meter pushes is known again after the next connection")
        self._counter = _whole(kept.get("counter"), -1)
        self._title = bytes.fromhex(push.meter_title) if push.meter_title else _octets(kept.get("title"))
        self._name = (push.name or str(kept.get("name", ""))).encode()
        self._columns: list[Attribute | None] = [obis.attribute(column) for column in push.columns]
        if not self._columns:
            self._columns = _columns(kept.get("columns"))
        scalers = kept.get("scalers")
        self.scalers: dict[str, Any] = scalers if isinstance(scalers, dict) else {}

    # --- the socket ----------------------------------------------------------------------------------------------

    async def open(self, link: Link) -> None:
        """Begins to listen; again after every loss, when it still does."""
        self._link = link
        push = self._push
        if self._listener is None:
            listener = listener_at(*push.where)
            try:
                await listener.join(self)
            except OSError as error:
                link.count("push_listen_errors")
                link.error(f"pushes cannot be heard at {push.listen}: {error}")
                return
            self._listener = listener
        await self._introduce()

    async def _introduce(self) -> None:
        """Says by what this meter is recognised."""
        listener = self._listener
        if listener is None:
            return
        if self._cipher is not None:
            listener.know(self, title=self._title)
            self._recognised = bool(self._title)
        elif self._push.by == "name":
            listener.know(self, name=self._name)
            self._recognised = bool(self._name)
        else:
            addresses = await _addresses(self._push.address or self._config.host)
            for address in addresses:
                listener.know(self, address=(address, self._config.logical_device))
            self._recognised = self._recognised or bool(addresses)

    def close(self) -> None:
        """Listens no more."""
        if self._sync is not None:
            self._sync.cancel()
            self._to_disk()
        if self._listener is not None:
            self._listener.leave(self)
            self._listener = None

    def own_flow(self, flow: Flow) -> None:
        """The connection that the gateway itself has with the meter; what is pushed does not go over it."""
        self._own_flow = flow

    @property
    def hears(self) -> bool:
        """Whether the meter would be heard: the port is ours, and it is known how to recognise it."""
        return self._listener is not None and self._recognised

    async def only(self, link: Link) -> NoReturn:
        """A meter that is never called: up while it sends.

        Raises:
            LinkLost: it is not heard, or has been silent too long.
        """
        if not self.hears:
            raise LinkLost(f"pushes cannot be heard at {self._push.listen}")
        while True:
            try:
                async with asyncio.timeout(self._push.silence):
                    await self.heard.wait()
            except TimeoutError as error:
                raise LinkLost(f"nothing was pushed for {self._push.silence:g} s") from error
            self.heard.clear()
            link.up()

    # --- what is learned in an association -----------------------------------------------------------------------

    async def learn(self, contact: Contact, title: bytes, device_name: str) -> None:
        """Reads the push setup, and keeps what later pushes are recognised and understood by.

        Raises:
            OSError: the connection ended.
        """
        if not self._push.columns:
            setup = Attribute(obis.PUSH_SETUP, obis.parse(self._push.setup), 2)
            try:
                self._columns = columns_of_setup(await contact.get(setup))
            except DlmsError as error:
                contact.failed(error)
                contact.link.count("push_setup_errors")
                contact.link.error(f"push setup {self._push.setup} cannot be read: {error}")
        if self._push.meter_title is None and title and title != self._title:
            # Another meter counts from another number.
            self._title, self._counter = title, -1
            if (old := self._cipher) is not None:
                self._cipher = Ciphering(
                    old.title, old.encryption, old.authentication, old.counter, protection=old.protection
                )
        if self._push.name is None and device_name:
            self._name = device_name.encode()
        keep_json(self._path, self._content())
        await self._introduce()

    def keep_scalers(self, scalers: Mapping[str, Any]) -> None:
        """Keeps the scalers of the registers, for pushes that come before the next association."""
        if scalers != self.scalers:
            self.scalers = dict(scalers)
            keep_json(self._path, self._content())

    def _content(self) -> dict[str, Any]:
        return {
            "title": self._title.hex(),
            "name": self._name.decode("ascii", "replace"),
            "counter": self._counter,
            "columns": [str(column) if column is not None else None for column in self._columns],
            "scalers": self.scalers,
        }

    # --- what comes ----------------------------------------------------------------------------------------------

    def stranger(self, text: str) -> None:
        """Tells of a sender that no device of the process knows."""
        if self._link is not None:
            self._link.event("D09", f"A push from an unknown meter was refused: {text}", severity=500)

    def met(self, who: Sender, address: str) -> None:
        """Lists a sender that no device of the process knows."""
        if self._strays is None:
            return
        if isinstance(who, bytes):
            fields: dict[str, Any] = {"host": address, "meter_title": who.hex()}
        else:
            fields = {"host": address, "logical_device": who[1]} if who[1] >= 0 else {"host": address}
        self._strays.note(who, "unknown meter", fields, about="pushes unasked")

    def acquainted(self, who: Sender) -> None:
        """A device of the process is this sender."""
        if self._strays is not None:
            self._strays.forget(lambda key: key == who)

    def refused(self, reason: str) -> None:
        """Counts what came to the listener and could be given to no device."""
        if self._link is not None:
            self._link.count(f"push_{reason}")

    def take(self, apdu: bytes, flow: Flow, framed: bytes) -> bool:
        """An APDU that was addressed to this device; False when it was refused (not when it was too much)."""
        link = self._link
        if link is None:
            return False
        link.connected(flow)
        link.traffic(False, framed)
        if self._own_flow is not None:
            link.connected(self._own_flow)
        try:
            counter, plain = self._opened(apdu, flow)
            # Only now: nobody else may use up what the meter may send.
            if not self._within_rate(link):
                return True
            notification = parse_notification(plain)
            values = self._values(notification)
        except DlmsError as error:
            self._refused(link, error)
            return False
        if counter >= 0:
            # Written before it has any effect: a message must not count twice, also not after a kill.
            self._counter = counter
            try:
                write_json(self._path, self._content())
            except OSError as error:
                link.count("push_errors")
                link.error(f"a push was refused, as its counter cannot be kept: {error}")
                return False
            if self._sync is None:
                self._sync = asyncio.get_running_loop().call_later(_ON_DISK_S, self._to_disk)
        self._refusal_told = False
        link.count("pushes")
        if notification.trailing and self._config.trailing_octets == "counted":
            link.count("trailing_octets", notification.trailing)
        self._deliver(notification, values)
        self.heard.set()
        return True

    def _to_disk(self) -> None:
        """The counter outlives the process already; in a thread, so that nobody waits for the disk, the power too."""
        self._sync = None
        done = asyncio.get_running_loop().run_in_executor(None, sync_file, self._path)
        done.add_done_callback(self._on_disk)

    def _on_disk(self, done: asyncio.Future[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None and self._link is not None:
            self._link.count("push_errors")
            self._link.error(f"the counter of pushes may not outlive a power failure: {error}")

    def _opened(self, apdu: bytes, flow: Flow) -> tuple[int, bytes]:
        """Counter (-1: none) and plain text.

        Raises:
            SecurityError: not protected as this device has to be, not authentic, or a message of the past.
        """
        cipher = self._cipher
        if cipher is None:
            if apdu[0] == GENERAL_GLO:
                raise SecurityError("a ciphered push, but the device has no keys")
            if flow.carrier is Carrier.UDP and not self._push.plain_udp:
                raise SecurityError("an unprotected push over UDP, whose sender anybody can pretend to be")
            return -1, apdu
        if apdu[0] != GENERAL_GLO:
            raise SecurityError("an unprotected push from a device with keys")
        counter = counter_of(apdu)
        if counter <= self._counter:
            raise SecurityError(f"a push with counter {counter}, after {self._counter}: repeated")
        cipher.peer_title = self._title
        return counter, cipher.unprotect(apdu)

    def _values(self, notification: Notification) -> dict[Attribute, Value]:
        if notification.attribute is not None:
            return {notification.attribute: notification.body}
        if not self._columns:
            raise MalformedApduError("what this meter pushes is not known: its push setup was never read")
        return assigned(notification.body, self._columns)

    def _refused(self, link: Link, error: DlmsError) -> None:
        security = isinstance(error, SecurityError)
        link.count("push_security_errors" if security else "push_errors")
        link.error(f"a push was refused: {error}")
        if security and not self._refusal_told:
            self._refusal_told = True
            link.event("D09", f"A push of meter {link.name} was refused: {error}", severity=500)

    def _within_rate(self, link: Link) -> bool:
        now = asyncio.get_running_loop().time()
        rate = self._push.rate
        self._allowance = min(rate, self._allowance + (now - self._allowance_at) * rate / 60)
        self._allowance_at = now
        if self._allowance >= 1:
            self._allowance -= 1
            if self._allowance > rate / 2:
                self._flood_told = False
            return True
        link.count("push_losses")
        if not self._flood_told:
            self._flood_told = True
            text = f"Meter {link.name} pushes more than {rate} times a minute; what is beyond that is dropped"
            link.event("D08", text, severity=650)
        return False


def push_time(notification: Notification, values: Mapping[Attribute, Value]) -> Value:
    """The time octets of a notification: its own, or the clock among what was pushed; None without any."""
    return notification.time or values.get(Attribute(obis.CLOCK, obis.CLOCK_LN, 2))


async def _addresses(host: str) -> list[str]:
    """IP addresses of a host; none when it is not known now."""
    try:
        async with asyncio.timeout(_NAMES_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, None)
    except OSError:  # also that it took too long
        return []
    return sorted({str(entry[4][0]) for entry in found})


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _octets(value: object) -> bytes:
    try:
        return bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return b""


def _columns(kept: object) -> list[Attribute | None]:
    try:
        return [obis.attribute(str(column)) if column else None for column in kept] if isinstance(kept, list) else []
    except ValueError:
        return []
