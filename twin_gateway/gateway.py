"""The composition root: builds one gateway from its configuration and mapping, runs it, stops it in order."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from address_space.alias import AddressBook
from address_space.events import Event, EventJournal
from address_space.opcua.server import GatewayServer
from address_space.table import PointTable
from twin_gateway import gateway_counts as counts
from twin_gateway import gateway_parts as parts
from twin_gateway import system_points
from twin_gateway.alarms.store import ConditionBook
from twin_gateway.apply_request import ApplyRequest
from twin_gateway.applying import Applied, Applier
from twin_gateway.audit.journal import AuditJournal
from twin_gateway.change_desk import ChangeDesk
from twin_gateway.coap_directory import NAME as DIRECTORY
from twin_gateway.coap_directory import make_directory
from twin_gateway.commands.desk import CommandDesk, DeskSettings
from twin_gateway.commissioning.live_request import LiveRequests
from twin_gateway.commissioning.requests import Commissioning
from twin_gateway.config import GatewayConfig
from twin_gateway.control import ControlServer
from twin_gateway.drivers.link import Backoff, LinkSupervisor
from twin_gateway.drivers.spread import Spread
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.host import FunctionHost
from twin_gateway.functions.rule_alarms import RuleAlarms
from twin_gateway.functions.slices import in_slices
from twin_gateway.functions.worker import Worker
from twin_gateway.gateway_files import open_files
from twin_gateway.grid.model import Grid
from twin_gateway.link_reports import LinkReports
from twin_gateway.mapping.model import MappedDevice
from twin_gateway.mapping.model import Mapping as PointMapping
from twin_gateway.plan_request import PlanRequest
from twin_gateway.plant import Plant, build_plant
from twin_gateway.revisions import RunningRevision
from twin_gateway.security.policy import UserPolicy
from twin_gateway.security.users import User
from twin_gateway.whole_models import WholeModels

log = logging.getLogger(__name__)

SWEEP_S = 1.0
END_S = 5.0
"""How long a part may take to sign off; then it is cancelled once more, and waited for as long."""
_WHOLE = "whole models"


class Gateway:
    """One gateway process.

    Args:
        config: see `GatewayConfig`.
        mapping: the checked mapping.
        users: users by name; nobody but anonymous observers (where allowed) can do anything without.
        grid: the grid model; none unless given.
        revision: which mapping this is, and where revisions are kept; none are without, and no files are watched.
        backoff: waiting times of the links, instead of those of the configuration.
    """

    def __init__(
        self,
        config: GatewayConfig,
        mapping: PointMapping,
        users: Mapping[str, User],
        *,
        grid: Grid | None = None,
        revision: RunningRevision | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.config = config
        self.mapping = mapping
        self.events = EventJournal()
        self.table = PointTable()
        self.audit = AuditJournal(config.data_directory / "audit.sqlite")
        self.policy = UserPolicy(
            users, anonymous_observes=config.opcua.anonymous == "observe", audit=self.audit, path=config.users
        )
        self.plant: Plant = build_plant(
            mapping,
            self.table,
            self.events,
            grid=config.grid,
            gateway=config.gateway,
            data_directory=config.data_directory,
            backoff=backoff or Backoff(config.links.retry_first, config.links.retry_most),
            spread=Spread(config.links.connects_per_second),
        )
        self.place = system_points.gateway_place(config.grid, config.gateway)
        self.grid = grid or Grid()
        self.tags = parts.make_tags(self)
        self.desk = CommandDesk(
            self.table,
            self.plant.targets,
            policy=self.policy,
            audit=self.audit,
            events=self.events,
            settings=DeskSettings(**config.commands.model_dump()),
            tags=self.tags,
            interlock=parts.make_interlock(self),
        )
        self.mirror = parts.make_mirror(self)
        self.server: GatewayServer | None = None
        self.http = parts.make_http(self)
        section = config.coap_directory
        self.coap_directory = make_directory(section, self.events, self.place) if section is not None else None
        self.system = system_points.SystemPoints(self.table, self.place, lambda: counts.counted(self))
        counters = {device.name: device.spec.counters for device in self.mapping.devices}
        self.system.add_links((link, counters[link.name]) for link in self.plant.links)
        self.conditions = ConditionBook(
            self.events,
            config.data_directory / "alarms.sqlite",
            policy=self.policy,
            audit=self.audit,
            judged=self._can_be_judged,
        )
        self.alarms = Alarms(self.events, self.conditions)
        self.worker = Worker()
        self.twin = FunctionHost(parts.make_twin(self), self.alarms, self.place)
        self.rules = self.make_rules()
        self.book = self.make_book(mapping)
        self.whole_models = WholeModels(mapping, self.plant, self.table, self.events, self.desk)
        self.history = parts.make_history(self)
        if self.history is not None:
            for link in self.plant.links:
                link.kept = self.history.kept_until
        self.applier = Applier(self)
        keepers = {DIRECTORY: self.coap_directory} if self.coap_directory is not None else {}
        reports = LinkReports(self.plant.links, self.protocols, keepers)
        self.changes = ChangeDesk(self, revision)
        requests = ApplyRequest(self.changes)
        self.control = ControlServer(config.data_directory, {**reports.handlers, **requests.handlers})
        self.commissioning = Commissioning(self)
        self.control.offer({**LiveRequests(self).handlers, **self.commissioning.handlers})
        self.control.offer(PlanRequest(self).handlers)
        self._started_at = time.monotonic()
        self._overflow = counts.OverflowReport(self)
        self._tasks: list[asyncio.Task[None]] = []

    # ---- life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the audit journal, serve OPC UA and HTTP, then connect the devices and the broker.

        Raises:
            OSError: a port is taken, or the data directory cannot be written; nothing is left running.
        """
        config = self.config
        config.data_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            await open_files(self)
            await self.changes.begin()
            if self.history is not None:
                await self.history.start()
            settings, ports = parts.server_settings(config), parts.make_ports(self)
            self.server = GatewayServer(self.table, settings, ports=ports, book=self.book)
            await self.server.start()
            if self.http is not None:
                await self.http.start()
            if self.coap_directory is not None:
                await self.coap_directory.start()
            await self.control.start()
        except BaseException:
            await self.stop()
            raise
        self.spawn("sweep", self._sweep)
        self.spawn("users", self.policy.watch)
        self.spawn("conditions", self.conditions.run)
        self.spawn("delayed alarms", self.twin.tick)
        self.spawn("own conditions", parts.make_own_conditions(self).run)
        self.applier.start_rules()
        if self.mirror is not None:
            self.spawn("mirror", self.mirror.run)
        for link in self.plant.links:
            self.applier.start_link(link)
        self.watch_whole_models()
        if (watch := parts.make_watch(self)) is not None:
            self.spawn("mapping files", watch.run)
        for hosted in self.twin.hosted:
            self.spawn(f"twin function {hosted.function.name}", partial(self.twin.keep, hosted))
        log.info(
            "gateway %s: %d points of %d devices in %.1f s",
            self.config.gateway,
            len(self.table),
            len(self.plant.links),
            time.monotonic() - self._started_at,
        )

    async def stop(self) -> None:
        """Stop in order: links first (so that they sign off), then the mirror, the servers, the audit journal.

        A change of the mapping that is being carried out is finished before.
        """
        await self.changes.close()
        await end_all(self._tasks[::-1])
        self._tasks.clear()
        await self.control.stop()
        if self.server is not None:
            await self.server.stop()
        if self.http is not None:
            await self.http.stop()
        if self.coap_directory is not None:
            await self.coap_directory.stop()
        await self.desk.drain()
        self.worker.close()
        self.policy.close()
        if self.tags is not None:
            await self.tags.close()
        try:
            await self.conditions.close()
        except sqlite3.Error as error:
            log.error("%s", error)
        if self.history is not None:
            await self.history.stop()
        await self.commissioning.store.close()
        await self.audit.close()

    def spawn(self, name: str, run: Callable[[], Any]) -> asyncio.Task[None]:
        """Run a part of the gateway until it stops; that a part ends by itself is a fault."""
        task: asyncio.Task[None] = asyncio.create_task(run(), name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)
        return task

    async def end(self, task: asyncio.Task[None]) -> bool:
        """End a part of the gateway, and wait until it has; whether it has within some seconds."""
        await end_all([task])
        if task.done() and task in self._tasks:
            self._tasks.remove(task)
        return task.done()

    def watch_whole_models(self) -> None:
        """Wait for devices that have yet to say which points they have."""
        if not any(task.get_name() == _WHOLE and not task.done() for task in self._tasks):
            self.spawn(_WHOLE, self.whole_models.run)

    async def apply(self, mapping: PointMapping) -> Applied:
        """Change to another checked mapping at work: what does not differ is not touched.

        Raises:
            ApplyError: it cannot be applied; nothing has changed.
        """
        return await self.applier.apply(mapping)

    def take_links(self, links: Sequence[LinkSupervisor], devices: Sequence[MappedDevice]) -> None:
        """Take up the links of further devices; they are not started yet."""
        self.plant.links += links
        self.system.add_links((link, each.spec.counters) for link, each in zip(links, devices, strict=True))
        for link in links:
            if self.history is not None:
                link.kept = self.history.kept_until

    def make_book(self, mapping: PointMapping) -> AddressBook:
        """The address book of a mapping and of the grid model.

        Raises:
            AliasError: one alias names two addresses.
        """
        return parts.make_book(self, mapping)

    def protocols(self) -> dict[str, str]:
        """Protocol of each device by name."""
        return {device.name: device.protocol for device in self.mapping.devices}

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            # Links and mirror never end by themselves; if one does, that is a fault to be seen, not a reason to stop.
            log.error("task %s ended: %r", task.get_name(), error, exc_info=error)
            self.events.append(Event("G02", f"Gateway: {task.get_name()} ended: {error}", 800, self.place))

    async def _sweep(self) -> None:
        while True:
            self.table.sweep()
            await in_slices(self.system.refresh())
            self._overflow.look()
            await asyncio.sleep(SWEEP_S)

    def make_rules(self) -> RuleAlarms | None:
        """The alarm rules of the mapping; None where it has none."""
        return parts.make_rules(self)

    def _can_be_judged(self, address: str) -> bool:
        """Whether the source of an alarm says anything at present: what is no point always does."""
        row = self.table.find(address)
        return row < 0 or not int(self.table.status[row]) & 0x8000_0000

    # ---- what it counts -------------------------------------------------------------------------------------------

    def link_states(self) -> dict[str, str]:
        """State of each link by name."""
        return {link.name: str(link.state) for link in self.plant.links}

    def lost_changes(self) -> int:
        """Samples and events that a consumer was too slow for: journals, OPC UA queues, the mirror's queues."""
        return counts.lost_changes(self)

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """(fit, details): fit while every part of the process runs; links that are down do not make it unfit."""
        ended = [task.get_name() for task in self._tasks if task.done() and task.get_name() != _WHOLE]
        return counts.health(self, ended, time.monotonic() - self._started_at)


async def end_all(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they have ended; one that hangs in what it does at its end is not waited for."""
    rest = set(tasks)
    for _ in range(2):
        for task in tasks:
            if task in rest:
                task.cancel()
        if rest:
            _, rest = await asyncio.wait(rest, timeout=END_S)
    for task in rest:
        log.error("task %s does not end; it is left to itself", task.get_name())
