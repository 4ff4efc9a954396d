"""What the supervision finds by watching: clocks, revisions, counters of links, frozen data, certificates."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from address_space import clock
from address_space.quality import Quality
from twin_gateway.alarms.entry import CERTIFICATE_EXPIRES
from twin_gateway.functions.certificate_files import expiry
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.supervision_devices import Device, DeviceIndex, SupervisedLink
from twin_gateway.functions.supervision_settings import SupervisionSettings
from twin_gateway.functions.supervision_store import SupervisionStore
from twin_gateway.twin.rules import DeviceState
from twin_gateway.twin.supervision import clocks
from twin_gateway.twin.supervision.certificates import EXPIRED_SEVERITY, WARN_SEVERITY, certificate_stage
from twin_gateway.twin.supervision.conditions import LINK_COUNTERS
from twin_gateway.twin.supervision.revision import NAMES, compare
from twin_gateway.twin.supervision.state import Finding

FROZEN_S = 10.0
_DEGRADED = DeviceState.DEGRADED
_SILENT = int(Quality.COMM_LOST | Quality.NOT_INITIALISED | Quality.INVALID)


class Checks:
    """The checks of one gateway.

    Args:
        context, settings, index, store: see there.
        links: by name.
        mark: `suppressed`, `test` or empty, for the alarms of a place.
        gateway: its place.
        monotonic, wall: clocks, s.
    """

    def __init__(
        self,
        context: TwinContext,
        settings: SupervisionSettings,
        index: DeviceIndex,
        store: SupervisionStore,
        *,
        links: Mapping[str, SupervisedLink],
        mark: Callable[[str], str],
        gateway: str,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._context, self._settings, self._index, self._store = context, settings, index, store
        self._links, self._mark, self._gateway = links, mark, gateway
        self._now, self._wall = monotonic, wall
        self._counted: dict[tuple[str, str], int] = {}
        self._counter_until: dict[tuple[str, str], float] = {}
        self._frozen_due = 0.0
        self._writers: set[asyncio.Task[None]] = set()

    def clock(self, device: Device, link: SupervisedLink | None) -> list[Finding]:
        """D02: the offset of the clock behind a link, told at its only device, else at the link."""
        if link is None or device.place != link.address:
            return []
        error = getattr(link.driver, "clock_error", None)
        if isinstance(error, int | float):
            device.clock.read(float(error))
        stage, offset = device.clock.stage(), device.clock.certain
        about, before = self._clock_place(device), device.clock_at
        device.clock_at = about
        if before not in ("", about):
            self._context.alarms.clear("D02", before, f"The clock is told at {about}")
        if stage:
            severity = clocks.ALARM_SEVERITY if stage == 2 else clocks.WARN_SEVERITY
            way = "ahead" if offset > 0 else "behind"
            text = f"Clock is {abs(offset):.3g} s {way}"
            marked = self._mark(about)
            self._context.alarms.raise_("D02", about, text, severity, marked=marked, value=offset)
            return [Finding(_DEGRADED, text)]
        self._context.alarms.clear("D02", about, "Clock is right again")
        return []

    def _clock_place(self, device: Device) -> str:
        """Where the clock of a link is told: at its only device, else at the link."""
        behind = self._index.of_link(device.link)
        return behind[0].place if len(behind) == 1 else device.place

    def revisions(self, device: Device) -> list[Finding]:
        """D03: what the device says of itself against what is approved, or was seen first."""
        table = self._context.table
        found: dict[str, str] = {}
        for item, row in device.revisions.items():
            if not int(table.quality[row]) & _SILENT:
                found[item] = str(table.value(row) or "")
        if not found and not device.differences:
            return []
        new = {item: text for item, text in found.items() if text and item not in device.accepted}
        if new:
            device.accepted.update(new)
            self._remember(device.place, new)
        device.differences = compare(found, device.approved, device.accepted)
        wrong = [line for line in device.differences if line.matches is False]
        if not wrong:
            self._context.alarms.clear("D03", device.place)
            return []
        text = "; ".join(f"{NAMES[line.item]} is {line.found}, not {line.expected}" for line in wrong)
        marked = self._mark(device.place)
        self._context.alarms.raise_("D03", device.place, text, 600, marked=marked)
        return [Finding(_DEGRADED, text)]

    def _remember(self, place: str, items: dict[str, str]) -> None:
        task = asyncio.get_running_loop().create_task(self._accept(place, items))
        self._writers.add(task)
        task.add_done_callback(self._writers.discard)

    async def _accept(self, place: str, items: dict[str, str]) -> None:
        try:
            await self._store.accept(place, items)
        except sqlite3.Error as error:
            self._context.alarms.event("G02", self._gateway or place, f"Revisions cannot be kept: {error}", 600)

    def count_links(self) -> Iterator[None]:
        """Counters of links that should not rise, in parts: the alarm stands while they do, and ten minutes more."""
        now = self._now()
        for link in self._links.values():
            yield
            for rule in LINK_COUNTERS:
                count = link.counters[rule.counter]
                key = (link.address, rule.counter)
                before = self._counted.get(key, 0)
                self._counted[key] = count  # less than before when the link was removed and came back
                if count > before:
                    self._counter_until[key] = now + self._settings.counter_hold
                    text = f"{rule.text}: {count - before} more"
                    marked = self._mark(link.address)
                    self._context.alarms.raise_(rule.code, link.address, text, rule.severity, marked=marked)
                elif now >= self._counter_until.get(key, float("inf")):
                    del self._counter_until[key]
                    held = [
                        other.counter
                        for other in LINK_COUNTERS
                        if other.code == rule.code and (link.address, other.counter) in self._counter_until
                    ]
                    if not held:
                        self._context.alarms.clear(rule.code, link.address)

    def find_frozen(self) -> None:
        """D08: measurands that have always moved and stand still."""
        after, now = self._settings.frozen_after, self._now()
        if after is None or now < self._frozen_due or not len(self._index.measurand_rows):
            return
        self._frozen_due = now + FROZEN_S
        table, rows = self._context.table, self._index.measurand_rows
        # What stands at zero stands for a reason: the feeder is off.
        still = self._index.movements.frozen(self._wall(), after) & (table.status[rows] == 0) & (table.raw[rows] != 0)
        counts = np.bincount(self._index.owner[rows[still]], minlength=len(self._index.order))
        for number in np.nonzero(counts)[0].tolist() + [k for k, d in enumerate(self._index.order) if d.frozen]:
            device = self._index.order[number]
            device.frozen = int(counts[number])
            text = f"{device.frozen} measurands that have always moved stand still"
            self._context.alarms.set(device.frozen > 0, "D08", device.place, text, 400)

    async def certificates(self) -> None:
        """D09: certificates that expire or have expired: of the settings at the gateway, of TLS at its link."""
        await self._certificates(self._gateway or self._context.place, self._settings.certificates)
        for link in self._links.values():
            files = getattr(link, "certificates", ())
            if files:
                await self._certificates(link.address, files)

    async def _certificates(self, about: str, files: Sequence[Path]) -> None:
        worst, texts, ends = 0, [], []
        for path in files:
            try:
                until = await asyncio.to_thread(expiry, path)
            except (OSError, ValueError) as error:
                worst = max(worst, 1)
                texts.append(f"{path.name} cannot be read: {error}")
                continue
            stage = certificate_stage(until, self._wall())
            if stage:
                worst = max(worst, stage)
                ends.append(until)
                days = (until - self._wall()) / 86_400.0
                texts.append(f"{path.name} has expired" if stage == 2 else f"{path.name} expires in {days:.0f} days")
        severity = EXPIRED_SEVERITY if worst == 2 else WARN_SEVERITY
        if worst:
            text = "Certificate: " + "; ".join(texts)
            kind = replace(CERTIFICATE_EXPIRES, expires=clock.from_unix(min(ends)) if ends else 0)
            self._context.alarms.raise_("D09", about, text, severity, kind=kind)
        else:
            self._context.alarms.clear("D09", about)
