"""The GOOSE driver: listens on one interface, delivers states and LGOS, until nobody is heard or the capture ends."""

from __future__ import annotations

import asyncio
import contextlib
import math
import struct
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from address_space.addcause import AddCause
from address_space.point import Batch
from address_space.ports import Outcome
from address_space.quality import StatusCode
from twin_gateway.drivers.capture import Carrier, Flow
from twin_gateway.drivers.contract import (
    BoundPoint,
    DeviceCommand,
    DiscoveredPoint,
    Link,
    LinkLost,
    PointChange,
)

from ..errors import MmsError, ModelError
from .channel import CaptureChannel
from .config import GooseConfig
from .dataset import DataSet, data_sets
from .frame import frame_of, message_of
from .process import Kind
from .stream import Judgement, Stream, Taken
from .subscription import Subscription, joined

_LOOK_S = 0.5
_SOONEST_S = 0.01
_TOLD_AT_MOST = 256
_TELL_AGAIN_S = 3600.0
_SECURITY: Final[Mapping[str, str]] = MappingProxyType({"foreign_frames": "D09", "simulated_frames": "D06"})


class GooseDriver:
    """Driver of the subscriptions on one interface; see `twin_gateway.drivers.contract.Driver` for its obligations."""

    def __init__(self, name: str, config: GooseConfig, points: Sequence[BoundPoint]) -> None:
        self._name = name
        self._config = config
        self._points = {point.row: point for point in points}
        self._listening: _Listening | None = None
        self._running: _Listening | None = None  # the same, once the capture is ready
        self._told: dict[str, float] = {}
        self._kept: dict[str, Subscription] = {}

    async def run(self, link: Link) -> None:
        """Listen and deliver until all publishers have been silent for `idle`, or the capture process ends.

        Raises:
            LinkLost: with the reason, always when it is not cancelled.
        """
        config = self._config
        found = await asyncio.to_thread(data_sets, config)
        listening = _Listening(link, config, found, self._told, self._kept)
        listening.arrange(self._points.values())
        streams = [(stream.expected.destination, stream.expected.app_id) for stream in listening.streams()]
        if not streams:
            raise LinkLost("; ".join(str(data) for data in found.values() if isinstance(data, ModelError)))
        link.connected(Flow(Carrier.ETHERNET))
        self._listening = listening
        try:
            try:
                open_ = CaptureChannel.open(config.interface, streams, listening.receive, service=config.capture)
                channel = await open_
            except OSError as error:
                raise LinkLost(f"no GOOSE from {config.interface}: {error}") from error
            self._running = listening
            watch = asyncio.create_task(listening.watch())
            try:
                await asyncio.wait({watch, channel.closed}, return_when=asyncio.FIRST_COMPLETED)
                raise LinkLost(channel.closed.result() if channel.closed.done() else await watch)
            finally:
                self._running = None
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
                await channel.close()
        finally:
            self._listening = None

    async def execute(self, command: DeviceCommand) -> Outcome:
        """Refuse: whoever subscribes has nothing to command."""
        text = "a GOOSE subscription has nothing to operate"
        return Outcome(StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED, "link", text, command.command_id)

    async def update(self, change: PointChange) -> None:
        """Add and remove points; the messages go on."""
        for point in change.removed:
            self._points.pop(point.row, None)
        for point in change.added:
            self._points[point.row] = point
        if self._listening is not None:
            self._listening.arrange(self._points.values())

    async def discover(self) -> Sequence[DiscoveredPoint]:
        """Every value of the data sets that are heard.

        Raises:
            ConnectionError: nothing is listened to at the moment.
        """
        if self._running is None:
            raise LinkLost(f"nothing is listened to on {self._config.interface}")
        return [
            DiscoveredPoint({"subscription": subscription.name, "ref": reference}, cdc=cdc)
            for subscription in self._running.subscriptions
            if subscription.data is not None
            for reference, cdc in subscription.data.offers()
        ]


class _Listening:
    """The subscriptions of one run."""

    def __init__(
        self,
        link: Link,
        config: GooseConfig,
        found: Mapping[str, DataSet | ModelError],
        told: dict[str, float],
        kept: dict[str, Subscription],
    ) -> None:
        self._link, self._config, self._told = link, config, told
        self._loop = asyncio.get_running_loop()
        self._heard: float | None = None
        self._wake = asyncio.Event()
        self._looks_at = 0.0
        self.subscriptions: list[Subscription] = []
        self._by_block: dict[str, Subscription] = {}
        for name, data in found.items():
            known = kept.get(name)
            if isinstance(data, ModelError):
                self._tell("D03", f"{name}: {data}", 600)
                subscription = Subscription(name, None, None)
            elif known is not None and known.data is not None and known.data.same_as(data):
                # What was heard last tells what was missed meanwhile.
                subscription = known
            else:
                stream = Stream(data.expected, simulation=config.simulation, tolerance=config.tolerance)
                subscription = Subscription(name, data, stream)
            subscription.begin(self._loop.time())
            kept[name] = subscription
            self.subscriptions.append(subscription)
            self._by_block[config.subscriptions[name].control_block] = subscription

    def streams(self) -> list[Stream]:
        """Of the subscriptions whose data set is known."""
        return [subscription.stream for subscription in self.subscriptions if subscription.stream is not None]

    def arrange(self, points: Collection[BoundPoint]) -> None:
        """Deliver these points."""
        for subscription in self.subscriptions:
            mine = [point for point in points if point.fields["subscription"] == subscription.name]
            broken = subscription.arrange(mine)
            if subscription.data is None:
                self._publish(subscription.unusable())
            elif broken:
                self._publish(subscription.unusable(point for point, _ in broken))
                for point, text in broken:
                    self._link.error(text, point.address)
                    self._tell("D03", f"{point.address}: {text}", 600)
            if subscription.stream is not None and subscription.stream.misfit:
                self._publish(subscription.misfit())
            self._publish(joined(subscription.renewed(), self._items(subscription)))

    def receive(self, kind: Kind, octets: bytes) -> None:
        """Take one record of the capture process."""
        link = self._link
        if kind is Kind.DROPPED and len(octets) == 8:
            lost = struct.unpack(">Q", octets)[0]
            link.count("frames_dropped", lost)
            link.event(
                "D08", f"{lost} GOOSE frames of {self._config.interface} found no room and are lost", severity=650
            )
            return
        if kind is not Kind.FRAME:
            link.count("goose_errors")
            link.error("a frame longer than Ethernet's")
            return
        link.traffic(False, octets)
        try:
            frame = frame_of(octets)
            message = message_of(octets, frame)
            subscription = self._by_block.get(message.control_block)
            if subscription is None:
                link.count("unknown_control_blocks")
                self._note(f"messages of {message.control_block!r} come, which nobody subscribed")
                return
            judgement, batch = subscription.take(octets, frame, message, self._loop.time())
        except MmsError as error:
            link.count("goose_errors")
            link.error(str(error))
            return
        self._judged(subscription, judgement)
        if batch is not None and judgement.taken is Taken.MISFIT:
            # There are samples only with the first message that does not fit.
            self._tell_misfit(subscription, judgement.reason)
        elif batch is not None and subscription.faults:
            link.count("member_errors", subscription.faults)
        self._publish(joined(batch, self._items(subscription)))

    def _judged(self, subscription: Subscription, judgement: Judgement) -> None:
        link, name = self._link, subscription.name
        if judgement.taken is not Taken.NOT:
            self._heard = self._loop.time()
            link.up()
        if judgement.taken in (Taken.STATE, Taken.REPETITION):
            if subscription.stream is not None and subscription.stream.deadline < self._looks_at:
                self._wake.set()
            link.count("goose_states" if judgement.taken is Taken.STATE else "goose_repetitions")
        if judgement.counter:
            link.count(judgement.counter)
        if judgement.reason:
            self._note(f"{name}: {judgement.reason}")
            code = _SECURITY.get(judgement.counter)
            if code is not None:
                # By its kind, not by its text: whoever sends such messages could make up ever new ones.
                text = f"{name}: {judgement.reason}"
                self._tell(
                    code, text, 700 if code == "D09" else 400, key=f"{name} {judgement.counter}", again=_TELL_AGAIN_S
                )
        if judgement.missed:
            link.count("frames_missed", judgement.missed)
        if judgement.lost:
            link.count("states_missed", judgement.lost)
            subscription.lost_untold += judgement.lost
        if judgement.restarted:
            link.count("publisher_restarts")
            subscription.restarts_untold += 1
        self._tell_losses(subscription)

    def _tell_misfit(self, subscription: Subscription, reason: str) -> None:
        if subscription.may_tell("D05", self._loop.time()):
            self._link.event("D05", f"{subscription.name}: {reason}", severity=700)

    def _tell_losses(self, subscription: Subscription) -> None:
        """Events of what happened, at most once in a while: of many in a row the sum is told."""
        lost, restarts = subscription.lost_untold, subscription.restarts_untold
        if not (lost or restarts) or not subscription.may_tell("D08", self._loop.time()):
            return
        subscription.lost_untold = subscription.restarts_untold = 0
        name, link = subscription.name, self._link
        if lost:
            text = f"{name}: {lost} states were lost on the way, the values between are not known"
            link.event("D08", text, severity=650)
        if restarts:
            times = f", {restarts} times" if restarts > 1 else ""
            link.event("D07", f"{name}: the publisher has begun anew{times}", severity=500)

    async def watch(self) -> str:
        """Notice what falls silent; returns why the link counts as lost."""
        loop, config = self._loop, self._config
        while True:
            now = loop.time()
            deadlines = (stream.deadline - now for stream in self.streams() if stream.alive)
            pause = min(_LOOK_S, max(_SOONEST_S, min(deadlines, default=_LOOK_S)))
            self._looks_at = now + pause
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            now = loop.time()
            for subscription in self.subscriptions:
                if subscription.stream is not None and subscription.stream.expire(now):
                    self._link.count("subscription_losses")
                    text = f"{subscription.name}: no message within the time allowed to live"
                    self._note(text)
                    if not subscription.supervised and subscription.may_tell("D05", now):
                        self._link.event("D05", text, severity=800)
                    self._publish(subscription.lost())
                elif subscription.never_heard(now, config.idle) and not subscription.supervised:
                    self._tell("D05", f"{subscription.name}: no message since listening began", 800)
                self._tell_losses(subscription)
                self._publish(self._items(subscription))
            silent = self._heard is not None and now - self._heard >= config.idle
            if silent and not any(stream.alive for stream in self.streams()):
                return f"no publisher has been heard on {config.interface} for {config.idle:g} s"

    def _publish(self, batch: Batch | None) -> None:
        if batch is not None and (len(batch.rows) or batch.texts):
            self._link.publish(batch)

    def _items(self, subscription: Subscription) -> Batch | None:
        return subscription.items(first_within=self._config.idle, now=self._loop.time())

    def _note(self, text: str) -> None:
        self._link.error(text)

    def _tell(self, code: str, text: str, severity: int, *, key: str = "", again: float = math.inf) -> None:
        """An event, once in `again` seconds for each key or text; of very many different ones only the first."""
        what, now = key or text, self._loop.time()
        known = what in self._told
        if now - self._told[what] >= again if known else len(self._told) < _TOLD_AT_MOST:
            self._told[what] = now
            self._link.event(code, text, severity=severity)
