"""The composition root: builds one gateway from its configuration and mapping, runs it, stops it in order."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from address_space import clock
from address_space.alias import AddressBook
from address_space.events import Event, EventJournal
from address_space.opcua.server import GatewayServer
from address_space.opcua.settings import Ports, ServerSettings
from address_space.ports import AuditRecord
from address_space.table import PointTable
from twin_gateway import __version__, system_points
from twin_gateway.alarms.machine import Finding
from twin_gateway.alarms.store import ConditionBook
from twin_gateway.apply_request import ApplyRequest
from twin_gateway.applying import Applied, Applier
from twin_gateway.audit.journal import AuditJournal
from twin_gateway.coap_directory import make_directory
from twin_gateway.commands.desk import CommandDesk, DeskSettings
from twin_gateway.commands.interlock import TwinInterlock
from twin_gateway.commands.tags import TagStore
from twin_gateway.config import GatewayConfig
from twin_gateway.control import ControlServer
from twin_gateway.drivers.link import Backoff, LinkState, LinkSupervisor
from twin_gateway.drivers.spread import Spread
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.compose import Surroundings, make_functions
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.host import FunctionHost, Hosted
from twin_gateway.functions.results import ResultPoints
from twin_gateway.functions.rule_alarms import RuleAlarms
from twin_gateway.functions.slices import in_slices
from twin_gateway.functions.supervision import Supervision
from twin_gateway.functions.worker import Worker
from twin_gateway.gateway_metrics import collect
from twin_gateway.grid.model import Grid
from twin_gateway.history.service import History
from twin_gateway.http import HttpServer
from twin_gateway.link_reports import LinkReports
from twin_gateway.mapping.model import MappedDevice
from twin_gateway.mapping.model import Mapping as PointMapping
from twin_gateway.metrics import render
from twin_gateway.mqtt.mirror import Mirror
from twin_gateway.own_conditions import OwnConditions
from twin_gateway.plant import Plant, aliases_of, build_plant
from twin_gateway.schemes import make_book
from twin_gateway.security.policy import UserPolicy
from twin_gateway.security.users import User
from twin_gateway.sqlite import is_damaged, opened
from twin_gateway.whole_models import WholeModels

log = logging.getLogger(__name__)

SWEEP_S = 1.0
OVERFLOW_EVENT_S = 10.0
_WHOLE = "whole models"


class Gateway:
    """One gateway process.

    Args:
        config: see `GatewayConfig`.
        mapping: the checked mapping.
        users: users by name; nobody but anonymous observers (where allowed) can do anything without.
        grid: the grid model; none unless given.
        backoff: waiting times of the links, instead of those of the configuration.
    """

    def __init__(
        self,
        config: GatewayConfig,
        mapping: PointMapping,
        users: Mapping[str, User],
        *,
        grid: Grid | None = None,
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
        self.tags = self._make_tags()
        self.desk = CommandDesk(
            self.table,
            self.plant.targets,
            policy=self.policy,
            audit=self.audit,
            events=self.events,
            settings=DeskSettings(**config.commands.model_dump()),
            tags=self.tags,
            interlock=self._make_interlock(),
        )
        self.mirror = self._make_mirror()
        self.server: GatewayServer | None = None
        self.http = self._make_http()
        section = config.coap_directory
        self.coap_directory = make_directory(section, self.events, self.place) if section is not None else None
        self.system = system_points.SystemPoints(self.table, self.place, self._counted)
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
        self.twin = FunctionHost(self._make_functions(), self.alarms, self.place)
        self.rules = self.make_rules()
        self.book = self.make_book(mapping)
        self.whole_models = WholeModels(mapping, self.plant, self.table, self.events, self.desk)
        self.history = self._make_history()
        if self.history is not None:
            for link in self.plant.links:
                link.kept = self.history.kept_until
        self.applier = Applier(self)
        reports = LinkReports(self.plant.links, self._protocols)
        requests = ApplyRequest(config.mappings, self.apply)
        self.control = ControlServer(config.data_directory, {**reports.handlers, **requests.handlers})
        self._started_at = time.monotonic()
        self._overflow_told = 0
        self._overflow_at = float("-inf")
        self._tasks: list[asyncio.Task[None]] = []

    # ---- life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the audit journal, serve OPC UA and HTTP, then connect the devices and the broker.

        Raises:
            OSError: a port is taken, or the data directory cannot be written; nothing is left running.
        """
        self.config.data_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            await self._open_files()
            if self.history is not None:
                await self.history.start()
            await self._start_server()
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
        self.spawn("own conditions", self._own_conditions().run)
        self.applier.start_rules()
        if self.mirror is not None:
            self.spawn("mirror", self.mirror.run)
        for link in self.plant.links:
            self.applier.start_link(link)
        self.watch_whole_models()
        for hosted in self.twin.hosted:
            self.spawn(f"twin function {hosted.function.name}", partial(self.twin.keep, hosted))
        log.info(
            "gateway %s: %d points of %d devices in %.1f s",
            self.config.gateway,
            len(self.table),
            len(self.plant.links),
            time.monotonic() - self._started_at,
        )

    async def _open_files(self) -> None:
        """What is damaged is put aside and begun anew; but without the safety tags no switch is commanded.

        The audit journal is not put aside: it holds the outcomes of earlier requests, and nothing operates twice.
        """
        damaged: list[str] = []
        try:
            await self.audit.open()
        except sqlite3.Error as error:
            if not is_damaged(error):
                raise
            text = f"{self.audit.path.name} is damaged ({error}); restore it, or move it away yourself"
            raise sqlite3.DatabaseError(text) from error
        await opened(self.conditions, "Alarms", damaged.append)
        if damaged:
            part = system_points.part_place(self.place, "files")
            self.conditions.raise_(part, "G02", Finding("; ".join(damaged), 800))
            self.conditions.clear(part, "G02")  # it waits for somebody to acknowledge it
        if self.tags is not None:
            damaged += await self._open_tags(self.tags)
        for text in damaged:
            log.error("%s", text)
            await self.audit.append(AuditRecord(clock.now(), "file.damaged", "", "", self.place, text=text))

    async def _open_tags(self, tags: TagStore) -> list[str]:
        part = system_points.part_place(self.place, "tags")
        try:
            await tags.open()
        except (sqlite3.Error, ValueError) as error:
            await tags.close()
            if isinstance(error, sqlite3.Error) and not is_damaged(error):
                raise
            text = f"Safety tags cannot be read, no switch is commanded: tags.sqlite ({error})"
            self.conditions.raise_(part, "G02", Finding(text, 800))
            return [text]
        self.conditions.clear(part, "G02", "Safety tags are known")
        return []

    async def _start_server(self) -> None:
        ports = Ports(
            policy=self.policy,
            desk=self.desk,
            audit=self.audit,
            events=self.events,
            conditions=self.conditions,
            history=self.history,
            providers=(self.twin,),
            control_model=self.desk.control_model,
        )
        self.server = GatewayServer(self.table, server_settings(self.config), ports=ports, book=self.book)
        await self.server.start()

    async def stop(self) -> None:
        """Stop in order: links first (so that they sign off), then the mirror, the servers, the audit journal."""
        for task in reversed(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
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
        await self.audit.close()

    def spawn(self, name: str, run: Callable[[], Any]) -> asyncio.Task[None]:
        """Run a part of the gateway until it stops; that a part ends by itself is a fault."""
        task: asyncio.Task[None] = asyncio.create_task(run(), name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)
        return task

    async def end(self, task: asyncio.Task[None]) -> None:
        """End a part of the gateway, and wait until it has."""
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if task in self._tasks:
            self._tasks.remove(task)

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
        config = self.config
        book = make_book(mapping, aliases_of(mapping), self.table, config.authority, _mqtt_root(config))
        for alias, address in self.grid.aliases().items():
            book.add_alias(alias, address)
        return book

    def _protocols(self) -> dict[str, str]:
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
            self._report_overflow()
            await asyncio.sleep(SWEEP_S)

    def _report_overflow(self) -> None:
        """An event when consumers were too slow for their queues; at most one in ten seconds, with the count."""
        dropped = self.lost_changes()
        more = dropped - self._overflow_told
        if more > 0 and time.monotonic() - self._overflow_at >= OVERFLOW_EVENT_S:
            self._overflow_told, self._overflow_at = dropped, time.monotonic()
            self.events.append(Event("G02", f"Queue overflow: {more} changes lost to slow consumers", 600, self.place))

    def make_rules(self) -> RuleAlarms | None:
        """The alarm rules of the mapping; None where it has none."""
        rules = {point.address: point.alarm for _device, point in self.mapping.points() if point.alarm is not None}
        if not rules:
            return None
        marks = [each.mark_of_place for each in self.twin.functions if isinstance(each, Supervision)]
        return RuleAlarms(self.table, self.alarms, rules, mark=marks[0] if marks else lambda _address: "")

    def _own_conditions(self) -> OwnConditions:
        def broker() -> str | None:
            if self.mirror is None:
                return None
            counters = self.mirror.counters
            return "" if counters.connected else counters.last_error

        folder = self.config.data_directory
        return OwnConditions(self.alarms, self.place, folder, broker=broker, failed=lambda: self.twin.failed)

    def _can_be_judged(self, address: str) -> bool:
        """Whether the source of an alarm says anything at present: what is no point always does."""
        row = self.table.find(address)
        return row < 0 or not int(self.table.status[row]) & 0x8000_0000

    # ---- what it counts -------------------------------------------------------------------------------------------

    def _make_tags(self) -> TagStore | None:
        path = self.config.data_directory / "tags.sqlite"
        if self.config.twin is None and not path.exists():
            return None  # tags that were once set stand, also when the twin functions have been switched off
        known = {*self.grid.equipment, *self.grid.nodes}
        return TagStore(
            path,
            policy=self.policy,
            audit=self.audit,
            events=self.events,
            exists=lambda address: address in known or self.table.tree.find(address) >= 0,
        )

    def _make_interlock(self) -> TwinInterlock | None:
        if self.tags is None or not self.grid.equipment:
            return None
        return TwinInterlock(self.table, self.grid, self.tags, policy=self.policy, audit=self.audit)

    def _make_functions(self) -> Sequence[Hosted]:
        section = self.config.twin
        if section is None:
            return ()
        folder = self.config.data_directory / "twin"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        context = TwinContext(
            table=self.table,
            events=self.events,
            alarms=self.alarms,
            results=ResultPoints(self.table),
            worker=self.worker,
            grid=self.grid,
            place=section.place,
            desk=self.desk,
            policy=self.policy,
            audit=self.audit,
            data_directory=folder,
        )
        around = Surroundings(
            links=self.plant.links,
            protocols=self._protocols(),
            gateway=self.place,
            authority=self.config.authority,
            commands=lambda: (self.desk.counters["commands"], self.desk.counters["unknown"]),
            last_sent=self.desk.last_sent,
            tags=lambda address: [str(tag) for tag in self.tags.at(address)] if self.tags is not None else [],
        )
        return make_functions(context, section, around)

    def _make_mirror(self) -> Mirror | None:
        if self.config.mqtt is None:
            return None
        mapping, devices = self.mapping, {device.name: device for device in self.mapping.devices}

        def alias(link: str, source: int | str) -> str:
            nonlocal mapping, devices
            if mapping is not self.mapping:
                mapping, devices = self.mapping, {device.name: device for device in self.mapping.devices}
            device = devices[link]
            return f"{device.spec.scheme}:{device.spec.alias(link, device.config, source)}"

        return Mirror(
            self.table,
            self.events,
            self.config.mqtt,
            gateway=self.place,
            link_states=self.link_states,
            binding=alias,
        )

    def _make_http(self) -> HttpServer | None:
        section = self.config.http
        if section is None:
            return None
        return HttpServer(section.host, section.port, self.health, lambda: render(collect(self)))

    def _make_history(self) -> History | None:
        settings = self.config.history
        if not settings.enabled:
            return None
        folder = settings.folder or self.config.data_directory / "history"
        return History(self.table, self.events, settings, folder, alarms=self.alarms, place=self.place)

    def link_states(self) -> dict[str, str]:
        """State of each link by name."""
        return {link.name: str(link.state) for link in self.plant.links}

    def lost_changes(self) -> int:
        """Samples and events that a consumer was too slow for: journals, OPC UA queues, the mirror's queues."""
        journals = (self.table.journal, self.table.late)
        lost = sum(cursor.lost for journal in journals for cursor in journal.cursors)
        lost += sum(cursor.lost for cursor in self.events.cursors)
        if self.server is not None:
            lost += self.server.subscription_totals.dropped
        if self.mirror is not None:
            lost += self.mirror.counters.events_dropped + self.mirror.counters.late_dropped
        return lost

    def _counted(self) -> dict[str, float]:
        counters, mirror = self.table.counters, self.mirror
        up = sum(link.state is LinkState.UP for link in self.plant.links)
        server = self.server
        return {
            "SmpCnt": counters.samples,
            "ChgCnt": counters.changes,
            "LateCnt": counters.late,
            "TmRplCnt": counters.time_replaced,
            "DrpCnt": self.lost_changes(),
            "EvtCnt": self.events.total,
            "CmdCnt": self.desk.counters["commands"],
            "CmdRefCnt": self.desk.counters["refused"],
            "LnkCnt": len(self.plant.links),
            "LnkUpCnt": up,
            "SesCnt": server.sessions if server is not None else 0,
            "MqDrpCnt": mirror.counters.events_dropped + mirror.counters.late_dropped if mirror is not None else 0,
            "MqQue": mirror.counters.waiting + mirror.counters.events_waiting if mirror is not None else 0,
        }

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """(fit, details): fit while every part of the process runs; links that are down do not make it unfit."""
        ended = [task.get_name() for task in self._tasks if task.done()]
        ended = [name for name in ended if name != _WHOLE]
        down = {link.name: link.reason for link in self.plant.links if link.state is not LinkState.UP}
        details: dict[str, Any] = {
            "gateway": self.config.gateway,
            "points": len(self.table),
            "links": len(self.plant.links),
            "links_down": down,
            "uptime_s": round(time.monotonic() - self._started_at, 1),
        }
        if self.mirror is not None:
            details["mqtt"] = "connected" if self.mirror.counters.connected else self.mirror.counters.last_error
        if ended:
            details["ended"] = ended
        if self.twin.failed:
            details["twin_failed"] = dict(self.twin.failed)
        return not ended and not self.twin.failed, details


def server_settings(config: GatewayConfig) -> ServerSettings:
    """What the configuration says of the OPC UA server."""
    section = config.opcua
    return ServerSettings(
        host=section.host,
        port=section.port,
        authority=config.authority,
        pki_directory=config.data_directory / "pki",
        application_uri=section.application_uri,
        security=section.modes(),
        security_none=section.security_none,
        policies=section.policies,
        trust_any_client=section.trust_any_client,
        key_bits=section.key_bits,
        host_names=section.host_names,
        software_version=__version__,
        mqtt_root=_mqtt_root(config),
    )


def _mqtt_root(config: GatewayConfig) -> str:
    return config.mqtt.root if config.mqtt is not None else "twin"
