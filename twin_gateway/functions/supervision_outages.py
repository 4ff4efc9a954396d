"""What cannot be reached: links and devices that are down, the causes among them, and their alarms D01 (spec 7.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from address_space.quality import Quality
from twin_gateway.drivers.link import LinkState
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.slices import in_slices
from twin_gateway.functions.supervision_devices import Device, DeviceIndex, SupervisedLink
from twin_gateway.functions.supervision_settings import SupervisionSettings
from twin_gateway.functions.supervision_ways import Ways
from twin_gateway.twin.rules import DeviceState
from twin_gateway.twin.supervision.roots import RootCauses

LOOK_S = 0.1
"""Links are looked at so often."""
_UNREACHABLE, _UP = DeviceState.UNREACHABLE, LinkState.UP


class Outages:
    """Follows what is down.

    Args:
        context, settings, index: see there.
        links: by name.
        gateway: place of the gateway itself, the parent of all links.
        mark: `suppressed`, `test` or empty, for the alarms of a place.
        monotonic: clock, s.

    Attributes:
        down: places of links and devices that are down.
        reasons: place -> why it is down, where another one is the cause.
        texts: place -> text of its alarm.
        heard: numbers of the devices of which anything has been heard since the start.
    """

    def __init__(
        self,
        context: TwinContext,
        settings: SupervisionSettings,
        index: DeviceIndex,
        *,
        links: Mapping[str, SupervisedLink],
        gateway: str,
        mark: Callable[[str], str],
        monotonic: Callable[[], float],
    ) -> None:
        self._context, self._settings, self._index = context, settings, index
        self._links, self._gateway, self._mark, self._now = links, gateway, mark, monotonic
        self._roots = RootCauses(grace_s=settings.child_grace)
        self._came: dict[str, float] = {}
        self._started = monotonic()
        self._look_due = 0.0
        self._alarmed: set[str] = set()
        self.down: set[str] = set()
        self.reasons: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self.heard: frozenset[int] = frozenset()
        self._follow()

    def _follow(self) -> None:
        """Follow the links that there are."""
        links = self._links.values()
        self._by_address = {link.address: link for link in links}
        self._current: Sequence[SupervisedLink] = [link for link in links if link.address not in self._settings.retired]
        self._ways = Ways(self._current, self._gateway, hold=self._settings.child_grace)
        for place in self._ways.by_place:  # conditions have a source that can be browsed
            self._context.table.tree.add_container(place)
        self.find_parents()

    def renew(self) -> None:
        """Follow the links that there are now; those that came have time to come up."""
        before, ways, now = set(self._by_address), self._ways, self._now()
        self._roots.parents.clear()
        self._follow()
        self._ways.go_on(ways, self.down)
        self._came = {address: self._came.get(address, now) for address in self._by_address.keys() - before} | {
            address: since for address, since in self._came.items() if address in self._by_address
        }
        gone = before - self._by_address.keys()
        for kept in (self.texts, self.reasons):
            for address in gone:
                kept.pop(address, None)

    def release(self, address: str) -> None:
        """A link is removed: it is missed no more."""
        self._current = [link for link in self._current if link.address != address]

    def find_parents(self) -> None:
        """Devices hang from their link, links from the gateway; shared ways and the settings put more in between."""
        address = {name: link.address for name, link in self._links.items()}
        parents = dict.fromkeys(address.values(), self._gateway) if self._gateway else {}
        for device in self._index.order:
            # Points of a device that comes are there a moment before its link is followed.
            if device.place != (link := address.get(device.link)) and link is not None:
                parents[device.place] = link
        parents |= dict.fromkeys(self._ways.by_place, self._gateway) | self._ways.place_of
        for child, parent in self._settings.parents.items():
            parents[address.get(child, child)] = address.get(parent, parent)
        self._roots.parents.update(parents)

    def links_changed(self) -> bool:
        """Whether a link has gone down or come up since the last `update`; looks now and then only."""
        now = self._now()
        if now < self._look_due:
            return False
        self._look_due = now + LOOK_S
        settled = self._is_settled()
        return any(self._is_down(link, settled) != (link.address in self.down) for link in self._current)

    async def update(self) -> set[str]:
        """Find what is down and why, tell it; returns the places of which either has changed."""
        down = await self._find_down()
        await asyncio.sleep(0)
        outage = self._roots.evaluate(down, self._now())
        reasons = {node: f"unreachable because of {root}" for node, root in outage.suppressed.items()}
        reasons |= dict.fromkeys(outage.waiting, "not back yet after the recovery of what it hangs from")
        await asyncio.sleep(0)
        held = self._ways.held(self._now())
        roots = {node: children for node, children in outage.roots.items() if node not in held}
        await in_slices(self._tell_roots(roots, reasons))
        changed = (down ^ self.down) | {node for node in reasons if self.reasons.get(node) != reasons[node]}
        self.down, self.reasons = down, reasons
        return changed

    def tell_flapping(self, device: Device) -> None:
        """One alarm for all the losses of a device that flaps, cleared when ten minutes have been quiet."""
        if self._roots.parents.get(device.place, "") not in self.down:
            self._context.alarms.raise_("D01", device.place, "Degraded (flapping): lost more than five times", 700)
            self._alarmed.add(device.place)

    def _is_down(self, link: SupervisedLink, settled: bool) -> bool:
        if link.state is _UP:
            return False
        if settled and self._came:
            settled = self._now() - self._came.get(link.address, self._started) > self._settings.settle
        return settled or link.counters["connects"] > 0

    def _is_settled(self) -> bool:
        """Before a link has been up for the first time it is given time to come up."""
        return self._now() - self._started > self._settings.settle

    async def _find_down(self) -> set[str]:
        index, settled = self._index, self._is_settled()
        down = {link.address for link in self._current if self._is_down(link, settled)}
        if self._gateway and len(self._current) > 2 and len(down) == len(self._current):
            down.add(self._gateway)
        down.update(self._ways.down(down, self._now()))
        await asyncio.sleep(0)
        heard, lost = self._reach()
        self.heard = frozenset(np.nonzero(heard)[0].tolist())
        behind = np.array([link.address in down for link in self._links.values()] + [False])[index.link_of_device]
        gone = behind | ((heard > 0) & (lost == heard))
        gone[: len(self._links)] = False
        down |= {index.order[number].place for number in np.nonzero(gone)[0].tolist()}
        down |= {
            device.place
            for device in index.telling()
            if any(rule.state is _UNREACHABLE for w in device.found.values() for rule in w.holding.values())
        }
        return down.difference(self._settings.retired)

    def _reach(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """(points heard of at any time, of these lost now) of each device."""
        rows, count = self._index.owned, len(self._index.order)
        owner, quality = self._index.owner[rows], self._context.table.quality[rows]
        mine = quality & np.uint32(Quality.NOT_INITIALISED) == 0
        lost = mine & (quality & np.uint32(Quality.COMM_LOST) != 0)
        return np.bincount(owner[mine], minlength=count), np.bincount(owner[lost], minlength=count)

    def _tell_roots(self, roots: Mapping[str, int], reasons: Mapping[str, str]) -> Iterator[None]:
        alarms, links, devices = self._context.alarms, self._by_address, self._index.devices
        ways = self._ways.by_place
        for node, children in roots.items():
            yield
            if node == self._gateway:
                text = f"The gateway reaches none of its {children} links and devices"
            elif node in ways:
                way = ways[node]
                text = f"Nothing answers behind {way.name}: {len(way.links)} links are unreachable; {way.reason}"
            elif node in links:
                text = f"Link {links[node].name} is down: {links[node].reason or 'no connection'}"
                if children:
                    behind = "1 device behind it is" if children == 1 else f"{children} devices behind it are"
                    text += f"; {behind} unreachable"
            elif any("D01" in watched.holding for watched in devices[node].found.values()):
                continue  # the device's own channel tells
            else:
                text = "Device is unreachable"
            flapping = node in links and (links[node].flapping or devices[node].flapping.active)
            if not flapping:
                self.texts[node] = text
                alarms.raise_("D01", node, text, 700, marked=self._mark(node), details=(("children", str(children)),))
                self._alarmed.add(node)
        for node in [node for node in self._alarmed if node not in roots]:
            yield
            device = devices.get(node)
            if device is not None and device.flapping.check(self._now()):
                continue
            up = f"Link {links[node].name} is up" if node in links else "Reachable again"
            alarms.clear("D01", node, reasons.get(node, up))
            self._alarmed.discard(node)
