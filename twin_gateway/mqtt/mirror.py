"""The MQTT mirror: reads the journals and keeps the broker's retained state and event topics in step with the table."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from address_space import clock
from address_space.events import Event, EventJournal
from address_space.journal import Chunk
from address_space.table import PointTable
from twin_gateway.mqtt.counters import MirrorCounters
from twin_gateway.mqtt.encode import Binding, event_object, late_objects, state_object
from twin_gateway.mqtt.lanes import Encoded, GroupLane, Lane, MetadataLane, PointLane
from twin_gateway.mqtt.late import LateSums
from twin_gateway.mqtt.link import BrokerLink
from twin_gateway.mqtt.outbox import Message, Outbox
from twin_gateway.mqtt.settings import Mode, MqttSettings
from twin_gateway.mqtt.topics import PointTopics, Topics

log = logging.getLogger(__name__)

_IDLE = 0.5
_SHARE = 2000


class _Retained(NamedTuple):
    """Token of a message of a lane."""

    lane: Lane
    item: int


class _Queued(NamedTuple):
    """Token of a message of an outbox."""

    outbox: Outbox
    message: Message


class Mirror:
    """Mirrors one point table and its events to one broker.

    Topics (`<root>` is `twin` unless configured): retained `v` and `g` values, `m` metadata, `s` states of the gateway
    and its links; not retained `e` events and late samples. Everything goes with QoS 1, events may so come twice
    (their `id` tells). After every connection all retained state is published again, changes first and the rest at a
    limited rate: a broker that says it kept our session may still have lost what it had not written to its disk.

    Args:
        table: the point table; its journal and late journal are read by cursors.
        events: the event journal; the mirror also adds events about itself (code G02).
        settings: see `MqttSettings`.
        gateway: address of the gateway, `<grid>/_sys/<name>`; links stand at `<gateway>/_/_/<link>`.
        link_states: the present state of every link by name, asked for about twice a second.
        binding: writes a binding for people in the metadata; without it the bare source number or text stands there.

    Attributes:
        counters: see `MirrorCounters`.
    """

    def __init__(
        self,
        table: PointTable,
        events: EventJournal,
        settings: MqttSettings,
        *,
        gateway: str,
        link_states: Callable[[], Mapping[str, str]] = dict,
        binding: Binding | None = None,
    ) -> None:
        self._table = table
        self._events = events
        self._settings = settings
        self._counters = MirrorCounters()
        self._link_states = link_states
        self._topics = Topics(settings.root, gateway)
        self._late_topics = PointTopics(table, settings.root, "e")
        self._late_sums = LateSums(table, self._topics, settings.late_window)
        self._values: list[Lane] = []
        if Mode.POINTS in settings.modes:
            self._values.append(PointLane(table, settings.root))
        if Mode.GROUPED in settings.modes:
            self._values.append(GroupLane(table, settings.root, settings.group_level))
        self._metadata: Lane = MetadataLane(table, settings.root, gateway, binding)
        self._lanes: list[Lane] = [*self._values, self._metadata]
        self._known_rows = 0
        self._event_box = Outbox(settings.max_events, settings.max_event_bytes)
        self._late_box = Outbox(settings.max_late, settings.max_event_bytes)
        self._states: dict[str, str] = {}
        self._changed_states: dict[str, bytes] = {}
        self._ready: deque[tuple[Lane, Encoded]] = deque()
        self._turn = 0
        self._allowance = 0.0
        self._allowance_at = 0.0
        self._refreshed_at = 0.0
        self._events_lost = 0
        self._late_lost = 0
        self._wake = asyncio.Event()
        self._link = BrokerLink(
            settings,
            self,
            self._counters,
            client_id=settings.client_id or "twin-" + gateway.replace("/", "-"),
            # The broker publishes the Will unchanged, so it cannot say since when.
            will=(self._topics.gateway, b'{"state":"offline","t":null}'),
            farewell=lambda: state_object("offline", clock.now()).encode(),
        )

    @property
    def counters(self) -> MirrorCounters:
        """The figures as of now."""
        counters = self._counters
        counters.coalesced = sum(lane.queue.coalesced for lane in self._values)
        counters.waiting = sum(lane.queue.waiting for lane in self._values)
        counters.due = sum(lane.queue.due for lane in self._lanes)
        counters.events_waiting, counters.late_waiting = len(self._event_box), len(self._late_box)
        counters.events_dropped = self._event_box.dropped + self._events_lost
        counters.late_dropped = self._late_box.dropped + self._late_lost
        return counters

    async def run(self) -> None:
        """Mirror until cancelled; then say offline and leave. A broker that is away or misbehaves never ends it."""
        table, wake = self._table, self._wake.set
        self._changes = table.journal.cursor("mqtt", wake)
        self._edits = table.edits.cursor("mqtt", wake)
        self._late = table.late.cursor("mqtt", wake)
        self._event_cursor = self._events.cursor("mqtt", wake)
        try:
            self._extend()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._link.run(), name="mqtt link")
                tasks.create_task(self._publish_forever(), name="mqtt mirror")
        finally:
            for cursor in (self._changes, self._edits, self._late, self._event_cursor):
                cursor.close()

    async def _publish_forever(self) -> None:
        while True:
            busy = self._counters.connected and any(lane.queue.due for lane in self._lanes)
            try:
                async with asyncio.timeout(self._settings.interval if busy else _IDLE):
                    await self._wake.wait()
            except TimeoutError:
                pass  # the states of the links are looked at, and what is due gets its next share
            self._wake.clear()
            self._collect()
            self._pump()
            # Changes of one interval go out together, and a point that changes twice in it only once.
            await asyncio.sleep(self._settings.interval)

    # ---- taking in ------------------------------------------------------------------------------------------------

    def _extend(self) -> None:
        if len(self._table) == self._known_rows:
            return
        for lane in self._lanes:
            lane.extend()
        self._known_rows = len(self._table)

    def _collect(self) -> None:
        self._extend()
        self._collect_edits()
        self._refresh()
        self._collect_changes()
        self._collect_late()
        self._collect_events()
        self._collect_states()
        if self._late.pending or self._event_cursor.pending:
            # The rest of a flood in the next round: encoding it at once would hold the loop up.
            self._wake.set()

    def _refresh(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._counters.connected and now - self._refreshed_at > self._settings.refresh:
            self._refreshed_at = now
            for lane in self._lanes:
                lane.everything_due()

    def _collect_edits(self) -> None:
        for edit in self._edits.take():
            for lane in self._lanes:
                lane.edited(edit)

    def _collect_changes(self) -> None:
        cursor = self._changes
        before = cursor.lost
        for chunk in cursor.take():
            for lane in self._values:
                lane.changed(chunk.rows)
        lost = cursor.lost - before
        if lost:
            # Which points is not known any more, but what they hold now is.
            self._counters.lost_changes += lost
            for lane in self._values:
                lane.everything_due()
            self._report("MQTT mirror fell behind; all values are published again", (("lost_changes", str(lost)),))

    def _collect_late(self) -> None:
        now = asyncio.get_running_loop().time()
        for chunk in self._late.take(_SHARE):
            self._counters.late += len(chunk)
            single = self._late_sums.take(chunk, now)
            if single is not None:
                self._put_late(single)
        for told in self._late_sums.due(now):
            if isinstance(told, Event):
                self._events.append(told)
            else:
                self._put_late(told)
        self._late_lost = self._late.lost

    def _put_late(self, chunk: Chunk) -> None:
        for row, text in late_objects(self._table, chunk):
            self._late_box.put(Message(self._late_topics.of(row), text.encode()))

    def _collect_events(self) -> None:
        for event in self._event_cursor.take(_SHARE):
            self._counters.events += 1
            # Texts of peers are in some events: one that UTF-8 cannot carry must not end the mirror.
            payload = event_object(event).encode(errors="replace")
            self._event_box.put(Message(self._topics.of("e", event.address), payload))
        self._events_lost = self._event_cursor.lost

    def _collect_states(self) -> None:
        now = clock.now()
        states = {self._topics.link(name): state for name, state in self._link_states().items()}
        for topic, state in states.items():
            if self._states.get(topic) != state:
                self._changed_states[topic] = state_object(state, now).encode()
        for topic in self._states.keys() - states.keys():
            # The link is gone from the configuration: so is its retained state.
            self._changed_states[topic] = b""
        self._states = states

    def _report(self, text: str, details: tuple[tuple[str, str], ...]) -> None:
        self._events.append(Event("G02", text, 600, self._topics.gateway_address, actor="mqtt", details=details))

    # ---- giving out -----------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Fill the window: states, events, then changes; late samples and what is due get a share even under load."""
        while self._link.room > 0:
            batch: list[tuple[str, bytes, bool, Any]] = []
            room = self._link.room
            while len(batch) < room and self._gather(batch, room):
                pass
            if not batch:
                return
            self._link.publish(batch)

    def _gather(self, batch: list[tuple[str, bytes, bool, Any]], room: int) -> bool:
        """Add messages of the source whose turn it is; False when there is nothing to send."""
        while self._changed_states and len(batch) < room:
            topic = next(iter(self._changed_states))
            batch.append((topic, self._changed_states.pop(topic), True, topic))
        self._gather_messages(self._event_box, batch, room)
        if len(batch) >= room:
            return True
        if not self._ready and not self._prepare():
            before = len(batch)
            self._gather_messages(self._late_box, batch, room)
            return len(batch) > before
        self._gather_ready(batch, room)
        return True

    def _gather_messages(self, outbox: Outbox, batch: list[tuple[str, bytes, bool, Any]], limit: int) -> None:
        while outbox and len(batch) < limit:
            message = outbox.take()
            if len(message.payload) > self._link.max_payload:
                self._oversize(message.topic, len(message.payload))
                outbox.dropped += 1
                continue
            batch.append((message.topic, message.payload, False, _Queued(outbox, message)))

    def _gather_ready(self, batch: list[tuple[str, bytes, bool, Any]], limit: int) -> None:
        counters, ready = self._counters, self._ready
        while ready and len(batch) < limit:
            lane, message = ready.popleft()
            if len(message.payload) > self._link.max_payload:
                self._oversize(message.topic, len(message.payload))
                continue
            counters.values += message.points
            batch.append((message.topic, message.payload, True, _Retained(lane, message.item)))

    def _prepare(self) -> bool:
        """Encode the next block of state; False when none waits or it is the turn of late samples."""
        self._turn += 1
        if self._turn % 4 == 0 and self._late_box:
            return False
        if self._turn % 4 == 2 and self._prepare_due():
            return True
        lanes = self._values if self._turn & 1 else self._values[::-1]
        for lane in (*lanes, self._metadata):
            items = lane.queue.take(lane.block)
            if len(items):
                self._ready.extend((lane, message) for message in lane.encode(items))
                return True
        return self._prepare_due()

    def _prepare_due(self) -> bool:
        """The next of what is published again, as far as the rate allows."""
        now = asyncio.get_running_loop().time()
        rate = self._settings.republish_rate
        self._allowance = min(rate / 4 + 1, self._allowance + (now - self._allowance_at) * rate)
        self._allowance_at = now
        if self._allowance < 1:
            return False
        for lane in self._lanes:
            items = lane.queue.take_due(min(lane.block, int(self._allowance)))
            if len(items):
                messages = lane.encode(items)
                self._allowance -= len(messages)
                self._counters.republished += sum(message.points for message in messages)
                self._ready.extend((lane, message) for message in messages)
                return True
        return False

    def _oversize(self, topic: str, size: int) -> None:
        self._counters.oversize += 1
        level = logging.ERROR if self._counters.oversize == 1 else logging.DEBUG
        log.log(level, "%s: %d bytes are more than the broker takes (%d)", topic, size, self._link.max_payload)

    # ---- the link's owner -----------------------------------------------------------------------------------------

    def link_up(self) -> None:
        """Publish all state anew."""
        now = clock.now()
        gone = {topic: payload for topic, payload in self._changed_states.items() if not payload}
        self._changed_states = {self._topics.gateway: state_object("online", now).encode(), **gone}
        for topic, state in self._states.items():
            self._changed_states[topic] = state_object(state, now).encode()
        self._refreshed_at = asyncio.get_running_loop().time()
        for lane in self._lanes:
            lane.everything_due()
        self._wake.set()

    def link_room(self) -> None:
        """Send on."""
        self._pump()

    def link_down(self, unacknowledged: list[Any]) -> None:
        """What did not arrive goes back to where it came from."""
        queued: dict[int, tuple[Outbox, list[Message]]] = {}
        for token in unacknowledged:
            if isinstance(token, _Retained):
                token.lane.queue.restore(np.array([token.item], np.int32))
            elif isinstance(token, _Queued):
                queued.setdefault(id(token.outbox), (token.outbox, []))[1].append(token.message)
            elif token != self._topics.gateway and token not in self._states:
                self._changed_states[token] = b""
        for outbox, messages in queued.values():
            outbox.restore(messages)
        for lane, message in self._ready:
            lane.queue.restore(np.array([message.item], np.int32))
        self._ready.clear()
        self._wake.set()
