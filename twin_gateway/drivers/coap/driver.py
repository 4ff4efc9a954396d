"""The CoAP driver: observes and polls the resources of one device and publishes what they say and how old it is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from address_space.addcause import AddCause
from address_space.ports import Outcome
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import (
    BoundPoint,
    DeviceCommand,
    DiscoveredPoint,
    Link,
    LinkLost,
    PointChange,
    Stray,
)
from twin_gateway.drivers.strays import StrayBook

from . import dtls, linkformat, writing
from .client import Client, Target
from .config import CoapConfig
from .directory import DIRECTORY, Directory, Registration
from .oscore import SecurityContext
from .resource import Key, Resource, resources_of
from .session import CORE, Session
from .waking import Waking

_REGISTRATION_WAIT = 30.0


class CoapDriver:
    """One CoAP device. See `twin_gateway.drivers.contract.Driver` for the obligations.

    A resource that several points share is asked for once. Observations are registered anew before their value would
    age, and at once when the device seems to have been restarted; what the device refuses is tried again with a
    growing pause. The association is lost when a request gets no answer and nothing else was heard meanwhile, or when
    the network says that nobody is there.

    Counters: requests, responses, notifications, notifications_dropped (queue full), notifications_reordered,
    notifications_replayed, timeouts, payload_errors, block_errors, blocks_restarted, oscore_errors, echo_requests,
    responses_4xx, responses_5xx, not_observable, malformed_datagrams, requests_ignored, restarts_suspected,
    receive_buffer_octets, receive_buffer_drops.
    """

    def __init__(
        self, name: str, config: CoapConfig, points: Sequence[BoundPoint], directory: Directory = DIRECTORY
    ) -> None:
        self._name = name
        self._config = config
        self._directory = directory
        if config.endpoint is not None:
            directory.expect(config.endpoint)
        self._resources: dict[Key, Resource] = {}
        resources_of(points, config, self._resources)
        self._session: Session | None = None
        self._receive_buffer = 0
        self._strays = StrayBook()

    async def run(self, link: Link) -> None:
        """Deliver until the association ends.

        Raises:
            LinkLost: nobody answers, or the endpoint has not registered.
            OSError: a certificate or the file of the OSCORE sequence numbers cannot be used.
        """
        for resource in self._resources.values():
            resource.restart()
        known = None if self._config.endpoint is None else await self._registered()
        target = target_of(self._config) if known is None else self._target_of(known)
        async with self._protection(link) as protection:
            client = await Client.open(target, link, protection)
            # The counter shows the last one.
            link.count("receive_buffer_octets", client.receive_buffer - self._receive_buffer)
            self._receive_buffer = client.receive_buffer
            waking = Waking(self._config.awake, known.heard) if known is not None and known.sleeps else None
            session = self._session = Session(client, self._config, self._resources, link, waking)
            try:
                async with asyncio.TaskGroup() as group:
                    follower = group.create_task(self._follow(session, known))
                    group.create_task(_until_end(session, follower))
            except BaseExceptionGroup as failed:
                # The first fault is what ended the association; the others followed from it.
                raise failed.exceptions[0] from None
            finally:
                self._session = None
                session.close()
                await client.close()

    @contextlib.asynccontextmanager
    async def _protection(self, link: Link) -> AsyncIterator[SecurityContext | None]:
        """The OSCORE context of an association, where the device has one; its files are kept off the event loop."""
        if self._config.oscore is None:
            yield None
            return
        context = await asyncio.to_thread(SecurityContext, self._config.oscore, link.data_directory)
        try:
            await asyncio.to_thread(context.reserve)
            yield context
        finally:
            await asyncio.to_thread(context.close)

    async def _registered(self) -> Registration:
        """The registration of the endpoint; waits a while for it."""
        name, directory = str(self._config.endpoint), self._directory
        if directory.listening is None:
            raise LinkLost("the gateway has no resource directory: add coap_directory to its configuration")
        known = directory.find(name)
        if known is None:
            try:
                async with asyncio.timeout(_REGISTRATION_WAIT):
                    await directory.changed(name)
            except TimeoutError:
                known = None
            known = directory.find(name)
        if known is None:
            raise LinkLost(f"endpoint {name} has not registered")
        return known

    def _target_of(self, known: Registration) -> Target:
        """Where a registered endpoint is asked, and from where."""
        host, port = known.address
        netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return replace(
            target_of(self._config.model_copy(update={"uri": f"coap://{netloc}"})),
            local=self._directory.listening,
            request=self._directory.handle,
            sleeps=known.sleeps,
        )

    async def _follow(self, session: Session, known: Registration | None) -> None:
        """Ends the association when the endpoint registers anew or is gone.

        One that sleeps may register each time it wakes: that goes on in the same association while its address stays.
        """
        if known is None:
            return
        name, directory = known.name, self._directory
        directory.woken[name] = session.woke
        try:
            current = directory.find(name)  # it may have moved while its socket was opened
            while current is not None and current.address == known.address:
                await directory.changed(name)
                current = directory.find(name)
                if current is None or not current.sleeps:
                    break
                session.renew()
        finally:
            del directory.woken[name]
        said = "has registered anew" if current is not None else "is not registered any more"
        raise LinkLost(f"endpoint {name} {said}")

    async def execute(self, command: DeviceCommand) -> Outcome:
        """Write the value to the device's resource, and read the point's own anew when the device has accepted it."""
        session = self._session
        if session is None or session.client.lost.done():
            text = f"no association with {self._name}"
            cause = AddCause.ABORTION_BY_COMMUNICATION_LOSS
            return Outcome(StatusCode.BadNoCommunication, cause, "link", text, command.command_id)
        if not session.listens:
            text = f"{self._name} sleeps until it prolongs its registration: not sent"
            cause = AddCause.ABORTION_BY_COMMUNICATION_LOSS
            return Outcome(StatusCode.BadNoCommunication, cause, "link", text, command.command_id)
        try:
            body = writing.body_of(command)
        except writing.NotWritableError as error:
            return Outcome(error.status, error.cause, "device", str(error), command.command_id)
        left: list[bool] = []
        try:
            async with asyncio.timeout(command.timeout):
                response = await session.client.write(
                    body.path,
                    body.octets,
                    body.content_format,
                    post=body.post,
                    sent=lambda: left.append(True),
                    leave_within=command.send_within,
                )
        except (ConnectionError, TimeoutError, ValueError) as error:
            if left:
                return writing.unknown(command, str(error) or "no answer in time")
            cause = AddCause.ABORTION_BY_COMMUNICATION_LOSS
            return Outcome(
                StatusCode.BadNoCommunication,
                cause,
                "link",
                f"not sent: {error or 'other requests were under way'}",
                command.command_id,
            )
        if response.good:
            session.written(command.point)
        return writing.outcome_of(command, response)

    async def update(self, change: PointChange) -> None:
        """Add and remove points without reconnecting."""
        rows = {point.row for point in change.removed}
        asked = {point.row for point in change.added}
        for key, resource in list(self._resources.items()):
            if not resource.remove(rows):
                continue
            if not resource.feeds:
                del self._resources[key]
            if not resource.observe and self._session is not None:
                self._session.drop(resource)
                asked |= {feed.point.row for feed in resource.feeds}  # polled from now on
        resources_of(change.added, self._config, self._resources)
        mapped = {key.path for key in self._resources}
        self._strays.forget(lambda path: _is_mapped(str(path), mapped))
        if self._session is not None:
            self._session.wanted(asked)

    @property
    def unmapped_count(self) -> int:
        """Resources listed."""
        return len(self._strays)

    @property
    def unmapped_dropped(self) -> int:
        """Resources that had to make room in the list."""
        return self._strays.dropped

    def unmapped(self) -> Sequence[Stray]:
        """Resources that the device offered when somebody looked last, and no point takes."""
        return self._strays.list()

    async def read_unmapped(self) -> None:
        """Ask the device what it offers. Raises ConnectionError as `discover`, and for one that sleeps."""
        if self._session is not None and not self._session.listens:
            raise LinkLost(f"{self._name} sleeps until it prolongs its registration")
        offered = {str(point.fields["path"]): point for point in await self.discover()}
        mapped = {key.path for key in self._resources}
        self._strays.forget(lambda path: path not in offered)
        for path, point in offered.items():
            if path.partition("?")[0] != CORE and not _is_mapped(path, mapped):
                self._strays.note(path, "unmapped resource", point.fields, about=point.description, counts=False)

    async def discover(self) -> Sequence[DiscoveredPoint]:
        """What `/.well-known/core` lists; the records of a SenML pack are not looked into.

        Raises:
            ConnectionError: no association, no answer, or an answer that is no list of links.
        """
        session = self._session
        if session is None:
            raise ConnectionError(f"{self._name} is not connected")
        try:
            response = await session.client.get(f"{CORE}?{self._config.discover}" if self._config.discover else CORE)
            if not response.good:
                raise ConnectionError(f"{self._name} answers {response.code / 100:.2f} to {CORE}")
            links = linkformat.parse(response.payload)
        except (TimeoutError, ValueError) as error:
            raise ConnectionError(f"{self._name}: {error or 'no answer in time'}") from error
        # A device may ignore the filter (RFC 6690 4.1).
        name, _, pattern = self._config.discover.partition("=")
        wanted = {name: pattern} if name else {}
        return [
            _discovered(found)
            for found in links
            if found.target.startswith("/") and linkformat.fits(found.attributes, wanted)
        ]


async def _until_end(session: Session, follower: asyncio.Task[None]) -> None:
    try:
        await session.run()
    finally:
        follower.cancel()


def target_of(config: CoapConfig) -> Target:
    """Where the device of a section is."""
    parts = urlsplit(config.uri)
    host = parts.hostname or ""
    literal = ":" in host or host.replace(".", "").isdigit()
    return Target(
        scheme=parts.scheme,
        base=f"{parts.scheme}://{parts.netloc}",
        root=parts.path.rstrip("/"),
        host_option="" if literal else host,
        timeout=config.timeout,
        ack_timeout=config.ack_timeout,
        receive_buffer=config.receive_buffer,
        host=host,
        port=parts.port,
        proxy=config.proxy,
        security=_security_of(config, host),
    )


def _security_of(config: CoapConfig, host: str) -> dtls.Security | None:
    if config.psk is not None:
        return dtls.Security(config.psk.identity, config.psk.key)
    return dtls.Security(tls=config.tls, host=host) if config.tls is not None else None


def _is_mapped(path: str, mapped: Collection[str]) -> bool:
    """Whether points take a resource, or something below it (what registers objects lists their instances only)."""
    return path in mapped or any(each.startswith(f"{path}/") for each in mapped)


def _discovered(found: linkformat.WebLink) -> DiscoveredPoint:
    parameters = found.parameters
    said = [f"{name}={parameters[name]}" for name in ("title", "rt", "if", "ct") if parameters.get(name)]
    observable = "obs" in parameters
    fields: dict[str, object] = {"path": found.target} if observable else {"path": found.target, "observe": False}
    return DiscoveredPoint(fields, " ".join(said))
