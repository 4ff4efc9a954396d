"""One association with a CoAP device: what is due when, what is under way, what has come in."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections import deque

from twin_gateway.drivers.contract import BoundPoint, Link, LinkLost

from .client import Client, Response
from .config import CoapConfig
from .observation import Observation
from .resource import Key, Resource, Samples, path_of
from .waking import Waking

CORE = "/.well-known/core"
"""Where a device lists its resources (RFC 6690)."""

_AT_ONCE = 4  # requests under way; the transport itself sends one at a time (NSTART = 1)
_BATCH = 512  # notifications decoded in one go, so that the loop stays free for others
_EARLY = 0.8  # of its lifetime a silent resource is asked again, so that a value that is still true does not age
_SWEEP = 0.2
_RETRY_FIRST, _RETRY_MOST = 1.0, 60.0
_REFRESH_LEAST, _REFRESH_MOST = 0.5, 3600.0
_SUSPECT_LEAST = 10.0
_MOST_NOTES = 100
_LOSS_EVENT_EVERY = 60.0


class Session:
    """One association: what is due when, what is under way, what has come in."""

    def __init__(
        self,
        client: Client,
        config: CoapConfig,
        resources: dict[Key, Resource],
        link: Link,
        waking: Waking | None = None,
    ) -> None:
        """An association with a device that listens always, or when `waking` says so."""
        self.client = client
        self._waking = waking
        self._config = config
        self._resources = resources
        self._link = link
        self._observations: dict[Resource, Observation] = {}
        self._due: list[tuple[float, int, Resource]] = []
        self._numbers = itertools.count()
        self._busy: set[Resource] = set()
        self._forced: set[Resource] = set()
        self._wake = asyncio.Event()
        self._arrived = asyncio.Event()
        self._queue: deque[tuple[Resource, Response]] = deque()
        self._noted: set[str] = set()
        self._lost_told_until = 0.0
        self._suspect_from = 0.0
        self._suspect_pause = config.keepalive or _SUSPECT_LEAST
        # A device without points is kept in touch with by its list of resources.
        self._presence = Resource(Key(CORE, None), config.keepalive)

    async def run(self) -> None:
        """Ask, follow and publish until the association is lost; raises why."""
        now = time.monotonic()
        for resource in self._resources.values():
            self._schedule(resource, now)
        if not self._resources:
            self._schedule(self._presence, now)
        try:
            async with asyncio.TaskGroup() as group:
                for work in (self._ask(group), self._decode(), self._watch(), self._await_loss()):
                    group.create_task(work)
        except BaseExceptionGroup as failed:
            # The first fault is what ended the association; the others followed from it.
            raise failed.exceptions[0] from None

    def close(self) -> None:
        """Take the device's observations back; the device may be gone."""
        for observation in self._observations.values():
            observation.close(tell=self.listens)
        self._observations.clear()

    @property
    def listens(self) -> bool:
        """Whether the device can be asked now; one that sleeps cannot."""
        return self._waking is None or self._waking.listens

    def woke(self) -> None:
        """The device has prolonged its registration: what is due can be asked."""
        if self._waking is not None:
            self._waking.woke()
            self._wake.set()

    def renew(self) -> None:
        """The device has registered anew: it may have forgotten who observes it, so everything begins again."""
        now = time.monotonic()
        for resource in self._resources.values():
            if resource in self._busy:
                continue  # it is being asked just now
            observation = self._observations.pop(resource, None)
            if observation is not None:
                observation.close(tell=False)
            self._force(resource, now)
        self.woke()

    def wanted(self, rows: set[int]) -> None:
        """Points were added: their resources are asked at once. Without any point left, the device itself is."""
        now = time.monotonic()
        for resource in self._resources.values():
            if any(feed.point.row in rows for feed in resource.feeds):
                self._force(resource, now)
        if not self._resources:
            self._force(self._presence, now)

    def written(self, point: BoundPoint) -> None:
        """A command was accepted: what the point shows is read anew at once."""
        if "path" in point.fields or "object" in point.fields:
            accept = point.fields.get("accept")
            key = Key(path_of(point.fields), None if accept is None else int(accept))
            resource = self._resources.get(key)
            if resource is not None:
                self._force(resource, time.monotonic())

    def drop(self, resource: Resource) -> None:
        """No point needs the resource any more."""
        self._forced.discard(resource)
        observation = self._observations.pop(resource, None)
        if observation is not None:
            observation.close(tell=self.listens)

    # ---- asking ---------------------------------------------------------------------------------------------------

    def _schedule(self, resource: Resource, due: float) -> None:
        resource.due = due
        heapq.heappush(self._due, (due, next(self._numbers), resource))
        self._wake.set()

    def _force(self, resource: Resource, due: float) -> None:
        """Ask at `due`, whatever has been heard before."""
        self._forced.add(resource)
        self._schedule(resource, due)

    def _alive(self, resource: Resource) -> bool:
        """Whether the resource answers well and notifies, if it is observed at all."""
        observation = self._observations.get(resource)
        return bool(resource.heard) and not resource.failures and (observation is None or observation.active)

    async def _ask(self, group: asyncio.TaskGroup) -> None:
        while True:
            now = time.monotonic()
            while self.listens and self._due and self._due[0][0] <= now and len(self._busy) < _AT_ONCE:
                due, _, resource = heapq.heappop(self._due)
                if due != resource.due or resource in self._busy or not self._still_wanted(resource):
                    continue  # planned anew since, or gone
                later = self._refresh_at(resource)
                if resource not in self._forced and self._alive(resource) and later > now + 0.01:
                    self._schedule(resource, later)  # it has been heard since this was planned
                    continue
                if self._waking is not None and resource not in self._forced and resource.heard > self._waking.since:
                    self._schedule(resource, self._waking.ends)  # once each time it wakes, so that it may sleep
                    continue
                self._forced.discard(resource)
                self._busy.add(resource)
                group.create_task(self._attempt(resource))
            self._wake.clear()
            idle = not self.listens or not self._due or len(self._busy) >= _AT_ONCE
            wait = None if idle else max(0.0, self._due[0][0] - now)
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue  # something is due

    async def _attempt(self, resource: Resource) -> None:
        if not self._still_wanted(resource):  # since it was planned
            self._busy.discard(resource)
            self._wake.set()
            return
        began = time.monotonic()
        before = self._observations.get(resource)
        notified = before is not None and before.notified
        self._link.count("requests")
        try:
            response = await self._request(resource)
        except TimeoutError:
            self._link.count("timeouts")
            if self._waking is not None:
                self._waking.silent()
            elif self.client.heard < began:
                raise LinkLost(f"{self._config.base} does not answer within {self._config.timeout:g} s") from None
            self._failed(resource)
        except ValueError as error:
            self._link.count("block_errors")
            self._note(f"{resource.key.path}: {error}")
            self._failed(resource)
        else:
            self._answered(resource, response, began, notified)
        finally:
            self._busy.discard(resource)
            self._wake.set()

    async def _request(self, resource: Resource) -> Response:
        path, accept = resource.key.path, resource.key.accept
        if not resource.observe or resource.refused_observe:
            return await self.client.get(path, accept)
        observation = self._observations.get(resource)
        if observation is None:

            def received(response: Response) -> None:
                self._receive(resource, response)

            def incomplete() -> None:
                self._note(f"{path}: a notification came in blocks that could not be fetched")
                self._forced.add(resource)
                self._failed(resource)

            observation = Observation(self.client, path, accept, received, self._link.count, incomplete=incomplete)
            self._observations[resource] = observation
        return await observation.register()

    def _answered(self, resource: Resource, response: Response, began: float, notified: bool) -> None:
        self._link.up()
        self._link.count("responses")
        if response.good and resource.observe and not response.observed and not resource.refused_observe:
            self._link.count("not_observable")
            resource.refused_observe = True
            self.drop(resource)
        silent = resource.heard and resource.heard < began and resource in self._observations
        if silent and response.good and response.payload != resource.payload:
            self._suspect(began, certain=notified)
        if resource is self._presence:
            resource.heard = response.clock
            self._schedule(resource, time.monotonic() + (self._config.keepalive or _REFRESH_MOST))
            return
        observation = self._observations.get(resource)
        if observation is None or not observation.notified:
            self._queue_up(resource, response)
        if response.good:
            resource.failures = 0
            resource.heard = response.clock
            self._schedule(resource, self._refresh_at(resource))
        else:
            self._failed(resource, response.max_age if response.code >= 429 else None)

    def _suspect(self, moment: float, *, certain: bool) -> None:
        """A value changed and no notification came: the device may have been restarted and know no observer any more.

        Some devices simply do not notify; unless it is `certain` that this resource does, with each time the next one
        has to wait twice as long.
        """
        if moment < self._suspect_from and not certain:
            return
        self._link.count("restarts_suspected")
        if not certain:
            self._suspect_from = moment + self._suspect_pause
            self._suspect_pause = min(self._suspect_pause * 2, _REFRESH_MOST)
        for other, observation in self._observations.items():
            if observation.active and other.heard < moment - 1.0 and other.due > moment:
                self._force(other, moment)

    def _failed(self, resource: Resource, retry_after: int | None = None) -> None:
        pause = min(_RETRY_FIRST * 2**resource.failures, _RETRY_MOST)
        resource.failures = min(resource.failures + 1, 10)
        # Not for secrets: jitter keeps many devices from being asked at once.
        pause = max(pause * random.uniform(0.75, 1.25), min(retry_after or 0, _REFRESH_MOST))  # noqa: S311
        self._schedule(resource, time.monotonic() + pause)

    def _refresh_at(self, resource: Resource) -> float:
        heard = resource.heard or time.monotonic()
        observing = resource in self._observations
        if not observing and resource.poll is not None:
            return heard + resource.poll
        return heard + min(max(resource.lifetime * _EARLY, _REFRESH_LEAST), _REFRESH_MOST)

    def _still_wanted(self, resource: Resource) -> bool:
        if resource is self._presence:
            return not self._resources
        return self._resources.get(resource.key) is resource

    # ---- what comes in --------------------------------------------------------------------------------------------

    def _receive(self, resource: Resource, response: Response) -> None:
        self._link.count("notifications")
        self._queue_up(resource, response)
        observation = self._observations.get(resource)
        if observation is not None and not observation.active:
            self._failed(resource)  # the device has ended the observation; ask again after a pause
            return
        resource.failures = 0

    def _queue_up(self, resource: Resource, response: Response) -> None:
        if len(self._queue) >= self._config.queue:
            self._queue.popleft()
            self._link.count("notifications_dropped")
            self._lost("notifications came faster than they could be decoded: the oldest are lost")
        self._queue.append((resource, response))
        self._arrived.set()

    async def _decode(self) -> None:
        while True:
            await self._arrived.wait()
            live, late = Samples(), Samples()
            for _ in range(min(len(self._queue), _BATCH)):
                resource, response = self._queue.popleft()
                if response.code >= 400:
                    self._link.count("responses_5xx" if response.code >= 500 else "responses_4xx")
                    text = f"{resource.key.path}: the device answers {response.text}"
                    self._note(text)
                    self._tell(resource, text)
                errors = resource.take(response, live, late)
                if errors:
                    self._link.count("payload_errors", len(errors))
                    self._note(f"{resource.key.path}: {errors[0]}")
                    self._wrong(resource, errors)
                refresh = self._refresh_at(resource)
                if refresh < resource.due and resource not in self._busy and response.good:
                    self._schedule(resource, refresh)  # the lifetime has become shorter
            if not self._queue:
                self._arrived.clear()
            self._publish(live, late)
            await asyncio.sleep(0)

    def _tell(self, resource: Resource, text: str) -> None:
        for feed in resource.feeds:
            self._link.error(text, feed.point.address)

    def _wrong(self, resource: Resource, errors: list[str]) -> None:
        known = {feed.point.address for feed in resource.feeds}
        for error in errors:
            address, _, text = error.partition(": ")
            if address in known:
                self._link.error(f"{resource.key.path}: {text}", address)
            else:
                self._tell(resource, f"{resource.key.path}: {error}")

    def _publish(self, live: Samples, late: Samples) -> None:
        for samples, is_late in ((live, False), (late, True)):
            batch = samples.batch(late=is_late)
            if batch is not None:
                self._link.publish(batch)

    def _note(self, text: str) -> None:
        # Once for each trouble of an association, not for each of its repetitions.
        if text not in self._noted and len(self._noted) < _MOST_NOTES:
            self._noted.add(text)
            self._link.event("payload", text[:400], severity=300)

    def _lost(self, text: str) -> None:
        """Data is lost: an event, once a minute at most; the counters have every one."""
        now = time.monotonic()
        if now >= self._lost_told_until:
            self._lost_told_until = now + _LOSS_EVENT_EVERY
            self._link.event("D08", text, severity=650)

    # ---- the passing of time --------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        keepalive = self._config.keepalive
        while True:
            await asyncio.sleep(_SWEEP)
            now = time.monotonic()
            live = Samples()
            for resource in self._resources.values():
                resource.grow_old(now, live)
            self._publish(live, Samples())
            if self.client.count_drops():
                self._lost("the kernel dropped notifications: net.core.rmem_max is too small for this device")
            if self._waking is not None or keepalive is None:
                continue  # one that sleeps is gone when its registration ends
            if now - self.client.heard >= keepalive and not self._busy:
                self._touch(now)

    def _touch(self, now: float) -> None:
        asked = [resource for resource in self._resources.values() if resource.due > now]
        if not asked:
            return
        self._force(min(asked, key=lambda resource: resource.heard), now)

    async def _await_loss(self) -> None:
        # Shielded: a cancelled wait must not make the association look lost, the device is still to be told.
        reason = await asyncio.shield(self.client.lost)
        raise LinkLost(f"{self._config.base}: {reason}")
